"""Labels of an enum that are exchanged change values of tables that no statement names: they can be declared, too."""

from pathlib import Path

import pytest
from tests.support.rehearsing import reasons, rehearsing_on

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

GIVEN = """
CREATE TYPE state AS ENUM ('new', 'old', 'none'); CREATE TYPE pair AS (s state, n int);
CREATE TABLE orders (id int PRIMARY KEY, s state, p pair, kept state[]);
INSERT INTO orders SELECT n, s, ROW(s, n)::pair, '{none}'
FROM (VALUES (1, 'new'::state), (2, 'old'), (3, 'none'), (4, 'new')) AS v (n, s);
"""
PLAN = """
-- pgrehearse: expect changes orders.s = 3 rows
-- pgrehearse: expect changes orders.p
-- pgrehearse: expect changes orders.kept
ALTER TYPE state RENAME VALUE 'new' TO 'other';
ALTER TYPE state RENAME VALUE 'old' TO 'new';
ALTER TYPE state RENAME VALUE 'other' TO 'old';
"""


@pytest.mark.pg("== 18")
def test_exchanged_labels_can_be_declared(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(GIVEN)
    document = rehearsing_on(database, tmp_path)(PLAN, target=uat.conninfo())
    assert {each["column"]: (each["outcome"], each["count"]) for each in document["declarations"]} == {
        "s": ("as-declared", 3), "p": ("as-declared", 3), "kept": ("did-not-happen", 0),
    }, reasons(document)  # fmt: skip
    assert document["verdict"] == "hazard"  # statements that say 'new' find others now
    assert not [found for found in document["findings"] if "data-loss" in found["classes"]]

"""A type that the plan makes anew under its name is another type, and values are read as the rehearsal's were."""

from pathlib import Path

import pytest
from tests.support.applying import rows
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.errors import NotAsRehearsed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

SHOP = """
CREATE TYPE mood AS ENUM ('a', 'b', 'c');
CREATE TABLE t (id int PRIMARY KEY, m mood, many mood[]);
INSERT INTO t SELECT g, 'b', ARRAY['a', 'b']::mood[] FROM generate_series(1, 5) g;
"""
ANEW = """
ALTER TYPE mood RENAME TO mood_old; CREATE TYPE mood AS ENUM ('a', 'b2', 'c');
ALTER TABLE t ALTER m TYPE mood USING (CASE m::text WHEN 'b' THEN 'b2' ELSE m::text END)::mood,
    ALTER many TYPE mood[] USING array_replace(many::text[], 'b', 'b2')::mood[];
DROP TYPE mood_old;
"""


@pytest.mark.pg(">= 15")
def test_an_enum_made_anew_with_another_label_is_promoted(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, ANEW)
    assert receipt.document["rollback"]["type"] in ("lossless", "restorable"), receipt.document["rollback"]
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        run_promotion(request_for(database, receipt, source), releases)
    assert rows(connection, "SELECT DISTINCT m::text, many::text FROM t") == [("b2", "{a,b2}")]


@pytest.mark.pg("== 18")
def test_a_value_that_became_another_is_refused_as_before(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP)
    plan = ANEW.replace("ELSE m::text", "WHEN 'c' THEN 'a' ELSE m::text")
    receipt, source = rehearse_folder(tmp_path, database, uat, plan)
    connection.execute("UPDATE t SET m = 'c' WHERE id = 3")
    with (
        ReleaseLedger.open(tmp_path / "ledger.db") as releases,
        pytest.raises(NotAsRehearsed, match=r"public\.t\.m: .*would change those of 1 row"),
    ):
        run_promotion(request_for(database, receipt, source), releases)
    assert rows(connection, "SELECT m::text FROM t WHERE id = 3") == [("c",)]

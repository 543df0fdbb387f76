"""What a file drops and makes again in one transaction is no hazard; what comes back as less, or later, is one."""

import functools
from pathlib import Path
from typing import Any

import pytest
from tests.support.rehearsing import reasons, rehearsing_on

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

SHOP = """
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 50) n;
CREATE VIEW short AS SELECT id, v FROM t WHERE id < 9;
CREATE VIEW long AS SELECT id, v FROM t;
CREATE VIEW late AS SELECT id FROM t;
CREATE FUNCTION one(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION two(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE FUNCTION three(a int) RETURNS int LANGUAGE sql AS 'SELECT a';
CREATE TABLE moved (id int PRIMARY KEY);
"""
AGAIN = """
DROP VIEW short;
CREATE VIEW short AS SELECT id, v, 1 AS more FROM t WHERE id < 10;
DROP FUNCTION one(int);
CREATE FUNCTION one(a int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN a; END';
DROP FUNCTION two(int);
CREATE FUNCTION two(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT a';
ALTER TABLE moved RENAME TO aside;
ALTER TABLE aside RENAME TO moved;
"""
AS_LESS = """
DROP VIEW long;
CREATE VIEW long AS SELECT id FROM t;
DROP FUNCTION three(int);
CREATE FUNCTION three(a int, b int) RETURNS int LANGUAGE sql AS 'SELECT a';
"""
LATER = """
DROP VIEW late;
CREATE VIEW late AS SELECT id FROM t;
"""


def _still_told(document: dict[str, Any]) -> list[str]:
    told = [each for each in document["findings"] if each["evidence"] == "predicted" and each["level"] == "error"]
    return [each["hazard"] for each in told]


@pytest.mark.pg("== 18")
def test_only_what_comes_back_as_it_was_used_is_no_hazard(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(SHOP.encode())
    rehearse = functools.partial(rehearsing_on(database, tmp_path), target=uat.conninfo())
    document = rehearse(AGAIN, transaction="file")
    assert document["verdict"] == "clean", reasons(document)
    assert _still_told(document) == []
    assert {"drop-view", "drop-function", "rename-table"} <= {
        each["hazard"] for each in document["findings"] if each["evidence"] == "disproved"
    }
    assert _still_told(rehearse(AS_LESS, transaction="file"))[:2] == ["drop-view", "drop-function"]
    assert _still_told(rehearse(LATER, transaction="statement")) == ["drop-view"]

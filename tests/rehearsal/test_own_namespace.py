"""A plan that works on somebody's table among pgrehearse's own."""

from pathlib import Path

import pytest
from tests.rehearsal.test_rehearse import run

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rehearsal.own_namespace import WHY


@pytest.mark.pg("== 18")
def test_what_a_plan_does_to_a_table_there_is_not_measured(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute(
        """CREATE SCHEMA pgrehearse; CREATE TABLE pgrehearse."Mine" AS SELECT generate_series(1, 5) AS id;
           CREATE TABLE pgrehearse.untouched (id int); CREATE TABLE u (id int)"""
    )
    file = tmp_path / "m.sql"
    for text, verdict in (("""DELETE FROM pgrehearse."Mine" WHERE id = 3""", "unmeasured"), ("SELECT 1", "clean")):
        file.write_text(text, encoding="utf-8")
        document = run(tmp_path, database, uat.conninfo(), files=(file,), way_back=False).document
        assert document["verdict"] == verdict
        told = [each["what"] for each in document["not_measured"] if each["reason"] == WHY]
        assert told == (['what the plan did to "pgrehearse"."Mine"'] if verdict == "unmeasured" else [])

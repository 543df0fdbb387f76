"""What the rows say of the schema's promises, in the receipt and in the report."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.rehearsal.test_rehearse import run

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rehearsal.render import render_markdown, render_text

GIVEN = """
CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 9);
CREATE TABLE c (id int PRIMARY KEY, p int); INSERT INTO c SELECT n, n * 3 FROM generate_series(1, 5) n;
ALTER TABLE c ADD CONSTRAINT to_p FOREIGN KEY (p) REFERENCES p NOT VALID;
CREATE TABLE t (id int PRIMARY KEY, v text CONSTRAINT short CHECK (length(v) < 5)); INSERT INTO t VALUES (1, 'x');
CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM t;
"""
INTEGRITY = "integrity: "


def checks(document: Any) -> dict[str, tuple[str, str]]:
    return {
        check["name"].removeprefix(INTEGRITY): (check["verdict"], check["detail"])
        for check in document["checks"]
        if check["name"].startswith(INTEGRITY)
    }


@pytest.mark.pg("== 18")
def test_what_was_broken_before_leaves_the_verdict_clean_and_is_told(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute(GIVEN)
    (tmp_path / "m.sql").write_text("ALTER TABLE p ADD COLUMN name text; INSERT INTO p VALUES (20, 'new');")
    document = run(tmp_path, database, uat.conninfo(), files=(tmp_path / "m.sql",)).document
    assert document["verdict"] == "clean"
    assert [finding for finding in document["findings"] if "guarantee-lost" in finding["classes"]] == []
    assert checks(document)["foreign keys"] == (
        "passed",
        "1 of 1 asked of the rows (it is NOT VALID); broken before the plan: foreign key to_p of public.c "
        "(2 rows then, 2 now)",
    )
    assert checks(document)["materialized views"][0] == "passed"


@pytest.mark.pg("== 18")
def test_what_the_plan_broke_is_a_finding_with_its_numbers_and_keys(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute(GIVEN)
    (tmp_path / "m.sql").write_text(
        "SET session_replication_role = replica; UPDATE c SET p = 77 WHERE id IN (2, 5); INSERT INTO c VALUES (8, 88);"
        "RESET session_replication_role; INSERT INTO t VALUES (2, 'y');"
    )
    receipt = run(tmp_path, database, uat.conninfo(), files=(tmp_path / "m.sql",))
    found = {finding["hazard"]: finding for finding in receipt.document["findings"]}
    broken, stale = found["broken-foreign-key"], found["stale-matview"]
    assert (broken["level"], broken["relation"], broken["classes"]) == ("error", "public.c", ["guarantee-lost"])
    assert broken["measured"] == {
        "promise": "foreign key to_p", "rows": 4, "rows_before": 2, "keys": ["(id) = (2)", "(id) = (8)"],
    }  # fmt: skip
    assert (stale["level"], stale["relation"], stale["measured"]["rows"]) == ("warning", "public.m", 2)
    told = checks(receipt.document)
    assert told["foreign keys"][0] == "failed"
    assert told["materialized views"][0] == "passed"
    text = io.StringIO()
    render_text(receipt.document, Console(file=text, width=200))
    for report in (text.getvalue(), render_markdown(receipt.document)):
        assert "4 rows of public.c have no parent: foreign key to" in report.replace("\\", "")
        assert "integrity: foreign keys" in report

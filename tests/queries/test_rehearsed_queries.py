"""The workload in whole rehearsals: findings, verdicts, the published schema, the report."""

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.support.schemas import validate_answer

from pgrehearse.errors import ConfigurationError
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.rehearsal.query_findings import find_unmeasured_queries
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.rehearsal.render import render_markdown, render_text
from pgrehearse.rehearsing import queries_asked

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, email text, age int);
INSERT INTO users SELECT n, 'u' || n || '@example.com', n % 90 FROM generate_series(1, 8000) n;
CREATE INDEX users_email ON users (email);
"""
STATEMENTS = """
SELECT id FROM users WHERE email = 'somebody@example.com';
SELECT age FROM users WHERE id = 4711;
UPDATE users SET age = 18 WHERE id = 4711;
SELECT id FROM users WHERE id = 4711;
"""


def run(folder: Path, source: Conninfo, target: Conninfo, migration: str, **options: Any) -> Receipt:
    (folder / "migration.sql").write_text(migration)
    chosen = RehearsalOptions(
        source=source.text, target=target.text, files=(folder / "migration.sql",), way_back=False, **options
    )
    receipt = Project.open(None, start=folder).rehearse(chosen)
    validate_answer("run", receipt.run_document)
    validate_answer("receipt", dict(receipt.document))
    return receipt


def about_queries(receipt: Receipt) -> list[tuple[str, str]]:
    return [(each["what"], each["reason"]) for each in receipt.document["not_measured"] if "quer" in each["what"]]


@pytest.fixture
def source(connection: Connection, database: Conninfo) -> Conninfo:
    connection.execute(SHOP.encode())
    return database


@pytest.mark.pg("== 18")
def test_a_file_of_statements_is_rehearsed(tmp_path: Path, source: Conninfo, uat: LocalServer) -> None:
    (tmp_path / "app.sql").write_text(STATEMENTS)
    migration = "DROP INDEX users_email; ALTER TABLE users RENAME COLUMN age TO years;"
    receipt = run(tmp_path, source, uat.conninfo(), migration, workload=str(tmp_path / "app.sql"))
    document = receipt.document
    assert receipt.verdict == "hazard"
    assert [query["verdict"] for query in document["queries"]] == ["broken", "broken", "slower", "unchanged"]
    observed = {each["hazard"]: each for each in document["findings"] if each["evidence"] == "observed"}
    assert observed["query-breaks"]["level"] == "error"
    assert observed["index-in-use-dropped"]["relation"] == "public.users"
    assert "SELECT id FROM users WHERE email = $1" in observed["index-in-use-dropped"]["message"]
    assert "4711" not in str(document["queries"])
    assert "somebody" not in str(document)

    shown = io.StringIO()
    render_text(document, Console(file=shown, width=160))
    for text in (shown.getvalue(), render_markdown(document)):
        assert "2 broken, 1 slower, 1 unchanged" in text
        assert "SELECT id FROM users WHERE email = $1" in text
        assert "Seq Scan on public.users" in text


@pytest.mark.pg("== 18")
def test_a_workload_that_was_insisted_on_and_is_not_there_decides(
    tmp_path: Path, source: Conninfo, uat: LocalServer
) -> None:
    missing = "production has no extension pg_stat_statements in this database"
    receipt = run(tmp_path, source, uat.conninfo(), "CREATE TABLE more (id int)", workload="pg_stat_statements")
    assert (receipt.verdict, about_queries(receipt)) == ("unmeasured", [("the application's queries", missing)])


@pytest.mark.parametrize("insisted", [False, True])
def test_a_workload_that_nobody_named_and_is_not_there_is_only_told(insisted: bool) -> None:
    (told,) = find_unmeasured_queries(None, "it is not there", insisted=insisted)
    assert (told.reason, told.decisive) == ("it is not there", insisted)


def test_the_command_line_is_heard_before_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "app.sql").write_text(STATEMENTS)
    (tmp_path / "pgrehearse.toml").write_text('[queries]\nworkload = "app.sql"\nexecute_worst = 0\nrows_factor = 3')
    config = Project.open(None, start=tmp_path).config
    configured = queries_asked(RehearsalOptions(), config)
    assert (configured.file, configured.insisted) == (tmp_path / "app.sql", True)
    assert (configured.limits.execute_worst, configured.limits.thresholds.rows_factor) == (0, 3)
    left_out = queries_asked(RehearsalOptions(workload="none"), config)
    assert (left_out.file, left_out.left_out, left_out.insisted) == (None, True, False)
    nothing = queries_asked(RehearsalOptions(), None)
    assert (nothing.file, nothing.left_out, nothing.insisted) == (None, False, False)


def test_mistakes_in_the_configuration_are_told_before_anything_is_copied(tmp_path: Path) -> None:
    for text, told in {
        "[queries]\nworkloads = 'x'": "unknown key queries.workloads",
        "[queries]\ncost_factor = 1": "queries.cost_factor",
        "[queries]\nexecute_worst = -1": "queries.execute_worst",
    }.items():
        (tmp_path / "pgrehearse.toml").write_text(text)
        with pytest.raises(ConfigurationError, match=told):
            Project.open(None, start=tmp_path)
    (tmp_path / "pgrehearse.toml").unlink()
    options = RehearsalOptions(source="dbname=x", workload="nowhere.log", files=(tmp_path / "migration.sql",))
    (tmp_path / "migration.sql").write_text("SELECT 1")
    with pytest.raises(ConfigurationError, match=r"workload nowhere\.log is no file"):
        Project.open(None, start=tmp_path).rehearse(options)

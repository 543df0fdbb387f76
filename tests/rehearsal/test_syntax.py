"""Files that our parser cannot read: the clone's server is the judge, and nothing of them is run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.schemas import validate_answer

from pgrehearse.errors import UnreadableSql
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.migrations.statements import Statement, TransactionNeed, find_unparsed
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.rehearsal.syntax import ask_server, find_syntax_error

Rehearse = Callable[..., dict[str, Any]]


@pytest.fixture
def rehearse(tmp_path: Path, database: Conninfo, uat: LocalServer) -> Rehearse:
    def run(**files: str) -> dict[str, Any]:
        paths = []
        for name, text in files.items():
            (tmp_path / f"{name}.sql").write_text(text)
            paths.append(tmp_path / f"{name}.sql")
        options = RehearsalOptions(source=database.text, target=uat.conninfo().text, files=tuple(paths))
        receipt = Project.open(None, start=tmp_path).rehearse(options)
        validate_answer("run", receipt.run_document)
        validate_answer("receipt", dict(receipt.document))
        return dict(receipt.document)

    return run


def part(text: str, *, line: int = 1, column: int = 1) -> Statement:
    return Statement(index=0, text=text, line=line, column=column, kind="", need=TransactionNeed.ANY, beyond=None)


@pytest.mark.pg(">= 15")
def test_a_mistake_is_a_failure_with_the_servers_own_words_and_place(
    rehearse: Rehearse, connection: Connection
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    document = rehearse(
        first="CREATE TABLE made (id int);", second="ALTER TABLE t ADD v int;\n-- é\n  CREATE TABEL u ();\n"
    )
    assert document["verdict"] == "failed"
    (statement,) = document["statements"]
    assert (Path(statement["file"]).name, statement["line"], statement["sql"]) == (
        "second.sql",
        3,
        "CREATE TABEL u ();",
    )
    assert statement["error"] == {"sqlstate": "42601", "message": 'syntax error at or near "TABEL"', "hint": None}
    (finding,) = [each for each in document["findings"] if each["hazard"] == "migration-failed"]
    assert (finding["line"], finding["column"]) == (3, 10)
    assert [table["verdict"] for table in document["tables"]] == ["unchanged"]
    assert any("nothing of the plan was run" in entry["reason"] for entry in document["not_measured"])


@pytest.mark.pg(">= 15")
def test_a_file_that_ends_too_early_is_told_as_the_server_tells_it(connection: Connection) -> None:
    found = find_syntax_error(connection, part("CREATE TABLE t (\n  id int"))
    assert found is not None
    assert (found.sqlstate, found.message, found.line, found.column) == ("42601", "syntax error at end of input", 2, 9)


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize(
    "text",
    ["CREATE TABLE made (id int)", "CREATE TABLE made (id int); SELECT 1/0; COMMIT;", "SELECT nothing FROM nowhere"],
)
def test_what_the_server_accepts_is_neither_run_nor_analysed(connection: Connection, text: str) -> None:
    """Whatever our parser thinks of it; on another major it would refuse what this server knows."""
    assert find_syntax_error(connection, part(text)) is None
    assert fetch_value(connection, "SELECT to_regclass('made')") is None


@pytest.mark.pg("== 18")
def test_a_file_that_only_the_server_can_read_is_not_measured(connection: Connection) -> None:
    migration = Migration(
        version="m", name="m", path="m.sql", kind=SourceKind.AD_HOC, content=b"SELECT 1", created_at_ms=None
    )
    asked = ask_server(connection, Plan.of([migration]), {"m": (part("SELECT 1"),)})
    assert asked.failure is None
    (entry,) = asked.unmeasured
    assert entry.decisive
    assert "m.sql" in entry.reason


@pytest.mark.pg("== 18")
def test_a_password_in_a_broken_file_is_nowhere_in_the_receipt(rehearse: Rehearse) -> None:
    document = rehearse(m="CREATE ROLE app LOGIN PASSWORD 'c4nary' LOGIM;")
    assert document["verdict"] == "failed"
    assert "c4nary" not in str(document)
    assert document["receipt"]["files"][0]["withheld"] == "it holds a password"


def test_drizzles_parts_are_asked_one_by_one() -> None:
    content = (
        b"CREATE TABLE a (id int);--> statement-breakpoint\nCREATE TABEL b ();\n--> statement-breakpoint\nSELECT 1;"
    )
    (found,) = find_unparsed(content, path="m.sql", kind=SourceKind.DRIZZLE_JOURNAL)
    assert found.text == "\nCREATE TABEL b ();\n"
    assert found.place(found.text.index("TABEL") + 1) == (2, 8)


def test_psqls_commands_are_no_servers_business() -> None:
    assert find_unparsed(b"SELECT 1;\n\\i other.sql\n", path="m.sql", kind=SourceKind.AD_HOC) == ()
    with pytest.raises(UnreadableSql):
        find_unparsed(b"SELECT '\xe9'", path="m.sql", kind=SourceKind.AD_HOC)

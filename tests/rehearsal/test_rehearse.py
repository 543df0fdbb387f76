"""Whole rehearsals on real servers.  A case is a folder: before.sql, migration.sql, expected.toml."""

import io
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tests.support.schemas import validate_answer

from pgrehearse.errors import CloneFailed
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.rehearsal.render import render_markdown, render_text

CASES = sorted(path.parent for path in (Path(__file__).parent / "cases").glob("*/expected.toml"))


def run(directory: Path, source: Conninfo, target: Conninfo | None, **options: Any) -> Receipt:
    """`pgrehearse run` in a folder, without its printing."""
    project = Project.open(None, start=directory)
    chosen = RehearsalOptions(source=source.text, target=target.text if target else None, **options)
    receipt = project.rehearse(chosen)
    validate_answer("run", receipt.run_document)
    validate_answer("receipt", dict(receipt.document))
    json.dumps(receipt.document)
    return receipt


@pytest.fixture
def uat_address(uat: LocalServer) -> Conninfo:
    return uat.conninfo()


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_case(case: Path, tmp_path: Path, connection: Connection, database: Conninfo, uat_address: Conninfo) -> None:
    connection.execute((case / "before.sql").read_bytes())
    expected = tomllib.loads((case / "expected.toml").read_text(encoding="utf-8"))
    receipt = run(tmp_path, database, uat_address, files=(case / "migration.sql",))
    check(receipt.document, expected)


def check(document: Any, expected: dict[str, Any]) -> None:
    """Each key of expected.toml against the document."""
    for key, wanted in expected.items():
        match key:
            case "verdict":
                assert document["verdict"] == wanted, document["findings"]
            case "hazards":
                assert set(wanted) <= {finding["hazard"] for finding in document["findings"]}
            case "no_hazard_of_class":
                seen = [finding for finding in document["findings"] if finding["evidence"] != "disproved"]
                assert not [finding for finding in seen if set(wanted) & set(finding["classes"])]
            case "disproved":
                seen = [finding for finding in document["findings"] if finding["evidence"] == "disproved"]
                assert [finding["hazard"] for finding in seen] == wanted
            case "sqlstate":
                assert document["statements"][-1]["error"]["sqlstate"] == wanted
            case "statements":
                assert len(document["statements"]) == wanted
            case "rewrites" | "scans_under_lock":
                assert [name for statement in document["statements"] for name in statement[key]] == wanted
            case "locks":
                for relation, lock in wanted.items():
                    modes = [statement["locks"].get(relation) for statement in document["statements"]]
                    assert [mode for mode in modes if mode][-1] == lock["strongest"]
            case "columns_after":
                (table,) = document["tables"]
                assert [column["name_after"] for column in table["columns"] if column["name_after"]] == wanted
            case "rollback":
                assert document["rollback"]["type"] == wanted, document["rollback"]
                assert document["rollback"]["proved"] is (wanted in ("lossless", "restorable"))
            case "tables":
                tables = {table["name"]: table for table in document["tables"]}
                for name, facts in wanted.items():
                    check_table(tables[name], facts)
            case _:
                raise AssertionError(f"expected.toml: unknown key {key}")


def check_table(table: dict[str, Any], facts: dict[str, Any]) -> None:
    for key, wanted in facts.items():
        if key in ("values_lost", "values_changed"):
            assert {column["name"]: column[key] for column in table["columns"] if column[key]} == wanted
        else:
            assert table[key] == wanted, (key, table)


# --- a rehearsal leaves nothing and tells where it was -------------------------------------------------------------


WRITTEN = """
SELECT tup_inserted + tup_updated + tup_deleted FROM pg_stat_database WHERE datname = current_database()
"""


def databases(server: LocalServer) -> list[str]:
    with connect(server.conninfo(), verb="test") as session:
        return [name for (name,) in session.execute("SELECT datname FROM pg_database ORDER BY 1")]


@pytest.mark.pg("== 18")
def test_nothing_is_left_and_production_is_only_read(
    tmp_path: Path, connection: Connection, database: Conninfo, server: LocalServer, uat: LocalServer
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)")
    connection.execute("SELECT pg_stat_force_next_flush()")
    before = fetch_value(connection, WRITTEN)
    names = databases(server), databases(uat)
    (tmp_path / "drop.sql").write_text("DROP TABLE t;")
    receipt = run(tmp_path, database, uat.conninfo(), files=(tmp_path / "drop.sql",))
    assert receipt.verdict == "loss"
    assert (databases(server), databases(uat)) == names
    connection.execute("SELECT pg_stat_force_next_flush()")
    assert fetch_value(connection, WRITTEN) == before
    assert fetch_value(connection, "SELECT count(*) FROM t") == 10


@pytest.mark.pg("== 18")
def test_without_a_target_a_private_server_is_used_and_wiped(
    tmp_path: Path, connection: Connection, database: Conninfo
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)")
    (tmp_path / "add.sql").write_text("ALTER TABLE t ADD COLUMN v text;")
    receipt = run(tmp_path, database, None, files=(tmp_path / "add.sql",))
    assert receipt.verdict == "clean"
    assert receipt.document["clone"]["private"] is True
    assert receipt.document["grade"] == {"full": True, "why_not": []}


@pytest.mark.pg(">= 15")
def test_the_receipt_names_the_schema_before_and_after_as_the_databases_have_it(
    tmp_path: Path, connection: Connection, database: Conninfo, uat_address: Conninfo
) -> None:
    from pgrehearse.schema.fingerprint import fingerprint
    from pgrehearse.schema.snapshot import read_schema

    connection.execute("CREATE TABLE t (id int PRIMARY KEY, s varchar(9) CHECK (s IN ('a', 'b')))")
    (tmp_path / "m.sql").write_text("ALTER TABLE t ADD COLUMN v varchar(3) CHECK (v IN ('x', 'y'));")
    document = run(tmp_path, database, uat_address, files=(tmp_path / "m.sql",)).document
    assert document["schema"]["before"] == fingerprint(read_schema(connection))
    connection.execute((tmp_path / "m.sql").read_bytes())
    assert document["schema"]["after"] == fingerprint(read_schema(connection))


@pytest.mark.pg("== 18")
def test_a_file_that_looks_at_the_databases_name_lowers_the_grade(
    tmp_path: Path, connection: Connection, database: Conninfo, uat_address: Conninfo
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    text = "DO $$ BEGIN IF current_database() = 'shop' THEN DELETE FROM t; END IF; END $$;"
    (tmp_path / "m.sql").write_text(text)
    grade = run(tmp_path, database, uat_address, files=(tmp_path / "m.sql",)).document["grade"]
    assert grade["full"] is False
    assert "current_database" in grade["why_not"][0]


@pytest.mark.pg(">= 15")
def test_an_identity_made_by_like_does_not_lower_the_grade(
    tmp_path: Path, connection: Connection, database: Conninfo, uat_address: Conninfo
) -> None:
    connection.execute("CREATE TABLE a (id int GENERATED ALWAYS AS IDENTITY); CREATE TABLE b (LIKE a INCLUDING ALL)")
    (tmp_path / "m.sql").write_text("ALTER TABLE a ADD COLUMN v int;")
    receipt = run(tmp_path, database, uat_address, files=(tmp_path / "m.sql",))
    assert receipt.document["grade"] == {"full": True, "why_not": []}


# --- the role ------------------------------------------------------------------------------------------------------


@pytest.mark.pg(">= 15")
def test_what_works_for_a_superuser_and_fails_for_productions_role_fails(
    tmp_path: Path, connection: Connection, database: Conninfo, uat_address: Conninfo, server_major: int
) -> None:
    role = f"limited_{database.database}"
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    connection.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
    connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
    connection.execute(f"GRANT SELECT ON t TO {role}")
    (tmp_path / "m.sql").write_text("ALTER TABLE t ADD COLUMN v text;")
    files = (tmp_path / "m.sql",)
    assert run(tmp_path, database, None, files=files).verdict == "clean"
    receipt = run(tmp_path, database, None, files=files, role=role)
    assert receipt.verdict == "failed"
    assert receipt.document["role"] == role
    assert receipt.document["statements"][0]["error"]["sqlstate"] == "42501"
    connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.pg("== 18")
def test_a_role_that_may_not_create_namespaces_can_rehearse_what_needs_progress(
    tmp_path: Path, connection: Connection, database: Conninfo
) -> None:
    role = f"owner_{database.database}"
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    connection.execute(f"CREATE TABLE t (id int PRIMARY KEY, v int); ALTER TABLE t OWNER TO {role}")
    connection.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
    (tmp_path / "m.sql").write_text("ALTER TABLE t ADD COLUMN w int; CREATE INDEX CONCURRENTLY t_v ON t (v);")
    receipt = run(tmp_path, database, None, files=(tmp_path / "m.sql",), role=role)
    assert receipt.verdict == "clean"
    assert receipt.document["grade"]["full"] is False
    assert "may not create the migration ledger" in receipt.document["grade"]["why_not"][0]
    connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


@pytest.mark.pg("== 18")
def test_an_event_trigger_that_refuses_an_administrators_ledger_is_told(
    tmp_path: Path, connection: Connection, database: Conninfo
) -> None:
    role = f"owner_{database.database}"
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'")
    connection.execute(f"GRANT CREATE, USAGE ON SCHEMA public TO {role}")
    connection.execute("""
        CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'only by ticket'; END $$;
        CREATE EVENT TRIGGER refuse ON ddl_command_start WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION refuse();
    """)
    (tmp_path / "m.sql").write_text("CREATE TABLE t (id int);")
    with pytest.raises(CloneFailed, match=r"refuses to make pgrehearse\.migrations: only by ticket \(PL/pgSQL"):
        run(tmp_path, database, None, files=(tmp_path / "m.sql",), role=role)
    connection.execute(f"DROP EVENT TRIGGER refuse; DROP OWNED BY {role}; DROP ROLE {role}")


# --- what is not measured is never a yes ---------------------------------------------------------------------------


@pytest.mark.pg("== 18")
def test_a_statement_that_reaches_beyond_its_database_is_not_run_on_a_shared_server(
    tmp_path: Path, database: Conninfo, uat: LocalServer
) -> None:
    (tmp_path / "m.sql").write_text("CREATE TABLE t (id int);\nALTER SYSTEM SET work_mem = '77MB';\n")
    receipt = run(tmp_path, database, uat.conninfo(), files=(tmp_path / "m.sql",))
    assert receipt.verdict == "unmeasured"
    assert any("m.sql:2" in entry["what"] for entry in receipt.document["not_measured"])
    assert [table["name_after"] for table in receipt.document["tables"]] == ["public.t"]
    with connect(uat.conninfo(), verb="test") as session:
        query = "SELECT count(*) FROM pg_file_settings WHERE setting = '77MB'"
        assert fetch_value(session, query) == 0


@pytest.mark.pg("== 18")
def test_a_value_that_cannot_be_compared_makes_the_verdict_unmeasured(
    tmp_path: Path, connection: Connection, database: Conninfo, uat_address: Conninfo
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY, p point); INSERT INTO t VALUES (1, '(1,2)')")
    (tmp_path / "m.sql").write_text("ALTER TABLE t ALTER COLUMN p TYPE double precision USING p[0];")
    receipt = run(tmp_path, database, uat_address, files=(tmp_path / "m.sql",), level="error")
    assert receipt.verdict in ("unmeasured", "hazard")
    assert any("t" in entry["what"] for entry in receipt.document["not_measured"])


def test_a_hazard_says_nothing_of_loss_where_a_table_could_not_be_compared(
    tmp_path: Path, connection: Connection, database: Conninfo, uat_address: Conninfo
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY, v text, z int); INSERT INTO t VALUES (1, 'a', 1)")
    (tmp_path / "m.sql").write_text("ALTER TABLE t DROP COLUMN z;\nALTER TABLE t ADD COLUMN z text DEFAULT 'q';")
    receipt = run(tmp_path, database, uat_address, files=(tmp_path / "m.sql",), level="error")
    assert receipt.verdict == "hazard"
    out = io.StringIO()
    render_text(receipt.document, Console(file=out, width=200))
    headline = out.getvalue().splitlines()[0]
    assert headline.startswith("HAZARD: this plan would hurt; not measured: "), headline
    assert "public.t" in headline
    assert "nothing is lost" not in out.getvalue() + render_markdown(receipt.document)


# --- the team's own checks -----------------------------------------------------------------------------------------


@pytest.mark.pg("== 18")
def test_the_teams_checks_pass_fail_or_are_not_measured(
    tmp_path: Path, connection: Connection, database: Conninfo, uat_address: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, n FROM generate_series(1, 9) n"
    )
    (tmp_path / "pgrehearse.toml").write_text(
        '[environments.prd]\nurl_env = "PRD_URL"\nprotected = true\n'
        '[checks]\ncommand = "sh probe.sh"\nurl_variable = "APP_DATABASE"\n'
    )
    checks = tmp_path / "checks"
    checks.mkdir()
    (checks / "1_none.sql").write_text("SELECT * FROM t WHERE id < 0")
    (checks / "2_same.sql").write_text("SELECT id FROM t WHERE id > 7")
    (checks / "3_more.sql").write_text("SELECT id FROM t WHERE v IS NULL")
    (checks / "4_breaks.sql").write_text("SELECT old FROM (SELECT v AS old FROM t) AS s WHERE false")
    (checks / "5_never.sql").write_text("SELECT nothing FROM nowhere")
    (checks / "6_writes.sql").write_text("DELETE FROM t RETURNING id")
    (tmp_path / "m.sql").write_text(
        "UPDATE t SET v = NULL WHERE id = 5; ALTER TABLE t RENAME COLUMN v TO w; ALTER TABLE t ADD COLUMN v int;"
    )
    (tmp_path / "probe.sh").write_text(
        'env > seen.env; case "$APP_DATABASE" in *pgrehearse_*_clone*) exit 0;; esac; exit 3'
    )
    monkeypatch.setenv("PRD_URL", database.as_url())
    monkeypatch.setenv("OTHER", f"x{database.secrets[0]}x")
    monkeypatch.setenv("PGPASSWORD", "c4nary")
    monkeypatch.setenv("UNTOUCHED", "1")
    project = Project.open(None, start=tmp_path)
    receipt = project.rehearse(RehearsalOptions(source="prd", target=uat_address.text, files=(tmp_path / "m.sql",)))
    own = [check for check in receipt.document["checks"] if not check["name"].startswith("integrity: ")]
    verdicts = {check["name"]: check["verdict"] for check in own}
    assert verdicts == {
        "1_none.sql": "passed", "2_same.sql": "passed", "3_more.sql": "failed", "4_breaks.sql": "passed",
        "5_never.sql": "unmeasured", "6_writes.sql": "unmeasured", "sh probe.sh": "passed",
    }  # fmt: skip
    seen = (tmp_path / "seen.env").read_text()
    assert "UNTOUCHED=1" in seen
    assert database.secrets[0] not in seen
    assert "c4nary" not in seen
    assert "PRD_URL" not in seen


# --- nothing pending, nothing there --------------------------------------------------------------------------------


@pytest.mark.pg("== 18")
def test_a_database_without_tables_can_be_rehearsed(tmp_path: Path, database: Conninfo, uat_address: Conninfo) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "0001_a.sql").write_bytes("\ufeffCREATE TABLE t (id int);\r\nINSERT INTO t VALUES (1);\r\n".encode())
    receipt = run(tmp_path, database, uat_address, folder=folder)
    assert receipt.verdict == "clean"
    assert [(t["name"], t["name_after"], t["verdict"]) for t in receipt.document["tables"]] == [
        (None, "public.t", "new")
    ]

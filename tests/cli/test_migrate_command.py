"""`pgrehearse migrate` as a user meets it: guards, dry run, resume, and what its answers look like."""

import json
import os
import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from tests.support.program import run_program

from pgrehearse.migrations.progress import ProgressTable
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo

pytestmark = pytest.mark.pg("== 18")
SCHEMA = json.loads((files("pgrehearse.answers") / "migrate.schema.json").read_text(encoding="utf-8"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_init.sql").write_text("CREATE TABLE t (a int);\n")
    (tmp_path / "migrations" / "0002_index.sql").write_text(
        "INSERT INTO t VALUES (1);\nCREATE INDEX CONCURRENTLY i ON t (a);\n"
    )
    (tmp_path / "pgrehearse.toml").write_text(
        '[environments.prd]\nurl_env = "PRD_URL"\nprotected = true\n'
        '[environments.uat]\nurl_env = "UAT_URL"\n[migrations]\npath = "migrations"\n'
    )
    return tmp_path


def run(project: Path, *arguments: str, uat: Conninfo, prd: Conninfo | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"UAT_URL": uat.text, "PRD_URL": prd.text if prd else "postgresql:///nowhere?host=/none"}
    return run_program("migrate", *arguments, cwd=project, env=environment)


def tables(connection: Connection) -> list[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY 1"
    return [name for (name,) in connection.execute(query)]


def test_it_applies_and_then_finds_nothing_to_do(project: Path, database: Conninfo, connection: Connection) -> None:
    ended = run(project, "uat", "--json", uat=database)
    assert ended.returncode == 0, ended.stderr
    answer = json.loads(ended.stdout)
    Draft202012Validator(SCHEMA).validate(answer)
    assert answer["applied"] == ["0001_init", "0002_index"]
    assert [segment["kind"] for segment in answer["segments"]] == ["transaction", "transaction", "outside"]
    again = run(project, "uat", uat=database)
    assert (again.returncode, "nothing was pending" in again.stdout) == (0, True)
    assert tables(connection) == ["t"]


def test_a_dry_run_shows_the_steps_and_writes_nothing(
    project: Path, database: Conninfo, connection: Connection
) -> None:
    ended = run(project, "uat", "--dry-run", "--json", uat=database)
    Draft202012Validator(SCHEMA).validate(json.loads(ended.stdout))
    assert (ended.returncode, json.loads(ended.stdout)["dry_run"]) == (0, True)
    shown = run(project, "uat", "--dry-run", uat=database).stdout
    assert "3. outside any transaction\n     migrations/0002_index.sql:2  CREATE INDEX CONCURRENTLY" in shown
    assert tables(connection) == []
    assert connection.execute("SELECT 1 FROM pg_namespace WHERE nspname = 'pgrehearse'").fetchall() == []


def test_a_protected_environment_is_refused_by_name_by_url_and_by_handshake(
    project: Path, database: Conninfo, connection: Connection
) -> None:
    another_name = database.replaced(user="postgres", application_name="x", dbname=f"{database.database}")
    for word in ("prd", database.text, "uat"):
        ended = run(project, word, uat=another_name, prd=database)
        assert ended.returncode == 1, ended.stdout
        assert "protected" in ended.stderr
        assert "pgrehearse run" in ended.stderr
    assert tables(connection) == []


def test_a_protected_address_is_refused_though_its_own_login_fails(
    project: Path, database: Conninfo, connection: Connection
) -> None:
    """No handshake is possible then; the address is the same all the same."""
    ended = run(project, "uat", uat=database, prd=database.replaced(password="wrong", user="nobody"))
    assert (ended.returncode, "uat is protected" in ended.stderr) == (1, True)
    assert tables(connection) == []


def test_a_protected_environment_that_could_not_be_compared_is_told(project: Path, database: Conninfo) -> None:
    unreached = run(project, "uat", uat=database)
    assert unreached.returncode == 0
    assert "/none/nowhere is protected, and could not be asked" in unreached.stderr
    (project / "pgrehearse.toml").write_text(
        '[environments.prd]\nurl_env = "NEVER_SET"\nprotected = true\n[environments.uat]\nurl_env = "UAT_URL"\n'
    )
    unset = run(project, "uat", "migrations", uat=database)
    assert "prd is protected, and the variable with its URL is not set here" in unset.stderr


def test_a_protected_url_that_is_none_stops_everything(
    project: Path, database: Conninfo, connection: Connection
) -> None:
    ended = run(project, "uat", uat=database, prd=Conninfo("postgresql//canary"))
    assert (ended.returncode, "PRD_URL" in ended.stderr, "canary" in ended.stderr) == (2, True, False)
    assert tables(connection) == []


def test_one_file_is_applied_and_recorded(project: Path, database: Conninfo, connection: Connection) -> None:
    (project / "fix.sql").write_text("CREATE TABLE fixed ();")
    assert run(project, "uat", "--file", "fix.sql", uat=database).returncode == 0
    assert tables(connection) == ["fixed"]
    recorded = connection.execute("SELECT kind, version FROM pgrehearse.migrations").fetchall()
    assert recorded == [("ad-hoc", "fix.sql")]


def test_a_single_file_left_half_way_is_told_by_status(project: Path, database: Conninfo) -> None:
    (project / "fix.sql").write_text("CREATE TABLE fixed (); COMMIT; SELECT 1 / 0;")
    assert run(project, "uat", "--file", "fix.sql", uat=database).returncode == 1
    status = run_program("status", "uat", cwd=project, env=os.environ | {"UAT_URL": database.text})
    assert status.returncode == 1
    assert "a run ended in the middle of the single file fix.sql: 2 of its statements are done" in status.stdout


def test_a_failure_tells_place_state_and_remedy(project: Path, database: Conninfo) -> None:
    (project / "migrations" / "0002_index.sql").write_text("SELECT 1;\nSELECT nope;\n")
    ended = run(project, "uat", uat=database)
    assert ended.returncode == 1
    assert "migrations/0002_index.sql:2:8: column" in ended.stderr
    assert "0001_init is applied and recorded; nothing of 0002_index remains" in ended.stderr
    assert "-> " in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_state_that_only_a_person_can_tell_is_exit_3_until_resolved(
    project: Path, database: Conninfo, connection: Connection
) -> None:
    run(project, "uat", uat=database)
    file = project / "migrations" / "0003_batch.sql"
    file.write_text("DO $$ BEGIN INSERT INTO t VALUES (2); COMMIT; END $$;\nINSERT INTO t VALUES (3);\n")
    from pgrehearse.migrations.sources.find import open_source

    migration = open_source(project / "migrations").migrations[2]
    table = ProgressTable(ledger="sql-folder:pgrehearse.migrations")
    table.create(connection)
    table.write_started(connection, migration, 0, {})  # as a run leaves it that is killed inside the DO
    ended = run(project, "uat", uat=database)
    assert ended.returncode == 3
    assert "--resolve 0003_batch:applied or --resolve 0003_batch:again" in ended.stderr
    assert run(project, "uat", "--resolve", "0003_batch:perhaps", uat=database).returncode == 2
    ended = run(project, "uat", "--resolve", "0003_batch:applied", "--json", uat=database)
    assert (ended.returncode, json.loads(ended.stdout)["resumed"]) == (0, ["0003_batch"])
    assert connection.execute("SELECT a FROM t ORDER BY a").fetchall() == [(1,), (3,)]

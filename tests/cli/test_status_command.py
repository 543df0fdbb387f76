"""`pgrehearse status` as a user runs it."""

import json
import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from tests.support.program import run_program

from pgrehearse.migrations.sources.find import open_source
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo

SCHEMAS = {
    name: json.loads((files("pgrehearse.answers") / f"{name}.schema.json").read_text(encoding="utf-8"))
    for name in ("status", "error")
}
CONFIG = """
[environments.prd]
url_env = "PRD_URL"
protected = true
[environments.dev]
url_env = "DEV_URL"
[migrations]
path = "db"
"""


def status(directory: Path, *arguments: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return run_program("status", *arguments, cwd=directory, env=environment | ({"PRD_URL": url} if url else {}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with two numbered files and a configuration."""
    (tmp_path / "db").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / "db/0001_users.sql").write_text("CREATE TABLE users (id int);\n")
    (tmp_path / "db/0002_orders.sql").write_text("CREATE TABLE orders (id int);\n")
    (tmp_path / "pgrehearse.toml").write_text(CONFIG)
    return tmp_path


def apply_first(database: Conninfo, folder: Path) -> None:
    source = open_source(folder / "db")
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE users (id int)")
        source.ledger.create(session)
        source.ledger.record(session, source.migrations[0])


@pytest.mark.pg("== 18")
def test_pending_is_well_and_check_makes_it_a_no(database: Conninfo, folder: Path) -> None:
    apply_first(database, folder)
    done = status(folder, url=database.text)
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 applied, 1 pending" in done.stdout
    assert "prd: db against pgrehearse.migrations" in done.stdout
    assert "1 to rehearse: `pgrehearse run`" in done.stdout
    assert status(folder, "--check", url=database.text).returncode == 1
    urls = {**os.environ, "DEV_URL": database.text}
    named = run_program("status", "dev", "db", cwd=folder, env=urls)  # what is told goes on with what was asked about
    applied = "`pgrehearse migrate dev db`"
    assert f"`pgrehearse run --source dev --migrations db`, or apply without a rehearsal: {applied}" in named.stdout
    (folder / "pgrehearse.toml").unlink()
    done = status(folder, "env:PRD_URL", "db", url=database.text)
    assert "1 to rehearse: `pgrehearse run --source env:PRD_URL --migrations db`" in done.stdout


@pytest.mark.pg("== 18")
def test_every_problem_comes_with_its_remedy_and_exit_code_1(database: Conninfo, folder: Path) -> None:
    apply_first(database, folder)
    (folder / "db/0001_users.sql").write_text("CREATE TABLE users (id bigint);\n")
    (folder / "db/by_hand.sql").write_text("SELECT 1;")
    done = status(folder, database.text, "db")
    assert done.returncode == 1
    assert "edited       0001_users" in done.stdout
    assert "error: db/0001_users.sql was edited after it was applied" in done.stdout
    assert "error: db/by_hand.sql does not begin with a number" in done.stdout
    assert done.stdout.count("\n  -> ") == 2


@pytest.mark.pg("== 18")
def test_the_json_answer_validates_and_holds_no_secret(database: Conninfo, folder: Path) -> None:
    apply_first(database, folder)
    done = status(folder, "prd", "--json", url=database.text)
    answer = json.loads(done.stdout)
    Draft202012Validator(SCHEMAS["status"]).validate(answer)
    assert answer["environment"] == "prd"
    assert [each["state"] for each in answer["migrations"]] == ["applied", "pending"]
    assert answer["plan"]["versions"] == ["0002_orders"]
    assert database.secrets
    assert all(secret not in done.stdout + done.stderr for secret in database.secrets)


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(
    ("arguments", "code"), [(("prd", "nowhere"), 2), (("prd", "."), 2), (("nobody",), 2), (("prd", "db"), 4)]
)
def test_what_cannot_be_answered_is_one_error_with_its_code(
    database: Conninfo, folder: Path, arguments: tuple[str, ...], code: int
) -> None:
    url = database.replaced(password="wrong").text if code == 4 else database.text
    done = status(folder, *arguments, "--json", url=url)
    assert done.returncode == code
    answer = json.loads(done.stdout)
    Draft202012Validator(SCHEMAS["error"]).validate(answer)
    assert answer["error"]["exit_code"] == code
    assert "Traceback" not in done.stderr
    assert "wrong" not in done.stdout.replace("Check", "")


@pytest.mark.pg("== 18")
def test_a_long_history_is_counted_not_listed(database: Conninfo, folder: Path) -> None:
    for number in range(3, 12):
        (folder / f"db/{number:04}_x.sql").write_text(f"SELECT {number};\n")
    source = open_source(folder / "db")
    with connect(database, verb="test") as session:
        source.ledger.create(session)
        for migration in source.migrations:
            source.ledger.record(session, migration)
    done = status(folder, url=database.text)
    assert "11 applied" in done.stdout
    assert "6 older applied ones" in done.stdout
    assert "0001_users" not in done.stdout
    assert "0011_x" in done.stdout
    assert "0001_users" in status(folder, "--all", url=database.text).stdout


@pytest.mark.pg("== 18")
def test_an_output_in_ascii_shows_every_name_and_keeps_the_answer(database: Conninfo, folder: Path) -> None:
    (folder / "db/0003_größen.sql").write_text("CREATE TABLE sizes (id int);\n")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PRD_URL": database.text}
    shown, answered = (
        subprocess.run(
            [sys.executable, "-m", "pgrehearse", "status", *more],
            cwd=folder, env=environment, capture_output=True, check=False,
        )
        for more in ((), ("--json",))
    )  # fmt: skip
    assert (shown.returncode, answered.returncode) == (0, 0), shown.stderr + answered.stderr
    assert rb"0003_gr\xf6\xdfen" in shown.stdout
    assert "0003_größen" in answered.stdout.decode("utf-8")

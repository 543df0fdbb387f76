"""`pgrehearse clone` and `clones` as a user meets them."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.program import run_program
from tests.support.schemas import validate_answer

from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg("== 18")

CONFIG = """
[environments.prd]
url_env = "PRD_URL"
protected = true

[environments.uat]
url_env = "UAT_URL"
"""


@pytest.fixture
def uat() -> Iterator[LocalServer]:
    with LocalServer.create(require_server(18)) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path, database: Conninfo, uat: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose production is `database` and whose UAT is another server."""
    (tmp_path / "pgrehearse.toml").write_text(CONFIG)
    monkeypatch.setenv("PRD_URL", database.as_url())
    monkeypatch.setenv("UAT_URL", uat.conninfo().as_url())
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 7) g")
    return tmp_path


def pgrehearse(folder: Path, *arguments: str, exit_code: int = 0) -> "subprocess.CompletedProcess[str]":
    done = run_program(*arguments, cwd=folder)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done


def answer(folder: Path, name: str, *arguments: str, exit_code: int = 0) -> Any:
    document = json.loads(pgrehearse(folder, *arguments, "--json", exit_code=exit_code).stdout)
    validate_answer(name, document)
    return document


def names(server: LocalServer) -> set[str]:
    with connect(server.conninfo(), verb="test") as session:
        return {row[0] for row in session.execute("SELECT datname FROM pg_database").fetchall()}


def test_a_clone_is_kept_listed_and_dropped(folder: Path, uat: LocalServer, database: Conninfo) -> None:
    before = names(uat)
    made = answer(folder, "clone", "clone", "prd", "uat")
    password = uat.conninfo().parameters["password"]
    assert password not in json.dumps(made)
    assert not made["private"]
    reached = Conninfo.parse(made["clone"]).replaced(password=password)
    with connect(reached, verb="test") as session:
        assert session.execute("SELECT count(*) FROM t").fetchone() == (7,)
    listed = answer(folder, "clones", "clones", "list")["clones"]
    assert [(each["id"], each["state"], each["url"]) for each in listed] == [(made["id"], "kept", made["clone"])]
    assert made["id"] in pgrehearse(folder, "clones", "list").stdout
    assert answer(folder, "clones", "clones", "prune")["dropped"] == []
    assert answer(folder, "clones", "clones", "drop", made["id"])["dropped"] == [made["id"]]
    assert names(uat) == before
    assert answer(folder, "clones", "clones", "list")["clones"] == []


def test_a_private_clone_answers_at_the_printed_address(folder: Path) -> None:
    printed = pgrehearse(folder, "clone").stdout
    identifier = printed.split()[1]
    url = next(line.split()[1] for line in printed.splitlines() if line.startswith("  clone "))
    try:
        with connect(Conninfo.parse(url), verb="test") as session:
            assert session.execute("SELECT count(*) FROM t").fetchone() == (7,)
    finally:
        assert identifier in pgrehearse(folder, "clones", "drop", identifier).stdout
    directory = Path(Conninfo.parse(url).parameters["passfile"]).parent
    assert not directory.exists()


def test_mistakes_have_their_exit_codes(folder: Path, database: Conninfo) -> None:
    same = answer(folder, "error", "clone", "prd", database.as_url(), exit_code=2)
    assert same["error"]["code"] == "same-database"
    other = database.replaced(dbname="postgres").as_url()
    assert answer(folder, "error", "clone", "prd", other, exit_code=1)["error"]["code"] == "same-server"
    assert answer(folder, "error", "clones", "drop", "0123", exit_code=2)["error"]["code"] == "unknown-clone"
    nobody = "postgresql://nobody@/x?host=/nonexistent"
    assert answer(folder, "error", "clone", nobody, exit_code=4)["error"]["code"] == "server-unreachable"
    assert pgrehearse(folder, "clones", "prune").stdout.strip().startswith(("nothing", "wiped"))

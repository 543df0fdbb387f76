"""`pgrehearse backup` as a user meets it."""

import json
import os
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

[backup]
policy = ["dump", "external"]
scratch = "uat"
external_command = "sh -c 'echo reached $DATABASE_URL; echo restore-point-4711'"
drill_command = "date +%Y-%m-%d"
"""


@pytest.fixture(scope="module")
def uat_server() -> Iterator[LocalServer]:
    with LocalServer.create(require_server(18)) as server:
        yield server


@pytest.fixture
def folder(
    tmp_path: Path, database: Conninfo, uat_server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> Path:  # fmt: skip
    """A project whose production is `database`; its scratch server is another."""
    (tmp_path / "pgrehearse.toml").write_text(CONFIG)
    monkeypatch.setenv("PRD_URL", database.as_url())
    monkeypatch.setenv("UAT_URL", uat_server.conninfo().as_url())
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE t AS SELECT g, 'row ' || g AS what FROM generate_series(1, 7) g")
    return tmp_path


def pgrehearse(folder: Path, *arguments: str, exit_code: int = 0) -> str:
    done = run_program("backup", *arguments, cwd=folder)
    assert done.returncode == exit_code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    password = Conninfo.parse(os.environ["PRD_URL"]).parameters["password"]
    assert password not in done.stdout + done.stderr
    return done.stdout + done.stderr


def answer(folder: Path, *arguments: str, exit_code: int = 0) -> Any:
    document = json.loads(pgrehearse(folder, *arguments, "--json", exit_code=exit_code))
    validate_answer("backup", document)
    return document


def test_create_verify_list_and_prune(folder: Path) -> None:
    created = answer(folder, "create", "prd")
    dump, external = created["dump"], created["external"]
    assert (dump["tables"], dump["rows"]) == (1, 7)
    assert external["restore_point"] == "restore-point-4711"
    assert external["output"] == "reached ***\nrestore-point-4711"
    assert external["drill"]["age_days"] < 1.1
    listed = answer(folder, "list")["backups"]
    assert {(each["id"], each["state"]) for each in listed} == {(dump["id"], "proved"), (external["id"], "taken")}
    assert answer(folder, "list", "prd")["backups"] == listed
    assert answer(folder, "list", "uat")["backups"] == []
    verified = answer(folder, "verify", "prd")["verified"]
    assert verified["recorded"]
    assert not verified["restored"]
    assert verified["digest"] == dump["digest"]
    assert answer(folder, "verify", "prd", "--id", dump["id"][:12], "--deep")["verified"]["restored"]
    assert "proved, " in pgrehearse(folder, "create", "prd", "--way", "dump")
    assert answer(folder, "prune", "prd", "--keep", "1") == {"format": 1, "removed": [dump["id"]], "kept": []}
    assert "nothing to remove" in pgrehearse(folder, "prune")
    assert "every byte is what was written" in pgrehearse(folder, "verify")
    told = pgrehearse(folder, "list")
    assert told.count("proved") == told.count("taken") == 1


def test_a_damaged_backup_is_told_with_the_file(folder: Path) -> None:
    dump = answer(folder, "create", "prd", "--way", "dump")["dump"]
    toc = Path(dump["directory"]) / "dump" / "toc.dat"
    content = bytearray(toc.read_bytes())
    content[100] ^= 1
    toc.write_bytes(content)
    assert "dump/toc.dat is not what was written" in pgrehearse(folder, "verify", "prd", exit_code=1)
    error = json.loads(pgrehearse(folder, "verify", "prd", "--json", exit_code=1).partition("\nerror: ")[0])
    assert error["error"]["code"] == "backup-damaged"
    assert "there is no backup nothing-" in pgrehearse(folder, "verify", "prd", "--id", "nothing-", exit_code=2)


def test_production_as_its_own_scratch_is_refused(
    folder: Path, database: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    config = folder / "pgrehearse.toml"
    config.write_text(config.read_text().replace('scratch = "uat"', 'scratch = "prd"'))
    assert "one and the same database" in pgrehearse(folder, "create", "prd", "--way", "dump", exit_code=2)
    config.write_text(config.read_text().replace('scratch = "prd"', 'scratch = "uat"'))
    monkeypatch.setenv("UAT_URL", database.replaced(dbname="postgres").as_url())
    told = pgrehearse(folder, "create", "prd", "--way", "dump", exit_code=1)
    assert "is on the server that holds" in told
    assert "backup.scratch" in told
    assert "no backups" in pgrehearse(folder, "list")


def test_a_policy_that_nothing_can_be_taken_of_is_told(folder: Path) -> None:
    config = folder / "pgrehearse.toml"
    config.write_text(CONFIG.replace('policy = ["dump", "external"]', 'policy = "before-images"'))
    assert "`promote` takes those" in pgrehearse(folder, "create", "prd", exit_code=1)
    config.write_text(CONFIG.replace("external_command", "# external_command").replace('"dump", ', ""))
    assert "no command is configured" in pgrehearse(folder, "create", "prd", exit_code=1)
    config.write_text(CONFIG.replace("restore-point-4711", "boom; exit 4").replace('"dump", ', ""))
    told = pgrehearse(folder, "create", "prd", exit_code=1)
    assert "ended with exit code 4" in told
    assert "boom" in told

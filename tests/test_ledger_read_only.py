"""A release ledger that may not be written: what only reads works, what writes is refused before it does anything."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.read_only_disk import Seal, written_and_sealed

from pgrehearse.cli.main import run_command
from pgrehearse.errors import LedgerUnusable
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rehearsal.receipt import Receipt, save_receipt

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DOCUMENT = {"verdict": "clean", "plan": [], "receipt": {"created_at": "", "source_kind": "sql-folder"}}
RECEIPT = Receipt.seal({**DOCUMENT, "source": {"environment": None, "address": "elsewhere", "is_replica": False}})
CONFIGURATION = """
[environments.prd]
url_env = "PRD_URL"
env_file = ".env"
protected = true
[migrations]
path = "db"
[ledger]
path = "sealed place#1/ledger.db"
"""
READING = [["report", "--list"], ["clones", "list"], ["backup", "list"], ["status"], ["rollback", "--list"], ["lint"]]
WRITING = [["approve"], ["run", "--target", "prd"], ["promote"], ["clones", "prune"]]


@pytest.fixture
def seal(tmp_path: Path) -> Iterator[Seal]:
    with written_and_sealed(tmp_path / "sealed place#1") as sealed:
        yield sealed


@pytest.fixture
def project(tmp_path: Path, database: Conninfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pgrehearse.toml").write_text(CONFIGURATION)
    (tmp_path / ".env").write_text(f"PRD_URL={database.as_url()}\n")
    (tmp_path / "db").mkdir()
    (tmp_path / "db/0001_step.sql").write_text("SELECT 1;\n")


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("is_there", [True, False])
def test_reading_commands_work_and_writing_ones_are_refused(
    seal: Seal, is_there: bool, project: None, capsys: pytest.CaptureFixture[str]
) -> None:
    if is_there:
        with ReleaseLedger.open(seal.place / "ledger.db") as releases:
            save_receipt(releases, RECEIPT, NOW)
    seal.close()
    for arguments in READING:
        assert run_command([*arguments, "--json"] if arguments != ["report", "--list"] else arguments) == 0, arguments
        assert (RECEIPT.digest[:12] in capsys.readouterr().out) == (is_there and arguments[0] == "report")
    for arguments in WRITING:
        assert run_command([*arguments, "--json"]) == 2, arguments
        answer: Any = json.loads(capsys.readouterr().out)["error"]
        assert answer["code"] == "ledger-unusable", answer
        assert "ledger.path" in answer["remedy"]
    assert [file.name for file in seal.place.iterdir()] == ["ledger.db"] * is_there


def test_nothing_is_added_to_what_was_opened_to_be_read(seal: Seal) -> None:
    with ReleaseLedger.open(seal.place / "ledger.db") as releases:
        releases.append("receipt", "a", {"n": 1}, NOW)
    seal.close()
    with ReleaseLedger.open(seal.place / "ledger.db", reading=True) as releases:
        releases.verify()
        assert [entry.subject for entry in releases.entries()] == ["a"]
        assert releases.read_lease("promote x") is None
        with pytest.raises(LedgerUnusable, match="cannot be written"):
            releases.append("receipt", "b", {}, NOW)


def test_to_read_a_ledger_that_is_not_there_makes_none(tmp_path: Path) -> None:
    with ReleaseLedger.open(tmp_path / "deep/ledger.db", reading=True) as releases:
        assert releases.entries() == ()
        releases.verify()
    assert not (tmp_path / "deep").exists()


def test_what_cannot_be_read_is_not_taken_for_an_empty_ledger(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnusable, match="cannot read"):
        ReleaseLedger.open(tmp_path / "file/ledger.db", reading=True)

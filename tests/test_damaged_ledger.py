"""Rows of the release ledger that somebody has changed: every command says which entry, and none stumbles over it."""

import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pgrehearse.cli.main import run_command
from pgrehearse.errors import LedgerDamaged
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rehearsal.receipt import Receipt, save_receipt
from pgrehearse.release.approval import APPROVED, read_approvals
from pgrehearse.release.history import read_promotions

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BY = {"login": "ann", "host": "here", "git": None}
RECEIPT = Receipt.seal({"verdict": "clean", "plan": [], "receipt": {"created_at": "", "source_kind": "sql-folder"}})
CONFIGURATION = """
[environments.prd]
url_env = "PRD_URL"
env_file = ".env"
protected = true
[migrations]
path = "db"
[ledger]
path = "ledger.db"
"""
DAMAGES = {
    "empty": "body = '{}'",
    "a list": "body = '[]'",
    "a number": "body = '7'",
    "no JSON": "body = 'nothing'",
    "bytes": "body = x'ff00'",
    "a part of another type": """body = '{"by": 7, "key": "k", "plan": 7, "receipt": [], "verdict": {}}'""",
    "no time": "at = 'yesterday'",
}
COMMANDS: dict[str, list[list[str]]] = {
    "receipt": [["report"], ["report", "--list"], ["approve"], ["promote"]],
    "approval": [["approve"]],
    "promotion-begun": [["status", "prd"], ["rollback"], ["rollback", "--list"], ["resume"]],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a ledger with a receipt, a yes to it, and a promotion that has begun."""
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        save_receipt(releases, RECEIPT, NOW)
        releases.append(APPROVED, RECEIPT.digest, {"by": BY, "remark": "", "accepted": []}, NOW)
        begun: dict[str, Any] = {"key": "k", "receipt": RECEIPT.digest, "by": BY, "plan": [], "unrehearsed": None}
        releases.append("promotion-begun", "p1", begun, NOW)
    return tmp_path / "ledger.db"


def damage(path: Path, kind: str, change: str) -> None:
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TRIGGER entries_are_not_updated")
        raw.execute(f"UPDATE entries SET {change} WHERE kind = ?", (kind,))
    raw.close()


def read_receipts(releases: ReleaseLedger) -> object:
    return [(entry.body["verdict"].upper(), entry.body["plan"][:1]) for entry in releases.entries(kind="receipt")]


READERS: dict[str, Callable[[ReleaseLedger], object]] = {
    "receipt": read_receipts,
    "approval": lambda releases: read_approvals(releases, RECEIPT.digest),
    "promotion-begun": lambda releases: read_promotions(releases, "k"),
}


@pytest.mark.parametrize("what", DAMAGES)
@pytest.mark.parametrize("kind", READERS)
def test_whoever_reads_a_changed_entry_is_told_which(path: Path, kind: str, what: str) -> None:
    with ReleaseLedger.open(path) as releases:
        READERS[kind](releases)
    damage(path, kind, DAMAGES[what])
    number = list(READERS).index(kind) + 1
    with pytest.raises(LedgerDamaged, match=rf"entry {number} \({kind}\)") as refused, ReleaseLedger.open(path) as left:
        READERS[kind](left)
    assert "Restore the file from a backup" in refused.value.remedy


def test_a_mistake_of_our_own_is_not_called_damage(path: Path) -> None:
    with pytest.raises(KeyError), ReleaseLedger.open(path) as releases:
        releases.entries()[0].body["no such key"]


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("what", ["empty", "no JSON", "a list", "no time"])
@pytest.mark.parametrize("kind", COMMANDS)
def test_no_command_stumbles(
    kind: str, what: str, path: Path, database: Conninfo, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(path.parent)
    (path.parent / "pgrehearse.toml").write_text(CONFIGURATION)
    (path.parent / ".env").write_text(f"PRD_URL={database.as_url()}\n")
    (path.parent / "db").mkdir()
    (path.parent / "db/0001_step.sql").write_text("SELECT 1;\n")
    damage(path, kind, DAMAGES[what])
    for arguments in COMMANDS[kind]:
        assert run_command([*arguments, "--json"]) == 1, arguments
        answer = json.loads(capsys.readouterr().out)["error"]
        assert answer["code"] in ("ledger-damaged", "receipt-tampered"), (arguments, answer)
        assert f"({kind})" in answer["message"] or answer["code"] == "receipt-tampered"

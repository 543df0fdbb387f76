import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgrehearse.errors import LedgerDamaged, LedgerUnusable
from pgrehearse.ledger import ReleaseLedger

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

APPEND_MANY = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pgrehearse.ledger import ReleaseLedger
with ReleaseLedger.open(Path(sys.argv[1])) as ledger:
    for number in range(25):
        ledger.append("receipt", sys.argv[2], {"number": number}, datetime.now(UTC))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "ledger.db"


def test_what_was_appended_is_read_back_in_order(path: Path) -> None:
    with ReleaseLedger.open(path) as ledger:
        ledger.append("receipt", "a", {"n": 1, "text": "ü'\"\n"}, NOW)
        ledger.append("clone-intended", "b", {"n": 2}, NOW)
    with ReleaseLedger.open(path) as ledger:
        assert [entry.subject for entry in ledger.entries()] == ["a", "b"]
        (only,) = ledger.entries(kind="receipt", subject="a")
        assert only.body == {"n": 1, "text": "ü'\"\n"}
        assert only.at == NOW


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    ReleaseLedger.open(path).close()
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("statement", ["UPDATE entries SET kind = 'x'", "DELETE FROM entries"])
def test_rows_can_neither_be_changed_nor_removed(path: Path, statement: str) -> None:
    with ReleaseLedger.open(path) as ledger:
        ledger.append("receipt", "a", {}, NOW)
    raw = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        raw.execute(statement)
    raw.close()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}' WHERE seq = 1",
        "DELETE FROM entries WHERE seq = 1",
        "DELETE FROM entries WHERE seq = 2",
    ],
)
def test_a_change_behind_the_triggers_is_noticed(path: Path, statement: str) -> None:
    with ReleaseLedger.open(path) as ledger:
        ledger.append("receipt", "a", {"n": 1}, NOW)
        ledger.append("receipt", "b", {"n": 2}, NOW)
        ledger.verify()
        raw = sqlite3.connect(path)
        raw.executescript("DROP TRIGGER entries_are_not_updated; DROP TRIGGER entries_are_not_deleted;" + statement)
        raw.close()
        with pytest.raises(LedgerDamaged):
            ledger.verify()


def test_several_processes_append_without_breaking_the_chain(path: Path) -> None:
    children = [subprocess.Popen([sys.executable, "-c", APPEND_MANY, str(path), str(n)]) for n in range(4)]
    assert [child.wait() for child in children] == [0] * 4
    with ReleaseLedger.open(path) as ledger:
        assert len(ledger.entries()) == 100
        ledger.verify()


def test_a_file_that_is_no_ledger_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database " * 100)
    with pytest.raises(LedgerUnusable, match="cannot be used") as caught:
        ReleaseLedger.open(path)
    assert caught.value.remedy


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerUnusable):
        ReleaseLedger.open(tmp_path / "file" / "ledger.db")

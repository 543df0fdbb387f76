"""What production remembers of the release ledger: a rewritten one, or one without its end, is noticed there."""

import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rehearsal.person import Person
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.anchor import judge_anchors, write_anchor
from pgrehearse.release.approval import approve, read_approvals, read_consent, withdraw
from pgrehearse.release.gate import ReasonKind

pytestmark = pytest.mark.pg("== 18")

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECEIPT = Receipt.seal({"verdict": "clean", "checks": [], "not_measured": []})
ANN, BEN = (Person(login=login, host="here", git=None) for login in ("ann", "ben"))
BY = ANN.as_json()


def tell_story(path: Path, *, by: Person, withdrawn: bool = False) -> None:
    """A receipt that somebody approves and that is promoted as p1."""
    with ReleaseLedger.open(path) as releases:
        approve(releases, RECEIPT, by=by, remark="", accepted=(), now=NOW)
        begun: dict[str, Any] = {"key": "k", "receipt": RECEIPT.digest, "by": BY, "plan": [], "unrehearsed": None}
        releases.append("promotion-begun", "p1", begun, NOW)
        releases.append("promotion-ended", "p1", {"outcome": "promoted"}, NOW)
        if withdrawn:
            withdraw(releases, RECEIPT, by=by, remark="", now=NOW)


@pytest.fixture
def path(tmp_path: Path, connection: Connection) -> Path:
    """Of a ledger that production remembers behind the withdrawal of the only approval."""
    tell_story(tmp_path / "ledger.db", by=ANN, withdrawn=True)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        assert judge_anchors(connection, releases).is_open  # nothing is there to remember
        assert write_anchor(connection, releases, "p1") is None
        assert judge_anchors(connection, releases).is_open
        releases.append("receipt", "later", {}, NOW)
        assert judge_anchors(connection, releases).is_open
    return tmp_path / "ledger.db"


def refusal(connection: Connection, path: Path) -> str:
    """Why not, in a ledger whose own chain holds."""
    with ReleaseLedger.open(path) as releases:
        releases.verify()
        (reason,) = judge_anchors(connection, releases).reasons
    assert reason.kind is ReasonKind.RECEIPT
    return "\n".join((reason.message, *reason.details))


def test_a_chain_that_was_computed_anew_is_not_the_one_that_production_remembers(
    path: Path, connection: Connection
) -> None:
    path.unlink()
    tell_story(path, by=BEN, withdrawn=True)
    assert "here it is " in refusal(connection, path)


def test_an_end_that_was_cut_off_with_its_counter_is_missed(path: Path, connection: Connection) -> None:
    with sqlite3.connect(path) as raw:  # the withdrawal too: without it the approval would stand
        raw.execute("DROP TRIGGER entries_are_not_deleted")
        raw.execute("DELETE FROM entries WHERE seq > 3")
        raw.execute("UPDATE sqlite_sequence SET seq = 3 WHERE name = 'entries'")
    raw.close()
    with ReleaseLedger.open(path) as releases:
        assert [each.by for each in read_approvals(releases, RECEIPT.digest)] == [ANN]
    assert "entry 4 was " in refusal(connection, path)
    assert "there is none here" in refusal(connection, path)


def test_an_older_copy_is_missed_its_newest_promotion(path: Path, connection: Connection, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "older.db")
    with ReleaseLedger.open(path) as releases:
        releases.append("promotion-begun", "p2", {"key": "k", "receipt": None, "by": BY, "plan": []}, NOW)
        assert write_anchor(connection, releases, "p2") is None
        assert judge_anchors(connection, releases).is_open
    assert "promotion p2" in refusal(connection, tmp_path / "older.db")


def test_another_ledger_is_told_and_stops_nobody(path: Path, connection: Connection, tmp_path: Path) -> None:
    with ReleaseLedger.open(tmp_path / "another.db") as releases:
        for entries in range(2):  # empty, and with something of its own
            gate = judge_anchors(connection, releases)
            assert gate.is_open
            assert ["knows nothing: 1, the last promotion p1" in line for line in gate.told] == [True], entries
            releases.append("receipt", "own", {}, NOW)


def test_a_cut_off_end_of_a_ledger_in_postgresql_is_missed(database: Conninfo, connection: Connection) -> None:
    with ReleaseLedger.open(database) as releases:
        for number in range(3):
            releases.append("receipt", str(number), {}, NOW)
        assert write_anchor(connection, releases, "p1") is None
        connection.execute(
            "ALTER TABLE pgrehearse.entries DISABLE TRIGGER USER; DELETE FROM pgrehearse.entries WHERE seq = 3"
        )
        releases.verify()
        assert not judge_anchors(connection, releases).is_open


def test_what_could_not_be_written_or_asked_is_said(path: Path, database: Conninfo, connection: Connection) -> None:
    connection.execute("CREATE ROLE anchor_guest_test LOGIN PASSWORD 'hush-hush'")
    try:
        guest = database.replaced(user="anchor_guest_test", password="hush-hush")
        with connect(guest, verb="test") as session, ReleaseLedger.open(path) as releases:
            assert "permission denied" in (write_anchor(session, releases, "p3") or "")
            gate = judge_anchors(session, releases)
        assert gate.is_open
        assert ["not asked whether production remembers" in line for line in gate.told] == [True]
    finally:
        connection.execute("DROP ROLE anchor_guest_test")


def test_approvals_and_rollbacks_are_told_apart_by_their_order_not_by_clocks(path: Path) -> None:
    digest = RECEIPT.digest
    with ReleaseLedger.open(path) as releases:
        approve(releases, RECEIPT, by=ANN, remark="", accepted=(), now=NOW + timedelta(hours=5))  # a clock ahead
        releases.append("rollback-ended", "p1", {"outcome": "taken-back"}, NOW)
        consent = read_consent(releases, digest)
        assert consent.standing == ()
        (lapsed,) = consent.lapsed
        assert lapsed == (
            "the approval by ann on here of 2026-01-02T08:04:05+00:00 does not count any more: promotion p1 of this "
            "receipt was taken back after it, at 2026-01-02T03:04:05+00:00"
        )
        approve(releases, RECEIPT, by=BEN, remark="", accepted=(), now=NOW - timedelta(hours=5))  # and one behind
        assert [each.by for each in read_consent(releases, digest).standing] == [BEN]

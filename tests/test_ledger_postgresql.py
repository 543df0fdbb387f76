"""The release ledger in a PostgreSQL database: the same promises as the file, for several machines."""

import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from tests.support.dumps import dump_text

from pgrehearse.errors import LedgerDamaged, LedgerUnusable, ServerUnreachable
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.schema.snapshot import read_schema

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NEWEST = pytest.mark.pg("== 18")

APPEND_MANY = """
import sys
from datetime import UTC, datetime
from pgrehearse.ledger import ReleaseLedger
with ReleaseLedger.open(sys.argv[1]) as ledger:
    for number in range(15):
        ledger.append("receipt", sys.argv[2], {"number": number}, datetime.now(UTC))
"""


@pytest.mark.pg(">= 15")
def test_several_processes_make_and_share_one_ledger(database: Conninfo, connection: Connection) -> None:
    url = database.as_url()
    children = [subprocess.Popen([sys.executable, "-c", APPEND_MANY, url, str(n)]) for n in range(3)]
    assert [child.wait() for child in children] == [0] * 3
    with ReleaseLedger.open(database) as ledger:
        entries = ledger.entries()
        assert len(entries) == 45
        assert [entry.body["number"] for entry in ledger.entries(subject="1")] == list(range(15))
        ledger.verify()
    assert [entry.seq for entry in entries] == sorted(entry.seq for entry in entries)


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize(
    "statement",
    ["UPDATE pgrehearse.entries SET kind = 'x'", "DELETE FROM pgrehearse.entries", "TRUNCATE pgrehearse.entries"],
)
def test_rows_can_neither_be_changed_nor_removed(database: Conninfo, connection: Connection, statement: str) -> None:
    with ReleaseLedger.open(database) as ledger:
        ledger.append("receipt", "a", {"text": "ü'\"\n%"}, NOW)
    with pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        connection.execute(statement.encode())
    connection.execute("CREATE ROLE ledger_writer_test; GRANT ledger_writer_test TO CURRENT_USER")
    try:
        connection.execute("ALTER TABLE pgrehearse.entries OWNER TO ledger_writer_test; SET ROLE ledger_writer_test")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())
    finally:
        connection.execute("RESET ROLE; DROP OWNED BY ledger_writer_test; DROP ROLE ledger_writer_test")


@NEWEST
def test_a_change_behind_the_triggers_is_noticed(database: Conninfo, connection: Connection) -> None:
    with ReleaseLedger.open(database) as ledger:
        ledger.append("receipt", "a", {"n": 1}, NOW)
        ledger.append("receipt", "b", {"n": 2}, NOW)
        ledger.verify()
        (found,) = ledger.entries(kind="receipt", subject="a")
        assert (found.body, found.at) == ({"n": 1}, NOW)
        connection.execute(
            "ALTER TABLE pgrehearse.entries DISABLE TRIGGER USER; DELETE FROM pgrehearse.entries WHERE seq = 1"
        )
        with pytest.raises(LedgerDamaged):
            ledger.verify()


@NEWEST
def test_it_never_counts_as_schema(database: Conninfo, connection: Connection) -> None:
    before = read_schema(connection).objects
    ReleaseLedger.open(database).close()
    assert read_schema(connection).objects == before
    ReleaseLedger.open(database).close()
    assert dump_text(database, "--schema-only").count("CREATE TABLE pgrehearse.entries") == 1


@NEWEST
def test_without_a_right_or_a_server_it_says_so_without_secrets(database: Conninfo, connection: Connection) -> None:
    connection.execute("CREATE ROLE ledger_guest_test LOGIN PASSWORD 'hush-hush'")
    try:
        guest = database.replaced(user="ledger_guest_test", password="hush-hush")
        with pytest.raises(LedgerUnusable, match="cannot be used as a release ledger: permission denied") as caught:
            ReleaseLedger.open(guest)
        assert "hush" not in str(caught.value)
    finally:
        connection.execute("DROP ROLE ledger_guest_test")
    with pytest.raises(ServerUnreachable):
        ReleaseLedger.open("postgresql://u:hush@127.0.0.1:1/nothing")


@pytest.fixture(params=["file", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path, database: Conninfo) -> ReleaseLedger:
    return ReleaseLedger.open(tmp_path / "ledger.db" if request.param == "file" else database)


@NEWEST
def test_a_lease_is_one_holders_until_it_ends_or_is_given_back(ledger: ReleaseLedger) -> None:
    mine = ledger.try_lease("promote:x", holder="ann", token="a", ttl_s=30, doing="backup")
    assert (mine.token, mine.holder, mine.doing) == ("a", "ann", "backup")
    assert abs(mine.since.timestamp() - time.time()) < 60
    theirs = ledger.try_lease("promote:x", holder="bob", token="b", ttl_s=30, doing="gate")
    assert (theirs.token, theirs.holder, theirs.since) == ("a", "ann", mine.since)
    assert not ledger.renew_lease("promote:x", token="b", ttl_s=30, doing="gate")
    assert ledger.renew_lease("promote:x", token="a", ttl_s=0.05, doing="apply")
    time.sleep(0.2)
    last = ledger.read_lease("promote:x")
    assert last is not None
    assert (last.holder, last.doing, last.has_ended) == ("ann", "apply", True)
    assert not ledger.renew_lease("promote:x", token="a", ttl_s=30, doing="apply")  # too late: it had ended
    assert ledger.try_lease("promote:x", holder="bob", token="b", ttl_s=30, doing="gate").token == "b"
    ledger.release_lease("promote:x", token="a")  # not ann's any more
    assert ledger.renew_lease("promote:x", token="b", ttl_s=30, doing="gate")
    ledger.release_lease("promote:x", token="b")
    assert ledger.read_lease("promote:x") is None
    ledger.close()

"""A promotion from its lease to its last entry: what it leaves, what it refuses, and how it goes on."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.applying import recorded, rows, wait_until
from tests.support.dumps import dump_text
from tests.support.promoting import drizzle_folder_of, ledger_database, rehearse_folder, request_for, run_promotion

from pgrehearse.errors import (
    GateClosed,
    LeaseHeld,
    LeaseLost,
    MigrationFailed,
    NotAsRehearsed,
    PgRehearseError,
    PromotionDiffers,
)
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.gate import Gate, Reason, ReasonKind
from pgrehearse.release.lease import hold_lease, take_lease

ALL = pytest.mark.pg(">= 15")
NEWEST = pytest.mark.pg("== 18")

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, user_id int, note text);
INSERT INTO users SELECT i, 'n' || i FROM generate_series(1, 50) i;
INSERT INTO orders SELECT i, i, 'o' FROM generate_series(1, 80) i;
"""
PLAN = (
    "DELETE FROM orders WHERE user_id NOT IN (SELECT id FROM users);",
    "CREATE INDEX CONCURRENTLY orders_user ON orders (user_id); ALTER TABLE users DROP COLUMN name;",
    "ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users;",
)

DROPS = "ALTER TABLE users DROP COLUMN name;"


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[ReleaseLedger]:
    with ReleaseLedger.open(tmp_path / "ledger.db") as opened:
        yield opened


def steps(releases: ReleaseLedger) -> list[str]:
    return [
        f"{entry.body['step']} {entry.body['state']}" if entry.kind == "promotion-step" else entry.kind
        for entry in releases.entries()
        if entry.kind.startswith("promotion")
    ]


def state(database: Conninfo) -> str:
    return dump_text(database, "--exclude-schema=pgrehearse", "--exclude-schema=pgrehearse_quarantine")


@ALL
def test_a_promotion_applies_what_was_rehearsed_and_records_every_step(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, *PLAN)
    promotion = run_promotion(request_for(database, receipt, source), releases)
    assert promotion.applied == ("0001_step", "0002_step", "0003_step")
    assert recorded(connection) == list(promotion.applied)
    assert rows(connection, "SELECT count(*) FROM orders") == [(50,)]
    assert {count["table"]: (count["predicted"], count["actual"]) for count in promotion.counts} == {
        "public.orders": (50, 50), "public.users": (50, 50),
    }  # fmt: skip
    assert [image["relation"] for image in promotion.images] == ["public.orders", "public.users"]
    assert promotion.position.timeline == 1
    assert all(each.duration_ms[0] is not None for each in promotion.statements)
    deletes = next(each for each in promotion.statements if each.sql.startswith("DELETE"))
    assert {found and found["public.orders"] for found in deletes.locks} == {"RowExclusiveLock"}  # not its image's lock
    assert steps(releases) == [
        "promotion-begun", "gate begun", "gate done", "recoverability begun", "recoverability done",
        "images begun", "images done", "apply begun", "apply committed", "apply committed", "apply committed",
        "apply done", "verify begun", "verify done", "promotion-ended",
    ]  # fmt: skip
    releases.verify()
    assert releases.entries(kind="promotion-ended")[0].body["outcome"] == "promoted"
    found = rows(connection, "SELECT count(*) FROM pg_tables WHERE schemaname = 'pgrehearse_quarantine'")
    assert found[0][0] >= 2


@NEWEST
def test_a_drizzle_folder_is_promoted_and_recorded_in_drizzles_own_ledger(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP + "CREATE TABLE log (a int PRIMARY KEY); INSERT INTO log VALUES (1), (2);")
    receipt, source = rehearse_folder(
        tmp_path, database, uat, *PLAN[:2], "UPDATE log SET a = a + 10; TRUNCATE log CASCADE;",
        make=drizzle_folder_of,
    )  # fmt: skip
    connection.execute("UPDATE users SET id = 99 WHERE id = 3")
    with pytest.raises(NotAsRehearsed, match=r"public\.orders: 30 rows deleted in the rehearsal, 31 here"):
        run_promotion(request_for(database, receipt, source), releases)
    assert recorded(connection, source.kind) == []
    connection.execute("UPDATE users SET id = 3 WHERE id = 99")
    told: list[str] = []
    promotion = run_promotion(request_for(database, receipt, source), releases, told=told)
    assert [line for line in told if not line.startswith("recoverable: ")] == []
    assert recorded(connection, source.kind) == [each.sha256 for each in source.migrations]
    assert {each.duration_ms[0] is not None for each in promotion.statements} == {True}
    assert rows(connection, "SELECT (SELECT count(*) FROM log), (SELECT count(*) FROM orders)") == [(0, 50)]


@NEWEST
def test_a_closed_gate_writes_nothing_and_tells_every_reason(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN[0])
    before = dump_text(database)
    gate = Gate.of(
        [
            Reason(kind=ReasonKind.APPROVAL, message="nobody approved", remedy="Approve it."),
            Reason(kind=ReasonKind.AGE, message="it is old", remedy="Rehearse.", details=("25 hours",)),
        ]
    )
    with pytest.raises(GateClosed) as caught:
        run_promotion(request_for(database, receipt, source), releases, gate=lambda: gate)
    assert str(caught.value).splitlines() == [
        "the gate is closed, for 2 reasons:",
        "  age: it is old", "    25 hours", "    Rehearse.",
        "  approval: nobody approved", "    Approve it.",
    ]  # fmt: skip
    assert dump_text(database) == before
    assert releases.entries(kind="promotion-ended")[0].body["outcome"] == "refused"


@NEWEST
def test_what_is_refused_before_the_commit_leaves_nothing_but_its_record(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, *PLAN)
    connection.execute("DELETE FROM users WHERE id = 7")
    before = state(database)
    with pytest.raises(NotAsRehearsed, match=r"public\.orders: 30 rows deleted in the rehearsal, 31 here"):
        run_promotion(request_for(database, receipt, source), releases)
    assert state(database) == before
    assert rows(connection, "SELECT 1 FROM pg_namespace WHERE nspname = 'pgrehearse_quarantine'") == []
    (ended,) = releases.entries(kind="promotion-ended")
    assert (ended.body["outcome"], ended.body["error"]) == ("refused", "NotAsRehearsed")


@NEWEST
def test_a_failure_half_way_is_gone_on_with_and_the_gate_is_not_asked_again(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP + "SELECT pg_stat_force_next_flush();")  # its rows are not counted later as written since
    receipt, source = rehearse_folder(tmp_path, database, uat, *PLAN)
    request = request_for(database, receipt, source)
    with connect(database, verb="reader", autocommit=False) as reader:
        reader.execute("SELECT * FROM users")  # so that 0002 cannot drop the column
        with pytest.raises(MigrationFailed, match="lock timeout"):
            run_promotion(request, releases)
    assert recorded(connection) == ["0001_step"]
    told: list[str] = []

    def closed() -> Gate:
        raise AssertionError("half of it is applied")

    connection.execute("UPDATE users SET name = 'written' WHERE id = 1; SELECT pg_stat_force_next_flush()")
    promotion = run_promotion(request, releases, gate=closed, told=told)
    assert promotion.already_applied == ("0001_step",)
    # The DELETE of 0001 is ours, and PostgreSQL's counters do not tell whose a row was.
    assert any("public.orders: at most 0 rows inserted, 0 updated, 30 deleted" in line for line in told)
    assert any("an earlier run of this promotion wrote too" in doubt for doubt in promotion.writes["doubts"])
    assert promotion.applied == ("0002_step", "0003_step")
    assert any(line.startswith(f"going on with promotion {promotion.id}") for line in told)
    assert rows(connection, "SELECT count(*) FROM orders") == [(50,)]
    assert len(releases.entries(kind="promotion-begun")) == 1
    assert {image["state"] for image in promotion.images} == {"settled"}


@NEWEST
def test_sessions_that_break_between_two_steps_are_told_and_gone_on_after(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN[0])

    def end_everybody() -> tuple[()]:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return ()

    with pytest.raises(PgRehearseError, match=r"AdminShutdown|terminat|closed"):
        run_promotion(request_for(database, receipt, source), releases, secure=end_everybody)
    assert run_promotion(request_for(database, receipt, source), releases).applied == ("0001_step",)
    assert len(releases.entries(kind="promotion-begun")) == 1


@NEWEST
def test_where_rows_cannot_be_counted_nothing_that_writes_is_promoted(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN[0])
    connection.execute(f'ALTER DATABASE "{database.database}" SET track_counts = off'.encode())
    with pytest.raises(NotAsRehearsed, match="track_counts is off in production"):
        run_promotion(request_for(database, receipt, source), releases)
    assert rows(connection, "SELECT count(*) FROM orders") == [(80,)]


@NEWEST
def test_drift_between_two_runs_of_one_promotion_is_refused(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, *PLAN)
    request = request_for(database, receipt, source)
    with connect(database, verb="reader", autocommit=False) as reader:
        reader.execute("SELECT * FROM users")
        with pytest.raises(MigrationFailed):
            run_promotion(request, releases)
    connection.execute("ALTER TABLE orders ALTER note SET DEFAULT 'drifted'")
    before = state(database)
    with pytest.raises(NotAsRehearsed, match=r"public\.orders: column note is not as the rehearsal left it"):
        run_promotion(request, releases)
    assert state(database) == before
    connection.execute("ALTER TABLE orders ALTER note DROP DEFAULT")
    assert run_promotion(request, releases).applied == ("0002_step", "0003_step")


@NEWEST
def test_an_unfinished_promotion_of_another_receipt_stands_in_the_way_only_while_it_is_half_applied(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, *PLAN[:2])
    with connect(database, verb="reader", autocommit=False) as reader:
        reader.execute("SELECT * FROM users")
        with pytest.raises(MigrationFailed):
            run_promotion(request_for(database, receipt, source), releases)
    other, wider = rehearse_folder(tmp_path, database, uat, *PLAN)
    with pytest.raises(GateClosed, match=r"unfinished: promotion \S+, begun at .* is not finished"):
        run_promotion(request_for(database, other, wider), releases)
    assert run_promotion(request_for(database, receipt, source), releases).applied == ("0002_step",)


@NEWEST
def test_what_is_left_of_a_promotion_may_be_rehearsed_anew(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN[0], DROPS)
    with connect(database, verb="reader", autocommit=False) as reader:
        reader.execute("SELECT * FROM users")
        with pytest.raises(MigrationFailed):
            run_promotion(request_for(database, receipt, source), releases)
    other, wider = rehearse_folder(tmp_path, database, uat, PLAN[0], DROPS, PLAN[2])
    closed = Gate.of([Reason(kind=ReasonKind.AGE, message="too old", remedy="Again.")])
    pending = wider.migrations[1:]
    with pytest.raises(GateClosed, match="too old"):  # a closed gate leaves the first one as it was
        run_promotion(request_for(database, other, wider, migrations=pending), releases, gate=lambda: closed)
    told: list[str] = []
    promotion = run_promotion(request_for(database, other, wider, migrations=pending), releases, told=told)
    assert promotion.applied == ("0002_step", "0003_step")
    assert any("supersedes promotion" in line for line in told)
    assert [entry.body["outcome"] for entry in releases.entries(kind="promotion-ended")] == [
        "refused", "superseded", "promoted",
    ]  # fmt: skip


@NEWEST
def test_a_schema_that_is_another_afterwards_is_told_as_such(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    connection.execute(SHOP + "DELETE FROM orders WHERE user_id > 50;")
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN[2])
    original = run_promotion.__globals__["promote"].__globals__["verify"]

    def meddled(*arguments: object, **more: object) -> object:
        connection.execute("ALTER TABLE orders ADD meddled int")
        return original(*arguments, **more)

    monkeypatch.setitem(run_promotion.__globals__["promote"].__globals__, "verify", meddled)
    with pytest.raises(PromotionDiffers, match=r"public\.orders\.meddled: added"):
        run_promotion(request_for(database, receipt, source), releases)
    assert releases.entries(kind="promotion-ended")[0].body["outcome"] == "differs"


# --- two at once -------------------------------------------------------------------------------------------------


@NEWEST
def test_of_two_promoters_at_once_one_is_refused_and_told_who_since_when_doing_what(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN[0])
    with ledger_database(uat) as address:
        mine, theirs = ReleaseLedger.open(address), ReleaseLedger.open(address)
        inside, go_on = threading.Event(), threading.Event()

        def slow() -> tuple[()]:
            inside.set()
            assert go_on.wait(120)
            return ()

        thread = threading.Thread(
            target=lambda: run_promotion(request_for(database, receipt, source), mine, secure=slow)
        )
        thread.start()
        assert inside.wait(120)
        with pytest.raises(LeaseHeld, match=r"ann on here is at it since 20\d\d-.* UTC: making it recoverable"):
            run_promotion(request_for(database, receipt, source, holder="bob"), theirs)
        go_on.set()
        thread.join()
        assert len(recorded(connection)) == 1
        assert len(theirs.entries(kind="promotion-ended")) == 1
        mine.close()
        theirs.close()


TAKE = """
import sys, time
from pgrehearse.errors import LeaseHeld
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.release.lease import take_lease
with ReleaseLedger.open(sys.argv[1]) as ledger:
    try:
        take_lease(ledger, "promote x", "child", token="c", ttl_s=60, doing="gate")
    except LeaseHeld as error:
        print(error)
"""


@NEWEST
def test_a_lease_is_seen_from_another_process_and_kept_alive(uat: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgrehearse.release.lease.BEATS_PER_TTL", 3000)
    with ledger_database(uat) as address, ReleaseLedger.open(address) as ledger:
        with hold_lease(ledger, "promote x", "ann", token="a", ttl_s=300) as lease:
            first, wanted = ledger.read_lease("promote x"), timedelta(seconds=0.3)
            assert first is not None
            until = first.until
            wait_until(lambda: (row := ledger.read_lease("promote x")) is not None and row.until - until > wanted)
            lease.renew("applying")
            run = [sys.executable, "-c", TAKE, address.as_url()]
            said = subprocess.run(run, capture_output=True, text=True, check=True).stdout
            assert said.startswith("ann is at it since ")
            assert ": applying;" in said
        assert ledger.read_lease("promote x") is None


def test_a_lease_that_ended_is_another_ones(tmp_path: Path) -> None:
    with ReleaseLedger.open(tmp_path / "ledger.db") as ledger:
        mine = take_lease(ledger, "promote x", "ann", token="a", ttl_s=0.1)
        wait_until(lambda: (found := ledger.read_lease("promote x")) is None or found.has_ended)
        take_lease(ledger, "promote x", "bob", token="b", ttl_s=60, doing="applying")
        with pytest.raises(LeaseLost, match=r"stood still for longer .*; now bob is at it since .*: applying"):
            mine.renew("verifying")
        mine.release()
        assert ledger.read_lease("promote x") is not None

"""What a promotion does to standbys, slots and subscribers, on servers that replicate."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.applying import ledger_of, wait_until
from tests.support.promoting import run_promotion
from tests.support.replication import start_replicating, start_sibling

from pgrehearse.clones.snapshot import exported_snapshot
from pgrehearse.errors import GateClosed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.postgres.connect import Connection, connect, fetch_clock, fetch_value
from pgrehearse.postgres.conninfo import ON_A_SOCKET
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rehearsal.settings import read_settings
from pgrehearse.release.freshness import judge_identity, read_production
from pgrehearse.release.promotion import PromotionRequest
from pgrehearse.release.standbys import (
    GIGABYTE,
    Judged,
    Slot,
    StandbyBounds,
    Standbys,
    judge_standbys,
    read_standbys,
)


@pytest.fixture(scope="module")
def primary(server_major: int) -> Iterator[LocalServer]:
    settings = {"wal_level": "logical", "max_standby_streaming_delay": "300s", "max_replication_slots": "8"}
    with start_replicating(server_major, **settings) as server:
        with connect(server.conninfo(), verb="test") as session:
            session.execute('CREATE TABLE "T 1" AS SELECT g AS id FROM generate_series(1, 1000) g')
            session.execute("CREATE TABLE other (id int)")
        yield server


@pytest.fixture(scope="module")
def standby(primary: LocalServer) -> Iterator[LocalServer]:
    sibling = start_sibling(primary, standby=True)
    try:
        yield sibling
    finally:
        sibling.wipe()


@pytest.fixture
def session(primary: LocalServer) -> Iterator[Connection]:
    with connect(primary.conninfo(), verb="test") as opened:
        yield opened


def receipt(**locks: str) -> dict[str, Any]:
    """As much of a receipt as is read: one statement that rewrites "T 1" under ACCESS EXCLUSIVE."""
    statement = {"locks": {'public."T 1"': "AccessExclusiveLock", **locks}, "rewrites": ['public."T 1"']}
    return {"statements": [statement], "tables": [{"name": "public.other", "verdict": "unchanged"}]}


def refused(judged: tuple[Judged, ...]) -> list[str]:
    assert all(each.remedy for each in judged if each.refused)
    return [each.sentence for each in judged if each.refused]


def test_a_standby_that_keeps_up_is_told_and_refuses_nothing(session: Connection, standby: LocalServer) -> None:
    wait_until_streaming(session)
    with connect(standby.conninfo(), verb="test") as there:
        wait_until_replayed(session, there)
        found = read_standbys(session, receipt(), standbys=[there])

    judged = judge_standbys(found, StandbyBounds())

    assert refused(judged) == []
    assert len(found.standbys) == 1
    assert found.standbys[0].state == "streaming"
    assert any("behind" in each.sentence for each in judged)
    size = fetch_value(session, "SELECT pg_total_relation_size('\"T 1\"')")
    assert found.forecast_wal_bytes == size
    assert found.free_bytes is not None
    assert found.not_measured == ()


def test_nothing_is_promoted_to_a_standby(standby: LocalServer, tmp_path: Path) -> None:
    request = PromotionRequest(
        production=standby.conninfo(), environment="prd", receipt=None, unrehearsed="try", migrations=(),
        ledger=ledger_of(SourceKind.SQL_FOLDER), mode=TransactionMode.AUTO, by={}, holder="ann",
    )  # fmt: skip
    with (
        ReleaseLedger.open(tmp_path / "ledger.db") as releases,
        pytest.raises(GateClosed, match="is a standby: nothing can be promoted to it"),
    ):
        run_promotion(request, releases)


def test_a_standby_that_stopped_replaying_refuses(session: Connection, standby: LocalServer) -> None:
    wait_until_streaming(session)
    with connect(standby.conninfo(), verb="test") as there, replay_paused(there):
        session.execute("INSERT INTO other SELECT generate_series(1, 10000)")
        wait_until(lambda: fetch_value(session, "SELECT replay_lsn < sent_lsn FROM pg_stat_replication"))
        found = read_standbys(session, receipt(), standbys=[there])

    told = refused(judge_standbys(found, StandbyBounds(max_replay_lag_gb=100 / GIGABYTE)))

    assert len(told) == 2
    assert "behind; allowed are 60 s" in told[0]
    assert "replay is paused" in told[1]
    assert refused(judge_standbys(found, StandbyBounds())) == told[1:]


@pytest.mark.pg("== 18")
def test_a_standby_is_the_database_that_was_cloned_and_no_place_to_promote_to(standby: LocalServer) -> None:
    with connect(standby.conninfo(), verb="test") as there:
        now = read_production(there, read_settings(there))
    source = {
        "system_identifier": str(now.identity.system_identifier), "database_oid": now.identity.database_oid,
        "database": now.identity.database, "lsn": None, "server_version": f"{now.identity.major}.0",
    }  # fmt: skip
    (reason,) = judge_identity({"source": source, "role": "ann"}, now, role="ann")
    assert "is a standby: nothing can be promoted to it" in reason.message
    assert reason.details == ()


@pytest.mark.pg("== 18")
def test_what_is_copied_of_a_standby_that_is_behind_is_as_old_as_what_it_shows(
    session: Connection, standby: LocalServer
) -> None:
    wait_until_streaming(session)
    with connect(standby.conninfo(), verb="test") as there:
        wait_until_replayed(session, there)
        with replay_paused(there):
            shown = fetch_clock(session)
            session.execute("INSERT INTO other VALUES (1)")
            received = "SELECT pg_last_wal_receive_lsn() > pg_last_wal_replay_lsn()"
            wait_until(lambda: fetch_value(there, received))
            with exported_snapshot(standby.conninfo()) as behind:
                assert behind.taken_at < shown
    with exported_snapshot(standby.conninfo()) as caught_up:
        assert caught_up.taken_at > shown


@pytest.mark.pg("== 18")
def test_what_the_primary_has_written_and_not_sent_yet_makes_a_copy_no_newer(
    session: Connection, standby: LocalServer
) -> None:
    """A link too slow for what is written: all that arrives is replayed at once."""
    wait_until_streaming(session)
    with connect(standby.conninfo(), verb="test") as there:
        wait_until_replayed(session, there)
        receiver = fetch_value(there, "SELECT pid FROM pg_stat_wal_receiver")
        os.kill(receiver, signal.SIGSTOP)
        try:
            wait_until(lambda: Path(f"/proc/{receiver}/stat").read_text().rpartition(")")[2].split()[0] == "T")
            shown = fetch_clock(session)
            session.execute("INSERT INTO other VALUES (1)")
            with exported_snapshot(standby.conninfo()) as behind:
                assert behind.taken_at < shown
        finally:
            os.kill(receiver, signal.SIGCONT)
        session.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
        wait_until(lambda: fetch_value(there, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'reader')"))
        replayed = "SELECT pg_last_xact_replay_timestamp()"
        earlier = fetch_value(there, replayed)
        with exported_snapshot(standby.conninfo(user="reader", password="reader")) as not_seen:
            assert earlier <= not_seen.taken_at <= fetch_value(there, replayed)


def test_a_query_on_a_standby_that_the_plan_would_cancel_is_named(session: Connection, standby: LocalServer) -> None:
    with (
        connect(standby.conninfo(), verb="test") as there,
        connect(standby.conninfo(), verb="reader", autocommit=False) as reader,
    ):
        wait_until_replayed(session, there)
        reader.execute('SELECT count(*) FROM "T 1"')
        pid = fetch_value(reader, "SELECT pg_backend_pid()")
        found = read_standbys(session, receipt(**{"public.other": "ShareLock"}), standbys=[there])
        reader.rollback()
        reader.execute("SELECT count(*) FROM other")  # the plan's lock on it lets readers go on
        others = read_standbys(session, receipt(**{"public.other": "ShareLock"}), standbys=[there])

    judged = judge_standbys(found, StandbyBounds(max_cancelled_s=0))

    expected = f'process {pid} on standby {found.asked[0].name} has been reading public."T 1" for 0 s'
    assert refused(judged) == [f"{expected}: replay of the plan's lock cancels it after 300 s"]
    assert refused(judge_standbys(found, StandbyBounds())) == []
    assert others.asked[0].queries == ()


def test_another_server_is_not_taken_for_a_standby(session: Connection, server: LocalServer) -> None:
    with connect(server.conninfo(), verb="test") as there:
        found = read_standbys(session, receipt(), standbys=[there])

    assert found.asked == ()
    assert "is no standby" in found.not_measured[0]
    assert any("not measured" in each.sentence for each in judge_standbys(found, StandbyBounds()))


def test_slots_that_hold_wal_back_are_told_and_refuse_beyond_their_bound(session: Connection) -> None:
    session.execute("SELECT pg_create_physical_replication_slot('idle', true)")
    session.execute("SELECT pg_create_logical_replication_slot('logical', 'pgoutput')")
    try:
        session.execute("INSERT INTO other SELECT generate_series(1, 10000)")
        found = read_standbys(session, receipt())
    finally:
        session.execute("SELECT pg_drop_replication_slot(name) FROM unnest('{idle,logical}'::text[]) name")

    within = [each.sentence for each in judge_standbys(found, StandbyBounds())]
    beyond = refused(judge_standbys(found, StandbyBounds(max_retained_wal_gb=0)))

    assert [each.name for each in found.slots] == ["idle", "logical"]
    assert any(each.startswith("physical slot idle, which nobody uses, holds") for each in within)
    assert [each.split(",")[0] for each in beyond] == ["physical slot idle", "logical slot logical"]


def test_a_slot_that_the_rewrite_would_cost_refuses() -> None:
    slot = Slot(name="s", kind="physical", is_active=True, database=None, wal_status="extended",
                spare_bytes=20_000_000, retained_bytes=1)  # fmt: skip
    found = Standbys(slots=(slot,), forecast_wal_bytes=30_000_000, free_bytes=10**12)

    assert refused(judge_standbys(found, StandbyBounds())) == [
        "physical slot s is given up after 19 MB more of WAL (max_slot_wal_keep_size), "
        "and the rewritten tables alone write 29 MB"
    ]


def test_a_disk_that_the_rewrite_would_fill_refuses() -> None:
    found = Standbys(forecast_wal_bytes=10 * GIGABYTE, free_bytes=21 * GIGABYTE)

    assert "free are 21 GB, 2 GB of which must remain" in refused(judge_standbys(found, StandbyBounds()))[0]
    assert refused(judge_standbys(found, StandbyBounds(min_free_gb=1))) == []


def test_publications_and_subscriptions_of_the_plans_tables_are_told(primary: LocalServer, session: Connection) -> None:
    session.execute('CREATE PUBLICATION ours FOR TABLE "T 1"')
    session.execute("CREATE PUBLICATION others FOR TABLE other")
    session.execute("SELECT pg_create_logical_replication_slot('sub', 'pgoutput')")
    session.execute("CREATE DATABASE subscriber")
    address = primary.conninfo().replaced(**dict.fromkeys(ON_A_SOCKET)).text
    try:
        with connect(primary.conninfo("subscriber"), verb="test") as there:
            there.execute('CREATE TABLE "T 1" (id int); CREATE TABLE other (id int)')
            option = "WITH (create_slot = false, slot_name = 'sub', copy_data = false)"
            there.execute(f"CREATE SUBSCRIPTION sub CONNECTION '{address}' PUBLICATION ours {option}".encode())
            subscribed = read_standbys(there, receipt())
            there.execute("ALTER SUBSCRIPTION sub DISABLE; ALTER SUBSCRIPTION sub SET (slot_name = NONE)")
            there.execute("DROP SUBSCRIPTION sub")
        published = read_standbys(session, receipt())
    finally:
        session.execute("DROP DATABASE subscriber WITH (FORCE)")
        wait_until(lambda: not fetch_value(session, "SELECT bool_or(active) FROM pg_replication_slots"))
        session.execute("SELECT pg_drop_replication_slot('sub')")
        session.execute("DROP PUBLICATION ours; DROP PUBLICATION others")

    assert published.publications == {"ours": ('public."T 1"',)}
    assert published.subscriptions == {}
    assert subscribed.subscriptions == {"sub": ('public."T 1"',)}
    told = [each.sentence for each in judge_standbys(subscribed, StandbyBounds())]
    assert any(each.startswith('subscription sub writes to public."T 1"') for each in told)


def test_a_missing_synchronous_standby_refuses(primary: LocalServer, session: Connection) -> None:
    session.execute("SET synchronous_commit = on")
    session.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    try:
        session.execute("SELECT pg_reload_conf()")
        wait_until(lambda: read_standbys(session, receipt()).commit_waits)
        found = read_standbys(session, receipt())
        session.execute("SET synchronous_commit = local")
        local = read_standbys(session, receipt())
    finally:
        session.execute("ALTER SYSTEM RESET synchronous_standby_names")
        session.execute("SELECT pg_reload_conf()")

    assert [each for each in refused(judge_standbys(found, StandbyBounds())) if "every COMMIT waits" in each]
    assert not [each for each in refused(judge_standbys(local, StandbyBounds())) if "every COMMIT waits" in each]


def test_a_role_that_may_not_see_replication_is_told_so(
    primary: LocalServer, session: Connection, standby: LocalServer
) -> None:
    wait_until_streaming(session)
    session.execute("DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN PASSWORD 'plain'")

    with connect(primary.conninfo(user="plain", password="plain"), verb="test") as plain:
        found = read_standbys(plain, receipt())
        assert found.free_bytes is None

    told = [each for each in judge_standbys(found, StandbyBounds()) if "may not see how far" in each.sentence]
    assert len(told) == 1
    assert not told[0].refused


@contextmanager
def replay_paused(there: Connection) -> Iterator[None]:
    there.execute("SELECT pg_wal_replay_pause()")
    try:
        wait_until(lambda: fetch_value(there, "SELECT pg_get_wal_replay_pause_state() = 'paused'"))
        yield
    finally:
        there.execute("SELECT pg_wal_replay_resume()")


def wait_until_streaming(session: Connection) -> None:
    wait_until(lambda: fetch_value(session, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'"))


def wait_until_replayed(session: Connection, there: Connection) -> None:
    here = fetch_value(session, "SELECT pg_current_wal_lsn()")
    wait_until(lambda: fetch_value(there, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (here,)))

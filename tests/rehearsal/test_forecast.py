"""What production would feel of a lock: its own figures, times how long the clone saw the lock held."""

import pytest

from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.statements import split_file
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.locks import LockMode
from pgrehearse.rehearsal.forecast import (
    Forecasting,
    HeldLock,
    Outcome,
    Reading,
    find_held_locks,
    find_unmeasured_forecast,
    forecast,
    read_calls,
)
from pgrehearse.rehearsal.render_contention import forecast_title, forecast_told

STRONG, SHARE = LockMode.ACCESS_EXCLUSIVE, LockMode.SHARE


def traced(line: int, locks: dict[str, LockMode], ms: float, transaction: int | None) -> StatementTrace:
    content = ("\n" * (line - 1) + "SELECT 1").encode()
    migration = Migration(version="1", name="m", path="m.sql", kind=SourceKind.AD_HOC, content=content)
    (statement,) = split_file(content, path="m.sql", kind=SourceKind.AD_HOC)
    return StatementTrace(
        migration=migration, statement=statement, duration_ms=ms, rows_affected=None, locks=locks, rewrites=(),
        scans_under_lock=(), error=None, sampled=False, transaction=transaction,
    )  # fmt: skip


def held(relation: str, mode: LockMode, ms: float) -> HeldLock:
    return HeldLock(relation=relation, mode=mode, file="m.sql", line=1, held_ms=ms)


def test_a_lock_is_held_until_its_transaction_ends() -> None:
    traces = [
        traced(1, {"public.a": LockMode.ROW_EXCLUSIVE}, 1000, 1),
        traced(2, {"public.a": SHARE}, 10, 1),
        traced(3, {"public.a": STRONG, "public.b": SHARE}, 20, 1),
        traced(4, {}, 300, 1),
        traced(5, {"public.b": STRONG}, 400, 2),
        traced(6, {"public.c": STRONG}, 50, None),
        traced(7, {}, 5000, None),
    ]
    found = [(each.relation, each.mode, each.line, each.held_ms) for each in find_held_locks(traces)]
    assert found == [
        ("public.b", STRONG, 5, 720),
        ("public.a", STRONG, 2, 330),
        ("public.c", STRONG, 6, 50),
    ]


def test_scans_and_rows_written_are_taken_where_no_statements_are_counted() -> None:
    locks = (held("public.users", STRONG, 4200), held("public.log", SHARE, 1000), held("public.parent", STRONG, 500))
    first = Reading(
        at_s=100.0, reset_at=None, tables={"public.users": (5000, 10), "public.log": (0, 0), "public.parent": None}
    )
    second = Reading(
        at_s=102.0, reset_at=None, tables={"public.users": (5620, 10), "public.log": (80, 100), "public.parent": None}
    )
    found = forecast(locks, first, second)
    assert (found.outcome, found.counted_by, found.sampled_s) == (Outcome.MEASURED, "pg_stat_user_tables", 2.0)
    assert [(each.lock.relation, each.reads_per_s, each.writes_per_s, each.would_wait) for each in found.locks] == [
        ("public.users", 310.0, 0.0, 1302.0),
        ("public.log", 40.0, 50.0, 50.0),  # readers pass a ShareLock
    ]
    assert [each.what for each in find_unmeasured_forecast(found)] == ["forecast for public.parent"]
    contention = {"forecast": found.as_json()}
    assert forecast_told(contention) == [
        "holds AccessExclusive on public.users for 4.2 s on the clone; production does 310 scans/s and 0 rows "
        "written/s there: about 1,300 of them would wait",
        "holds Share on public.log for 1.0 s on the clone; production does 50 rows written/s there: about 50 of them "
        "would wait",
    ]
    assert forecast_title(contention) == "Forecast for production (by pg_stat_user_tables over 2.0 s)"


def test_statements_are_counted_by_the_relation_that_they_name() -> None:
    locks = (held("public.users", STRONG, 1000), held('app."Odd ""x"""', SHARE, 1000))
    tables = {"public.users": (0, 0), 'app."Odd ""x"""': (0, 0)}
    before = {
        1: ("SELECT * FROM users u JOIN other USING (id) WHERE id = $1", 10),
        2: ("UPDATE public.users SET v = $1", 0),
        3: ('INSERT INTO app."Odd ""x""" SELECT id FROM users', 5),
        4: ("WITH gone AS (DELETE FROM users RETURNING id) SELECT count(*) FROM gone", 0),
        5: ("WITH users AS (SELECT $1) SELECT * FROM users", 0),
        6: ("SELECT * FROM other.users", 0),
        7: ("VACUUM ??? cut", 0),
    }
    more = {1: 100, 2: 20, 3: 8, 4: 4, 5: 1000, 6: 1000, 7: 1000}
    after = {number: (text, calls + more[number]) for number, (text, calls) in before.items()}
    after[8] = ("COPY users FROM STDIN", 2)
    after[9] = ("COPY users TO STDOUT", 2)
    found = forecast(
        locks,
        Reading(at_s=10.0, reset_at="x", tables=tables, statements=before),
        Reading(at_s=12.0, reset_at="x", tables=tables, statements=after),
    )
    assert found.counted_by == "pg_stat_statements"
    assert [(each.reads_per_s, each.writes_per_s) for each in found.locks] == [
        ((100 + 8 + 2) / 2, (20 + 4 + 2) / 2),
        (0, 8 / 2),
    ]


def test_statements_that_were_forgotten_meanwhile_count_for_nothing() -> None:
    first = Reading(at_s=1.0, reset_at=None, tables={"public.a": (2, 2)}, statements={1: ("SELECT FROM a", 9)})
    for statements in ({1: ("SELECT FROM a", 3)}, {2: ("SELECT v FROM a", 3)}):
        second = Reading(at_s=2.0, reset_at=None, tables={"public.a": (7, 2)}, statements=statements)
        found = forecast((held("public.a", STRONG, 500),), first, second)
        assert (found.counted_by, found.locks[0].reads_per_s) == ("pg_stat_user_tables", 5)


@pytest.mark.parametrize(
    ("reset_at", "scans"), [("later", 5), (None, 1)], ids=["counters reset", "a table's counters reset"]
)
def test_counters_that_were_reset_meanwhile_forecast_nothing(reset_at: str | None, scans: int) -> None:
    first = Reading(at_s=1.0, reset_at=None, tables={"public.a": (2, 2)})
    second = Reading(at_s=2.0, reset_at=reset_at, tables={"public.a": (scans, 2)})
    found = forecast((held("public.a", STRONG, 500),), first, second)
    assert found.outcome is Outcome.NOT_MEASURED
    assert [each.what for each in find_unmeasured_forecast(found)] == ["forecast for production"]


@pytest.mark.pg(">= 15")
def test_production_is_asked_read_only_and_only_where_a_lock_was_felt(
    database: Conninfo, connection: Connection
) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)")
    connection.execute("SELECT pg_stat_force_next_flush()")
    nowhere = database.replaced(port="1")
    short = Forecasting.begin(nowhere, [traced(1, {"public.t": STRONG}, 99, 1)], sample_s=9)
    assert short.finish().outcome is Outcome.NOTHING
    connection.execute("CREATE TABLE parted (id int) PARTITION BY LIST (id)")
    traces = [traced(1, {"public.t": STRONG, "public.parted": STRONG}, 2000, 1)]
    lost = Forecasting.begin(nowhere, traces, sample_s=9).finish()
    assert (lost.outcome, lost.locks) == (Outcome.NOT_MEASURED, ())

    asked = Forecasting.begin(database, traces, sample_s=0.1)
    for _ in range(6):
        connection.execute("SET enable_indexscan = off; SELECT count(*) FROM t")
    connection.execute("UPDATE t SET id = id + 100 WHERE id = 1")
    connection.execute("SELECT pg_stat_force_next_flush()")
    found = asked.finish()
    assert (found.outcome, found.counted_by) == (Outcome.MEASURED, "pg_stat_user_tables")
    (lock,) = found.locks
    assert found.not_counted == ("public.parted",)
    assert found.sampled_s is not None
    assert round(lock.writes_per_s * found.sampled_s) == 1
    assert round(lock.reads_per_s * found.sampled_s) >= 7
    assert lock.would_wait == pytest.approx(2 * (lock.reads_per_s + lock.writes_per_s))


@pytest.mark.pg("== 18")
def test_a_server_that_counts_nothing_is_told(database: Conninfo, connection: Connection) -> None:
    connection.execute(f"CREATE TABLE t (); ALTER DATABASE {database.database} SET track_counts = off".encode())
    found = Forecasting.begin(database, [traced(1, {"public.t": STRONG}, 2000, 1)], sample_s=0).finish()
    assert (found.outcome, found.reason) == (Outcome.NOT_MEASURED, "track_counts is off there: nothing is counted")


@pytest.mark.pg("== 15")  # the one that is here with pg_stat_statements
def test_statements_are_counted_by_those_who_may_see_all_of_them(server: LocalServer) -> None:
    settings = {"shared_preload_libraries": "pg_stat_statements"}
    with (
        LocalServer.create(server.binaries, settings=settings) as counting,
        connect(counting.conninfo(), verb="test") as session,
    ):
        session.execute("CREATE EXTENSION pg_stat_statements; CREATE TABLE t (id int PRIMARY KEY); CREATE ROLE app")
        asked = Forecasting.begin(counting.conninfo(), [traced(1, {"public.t": STRONG}, 1000, 1)], sample_s=0)
        for number in range(20):
            session.execute("SELECT * FROM t WHERE id = %s", (number,))
        session.execute("INSERT INTO t SELECT generate_series(1, 100)")
        found = asked.finish()
        assert found.counted_by == "pg_stat_statements"
        assert found.sampled_s is not None
        (lock,) = found.locks
        assert round(lock.reads_per_s * found.sampled_s) == 20
        assert round(lock.writes_per_s * found.sampled_s) == 1
        session.execute("SET ROLE app")
        assert read_calls(session) is None  # what others sent is hidden, and its relations are not known

"""Locks that do not come: what is tried again, who is named, when we give way; and CONCURRENTLY, which waits."""

import threading
import time

import psycopg
import pytest
from tests.support.applying import (
    BOTH,
    TABLE,
    plan_of,
    recorded,
    rows,
    run_plan,
    wait_until,
)

from pgrehearse.errors import (
    BlockedOthers,
    LockNotAcquired,
    MigrationFailed,
)
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

LOCKED = "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = '{}'::regclass AND {}"
# Nothing to wait for once the other one has what it wanted.
WAIT_FOR_THE_OTHER = f"""
DO $$ BEGIN
    WHILE EXISTS ({LOCKED.format("u", "granted")}) AND NOT EXISTS ({LOCKED.format("t", "NOT granted")}) LOOP
        PERFORM pg_sleep(0.01);
    END LOOP;
END $$;
"""


@pytest.mark.pg(">= 15")
@BOTH
def test_lock_timeout_rolls_the_segment_back_and_tries_again(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute(TABLE)
    plan = plan_of("INSERT INTO t VALUES (1); ALTER TABLE t ADD b int;", kind=kind)
    told: list[str] = []
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute("SELECT * FROM t")

        def tell(line: str) -> None:
            told.append(line)
            holder.rollback()

        applied = run_plan(database, plan, tell=tell)
    assert applied.retries == 1
    assert rows(connection, "SELECT count(*) FROM t") == [(1,)]
    assert "canceling statement due to lock timeout" in told[0]


@pytest.mark.pg("== 18")
@BOTH
def test_attempts_are_bounded_and_the_holder_is_named(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute(TABLE)
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute("SELECT * FROM t")
        # The watchdog looks each 0.1 s: three such waits leave it time on a busy machine, too.
        limits = Limits(lock_timeout_ms=500, attempts=3, backoff_s=0.05, max_block_s=None)
        with pytest.raises(LockNotAcquired, match=r"in 3 attempts; we waited for pid \d+ \(pgrehearse:holder"):
            run_plan(database, plan_of("ALTER TABLE t ADD b int;", kind=kind), limits=limits)
    assert recorded(connection, kind) == []


@pytest.mark.pg("== 18")
def test_a_deadlock_is_tried_again_and_another_error_is_not(database: Conninfo, connection: Connection) -> None:
    connection.execute("CREATE TABLE t (a int); CREATE TABLE u (a int)")
    # Whoever looks for a deadlock first is its victim, and only once it has waited for this long.
    plan = plan_of(f"SET deadlock_timeout = '1ms'; LOCK t; {WAIT_FOR_THE_OTHER} LOCK u; INSERT INTO t VALUES (1);")
    with connect(database, verb="other", autocommit=False) as other:
        other.execute("SET LOCAL deadlock_timeout = '1h'; LOCK u")

        def lock_the_other_way_round() -> None:
            wait_until(lambda: rows(connection, LOCKED.format("t", "granted")))
            other.execute("LOCK t")
            other.commit()

        thread = threading.Thread(target=lock_the_other_way_round)
        thread.start()
        applied = run_plan(database, plan, limits=Limits(lock_timeout_ms=60_000, backoff_s=0.05, max_block_s=None))
        thread.join()
    assert applied.retries == 1
    with pytest.raises(MigrationFailed, match=r"division by zero.*22012"):
        run_plan(database, plan_of("SELECT 1/0;", kind=SourceKind.AD_HOC))


@pytest.mark.pg(">= 15")
@BOTH
def test_the_watchdog_cancels_us_when_others_wait_behind_us(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute(TABLE)
    plan = plan_of("ALTER TABLE t ADD b int; SELECT pg_sleep(300);", kind=kind)
    failures: list[BaseException] = []

    def migrate() -> None:
        try:
            run_plan(database, plan, limits=Limits(max_block_s=0.3))
        except MigrationFailed as error:
            failures.append(error)

    thread = threading.Thread(target=migrate)
    thread.start()
    wait_until(lambda: rows(connection, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"))
    began = time.monotonic()
    connection.execute("SELECT * FROM t")  # waits behind ALTER TABLE
    waited_s = time.monotonic() - began
    thread.join()
    assert waited_s >= 0.15  # half of it: below a second there is no half second to be early by
    (error,) = failures
    assert isinstance(error, BlockedOthers)
    assert "pgrehearse:test" in str(error)
    assert "SELECT * FROM t" in str(error)
    assert recorded(connection, kind) == []


@pytest.mark.pg("== 18")
def test_the_watchdog_sees_sessions_of_other_roles_and_cancels_under_another_role(
    database: Conninfo, connection: Connection
) -> None:
    connection.execute("CREATE ROLE plain_watch")
    try:
        connection.execute(f"GRANT CREATE ON DATABASE {database.database} TO plain_watch")
        connection.execute("CREATE TABLE t (a int); ALTER TABLE t OWNER TO plain_watch")

        def as_plain(verb: str) -> Connection:
            session = connect(database, verb=verb)
            session.execute("SET ROLE plain_watch")
            return session

        def wait_behind() -> None:
            with connect(database, verb="app") as app:
                wait_until(lambda: rows(app, LOCKED.format("t", "granted")))
                app.execute("SELECT * FROM t")

        waiter = threading.Thread(target=wait_behind)
        waiter.start()
        with pytest.raises(BlockedOthers, match=r"pid \d+ \(pgrehearse:app, postgres\) waited"):
            run_plan(
                database,
                plan_of("ALTER TABLE t ADD b int; SELECT pg_sleep(300);"),
                sessions=as_plain,
                limits=Limits(max_block_s=0.3),
            )
        waiter.join()
    finally:
        connection.execute("DROP OWNED BY plain_watch; DROP ROLE plain_watch")


@pytest.mark.pg("== 18")
def test_the_watchdog_sees_who_waits_behind_our_own_waiting(database: Conninfo, connection: Connection) -> None:
    connection.execute(TABLE)
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute("SELECT * FROM t")
        outcome: list[BaseException] = []

        def migrate() -> None:
            try:
                run_plan(
                    database, plan_of("ALTER TABLE t ADD b int;"), limits=Limits(lock_timeout_ms=0, max_block_s=0.3)
                )
            except MigrationFailed as error:
                outcome.append(error)

        thread = threading.Thread(target=migrate)
        thread.start()
        wait_until(lambda: rows(connection, LOCKED.format("t", "NOT granted")))
        connection.execute("SELECT * FROM t")  # the holder only reads, so it is we who are in the way
        thread.join()
    assert isinstance(outcome[0], BlockedOthers)


@pytest.mark.pg("== 18")
@BOTH
def test_concurrently_waits_longer_than_lock_timeout_for_old_transactions(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute(TABLE)
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute("INSERT INTO t VALUES (1)")
        threading.Timer(0.8, holder.commit).start()
        applied = run_plan(database, plan_of("CREATE INDEX CONCURRENTLY i ON t (a);", kind=kind))
    assert applied.retries == 0
    assert rows(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") == [(True,)]


@pytest.mark.pg("== 18")
@BOTH
def test_a_failed_unique_index_is_dropped_before_the_next_try(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
    plan = plan_of("CREATE UNIQUE INDEX CONCURRENTLY ON t (a);", kind=kind)
    with pytest.raises(MigrationFailed, match="INVALID index may be left"):
        run_plan(database, plan)
    assert rows(connection, "SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass") == [(False,)]
    connection.execute("DELETE FROM t WHERE ctid = '(0,1)'")
    told: list[str] = []
    assert run_plan(database, plan, tell=told.append).resumed == ("0001_step",)
    assert rows(connection, "SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass") == [(True,)]
    assert any("INVALID index t_a_idx that it left was dropped" in line for line in told)


@pytest.mark.pg("== 18")
def test_an_invalid_index_that_if_not_exists_would_keep_is_told(database: Conninfo, connection: Connection) -> None:
    connection.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)")
    connection.execute("DELETE FROM t")
    plan = plan_of("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);")
    told: list[str] = []
    run_plan(database, plan, tell=told.append)
    assert any("the index i was there before, INVALID" in line for line in told)

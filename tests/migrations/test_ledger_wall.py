"""The wall against a tool that knows nothing of us: here a session that does what drizzle-kit does."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.support.applying import DRIZZLE, Notes, plan_of, recorded, rows, run_plan, wait_until

from pgrehearse.errors import ConcurrentRunner
from pgrehearse.migrations.ledger_wall import MOST_QUEUED
from pgrehearse.migrations.observer import Running
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

pytestmark = pytest.mark.pg("== 18")
READ = "SELECT count(*) FROM drizzle.__drizzle_migrations"
WAITING = """
SELECT mode FROM pg_locks WHERE NOT granted AND relation = 'drizzle.__drizzle_migrations'::regclass AND pid = %s
"""
THREE = (
    "CREATE TABLE t (a int);",
    "CREATE INDEX CONCURRENTLY i ON t (a);",
    "INSERT INTO t VALUES (1);--> statement-breakpoint\nCREATE INDEX CONCURRENTLY j ON t (a);",
)


class Stranger(threading.Thread):
    """Sends one statement in a session of its own, and keeps the answer."""

    def __init__(self, database: Conninfo, statement: str) -> None:
        super().__init__(daemon=True)
        self.session = connect(database.replaced(application_name="not ours"), verb="stranger")
        self.statement = statement
        self.answer: Any = None

    def run(self) -> None:
        cursor = self.session.execute(self.statement)
        self.answer = cursor.fetchone() if cursor.description else cursor.statusmessage

    def is_waiting(self, looking: Connection) -> bool:
        return bool(looking.execute(WAITING, (self.session.info.backend_pid,)).fetchall())


class Meets(Notes):
    """Calls something before the n-th statement."""

    def __init__(self, number: int, what: Callable[[], None]) -> None:
        super().__init__()
        self._number = number
        self._what = what

    def before(self, running: Running) -> None:
        self._number -= 1
        if self._number == 0:
            self._what()


@contextmanager
def stranger(database: Conninfo, statement: str) -> Iterator[Stranger]:
    found = Stranger(database, statement)
    try:
        yield found
    finally:
        if found.ident is not None:
            found.join(120)
        found.session.close()


def test_who_reads_the_ledger_meanwhile_waits_over_all_commits_and_retries(
    database: Conninfo, connection: Connection
) -> None:
    run_plan(database, plan_of("SELECT 1;", kind=DRIZZLE))
    connection.execute("TRUNCATE drizzle.__drizzle_migrations")
    told: list[str] = []
    with stranger(database, READ) as reader, connect(database, verb="holder", autocommit=False) as holder:

        def arrive() -> None:
            reader.start()
            wait_until(lambda: reader.is_waiting(connection))

        def hold() -> None:
            holder.execute("SELECT * FROM held")

        def tell(line: str) -> None:
            told.append(line)
            holder.rollback()

        connection.execute("CREATE TABLE held (a int)")
        hold()
        # VACUUM refuses a transaction too, but waits for no snapshot: see test_reader_in_a_circle
        texts = (text.replace("CREATE INDEX CONCURRENTLY", "VACUUM t; --") for text in THREE)
        plan = plan_of(*texts, "ALTER TABLE held ADD b int;", kind=DRIZZLE)
        applied = run_plan(database, plan, observer=Meets(1, arrive), tell=tell)
        assert applied.retries == 1
        reader.join(120)
        assert reader.answer == (4,)


def test_a_queued_session_holds_no_snapshot(database: Conninfo, connection: Connection) -> None:
    found: list[Any] = []
    query = (
        "SELECT count(*), count(backend_xmin) FROM pg_stat_activity WHERE query LIKE 'LOCK TABLE%' AND state = 'active'"
    )
    run_plan(database, plan_of(*THREE, kind=DRIZZLE), observer=Meets(1, lambda: found.extend(rows(connection, query))))
    assert found == [(3, 0)]


def test_a_runner_that_is_in_the_middle_of_our_files_is_named(database: Conninfo, connection: Connection) -> None:
    with connect(database, verb="other", autocommit=False) as other:

        def runs_the_same() -> None:
            other.execute("CREATE TABLE another (a int)")
            other.execute("\nCREATE TABLE u (a int);\n")

        plan = plan_of("CREATE TABLE t (a int);", "CREATE TABLE u (a int);", kind=DRIZZLE)
        with pytest.raises(ConcurrentRunner, match=r"pid \d+ \(pgrehearse:other, .*is running statements of 0002_step"):
            run_plan(database, plan, observer=Meets(1, runs_the_same))
    assert recorded(connection, DRIZZLE) == []
    assert rows(connection, "SELECT to_regclass('t')") == [(None,)]


def test_a_runner_that_waits_to_record_its_own_is_named(database: Conninfo, connection: Connection) -> None:
    insert = "INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('x', 1)"
    with stranger(database, insert) as writer:

        def arrive() -> None:
            writer.start()
            wait_until(lambda: writer.is_waiting(connection))

        with pytest.raises(ConcurrentRunner, match="is waiting to record a migration of its own"):
            run_plan(database, plan_of("CREATE TABLE t (a int);", kind=DRIZZLE), observer=Meets(1, arrive))
    assert rows(connection, "SELECT to_regclass('t')") == [(None,)]
    assert recorded(connection, DRIZZLE) == ["x"]


def test_with_more_segments_than_sessions_we_stop_before_a_stranger_gets_between(
    database: Conninfo, connection: Connection
) -> None:
    steps = "".join(
        f"INSERT INTO t VALUES ({number});--> statement-breakpoint\nVACUUM t;--> statement-breakpoint\n"
        for number in range(MOST_QUEUED)
    )
    plan = plan_of("CREATE TABLE t (a int);", steps, "INSERT INTO t VALUES (99);", kind=DRIZZLE)
    with stranger(database, READ) as reader:

        def arrive() -> None:
            reader.start()
            wait_until(lambda: reader.is_waiting(connection))

        with pytest.raises(
            ConcurrentRunner, match="ahead of our next step; 0001_step is applied and recorded; of 0002"
        ):
            run_plan(database, plan, observer=Meets(1, arrive))
        reader.join(120)
        assert reader.answer == (1,)
    run_plan(database, plan)
    assert rows(connection, "SELECT count(*), count(DISTINCT a) FROM t") == [(MOST_QUEUED + 1, MOST_QUEUED + 1)]
    assert len(recorded(connection, DRIZZLE)) == 3


def test_a_wall_that_somebody_else_holds_is_waited_for_and_named(database: Conninfo, connection: Connection) -> None:
    run_plan(database, plan_of("SELECT 1;", kind=DRIZZLE))
    told: list[str] = []
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute(READ)

        def tell(line: str) -> None:
            told.append(line)
            holder.rollback()

        run_plan(database, plan_of("SELECT 1;", "CREATE TABLE t (a int);", kind=DRIZZLE), tell=tell)
    assert "waiting for the migration ledger drizzle.__drizzle_migrations: pid" in told[0]
    assert len(recorded(connection, DRIZZLE)) == 2

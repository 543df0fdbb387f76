"""The wall against other tools: the ledger's table stays locked from the first segment to the last.

drizzle-kit reads its table before it runs anything.  While we hold it in ACCESS EXCLUSIVE it waits
there.  A transaction's lock ends with its COMMIT, so each segment has a session of its own, and all
of them queue for the table at the start: lock queues are first in, first out, so a commit hands the
table to our next session, ahead of any drizzle-kit that came later (decision 0001).
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from pgrehearse.errors import ConcurrentRunner, MigrationFailed, PgRehearseError, ServerUnreachable
from pgrehearse.migrations.foreign_runner import Stranger, find_holder, find_waiting_since
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.session_state import SessionState
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries

MOST_QUEUED = 16
POLL_S = 0.002
WAIT_ATTEMPTS = 3
CHECK_INTERVAL = "client_connection_check_interval"
QUEUED_CHECK_INTERVAL_MS = 100
_QUERIES = named_queries(__file__.replace("ledger_wall", "foreign_runner"))
_SET_PLAIN = sql.SQL("SET {} = {}")  # not set_config(): a query would take a snapshot
_OID = "SELECT pg_catalog.to_regclass(%s)::oid::bigint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """An executing session: its work lock is held, its settings are ours."""

    session: Connection
    pid: int
    baseline: SessionState


@dataclass(slots=True)
class _Queued:
    """A session that waits, in a thread, for the ledger's table inside an open transaction."""

    executor: Executor
    thread: threading.Thread
    failure: list[BaseException] = field(default_factory=list)


class LedgerWall:
    """Sessions that take the ledger's table one after another.  Context manager: leaving it closes them.

    ``watch`` is an autocommit session for looking; ``open_executor`` opens an executing one and
    registers its pid in ``ours``.
    """

    def __init__(
        self,
        ledger: MigrationLedger,
        *,
        watch: Connection,
        open_executor: Callable[[], Executor],
        ours: set[int],
        wait_s: float,
        tell: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._watch = watch
        self._open_executor = open_executor
        self._ours = ours
        self._wait_s = wait_s
        self._tell = tell
        self._queue: deque[_Queued] = deque()
        self.relation = int(fetch_value(watch, _OID, (ledger.table,)))

    def __enter__(self) -> "LedgerWall":
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Let go of the table, as far as queued sessions are concerned."""
        while self._queue:
            queued = self._queue.pop()  # from the end, so that none is granted while we close
            self._stop_waiting(queued)
            queued.executor.session.close()

    def queue(self, segments: int) -> None:
        """Have sessions queued for this many segments, as far as `MOST_QUEUED` and the server allow."""
        while len(self._queue) < min(segments, MOST_QUEUED):
            try:
                executor = self._open_executor()
            except ServerUnreachable:  # no connections left; the rest queue later, and are checked then
                if self._queue:
                    return
                raise
            self._queue.append(self._start_waiting(executor))

    def enter(self) -> Executor:
        """The next session, once it holds the table inside its open transaction."""
        if not self._queue:
            self.queue(1)
        queued = self._queue[0]
        deadline = time.monotonic() + self._wait_s
        told = False
        while queued.thread.is_alive():
            queued.thread.join(0.2)
            if queued.thread.is_alive():
                holder = find_holder(self._watch, self.relation, self._ours)
                if holder is not None and not told:
                    self._tell(f"waiting for the migration ledger {self._ledger.table}: {holder}")
                    told = True
                if time.monotonic() >= deadline:
                    raise ConcurrentRunner(f"{holder or 'another session holds the migration ledger'}; waited too long")
        self._queue.popleft()
        if queued.failure:
            raise queued.failure[0]
        session = queued.executor.session
        session.execute("RESET statement_timeout")
        defaults = dict(queued.executor.baseline.settings)
        for name in ("lock_timeout", "statement_timeout", CHECK_INTERVAL):
            if name in defaults:
                session.execute(_SET_PLAIN.format(sql.Identifier(name), sql.Literal(int(defaults[name]))))
        return queued.executor

    def put_back(self, executor: Executor) -> None:
        """The next `enter` returns this session again: it did nothing, and still holds the table."""
        thread = threading.Thread()  # never started, so it is not alive: granted
        self._queue.appendleft(_Queued(executor=executor, thread=thread))

    def find_intruder(self) -> Stranger | None:
        """Who would get the table before our next session when the present one commits."""
        before = self._queue[0].executor.pid if self._queue else None
        return find_waiting_since(self._watch, self.relation, self._ours, before)

    def _start_waiting(self, executor: Executor) -> _Queued:
        # SET takes no snapshot.  LOCK takes none of its own, but looks names up in the catalog, and that
        # snapshot lives until the wait is over: CREATE INDEX CONCURRENTLY would wait for it, and it for us.
        # A failed try fills this session's caches, after which nothing is looked up.
        waiting = {"lock_timeout": 0, "statement_timeout": 0}
        if CHECK_INTERVAL in dict(executor.baseline.settings):  # a killed run's queue must not keep its rerun waiting
            waiting[CHECK_INTERVAL] = QUEUED_CHECK_INTERVAL_MS
        for setting, value in waiting.items():
            executor.session.execute(_SET_PLAIN.format(sql.Identifier(setting), sql.Literal(value)))
        for _ in range(WAIT_ATTEMPTS):
            self._warm_caches(executor)
            queued = self._wait_in_thread(executor)
            if self._watch.execute(_QUERIES["holds_snapshot"], (executor.pid,)).fetchone() is None:
                return queued
            self._stop_waiting(queued)
        raise MigrationFailed(
            "a session that waits for the migration ledger keeps holding a snapshot, which CONCURRENTLY would wait for",
            remedy="Run again; if it comes back, something keeps changing the ledger's table or its namespace.",
        )

    def _warm_caches(self, executor: Executor) -> None:
        executor.session.execute("BEGIN")
        executor.session.execute("SET LOCAL lock_timeout = 1")
        with suppress(psycopg.errors.LockNotAvailable):
            self._ledger.lock(executor.session)
        executor.session.execute("ROLLBACK")

    def _wait_in_thread(self, executor: Executor) -> _Queued:
        failure: list[BaseException] = []

        def wait() -> None:
            try:
                self._ledger.lock(executor.session)
            except (psycopg.Error, PgRehearseError) as error:
                failure.append(error)

        executor.session.execute("BEGIN")
        thread = threading.Thread(target=wait, name=f"pgrehearse-ledger-{executor.pid}", daemon=True)
        thread.start()
        deadline = time.monotonic() + 10
        parameters = {"relation": self.relation, "pid": executor.pid}
        while thread.is_alive() and time.monotonic() < deadline:
            if self._watch.execute(_QUERIES["state_of_wait"], parameters).fetchone():
                break  # it stands in the queue, so the next one comes behind it
            time.sleep(POLL_S)
        return _Queued(executor=executor, thread=thread, failure=failure)

    def _stop_waiting(self, queued: _Queued) -> None:
        with suppress(psycopg.Error):
            queued.executor.session.cancel_safe(timeout=5)
        queued.thread.join(10)
        with suppress(psycopg.Error):
            queued.executor.session.execute("ROLLBACK")

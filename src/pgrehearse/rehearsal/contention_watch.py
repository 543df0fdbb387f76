"""Who waits for whom while the plan runs beside traffic, and the reader that was there before it."""

import threading
import time
from collections.abc import Sequence
from types import TracebackType

import psycopg
from psycopg import sql

from pgrehearse.migrations.observer import NoObserver, Running, StatementError
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rehearsal.contention import LockWaits
from pgrehearse.rehearsal.contention_traffic import DEADLOCK

QUERIES = named_queries(__file__)
LOOK_EVERY_S = 0.02
LOCK_TIMEOUT = "55P03"


class OutOfTimeError(Exception):
    """The run under traffic took longer than it may."""


class PlanUnderTraffic(NoObserver):
    """Observes the plan's own session: who it is, when it began, and how often it gave way."""

    def __init__(self, *, until_s: float) -> None:
        self._until_s = until_s  # of the monotonic clock
        self.begun_s: float | None = None
        self.pids: list[int] = []
        self.lock_timeouts = 0
        self.deadlocks = 0

    def before(self, running: Running) -> None:
        now = time.monotonic()
        if now > self._until_s:
            raise OutOfTimeError
        if self.begun_s is None:
            self.begun_s = now
        if running.backend_pid not in self.pids:
            self.pids = [*self.pids, running.backend_pid]

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        if error is not None:
            self.lock_timeouts += error.sqlstate == LOCK_TIMEOUT
            self.deadlocks += error.sqlstate == DEADLOCK


class Reader:
    """A report or a backup that began before the plan: one open transaction that has read every relation.

    It lets go ``hold_s`` after the plan first waits for it, or with `close`.
    """

    def __init__(self, session: Connection, names: Sequence[tuple[str, str]], *, hold_s: float) -> None:
        self._session = session
        self._hold_s = hold_s
        self._release_at: float | None = None
        self._holds = False
        try:
            session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            for name in names:
                session.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(*name)))
            self._holds = True
        except psycopg.Error:
            session.close()  # one that may not be read, and there is no reader at all
        except BaseException:
            session.close()
            raise

    @property
    def holds(self) -> bool:
        return self._holds

    def plan_waits(self, *, waits: bool) -> None:
        """Told by the watch, in its thread."""
        now = time.monotonic()
        if self._holds and waits and self._release_at is None:
            self._release_at = now + self._hold_s
        if self._release_at is not None and now >= self._release_at:
            self.close()

    def close(self) -> None:
        if self._holds:
            self._holds = False
            self._session.close()


class LockWatch:
    """Looks at the server's locks every `LOOK_EVERY_S` while the context is open; `waits` sums up.

    A wait that is shorter than a look may be missed.  Ends, without a word, with its session.
    """

    def __init__(self, session: Connection, plan: PlanUnderTraffic, reader: Reader) -> None:
        self._session = session
        self._plan = plan
        self._reader = reader
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="pgrehearse-lock-watch", daemon=True)
        self._of_plan: dict[tuple[int, str], float] = {}  # by session and when its wait began
        self._behind_plan: dict[tuple[int, str], float] = {}
        self._longest_queue = 0
        self.looked = True  # whether it looked to the end

    def __enter__(self) -> "LockWatch":
        self._session.prepare_threshold = 0
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(LOOK_EVERY_S + 10)
        self._reader.close()
        self._session.close()

    @property
    def waits(self) -> LockWaits:
        return LockWaits(
            plan_ms=sum(self._of_plan.values()),
            behind_plan_ms=max(self._behind_plan.values(), default=0.0),
            longest_queue=self._longest_queue,
        )

    def _watch(self) -> None:
        try:
            while not self._stop.wait(LOOK_EVERY_S):
                self._look()
        except psycopg.Error:
            self.looked = False

    def _look(self) -> None:
        plan_waits, behind = False, 0
        rows = self._session.execute(QUERIES["waits"], {"plan": self._plan.pids})
        for pid, is_plan, since, waited_ms, by_plan in rows.fetchall():
            if is_plan:
                plan_waits = True
                self._of_plan[pid, since] = waited_ms
            elif by_plan:
                behind += 1
                self._behind_plan[pid, since] = waited_ms
        if plan_waits:
            self._longest_queue = max(self._longest_queue, behind)
        self._reader.plan_waits(waits=plan_waits)

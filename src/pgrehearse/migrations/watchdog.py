"""Looks on from a session of its own: who waits behind our migration, and whom we wait for."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import psycopg

from pgrehearse.migrations.ledger_wall import Executor
from pgrehearse.migrations.runner_lock import NAMESPACE
from pgrehearse.migrations.secrets import shown_query
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

_QUERIES = named_queries(__file__)
POLL_S = 0.1
HEADROOM_S = 0.5  # from a look to the waiter's release: up to one poll, the look, the cancel, the rollback
CANCEL_TIMEOUT_S = 5.0
# It has no process: pg_blocking_pids() tells it as 0.
PREPARED = "a prepared transaction (pg_prepared_xacts names it; COMMIT PREPARED or ROLLBACK PREPARED ends it)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """A session of somebody else that waited behind us for too long."""

    pid: int
    application: str
    user: str
    waited_s: float
    mode: str
    relation: str | None
    query: str

    def __str__(self) -> str:
        what = f" on {self.relation}" if self.relation else ""
        return (
            f"pid {self.pid} ({self.application or 'no application name'}, {self.user}) waited {self.waited_s:.1f} s "
            f"for {self.mode}{what}: {shown_query(self.query)}"
        )


class Watchdog(threading.Thread):
    """Cancels our statement before others have waited behind us for ``max_block_s``.

    It does so half a second early (at half of it, where it is below a second), since the lock must be free by then.

    ``ours`` are our sessions' pids, ``ledger_relation`` the table that others are meant to wait for.
    Cost: one look at ungranted locks each 0.1 s, planned once; `pg_blocking_pids` only for a session that has waited
    too long, since it takes every lock partition.
    """

    def __init__(
        self,
        session: Connection,
        *,
        ours: Callable[[], list[int]],
        ledger_relation: int,
        max_block_s: float | None,
        tell: Callable[[str], None],
    ) -> None:
        super().__init__(name="pgrehearse-watchdog", daemon=True)
        self.blocked: Blocked | None = None  # set once: we must stop
        self.waited_for: str | None = None  # who held what we last waited for
        self.own_wall = False  # our statement waits for our own lock on the ledger's table
        self.circle: str | None = None  # a reader of the ledger that we wait for, and may not cancel
        self._session = session
        session.prepare_threshold = 0  # two questions of our own, always the same, ten times a second
        self._tell = tell
        self._sent_away: set[int] = set()
        self._ours = ours
        self._relation = ledger_relation
        self._patience_s = None if max_block_s is None else max(max_block_s - HEADROOM_S, max_block_s / 2)
        self._executing: Executor | None = None
        self._guard = threading.Lock()
        self._stopped = threading.Event()

    def executing(self, executor: Executor | None) -> None:
        """Which session is to be cancelled; None between segments."""
        with self._guard:
            self._executing = executor

    def stop(self) -> None:
        self._stopped.set()
        self.join(10)
        self._session.close()

    def run(self) -> None:
        while not self._stopped.wait(POLL_S):
            with self._guard:
                executor = self._executing
            if executor is None:
                continue
            try:
                self._look(executor)
            except psycopg.Error:
                if self._session.closed or self._session.broken:
                    return  # the executing session will meet the same trouble and tell it
                time.sleep(POLL_S)

    def _look(self, executor: Executor) -> None:
        ours = self._ours()
        pid = executor.pid
        row = self._session.execute(
            _QUERIES["we_wait_for"], {"pid": pid, "ours": ours, "relation": self._relation}
        ).fetchone()
        if row is not None:
            holder, application, user, state, query, own_wall = row
            if own_wall:
                self.own_wall = True
                self._cancel(executor)
            else:
                told = f"pid {holder} ({application or 'no application name'}, {user}, {state}: {shown_query(query)})"
                self.waited_for = PREPARED if holder == 0 else told
                self._break_circle(executor, ours)
        if self._patience_s is not None and self.blocked is None:
            self.blocked = self._find_blocked(ours, self._patience_s)
        if self.blocked is not None:  # each time anew: a request that comes between two statements is lost
            self._cancel(executor)

    def _find_blocked(self, ours: list[int], patience_s: float) -> Blocked | None:
        found = self._session.execute(
            _QUERIES["blocked_by_us"],
            {"ours": ours, "relation": self._relation, "namespace": NAMESPACE, "patience_s": patience_s},
        ).fetchone()
        if found is None:
            return None
        waiter, application, user, waited_s, mode, relation, query = found
        return Blocked(
            pid=waiter, application=application or "", user=user or "unknown", waited_s=float(waited_s), mode=mode,
            relation=relation, query=query or "",
        )  # fmt: skip

    def _break_circle(self, executor: Executor, ours: list[int]) -> None:
        """Cancel a read of the ledger (a drizzle-kit that has run nothing yet) for which CONCURRENTLY waits in vain.

        It then ends with an error, and that is the truth: it was told to migrate, and has not.
        """
        row = self._session.execute(
            _QUERIES["reader_in_a_circle"], {"pid": executor.pid, "ours": ours, "relation": self._relation}
        ).fetchone()
        if row is None:
            return
        reader, application, user, query = row
        told = f"pid {reader} ({application or 'no application name'}, {user}: {shown_query(query)})"
        try:
            self._session.execute("SELECT pg_catalog.pg_cancel_backend(%s)", (reader,))
        except psycopg.errors.InsufficientPrivilege:
            self.circle = told
            self._cancel(executor)
            return
        if reader not in self._sent_away:
            self._sent_away.add(reader)
            self._tell(
                f"cancelled the read of the migration ledger by {told}: CONCURRENTLY waits for its snapshot, and it "
                "for us.  It has changed nothing; run it again afterwards."
            )

    def _cancel(self, executor: Executor) -> None:
        """By libpq's cancel request, which needs no right: `pg_cancel_backend` does, of one who SET another role."""
        with self._guard:
            if self._executing is executor:
                executor.session.cancel_safe(timeout=CANCEL_TIMEOUT_S)

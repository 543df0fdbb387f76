"""The locks of a statement that runs outside any transaction, seen from other sessions.

Such a statement (CONCURRENTLY, VACUUM) has given its locks back when it ends, so nobody can ask it.
It is made to wait where its locks show: one session holds SHARE UPDATE EXCLUSIVE on every table, so
that its first request stands in `pg_locks` until it was read; another holds ROW EXCLUSIVE, for which
CREATE INDEX CONCURRENTLY waits while it holds its lock, and behind which any ACCESS EXCLUSIVE request
shows.  In between, and with too many tables to hold, `pg_locks` is sampled about once a millisecond.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence

import psycopg
from psycopg import sql

from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.locks import LockMode, strongest
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.postgres.pooler import BACKEND_PID

SAMPLE_INTERVAL_S = 0.001
PRODUCTION_INTERVAL_S = 0.2  # a look at pg_locks takes every partition of the lock table
MOST_HELD = 1000  # tables; the lock table of a shared server has room for some thousands
HELD_MODES = (  # given back in this order
    sql.SQL("LOCK TABLE {tables} IN SHARE UPDATE EXCLUSIVE MODE"),
    sql.SQL("LOCK TABLE {tables} IN ROW EXCLUSIVE MODE"),
)

_QUERIES = named_queries(__file__)


class OutsideLocks(threading.Thread):
    """Watches one backend until `stop`; two sessions are opened where tables can be held.

    Makes the statement wait for a few milliseconds, never longer than it takes to read `pg_locks`; without
    ``open_session`` never, and samples seldom.
    """

    def __init__(
        self, watch: Connection, open_session: Callable[[], Connection] | None, pid: int, oids: Sequence[int]
    ) -> None:
        super().__init__(name="pgrehearse-outside-locks", daemon=True)
        self._watch = watch
        self._pid = pid
        self._oids = list(oids)
        self._found: dict[int, LockMode] = {}
        self._stopped = threading.Event()
        self._holders: list[tuple[int, Connection]] = []  # the server's process; a pooler gives libpq another number
        self._waited_for = 0
        self._interval_s = SAMPLE_INTERVAL_S if open_session is not None else PRODUCTION_INTERVAL_S
        if open_session is not None and 0 < len(self._oids) <= MOST_HELD:
            with contextlib.suppress(psycopg.Error):  # a right or a slot is missing: sampling is left
                self._hold(open_session)

    @property
    def is_exact(self) -> bool:
        """Whether the statement was seen waiting for each holder, so that no lock of its can have gone unseen."""
        return self._waited_for == len(HELD_MODES)

    def run(self) -> None:
        while not self._stopped.is_set():
            try:
                blocked_by = self._sample()
            except psycopg.Error:  # the clone is being dropped under us; what was seen until now stands
                break
            if self._holders and self._holders[0][0] in blocked_by:
                self._waited_for += 1
                self._release()
            else:
                self._stopped.wait(self._interval_s)
        while self._holders:
            self._release()

    def stop(self) -> dict[int, LockMode]:
        """The strongest mode seen on each of the relations."""
        self._stopped.set()
        self.join()
        return self._found

    def _hold(self, open_session: Callable[[], Connection]) -> None:
        names = list(self._watch.execute(_QUERIES["lockable"], (self._oids,)))
        if not names:
            return
        tables = sql.SQL(", ").join(sql.SQL("ONLY {}").format(sql.Identifier(*name)) for name in names)
        for mode in HELD_MODES:
            session = open_session()
            self._holders.append((fetch_value(session, BACKEND_PID), session))
            session.execute("SET lock_timeout = '1s'")
            session.execute("BEGIN")
            session.execute(mode.format(tables=tables))

    def _sample(self) -> list[int]:
        # Who blocks is asked first: a request that came between the two questions is then released one round later,
        # when its mode was read.
        blocking = "SELECT pg_catalog.pg_blocking_pids(%s)"
        row = self._watch.execute(blocking, (self._pid,)).fetchone() if self._holders else None
        for oid, mode in self._watch.execute(_QUERIES["locks_of"], (self._pid, self._oids)):
            self._found[oid] = strongest(self._found.get(oid), LockMode(mode))
        return list(row[0]) if row is not None else []

    def _release(self) -> None:
        with contextlib.suppress(psycopg.Error):
            self._holders.pop(0)[1].close()

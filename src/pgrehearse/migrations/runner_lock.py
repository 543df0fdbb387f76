"""The wall between our own runs: two advisory locks, so that a rerun waits for its own orphan.

``turn`` is held by the run itself.  ``work`` is shared by every session that executes statements: a
killed run's turn is free at once, but its backend may still be building an index (decision 0001).
Advisory locks are per database, so the keys are the same everywhere.
"""

import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from pgrehearse.errors import RunnerBusy
from pgrehearse.migrations.secrets import shown_query
from pgrehearse.postgres.connect import Connection, fetch_value

NAMESPACE = 0x70677265  # 'pgre'
TURN = 1
WORK = 2
POLL_S = 0.05
ASK_EACH_S = 1.0

_TRY = "SELECT pg_catalog.pg_try_advisory_lock(%s, %s)"
_RELEASE = "SELECT pg_catalog.pg_advisory_unlock(%s, %s)"
_SHARE = "SELECT pg_catalog.pg_advisory_lock_shared(%s, %s)"
_HOLDERS = """
SELECT l.pid, a.application_name, a.usename::text, COALESCE(host(a.client_addr), 'local socket'),
       a.backend_start::text, COALESCE(a.state, 'unknown'), COALESCE(a.query, '')
FROM pg_catalog.pg_locks l
LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
WHERE l.locktype = 'advisory' AND l.granted AND l.classid = %s AND l.objid = %s AND l.objsubid = 2
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
  AND l.pid <> pg_catalog.pg_backend_pid()
"""
_TERMINATE = "SELECT pg_catalog.pg_terminate_backend(%s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A session that holds one of the two locks."""

    pid: int
    application: str
    user: str
    address: str
    since: str
    state: str
    query: str

    def __str__(self) -> str:
        query = shown_query(self.query)
        doing = f", running: {query}" if self.state == "active" else f", {self.state}"
        who = f"pid {self.pid} ({self.application or 'no application name'}, {self.user}"
        return f"{who} from {self.address}, connected since {self.since}{doing})"


@contextmanager
def take_turn(session: Connection, *, wait_s: float, end_orphan: bool, tell: Callable[[str], None]) -> Iterator[float]:
    """Hold the turn while the caller runs; yields the milliseconds waited.

    Waits for other runs and for orphans of killed ones, telling once who they are; with
    ``end_orphan`` terminates them, if they are sessions of ours.  Raises `RunnerBusy` after ``wait_s``.
    """
    began = time.monotonic()
    deadline = began + wait_s
    _take(session, TURN, deadline, end_orphan=end_orphan, tell=tell)
    try:
        _take(session, WORK, deadline, end_orphan=end_orphan, tell=tell)
        session.execute(_RELEASE, (NAMESPACE, WORK))  # nobody else starts to work while the turn is ours
        yield (time.monotonic() - began) * 1000
    finally:
        with suppress(psycopg.Error):  # a lost session has released it already
            session.execute(_RELEASE, (NAMESPACE, TURN))


class Turn:
    """Whether the turn is still ours: only while the session that took it lives.

    A server that ends a session says so, and the socket becomes readable.  Only a network that swallows that could
    hide it, and a server takes `tcp_keepalives_idle` (30 s) to give up such a session: asking each second is enough.
    """

    def __init__(self, guard: Connection) -> None:
        self._guard = guard
        self._asked = -ASK_EACH_S

    def require(self) -> None:
        """Raises the server's error if that session is gone.  Cost: a system call, once a second a round trip."""
        now = time.monotonic()
        told_something = bool(select.select([self._guard.fileno()], [], [], 0)[0])
        if told_something or now - self._asked >= ASK_EACH_S:
            self._guard.execute("SELECT 1")
            self._asked = now


def share_work(session: Connection) -> None:
    """Mark this session as one that executes; until it ends, however it ends."""
    session.execute(_SHARE, (NAMESPACE, WORK))


def read_holders(session: Connection, key: int) -> tuple[Holder, ...]:
    rows = session.execute(_HOLDERS, (NAMESPACE, key)).fetchall()
    return tuple(
        Holder(
            pid=pid, application=application or "", user=user or "unknown", address=address, since=since or "unknown",
            state=state, query=query,
        )
        for pid, application, user, address, since, state, query in rows
    )  # fmt: skip


def _take(session: Connection, key: int, deadline: float, *, end_orphan: bool, tell: Callable[[str], None]) -> None:
    told: frozenset[int] = frozenset()
    ended: set[int] = set()
    while not fetch_value(session, _TRY, (NAMESPACE, key)):
        holders = read_holders(session, key)
        names = "; ".join(map(str, holders)) or "a session that cannot be seen"
        pids = frozenset(holder.pid for holder in holders)
        if end_orphan:
            for holder in holders:
                if holder.application.startswith("pgrehearse:") and holder.pid not in ended:
                    ended.add(holder.pid)
                    tell(f"ending {holder}")
                    session.execute(_TERMINATE, (holder.pid,))
        elif pids - told:
            what = "another run" if key == TURN else "what a killed run left behind"
            tell(f"waiting for {what}: {names}")
            told |= pids
        if time.monotonic() >= deadline:
            what = "another run of pgrehearse" if key == TURN else "a statement that a killed run left behind"
            raise RunnerBusy(f"{what} still holds the lock between runners: {names}")
        time.sleep(POLL_S)

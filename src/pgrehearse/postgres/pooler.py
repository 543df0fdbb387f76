"""Connection poolers between us and the server: told, and refused where a session must be ours alone.

A pooler in transaction mode hands each transaction to whichever server process is free: settings, advisory
locks, temporary tables and an exported snapshot are then somebody else's.
"""

import contextlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import psycopg

from pgrehearse.errors import PgRehearseError, PoolerRefused
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo

BEGIN_WAIT_S = 1.5  # for a connected session's BEGIN: more than a round trip around the world
MARKER_READS = 20  # each a transaction of its own, behind which a pooler may give the server to others
BACKEND_PID = "SELECT pg_catalog.pg_backend_pid()"
SET_MARKER = "SELECT pg_catalog.set_config('pgrehearse.session', %s, false)"
READ_MARKER = "SELECT pg_catalog.current_setting('pgrehearse.session', true)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPath:
    """What lies between us and the server process."""

    address: str
    proxied: bool  # libpq was told another backend pid than the server's own
    kept: bool  # consecutive transactions of one connection run in one server session

    @property
    def told(self) -> str | None:
        """A sentence for the user; None where there is nothing to tell."""
        if not self.proxied:
            return None
        return f"{self.address} is reached through a proxy or pooler (the backend pid differs)"


def find_direct(conninfo: Conninfo) -> Conninfo | None:
    """The direct address behind a platform's pooler, as its naming rules give it; None where none is known.

    Neon: ``ep-x-pooler.region…`` is ``ep-x.region…``.  Supabase: port 6543 is the transaction pooler, 5432
    of the same host keeps sessions.
    """
    host = conninfo.parameters.get("host", "")
    first, dot, rest = host.partition(".")
    if first.endswith("-pooler"):
        return conninfo.replaced(host=f"{first.removesuffix('-pooler')}{dot}{rest}")
    if re.search(r"\.supabase\.(com|co)$", host) and conninfo.parameters.get("port") == "6543":
        return conninfo.replaced(port=5432)
    return None


def require_direct_name(conninfo: Conninfo) -> None:
    """Refuse, without connecting, a host that says by its name that it is a pooler.  Raises `PoolerRefused`."""
    direct = find_direct(conninfo)
    if direct is not None:
        raise PoolerRefused(
            f"{conninfo.address} is a connection pooler; a session of our own is needed",
            remedy=f"Use the direct host: {direct.address}.",
        )


def require_session(conninfo: Conninfo, *, nonce: str = "pgrehearse") -> SessionPath:
    """Make sure that a connection is one server session for as long as it lives.

    Raises `PoolerRefused` (exit 2) for a pooler by name or by behaviour, `ServerUnreachable` (exit 4).
    Opens two connections for some milliseconds; changes nothing.
    """
    require_direct_name(conninfo)
    path = read_session_path(conninfo, nonce=nonce)
    if not path.kept:
        raise PoolerRefused(
            f"{conninfo.address} leads through a pooler that does not keep the session "
            "(two transactions of one connection ran in different server processes)",
            remedy="Use the server's own host and port, or a pooler port in session mode.",
        )
    return path


def read_session_path(conninfo: Conninfo, *, nonce: str = "pgrehearse") -> SessionPath:
    """Find out by two interleaved connections.

    Both begin, the first commits, then the second: a pooler that gives servers back at COMMIT hands the
    first connection the server that was returned last, which is the other's.  A pool of one server gives
    the second connection the first one's server.  A marker set in the session finds poolers that choose
    otherwise.
    """
    with contextlib.closing(connect(conninfo, verb="pooler")) as one:
        one.execute("BEGIN")
        pid = fetch_value(one, BACKEND_PID)
        proxied = pid != one.info.backend_pid
        with _beginning_elsewhere(conninfo) as other:
            other.connected.wait()
            other.begun.wait(BEGIN_WAIT_S)
            one.execute("COMMIT")
            if not other.begun.wait(BEGIN_WAIT_S):  # the pool is full of whole sessions, ours among them, or busy
                other.may_commit.set()
                kept = fetch_value(one, BACKEND_PID) == pid and _keeps_marker(one, nonce)
                one.close()  # the other waits for it
                return SessionPath(address=conninfo.address, proxied=proxied, kept=kept)
        kept = other.pid != pid and fetch_value(one, BACKEND_PID) == pid
        kept = kept and (not proxied or _keeps_marker(one, nonce))
        return SessionPath(address=conninfo.address, proxied=proxied, kept=kept)


@dataclass(slots=True)
class _OtherSession:
    """The second connection's transaction, as seen from the first one's thread."""

    connected: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    may_commit: threading.Event = field(default_factory=threading.Event)
    pid: int | None = None
    failure: Exception | None = None

    def run(self, conninfo: Conninfo) -> None:
        try:
            with contextlib.closing(connect(conninfo, verb="pooler")) as two:
                self.connected.set()
                two.execute("BEGIN")
                self.pid = fetch_value(two, BACKEND_PID)
                self.begun.set()
                self.may_commit.wait()
                two.execute("COMMIT")
        except (psycopg.Error, PgRehearseError) as error:
            self.failure = error
        finally:
            self.connected.set()
            self.begun.set()


@contextlib.contextmanager
def _beginning_elsewhere(conninfo: Conninfo) -> Iterator[_OtherSession]:
    """A second connection that begins, in a thread because a full pool makes it wait; leaving commits it."""
    other = _OtherSession()
    thread = threading.Thread(target=other.run, args=(conninfo,), daemon=True)
    thread.start()
    try:
        yield other
    finally:
        other.may_commit.set()
        thread.join()
    if other.failure is not None:
        raise other.failure


def _keeps_marker(one: Connection, nonce: str) -> bool:
    """Whether a setting made by one transaction is there in the following ones."""
    one.execute(SET_MARKER, (nonce,))
    kept = all(fetch_value(one, READ_MARKER) == nonce for _ in range(MARKER_READS))
    one.execute(SET_MARKER, ("",))
    return kept

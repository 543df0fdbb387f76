"""Which database a connection reaches, and whether two connections reach the same one.

Identifiers cannot decide it: a base backup, a disk snapshot and a platform's branch all keep the
``system_identifier`` and the oids of what they were copied from.  What decides is a handshake: a
random advisory lock taken through one connection is looked for in ``pg_locks`` through the other.
"""

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import cast

import psycopg

from pgrehearse.postgres.connect import Connection, fetch_value

REPLICA_WAIT_S = 5.0

# pg_locks shows the advisory locks of every database of the server, each with its database's oid.
# A bigint key is split: classid has its high, objid its low 32 bits, and objsubid is 1.
SEEN_ADVISORY_LOCK = """
SELECT l.database = d.oid AS same_database
FROM pg_catalog.pg_locks l, pg_catalog.pg_database d
WHERE d.datname = pg_catalog.current_database()
  AND l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted
  AND ((l.classid::pg_catalog.int8 << 32) | l.objid::pg_catalog.int8) = %s
"""

IDENTITY = """
SELECT d.oid::pg_catalog.int8, d.datname::pg_catalog.text,
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4, pg_catalog.pg_is_in_recovery()
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
"""

SYSTEM_IDENTIFIER = "SELECT system_identifier::pg_catalog.int8 FROM pg_catalog.pg_control_system()"

# A standby that has replayed the record of an ACCESS EXCLUSIVE lock shows that lock as held by its startup process.
SEEN_REPLAYED_LOCK = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_locks l
               WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.granted
                 AND l.database = %s AND l.relation = %s),
       pg_catalog.pg_last_wal_replay_lsn() >= %s::pg_catalog.pg_lsn
"""


HANDSHAKE_TABLE = """
SELECT d.oid::pg_catalog.int8, c.oid::pg_catalog.int8 FROM pg_catalog.pg_class c, pg_catalog.pg_database d
WHERE c.relname = 'pgrehearse_handshake' AND c.relnamespace = pg_catalog.pg_my_temp_schema()
  AND d.datname = pg_catalog.current_database()
"""


class Nearness(Enum):
    """How close two connections end up to each other."""

    SAME_DATABASE = "same database"
    SAME_SERVER = "same server"
    DIFFERENT_SERVERS = "different servers"


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseIdentity:
    """What a database says of itself.  Copies made from files say the same: a suspicion, never a proof."""

    address: str  # host/database as it was reached, without secrets
    database: str
    database_oid: int
    system_identifier: int | None  # None: the role may not read pg_control_system()
    server_version: int  # server_version_num: 150018
    in_recovery: bool

    @property
    def major(self) -> int:
        return self.server_version // 10000

    def as_json(self) -> dict[str, object]:
        return {
            "address": self.address,
            "database": self.database,
            "database_oid": self.database_oid,
            # 64 bits do not survive a JSON reader that has only doubles
            "system_identifier": None if self.system_identifier is None else str(self.system_identifier),
            "server_version": self.server_version,
            "in_recovery": self.in_recovery,
        }


def read_identity(connection: Connection) -> DatabaseIdentity:
    """Ask the database who it is.  Two cheap queries; works on a hot standby and for any role."""
    row = connection.execute(IDENTITY).fetchone()
    assert row is not None
    oid, name, version, in_recovery = row
    return DatabaseIdentity(
        address=_address(connection, name),
        database=name,
        database_oid=oid,
        system_identifier=_read_system_identifier(connection),
        server_version=version,
        in_recovery=in_recovery,
    )


def read_started_at(connection: Connection) -> datetime:
    """When the server was started, to the microsecond: what tells it from every copy of its files, promoted or not."""
    row = connection.cursor(binary=True).execute("SELECT pg_catalog.pg_postmaster_start_time()").fetchone()
    assert row is not None
    return cast("datetime", row[0])


def find_nearness(holder: Connection, looker: Connection, nonce: int) -> Nearness:
    """Decide by handshake whether two connections reach one database, one server, or neither.

    ``nonce`` is 64 random bits.  It is locked in a transaction of ``holder`` (so that a pooler in
    transaction mode keeps it) and looked for through ``looker``.  Nothing is written; both may be hot
    standbys.  A standby and its primary hold separate lock tables and count as different servers here:
    see `is_replica_of`.
    """
    key = nonce & 0xFFFFFFFFFFFFFFFF
    signed = key - (1 << 64) if key >= 1 << 63 else key
    with holder.transaction():
        holder.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s::pg_catalog.int8)", (signed,))
        seen = looker.execute(SEEN_ADVISORY_LOCK, (signed,)).fetchone()
    if seen is None:
        return Nearness.DIFFERENT_SERVERS
    return Nearness.SAME_DATABASE if seen[0] else Nearness.SAME_SERVER


def same_server(a: Connection, b: Connection, nonce: int) -> bool:
    """Whether both connections reach one running server, whatever hosts, sockets and proxies lie between."""
    return find_nearness(a, b, nonce) is not Nearness.DIFFERENT_SERVERS


def same_database(a: Connection, b: Connection, nonce: int) -> bool:
    """Whether both connections reach one database of one running server."""
    return find_nearness(a, b, nonce) is Nearness.SAME_DATABASE


def is_replica_of(standby: Connection, primary: Connection, *, wait_s: float = REPLICA_WAIT_S) -> bool | None:
    """Whether what ``standby`` replays is what ``primary`` writes: True, False, or None when it cannot be told.

    Handshake through the WAL: ``primary`` locks a temporary table of its own ACCESS EXCLUSIVE, which is
    logged and shows in the standby's ``pg_locks`` for as long as it is held.  A standby that has replayed
    past that record without the lock follows another server.  Leaves nothing on the primary; only worth
    asking where the system identifiers are equal.  Raises `psycopg.Error`.
    """
    primary.execute("CREATE TEMPORARY TABLE pgrehearse_handshake ()")
    try:
        return _sees_lock(standby, primary, wait_s)
    finally:
        with contextlib.suppress(psycopg.Error):
            primary.execute("DROP TABLE pg_temp.pgrehearse_handshake")


def _sees_lock(standby: Connection, primary: Connection, wait_s: float) -> bool | None:
    row = primary.execute(HANDSHAKE_TABLE).fetchone()
    if row is None:
        return None  # a proxy gave another session
    place = (row[0], row[1])
    deadline = time.monotonic() + wait_s

    def seen_until(wanted: bool, lsn: str) -> bool | None:
        past = False
        while True:
            answer = standby.execute(SEEN_REPLAYED_LOCK, (*place, lsn)).fetchone()
            assert answer is not None
            if answer[0] is wanted or past:  # past the record before this look, and still not as wanted
                return bool(answer[0])
            past = wanted and answer[1]
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)

    # The table's own creation held that lock too, and a twin gives its table the same oid: wait for its end.
    if seen_until(False, "0/0") is None:
        return None
    with primary.transaction(force_rollback=True):
        primary.execute("LOCK TABLE pg_temp.pgrehearse_handshake IN ACCESS EXCLUSIVE MODE")
        lsn = fetch_value(primary, "SELECT pg_catalog.pg_current_wal_insert_lsn()::pg_catalog.text")
        # Nothing has committed, so walwriter sends only whole pages: fill two behind our record.
        primary.execute("SELECT pg_catalog.pg_logical_emit_message(false, 'pgrehearse', pg_catalog.repeat('-', 16384))")
        return seen_until(True, lsn)


def _read_system_identifier(connection: Connection) -> int | None:
    try:
        with connection.transaction():
            row = connection.execute(SYSTEM_IDENTIFIER).fetchone()
    except psycopg.Error:  # not granted, or a platform without a control file
        return None
    return None if row is None else cast("int", row[0])


def _address(connection: Connection, database: str) -> str:
    info = connection.info
    port = "" if info.port == 5432 else f":{info.port}"
    return f"{info.host or info.hostaddr}{port}/{database}"

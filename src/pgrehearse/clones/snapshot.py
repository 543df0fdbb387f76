"""One instant of the source, held open: an exported snapshot which pg_dump and our own reading share."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import cast

import psycopg

from pgrehearse.postgres.connect import Connection, connect, fetch_clock, fetch_value
from pgrehearse.postgres.conninfo import Conninfo

# A setting of the role or the database must not end a copy that takes an hour, nor keep us from writing into it;
# unknown ones are left out (transaction_timeout is new in 17).
NO_TIMEOUTS = """
SELECT pg_catalog.set_config(name, CASE vartype WHEN 'bool' THEN 'off' ELSE '0' END, false)
FROM pg_catalog.pg_settings
WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
               'idle_session_timeout', 'transaction_timeout', 'default_transaction_read_only',
               'quote_all_identifiers')
"""

# How far the server that a replica streams from had written, and when by its clock, as its last message said; what has
# arrived may be far less.  No row of a primary, nor where nothing is streamed or the role may not see it
# (pg_read_all_stats): then the replica may be behind by any time.
WRITTEN = """
SELECT GREATEST(pg_catalog.pg_last_wal_receive_lsn(), r.latest_end_lsn)::pg_catalog.text, r.last_msg_send_time
FROM pg_catalog.pg_stat_wal_receiver r
WHERE pg_catalog.pg_is_in_recovery() AND r.latest_end_lsn IS NOT NULL AND r.last_msg_send_time IS NOT NULL
"""
HAS_REPLAYED = "SELECT pg_catalog.pg_last_wal_replay_lsn() >= %s::pg_catalog.pg_lsn"
# The primary's clock at the last commit that the replica shows; where it has replayed none since it was started, at the
# checkpoint that it was started from.
LAST_REPLAYED = """
SELECT COALESCE(pg_catalog.pg_last_xact_replay_timestamp(),
                (SELECT checkpoint_time FROM pg_catalog.pg_control_checkpoint()))
WHERE pg_catalog.pg_is_in_recovery()
"""
REPLAY_WAIT_S = 2.0
POLL_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The instant, and the session that holds it: a READ ONLY, REPEATABLE READ transaction."""

    connection: Connection
    exported: str  # for SET TRANSACTION SNAPSHOT and pg_dump --snapshot
    lsn: str | None  # a replica's is what it has replayed; None where the platform does not tell
    taken_at: datetime  # the source's clock, just before the snapshot; of a replica, see `read_moment`


@contextlib.contextmanager
def exported_snapshot(source: Conninfo, *, verb: str = "clone") -> Iterator[Snapshot]:
    """Open and export a snapshot; closing the context ends it.

    Holds back VACUUM on the source (on a replica: may be cancelled by recovery, 40001) while it is open.
    Takes no lock.  Raises `ServerUnreachable`.
    """
    with connect(source, verb=verb) as connection:
        connection.execute(NO_TIMEOUTS)
        lsn = read_lsn(connection)
        taken_at = read_moment(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        exported = fetch_value(connection, "SELECT pg_catalog.pg_export_snapshot()")
        yield Snapshot(connection=connection, exported=exported, lsn=lsn, taken_at=taken_at)


def read_moment(connection: Connection) -> datetime:
    """From when the data is that this session sees: now; of a replica, since when it may be behind.

    That is, by the primary's clock, when it sent its last message, if all that was written by then is replayed within
    two seconds; else the last replayed commit.  Behind another replica it is that one's message, however late that is.
    """
    now = fetch_clock(connection)
    try:
        written = connection.cursor(binary=True).execute(WRITTEN).fetchone()
        deadline = time.monotonic() + REPLAY_WAIT_S
        while written is not None:
            if fetch_value(connection, HAS_REPLAYED, (written[0],)):
                return cast("datetime", written[1])
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_S)
        replayed = connection.cursor(binary=True).execute(LAST_REPLAYED).fetchone()
    except psycopg.Error:  # a platform that hides its WAL
        return now
    return now if replayed is None or replayed[0] is None else cast("datetime", replayed[0])


def read_lsn(connection: Connection) -> str | None:
    """Where the WAL stood: written by a primary, replayed by a replica."""
    try:
        with connection.transaction():
            lsn = fetch_value(
                connection,
                "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() "
                "ELSE pg_catalog.pg_current_wal_insert_lsn() END::pg_catalog.text",
            )
    except psycopg.Error:  # a platform that hides its WAL
        return None
    return None if lsn is None else str(lsn)

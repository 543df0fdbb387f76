"""One instant of the source, held open: an exported snapshot which pg_dump and our own reading share."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The instant, and the session that holds it: a READ ONLY, REPEATABLE READ transaction."""

    connection: Connection
    exported: str  # for SET TRANSACTION SNAPSHOT and pg_dump --snapshot
    lsn: str | None  # a replica's is what it has replayed; None where the platform does not tell
    taken_at: datetime  # the source's clock, just before the snapshot


@contextlib.contextmanager
def exported_snapshot(source: Conninfo, *, verb: str = "clone") -> Iterator[Snapshot]:
    """Open and export a snapshot; closing the context ends it.

    Holds back VACUUM on the source (on a replica: may be cancelled by recovery, 40001) while it is open.
    Takes no lock.  Raises `ServerUnreachable`.
    """
    with connect(source, verb=verb) as connection:
        connection.execute(NO_TIMEOUTS)
        lsn = read_lsn(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        taken_at = fetch_clock(connection)
        exported = fetch_value(connection, "SELECT pg_catalog.pg_export_snapshot()")
        yield Snapshot(connection=connection, exported=exported, lsn=lsn, taken_at=taken_at)


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

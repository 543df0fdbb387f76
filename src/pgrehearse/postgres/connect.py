"""Open a connection: named after the verb it serves, its failures told without secrets."""

import os
import re
from datetime import datetime
from typing import Any, LiteralString, cast

import psycopg

from pgrehearse.errors import DatabaseFenced, ServerUnreachable, UnsupportedServer
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.hidden import hide

OLDEST_MAJOR = 14
NEWEST_MAJOR = 18
CONNECT_TIMEOUT_S = 10

Connection = psycopg.Connection[tuple[Any, ...]]

NO_CONNECTION_LEFT = (
    "Every connection that it admits is in use.  Use fewer (--jobs 1), end idle ones, or raise the CONNECTION LIMIT of "
    "the database or the role, or max_connections."
)

TLS_REFUSED = (
    "TLS was not agreed on: compare sslmode, sslrootcert and channel_binding (of the URL, its service or PG* "
    "variables) with what the server offers."
)
_OF_TLS = re.compile(r"\bSSL\b|certificate|channel binding")


def connect(conninfo: Conninfo, *, verb: str, autocommit: bool = True) -> Connection:
    """Open a session whose ``application_name`` is ``pgrehearse:VERB``.

    The caller closes it.  ``search_path`` is left as the role has it: whoever reads catalogs writes
    ``pg_catalog.`` or pins it.  Raises `ServerUnreachable` (exit 4) when libpq cannot connect (`DatabaseFenced`: to
    a database that admits nobody) and `UnsupportedServer` (exit 2) outside 14-18.
    """
    extra: dict[str, Any] = {"application_name": f"pgrehearse:{verb}"}
    if "client_encoding" not in conninfo.parameters:  # SQL_ASCII, a database's or PGCLIENTENCODING's, gives bytes
        extra["client_encoding"] = "UTF8"
    if "connect_timeout" not in conninfo.parameters and "PGCONNECT_TIMEOUT" not in os.environ:
        extra["connect_timeout"] = CONNECT_TIMEOUT_S
    try:
        connection = psycopg.connect(conninfo.text, autocommit=autocommit, **extra)
    except psycopg.OperationalError as error:
        if "is not currently accepting connections" in str(error):
            raise DatabaseFenced(f"{conninfo.address} is not accepting connections") from None
        told = scrub(str(error), conninfo)
        remedy = None
        if "too many connections" in told or "connection slots" in told:
            remedy = NO_CONNECTION_LEFT
        elif _OF_TLS.search(told) and "pg_hba.conf" not in told:
            remedy = TLS_REFUSED
        raise ServerUnreachable(f"cannot connect to {conninfo.address}: {told}", remedy=remedy) from None
    # A script's '%' must reach the server as it stands, and a prepared plan must not outlive the DDL we run.
    connection.prepare_threshold = None
    major = connection.info.server_version // 10000
    if not OLDEST_MAJOR <= major <= NEWEST_MAJOR:
        connection.close()
        raise UnsupportedServer(f"{conninfo.address} runs PostgreSQL {major}; needed: {OLDEST_MAJOR} to {NEWEST_MAJOR}")
    return connection


def pinned(conninfo: Conninfo, connection: Connection) -> Conninfo:
    """The same address at the very server that this connection of its reached.

    A list of hosts, or a name with several addresses, may lead a child process to another one, where a snapshot that
    was exported here is unknown.
    """
    reached = connection.info
    if not reached.host:
        return conninfo
    return conninfo.replaced(
        host=reached.host, hostaddr=reached.hostaddr or None, port=reached.port, target_session_attrs="any",
        load_balance_hosts=None,
    )  # fmt: skip


def scrub(message: str, *conninfos: Conninfo) -> str:
    """The message with every secret of these addresses, and any URL's password, replaced by ``***``.

    One of fewer than four characters only where a password stands: elsewhere it is a part of other words.
    """
    message = hide(message, [secret for conninfo in conninfos for secret in conninfo.secrets])
    return re.sub(r"(\w+://[^:/@\s]*):[^@\s]*@", r"\1:***@", message).strip()


def fetch_clock(connection: Connection) -> datetime:
    """The server's clock now; in binary, since a session's DateStyle may write it as nobody reads it back."""
    row = connection.cursor(binary=True).execute("SELECT pg_catalog.clock_timestamp()").fetchone()
    assert row is not None
    return cast("datetime", row[0])


def fetch_value(connection: Connection, query: LiteralString, parameters: tuple[Any, ...] = ()) -> Any:
    """The single value of a query that returns one row of one column."""
    row = connection.execute(query, parameters or None).fetchone()
    if row is None:
        raise LookupError(f"no row: {query}")
    return row[0]

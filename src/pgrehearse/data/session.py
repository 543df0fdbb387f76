"""The session in which data is read: every setting that changes a value's text, or hides a row, is pinned."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import LiteralString

from psycopg.pq import TransactionStatus

from pgrehearse.postgres.connect import Connection

Sessions = Callable[[], Connection]
"""Opens a fresh autocommit session; whoever calls it closes it."""

SETTINGS: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("search_path", ""),  # format_type() then qualifies every type that is not PostgreSQL's own
    ("client_encoding", "UTF8"),
    # What changes a value's text.
    ("TimeZone", "UTC"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("lc_numeric", "C"),
    ("lc_time", "C"),
    ("xmloption", "content"),
    ("xmlbinary", "base64"),
    ("array_nulls", "on"),
    ("standard_conforming_strings", "on"),
    ("quote_all_identifiers", "off"),
    ("transform_null_equals", "off"),
    # off: a policy that would hide rows raises an error instead.
    ("row_security", "off"),
    # Timeouts that a role or a database may carry are meant for its application.
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    # Compiling hundreds of hash calls costs more than they do; sorting by key hash wants some memory.
    ("jit", "off"),
    ("work_mem", "64MB"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_isolation", "read committed"),
)
SINCE_17: tuple[tuple[LiteralString, LiteralString], ...] = (("transaction_timeout", "0"),)

SET = "SELECT pg_catalog.set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s(name, value)"


def prepare_session(connection: Connection) -> Connection:
    """Pin the settings; hands the same connection on.  Needs no right beyond an ordinary role's."""
    connection.execute("SET statement_timeout = 0")  # before anything that a short one would cut off
    settings = SETTINGS + (SINCE_17 if connection.info.server_version >= 170000 else ())
    connection.execute(SET, ([name for name, _ in settings], [value for _, value in settings]))
    return connection


@contextmanager
def bytes_as_stored(connection: Connection) -> Iterator[Callable[[str], str]]:
    """The block may read values that are no UTF-8, as an SQL_ASCII database may hold; of any other it changes nothing.

    Yields what turns a text that was read in it into a readable one: each byte that is not UTF-8 as ``\\xe9``.  A
    statement with names in it is made bytes before the block, where they still mean what they did when they were read.
    """
    if connection.info.parameter_status("server_encoding") != "SQL_ASCII":
        yield str
        return
    # Of SQL_ASCII the server converts nothing, and only asks whether the bytes are any of the client's.
    connection.execute("SET client_encoding = 'LATIN1'")
    try:
        yield lambda text: text.encode("latin-1").decode(errors="backslashreplace")
    finally:
        # What a failed transaction has set goes with it.
        if connection.info.transaction_status in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
            connection.execute("SET client_encoding = 'UTF8'")

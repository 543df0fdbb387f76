"""Rows that a server stores and cannot print: bytea is dumped as hex, and no line may be longer than 1 GB."""

import time
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
MOST_PRINTED = 0x3FFFFFFF  # MaxAllocSize of memutils.h
LOOKING_MS = 10_000  # in all; a dump that then fails says it, too
LIMIT = "SELECT pg_catalog.set_config('statement_timeout', %s, true)"
# The length stands in the pointer to the value: nothing is fetched.
FIND = "SELECT {length} FROM ONLY {table} WHERE {length} > {most} LIMIT 1"
LENGTH = "COALESCE(2 * pg_catalog.octet_length({column}::pg_catalog.bytea)::pg_catalog.int8 + 3, 0)"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnprintableRow:
    """One row of a table, the first that was met."""

    table: str
    columns: tuple[str, ...]  # that are printed as hex
    printed_bytes: int  # of those columns alone

    def __str__(self) -> str:
        return (
            f"a row of {self.table} ({', '.join(self.columns)}) takes {self.printed_bytes >> 20:,} MB as hex, and "
            f"PostgreSQL prints no row beyond {MOST_PRINTED >> 20:,} MB, so pg_dump cannot dump it"
        )


def find_unprintable_rows(connection: Connection) -> tuple[UnprintableRow, ...]:
    """The tables with such a row, as far as can be told within `LOOKING_MS`.

    Reads the rows, not their large values, of tables with a bytea and a large TOAST table.  Leaves the caller's
    transaction and settings as they were.
    """
    found: list[UnprintableRow] = []
    ends = time.monotonic() + LOOKING_MS / 1000
    for name, namespace, relation, columns in connection.execute(QUERIES["candidates"]).fetchall():
        left_ms = int((ends - time.monotonic()) * 1000)
        if left_ms <= 0:
            break
        length = sql.SQL(" + ").join(sql.SQL(LENGTH).format(column=sql.Identifier(column)) for column in columns)
        query = sql.SQL(FIND).format(
            length=length, table=sql.Identifier(namespace, relation), most=sql.Literal(MOST_PRINTED)
        )
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(LIMIT, (str(left_ms),))
                row = connection.execute(query).fetchone()
        except (psycopg.errors.QueryCanceled, psycopg.errors.LockNotAvailable):
            break  # the dump tells what else there is
        except psycopg.OperationalError:
            raise
        except psycopg.Error:  # row-level security, a damaged table
            continue
        if row is not None:
            found.append(UnprintableRow(table=name, columns=tuple(columns), printed_bytes=row[0]))
    return tuple(found)

"""In which transactions the migration ran: the xmin of the rows that it left in its migration ledger."""

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.postgres.connect import Connection

Relation = tuple[str, str]  # namespace, name
OWN: Relation = ("pgrehearse", "migrations")
DRIZZLE: Relation = ("drizzle", "__drizzle_migrations")
EXISTS = "SELECT pg_catalog.to_regclass(pg_catalog.format('%%I.%%I', %s::text, %s::text)) IS NOT NULL"


def find_migration_transactions(
    failed: Connection, restored: Connection, ledgers: Sequence[Relation] = (OWN, DRIZZLE)
) -> frozenset[int]:
    """The xids of the ledger rows which the failed database has and the restored one has not.

    Whatever a migration did in the transaction of its ledger row carries that xid; what it did in another (a
    statement outside transactions, a savepoint or an exception block) does not, and counts as the application's.
    Empty where no ledger has such a row.
    """
    found: set[int] = set()
    for ledger in ledgers:
        before = [row for _, row in _rows(restored, ledger)]
        for xid, row in _rows(failed, ledger):
            if not any(_is_same(row, old) for old in before):
                found.add(xid)
    return frozenset(found)


def _rows(session: Connection, ledger: Relation) -> list[tuple[int, dict[str, Any]]]:
    answer = session.execute(EXISTS, ledger).fetchone()
    if answer is None or not answer[0]:
        return []
    query = sql.SQL("SELECT (l.xmin::pg_catalog.text)::int8, pg_catalog.to_jsonb(l) FROM {} AS l")
    try:
        with session.transaction():
            return session.execute(query.format(sql.Identifier(*ledger))).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return []


def _is_same(row: dict[str, Any], old: dict[str, Any]) -> bool:
    """By the columns of both: drizzle's newer versions add columns to the ledger."""
    return all(row[name] == old[name] for name in row.keys() & old.keys())

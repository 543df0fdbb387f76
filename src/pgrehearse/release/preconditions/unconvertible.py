"""Rows on whose values an expression raises an error, found by asking ever smaller parts of the table.

`pg_input_is_valid` (16) would answer for a plain cast of a string, and for nothing else; this answers for any
expression on any version, in savepoints, with no function of ours in the database.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from pgrehearse.postgres.connect import Connection
from pgrehearse.release.preconditions import queries
from pgrehearse.release.preconditions.precondition import RowTest
from pgrehearse.release.preconditions.queries import RowKey, Span

MOST_ROWS_IN_A_BLOCK = 2048  # more than any block has line pointers
LEAVES = """
WITH RECURSIVE tree(oid) AS (
    SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s
    UNION
    SELECT h.inhrelid FROM tree JOIN pg_catalog.pg_inherits h ON h.inhparent = tree.oid WHERE %s
)
SELECT n.nspname::text, c.relname::text, c.relkind::text,
       CASE WHEN c.relkind IN ('r', 'm') THEN
           pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8 ELSE 0 END
FROM tree JOIN pg_catalog.pg_class c ON c.oid = tree.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p'
ORDER BY c.oid
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadRows:
    """Keys of rows that violate the condition or raise an error."""

    rows: tuple[tuple[Any, ...], ...]
    is_complete: bool
    reason: str | None = None


def find_failing_rows(session: Connection, test: RowTest, key: RowKey, *, most: int) -> BadRows:
    """At most so many of them, in the order in which they lie.

    Cost: for each some 20 probes of halves, thirds of the table and less, in savepoints of the caller's transaction.
    """
    found: list[tuple[Any, ...]] = []
    rows = test.rows
    try:
        if _fails(session, test, key, Span(first="(0,0)", beyond="(0,0)")):
            return BadRows(rows=(), is_complete=False, reason="the question fails without any row")
        for namespace, relation, kind, blocks in session.execute(
            LEAVES, (rows.namespace, rows.relation, rows.descends)
        ).fetchall():
            if kind not in ("r", "m"):
                return BadRows(rows=tuple(found), is_complete=False, reason=f"{relation} is a foreign table or a view")
            one = replace(test, rows=replace(rows, namespace=namespace, relation=relation, descends=False))
            for row in _search(session, one, key, 0, blocks):
                found.append(row)
                if len(found) >= most:
                    return BadRows(rows=tuple(found), is_complete=False)
    except psycopg.errors.QueryCanceled:
        return BadRows(rows=tuple(found), is_complete=False, reason="looking for all of them took too long")
    return BadRows(rows=tuple(found), is_complete=True)


def _search(session: Connection, test: RowTest, key: RowKey, first: int, beyond: int) -> Iterator[tuple[Any, ...]]:
    """Blocks from ``first`` up to ``beyond``: one answer where nothing fails, else their halves."""
    if first >= beyond:
        return
    answer = _ask(session, test, key, Span(first=f"({first},0)", beyond=f"({beyond},0)"))
    if answer is not None:
        yield from answer
    elif beyond - first > 1:
        middle = (first + beyond) // 2
        yield from _search(session, test, key, first, middle)
        yield from _search(session, test, key, middle, beyond)
    else:
        yield from _search_block(session, test, key, first, 0, MOST_ROWS_IN_A_BLOCK)


def _search_block(
    session: Connection, test: RowTest, key: RowKey, block: int, first: int, beyond: int
) -> Iterator[tuple[Any, ...]]:
    span = Span(first=f"({block},{first})", beyond=f"({block},{beyond})")
    answer = _ask(session, test, key, span)
    if answer is not None:
        yield from answer
    elif beyond - first > 1:
        middle = (first + beyond) // 2
        yield from _search_block(session, test, key, block, first, middle)
        yield from _search_block(session, test, key, block, middle, beyond)
    else:
        yield from session.execute(queries.all_rows(test, key, span=span)).fetchall()


def _ask(session: Connection, test: RowTest, key: RowKey, span: Span) -> list[tuple[Any, ...]] | None:
    """The violators of the span; None where a value of it raises an error."""
    try:
        with session.transaction():
            return session.execute(queries.violating_rows(test, key, span=span)).fetchall()
    except (psycopg.DataError, psycopg.IntegrityError):
        return None


def _fails(session: Connection, test: RowTest, key: RowKey, span: Span) -> bool:
    return _ask(session, test, key, span) is None

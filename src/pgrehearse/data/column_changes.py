"""What became of a column's values: its verdict, and the ways in which they changed."""

from collections.abc import Callable, Mapping

from psycopg import sql

from pgrehearse.data.columns import JSON, JSONB
from pgrehearse.data.fingerprint import Layout
from pgrehearse.data.pairing import FollowedColumn
from pgrehearse.data.tables import Table
from pgrehearse.data.value_changes import ChangeExample, ChangeKind, ValueChange
from pgrehearse.data.verdicts import ColumnVerdict
from pgrehearse.postgres.connect import Connection

JSON_TEXTS = (
    'SELECT pg_catalog.count(*) FROM ONLY {table} WHERE ({column})::pg_catalog.text COLLATE pg_catalog."C"'
    " <> ({column})::pg_catalog.jsonb::pg_catalog.text"
)


def count_json_texts(connection: Connection, layout: Layout, tables: tuple[Table, ...]) -> dict[tuple[int, str], int]:
    """Values of json, by table's oid and column, whose text is another one as jsonb: white space, the order of keys.

    One scan of the pristine table for each column that became jsonb.
    """
    found = {}
    for column in layout.compared:
        if column.type_before is None or column.type_after is None:
            continue
        if (column.type_before.oid, column.type_after.oid) != (JSON, JSONB):
            continue
        for table in tables:
            query = sql.SQL(JSON_TEXTS).format(column=column.before[table.oid].identifier, table=table.identifier)
            row = connection.execute(query).fetchone()
            assert row is not None
            found[table.oid, column.name] = int(row[0])
    return found


def changes_of(
    counts: Mapping[ChangeKind, int], *, normalised: int, example: Callable[[ChangeKind], ChangeExample | None]
) -> tuple[ValueChange, ...]:
    """The most frequent first.  ``normalised`` texts became others; those of values that changed are among them."""
    known = dict(counts)
    # A value that changed otherwise would have to be taken off, too: not known which.
    if not known.keys() - {ChangeKind.DUPLICATE_KEYS_LOST}:
        normalised -= known.get(ChangeKind.DUPLICATE_KEYS_LOST, 0)
        known |= {ChangeKind.TEXT_NORMALISED: normalised} if normalised > 0 else {}
    order = list(ChangeKind)
    return tuple(
        ValueChange(kind=kind, values=known[kind], example=example(kind))
        for kind in sorted(known, key=lambda kind: (-known[kind], order.index(kind)))
    )


def column_verdict(column: FollowedColumn, changed: int | None, lost: int | None, filled: int) -> ColumnVerdict:
    """The first that holds; the counts are None where they were not measured."""
    holds = (
        (column.reading is None, ColumnVerdict.DROPPED),
        (changed is None, ColumnVerdict.UNMEASURED),
        (bool(lost), ColumnVerdict.VALUES_LOST),
        (bool(changed), ColumnVerdict.VALUES_CHANGED),
        (bool(filled), ColumnVerdict.VALUES_GAINED),
        (column.recreated, ColumnVerdict.RECREATED),
        (column.retyped, ColumnVerdict.TYPE_CHANGED),
        (column.renamed, ColumnVerdict.RENAMED),
    )
    return next((verdict for held, verdict in holds if held), ColumnVerdict.UNCHANGED)

"""A few lost or changed rows as text, read only when they were asked for."""

from collections.abc import Iterator

from psycopg import sql

from pgrehearse.data.fingerprint import key_sql
from pgrehearse.data.pairing import FollowedColumn
from pgrehearse.data.row_stream import Row, RowSource, column_text_sql, text_sql
from pgrehearse.data.session import bytes_as_stored
from pgrehearse.data.tables import Table
from pgrehearse.data.verdicts import Sample
from pgrehearse.postgres.connect import Connection

LONGEST = 200  # characters of one value


MASKED = "(personal)"
# A column whose comment holds this word is personal, in production or by the plan; and so it is in the partitions
# and children of its table.  Reads pg_description and pg_inherits.
PERSONAL = r"""
WITH RECURSIVE marked(relation, name) AS (
    SELECT a.attrelid, a.attname
    FROM pg_catalog.pg_description d
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.objoid AND a.attnum = d.objsubid
    WHERE d.classoid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objsubid > 0
      AND d.description ~* '\mpgrehearse: ?personal\M'
    UNION
    SELECT i.inhrelid, m.name FROM marked m JOIN pg_catalog.pg_inherits i ON i.inhparent = m.relation
)
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), m.name
FROM marked m
JOIN pg_catalog.pg_class c ON c.oid = m.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""


def read_personal(*connections: Connection) -> frozenset[tuple[str, str]]:
    """Columns marked personal on any side: (namespace.relation, column's bare name).

    The mark stands in the column's comment: ``COMMENT ON COLUMN users.email IS 'pgrehearse: personal'``.
    """
    return frozenset((table, column) for each in connections for table, column in each.execute(PERSONAL))


def read_samples(
    before: RowSource,
    after: RowSource,
    examples: list[tuple[Row, Row | None]],
    personal: frozenset[tuple[str, str]] = frozenset(),
) -> tuple[Sample, ...]:
    """The rows of these examples; one scan of each table that holds one.  Personal values are masked."""
    mine = _read(before, [row for row, _ in examples])
    theirs = _read(after, [row for _, row in examples if row is not None])
    samples = []
    for row, other in examples:
        values = mine.get((row.leaf, row.key))
        if values is None:
            continue
        columns = before.layout.compared
        layout = before.layout
        key = layout.turned_round().key if layout.by_content else layout.key
        changed = theirs.get((other.leaf, other.key)) if other is not None else None
        table = before.tables[row.leaf]
        after_table = after.tables[other.leaf] if other is not None else None
        hidden = [
            (table.name, column.name) in personal
            or (after_table is not None and (after_table.name, column.after[after_table.oid].name) in personal)
            for column in columns
        ]
        values = _masked(values, hidden)
        changed = _masked(changed, hidden) if changed is not None else None
        samples.append(
            Sample(
                table=table.name,
                key={columns[position].sql_name: values[position] for position in key},
                before=_named(columns, values),
                after=_named(columns, changed) if changed is not None else None,
            )
        )
    return tuple(samples)


def _masked(values: list[str | None], hidden: list[bool]) -> list[str | None]:
    return [MASKED if hide and value is not None else value for value, hide in zip(values, hidden, strict=True)]


def read_rows(
    connection: Connection, table: Table, count: int, personal: frozenset[tuple[str, str]] = frozenset()
) -> tuple[Sample, ...]:
    """Any rows of a table all of whose rows are lost."""
    if count <= 0 or not table.columns:
        return ()
    query = sql.SQL("SELECT ARRAY[{}]::pg_catalog.text[] FROM ONLY {} LIMIT {}").format(
        sql.SQL(", ").join(text_sql(column.identifier, LONGEST, column.type_oid) for column in table.columns),
        table.identifier,
        sql.Literal(count),
    )
    names = [column.sql_name for column in table.columns]
    key = [column.sql_name for column in table.columns if table.keys and column.number in table.keys[0]]
    hidden = [(table.name, column.name) in personal for column in table.columns]
    rows = [dict(zip(names, _masked(values, hidden), strict=True)) for values in _texts(connection, query)]
    return tuple(
        Sample(table=table.name, key={name: row[name] for name in key}, before=row, after=None) for row in rows
    )


def _texts(connection: Connection, query: sql.Composed) -> Iterator[list[str | None]]:
    """The one array of each row."""
    spelled = query.as_bytes(connection)
    with bytes_as_stored(connection) as decode:
        rows = connection.execute(spelled).fetchall()
    for (values,) in rows:
        yield [None if value is None else decode(value) for value in values]


def _named(columns: tuple[FollowedColumn, ...], values: list[str | None]) -> dict[str, str | None]:
    return {column.sql_name: value for column, value in zip(columns, values, strict=True)}


def _read(source: RowSource, rows: list[Row]) -> dict[tuple[int, bytes], list[str | None]]:
    found: dict[tuple[int, bytes], list[str | None]] = {}
    for leaf, table in enumerate(source.tables):
        keys = [int(row.key) for row in rows if row.leaf == leaf]
        if not keys:
            continue
        texts = [column_text_sql(column, table, source.side, LONGEST) for column in source.layout.compared]
        query = sql.SQL(
            "SELECT pg_catalog.array_prepend(k::pg_catalog.text, texts) FROM"
            " (SELECT {key} AS k, ARRAY[{texts}]::pg_catalog.text[] AS texts FROM ONLY {table}) AS s"
            " WHERE k = ANY (ARRAY[{keys}]::pg_catalog.int8[])"
        ).format(
            key=key_sql(source.layout, table, source.side),
            texts=sql.SQL(", ").join(texts),
            table=table.identifier,
            keys=sql.SQL(", ").join(map(sql.Literal, keys)),
        )
        for key, *values in _texts(source.connection, query):
            found[leaf, str(key).encode()] = values
    return found

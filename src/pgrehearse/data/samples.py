"""A few lost or changed rows as text, read only when they were asked for."""

from psycopg import sql

from pgrehearse.data.columns import Expression
from pgrehearse.data.fingerprint import Side, key_sql
from pgrehearse.data.pairing import FollowedColumn
from pgrehearse.data.rows import Row, RowSource
from pgrehearse.data.tables import Table
from pgrehearse.data.verdicts import Sample
from pgrehearse.postgres.connect import Connection

LONGEST = 200  # characters of one value


def read_samples(before: RowSource, after: RowSource, examples: list[tuple[Row, Row | None]]) -> tuple[Sample, ...]:
    """The rows of these examples; one scan of each table that holds one."""
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
        samples.append(
            Sample(
                table=before.tables[row.leaf].name,
                key={columns[position].sql_name: values[position] for position in key},
                before=_named(columns, values),
                after=_named(columns, changed) if changed is not None else None,
            )
        )
    return tuple(samples)


def read_rows(connection: Connection, table: Table, count: int) -> tuple[Sample, ...]:
    """Any rows of a table all of whose rows are lost."""
    if count <= 0 or not table.columns:
        return ()
    query = sql.SQL("SELECT ARRAY[{}]::pg_catalog.text[] FROM ONLY {} LIMIT {}").format(
        sql.SQL(", ").join(_text(column.identifier) for column in table.columns), table.identifier, sql.Literal(count)
    )
    names = [column.sql_name for column in table.columns]
    key = [column.sql_name for column in table.columns if table.keys and column.number in table.keys[0]]
    rows = [dict(zip(names, values, strict=True)) for (values,) in connection.execute(query)]
    return tuple(
        Sample(table=table.name, key={name: row[name] for name in key}, before=row, after=None) for row in rows
    )


def _text(column: Expression) -> Expression:
    return sql.SQL(
        "CASE WHEN {c} IS DISTINCT FROM NULL THEN pg_catalog.left(pg_catalog.concat({c}), {longest}) END"
    ).format(c=column, longest=sql.Literal(LONGEST))


def _named(columns: tuple[FollowedColumn, ...], values: list[str | None]) -> dict[str, str | None]:
    return {column.sql_name: value for column, value in zip(columns, values, strict=True)}


def _read(source: RowSource, rows: list[Row]) -> dict[tuple[int, bytes], list[str | None]]:
    found: dict[tuple[int, bytes], list[str | None]] = {}
    for leaf, table in enumerate(source.tables):
        keys = [int(row.key) for row in rows if row.leaf == leaf]
        if not keys:
            continue
        columns = [
            (column.before if source.side is Side.BEFORE else column.after)[table.oid].identifier
            for column in source.layout.compared
        ]
        texts = [_text(column) for column in columns]
        query = sql.SQL(
            "SELECT k, texts FROM"
            " (SELECT {key} AS k, ARRAY[{texts}]::pg_catalog.text[] AS texts FROM ONLY {table}) AS s"
            " WHERE k = ANY (ARRAY[{keys}]::pg_catalog.int8[])"
        ).format(
            key=key_sql(source.layout, table, source.side),
            texts=sql.SQL(", ").join(texts),
            table=table.identifier,
            keys=sql.SQL(", ").join(map(sql.Literal, keys)),
        )
        for key, values in source.connection.execute(query):
            found[leaf, str(key).encode()] = values
    return found

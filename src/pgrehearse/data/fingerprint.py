"""One scan of a table: how many rows, which keys, and per column how many values and which value at which key.

Each column's sum is seeded by the hash of its row's key, so a value that moves to another row changes it;
sums (unlike xor) count duplicates; they are numerics, so they don't wrap.  Without a key the hash of the
whole row stands in.  Cost: about 12 times ``count(*)`` for a table of nine columns (benchmarks/fingerprint.py).
"""

import enum
from dataclasses import dataclass

from psycopg import sql

from pgrehearse.data.columns import Expression, hash_of
from pgrehearse.data.pairing import FollowedColumn, Pool
from pgrehearse.data.tables import Table
from pgrehearse.postgres.connect import Connection

SEED = sql.SQL("7640891576956012809")  # an arbitrary odd number below 2^63; part of no stored digest


class Side(enum.Enum):
    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is compared of a pool's rows: the readable columns, and which of them are the key (none: keyless)."""

    columns: tuple[FollowedColumn, ...]  # all, in the pristine order
    compared: tuple[FollowedColumn, ...]
    key: tuple[int, ...]  # positions in ``compared``
    by_content: bool = False  # the "key" is all but the key: it may repeat, and be NULL

    @property
    def keyless(self) -> bool:
        return not self.key

    def turned_round(self) -> "Layout":
        """The other columns as the key: for rows whose key was changed and nothing else."""
        others = tuple(position for position in range(len(self.compared)) if position not in self.key)
        return Layout(columns=self.columns, compared=self.compared, key=others, by_content=True)

    def without(self, failing: frozenset[str]) -> "Layout":
        """The same without these columns; a key that needs one of them is no key any more."""
        kept = tuple(column for column in self.compared if column.name not in failing)
        key = [self.compared[position] for position in self.key]
        usable = all(column in kept for column in key)
        return Layout(
            columns=self.columns, compared=kept, key=tuple(kept.index(column) for column in key) if usable else ()
        )


def layout_of(pool: Pool, columns: tuple[FollowedColumn, ...]) -> Layout:
    """The first key all of whose columns can still be compared; keys without a cast before others."""
    compared = tuple(column for column in columns if column.readable)
    positions = {column.name: position for position, column in enumerate(compared)}
    usable: list[tuple[bool, tuple[int, ...]]] = []
    model = pool.model_before
    for key in model.keys if model else ():
        names = [column.name for number in key if model and (column := model.find_column(number))]
        if names and all(name in positions for name in names):
            found = tuple(positions[name] for name in names)
            retyped = any(compared[position].retyped for position in found)
            usable.append((retyped, found))
    usable.sort(key=lambda entry: entry[0])
    return Layout(columns=columns, compared=compared, key=usable[0][1] if usable else ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Equal fingerprints of one layout mean equal rows.  Sums are PostgreSQL's own text of a numeric."""

    rows: int
    keys: str
    values: tuple[int, ...]  # per compared column: how many are not NULL
    sums: tuple[str, ...]  # per compared column, seeded by the key; none when keyless

    def differing(self, other: "Fingerprint") -> tuple[int, ...]:
        """Positions of the compared columns whose values differ; only for a table with a key."""
        return tuple(
            position
            for position, values in enumerate(self.values)
            if values != other.values[position] or self.sums[position] != other.sums[position]
        )  # fmt: skip


def value_sql(column: FollowedColumn, table: Table, side: Side) -> Expression:
    """The column's value in this table, as its `Reading` reads it."""
    reading = column.readable
    assert reading is not None
    if side is Side.BEFORE:
        return reading.before(column.before[table.oid].identifier)
    return reading.after(column.after[table.oid].identifier)


def hash_sql(column: FollowedColumn, table: Table, side: Side, seed: Expression = SEED) -> Expression:
    assert column.readable is not None
    return hash_of(column.readable.hashing, value_sql(column, table, side), seed)


def key_sql(layout: Layout, table: Table, side: Side) -> Expression:
    """What tells a row apart: the chained hash of its key, or the hash of all its columns' hashes."""
    if layout.keyless or layout.by_content:
        columns = [layout.compared[position] for position in layout.key] if layout.by_content else layout.compared
        hashes = sql.SQL(", ").join(hash_sql(column, table, side) for column in columns)
        return sql.SQL('pg_catalog.hashtextextended((ROW({})::pg_catalog.text) COLLATE pg_catalog."C", {})').format(
            hashes, SEED
        )
    seed: Expression = SEED
    for position in layout.key:
        # A key's column is never NULL; were it one after the migration, the key is: COALESCE keeps the row.
        seed = sql.SQL("COALESCE({}, 0)").format(hash_sql(layout.compared[position], table, side, seed))
    return seed


FINGERPRINT = sql.SQL(
    "SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum({key}), 0)::pg_catalog.text,"
    " ARRAY[{values}]::pg_catalog.int8[], ARRAY[{sums}]::pg_catalog.text[] FROM ONLY {table}"
)


def read_fingerprint(connection: Connection, layout: Layout, table: Table, side: Side) -> Fingerprint:
    """Scan the table once (parallel workers may help); an ACCESS SHARE lock for as long as that takes."""
    if table.is_empty:
        nothing = len(layout.compared)
        return Fingerprint(
            rows=0, keys="0", values=(0,) * nothing, sums=() if layout.keyless else ("0",) * nothing
        )  # fmt: skip
    key = key_sql(layout, table, side)
    values = [
        sql.SQL("pg_catalog.count({})").format(value_sql(column, table, side) if side is Side.AFTER
                                               else column.before[table.oid].identifier)
        for column in layout.compared
    ]  # fmt: skip
    sums = [
        sql.SQL("COALESCE(pg_catalog.sum({}), 0)::pg_catalog.text").format(hash_sql(column, table, side, key))
        for column in ([] if layout.keyless else layout.compared)
    ]
    query = FINGERPRINT.format(
        key=key, values=sql.SQL(", ").join(values), sums=sql.SQL(", ").join(sums), table=table.identifier
    )
    row = connection.execute(query).fetchone()
    assert row is not None
    return Fingerprint(rows=row[0], keys=row[1], values=tuple(row[2]), sums=tuple(row[3]))


CONTENT = sql.SQL(
    "SELECT COALESCE(pg_catalog.sum(k * n), 0)::pg_catalog.text, COALESCE(pg_catalog.max(n), 0)::pg_catalog.int8"
    " FROM (SELECT k::pg_catalog.numeric, pg_catalog.count(*) AS n FROM ({parts}) AS rows(k) GROUP BY 1) AS s"
)


def read_content(connection: Connection, layout: Layout, tables: tuple[Table, ...], side: Side) -> tuple[str, int]:
    """All columns but the key, in one more scan: a sum that agrees when they hold the same rows whatever their
    keys, and how many rows the most frequent content has.
    """
    turned = layout.turned_round()
    parts = [
        sql.SQL("SELECT {} FROM ONLY {}").format(key_sql(turned, table, side), table.identifier) for table in tables
    ]
    row = connection.execute(CONTENT.format(parts=sql.SQL(" UNION ALL ").join(parts))).fetchone()
    assert row is not None
    return row[0], row[1]


def count_values(connection: Connection, table: Table, names: tuple[str, ...]) -> tuple[int, dict[str, int]]:
    """``count(*)`` and each named column's count of values that are not NULL."""
    if table.is_empty:
        return 0, dict.fromkeys(names, 0)
    counts = sql.SQL(", ").join(sql.SQL("pg_catalog.count({})").format(sql.Identifier(name)) for name in names)
    query = sql.SQL("SELECT pg_catalog.count(*), ARRAY[{}]::pg_catalog.int8[] FROM ONLY {}")
    row = connection.execute(query.format(counts, table.identifier)).fetchone()
    assert row is not None
    return row[0], dict(zip(names, row[1], strict=True))

"""Two numbers that tell whether a table holds the same rows: how many, and the sum of their hashes.

A row's hash is that of every column under a seed of the column's own, all combined by XOR and mixed once more: values
that change columns, rows, or become NULL change it.  The rows' hashes are summed as numerics, so that equal rows count
each.  Keys play no part: the same rows are the same, whatever tells them apart.  Two different tables have one digest
with a probability of about 2^-64 (the hashes are not made to withstand somebody who looks for two).

About half the cost of `fingerprint`, which also tells which columns differ.  Nothing stored is made with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pgrehearse.data.columns import Expression, Hashing, hash_of
from pgrehearse.data.fingerprint import Layout, Side, hash_sql, value_sql
from pgrehearse.data.pairing import FollowedColumn
from pgrehearse.data.tables import Table

# This hash is that of no integer but the seed's: it mixes 64 bits into 64 bits.
MIXED = sql.SQL("pg_catalog.hashint4extended(0, {})")
DIGEST = sql.SQL(
    "SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum({row}), 0)::pg_catalog.text FROM ONLY {table}{where}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """Of a table, or of a part of one."""

    rows: int
    total: int

    def __add__(self, other: "Digest") -> "Digest":
        return Digest(rows=self.rows + other.rows, total=self.total + other.total)

    @classmethod
    def from_row(cls, row: tuple[Any, ...]) -> "Digest":
        return cls(rows=row[0], total=int(row[1]))


NOTHING = Digest(rows=0, total=0)


def digest_sql(layout: Layout, table: Table, side: Side, where: Expression) -> sql.Composed:
    """A query of one row, for `Digest.from_row`; ``where`` is empty or chooses a part of the table."""
    return DIGEST.format(row=row_hash_sql(layout, table, side), table=table.identifier, where=where)


def row_hash_sql(layout: Layout, table: Table, side: Side) -> Expression:
    """Of all compared columns of one row.

    No column's hash is part of another's: the text of such a chain doubles with each column that may be NULL.
    """
    hashes = [
        _column_sql(column, table, side, _constant(3 * place), _constant(3 * place + 1), _constant(3 * place + 2))
        for place, column in enumerate(layout.compared)
    ]
    return MIXED.format(_combined(hashes))


def hash_of_all(hashings: Sequence[Hashing], values: Sequence[Expression], seed: Expression) -> Expression:
    """One hash of several values; NULL is told from every value."""
    hashes = [
        sql.SQL("COALESCE({}, {})").format(hash_of(hashing, value, _constant(2 * place)), _constant(2 * place + 1))
        for place, (hashing, value) in enumerate(zip(hashings, values, strict=True))
    ]
    return MIXED.format(_combined([*hashes, seed]))


def _column_sql(
    column: FollowedColumn, table: Table, side: Side, seed: Expression, other: Expression, null: Expression
) -> Expression:
    if column.readable is not None and column.readable.hashing is Hashing.BOOL:
        template = sql.SQL("CASE WHEN {v} THEN {seed} WHEN NOT ({v}) THEN {other} ELSE {null} END")
        return template.format(v=value_sql(column, table, side), seed=seed, other=other, null=null)
    return sql.SQL("COALESCE({}, {})").format(hash_sql(column, table, side, seed), null)


def _combined(hashes: list[Expression]) -> Expression:
    """By XOR, as a balanced tree: 1,600 columns in a row would go deep into the server's stack."""
    if not hashes:
        return _constant(0)
    if len(hashes) == 1:
        return hashes[0]
    half = len(hashes) // 2
    return sql.SQL("({}) OPERATOR(pg_catalog.#) ({})").format(_combined(hashes[:half]), _combined(hashes[half:]))


def _constant(number: int) -> Expression:
    """The n-th number of splitmix64, without its sign bit: unlike any other of them, and any value's hash."""
    mixed = (0x9E3779B97F4A7C15 * (number + 1)) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    mixed ^= mixed >> 31
    return sql.SQL("{}::pg_catalog.int8").format(sql.Literal(mixed >> 1))

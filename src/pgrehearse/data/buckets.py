"""Which ranges of a table's rows differ between the two sides: sums per range, finer where it is worth it.

Rows are cut into ranges of a number: of the first key column where that is an integer (an index then reads only
the ranges that differ), else of the key's hash.  Each side sends a count and a sum of row hashes per range; ranges
whose sums agree hold equal rows and are not read again.  Ranges that differ and hold many rows are cut again.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from psycopg import sql

from pgrehearse.data.columns import Expression, Hashing
from pgrehearse.data.digest import row_hash_sql
from pgrehearse.data.fingerprint import Layout, Side, key_sql, value_sql
from pgrehearse.data.pairing import FollowedColumn
from pgrehearse.data.tables import Table
from pgrehearse.postgres.connect import Connection

ROWS_PER_RANGE = 64
FEWEST, MOST = 256, 65_536  # ranges; a dict entry of 65,536 takes some 15 MB a side
WORTH_CUTTING = 100_000  # rows in ranges that differ; fewer are sent at once
DEEPEST = 6
INDEXED_SHARE = 0.1  # of the rows: below it an index reads less than a scan
HASH_BITS = 64

One = TypeVar("One")
Other = TypeVar("Other")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Ranges of ``position >> shift``; ``rows`` is how many rows of the larger side they hold."""

    shift: int
    numbers: tuple[int, ...]
    rows: int

    def bounds(self) -> list[tuple[int, int]]:
        """First and last position of each run of neighbouring ranges."""
        runs: list[list[int]] = []
        for number in self.numbers:
            if runs and runs[-1][1] + 1 == number:
                runs[-1][1] = number
            else:
                runs.append([number, number])
        return [(first << self.shift, ((last + 1) << self.shift) - 1) for first, last in runs]


def at_once(one: Callable[[], One], other: Callable[[], Other]) -> tuple[One, Other]:
    """Both, each on its own session: the two servers' scans overlap."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="side") as executor:
        first = executor.submit(one)
        second = other()
        return first.result(), second


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutting:
    """One side's tables, cut into ranges."""

    connection: Connection
    tables: tuple[Table, ...]
    layout: Layout
    side: Side
    column: FollowedColumn | None  # whose values are the positions; None: the key's hash

    def position(self, table: Table) -> Expression:
        if self.column is None:
            return key_sql(self.layout, table, self.side)
        return sql.SQL("({})::pg_catalog.int8").format(value_sql(self.column, table, self.side))

    def span(self) -> tuple[int, int] | None:
        """The least and the greatest position; None where there is no row."""
        if self.column is None:
            return -(1 << (HASH_BITS - 1)), (1 << (HASH_BITS - 1)) - 1
        parts = [
            sql.SQL("SELECT pg_catalog.min({c})::pg_catalog.int8, pg_catalog.max({c})::pg_catalog.int8 FROM ONLY {t}")
            .format(c=self._bare(table), t=table.identifier)
            for table in self.tables
        ]  # fmt: skip
        rows = self.connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
        found = [(least, greatest) for least, greatest in rows if least is not None]
        return (min(least for least, _ in found), max(greatest for _, greatest in found)) if found else None

    def sums(self, shift: int, within: Ranges | None) -> dict[int, tuple[int, str]]:
        """Per range: how many rows, and the sum of their hashes."""
        parts = [
            self.part(table, within, sql.SQL("{} >> {} AS b, {} AS r").format(
                self.position(table), sql.Literal(shift), self._row_hash(table)
            ))
            for table in self.tables
        ]  # fmt: skip
        query = sql.SQL(
            "SELECT b, pg_catalog.count(*), pg_catalog.sum(r)::pg_catalog.text FROM ({parts}) AS s GROUP BY b"
        ).format(parts=sql.SQL(" UNION ALL ").join(parts))
        return {number: (rows, total) for number, rows, total in self.connection.execute(query)}

    def part(self, table: Table, within: Ranges | None, chosen: Expression) -> Expression:
        """SELECT ``chosen`` of the rows of these ranges."""
        select = sql.SQL("SELECT {} FROM ONLY {}").format(chosen, table.identifier)
        if within is None:
            return select
        return sql.SQL("{} WHERE ({}) >> {} = ANY ({}::pg_catalog.int8[])").format(
            select, self.position(table), sql.Literal(within.shift), sql.Literal(list(within.numbers))
        )

    def indexed_part(self, table: Table, within: Ranges, chosen: Expression) -> Expression:
        """The same through an index of the column, one range after the other."""
        bounds = within.bounds()
        return sql.SQL(
            "SELECT x.* FROM ROWS FROM (pg_catalog.unnest({least}::pg_catalog.int8[]),"
            " pg_catalog.unnest({greatest}::pg_catalog.int8[])) AS r(least, greatest)"
            " CROSS JOIN LATERAL (SELECT {chosen} FROM ONLY {table}"
            " WHERE {column} BETWEEN r.least AND r.greatest OFFSET 0) AS x"
        ).format(
            least=sql.Literal([least for least, _ in bounds]),
            greatest=sql.Literal([greatest for _, greatest in bounds]),
            chosen=chosen,
            table=table.identifier,
            column=self._bare(table),
        )

    def _bare(self, table: Table) -> Expression:
        assert self.column is not None
        return (self.column.before if self.side is Side.BEFORE else self.column.after)[table.oid].identifier

    def _row_hash(self, table: Table) -> Expression:
        """Of all compared columns, the key's too: values that change places change it."""
        if self.layout.keyless:
            return key_sql(self.layout, table, self.side)
        return row_hash_sql(self.layout, table, self.side)


def cutting_column(layout: Layout) -> FollowedColumn | None:
    """The first column of the key, where its values are integers on both sides and never NULL."""
    if layout.keyless or layout.by_content:
        return None
    column = layout.compared[layout.key[0]]
    reading = column.readable
    if reading is None or reading.hashing not in (Hashing.INT4, Hashing.INT8) or column.retyped:
        return None
    if not all(found.not_null for found in (*column.before.values(), *column.after.values())):
        return None
    return column


def find_differing_ranges(before: Cutting, after: Cutting, *, rows: int) -> Ranges | None:
    """The ranges that differ; None: so many do that all rows may as well be read.

    One scan a side, then one of the ranges that differ for each time they are cut again.
    """
    spans = [span for span in (before.span(), after.span()) if span is not None]
    if not spans:
        return None
    least, greatest = min(span[0] for span in spans), max(span[1] for span in spans)
    wanted = min(MOST, max(FEWEST, rows // ROWS_PER_RANGE))
    shift = max(0, ((greatest - least) // wanted).bit_length())
    shift = min(shift, HASH_BITS - 1)
    found = _differing(before, after, shift, None)
    for _ in range(DEEPEST):
        # Many rows a range: cut finer.  Few rows a range and still many rows: they do differ.
        if not found.numbers or found.rows <= WORTH_CUTTING or not found.shift:
            break
        if found.rows <= 2 * ROWS_PER_RANGE * len(found.numbers):
            break
        bits = max(1, (MOST // len(found.numbers)).bit_length() - 1)
        finer = _differing(before, after, max(0, found.shift - bits), found)
        dense = finer.rows * 2 > found.rows and found.rows > rows // 2
        found = finer
        if dense:
            break
    return found if found.rows <= rows * 3 // 4 else None


def _differing(before: Cutting, after: Cutting, shift: int, within: Ranges | None) -> Ranges:
    ours, theirs = at_once(lambda: before.sums(shift, within), lambda: after.sums(shift, within))
    nothing = (0, "0")
    differing = sorted(
        number for number in ours.keys() | theirs.keys()
        if ours.get(number, nothing) != theirs.get(number, nothing)
    )  # fmt: skip
    rows = sum(max(ours.get(number, nothing)[0], theirs.get(number, nothing)[0]) for number in differing)
    return Ranges(shift=shift, numbers=tuple(differing), rows=rows)

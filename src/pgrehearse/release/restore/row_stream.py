"""The rows of one table as they stand in each of the two databases, in one order, without those that are alike.

The server sorts by a hash of the key; we hold the rows of one hash of each side.  In a large table buckets of
key hashes are compared by their sums first, so that only rows near a differing one travel.
"""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.data.tables import Table
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.restore.counterparts import ComparedColumn, Counterpart

WORTH_BUCKETS_BYTES = 8 << 20  # smaller tables are sent whole
ROWS_PER_BUCKET = 32
MOST_BUCKETS = 1 << 18
SIZE = "SELECT pg_catalog.sum(pg_catalog.pg_relation_size(t.relid))::int8 FROM pg_catalog.pg_partition_tree({}) AS t"
OWN_SIZE = "SELECT pg_catalog.pg_relation_size({}::pg_catalog.oid)"
NULL = b"\\N"
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


@dataclass(frozen=True, slots=True)
class Line:
    """One row, of a keyless table ``copies`` that are alike.  ``tail``: the compared columns as COPY writes them."""

    hash: int
    by_migration: bool  # the last transaction that wrote it was the migration's own
    copies: int
    tail: bytes

    def values(self) -> tuple[str | None, ...]:
        return tuple(None if field == NULL else _unescaped(field) for field in self.tail.split(b"\t"))


def _unescaped(field: bytes) -> str:
    text = field.decode(errors="surrogateescape")
    if "\\" not in text:
        return text
    parts, position = [], 0
    while (found := text.find("\\", position)) >= 0:
        parts += [text[position:found], _ESCAPES.get(text[found + 1], text[found + 1])]
        position = found + 2
    return "".join([*parts, text[position:]])


class RowStreams:
    """Both sides of one counterpart.  ``plain`` leaves retyped columns without a cast to the restored type."""

    def __init__(
        self,
        failed: Connection,
        restored: Connection,
        counterpart: Counterpart,
        *,
        transactions: frozenset[int],
        plain: bool = False,
    ) -> None:
        self._failed = failed
        self._restored = restored
        self._counterpart = counterpart
        self._transactions = transactions
        self._plain = plain

    def groups(self) -> Generator[tuple[list[Line], list[Line]], None, None]:
        """Rows of one key hash, of the failed and of the restored side; at least one side has some.

        Groups that are equal on both sides are left out.  Raises psycopg errors, a cast's among them.
        """
        mask, buckets = self._differing_buckets()
        if buckets is not None and not buckets:
            return
        with (
            closing(self._lines(self._failed, failed=True, mask=mask, buckets=buckets)) as left,
            closing(self._lines(self._restored, failed=False, mask=mask, buckets=buckets)) as right,
        ):
            yield from _merged(_grouped(left), _grouped(right))

    def casts(self) -> bool:
        """Whether every value of a retyped column can be cast to its old type: tried, since a cast may fail."""
        query = sql.SQL("SELECT pg_catalog.count({}) FROM {}").format(
            row_text(self._values(failed=True)), self._table(failed=True)
        )
        try:
            with self._failed.transaction():
                self._failed.execute(query)
        except (psycopg.DataError, psycopg.ProgrammingError):
            return False
        return True

    def _differing_buckets(self) -> tuple[int, list[int] | None]:
        """A mask and the buckets to read; (0, None): everything."""
        size = max(_size(self._failed, self._counterpart.failed), _size(self._restored, self._counterpart.restored))
        if size < WORTH_BUCKETS_BYTES:
            return 0, None
        rows = size // 100  # taken for a row; a wrong guess only makes buckets smaller or larger
        mask = (1 << min(MOST_BUCKETS, max(1024, rows // ROWS_PER_BUCKET)).bit_length() - 1) - 1
        with ThreadPoolExecutor(2) as both:
            ours = both.submit(self._sums, self._failed, failed=True, mask=mask)
            theirs = both.submit(self._sums, self._restored, failed=False, mask=mask)
            mine, other = ours.result(), theirs.result()
        differing = [number for number in mine.keys() | other.keys() if mine.get(number) != other.get(number)]
        return (0, None) if len(differing) > (mask + 1) // 2 else (mask, differing)

    def _sums(self, connection: Connection, *, failed: bool, mask: int) -> dict[int, str]:
        query = sql.SQL(
            "SELECT k & {mask}, pg_catalog.concat(pg_catalog.count(*), ' ', pg_catalog.sum(v))"
            " FROM (SELECT {key} AS k, {row} AS v FROM {table}) AS s GROUP BY 1"
        ).format(
            mask=sql.Literal(mask),
            key=self._key_hash(failed=failed),
            row=_hash(self._values(failed=failed), seed=1),
            table=self._table(failed=failed),
        )
        return dict(connection.execute(query).fetchall())

    def _lines(
        self, connection: Connection, *, failed: bool, mask: int, buckets: list[int] | None
    ) -> Generator[Line, None, None]:
        where: sql.Composable = sql.SQL("")
        if buckets is not None:
            where = sql.SQL(" WHERE h & {} = ANY ({}::pg_catalog.int8[])").format(
                sql.Literal(mask), sql.Literal(f"{{{','.join(map(str, buckets))}}}")
            )
        mine: sql.Composable = sql.SQL("false")
        if failed and self._transactions:
            numbers = sql.SQL(", ").join(map(sql.Literal, sorted(self._transactions)))
            mine = sql.SQL("(xmin::pg_catalog.text)::pg_catalog.int8 = ANY (ARRAY[{}]::pg_catalog.int8[])").format(
                numbers
            )
        values = self._values(failed=failed)
        keyless = not self._counterpart.key
        if keyless:  # as text, since not every type can be grouped by
            values = [printed(value) for value in values]
        names = [sql.Identifier(f"c{position}") for position in range(len(values))]
        named = [sql.SQL("{} AS {}").format(value, name) for value, name in zip(values, names, strict=True)]
        query = sql.SQL(
            "COPY (SELECT h, m, {copies}, {names} FROM (SELECT {key} AS h, {mine} AS m, {values} FROM {table}) AS s"
            "{where}{grouped} ORDER BY h) TO STDOUT"
        ).format(
            copies=sql.SQL("pg_catalog.count(*)" if keyless else "1"),
            grouped=sql.SQL(" GROUP BY h, m, {}").format(sql.SQL(", ").join(names)) if keyless else sql.SQL(""),
            names=sql.SQL(", ").join(names),
            key=self._key_hash(failed=failed),
            mine=mine,
            values=sql.SQL(", ").join(named),
            table=self._table(failed=failed),
            where=where,
        )
        with connection.cursor() as cursor, cursor.copy(query) as copy:
            for row in copy:  # libpq hands over one row at a time
                key, flag, copies, tail = bytes(row)[:-1].split(b"\t", 3)
                yield Line(int(key), flag == b"t", int(copies), tail)

    def _table(self, *, failed: bool) -> sql.Composable:
        table = self._counterpart.failed if failed else self._counterpart.restored
        return sql.SQL("{}" if table.partitioned else "ONLY {}").format(table.identifier)

    def _key_hash(self, *, failed: bool) -> sql.Composable:
        values = self._values(failed=failed)
        return _hash([values[position] for position in self._counterpart.key] or values, seed=0)

    def _values(self, *, failed: bool) -> list[sql.Composable]:
        return [self._value(column, failed=failed) for column in self._counterpart.columns]

    def _value(self, column: ComparedColumn, *, failed: bool) -> sql.Composable:
        value = sql.Identifier(column.failed if failed else column.name)
        if not column.retyped:
            return value
        if not failed or self._plain:
            return printed(value)
        # As the restored type prints it, unless that would round or cut what stands there.
        there = sql.SQL("({})::{}").format(value, sql.SQL(column.type_name))
        back = sql.SQL("({})::{}").format(there, sql.SQL(column.type_failed))
        return sql.SQL("CASE WHEN {} = {} THEN {} ELSE {} END").format(
            printed(back), printed(value), printed(there), printed(value)
        )


def _merged(ours: Iterator[list[Line]], theirs: Iterator[list[Line]]) -> Iterator[tuple[list[Line], list[Line]]]:
    mine, other = next(ours, None), next(theirs, None)
    while mine is not None or other is not None:
        if other is None or (mine is not None and mine[0].hash < other[0].hash):
            assert mine is not None
            yield mine, []
            mine = next(ours, None)
        elif mine is None or other[0].hash < mine[0].hash:
            yield [], other
            other = next(theirs, None)
        else:
            alone = len(mine) == len(other) == 1 and mine[0].copies == other[0].copies
            if not alone or mine[0].tail != other[0].tail:
                yield mine, other
            mine, other = next(ours, None), next(theirs, None)


def printed(value: sql.Composable) -> sql.Composable:
    """The output function's text, as COPY writes it: a cast to text strips the blanks of a char(n)."""
    return sql.SQL("CASE WHEN ({v}) IS DISTINCT FROM NULL THEN pg_catalog.concat({v}) END").format(v=value)


def row_text(values: list[sql.Composable]) -> sql.Composable:
    return sql.SQL("(ROW({})::pg_catalog.text)").format(sql.SQL(", ").join(values))


def _hash(values: list[sql.Composable], *, seed: int) -> sql.Composable:
    """Over the text, not by the types' own hash functions: the two sides' types may differ."""
    return sql.SQL('pg_catalog.hashtextextended({} COLLATE pg_catalog."C", {})').format(
        row_text(values), sql.Literal(seed)
    )


def _size(connection: Connection, table: Table) -> int:
    query = sql.SQL(SIZE if table.partitioned else OWN_SIZE).format(sql.Literal(table.oid))
    row = connection.execute(query).fetchone()
    return int(row[0] or 0) if row else 0


def _grouped(lines: Iterator[Line]) -> Iterator[list[Line]]:
    group: list[Line] = []
    for line in lines:
        if group and group[0].hash != line.hash:
            yield group
            group = []
        group.append(line)
    if group:
        yield group

"""The rows of one side as a stream of hashes, and what is counted of them."""

from collections import Counter
from collections.abc import Callable, Generator, Hashable, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from pgrehearse.data.buckets import Cutting, Ranges, cutting_column
from pgrehearse.data.columns import BYTEA, Expression
from pgrehearse.data.fingerprint import Layout, Side, hash_sql, key_sql
from pgrehearse.data.pairing import FollowedColumn
from pgrehearse.data.session import bytes_as_stored
from pgrehearse.data.tables import Table
from pgrehearse.data.value_changes import COMPARED, ChangeKind
from pgrehearse.postgres.connect import Connection

NULL = b"\\N"  # as COPY writes it
SLICED_TEXTS = frozenset({25, 1043})  # text, varchar; char(n) prints its blanks
MOST_FIELDS = 1600  # of a line; a query of PostgreSQL gives 1,664 columns at most


@dataclass(frozen=True, slots=True)
class Row:
    """``copies`` rows that are alike: the leaf's position, the key's hash, the columns' hashes, some columns' texts."""

    leaf: int
    copies: int
    key: bytes
    values: tuple[bytes, ...]
    texts: tuple[bytes, ...] = ()


def is_wide(layout: Layout, texts: Sequence[int]) -> bool:
    """Whether the hashes of a line come as one array, since there are too many for fields of their own."""
    return 3 + len(layout.compared) + len(texts) > MOST_FIELDS


def hashes_of(fields: Sequence[bytes], *, wide: bool) -> tuple[bytes, ...]:
    """From a line's fields behind the leaf."""
    if not wide:
        return tuple(fields)
    return tuple(NULL if hashed == b"NULL" else hashed for hashed in fields[0][1:-1].split(b","))


Sign = Callable[[Row], Hashable]
KindOf = Callable[[int, str | None, str | None], ChangeKind]
"""Given a column's position and its texts, before and after."""


@dataclass(slots=True)
class Tally:
    """What was counted for one pristine table; one number per compared column."""

    rows_lost: int = 0
    rows_merged: int | None = 0  # of these: a row like it is still there; None: not looked for
    changed: Counter[int] = field(default_factory=Counter)
    nulled: Counter[int] = field(default_factory=Counter)
    filled: Counter[int] = field(default_factory=Counter)
    values_in_lost_rows: Counter[int] = field(default_factory=Counter)
    kinds: Counter[tuple[int, ChangeKind]] = field(default_factory=Counter)

    @property
    def cells(self) -> int:
        """How many values differ."""
        return self.changed.total() + self.nulled.total() + self.filled.total()

    def include(self, other: "Tally") -> None:
        self.rows_lost += other.rows_lost
        self.changed.update(other.changed)
        self.nulled.update(other.nulled)
        self.filled.update(other.filled)
        self.values_in_lost_rows.update(other.values_in_lost_rows)
        self.kinds.update(other.kinds)


@dataclass(frozen=True, slots=True)
class KindExample:
    """One value of one kind of change: the texts of the key's columns, and its own."""

    key: tuple[str | None, ...]
    before: str | None
    after: str | None


@dataclass(slots=True)
class RowComparison:
    """The counts per pristine table and the rows that each table of the clone gained, by position."""

    before: list[Tally]
    added: Counter[int]
    kept_all: bool = True  # False: too many rows stood alone to look for each other by content
    lost: list[Row] = field(default_factory=list)  # those that are lost, when all of them could be kept
    all_lost_kept: bool = True
    examples: list[tuple[Row, Row | None]] = field(default_factory=list)
    kind_examples: dict[tuple[int, int, ChangeKind], KindExample] = field(default_factory=dict)  # by leaf, column, kind


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """The tables of one side, read as one stream."""

    connection: Connection
    tables: tuple[Table, ...]
    layout: Layout
    side: Side

    def cutting(self) -> Cutting:
        return Cutting(
            connection=self.connection,
            tables=self.tables,
            layout=self.layout,
            side=self.side,
            column=cutting_column(self.layout),
        )

    def lines(
        self, ranges: Ranges | None, texts: Sequence[int] = (), *, indexed: bool = False
    ) -> Generator[bytes, None, None]:
        """``key TAB copies TAB leaf TAB hash … TAB text …``, in the order of the key.

        ``texts`` are the positions of the columns whose values come along, cut at `COMPARED`.  With ``indexed`` the
        ranges are read through an index, if the server's planner finds one.  Where it `is_wide`, the hashes are one
        array.
        """
        count = 1 if is_wide(self.layout, texts) else len(self.layout.compared)
        names = [sql.Identifier(f"h{position}") for position in range(count)]
        spelled = [sql.Identifier(f"t{position}") for position in texts]
        if self.layout.keyless:  # equal rows travel once
            chosen: list[Expression] = [sql.SQL("pg_catalog.count(*)"), sql.SQL("leaf")]
            chosen += [sql.SQL("pg_catalog.min({})").format(name) for name in (*names, *spelled)]
            grouped = sql.SQL("GROUP BY k, leaf ")
        else:
            chosen = [sql.SQL("1"), sql.SQL("leaf"), *names, *spelled]
            grouped = sql.SQL("")

        def query(*, through_index: bool) -> Expression:
            parts = [
                self._part(leaf, table, ranges, texts, through_index=through_index)
                for leaf, table in enumerate(self.tables)
            ]
            return sql.SQL("SELECT k, {chosen} FROM ({parts}) AS s {grouped}ORDER BY k").format(
                chosen=sql.SQL(", ").join(chosen), parts=sql.SQL(" UNION ALL ").join(parts), grouped=grouped
            )

        through_index = indexed and ranges is not None and self._has_index(query(through_index=True))
        try:
            if through_index:
                self.connection.execute("SET enable_seqscan = off")
            # Names are spelled as the session read them, before bytes may be anything.
            copied = sql.SQL("COPY ({}) TO STDOUT").format(query(through_index=through_index)).as_bytes(self.connection)
            with (
                bytes_as_stored(self.connection),
                self.connection.cursor() as cursor,
                cursor.copy(copied) as copy,
            ):
                for line in copy:  # libpq hands over one row at a time
                    yield bytes(line)
        finally:
            if through_index:
                self.connection.execute("RESET enable_seqscan")

    def _has_index(self, query: Expression) -> bool:
        """Whether the planner reads no table whole for it."""
        self.connection.execute("SET enable_seqscan = off")
        try:
            plan = self.connection.execute(sql.SQL("EXPLAIN (COSTS off) {}").format(query)).fetchall()
        finally:
            self.connection.execute("RESET enable_seqscan")
        return not any("Seq Scan on" in line for (line,) in plan)

    def _part(
        self, leaf: int, table: Table, ranges: Ranges | None, texts: Sequence[int], *, through_index: bool
    ) -> Expression:
        compared = self.layout.compared
        hashed: list[Expression] = [hash_sql(column, table, self.side) for column in compared]
        if is_wide(self.layout, texts):
            hashed = [sql.SQL("ARRAY[{}]::pg_catalog.int8[]").format(sql.SQL(", ").join(hashed))]
        hashes = [
            sql.SQL(", {} AS {}").format(value, sql.Identifier(f"h{position}")) for position, value in enumerate(hashed)
        ]
        spelled = [
            sql.SQL(", {} AS {}").format(
                column_text_sql(compared[position], table, self.side, COMPARED), sql.Identifier(f"t{position}")
            )
            for position in texts
        ]
        chosen = sql.SQL("{key} AS k, {leaf} AS leaf{rest}").format(
            key=key_sql(self.layout, table, self.side), leaf=sql.Literal(leaf), rest=sql.SQL("").join(hashes + spelled)
        )
        cutting = self.cutting()
        if through_index and ranges is not None:
            return cutting.indexed_part(table, ranges, chosen)
        return cutting.part(table, ranges, chosen)


def column_text_sql(column: FollowedColumn, table: Table, side: Side, longest: int) -> Expression:
    """`text_sql` of a column in this table."""
    found = (column.before if side is Side.BEFORE else column.after)[table.oid]
    known = column.type_before if side is Side.BEFORE else column.type_after
    return text_sql(found.identifier, longest, known.oid if known is not None else found.type_oid)


def text_sql(column: Expression, longest: int, type_oid: int | None = None) -> Expression:
    """The value as its output function prints it, cut; NULL for NULL.

    Of the types that hold up to 1 GB only the beginning is read: printed whole they would take twice that, and more.
    """
    if type_oid in SLICED_TEXTS:
        return sql.SQL("pg_catalog.left(({})::pg_catalog.text, {})").format(column, sql.Literal(longest))
    if type_oid == BYTEA:
        column = sql.SQL("pg_catalog.substr(({})::pg_catalog.bytea, 1, {})").format(column, sql.Literal(longest))
    return sql.SQL(
        "CASE WHEN {c} IS DISTINCT FROM NULL THEN pg_catalog.left(pg_catalog.concat({c}), {longest}) END"
    ).format(c=column, longest=sql.Literal(longest))

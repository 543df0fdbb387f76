"""Tables that differ, row by row: exact numbers of rows lost and of values changed.

Both sides send (hash of the key, hash of each column) in the order of the key's hash and are merged as
they stream in: the server sorts, we hold one row of each side.  Only buckets of key hashes whose sums
differ are sent.  Rows found on one side only are kept, up to `MOST_KEPT`, to look for each other by content:
a row whose key was changed is not a row lost.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from pgrehearse.data.columns import Expression
from pgrehearse.data.fingerprint import Layout, Side, hash_sql, key_sql
from pgrehearse.data.tables import Table
from pgrehearse.postgres.connect import Connection

BUCKETS = 1024
WORTH_BUCKETS = 20_000  # rows; fewer are sent at once
MOST_KEPT = 250_000  # rows of each side; some 600 bytes each
NULL = b"\\N"  # as COPY writes it


@dataclass(frozen=True, slots=True)
class Row:
    """``copies`` rows that are alike: the leaf's position, the key's hash, the columns' hashes."""

    leaf: int
    copies: int
    key: bytes
    values: tuple[bytes, ...]


Sign = Callable[[Row], Hashable]


@dataclass(slots=True)
class Tally:
    """What was counted for one pristine table; one number per compared column."""

    rows_lost: int = 0
    changed: Counter[int] = field(default_factory=Counter)
    nulled: Counter[int] = field(default_factory=Counter)
    filled: Counter[int] = field(default_factory=Counter)
    values_in_lost_rows: Counter[int] = field(default_factory=Counter)

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


@dataclass(slots=True)
class RowComparison:
    """The counts per pristine table and the rows that each table of the clone gained, by position."""

    before: list[Tally]
    added: Counter[int]
    kept_all: bool = True  # False: too many rows stood alone to look for each other by content
    examples: list[tuple[Row, Row | None]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSource:
    """The tables of one side, read as one stream."""

    connection: Connection
    tables: tuple[Table, ...]
    layout: Layout
    side: Side

    def buckets(self) -> dict[int, str]:
        """Per bucket of key hashes a text that differs when its rows do."""
        count = len(self.layout.compared)
        parts = [
            sql.SQL("SELECT {key} AS k{hashes} FROM ONLY {table}").format(
                key=key_sql(self.layout, table, self.side),
                table=table.identifier,
                hashes=self._named([] if self.layout.keyless else [
                    hash_sql(column, table, self.side, key_sql(self.layout, table, self.side))
                    for column in self.layout.compared
                ]),
            )
            for table in self.tables
        ]  # fmt: skip
        sums = [
            sql.SQL(", pg_catalog.sum({})::pg_catalog.text").format(sql.Identifier(f"h{position}"))
            for position in range(0 if self.layout.keyless else count)
        ]
        query = sql.SQL(
            "SELECT k & {mask}, pg_catalog.array_to_string("
            "ARRAY[pg_catalog.count(*)::pg_catalog.text, pg_catalog.sum(k)::pg_catalog.text{sums}], ' ', '-')"
            " FROM ({parts}) AS s GROUP BY 1"
        ).format(
            mask=sql.Literal(BUCKETS - 1), sums=sql.SQL("").join(sums), parts=sql.SQL(" UNION ALL ").join(parts)
        )  # fmt: skip
        return dict(self.connection.execute(query).fetchall())

    def lines(self, buckets: list[int] | None) -> Iterator[bytes]:
        """``key TAB copies TAB leaf TAB hash …``, in the order of the key."""
        names = [sql.Identifier(f"h{position}") for position in range(len(self.layout.compared))]
        parts = [
            sql.SQL("SELECT {key} AS k, {leaf} AS leaf{hashes} FROM ONLY {table}").format(
                key=key_sql(self.layout, table, self.side),
                leaf=sql.Literal(leaf),
                hashes=self._named([hash_sql(column, table, self.side) for column in self.layout.compared]),
                table=table.identifier,
            )
            for leaf, table in enumerate(self.tables)
        ]
        if self.layout.keyless:  # equal rows travel once
            chosen: list[Expression] = [sql.SQL("pg_catalog.count(*)"), sql.SQL("leaf")]
            chosen += [sql.SQL("pg_catalog.min({})").format(name) for name in names]
            grouped = sql.SQL("GROUP BY k, leaf ")
        else:
            chosen = [sql.SQL("1"), sql.SQL("leaf"), *names]
            grouped = sql.SQL("")
        where: Expression = sql.SQL("")
        if buckets is not None:
            where = sql.SQL("WHERE k & {mask} = ANY (ARRAY[{buckets}]::pg_catalog.int8[]) ").format(
                mask=sql.Literal(BUCKETS - 1), buckets=sql.SQL(", ").join(map(sql.Literal, buckets))
            )
        query = sql.SQL("COPY (SELECT k, {chosen} FROM ({parts}) AS s {where}{grouped}ORDER BY k) TO STDOUT").format(
            chosen=sql.SQL(", ").join(chosen), parts=sql.SQL(" UNION ALL ").join(parts), where=where, grouped=grouped
        )
        with self.connection.cursor() as cursor, cursor.copy(query) as copy:
            for line in copy:  # libpq hands over one row at a time
                yield bytes(line)

    def _named(self, hashes: list[Expression]) -> Expression:
        named = [
            sql.SQL(", {} AS {}").format(value, sql.Identifier(f"h{position}")) for position, value in enumerate(hashes)
        ]
        return sql.SQL("").join(named)


def compare_rows(
    before: RowSource, after: RowSource, *, rows: int, successors: dict[int, int], examples: int = 0
) -> RowComparison:
    """Match the rows of the two sides: by key, then by content.

    ``rows`` is the larger side's count, ``successors`` maps a table's position before to the one that goes
    on from it.  Memory is bounded by `MOST_KEPT`; the server sorts both sides once.
    """
    buckets: list[int] | None = None
    if rows > WORTH_BUCKETS:
        ours, theirs = before.buckets(), after.buckets()
        buckets = [number for number in range(BUCKETS) if ours.get(number) != theirs.get(number)]
        if len(buckets) > BUCKETS // 2:
            buckets = None
    merge = _Merge(before.layout, len(before.tables), successors, examples)
    merge.run(before.lines(buckets), after.lines(buckets))
    return merge.finish()


class _Merge:
    """Two streams in, one `RowComparison` out."""

    def __init__(self, layout: Layout, tables: int, successors: dict[int, int], examples: int) -> None:
        self._layout = layout
        self._successors = successors
        self._most_examples = examples
        self._result = RowComparison([Tally() for _ in range(tables)], Counter())
        self._lost: list[Row] = []
        self._added: list[Row] = []
        self._same_key = [Tally() for _ in range(tables)]  # of rows with one key and different values
        self._differing: list[tuple[Row | bytes, Row | bytes]] = []  # those rows; lines are parsed only if need be
        self._overflow = Counter[str]()

    def run(self, ours: Iterator[bytes], theirs: Iterator[bytes]) -> None:
        mine, other = next(ours, None), next(theirs, None)
        while mine is not None or other is not None:
            if mine == other:
                mine, other = next(ours, None), next(theirs, None)
                continue
            my_key = _key(mine)
            other_key = _key(other)
            if other_key is None or (my_key is not None and my_key < other_key):
                assert mine is not None
                self._lose(_row(mine))
                mine = next(ours, None)
            elif my_key is None or other_key < my_key:
                assert other is not None
                self._add(_row(other))
                other = next(theirs, None)
            else:
                assert mine is not None
                assert other is not None
                my_next, other_next = next(ours, None), next(theirs, None)
                alone = _key(my_next) != my_key and _key(other_next) != my_key
                if alone and not self._layout.keyless:
                    self._differ(mine, other)
                else:
                    my_rows, my_next = _gather(my_key, my_next, ours)
                    other_rows, other_next = _gather(my_key, other_next, theirs)
                    self._match([_row(mine), *my_rows], [_row(other), *other_rows])
                mine, other = my_next, other_next

    def finish(self) -> RowComparison:
        if self._layout.keyless:
            self._pair_without_one_column()
        else:
            self._pair_by_key_or_content()
        for row in self._lost:
            self._count_lost(row)
            self._example_pairs([(row, None)])
        for row in self._added:
            self._result.added[row.leaf] += row.copies
        lost, added = self._lost or self._overflow["lost"], self._added or self._overflow["added"]
        self._result.kept_all = not (self._overflow["lost"] and added) and not (self._overflow["added"] and lost)
        return self._result

    def _lose(self, row: Row) -> None:
        if len(self._lost) < MOST_KEPT:
            self._lost.append(row)
        else:
            self._overflow["lost"] += 1
            self._count_lost(row)

    def _add(self, row: Row) -> None:
        if len(self._added) < MOST_KEPT:
            self._added.append(row)
        else:
            self._overflow["added"] += 1
            self._result.added[row.leaf] += row.copies

    def _count_lost(self, row: Row) -> None:
        tally = self._result.before[row.leaf]
        tally.rows_lost += row.copies
        for position, value in enumerate(row.values):
            if value != NULL:
                tally.values_in_lost_rows[position] += row.copies

    def _differ(self, mine: Row | bytes, other: Row | bytes) -> None:
        """One row under one key, with other values; or moved to another table of the tree with the same ones."""
        one, two = _parsed(mine), _parsed(other)
        if one.values == two.values:
            return
        _compare(self._same_key[one.leaf], one, two)
        if len(self._differing) < MOST_KEPT:
            self._differing.append((mine, other))
        else:
            self._overflow["differing"] += 1

    def _match(self, mine: list[Row], other: list[Row]) -> None:
        """Rows of one key: equal ones first, in the table where they were if possible; then the rest in order."""

        def where_it_was(row: Row) -> Hashable:
            return self._successors.get(row.leaf, -1), row.values

        _, mine, other = _pair(mine, other, where_it_was, lambda row: (row.leaf, row.values))
        _, mine, other = _pair(mine, other, lambda row: row.values, lambda row: row.values)
        while mine and other:
            one, two = mine.pop(), other.pop()
            copies = min(one.copies, two.copies)
            self._differ(_take(one, copies), _take(two, copies))
            if one.copies > copies:
                mine.append(_take(one, one.copies - copies))
            if two.copies > copies:
                other.append(_take(two, two.copies - copies))
        for row in mine:
            self._lose(row)
        for row in other:
            self._add(row)

    def _pair_by_key_or_content(self) -> None:
        """Rows of one key are one row, and a row lost that was added under another key had its key changed;
        unless finding *all* rows that differ again by content explains everything with fewer changes
        (UPDATE … SET id = id + 1, where rows of one key are strangers).

        A tie (two values swapped, or two keys?) goes to the values.
        """
        others = [position for position in range(len(self._layout.compared)) if position not in self._layout.key]
        sign = _content(others)
        lost_cost = len(others) + 1
        pairs, lost, added = _pair(self._lost, self._added, sign, sign) if others else ([], self._lost, self._added)
        cost = sum(tally.cells for tally in self._same_key) + _cost(pairs, lost, lost_cost)
        # By content each row costs one changed key at least: often there is nothing to gain.
        rows = sum(row.copies for row in self._lost) + len(self._differing)
        if others and self._differing and not any(self._overflow.values()) and cost > rows:
            differing = [(_parsed(mine), _parsed(other)) for mine, other in self._differing]
            mine = [*self._lost, *(one for one, _ in differing)]
            theirs = [*self._added, *(two for _, two in differing)]
            by_content = _pair(mine, theirs, sign, sign)
            if _cost(by_content[0], by_content[1], lost_cost) < cost:
                pairs, lost, added = by_content
                self._differing.clear()
                self._same_key.clear()
        for tally, same_key in zip(self._result.before, self._same_key, strict=False):
            tally.include(same_key)
        self._lost, self._added = lost, added
        for one, two in pairs:
            _compare(self._result.before[one.leaf], one, two)
        room = self._most_examples
        self._example_pairs([(_parsed(mine), _parsed(other)) for mine, other in self._differing[:room]])
        self._example_pairs(pairs)

    def _pair_without_one_column(self) -> None:
        """Keyless: if the rows are equal but for one column, that column was changed; else they are lost.

        Where several columns would explain it (two values swapped), the last one is taken: the first
        columns are more often what names the row.
        """
        columns = len(self._layout.compared)
        if columns < 2 or not self._lost or not self._added or any(self._overflow.values()):
            return
        lost, added = sum(row.copies for row in self._lost), sum(row.copies for row in self._added)
        fewer, more = (self._lost, self._added) if lost <= added else (self._added, self._lost)
        # Any other column must hold, on the smaller side, nothing that the larger side lacks.
        differing = [position for position in range(columns) if _values(fewer, position) - _values(more, position)]
        if len(differing) > 1:
            return
        for left_out in differing or reversed(range(columns)):
            others = [position for position in range(columns) if position != left_out]
            pairs, mine, theirs = _pair(self._lost, self._added, _content(others), _content(others))
            if sum(one.copies for one, _ in pairs) == min(lost, added):
                for one, two in pairs:
                    _compare(self._result.before[one.leaf], one, two)
                self._lost, self._added = mine, theirs
                self._example_pairs(pairs)
                return

    def _example_pairs(self, pairs: Sequence[tuple[Row, Row | None]]) -> None:
        room = self._most_examples - len(self._result.examples)
        if room > 0:
            self._result.examples.extend(pairs[:room])


def _content(positions: list[int]) -> Sign:
    def sign(row: Row) -> tuple[bytes, ...]:
        return tuple(row.values[position] for position in positions)

    return sign


def _pair(
    mine: list[Row], other: list[Row], my_sign: Sign, other_sign: Sign
) -> tuple[list[tuple[Row, Row]], list[Row], list[Row]]:
    """Rows with equal signs, copy by copy; and what is left of both sides."""
    waiting: dict[Hashable, list[Row]] = {}
    for row in reversed(other):
        waiting.setdefault(other_sign(row), []).append(row)
    pairs: list[tuple[Row, Row]] = []
    mine_left: list[Row] = []
    for row in mine:
        same = waiting.get(my_sign(row))
        copies = row.copies
        while same and copies:
            found = same.pop()
            paired = min(copies, found.copies)
            pairs.append((_take(row, paired), _take(found, paired)))
            copies -= paired
            if found.copies > paired:
                same.append(_take(found, found.copies - paired))
        if copies:
            mine_left.append(_take(row, copies))
    return pairs, mine_left, [row for rows in waiting.values() for row in rows]


def _compare(tally: Tally, mine: Row, other: Row) -> None:
    for position, (old, new) in enumerate(zip(mine.values, other.values, strict=True)):
        if old == new:
            continue
        counted = tally.nulled if new == NULL else tally.filled if old == NULL else tally.changed
        counted[position] += mine.copies


def _values(rows: list[Row], position: int) -> Counter[bytes]:
    found = Counter[bytes]()
    for row in rows:
        found[row.values[position]] += row.copies
    return found


def _cost(pairs: list[tuple[Row, Row]], lost: list[Row], of_a_lost_row: int) -> int:
    """How much an explanation says has changed."""
    changed = sum(
        one.copies * sum(old != new for old, new in zip(one.values, two.values, strict=True)) for one, two in pairs
    )
    return changed + of_a_lost_row * sum(row.copies for row in lost)


def _take(row: Row, copies: int) -> Row:
    return row if row.copies == copies else Row(row.leaf, copies, row.key, row.values)


def _key(line: bytes | None) -> int | None:
    return None if line is None else int(line[: line.index(b"\t")])


def _parsed(row: Row | bytes) -> Row:
    return row if isinstance(row, Row) else _row(row)


def _row(line: bytes) -> Row:
    key, copies, leaf, *values = line.rstrip(b"\n").split(b"\t")
    return Row(int(leaf), int(copies), key, tuple(values))


def _gather(key: int, first: bytes | None, rest: Iterator[bytes]) -> tuple[list[Row], bytes | None]:
    """All rows of this key, and the first line beyond them."""
    rows: list[Row] = []
    line = first
    while line is not None and _key(line) == key:
        rows.append(_row(line))
        line = next(rest, None)
    return rows, line

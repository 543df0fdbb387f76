"""Two streams of rows merged into counts: rows of one key first, then rows that find each other by content."""

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

from pgrehearse.data.fingerprint import Layout
from pgrehearse.data.row_stream import (
    NULL,
    KindExample,
    KindOf,
    Row,
    RowComparison,
    Sign,
    Tally,
    hashes_of,
    is_wide,
)
from pgrehearse.data.value_changes import ChangeKind

MOST_WITH_TEXT = 20_000  # of the rows kept, those whose values' texts are kept too


class Merge:
    """Two streams in, one `RowComparison` out."""

    def __init__(
        self,
        layout: Layout,
        tables: int,
        successors: dict[int, int],
        *,
        texts: Sequence[int],
        kind_of: KindOf,
        examples: int,
        most_kept: int,
    ) -> None:
        self._layout = layout
        self._successors = successors
        self._texts = {position: place for place, position in enumerate(texts)}
        self._wide = is_wide(layout, texts)
        self._hash_fields = 1 if self._wide else len(layout.compared)
        self._kind_of = kind_of
        self._most_examples = examples
        self._most_kept = most_kept
        self._result = RowComparison([Tally() for _ in range(tables)], Counter())
        self._lost: list[Row] = []
        self._added: list[Row] = []
        self._same_key = [Tally() for _ in range(tables)]  # of rows with one key and different values
        self._differing: list[tuple[Row | bytes, Row | bytes]] = []  # those rows; lines are parsed only if need be
        self._overflow = Counter[str]()
        self._still_there: set[bytes] = set()  # keyless rows of which fewer are left

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
                self._lose(self._row(mine))
                mine = next(ours, None)
            elif my_key is None or other_key < my_key:
                assert other is not None
                self._add(self._row(other))
                other = next(theirs, None)
            else:
                assert mine is not None
                assert other is not None
                my_next, other_next = next(ours, None), next(theirs, None)
                alone = _key(my_next) != my_key and _key(other_next) != my_key
                if alone and not self._layout.keyless:
                    self._differ(mine, other)
                else:
                    my_rows, my_next = self._gather(my_key, my_next, ours)
                    other_rows, other_next = self._gather(my_key, other_next, theirs)
                    self._match([self._row(mine), *my_rows], [self._row(other), *other_rows])
                mine, other = my_next, other_next

    def finish(self) -> RowComparison:
        if self._layout.keyless:
            self._pair_without_one_column()
        else:
            self._pair_by_key_or_content()
        for row in self._lost:
            self._count_lost(row)
            self._example_pairs([(row, None)])
        self._result.lost = self._lost
        self._result.all_lost_kept = not self._overflow["lost"]
        for row in self._added:
            self._result.added[row.leaf] += row.copies
        lost, added = self._lost or self._overflow["lost"], self._added or self._overflow["added"]
        self._result.kept_all = not (self._overflow["lost"] and added) and not (self._overflow["added"] and lost)
        return self._result

    def _lose(self, row: Row) -> None:
        if len(self._lost) < self._most_kept:
            self._lost.append(self._kept(row, self._lost))
        else:
            self._overflow["lost"] += 1
            self._count_lost(row)

    def _add(self, row: Row) -> None:
        if len(self._added) < self._most_kept:
            self._added.append(self._kept(row, self._added))
        else:
            self._overflow["added"] += 1
            self._result.added[row.leaf] += row.copies

    def _kept(self, row: Row, rows: list[Row]) -> Row:
        return row if len(rows) < MOST_WITH_TEXT else Row(row.leaf, row.copies, row.key, row.values)

    def _count_lost(self, row: Row) -> None:
        tally = self._result.before[row.leaf]
        tally.rows_lost += row.copies
        if row.key in self._still_there:
            tally.rows_merged = (tally.rows_merged or 0) + row.copies
        for position, value in enumerate(row.values):
            if value != NULL:
                tally.values_in_lost_rows[position] += row.copies

    def _differ(self, mine: Row | bytes, other: Row | bytes) -> None:
        """One row under one key, with other values; or moved to another table of the tree with the same ones."""
        one, two = self._parsed(mine), self._parsed(other)
        if one.values == two.values:
            return
        self._compare(self._same_key[one.leaf], one, two)
        if len(self._differing) < self._most_kept:
            with_text = len(self._differing) < MOST_WITH_TEXT
            self._differing.append((mine, other) if with_text else (self._bare(mine), self._bare(other)))
        else:
            self._overflow["differing"] += 1

    def _compare(self, tally: Tally, one: Row, two: Row) -> None:
        for position, (old, new) in enumerate(zip(one.values, two.values, strict=True)):
            if old == new:
                continue
            counted = tally.nulled if new == NULL else tally.filled if old == NULL else tally.changed
            counted[position] += one.copies
            place = self._texts.get(position)
            if new == NULL:
                kind = ChangeKind.BECAME_NULL
            elif old == NULL:
                kind = ChangeKind.NULL_FILLED
            elif place is None or not one.texts or not two.texts:
                kind = ChangeKind.CHANGED
            else:
                kind = self._kind_of(position, _text(one.texts[place]), _text(two.texts[place]))
            tally.kinds[position, kind] += one.copies
            if self._most_examples and place is not None and one.texts and two.texts:
                self._remember(one, two, position, kind, place)

    def _remember(self, one: Row, two: Row, position: int, kind: ChangeKind, place: int) -> None:
        found = (one.leaf, position, kind)
        if found not in self._result.kind_examples:
            key = tuple(_text(one.texts[self._texts[key]]) for key in self._layout.key if key in self._texts)
            self._result.kind_examples[found] = KindExample(key, _text(one.texts[place]), _text(two.texts[place]))

    def _match(self, mine: list[Row], other: list[Row]) -> None:
        """Rows of one key: equal ones first, in the table where they were if possible; then the rest in order."""

        def where_it_was(row: Row) -> Hashable:
            return self._successors.get(row.leaf, -1), row.values

        before = sum(row.copies for row in mine)
        _, mine, other = _pair(mine, other, where_it_was, lambda row: (row.leaf, row.values))
        _, mine, other = _pair(mine, other, lambda row: row.values, lambda row: row.values)
        if self._layout.keyless and mine and sum(row.copies for row in mine) < before:
            self._still_there.add(mine[0].key)  # of equal rows some are left
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
            differing = [(self._parsed(mine), self._parsed(other)) for mine, other in self._differing]
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
            self._compare(self._result.before[one.leaf], one, two)
        room = self._most_examples
        self._example_pairs([(self._parsed(mine), self._parsed(other)) for mine, other in self._differing[:room]])
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
                    self._compare(self._result.before[one.leaf], one, two)
                self._lost, self._added = mine, theirs
                self._example_pairs(pairs)
                return

    def _parsed(self, row: Row | bytes) -> Row:
        return row if isinstance(row, Row) else self._row(row)

    def _row(self, line: bytes) -> Row:
        key, copies, leaf, *rest = line.rstrip(b"\n").split(b"\t")
        fields = self._hash_fields
        values = hashes_of(rest[:fields], wide=self._wide)
        return Row(int(leaf), int(copies), key, values, tuple(rest[fields:]))

    def _bare(self, row: Row | bytes) -> Row | bytes:
        """Without the texts."""
        if isinstance(row, Row):
            return Row(row.leaf, row.copies, row.key, row.values)
        return b"\t".join(row.rstrip(b"\n").split(b"\t")[: 3 + self._hash_fields])

    def _gather(self, key: int, first: bytes | None, rest: Iterator[bytes]) -> tuple[list[Row], bytes | None]:
        """All rows of this key, and the first line beyond them."""
        rows: list[Row] = []
        line = first
        while line is not None and _key(line) == key:
            rows.append(self._row(line))
            line = next(rest, None)
        return rows, line

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


ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def _text(field: bytes) -> str | None:
    """A field of COPY's text format."""
    if field == NULL:
        return None
    return ESCAPED.sub(lambda found: ESCAPES.get(found[1], found[1]), field).decode(errors="backslashreplace")

"""In which order deleted rows of a table that refers to itself are deleted once more: the children first.

ON DELETE CASCADE would take a child's row along with its parent's, whose own statement would then find none; RESTRICT
refuses the parent at once, deferred or not.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from pgrehearse.release.restore.counterparts import Counterpart, ForeignKey

Positions = tuple[int, ...]
Values = Sequence[str | None]


class DeleteOrder:
    """The deleted rows of one table, by number.  Some 200 bytes a row."""

    def __init__(self, counterpart: Counterpart, foreign_keys: Iterable[ForeignKey]) -> None:
        positions = {column.name: position for position, column in enumerate(counterpart.columns)}
        self._references: list[tuple[Positions, Positions]] = []  # of the child, of the parent
        for key in foreign_keys:
            if {key.root_oid, key.referenced_oid} != {counterpart.restored.oid}:
                continue
            if all(name in positions for pair in key.pairs for name in pair):
                child, parent = ([positions[pair[side]] for pair in key.pairs] for side in (0, 1))
                self._references.append((tuple(child), tuple(parent)))
        self._rows: dict[int, list[int]] = defaultdict(list)  # by a hash of what they are referred to by
        self._refer: list[tuple[int, int]] = []  # a row, and the hash of what it refers to
        self._count = 0

    @property
    def is_needed(self) -> bool:
        return bool(self._references)

    def add(self, values: Values) -> None:
        """The next row, numbered from 0."""
        for number, (child, parent) in enumerate(self._references):
            self._rows[_hash(number, parent, values)].append(self._count)
            if all(values[position] is not None for position in child):
                self._refer.append((self._count, _hash(number, child, values)))
        self._count += 1

    def children_first(self) -> tuple[list[int], list[int]]:
        """The rows in order; and those that refer to each other in a circle, with the rows that these refer to."""
        parents: dict[int, list[int]] = defaultdict(list)
        children = [0] * self._count
        for row, referred in self._refer:
            for parent in self._rows.get(referred, ()):
                if parent != row:
                    parents[row].append(parent)
                    children[parent] += 1
        free = [row for row in range(self._count) if not children[row]]
        for row in free:  # grows meanwhile
            for parent in parents[row]:
                children[parent] -= 1
                if not children[parent]:
                    free.append(parent)
        return free, [row for row in range(self._count) if children[row]]


def _hash(number: int, positions: Positions, values: Values) -> int:
    """Two alike by chance only change an order that did not matter."""
    return hash((number, *(values[position] for position in positions)))

"""What a migration file declares that it will do to data, and how far production may differ from the rehearsal."""

import re
from dataclasses import dataclass
from enum import Enum

_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


class Verb(Enum):
    """What is declared."""

    INSERTS = "inserts"
    UPDATES = "updates"
    DELETES = "deletes"
    TRUNCATES = "truncates"
    DROPS = "drops"  # a table
    DROPS_COLUMN = "drops column"
    CHANGES = "changes"  # the values of one column, by whatever way


ROW_VERBS = frozenset({Verb.INSERTS, Verb.UPDATES, Verb.DELETES, Verb.TRUNCATES})
REMOVES_ROWS = frozenset({Verb.DELETES, Verb.TRUNCATES})
PAST = {
    Verb.INSERTS: "inserted",
    Verb.UPDATES: "updated",
    Verb.DELETES: "deleted",
    Verb.TRUNCATES: "deleted",
    Verb.CHANGES: "changed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """How many.  In rows, or in percent of the table's rows before the plan; ``within``: a tolerance alone.

    In the rehearsal the number itself is held against it.  In production a number of rows must lie within it too,
    and a bare ``<= 2%`` (or ``within``) says how far the count may be from the rehearsal's.
    """

    least: float
    most: float
    strict: bool = False  # less than ``most``
    percent: bool = False
    within: bool = False
    allows_none: bool = False  # `between 0 and N`: it is fine that nothing happens
    text: str

    @property
    def is_share(self) -> bool:
        """At most so many percent: of the table's rows for what it excuses, of the rehearsal's count in production."""
        return self.percent and not self.within and self.least == 0

    def holds_of(self, count: int, *, rows_before: int) -> bool:
        """Whether this many is as declared, of a table that had so many rows."""
        if self.within:
            return True
        scale = rows_before / 100 if self.percent else 1
        return self.least * scale <= count and not self.exceeded_by(count, rows_before=rows_before)

    def exceeded_by(self, count: int, *, rows_before: int) -> int:
        """How many of them are too many; 0 where they are not."""
        if self.within:
            return 0
        most = self.most * rows_before / 100 if self.percent else self.most
        allowed = int(most)
        if self.strict and allowed == most:
            allowed -= 1
        return max(count - max(allowed, 0), 0)

    def tolerates(self, predicted: int, actual: int, *, drift: int, rehearsed: int, rows_before: int) -> bool:
        """Whether production may do this to ``actual`` rows where the rehearsal did it to ``predicted``.

        ``rehearsed``: all that the rehearsal counted under this declaration; ``drift``: by how much its other
        statements differed already.
        """
        if self.within and not self.percent:
            return abs(drift + actual - predicted) <= self.most
        if self.within or self.is_share:
            difference, most = abs(actual - predicted), self.most * predicted / 100
            return difference < most if self.strict else difference <= most
        return self.holds_of(rehearsed + drift + actual - predicted, rows_before=rows_before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """One declaration; it speaks of the statements below it in its file."""

    version: str  # its migration's
    file: str
    line: int
    text: str  # what stands behind `expect`
    first: int  # index of the first statement below it
    verb: Verb
    relation: tuple[str, ...]  # as written, folded as SQL folds names: (relation,) or (namespace, relation)
    column: str | None = None
    condition: str | None = None  # SQL over the table's columns
    bound: Bound | None = None

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"

    def speaks_of(self, name: str) -> bool:
        """Whether this ``namespace.relation``, quoted as SQL needs it, is meant."""
        parts = split_name(name)
        return parts[-len(self.relation) :] == self.relation

    def covers(self, version: str, index: int) -> bool:
        """Whether that statement stands below it."""
        return version == self.version and index >= self.first

    def __str__(self) -> str:
        return self.text


def split_name(name: str) -> tuple[str, ...]:
    """The parts of ``namespace."Odd name"`` without their quotes, each as it is spelled."""
    return tuple(
        found.group(1).replace('""', '"') if found.group(1) is not None else found.group(2)
        for found in _PART.finditer(name)
    )

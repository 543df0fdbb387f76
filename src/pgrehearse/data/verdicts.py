"""What was found out about the data: frozen facts, and the closed sets of verdicts.

A count is of rows (``rows_…``) or of values of one column (``values_…``), exact.
"""

import enum
from dataclasses import dataclass
from typing import Any

from pgrehearse.data.proof import Proof, TableProof
from pgrehearse.data.value_changes import ValueChange


class TableVerdict(enum.Enum):
    """What became of a table; where several hold, the first of this order.

    ``dropped``: no table of its oid or name is left.  ``recreated``: another table carries its name; judged by
    content, so it may have lost nothing.  ``rows-lost``.  ``rows-moved``: some of its rows stand in another table of
    its partition tree, and none is lost.  ``values-changed``: in some column (dropped with
    values in it, NULLs filled in, all count).  ``unmeasured``: some column could not be compared, and nothing worse
    was seen.  ``rows-added``, ``renamed``, ``unchanged``; ``new``: it was not there before.
    """

    DROPPED = "dropped"
    RECREATED = "recreated"
    ROWS_LOST = "rows-lost"
    ROWS_MOVED = "rows-moved"
    VALUES_CHANGED = "values-changed"
    UNMEASURED = "unmeasured"
    ROWS_ADDED = "rows-added"
    RENAMED = "renamed"
    UNCHANGED = "unchanged"
    NEW = "new"


class ColumnVerdict(enum.Enum):
    """What became of a column; where several hold, the first of this order.

    So a column that was renamed and retyped is ``type-changed`` (its new name stands in ``name_after``), and
    one that also lost values is ``values-lost``.  ``values-gained``: NULLs were filled in, nothing else.
    ``recreated``: another column carries its name, and holds the same values.
    """

    DROPPED = "dropped"
    UNMEASURED = "unmeasured"
    VALUES_LOST = "values-lost"
    VALUES_CHANGED = "values-changed"
    VALUES_GAINED = "values-gained"
    RECREATED = "recreated"
    TYPE_CHANGED = "type-changed"
    RENAMED = "renamed"
    UNCHANGED = "unchanged"
    NEW = "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnLoss:
    """One column, followed from before to after.  The counts are None when they could not be measured."""

    name: str
    name_after: str | None
    verdict: ColumnVerdict
    values_changed: int | None  # had a value, has another one
    values_lost: int | None  # had a value, has none now, or went with the column
    values_before: int | None = None  # that are not NULL; None where they were not counted
    values_moved: int = 0  # of those lost: found again elsewhere
    changes: tuple[ValueChange, ...] = ()  # how values changed in place, the most frequent first

    @property
    def lost(self) -> bool:
        """Whether a value that was there is not there any more: found again elsewhere or not, it is gone from here."""
        return bool(self.values_changed or self.values_lost)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": None if self.verdict is ColumnVerdict.NEW else self.name,
            "name_after": self.name_after,
            "verdict": self.verdict.value,
            "values_before": self.values_before,
            "values_changed": self.values_changed,
            "values_lost": self.values_lost,
            "values_moved": self.values_moved,
            "changes": [change.as_json() for change in self.changes],
        }


class Traced(enum.Enum):
    """What was found again: ``rows`` whole, or the ``values`` of columns."""

    ROWS = "rows"
    VALUES = "values"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Rows or values that are gone from their place and stand in another, found by key and content.

    ``found`` of ``sought`` were found.  ``proved`` is False where they may be equal by coincidence (``reason``): they
    then do not count as found again.
    """

    what: Traced
    columns: tuple[str, ...]  # whose values; of rows all
    into: str  # namespace.relation after
    into_columns: tuple[str, ...]
    joined_by: str  # how several columns make one value, as SQL; empty where one stands for one
    by: dict[str, str]  # the key's columns, and those that hold their values now
    sought: int
    found: int
    proved: bool
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what.value,
            "columns": list(self.columns),
            "into": self.into,
            "into_columns": list(self.into_columns),
            "joined_by": self.joined_by,
            "by": self.by,
            "sought": self.sought,
            "found": self.found,
            "proved": self.proved,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    """Rows of a child whose parent was there before and is not any more."""

    child: str  # namespace.relation after
    columns: tuple[str, ...]
    parent: str  # before
    rows: int

    def as_json(self) -> dict[str, Any]:
        return {"child": self.child, "columns": list(self.columns), "parent": self.parent, "rows": self.rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLoss:
    """One table, or one leaf of a partitioned one."""

    name: str  # before; of a new one its name after, which another table may have carried before
    name_after: str | None
    verdict: TableVerdict
    rows_before: int
    rows_after: int
    rows_lost: int  # not found any more, in no leaf of its tree
    columns: tuple[ColumnLoss, ...]
    rows_merged: int | None = 0  # of those lost: a row like it, but for the key, is still there; None: not looked for
    rows_moved: int = 0  # of those lost: found again elsewhere
    traces: tuple[Trace, ...] = ()
    orphans: tuple[Orphans, ...] = ()  # that its lost rows left behind
    proof: TableProof | None = None  # what this stands on; None where nothing was asked about the table

    @property
    def lost(self) -> bool:
        """Whether a row or a value was lost or changed: a table made again, or dropped empty, lost nothing.

        What was found again elsewhere is lost all the same: a running application looks for it here.
        """
        return self.rows_lost > 0 or any(column.lost for column in self.columns)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": None if self.verdict is TableVerdict.NEW else self.name,
            "name_after": self.name_after,
            "verdict": self.verdict.value,
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "rows_lost": self.rows_lost,
            "rows_merged": self.rows_merged,
            "rows_moved": self.rows_moved,
            "columns": [column.as_json() for column in self.columns],
            "traces": [trace.as_json() for trace in self.traces],
            "orphans": [orphans.as_json() for orphans in self.orphans],
            "proof": self.proof.as_json() if self.proof is not None else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionTree:
    """A partitioned table, a root or one between: its rows stand at its leaves, and so does what became of them."""

    name: str  # before
    name_after: str | None
    leaves: tuple[str, ...]  # before, at whatever depth; not all of them need have been compared


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """Something that could not be compared, and why.

    ``blocking`` is False for what holds no data of this database (a foreign table): a verdict of clean need
    not wait for it.
    """

    what: str
    reason: str
    blocking: bool = True

    def as_json(self) -> dict[str, Any]:
        return {"what": self.what, "reason": self.reason}


class SequenceVerdict(enum.Enum):
    """``moved-back``: it will hand out numbers again.  ``behind``: a column that it numbers holds what will come.

    ``exhausted``: it has no number left, and had one before.
    """

    DROPPED = "dropped"
    BEHIND = "behind"
    MOVED_BACK = "moved-back"
    EXHAUSTED = "exhausted"
    ADVANCED = "advanced"
    UNCHANGED = "unchanged"
    NEW = "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceState:
    """One sequence; ``next_…`` is the number that it would hand out."""

    name: str
    name_after: str | None
    verdict: SequenceVerdict
    next_before: int | None
    next_after: int | None
    column: str | None  # namespace.relation.column that it numbers after: the one that is ahead of it, else the first
    furthest_value: int | None  # in that column, where the verdict is ``behind``

    @property
    def hazardous(self) -> bool:
        """Whether inserts may now meet numbers that are taken, or get none."""
        return self.verdict in (SequenceVerdict.BEHIND, SequenceVerdict.MOVED_BACK, SequenceVerdict.EXHAUSTED)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "name_after": self.name_after,
            "verdict": self.verdict.value,
            "next_before": self.next_before,
            "next_after": self.next_after,
            "column": self.column,
            "furthest_value": self.furthest_value,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeObjects:
    """The large objects of the database."""

    count_before: int
    count_after: int
    objects_lost: int
    objects_changed: int

    @property
    def lost(self) -> bool:
        return bool(self.objects_lost or self.objects_changed)

    def as_json(self) -> dict[str, Any]:
        return {
            "count_before": self.count_before,
            "count_after": self.count_after,
            "objects_lost": self.objects_lost,
            "objects_changed": self.objects_changed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row that was lost (``after`` is None) or changed.  Values are text, cut at `samples.LONGEST`."""

    table: str
    key: dict[str, str | None]
    before: dict[str, str | None]
    after: dict[str, str | None] | None

    def as_json(self) -> dict[str, Any]:
        return {"table": self.table, "key": self.key, "before": self.before, "after": self.after}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataComparison:
    """All data of a pristine database and of its migrated clone, compared."""

    tables: tuple[TableLoss, ...]
    sequences: tuple[SequenceState, ...]
    large_objects: LargeObjects | None  # None: there are none
    not_measured: tuple[Unmeasured, ...]
    samples: tuple[Sample, ...]
    trees: tuple[PartitionTree, ...] = ()
    proof: Proof = Proof.FULL
    counters_not_believed: str | None = None  # why, where `Proof.TOUCHED` did without the server's counters

    @property
    def lost(self) -> bool:
        """Whether any row, value or large object was lost or changed."""
        return any(table.lost for table in self.tables) or bool(self.large_objects and self.large_objects.lost)

    def as_json(self) -> dict[str, Any]:
        """``tables`` and ``not_measured`` are those of the `run` document."""
        return {
            "tables": [table.as_json() for table in self.tables],
            "sequences": [sequence.as_json() for sequence in self.sequences],
            "large_objects": self.large_objects.as_json() if self.large_objects else None,
            "not_measured": [fact.as_json() for fact in self.not_measured],
            "samples": [sample.as_json() for sample in self.samples],
        }

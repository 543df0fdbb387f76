"""What became of a column's values: its verdict, and the ways in which they changed."""

from collections.abc import Callable, Mapping

from pgrehearse.data.pairing import FollowedColumn
from pgrehearse.data.value_changes import ChangeExample, ChangeKind, ValueChange
from pgrehearse.data.verdicts import ColumnVerdict


def changes_of(
    counts: Mapping[ChangeKind, int], example: Callable[[ChangeKind], ChangeExample | None]
) -> tuple[ValueChange, ...]:
    """The most frequent first."""
    order = list(ChangeKind)
    return tuple(
        ValueChange(kind=kind, values=counts[kind], example=example(kind))
        for kind in sorted(counts, key=lambda kind: (-counts[kind], order.index(kind)))
    )


def column_verdict(column: FollowedColumn, changed: int | None, lost: int | None, filled: int) -> ColumnVerdict:
    """The first that holds; the counts are None where they were not measured."""
    holds = (
        (column.reading is None, ColumnVerdict.DROPPED),
        (changed is None, ColumnVerdict.UNMEASURED),
        (bool(lost), ColumnVerdict.VALUES_LOST),
        (bool(changed), ColumnVerdict.VALUES_CHANGED),
        (bool(filled), ColumnVerdict.VALUES_GAINED),
        (column.recreated, ColumnVerdict.RECREATED),
        (column.retyped, ColumnVerdict.TYPE_CHANGED),
        (column.renamed, ColumnVerdict.RENAMED),
    )
    return next((verdict for held, verdict in holds if held), ColumnVerdict.UNCHANGED)

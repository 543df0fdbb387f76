"""What a partitioned table lost, made of what its leaves lost.  Pure.

Statements and declarations name the root (or a table between), rows are compared where they stand: at the leaves.
This is where the two meet.
"""

from collections.abc import Iterator, Mapping, Sequence

from pgrehearse.data.value_changes import ChangeKind, ValueChange
from pgrehearse.data.verdicts import (
    ColumnLoss,
    ColumnVerdict,
    DataComparison,
    PartitionTree,
    TableLoss,
    TableVerdict,
)


def losses_by_name(data: DataComparison) -> dict[str, TableLoss]:
    """Every table that was there before and was compared, and every partitioned one as its leaves together.

    By its name before, and where no other table carried that then, by its name after too: a plan that renames a table
    goes on with the new name.  A tree one of whose leaves was not compared (a foreign one, one that may not be read) is
    there only where the others lost something: that it lost nothing nobody knows.
    """
    # A new table may carry the name that a renamed one had; it lost nothing and must not stand in front of it.
    found = {table.name: table for table in data.tables if table.verdict is not TableVerdict.NEW}
    trees = {tree.name: loss for tree in data.trees if (loss := _tree_loss(tree, found)) is not None}
    before = {**found, **trees}
    after = {
        loss.name_after: loss
        for loss in before.values()
        if loss.name_after is not None and loss.name_after not in before
    }
    return after | before


def _tree_loss(tree: PartitionTree, tables: Mapping[str, TableLoss]) -> TableLoss | None:
    leaves = [tables[name] for name in tree.leaves if name in tables]
    if len(leaves) < len(tree.leaves) and not any(leaf.lost for leaf in leaves):
        return None
    order = list(TableVerdict)
    merged = [leaf.rows_merged for leaf in leaves]
    return TableLoss(
        name=tree.name,
        name_after=tree.name_after,
        verdict=min((_in_tree(leaf) for leaf in leaves), key=order.index, default=TableVerdict.UNCHANGED),
        rows_before=sum(leaf.rows_before for leaf in leaves),
        rows_after=sum(leaf.rows_after for leaf in leaves),
        rows_lost=sum(leaf.rows_lost for leaf in leaves),
        columns=tuple(_columns(leaves)),
        rows_merged=sum(count or 0 for count in merged) if None not in merged else None,
        rows_moved=sum(leaf.rows_moved for leaf in leaves),
        traces=tuple(trace for leaf in leaves for trace in leaf.traces),
        orphans=tuple(orphans for leaf in leaves for orphans in leaf.orphans),
    )


def _in_tree(leaf: TableLoss) -> TableVerdict:
    """What moved from one leaf to another did not leave the tree."""
    if leaf.verdict is not TableVerdict.ROWS_MOVED:
        return leaf.verdict
    return TableVerdict.VALUES_CHANGED if leaf.lost else TableVerdict.UNCHANGED


def _columns(leaves: Sequence[TableLoss]) -> Iterator[ColumnLoss]:
    """By name, which is one in the whole tree."""
    by_name: dict[str, list[ColumnLoss]] = {}
    for leaf in leaves:
        for column in leaf.columns:
            if column.verdict is not ColumnVerdict.NEW:
                by_name.setdefault(column.name, []).append(column)
    order = list(ColumnVerdict)
    for name, columns in by_name.items():
        yield ColumnLoss(
            name=name,
            name_after=next((column.name_after for column in columns if column.name_after is not None), None),
            verdict=min((column.verdict for column in columns), key=order.index),
            values_changed=_together([column.values_changed for column in columns]),
            values_lost=_together([column.values_lost for column in columns]),
            # Of how many is told only where every leaf knows.
            values_before=None if any(c.values_before is None for c in columns) else _together(
                [column.values_before for column in columns]
            ),
            values_moved=sum(column.values_moved for column in columns),
            changes=tuple(_changes(columns)),
        )  # fmt: skip


def _together(counts: Sequence[int | None]) -> int | None:
    """What is known of all of them; None where nothing is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _changes(columns: Sequence[ColumnLoss]) -> Iterator[ValueChange]:
    """Without examples: a finding shows no value."""
    counts: dict[ChangeKind, int] = {}
    for column in columns:
        for change in column.changes:
            counts[change.kind] = counts.get(change.kind, 0) + change.values
    for kind, values in sorted(counts.items(), key=lambda found: -found[1]):
        yield ValueChange(kind=kind, values=values)

"""Which table of the clone goes on from which table of the pristine database, and which column from which.

A table is followed by its oid, else by its name (dropped and made again).  The leaves of partition trees
are compared together, since rows may move between them: when a tree was attached to, detached from,
re-partitioned, or made out of a plain table.  A column is followed by its number, else by its name.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from pgrehearse.data.columns import Reading, TypePair, Unreadable
from pgrehearse.data.tables import Column, Table, Tables, Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Tables whose rows are compared together: one on each side, or the leaves of partition trees."""

    before: tuple[Table, ...]
    after: tuple[Table, ...]
    # A pristine table's oid: the table of the clone that goes on from it; the root where it became a tree.
    successors: dict[int, Table]
    model_before: Table | None  # whose columns and keys stand for all: the root of the tree, or the table
    model_after: Table | None

    def successor_of(self, table: Table) -> Table | None:
        return self.successors.get(table.oid)


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedColumn:
    """One column of a pool.  ``before`` and ``after`` give it in each table, by the table's oid."""

    name: str
    sql_name: str
    sql_name_after: str | None
    before: dict[int, Column]
    after: dict[int, Column]
    reading: Reading | Unreadable | None  # None: the column was dropped
    renamed: bool
    retyped: bool
    recreated: bool  # another column of the same name
    type_before: Type | None = None  # without domains; None where nobody will ask how values changed
    type_after: Type | None = None

    @property
    def readable(self) -> Reading | None:
        return self.reading if isinstance(self.reading, Reading) else None


def pair_tables(pristine: Tables, clone: Tables) -> tuple[Pool, ...]:
    """Every leaf of the pristine database is in exactly one pool, and so is every new one of the clone."""
    together = _Together()
    treelike: set[tuple[str, int]] = set()
    for side, tables in (("before", pristine), ("after", clone)):
        for table in tables.by_oid.values():
            together.add((side, table.oid))
            if table.parent_oid is not None and table.parent_oid in tables.by_oid:
                together.join((side, table.oid), (side, table.parent_oid))
            if table.partitioned or table.parent_oid is not None:
                treelike.add((side, table.oid))
    successors: dict[int, Table] = {}
    for table in pristine.by_oid.values():
        successor = clone.by_oid.get(table.oid) or clone.find_named(table)
        if successor is not None:
            successors[table.oid] = successor
            if successor.oid == table.oid or not _both_plain(table, successor):
                together.join(("before", table.oid), ("after", successor.oid))

    pools: list[Pool] = []
    for members in together.groups():
        before = tuple(pristine.by_oid[oid] for side, oid in members if side == "before")
        after = tuple(clone.by_oid[oid] for side, oid in members if side == "after")
        if not any(member in treelike for member in members):
            # Plain tables: alone each, with the successor by oid or by name.
            for table in before:
                found = successors.get(table.oid)
                pools.append(_plain_pool(table, found))
            continue
        pools.append(_tree_pool(before, after, successors, pristine, clone))
    followed = {table.oid for pool in pools for table in pool.after}
    pools += [_plain_pool(None, table) for table in clone.leaves if table.oid not in followed]
    return tuple(pool for pool in pools if pool.before or pool.after)


def _both_plain(before: Table, after: Table) -> bool:
    return not (before.partitioned or after.partitioned or before.parent_oid or after.parent_oid)


def _plain_pool(before: Table | None, after: Table | None) -> Pool:
    return Pool(
        before=(before,) if before else (),
        after=(after,) if after else (),
        successors={before.oid: after} if before and after else {},
        model_before=before,
        model_after=after,
    )


def _tree_pool(
    before: tuple[Table, ...], after: tuple[Table, ...], successors: dict[int, Table], pristine: Tables, clone: Tables
) -> Pool:
    leaves_before = tuple(table for table in before if not table.partitioned)
    leaves_after = tuple(table for table in after if not table.partitioned)
    # The root speaks for the tree: it survives attaching and detaching, and it holds the key.
    model_before = _first_root(before, pristine)
    model_after = successors.get(model_before.oid) if model_before else None
    own = {table.oid: successors[table.oid] for table in leaves_before if table.oid in successors}
    return Pool(
        before=leaves_before,
        after=leaves_after,
        successors=own,
        model_before=model_before,
        model_after=model_after or _first_root(after, clone),
    )


def _first_root(tables: Iterable[Table], catalog: Tables) -> Table | None:
    ordered = sorted(tables, key=lambda table: table.name)
    roots = [catalog.root_of(table) for table in ordered]
    return next((root for root in roots if root.partitioned), roots[0] if roots else None)


def follow_columns(pool: Pool, types: TypePair) -> tuple[FollowedColumn, ...]:
    """The pristine columns of the pool, in order, each with what it became."""
    if pool.model_before is None:
        return ()
    known = {column.name for column in pool.model_before.columns}
    # A table that was attached to a tree may have had columns of its own, which had to go first.
    own = {
        column.name: column for table in pool.before for column in table.columns if column.name not in known
    }  # fmt: skip
    return tuple(_follow(column, pool, types) for column in (*pool.model_before.columns, *own.values()))


def _follow(column: Column, pool: Pool, types: TypePair) -> FollowedColumn:
    assert pool.model_before is not None
    before = {table.oid: found for table in pool.before if (found := table.find_named(column.name)) is not None}
    model = pool.model_after
    same_oid = model is not None and model.oid == pool.model_before.oid
    own_number = column.number if column in pool.model_before.columns else None
    successor = model.find_column(own_number) if model and same_oid and own_number is not None else None
    recreated = False
    if successor is None and model is not None:
        successor = model.find_named(column.name)
        recreated = successor is not None and same_oid
    pristine_leaves = {table.oid: table for table in pool.before}
    after: dict[int, Column] = {}
    for table in pool.after:
        own = pristine_leaves.get(table.oid)
        number = found.number if own and (found := own.find_named(column.name)) else None
        there = table.find_column(number) if number is not None else None
        if there is None and successor is not None:
            there = table.find_named(successor.name)
        if there is not None:
            after[table.oid] = there
    return FollowedColumn(
        name=column.name,
        sql_name=column.sql_name,
        sql_name_after=successor.sql_name if successor else None,
        before=before,
        after=after,
        reading=_reading(column, before, after, pool, types) if successor else None,
        renamed=successor is not None and successor.name != column.name,
        retyped=successor is not None
        and (successor.type_oid, successor.typmod) != (column.type_oid, column.typmod),
        recreated=recreated,
        type_before=types.without_domains(column, after=False),
        type_after=types.without_domains(successor, after=True) if successor else None,
    )  # fmt: skip


def _reading(
    column: Column, before: dict[int, Column], after: dict[int, Column], pool: Pool, types: TypePair
) -> Reading | Unreadable:
    """One way to read the column in all tables of the pool."""
    missing = [table.name for table in pool.before if table.oid not in before]
    missing += [table.name for table in pool.after if table.oid not in after]
    if missing:
        return Unreadable(reason=f"{', '.join(missing[:3])} has no such column, though the tree it belongs to has")
    old = {(found.type_oid, found.typmod) for found in before.values()} or {(column.type_oid, column.typmod)}
    ways = {(found.type_oid, found.typmod): found for found in after.values()}
    if len(old) > 1 or len(ways) > 1:
        return Unreadable(reason="it has different types in the tables that rows may move between")
    now = next(iter(ways.values()), None)
    return types.reading(column, now if now is not None else column)


class _Together:
    """Which members belong together (union-find)."""

    def __init__(self) -> None:
        self._leaders: dict[tuple[str, int], tuple[str, int]] = {}

    def add(self, member: tuple[str, int]) -> None:
        self._leaders.setdefault(member, member)

    def join(self, one: tuple[str, int], other: tuple[str, int]) -> None:
        self.add(one)
        self.add(other)
        self._leaders[self._leader(one)] = self._leader(other)

    def _leader(self, member: tuple[str, int]) -> tuple[str, int]:
        while self._leaders[member] != member:
            self._leaders[member] = self._leaders[self._leaders[member]]
            member = self._leaders[member]
        return member

    def groups(self) -> list[list[tuple[str, int]]]:
        found: dict[tuple[str, int], list[tuple[str, int]]] = {}
        for member in self._leaders:
            found.setdefault(self._leader(member), []).append(member)
        return list(found.values())

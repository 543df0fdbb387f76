"""Which table of the failed database is which of the restored one, and how their columns are compared.

By name, through what the migration renamed.  A partitioned table is one table here: rows that moved between
its partitions have not changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pgrehearse.data.tables import Column, Table, Tables
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.release.restore.touched import TouchedTable

QUERIES = named_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedColumn:
    """A column that both sides have."""

    name: str  # in the restored database
    failed: str  # its name in the failed one
    type_name: str  # in the restored database
    type_failed: str
    written_by_migration: bool

    @property
    def retyped(self) -> bool:
        return self.type_name != self.type_failed


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    """A constraint of the restored database."""

    table: Table
    root_oid: int  # of the table, or of the partition tree that it is in
    referenced_oid: int  # likewise
    name: str
    deferrable: bool
    deferred: bool
    pairs: tuple[tuple[str, str], ...]  # a column of its own, and the one that it refers to


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A user's own, enabled."""

    table: Table
    root_oid: int  # of the table, or of the partition tree that it is in
    name: str
    always: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterpart:
    """One table of both databases.  Names are the restored database's where nothing else is said."""

    failed: Table
    restored: Table
    columns: tuple[ComparedColumn, ...]
    key: tuple[int, ...]  # positions in ``columns``; () keyless
    new_columns: tuple[Column, ...]  # only in the failed database
    gone_columns: tuple[str, ...]  # only in the restored one
    needed_columns: tuple[str, ...]  # of those: NOT NULL and without a default
    foreign_key_columns: frozenset[str]
    touched: TouchedTable | None

    @property
    def name(self) -> str:
        return self.restored.name

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(self.columns[position].name for position in self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class NotCompared:
    """A table whose rows could not be read or compared."""

    name: str
    reason: str


@dataclass(slots=True, kw_only=True)
class Counterparts:
    """What is compared, what stands on one side only, and what cannot be compared."""

    pairs: list[Counterpart] = field(default_factory=list)
    only_in_failed: list[Table] = field(default_factory=list)
    only_in_restored: list[Table] = field(default_factory=list)
    not_compared: list[NotCompared] = field(default_factory=list)
    foreign_keys: list[ForeignKey] = field(default_factory=list)
    triggers: list[Trigger] = field(default_factory=list)


def find_counterparts(
    failed: Connection,
    restored: Connection,
    tables_failed: Tables,
    tables_restored: Tables,
    *,
    touched: Sequence[TouchedTable] = (),
) -> Counterparts:
    """Pure but for four catalog queries.  Both sessions went through `prepare_session`."""
    found = Counterparts()
    left, right = _units(failed, tables_failed, found), _units(restored, tables_restored, found)
    by_name = {unit.name: unit for unit in left}
    facts = {table.name: table for table in touched}
    attributes_failed, attributes_restored = _Attributes(failed), _Attributes(restored)
    refers = _foreign_keys(restored, tables_restored, found)
    _triggers(restored, tables_restored, found)
    for unit in right:
        touch = _touch_of(unit, tables_restored, tables_failed, facts)
        now = (touch.name_after or "") if touch is not None else unit.name
        other = by_name.get(now)
        if other is None:
            found.only_in_restored.append(unit)
            continue
        by_name.pop(now)
        pair = _pair(other, unit, touch, attributes_failed, attributes_restored, refers.get(unit.oid, frozenset()))
        reason = next((_unreadable(table) for table in (other, unit) if _unreadable(table)), None)
        if reason is None:
            found.pairs.append(pair)
        else:
            found.not_compared.append(NotCompared(name=unit.name, reason=reason))
    for other in by_name.values():
        reason = _unreadable(other)
        if reason is None:
            found.only_in_failed.append(other)
        else:
            found.not_compared.append(NotCompared(name=other.name, reason=reason))
    return found


class _Attributes:
    """The types of columns, and which take a value."""

    def __init__(self, connection: Connection) -> None:
        self.types: dict[tuple[int, str], str] = {}
        self.generated: set[tuple[int, str]] = set()
        self.needed: set[tuple[int, str]] = set()
        for oid, name, type_name, generated, needed in connection.execute(QUERIES["attributes"]):
            self.types[oid, name] = type_name
            if generated:
                self.generated.add((oid, name))
            elif needed:
                self.needed.add((oid, name))


def _units(connection: Connection, tables: Tables, found: Counterparts) -> list[Table]:
    """Tables as a person counts them: a partition tree is one."""
    foreign = {row[0] for row in connection.execute(QUERIES["foreign_leaves"])}
    units = []
    for table in tables.by_oid.values():
        if table.parent_oid is not None and table.parent_oid in tables.by_oid:
            continue
        if table.oid in foreign:
            reason = "a partition of it is a foreign table, whose rows stand on another server"
            if not any(other.name == table.name for other in found.not_compared):
                found.not_compared.append(NotCompared(name=table.name, reason=reason))
            continue
        units.append(table)
    return units


def _touch_of(unit: Table, restored: Tables, failed: Tables, facts: dict[str, TouchedTable]) -> TouchedTable | None:
    """Of a partitioned table all that a receipt says of its leaves, taken together."""
    if not unit.partitioned:
        return facts.get(unit.name)
    leaves = [table for table in restored.leaves if restored.root_of(table).oid == unit.oid]
    touches = [facts[leaf.name] for leaf in leaves if leaf.name in facts]
    if not touches:
        return None
    names = {table.name: table for table in failed.by_oid.values()}
    tops = {failed.root_of(names[touch.name_after]).name for touch in touches if touch.name_after in names}
    return TouchedTable(
        name=unit.name,
        name_after=unit.name if unit.name in tops or not tops else min(tops),
        renamed_columns={before: after for touch in touches for before, after in touch.renamed_columns.items()},
        written_columns=frozenset(name for touch in touches for name in touch.written_columns),
        adds_rows=any(touch.adds_rows for touch in touches),
        deletes_rows=any(touch.deletes_rows for touch in touches),
    )


def _unreadable(table: Table) -> str | None:
    if not table.readable:
        return "this role has no right to read it"
    if table.row_security:
        return "row-level security would hide rows from this role"
    return None


def _pair(
    failed: Table,
    restored: Table,
    touch: TouchedTable | None,
    here: _Attributes,
    there: _Attributes,
    foreign_key_columns: frozenset[str],
) -> Counterpart:
    renamed = touch.renamed_columns if touch is not None else {}
    written = touch.written_columns if touch is not None else frozenset()
    columns, gone, followed = [], [], set()
    for column in restored.columns:
        if (restored.oid, column.name) in there.generated:
            followed.add(renamed.get(column.name, column.name))
            continue
        other = failed.find_named(renamed.get(column.name, column.name))
        if other is None:
            gone.append(column.name)
            continue
        followed.add(other.name)
        columns.append(
            ComparedColumn(
                name=column.name,
                failed=other.name,
                type_name=there.types[restored.oid, column.name],
                type_failed=here.types[failed.oid, other.name],
                written_by_migration=column.name in written,
            )
        )
    new = (column for column in failed.columns if column.name not in followed)
    return Counterpart(
        failed=failed,
        restored=restored,
        columns=tuple(columns),
        key=_key(failed, restored, columns),
        new_columns=tuple(column for column in new if (failed.oid, column.name) not in here.generated),
        gone_columns=tuple(gone),
        needed_columns=tuple(name for name in gone if (restored.oid, name) in there.needed),
        foreign_key_columns=foreign_key_columns,
        touched=touch,
    )


def _key(failed: Table, restored: Table, columns: list[ComparedColumn]) -> tuple[int, ...]:
    """The restored table's first key that tells the failed one's rows apart as well."""
    positions = {column.name: position for position, column in enumerate(columns)}
    now = [{found.name for number in key if (found := failed.find_column(number))} for key in failed.keys]
    for key in restored.keys:
        names = [column.name for number in key if (column := restored.find_column(number))]
        if names and all(name in positions for name in names):
            chosen = tuple(positions[name] for name in names)
            if {columns[position].failed for position in chosen} in now:
                return chosen
    return ()


def _foreign_keys(connection: Connection, tables: Tables, found: Counterparts) -> dict[int, frozenset[str]]:
    columns: dict[int, frozenset[str]] = {}
    for oid, referenced, name, deferrable, deferred, pairs in connection.execute(QUERIES["foreign_keys"]):
        if oid in tables.by_oid:
            table = tables.by_oid[oid]
            own, root = frozenset(name for name, _ in pairs), _root(tables, oid)
            found.foreign_keys.append(
                ForeignKey(
                    table=table, root_oid=root, referenced_oid=_root(tables, referenced), name=name,
                    deferrable=deferrable, deferred=deferred,
                    pairs=tuple((child, parent) for child, parent in pairs),
                )
            )  # fmt: skip
            columns[root] = columns.get(root, frozenset()) | own
    return columns


def _triggers(connection: Connection, tables: Tables, found: Counterparts) -> None:
    for oid, name, enabled in connection.execute(QUERIES["triggers"]):
        if oid in tables.by_oid:
            table = tables.by_oid[oid]
            found.triggers.append(Trigger(table=table, root_oid=_root(tables, oid), name=name, always=enabled == "A"))


def _root(tables: Tables, oid: int) -> int:
    return tables.root_of(tables.by_oid[oid]).oid if oid in tables.by_oid else oid

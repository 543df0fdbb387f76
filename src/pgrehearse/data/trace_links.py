"""Where the rows of a table may be found again: by which columns of another table its key may be known.

A link is a proposal: what stands behind it is counted by `trace_count`.  Proposed are equal names, a foreign key on
either side, ``users.id`` as ``user_id``, and a column of the table itself that now points to a table of values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from pgrehearse.data.columns import Expression
from pgrehearse.data.pairing import Pool
from pgrehearse.data.tables import Column, Table
from pgrehearse.postgres.connect import Connection

FOREIGN_KEYS = """
SELECT c.conrelid::int8, c.conkey::int4[], c.confrelid::int8, c.confkey::int4[],
       ARRAY(SELECT pg_catalog.quote_ident(n.nspname) || '.' || o.oprname
             FROM pg_catalog.unnest(c.conpfeqop) WITH ORDINALITY AS e (oid, place)
             JOIN pg_catalog.pg_operator o ON o.oid = e.oid
             JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace ORDER BY e.place)
FROM pg_catalog.pg_constraint c WHERE c.contype = 'f' AND c.conparentid = 0
"""
# Values that the server numbers itself come from nowhere: of columns that own a sequence (serial, identity) or whose
# default names one.  Not by the default's text: pg_get_expr() takes as long as the table has columns, squared.
NUMBERED = """
SELECT d.refobjid::int8, d.refobjsubid::int4
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
  AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0
UNION
SELECT e.adrelid::int8, e.adnum::int4
FROM pg_catalog.pg_class s
JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = s.oid
JOIN pg_catalog.pg_attrdef e ON e.oid = d.objid
WHERE s.relkind = 'S' AND d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignKey:
    child: int
    columns: tuple[int, ...]
    parent: int
    parent_columns: tuple[int, ...]
    operators: tuple[str, ...]  # by which a column of the parent equals the child's, as OPERATOR() takes it


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A table of the clone into which something may have been moved."""

    table: Table  # of a partition tree its root
    new_columns: tuple[Column, ...]  # that were not there before; of a new table all
    rows_gained: int
    rows_are_new: bool  # what it gained are rows of their own, and not values in new columns of old ones

    @property
    def relation(self) -> Expression:
        return sql.SQL("{}" if self.table.partitioned else "ONLY {}").format(self.table.identifier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Rows of a place, each known by what should be the source's key."""

    place: Place
    relation: Expression  # what stands behind FROM
    key: tuple[tuple[Expression, Column], ...]  # in the order of the source's key
    values: tuple[tuple[Expression, Column], ...]  # where its values may stand
    by: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """What both catalogs say that is of use to find rows again."""

    keys_before: tuple[ForeignKey, ...]
    keys_after: tuple[ForeignKey, ...]
    numbered: frozenset[tuple[int, int]]  # of the clone
    successors: dict[int, Table] = field(default_factory=dict)  # of all pools
    predecessors: dict[int, Table] = field(default_factory=dict)  # by the oid in the clone; of partition trees the root

    def of(self, source: Table, key: tuple[Column, ...], own: Pool, place: Place, *, rows: bool) -> Iterator[Link]:
        """Every way in which rows of ``place`` may be known by the key of ``source``; the surest first.

        ``rows``: whole rows are sought, so that all columns may hold values; else only new ones.
        """
        found: list[tuple[int, ...]] = []
        for columns in self._linking(source, key, own, place):
            numbers = tuple(column.number for column in columns)
            if numbers in found:
                continue
            found.append(numbers)
            candidates = place.table.columns if rows else place.new_columns
            values = tuple(
                (column.identifier, column)
                for column in candidates
                if column not in columns and (place.table.oid, column.number) not in self.numbered
            )
            if values or rows:
                yield Link(
                    place=place,
                    relation=place.relation,
                    key=tuple((column.identifier, column) for column in columns),
                    values=values,
                    by={old.sql_name: new.sql_name for old, new in zip(key, columns, strict=True)},
                )
        if not rows:
            yield from self._looked_up(source, key, own, place)

    def _linking(self, source: Table, key: tuple[Column, ...], own: Pool, place: Place) -> Iterator[tuple[Column, ...]]:
        table, successor = place.table, own.successor_of(source)
        if successor is not None and successor.oid == table.oid:
            same = [_followed(source, successor, column) for column in key]
            if all(same):
                yield tuple(column for column in same if column is not None)
            return
        if successor is not None:
            for known in self.keys_after:
                if (known.child, known.parent) == (table.oid, successor.oid):
                    yield from _columns(table, known.columns, known.parent_columns, _numbers(source, successor, key))
        for known in self.keys_before:  # the source's key points to what was the place
            parent = self.successors.get(known.parent)
            if known.child == source.oid and parent is not None and parent.oid == table.oid:
                numbers = tuple(column.number for column in key)
                yield from _columns(table, known.parent_columns, known.columns, numbers)
        named = [table.find_named(column.name) for column in key]
        if all(named):
            yield tuple(column for column in named if column is not None)
        if len(key) == 1:
            for name in _pointing_names(source.relation, key[0].name):
                if (column := table.find_named(name)) is not None:
                    yield (column,)

    def _looked_up(self, source: Table, key: tuple[Column, ...], own: Pool, place: Place) -> Iterator[Link]:
        """``users.country_id`` that points to the place: its values, by the key of users."""
        successor, table = own.successor_of(source), place.table
        if successor is None or successor.partitioned or successor.oid == table.oid:
            return
        followed = [_followed(source, successor, column) for column in key]
        if not all(followed):
            return
        for known in self.keys_after:
            if (known.child, known.parent) != (successor.oid, table.oid):
                continue
            pairs = [
                (successor.find_column(mine), table.find_column(theirs))
                for mine, theirs in zip(known.columns, known.parent_columns, strict=True)
            ]
            joined = sql.SQL(" AND ").join(
                sql.SQL("s.{} = d.{}").format(mine.identifier, theirs.identifier)
                for mine, theirs in pairs
                if mine is not None and theirs is not None
            )
            pointing = {theirs.number for _, theirs in pairs if theirs is not None}
            yield Link(
                place=place,
                relation=sql.SQL("ONLY {} AS s JOIN {} AS d ON {}").format(
                    successor.identifier, place.relation, joined
                ),
                key=tuple((sql.SQL("s.{}").format(each.identifier), each) for each in followed if each is not None),
                values=tuple(
                    (sql.SQL("d.{}").format(column.identifier), column)
                    for column in place.new_columns
                    if column.number not in pointing and (table.oid, column.number) not in self.numbered
                ),
                by={
                    mine.sql_name: theirs.sql_name for mine, theirs in pairs if mine is not None and theirs is not None
                },
            )


def read_links(before: Connection, after: Connection, pools: Sequence[Pool]) -> Links:
    """Three catalog queries."""
    predecessors = {
        pool.successors[table.oid].oid: table for pool in pools for table in pool.before if table.oid in pool.successors
    }
    for pool in pools:
        if pool.model_before is not None and pool.model_after is not None and pool.before:
            predecessors[pool.model_after.oid] = pool.model_before
    return Links(
        keys_before=read_foreign_keys(before),
        keys_after=read_foreign_keys(after),
        numbered=frozenset((oid, number) for oid, number in after.execute(NUMBERED)),
        successors={oid: table for pool in pools for oid, table in pool.successors.items()},
        predecessors=predecessors,
    )


def read_foreign_keys(connection: Connection) -> tuple[ForeignKey, ...]:
    """Of all tables; of partition trees those of their roots."""
    return tuple(
        ForeignKey(
            child=child,
            columns=tuple(columns),
            parent=parent,
            parent_columns=tuple(parents),
            operators=tuple(operators),
        )
        for child, columns, parent, parents, operators in connection.execute(FOREIGN_KEYS)
    )


def _followed(source: Table, successor: Table, column: Column) -> Column | None:
    """A column of the source in what goes on from it: by number in the same table, else by name."""
    if successor.oid == source.oid:
        return successor.find_column(column.number)
    return successor.find_named(column.name)


def _numbers(source: Table, successor: Table, key: tuple[Column, ...]) -> tuple[int, ...]:
    found = [_followed(source, successor, column) for column in key]
    return tuple(column.number for column in found if column is not None)


def _columns(
    table: Table, mine: tuple[int, ...], theirs: tuple[int, ...], key: tuple[int, ...]
) -> Iterator[tuple[Column, ...]]:
    """My columns that stand for the key, in the key's order."""
    if sorted(theirs) == sorted(key):
        found = [table.find_column(mine[theirs.index(number)]) for number in key]
        if all(found):
            yield tuple(column for column in found if column is not None)


def _pointing_names(relation: str, key: str) -> tuple[str, ...]:
    """users.id: user_id, users_id; statuses.code: status_code."""
    singular = [relation]
    for plural, single in (("ies", "y"), ("es", ""), ("s", "")):
        if relation.endswith(plural):
            singular.append(relation.removesuffix(plural) + single)
    return tuple(f"{name}_{key}" for name in singular)

"""Rows that stand in another partition of their tree: the application took them there since, or the migration did."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rollback.image import Image
from pgrehearse.rollback.image_columns import Expression, ImageColumn, LiveTable, same_key

QUERIES = named_queries(__file__)
KeyColumns = Sequence[tuple[ImageColumn, ImageColumn]]  # as an image holds each, and as the table does now


@dataclass(frozen=True, slots=True, kw_only=True)
class Sibling:
    """Another table with an image, and the rows that the migration added there."""

    table: LiveTable
    added: sql.Identifier
    key: KeyColumns  # as the table of added rows holds it


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedByPlan:
    """SQL about a row ``i`` of a partition's image that the migration took out of it."""

    moved: Expression  # whether the migration put it into another partition
    still: Expression  # whether the row that it put there is there
    elsewhere: Expression  # whether any row of its number stands in another partition
    siblings: tuple[Sibling, ...]
    there: tuple[Expression, ...]  # for each sibling, a query for the row, as ``t``

    def still_where(self, conditions: Sequence[Expression]) -> Expression:
        """Whether that row is there and meets the condition of its sibling, in the order of `siblings`."""
        pairs = zip(self.there, conditions, strict=True)
        return _any(sql.SQL("{} AND {}").format(there, condition) for there, condition in pairs)


def added_key(image: Image) -> tuple[ImageColumn, ...]:
    """The key as the table of rows that the migration added holds it."""
    assert image.settled is not None
    found = []
    for column in image.key:
        after = image.settled.columns_after[image.columns.index(column)]
        assert after is not None  # settling needs every column of the key
        native = column.native and after.native and column.base_oid == after.base_oid
        found.append(
            column if native else replace(column, stored_type="pg_catalog.text", native=False, collatable=True)
        )
    return tuple(found)


def find_moved_by_plan(
    session: Connection, table: LiveTable, key: KeyColumns, others: Sequence[Sibling]
) -> MovedByPlan | None:
    """How rows of this partition's image are found in the partitions that the migration moved them to.

    By those columns of the key that do not decide the partition.  None where the table is no partition, all of its key
    decides, or the migration added rows to no other partition of its tree that has these columns in its key.  A few
    catalog queries.
    """
    tree = _read_tree(session, table)
    if tree is None:
        return None
    stays = [(kept, live) for kept, live in key if live.name not in tree.deciding]
    names = {kept.name for kept, _ in stays}
    if not stays:
        return None
    siblings, moved, rows = [], [], []
    for other in others:
        theirs = {kept.name: kept for kept, _ in other.key}
        there = _read_tree(session, other.table) if names <= set(theirs) else None
        if there is None or there.root != tree.root:
            continue
        same = sql.SQL(" AND ").join(_same_kept(kept, theirs[kept.name]) for kept, _ in stays)
        at = sql.SQL(" AND ").join(same_key(kept, live, "a", "t") for kept, live in other.key)
        moved.append(sql.SQL("SELECT FROM {} a WHERE {}").format(other.added, same))
        siblings.append(other)
        rows.append(
            sql.SQL("SELECT FROM {} a JOIN ONLY {} t ON {} WHERE {}").format(
                other.added, other.table.identifier, at, same
            )
        )
    if not siblings:
        return None
    return MovedByPlan(
        moved=_any(moved),
        still=_any(rows),
        elsewhere=_elsewhere(tree, table, stays),
        siblings=tuple(siblings),
        there=tuple(rows),
    )


def find_moved(session: Connection, table: LiveTable, key: KeyColumns) -> Expression:
    """SQL: whether a row ``i`` of the image, gone from its partition, may stand in another one of the tree.

    What of the key does not decide the partition is looked for in the whole tree: it need not be unique there, so a row
    that it finds is one that may have moved.  False where the table is no partition, or all of its key decides; true
    where the tree may not be read.  One catalog query.
    """
    tree = _read_tree(session, table)
    if tree is None:
        return sql.SQL("false")
    stays = [(kept, live) for kept, live in key if live.name not in tree.deciding]
    return _elsewhere(tree, table, stays) if stays else sql.SQL("false")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tree:
    """The tree that a partition hangs on."""

    root: int  # oid
    name: sql.Identifier
    readable: bool
    deciding: frozenset[str]  # the columns that decide where a row of it stands


def _read_tree(session: Connection, table: LiveTable) -> _Tree | None:
    row = session.execute(QUERIES["tree"], {"oid": table.oid}).fetchone()
    if row is None:
        return None
    root, namespace, name, readable, deciding = row
    return _Tree(root=root, name=sql.Identifier(namespace, name), readable=readable, deciding=frozenset(deciding))


def _elsewhere(tree: _Tree, table: LiveTable, stays: KeyColumns) -> Expression:
    if not tree.readable:
        return sql.SQL("true")
    return sql.SQL("EXISTS (SELECT FROM {} r WHERE r.tableoid <> {}::pg_catalog.oid AND {})").format(
        tree.name,
        sql.Literal(table.oid),
        sql.SQL(" AND ").join(same_key(kept, live, "i", "r") for kept, live in stays),
    )


def _same_kept(image: ImageColumn, added: ImageColumn) -> Expression:
    """Whether a row of the image and one that was added have one value; the latter may be kept as text."""
    if image.native and added.native and image.base_oid == added.base_oid:
        collation = sql.SQL(' COLLATE pg_catalog."C"' if image.collatable else "")
        return sql.SQL("({}){} = {}").format(image.kept("i"), collation, added.kept("a"))
    return sql.SQL("{} = {}").format(image.kept_text("i"), added.kept_text("a"))


def _any(queries: Iterable[Expression]) -> Expression:
    return sql.SQL("({})").format(sql.SQL(" OR ").join(sql.SQL("EXISTS ({})").format(each) for each in queries))

"""Children whose parents are gone: rows that a foreign key of before led to a row, and that lead nowhere now."""

from collections.abc import Sequence
from dataclasses import replace

import psycopg
from psycopg import sql

from pgrehearse.data.columns import Expression
from pgrehearse.data.table_loss import BothSides, PoolResult
from pgrehearse.data.tables import Column, Table
from pgrehearse.data.trace_links import ForeignKey, read_foreign_keys
from pgrehearse.data.verdicts import Orphans, TableLoss, Unmeasured
from pgrehearse.postgres.connect import Connection

WITHOUT_PARENT = (
    "SELECT pg_catalog.count(*) FROM {child} AS c WHERE {known} AND NOT EXISTS (SELECT FROM {parent} AS p WHERE {same})"
)
POINTING = "SELECT pg_catalog.count(*) FROM {child} AS c WHERE {known}"


def find_orphans(results: Sequence[PoolResult], both: BothSides) -> list[PoolResult]:
    """The results, with the orphans that each table's lost rows left behind.

    Only tables that lost rows are asked about: an anti-join on either side per foreign key that led to them, whether
    the plan dropped the constraint, disabled its triggers, or dropped the parent.
    """
    losing = {
        table.oid: fact
        for result in results
        if result.pool is not None
        for table in result.pool.before
        for fact in result.tables
        if fact.name == table.name and fact.rows_lost and fact.rows_before
    }
    if not losing:
        return list(results)
    pools = [result.pool for result in results if result.pool is not None]
    before = {table.oid: table for pool in pools for table in pool.before}
    after = {oid: table for pool in pools for oid, table in pool.successors.items()}
    for pool in pools:  # a foreign key of a partition tree stands at its root
        root = pool.model_before
        if root is not None and root.partitioned:
            before[root.oid] = root
            if pool.model_after is not None:
                after[root.oid] = pool.model_after
            if leaf := next((table for table in pool.before if table.oid in losing), None):
                losing[root.oid] = losing[leaf.oid]
    orphans: dict[str, list[Orphans]] = {}
    notes: list[Unmeasured] = []
    for known in read_foreign_keys(both.before):
        fact, child = losing.get(known.parent), after.get(known.child)
        if fact is None or child is None or known.child not in before:
            continue
        try:
            found = _count(known, before[known.child], child, before[known.parent], after.get(known.parent), both)
        except psycopg.OperationalError:
            raise
        except psycopg.Error as error:
            reason = f"they could not be counted: {type(error).__name__}"
            notes.append(Unmeasured(what=f"orphans of {fact.name} in {child.name}", reason=reason, blocking=False))
            continue
        if found is not None:
            orphans.setdefault(fact.name, []).append(found)
    told = [replace(result, tables=tuple(_with_orphans(fact, orphans) for fact in result.tables)) for result in results]
    return [*told, PoolResult(not_measured=tuple(notes))] if notes else told


def _with_orphans(fact: TableLoss, orphans: dict[str, list[Orphans]]) -> TableLoss:
    found = orphans.get(fact.name, []) if fact.rows_lost else []
    return replace(fact, orphans=tuple(found)) if found else fact


def _count(
    known: ForeignKey, child: Table, child_now: Table, parent: Table, parent_now: Table | None, both: BothSides
) -> Orphans | None:
    columns = [(child.find_column(number), _now(child, child_now, number)) for number in known.columns]
    parents = [
        (parent.find_column(number), _now(parent, parent_now, number) if parent_now else None)
        for number in known.parent_columns
    ]
    mine = [old for old, _ in columns if old is not None]
    mine_now = [new for _, new in columns if new is not None]
    theirs = [old for old, _ in parents if old is not None]
    theirs_now = [new for _, new in parents if new is not None]
    if len(mine_now) < len(known.columns):
        return None  # the child points nowhere any more
    there = parent_now if parent_now is not None and len(theirs_now) == len(known.parent_columns) else None
    rows = _without_parent(both.after, child_now, mine_now, there, theirs_now, known.operators)
    rows -= _without_parent(both.before, child, mine, parent, theirs, known.operators)
    if rows <= 0:
        return None
    return Orphans(
        child=child_now.name, columns=tuple(column.sql_name for column in mine_now), parent=parent.name, rows=rows
    )


def _now(table: Table, now: Table, number: int) -> Column | None:
    if now.oid == table.oid:
        return now.find_column(number)
    column = table.find_column(number)
    return now.find_named(column.name) if column is not None else None


def _without_parent(
    connection: Connection,
    child: Table,
    mine: list[Column],
    parent: Table | None,
    theirs: list[Column],
    operators: Sequence[str],
) -> int:
    known: Expression = sql.SQL(" AND ").join(sql.SQL("c.{} IS NOT NULL").format(column.identifier) for column in mine)
    if parent is None:
        query = sql.SQL(POINTING).format(child=_relation(child), known=known)
    else:
        same = sql.SQL(" AND ").join(
            # The key's own: citext's takes Ada for ada, which the server's own operator for text does not.
            sql.SQL("p.{} OPERATOR({}) c.{}").format(their.identifier, sql.SQL(operator), my.identifier)
            for their, my, operator in zip(theirs, mine, operators, strict=True)
        )
        query = sql.SQL(WITHOUT_PARENT).format(child=_relation(child), known=known, parent=_relation(parent), same=same)
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _relation(table: Table) -> Expression:
    """Of a partitioned table its rows stand at the leaves."""
    return sql.SQL("{}" if table.partitioned else "ONLY {}").format(table.identifier)

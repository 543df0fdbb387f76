"""Indexes that do not hold what the rows hold: by amcheck where it can be had, else by what their expressions give."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from pgrehearse.counted import counted
from pgrehearse.data.integrity.bypass import Changes
from pgrehearse.data.integrity.catalog import Catalog, Index, Relation
from pgrehearse.data.integrity.dependencies import ORDERING, PG_CLASS, PG_OPERATOR, Node
from pgrehearse.data.integrity.measure import Progress, condition
from pgrehearse.data.integrity.sessions import IntegritySessions
from pgrehearse.data.integrity.verdicts import BrokenPromise, IntegrityCheck, Unmeasured, Weight, check_of
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
NAME = "indexes"
NO_AMCHECK = "amcheck not installed"
BTREE = "SELECT {schema}.bt_index_check({index}::pg_catalog.oid::pg_catalog.regclass, true)"
HEAP = "SELECT pg_catalog.count(*) FROM {schema}.verify_heapam({relation}::pg_catalog.oid::pg_catalog.regclass)"
CORRUPTED = ("XX001", "XX002")


@dataclass(slots=True)
class _Seen:
    broken: list[BrokenPromise] = field(default_factory=list)
    unmeasured: list[Unmeasured] = field(default_factory=list)
    checked: int = 0


def check_indexes(
    after: Catalog, before: Catalog, changes: Changes, sessions: IntegritySessions, progress: Progress
) -> tuple[IntegrityCheck, tuple[BrokenPromise, ...], tuple[Unmeasured, ...]]:
    """Those of touched tables, and those whose expression or order calls what gives something else now.

    amcheck reads the index and its table once each, under ACCESS SHARE; without it an expression is evaluated over
    all rows on both sides.  Changes nothing: an extension that is made for it goes with its transaction.
    """
    seen = _Seen()
    for index in after.indexes.values():
        then = before.indexes.get(index.oid)
        if not index.maintained and (then is None or then.maintained):
            seen.broken.append(_not_maintained(index, after.relations[index.relation]))
    suspects = {
        index.oid: suspect
        for index in after.indexes.values()
        if (suspect := _suspect(index, before, changes)) is not None
    }
    wanted = [
        index
        for index in after.indexes.values()
        if index.method == "btree" and index.valid and index.maintained
        if index.oid in suspects or changes.is_touched(index.relation)
    ]
    decisive = {oid for oid, suspect in suspects.items() if not suspect.built_by_plan}
    relations = [after.relations[oid] for oid in sorted(changes.touched & after.relations.keys())]
    tables = [relation for relation in relations if relation.kind == "r"]
    amcheck = _check_all(wanted, tables, decisive, after, sessions, progress, seen)
    for oid, suspect in suspects.items():
        index = after.indexes[oid]
        checked = index.method == "btree" and amcheck is None
        if suspect.built_by_plan:
            continue
        if suspect.by_expression and not checked:
            _evaluate(index, after, before, changes, sessions, seen)
        if suspect.by_operators or (suspect.by_order and not checked):
            seen.unmeasured.append(_order_unknown(index, suspect))
    detail = f"{counted(seen.checked, 'index').replace('indexs', 'indexes')} looked at"
    if amcheck is not None:
        detail += f"; {amcheck}"
    found = (tuple(seen.broken), tuple(seen.unmeasured))
    return check_of(NAME, detail, *found), *found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Suspect:
    """Why an index may not hold what its rows hold."""

    built_by_plan: bool  # most likely after the change: only amcheck tells
    by_expression: bool  # what its expression calls, or what that reads, was changed
    by_order: bool  # the same of the functions that keep its order
    by_operators: bool  # the same of the operators that are looked for in that order, and not of those functions


def _suspect(index: Index, before: Catalog, changes: Changes) -> _Suspect | None:
    """None: nothing that it stands on was changed."""
    then = before.indexes.get(index.oid)
    itself = Node(PG_CLASS, index.oid)
    ordering = [node for node in changes.dependencies.edges.get(itself, ()) if node.catalog in ORDERING]
    by_order = changes.affects(changes.reached(*ordering, leave_out={PG_OPERATOR}), ())
    suspect = _Suspect(
        built_by_plan=then is None or then.filenode != index.filenode,
        by_expression=index.evaluates and changes.affects(changes.reached(itself, leave_out=ORDERING), ()),
        by_order=by_order,
        by_operators=not by_order and changes.affects(changes.reached(*ordering), ()),
    )
    return suspect if suspect.by_expression or suspect.by_order or suspect.by_operators else None


# --- by amcheck --------------------------------------------------------------------------------------------------


def _check_all(
    indexes: Sequence[Index],
    tables: Sequence[Relation],
    decisive: Collection[int],
    catalog: Catalog,
    sessions: IntegritySessions,
    progress: Progress,
    seen: _Seen,
) -> str | None:
    """Why amcheck could not be had; None: it was."""
    with _amcheck(sessions.clone_catalog) as (session, schema):
        if schema is None:
            return NO_AMCHECK
        names = {"schema": sql.Identifier(schema)}
        for done, index in enumerate(indexes):
            relation = catalog.relations[index.relation]
            progress(index.name, done, len(indexes))
            query = sql.SQL(BTREE).format(**names, index=sql.Literal(index.oid))
            if _run(session, query, index.name, seen, decisive=index.oid in decisive) is False:
                seen.broken.append(_inconsistent(index, relation))
        for table in tables:
            query = sql.SQL(HEAP).format(**names, relation=sql.Literal(table.oid))
            found = _run(session, query, table.name, seen)
            if found is False or (isinstance(found, int) and found > 0):
                seen.broken.append(_damaged(table))
    return None


@contextmanager
def _amcheck(session: Connection) -> Iterator[tuple[Connection, str | None]]:
    """The schema of its functions; made for the length of the block where the extension is not installed."""
    row = session.execute(QUERIES["installed"]).fetchone()
    assert row is not None
    schema, may_make = row
    if schema is not None or not may_make:
        yield session, schema
        return
    with session.transaction(force_rollback=True):
        session.execute("SET TRANSACTION READ WRITE")
        try:
            with session.transaction():
                session.execute('CREATE SCHEMA "pgrehearse amcheck"')
                session.execute('CREATE EXTENSION amcheck SCHEMA "pgrehearse amcheck"')
                session.execute("SET TRANSACTION READ ONLY")
            schema = "pgrehearse amcheck"
        except psycopg.errors.DatabaseError:
            schema = None
        yield session, schema


def _run(
    session: Connection, query: sql.Composed, name: str, seen: _Seen, *, decisive: bool = False
) -> int | bool | None:
    """What the query says; False: corrupted; None: not measured, which is told."""
    seen.checked += 1
    try:
        with session.transaction():
            row = session.execute(query).fetchone()
    except psycopg.Error as error:
        if error.sqlstate in CORRUPTED:
            return False
        seen.unmeasured.append(Unmeasured(what=f"amcheck of {name}", reason=condition(error), decisive=decisive))
        return None
    return row[0] if row is not None and isinstance(row[0], int) else True


# --- by its expression -------------------------------------------------------------------------------------------


def _evaluate(
    index: Index, after: Catalog, before: Catalog, changes: Changes, sessions: IntegritySessions, seen: _Seen
) -> None:
    """The same rows give other values now: then the index, which nobody built again, holds the old ones."""
    relation, then = after.relations[index.relation], before.indexes[index.oid]
    if changes.is_touched(relation.oid):
        reason = "what it calls, or what that reads, was changed and so were its rows: only amcheck could tell"
        seen.unmeasured.append(Unmeasured(what=f"index {index.name}", reason=reason, decisive=True))
        return
    seen.checked += 1
    calls = changes.calls(changes.reached(Node(PG_CLASS, index.oid)))
    try:
        now = sessions.clone(calls_routines=calls).execute(_sum(index, relation)).fetchone()
        was = sessions.pristine(calls_routines=calls).execute(_sum(then, before.relations[then.relation])).fetchone()
    except psycopg.Error as error:
        seen.unmeasured.append(Unmeasured(what=f"index {index.name}", reason=condition(error), decisive=True))
        return
    if now != was:
        seen.broken.append(_inconsistent(index, relation))


def _order_unknown(index: Index, suspect: _Suspect) -> Unmeasured:
    what = "its operators call" if suspect.by_operators else "its operator class calls"
    can_tell = suspect.by_order and index.method == "btree"
    reason = (
        f"what {what} was changed, and {'only amcheck' if can_tell else 'nothing'} could tell whether it still fits"
    )
    return Unmeasured(what=f"index {index.name}", reason=reason, decisive=True)


def _sum(index: Index, relation: Relation) -> sql.Composed:
    """A digest of what the index should hold, in whatever order."""
    keys = sql.SQL(", ").join(sql.SQL("({})").format(sql.SQL(key)) for key in index.keys)
    where = sql.SQL(" WHERE ({})").format(sql.SQL(index.predicate)) if index.predicate is not None else sql.SQL("")
    return sql.SQL(
        "SELECT pg_catalog.count(*), pg_catalog.sum(pg_catalog.hashtextextended(ROW({})::pg_catalog.text"
        ' COLLATE pg_catalog."C", 0)::pg_catalog.numeric) FROM {}{}'
    ).format(keys, relation.rows, where)


# --- told --------------------------------------------------------------------------------------------------------


def _inconsistent(index: Index, relation: Relation) -> BrokenPromise:
    return BrokenPromise(
        hazard="stale-index",
        weight=Weight.ERROR,
        relation=relation.name,
        promise=f"index {index.name}",
        what=f"index {index.name} does not hold what the rows of {relation.name} hold: queries that use it miss rows"
        + (", and equal keys are let in" if index.unique else ""),
        remedy=f"REINDEX INDEX CONCURRENTLY {index.name}; after whatever it calls was changed.",
    )


def _not_maintained(index: Index, relation: Relation) -> BrokenPromise:
    return BrokenPromise(
        hazard="invalid-index",
        weight=Weight.ERROR,
        relation=relation.name,
        promise=f"index {index.name}",
        what=f"index {index.name} is not maintained any more: new rows do not come into it",
        remedy=f"DROP INDEX CONCURRENTLY {index.name}; and create it again.",
    )


def _damaged(table: Relation) -> BrokenPromise:
    return BrokenPromise(
        hazard="damaged-table",
        weight=Weight.ERROR,
        relation=table.name,
        promise=f"table {table.name}",
        what=f"verify_heapam() finds {table.name} damaged on the clone",
        remedy="Look at the clone's machine first: run again on another one; then verify_heapam() in production.",
    )


def check_collations(
    sessions: IntegritySessions,
) -> tuple[IntegrityCheck, tuple[BrokenPromise, ...], tuple[Unmeasured, ...]]:  # fmt: skip
    """Collations whose rules are other ones than when their indexes were built."""
    after, before = (_mismatched(session) for session in (sessions.clone_catalog, sessions.pristine_catalog))
    broken = tuple(
        BrokenPromise(
            hazard="collation-version",
            weight=Weight.WARNING,
            relation=None,
            promise=f"collation {name}",
            what=f"collation {name} is of another version than the server's library, and was not before",
            remedy="Rebuild the indexes that sort by it, then ALTER COLLATION … REFRESH VERSION.",
        )
        for name in after
        if name not in before
    )
    old = [name for name in after if name in before]
    detail = "as the server's library has them"
    if old:
        detail = f"of another version than the server's library, as before the plan: {', '.join(old)}"
    return check_of("collation versions", detail, broken), broken, ()


def _mismatched(session: Connection) -> list[str]:
    found = [name for (name,) in session.execute(QUERIES["collations"])]
    if session.info.server_version >= 150000:
        found += ["the database's" for _ in session.execute(QUERIES["database_collation"])]
    return found

"""Large objects that no column refers to any more: they stay for ever, and nobody finds them again."""

from dataclasses import dataclass

from psycopg import sql

from pgrehearse.counted import counted
from pgrehearse.data.integrity.bypass import Changes
from pgrehearse.data.integrity.sessions import IntegritySessions
from pgrehearse.data.integrity.verdicts import BrokenPromise, IntegrityCheck, Weight, check_of
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
WHICH = """
SELECT pg_catalog.md5(pg_catalog.string_agg(oid::pg_catalog.text, ' ' ORDER BY oid))
FROM pg_catalog.pg_largeobject_metadata
"""
ANY = "SELECT EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reference:
    relation: int
    namespace: str
    relname: str
    column: str


def check_large_objects(
    changes: Changes, sessions: IntegritySessions
) -> tuple[IntegrityCheck | None, tuple[BrokenPromise, ...]]:  # fmt: skip
    """Those that were referred to before, or are new, and that nothing refers to now.  None: there are none.

    Cost: one scan of each table with a column of type oid or lo, on the clone; on the pristine copy only where orphans
    were found; none at all where neither those tables nor the objects were touched.  A number that is kept in a column
    of another type is not taken for a reference.
    """
    if not fetch_value(sessions.clone(), ANY):
        return None, ()
    now, then = (_references(session) for session in (sessions.clone_catalog, sessions.pristine_catalog))
    same = now == then and not changes.is_touched(*(each.relation for each in now))
    if same and fetch_value(sessions.clone(), WHICH) == fetch_value(sessions.pristine(), WHICH):
        return check_of("large objects", "neither they nor the tables that may refer to them were touched"), ()
    after = _orphans(sessions.clone(), now)
    before = _orphans(sessions.pristine(), then) if after else frozenset()
    made = len(after - before)
    detail = f"{counted(made, 'large object')} without a reference by the plan"
    if before & after:
        detail += f"; {len(before & after):,} without one before it, too"
    if not made:
        return check_of("large objects", detail), ()
    broken = (
        BrokenPromise(
            hazard="orphaned-large-objects",
            weight=Weight.WARNING,
            relation=None,
            promise="large objects",
            what=f"no column of type oid or lo refers to {counted(made, 'large object')} any more, "
            "and before the plan one did, or the plan made them",
            remedy="Keep the column or table that held their numbers, or lo_unlink() them in the same plan.",
            rows=len(after),
            rows_before=len(before),
        ),
    )
    return check_of("large objects", detail, broken), broken


def _references(session: Connection) -> list[_Reference]:
    return [
        _Reference(relation=oid, namespace=namespace, relname=relname, column=column)
        for oid, namespace, relname, column in session.execute(QUERIES["references"])
    ]


def _orphans(session: Connection, references: list[_Reference]) -> frozenset[int]:
    columns = [
        sql.SQL("SELECT {}::pg_catalog.oid FROM ONLY {}").format(
            sql.Identifier(each.column), sql.Identifier(each.namespace, each.relname)
        )
        for each in references
    ]
    nothing = sql.Composed([sql.SQL("SELECT NULL::pg_catalog.oid WHERE false")])
    query = sql.SQL(QUERIES["orphans"]).format(references=sql.SQL(" UNION ALL ").join(columns or [nothing]))
    return frozenset(oid for (oid,) in session.execute(query))

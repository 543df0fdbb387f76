"""Materialized views: derived data.  No row of theirs is lost; but their readers fail, or see what is no more."""

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.counted import counted
from pgrehearse.data.integrity.bypass import Changes
from pgrehearse.data.integrity.dependencies import PG_CLASS, Node, Reached
from pgrehearse.data.integrity.measure import Progress, condition
from pgrehearse.data.integrity.sessions import IntegritySessions
from pgrehearse.data.integrity.verdicts import BrokenPromise, IntegrityCheck, Unmeasured, Weight, check_of
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Matview:
    oid: int
    namespace: str
    relname: str
    name: str
    populated: bool
    query: str


def check_matviews(
    changes: Changes, sessions: IntegritySessions, progress: Progress
) -> tuple[IntegrityCheck | None, tuple[BrokenPromise, ...], tuple[Unmeasured, ...]]:
    """Those that cannot be read any more, and those whose query gives something else now, and did not before.

    Cost: one run of each query that reads a touched table, or calls a changed function; where it differs, one more on
    the pristine copy.  None: there are none.
    """
    before = {each.oid: each for each in _read(sessions.pristine_catalog)}
    names = {each.name: each for each in before.values()}
    after = _read(sessions.clone_catalog)
    if not after:
        return None, (), ()
    broken = list(find_emptied_matviews(sessions.pristine_catalog, sessions.clone_catalog))
    unmeasured: list[Unmeasured] = []
    asked, known = 0, []
    for done, matview in enumerate(after):
        then = before.get(matview.oid) or names.get(matview.name)
        if not matview.populated:
            continue
        reached = changes.reached(Node(PG_CLASS, matview.oid))
        is_new = then is None or then.oid != matview.oid
        if not is_new and not _is_affected(reached, changes):
            continue
        progress(matview.name, done, len(after))
        asked += 1
        calls = changes.calls(reached)
        try:
            rows = _differing(sessions.clone(calls_routines=calls), matview)
            was = _differing(sessions.pristine(calls_routines=calls), then) if rows and then else 0
        except psycopg.Error as error:
            reason = f"asking its query failed: {condition(error)}"
            what = f"whether materialized view {matview.name} is fresh"
            unmeasured.append(Unmeasured(what=what, reason=reason, decisive=False))
            continue
        if was:
            known.append(matview.name)
        elif rows:
            broken.append(_stale(matview, rows))
    detail = f"{len(after):,} in all, {asked:,} compared with what their query gives now"
    if known:
        detail += f"; not what it gives, before the plan and after it: {', '.join(known)}"
    found = (tuple(broken), tuple(unmeasured))
    return check_of("materialized views", detail, *found), *found


def find_emptied_matviews(pristine: Connection, clone: Connection) -> Iterator[BrokenPromise]:
    """Those that could be read before and cannot be now: ``WITH NO DATA``, or made anew without rows."""
    readable = [each for each in _read(pristine) if each.populated]
    oids, names = {each.oid for each in readable}, {each.name for each in readable}
    for matview in _read(clone):
        if not matview.populated and (matview.oid in oids or matview.name in names):
            yield _emptied(matview)


def _is_affected(reached: Reached, changes: Changes) -> bool:
    return changes.is_touched(*reached.relations) or not reached.nodes.isdisjoint(changes.changed)


def _read(session: Connection) -> list[_Matview]:
    return [
        _Matview(oid=oid, namespace=namespace, relname=relname, name=name, populated=populated, query=query)
        for oid, namespace, relname, name, populated, query in session.execute(QUERIES["matviews"])
    ]


def _differing(session: Connection, matview: _Matview) -> int:
    query = sql.SQL(QUERIES["differing_rows"]).format(
        held=sql.Identifier(matview.namespace, matview.relname),
        query=sql.SQL(matview.query.rstrip().removesuffix(";")),
    )
    with session.transaction():
        # Sums of floats in parallel differ in their last digits from one run to the next.
        session.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        session.execute("SET LOCAL extra_float_digits = 0")
        # Its own indexes are no part of the question; those of the tables below may be needed to come to an end.
        session.execute("SET LOCAL enable_indexscan = on")
        session.execute("SET LOCAL enable_bitmapscan = on")
        row = session.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def _emptied(matview: _Matview) -> BrokenPromise:
    return BrokenPromise(
        hazard="matview-not-populated",
        weight=Weight.ERROR,
        relation=matview.name,
        promise=f"materialized view {matview.name}",
        what=f"materialized view {matview.name} is not populated any more: every read of it fails",
        remedy=f"REFRESH MATERIALIZED VIEW {matview.name};",
        readers_fail=True,
    )


def _stale(matview: _Matview, rows: int) -> BrokenPromise:
    return BrokenPromise(
        hazard="stale-matview",
        weight=Weight.WARNING,
        relation=matview.name,
        promise=f"materialized view {matview.name}",
        what=f"materialized view {matview.name} and what its query gives now differ in {counted(rows, 'row')}: "
        "its readers see what was before the plan, until somebody refreshes it",
        remedy=f"REFRESH MATERIALIZED VIEW {matview.name}; at the end of the same plan.",
        rows=rows,
        rows_before=0,
    )

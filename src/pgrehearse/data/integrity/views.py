"""Views that were defined anew: whether they show the rows that they showed, over the very same tables.

Nobody's row is lost by that, so the comparison of tables cannot see it; who reads the view finds fewer, or others.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.counted import counted
from pgrehearse.data.integrity.bypass import Changes
from pgrehearse.data.integrity.dependencies import PG_CLASS, Node
from pgrehearse.data.integrity.measure import Progress, condition
from pgrehearse.data.integrity.sessions import IntegritySessions
from pgrehearse.data.integrity.verdicts import BrokenPromise, IntegrityCheck, Unmeasured, Weight, check_of
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
_ASKS_WHO = re.compile(
    r"\b(CURRENT_USER|SESSION_USER|CURRENT_ROLE|USER|has_\w+_privilege|pg_has_role|row_security_active|current_setting)\b"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    oid: int
    namespace: str
    relname: str
    name: str
    materialized: bool
    query: str
    columns: tuple[str, ...]
    was_table: bool = False  # its query reads what became of a table whose name a view has now

    @property
    def kind(self) -> str:
        return "materialized view" if self.materialized else "view"


def check_views(
    changes: Changes, sessions: IntegritySessions, progress: Progress
) -> tuple[IntegrityCheck | None, tuple[BrokenPromise, ...], tuple[Unmeasured, ...]]:
    """Those of another definition whose old query and new one give different rows of the clone.

    A view that has the name of a table which was renamed shows what that table holds, or other rows.  Columns that
    came are not looked at, those that went are told.  Cost: a run of the old and of the new query of each view that
    was defined anew.  None: there is no such view.
    """
    before = _read(sessions.pristine_catalog)
    by_oid, by_name = {each.oid: each for each in before}, {each.name: each for each in before}
    views = _read(sessions.clone_catalog)
    came = [each.name for each in views if each.oid not in by_oid and each.name not in by_name]
    tables = _renamed_tables(came, sessions) if came else {}
    pairs = [
        (then, now)
        for now in views
        if (then := by_oid.get(now.oid) or by_name.get(now.name) or tables.get(now.name)) is not None
        and (then.query, then.columns) != (now.query, now.columns)
    ]
    calling = _calling_what_changed(by_oid, views, changes)
    if not pairs and not calling:
        return None, (), ()
    broken: list[BrokenPromise] = []
    unmeasured: list[Unmeasured] = []
    for done, (then, now) in enumerate([*pairs, *((view, view) for view in calling)]):
        progress(now.name, done, len(pairs) + len(calling))
        found = _compare_called(now, changes, sessions) if then is now else _compare(then, now, changes, sessions)
        if isinstance(found, Unmeasured):
            unmeasured.append(found)
        elif found is not None:
            broken.append(found)
    detail = f"{counted(len(pairs), 'view')} defined anew"
    detail += f", {len(calling):,} over what does something else now" if calling else ""
    detail += f"; {len(broken):,} of them show other rows or columns"
    found_all = (tuple(broken), tuple(unmeasured))
    return check_of("views", detail, *found_all), *found_all


def _compare(
    then: _View, now: _View, changes: Changes, sessions: IntegritySessions
) -> BrokenPromise | Unmeasured | None:
    columns = [name for name in then.columns if name in now.columns]
    missing = [name for name in then.columns if name not in now.columns]
    # Its old query may call what the plan has replaced.
    calls = bool(changes.changed) or changes.calls(changes.reached(Node(PG_CLASS, now.oid)))
    try:
        clone = sessions.clone(calls_routines=calls)
        try:
            gone, come, rows = _shown_rows(clone, then, now, columns)
        except psycopg.ProgrammingError:
            # What the old query names is not there any more, a renamed table for one.
            pristine = sessions.pristine(calls_routines=calls)
            if _all_shown(pristine, then, columns) == _all_shown(clone, now, columns):
                gone, come, rows = 0, 0, 0
            else:
                raise
    except psycopg.Error as error:
        if missing:  # the catalogs alone say so
            return _other_rows(then, now, 0, 0, 0, missing)
        return Unmeasured(
            what=f"whether {now.kind} {now.name} shows the rows that it showed",
            reason=f"asking its old query and its new one failed: {condition(error)}",
            decisive=False,
        )
    return _other_rows(then, now, gone, come, rows, missing) if gone or come or missing else None


def _calling_what_changed(before: Mapping[int, _View], views: Sequence[_View], changes: Changes) -> list[_View]:
    """Views of the same definition whose query calls a routine that the plan replaced."""
    if not changes.changed:
        return []
    return [
        view
        for view in views
        if (then := before.get(view.oid)) is not None
        and (then.query, then.columns) == (view.query, view.columns)
        and not changes.reached(Node(PG_CLASS, view.oid)).nodes.isdisjoint(changes.changed)
    ]


def _compare_called(view: _View, changes: Changes, sessions: IntegritySessions) -> BrokenPromise | Unmeasured | None:
    what = f"whether {view.kind} {view.name} shows the rows that it showed"
    if _ASKS_WHO.search(view.query):
        reason = "it calls what does something else now, and what it shows hangs on who asks"
        return Unmeasured(what=what, reason=reason, decisive=False)
    try:
        pristine = sessions.pristine(calls_routines=True)
        before = _all_shown(pristine, view, view.columns)
        after = _all_shown(sessions.clone(calls_routines=True), view, view.columns)
        if before != after and _all_shown(pristine, view, view.columns) != before:
            reason = "it calls what does something else now, and its query gives other rows each time"
            return Unmeasured(what=what, reason=reason, decisive=False)
    except psycopg.Error as error:
        reason = f"it calls what does something else now, and asking its query failed: {condition(error)}"
        return Unmeasured(what=what, reason=reason, decisive=False)
    if before == after:
        return None
    if changes.is_touched(*changes.reached(Node(PG_CLASS, view.oid)).relations):
        reason = "it calls what does something else now, and rows of its tables are others, too"
        return Unmeasured(what=what, reason=reason, decisive=False)
    return BrokenPromise(
        hazard="query-result-changes",
        weight=Weight.WARNING,
        relation=view.name,
        promise=f"{view.kind} {view.name}",
        what=f"{view.kind} {view.name} calls what does something else now: it showed {counted(before[0], 'row')}, and "
        f"shows {after[0]:,}{' others' if before[0] == after[0] else ''}",
        remedy="If readers are not ready for that, give what is new a name of its own.",
        rows=abs(after[0] - before[0]) or after[0],
        readers_fail=True,
    )


def _other_rows(then: _View, now: _View, gone: int, come: int, rows: int, missing: Sequence[str]) -> BrokenPromise:
    told = []
    if gone or come:
        whose = "that table" if then.was_table else "its old query"
        told.append(f"of {counted(rows, 'row')} of {whose} it shows {gone:,} no more, and {counted(come, 'other')}")
    if missing:
        told.append(f"it has no {', '.join(missing)} any more")
    return BrokenPromise(
        hazard="query-result-changes",
        weight=Weight.WARNING,
        relation=now.name,
        promise=f"{now.kind} {now.name}",
        what=f"{now.kind} {now.name} {'has the name of a table' if then.was_table else 'is defined anew'}: "
        + "; ".join(told),
        remedy="If readers are not ready for that, give what is new a name of its own.",
        rows=gone + come,
        readers_fail=True,
    )


def _read(session: Connection) -> list[_View]:
    return [
        _View(
            oid=oid, namespace=namespace, relname=relname, name=name, materialized=materialized, query=query,
            columns=tuple(columns),
        )
        for oid, namespace, relname, name, materialized, query, columns in session.execute(QUERIES["views"])
    ]  # fmt: skip


def _renamed_tables(names: Sequence[str], sessions: IntegritySessions) -> dict[str, _View]:
    """Tables that had these names and have others now, by the name that they had: read as they were."""
    found: dict[str, _View] = {}
    had = sessions.pristine_catalog.execute(QUERIES["tables_by_name"], (list(names),)).fetchall()
    has = {row[0]: row for row in sessions.clone_catalog.execute(QUERIES["tables_by_oid"], ([row[0] for row in had],))}
    for oid, namespace, relname, name, columns in had:
        if oid not in has:
            continue
        _, now_in, now_called, _, now = has[oid]
        read = [
            sql.SQL("{} AS {}").format(sql.Identifier(now[number]), sql.Identifier(column))
            for number, column in columns.items()
            if number in (now or ())
        ]
        query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(read), sql.Identifier(now_in, now_called))
        found[name] = _View(
            oid=oid, namespace=namespace, relname=relname, name=name, materialized=False, query=query.as_string(),
            columns=tuple(columns.values()), was_table=True,
        )  # fmt: skip
    return found


def _shown_rows(session: Connection, then: _View, now: _View, columns: Sequence[str]) -> tuple[int, int, int]:
    query = sql.SQL(QUERIES["shown_rows"]).format(columns=_list(columns), before=_query(then), after=_query(now))
    gone, come, rows = _ask(session, query)
    return gone, come, rows


def _all_shown(session: Connection, view: _View, columns: Sequence[str]) -> tuple[Any, ...]:
    return _ask(session, sql.SQL(QUERIES["all_shown"]).format(columns=_list(columns), query=_query(view)))


def _list(columns: Sequence[str]) -> sql.Composable:
    return sql.SQL(", ").join(sql.Identifier("shown", name) for name in columns)


def _query(view: _View) -> sql.Composable:
    """Its text as the server prints it; of a materialized view too, for what it holds may be old on both sides."""
    return sql.SQL(view.query.rstrip().removesuffix(";"))


def _ask(session: Connection, query: sql.Composed) -> tuple[Any, ...]:
    with session.transaction():
        # Sums of floats in parallel differ in their last digits from one run to the next.
        session.execute("SET LOCAL max_parallel_workers_per_gather = 0")
        session.execute("SET LOCAL extra_float_digits = 0")
        # The indexes of the tables below may be needed to come to an end.
        session.execute("SET LOCAL enable_indexscan = on")
        session.execute("SET LOCAL enable_bitmapscan = on")
        row = session.execute(query).fetchone()
    assert row is not None
    return tuple(row)

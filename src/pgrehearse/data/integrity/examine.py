"""The story: read both catalogs, find which promises could have been broken, ask their rows, tell what got worse."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import psycopg

from pgrehearse.counted import counted
from pgrehearse.data.integrity.bypass import Changes, read_power
from pgrehearse.data.integrity.catalog import Catalog, Relation, ancestors_of, read_catalog, read_relations
from pgrehearse.data.integrity.dependencies import find_changed, read_dependencies
from pgrehearse.data.integrity.indexes import check_collations, check_indexes
from pgrehearse.data.integrity.matviews import check_matviews
from pgrehearse.data.integrity.measure import Answer, Progress, Question, ask, condition
from pgrehearse.data.integrity.orphaned_objects import check_large_objects
from pgrehearse.data.integrity.promises import Key, Promise, PromiseKind, find_predecessors, read_promises, why_ask
from pgrehearse.data.integrity.sessions import IntegritySessions
from pgrehearse.data.integrity.told import broken_promise
from pgrehearse.data.integrity.verdicts import BrokenPromise, Integrity, IntegrityCheck, Unmeasured, check_of
from pgrehearse.data.integrity.views import check_views
from pgrehearse.data.session import Sessions
from pgrehearse.errors import DataNotCompared

SHOWN = 3  # names in one sentence
Outcome = tuple[IntegrityCheck | None, tuple[BrokenPromise, ...], tuple[Unmeasured, ...]]


@dataclass(slots=True)
class _Found:
    checks: list[IntegrityCheck] = field(default_factory=list)
    broken: list[BrokenPromise] = field(default_factory=list)
    not_measured: list[Unmeasured] = field(default_factory=list)

    def add(self, check: IntegrityCheck | None, broken: Sequence[BrokenPromise], rest: Sequence[Unmeasured]) -> None:
        if check is not None:
            self.checks.append(check)
        self.broken += broken
        self.not_measured += rest


def examine_integrity(
    pristine: Sessions,
    clone: Sessions,
    as_role: Sessions | None,
    *,
    role: str,
    unchanged: Collection[str],
    widened: Collection[str] = (),
    kept: Mapping[str, Collection[str]] | None = None,
    ignore_relations: Collection[str] = (),
    progress: Progress = lambda what, done, total: None,
) -> Integrity:
    """Whether every promise of the clone's schema is kept by its rows, as far as the plan could have broken it.

    ``clone`` was a TEMPLATE copy of ``pristine``; nobody may write to either meanwhile.  ``as_role`` opens a session
    into the clone as ``role``, which ran the plan: routines of users run as it alone.  ``unchanged`` names tables
    (``namespace.relation``) of the clone whose rows are proved to be the same as before; ``widened`` others
    of which that holds, and which have new columns beside; ``kept`` those that lost no row, with the columns in which
    every row of before has its value of before.

    Cost: some catalog queries on both sides, then scans of the tables that are not unchanged, of those behind their
    foreign keys, and of what is NOT VALID.  Only reads.  What cannot be asked is in ``not_measured``; no other question
    is stopped by it.  Raises `DataNotCompared` when the catalogs cannot be read, and `ServerUnreachable` when a session
    that broke cannot be had again.
    """
    found = _Found()
    with IntegritySessions(pristine, clone, as_role) as sessions:
        try:
            after, before, changes = _read(
                sessions, role, frozenset(unchanged), frozenset(widened), kept or {}, ignore_relations
            )
        except psycopg.Error as error:
            raise DataNotCompared(f"what the schema promises could not be read ({condition(error)})") from error
        promises = read_promises(after, _lost_labels(before, after))
        predecessors = find_predecessors(promises, read_promises(before, before.labels.keys()))
        _ask(promises, predecessors, changes, sessions, progress, found)
        for name, question in (
            ("indexes", lambda: check_indexes(after, before, changes, sessions, progress)),
            ("materialized views", lambda: check_matviews(changes, sessions, progress)),
            ("views", lambda: check_views(changes, sessions, progress)),
            ("large objects", lambda: (*check_large_objects(changes, sessions), ())),
            ("collation versions", lambda: check_collations(sessions)),
        ):
            found.add(*_guarded(name, question))
    return Integrity(checks=tuple(found.checks), broken=tuple(found.broken), not_measured=tuple(found.not_measured))


def _guarded(name: str, question: Callable[[], Outcome]) -> Outcome:
    try:
        return question()
    except psycopg.Error as error:
        unmeasured = (Unmeasured(what=f"integrity of {name}", reason=condition(error), decisive=True),)
        return check_of(name, f"asking failed: {condition(error)}", (), unmeasured), (), unmeasured


def _read(
    sessions: IntegritySessions,
    role: str,
    unchanged: frozenset[str],
    widened: frozenset[str],
    kept: Mapping[str, Collection[str]],
    ignored: Collection[str],
) -> tuple[Catalog, Catalog, Changes]:
    here, there = sessions.clone_catalog, sessions.pristine_catalog
    relations, relations_before = read_relations(here, ignored), read_relations(there, ignored)
    dependencies = read_dependencies(here, {oid: each.relname for oid, each in relations.items()})
    dependencies_before = read_dependencies(there, {oid: each.relname for oid, each in relations_before.items()})
    changed = find_changed(dependencies_before, dependencies)
    moved = _moved(relations, relations_before)
    grown = {oid for oid, each in relations.items() if each.kind == "r" and each.name in widened}
    rows_changed = {
        oid for oid, each in relations.items() if each.kind == "r" and each.name not in unchanged and oid not in grown
    }
    touched = frozenset(above for oid in rows_changed for above in ancestors_of(relations, oid))
    # What does something else now may stand behind any bound.
    asked = touched | moved | grown if not changed else frozenset(relations)
    changes = Changes(
        power=read_power(here, role),
        touched=touched,
        kept={oid: frozenset(kept[each.name]) for oid, each in relations.items() if each.name in kept},
        changed=changed,
        moved=moved,
        dependencies=dependencies,
    )
    return read_catalog(here, relations, asked), read_catalog(there, relations_before, asked), changes


def _moved(after: Mapping[int, Relation], before: Mapping[int, Relation]) -> frozenset[int]:
    moved = {oid for oid, each in after.items() if oid in before and before[oid].parent != each.parent}
    return frozenset(oid for oid in after if not moved.isdisjoint(ancestors_of(after, oid))) if moved else frozenset()


def _lost_labels(before: Catalog, after: Catalog) -> frozenset[int]:
    return frozenset(
        oid
        for oid, (_, labels) in before.labels.items()
        if oid in after.labels and not labels <= after.labels[oid][1]
    )  # fmt: skip


def _ask(
    promises: Mapping[Key, Promise],
    predecessors: Mapping[Key, Promise],
    changes: Changes,
    sessions: IntegritySessions,
    progress: Progress,
    found: _Found,
) -> None:
    questions = []
    for key, promise in promises.items():
        before = predecessors.get(key)
        why = why_ask(promise, before, changes)
        if why is not None:
            calls = changes.calls(changes.reached(*promise.nodes))
            # What is NOT VALID is asked though nothing was touched: once is enough.
            same = (
                not calls
                and before is not None
                and promise.weak is not None
                and (before.weak, before.definition) == (promise.weak, promise.definition)
                and not changes.is_touched(*promise.relations)
            )
            questions.append(
                Question(promise=promise, before=before, calls_routines=calls, same_rows=same, why=why)
            )  # fmt: skip
    answers = ask(questions, sessions, progress)
    for kind in PromiseKind:
        total = sum(promise.kind is kind for promise in promises.values())
        if total:
            found.add(*_conclude(kind, total, [each for each in answers if each.question.promise.kind is kind]))


def _conclude(kind: PromiseKind, total: int, answers: Sequence[Answer]) -> Outcome:
    broken = tuple(told for answer in answers if (told := broken_promise(answer)) is not None)
    unmeasured = tuple(
        Unmeasured(
            what=f"{answer.question.promise.name} of {answer.question.promise.relation.name}",
            reason=answer.failure,
            decisive=answer.question.promise.weak is None,
        )
        for answer in answers
        if answer.failure is not None and not answer.fails_for_rows
    )
    unmeasured += tuple(
        Unmeasured(
            what=f"whether those that break {answer.question.promise.name} of {answer.question.promise.relation.name} "
            "are the rows of before",
            reason="they can be counted and not told apart: there is no primary key, or there are too many of them",
            decisive=False,
        )
        for answer in answers
        if answer.unsure
    )
    whys = list(dict.fromkeys(answer.question.why for answer in answers))
    detail = f"{len(answers):,} of {total:,} asked of the rows"
    if whys:
        rest = f" and {counted(len(whys) - SHOWN, 'more reason')}" if len(whys) > SHOWN else ""
        detail += f" ({'; '.join(whys[:SHOWN])}{rest})"
    if len(answers) < total:
        detail += "; the server kept the others, or nothing of them was touched"
    if broken:
        detail += f"; broken by the plan: {_names([each.promise for each in broken])}"
    known = [answer for answer in answers if answer.rows and answer.rows > answer.rows_new and answer.failure is None]
    if known:
        named = [
            f"{answer.question.promise.name} of {answer.question.promise.relation.name} "
            f"({counted(answer.rows_before, 'row')} then, {answer.rows:,} now)"
            for answer in known
        ]
        detail += f"; broken before the plan: {_names(named)}"
    if any(answer.by_index for answer in answers):
        detail += "; by its own index, since each row with each would be too many"
    return check_of(kind.value, detail, broken, unmeasured), broken, unmeasured


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")

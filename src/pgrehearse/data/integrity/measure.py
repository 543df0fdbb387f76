"""The rows asked: who breaks a promise now, who did before, and who of them is the plan's doing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from pgrehearse.data.integrity.catalog import Relation
from pgrehearse.data.integrity.promises import Promise, column_name
from pgrehearse.data.integrity.sessions import IntegritySessions
from pgrehearse.data.integrity.violators import RowsTest, RowTest, count_of, rows_of
from pgrehearse.postgres.connect import Connection

AT_ONCE = 200  # tests of one table that are counted in one scan
MOST_IDENTITIES = 10_000  # violators that are told apart one by one; of more only the numbers are compared
KEYS_TOLD = 3
# Rows of which each may be compared with each in a few seconds.
COMPARABLE_ROWS = 5_000

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A promise of the clone, with what it was before."""

    promise: Promise
    before: Promise | None
    calls_routines: bool  # of users
    same_rows: bool  # it is asked of the rows of before, in the words of before
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the rows said."""

    question: Question
    rows: int | None  # that violate; None where that could not be counted
    rows_before: int = 0
    rows_new: int = 0  # of them, by the plan
    keys: tuple[str, ...] = ()  # of the first of those
    failure: str | None = None  # the condition's name
    fails_for_rows: bool = False  # asking fails for what the rows hold, and did not before
    by_index: bool = False
    unsure: bool = False  # as many as before or fewer, and perhaps others


def ask(questions: Sequence[Question], sessions: IntegritySessions, progress: Progress) -> list[Answer]:
    """One scan for each table's row tests, one query for each other question; a failed one stops no other."""
    answers: list[Answer] = []
    done = 0
    for group in _grouped(questions):
        progress(group[0].promise.relation.name, done, len(questions))
        answers += _ask_together(group, sessions) if len(group) > 1 else [_ask_one(group[0], sessions)]
        done += len(group)
    return answers


def condition(error: psycopg.Error) -> str:
    """Only the condition's name: PostgreSQL's messages quote values."""
    return f"{type(error).__name__}, SQLSTATE {error.sqlstate or 'unknown'}"


def _grouped(questions: Iterable[Question]) -> list[list[Question]]:
    together: dict[tuple[object, ...], list[Question]] = {}
    for place, question in enumerate(questions):
        alone = not isinstance(question.promise.test, RowTest)
        key = (place,) if alone else (question.promise.relation.oid, question.calls_routines)
        together.setdefault((alone, *key), []).append(question)
    return [group[at : at + AT_ONCE] for group in together.values() for at in range(0, len(group), AT_ONCE)]


def _ask_together(group: list[Question], sessions: IntegritySessions) -> list[Answer]:
    tests = [question.promise.test for question in group]
    counts = sql.SQL(", ").join(
        sql.SQL("pg_catalog.count(*) FILTER (WHERE {})").format(test.violates)
        for test in tests
        if isinstance(test, RowTest)
    )
    query = sql.SQL("SELECT {} FROM {}").format(counts, group[0].promise.relation.rows)
    try:
        row = sessions.clone(calls_routines=group[0].calls_routines).execute(query).fetchone()
    except psycopg.Error:
        return [_ask_one(question, sessions) for question in group]
    assert row is not None
    return [
        _judge(question, count, sessions) if count else Answer(question=question, rows=0)
        for question, count in zip(group, row, strict=True)
    ]


def _ask_one(question: Question, sessions: IntegritySessions) -> Answer:
    try:
        session = sessions.clone(calls_routines=question.calls_routines)
        rows, by_index = _count(session, question.promise)
        answer = _judge(question, rows, sessions) if rows else Answer(question=question, rows=0)
    except psycopg.Error as error:
        return _failed(question, error, sessions)
    return replace(answer, by_index=by_index)


def _judge(question: Question, rows: int, sessions: IntegritySessions) -> Answer:
    """There are violators: how many were there before, and which are new?"""
    session = sessions.clone(calls_routines=question.calls_routines)
    if question.same_rows:
        return Answer(question=question, rows=rows, rows_before=rows)
    now = _violators(session, question.promise, MOST_IDENTITIES)
    if question.before is None:
        keys = _told(question, [told for _, told in now])
        return Answer(question=question, rows=rows, rows_new=rows, keys=keys)
    try:
        then_session = sessions.pristine(calls_routines=question.calls_routines)
        rows_before, _ = _count(then_session, question.before)
    except psycopg.Error as error:
        return Answer(question=question, rows=rows, failure=f"asking the pristine copy failed: {condition(error)}")
    then = _violators(then_session, question.before, MOST_IDENTITIES) if rows_before else []
    known = {identity for identity, _ in (*then, *now)}
    if rows_before and (None in known or len(now) < rows or len(then) < rows_before):
        more = max(0, rows - rows_before)
        return Answer(question=question, rows=rows, rows_before=rows_before, rows_new=more, unsure=not more)
    known = {identity for identity, _ in then}
    fresh = [told for identity, told in now if identity not in known]
    return Answer(
        question=question,
        rows=rows,
        rows_before=rows_before,
        rows_new=len(fresh) if rows_before else rows,
        keys=_told(question, fresh),
    )


def _failed(question: Question, error: psycopg.Error, sessions: IntegritySessions) -> Answer:
    """A check that raises for a row that is there: who restores a dump of this database meets it."""
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        reason = "the plan's role may not read it, and what it calls runs as nobody else"
        return Answer(question=question, rows=None, failure=reason if question.calls_routines else condition(error))
    raises = not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and question.calls_routines
    if raises and question.before is not None:
        try:
            _count(sessions.pristine(calls_routines=question.calls_routines), question.before)
        except psycopg.Error:
            raises = False
    return Answer(question=question, rows=None, failure=condition(error), fails_for_rows=raises)


def _count(session: Connection, promise: Promise) -> tuple[int, bool]:
    """How many violate, and whether an index was asked for it: only where all pairs would be too many."""
    test = promise.test
    by_index = isinstance(test, RowsTest) and test.slow_without_index and _has_more_rows(session, promise.relation)
    with session.transaction():
        if by_index:
            session.execute("SET LOCAL enable_indexscan = on")
            session.execute("SET LOCAL enable_bitmapscan = on")
        row = session.execute(count_of(test)).fetchone()
    assert row is not None
    return int(row[0]), by_index


def _has_more_rows(session: Connection, relation: Relation) -> bool:
    query = sql.SQL("SELECT pg_catalog.count(*) FROM (SELECT FROM {} LIMIT {}) AS first_ones")
    row = session.execute(query.format(relation.rows, sql.Literal(COMPARABLE_ROWS + 1))).fetchone()
    return row is not None and row[0] > COMPARABLE_ROWS


def _violators(session: Connection, promise: Promise, most: int) -> list[tuple[str | None, list[str] | None]]:
    return [(identity, told) for identity, told in session.execute(rows_of(promise.test, most))]


def _told(question: Question, keys: Sequence[list[str] | None]) -> tuple[str, ...]:
    """The first in the order of their keys: numbers by their size."""
    names = ", ".join(map(column_name, question.promise.relation.key))
    ordered = sorted((key for key in keys if key is not None), key=lambda key: [(len(part), part) for part in key])
    return tuple(f"({names}) = ({', '.join(key)})" for key in ordered[:KEYS_TOLD])

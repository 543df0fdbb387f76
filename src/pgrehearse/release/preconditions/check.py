"""Ask production whether its rows satisfy what a plan needs: read-only, each question by itself.

Every question runs in a read-only transaction of its own (the tables it reads carry ACCESS SHARE until it ends, and no
other lock), with a timeout for the statement and a short one for waiting behind somebody's ACCESS EXCLUSIVE.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.data.columns import TypePair, Unreadable
from pgrehearse.data.tables import Column, read_tables
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.release.preconditions import queries
from pgrehearse.release.preconditions.expressions import type_sql
from pgrehearse.release.preconditions.precondition import (
    GroupTest,
    LossTest,
    OrphanTest,
    PairTest,
    Precondition,
    PreconditionResult,
    Rows,
    RowTest,
    Test,
)
from pgrehearse.release.preconditions.queries import RowKey
from pgrehearse.release.preconditions.unconvertible import BadRows, find_failing_rows

KEYS_SHOWN = 10
LOCK_WAIT_MS = 2_000
OUR_SETTINGS = {
    "row_security": "off",  # a policy that would hide rows raises an error instead
    "jit": "off",
    "synchronize_seqscans": "off",  # from the first block on, whoever else is reading
    "idle_in_transaction_session_timeout": "0",
    "standard_conforming_strings": "on",  # our own literals, and what the parser's library prints
    "transform_null_equals": "off",
}
SET_LOCAL = "SELECT pg_catalog.set_config(name, value, true) FROM unnest(%s::text[], %s::text[]) AS s(name, value)"
PRIMARY_KEY = """
SELECT ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
             WHERE k.place <= i.indnkeyatts ORDER BY k.place)
FROM pg_catalog.pg_index i WHERE i.indrelid = %s AND i.indisprimary
"""
RELATION = """
SELECT c.oid::int8, c.relkind::text,
       EXISTS (SELECT FROM pg_catalog.pg_inherits h WHERE h.inhparent = c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
CASTABLE = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_cast c WHERE c.castsource = s.oid AND c.casttarget = t.oid)
    OR s.oid = t.oid OR t.typcategory = 'S' OR s.typcategory = 'S'
FROM pg_catalog.pg_type s, pg_catalog.pg_type t
WHERE s.oid = pg_catalog.to_regtype(%s)::oid AND t.oid = pg_catalog.to_regtype(%s)::oid
"""


def read_search_path(session: Connection) -> tuple[str, ...]:
    """Where this session finds names without a namespace, for `derive_preconditions`."""
    return tuple(fetch_value(session, "SELECT pg_catalog.current_schemas(false)"))


def check_preconditions(
    session: Connection,
    preconditions: Sequence[Precondition],
    *,
    keys_shown: int = KEYS_SHOWN,
    statement_timeout_ms: int = 60_000,
    lock_timeout_ms: int = LOCK_WAIT_MS,
) -> tuple[PreconditionResult, ...]:
    """One result for each, in their order; what was left to the rehearsal comes back so.

    ``session`` is of the role that will promote, idle (autocommit) or in a transaction, which then sees its own state.
    Violated (`holds` False): with the keys of at most ``keys_shown`` rows and, where time allows, their number.
    Not measured (None): a timeout, a lock that is not to be had, a missing right or object, with the reason.
    Cost: about one scan of each table for each question, some with a sort or a hash of the whole table beyond it;
    at most ``statement_timeout_ms`` for each of its two or three queries.
    Raises psycopg's OperationalError alone, where the connection is lost.
    """
    results = []
    for precondition in preconditions:
        if precondition.test is None:
            results.append(
                PreconditionResult(
                    precondition=precondition, holds=None, reason=precondition.left_because, left_to_rehearsal=True
                )
            )
            continue
        started = time.monotonic()
        asked = _Question(session, precondition, keys_shown, statement_timeout_ms, lock_timeout_ms)
        answer = asked.answer(precondition.test)
        results.append(
            PreconditionResult(
                precondition=precondition,
                holds=answer.holds,
                reason=answer.reason,
                violators=answer.violators,
                keys=answer.keys,
                duration_ms=(time.monotonic() - started) * 1000,
                left_to_rehearsal=answer.left,
                timed_out=answer.timed_out,
            )
        )
    return tuple(results)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    holds: bool | None
    reason: str | None = None
    violators: int | None = None
    keys: tuple[dict[str, str], ...] = ()
    left: bool = False
    timed_out: bool = False


class _Incomparable(Exception):
    """Values cannot be cast to the new type or back: what is lost there, nobody can say."""


@dataclass(slots=True)
class _Question:
    session: Connection
    precondition: Precondition
    keys_shown: int
    statement_timeout_ms: int
    lock_timeout_ms: int

    def answer(self, test: Test) -> _Answer:
        """In a transaction that is rolled back: settings and locks go with it."""
        try:
            with self.session.transaction(force_rollback=True):
                self._begin()
                return self._ask(test)
        except _Incomparable as error:
            return _Answer(holds=None, reason=str(error), left=True)
        except psycopg.errors.ReadOnlySqlTransaction:
            return _Answer(holds=None, reason="its expression writes, which a question may not", left=True)
        except psycopg.Error as error:
            if self.session.closed or error.sqlstate is None:
                raise
            timed_out = isinstance(error, psycopg.errors.QueryCanceled)
            return _Answer(holds=None, reason=self._why_not_measured(error), timed_out=timed_out)

    def _begin(self) -> None:
        # READ ONLY also within somebody's transaction, for this part of it alone.
        self.session.execute("SET TRANSACTION READ ONLY")
        settings = OUR_SETTINGS | {
            "statement_timeout": str(self.statement_timeout_ms),
            "lock_timeout": str(self.lock_timeout_ms),
        }
        if self.precondition.search_path is not None:
            path = sql.SQL(", ").join(sql.Identifier(name) for name in self.precondition.search_path)
            settings["search_path"] = path.as_string(self.session)
        self.session.execute(SET_LOCAL, (list(settings), list(settings.values())))

    def _ask(self, test: Test) -> _Answer:
        key = self._row_key(test.rows)
        match test:
            case LossTest():
                return self._ask_losses(RowTest(rows=test.rows, violates=self._loses(test)), key)
            case RowTest():
                return self._ask_rows(test, key)
            case GroupTest():
                few = queries.duplicate_rows(test, key, self.keys_shown + 1)
                return self._count(few, queries.count_duplicates(test, key), key)
            case OrphanTest():
                query = queries.orphaned_rows(test, key)
                return self._count(query, queries.counted(query), key)
            case PairTest():
                query = queries.conflicting_rows(test, key)
                return self._count(query, queries.counted(query), key)

    def _ask_losses(self, test: RowTest, key: RowKey) -> _Answer:
        query = queries.violating_rows(test, key)
        try:
            with self.session.transaction():
                return self._count(query, queries.counted(query), key)
        except (psycopg.DataError, psycopg.IntegrityError):
            raise _Incomparable("some values do not convert at all, or not back, and hide those that do") from None

    def _ask_rows(self, test: RowTest, key: RowKey) -> _Answer:
        query = queries.violating_rows(test, key)
        try:
            with self.session.transaction():
                return self._count(query, queries.counted(query), key)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            # A value that the expression or the cast does not take: the statement would fail on it too.
            bad = find_failing_rows(self.session, test, key, most=self.keys_shown + 1)
            return self._of_bad_rows(bad, key, error)

    def _of_bad_rows(self, bad: BadRows, key: RowKey, error: psycopg.Error) -> _Answer:
        if not bad.rows:
            return _Answer(holds=None, reason=bad.reason or f"the question itself failed ({_condition(error)})")
        keys = tuple(queries.tell(key.names, row) for row in bad.rows[: self.keys_shown])
        if bad.is_complete and len(bad.rows) <= self.keys_shown:
            return _Answer(holds=False, violators=len(bad.rows), keys=keys)
        return _Answer(holds=False, keys=keys, reason=bad.reason or "they were not all counted")

    def _count(self, query: sql.Composed, count: sql.Composed, key: RowKey) -> _Answer:
        """The first rows; their number only where there are more than can be shown."""
        rows = self.session.execute(queries.limited(query, self.keys_shown + 1)).fetchall()
        if not rows:
            return _Answer(holds=True, violators=0)
        keys = tuple(queries.tell(key.names, row) for row in rows[: self.keys_shown])
        if len(rows) <= self.keys_shown:
            return _Answer(holds=False, violators=len(rows), keys=keys)
        try:
            with self.session.transaction():
                row = self.session.execute(count).fetchone()
        except psycopg.errors.QueryCanceled:
            reason = f"counting them took longer than {self.statement_timeout_ms} ms"
            return _Answer(holds=False, keys=keys, reason=reason)
        return _Answer(holds=False, violators=row[0] if row is not None else None, keys=keys)

    def _row_key(self, rows: Rows) -> RowKey:
        found = self.session.execute(RELATION, (rows.namespace, rows.relation)).fetchone()
        if found is None:
            return RowKey(columns=(), tells_relation=False)  # the question will say that it is not there
        oid, _, has_children = found
        key = self.session.execute(PRIMARY_KEY, (oid,)).fetchone()
        # A parent by inheritance does not keep its key unique among its children.
        descends = bool(has_children and rows.descends)
        columns = tuple(key[0]) if key is not None else ()
        return RowKey(columns=columns, tells_relation=descends and not columns)

    def _loses(self, test: LossTest) -> sql.Composable:
        """The new value read back as a rehearsal reads it, against the old one."""
        old_oid, old_typmod = self._type(test.old_type)
        new_oid, new_typmod = self._type(test.new_type)
        types = read_tables(self.session, wanted_types=(old_oid, new_oid)).types
        pair = TypePair(before=types, after=types, spell=self._spell, castable=self._castable)
        old, new = (
            Column(number=1, name=test.column, sql_name=test.column, type_oid=oid, typmod=typmod, not_null=False)
            for oid, typmod in ((old_oid, old_typmod), (new_oid, new_typmod))
        )
        reading = pair.reading(old, new)
        if isinstance(reading, Unreadable):
            raise _Incomparable(reading.reason)
        before, after = reading.before(sql.Identifier(test.column)), reading.after(test.value)
        return sql.SQL("({}) IS DISTINCT FROM ({})").format(before, after)

    def _type(self, written: str) -> tuple[int, int]:
        cursor = self.session.execute(sql.SQL("SELECT NULL::{}").format(type_sql(written)))
        assert cursor.pgresult is not None
        return cursor.pgresult.ftype(0), cursor.pgresult.fmod(0)

    def _spell(self, oid: int, typmod: int) -> str:
        return str(fetch_value(self.session, "SELECT pg_catalog.format_type(%s, %s)", (oid, typmod)))

    def _castable(self, source: str, target: str) -> bool:
        row = self.session.execute(CASTABLE, (source.partition("(")[0], target.partition("(")[0])).fetchone()
        return bool(row and row[0])

    def _why_not_measured(self, error: psycopg.Error) -> str:
        match error:
            case psycopg.errors.QueryCanceled():
                return f"the question took longer than {self.statement_timeout_ms} ms"
            case psycopg.errors.LockNotAvailable():
                return f"another session held its table locked for longer than {self.lock_timeout_ms} ms"
            case psycopg.errors.InsufficientPrivilege() if _is_servers_own(error):
                return f"a right is missing: {error.diag.message_primary}"
            case psycopg.ProgrammingError() if _is_servers_own(error):
                # Names and syntax; what it quotes is the plan's own text, never a row's value.
                return f"the question cannot be asked: {error.diag.message_primary}"
        return f"the question failed ({_condition(error)})"


def _is_servers_own(error: psycopg.Error) -> bool:
    """Whether the server itself said it, of a name, a right or the syntax: a function may raise any condition."""
    return (error.sqlstate or "")[:2] in ("42", "3F") and not error.diag.context


def _condition(error: psycopg.Error) -> str:
    """The condition's name; a message may quote a row's value."""
    return f"{type(error).__name__}, SQLSTATE {error.sqlstate}"

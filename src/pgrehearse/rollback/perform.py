"""Go back: the inverse, the rows, and the migration ledger, in one transaction."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.errors import ConnectionLost, WayBackFailed
from pgrehearse.migrations.execution import is_lost
from pgrehearse.migrations.ledger_wall import Executor
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.runner_lock import share_work, take_turn
from pgrehearse.migrations.secrets import redact
from pgrehearse.migrations.session_state import prepare
from pgrehearse.migrations.watchdog import Watchdog
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.rollback.aside import Added, KeptAside, Rewritten, keep_aside
from pgrehearse.rollback.image import Image
from pgrehearse.rollback.put_back import PutBack, put_back

# As pg_dump sets them for the text that it writes.
SETTINGS = {
    "search_path": "",
    "check_function_bodies": "off",
    "standard_conforming_strings": "on",
    "xmloption": "content",
    "client_min_messages": "warning",
    "statement_timeout": "0",
    "default_tablespace": "",
    "default_table_access_method": "heap",
}
SET = "SELECT pg_catalog.set_config(s.name, s.value, true) FROM unnest(%s::text[], %s::text[]) AS s (name, value)"
SAVEPOINT, RELEASE, BACK = (
    f"{word} pgrehearse_statement" for word in ("SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT")
)
PID = "SELECT pg_catalog.pg_backend_pid()"
OID = "SELECT pg_catalog.to_regclass(%s)::oid::int8"
SHOWN_SQL = 300
LOST = (
    "Whether it was committed is not known until the server answers.  Then run `pgrehearse rollback` again: it looks "
    "there first."
)
QUIETER = "Nothing was changed.  Run it again at a quieter time, or allow others to wait longer with --max-block."
RETRIED = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
# Rows that the application wrote since may break an old promise, which then holds for new rows only.
BROKEN_BY_ROWS = (
    psycopg.errors.NotNullViolation, psycopg.errors.CheckViolation, psycopg.errors.ForeignKeyViolation,
)  # fmt: skip
_SETS_NOT_NULL = re.compile(r'ALTER TABLE (?P<table>.+) ALTER COLUMN (?P<column>"(?:[^"]|"")*"|\S+) SET NOT NULL;')
_ADDS_CONSTRAINT = re.compile(r"\s+ADD CONSTRAINT .*\b(CHECK|FOREIGN KEY) ?\(.*\)[^()]*;\Z", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ddl:
    """The statements of a way back, as the receipt keeps them; rows are put back between the two."""

    statements: tuple[str, ...]
    after_rows: tuple[str, ...]

    @classmethod
    def of_receipt(cls, rollback: Mapping[str, Any]) -> "Ddl":
        """From ``document["rollback"]``."""
        return cls(statements=tuple(rollback["statements"]), after_rows=tuple(rollback["statements_after_rows"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class WentBack:
    """What going back did."""

    duration_ms: float  # of the transaction that committed
    attempts: int
    put_back: PutBack | None  # None: there was nothing to put back
    kept_aside: tuple[KeptAside, ...]
    weakened: tuple[str, ...]  # promises that rows written since break: they hold for new rows only

    def as_json(self) -> dict[str, Any]:
        return {
            "duration_ms": round(self.duration_ms, 3),
            "attempts": self.attempts,
            "put_back": None if self.put_back is None else self.put_back.as_json(),
            "kept_aside": [kept.as_json() for kept in self.kept_aside],
            "weakened": list(self.weakened),
        }


def perform(
    sessions: Callable[[str], Connection],
    ddl: Ddl,
    images: Sequence[Image],
    *,
    ledger: MigrationLedger,
    plan: Sequence[Migration],
    id: str,  # noqa: A002 the promotion's own word
    going: Sequence[Added | Rewritten] = (),
    limits: Limits | None = None,
    end_orphan: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    before_ddl: Callable[[Connection], None] = lambda _: None,
    before_commit: Callable[[Connection], None] = lambda _: None,
) -> WentBack:
    """Take ``plan`` back: all of it or nothing.

    ``sessions(verb)`` opens an autocommit session as the role that ran the migrations; three are opened.  ``images``
    are the settled ones of the promotion; ``going`` is what `find_going` says: what was written there is kept aside.
    ``before_ddl`` and ``before_commit`` run inside the transaction, and stop it by raising.

    Locks: the turn between runners, the ledger's table, then ACCESS EXCLUSIVE on the tables that change, until the
    end; rows are put back under them.  A lock timeout or deadlock rolls back and is tried again (``limits``).  When
    others have waited behind it for longer than ``limits.max_block_s`` it gives way, once and for all.
    Raises `RunnerBusy`, `WayBackFailed`, `PutBackFailed`, with nothing changed; and `ConnectionLost`, perhaps between
    the COMMIT and its answer.
    """
    limits = limits or Limits()
    with sessions("rollback") as guard, sessions("rollback") as session:
        prepare(guard, limits)
        executor = Executor(session=session, pid=fetch_value(session, PID), baseline=prepare(session, limits))
        with (
            take_turn(guard, wait_s=limits.wait_s, end_orphan=end_orphan, tell=tell),
            _watched(sessions, guard, executor, ledger, limits, tell) as watchdog,
        ):
            share_work(session)
            for attempt in range(1, limits.attempts + 1):
                began = time.monotonic()
                work = _Going(session, watchdog)
                watchdog.executing(executor)
                try:
                    with session.transaction(), _rolls_back_alone(watchdog):
                        session.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
                        session.execute(SET, (list(SETTINGS), list(SETTINGS.values())))
                        ledger.lock(session)
                        before_ddl(session)
                        kept_aside = keep_aside(session, going, images, id=id)
                        work.run(ddl.statements)
                        work.give_way()
                        back = put_back(session, images) if images else None
                        work.give_way()
                        session.execute("SET CONSTRAINTS ALL IMMEDIATE")
                        weakened = work.run_after_rows(ddl.after_rows)
                        _forget(session, ledger, plan)
                        before_commit(session)
                        watchdog.executing(None)  # a cancelled COMMIT would leave its outcome open
                        work.give_way()
                except RETRIED as error:
                    if attempt == limits.attempts:
                        raise work.failure(error) from error
                    pause_s = limits.backoff(attempt)
                    held = f", held by {watchdog.waited_for}" if watchdog.waited_for else ""
                    tell(f"{_told(error)}{held}; attempt {attempt + 1} of {limits.attempts} in {pause_s:g} s")
                    time.sleep(pause_s)
                except psycopg.Error as error:
                    raise work.failure(error) from error
                else:
                    return WentBack(
                        duration_ms=(time.monotonic() - began) * 1000, attempts=attempt, put_back=back,
                        kept_aside=kept_aside, weakened=weakened,
                    )  # fmt: skip
    raise AssertionError("unreachable")


@contextmanager
def _rolls_back_alone(watchdog: Watchdog) -> Iterator[None]:
    """What failed is rolled back at once: no cancel request may meet the ROLLBACK."""
    try:
        yield
    finally:
        watchdog.executing(None)


@contextmanager
def _watched(
    sessions: Callable[[str], Connection],
    guard: Connection,
    executor: Executor,
    ledger: MigrationLedger,
    limits: Limits,
    tell: Callable[[str], None],
) -> Iterator[Watchdog]:
    """The migration runner's own watchdog; who waits for the ledger's table is meant to."""
    watch = sessions("watch")
    ours = [fetch_value(guard, PID), executor.pid, fetch_value(watch, PID)]
    watchdog = Watchdog(
        watch,
        ours=lambda: ours,
        ledger_relation=fetch_value(watch, OID, (ledger.table,)) or 0,
        max_block_s=limits.max_block_s,
        tell=tell,
    )
    watchdog.start()
    try:
        yield watchdog
    finally:
        watchdog.executing(None)
        watchdog.stop()


def _forget(session: Connection, ledger: MigrationLedger, plan: Sequence[Migration]) -> None:
    for migration in reversed(plan):
        if not ledger.forget(session, migration):
            raise WayBackFailed(
                f"{ledger.table} does not say that {migration.version} is applied, so there is nothing to take back"
            )


class _Going:
    """The statements of one attempt, and the one that is being run."""

    def __init__(self, session: Connection, watchdog: Watchdog) -> None:
        self._session = session
        self._watchdog = watchdog
        self._statement: str | None = None

    def give_way(self) -> None:
        """Between two statements no cancel request reaches us: so it is asked for."""
        if self._watchdog.blocked is not None:
            raise self._blocked()

    def _blocked(self) -> WayBackFailed:
        return WayBackFailed(
            f"given up, because others waited behind it for too long: {self._watchdog.blocked}{self._at}",
            remedy=QUIETER,
        )

    def run(self, statements: Sequence[str]) -> None:
        for statement in statements:
            self.give_way()
            self._statement = statement
            self._session.execute(statement.encode())
        self._statement = None

    def run_after_rows(self, statements: Sequence[str]) -> tuple[str, ...]:
        weakened = []
        for statement in statements:
            self.give_way()
            self._statement = statement
            weaker = weaken(statement)
            if weaker is None:
                self._session.execute(statement.encode())
                continue
            self._session.execute(SAVEPOINT)
            try:
                self._session.execute(statement.encode())
            except BROKEN_BY_ROWS as error:
                self._session.execute(BACK)
                self._session.execute(weaker.encode())
                weakened.append(f"{_told(error)}; it holds for new rows only: {weaker}")
            self._session.execute(RELEASE)
        self._statement = None
        return tuple(weakened)

    @property
    def _at(self) -> str:
        if self._statement is None:
            return ""
        return f" at: {redact(' '.join(self._statement.split()), '')[:SHOWN_SQL]}"

    def failure(self, error: psycopg.Error) -> WayBackFailed | ConnectionLost:
        if is_lost(self._session, error):
            return ConnectionLost(f"the connection was lost: {_told(error)}{self._at}", remedy=LOST)
        if isinstance(error, psycopg.errors.QueryCanceled) and self._watchdog.blocked is not None:
            return self._blocked()
        held = ""
        if isinstance(error, RETRIED) and self._watchdog.waited_for:
            held = f", held by {self._watchdog.waited_for}"
        return WayBackFailed(f"{_told(error)} ({error.sqlstate or 'no SQLSTATE'}){held}{self._at}")


def weaken(statement: str) -> str | None:
    """The same promise for new rows only; None where there is none."""
    if match := _SETS_NOT_NULL.fullmatch(statement.strip()):
        name = sql.Identifier(f"{match['column'].strip(chr(34))[:40]} not null").as_string(None)
        check = f"CHECK ({match['column']} IS NOT NULL) NOT VALID"
        return f"ALTER TABLE {match['table']} ADD CONSTRAINT {name} {check};"
    if _ADDS_CONSTRAINT.search(statement) and not statement.rstrip(";").endswith("NOT VALID"):
        return f"{statement.strip().rstrip(';')} NOT VALID;"
    return None


def _told(error: psycopg.Error) -> str:
    """Without the DETAIL, which quotes rows."""
    return error.diag.message_primary or str(error).strip().splitlines()[0]

"""A segment that runs in one transaction: begun, sent, looked at, recorded, committed; retried, or taken back."""

from collections.abc import Callable
from contextlib import suppress
from itertools import count

import psycopg

from pgrehearse.migrations import failure
from pgrehearse.migrations.execution import (
    REFUSES_TRANSACTION,
    Refused,
    comes_before_any_query,
    describe_own,
    is_lost,
    run_statement,
)
from pgrehearse.migrations.ledger_wall import Executor
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.recording import record_and_commit
from pgrehearse.migrations.runner import Runner
from pgrehearse.migrations.segments import Segment, SegmentKind
from pgrehearse.migrations.statements import Statement, TransactionNeed

SAVEPOINT = "pgrehearse_segment"


class RunsOutside(Exception):
    """The server says that this statement refuses a transaction; the plan is compiled anew."""

    def __init__(self, version: str, index: int) -> None:
        super().__init__(version, index)
        self.key = (version, index)


def run_inside(runner: Runner, segment: Segment) -> int:
    """Returns the number of attempts.  Retried only on lock timeout and deadlock, the segment as a whole.

    Raises `RunsOutside` with nothing done; `MigrationFailed` and its kin with the state that the database is in.
    """
    executor = runner.enter(segment)
    for attempt in count(1):
        try:
            if runner.file_sessions is not None:
                _begin(runner, executor, segment)
            elif attempt == 1:
                _begin_in_wall(runner, executor, segment)
            _work(runner, executor, segment)
            break
        except Refused as refused:
            _recover(runner, executor, segment, refused, attempt)
        except BaseException:
            _roll_back(executor)
            runner.settings.observer.transaction_ended(committed=False)
            raise
        finally:
            runner.watchdog.executing(None)
    runner.keep(executor, segment)
    return attempt


def _begin(runner: Runner, executor: Executor, segment: Segment) -> None:
    runner.watchdog.executing(executor)
    if (written := _own_begin(segment)) is not None:
        _send(runner, executor, segment.parts[0].migration, written, in_transaction=False)
    else:
        executor.session.execute("BEGIN")


def _begin_in_wall(runner: Runner, executor: Executor, segment: Segment) -> None:
    """Our transaction already holds the ledger's table; a savepoint lets a retry keep it."""
    runner.watchdog.executing(executor)
    if (written := _own_begin(segment)) is not None:  # a WARNING, and its isolation level is taken over
        _send(runner, executor, segment.parts[0].migration, written, in_transaction=False)
    runner.furnish(executor)
    if not _sets_transaction(segment):
        executor.session.execute(f"SAVEPOINT {SAVEPOINT}")
    runner.refuse_strangers()


def _work(runner: Runner, executor: Executor, segment: Segment) -> None:
    session = executor.session
    end = segment.statements[-1] if segment.kind is SegmentKind.AS_WRITTEN else None
    begin = _own_begin(segment)
    observer = runner.settings.observer
    begun = False

    def begin_looking() -> None:
        observer.transaction_begun(session, segment)

    for part in segment.parts:
        for statement in part.statements:
            if statement is begin or statement is end:
                continue
            if not begun and not comes_before_any_query(statement):
                _look(runner, executor, part.migration, statement, begin_looking)
                begun = True
            _send(runner, executor, part.migration, statement, in_transaction=True)
    if segment.rolls_back:
        assert end is not None
        _send(runner, executor, segment.parts[-1].migration, end, in_transaction=True)
        observer.transaction_ended(committed=False)
        return
    last = segment.statements[-1] if segment.statements else None
    _look(runner, executor, segment.parts[-1].migration, last, lambda: observer.before_commit(session))
    runner.refuse_strangers()
    record_and_commit(runner, executor, segment, end)
    observer.transaction_ended(committed=True)


def _look(
    runner: Runner, executor: Executor, migration: Migration, statement: Statement | None, look: Callable[[], None]
) -> None:
    """Let the observer use the transaction; what the server refuses it, is refused to the segment."""
    runner.stop_if_blocking(migration, statement)
    try:
        look()
    except psycopg.Error as error:
        if statement is None:
            raise
        lost = is_lost(executor.session, error)
        raise Refused(migration, statement, describe_own(error, statement), lost=lost) from error


def _send(
    runner: Runner, executor: Executor, migration: Migration, statement: Statement, *, in_transaction: bool
) -> None:
    runner.stop_if_blocking(migration, statement)
    if runner.leaves_out(migration, statement):
        return
    run_statement(executor, migration, statement, runner.settings.observer, in_transaction=in_transaction)


def _recover(runner: Runner, executor: Executor, segment: Segment, refused: Refused, attempt: int) -> None:
    """Roll back and return, for another attempt; or raise."""
    limits = runner.settings.limits
    blocked = runner.watchdog.blocked is not None or runner.watchdog.own_wall
    runner.watchdog.executing(None)
    kept = not refused.lost and _undo(runner, executor, segment)
    try:
        if not refused.lost:
            runner.refuse_strangers()  # what we failed on may be the work of one
    except BaseException:
        _roll_back(executor)
        raise
    if refused.statement is not None and not refused.lost and not blocked:
        statement = refused.statement
        key = (refused.migration.version, statement.index)
        if (
            runner.settings.mode in (TransactionMode.AUTO, TransactionMode.STATEMENT)
            and segment.kind is SegmentKind.TRANSACTION
            and refused.error.sqlstate in REFUSES_TRANSACTION
            and statement.kind != "VariableSetStmt"
            and key not in runner.refusing
        ):
            if runner.wall is not None:
                runner.wall.put_back(executor)
            raise RunsOutside(*key)
        if refused.may_be_tried_again and kept and attempt < limits.attempts:
            runner.wait_before_retry(refused, attempt)
            return
    _roll_back(executor)
    half_done = any(file.statements_done for file in runner.files if file.migration is refused.migration)
    raise failure.migration_failed(
        refused,
        state=runner.state(),
        watchdog=runner.watchdog,
        attempts=attempt,
        limits=limits,
        remedy=failure.HALF_DONE if half_done else None,
    ) from refused


def _undo(runner: Runner, executor: Executor, segment: Segment) -> bool:
    """Take back the segment's work but, in the wall, keep the ledger's table; whether that was possible."""
    in_wall = runner.wall is not None and not _sets_transaction(segment)
    try:
        executor.session.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}" if in_wall else "ROLLBACK")
    except psycopg.Error:
        _roll_back(executor)
        return False
    runner.settings.observer.transaction_ended(committed=False)
    return in_wall or runner.wall is None


def _roll_back(executor: Executor) -> None:
    """End the session, and with it its transaction."""
    with suppress(psycopg.Error):
        executor.session.execute("ROLLBACK")
    with suppress(psycopg.Error):
        executor.session.close()


def _own_begin(segment: Segment) -> Statement | None:
    """The file's own BEGIN, if the segment starts with one."""
    statements = segment.statements
    return statements[0] if statements and statements[0].need is TransactionNeed.BEGINS else None


def _sets_transaction(segment: Segment) -> bool:
    """SET TRANSACTION is refused inside a savepoint."""
    return any(
        statement.kind == "VariableSetStmt" and statement.text.upper().split()[:2] == ["SET", "TRANSACTION"]
        for statement in segment.statements
    )

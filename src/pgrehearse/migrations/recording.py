"""A segment's end: its rows, its COMMIT, and what became of a COMMIT whose answer was lost."""

import time
from collections.abc import Sequence

import psycopg
from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from pgrehearse.errors import (
    CommitOutcomeUnknown,
    ConcurrentRunner,
    ConnectionLost,
    MigrationFailed,
    ServerUnreachable,
)
from pgrehearse.migrations import failure
from pgrehearse.migrations.execution import Refused, describe, is_lost, run_statement
from pgrehearse.migrations.ledger_wall import Executor
from pgrehearse.migrations.observer import StatementError
from pgrehearse.migrations.runner import Runner
from pgrehearse.migrations.segments import Part, Segment, SegmentKind
from pgrehearse.migrations.session_state import become_recorder, leaves_session_clean
from pgrehearse.migrations.statements import Statement

_BACKEND_LIVES = "SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = %s"


def record(runner: Runner, executor: Executor, parts: Sequence[Part]) -> None:
    """Progress and ledger rows, in the session's open transaction, as the role that opened the session."""
    carried = runner.carried_state is not None or bool(runner.replay)
    if carried or not all(leaves_session_clean(part.file.statements) for part in parts):
        become_recorder(executor.session, executor.baseline)
    try:
        for part in parts:
            if not part.completes:
                runner.progress.write_done(executor.session, part.migration, part.statements_done)
                continue
            if not runner.settings.ledger.record(executor.session, part.migration):
                raise _swallowed(runner, parts)
            if runner.has_progress:
                runner.progress.forget(executor.session, part.migration)
    except psycopg.Error as error:
        if is_lost(executor.session, error):
            raise  # nothing stood in the way of the row, and nothing of the transaction is left
        raise _not_recorded(runner, parts, error) from error


def record_and_commit(runner: Runner, executor: Executor, segment: Segment, written: Statement | None) -> None:
    """The segment's end in one message where it can be: whole files, our own ledger, and a COMMIT of ours.

    The server runs the COMMIT only if the rows before it went in, and which of the two it refused is seen by the
    transaction's state: still there, failed, or gone.
    """
    if written is not None or runner.wall is not None or runner.has_progress or not _ends_whole_files(segment):
        record(runner, executor, segment.parts)
        commit(runner, executor, segment, written)
        return
    runner.stop_if_blocking(segment.parts[-1].migration, None)
    if not all(leaves_session_clean(part.file.statements) for part in segment.parts):
        become_recorder(executor.session, executor.baseline)
    rows = [_insisted(runner.settings.ledger.recording(part.migration)) for part in segment.parts]
    try:
        executor.session.execute(" ".join([*rows, "COMMIT"]).encode())
    except psycopg.Error as error:
        if executor.session.info.transaction_status == TransactionStatus.INERROR:
            raise _not_recorded(runner, segment.parts, error) from error
        if not (executor.session.broken or executor.session.closed):
            last = segment.statements[-1] if segment.statements else None
            raise Refused(segment.parts[-1].migration, None, _commit_error(error, last), lost=False) from error
        _look_up(runner, executor, segment)


def _insisted(insertion: str) -> str:
    """The INSERT, refused where a trigger swallowed its row: the COMMIT behind it is not reached then."""
    row = sql.SQL(insertion.rstrip(";"))  # made of quoted names and literals by the ledger
    counted = sql.SQL("WITH r AS ({} RETURNING 1) SELECT 1 OPERATOR(pg_catalog./) pg_catalog.count(*) FROM r;")
    return counted.format(row).as_string(None)


def _ends_whole_files(segment: Segment) -> bool:
    return segment.kind is SegmentKind.TRANSACTION and all(part.completes for part in segment.parts)


def commit(runner: Runner, executor: Executor, segment: Segment, written: Statement | None = None) -> None:
    """COMMIT, ours or the file's own; a lost answer is looked up before anything is said."""
    migration = segment.parts[-1].migration
    runner.stop_if_blocking(migration, written)
    if runner.wall is not None and runner.remaining > 1:
        runner.intruder = runner.wall.find_intruder()
    try:
        if written is not None:
            run_statement(executor, migration, written, runner.settings.observer, in_transaction=True)
        else:
            executor.session.execute("COMMIT")
    except Refused as refused:
        if not refused.lost:
            raise
    except psycopg.Error as error:
        if not (executor.session.broken or executor.session.closed):
            last = segment.statements[-1] if segment.statements else None
            raise Refused(migration, None, _commit_error(error, last), lost=False) from error
    if executor.session.broken or executor.session.closed:
        _look_up(runner, executor, segment)


def _look_up(runner: Runner, executor: Executor, segment: Segment) -> None:
    """The connection broke between COMMIT and its answer: the ledger says what happened."""
    part = segment.parts[-1]
    try:
        happened = _happened(runner, executor, part)
    except (psycopg.Error, ServerUnreachable, ConcurrentRunner):
        raise CommitOutcomeUnknown(
            f"the connection was lost during the COMMIT of {part.migration.version}, "
            "and the server could not be asked what became of it"
        ) from None
    if happened:
        runner.settings.observer.transaction_ended(committed=True)
        runner.advance(segment)
        raise ConnectionLost(
            f"the connection was lost, but the COMMIT of {part.migration.version} had happened; {runner.state()}",
            remedy="Run again: it goes on with what is left, if anything.",
        )
    raise ConnectionLost(
        f"the connection was lost during the COMMIT of {part.migration.version}, "
        f"which was rolled back; {runner.state()}",
        remedy="Run again.",
    )


def _happened(runner: Runner, executor: Executor, part: Part) -> bool:
    if runner.wall is not None:  # whoever gets the table now comes after that transaction's end
        runner.wall.queue(1)
        session = runner.wall.enter().session
    else:
        session = runner.settings.sessions("migrate")
    with session:
        deadline = time.monotonic() + 30
        while runner.wall is None and session.execute(_BACKEND_LIVES, (executor.pid,)).fetchone():
            if time.monotonic() > deadline:
                raise ConcurrentRunner(f"pid {executor.pid} is still there")
            time.sleep(0.05)
        if part.completes:
            return runner.settings.ledger.is_applied(part.migration, runner.settings.ledger.read(session))
        row = runner.progress.read(session).get(part.migration.version)
        return row is not None and row.statements_done >= part.statements_done


def _not_recorded(runner: Runner, parts: Sequence[Part], error: psycopg.Error) -> MigrationFailed:
    if error.sqlstate == errors.DivisionByZero.sqlstate:
        return _swallowed(runner, parts)
    table = runner.settings.ledger.table
    if error.sqlstate == errors.InsufficientPrivilege.sqlstate:
        remedy = f"The role that migrates needs INSERT on {table}."
    elif error.sqlstate == errors.ReadOnlySqlTransaction.sqlstate:
        remedy = "Take the SET … READ ONLY out of the migration, or end it there."
    elif error.sqlstate in {errors.UndefinedTable.sqlstate, errors.InvalidSchemaName.sqlstate}:
        remedy = f"The migration took {table} away: what is applied is recorded there.  Leave it alone."
    else:
        remedy = f"A migration's end is a row in {table}: see what stands in its way, then run again."
    return _unrecorded(runner, parts, str(error).strip(), remedy, error.sqlstate)


def _swallowed(runner: Runner, parts: Sequence[Part]) -> MigrationFailed:
    return _unrecorded(
        runner,
        parts,
        f"a trigger or a rule on {runner.settings.ledger.table} swallowed the row",
        "Take it away: what is not recorded would be applied again.",
    )


def _unrecorded(
    runner: Runner, parts: Sequence[Part], why: str, remedy: str, sqlstate: str | None = None
) -> MigrationFailed:
    return MigrationFailed(
        f"{parts[-1].migration.version} could not be recorded: {why}\n"
        f"  {failure.state_sentence(runner.applied, runner.files)}",
        sqlstate=sqlstate,
        remedy=remedy,
    )


def _commit_error(error: psycopg.Error, last: Statement | None) -> StatementError:
    if last is not None:
        told = describe(error, last)
        return StatementError(
            sqlstate=told.sqlstate, message=f"at COMMIT: {told.message}", detail=told.detail, hint=told.hint,
            line=told.line, column=told.column,
        )  # fmt: skip
    return StatementError(
        sqlstate=error.sqlstate or "08006", message=f"at COMMIT: {error}", detail=None, hint=None, line=1, column=1
    )

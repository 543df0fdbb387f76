"""Runs segments: opens them, sends their statements, records them, commits; retries, or says what state is left."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from itertools import count
from typing import Self

import psycopg

from pgrehearse.errors import ConcurrentRunner
from pgrehearse.migrations import failure
from pgrehearse.migrations.applied import LeftOut, SegmentRun
from pgrehearse.migrations.execution import (
    REFUSES_TRANSACTION,
    Refused,
    comes_before_any_query,
    describe_own,
    is_lost,
    run_statement,
)
from pgrehearse.migrations.file_sessions import FileSessions
from pgrehearse.migrations.foreign_runner import PendingTexts, Stranger, find_recording
from pgrehearse.migrations.ledger_wall import Executor, LedgerWall
from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.observer import Observer, StatementError
from pgrehearse.migrations.outside import run_outside
from pgrehearse.migrations.progress import ProgressTable
from pgrehearse.migrations.reach import reaches_outward
from pgrehearse.migrations.recording import record_and_commit
from pgrehearse.migrations.runner_lock import Turn, share_work
from pgrehearse.migrations.segments import (
    PendingFile,
    Segment,
    SegmentKind,
    compile_segments,
    needs_progress,
)
from pgrehearse.migrations.session_state import (
    SessionState,
    carry_over,
    leaves_session_clean,
    prepare,
    read_state,
    session_settings,
)
from pgrehearse.migrations.statements import DRIZZLE_KINDS, Statement, TransactionNeed
from pgrehearse.migrations.watchdog import Watchdog
from pgrehearse.postgres.connect import Connection, fetch_value

SAVEPOINT = "pgrehearse_segment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run: what `apply` was asked for."""

    sessions: Callable[[str], Connection]
    ledger: MigrationLedger
    mode: TransactionMode
    limits: Limits
    observer: Observer
    beyond_allowed: bool
    keeps_inside: bool
    why_left_out: Callable[[Statement], str | None]
    end_orphan: bool
    tell: Callable[[str], None]


class _RunsOutside(Exception):
    """The server says that this statement refuses a transaction; the plan is compiled anew."""

    def __init__(self, version: str, index: int) -> None:
        super().__init__(version, index)
        self.key = (version, index)


class Runner:
    """One run, from the first session to the last.  Context manager: leaving it ends every session.

    ``guard`` holds the turn between runners and is used for looking and for small commits of our own.
    """

    def __init__(self, settings: Settings, *, guard: Connection, files: Sequence[PendingFile]) -> None:
        self.settings = settings
        self.guard = guard
        self.applied: list[str] = []
        self.segments: list[SegmentRun] = []
        self.left_out: list[LeftOut] = []
        kind = files[0].migration.kind
        self.progress = ProgressTable(ledger=f"{kind.value}:{settings.ledger.table}")
        self.has_progress = self.progress.exists(guard)
        self.shared = kind in DRIZZLE_KINDS  # a ledger that another tool reads
        self._turn = Turn(guard)
        self._ours: set[int] = {_backend_pid(guard)}
        self._texts = PendingTexts(files)
        self.files: list[PendingFile] = list(files)
        self._opened: list[Connection] = []
        self._stack = ExitStack()
        self._refusing: frozenset[tuple[str, int]] = frozenset()
        self._last: Executor | None = None  # drizzle: the session of the last committed segment
        self.carried_state: SessionState | None = None  # drizzle: what the files so far have SET
        self.replay: tuple[Statement, ...] = ()
        self.remaining = 0  # segments, this one included
        self.intruder: Stranger | None = None

    def __enter__(self) -> Self:
        settings = self.settings
        with self._stack:
            self.wall: LedgerWall | None = None
            self.file_sessions: FileSessions | None = None
            if self.shared:
                self.wall = self._stack.enter_context(
                    LedgerWall(
                        settings.ledger, watch=self.guard, open_executor=self.open_executor, ours=self._ours,
                        wait_s=settings.limits.wait_s, tell=settings.tell,
                    )
                )  # fmt: skip
            else:
                self.file_sessions = self._stack.enter_context(FileSessions(self.open_executor))
            watch = settings.sessions("watch")
            self._ours.add(_backend_pid(watch))
            self.watchdog = Watchdog(
                watch,
                ours=lambda: list(self._ours.copy()),
                ledger_relation=self.wall.relation if self.wall else 0,
                max_block_s=settings.limits.max_block_s,
                tell=settings.tell,
            )
            self.watchdog.start()
            self._stack.callback(self.watchdog.stop)
            self._stack.callback(self._close_all)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- sessions ------------------------------------------------------------------------------------------

    def open_executor(self) -> Executor:
        """A session that executes: it shares the work lock, so a rerun waits for it if we are killed."""
        session = self.settings.sessions("migrate")
        try:
            baseline = prepare(session, self.settings.limits)
            share_work(session)
        except BaseException:
            session.close()
            raise
        self._opened.append(session)
        pid = _backend_pid(session)
        self._ours.add(pid)
        return Executor(session=session, pid=pid, baseline=baseline)

    def outside_executor(self, file: PendingFile) -> Executor:
        """An idle session in which this file's next statement finds what its earlier ones SET."""
        if self.file_sessions is not None:
            return self.file_sessions.enter(file)
        if self._last is None or self._last.session.closed:
            self._last = self.open_executor()
            self._furnish(self._last)
        return self._last

    def enter_wall_again(self) -> Executor:
        """After the wall had to be left; raises `ConcurrentRunner` if another tool recorded our files meanwhile."""
        assert self.wall is not None
        self.wall.queue(self.remaining)
        executor = self.wall.enter()
        rows = self.settings.ledger.read(executor.session)
        for file in self.files:
            if any(self.settings.ledger.names(row, file.migration) for row in rows):
                raise ConcurrentRunner(
                    f"another tool recorded {file.migration.version} while a statement on the whole database "
                    f"had to let go of {self.settings.ledger.table}; {self.state()}"
                )
        return executor

    def _furnish(self, executor: Executor) -> None:
        for statement in self.replay:
            executor.session.execute(statement.text.encode())
        if self.carried_state is not None:
            carry_over(executor.session, baseline=executor.baseline, state=self.carried_state)

    def _close_all(self) -> None:
        for session in self._opened:
            with suppress(psycopg.Error):
                session.close()

    def _close_last(self) -> None:
        last, self._last = self._last, None
        if last is not None:
            with suppress(psycopg.Error):
                last.session.close()

    # --- the plan --------------------------------------------------------------------------------------------

    def run(self, files: Sequence[PendingFile]) -> None:
        """Segment after segment, until every file is recorded."""
        self.files = list(files)
        if self.shared and files:
            self.replay = session_settings(files[0].statements[: files[0].statements_done])
        while self.files:
            segments = compile_segments(self.files, self.settings.mode, refusing=self._refusing)
            if needs_progress(segments):
                self.progress.create(self.guard)
                self.has_progress = True
            if self.wall is not None:
                self.wall.queue(len(segments))
            try:
                for position, segment in enumerate(segments):
                    self._run_segment(segment, remaining=len(segments) - position)
            except _RunsOutside as found:
                self._refusing |= {found.key}

    def state(self) -> str:
        """The state that the database is in, for a person."""
        return failure.state_sentence(self.applied, self.files)

    def _run_segment(self, segment: Segment, *, remaining: int) -> None:
        began = time.perf_counter()
        self.remaining = remaining
        if self.wall is not None:
            self.wall.queue(remaining)
        attempts = run_outside(self, segment) if segment.kind is SegmentKind.OUTSIDE else self._run_transaction(segment)
        self.segments.append(
            SegmentRun(
                kind=segment.kind.value,
                versions=tuple(dict.fromkeys(part.migration.version for part in segment.parts)),
                statements=len(segment.statements),
                attempts=attempts,
                duration_ms=(time.perf_counter() - began) * 1000,
            )
        )
        if not segment.rolls_back:
            self.advance(segment)
        if self.intruder is not None:
            raise ConcurrentRunner(f"{self.intruder}, ahead of our next step; {self.state()}")

    def advance(self, segment: Segment) -> None:
        done = {part.migration.version: part.statements_done for part in segment.parts}
        completed = {part.migration.version: None for part in segment.parts if part.completes}
        self.applied += completed
        # A segment's files are the first that are left.
        ahead, behind = self.files[: len(done)], self.files[len(done) :]
        self.files = [
            replace(file, statements_done=done[file.migration.version])
            for file in ahead
            if file.migration.version not in completed
        ] + behind

    # --- one transaction ---------------------------------------------------------------------------------------

    def _run_transaction(self, segment: Segment) -> int:
        """Returns the number of attempts.  Retried only on lock timeout and deadlock, the segment as a whole."""
        executor = self._enter(segment)
        for attempt in count(1):
            try:
                if self.file_sessions is not None:
                    self._begin(executor, segment)
                elif attempt == 1:
                    self._begin_in_wall(executor, segment)
                self._work(executor, segment)
                break
            except Refused as refused:
                self._recover(executor, segment, refused, attempt)
            except BaseException:
                self._roll_back(executor)
                self.settings.observer.transaction_ended(committed=False)
                raise
            finally:
                self.watchdog.executing(None)
        self._keep(executor, segment)
        return attempt

    def _enter(self, segment: Segment) -> Executor:
        if self.wall is not None:
            return self.wall.enter()
        assert self.file_sessions is not None
        return self.file_sessions.enter(segment.parts[0].file)

    def _begin(self, executor: Executor, segment: Segment) -> None:
        self.watchdog.executing(executor)
        if (written := _own_begin(segment)) is not None:
            self._send(executor, segment.parts[0].migration, written, in_transaction=False)
        else:
            executor.session.execute("BEGIN")

    def _begin_in_wall(self, executor: Executor, segment: Segment) -> None:
        """Our transaction already holds the ledger's table; a savepoint lets a retry keep it."""
        self.watchdog.executing(executor)
        if (written := _own_begin(segment)) is not None:  # a WARNING, and its isolation level is taken over
            self._send(executor, segment.parts[0].migration, written, in_transaction=False)
        self._furnish(executor)
        if not _sets_transaction(segment):
            executor.session.execute(f"SAVEPOINT {SAVEPOINT}")
        self._refuse_strangers()

    def _work(self, executor: Executor, segment: Segment) -> None:
        session = executor.session
        end = segment.statements[-1] if segment.kind is SegmentKind.AS_WRITTEN else None
        begin = _own_begin(segment)
        observer = self.settings.observer
        begun = False

        def begin_looking() -> None:
            observer.transaction_begun(session, segment)

        for part in segment.parts:
            for statement in part.statements:
                if statement is begin or statement is end:
                    continue
                if not begun and not comes_before_any_query(statement):
                    self._look(executor, part.migration, statement, begin_looking)
                    begun = True
                self._send(executor, part.migration, statement, in_transaction=True)
        if segment.rolls_back:
            assert end is not None
            self._send(executor, segment.parts[-1].migration, end, in_transaction=True)
            observer.transaction_ended(committed=False)
            return
        last = segment.statements[-1] if segment.statements else None
        self._look(executor, segment.parts[-1].migration, last, lambda: observer.before_commit(session))
        self._refuse_strangers()
        record_and_commit(self, executor, segment, end)
        observer.transaction_ended(committed=True)

    def _look(
        self, executor: Executor, migration: Migration, statement: Statement | None, look: Callable[[], None]
    ) -> None:
        """Let the observer use the transaction; what the server refuses it, is refused to the segment."""
        self.stop_if_blocking(migration, statement)
        try:
            look()
        except psycopg.Error as failure:
            if statement is None:
                raise
            lost = is_lost(executor.session, failure)
            raise Refused(migration, statement, describe_own(failure, statement), lost=lost) from failure

    def _send(self, executor: Executor, migration: Migration, statement: Statement, *, in_transaction: bool) -> None:
        self.stop_if_blocking(migration, statement)
        if self.leaves_out(migration, statement):
            return
        run_statement(executor, migration, statement, self.settings.observer, in_transaction=in_transaction)

    def leaves_out(self, migration: Migration, statement: Statement) -> bool:
        """Whether this statement is not run here, because it reaches beyond its database or may do so unseen."""
        may_run = self.settings.beyond_allowed and not (self.settings.keeps_inside and _leads_outward(statement))
        reason = None if may_run else statement.beyond
        reason = reason or self.settings.why_left_out(statement)
        if reason is None:
            return False
        self.settings.observer.not_run(migration, statement, reason)
        self.left_out.append(LeftOut(version=migration.version, line=statement.line, reason=reason))
        return True

    # --- when it does not work ---------------------------------------------------------------------------------

    def _recover(self, executor: Executor, segment: Segment, refused: Refused, attempt: int) -> None:
        """Roll back and return, for another attempt; or raise."""
        limits = self.settings.limits
        blocked = self.watchdog.blocked is not None or self.watchdog.own_wall
        self.watchdog.executing(None)
        kept = not refused.lost and self._undo(executor, segment)
        try:
            if not refused.lost:
                self._refuse_strangers()  # what we failed on may be the work of one
        except BaseException:
            self._roll_back(executor)
            raise
        if refused.statement is not None and not refused.lost and not blocked:
            statement = refused.statement
            key = (refused.migration.version, statement.index)
            if (
                self.settings.mode in (TransactionMode.AUTO, TransactionMode.STATEMENT)
                and segment.kind is SegmentKind.TRANSACTION
                and refused.error.sqlstate in REFUSES_TRANSACTION
                and statement.kind != "VariableSetStmt"
                and key not in self._refusing
            ):
                if self.wall is not None:
                    self.wall.put_back(executor)
                raise _RunsOutside(*key)
            if refused.may_be_tried_again and kept and attempt < limits.attempts:
                self.wait_before_retry(refused, attempt)
                return
        self._roll_back(executor)
        half_done = any(file.statements_done for file in self.files if file.migration is refused.migration)
        raise failure.migration_failed(
            refused,
            state=self.state(),
            watchdog=self.watchdog,
            attempts=attempt,
            limits=limits,
            remedy=failure.HALF_DONE if half_done else None,
        ) from refused

    def wait_before_retry(self, refused: Refused, attempt: int) -> None:
        """Say why, and let the others finish."""
        pause_s = self.settings.limits.backoff(attempt)
        waited_for = f", held by {self.watchdog.waited_for}" if self.watchdog.waited_for else ""
        self.settings.tell(
            f"{refused.migration.path}:{refused.error.line}: {refused.error.message}{waited_for}; "
            f"attempt {attempt + 1} of {self.settings.limits.attempts} in {pause_s:g} s"
        )
        time.sleep(pause_s)

    def _undo(self, executor: Executor, segment: Segment) -> bool:
        """Take back the segment's work but, in the wall, keep the ledger's table; whether that was possible."""
        in_wall = self.wall is not None and not _sets_transaction(segment)
        try:
            executor.session.execute(f"ROLLBACK TO SAVEPOINT {SAVEPOINT}" if in_wall else "ROLLBACK")
        except psycopg.Error:
            self._roll_back(executor)
            return False
        self.settings.observer.transaction_ended(committed=False)
        return in_wall or self.wall is None

    def _roll_back(self, executor: Executor) -> None:
        """End the session, and with it its transaction."""
        with suppress(psycopg.Error):
            executor.session.execute("ROLLBACK")
        with suppress(psycopg.Error):
            executor.session.close()

    def _keep(self, executor: Executor, segment: Segment) -> None:
        """drizzle: remember what the segment SET, since its own tool runs all files in one session."""
        if self.wall is None:
            return
        if segment.rolls_back:  # it no longer holds the table, and what it SET is gone
            executor.session.close()
            return
        if self.replay or not leaves_session_clean(segment.statements):
            self.carried_state = read_state(executor.session, segment.statements)
        self.replay = ()
        self._close_last()
        self._last = executor

    def stop_if_blocking(self, migration: Migration, statement: Statement | None) -> None:
        """Before each statement: others may have waited too long while none of ours was running."""
        if self.watchdog.blocked is None and not self.watchdog.own_wall:
            return
        line, column = (statement.line, statement.column) if statement else (1, 1)
        error = StatementError(sqlstate="57014", message="cancelled", detail=None, hint=None, line=line, column=column)
        raise Refused(migration, statement, error, lost=False)

    def _refuse_strangers(self) -> None:
        """Another tool that had read the ledger before we locked it (decision 0001, the third wall)."""
        if self.wall is None:
            self._turn.require()
            return
        ours = list(self._ours)
        stranger = find_recording(self.guard, self.wall.relation, ours) or self._texts.find_runner(self.guard, ours)
        if stranger is not None:
            raise ConcurrentRunner(f"{stranger}; our own work was rolled back; {self.state()}")


def _backend_pid(session: Connection) -> int:
    """The server's own word: behind a pooler that keeps sessions, libpq knows another number."""
    return int(fetch_value(session, "SELECT pg_catalog.pg_backend_pid()"))


def _leads_outward(statement: Statement) -> bool:
    return statement.beyond is not None and reaches_outward(statement.kind, statement.text)


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

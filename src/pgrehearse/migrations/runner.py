"""One run of a plan: its sessions, how far it has come, and what must stop it."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Self

import psycopg

from pgrehearse.errors import ConcurrentRunner
from pgrehearse.migrations import failure
from pgrehearse.migrations.applied import LeftOut, SegmentRun
from pgrehearse.migrations.execution import Refused
from pgrehearse.migrations.file_sessions import FileSessions
from pgrehearse.migrations.foreign_runner import PendingTexts, Stranger, find_recording
from pgrehearse.migrations.ledger_wall import Executor, LedgerWall
from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.observer import Observer, StatementError
from pgrehearse.migrations.progress import ProgressTable
from pgrehearse.migrations.reach import reaches_outward
from pgrehearse.migrations.runner_lock import Turn, share_work
from pgrehearse.migrations.segments import PendingFile, Segment
from pgrehearse.migrations.session_state import SessionState, carry_over, leaves_session_clean, prepare, read_state
from pgrehearse.migrations.statements import DRIZZLE_KINDS, Statement
from pgrehearse.migrations.watchdog import Watchdog
from pgrehearse.postgres.connect import Connection, fetch_value


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


class Runner:
    """One run, from the first session to the last.  Context manager: leaving it ends every session.

    Segments are executed by `inside` and `outside`, and end in `recording`; they ask and tell it how far the run is.
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
        self._last: Executor | None = None  # drizzle: the session of the last committed segment
        self.carried_state: SessionState | None = None  # drizzle: what the files so far have SET
        self.replay: tuple[Statement, ...] = ()
        self.refusing: frozenset[tuple[str, int]] = frozenset()  # version and statement: they refuse a transaction
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

    def enter(self, segment: Segment) -> Executor:
        """The session that runs this transaction; the next in the wall, where there is one."""
        if self.wall is not None:
            return self.wall.enter()
        assert self.file_sessions is not None
        return self.file_sessions.enter(segment.parts[0].file)

    def outside_executor(self, file: PendingFile) -> Executor:
        """An idle session in which this file's next statement finds what its earlier ones SET."""
        if self.file_sessions is not None:
            return self.file_sessions.enter(file)
        if self._last is None or self._last.session.closed:
            self._last = self.open_executor()
            self.furnish(self._last)
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

    def furnish(self, executor: Executor) -> None:
        """Make a session what the files so far would have made of their own."""
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

    # --- how far it has come --------------------------------------------------------------------------------

    def state(self) -> str:
        """The state that the database is in, for a person."""
        return failure.state_sentence(self.applied, self.files)

    def advance(self, segment: Segment) -> None:
        """This segment is committed."""
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

    def keep(self, executor: Executor, segment: Segment) -> None:
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

    # --- what it may do -------------------------------------------------------------------------------------

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

    def wait_before_retry(self, refused: Refused, attempt: int) -> None:
        """Say why, and let the others finish."""
        pause_s = self.settings.limits.backoff(attempt)
        waited_for = f", held by {self.watchdog.waited_for}" if self.watchdog.waited_for else ""
        self.settings.tell(
            f"{refused.migration.path}:{refused.error.line}: {refused.error.message}{waited_for}; "
            f"attempt {attempt + 1} of {self.settings.limits.attempts} in {pause_s:g} s"
        )
        time.sleep(pause_s)

    def stop_if_blocking(self, migration: Migration, statement: Statement | None) -> None:
        """Before each statement: others may have waited too long while none of ours was running."""
        if self.watchdog.blocked is None and not self.watchdog.own_wall:
            return
        line, column = (statement.line, statement.column) if statement else (1, 1)
        error = StatementError(sqlstate="57014", message="cancelled", detail=None, hint=None, line=line, column=column)
        raise Refused(migration, statement, error, lost=False)

    def refuse_strangers(self) -> None:
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

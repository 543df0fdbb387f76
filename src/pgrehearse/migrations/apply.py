"""The one way that migrations run, on a clone and on production; only the observer differs.

The story: take the turn between runners, take the wall at the ledger's table, read what is applied by
now, settle what a killed run left half-done, then run segment after segment, each with its progress
and its ledger rows in its own transaction (docs/decisions/0001).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import psycopg

from pgrehearse.errors import ConnectionLost, Interrupted, MigrationFailed
from pgrehearse.migrations.applied import Applied
from pgrehearse.migrations.execution import is_lost, says_goodbye
from pgrehearse.migrations.failure import when_last_heard_of
from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.observer import NoObserver, Observer
from pgrehearse.migrations.run_segments import run_segments
from pgrehearse.migrations.runner import Runner, Settings
from pgrehearse.migrations.runner_lock import take_turn
from pgrehearse.migrations.segments import PendingFile, compile_segments
from pgrehearse.migrations.session_state import prepare
from pgrehearse.migrations.standing import Resolution, find_pending, require_recorded
from pgrehearse.migrations.statements import Statement, split_file
from pgrehearse.postgres.connect import Connection


def apply(
    sessions: Callable[[str], Connection],
    plan: Plan,
    *,
    ledger: MigrationLedger,
    mode: TransactionMode = TransactionMode.AUTO,
    limits: Limits | None = None,
    observer: Observer | None = None,
    beyond_allowed: bool = True,
    keeps_inside: bool = False,
    why_left_out: Callable[[Statement], str | None] = lambda _: None,
    end_orphan: bool = False,
    resolve: Mapping[str, Resolution] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Applied:
    """Run everything of the plan that its ledger does not know yet; each migration's effects happen once.

    ``sessions(verb)`` opens an autocommit session as the role that runs migrations.  ``tell`` gets
    lines for a person while we wait.  ``resolve`` answers, per version, for statements whose state the
    catalog cannot tell.  ``beyond_allowed=False`` leaves out statements that reach beyond their
    database and reports them to the observer, ``keeps_inside`` those that lead to another server, wherever they
    are run; so does a reason from ``why_left_out``, which is asked right
    before each statement.  Opens 3 sessions, for drizzle's ledger one more for
    each segment (at most 16).

    Whatever the observer raises ends the run, with nothing more done and an open transaction rolled back.
    Raises `UnreadableSql` before anything is touched; `RunnerBusy`, `ConcurrentRunner`, `LedgerChanged`,
    `EditedMidway`, `StateUnknown` with nothing more done; `MigrationFailed` (or `BlockedOthers`,
    `LockNotAcquired`, `ConnectionLost`, `CommitOutcomeUnknown`) and `Interrupted` with the state the database is then
    in.
    """
    settings = Settings(
        sessions=sessions,
        ledger=ledger,
        mode=mode,
        limits=limits or Limits(),
        observer=observer or NoObserver(),
        beyond_allowed=beyond_allowed,
        keeps_inside=keeps_inside,
        why_left_out=why_left_out,
        end_orphan=end_orphan,
        tell=tell,
    )
    files = [
        PendingFile(
            migration=migration, statements=split_file(migration.content, path=migration.path, kind=migration.kind)
        )
        for migration in plan.migrations
    ]
    compile_segments(files, mode)
    if not files:
        return Applied(applied=(), already_applied=(), resumed=(), segments=(), left_out=(), waited_ms=0.0)
    try:
        return _apply(settings, files, resolve or {})
    except psycopg.Error as error:  # before the first file, or after the last one
        if not says_goodbye(error):
            raise
        state = when_last_heard_of("nothing of the plan was under way")
        raise ConnectionLost(f"{str(error).strip()}\n  {state}", sqlstate=error.sqlstate, state=state) from error


def _apply(settings: Settings, files: Sequence[PendingFile], resolve: Mapping[str, Resolution]) -> Applied:
    with ExitStack() as stack:
        guard = stack.enter_context(settings.sessions("migrate"))
        prepare(guard, settings.limits)
        waited_ms = stack.enter_context(
            take_turn(guard, wait_s=settings.limits.wait_s, end_orphan=settings.end_orphan, tell=settings.tell)
        )
        _create_ledger(settings.ledger, guard)
        runner = Runner(settings, guard=guard, files=files)
        try:
            with runner:
                pending = find_pending(runner, files, resolve)
                settings.observer.under_lock(guard, pending.files)
                run_segments(runner, pending.files)
            require_recorded(runner, guard, pending.files, pending.recorded)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; {runner.state()}") from None
        except psycopg.Error as error:  # at a statement of our own: what is not committed is gone
            if is_lost(guard, error):
                state = when_last_heard_of(runner.state())
                raise ConnectionLost(
                    f"{str(error).strip()}\n  {state}", sqlstate=error.sqlstate, state=state
                ) from error
            raise MigrationFailed(
                f"{str(error).strip()}\n  {runner.state()}", sqlstate=error.sqlstate, state=runner.state()
            ) from error
    return Applied(
        applied=tuple(runner.applied),
        already_applied=pending.already_applied,
        resumed=pending.resumed,
        segments=tuple(runner.segments),
        left_out=tuple(runner.left_out),
        waited_ms=waited_ms,
    )


def _create_ledger(ledger: MigrationLedger, guard: Connection) -> None:
    try:
        ledger.create(guard)
    except psycopg.errors.ReadOnlySqlTransaction as error:
        raise MigrationFailed(
            f"{guard.info.user} may only read here: {str(error).strip()}; nothing was applied",
            sqlstate=error.sqlstate,
            remedy="Migrate on the primary, as a role and in a database without default_transaction_read_only.",
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise MigrationFailed(
            f"the role {guard.info.user} may not make {ledger.table}: {str(error).strip()}; nothing was applied",
            sqlstate=error.sqlstate,
            remedy=f'GRANT CREATE ON DATABASE "{guard.info.dbname}" to that role, or let an administrator run '
            "the first migration.",
        ) from error
    except psycopg.OperationalError:
        raise  # the line was cut, or a lock was not to be had: the caller tells that
    except psycopg.Error as error:  # an event trigger of the team's, most likely
        context = (error.diag.context or "").partition("\n")[0]
        raise MigrationFailed(
            f"the server refuses to make {ledger.table}: {str(error.diag.message_primary or error).strip()}"
            f"{f' ({context})' if context else ''}; nothing was applied",
            sqlstate=error.sqlstate,
            remedy=f"Let what refuses it (an event trigger: \\dy in psql) allow {ledger.table}, or let an "
            "administrator make it.",
        ) from error

"""A statement that refuses a transaction: its start is committed before it runs, its end afterwards."""

from itertools import count

from pgrehearse.errors import Interrupted, StateUnknown
from pgrehearse.migrations import failure
from pgrehearse.migrations.execution import Refused, run_statement
from pgrehearse.migrations.ledger_wall import Executor
from pgrehearse.migrations.recording import commit, record
from pgrehearse.migrations.resume import CONCURRENT_KINDS, Outcome, find_kept_invalid, read_facts, settle
from pgrehearse.migrations.runner import Runner
from pgrehearse.migrations.segments import Part, Segment
from pgrehearse.migrations.statements import Statement

# After an error these leave nothing behind; a DO or CALL that commits, or CONCURRENTLY, may.
_MAY_COMMIT = frozenset({"DoStmt", "CallStmt"})
_LEAVES_PARTS = CONCURRENT_KINDS | _MAY_COMMIT
_LOCK_TIMEOUT = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'lock_timeout'"
_SET_LOCK_TIMEOUT = "SELECT pg_catalog.set_config('lock_timeout', %s, false)"


def run_outside(runner: Runner, segment: Segment) -> int:
    """Returns the number of attempts.

    With drizzle's ledger a second session of ours holds its table meanwhile and records the end; the
    executing one cannot, since its statement would refuse the transaction that the lock needs.
    """
    (part,) = segment.parts
    (statement,) = part.statements
    holder = runner.wall.enter() if runner.wall is not None else None
    attempts = 1
    try:
        if not runner.leaves_out(part.migration, statement):
            if holder is not None and statement.whole_database:
                _leave_wall(runner, holder)
                holder = None
            attempts = _run(runner, runner.outside_executor(part.file), part)
        if holder is None and runner.wall is not None:
            holder = runner.enter_wall_again()
        if holder is None:
            holder = runner.outside_executor(part.file)
            holder.session.execute("BEGIN")
        record(runner, holder, segment.parts)
        commit(runner, holder, segment)
    except Refused as refused:
        raise failure.migration_failed(
            refused,
            state=_state(runner, part),
            watchdog=runner.watchdog,
            attempts=attempts,
            limits=runner.settings.limits,
            remedy=_remedy(statement),
        ) from refused
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted; {_state(runner, part)}") from None
    finally:
        runner.watchdog.executing(None)
        if holder is not None and runner.wall is not None:
            holder.session.close()
    return attempts


def _leave_wall(runner: Runner, holder: Executor) -> None:
    """It needs a lock on every table, the ledger's too: another tool may read that meanwhile, and is found later."""
    assert runner.wall is not None
    runner.wall.leave()
    holder.session.execute("ROLLBACK")
    holder.session.close()


def _run(runner: Runner, executor: Executor, part: Part) -> int:
    (statement,) = part.statements
    limits = runner.settings.limits
    session = executor.session
    lifted = _lift_lock_timeout(runner, executor, part)
    facts = read_facts(session, statement)
    runner.settings.observer.outside_begun(part.migration, statement)
    for attempt in count(1):
        # By the guard, not by the session that executes: that one may stand in a role that the file SET.
        runner.progress.write_started(runner.guard, part.migration, statement.index, facts)
        runner.watchdog.executing(executor)
        try:
            runner.stop_if_blocking(part.migration, statement)
            run_statement(executor, part.migration, statement, runner.settings.observer, in_transaction=False)
            break
        except Refused as refused:
            runner.watchdog.executing(None)
            if refused.lost:
                raise
            if refused.may_be_tried_again and attempt < limits.attempts and runner.watchdog.blocked is None:
                if statement.kind in _LEAVES_PARTS:
                    settled = settle(
                        session, statement, facts, wait_s=limits.wait_s, end_orphan=False, tell=runner.settings.tell
                    )
                    if settled.outcome is Outcome.DONE:
                        break
                    if settled.outcome is Outcome.UNKNOWN:
                        raise StateUnknown(f"{part.migration.path}:{statement.line}: {settled.what}") from refused
                runner.wait_before_retry(refused, attempt)
                continue
            if statement.kind not in _LEAVES_PARTS:
                runner.progress.write_done(runner.guard, part.migration, statement.index)
            raise
        finally:
            runner.watchdog.executing(None)
    if (kept := find_kept_invalid(session, statement, facts)) is not None:
        runner.settings.tell(
            f"{part.migration.path}:{statement.line}: the index {kept} was there before, INVALID, and IF NOT EXISTS "
            f"kept it: no query uses it.  DROP INDEX CONCURRENTLY {kept} and create it again."
        )
    if lifted is not None:
        session.execute(_SET_LOCK_TIMEOUT, (lifted,))
    return attempt


def _lift_lock_timeout(runner: Runner, executor: Executor, part: Part) -> str | None:
    """CONCURRENTLY waits for old transactions without blocking anybody, so our lock_timeout must not end it.

    One that the file SET itself stays.  Returns what to set afterwards.
    """
    (statement,) = part.statements
    if statement.kind not in CONCURRENT_KINDS or "concurrently" not in statement.text.lower():
        return None
    row = executor.session.execute(_LOCK_TIMEOUT).fetchone()
    ours = str(runner.settings.limits.lock_timeout_ms)
    if row is None or row[0] != ours:
        return None
    executor.session.execute(_SET_LOCK_TIMEOUT, ("0",))
    return ours


def _state(runner: Runner, part: Part) -> str:
    (statement,) = part.statements
    state = runner.state()
    if statement.kind == "IndexStmt":
        return f"{state}; an INVALID index may be left, which the next run drops before it tries again"
    if statement.kind in _MAY_COMMIT:
        said = f"what {statement.kind.removesuffix('Stmt').upper()} itself committed stays"
        untouched = f"nothing of {part.migration.version} remains"
        return (
            state.replace(untouched, f"of {part.migration.version} {said}")
            if untouched in state
            else f"{state}; {said}"
        )
    return state


def _remedy(statement: Statement) -> str | None:
    if statement.kind in _MAY_COMMIT:
        return failure.MAY_HAVE_COMMITTED
    return failure.HALF_DONE if statement.index > 0 or statement.kind in CONCURRENT_KINDS else None

"""A refusal told as an error: the place, the server's words, and the state that the database is in now."""

from collections.abc import Sequence

from pgrehearse.counted import counted
from pgrehearse.errors import BlockedOthers, ConnectionLost, LockNotAcquired, MigrationFailed
from pgrehearse.migrations.execution import CANCELLED, DEADLOCK, LOCK_TIMEOUT, Refused
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.segments import PendingFile
from pgrehearse.migrations.watchdog import Watchdog

# The server ends a session that took longer than it was allowed to, and is there to be asked: that is its answer.
SESSION_TIMEOUTS = frozenset({"25P03", "25P04", "57P05"})
HALF_DONE = (
    "A part of this file is committed, so its bytes must stay as they are up to this statement.  Mend the data or the "
    "database that it meets, and run again: it goes on with this statement.  Or mend the file from here on, and run "
    "with --resolve VERSION:edited."
)
MAY_HAVE_COMMITTED = (
    "It may have committed a part of its work before it failed, and nothing in the catalog tells.  Look what is there; "
    "then run again with --resolve VERSION:again (all of it once more) or --resolve VERSION:applied (go on behind "
    "it).  Or mend the file from this statement on and use --resolve VERSION:edited."
)


def state_sentence(applied: Sequence[str], pending: Sequence[PendingFile]) -> str:
    """What of the plan is in the database, and what is not."""
    parts = []
    if applied:
        parts.append(f"{', '.join(applied)} {_are(applied)} applied and recorded")
    half = [file for file in pending if file.statements_done]
    parts += [
        f"of {file.migration.version} the first {file.statements_done} of {counted(len(file.statements), 'statement')} "
        f"(before line {file.statements[file.statements_done].line}) are committed"
        for file in half
        if file.statements_done < len(file.statements)
    ]
    untouched = [file.migration.version for file in pending if not file.statements_done]
    if untouched:
        parts.append(f"nothing of {', '.join(untouched)} remains")
    return "; ".join(parts) or "nothing was pending"


def when_last_heard_of(state: str) -> str:
    """The state when the answer is missing: a statement whose line was cut may still be running."""
    return f"what is in the database is not known until it answers; when it was last heard of: {state}"


def migration_failed(
    refused: Refused, *, state: str, watchdog: Watchdog, attempts: int, limits: Limits, remedy: str | None = None
) -> MigrationFailed:
    """The error for a refusal that ends the run."""
    error = refused.error
    kind: type[MigrationFailed] = MigrationFailed
    said = f"{error.message} (SQLSTATE {error.sqlstate})"
    if error.sqlstate == CANCELLED and watchdog.blocked is not None:
        kind = BlockedOthers
        said = f"cancelled, so that nobody waits behind us for {limits.max_block_s:g} s: {watchdog.blocked}"
    elif error.sqlstate == CANCELLED and watchdog.own_wall:
        said = "cancelled, because it waits for the migration ledger's table, which is locked while we migrate"
        remedy = "Take the ledger's table out of the statement, or run it by itself."
    elif error.sqlstate == CANCELLED and watchdog.circle is not None:
        said = f"cancelled, because it waits for {watchdog.circle}, which waits for the ledger's table that we hold"
        remedy = "End that session, or let it finish, then run again: it goes on with what is left."
    elif error.sqlstate in {LOCK_TIMEOUT, DEADLOCK}:
        kind = LockNotAcquired
        said = f"{said}, in {attempts} attempts"
        if watchdog.waited_for:
            said += f"; we waited for {watchdog.waited_for}"
    elif refused.lost:
        said = f"the connection was lost: {said}"
        if error.sqlstate in SESSION_TIMEOUTS:
            remedy = "See the server's log for the reason, then run again: it goes on with what is left."
        else:
            kind, remedy, state = ConnectionLost, None, when_last_heard_of(state)
    lines = [f"{refused.migration.path}:{error.line}:{error.column}: {said}"]
    lines += [f"  {name}: {text}" for name, text in (("detail", error.detail), ("hint", error.hint)) if text]
    lines.append(f"  {state}")
    return kind(
        "\n".join(lines),
        sqlstate=error.sqlstate,
        path=refused.migration.path,
        line=error.line,
        column=error.column,
        detail=error.detail,
        hint=error.hint,
        state=state,
        remedy=remedy and remedy.replace("VERSION", refused.migration.version),
    )


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"

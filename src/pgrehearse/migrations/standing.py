"""Where a plan stands when its turn comes: what others applied meanwhile, what a killed run left half-done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from pgrehearse.counted import agree, counted
from pgrehearse.errors import ConfigurationError, EditedMidway, LedgerChanged, LedgerRowsGone, StateUnknown
from pgrehearse.migrations.migration_ledger import LedgerRow
from pgrehearse.migrations.progress import Progress
from pgrehearse.migrations.resume import Outcome, settle
from pgrehearse.migrations.runner import Runner
from pgrehearse.migrations.segments import PendingFile, compile_segments
from pgrehearse.migrations.session_state import session_settings
from pgrehearse.postgres.connect import Connection


class Resolution(Enum):
    """A person's answer where the catalog cannot tell what became of a statement."""

    APPLIED = "applied"  # its effect is there: go on with the next
    AGAIN = "again"  # its effect is not there, or harmless twice: run it
    EDITED = "edited"  # the file was mended behind what is committed: go on there with its new bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is left of a plan."""

    files: tuple[PendingFile, ...]
    already_applied: tuple[str, ...]
    resumed: tuple[str, ...]
    recorded: tuple[LedgerRow, ...]  # by earlier runs


def find_pending(runner: Runner, files: Sequence[PendingFile], resolve: Mapping[str, Resolution]) -> Standing:
    """Read the ledger and the progress under the lock, and settle statements without a recorded end.

    Changes nothing but the leftovers of a killed run.  Raises `LedgerChanged`, `EditedMidway`, `StateUnknown`.
    """
    rows, progress = _read(runner, files)
    already: list[str] = []
    pending: list[PendingFile] = []
    for file in files:
        migration = file.migration
        if runner.settings.ledger.is_applied(migration, rows):
            already.append(migration.version)
        elif any(runner.settings.ledger.names(row, migration) for row in rows):
            raise LedgerChanged(
                f"{migration.version} is recorded in {runner.settings.ledger.table} with other bytes "
                "than the file has now"
            )
        else:
            pending.append(file)
    known = {file.migration.version for file in files}
    for version in sorted(resolve.keys() - known):
        raise ConfigurationError(f"--resolve {version}: no migration of this plan has that version")
    _refuse_renamed(
        pending, [found for found in progress.values() if found.version not in known and not found.is_nothing]
    )
    resumed: list[str] = []
    for position, file in enumerate(pending):
        found = progress.get(file.migration.version)
        if found is None:
            continue
        done = _settled(runner, file, found, resolve.get(file.migration.version))
        pending[position] = replace(file, statements_done=done)
        resumed.append(file.migration.version)
    return Standing(files=tuple(pending), already_applied=tuple(already), resumed=tuple(resumed), recorded=tuple(rows))


def require_recorded(
    runner: Runner, session: Connection, files: Sequence[PendingFile], recorded: Sequence[LedgerRow]
) -> None:
    """What the plan, or a trigger of its own, did to the ledger behind our back.  Raises `LedgerRowsGone`."""
    ledger = runner.settings.ledger
    rows = ledger.read(session)
    there, applied = set(rows), set(runner.applied)
    gone = [row.name or row.sha256[:12] for row in recorded if row not in there]
    rows_of: dict[str, list[LedgerRow]] = {}
    for row in rows:
        rows_of.setdefault(row.sha256, []).append(row)
    gone += [
        file.migration.version
        for file in files
        if file.migration.version in applied
        and not ledger.is_applied(file.migration, rows_of.get(file.migration.sha256, ()))
    ]
    if gone:
        raise LedgerRowsGone(
            f"after the migrations, {ledger.table} no longer says what it said of {', '.join(gone)}; {runner.state()}",
            state=runner.state(),
        )


def _refuse_renamed(pending: Sequence[PendingFile], unknown: Sequence[Progress]) -> None:
    """A file that was left half-way and has another name now would be run from its beginning."""
    for found in unknown:
        for file in pending:
            if file.migration.sha256 == found.sha256:
                raise EditedMidway(
                    f"{file.migration.path} was called {found.version} when an earlier run did {found.statements_done} "
                    f"of its statements at {found.at}",
                    remedy=f"Give it its old name back ({found.version}), and run again to finish it.",
                )


def _read(runner: Runner, files: Sequence[PendingFile]) -> tuple[tuple[LedgerRow, ...], dict[str, Progress]]:
    """With drizzle's ledger by a session of its own in the wall, whose COMMIT hands the table to the first segment.

    The first segment's session must not have run a query before its file's BEGIN … ISOLATION LEVEL.
    """
    if runner.wall is None:
        return runner.settings.ledger.read(runner.guard), runner.progress.read(runner.guard)
    runner.wall.queue(1 + len(compile_segments(files, runner.settings.mode)))
    with runner.wall.enter().session as session:
        found = runner.settings.ledger.read(session), runner.progress.read(session)
        session.execute("COMMIT")
    return found


_NOT_EDITED = "The file's bytes are what they were, so nothing was edited.  "


def _before(statements: int) -> str:
    match statements:
        case 0:
            return "it is the file's first"
        case 1:
            return "the statement before it is committed"
        case _:
            return f"the {counted(statements, 'statement')} before it {agree(statements, 'is', 'are')} committed"


def _settled(runner: Runner, file: PendingFile, found: Progress, answer: Resolution | None) -> int:
    """How many of the file's statements are done."""
    migration = file.migration
    if found.is_nothing:
        return 0
    if found.sha256 != migration.sha256:
        if answer is Resolution.EDITED and found.statements_done <= len(file.statements):
            runner.settings.tell(
                f"{migration.path}: going on with the edited file behind its first "
                f"{counted(found.statements_done, 'statement')}"
            )
            runner.progress.write_done(runner.guard, migration, found.statements_done)
            return found.statements_done
        raise EditedMidway(
            f"{migration.path}: an earlier run did {found.statements_done} of its statements at {found.at}, "
            f"when its SHA-256 was {found.sha256[:12]}…; now it is {migration.sha256[:12]}…",
            remedy="Restore the file's old bytes and run again to finish it.  If what is behind its first "
            f"{counted(found.statements_done, 'statement')} had to be mended, and what stands before that is "
            f"as it was, run again with --resolve {migration.version}:edited.",
        )
    if found.started is None:
        return found.statements_done
    statement = file.statements[found.started]
    if answer in (Resolution.APPLIED, Resolution.AGAIN):
        done = found.started + (1 if answer is Resolution.APPLIED else 0)
    else:
        executor = runner.open_executor()
        with executor.session as session:
            for earlier in session_settings(file.statements[: found.started]):
                session.execute(earlier.text.encode())
            settings = runner.settings
            settled = settle(
                session, statement, found.facts,
                wait_s=settings.limits.wait_s, end_orphan=settings.end_orphan, tell=settings.tell,
            )  # fmt: skip
        place = f"{migration.path}:{statement.line}"
        if settled.outcome is Outcome.UNKNOWN:
            raise StateUnknown(
                f"{place}: this statement was started at {found.at} by a run that failed or was killed in it, and "
                f"nobody knows whether it had its effect: {settled.what}; {_before(found.started)}",
                remedy=f"{_NOT_EDITED if answer is Resolution.EDITED else ''}"
                "Look in the database whether its effect is there, then run again with "
                f"--resolve {migration.version}:applied or --resolve {migration.version}:again.",
            )
        runner.settings.tell(f"{place}: left by an earlier run: {settled.what or settled.outcome.value}")
        done = found.started + (1 if settled.outcome is Outcome.DONE else 0)
    runner.progress.write_done(runner.guard, migration, done)
    return done

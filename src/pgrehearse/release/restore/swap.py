"""The restored database takes production's name; the failed one is kept under another.

    fence → export what differs → (write the application's part back) → sequences → both renames in one transaction

Killed anywhere it can go on (`swap` again) or be undone (`undo`): the mark on the restored database says that the
fence stands and how it was before, the two names say whether the swap has happened.  Anything that fails on the way
opens production again as it was.  Never automatic: somebody calls it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.clones.snapshot import NO_TIMEOUTS
from pgrehearse.errors import NotReapplied, PgRehearseError, RestoreFailed, RestoreRefused
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.progress import Progress, Silent
from pgrehearse.release.lineage import key_through
from pgrehearse.release.restore.beside import (
    Mark,
    Recorder,
    RestoreNames,
    names_of,
    open_admin,
    require_ledger_elsewhere,
    require_mark,
)
from pgrehearse.release.restore.database_properties import (
    DatabaseProperties,
    apply_properties,
    find_properties,
    require_properties,
)
from pgrehearse.release.restore.differing_rows import DifferingRows, find_differing_rows
from pgrehearse.release.restore.fence import close_fence, end_others, lift_fence
from pgrehearse.release.restore.ids_handed_out import MovedSequence, move_sequences
from pgrehearse.release.restore.in_the_way import require_free_way
from pgrehearse.release.restore.migration_transactions import DRIZZLE, OWN, Relation, find_migration_transactions
from pgrehearse.release.restore.reapply import reapply as write_back
from pgrehearse.release.restore.touched import TouchedTable

KEPT = "kept by pgrehearse: what {} was until restore {}; it admits nobody until its owner allows connections"
RENAME_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class WhatIsKnown:
    """What tells the migration's work from the application's writes."""

    touched: Sequence[TouchedTable] = ()  # from the receipts
    moved_back: frozenset[str] = frozenset()  # sequences, from the receipts
    unrehearsed: bool = False  # some of it has no receipt: what it did is not known
    ledgers: Sequence[Relation] = (OWN, DRIZZLE)  # migration ledgers: they are as they were in the backup


@dataclass(frozen=True, slots=True, kw_only=True)
class Swapped:
    """What was done; times in milliseconds."""

    id: str
    database: str
    quarantine: str  # the failed database's name now
    rows: DifferingRows | None  # None: an earlier, killed run had swapped already; the ledger names its export
    written_back: int | None  # statements; None where it was not asked for
    sequences: tuple[MovedSequence, ...]
    sessions_refused_ms: int  # how long production admitted nobody

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "database": self.database,
            "quarantine": self.quarantine,
            "rows": None if self.rows is None else self.rows.as_json(),
            "written_back": self.written_back,
            "sequences": [each.as_json() for each in self.sequences],
            "sessions_refused_ms": self.sessions_refused_ms,
        }


def compare_beside(
    production: Conninfo,
    id: str,  # noqa: A002
    *,
    directory: Path,
    known: WhatIsKnown,
    progress: Progress | None = None,
) -> DifferingRows:
    """What a swap would export as of now, while production serves on: for --dry-run.  Writes to ``directory``."""
    names = names_of(production, id)
    with open_admin(production) as admin:
        require_mark(admin, names)
    with (
        connect(production, verb="restore") as failed,
        connect(production.replaced(dbname=names.restored), verb="restore") as restored,
    ):
        return _export(failed, restored, directory, known, progress or Silent())


def swap(
    production: Conninfo,
    id: str,  # noqa: A002
    *,
    directory: Path,
    known: WhatIsKnown,
    ledger: ReleaseLedger | None,
    now: Callable[[], datetime],
    reapply: bool = False,
    accept_not_compared: bool = False,
    progress: Progress | None = None,
    renew: Callable[[str], None] = lambda _: None,
) -> Swapped:
    """Put the database that `restore_beside` made in production's place; production is shut meanwhile.

    Every row that differs is exported into a new folder below ``directory`` while nobody can write.  With
    ``reapply`` what the application wrote is written back before the swap.  ``accept_not_compared`` goes on although
    some tables could not be compared.  ``renew`` is told each step and raises when another run may have taken over:
    between its export and its swap nobody else may open production.  Safe to call again after a kill.

    Raises `RestoreRefused` before anything was done, `FenceNotClosed`, `RestoreFailed`, `NotReapplied` after
    production was opened again.
    """
    told = progress or Silent()
    names = names_of(production, id)
    recorder = Recorder(id=id, ledger=ledger, now=now)
    with open_admin(production) as admin:
        require_ledger_elsewhere(admin, names, ledger)
        if _has_swapped(admin, names):
            recorder.ended("swapped", quarantine=names.quarantine, key=key_through(admin, production))
            return Swapped(
                id=id, database=names.database, quarantine=names.quarantine, rows=None, written_back=None,
                sequences=(), sessions_refused_ms=0,
            )  # fmt: skip
        mark = require_mark(admin, names)
        if not mark.is_filled:
            raise RestoreRefused(
                f"{names.restored} is not complete: its restore was interrupted",
                remedy="Drop it with `pgrehearse rollback --undo --drop` and restore again.",
            )
        require_free_way(admin, names)
        key = key_through(admin, production, database=names.restored)
        folder = _new_folder(directory)
        started = time.monotonic()
        with _lifted_on_failure(production, names, recorder):
            told.step(f"shutting {names.database}")
            renew("shutting production")
            with recorder.step("fence"):
                mark, failed = close_fence(admin, production, mark)
            with failed:
                told.step("exporting what differs")
                with recorder.step("export") as body, _session(production, names.restored) as restored:
                    rows = _export(failed, restored, folder, known, told)
                    body |= {"directory": str(folder), "rows": rows.rows}
                    _require_compared(rows, accept=accept_not_compared)
                with _session(production, names.restored) as restored:
                    written = _write_back(restored, rows, recorder, told) if reapply else None
                    told.step("moving sequences beyond every number handed out")
                    with recorder.step("sequences") as body:
                        sequences = move_sequences(
                            failed, restored, touched=known.touched, moved_back=known.moved_back
                        )  # fmt: skip
                        body["moved"] = len(sequences)
            told.step(f"swapping the names of {names.database} and {names.restored}")
            renew("swapping the names")
            with recorder.step("swap"):
                _rename(admin, mark)
    refused_ms = round((time.monotonic() - started) * 1000)
    recorder.ended("swapped", quarantine=names.quarantine, sessions_refused_ms=refused_ms, key=key)
    return Swapped(
        id=id, database=names.database, quarantine=names.quarantine, rows=rows, written_back=written,
        sequences=sequences, sessions_refused_ms=refused_ms,
    )  # fmt: skip


def record_swapped(
    production: Conninfo,
    id: str,  # noqa: A002
    *,
    ledger: ReleaseLedger,
    now: Callable[[], datetime],
) -> bool:
    """Whether this restore has swapped the names already; if so it is recorded, which a killed run left undone."""
    names = names_of(production, id)
    with open_admin(production) as admin:
        if not _has_swapped(admin, names):
            return False
        key = key_through(admin, production)
    Recorder(id=id, ledger=ledger, now=now).ended("swapped", quarantine=names.quarantine, key=key)
    return True


def undo(
    production: Conninfo,
    id: str,  # noqa: A002
    *,
    ledger: ReleaseLedger | None,
    now: Callable[[], datetime],
) -> None:
    """Open production again as it was before an interrupted swap.  The restored database stays beside it.

    Nothing to do where no fence stands.  Raises `RestoreRefused` when the names are swapped already: then the
    database under production's name is the restored one, and nothing is shut.
    """
    names = names_of(production, id)
    with open_admin(production) as admin:
        if _has_swapped(admin, names):
            raise RestoreRefused(
                f"restore {id} has taken {names.database}'s place; what it was is kept as {names.quarantine}",
                remedy="Rename the two databases by hand if you want the failed one back.",
            )
        lift_fence(admin, require_mark(admin, names))
    Recorder(id=id, ledger=ledger, now=now).ended("undone")


def _export(
    failed: Connection, restored: Connection, directory: Path, known: WhatIsKnown, progress: Progress
) -> DifferingRows:
    return find_differing_rows(
        failed,
        restored,
        directory=directory,
        touched=known.touched,
        transactions=find_migration_transactions(failed, restored, known.ledgers),
        unrehearsed=known.unrehearsed,
        ignore_relations=frozenset(f"{namespace}.{name}" for namespace, name in known.ledgers),
        progress=progress,
    )


def _require_compared(rows: DifferingRows, *, accept: bool) -> None:
    if rows.not_compared and not accept:
        listed = "\n".join(f"  - {each.name}: {each.reason}" for each in rows.not_compared)
        raise RestoreFailed(
            f"what was written to these tables cannot be kept:\n{listed}",
            remedy="Use a user that may read every row of them, or accept that they are not exported: they stay in the "
            "failed database.",
        )


def _write_back(restored: Connection, rows: DifferingRows, recorder: Recorder, progress: Progress) -> int:
    progress.step("writing back what the application wrote")
    with recorder.step("reapply") as body:
        written = write_back(restored, rows.reapply) if rows.reapply is not None else 0
        body["statements"] = written
    return written


def _rename(admin: Connection, mark: Mark) -> None:
    """Properties, both renames and the opening in one transaction; the mark goes with it."""
    for attempt in range(1, RENAME_ATTEMPTS + 1):
        for database in (mark.database, mark.names.restored):
            end_others(admin, database, [])
        try:
            with admin.transaction():
                _rename_once(admin, mark)
        except (psycopg.errors.ObjectInUse, psycopg.errors.LockNotAvailable):
            if attempt == RENAME_ATTEMPTS:
                raise
        else:
            return


def _rename_once(admin: Connection, mark: Mark) -> None:
    assert mark.fenced_limit is not None
    names = mark.names
    admin.execute("SET LOCAL lock_timeout = '10s'")
    failed = require_properties(admin, names.database)
    if failed.allows_connections:
        raise RestoreFailed(
            f"somebody opened {names.database} while this was going on: what was written since is in no export",
            remedy="Look who did, then run `pgrehearse rollback` again; nothing was swapped.",
        )
    wanted = replace(failed, allows_connections=True, connection_limit=mark.fenced_limit)
    production, restored, quarantine = map(sql.Identifier, (names.database, names.restored, names.quarantine))
    apply_properties(admin, names.restored, wanted)
    admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(production, quarantine))
    admin.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(restored, production))
    admin.execute(
        sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT {}").format(
            production, sql.Literal(wanted.connection_limit)
        )
    )
    admin.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(production, sql.Literal(wanted.comment)))
    kept = KEPT.format(names.database, names.id)
    admin.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(quarantine, sql.Literal(kept)))
    _require_same(wanted, require_properties(admin, names.database))


def _require_same(wanted: DatabaseProperties, found: DatabaseProperties) -> None:
    """Inside the transaction: anything that was not carried over takes the renames back."""
    differing = [
        field.name for field in fields(wanted)
        if field.name != "oid" and getattr(wanted, field.name) != getattr(found, field.name)
    ]  # fmt: skip
    if differing:
        raise RestoreFailed(
            f"could not be carried over from the failed database to the restored one: {', '.join(differing)}"
        )


def _has_swapped(admin: Connection, names: RestoreNames) -> bool:
    """Whether the transaction of the renames has committed: only it makes the quarantine's name and comment."""
    quarantine = find_properties(admin, names.quarantine)
    return (
        quarantine is not None
        and quarantine.comment == KEPT.format(names.database, names.id)
        and find_properties(admin, names.restored) is None
    )


@contextlib.contextmanager
def _lifted_on_failure(production: Conninfo, names: RestoreNames, recorder: Recorder) -> Iterator[None]:
    """Whatever goes wrong on the way, an interrupt too, opens production again; a kill leaves it to the next run."""
    try:
        yield
    except BaseException as error:
        try:
            with open_admin(production) as admin:  # the session that failed may be what broke
                if not _has_swapped(admin, names):
                    lift_fence(admin, require_mark(admin, names))
        except (psycopg.Error, PgRehearseError) as second:
            raise RestoreFailed(
                f"{names.database} may still admit nobody: {_said(error)}; opening it again failed: {_said(second)}",
                remedy="Run `pgrehearse rollback --undo` as soon as the server answers: it opens the database again.",
            ) from error
        with contextlib.suppress(PgRehearseError):
            recorder.ended("failed", error=type(error).__name__)
        if isinstance(error, psycopg.Error | OSError):
            raise RestoreFailed(f"the swap stopped, {names.database} is open again: {_said(error)}") from error
        if isinstance(error, NotReapplied):
            raise NotReapplied(
                f"{error}; {names.database} is open again as it was before, and {names.restored} was left beside it",
                remedy="Run the same command without `--reapply`: what was written since stays exported, to be written "
                "back by hand.  The file names the line.",
            ) from error
        raise


def _said(error: BaseException) -> str:
    if isinstance(error, psycopg.Error) and error.diag.message_primary:
        return error.diag.message_primary
    return str(error).strip() or type(error).__name__


@contextlib.contextmanager
def _session(production: Conninfo, database: str) -> Iterator[Connection]:
    """A session in the restored database that no setting of role or database hinders."""
    with connect(production.replaced(dbname=database), verb="restore") as session:
        session.execute(NO_TIMEOUTS)
        session.execute("SET default_transaction_read_only = off")
        yield session


def _new_folder(directory: Path) -> Path:
    """A folder of its own for each attempt, so that a killed one's files are not mixed with the next one's."""
    number = 1
    while True:
        folder = directory / f"rows-{number}"
        try:
            folder.mkdir(parents=True, mode=0o700)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise RestoreRefused(f"cannot write to {directory}: {error.strerror}") from error
        else:
            return folder

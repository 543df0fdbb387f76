"""Which backups there are, in which state, and removing those that nobody needs."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from pgrehearse.errors import BackupDamaged, UnknownBackup
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.local_server import MARKER
from pgrehearse.postgres.owner import Owner
from pgrehearse.release.backup.disk import size_of
from pgrehearse.release.backup.dump_backup import FAILED, REMOVING, UNPROVED, DumpBackup, open_backup
from pgrehearse.release.backup.files import sync_directory
from pgrehearse.release.backup.manifest import MANIFEST
from pgrehearse.release.backup.record import PRUNED, RecordedBackup, find_needed, recorded_backups

NEVER_PROVED = (UNPROVED, FAILED, REMOVING)


class State(Enum):
    PROVED = "proved"
    TAKEN = "taken"  # an external one: its command succeeded, nobody here restored it
    NOT_RECORDED = "not recorded"  # it has a proved one's name, and this release ledger does not know of a proof
    DAMAGED = "damaged"  # its manifest is not what was written; whether its files are, `verify` says
    IN_PROGRESS = "in progress"
    UNPROVED = "unproved"  # left by a process that ended on the way
    FAILED = "failed"  # its restored copy differed


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedBackup:
    """One backup as it stands."""

    id: str
    state: State
    policy: str
    label: str | None
    source: str  # host/database
    at: datetime | None  # of the snapshot; where there is none, when it was begun
    directory: Path | None  # None: an external one
    size_bytes: int
    needed_because: str | None
    backup: DumpBackup | None
    recorded: RecordedBackup | None

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "state": self.state.value,
            "policy": self.policy,
            "environment": self.label,
            "source": self.source,
            "at": None if self.at is None else self.at.astimezone(UTC).isoformat(),
            "directory": None if self.directory is None else str(self.directory),
            "size_bytes": self.size_bytes,
            "rows": None if self.backup is None else self.backup.manifest.contents.rows,
            "digest": None if self.backup is None else self.backup.digest,
            "needed_because": self.needed_because,
        }


Only = Callable[[ListedBackup], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedBackups:
    """What a prune removed, and what it left although it is old, with the reason."""

    removed: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]


def everything(_: ListedBackup) -> bool:
    return True


def list_backups(directory: Path, ledger: ReleaseLedger, *, only: Only = everything) -> tuple[ListedBackup, ...]:
    """Every backup in the directory and every external one of the ledger, oldest first.

    Reads manifests, not the dumps: `verify.verify_backup` does that.  ``only`` leaves some out.
    """
    recorded = recorded_backups(ledger)
    needed = find_needed(ledger, recorded.values())
    found = [_listed(path, recorded, needed) for path in _directories(directory)]
    found += [
        _external(backup, needed) for backup in recorded.values() if backup.policy == "external" and not backup.pruned
    ]
    return tuple(sorted(filter(only, found), key=lambda each: (each.at or datetime.min.replace(tzinfo=UTC), each.id)))


def find_backup(directory: Path, prefix: str | None, ledger: ReleaseLedger, *, only: Only = everything) -> ListedBackup:
    """The dump whose id starts so, whatever its state, else the newest proved one.  Raises `UnknownBackup`."""
    listed = [each for each in list_backups(directory, ledger, only=only) if each.directory is not None]
    if prefix is None:
        fitting = [each for each in listed if each.state is State.PROVED][-1:]
    else:
        fitting = [each for each in listed if each.id.startswith(prefix)]
        fitting = [each for each in fitting if each.id == prefix] or fitting
    if len(fitting) != 1:
        what = "proved backup" if prefix is None else f"backup {prefix}"
        told = f"{len(fitting)} backups begin with {prefix}" if fitting else f"there is no {what} in {directory}"
        raise UnknownBackup(told)
    return fitting[0]


def prune_backups(
    directory: Path,
    *,
    ledger: ReleaseLedger,
    now: Callable[[], datetime],
    keep: int,
    younger_than: timedelta | None = None,
    only: Only = everything,
    forced: bool = False,
) -> PrunedBackups:
    """Remove dumps beyond the ``keep`` newest of each database, and what killed or failed runs left behind.

    Stays: one that is younger than ``younger_than``, one that a way back may need, and one whose manifest is damaged
    or whose proof is not recorded, unless ``forced``; what is being made; and whatever is not ours.
    """
    removed, kept = [], []
    newest: dict[object, int] = {}
    for each in reversed(list_backups(directory, ledger, only=only)):
        if each.directory is None or each.state is State.IN_PROGRESS:
            continue
        reason = _reason_to_stay(each, newest, keep, younger_than, now(), forced=forced)
        if reason is None:
            _remove(each.directory)
            ledger.append(PRUNED, each.id, {"state": each.state.value, "forced": forced}, now())
            removed.append(each.id)
        elif reason:
            kept.append((each.id, reason))
    return PrunedBackups(removed=tuple(reversed(removed)), kept=tuple(reversed(kept)))


def _reason_to_stay(
    each: ListedBackup,
    newest: dict[object, int],
    keep: int,
    younger_than: timedelta | None,
    now: datetime,
    *,
    forced: bool,
) -> str | None:
    """None: it goes; "": it is one of those that were to be kept, so nothing needs to be said."""
    if each.state in (State.UNPROVED, State.FAILED):
        return None
    if each.backup is None:
        return None if forced else "its manifest is damaged: look at it, then remove it with --force"
    identity = each.backup.manifest.source
    database = (identity.system_identifier, identity.database)
    if each.state is State.PROVED:
        newest[database] = newest.get(database, 0) + 1
        if newest[database] <= keep or (younger_than and each.at and now - each.at < younger_than):
            return ""
    if forced:
        return None
    if each.state is State.NOT_RECORDED:
        return "this release ledger does not know it: another one may"
    return each.needed_because


def _directories(directory: Path) -> Iterator[Path]:
    """Directories that are, or were to become, backups; nothing else in there is ours."""
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        ours = path.suffix in NEVER_PROVED or (path / MANIFEST).exists() or (path / MARKER).exists()
        if path.is_dir() and not path.is_symlink() and ours:
            yield path


def _listed(path: Path, recorded: dict[str, RecordedBackup], needed: dict[str, str]) -> ListedBackup:
    never_proved = path.suffix in NEVER_PROVED
    name = path.stem if never_proved else path.name
    known = recorded.get(name)
    backup = None
    if not never_proved:
        with suppress(BackupDamaged):
            backup = open_backup(path)
    state = _state(path, known, backup)
    if known is not None:
        source = str(known.source["address"])
    else:
        source = backup.manifest.source.address if backup else "unknown"
    return ListedBackup(
        id=name,
        state=state,
        policy="dump",
        label=known.label if known else None,
        source=source,
        at=backup.taken_at if backup else known.begun_at if known else None,
        directory=path,
        size_bytes=size_of(path),
        needed_because=needed.get(name),
        backup=backup,
        recorded=known,
    )


def _state(path: Path, known: RecordedBackup | None, backup: DumpBackup | None) -> State:
    if path.suffix == UNPROVED:
        owner = known.owner if known else Owner.find(path / MARKER)
        return State.IN_PROGRESS if owner is not None and owner.is_alive() else State.UNPROVED
    if path.suffix == FAILED:
        return State.FAILED
    if path.suffix == REMOVING:
        return State.UNPROVED
    if backup is None or not backup.is_proved:
        return State.DAMAGED
    if known is None or known.digest is None:
        return State.NOT_RECORDED
    return State.PROVED if known.digest == backup.digest else State.DAMAGED


def _external(backup: RecordedBackup, needed: dict[str, str]) -> ListedBackup:
    alive = backup.failed is None and backup.owner.is_alive()
    unfinished = State.IN_PROGRESS if alive else State.FAILED
    return ListedBackup(
        id=backup.id,
        state=State.TAKEN if backup.proved is not None else unfinished,
        policy="external",
        label=backup.label,
        source=str(backup.source["address"]),
        at=backup.begun_at,
        directory=None,
        size_bytes=0,
        needed_because=needed.get(backup.id),
        backup=None,
        recorded=backup,
    )


def _remove(directory: Path) -> None:
    """Renamed first: a half-removed one must not carry a proved one's name."""
    going = directory if directory.suffix == REMOVING else directory.with_name(f"{directory.name}{REMOVING}")
    if going != directory:
        directory.rename(going)
        sync_directory(going.parent)
    shutil.rmtree(going)

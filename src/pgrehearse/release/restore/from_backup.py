"""One of our own dumps as the way back: what restoring it would do, and restoring it beside production."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pgrehearse.counted import counted
from pgrehearse.errors import DatabaseFenced, RestoreRefused
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity, read_identity
from pgrehearse.postgres.pooler import require_session
from pgrehearse.progress import Progress, Silent
from pgrehearse.release.backup.compare import compare_with_backup
from pgrehearse.release.backup.dump_backup import DumpBackup
from pgrehearse.release.backup.restore import restore_into
from pgrehearse.release.backup.writes import Writes, writes_since
from pgrehearse.release.restore.beside import RestoreNames, find_restores, names_of, open_admin, restore_beside
from pgrehearse.release.restore.circles import find_circles
from pgrehearse.release.restore.in_the_way import Room, find_in_the_way, read_room, require_free_way, require_room
from pgrehearse.release.restore.stays_behind import StaysBehind, what_stays_behind


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """What a restore would do, before anything is done."""

    names: RestoreNames
    backup: str
    taken_at: datetime  # everything written since is lost to the restored database, and exported
    in_the_way: tuple[str, ...]  # why it cannot be done; () when it can
    room: Room
    stays_behind: tuple[StaysBehind, ...]
    writes: Writes  # since the backup, as PostgreSQL counts them: the migration's too, and what was rolled back
    not_in_backup: tuple[str, ...]  # sentences
    not_reapplied: tuple[str, ...]  # sentences: why what the application wrote may not be written back by `--reapply`

    @property
    def told(self) -> tuple[str, ...]:
        """Sentences for a person, in the order of the steps."""
        told = [f"backup {self.backup} of {self.taken_at.isoformat(timespec='seconds')} → {self.names.restored}"]
        told += [f"{table.name}: at most {counted(table.inserted, 'row')} inserted, {table.updated} updated, "
                 f"{table.deleted} deleted since by others" for table in self.writes.tables]  # fmt: skip
        if self.writes.tables:
            told.append(
                "the migration's own rows, and those of transactions that were rolled back, are counted there too"
            )
        told += self.writes.doubts
        if self.room.is_enough is None:
            told.append("the server's free disk space is not known from here: a second copy of the database must fit")
        told += [f"not in the backup: {sentence}" for sentence in self.not_in_backup]
        told += [f"{each.kind.value} {each.name}: {each.told}" for each in self.stays_behind]
        told.append(f"{self.names.database} → {self.names.quarantine}, kept; {self.names.restored} takes its name")
        return tuple(told)

    def as_json(self) -> dict[str, Any]:
        return {
            "database": self.names.database,
            "restored": self.names.restored,
            "quarantine": self.names.quarantine,
            "backup": self.backup,
            "taken_at": self.taken_at.isoformat(),
            "in_the_way": list(self.in_the_way),
            "room": self.room.as_json(),
            "stays_behind": [each.as_json() for each in self.stays_behind],
            "writes": self.writes.as_json(),
            "not_in_backup": list(self.not_in_backup),
        }


def plan_restore(production: Conninfo, backup: DumpBackup, *, id: str, reapply: bool = False) -> RestorePlan:  # noqa: A002
    """Read-only, some two dozen small queries.  Raises `RestoreRefused` for a backup of another database."""
    names = names_of(production, id)
    with open_admin(production) as admin, connect(production, verb="restore") as session:
        _require_its_own(read_identity(session), backup)
        writes = writes_since(session, backup.manifest.writes)
        return RestorePlan(
            names=names,
            backup=backup.id,
            taken_at=backup.taken_at,
            in_the_way=find_in_the_way(admin, names),
            room=read_room(admin, names),
            stays_behind=what_stays_behind(session),
            writes=writes,
            not_in_backup=backup.manifest.left_out,
            not_reapplied=find_circles(session, writes) if reapply else (),
        )


def restore_backup_beside(
    production: Conninfo,
    backup: DumpBackup,
    *,
    id: str,  # noqa: A002
    digest: str | None,
    ledger: ReleaseLedger | None,
    now: Callable[[], datetime],
    jobs: int = 2,
    progress: Progress | None = None,
    work_directory: Path | None = None,
) -> RestoreNames:
    """Restore a proved backup into a new database on production's server, and compare it with its manifest.

    ``digest`` is the manifest's as the release ledger has it.  Rights, names and room are asked first; production
    serves on.  Raises `RestoreRefused`, `BackupDamaged`, `BackupNotProved` (1), `RestoreFailed`, `CloneFailed` (3).
    """
    told = progress or Silent()
    require_session(production)
    try:
        with connect(production, verb="restore") as session:
            _require_its_own(read_identity(session), backup)
    except DatabaseFenced:
        _tell_unfinished(production)
        raise
    names = names_of(production, id)
    with open_admin(production) as admin:
        require_free_way(admin, names)
        require_room(read_room(admin, names), names)

    def fill(target: Conninfo) -> None:
        restore_into(backup, target, jobs=jobs, progress=told, work_directory=work_directory, digest=digest)

    def compare(target: Conninfo) -> tuple[str, ...]:
        return compare_with_backup(backup, target, jobs=jobs, progress=told, work_directory=work_directory)

    return restore_beside(
        production, id=id, backup=backup.id, fill=fill, compare=compare, ledger=ledger, now=now, progress=told
    )


def _tell_unfinished(production: Conninfo) -> None:
    unfinished = [each.told for each in find_restores(production) if each.mark.is_fenced]
    if unfinished:
        raise RestoreRefused(
            "; ".join(unfinished),
            remedy="`pgrehearse rollback --undo` opens it again; `pgrehearse rollback` goes on once it is open.",
        )


def _require_its_own(production: DatabaseIdentity, backup: DumpBackup) -> None:
    """By server and name: after an earlier restore the database under that name has another oid."""
    source = backup.manifest.source
    known = None not in (production.system_identifier, source.system_identifier)
    if production.database != source.database or (known and production.system_identifier != source.system_identifier):
        raise RestoreRefused(
            f"backup {backup.id} is of {source.address}, not of {production.address}",
            remedy="Name a backup of this database: `pgrehearse backup list`.",
        )

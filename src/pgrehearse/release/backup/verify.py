"""Whether a backup is still what was proved: every byte of it, and on request a whole restore once more."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pgrehearse.errors import BackupNotProved
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.progress import Progress, Silent
from pgrehearse.release.backup.compare import compare_with_backup, require_equal
from pgrehearse.release.backup.dump_backup import DumpBackup, open_backup
from pgrehearse.release.backup.failure import told_as_failure
from pgrehearse.release.backup.record import PROVED, proved_body, require_recorded
from pgrehearse.release.backup.restore import restore_into
from pgrehearse.release.backup.scratch import ScratchOptions, open_scratch, require_elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found in order."""

    backup: DumpBackup
    recorded: bool  # the release ledger knows of the proof, and of this very manifest
    deep: bool  # restored and compared once more

    def as_json(self) -> dict[str, Any]:
        manifest = self.backup.manifest
        return {
            "id": self.backup.id,
            "digest": self.backup.digest,
            "directory": str(self.backup.directory),
            "files": len(manifest.files) + 1,
            "size_bytes": manifest.dump_bytes,
            "recorded": self.recorded,
            "restored": self.deep,
        }


def verify_backup(
    directory: Path,
    *,
    ledger: ReleaseLedger,
    now: Callable[[], datetime],
    deep: bool = False,
    source: Conninfo | None = None,
    scratch: ScratchOptions | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
    on_restored: Callable[[Conninfo], None] | None = None,
) -> Verified:
    """Read every file of the backup in ``directory`` and hold it against its manifest, and that against the ledger.

    ``deep`` restores it into a scratch and compares every row, as when it was taken; a backup that the ledger does not
    know is then recorded as proved.  ``source``: never to be the scratch's server.  Cost: a second per gigabyte; deep,
    a restore and one scan of every table.

    Raises `BackupDamaged`, `BackupNotProved`, `BackupDiffers`, `SameServer` (1), `BackupFailed`, `CloneImpossible`,
    `MissingBinaries` (3).
    """
    told, scratch = progress or Silent(), scratch or ScratchOptions()
    told.step(f"reading {directory}")
    backup = open_backup(directory)
    try:
        digest = require_recorded(ledger, backup)
    except BackupNotProved:
        digest = None
    backup.require_whole(digest=digest)
    if not deep:
        return Verified(backup=backup, recorded=digest is not None, deep=False)
    if source is not None:
        require_elsewhere(scratch, source)
    with (
        told_as_failure(f"restoring backup {backup.id}", *((scratch.server,) if scratch.server else ())),
        open_scratch(scratch, backup.surroundings(), ledger=ledger, now=now, progress=told) as copy,
    ):
        restore_into(backup, copy, jobs=jobs, progress=told, digest=digest, inert=True)
        if on_restored is not None:
            on_restored(copy)
        require_equal(
            compare_with_backup(backup, copy, jobs=jobs, progress=told), f"what was restored from backup {backup.id}"
        )
    if digest is None:
        ledger.append(PROVED, backup.id, proved_body(backup), now())
    return Verified(backup=backup, recorded=True, deep=True)

"""Room for a backup and for its proof, asked before anything is written."""

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from pgrehearse.errors import BackupFailed
from pgrehearse.release.backup.scratch import ScratchOptions

DUMP_SHARE = 5  # a compressed dump takes about a fifth of the database, whose indexes it does not hold


def require_room(directory: Path, database_bytes: int | None, scratch: ScratchOptions) -> None:
    """Raise `BackupFailed` where the file systems plainly have too little: for the dump, and for a private scratch.

    An estimate: what compresses badly can still fill the disk, and is then told by pg_dump.
    """
    if database_bytes is None:
        return
    wanted = {directory: database_bytes // DUMP_SHARE}
    if scratch.server is None:
        work = scratch.work_directory or Path(tempfile.gettempdir())
        together = work.stat().st_dev == directory.stat().st_dev
        if together:
            wanted[directory] += database_bytes
        else:
            wanted[work] = database_bytes
    for place, needed in wanted.items():
        free = shutil.disk_usage(place).free
        if free < needed:
            raise BackupFailed(
                f"{place} has {free >> 20} MB free; about {needed >> 20} MB are needed for a backup of "
                f"{database_bytes >> 20} MB and its proof",
                remedy="Free disk space there, or name another backup.directory, or a server with backup.scratch.",
            )


def size_of(directory: Path) -> int:
    """Bytes that all files below it take; one that goes away meanwhile takes none."""
    total = 0
    for entry in directory.rglob("*"):
        with suppress(FileNotFoundError):
            status = entry.lstat()
            total += status.st_size if S_ISREG(status.st_mode) else 0
    return total

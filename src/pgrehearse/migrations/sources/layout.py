"""Which layout a folder of migrations has, told from its names alone: nothing is read, and no ledger is known."""

import os
from pathlib import Path

from pgrehearse.errors import MalformedSource, SourceNotFound
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.sources.migration_file import is_folder, is_there, told

JOURNAL = "meta/_journal.json"  # drizzle-kit 0.31
MIGRATION_FILE = "migration.sql"  # drizzle-kit 1.0, in a folder for each migration


def find_layout(path: Path, display: str) -> SourceKind:
    """The layout of the folder; raises `SourceNotFound` and `MalformedSource` as `open_source` does."""
    if not is_there(path, display):
        raise SourceNotFound(f"there is no folder {display}")
    if not is_folder(path, display):
        if path.is_symlink() and not path.exists():
            raise SourceNotFound(f"there is no folder {display} (a symbolic link that leads nowhere)")
        raise SourceNotFound(
            f"{display} is a file, and a folder of migrations is needed",
            remedy="A single file is rehearsed with `pgrehearse run --file FILE`.",
        )
    try:
        with os.scandir(path) as found:  # each tells what it is without another question
            entries = [entry for entry in found if not entry.name.startswith(".")]
        has_journal = (path / JOURNAL).exists() or (path / JOURNAL).is_symlink()
        perhaps = [entry for entry in entries if not entry.is_file(follow_symlinks=False)]
        folders = sorted(entry.name for entry in perhaps if Path(entry.path, MIGRATION_FILE).exists())
        files = sorted(entry.name for entry in entries if entry.name.lower().endswith(".sql"))
    except OSError as error:
        raise MalformedSource(f"cannot read the folder {display}: {told(error)}") from error
    if has_journal and folders:
        raise MalformedSource(
            f"{display} mixes two drizzle layouts: meta/_journal.json (0.31) and {folders[0]}/{MIGRATION_FILE} (1.0)",
            remedy="Finish the change with `drizzle-kit up` of 1.0, or remove the new folders.",
        )
    if folders and files:
        raise MalformedSource(
            f"{display} mixes two layouts: the folder {folders[0]}/ of drizzle 1.0 and the loose file {files[0]}",
            remedy="Move the loose .sql files into a folder of their own; drizzle 1.0 never runs them.",
        )
    if has_journal:
        return SourceKind.DRIZZLE_JOURNAL
    if folders:
        return SourceKind.DRIZZLE_FOLDER
    if files:
        return SourceKind.SQL_FOLDER
    raise SourceNotFound(f"the folder {display} holds no migrations: no meta/_journal.json, no migration.sql, no *.sql")

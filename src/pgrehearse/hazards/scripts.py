"""Which files a lint reads: named ones, and all of a migrations folder, in the journal or not."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from pgrehearse.errors import MalformedSource, SourceNotFound
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.sources.layout import find_layout
from pgrehearse.migrations.sources.migration_file import is_folder, is_there, read_migration_file
from pgrehearse.migrations.sources.numbered_files import read_numbered_files


def read_scripts(paths: Iterable[Path]) -> tuple[Migration, ...]:
    """Every migration below these paths, each file once.

    A folder gives its migrations in their own tool's order, then the ``.sql`` files that its journal does
    not list: a tool passes over them, and people run them by hand.  Raises `SourceNotFound` and
    `MalformedSource` (exit 2).
    """
    found: dict[tuple[str, str], Migration] = {}
    places = _Places()
    for path in paths:
        for migration in _read_folder(path, places) if is_folder(path, str(path)) else [_read_file(path)]:
            found.setdefault(places.of(migration.path), migration)
    return tuple(found.values())


class _Places:
    """Where files really are; the folder of many is looked up once."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def of(self, file: str) -> tuple[str, str]:
        folder, name = os.path.split(os.path.realpath(file) if Path(file).is_symlink() else file)
        if folder not in self._folders:
            self._folders[folder] = os.path.realpath(folder)
        return self._folders[folder], name


def _read_folder(folder: Path, places: _Places) -> Iterator[Migration]:
    kind = find_layout(folder, str(folder))
    if kind is SourceKind.SQL_FOLDER:
        migrations, _ = read_numbered_files(folder, str(folder))
    else:
        from pgrehearse.migrations.sources.find import open_source  # it brings the ledgers, and so a driver

        source = open_source(folder)
        source.require_whole()
        migrations = source.migrations
    yield from migrations
    listed = {places.of(migration.path) for migration in migrations}
    for file in sorted(folder.glob("*.sql")):
        if places.of(str(file)) not in listed:
            yield _script(file, kind)


def _read_file(file: Path) -> Migration:
    if not is_there(file, str(file)):
        raise SourceNotFound(f"there is no file or folder {file}", remedy="Check the path.")
    return _script(file, _layout_around(file))


def _layout_around(file: Path) -> SourceKind:
    """A file in a drizzle folder is judged as drizzle would run it, listed in the journal or not."""
    for folder in file.resolve().parents[:2]:
        try:
            kind = find_layout(folder, str(folder))
        except (SourceNotFound, MalformedSource):
            continue
        if kind is SourceKind.DRIZZLE_JOURNAL and folder == file.resolve().parent:
            return kind
        if kind is SourceKind.DRIZZLE_FOLDER and folder == file.resolve().parent.parent:
            return kind
    return SourceKind.AD_HOC


def _script(file: Path, kind: SourceKind) -> Migration:
    return Migration(
        version=file.stem, name=file.stem, path=str(file), kind=kind, content=read_migration_file(file, str(file))
    )

"""Which files a lint reads: named ones, and all of a migrations folder, in the journal or not."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pgrehearse.errors import MalformedSource, SourceNotFound
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.sources.layout import find_layout
from pgrehearse.migrations.sources.migration_file import read_migration_file


def read_scripts(paths: Iterable[Path]) -> tuple[Migration, ...]:
    """Every migration below these paths, each file once.

    A folder gives its migrations in their own tool's order, then the ``.sql`` files that its journal does
    not list: a tool passes over them, and people run them by hand.  Raises `SourceNotFound` and
    `MalformedSource` (exit 2).
    """
    found: dict[Path, Migration] = {}
    for path in paths:
        for migration in _read_folder(path) if path.is_dir() else [_read_file(path)]:
            found.setdefault(Path(migration.path).resolve(), migration)
    return tuple(found.values())


def _read_folder(folder: Path) -> Iterator[Migration]:
    from pgrehearse.migrations.sources.find import open_source  # it brings the ledgers, and so a driver

    source = open_source(folder)
    source.require_whole()
    yield from source.migrations
    listed = {Path(migration.path).resolve() for migration in source.migrations}
    for file in sorted(folder.glob("*.sql")):
        if file.resolve() not in listed:
            yield _script(file, source.kind)


def _read_file(file: Path) -> Migration:
    if not file.exists():
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

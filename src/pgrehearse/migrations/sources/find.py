"""Which layout a folder has, and the source that reads it."""

from pathlib import Path

from pgrehearse.errors import SourceNotFound
from pgrehearse.migrations.drizzle_ledger import DEFAULT_NAMESPACE, DEFAULT_TABLE
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.migrations.sources.drizzle_folder import read_drizzle_folder
from pgrehearse.migrations.sources.drizzle_journal import read_drizzle_journal
from pgrehearse.migrations.sources.layout import find_layout
from pgrehearse.migrations.sources.migration_file import is_folder, is_there, read_migration_file
from pgrehearse.migrations.sources.source import Source
from pgrehearse.migrations.sources.sql_folder import read_sql_folder


def open_source(
    path: Path,
    *,
    display: str | None = None,
    drizzle_namespace: str = DEFAULT_NAMESPACE,
    drizzle_table: str = DEFAULT_TABLE,
) -> Source:
    """Read a migrations folder of whichever layout, without a database.

    ``meta/_journal.json`` makes it drizzle 0.31's, folders with ``migration.sql`` drizzle 1.0's, ``*.sql``
    files a numbered SQL folder.  The drizzle names are those of its config's ``migrations.schema`` and
    ``migrations.table``.  Raises `SourceNotFound` (no folder, an empty one) and `MalformedSource` (two
    layouts at once, a file that cannot be read), both exit 2.
    """
    shown = str(path) if display is None else display
    kind = find_layout(path, shown)
    if kind is SourceKind.DRIZZLE_JOURNAL:
        return read_drizzle_journal(path, shown, namespace=drizzle_namespace, table=drizzle_table)
    if kind is SourceKind.DRIZZLE_FOLDER:
        return read_drizzle_folder(path, shown, namespace=drizzle_namespace, table=drizzle_table)
    return read_sql_folder(path, shown)


def ad_hoc_source(file: Path, *, display: str | None = None) -> Source:
    """One named file as a source of its own, recorded in our own ledger under its file name.

    The same name with other bytes may be run again; the same bytes under the same name are applied once.
    """
    shown = str(file) if display is None else display
    if not is_there(file, shown):
        raise SourceNotFound(f"there is no file {shown}", remedy="Check the path given to --file.")
    if is_folder(file, shown):
        raise SourceNotFound(
            f"{shown} is a folder", remedy="Give the folder itself as migrations, or one file to --file."
        )
    migration = Migration(
        version=file.name,
        name=file.stem,
        path=shown,
        kind=SourceKind.AD_HOC,
        content=read_migration_file(file, shown),
    )
    return Source(
        kind=SourceKind.AD_HOC, display=shown, migrations=(migration,), ledger=OwnLedger(kind=SourceKind.AD_HOC)
    )

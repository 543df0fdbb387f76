"""A folder of ``NNNN_name.sql`` files: any leading number or timestamp, ordered by it."""

from pathlib import Path

from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.migrations.sources.numbered_files import read_numbered_files
from pgrehearse.migrations.sources.source import Source


def read_sql_folder(path: Path, display: str) -> Source:
    """Read the numbered files; two files of one number raise `MalformedSource`, as their order is unknown."""
    migrations, problems = read_numbered_files(path, display)
    return Source(
        kind=SourceKind.SQL_FOLDER,
        display=display,
        migrations=migrations,
        ledger=OwnLedger(kind=SourceKind.SQL_FOLDER),
        problems=problems,
    )

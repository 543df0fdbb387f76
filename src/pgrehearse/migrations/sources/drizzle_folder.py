"""drizzle-kit 1.0's layout: a folder ``YYYYMMDDHHMMSS_name`` with ``migration.sql`` for each migration, no journal."""

import re
from datetime import UTC, datetime
from pathlib import Path

from pgrehearse.errors import MalformedSource
from pgrehearse.migrations.drizzle_ledger import DrizzleLedger
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.sources.layout import MIGRATION_FILE
from pgrehearse.migrations.sources.migration_file import byte_order_mark_note, is_there, read_migration_file, told
from pgrehearse.migrations.sources.source import Problem, ProblemKind, Severity, Source

_FOLDER_NAME = re.compile(r"(?P<time>[0-9]{14})_?(?P<name>.*)", re.DOTALL)
# drizzle sorts with JavaScript's localeCompare: ICU's root collation puts punctuation before digits before
# letters.  Seen only where two folders share a second.
_PUNCTUATION = "_-,;:!?.'\"()[]{}@*/\\&#%`^+<=>|~$ "


def read_drizzle_folder(path: Path, display: str, *, namespace: str, table: str) -> Source:
    """Read each folder's ``migration.sql`` in drizzle-orm 1.0's order.

    ``created_at_ms`` is the folder's UTC time in whole seconds, times 1000.  A folder that holds a
    migration and whose name has no time raises `MalformedSource`: drizzle would record NaN and fail.
    """
    shown = display.rstrip("/")
    migrations: list[Migration] = []
    problems: list[Problem] = []
    try:
        folders = [entry for entry in path.iterdir() if entry.is_dir()]
    except OSError as error:
        raise MalformedSource(f"cannot read the folder {display}: {told(error)}") from error
    for folder in sorted(folders, key=lambda entry: _collation_key(entry.name)):
        file = folder / MIGRATION_FILE
        file_display = f"{shown}/{folder.name}/{MIGRATION_FILE}"
        match = _FOLDER_NAME.fullmatch(folder.name)
        if not is_there(file, file_display):
            if match:
                problems.append(_without_migration(folder.name, shown))
            continue
        content = read_migration_file(file, file_display)
        problems += byte_order_mark_note(content, folder.name, file_display)
        migrations.append(
            Migration(
                version=folder.name,
                name=(match and match["name"]) or folder.name,
                path=file_display,
                kind=SourceKind.DRIZZLE_FOLDER,
                content=content,
                created_at_ms=_parse_time_ms(match["time"] if match else "", file_display),
            )
        )
    return Source(
        kind=SourceKind.DRIZZLE_FOLDER,
        display=display,
        migrations=tuple(migrations),
        ledger=DrizzleLedger(
            kind=SourceKind.DRIZZLE_FOLDER, namespace=namespace, name=table, migrations=tuple(migrations)
        ),
        problems=tuple(problems),
    )


def _parse_time_ms(digits: str, display: str) -> int:
    try:
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise MalformedSource(
            f"{display}: its folder does not begin with a time as YYYYMMDDHHMMSS",
            remedy="Name the folder as `drizzle-kit generate` does, for instance 20260131120000_add_orders.",
        ) from None
    return int(moment.timestamp()) * 1000


def _collation_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Close to ICU's root collation for the names that drizzle-kit makes; ties fall to lower case first."""
    weights: list[tuple[int, int, str]] = []
    for letter in name:
        if letter in _PUNCTUATION:
            weights.append((0, _PUNCTUATION.index(letter), ""))
        elif letter.isdigit():
            weights.append((1, 0, letter))
        else:
            weights.append((2, 0, letter.casefold()))
    return weights, name.swapcase()


def _without_migration(name: str, shown: str) -> Problem:
    return Problem(
        kind=ProblemKind.FOLDER_WITHOUT_MIGRATION,
        severity=Severity.ERROR,
        subject=name,
        message=f"{shown}/{name} has no {MIGRATION_FILE}: drizzle ignores the folder",
        remedy="Bring the file back from version control, or remove the folder if it was never applied.",
    )

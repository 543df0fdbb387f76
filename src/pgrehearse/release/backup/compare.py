"""Whether a restored database is what the snapshot held: rows, values, sequences, large objects, shape."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from pgrehearse.counted import counted
from pgrehearse.errors import BackupDiffers
from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.progress import Progress, Silent
from pgrehearse.release.backup.contents import Contents, SequenceContent, TableContent
from pgrehearse.release.backup.dump_backup import SHOWN, DumpBackup
from pgrehearse.release.backup.reading import Reader, read_contents
from pgrehearse.release.backup.shape import Shape, find_differences, shape_of, start_schema_dump


def compare_with_backup(
    backup: DumpBackup,
    restored: Conninfo,
    *,
    jobs: int = 2,
    progress: Progress | None = None,
    work_directory: Path | None = None,
) -> tuple[str, ...]:
    """Every difference as a sentence; () where the database holds exactly what the backup's manifest says.

    Nobody may write to it meanwhile.  One scan of every table, ``pg_dump --schema-only``, ACCESS SHARE locks.
    Names of relations and columns are told, never values.  Raises `SourceUnreadable`, `BackupFailed` (3).
    """
    told = progress or Silent()
    manifest = backup.manifest
    told.step(f"comparing {restored.address} with the backup")
    found = read_copy(restored, manifest.contents, jobs=jobs, progress=told)
    text, shape = read_shape(restored, work_directory=work_directory)
    return (
        *find_content_differences(manifest.contents, found),
        *_find_other_sequences(manifest.contents.sequences, found.sequences),
        *find_differences(backup.schema_text(), manifest.shape, text, shape),
    )


def require_equal(differences: tuple[str, ...], what: str) -> None:
    """Raise `BackupDiffers` with what differs."""
    if differences:
        told = "\n".join(f"  - {sentence}" for sentence in differences[:SHOWN])
        more = f"\n  and {len(differences) - SHOWN} more" if len(differences) > SHOWN else ""
        raise BackupDiffers(f"{what} is not what was dumped:\n{told}{more}")


def read_copy(restored: Conninfo, like: Contents, *, jobs: int, progress: Progress) -> Contents:
    """What a restored database holds, each table read by the key that the snapshot's was read by."""
    reader = Reader(open=lambda: connect(restored, verb="backup"))
    return read_contents(reader, progress=progress, jobs=jobs, like={table.name: table for table in like.tables})


def read_shape(
    database: Conninfo, *, snapshot: str | None = None, work_directory: Path | None = None
) -> tuple[str, Shape]:
    """The schema's text by pg_dump, and its digests.  Reads the catalogs in a session of its own."""
    with (
        connect(database, verb="backup") as session,
        tempfile.TemporaryDirectory(prefix="pgrehearse-schema-", dir=work_directory) as work,
    ):
        binaries = require_client(session.info.server_version // 10000)
        file = Path(work) / "schema.sql"
        with start_schema_dump(
            binaries, database, file=file, log=Path(work) / "pg_dump.log", snapshot=snapshot
        ) as program:
            program.wait()
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
        return text, shape_of(text, session)


def find_content_differences(before: Contents, after: Contents) -> tuple[str, ...]:
    """Tables and large objects; sequences go on while a snapshot stands still and are compared by themselves."""
    ours = {table.name: table for table in before.tables}
    theirs = {table.name: table for table in after.tables}
    told = [f"{name} is missing in the copy" for name in ours if name not in theirs]
    told += [f"{name} is only in the copy" for name in theirs if name not in ours]
    for name, table in ours.items():
        if name in theirs:
            told += _table_differences(table, theirs[name])
    if before.large_objects != after.large_objects:
        one, two = before.large_objects, after.large_objects
        told.append(
            f"large objects: {one.count} in the snapshot, {two.count} in the copy"
            if one.count != two.count
            else "large objects: their content or owners differ"
        )
    return tuple(told)


def find_sequences_outside(
    before: tuple[SequenceContent, ...], after: tuple[SequenceContent, ...], copy: tuple[SequenceContent, ...]
) -> tuple[str, ...]:
    """Sequences of the copy that stand where the source's stood at no moment between two readings.

    pg_dump reads a sequence once, somewhere between them.  One that cycles may have stood anywhere.
    """
    ends = {each.name: each for each in after}
    copies = {each.name: each for each in copy}
    told = [f"sequence {name} is only in the copy" for name in copies if all(name != one.name for one in before)]
    for start in before:
        end, found = ends.get(start.name), copies.get(start.name)
        if found is None or end is None:
            told.append(f"sequence {start.name} is missing in the copy" if found is None else _gone(start.name))
            continue
        low, high = sorted((start.next_value, end.next_value))
        if not low <= found.next_value <= high and not (start.cycles and start != end):
            told.append(
                f"sequence {start.name} goes on with {found.next_value} in the copy, with {low} to {high} in the source"
            )
    return tuple(told)


def _gone(name: str) -> str:
    return f"sequence {name} was dropped while the backup was taken"


def _find_other_sequences(before: tuple[SequenceContent, ...], after: tuple[SequenceContent, ...]) -> Iterator[str]:
    ours, theirs = _by_name(before), _by_name(after)
    for name in dict.fromkeys((*ours, *theirs)):
        one, two = ours.get(name), theirs.get(name)
        if one is None or two is None:
            yield f"sequence {name} is {'only' if one is None else 'missing'} in the copy"
        elif one != two:
            yield f"sequence {name} goes on with {two.next_value} in the copy, with {one.next_value} in the backup"


def _by_name(sequences: tuple[SequenceContent, ...]) -> Mapping[str, SequenceContent]:
    return {each.name: each for each in sequences}


def _table_differences(one: TableContent, two: TableContent) -> Iterator[str]:
    if one.rows != two.rows:
        yield f"{one.name}: {counted(one.rows, 'row')} in the snapshot, {two.rows:,} in the copy"
    elif one.keys != two.keys:
        which = f"other values of {', '.join(one.key)}" if one.key else "other rows"
        yield f"{one.name}: {which} in the copy"
    for column in dict.fromkeys((*one.columns, *two.columns)):
        if column not in one.columns or column not in two.columns:
            yield f"{one.name}: column {column} is {'only' if column not in one.columns else 'missing'} in the copy"
        elif one.rows == two.rows and one.keys == two.keys and one.columns[column] != two.columns[column]:
            yield f"{one.name}: values of {column} differ"

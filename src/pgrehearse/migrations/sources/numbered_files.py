"""The files of a folder of ``NNNN_name.sql``, ordered by any leading number or timestamp; no ledger, so no driver."""

import re
from pathlib import Path

from pgrehearse.errors import MalformedSource, SourceNotFound
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.sources.migration_file import read_migration_file, told
from pgrehearse.migrations.sources.source import Problem, ProblemKind, Severity

_FILE_NAME = re.compile(r"(?P<number>[0-9]+)[-_. ]*(?P<name>.*)\.sql", re.IGNORECASE | re.DOTALL)


def read_numbered_files(path: Path, display: str) -> tuple[tuple[Migration, ...], tuple[Problem, ...]]:
    """The migrations in order, and what is wrong with other files.

    Two files of one number raise `MalformedSource`, as their order is unknown.
    """
    try:
        files = sorted(
            entry for entry in path.iterdir() if entry.name.lower().endswith(".sql") and not entry.name.startswith(".")
        )
    except OSError as error:
        raise MalformedSource(f"cannot read the folder {display}: {told(error)}") from error
    numbered: dict[int, tuple[Path, str]] = {}
    problems: list[Problem] = []
    for file in files:
        match = _FILE_NAME.fullmatch(file.name)
        if match is None:
            problems.append(_no_number(file, display))
            continue
        number = int(match["number"])
        if number in numbered:
            raise _same_number(numbered[number][0], file, display)
        numbered[number] = (file, match["name"])
    if not numbered:
        raise SourceNotFound(
            f"no .sql file in {display} begins with a number, so their order is unknown (found {files[0].name})",
            remedy="Name them NNNN_name.sql; a single file is rehearsed with `pgrehearse run --file FILE`.",
        )
    migrations = tuple(
        Migration(
            version=file.name[: -len(".sql")],
            name=name,
            path=f"{display.rstrip('/')}/{file.name}",
            kind=SourceKind.SQL_FOLDER,
            content=read_migration_file(file, f"{display.rstrip('/')}/{file.name}"),
        )
        for _, (file, name) in sorted(numbered.items())
    )
    return migrations, tuple(problems)


def _no_number(file: Path, display: str) -> Problem:
    return Problem(
        kind=ProblemKind.NO_NUMBER,
        severity=Severity.ERROR,
        subject=file.name,
        message=f"{display.rstrip('/')}/{file.name} does not begin with a number: without a place in the order, "
        "it is never run",
        remedy="Give it the next number, or move it out of the migrations folder.",
    )


def _same_number(first: Path, second: Path, display: str) -> MalformedSource:
    down = next((file for file in (first, second) if ".down." in file.name.lower()), None)
    return MalformedSource(
        f"{display} has two files of one number: {first.name} and {second.name}",
        remedy=(
            f"pgrehearse runs forward files only: move {down.name} and its kind into a folder of their own."
            if down
            else "Give one of them the next free number; nothing was run."
        ),
    )

"""The workload from a file: SQL statements, or a PostgreSQL log (stderr, csvlog, jsonlog).

Only a log that holds statements helps: log_statement = 'all', or log_min_duration_statement = 0.
"""

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from pathlib import Path

import pglast.parser

from pgrehearse.errors import ConfigurationError
from pgrehearse.queries.statement_text import COMMENTS
from pgrehearse.queries.workload import Gathering, Workload

MOST_SHAPES = 100_000  # that are remembered by their text, so that each is parsed once
CSV_USER, CSV_DATABASE, CSV_MESSAGE, CSV_FIELDS = 1, 2, 13, 23

# `statement: …`, `execute NAME: …`, both with `duration: 1.2 ms  ` before them; parse and bind are not executed yet.
_SAID = re.compile(
    r"(?:duration: (?P<ms>[0-9.]+) ms  )?(?:statement|execute (?:fetch from )?[^:\n]*): (?P<text>.*)", re.DOTALL
)
_LOG_LINE = re.compile(r"^(?P<prefix>.*?)(?P<level>[A-Z]+[0-9]?):  (?P<message>.*)$", re.DOTALL)
_LEVELS = frozenset({
    "DEBUG1", "DEBUG2", "DEBUG3", "DEBUG4", "DEBUG5", "LOG", "INFO", "NOTICE", "WARNING", "ERROR", "FATAL", "PANIC",
    "DETAIL", "HINT", "QUERY", "CONTEXT", "LOCATION", "STATEMENT",
})  # fmt: skip
_WHO = re.compile(r"(?P<user>[^\s@=,\[\]]+)@(?P<database>[^\s@=,\[\]]+)")  # Debian's %u@%d, and most others'
_WHO_NAMED = re.compile(r"\buser=(?P<user>[^\s,]+),\s*db=(?P<database>[^\s,]+)")  # pgBadger's
_VALUE = re.compile(r"'(?:[^'\\]|''|\\.)*'|\b\d+(?:\.\d+)?\b")


class FileKind(Enum):
    """What a workload file turned out to be."""

    SQL = "statements"
    STDERR = "stderr log"
    CSV = "csvlog"
    JSON = "jsonlog"


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One statement of a log."""

    text: str
    user: str | None
    database: str | None
    duration_ms: float | None


def read_file(
    path: Path, *, database: str, role: str | None, role_settings: Mapping[str, Mapping[str, str]]
) -> Workload:
    """The statements of this database's sessions; those of a log whose database is not told are taken as ours.

    ``role`` sends those of whom no user is told.  Reads the file once, line by line; some 100 MB of a log per minute.
    Raises `ConfigurationError`.
    """
    gathering = Gathering()
    known: dict[tuple[str, str | None], tuple[str, str | None] | None] = {}
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
            kind, rest = _kind_of(lines)
            if kind is FileKind.SQL:
                for text in split_statements("".join(rest)):
                    gathering.add(text, role=role, keep_example=True)
                return gathering.finished(path.name, role_settings)
            for logged in _READERS[kind](rest):
                if logged.database not in (None, database):
                    gathering.leave_out("it was sent to another database")
                    continue
                sender = logged.user or role
                # Parsing costs more than reading: what differs by its values alone is parsed once.
                shape = (_VALUE.sub("?", logged.text), sender)
                if (key := known.get(shape)) is not None:
                    gathering.repeat(key, total_ms=logged.duration_ms)
                    continue
                key = gathering.add(logged.text, role=sender, calls=1, total_ms=logged.duration_ms, keep_example=True)
                if len(known) < MOST_SHAPES:
                    known[shape] = key
    except OSError as error:
        raise ConfigurationError(
            f"the workload {path.name} cannot be read: {error.strerror}", remedy="Name a readable file with --workload."
        ) from None
    return gathering.finished(path.name, role_settings)


def _kind_of(lines: Iterable[str]) -> tuple[FileKind, Iterator[str]]:
    """By the first lines that say anything."""
    rest = iter(lines)
    first: list[str] = []
    for line in rest:
        first.append(line)
        if line.strip() and (kind := _kind_of_line(line)) is not None:
            return kind, chain(first, rest)
        if len(first) >= 1000:
            break
    return FileKind.SQL, chain(first, rest)


def _kind_of_line(line: str) -> FileKind | None:
    if line.startswith("{"):
        return FileKind.JSON
    found = _LOG_LINE.match(line.rstrip("\r\n"))
    # A prefix has a time or a process id; without one it is empty.
    if found is not None and found["level"] in _LEVELS and re.fullmatch(r"(?!\s*--)(.*\d.*)?", found["prefix"]):
        return FileKind.STDERR
    if re.match(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", line) and line.count(",") >= CSV_FIELDS - 8:
        return FileKind.CSV
    return None


def split_statements(text: str) -> Iterator[str]:
    """The statements of an SQL file; by the scanner alone, so that one mistake does not cost the rest.

    Raises `ConfigurationError`.
    """
    try:
        tokens = pglast.parser.scan(text)
    except pglast.parser.Error as error:
        raise ConfigurationError(
            f"the file of statements cannot be split into statements: {error.args[0]}",
            remedy="Close the quote or comment.",
        ) from None
    start = depth = 0
    said = False  # whether there is more than comments
    for token in tokens:
        depth += {"ASCII_40": 1, "ASCII_41": -1}.get(token.name, 0)
        if token.name == "ASCII_59" and depth <= 0:
            if said:
                yield text[start : token.start]
            start, said = token.end + 1, False
        elif token.name not in COMMENTS:
            said = True
    if said:
        yield text[start:]


# --- logs -----------------------------------------------------------------------------------------------------------


def _read_stderr(lines: Iterable[str]) -> Iterator[Logged]:
    """A message goes on in lines that begin with a tab."""
    held: list[str] = []
    for line in chain(lines, ("",)):
        line = line.rstrip("\r\n")
        if held and line.startswith("\t"):
            held.append(line[1:])
            continue
        if held:
            yield from _of_line("\n".join(held))
        held = [line]


def _of_line(line: str) -> Iterator[Logged]:
    found = _LOG_LINE.match(line)
    if found is None or found["level"] != "LOG":
        return
    who = _WHO_NAMED.search(found["prefix"]) or _WHO.search(found["prefix"])
    yield from _said(found["message"], who["user"] if who else None, who["database"] if who else None)


def _read_csv(lines: Iterable[str]) -> Iterator[Logged]:
    csv.field_size_limit(1 << 30)
    for row in csv.reader(lines):
        if len(row) >= CSV_FIELDS:
            yield from _said(row[CSV_MESSAGE], row[CSV_USER] or None, row[CSV_DATABASE] or None)


def _read_json(lines: Iterable[str]) -> Iterator[Logged]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # a line that is still being written, or another program's
        if isinstance(entry, dict):
            yield from _said(str(entry.get("message", "")), entry.get("user"), entry.get("dbname"))


def _said(message: str, user: str | None, database: str | None) -> Iterator[Logged]:
    found = _SAID.fullmatch(message)
    if found is None:
        return
    duration_ms = None if found["ms"] is None else float(found["ms"])
    yield Logged(text=found["text"], user=user, database=database, duration_ms=duration_ms)


_READERS = {FileKind.STDERR: _read_stderr, FileKind.CSV: _read_csv, FileKind.JSON: _read_json}

"""Comments in a migration that allow a hazard, with the reason.

    -- pgrehearse: allow drop-column because nothing has read it since 2.4
    ALTER TABLE users DROP COLUMN nick;

On a line of its own it speaks of the next statement, or of the one that it stands in; behind a statement, of that
one.  What a rehearsal observes is never silenced by it: only what lint predicts.
"""

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pglast.parser import ParseError, scan

from pgrehearse.errors import MalformedAllow, UnknownHazard
from pgrehearse.hazards.catalogue import require_hazard
from pgrehearse.hazards.foreign_formats import blank_foreign
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.statements import DRIZZLE_BREAKPOINT, DRIZZLE_KINDS

_MEANT = re.compile(r"(?:--|/\*)[\s>]*pg_?rehearse\b\W*allow\b", re.IGNORECASE)
_ALLOW = re.compile(r"--\s*pgrehearse:\s*allow\s+(?P<hazards>[\w-]+(?:\s*,\s*[\w-]+)*)(?P<rest>.*)$", re.IGNORECASE)
_BECAUSE = re.compile(r"\s+because\s+(?P<reason>\S.*?)[\s;]*$", re.IGNORECASE)
_LINE_COMMENT = re.compile(r"--[^\r\n]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """One comment, and one hazard that it allows."""

    hazard: str
    reason: str
    file: str
    line: int  # of the comment, 1-based
    alone: bool  # nothing else stands before it on its line


def read_allows(migrations: Iterable[Migration]) -> tuple[Allow, ...]:
    """The files' comments, in order.  Pure; a file without any costs a search for one word.

    Raises `MalformedAllow` (exit 2), with file and line, for one that cannot be read, gives no reason, or names a
    hazard that there is not.
    """
    return tuple(allow for migration in migrations for allow in _of_file(migration))


def _of_file(migration: Migration) -> Iterator[Allow]:
    if b"allow" not in migration.content.lower():
        return
    foreign = blank_foreign(migration.content)
    content = migration.content if foreign is None else foreign.content
    text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace")
    if _MEANT.search(text) is None:
        return
    for at, comment in _comments(text, drizzle=migration.kind in DRIZZLE_KINDS):
        if _MEANT.match(comment) is not None:
            alone = not text[:at].rpartition("\n")[2].strip()
            yield from _read(comment, migration.path, text.count("\n", 0, at) + 1, alone=alone)


def _comments(text: str, *, drizzle: bool) -> Iterator[tuple[int, str]]:
    """Each comment with where it begins.  By the server's own scanner, so none inside a string or a function's body."""
    start = 0
    for chunk in text.split(DRIZZLE_BREAKPOINT) if drizzle else [text]:
        if _MEANT.search(chunk) is not None:
            try:
                found = [(token.start, token.end) for token in scan(chunk) if "COMMENT" in token.name]
            except ParseError:  # what is no SQL is lint's to tell; its comments are read line by line
                found = [(match.start(), match.end() - 1) for match in _LINE_COMMENT.finditer(chunk)]
            for first, last in found:
                yield start + first, chunk[first : last + 1]
        start += len(chunk) + len(DRIZZLE_BREAKPOINT)


def _read(comment: str, file: str, line: int, *, alone: bool) -> Iterator[Allow]:
    told = " ".join(comment.split())
    read = _ALLOW.match(comment)
    if read is None:
        raise MalformedAllow(f"{file}:{line}:1: cannot read what is allowed: {told}")
    because = _BECAUSE.match(read["rest"])
    if because is None:
        raise MalformedAllow(f"{file}:{line}:1: a hazard is allowed without a reason: {told}")
    for hazard in re.split(r"\s*,\s*", read["hazards"].lower()):
        try:
            require_hazard(hazard)
        except UnknownHazard as error:
            raise MalformedAllow(f"{file}:{line}:1: {error}: {told}", remedy=error.remedy) from None
        yield Allow(hazard=hazard, reason=because["reason"], file=file, line=line, alone=alone)


def covered(allow: Allow, places: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Which statements of its file an allow speaks of; `places` are their first and last lines, in order."""
    around = [place for place in places if place[0] <= allow.line <= place[1]]
    if around:
        yield from around
    elif allow.alone:
        after = next((place for place in places if place[0] > allow.line), None)
        yield from [place for place in places if after is not None and place[0] == after[0]]
    else:  # behind nothing but the semicolon of a statement that ends above
        yield from [place for place in places if place[1] < allow.line][-1:]

"""The shape of a database as ``pg_dump --schema-only`` writes it, and when two such texts say the same.

The server prints some expressions otherwise once they were restored (``varchar IN (…)``: see `schema.normalise`), so
where the texts differ, the catalogs' normal forms decide; what those do not cover must be equal as text.
"""

import hashlib
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pgrehearse.clones.dump_restore import LOCK_WAIT_MS, ChildProgram
from pgrehearse.errors import SchemaUnreadable
from pgrehearse.postgres.binaries import Binaries
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.schema.diff import diff
from pgrehearse.schema.packed import pack, unpack
from pgrehearse.schema.schema_object import ObjectKind
from pgrehearse.schema.snapshot import read_schema

RESTRICT_KEY = "pgrehearse"  # pg_dump would put a random one into each text
# What a copy elsewhere must not have as it is: it would reach out, or holds secrets.  Definitions of these stand in
# the dump, whose bytes are hashed.
NOT_COMPARED = frozenset({"USER MAPPING", "SUBSCRIPTION", "SUBSCRIPTION TABLE"})
# `read_schema` does not look into the tools' own namespaces and at addresses of servers: equal as text or not at all.
ONLY_AS_TEXT = re.compile(r"; Schema: (?:pgrehearse|drizzle)|; Type: (?:SERVER|FOREIGN DATA WRAPPER);")

_HEADER = re.compile(r"^--\n-- (?P<header>Name: .*; Type: [A-Z ]+; Schema: .*)\n--$", re.MULTILINE)
_NOISE = re.compile(
    r"^\\(?:un)?restrict .*\n|^-- Dumped (?:from|by) .*\n|^--\n-- PostgreSQL database dump(?: complete)?\n--\n",
    re.MULTILINE,
)
_SETTING = re.compile(r"^SET default_[a-z_]+ = .*;$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """``text_sha256`` is of `comparable`; ``packed`` is the catalogs' reading, see `schema.packed`."""

    text_sha256: str
    packed: str


def start_schema_dump(
    binaries: Binaries, source: Conninfo, *, file: Path, log: Path, snapshot: str | None = None
) -> ChildProgram:
    """Start ``pg_dump --schema-only`` into ``file``; tablespaces are the server's business and left out."""
    arguments = [
        binaries.program("pg_dump"), "--schema-only", "--no-tablespaces", "--no-password", "--no-sync",
        f"--file={file}", f"--lock-wait-timeout={LOCK_WAIT_MS}",
    ]  # fmt: skip
    if snapshot is not None:
        arguments.append(f"--snapshot={snapshot}")
    if _has_restrict_key(binaries):
        arguments.append(f"--restrict-key={RESTRICT_KEY}")
    return ChildProgram(arguments, conninfo=source, log=log)


def shape_of(text: str, session: Connection) -> Shape:
    """The text's digest, and the catalogs as the session sees them."""
    digest = hashlib.sha256(comparable(text).encode(errors="surrogateescape")).hexdigest()
    return Shape(text_sha256=digest, packed=pack(read_schema(session)))


def comparable(text: str) -> str:
    """The text without versions, `NOT_COMPARED` entries and the restrict key."""
    return "".join(f"{header}\n{body}" for header, body in entries_of(text).items())


def entries_of(text: str) -> dict[str, str]:
    """pg_dump's entries by their header line; one header twice is joined.  The preamble stands under ``""``."""
    entries: dict[str, str] = {}
    header, place, carried = "", 0, ""
    text = _NOISE.sub("", text)
    for match in (*_HEADER.finditer(text), None):
        # What pg_dump sets before a table stands behind the entry before it, which may be one that is left out.
        body, settings = _split_settings(text[place : match.start() if match else len(text)])
        if not _is_left_out(header):
            entries[header] = f"{entries.get(header, '')}{carried}{body}\n"
            carried = ""
        carried += settings
        if match is not None:
            header, place = match["header"], match.end()
    return entries


def _split_settings(body: str) -> tuple[str, str]:
    settings = "".join(f"{line}\n" for line in _SETTING.findall(body))
    return re.sub(r"\n{2,}", "\n\n", _SETTING.sub("", body)).strip(), settings


def differing_entries(before: str, after: str) -> tuple[str, ...]:
    """The headers of what the two texts say differently, in their order."""
    ours, theirs = entries_of(before), entries_of(after)
    return tuple(header for header in dict.fromkeys((*ours, *theirs)) if ours.get(header) != theirs.get(header))


def find_differences(before_text: str, before: Shape, after_text: str, after: Shape) -> tuple[str, ...]:
    """What the copy's shape has otherwise; () where the two are the same shape, printed alike or not."""
    if before.text_sha256 == after.text_sha256:
        return ()
    differing = differing_entries(before_text, after_text)
    try:
        changes = diff(unpack(before.packed), unpack(after.packed))
    except SchemaUnreadable:  # packed by another version's recipe: the text alone is left
        return tuple(f"schema: {header}" for header in differing)
    # A dump names extensions without their version: each server installs the one it has.
    changes = tuple(
        change for change in changes if change.kind is not ObjectKind.EXTENSION or change.attribute != "version"
    )
    only_as_text = (header for header in differing if ONLY_AS_TEXT.search(header))
    return (*(f"schema: {change}" for change in changes), *(f"schema: {header}" for header in only_as_text))


def _is_left_out(header: str) -> bool:
    match = re.match(r"Name: (?P<name>.*); Type: (?P<type>[A-Z ]+); ", header)
    if match is None:
        return False
    about = match["type"] in {"COMMENT", "SECURITY LABEL"} and match["name"].startswith("SUBSCRIPTION ")
    return about or match["type"] in NOT_COMPARED


@cache
def _has_restrict_key(binaries: Binaries) -> bool:
    """Minor versions since August 2025 have it."""
    printed = subprocess.run([binaries.program("pg_dump"), "--help"], capture_output=True, text=True, check=False)
    return "--restrict-key" in printed.stdout

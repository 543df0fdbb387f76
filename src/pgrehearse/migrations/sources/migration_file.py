"""Read one migration file: raw bytes, refused when PostgreSQL could not read them as UTF-8 text."""

import errno
from pathlib import Path

from pgrehearse.errors import MalformedSource
from pgrehearse.migrations.sources.source import Problem, ProblemKind, Severity

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NO_RIGHT = "Look at the path and at the rights of each folder on the way; nothing was run."
SIZE_LIMIT_BYTES = 256 * 1024 * 1024


def is_there(path: Path, display: str) -> bool:
    """Whether anything has this name, a link that leads nowhere too; `MalformedSource` where nobody may look."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise MalformedSource(f"cannot read {display}: {told(error)}", remedy=_NO_RIGHT) from error
    return True


def is_folder(path: Path, display: str) -> bool:
    """Whether it is one, or a link to one; `MalformedSource` where nobody may look."""
    try:
        return path.is_dir()
    except OSError as error:
        raise MalformedSource(f"cannot read {display}: {told(error)}", remedy=_NO_RIGHT) from error


def read_migration_file(path: Path, display: str) -> bytes:
    """The file's bytes as they are.

    A byte order mark and CRLF are kept: digests are of the raw bytes.  Raises `MalformedSource` when the
    file cannot be read (rights, a symlink loop, a directory), is not UTF-8, nor is its name, or holds a NUL,
    which no SQL text may.
    """
    try:
        display.encode()
    except UnicodeEncodeError:
        raise MalformedSource(
            f"the name of {display.encode('utf-8', 'backslashreplace').decode()} is not UTF-8",
            remedy="Rename it: the ledger records migrations by their names.",
        ) from None
    try:
        if path.stat().st_size > SIZE_LIMIT_BYTES:
            raise MalformedSource(
                f"{display} has more than {SIZE_LIMIT_BYTES // 1024**2} MB",
                remedy="A migration is sent statement by statement; load bulk data with COPY outside the migration.",
            )
        content = path.read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError) and path.is_symlink():
            nowhere = "a symbolic link that leads nowhere"
            raise MalformedSource(f"cannot read {display}: {nowhere}", remedy="Mend the link.") from error
        raise MalformedSource(f"cannot read {display}: {told(error)}") from error
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise MalformedSource(
            f"{display}, line {line}: the bytes from 0x{content[error.start]:02x} on are not UTF-8",
            remedy="Save the file as UTF-8; drizzle-kit too reads it as UTF-8 and would hash and send other text.",
        ) from None
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        raise MalformedSource(
            f"{display}, line {line}: a NUL byte, which SQL text cannot hold",
            remedy="Save the file as UTF-8 (it may be UTF-16).",
        )
    return content


def byte_order_mark_note(content: bytes, version: str, display: str) -> tuple[Problem, ...]:
    """A note when drizzle would fail on this file's byte order mark; empty otherwise."""
    if not content.startswith(BYTE_ORDER_MARK):
        return ()
    return (
        Problem(
            kind=ProblemKind.BYTE_ORDER_MARK,
            severity=Severity.NOTE,
            subject=version,
            message=f"{display} begins with a byte order mark: drizzle sends it to PostgreSQL and fails",
            remedy="Save it as UTF-8 without BOM before it is applied anywhere; pgrehearse itself skips the mark.",
        ),
    )


def told(error: OSError) -> str:
    """The system's reason in words a user knows."""
    if error.errno == errno.ELOOP:
        return "a symbolic link that leads back to itself"
    if error.errno == errno.EISDIR:
        return "it is a directory"
    return error.strerror or type(error).__name__

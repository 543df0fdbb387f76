"""The files of a backup: listed, hashed, made durable, and compared with what was written down."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file as it must be; ``path`` is below the backup's directory, with slashes."""

    path: str
    size_bytes: int
    sha256: str


def record_files(directory: Path, *, without: Iterable[str] = ()) -> tuple[FileEntry, ...]:
    """Every file below the directory, synced to disk and hashed.  Reads all of it once (about 1 GB/s)."""
    left_out = set(without)
    entries = tuple(
        _record(path, name) for name, path in sorted(files_below(directory).items()) if name not in left_out
    )  # fmt: skip
    for folder in {directory, *(path for path in directory.rglob("*") if path.is_dir())}:
        sync_directory(folder)
    return entries


def find_damage(directory: Path, entries: Iterable[FileEntry], *, besides: Iterable[str] = ()) -> Iterator[str]:
    """A sentence for each file that is missing, too much, cut or changed.  Reads all of them."""
    there = files_below(directory)
    for name in besides:
        there.pop(name, None)
    for entry in entries:
        path = there.pop(entry.path, None)
        if path is None:
            yield f"{entry.path} is missing"
            continue
        try:
            size = path.stat().st_size
            if size != entry.size_bytes:
                yield f"{entry.path} has {size} bytes, not {entry.size_bytes}"
            elif _sha256(path) != entry.sha256:
                yield f"{entry.path} is not what was written: its SHA-256 differs"
        except OSError as error:
            yield f"{entry.path} cannot be read: {error.strerror}"
    for name in sorted(there):
        yield f"{name} does not belong to it"


def files_below(directory: Path) -> dict[str, Path]:
    """Everything below it that is no directory, by its path with slashes; links are files that nobody wrote."""
    return {
        path.relative_to(directory).as_posix(): path
        for path in directory.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


def sync_directory(directory: Path) -> None:
    """Make the names in it durable (a rename is not, before)."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _record(path: Path, name: str) -> FileEntry:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return FileEntry(path=name, size_bytes=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    if path.is_symlink():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

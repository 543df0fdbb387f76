"""A backup's manifest: what it is a copy of, and what every file and every table of it must be.

``manifest.json`` is canonical JSON (ASCII, sorted keys, two spaces of indent, one line break at the end):

* ``format``: "pgrehearse-backup-1"; ``digest``: SHA-256 of the compact canonical JSON of everything else;
* ``files``: path below the backup's directory -> size in bytes and SHA-256, for every file but the manifest itself;
* ``tables``, ``sequences``, ``large_objects``: what the snapshot held (`contents`); ``schema``: its shape (`shape`);
* ``source``, ``user``, ``lsn``, ``taken_at``: where and when; ``writes``: the tables' counters then (`writes`).

A manifest of which one byte was changed is not one: it must be, byte for byte, what its content is written as.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pgrehearse.errors import BackupDamaged
from pgrehearse.postgres.identity import DatabaseIdentity
from pgrehearse.release.backup.contents import Contents
from pgrehearse.release.backup.files import FileEntry
from pgrehearse.release.backup.shape import Shape
from pgrehearse.release.backup.writes import Counters

FORMAT = "pgrehearse-backup-1"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a proved backup holds.  ``files`` names every file of it except the manifest itself."""

    id: str
    source: DatabaseIdentity
    user: str  # who read it
    lsn: str | None  # where the source's WAL stood just before the snapshot; None where the platform hides it
    taken_at: datetime  # the source's clock, just before the snapshot
    client_major: int  # of the pg_dump that wrote it
    size_bytes: int | None  # of the source's database
    files: tuple[FileEntry, ...]
    contents: Contents
    shape: Shape
    writes: Counters
    left_out: tuple[str, ...]  # sentences: what of the database the dump does not hold

    @property
    def digest(self) -> str:
        """The backup's name in the release ledger: SHA-256 over everything that the manifest says."""
        compact = json.dumps(self._body(), ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(compact.encode()).hexdigest()

    @property
    def dump_bytes(self) -> int:
        return sum(entry.size_bytes for entry in self.files)

    def as_text(self) -> str:
        """The one way in which this manifest is written."""
        document = {**self._body(), "digest": self.digest}
        return json.dumps(document, ensure_ascii=True, sort_keys=True, indent=2) + "\n"

    def _body(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "id": self.id,
            "source": self.source.as_json(),
            "user": self.user,
            "lsn": self.lsn,
            "taken_at": self.taken_at.astimezone(UTC).isoformat(),
            "client_major": self.client_major,
            "size_bytes": self.size_bytes,
            "files": {entry.path: {"size_bytes": entry.size_bytes, "sha256": entry.sha256} for entry in self.files},
            **self.contents.as_json(),
            "schema": asdict(self.shape),
            "writes": self.writes.as_json(),
            "left_out": list(self.left_out),
        }


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write it durably; the directory is not a backup before it is there."""
    with (directory / MANIFEST).open("x", encoding="ascii") as file:
        file.write(manifest.as_text())
        file.flush()
        os.fsync(file.fileno())


def read_manifest(directory: Path) -> Manifest:
    """The manifest, proved to be whole by its own digest.  Raises `BackupDamaged`."""
    path = directory / MANIFEST
    try:
        text = path.read_bytes()
        found = _manifest(json.loads(text))
    except FileNotFoundError as error:
        if not directory.is_dir():
            raise BackupDamaged(f"the backup's directory {directory} is not there") from error
        raise BackupDamaged(f"{path} is missing") from error
    except OSError as error:
        raise BackupDamaged(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BackupDamaged(f"{path} is not a manifest of format {FORMAT}") from error
    if found.as_text().encode() != text:
        raise BackupDamaged(f"{path} is not what was written: its content and its own digest disagree")
    return found


def _manifest(document: dict[str, Any]) -> Manifest:
    if document["format"] != FORMAT:
        raise ValueError(document["format"])
    return Manifest(
        id=document["id"],
        source=_identity(document["source"]),
        user=document["user"],
        lsn=document["lsn"],
        taken_at=datetime.fromisoformat(document["taken_at"]),
        client_major=document["client_major"],
        size_bytes=document["size_bytes"],
        files=tuple(
            FileEntry(path=path, size_bytes=entry["size_bytes"], sha256=entry["sha256"])
            for path, entry in document["files"].items()
        ),
        contents=Contents.from_json(document),
        shape=Shape(**document["schema"]),
        writes=Counters.from_json(document["writes"]),
        left_out=tuple(document["left_out"]),
    )


def _identity(body: dict[str, Any]) -> DatabaseIdentity:
    known = body["system_identifier"]
    return DatabaseIdentity(**{**body, "system_identifier": None if known is None else int(known)})

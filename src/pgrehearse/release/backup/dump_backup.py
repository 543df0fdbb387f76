"""A backup on disk: a directory with a dump, what the dump does not hold, and the manifest that vouches for both.

::

    NAME/                   proved; NAME.unproved/ is being made or was left by a killed process
      manifest.json         what everything must be (`manifest`)
      dump/                 pg_dump's directory format
      schema.sql            pg_dump --schema-only of the same snapshot
      surroundings.json     roles, settings, grants, locale (`surroundings`); globals.sql is the same as SQL
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pgrehearse.errors import BackupDamaged, BackupNotProved
from pgrehearse.release.backup.files import find_damage
from pgrehearse.release.backup.manifest import MANIFEST, Manifest, read_manifest
from pgrehearse.release.backup.surroundings import JSON_FILE, Surroundings

DUMP = "dump"
SCHEMA = "schema.sql"
UNPROVED = ".unproved"
FAILED = ".failed"
REMOVING = ".removing"
SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpBackup:
    """One backup whose manifest is whole.  Whether its files are is asked by `require_whole`."""

    directory: Path
    manifest: Manifest

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def digest(self) -> str:
        """What the release ledger knows it by."""
        return self.manifest.digest

    @property
    def taken_at(self) -> datetime:
        return self.manifest.taken_at

    @property
    def is_proved(self) -> bool:
        """By its name: it is given only after a restored copy was compared."""
        return self.directory.name == self.manifest.id

    @property
    def dump(self) -> Path:
        return self.directory / DUMP

    def schema_text(self) -> str:
        return (self.directory / SCHEMA).read_text(encoding="utf-8", errors="surrogateescape")

    def surroundings(self) -> Surroundings:
        """Roles, settings and grants as they were in the snapshot."""
        text = (self.directory / JSON_FILE).read_text(encoding="ascii")
        return Surroundings.from_text(text, self.manifest.source)

    def require_whole(self, *, digest: str | None = None) -> None:
        """Read every file and compare it with the manifest; ``digest`` is the one that the release ledger has.

        Finds any byte that was changed, cut, added or taken away.  Raises `BackupDamaged` naming the files, and
        `BackupNotProved` for one that was never proved.  Cost: about a second per gigabyte.
        """
        if not self.is_proved:
            raise BackupNotProved(f"backup {self.id} in {self.directory} was never proved")
        if digest is not None and digest != self.digest:
            raise BackupDamaged(
                f"the manifest of backup {self.id} is not the one that was proved: its digest is {self.digest[:12]}, "
                f"the release ledger has {digest[:12]}"
            )
        damage = list(find_damage(self.directory, self.manifest.files, besides=(MANIFEST,)))
        if damage:
            told = "\n".join(f"  - {sentence}" for sentence in damage[:SHOWN])
            more = f"\n  and {len(damage) - SHOWN} more" if len(damage) > SHOWN else ""
            raise BackupDamaged(f"backup {self.id} is damaged:\n{told}{more}")


def open_backup(directory: Path) -> DumpBackup:
    """The backup in this directory.  Raises `BackupDamaged` where its manifest is missing or not what was written."""
    return DumpBackup(directory=directory, manifest=read_manifest(directory))

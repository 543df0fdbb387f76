"""What the release ledger says of backups: begun before anything is written, then proved or failed, then pruned."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pgrehearse.errors import BackupNotProved
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.identity import DatabaseIdentity
from pgrehearse.postgres.owner import Owner
from pgrehearse.release.backup.dump_backup import DumpBackup

BEGUN = "backup-begun"
PROVED = "backup-proved"
FAILED = "backup-failed"
PRUNED = "backup-pruned"
# Entries of promotions and rollbacks, in which a backup is named by its id.
WAYS = ("promotion", "rollback")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedBackup:
    """One backup as the ledger knows it."""

    id: str
    policy: str  # "dump" or "external"
    label: str | None  # the environment
    source: Mapping[str, Any]  # DatabaseIdentity.as_json()
    begun_at: datetime
    owner: Owner
    proved: Mapping[str, Any] | None  # the body of the newest "backup-proved"
    failed: str | None  # the reason
    pruned: bool

    @property
    def digest(self) -> str | None:
        """Of the manifest that was proved; None for an external one, or one that was not."""
        return None if self.proved is None else self.proved.get("digest")

    @property
    def database(self) -> tuple[Any, Any]:
        """Which database it is of; its oid changes when a restored one takes its place, its name does not."""
        return self.source["system_identifier"], self.source["database"]


def new_id(name: str, now: datetime) -> str:
    """Ids sort by name, then time; the random end tells two of one second apart."""
    slug = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name)[:40] or "database"
    return f"{slug}-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def recorded_backups(ledger: ReleaseLedger) -> dict[str, RecordedBackup]:
    """Every backup that was begun, by its id, oldest first."""
    proved = {entry.subject: entry.body for entry in ledger.entries(kind=PROVED)}
    failed = {entry.subject: entry.body["reason"] for entry in ledger.entries(kind=FAILED)}
    pruned = {entry.subject for entry in ledger.entries(kind=PRUNED)}
    return {
        entry.subject: RecordedBackup(
            id=entry.subject,
            policy=entry.body["policy"],
            label=entry.body["label"],
            source=entry.body["source"],
            begun_at=entry.at,
            owner=Owner.from_json(entry.body["owner"]),
            proved=proved.get(entry.subject),
            failed=failed.get(entry.subject),
            pruned=entry.subject in pruned,
        )
        for entry in ledger.entries(kind=BEGUN)
    }


def begun_body(
    *, policy: str, label: str | None, source: DatabaseIdentity, owner: Owner, **more: Any
) -> dict[str, Any]:  # fmt: skip
    return {"policy": policy, "label": label, "source": source.as_json(), "owner": owner.as_json(), **more}


def proved_body(backup: DumpBackup) -> dict[str, Any]:
    """What a promotion may rely on: the manifest's digest, and what it is of."""
    manifest = backup.manifest
    return {
        "policy": "dump",
        "directory": str(backup.directory),
        "digest": backup.digest,
        "source": manifest.source.as_json(),
        "lsn": manifest.lsn,
        "taken_at": manifest.taken_at.astimezone(UTC).isoformat(),
        "tables": len(manifest.contents.tables),
        "rows": manifest.contents.rows,
        "size_bytes": manifest.dump_bytes,
        "left_out": list(manifest.left_out),
    }


def require_recorded(ledger: ReleaseLedger, backup: DumpBackup) -> str:
    """The digest that the ledger recorded when the backup was proved.  Raises `BackupNotProved`."""
    entries = ledger.entries(kind=PROVED, subject=backup.id)
    if not entries or entries[-1].body.get("digest") is None:
        raise BackupNotProved(f"the release ledger {ledger.path} does not know that backup {backup.id} was proved")
    return str(entries[-1].body["digest"])


def find_needed(ledger: ReleaseLedger, backups: Iterable[RecordedBackup]) -> dict[str, str]:
    """Backups that a way back may need, each with the reason.

    Needed: named by a promotion or rollback that has not ended, and by the newest promotion of each database that
    was not rolled back.
    """
    known = {backup.id: backup for backup in backups}
    needed: dict[str, str] = {}
    naming: dict[str, set[str]] = {}  # promotion -> backups, in the order in which they began
    rolled_back = ""
    for way in WAYS:
        ended = {entry.subject for entry in ledger.entries(kind=f"{way}-ended")}
        for stage in ("begun", "step", "ended"):
            for entry in ledger.entries(kind=f"{way}-{stage}"):
                words = set(_words(entry.body))
                named = words & known.keys()
                if way == "promotion":
                    naming.setdefault(entry.subject, set()).update(named)
                elif entry.subject in ended:
                    rolled_back += f" {entry.subject} {' '.join(words)}"
                if entry.subject not in ended:
                    needed |= dict.fromkeys(named, f"{way} {entry.subject} has not ended")
    newest = {known[name].database: promotion for promotion, names in naming.items() for name in sorted(names)}
    for promotion in dict.fromkeys(newest.values()):
        if promotion not in rolled_back.split():
            reason = f"promotion {promotion} can be taken back with it"
            needed |= {name: reason for name in naming[promotion] if name not in needed}
    return needed


def _words(body: Any) -> Iterable[str]:
    """Every text in an entry's body."""
    if isinstance(body, str):
        yield body
    elif isinstance(body, Mapping):
        for value in body.values():
            yield from _words(value)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _words(value)

"""What the release ledger says of backups: begun before anything is written, then proved or failed, then pruned."""

import secrets
from collections import Counter
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
# How promotions and rollbacks end: the ones that changed nothing, and the ones that undid what was changed.
UNCHANGED = frozenset({"refused", "abandoned"})
TAKEN_BACK = frozenset({"taken-back", "swapped"})


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
    changed something and was not taken back.  An older one is taken back only after that.
    """
    known = {backup.id for backup in backups}
    promotions, rollbacks = _Ways(ledger, "promotion", known), _Ways(ledger, "rollback", known)
    back = {way for way, outcomes in rollbacks.outcomes.items() if outcomes & TAKEN_BACK}
    needed: dict[str, str] = {}
    newest: dict[object, str] = {}
    for promotion, named in promotions.named.items():
        outcomes = promotions.outcomes.get(promotion, set())
        if promotion in back:
            continue
        if not outcomes:
            needed |= dict.fromkeys(named, f"promotion {promotion} has not ended")
        elif outcomes - UNCHANGED:
            newest[promotions.keys.get(promotion)] = promotion
    for promotion in newest.values():
        reason = f"promotion {promotion} can be taken back with it"
        needed |= {name: reason for name in promotions.named[promotion] if name not in needed}
    for rollback, named in rollbacks.named.items():
        if rollbacks.begun[rollback] > rollbacks.ended[rollback]:
            named = named | promotions.named.get(rollback, set())  # a rollback goes by its promotion's id
            needed |= dict.fromkeys(named, f"rollback {rollback} has not ended")
    return needed


class _Ways:
    """All promotions, or all rollbacks, of a ledger: which backups each names, and how it ended."""

    def __init__(self, ledger: ReleaseLedger, way: str, backups: set[str]) -> None:
        self.named: dict[str, set[str]] = {}  # in the order in which they began
        self.keys: dict[str, object] = {}  # a promotion's database
        self.outcomes: dict[str, set[str]] = {}
        self.begun, self.ended = Counter[str](), Counter[str]()
        for stage in ("begun", "step", "ended"):
            for entry in ledger.entries(kind=f"{way}-{stage}"):
                self.named.setdefault(entry.subject, set()).update(backups.intersection(_words(entry.body)))
                if stage == "begun":
                    self.begun[entry.subject] += 1
                    self.keys[entry.subject] = entry.body.get("key")
                elif stage == "ended":
                    self.ended[entry.subject] += 1
                    self.outcomes.setdefault(entry.subject, set()).add(str(entry.body.get("outcome")))


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

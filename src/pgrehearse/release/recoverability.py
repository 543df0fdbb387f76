"""How a promotion can be taken back: which ways the team asks for, whether they are enough, and their proofs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pgrehearse.errors import BackupDamaged
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity
from pgrehearse.progress import Progress
from pgrehearse.release.backup.create import create_dump
from pgrehearse.release.backup.dump_backup import open_backup
from pgrehearse.release.backup.external import ExternalOptions, record_external
from pgrehearse.release.backup.scratch import ScratchOptions
from pgrehearse.release.gate import Reason, ReasonKind
from pgrehearse.release.restore.in_the_way import InTheWay

DUMP, IMAGES, EXTERNAL, AUTO = "dump", "before-images", "external", "auto"
GIGABYTE = 1024**3
COVERED_BY_IMAGES = ("lossless", "restorable")
LOSES_WRITES = "loses-writes"
TO_ANOTHER = "give `pgrehearse rollback --to` the URL of a role that may (--to env:ADMIN_URL)"
RIGHTS_REMEDY = (
    "Let the environment's role do what is listed (the database's owner with CREATEDB and pg_signal_backend), let "
    'url_env lead to one that may, or add "external" to backup.policy.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverabilityPolicy:
    """What the team asks for of one environment."""

    ways: tuple[str, ...] = (AUTO,)
    environment: str | None = None  # by whose name its backups are listed
    directory: Path
    dump_limit_gb: float = 50.0
    scratch: ScratchOptions = field(default_factory=ScratchOptions)
    jobs: int = 2
    external: ExternalOptions | None = None  # None: no command is configured


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """One way back that was proved before anything was touched; kept in the release ledger."""

    way: str
    summary: str  # one line for people
    facts: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        return {"way": self.way, "summary": self.summary, "facts": dict(self.facts)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Proof":
        return cls(way=document["way"], summary=document["summary"], facts=document["facts"])


def choose_ways(policy: RecoverabilityPolicy, size_bytes: int) -> tuple[str, ...]:
    """What `auto` means for a database of this size; what was named stays as it is."""
    chosen: list[str] = []
    for way in policy.ways:
        if way != AUTO:
            chosen.append(way)
        elif size_bytes <= policy.dump_limit_gb * GIGABYTE:
            chosen.append(DUMP)
        else:
            chosen += [IMAGES, EXTERNAL]
    return tuple(dict.fromkeys(chosen))


def judge_recoverability(
    document: Mapping[str, Any] | None, policy: RecoverabilityPolicy, size_bytes: int
) -> tuple[list[Reason], list[str]]:
    """Whether the ways chosen can be had and are enough; nothing is made yet.

    ``document`` is the receipt's, None for a promotion that nobody rehearsed: images need to know what is destroyed.
    """
    ways = choose_ways(policy, size_bytes)
    reasons = []
    if EXTERNAL in ways and policy.external is None:
        reasons.append(
            _reason(
                f"the policy asks for an external restore point ({size_bytes / GIGABYTE:.1f} GB; dumps are taken up to "
                f"{policy.dump_limit_gb:g} GB), and no command is configured"
                if AUTO in policy.ways
                else "the policy asks for an external restore point, and no command is configured",
                "Set backup.external_command, or raise backup.dump_limit_gb.",
            )
        )
    rollback = document["rollback"].get("type", "not-measured") if document is not None else "not-measured"
    if not ways or (set(ways) == {IMAGES} and rollback not in COVERED_BY_IMAGES):
        reasons.append(
            _reason(
                f"before-images alone do not take this back: the rehearsal calls its way back {rollback}",
                'Add "dump" or "external" to the policy, or rehearse with the way back.',
            )
        )
    told = [f"recoverability: {', '.join(ways)}"] if ways and not reasons else []
    return reasons, told


def judge_restore(
    document: Mapping[str, Any] | None, ways: Sequence[str], in_the_way: InTheWay
) -> tuple[list[Reason], list[str]]:
    """Whether the dump among ``ways`` could be restored in production's place by the role that would be asked to.

    Missing rights refuse a plan of which a restore is all that takes it back; else everything is told.
    """
    if not in_the_way.reasons:
        return [], []
    needed = document is not None and document["rollback"].get("type") == LOSES_WRITES and EXTERNAL not in ways
    if needed and in_the_way.lasting:
        message = "only a restore takes this back, and it could not be performed"
        return [_reason(message, RIGHTS_REMEDY, in_the_way.reasons)], []
    listed = "; ".join(in_the_way.reasons)
    remedy = f"; {TO_ANOTHER}" if in_the_way.lasting else ""
    return [], [f"the way back by restoring could not be performed now: {listed}{remedy}"]


def secure(
    production: Conninfo,
    policy: RecoverabilityPolicy,
    ways: Iterable[str],
    *,
    ledger: ReleaseLedger,
    now: Callable[[], datetime],
    progress: Progress,
) -> tuple[Proof, ...]:
    """Make and prove what can be made before the migration; before-images are taken by the promotion itself.

    Writes nothing to production.  Raises what `create_dump` and `record_external` raise.
    """
    proofs = []
    for way in ways:
        if way == DUMP:
            progress.step(f"backing up {production.address}, and restoring the backup elsewhere")
            backup = create_dump(
                production, directory=policy.directory, ledger=ledger, now=now, scratch=policy.scratch,
                label=policy.environment, jobs=policy.jobs, progress=progress,
            )  # fmt: skip
            proofs.append(
                Proof(
                    way=DUMP,
                    summary=f"dump {backup.id}, restored elsewhere and compared",
                    facts={
                        "backup": backup.id,
                        "directory": str(backup.directory.resolve()),
                        "digest": backup.digest,
                        "taken_at": backup.taken_at.isoformat(),
                    },
                )
            )
        elif way == EXTERNAL:
            assert policy.external is not None, "judged before"
            progress.step("making the external restore point")
            with connect(production, verb="backup") as session:
                source = read_identity(session)
            name, external = record_external(
                policy.external, database=production, source=source, label=policy.environment, ledger=ledger, now=now
            )
            proofs.append(Proof(way=EXTERNAL, summary=external.summary, facts={"backup": name, **external.as_json()}))
    return tuple(proofs)


def require_proofs(proofs: Sequence[Proof]) -> None:
    """That what was proved earlier is still there, byte for byte.  Raises `BackupDamaged`, `BackupNotProved`."""
    require_within_reach(proofs)
    for proof in proofs:
        if proof.way == DUMP:
            open_backup(Path(proof.facts["directory"])).require_whole(digest=proof.facts["digest"])


def require_within_reach(proofs: Sequence[Proof]) -> None:
    """The same of their directories alone, right before anything is applied.  Raises `BackupDamaged`."""
    for proof in proofs:
        if proof.way == DUMP and not (directory := Path(proof.facts["directory"])).is_dir():
            raise BackupDamaged(
                f"the backup {proof.facts['backup']} is not in {directory} any more",
                remedy="Mount the place that it lies in, or promote again: another backup is made first.",
            )


def _reason(message: str, remedy: str, details: tuple[str, ...] = ()) -> Reason:
    return Reason(kind=ReasonKind.RECOVERABILITY, message=message, remedy=remedy, details=details)

"""What the release ledger tells of one database's promotions: which stand, which are back, which one is unfinished."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgrehearse.errors import UnknownPromotion
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.release.lineage import find_lineage, find_taken_back
from pgrehearse.release.promotion import BEGUN, ENDED, STEP, Position
from pgrehearse.release.recoverability import Proof


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRecord:
    """What the release ledger says of one promotion that changed something, or may have."""

    id: str
    seq: int  # of its entry: machines' clocks differ, so this tells what came later
    key: str  # of the database as it is now
    at: datetime
    receipt: str | None
    plan: tuple[str, ...]  # versions
    digests: Mapping[str, str]  # SHA-256 of each version's bytes
    by: str  # who began it
    outcome: str | None  # None: it was left unfinished
    ended_at: datetime | None
    proofs: tuple[Proof, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """A promotion that began and has not ended."""

    id: str
    receipt: str | None
    unrehearsed: str | None  # why nobody rehearsed it
    plan: tuple[tuple[str, str], ...]  # version, SHA-256
    began_at: datetime
    by: Mapping[str, Any]
    position: Position
    steps: Mapping[str, Mapping[str, Any]]  # of each step that is done: what was recorded then
    at: tuple[str, str] | None  # the step that was recorded last, and its state; None: none was begun
    committed: tuple[str, ...]  # versions whose commit was recorded

    @property
    def begun_by(self) -> str:
        return person_of(self.by)

    def is_done(self, step: str) -> bool:
        return step in self.steps


def find_promotion(releases: ReleaseLedger, key: str, prefix: str | None) -> PromotionRecord:
    """The promotion of this database whose id starts so, or the newest that is not taken back.

    Raises `UnknownPromotion`, also for one that is taken back already or that never changed anything.
    """
    records = read_promotions(releases, key)
    back = find_taken_back(releases)
    if prefix is None:
        standing = [record for record in records if record.id not in back]
        if not standing:
            raise UnknownPromotion(f"{releases.place} knows no promotion of this database that could be taken back")
        return standing[-1]
    fitting = [record for record in records if record.id.startswith(prefix)]
    if len(fitting) != 1:
        raise UnknownPromotion(f"{len(fitting)} promotions of this database start with {prefix!r}")
    if fitting[0].id in back:
        raise UnknownPromotion(f"promotion {fitting[0].id} is taken back already")
    return fitting[0]


def read_promotions(releases: ReleaseLedger, key: str) -> tuple[PromotionRecord, ...]:
    """Those that changed this database or may have, oldest first; also before a restore put it where it is."""
    ended = {entry.subject: entry for entry in releases.entries(kind=ENDED)}
    line = find_lineage(releases, key)
    records = []
    for entry in releases.entries(kind=BEGUN):
        end = ended.get(entry.subject)
        outcome = None if end is None else end.body["outcome"]
        if entry.body["key"] not in line or outcome in ("refused", "abandoned"):
            continue
        proofs = [
            Proof.from_json(proof)
            for step in releases.entries(kind=STEP, subject=entry.subject)
            for proof in step.body.get("proofs", ())
        ]
        records.append(
            PromotionRecord(
                id=entry.subject,
                seq=entry.seq,
                key=key,
                at=entry.at,
                receipt=entry.body["receipt"],
                plan=tuple(each["version"] for each in entry.body["plan"]),
                digests={each["version"]: each["sha256"] for each in entry.body["plan"]},
                by=person_of(entry.body["by"]),
                outcome=outcome,
                ended_at=None if end is None else end.at,
                proofs=tuple(proofs),
            )
        )
    return tuple(records)


def find_promoted(releases: ReleaseLedger, key: str, receipt: str) -> PromotionRecord | None:
    """The newest promotion of this receipt that came to its end and stands; ``receipt``: the whole digest."""
    back = find_taken_back(releases)
    done = [
        record
        for record in read_promotions(releases, key)
        if record.receipt == receipt and record.outcome is not None and record.id not in back
    ]
    return done[-1] if done else None


def tell_promotions(releases: ReleaseLedger, receipt: str) -> tuple[str, ...]:
    """What a withdrawn approval of this receipt comes too late for; ``receipt``: the whole digest.  Sentences."""
    ended = {entry.subject: entry.body["outcome"] for entry in releases.entries(kind=ENDED)}
    back = find_taken_back(releases)
    told = []
    for entry in releases.entries(kind=BEGUN):
        outcome = ended.get(entry.subject)
        if entry.body["receipt"] != receipt or entry.subject in back or outcome in ("refused", "abandoned"):
            continue
        if outcome is None:
            told.append(
                f"promotion {entry.subject} of it, begun by {person_of(entry.body['by'])}, has not ended: what is "
                "applied stays, and nothing more than a file that is half-way is begun"
            )
        else:
            told.append(f"it was promoted already: `pgrehearse rollback {entry.subject}` takes that back")
    return tuple(told)


def person_of(by: Mapping[str, Any]) -> str:
    """As an entry names who did it."""
    return f"{by.get('git') or by['login']} on {by['host']}"


def find_unfinished(releases: ReleaseLedger, key: str) -> Unfinished | None:
    """The newest promotion of this database that has neither ended nor been taken back.

    One that was killed before its end and then taken back must not be gone on with: its proofs and images are older
    than the way back, and a promotion is taken back once.
    """
    ended = {entry.subject for entry in releases.entries(kind=ENDED)} | set(find_taken_back(releases))
    line = find_lineage(releases, key)
    for entry in reversed(releases.entries(kind=BEGUN)):
        if entry.body["key"] not in line or entry.subject in ended:
            continue
        steps: dict[str, Mapping[str, Any]] = {}
        committed: list[str] = []
        at: tuple[str, str] | None = None
        for step in releases.entries(kind=STEP, subject=entry.subject):
            if step.body["state"] in ("begun", "done"):
                at = (step.body["step"], step.body["state"])
            if step.body["state"] == "done":
                steps[step.body["step"]] = step.body
            elif step.body["state"] == "committed":
                committed += step.body["versions"]
        body = entry.body
        return Unfinished(
            id=entry.subject,
            receipt=body["receipt"],
            unrehearsed=body["unrehearsed"],
            plan=tuple((each["version"], each["sha256"]) for each in body["plan"]),
            began_at=entry.at,
            by=body["by"],
            position=Position(lsn=body["lsn"], timeline=body["timeline"]),
            steps=steps,
            at=at,
            committed=tuple(committed),
        )
    return None

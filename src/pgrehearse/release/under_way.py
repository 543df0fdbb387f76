"""What is going on with a database, or was left by what went on: who, since when, doing what, at which step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pgrehearse.errors import LedgerUnreadable
from pgrehearse.ledger import LeaseRow, ReleaseLedger
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.progress import ProgressTable
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.gate import Reason, ReasonKind
from pgrehearse.release.history import PromotionRecord, Unfinished, find_unfinished
from pgrehearse.release.lease import describe
from pgrehearse.release.promotion_run import APPLY, GATE, IMAGES, RECOVERABILITY, VERIFY
from pgrehearse.release.write_fence import StandingFence, find_standing

DOING = {
    GATE: "asking the gate",
    RECOVERABILITY: "making it recoverable",
    IMAGES: "copying what will be destroyed",
    APPLY: "applying",
    VERIFY: "verifying",
}
Ledgers = Sequence[tuple[SourceKind, MigrationLedger]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An unfinished promotion, with what of its plan the database says is applied."""

    promotion: Unfinished
    applied: tuple[str, ...]  # versions
    half: tuple[str, ...]  # versions of which a part is committed

    @property
    def is_begun(self) -> bool:
        """Whether anything of it is in the database."""
        return bool(self.applied or self.half)

    @property
    def goes_on(self) -> bool:
        """Whether `resume` goes on with applying: then the gate is asked of what is left alone."""
        return self.is_begun and self.promotion.is_done(IMAGES)

    @property
    def left(self) -> tuple[str, ...]:
        done = {*self.applied, *self.half}
        return tuple(version for version, _ in self.promotion.plan if version not in done)

    @property
    def at(self) -> str:
        """The step that it has come to, in words."""
        if self.promotion.at is None:
            return "before its first step"
        step, state = self.promotion.at
        return f"{'behind' if state == 'done' else 'at'} the step `{step}` ({DOING.get(step, step)})"

    @property
    def files(self) -> str:
        parts = [
            f"{word}: {', '.join(versions)}"
            for word, versions in (("applied", self.applied), ("half-way", self.half), ("to come", self.left))
            if versions
        ]
        return "; ".join(parts if self.is_begun else ["nothing of it is applied", *parts])


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """What is going on with a database, and what was left in the middle."""

    at_work: LeaseRow | None  # whose run holds the lease now
    standing: Standing | None
    fence: StandingFence | None = None  # against everybody else's writes; around the database until somebody lifts it

    @property
    def is_stuck(self) -> bool:
        """Nobody is at it, and a promotion was left in the middle, something applied and something not; or a fence."""
        is_begun = self.standing is not None and self.standing.is_begun
        return self.at_work is None and (is_begun or self.fence is not None)

    @property
    def told(self) -> tuple[str, ...]:
        """Sentences: who is at it, and how far the promotion has come."""
        lines = []
        if self.standing is not None:
            found = self.standing.promotion
            verb = "is" if self.at_work is not None else "was left"
            lines.append(
                f"promotion {found.id}, begun at {found.began_at:%Y-%m-%d %H:%M:%S} UTC by {found.begun_by}, "
                f"{verb} {self.standing.at}; {self.standing.files}"
            )
        if self.fence is not None:
            lines.append(self.fence.told)
        if self.at_work is not None:
            lines.append(describe(self.at_work))
        return tuple(lines)

    @property
    def remedy(self) -> str:
        if self.at_work is not None:
            return (
                "Another promotion or rollback is refused meanwhile.  If its machine is gone, its lease ends by itself "
                f"at {self.at_work.until:%H:%M:%S} UTC; then `pgrehearse resume` goes on with a promotion."
            )
        if self.standing is None:
            return "`pgrehearse rollback --undo` lifts the fence; so does the next promotion."
        if self.fence is not None:
            return "`pgrehearse resume` goes on with what is left, and lifts the fence; so does `pgrehearse rollback`."
        if not self.standing.is_begun:
            return "`pgrehearse resume` goes on with it; promoting another receipt gives it up, for nothing is applied."
        return "`pgrehearse resume` goes on with what is left."

    def as_json(self) -> dict[str, Any]:
        """The part ``under_way`` of the ``status`` answer."""
        return {
            "at_work": None
            if self.at_work is None
            else {
                "holder": self.at_work.holder,
                "since": self.at_work.since.isoformat(),
                "until": self.at_work.until.isoformat(),
                "doing": self.at_work.doing,
            },
            "promotion": None if self.standing is None else _standing_json(self.standing),
            "told": list(self.told),
            "remedy": self.remedy,
        }


def _standing_json(standing: Standing) -> dict[str, Any]:
    found = standing.promotion
    return {
        "id": found.id,
        "receipt": found.receipt,
        "began_at": found.began_at.isoformat(),
        "by": found.begun_by,
        "step": None if found.at is None else found.at[0],
        "applied": list(standing.applied),
        "half_way": list(standing.half),
        "left": list(standing.left),
    }


def at_work_reason(lease: LeaseRow) -> Reason:
    """Why nobody else may promote or roll back now."""
    return Reason(
        kind=ReasonKind.AT_WORK,
        message=describe(lease),
        remedy=f"Wait for that run; if its machine is gone, its lease ends by itself at {lease.until:%H:%M:%S} UTC.",
    )


def unfinished_reason(found: Unfinished) -> Reason:
    """Why another receipt may not be promoted while a file of this promotion is half-way."""
    return Reason(
        kind=ReasonKind.UNFINISHED,
        message=f"promotion {found.id}, begun at {found.began_at:%Y-%m-%d %H:%M:%S} UTC by {found.begun_by}, "
        "is not finished",
        remedy="Finish it: `pgrehearse resume`; or take it back: `pgrehearse rollback`.",
    )


def promoted_reason(done: PromotionRecord) -> Reason:
    """Why a receipt is not promoted once more."""
    ended = "" if done.ended_at is None else f", ended at {done.ended_at:%Y-%m-%d %H:%M:%S} UTC"
    how = {
        "differs": "  Production's schema was not what the rehearsal left, which that promotion told.",
        "superseded": "  It stopped half-way, and what was left was promoted by a later receipt.",
    }
    return Reason(
        kind=ReasonKind.PROMOTED,
        message=f"this receipt was promoted already: promotion {done.id} by {done.by}, "
        f"begun at {done.at:%Y-%m-%d %H:%M:%S} UTC{ended}.{how.get(done.outcome or '', '')}",
        remedy="Nothing of it is left to promote.  Rehearse what is pending: `pgrehearse run`; "
        f"`pgrehearse rollback {done.id}` takes it back.",
    )


def read_under_way(releases: ReleaseLedger, key: str, session: Connection, ledgers: Ledgers) -> UnderWay | None:
    """Who is promoting this database now, what was left unfinished, and a fence; None where all is quiet.

    ``ledgers``: the migration ledgers that a plan of this database may be recorded in.  While a run holds them, what
    is applied is told as the release ledger recorded its commits.
    """
    lease = releases.read_lease(f"promote {key}")
    at_work = lease if lease is not None and not lease.has_ended else None
    unfinished = find_unfinished(releases, key)
    fence = find_standing(releases, key)
    if unfinished is None:
        is_quiet = at_work is None and fence is None
        return None if is_quiet else UnderWay(at_work=at_work, standing=None, fence=fence)
    return UnderWay(at_work=at_work, standing=_read_standing(unfinished, session, ledgers), fence=fence)


def _read_standing(unfinished: Unfinished, session: Connection, ledgers: Ledgers) -> Standing:
    as_recorded = Standing(promotion=unfinished, applied=unfinished.committed, half=())
    if any(ledger.holders(session) for _, ledger in ledgers):  # they lock it until they are through
        return as_recorded
    whole, part = set[str](), set[str]()
    try:
        for kind, ledger in ledgers:
            whole |= {row.sha256 for row in ledger.read(session)}
            progress = ProgressTable(ledger=f"{kind.value}:{ledger.table}").read(session)
            part |= {each.sha256 for each in progress.values() if not each.is_nothing}
    except LedgerUnreadable:
        return as_recorded
    return Standing(
        promotion=unfinished,
        applied=tuple(version for version, sha256 in unfinished.plan if sha256 in whole),
        half=tuple(version for version, sha256 in unfinished.plan if sha256 in part - whole),
    )

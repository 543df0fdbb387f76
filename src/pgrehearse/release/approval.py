"""Approval: a named person's yes to one receipt digest, kept in the release ledger."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgrehearse.errors import ApprovalRefused, ConfigurationError
from pgrehearse.ledger import Entry, ReleaseLedger
from pgrehearse.rehearsal.person import Person
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.gate import Reason, ReasonKind, list_unmeasured, names_to_accept
from pgrehearse.release.lineage import find_taken_back
from pgrehearse.release.promotion import BEGUN

APPROVED = "approval"
WITHDRAWN = "approval-withdrawn"
# The first = outside a quoted name: a table may be called "a=b".
_FINDING_AND_REASON = re.compile(r"""(?P<finding>(?:"(?:[^"]|"")*"|[^"=])*)=(?P<reason>.*)""", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A finding that somebody takes upon themselves."""

    finding: str  # see `pgrehearse.release.gate.finding_name`
    reason: str

    @classmethod
    def parse(cls, text: str) -> "Accepted":
        """Of ``FINDING=REASON``, as the command line has it; raises `ConfigurationError`."""
        found = _FINDING_AND_REASON.fullmatch(text)
        if found is None or not found["finding"].strip():
            raise ConfigurationError(
                f"--accept {text!r}: expected FINDING=REASON",
                remedy="Write --accept 'drop-column:public.users=agreed'.",
            )
        return cls(finding=found["finding"].strip(), reason=found["reason"].strip())

    def as_json(self) -> dict[str, str]:
        return {"finding": self.finding, "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """One valid yes."""

    receipt: str  # the digest
    seq: int  # of its entry
    by: Person
    at: datetime  # by that person's machine
    remark: str
    accepted: tuple[Accepted, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "receipt": self.receipt,
            "by": self.by.as_json(),
            "at": self.at.isoformat(),
            "remark": self.remark,
            "accepted": [each.as_json() for each in self.accepted],
        }


def approve(
    ledger: ReleaseLedger,
    receipt: Receipt,
    *,
    by: Person,
    remark: str,
    accepted: Sequence[Accepted],
    now: datetime,
) -> Approval:
    """Record a yes to exactly this receipt.

    A second one by the same person replaces the first.  Raises `ApprovalRefused` for a verdict that nobody
    can accept, and for an accepted finding that the receipt does not have; `LedgerDamaged` where no yes would count.
    """
    ledger.verify()
    verdict = receipt.verdict
    if verdict in ("failed", "unmeasured"):
        raise ApprovalRefused(f"receipt {receipt.digest[:12]} is {verdict}: there is nothing to approve")
    if unmeasured := list_unmeasured(receipt.document):
        raise ApprovalRefused(
            f"receipt {receipt.digest[:12]} is {verdict}, and not all was measured, which nobody can accept: "
            + "; ".join(unmeasured),
            remedy="Mend the migration or what could not be measured, and rehearse again.",
        )
    wanted = names_to_accept(receipt.document)
    for each in accepted:
        if each.finding not in wanted:
            known = f"It has: {', '.join(wanted)}." if wanted else "It is clean: nothing needs to be accepted."
            raise ApprovalRefused(f"the receipt has no finding {each.finding!r} to accept", remedy=known)
        if not each.reason.strip():
            raise ApprovalRefused(f"{each.finding} was accepted without a reason", remedy="Write FINDING=REASON.")
    body = {"by": by.as_json(), "remark": remark, "accepted": [each.as_json() for each in accepted]}
    entry = ledger.append(APPROVED, receipt.digest, body, now)
    return Approval(
        receipt=receipt.digest, seq=entry.seq, by=by, at=now, remark=remark, accepted=tuple(accepted)
    )  # fmt: skip


def withdraw(
    ledger: ReleaseLedger, receipt: Receipt, *, by: Person, remark: str, now: datetime
) -> tuple[Approval, ...]:
    """Take back this person's yes; returns those that stand afterwards.

    Raises `ApprovalRefused` if there is none, `LedgerDamaged` where none counts anyway.
    """
    ledger.verify()
    if not any(approval.by.is_same(by) for approval in read_approvals(ledger, receipt.digest)):
        raise ApprovalRefused(
            f"{by} has not approved receipt {receipt.digest[:12]}", remedy="There is nothing to undo."
        )
    ledger.append(WITHDRAWN, receipt.digest, {"by": by.as_json(), "remark": remark}, now)
    return read_approvals(ledger, receipt.digest)


def read_approvals(ledger: ReleaseLedger, digest: str) -> tuple[Approval, ...]:
    """The valid ones, one a person, oldest first.

    An approval names the digest, so that whatever changes in a receipt leaves it without one.
    """
    return standing_approvals(ledger.entries(subject=digest))


def standing_approvals(entries: Iterable[Entry]) -> tuple[Approval, ...]:
    """Those that are left when each person's last word counts."""
    standing: list[Approval] = []
    for entry in entries:
        if entry.kind not in (APPROVED, WITHDRAWN):
            continue
        by = Person.from_json(entry.body["by"])
        standing = [each for each in standing if not each.by.is_same(by)]
        if entry.kind == APPROVED:
            standing.append(
                Approval(
                    receipt=entry.subject,
                    seq=entry.seq,
                    by=by,
                    at=entry.at,
                    remark=entry.body["remark"],
                    accepted=tuple(Accepted(**each) for each in entry.body["accepted"]),
                )
            )
    return tuple(standing)


def judge_approvals(
    document: Mapping[str, Any], approvals: Sequence[Approval], *, needed: int, by_another: bool
) -> list[Reason]:
    """Enough people; with ``by_another`` the one who rehearsed does not count, by login or by git identity."""
    receipt = document["receipt"]
    rehearser = receipt["rehearsed_by"]
    person = Person.from_json(receipt["rehearser"]) if "rehearser" in receipt else None  # older ones have none
    counting = [each for each in approvals if not (by_another and _rehearsed(each.by, rehearser, person))]
    if len(counting) >= needed:
        return []
    other = f" other than {person or rehearser}, who ran the rehearsal" if by_another else ""
    return [
        Reason(
            kind=ReasonKind.APPROVAL,
            message=f"approved by {len(counting)} of {needed} people{other}",
            remedy=f"pgrehearse approve {document['digest'][:12]}",
            details=tuple(f"{each.by} at {each.at.isoformat(timespec='seconds')}" for each in approvals),
        )
    ]


def _rehearsed(by: Person, login: str, rehearser: Person | None) -> bool:
    """One login on whatever machine counts as one person here."""
    return by.login == login or (rehearser is not None and by.is_same(rehearser))


def accepted_names(approvals: Iterable[Approval]) -> tuple[str, ...]:
    """Every finding that somebody's standing approval accepts."""
    return tuple(dict.fromkeys(each.finding for approval in approvals for each in approval.accepted))


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """Who says yes to a receipt now, and whose earlier yes does not count any more."""

    standing: tuple[Approval, ...]
    lapsed: tuple[str, ...]  # sentences


def read_consent(releases: ReleaseLedger, digest: str) -> Consent:
    """Those given since the receipt's last promotion was taken back stand: who said yes before did not know of that.

    By the order of the entries, whatever the clocks of the machines said.
    """
    approvals = read_approvals(releases, digest)
    promoted = {entry.subject for entry in releases.entries(kind=BEGUN) if entry.body["receipt"] == digest}
    back = [(entry.seq, promotion, entry) for promotion, entry in find_taken_back(releases).items()]
    ends = [each for each in back if each[1] in promoted]
    if not ends:
        return Consent(standing=approvals, lapsed=())
    last, promotion, entry = max(ends, key=lambda each: each[0])
    return Consent(
        standing=tuple(each for each in approvals if each.seq > last),
        lapsed=tuple(
            f"the approval by {each.by} of {each.at.isoformat(timespec='seconds')} does not count any more: promotion "
            f"{promotion} of this receipt was taken back after it, at {entry.at.isoformat(timespec='seconds')}"
            for each in approvals
            if each.seq <= last
        ),
    )

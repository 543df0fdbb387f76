"""The gate: yes, or every reason why a receipt may not be promoted to this database.  Pure: it asks no database."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

SHOWN_DETAILS = 20  # of one reason, to people; the JSON answer has all
SHOWN_NAMES = 5  # in a command to copy


class ReasonKind(Enum):
    """What a reason is about; the order in which they are told."""

    RECEIPT = "receipt"  # it is not what was sealed
    IDENTITY = "identity"  # another database than the one that was cloned
    GRADE = "grade"
    VERDICT = "verdict"
    ROLE = "role"
    PROMOTED = "promoted"  # already, and not taken back
    PLAN = "plan"
    STATE = "state"  # the schema is not the one that the plan was rehearsed on
    SETTINGS = "settings"
    AGE = "age"
    CHANGED = "changed"  # the data has moved beyond the bounds
    APPROVAL = "approval"
    PRECONDITION = "precondition"
    CHECK = "check"  # the team's own
    STANDBY = "standby"
    RECOVERABILITY = "recoverability"
    AT_WORK = "at-work"  # somebody else holds the lease
    POOLER = "pooler"  # one that does not keep the session lies before production
    UNFINISHED = "unfinished"  # another promotion of this database has not ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One reason why not, with what to do about it."""

    kind: ReasonKind
    message: str
    remedy: str
    details: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind.value,
            "message": self.message,
            "remedy": self.remedy,
            "details": list(self.details),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Open when there is no reason; ``told`` is what a person should know and what stops nobody."""

    reasons: tuple[Reason, ...] = ()
    told: tuple[str, ...] = ()

    @property
    def is_open(self) -> bool:
        return not self.reasons

    @property
    def why_not(self) -> str:
        """Every reason with the first of its details and its remedy, for people."""
        lines = [f"the gate is closed, for {len(self.reasons)} reason{'s' if len(self.reasons) > 1 else ''}:"]
        for reason in self.reasons:
            lines.append(f"  {reason.kind.value}: {reason.message}")
            lines += [f"    {detail}" for detail in reason.details[:SHOWN_DETAILS]]
            if len(reason.details) > SHOWN_DETAILS:
                lines.append(f"    and {len(reason.details) - SHOWN_DETAILS} more: `pgrehearse status --json` has them")
            lines.append(f"    {reason.remedy}")
        return "\n".join(lines)

    def joined(self, other: "Gate") -> "Gate":
        """Both together, the reasons in the order of their kinds."""
        return Gate.of([*self.reasons, *other.reasons], [*self.told, *other.told])

    @classmethod
    def of(cls, reasons: Iterable[Reason], told: Iterable[str] = ()) -> "Gate":
        order = list(ReasonKind)
        return cls(
            reasons=tuple(sorted(reasons, key=lambda reason: order.index(reason.kind))),
            told=tuple(dict.fromkeys(told)),
        )

    def explained(self, kinds: Iterable[ReasonKind], details: Sequence[str]) -> "Gate":
        """The same with more to say of the reasons of these kinds."""
        named = frozenset(kinds)
        reasons = (
            replace(reason, details=(*reason.details, *details)) if reason.kind in named else reason
            for reason in self.reasons
        )
        return replace(self, reasons=tuple(reasons))

    def as_json(self) -> dict[str, Any]:
        return {
            "open": self.is_open,
            "reasons": [reason.as_json() for reason in self.reasons],
            "told": list(self.told),
        }


def finding_name(finding: Mapping[str, Any]) -> str:
    """What a finding is accepted by: ``drop-column:public.users``, or the hazard alone where it has no relation."""
    relation = finding["relation"]
    return finding["hazard"] if relation is None else f"{finding['hazard']}:{relation}"


def names_to_accept(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The findings and checks that made the verdict what it is; each must be accepted by this name."""
    if document["verdict"] not in ("loss", "hazard"):
        return ()
    order = ["error", "warning", "info"]
    asked = order.index(document["receipt"]["level"])
    # A loss counts at any level: that somebody asked only for errors does not make it smaller.
    names = [
        finding_name(finding)
        for finding in document["findings"]
        if finding["evidence"] != "disproved"
        and (order.index(finding["level"]) <= asked or "data-loss" in finding["classes"])
    ]
    # What fails an integrity check is a finding of its own, and accepted as such.
    checks = [check for check in document["checks"] if not check["name"].startswith("integrity: ")]
    names += [f"check:{check['name']}" for check in checks if check["verdict"] == "failed"]
    return tuple(dict.fromkeys(names))


def list_unmeasured(document: Mapping[str, Any]) -> tuple[str, ...]:
    """What was not measured and keeps the verdict from being clean, whatever was found beside it; with the reasons.

    Earlier receipts do not say which of it does; theirs is empty.
    """
    told = [f"{entry['what']}: {entry['reason']}" for entry in document["not_measured"] if entry.get("decisive")]
    checks = [check["name"] for check in document["checks"] if check["verdict"] == "unmeasured"]
    return (*told, *(f"check {name}" for name in checks))


def judge_verdict(document: Mapping[str, Any], accepted: Sequence[str]) -> list[Reason]:
    """Clean, or each finding accepted by name; that a plan failed, or was not measured, cannot be accepted.

    Not beside a finding, either: who accepts a loss that was counted does not know of one that was not.
    """
    verdict, digest = document["verdict"], document["digest"][:12]
    if verdict == "clean":
        return []
    unmeasured = list_unmeasured(document)
    if verdict in ("failed", "unmeasured") or unmeasured:
        beside = "" if verdict in ("failed", "unmeasured") else ", and it is not all: something was not measured"
        return [
            Reason(
                kind=ReasonKind.VERDICT,
                message=f"the rehearsal's verdict is {verdict}{beside}, which nobody can accept",
                remedy="Mend the migration or what could not be measured, and rehearse again.",
                details=() if verdict == "failed" else unmeasured,
            )
        ]
    missing = [name for name in names_to_accept(document) if name not in accepted]
    if not missing and names_to_accept(document):
        return []
    return [
        Reason(
            kind=ReasonKind.VERDICT,
            message=f"the rehearsal's verdict is {verdict}, and no approval that counts accepts {len(missing)} of its "
            "findings",
            remedy="Rehearse a safer migration, or accept each by name with a reason: "
            f"pgrehearse approve {digest} "
            + " ".join(f"--accept {_in_quotes(f'{name}=REASON')}" for name in missing[:SHOWN_NAMES])
            + (f" … and so on for {len(missing) - SHOWN_NAMES} more" if len(missing) > SHOWN_NAMES else ""),
            details=tuple(missing),
        )
    ]


def judge_grade(document: Mapping[str, Any]) -> list[Reason]:
    """Only a full clone as production's role says what production would do."""
    if document["grade"]["full"]:
        return []
    return [
        Reason(
            kind=ReasonKind.GRADE,
            message="the rehearsal was not on a full clone as production's role",
            remedy="Rehearse again without what lowered the grade.",
            details=tuple(document["grade"]["why_not"]),
        )
    ]


def _in_quotes(argument: str) -> str:
    """As a shell reads it; in quotes always, since a reason has spaces."""
    return "'" + argument.replace("'", "'\\''") + "'"

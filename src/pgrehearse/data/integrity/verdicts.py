"""What was found out about what the schema promises: frozen facts.  Counts are of rows, and exact."""

import enum
from dataclasses import dataclass
from typing import Any


class CheckVerdict(enum.Enum):
    PASSED = "passed"
    FAILED = "failed"
    UNMEASURED = "unmeasured"


class Weight(enum.Enum):
    """``error``: what holds by the catalog does not, or not any more.  ``warning``: it will be met later.
    ``info``: it was so before.
    """

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPromise:
    """Something that the plan made worse."""

    hazard: str
    weight: Weight
    relation: str | None  # namespace.relation
    promise: str  # "foreign key orders_user_id_fk"
    what: str  # one sentence
    remedy: str
    rows: int | None = None  # that violate after the plan; None where they cannot be counted
    rows_before: int | None = None
    keys: tuple[str, ...] = ()  # of the first rows that violate and did not before: "(id) = (5)"
    readers_fail: bool = False  # statements of the running application fail


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """Something that was not looked at, and why; ``decisive`` when a clean verdict would then be a guess."""

    what: str
    reason: str
    decisive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityCheck:
    """One kind of promise, all of the database's together."""

    name: str  # "integrity: foreign keys"
    verdict: CheckVerdict
    detail: str  # counts, names and reasons; never values

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "verdict": self.verdict.value, "detail": self.detail}


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """All that was found out."""

    checks: tuple[IntegrityCheck, ...]
    broken: tuple[BrokenPromise, ...]
    not_measured: tuple[Unmeasured, ...]


def check_of(
    name: str, detail: str, broken: tuple[BrokenPromise, ...] = (), unmeasured: tuple[Unmeasured, ...] = ()
) -> IntegrityCheck:
    """Failed where an error was found; else unmeasured where something decisive was not looked at."""
    if any(each.weight is Weight.ERROR for each in broken):
        verdict = CheckVerdict.FAILED
    elif any(each.decisive for each in unmeasured):
        verdict = CheckVerdict.UNMEASURED
    else:
        verdict = CheckVerdict.PASSED
    return IntegrityCheck(name=f"integrity: {name}", verdict=verdict, detail=detail)

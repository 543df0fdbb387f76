"""A finding: one hazard of one statement, predicted from the text or observed while it ran."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Measured = float | str | bool | Sequence[float | str] | None


class HazardClass(Enum):
    """What kind of harm a hazard does."""

    DATA_LOSS = "data-loss"
    GUARANTEE_LOST = "guarantee-lost"
    BREAKS_RUNNING_APP = "breaks-running-app"
    BLOCKS_READS = "blocks-reads"
    BLOCKS_WRITES = "blocks-writes"
    REWRITES_TABLE = "rewrites-table"
    SCANS_UNDER_LOCK = "scans-under-lock"
    FAILS = "fails"
    HARD_TO_UNDO = "hard-to-undo"
    STYLE = "style"


class Level(Enum):
    """How much a finding weighs.

    error: values are lost, the running application breaks, or the migration fails.
    warning: others wait, for as long as the table is large.  info: a matter of taste.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    def reaches(self, asked: "Level") -> bool:
        """Whether this is at or over the level asked for."""
        order = list(Level)
        return order.index(self) <= order.index(asked)


class Evidence(Enum):
    """How a finding is known."""

    PREDICTED = "predicted"  # from the text alone
    OBSERVED = "observed"  # seen while it ran
    CONFIRMED = "confirmed"  # predicted, then seen
    DISPROVED = "disproved"  # predicted, and it did not happen on the clone


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One hazard at one place."""

    hazard: str  # the id, as the catalogue spells it
    classes: tuple[HazardClass, ...]
    level: Level
    message: str
    remedy: str
    evidence: Evidence
    file: str | None = None
    line: int | None = None  # 1-based
    column: int | None = None  # 1-based, in characters
    relation: str | None = None  # namespace.relation
    measured: Mapping[str, Measured] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As `lint.schema.json` and `run.schema.json` have it."""
        return {
            "hazard": self.hazard,
            "classes": [each.value for each in self.classes],
            "level": self.level.value,
            "file": self.file,
            "line": self.line,
            "column": self.column,
            "message": self.message,
            "remedy": self.remedy,
            "evidence": self.evidence.value,
            "relation": self.relation,
            "measured": dict(self.measured),
        }

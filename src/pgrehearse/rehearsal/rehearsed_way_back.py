"""What a rehearsal found out about the way back: its type, how it was proved, and what it leaves behind."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pgrehearse.rollback.images import ImagePlan
from pgrehearse.rollback.perform import Ddl
from pgrehearse.rollback.rows_taken import RowsTaken


class WayBackType(Enum):
    """How the plan can be taken back; the best that was proved."""

    LOSSLESS = "lossless"  # it destroys nothing: the inverse alone
    RESTORABLE = "restorable"  # the inverse, and before-images of what it destroys
    LOSES_WRITES = "loses-writes"  # only a restore: what was written since is lost
    IMPOSSIBLE = "impossible"  # it reaches beyond its database, where no restore of that brings anything back
    NOT_MEASURED = "not-measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsedWayBack:
    """What the receipt says of it."""

    type: WayBackType
    reasons: tuple[str, ...] = ()
    ddl: Ddl | None = None
    images: tuple[Mapping[str, Any], ...] = ()
    proved: bool = False
    down_ms: float | None = None
    up_again_ms: float | None = None
    left_behind: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "type": self.type.value,
            "reasons": list(self.reasons),
            "statements": [] if self.ddl is None else list(self.ddl.statements),
            "statements_after_rows": [] if self.ddl is None else list(self.ddl.after_rows),
            "before_images": [dict(image) for image in self.images],
            "proved": self.proved,
            "down_ms": None if self.down_ms is None else round(self.down_ms, 3),
            "up_again_ms": None if self.up_again_ms is None else round(self.up_again_ms, 3),
            "left_behind": list(self.left_behind),
        }


def image_json(plan: ImagePlan, *, rows: int | None = None, taken: RowsTaken | None = None) -> dict[str, Any]:
    """What is copied before the plan runs; ``rows``: how many there were, ``taken``: which of them the plan took."""
    return {
        "relation": plan.relation,
        "name_after": plan.name_after,
        "columns": None if plan.columns is None else list(plan.columns),
        "rows": rows,
        "why": plan.why,
        "rows_taken": taken and taken.as_json(),
    }

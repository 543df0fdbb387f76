"""What the steps of one run of a promotion share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.progress import Progress
from pgrehearse.release.gate import Gate
from pgrehearse.release.history import Unfinished
from pgrehearse.release.promotion import (
    PromotionRequest,
)
from pgrehearse.release.recoverability import Proof
from pgrehearse.release.steps import Steps
from pgrehearse.release.watch import Rehearsed
from pgrehearse.rollback.image import Image

GATE, RECOVERABILITY, IMAGES, APPLY, VERIFY = "gate", "recoverability", "images", "apply", "verify"
SHOWN_IMAGES = 10  # one by one, to people


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the switchboard knows and a promotion must ask."""

    gate: Callable[[], Gate]
    rest: Callable[[], Gate]  # the gate of what is left, where something is applied already
    again: Callable[[Connection], Gate]  # of that what people and time change, in a session under the lock
    approved: Callable[[], Gate]  # whether the approvals still stand; of the release ledger alone
    secure: Callable[[], Sequence[Proof]]  # make and prove what takes it back
    require: Callable[[Sequence[Proof]], None]  # that what was proved is still there, byte for byte


@dataclass(slots=True)
class Run:
    """One run of a promotion."""

    request: PromotionRequest
    releases: ReleaseLedger
    now: Callable[[], datetime]
    progress: Progress
    around: Around
    session: Connection  # idle; for looking and for images
    steps: Steps
    rehearsed: Rehearsed | None
    unfinished: Unfinished | None
    supersedes: str | None  # another promotion, ended once the gate is open for this one
    told: list[str] = field(default_factory=list)
    say: Callable[[str], None] = lambda _: None

    def tell(self, line: str) -> None:
        self.told.append(line)
        self.say(line)

    @property
    def ignored(self) -> frozenset[str]:
        return frozenset({self.request.ledger.table})


def image_json(image: Image) -> dict[str, Any]:
    return {"relation": image.relation, "why": image.plan.why, "rows": image.rows, "state": image.state.value}

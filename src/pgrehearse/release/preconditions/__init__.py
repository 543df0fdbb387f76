"""What a plan needs of production's rows: derived from its statements, asked read-only of production itself."""

from pgrehearse.release.preconditions.check import check_preconditions
from pgrehearse.release.preconditions.derive import derive_preconditions
from pgrehearse.release.preconditions.precondition import (
    Precondition,
    PreconditionKind,
    PreconditionResult,
    was_seen_in_rehearsal,
)

__all__ = [
    "Precondition",
    "PreconditionKind",
    "PreconditionResult",
    "check_preconditions",
    "derive_preconditions",
    "was_seen_in_rehearsal",
]

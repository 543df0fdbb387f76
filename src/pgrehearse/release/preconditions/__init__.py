"""What a plan needs of production's rows: derived from its statements, asked read-only of production itself."""

from pgrehearse.release.preconditions.check import check_preconditions, read_search_path
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
    "read_search_path",
    "was_seen_in_rehearsal",
]

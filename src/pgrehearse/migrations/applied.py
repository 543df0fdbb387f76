"""What one run of a plan did."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentRun:
    """One segment as it was committed."""

    kind: str  # "transaction", "as-written", "outside"
    versions: tuple[str, ...]
    statements: int
    attempts: int  # 1: at the first
    duration_ms: float  # from its first statement to its COMMIT's answer, all attempts


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A statement that reaches beyond its database, on a server that is not ours alone."""

    version: str
    line: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The outcome of `apply`: everything that was pending is now applied and recorded."""

    applied: tuple[str, ...]  # versions that this run recorded, in order
    already_applied: tuple[str, ...]  # versions that another run had recorded before we got the lock
    resumed: tuple[str, ...]  # versions that a killed run had left half-done
    segments: tuple[SegmentRun, ...]
    left_out: tuple[LeftOut, ...]
    waited_ms: float  # for other runs of ours

    @property
    def retries(self) -> int:
        return sum(segment.attempts - 1 for segment in self.segments)

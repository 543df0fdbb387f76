"""How long a migration may wait, and for how long others may wait behind it."""

from dataclasses import dataclass
from enum import Enum


class TransactionMode(Enum):
    """Which statements share a transaction."""

    PLAN = "plan"  # all pending files in one, as drizzle-kit does
    FILE = "file"  # one per file
    STATEMENT = "statement"  # each statement by itself, as `psql -f` does
    AUTO = "auto"  # what the source's own tool does, but statements that refuse a transaction run outside it


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one run.  The defaults are for an environment that others use."""

    lock_timeout_ms: int = 3_000  # per lock; CONCURRENTLY has none, since it waits without blocking anybody
    attempts: int = 6  # per segment, on lock timeout and deadlock only
    backoff_s: float = 0.5  # before the second attempt; doubled for each further one, at most BACKOFF_CEILING_S
    max_block_s: float | None = 5.0  # cancel us before another session has waited this long behind us
    statement_timeout_ms: int | None = None  # None: the role's own; bounds CONCURRENTLY too
    longest_statement_ms: int | None = None  # a clone's: cuts off what has no timeout, or a longer one
    wait_s: float = 600.0  # for another run of ours, or another tool at the ledger's table

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after this many failed attempts."""
        return float(min(self.backoff_s * 2 ** (attempt - 1), BACKOFF_CEILING_S))


BACKOFF_CEILING_S = 10.0

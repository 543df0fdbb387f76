"""What a rehearsal is asked about the application's queries."""

from dataclasses import dataclass, field
from pathlib import Path

from pgrehearse.queries.application import ApplicationStatement
from pgrehearse.queries.compare import QueryLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class QueriesAsked:
    """Where the workload comes from and how far it is followed."""

    file: Path | None = None  # statements or a log; None: pg_stat_statements of the source
    left_out: bool = False  # nobody wants to know
    insisted: bool = False  # named by somebody: without it, a clean verdict would be a guess
    role: str | None = None  # sends statements of which no sender is known; None: who runs the migrations
    limits: QueryLimits = field(default_factory=QueryLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationAsked:
    """The running application's statements, to be tried before and after."""

    file: str  # as it is shown
    statements: tuple[ApplicationStatement, ...]
    role: str | None = None  # None: who runs the migrations
    time_limit_s: float = 5.0  # of one statement

"""What a rehearsal is asked to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pgrehearse.clones.pair import CopyOptions
from pgrehearse.data.proof import Proof
from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.suppress import Accepted
from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.queries.asked import ApplicationAsked, QueriesAsked
from pgrehearse.rehearsal.contention import ContentionLevel
from pgrehearse.rehearsal.settings import find_plan_names


@dataclass(frozen=True, slots=True, kw_only=True)
class TeamChecks:
    """What the team itself wants to be true after the migration."""

    directory: Path | None = None  # of *.sql files
    command: str | None = None
    working_directory: Path = field(default_factory=Path.cwd)
    url_variable: str = "DATABASE_URL"
    environment: Mapping[str, str] = field(default_factory=dict)  # already scrubbed of production


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One rehearsal: what to copy, where to, what to run on it, and what to hold it against."""

    source: Conninfo
    environment: str | None  # the source's name in the configuration
    target: Conninfo | None
    plan: Plan
    ledger: MigrationLedger
    mode: TransactionMode
    level: Level  # findings at or over it make the verdict a hazard
    copying: CopyOptions
    unguarded: Sequence[str]  # protected environments whose address is not known here
    samples: int  # changed rows per table that the receipt may hold
    statement_timeout_ms: int  # the most that a statement may take on the clone
    production_timeout_ms: int | None  # what a promotion sets there; None: the role's own
    checks: TeamChecks
    way_back: bool = True  # whether it is rehearsed too
    queries: QueriesAsked = field(default_factory=QueriesAsked)  # the application's
    application: ApplicationAsked | None = None  # its statements, to be tried before and after
    proof: Proof = Proof.TOUCHED  # how thoroughly data is compared
    contention: ContentionLevel = ContentionLevel.OFF  # how much traffic the plan is run beside once more
    contention_script: Path | None = None  # for pgbench, beside that traffic
    waits: Limits = field(default_factory=Limits)  # how long a promotion may wait there, and others behind it
    accepted: Accepted = field(default_factory=Accepted)  # findings of lint that the team accepts
    forecast_s: float = 3.0  # for how long production's rates are sampled, at least, where there is contention

    @property
    def plan_names(self) -> frozenset[str]:
        """What the plan mentions that may be a custom parameter of production's."""
        return find_plan_names(self.plan.migrations)

    def within_timeouts(self, limits: Limits) -> Limits:
        """Production's own statement timeout, and on a clone none beyond ours."""
        return replace(
            limits, statement_timeout_ms=self.production_timeout_ms, longest_statement_ms=self.statement_timeout_ms
        )

"""From configuration and words to what one rehearsal is asked for, and how its clone is made."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pgrehearse.clones.pair import CopyOptions
from pgrehearse.config import Config, ResolvedDatabase
from pgrehearse.config_sections import Application, Clone, Environment, Migrations, Queries, Rehearsal
from pgrehearse.data.proof import Proof
from pgrehearse.errors import ConfigurationError
from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.suppress import Accepted
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.sources.source import Source
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.queries.application import read_application
from pgrehearse.queries.asked import ApplicationAsked, QueriesAsked
from pgrehearse.queries.compare import QueryLimits
from pgrehearse.queries.comparison import Thresholds
from pgrehearse.queries.statistics_view import ORIGIN as STATISTICS
from pgrehearse.rehearsal.checks import scrubbed_environment
from pgrehearse.rehearsal.contention import ContentionLevel
from pgrehearse.rehearsal.request import Request, TeamChecks
from pgrehearse.waits import waits_of

DEFAULT_JOBS = 2
NO_WORKLOAD = "none"
DEFAULT_CONTENTION = ContentionLevel.LIGHT.value
DEFAULT_STATEMENT_TIMEOUT_S = 3600.0  # of one statement on a clone: a migration that never ends must end


@dataclass(frozen=True, slots=True, kw_only=True)
class RehearsalOptions:
    """What `pgrehearse run` was asked for; None: as the configuration has it."""

    source: str | None = None  # an environment's name, env:VARIABLE, or a URL
    target: str | None = None
    folder: Path | None = None
    files: tuple[Path, ...] = ()
    transaction: str | None = None
    role: str | None = None
    level: str = "error"
    keep: bool = False
    samples: int = 0
    jobs: int | None = None
    statement_timeout_s: float = DEFAULT_STATEMENT_TIMEOUT_S
    way_back: bool = True
    workload: str | None = None  # "pg_stat_statements", "none", or a file of statements or a log
    proof: str | None = None
    application: Path | None = None  # a file of the running application's statements
    application_role: str | None = None
    contention: str | None = None  # "off", "light" or "heavy"
    contention_script: Path | None = None  # for pgbench


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsing:
    """How one database is rehearsed, as the configuration, or its absence, has it."""

    config: Config | None
    source: ResolvedDatabase
    environment: Environment | None  # what the configuration says of the source
    protected: tuple[Conninfo, ...]
    unguarded: tuple[str, ...]  # protected environments whose address is not at hand

    def request(
        self, options: RehearsalOptions, *, target: ResolvedDatabase | None, origin: Source, plan: Plan
    ) -> Request:
        """What `pgrehearse.rehearsal.rehearse` is asked for; raises `ConfigurationError`."""
        source = self.source
        return Request(
            source=source.conninfo,
            environment=source.environment,
            target=target.conninfo if target else None,
            plan=plan,
            ledger=origin.ledger,
            mode=TransactionMode(options.transaction or self._migrations.transaction),
            level=Level(options.level),
            copying=self.copying(role=options.role, jobs=options.jobs, keep=options.keep or self._clone.keep),
            unguarded=self.unguarded,
            samples=options.samples,
            statement_timeout_ms=round(options.statement_timeout_s * 1000),
            production_timeout_ms=self._production_timeout_ms(),
            checks=self._checks([source, *([target] if target else [])]),
            way_back=options.way_back,
            queries=queries_asked(options, self.config),
            application=application_asked(options, self.config),
            proof=Proof(options.proof or (self.config.rehearsal.proof if self.config else "touched")),
            contention=ContentionLevel(options.contention or self._rehearsal.contention or DEFAULT_CONTENTION),
            contention_script=self._contention_script(options),
            waits=waits_of(self.environment),  # as a promotion to it would wait
            accepted=self.config.accepted_findings() if self.config else Accepted(),
        )

    def copying(self, *, role: str | None, jobs: int | None, keep: bool) -> CopyOptions:
        """How the source is copied; None: as the configuration has it."""
        clone = self._clone
        return CopyOptions(
            work_directory=self.config.located(clone.directory) if self.config and clone.directory else None,
            jobs=jobs or clone.jobs or DEFAULT_JOBS,
            same_server_allowed=clone.same_server,
            source_protected=self.source.protected_as_source,
            protected=self.protected,
            create_roles=clone.create_roles,
            role=role or self._migrations.role or self._migrator(),
            keep=keep,
        )

    def _contention_script(self, options: RehearsalOptions) -> Path | None:
        """The command line's file counts from the working directory, the configuration's from its file."""
        named = self._rehearsal.contention_script
        configured = self.config.located(named) if self.config is not None and named is not None else None
        script = options.contention_script or configured
        if script is not None and not script.is_file():
            raise ConfigurationError(
                f"the traffic script {script.name} is no file",
                remedy="Name a script of pgbench's: SQL, \\set, \\sleep.",
            )
        return None if script is None else script.resolve()

    def _production_timeout_ms(self) -> int | None:
        if self.environment is None or self.environment.statement_timeout_s is None:
            return None
        return round(self.environment.statement_timeout_s * 1000)

    def _migrator(self) -> str | None:
        """The user of the address that migrations log in with, where that is another; None: the URL's own."""
        if self.config is None or self.source.environment is None:
            return None
        conninfo = self.config.migrate_conninfo(self.source.environment)
        return conninfo.parameters.get("user") if conninfo is not None else None

    def _checks(self, databases: Iterable[ResolvedDatabase]) -> TeamChecks:
        config = self.config
        if config is None:
            return TeamChecks(environment=self._scrubbed(databases))
        return TeamChecks(
            directory=config.located(config.checks.directory),
            command=config.checks.command,
            working_directory=config.directory,
            url_variable=config.checks.url_variable,
            environment=self._scrubbed(databases),
        )

    def _scrubbed(self, databases: Iterable[ResolvedDatabase]) -> dict[str, str]:
        environments = self.config.environments.values() if self.config else ()
        names = [environment.url_env for environment in environments if environment.url_env]
        conninfos = [*(database.conninfo for database in databases), *self.protected]
        return scrubbed_environment(os.environ, names=names, databases=conninfos)

    @property
    def _clone(self) -> Clone:
        return self.config.clone if self.config else Clone()

    @property
    def _rehearsal(self) -> Rehearsal:
        return self.config.rehearsal if self.config else Rehearsal()

    @property
    def _migrations(self) -> Migrations:
        return self.config.migrations if self.config else Migrations()


def queries_asked(options: RehearsalOptions, config: Config | None) -> QueriesAsked:
    """Whose queries are compared; raises `ConfigurationError`.

    The command line's workload counts from the working directory, the configuration's from its file.
    """
    configured = config.queries if config else Queries()
    limits = QueryLimits(
        thresholds=Thresholds(cost_factor=configured.cost_factor, rows_factor=configured.rows_factor),
        execute_worst=configured.execute_worst,
        time_limit_s=configured.time_limit_s,
    )
    workload = options.workload or configured.workload
    role = options.application_role or (config.application.role if config else None)
    if workload in (None, STATISTICS, NO_WORKLOAD):
        return QueriesAsked(left_out=workload == NO_WORKLOAD, insisted=workload == STATISTICS, limits=limits)
    file = Path(workload) if options.workload or config is None else config.located(workload)
    if not file.is_file():
        raise ConfigurationError(
            f"the workload {workload} is no file",
            remedy=f"Name a file of statements or a log, {STATISTICS}, or {NO_WORKLOAD}.",
        )
    return QueriesAsked(file=file, insisted=True, role=role, limits=limits)


def application_asked(options: RehearsalOptions, config: Config | None) -> ApplicationAsked | None:
    """The running application's statements; raises `ConfigurationError`.

    The command line's file counts from the working directory, the configuration's from its file.
    """
    configured = config.application if config else Application()
    named = options.application or configured.statements
    if named is None:
        return None
    file = Path(named) if options.application or config is None else config.located(str(named))
    queries = config.queries if config else Queries()
    return ApplicationAsked(
        file=file.name,
        statements=read_application(file),
        role=options.application_role or configured.role,
        time_limit_s=queries.time_limit_s,
    )

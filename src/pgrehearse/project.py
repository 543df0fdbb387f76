"""The switchboard: configuration and command-line words in; sources, ledgers and rehearsals out.

The command line, and a program that imports pgrehearse, call these functions and show what they return.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from pgrehearse.clones.kept import KeptClone
from pgrehearse.clones.pair import CopyOptions, make_pair
from pgrehearse.clones.record import recorded_clones
from pgrehearse.config import Config, ResolvedDatabase, find_config, load_config, resolve_database
from pgrehearse.config_sections import Application, Clone, Environment, Migrations, Queries, Rehearsal
from pgrehearse.data.proof import Proof
from pgrehearse.errors import ConfigurationError, MalformedConninfo, NothingPending, ProtectedEnvironment
from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.suppress import Accepted
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migrate import NOT_COMPARED, Migrated, migrate
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.sources.find import ad_hoc_source, open_source
from pgrehearse.migrations.sources.source import Source
from pgrehearse.migrations.standing import Resolution
from pgrehearse.migrations.status import Status, read_status
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.progress import Progress, Silent
from pgrehearse.queries.application import read_application
from pgrehearse.queries.asked import ApplicationAsked, QueriesAsked
from pgrehearse.queries.compare import QueryLimits
from pgrehearse.queries.comparison import Thresholds
from pgrehearse.queries.statistics_view import ORIGIN as STATISTICS
from pgrehearse.rehearsal.checks import scrubbed_environment
from pgrehearse.rehearsal.contention import ContentionLevel
from pgrehearse.rehearsal.receipt import ENTRY_KIND, Receipt, find_receipt
from pgrehearse.rehearsal.rehearse import rehearse as rehearse_request
from pgrehearse.rehearsal.request import Request, TeamChecks

LEDGER_WITHOUT_CONFIG = ".pgrehearse/ledger.db"
DEFAULT_JOBS = 2
NO_WORKLOAD = "none"
DEFAULT_CONTENTION = ContentionLevel.LIGHT.value
DEFAULT_STATEMENT_TIMEOUT_S = 3600.0  # of one statement on a clone: a migration that never ends must end


def utc_now() -> datetime:
    return datetime.now(UTC)


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
class MigrateOptions:
    """What `pgrehearse migrate` was asked for; None: as the configuration, or the default, has it."""

    database: str
    folder: Path | None = None
    file: Path | None = None
    dry_run: bool = False
    transaction: str | None = None
    lock_timeout_s: float | None = None
    max_block_s: float | None = None
    wait_s: float | None = None
    end_orphan: bool = False
    resolutions: tuple[str, ...] = ()  # VERSION:applied, VERSION:again or VERSION:edited


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A folder with, perhaps, a pgrehearse.toml."""

    directory: Path
    config: Config | None

    @classmethod
    def open(cls, config_file: str | None, *, start: Path | None = None) -> "Project":
        """Read the named configuration, or the nearest pgrehearse.toml, or go without."""
        here = (start or Path.cwd()).resolve()
        path = Path(config_file) if config_file is not None else find_config(here)
        if path is None:
            return cls(directory=here, config=None)
        config = load_config(path)
        return cls(directory=config.directory, config=config)

    def database(self, word: str | None) -> ResolvedDatabase:
        """What the word names; without one, the only protected environment.  Raises `ConfigurationError`."""
        return resolve_database(word if word is not None else self._protected_name(), self.config)

    def protected(self) -> tuple[Conninfo, ...]:
        """The addresses of all protected environments.

        One whose variable is not set here cannot be compared with a target: it is left out, and a
        rehearsal says so.
        """
        return tuple(
            resolve_database(name, self.config).conninfo
            for name in self._protected_names()
            if name not in self._protected_without_address()
        )

    def _protected_names(self) -> list[str]:
        environments = self.config.environments if self.config else {}
        return [name for name, environment in environments.items() if environment.protected]

    def _protected_without_address(self) -> tuple[str, ...]:
        missing = []
        for name in self._protected_names():
            try:
                resolve_database(name, self.config)
            except MalformedConninfo:
                raise  # set, and unusable: a guard that silently falls away is none
            except ConfigurationError:
                missing.append(name)
        return tuple(missing)

    def source(self, folder: Path | None) -> Source:
        """The migrations folder: the one given, else the configuration's; drizzle's table as configured for both."""
        configured = self.config.migrations if self.config is not None else Migrations()
        if folder is not None:
            path, display = folder, None
        elif self.config is not None and configured.path is not None:
            path, display = self.config.located(configured.path), configured.path
        else:
            raise ConfigurationError(
                "no migrations folder was given",
                remedy="Name it (status ENV FOLDER, run --migrations FOLDER), or run `pgrehearse init`.",
            )
        return open_source(
            path,
            display=display,
            drizzle_namespace=configured.drizzle_schema,
            drizzle_table=configured.drizzle_table,
        )

    def status(self, database: ResolvedDatabase, source: Source) -> Status:
        """What this database has of these migrations; writes nothing.  See `pgrehearse.migrations.status`."""
        with connect(database.conninfo, verb="status") as session:
            return read_status(session, source)

    def migrate(self, options: MigrateOptions, *, tell: Callable[[str], None]) -> Migrated:
        """Apply what is pending; `ProtectedEnvironment` for a protected one, by name or by handshake."""
        database = self.database(options.database)
        if database.protected and not options.dry_run:
            raise ProtectedEnvironment(f"{database.label} is protected: `migrate` never writes to it")
        source = ad_hoc_source(options.file) if options.file is not None else self.source(options.folder)
        mode = options.transaction or (
            self.config.migrations.transaction if self.config else TransactionMode.AUTO.value
        )
        for name in self._protected_without_address() if not options.dry_run else ():
            tell(f"note: {name} is protected, and the variable with its URL is not set here: {NOT_COMPARED}")
        return migrate(
            database.conninfo,
            source,
            protected=self.protected(),
            mode=TransactionMode(mode),
            limits=limits_of(options, self.environment(database)),
            dry_run=options.dry_run,
            end_orphan=options.end_orphan,
            resolve=read_resolutions(options.resolutions),
            tell=tell,
        )

    def environment(self, database: ResolvedDatabase) -> Environment | None:
        """What the configuration says of it; None for a plain address."""
        if self.config is None or database.environment is None:
            return None
        return self.config.environments[database.environment]

    def releases(self) -> ReleaseLedger:
        """The release ledger, opened; the caller closes it."""
        if self.config is not None and (shared := self.config.ledger_conninfo()) is not None:
            return ReleaseLedger.open(shared)
        path = self.config.located(self.config.ledger.path) if self.config else self.directory / LEDGER_WITHOUT_CONFIG
        return ReleaseLedger.open(path)

    def receipt(self, prefix: str | None) -> Receipt:
        """The receipt whose digest starts so, or the newest."""
        with self.releases() as releases:
            return find_receipt(releases, prefix)

    def receipt_summaries(self) -> list[dict[str, str]]:
        """Digest, verdict, time and plan of every receipt, oldest first."""
        with self.releases() as releases:
            return [
                {
                    "digest": entry.subject,
                    "verdict": entry.body["verdict"],
                    "created_at": entry.body["receipt"]["created_at"],
                    "plan": ", ".join(migration["version"] for migration in entry.body["plan"]),
                }
                for entry in releases.entries(kind=ENTRY_KIND)
            ]

    def rehearse(self, options: RehearsalOptions, *, progress: Progress | None = None) -> Receipt:
        """Rehearse what the options say; see `pgrehearse.rehearsal.rehearse.rehearse`.

        Raises `NothingPending` when there is nothing to rehearse.
        """
        progress = progress or Silent()
        source = self.database(options.source)
        target = self.database(options.target) if options.target is not None else None
        progress.step(f"reading what {source.label} has applied")
        origin, plan = self._plan(options, source)
        if not plan.migrations:
            raise NothingPending(f"nothing to rehearse: {source.label} has every migration of {origin.display}")
        request = self._request(options, source, target, origin, plan)
        with self.releases() as releases:
            return rehearse_request(request, releases=releases, now=utc_now, progress=progress)

    def clone(
        self,
        source: str | None,
        target: str | None,
        *,
        role: str | None = None,
        jobs: int | None = None,
        progress: Progress | None = None,
    ) -> KeptClone:
        """Copy ``source`` and keep both copies; see `make_pair`."""
        copied = self.database(source)
        landing = self.database(target) if target is not None else None
        with self.releases() as releases:
            with make_pair(
                copied.conninfo,
                landing.conninfo if landing else None,
                ledger=releases,
                now=utc_now,
                progress=(progress or Silent()).step,
                **self._copying(copied, role=role, jobs=jobs, keep=True),
            ) as pair:
                pass
            recorded = next(clone for clone in recorded_clones(releases) if clone.id == pair.id)
        return KeptClone(pair=pair, recorded=recorded)

    def _plan(self, options: RehearsalOptions, source: ResolvedDatabase) -> tuple[Source, Plan]:
        if options.files:
            sources = [ad_hoc_source(file) for file in options.files]
            return sources[0], Plan.of(migration for each in sources for migration in each.migrations)
        origin = self.source(options.folder)
        origin.require_whole()
        return origin, self.status(source, origin).pending

    def _request(
        self,
        options: RehearsalOptions,
        source: ResolvedDatabase,
        target: ResolvedDatabase | None,
        origin: Source,
        plan: Plan,
    ) -> Request:
        return Request(
            source=source.conninfo,
            environment=source.environment,
            target=target.conninfo if target else None,
            plan=plan,
            ledger=origin.ledger,
            mode=TransactionMode(options.transaction or self._migrations.transaction),
            level=Level(options.level),
            copying=self._copying(source, role=options.role, jobs=options.jobs, keep=options.keep or self._clone.keep),
            unguarded=self._protected_without_address(),
            samples=options.samples,
            statement_timeout_ms=round(options.statement_timeout_s * 1000),
            production_timeout_ms=self._production_timeout_ms(source),
            checks=self._checks([source, *([target] if target else [])]),
            way_back=options.way_back,
            queries=self._queries(options),
            application=self._application(options),
            proof=Proof(options.proof or (self.config.rehearsal.proof if self.config else "touched")),
            contention=ContentionLevel(options.contention or self._rehearsal.contention or DEFAULT_CONTENTION),
            contention_script=self._contention_script(options),
            waits=self._waits(source),
            accepted=self.config.accepted_findings() if self.config else Accepted(),
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

    def _waits(self, source: ResolvedDatabase) -> Limits:
        """As a promotion to it would wait."""
        environment = self.environment(source)
        return Limits() if environment is None else _limited(
            Limits(), environment.lock_timeout_s, environment.max_block_s
        )  # fmt: skip

    def _production_timeout_ms(self, source: ResolvedDatabase) -> int | None:
        configured = self.config.environments.get(source.environment) if self.config and source.environment else None
        if configured is None or configured.statement_timeout_s is None:
            return None
        return round(configured.statement_timeout_s * 1000)

    def _queries(self, options: RehearsalOptions) -> QueriesAsked:
        """The command line's workload counts from the working directory, the configuration's from its file."""
        configured = self.config.queries if self.config else Queries()
        limits = QueryLimits(
            thresholds=Thresholds(cost_factor=configured.cost_factor, rows_factor=configured.rows_factor),
            execute_worst=configured.execute_worst,
            time_limit_s=configured.time_limit_s,
        )
        workload = options.workload or configured.workload
        role = options.application_role or (self.config.application.role if self.config else None)
        if workload in (None, STATISTICS, NO_WORKLOAD):
            return QueriesAsked(left_out=workload == NO_WORKLOAD, insisted=workload == STATISTICS, limits=limits)
        file = Path(workload) if options.workload or self.config is None else self.config.located(workload)
        if not file.is_file():
            raise ConfigurationError(
                f"the workload {workload} is no file",
                remedy=f"Name a file of statements or a log, {STATISTICS}, or {NO_WORKLOAD}.",
            )
        return QueriesAsked(file=file, insisted=True, role=role, limits=limits)

    def _application(self, options: RehearsalOptions) -> ApplicationAsked | None:
        """The command line's file counts from the working directory, the configuration's from its file."""
        configured = self.config.application if self.config else Application()
        named = options.application or configured.statements
        if named is None:
            return None
        file = Path(named) if options.application or self.config is None else self.config.located(str(named))
        queries = self.config.queries if self.config else Queries()
        return ApplicationAsked(
            file=file.name,
            statements=read_application(file),
            role=options.application_role or configured.role,
            time_limit_s=queries.time_limit_s,
        )

    def _copying(self, source: ResolvedDatabase, *, role: str | None, jobs: int | None, keep: bool) -> CopyOptions:
        clone = self._clone
        return CopyOptions(
            work_directory=self.config.located(clone.directory) if self.config and clone.directory else None,
            jobs=jobs or clone.jobs or DEFAULT_JOBS,
            same_server_allowed=clone.same_server,
            source_protected=source.protected_as_source,
            protected=self.protected(),
            create_roles=clone.create_roles,
            role=role or self._migrations.role or self._migrator(source),
            keep=keep,
        )

    def migrate_conninfo(self, database: ResolvedDatabase) -> Conninfo:
        """The address that migrations of this database log in with."""
        configured = (
            self.config.migrate_conninfo(database.environment)
            if self.config is not None and database.environment is not None
            else None
        )
        return configured or database.conninfo

    def _migrator(self, database: ResolvedDatabase) -> str | None:
        """The user of that address where it is another's; None: the URL's own, whoever that turns out to be."""
        conninfo = self.migrate_conninfo(database)
        return conninfo.parameters.get("user") if conninfo is not database.conninfo else None

    @property
    def _clone(self) -> Clone:
        return self.config.clone if self.config else Clone()

    @property
    def _rehearsal(self) -> Rehearsal:
        return self.config.rehearsal if self.config else Rehearsal()

    @property
    def _migrations(self) -> Migrations:
        return self.config.migrations if self.config else Migrations()

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
        conninfos = [*(database.conninfo for database in databases), *self.protected()]
        return scrubbed_environment(os.environ, names=names, databases=conninfos)

    def _protected_name(self) -> str:
        protected = self._protected_names()
        if len(protected) == 1:
            return protected[0]
        raise ConfigurationError(
            f"which environment? {len(protected)} are protected: {', '.join(protected)}"
            if protected
            else "which database? no protected environment is configured",
            remedy="Name one: an environment, env:VARIABLE, or a postgresql:// URL.",
        )


def read_resolutions(given: Iterable[str]) -> dict[str, Resolution]:
    """VERSION:ANSWER by version; raises `ConfigurationError`."""
    found = {}
    for text in given:
        version, colon, answer = text.rpartition(":")
        if not colon or answer not in {each.value for each in Resolution}:
            raise ConfigurationError(
                f"--resolve {text}: expected VERSION:applied, VERSION:again or VERSION:edited",
                remedy="applied: the statement's effect is there; again: run it again.",
            )
        found[version] = Resolution(answer)
    return found


class Waits(Protocol):
    """What a command says about waiting; None: as the configuration, or the default, has it."""

    @property
    def lock_timeout_s(self) -> float | None: ...
    @property
    def max_block_s(self) -> float | None: ...
    @property
    def wait_s(self) -> float | None: ...


def limits_of(options: Waits, environment: Environment | None) -> Limits:
    """What the command line says, else what the environment's configuration says, else the defaults."""
    limits = Limits()
    if environment is not None:
        limits = _limited(limits, environment.lock_timeout_s, environment.max_block_s)
        if environment.statement_timeout_s is not None:
            limits = replace(limits, statement_timeout_ms=round(environment.statement_timeout_s * 1000))
    limits = _limited(limits, options.lock_timeout_s, options.max_block_s)
    return limits if options.wait_s is None else replace(limits, wait_s=options.wait_s)


def _limited(limits: Limits, lock_timeout_s: float | None, max_block_s: float | None) -> Limits:
    if lock_timeout_s is not None:
        limits = replace(limits, lock_timeout_ms=round(lock_timeout_s * 1000))
    return limits if max_block_s is None else replace(limits, max_block_s=max_block_s)


def rehearse(
    source: str,
    *,
    target: str | None = None,
    migrations: str | Path | None = None,
    files: Sequence[str | Path] = (),
    role: str | None = None,
    progress: Progress | None = None,
    **more: Any,
) -> Receipt:
    """Rehearse migrations on a clone of ``source`` and return the receipt.

    ``source`` and ``target`` are environments of the nearest pgrehearse.toml, ``env:VARIABLE`` or URLs;
    ``migrations`` a folder, ``files`` single files; ``more`` the other fields of `RehearsalOptions`.  Raises
    subclasses of `pgrehearse.errors.PgRehearseError`.
    """
    options = RehearsalOptions(
        source=source,
        target=target,
        folder=Path(migrations) if migrations is not None else None,
        files=tuple(Path(file) for file in files),
        role=role,
        **more,
    )
    return Project.open(None).rehearse(options, progress=progress)

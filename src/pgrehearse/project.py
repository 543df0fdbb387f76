"""The switchboard: configuration and command-line words in; sources, ledgers and rehearsals out.

The command line, and a program that imports pgrehearse, call these functions and show what they return.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pgrehearse.clones.kept import KeptClone
from pgrehearse.clones.pair import make_pair
from pgrehearse.clones.record import recorded_clones
from pgrehearse.config import Config, ResolvedDatabase, find_config, load_config, resolve_database
from pgrehearse.config_sections import Environment, Migrations
from pgrehearse.errors import ConfigurationError, MalformedConninfo, NothingPending, ProtectedEnvironment
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migrate import NOT_COMPARED, Migrated, migrate
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.sources.find import ad_hoc_source, open_source
from pgrehearse.migrations.sources.source import Source
from pgrehearse.migrations.status import Status, read_status
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.progress import Progress, Silent
from pgrehearse.rehearsal.receipt import ENTRY_KIND, Receipt, find_receipt
from pgrehearse.rehearsal.rehearse import rehearse as rehearse_request
from pgrehearse.rehearsing import RehearsalOptions, Rehearsing
from pgrehearse.waits import limits_of, read_resolutions

__all__ = ["MigrateOptions", "Project", "RehearsalOptions", "rehearse", "utc_now"]  # what others take from here

LEDGER_WITHOUT_CONFIG = ".pgrehearse/ledger.db"


def utc_now() -> datetime:
    return datetime.now(UTC)


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
        elif self.config is not None and (found := self.config.migrations_folder()) is not None:
            path, display = found, configured.path
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

    def releases(self, *, reading: bool = False) -> ReleaseLedger:
        """The release ledger, opened; the caller closes it.  ``reading``: where it may lie on a read-only disk."""
        if self.config is not None and (shared := self.config.ledger_conninfo()) is not None:
            return ReleaseLedger.open(shared, reading=reading)
        path = self.config.located(self.config.ledger.path) if self.config else self.directory / LEDGER_WITHOUT_CONFIG
        return ReleaseLedger.open(path, reading=reading)

    def receipt(self, prefix: str | None) -> Receipt:
        """The receipt whose digest starts so, or the newest."""
        with self.releases(reading=True) as releases:
            return find_receipt(releases, prefix)

    def receipt_summaries(self) -> list[dict[str, str]]:
        """Digest, verdict, time and plan of every receipt, oldest first."""
        with self.releases(reading=True) as releases:
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
        request = self._rehearsing(source).request(options, target=target, origin=origin, plan=plan)
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
                **self._rehearsing(copied).copying(role=role, jobs=jobs, keep=True),
            ) as pair:
                pass
            recorded = next(clone for clone in recorded_clones(releases) if clone.id == pair.id)
        return KeptClone(pair=pair, recorded=recorded)

    def _rehearsing(self, source: ResolvedDatabase) -> Rehearsing:
        return Rehearsing(
            config=self.config,
            source=source,
            environment=self.environment(source),
            protected=self.protected(),
            unguarded=self._protected_without_address(),
        )

    def _plan(self, options: RehearsalOptions, source: ResolvedDatabase) -> tuple[Source, Plan]:
        if options.files:
            sources = [ad_hoc_source(file) for file in options.files]
            return sources[0], Plan.of(migration for each in sources for migration in each.migrations)
        origin = self.source(options.folder)
        origin.require_whole()
        return origin, self.status(source, origin).pending

    def migrate_conninfo(self, database: ResolvedDatabase) -> Conninfo:
        """The address that migrations of this database log in with."""
        configured = (
            self.config.migrate_conninfo(database.environment)
            if self.config is not None and database.environment is not None
            else None
        )
        return configured or database.conninfo

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

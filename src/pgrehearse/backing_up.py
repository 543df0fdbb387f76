"""The switchboard's third part: from configuration and words to backups."""

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from pgrehearse.config import ResolvedDatabase
from pgrehearse.config_sections import Backup
from pgrehearse.data.sizes import read_database_size
from pgrehearse.errors import BackupRefused
from pgrehearse.policies import Policies
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.identity import read_identity
from pgrehearse.progress import Progress
from pgrehearse.project import utc_now
from pgrehearse.release.backup.create import create_dump
from pgrehearse.release.backup.dump_backup import DumpBackup
from pgrehearse.release.backup.external import ExternalBackup, record_external
from pgrehearse.release.backup.inventory import (
    ListedBackup,
    Only,
    PrunedBackups,
    everything,
    find_backup,
    list_backups,
    prune_backups,
)
from pgrehearse.release.backup.verify import Verified, verify_backup
from pgrehearse.release.recoverability import DUMP, EXTERNAL, choose_ways


@dataclass(frozen=True, slots=True, kw_only=True)
class Created:
    """What `backup create` took, by the ways that the policy asks for."""

    dump: DumpBackup | None
    external: tuple[str, ExternalBackup] | None  # its id in the release ledger

    def as_json(self) -> dict[str, Any]:
        return {
            "dump": None if self.dump is None else _dump_json(self.dump),
            "external": None if self.external is None else {"id": self.external[0], **self.external[1].as_json()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BackingUp:
    """What a project can do with backups."""

    policies: Policies

    def create(self, word: str | None, *, way: str | None, jobs: int | None, progress: Progress) -> Created:
        """Take what the environment's policy asks for, or ``way`` alone.  Before-images are `promote`'s own.

        Raises `BackupRefused` where nothing of it can be taken by hand, and what the ways raise.
        """
        database, project = self._database(word), self.policies.project
        policy = self.policies.recoverability(database)
        with connect(database.conninfo, verb="backup") as session:
            identity = read_identity(session)
            size = read_database_size(session)
        ways = (way,) if way is not None else choose_ways(policy, size)
        if DUMP not in ways and EXTERNAL not in ways:
            raise BackupRefused(
                f"the policy of {database.label} is {', '.join(ways)}: `promote` takes those, since it knows the plan",
                remedy="Ask for one with --way dump or --way external.",
            )
        if EXTERNAL in ways and policy.external is None:
            raise BackupRefused(
                f"{database.label} ({size / 1024**3:.1f} GB) asks for an external backup, and no command is configured",
                remedy="Set backup.external_command, raise backup.dump_limit_gb, or ask for --way dump.",
            )
        dump, external = None, None
        with project.releases() as ledger:
            if DUMP in ways:
                dump = create_dump(
                    database.conninfo, directory=policy.directory, ledger=ledger, now=utc_now,
                    scratch=policy.scratch, label=database.environment, jobs=jobs or policy.jobs,
                    progress=progress,
                )  # fmt: skip
            if EXTERNAL in ways:
                assert policy.external is not None
                progress.step("running the external backup")
                external = record_external(
                    policy.external, database=database.conninfo, source=identity, label=database.environment,
                    ledger=ledger, now=utc_now,
                )  # fmt: skip
        return Created(dump=dump, external=external)

    def verify(
        self, word: str | None, prefix: str | None, *, deep: bool, jobs: int | None, progress: Progress
    ) -> Verified:
        """Read every byte of one of the database's backups, the newest unless named.

        ``deep`` restores it elsewhere and compares once more.
        """
        database = self._database(word)
        policy = self.policies.recoverability(database)
        with self.policies.project.releases() as ledger:
            found = find_backup(policy.directory, prefix, ledger, only=_of(database))
            assert found.directory is not None
            return verify_backup(
                found.directory, ledger=ledger, now=utc_now, deep=deep, source=database.conninfo,
                scratch=policy.scratch, jobs=jobs or policy.jobs, progress=progress,
            )  # fmt: skip

    def listed(self, word: str | None) -> tuple[ListedBackup, ...]:
        """All backups, or one database's, oldest first.  Asks no server: production may be what is down."""
        with self.policies.project.releases(reading=True) as ledger:
            return list_backups(self.policies.backup_directory(), ledger, only=self._only(word))

    def prune(
        self, word: str | None, *, keep: int | None, younger_than_days: float | None, forced: bool
    ) -> PrunedBackups:
        """Remove what nobody needs, of all databases or of one; ``keep`` None: as the configuration has it."""
        configured = self.policies.project.config
        with self.policies.project.releases() as ledger:
            return prune_backups(
                self.policies.backup_directory(),
                ledger=ledger,
                now=utc_now,
                keep=(configured.backup if configured else Backup()).keep if keep is None else keep,
                younger_than=timedelta(days=younger_than_days) if younger_than_days is not None else None,
                only=self._only(word),
                forced=forced,
            )

    def _database(self, word: str | None) -> ResolvedDatabase:
        return self.policies.project.database(word)

    def _only(self, word: str | None) -> Only:
        return everything if word is None else _of(self._database(word))


def _of(database: ResolvedDatabase) -> Only:
    """By the environment's name where it was recorded, else by the address that the source had."""
    return lambda each: (
        (each.label is not None and each.label == database.environment) or each.source == database.conninfo.address
    )


def _dump_json(backup: DumpBackup) -> dict[str, Any]:
    manifest = backup.manifest
    return {
        "id": backup.id,
        "digest": backup.digest,
        "directory": str(backup.directory),
        "taken_at": manifest.taken_at.astimezone(UTC).isoformat(),
        "lsn": manifest.lsn,
        "size_bytes": manifest.dump_bytes,
        "tables": len(manifest.contents.tables),
        "rows": manifest.contents.rows,
        "left_out": list(manifest.left_out),
    }

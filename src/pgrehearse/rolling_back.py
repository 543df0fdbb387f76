"""The switchboard for the way back: from configuration and words to `pgrehearse.release.take_back`."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pgrehearse.config import ResolvedDatabase
from pgrehearse.errors import ConfigurationError, DatabaseFenced, LeaseHeld, LedgerDamaged
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.policies import Policies
from pgrehearse.postgres.connect import connect
from pgrehearse.progress import Progress
from pgrehearse.project import Project, utc_now
from pgrehearse.rehearsal.person import read_person
from pgrehearse.rehearsal.receipt import Receipt, find_receipt
from pgrehearse.release.anchor import judge_anchors
from pgrehearse.release.history import PromotionRecord, find_promotion, read_promotions
from pgrehearse.release.interrupted_rollback import record_swaps
from pgrehearse.release.lease import describe, hold_lease
from pgrehearse.release.lineage import database_key, find_taken_back, key_from_outside
from pgrehearse.release.restore.beside import drop_restored, find_restores
from pgrehearse.release.restore.swap import undo
from pgrehearse.release.take_back import TakenBack, take_back
from pgrehearse.release.ways_back import TakeBackRequest, Way
from pgrehearse.release.write_fence import find_standing, lift_left, past_fence
from pgrehearse.releasing import Releasing
from pgrehearse.waits import limits_of

SHUT_REMEDY = (
    "`pgrehearse rollback --undo` opens it again; `pgrehearse rollback` of the same promotion goes on once it is open."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackOptions:
    """What `pgrehearse rollback` was asked for; None: as the configuration, or the default, has it."""

    promotion: str | None = None  # the beginning of its id
    to: str | None = None  # an environment's name, env:NAME or a URL
    folder: Path | None = None
    only: str | None = None  # "inverse" or "restore"
    reapply: bool = False
    dry_run: bool = False
    lock_timeout_s: float | None = None
    max_block_s: float | None = None
    wait_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingBack:
    """How a project's promotions are taken back."""

    project: Project

    @property
    def policies(self) -> Policies:
        return Policies(project=self.project)

    def rollback(
        self,
        options: RollbackOptions,
        *,
        progress: Progress,
        tell: Callable[[str], None],
        agree: Callable[[Way], bool],
    ) -> TakenBack:
        """Take a promotion back by the best way that is left.  See `pgrehearse.release.take_back`."""
        database = self.project.database(options.to)
        with self.project.releases(reading=options.dry_run) as releases:
            self._refuse_while_shut(releases, database)
            try:
                releases.verify()
            except LedgerDamaged as error:  # who must go back at once is told, and not kept from it
                tell(f"{error}: what it says of this promotion may not be true")
            record_swaps(releases, database.conninfo, now=utc_now, tell=tell)
            with connect(database.conninfo, verb="rollback") as session:
                for reason in judge_anchors(session, releases).reasons:  # told too, and nobody is kept from going back
                    tell("\n".join([reason.message, *reason.details]))
                promotion = find_promotion(releases, database_key(session), options.promotion)
            receipt = find_receipt(releases, promotion.receipt) if promotion.receipt is not None else None
            person = read_person(self.project.directory)
            ledger, migrations = self._promoted(receipt, promotion, options.folder)
            return take_back(
                TakeBackRequest(
                    production=database.conninfo,
                    migrate=self.project.migrate_conninfo(database),
                    promotion=promotion,
                    receipt=receipt,
                    migrations=migrations,
                    ledger=ledger,
                    directory=self.policies.rollback_directory() / promotion.id,
                    holder=f"{person.at_host}, pid {os.getpid()}",
                    by=person.as_json(),
                    limits=limits_of(options, self.project.environment(database)),
                    jobs=self.policies.backup.jobs or 2,
                    lease_ttl_s=self.policies.promotion.lease_s,
                    reapply=options.reapply,
                    only=options.only,
                    precondition_timeout_ms=round(self.policies.promotion.precondition_timeout_s * 1000),
                ),
                releases=releases,
                now=utc_now,
                nonce=lambda: secrets.token_hex(8),
                progress=progress,
                dry_run=options.dry_run,
                agree=agree,
                tell=tell,
            )

    def undo_restore(self, word: str | None, *, drop: bool) -> tuple[str, ...]:
        """Open a database that an interrupted restore has shut, or a killed promotion has fenced against writes.

        With ``drop`` the restored copy goes too.

        Raises `LeaseHeld` while somebody is at it: what is written to a database that they have exported is lost.
        """
        database = self.project.database(word)
        person = read_person(self.project.directory)
        holder = f"{person.at_host}, pid {os.getpid()}"
        key = key_from_outside(database.conninfo)
        told = []
        with (
            self.project.releases() as releases,
            hold_lease(
                releases, f"promote {key}", holder, token=secrets.token_hex(8),
                ttl_s=self.policies.promotion.lease_s,
            ),
        ):  # fmt: skip
            for each in find_restores(database.conninfo):
                undo(database.conninfo, each.id, ledger=releases, now=utc_now)
                told.append(f"{each.mark.names.database} is open; {each.mark.names.restored} stands beside it")
                if drop:
                    drop_restored(database.conninfo, each.id, ledger=releases, now=utc_now)
                    told[-1] = f"{each.mark.names.database} is open; {each.mark.names.restored} is dropped"
            fenced = find_standing(releases, key)
            if fenced is not None:
                migrate = past_fence(self.project.migrate_conninfo(database))
                told.append(lift_left(fenced, lambda: connect(migrate, verb="rollback"), releases, now=utc_now()))
        return tuple(told)

    def promotions(self, word: str | None) -> tuple[tuple[PromotionRecord, bool], ...]:
        """The promotions of this database, oldest first, and whether each is taken back."""
        database = self.project.database(word)
        with self.project.releases(reading=True) as releases, connect(database.conninfo, verb="rollback") as session:
            record_swaps(releases, database.conninfo, now=utc_now, tell=lambda _: None)
            back = find_taken_back(releases)
            return tuple((each, each.id in back) for each in read_promotions(releases, database_key(session)))

    def _refuse_while_shut(self, releases: ReleaseLedger, database: ResolvedDatabase) -> None:
        for each in find_restores(database.conninfo):
            if each.mark.is_fenced:
                lease = releases.read_lease(f"promote {key_from_outside(database.conninfo)}")
                if lease is not None and not lease.has_ended:
                    raise LeaseHeld(describe(lease))
                raise DatabaseFenced(each.told, remedy=SHUT_REMEDY)

    def _promoted(
        self, receipt: Receipt | None, promotion: PromotionRecord, folder: Path | None
    ) -> tuple[MigrationLedger, tuple[Migration, ...]]:
        """The migrations of the promotion, from the receipt's own bytes: the files may have gone since."""
        if receipt is not None:
            sources = Releasing(project=self.project).sources_of(receipt, folder)
        else:
            try:
                sources = (self.project.source(folder),)
            except ConfigurationError:  # it was of single files, perhaps; a restore needs none
                if folder is not None:
                    raise
                return OwnLedger(kind=SourceKind.AD_HOC), ()
        on_disk = {migration.version: migration for source in sources for migration in source.migrations}
        return sources[0].ledger, tuple(on_disk[version] for version in promotion.plan if version in on_disk)

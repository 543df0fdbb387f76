"""The switchboard's second half: from configuration and words to approvals, gates, promotions and the way back."""

import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pgrehearse.config import ResolvedDatabase
from pgrehearse.data.sizes import read_database_size
from pgrehearse.errors import ConfigurationError, DatabaseFenced, LeaseHeld, NothingUnfinished, WrongUsage
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.sources.find import ad_hoc_source
from pgrehearse.migrations.sources.source import Source
from pgrehearse.migrations.status import Status, read_status
from pgrehearse.policies import Policies
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.identity import same_database
from pgrehearse.progress import Progress
from pgrehearse.project import Project, limits_of, read_resolutions, utc_now
from pgrehearse.rehearsal.receipt import ENTRY_KIND, Receipt, find_receipt
from pgrehearse.release.approval import (
    Accepted,
    Approval,
    approve,
    read_approvals,
    read_person,
    standing_since,
    withdraw,
)
from pgrehearse.release.examine import examine, judge_unrehearsed
from pgrehearse.release.gate import Gate
from pgrehearse.release.history import PromotionRecord, find_promotion, find_unfinished, read_promotions
from pgrehearse.release.lease import describe, hold_lease
from pgrehearse.release.lineage import database_key, find_taken_back, key_from_outside
from pgrehearse.release.promote import promote
from pgrehearse.release.promotion import (
    ROLLBACK_BEGUN,
    ROLLBACK_ENDED,
    Promotion,
    PromotionRequest,
)
from pgrehearse.release.promotion_run import Around
from pgrehearse.release.recoverability import (
    DUMP,
    Proof,
    choose_ways,
    judge_recoverability,
    judge_restore,
    require_proofs,
    secure,
)
from pgrehearse.release.restore.beside import drop_restored, find_restores
from pgrehearse.release.restore.in_the_way import InTheWay, ask_in_the_way
from pgrehearse.release.restore.swap import record_swapped, undo
from pgrehearse.release.take_back import (
    TakeBackRequest,
    TakenBack,
    Way,
    take_back,
)
from pgrehearse.release.under_way import told_under_way

SHUT_REMEDY = (
    "`pgrehearse rollback --undo` opens it again; `pgrehearse rollback` of the same promotion goes on once it is open."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """A receipt held against production as it is now."""

    receipt: Receipt
    approvals: tuple[Approval, ...]
    gate: Gate
    ways: tuple[str, ...]  # of taking it back, as the policy chooses them for this database

    def as_json(self) -> dict[str, Any]:
        return {
            "receipt": self.receipt.digest,
            "verdict": self.receipt.verdict,
            "approvals": [approval.as_json() for approval in self.approvals],
            "recoverability": list(self.ways),
            **self.gate.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PromoteOptions:
    """What `pgrehearse promote` was asked for; None: as the configuration, or the default, has it."""

    receipt: str | None = None  # the beginning of its digest
    to: str | None = None  # an environment's name, env:NAME or a URL
    folder: Path | None = None
    file: Path | None = None  # only with `unrehearsed`
    unrehearsed: str | None = None  # why nobody rehearsed it
    fence: bool = False
    lock_timeout_s: float | None = None
    max_block_s: float | None = None
    wait_s: float | None = None
    end_orphan: bool = False
    resolutions: tuple[str, ...] = ()


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
class Releasing:
    """What a project can do with its receipts."""

    project: Project

    @property
    def policies(self) -> Policies:
        return Policies(project=self.project)

    # --- approval ------------------------------------------------------------------------------------------

    def approve(self, prefix: str | None, *, accept: Sequence[str], remark: str) -> Approval:
        """This person's yes to the receipt; ``accept`` holds ``FINDING=REASON``.  Raises `ApprovalRefused`."""
        with self.project.releases() as releases:
            receipt = find_receipt(releases, prefix)
            return approve(
                releases,
                receipt,
                by=read_person(self.project.directory),
                remark=remark,
                accepted=[_accepted(text) for text in accept],
                now=utc_now(),
            )

    def withdraw(self, prefix: str | None, *, remark: str) -> tuple[str, tuple[Approval, ...]]:
        """Take this person's yes back; the receipt's digest and the approvals that are left."""
        with self.project.releases() as releases:
            receipt = find_receipt(releases, prefix)
            by = read_person(self.project.directory)
            return receipt.digest, withdraw(releases, receipt, by=by, remark=remark, now=utc_now())

    def approvals(self, digest: str) -> tuple[Approval, ...]:
        """The valid approvals of a receipt, by its whole digest."""
        with self.project.releases() as releases:
            return read_approvals(releases, digest)

    # --- the gate -------------------------------------------------------------------------------------------

    def examine(self, database: ResolvedDatabase, status: Status, folder: Path | None = None) -> Examined | None:
        """The gate for what is pending here; None where no receipt speaks of it.  Writes nothing."""
        with self.project.releases() as releases:
            receipt = self.newest_receipt(releases, database, status.pending)
            if receipt is None:
                return None
            with connect(database.conninfo, verb="gate") as session:
                sources = self.sources_of(receipt, folder)
                examined = self.examine_open(releases, database, receipt, sources, session)
                under_way = Gate.of([], told_under_way(releases, database_key(session)))
                return replace(examined, gate=examined.gate.joined(under_way))

    def examine_open(
        self,
        releases: ReleaseLedger,
        database: ResolvedDatabase,
        receipt: Receipt,
        sources: Sequence[Source],
        session: Connection,
    ) -> Examined:
        """The same, in a session and a ledger that are open already."""
        approvals = standing_since(read_approvals(releases, receipt.digest), releases, receipt.digest)
        gate = examine(
            receipt,
            pending_of(sources, session),
            session,
            approvals=approvals,
            policy=self.policies.gate(database),
            ledger_table=sources[0].ledger.table,
            role=self._migrating_role(database, session),
        )
        size = read_database_size(session)
        policy = self.policies.recoverability(database)
        reasons, told = judge_recoverability(receipt.document, policy, size)
        ways = choose_ways(policy, size)
        restore = self._judge_restore(database, receipt.document, ways)
        return Examined(
            receipt=receipt,
            approvals=approvals,
            gate=gate.joined(Gate.of(reasons, told)).joined(restore),
            ways=ways,
        )

    def _judge_restore(
        self, database: ResolvedDatabase, document: Mapping[str, Any] | None, ways: Sequence[str]
    ) -> Gate:
        """Whether `rollback` could restore the dump that a promotion takes first; asked of production's server."""
        if DUMP not in ways:
            return Gate()
        found = ask_in_the_way(database.conninfo)
        migrating = self.project.migrate_conninfo(database)
        if found.lasting and migrating is not database.conninfo and not ask_in_the_way(migrating).lasting:
            found = InTheWay(passing=(*found.reasons, "the role of migrate_url_env may"))
        return Gate.of(*judge_restore(document, ways, found))

    def _migrating_role(self, database: ResolvedDatabase, session: Connection) -> str:
        """Who the promotion would run as.  Raises `ConfigurationError` when its URL leads elsewhere."""
        conninfo = self.project.migrate_conninfo(database)
        with connect(conninfo, verb="gate") as migrating:
            if not same_database(migrating, session, secrets.randbits(64)):
                raise ConfigurationError(
                    f"environments.{database.environment}.migrate_url_env leads to {conninfo.address}, which is not "
                    f"the database of {database.conninfo.address}",
                    remedy="Let both variables hold URLs of one database.",
                )
            return str(fetch_value(migrating, "SELECT session_user::pg_catalog.text"))

    def newest_receipt(self, releases: ReleaseLedger, database: ResolvedDatabase, pending: Plan) -> Receipt | None:
        """Of this environment's receipts the newest one of this very plan, else the newest one of a folder."""
        receipts = [
            Receipt(entry.body)
            for entry in reversed(releases.entries(kind=ENTRY_KIND))
            if (database.environment is not None and entry.body["source"]["environment"] == database.environment)
            or entry.body["source"]["address"] == database.conninfo.address
        ]
        of_folder = [each for each in receipts if each.document["receipt"]["source_kind"] != SourceKind.AD_HOC.value]
        same_plan = [each for each in of_folder if each.document["receipt"]["plan_digest"] == pending.digest]
        return next(iter((*same_plan, *of_folder)), None)

    def sources_of(self, receipt: Receipt, folder: Path | None) -> tuple[Source, ...]:
        """Where the receipt's plan comes from, as it is on disk now: the folder, or each single file."""
        if receipt.document["receipt"]["source_kind"] == SourceKind.AD_HOC.value:
            if folder is not None:
                raise WrongUsage("the receipt is of single files, not of a folder")
            files = receipt.document["receipt"]["files"]
            return tuple(ad_hoc_source(self.project.directory / file["path"], display=file["path"]) for file in files)
        source = self.project.source(folder)
        source.require_whole()
        return (source,)

    # --- promotion ---------------------------------------------------------------------------------------------

    def promote(self, options: PromoteOptions, *, progress: Progress, tell: Callable[[str], None]) -> Promotion:
        """Promote a receipt, or what nobody rehearsed, or go on with either.  See `pgrehearse.release.promote`."""
        with self.project.releases() as releases:
            receipt = self._receipt_to_promote(releases, options)
            database = self._destination(options, receipt)
            self._record_swapped(releases, database, tell)
            sources = self._sources_to_promote(options, receipt)
            request = self._request(options, database, receipt, sources)
            policy = self.policies.recoverability(database)

            def gate() -> Gate:
                with connect(database.conninfo, verb="gate") as session:
                    if receipt is not None:
                        return self.examine_open(releases, database, receipt, sources, session).gate
                    size = read_database_size(session)
                    restore = self._judge_restore(database, None, choose_ways(policy, size))
                    return judge_unrehearsed(session, policy, size).joined(restore)

            def secure_ways() -> Sequence[Proof]:
                with connect(database.conninfo, verb="gate") as session:
                    ways = choose_ways(policy, read_database_size(session))
                return secure(database.conninfo, policy, ways, ledger=releases, now=utc_now, progress=progress)

            return promote(
                request,
                releases=releases,
                now=utc_now,
                nonce=lambda: secrets.token_hex(8),
                around=Around(gate=gate, secure=secure_ways, require=require_proofs),
                progress=progress,
                tell=tell,
            )

    def resume(self, options: PromoteOptions, *, progress: Progress, tell: Callable[[str], None]) -> Promotion:
        """Go on with the promotion of this database that has not ended.  Raises `NothingUnfinished`."""
        database = self.project.database(options.to)
        with self.project.releases() as releases, connect(database.conninfo, verb="promote") as session:
            self._record_swapped(releases, database, tell)
            unfinished = find_unfinished(releases, database_key(session))
        if unfinished is None:
            raise NothingUnfinished(f"no promotion of {database.label} is unfinished")
        return self.promote(
            replace(options, receipt=unfinished.receipt, unrehearsed=unfinished.unrehearsed),
            progress=progress,
            tell=tell,
        )

    def _receipt_to_promote(self, releases: ReleaseLedger, options: PromoteOptions) -> Receipt | None:
        if options.unrehearsed is not None:
            if options.receipt is not None:
                raise WrongUsage("--allow-unrehearsed promotes what has no receipt")
            if not options.unrehearsed.strip():
                raise WrongUsage("--allow-unrehearsed needs a reason", remedy="Say why it cannot be rehearsed first.")
            return None
        if options.file is not None:
            raise WrongUsage("--file belongs to --allow-unrehearsed; a receipt knows its own files")
        if options.receipt is not None:
            return find_receipt(releases, options.receipt)
        return self._receipt_of_pending(releases, options) or find_receipt(releases, None)

    def _receipt_of_pending(self, releases: ReleaseLedger, options: PromoteOptions) -> Receipt | None:
        """The newest receipt of exactly what is pending; None where there is none, or nothing to look at."""
        try:
            database, source = self.project.database(options.to), self.project.source(options.folder)
        except ConfigurationError:
            return None
        pending = self.project.status(database, source).pending
        receipt = self.newest_receipt(releases, database, pending)
        same = receipt is not None and receipt.document["receipt"]["plan_digest"] == pending.digest
        return receipt if same else None

    def _destination(self, options: PromoteOptions, receipt: Receipt | None) -> ResolvedDatabase:
        if options.to is not None or receipt is None:
            return self.project.database(options.to)
        environment = receipt.document["source"]["environment"]
        if environment is None:
            address = receipt.document["source"]["address"]
            raise ConfigurationError(
                f"receipt {receipt.digest[:12]} is of {address}, which no environment names",
                remedy="Say where to: promote RECEIPT --to ENV|URL.",
            )
        return self.project.database(environment)

    def _sources_to_promote(self, options: PromoteOptions, receipt: Receipt | None) -> tuple[Source, ...]:
        if receipt is not None:
            return self.sources_of(receipt, options.folder)
        if options.file is not None:
            return (ad_hoc_source(options.file),)
        source = self.project.source(options.folder)
        source.require_whole()
        return (source,)

    def _request(
        self,
        options: PromoteOptions,
        database: ResolvedDatabase,
        receipt: Receipt | None,
        sources: Sequence[Source],
    ) -> PromotionRequest:
        person = read_person(self.project.directory)
        on_disk = [migration for source in sources for migration in source.migrations]
        if receipt is not None:
            planned = [entry["version"] for entry in receipt.document["plan"]]
            migrations = [migration for version in planned for migration in on_disk if migration.version == version]
            mode = receipt.document["transaction"]
        else:
            with connect(database.conninfo, verb="gate") as session:
                migrations = list(pending_of(sources, session).migrations)
            mode = self.project.config.migrations.transaction if self.project.config else TransactionMode.AUTO.value
        return PromotionRequest(
            production=self.project.migrate_conninfo(database),
            environment=database.environment,
            receipt=receipt,
            unrehearsed=options.unrehearsed,
            migrations=migrations,
            ledger=sources[0].ledger,
            mode=TransactionMode(mode),
            limits=limits_of(options, self.project.environment(database)),
            by=person.as_json(),
            holder=f"{person.at_host}, pid {os.getpid()}",
            fence=options.fence,
            lease_ttl_s=self.policies.promotion.lease_s,
            end_orphan=options.end_orphan,
            resolve=read_resolutions(options.resolutions),
        )

    # --- the way back --------------------------------------------------------------------------------------------

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
        with self.project.releases() as releases:
            self._refuse_while_shut(releases, database)
            self._record_swapped(releases, database, tell)
            with connect(database.conninfo, verb="rollback") as session:
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
        """Open a database that an interrupted restore has shut; with ``drop`` the restored copy goes too.

        Raises `LeaseHeld` while somebody is at it: what is written to a database that they have exported is lost.
        """
        database = self.project.database(word)
        person = read_person(self.project.directory)
        holder = f"{person.at_host}, pid {os.getpid()}"
        told = []
        with (
            self.project.releases() as releases,
            hold_lease(
                releases, f"promote {key_from_outside(database.conninfo)}", holder, token=secrets.token_hex(8),
                ttl_s=self.policies.promotion.lease_s,
            ),
        ):  # fmt: skip
            for each in find_restores(database.conninfo):
                undo(database.conninfo, each.id, ledger=releases, now=utc_now)
                told.append(f"{each.mark.names.database} is open; {each.mark.names.restored} stands beside it")
                if drop:
                    drop_restored(database.conninfo, each.id, ledger=releases, now=utc_now)
                    told[-1] = f"{each.mark.names.database} is open; {each.mark.names.restored} is dropped"
        return tuple(told)

    def promotions(self, word: str | None) -> tuple[tuple[PromotionRecord, bool], ...]:
        """The promotions of this database, oldest first, and whether each is taken back."""
        database = self.project.database(word)
        with self.project.releases() as releases, connect(database.conninfo, verb="rollback") as session:
            self._record_swapped(releases, database, lambda _: None)
            back = find_taken_back(releases)
            return tuple((each, each.id in back) for each in read_promotions(releases, database_key(session)))

    def _record_swapped(self, releases: ReleaseLedger, database: ResolvedDatabase, tell: Callable[[str], None]) -> None:
        """A restore that was killed between the swap of the names and its last entry is over."""
        ended = {entry.subject for entry in releases.entries(kind=ROLLBACK_ENDED)}
        for entry in releases.entries(kind=ROLLBACK_BEGUN):
            of_this = entry.body.get("address") == database.conninfo.address
            if entry.subject in ended or entry.body["type"] != "restore" or not of_this:
                continue
            if record_swapped(database.conninfo, entry.subject, ledger=releases, now=utc_now):
                tell(f"restore {entry.subject} had swapped the names before it was killed; that is recorded now")

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
        sources = self.sources_of(receipt, folder) if receipt is not None else (self.project.source(folder),)
        on_disk = {migration.version: migration for source in sources for migration in source.migrations}
        return sources[0].ledger, tuple(on_disk[version] for version in promotion.plan if version in on_disk)


def pending_of(sources: Sequence[Source], session: Connection) -> Plan:
    """What this database has not applied of all of them, in their order."""
    return Plan.of(migration for source in sources for migration in read_status(session, source).pending.migrations)


def _accepted(text: str) -> Accepted:
    finding, equals, reason = text.partition("=")
    if not equals or not finding.strip():
        raise ConfigurationError(
            f"--accept {text!r}: expected FINDING=REASON", remedy="Write --accept 'drop-column:public.users=agreed'."
        )
    return Accepted(finding=finding.strip(), reason=reason.strip())

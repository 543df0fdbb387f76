"""The switchboard for promotions: from configuration and words to `pgrehearse.release.promote`."""

import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pgrehearse.config import ResolvedDatabase
from pgrehearse.data.sizes import read_database_size
from pgrehearse.errors import ConfigurationError, NothingUnfinished, WrongUsage
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.sources.find import ad_hoc_source
from pgrehearse.migrations.sources.source import Source
from pgrehearse.policies import Policies
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.identity import read_identity
from pgrehearse.progress import Progress
from pgrehearse.project import Project, utc_now
from pgrehearse.rehearsal.person import read_person
from pgrehearse.rehearsal.receipt import Receipt, find_receipt
from pgrehearse.release.examine import judge_unrehearsed
from pgrehearse.release.gate import Gate
from pgrehearse.release.history import find_unfinished
from pgrehearse.release.interrupted_rollback import record_swaps
from pgrehearse.release.lineage import database_key
from pgrehearse.release.promote import promote
from pgrehearse.release.promotion import Promotion, PromotionRequest
from pgrehearse.release.promotion_run import Around
from pgrehearse.release.recoverability import Proof, choose_ways, require_proofs, secure
from pgrehearse.releasing import Releasing, judge_chain, pending_of
from pgrehearse.waits import limits_of, read_resolutions


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
class Promoting:
    """A project's promotions."""

    project: Project

    @property
    def policies(self) -> Policies:
        return Policies(project=self.project)

    @property
    def releasing(self) -> Releasing:
        return Releasing(project=self.project)

    def promote(self, options: PromoteOptions, *, progress: Progress, tell: Callable[[str], None]) -> Promotion:
        """Promote a receipt, or what nobody rehearsed, or go on with either.  See `pgrehearse.release.promote`."""
        with self.project.releases() as releases:
            receipt, of_pending = self._receipt_to_promote(releases, options)
            releases.verify()  # going on with a promotion does not ask the gate
            database = self._destination(options, None if of_pending else receipt)
            record_swaps(releases, database.conninfo, now=utc_now, tell=tell)
            sources = self._sources_to_promote(options, receipt)
            request = self._request(options, database, receipt, sources)
            policy = self.policies.recoverability(database)

            def gate() -> Gate:
                with connect(database.conninfo, verb="gate") as session:
                    if receipt is not None:
                        return self.releasing.examine_open(
                            releases, database, receipt, sources, session, promoting=True
                        ).gate
                    size = read_database_size(session)
                    restore = self.releasing.judge_restore_of(database, None, choose_ways(policy, size))
                    asked = judge_unrehearsed(session, policy, size).joined(restore)
                    return asked.joined(judge_chain(releases, session))

            def rest() -> Gate:
                with connect(database.conninfo, verb="gate") as session:
                    if receipt is None:
                        return judge_chain(releases, session)
                    return self.releasing.examine_rest(releases, database, receipt, sources, session).gate

            def again(session: Connection) -> Gate:
                if receipt is None:
                    return judge_chain(releases, session)
                return self.releasing.examine_again(releases, database, receipt, session)

            def approved() -> Gate:
                return Gate() if receipt is None else self.releasing.examine_again(releases, database, receipt, None)

            def secure_ways() -> Sequence[Proof]:
                with connect(database.conninfo, verb="gate") as session:
                    ways = choose_ways(policy, read_database_size(session))
                return secure(database.conninfo, policy, ways, ledger=releases, now=utc_now, progress=progress)

            return promote(
                request,
                releases=releases,
                now=utc_now,
                nonce=lambda: secrets.token_hex(8),
                around=Around(
                    gate=gate, rest=rest, again=again, approved=approved, secure=secure_ways, require=require_proofs
                ),
                progress=progress,
                tell=tell,
            )

    def resume(self, options: PromoteOptions, *, progress: Progress, tell: Callable[[str], None]) -> Promotion:
        """Go on with the promotion of this database that has not ended.  Raises `NothingUnfinished`."""
        database = self.project.database(options.to)
        with self.project.releases() as releases, connect(database.conninfo, verb="promote") as session:
            record_swaps(releases, database.conninfo, now=utc_now, tell=tell)
            unfinished = find_unfinished(releases, database_key(session))
        if unfinished is None:
            raise NothingUnfinished(f"no promotion of {database.label} is unfinished")
        return self.promote(
            replace(
                options,
                to=options.to or database.environment,  # a receipt of its replica names another one
                receipt=unfinished.receipt,
                unrehearsed=unfinished.unrehearsed,
            ),
            progress=progress,
            tell=tell,
        )

    def _receipt_to_promote(self, releases: ReleaseLedger, options: PromoteOptions) -> tuple[Receipt | None, bool]:
        """And whether it was found as that of what is pending where `promote` goes without it."""
        if options.unrehearsed is not None:
            if options.receipt is not None:
                raise WrongUsage("--allow-unrehearsed promotes what has no receipt")
            if not options.unrehearsed.strip():
                raise WrongUsage("--allow-unrehearsed needs a reason", remedy="Say why it cannot be rehearsed first.")
            return None, False
        if options.file is not None:
            raise WrongUsage("--file belongs to --allow-unrehearsed; a receipt knows its own files")
        if options.receipt is not None:
            return find_receipt(releases, options.receipt), False
        found = self._receipt_of_pending(releases, options)
        return (find_receipt(releases, None), False) if found is None else (found, True)

    def _receipt_of_pending(self, releases: ReleaseLedger, options: PromoteOptions) -> Receipt | None:
        """The newest receipt of exactly what is pending; None where there is none, or nothing to look at."""
        try:
            database, source = self.project.database(options.to), self.project.source(options.folder)
        except ConfigurationError:
            return None
        pending = self.project.status(database, source).pending
        with connect(database.conninfo, verb="gate") as session:
            identity = read_identity(session)
        receipt = self.releasing.newest_receipt(releases, database, pending, identity=identity)
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
            return self.releasing.sources_of(receipt, options.folder)
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

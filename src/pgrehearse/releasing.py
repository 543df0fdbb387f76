"""The switchboard for receipts: who said yes to one, and what the gate answers about it now."""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pgrehearse.config import ResolvedDatabase
from pgrehearse.data.sizes import read_database_size
from pgrehearse.errors import (
    ConfigurationError,
    LedgerDamaged,
    LedgerUnreadable,
    PoolerRefused,
    ServerUnreachable,
    WrongUsage,
)
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.migrations.sources import ProblemKind
from pgrehearse.migrations.sources.find import ad_hoc_source
from pgrehearse.migrations.sources.source import Source
from pgrehearse.migrations.status import Status, read_status
from pgrehearse.policies import Policies
from pgrehearse.postgres.connect import Connection, connect, fetch_clock
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity, read_identity, same_database
from pgrehearse.postgres.pooler import require_session
from pgrehearse.project import Project, utc_now
from pgrehearse.rehearsal.person import read_person
from pgrehearse.rehearsal.receipt import ENTRY_KIND, Receipt, find_receipt
from pgrehearse.rehearsal.settings import StartingSettings, find_plan_names, read_settings
from pgrehearse.release.anchor import judge_anchors
from pgrehearse.release.approval import (
    Accepted,
    Approval,
    Consent,
    accepted_names,
    approve,
    read_consent,
    withdraw,
)
from pgrehearse.release.examine import examine, examine_again, examine_rest, judge_plan
from pgrehearse.release.gate import Gate, Reason, ReasonKind, judge_verdict
from pgrehearse.release.history import find_promoted, tell_promotions
from pgrehearse.release.lineage import database_key, find_replacement
from pgrehearse.release.outlives_rollback import find_left_behind
from pgrehearse.release.recoverability import DUMP, choose_ways, judge_recoverability, judge_restore
from pgrehearse.release.replica import find_started, judge_replica, may_be_of_replica_of, source_started_at
from pgrehearse.release.restore.in_the_way import InTheWay, ask_in_the_way
from pgrehearse.release.standing import find_lost, read_left
from pgrehearse.release.under_way import (
    Standing,
    UnderWay,
    at_work_reason,
    promoted_reason,
    read_under_way,
    unfinished_reason,
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
class ReleaseStatus:
    """A database beside its migrations, and where its releases stand."""

    status: Status
    under_way: UnderWay | None = None
    examined: Examined | None = None

    @property
    def is_well(self) -> bool:
        """No problem of the migrations, and no promotion that was left in the middle."""
        return self.status.is_well and not (self.under_way is not None and self.under_way.is_stuck)

    def exit_code(self, *, check: bool = False) -> int:
        """0 well or merely pending, 1 otherwise; with ``check`` also 1 when anything is pending."""
        return self.status.exit_code(check=check) or int(not self.is_well)

    def as_json(self, *, environment: str | None, database: str) -> dict[str, Any]:
        """The ``status`` answer (``answers/status.schema.json``)."""
        answer = self.status.as_json(
            environment=environment,
            database=database,
            gate=None if self.examined is None else self.examined.as_json(),
            under_way=None if self.under_way is None else self.under_way.as_json(),
        )
        return {**answer, "well": self.is_well}


@dataclass(frozen=True, slots=True, kw_only=True)
class Releasing:
    """What a project's receipts are good for."""

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
                accepted=[Accepted.parse(text) for text in accept],
                now=utc_now(),
            )

    def withdraw(self, prefix: str | None, *, remark: str) -> tuple[str, tuple[Approval, ...]]:
        """Take this person's yes back; the receipt's digest and the approvals that are left."""
        with self.project.releases() as releases:
            receipt = find_receipt(releases, prefix)
            by = read_person(self.project.directory)
            withdraw(releases, receipt, by=by, remark=remark, now=utc_now())
            return receipt.digest, read_consent(releases, receipt.digest).standing

    def promotions_of(self, digest: str) -> tuple[str, ...]:
        """Sentences on what of this receipt is promoted already, or under way."""
        with self.project.releases(reading=True) as releases:
            return tell_promotions(releases, digest)

    def approvals(self, digest: str) -> tuple[Approval, ...]:
        """The valid approvals of a receipt, by its whole digest."""
        with self.project.releases(reading=True) as releases:
            return read_consent(releases, digest).standing

    def not_accepted(self, digest: str) -> tuple[Reason, ...]:
        """Why the approvals of a receipt, by its whole digest, are not enough for its verdict; empty where they are."""
        with self.project.releases(reading=True) as releases:
            receipt = find_receipt(releases, digest)
            consent = read_consent(releases, digest)
            gate = Gate.of(judge_verdict(receipt.document, accepted_names(consent.standing)))
            return _with_lapsed(gate, consent).reasons

    # --- the gate -------------------------------------------------------------------------------------------

    def status(self, database: ResolvedDatabase, folder: Path | None, *, gate: bool | None) -> ReleaseStatus:
        """What is applied and pending, what is under way, and the gate for what is pending.  Writes to no database.

        ``gate``: True asks it always, False says nothing of releases; None asks it of a protected database where
        something is pending.  Raises what `read_status` raises; while migrations are applied it says who promotes.
        """
        source = self.project.source(folder)
        if not (database.protected if gate is None else gate):
            return ReleaseStatus(status=self.project.status(database, source))
        with self.project.releases(reading=True) as releases, connect(database.conninfo, verb="gate") as session:
            key = database_key(session)
            recorded = ((source.kind, source.ledger), (SourceKind.AD_HOC, OwnLedger(kind=SourceKind.AD_HOC)))
            try:
                status = self.project.status(database, source)
            except LedgerUnreadable as error:
                under_way = read_under_way(releases, key, session, recorded)
                if under_way is None:
                    raise
                raise LedgerUnreadable("\n".join([str(error), *under_way.told]), remedy=under_way.remedy) from error
            under_way = read_under_way(releases, key, session, recorded)
            examined = None
            if gate or status.pending.migrations:
                examined = self._examine(releases, database, status.pending, folder, session, under_way)
            if examined is not None:
                ours = [
                    self.project.migrate_conninfo(database),
                    *([database.conninfo] if DUMP in examined.ways else []),
                ]
                examined = replace(examined, gate=examined.gate.joined(_judge_paths(ours)))
            return ReleaseStatus(status=_told_apart(status, under_way), under_way=under_way, examined=examined)

    def _examine(
        self,
        releases: ReleaseLedger,
        database: ResolvedDatabase,
        pending: Plan,
        folder: Path | None,
        session: Connection,
        under_way: UnderWay | None,
    ) -> Examined | None:
        """The gate as `promote` would meet it; None where no receipt speaks of what is pending."""
        standing = under_way.standing if under_way is not None else None
        receipt = self.newest_receipt(releases, database, pending, identity=read_identity(session))
        if receipt is None:
            return None
        if standing is not None and standing.is_begun:
            # What is left may have been rehearsed anew; other receipts say nothing.
            is_rest = receipt.document["receipt"]["plan_digest"] == pending.digest
            if receipt.digest == standing.promotion.receipt or not is_rest:
                return self._examine_resume(releases, database, folder, session, standing, under_way)
        examined = self.examine_open(releases, database, receipt, self.sources_of(receipt, folder), session)
        more = [] if standing is None or not standing.half else [unfinished_reason(standing.promotion)]
        if under_way is not None and under_way.at_work is not None:
            more.append(at_work_reason(under_way.at_work))
        told = find_left_behind(releases, database_key(session))
        return replace(examined, gate=examined.gate.joined(Gate.of(more, told)))

    def _examine_resume(
        self,
        releases: ReleaseLedger,
        database: ResolvedDatabase,
        folder: Path | None,
        session: Connection,
        standing: Standing,
        under_way: UnderWay | None,
    ) -> Examined | None:
        """The gate as `resume` would meet it; None where it would not ask it."""
        if standing.promotion.receipt is None or not standing.goes_on:
            return None
        receipt = find_receipt(releases, standing.promotion.receipt)
        examined = self.examine_rest(releases, database, receipt, self.sources_of(receipt, folder), session)
        at_work = under_way.at_work if under_way is not None else None
        more = [] if at_work is None else [at_work_reason(at_work)]
        return replace(examined, gate=examined.gate.joined(Gate.of(more)))

    def examine_open(
        self,
        releases: ReleaseLedger,
        database: ResolvedDatabase,
        receipt: Receipt,
        sources: Sequence[Source],
        session: Connection,
        *,
        promoting: bool = False,
    ) -> Examined:
        """The same, in a session and a ledger that are open already; ``promoting`` may ask what writes."""
        chain = judge_chain(releases, session)
        if not chain.is_open:
            return Examined(receipt=receipt, approvals=(), gate=chain, ways=())
        consent = read_consent(releases, receipt.digest)
        pending = pending_of(sources, session)
        promoted = find_promoted(releases, database_key(session), receipt.digest)
        if promoted is not None and find_lost(session, releases, promoted, sources[0].ledger, sources[0].kind):
            promoted = None
        if promoted is not None and judge_plan(receipt.document, pending):
            gate = Gate.of([promoted_reason(promoted)])
            return Examined(receipt=receipt, approvals=consent.standing, gate=gate, ways=())
        gate = examine(
            receipt,
            pending,
            session,
            approvals=consent.standing,
            policy=self.policies.gate(database),
            ledger_table=sources[0].ledger.table,
            starting=self._read_starting(database, session, receipt, pending.migrations),
        )
        gate = gate.explained([ReasonKind.IDENTITY], _tell_replaced(releases, database_key(session), receipt))
        size = read_database_size(session)
        policy = self.policies.recoverability(database)
        reasons, told = judge_recoverability(receipt.document, policy, size)
        ways = choose_ways(policy, size)
        restore = self.judge_restore_of(database, receipt.document, ways)
        gate = _with_lapsed(gate, consent).joined(Gate.of(reasons, told)).joined(restore).joined(chain)
        if receipt.is_untampered:
            migrating, standbys = self.project.migrate_conninfo(database), self.policies.gate(database).standbys
            asks_wal = promoting and gate.is_open
            gate = gate.joined(judge_replica(receipt.document, migrating, standbys, asks_wal=asks_wal))
        return Examined(receipt=receipt, approvals=consent.standing, gate=gate, ways=ways)

    def examine_rest(
        self,
        releases: ReleaseLedger,
        database: ResolvedDatabase,
        receipt: Receipt,
        sources: Sequence[Source],
        session: Connection,
    ) -> Examined:
        """The same of what a promotion of this receipt, which has stopped, has left of its plan."""
        chain = judge_chain(releases, session)
        if not chain.is_open:
            return Examined(receipt=receipt, approvals=(), gate=chain, ways=())
        consent = read_consent(releases, receipt.digest)
        on_disk = {each.version: each for source in sources for each in source.migrations}
        planned = [on_disk[each["version"]] for each in receipt.document["plan"] if each["version"] in on_disk]
        gate = examine_rest(
            receipt,
            read_left(session, sources[0].ledger, planned),
            session,
            approvals=consent.standing,
            policy=self.policies.gate(database),
            ledger_table=sources[0].ledger.table,
            starting=self._read_starting(database, session, receipt, planned),
        )
        gate = _with_lapsed(gate, consent).joined(chain)
        return Examined(receipt=receipt, approvals=consent.standing, gate=gate, ways=())

    def examine_again(
        self, releases: ReleaseLedger, database: ResolvedDatabase, receipt: Receipt, session: Connection | None
    ) -> Gate:
        """Whether it would still be open as regards people, time and the release ledger; see `examine_again`.

        Without a ``session`` of production's the approvals alone are asked, of the release ledger.
        """
        chain = Gate() if session is None else judge_chain(releases, session)
        if not chain.is_open:
            return chain
        consent = read_consent(releases, receipt.digest)
        gate = examine_again(
            receipt,
            approvals=consent.standing,
            policy=self.policies.gate(database),
            at=None if session is None else fetch_clock(session),
        )
        return _with_lapsed(gate, consent)

    def judge_restore_of(
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

    def _read_starting(
        self, database: ResolvedDatabase, session: Connection, receipt: Receipt, migrations: Iterable[Migration]
    ) -> StartingSettings:
        """Who the promotion would run as, and what its sessions start with.

        Raises `ConfigurationError` when its URL leads elsewhere.
        """
        conninfo = self.project.migrate_conninfo(database)
        with connect(conninfo, verb="gate") as migrating:
            if not same_database(migrating, session, secrets.randbits(64)):
                raise ConfigurationError(
                    f"environments.{database.environment}.migrate_url_env leads to {conninfo.address}, which is not "
                    f"the database of {database.conninfo.address}",
                    remedy="Let both variables hold URLs of one database.",
                )
            parameters = receipt.document["receipt"].get("parameters", {}).get("digests", ())
            return read_settings(migrating, named={*parameters, *find_plan_names(migrations)})

    def newest_receipt(
        self, releases: ReleaseLedger, database: ResolvedDatabase, pending: Plan, *, identity: DatabaseIdentity
    ) -> Receipt | None:
        """Of this environment's receipts the newest one of this very plan, else the newest one of a folder.

        Behind them those of a replica with this database's ``identity``, where the configuration names standbys: first
        of those standbys as they run now.
        """
        found = [Receipt(entry.body) for entry in reversed(releases.entries(kind=ENTRY_KIND))]
        own = [
            each
            for each in found
            if (database.environment is not None and each.document["source"]["environment"] == database.environment)
            or each.document["source"]["address"] == database.conninfo.address
        ]
        digests = {each.digest for each in own}
        others = [each for each in found if each.digest not in digests]
        receipts = [*own, *self._of_standbys(database, others, identity)]
        of_folder = [each for each in receipts if each.document["receipt"]["source_kind"] != SourceKind.AD_HOC.value]
        same_plan = [each for each in of_folder if each.document["receipt"]["plan_digest"] == pending.digest]
        return next(iter((*same_plan, *of_folder)), None)

    def _of_standbys(
        self, database: ResolvedDatabase, receipts: Sequence[Receipt], identity: DatabaseIdentity
    ) -> list[Receipt]:
        environment = self.project.environment(database)
        if environment is None or not environment.standby_url_envs:
            return []
        found = [receipt for receipt in receipts if may_be_of_replica_of(receipt.document, identity)]
        try:
            running = find_started(self.policies.gate(database).standbys) if found else frozenset()
        except ConfigurationError:  # a variable is not at hand: the gate says so where it matters
            return found
        return sorted(found, key=lambda receipt: source_started_at(receipt.document) not in running)

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


def _judge_paths(addresses: Iterable[Conninfo]) -> Gate:
    """Whether `promote` would have sessions of its own; it asks that before the gate, and before it dumps."""
    reasons, told = [], []
    for conninfo in dict.fromkeys(addresses):
        try:
            require_session(conninfo)
        except PoolerRefused as error:
            reasons.append(Reason(kind=ReasonKind.POOLER, message=str(error), remedy=error.remedy))
        except ServerUnreachable as error:
            told.append(f"not measured: whether a pooler lies before {conninfo.address}: {error}")
    return Gate.of(reasons, told)


def _with_lapsed(gate: Gate, consent: Consent) -> Gate:
    kinds = {ReasonKind.APPROVAL, ReasonKind.VERDICT} & {reason.kind for reason in gate.reasons}
    return gate.explained(sorted(kinds, key=list(ReasonKind).index)[-1:], consent.lapsed)  # once, though both say no


def _tell_replaced(releases: ReleaseLedger, key: str, receipt: Receipt) -> tuple[str, ...]:
    """Why an earlier rehearsal does not speak of this database any more, though it has the same name."""
    source = receipt.document["source"]
    swapped = find_replacement(releases, key, f"{source['system_identifier']}/{source['database_oid']}")
    if swapped is None:
        return ()
    return (
        f"the rollback of promotion {swapped.subject} restored a backup at {swapped.at.isoformat(timespec='seconds')}: "
        "this database has taken the place of the one that was cloned, of which this receipt and its approvals speak",
    )


def judge_chain(releases: ReleaseLedger, session: Connection) -> Gate:
    """In a ledger that somebody has changed no approval can be believed: its own chain, and what production knows."""
    try:
        releases.verify()
    except LedgerDamaged as error:
        return Gate.of([Reason(kind=ReasonKind.RECEIPT, message=str(error), remedy=error.remedy)])
    return judge_anchors(session, releases)


def _told_apart(status: Status, under_way: UnderWay | None) -> Status:
    """A file that a promotion left half-way is gone on with by `resume`, not by `migrate`."""
    if under_way is None or under_way.standing is None:
        return status
    problems = [
        replace(problem, remedy=under_way.remedy)
        if problem.kind is ProblemKind.UNFINISHED and problem.subject in under_way.standing.half
        else problem
        for problem in status.problems
    ]
    return replace(status, problems=tuple(problems))


def pending_of(sources: Sequence[Source], session: Connection) -> Plan:
    """What this database has not applied of all of them, in their order."""
    return Plan.of(migration for source in sources for migration in read_status(session, source).pending.migrations)

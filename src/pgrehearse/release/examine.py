"""Everything that the gate asks of a receipt, of the release ledger and of production itself.  Writes nothing."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from pgrehearse.errors import ServerUnreachable
from pgrehearse.migrations.migration import Migration, Plan
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity
from pgrehearse.rehearsal.checks import CheckVerdict, run_before_checks
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.rehearsal.settings import StartingSettings
from pgrehearse.release.approval import Approval, accepted_names, judge_approvals
from pgrehearse.release.freshness import Bounds, judge_age, judge_freshness, judge_identity, read_production
from pgrehearse.release.gate import Gate, Reason, ReasonKind, judge_grade, judge_verdict
from pgrehearse.release.preconditions import (
    PreconditionResult,
    check_preconditions,
    derive_preconditions,
    read_search_path,
    was_seen_in_rehearsal,
)
from pgrehearse.release.recoverability import RecoverabilityPolicy, judge_recoverability
from pgrehearse.release.standbys import StandbyBounds, judge_standbys, read_standbys
from pgrehearse.release.standing import Left
from pgrehearse.release.touched import judge_state
from pgrehearse.release.watch import Rehearsed
from pgrehearse.schema.schema_object import Schema
from pgrehearse.schema.snapshot import read_schema

STATEMENT_TIMEOUT_MS = 600_000  # of one precondition
REST_NOT_ASKED = (
    "a part of the plan is applied: how far the data has grown, and the team's own checks, are not asked again"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatePolicy:
    """What the team's configuration asks for."""

    bounds: Bounds = field(default_factory=Bounds)
    standby_bounds: StandbyBounds = field(default_factory=StandbyBounds)
    standbys: tuple[Conninfo, ...] = ()
    approvals: int = 1
    approved_by_another: bool = False
    checks_directory: Path | None = None
    precondition_timeout_ms: int = STATEMENT_TIMEOUT_MS


def examine(
    receipt: Receipt,
    pending: Plan,
    session: Connection,
    *,
    approvals: Sequence[Approval],
    policy: GatePolicy,
    ledger_table: str,
    starting: StartingSettings,
) -> Gate:
    """Every reason why not, and what a person should know.

    ``pending`` is production's pending plan with the bytes on disk; ``session`` is production's own, ``starting`` what
    sessions of the role that would promote start with.  Read-only; its longest part are the preconditions, which scan
    what they ask.
    """
    document = receipt.document
    reasons: list[Reason] = []
    told: list[str] = []
    if (tampered := _judge_seal(receipt)) is not None:
        return Gate.of([tampered])  # nothing that it says can be believed
    now = read_production(session, starting)
    reasons += judge_identity(document, now, role=starting.role)
    reasons += judge_grade(document)
    reasons += judge_verdict(document, accepted_names(approvals))
    reasons += judge_approvals(document, approvals, needed=policy.approvals, by_another=policy.approved_by_another)
    plan_reasons = judge_plan(document, pending)
    reasons += plan_reasons
    if plan_reasons:  # of another plan nothing more can be said
        return Gate.of(reasons, told)
    rehearsed = Rehearsed(document, pending.migrations)
    schema = read_schema(session, ignore_relations=frozenset({ledger_table}))
    files = [(migration, rehearsed.statements[migration.version]) for migration in rehearsed.migrations]
    for found, also_told in (
        judge_state(rehearsed.before, schema, rehearsed.touched),
        judge_freshness(document, now, policy.bounds, rehearsed.touched.relations),
        _judge_preconditions(document, files, schema, session, policy),
        _judge_standbys(document, session, policy),
        _judge_checks(session, policy.checks_directory),
    ):
        reasons += found
        told += also_told
    return Gate.of(reasons, told)


def examine_rest(
    receipt: Receipt,
    left: Left,
    session: Connection,
    *,
    approvals: Sequence[Approval],
    policy: GatePolicy,
    ledger_table: str,
    starting: StartingSettings,
) -> Gate:
    """What the gate says of the files that a promotion of this receipt has not begun: every reason why not.

    Production stands between two rehearsed states: its schema is compared under the lock, with what the applied files
    left (`Watch.under_lock`), while how much the data has grown and the team's checks speak of the state before the
    plan, and are told as not asked.  A file that is half-way may be finished whatever the gate says, loudly; behind it
    an old receipt is told only, since nobody could rehearse what is left.
    """
    document = receipt.document
    if not (left.half or left.whole):
        return Gate()
    if (tampered := _judge_seal(receipt)) is not None:
        return Gate.of([tampered])  # nothing that it says can be believed, of no file
    now = read_production(session, starting)
    reasons = [*judge_identity(document, now, role=starting.role), *judge_grade(document)]
    reasons += judge_verdict(document, accepted_names(approvals))
    reasons += judge_approvals(document, approvals, needed=policy.approvals, by_another=policy.approved_by_another)
    told = [] if not left.whole else [REST_NOT_ASKED]
    schema = read_schema(session, ignore_relations=frozenset({ledger_table}))
    files = [(file.migration, file.remaining) for file in (*left.half, *left.whole)]
    for found, also_told in (
        judge_freshness(document, now, policy.bounds, (), partly_applied=True),
        _judge_preconditions(document, files, schema, session, policy),
        _judge_standbys(document, session, policy),
    ):
        reasons += found
        told += also_told
    half = ", ".join(file.migration.version for file in left.half)
    spared = [reason for reason in reasons if half and (not left.whole or reason.kind is ReasonKind.AGE)]
    told += [f"IN SPITE OF THE GATE, for {half} is half-way: {each.kind.value}: {each.message}" for each in spared]
    return Gate.of([reason for reason in reasons if reason not in spared], told)


def examine_again(receipt: Receipt, *, approvals: Sequence[Approval], policy: GatePolicy, at: datetime | None) -> Gate:
    """What people and time change of the gate's answer: approvals, what they accept, and the receipt's age.

    ``at``: production's clock now, None where the age does not count any more.  Pure.
    """
    document = receipt.document
    reasons = judge_verdict(document, accepted_names(approvals))
    reasons += judge_approvals(document, approvals, needed=policy.approvals, by_another=policy.approved_by_another)
    if at is not None:
        reasons += judge_age(document, at, policy.bounds)
    return Gate.of(reasons)


def _judge_seal(receipt: Receipt) -> Reason | None:
    if receipt.is_untampered:
        return None
    return Reason(
        kind=ReasonKind.RECEIPT,
        message=f"the receipt calls itself {receipt.digest[:12]}, and its content is something else",
        remedy="Rehearse again; somebody changed the release ledger.",
    )


def judge_plan(document: Mapping[str, Any], pending: Plan) -> list[Reason]:
    """The pending plan must be the receipt's, byte for byte and in its order."""
    rehearsed = [(entry["version"], entry["sha256"]) for entry in document["plan"]]
    here = [(migration.version, migration.sha256) for migration in pending.migrations]
    if rehearsed == here and document["receipt"]["plan_digest"] == pending.digest:
        return []
    details = []
    known, wanted = dict(here), dict(rehearsed)
    for version, digest in rehearsed:
        if version not in known:
            details.append(f"{version} was rehearsed, and is not pending any more or has no file")
        elif known[version] != digest:
            details.append(f"{version} was rehearsed as {digest[:12]}, and its file is {known[version][:12]} now")
    details += [f"{version} is pending, and was not rehearsed" for version, _ in here if version not in wanted]
    if not details and rehearsed != here:
        details.append(
            f"rehearsed in the order {', '.join(version for version, _ in rehearsed)}; "
            f"pending in the order {', '.join(version for version, _ in here)}"
        )
    return [
        Reason(
            kind=ReasonKind.PLAN,
            message="what is pending is not what was rehearsed",
            remedy="Rehearse what is pending now, or restore the rehearsed files.",
            details=tuple(details) or ("the names of the migrations differ",),
        )
    ]


def _judge_preconditions(
    document: Mapping[str, Any],
    files: Sequence[tuple[Migration, Sequence[Statement]]],
    schema: Schema,
    session: Connection,
    policy: GatePolicy,
) -> tuple[list[Reason], list[str]]:
    preconditions = derive_preconditions(files, schema, search_path=read_search_path(session))
    results = check_preconditions(session, preconditions, statement_timeout_ms=policy.precondition_timeout_ms)
    reasons, told = [], []
    for result in results:
        if result.refuses and not was_seen_in_rehearsal(result, document["tables"]):
            reasons.append(
                Reason(
                    kind=ReasonKind.PRECONDITION,
                    message=result.sentence,
                    remedy=_remedy(result),
                    details=tuple(", ".join(f"{name}={value}" for name, value in key.items()) for key in result.keys),
                )
            )
        elif not result.holds:
            told.append(result.sentence)
    return reasons, told


def _remedy(result: PreconditionResult) -> str:
    if result.holds is False:
        return "Mend these rows in production, then try again."
    if result.timed_out:
        return "Find out by hand, or raise promotion.precondition_timeout_s."
    return "Ask production by hand whether its rows fit, mend what hinders the question, then try again."


def _judge_standbys(
    document: Mapping[str, Any], session: Connection, policy: GatePolicy
) -> tuple[list[Reason], list[str]]:
    reasons: list[Reason] = []
    told: list[str] = []
    with ExitStack() as stack:
        standbys = []
        for conninfo in policy.standbys:
            try:
                standbys.append(stack.enter_context(connect(conninfo, verb="gate")))
            except ServerUnreachable as error:
                told.append(f"not measured: the queries of a standby: {error}")
        found = read_standbys(session, document, standbys=standbys)
    for judged in judge_standbys(found, policy.standby_bounds):
        if judged.refused:
            reasons.append(Reason(kind=ReasonKind.STANDBY, message=judged.sentence, remedy=judged.remedy))
        else:
            told.append(judged.sentence)
    return reasons, told


def _judge_checks(session: Connection, directory: Path | None) -> tuple[list[Reason], list[str]]:
    results = run_before_checks(directory, session) if directory is not None and directory.is_dir() else ()
    return [
        Reason(
            kind=ReasonKind.CHECK,
            message=f"{result.name} does not hold in production: {result.detail}",
            remedy="Mend the data that the check names, then try again.",
        )
        for result in results
        if result.verdict is not CheckVerdict.PASSED
    ], []


def judge_unrehearsed(session: Connection, policy: RecoverabilityPolicy, size_bytes: int) -> Gate:
    """What is asked even of a plan that nobody rehearsed: that it can be taken back, and that this is a primary."""
    reasons, told = judge_recoverability(None, policy, size_bytes)
    identity = read_identity(session)
    if identity.in_recovery:
        message = f"{identity.address} is a standby: nothing can be promoted to it"
        reasons.append(Reason(kind=ReasonKind.IDENTITY, message=message, remedy="Give the primary's address."))
    return Gate.of(reasons, [*told, "NOBODY REHEARSED THIS: what it does to production is not known"])

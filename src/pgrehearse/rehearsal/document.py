"""From what a rehearsal saw to the document that its receipt seals."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pgrehearse import __version__
from pgrehearse.clones.pair import ClonePair
from pgrehearse.data.derived import Held, NotCarried
from pgrehearse.data.integrity.verdicts import Integrity
from pgrehearse.data.sizes import TableSize
from pgrehearse.data.untouched import Baseline
from pgrehearse.data.verdicts import DataComparison
from pgrehearse.errors import MigrationFailed
from pgrehearse.hazards.finding import Finding
from pgrehearse.hazards.model import Model
from pgrehearse.hazards.trace import StatementNotRun, StatementTrace
from pgrehearse.migrations.expectation import Expectation
from pgrehearse.migrations.secrets import find_secrets, mask, redact
from pgrehearse.migrations.statements import Statement, TransactionNeed
from pgrehearse.queries.comparison import WorkloadComparison
from pgrehearse.queries.workload import Workload
from pgrehearse.rehearsal.application import ApplicationFound
from pgrehearse.rehearsal.application_findings import (
    application_check,
    find_application_findings,
    find_unmeasured_application,
    held_against_application,
)
from pgrehearse.rehearsal.checks import CheckResult
from pgrehearse.rehearsal.commits import CommitEvidence
from pgrehearse.rehearsal.contention import Contention
from pgrehearse.rehearsal.contention_findings import find_contention_findings, find_unmeasured_contention
from pgrehearse.rehearsal.forecast import Forecast, find_unmeasured_forecast
from pgrehearse.rehearsal.guarantees import find_lost_guarantees
from pgrehearse.rehearsal.integrity import find_broken_promises, find_unasked
from pgrehearse.rehearsal.intent import Intent
from pgrehearse.rehearsal.judge import Unmeasured, decide, find_all, without_disproof
from pgrehearse.rehearsal.made_again import find_fates, hold_against_schema
from pgrehearse.rehearsal.moments import Moment
from pgrehearse.rehearsal.person import Person
from pgrehearse.rehearsal.query_findings import find_query_findings, find_unmeasured_queries
from pgrehearse.rehearsal.receipt import RECIPE, Receipt, files_of
from pgrehearse.rehearsal.request import Request
from pgrehearse.rehearsal.settings import NOTHING_READ, StartingSettings
from pgrehearse.schema.diff import diff
from pgrehearse.schema.fingerprint import FINGERPRINT_RECIPE, fingerprint
from pgrehearse.schema.known import KnownSchema
from pgrehearse.schema.packed import pack
from pgrehearse.schema.schema_object import Schema

FORMAT = 1
SHOWN_DIFFERENCES = 5
POWERFUL_ON_SHARED = (
    "the role may reach the machine, and not every way there can be seen (a trigger, a deferred one, a string inside a "
    "string); leave --target out for a private server"
)
NO_APPLICATION = (
    "none of its statements are known: give them with --application FILE.sql, or have pg_stat_statements in production"
)


@dataclass(slots=True, kw_only=True)
class Seen:
    """What a rehearsal has seen so far; filled from top to bottom by `rehearse`."""

    request: Request
    statements: Mapping[str, tuple[Statement, ...]]  # by version
    started_at: datetime
    rehearser: Person
    source_schema: Schema | None = None
    settings: StartingSettings = NOTHING_READ  # of the plan's role in production
    table_sizes: dict[str, TableSize] = field(default_factory=dict)  # the source's
    derived: Mapping[str, Held] = field(default_factory=dict)  # what the source holds that a dump does not carry
    not_carried: tuple[NotCarried, ...] = ()  # of it, what the copy holds otherwise
    pair: ClonePair | None = None
    pristine_known: KnownSchema | None = None
    clone_server_version: str = ""
    traces: tuple[StatementTrace, ...] = ()
    not_run: tuple[StatementNotRun, ...] = ()
    commits: tuple[CommitEvidence, ...] = ()
    failure: MigrationFailed | None = None
    doubt: str | None = None  # why that failure is none that was measured
    clone_known: KnownSchema | None = None  # after the plan
    baseline: Baseline | None = None  # how the clone stood before the plan
    data: DataComparison | None = None
    integrity: Integrity | None = None  # None: no plan was run
    expectations: tuple[Expectation, ...] = ()  # what the files declare
    moments: Mapping[tuple[str, int], Moment] = field(default_factory=dict)  # of the files that declare something
    intent: Intent = field(default_factory=Intent)  # what became of the declarations
    checks: tuple[CheckResult, ...] = ()
    workload: Workload | None = None  # as production counts it
    role_settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # production's
    queries: WorkloadComparison | None = None
    no_queries: str | None = None  # why there are none
    application: ApplicationFound | None = None  # None: nobody gave its statements
    model: Model | None = None  # the pristine copy's schema, to predict by; None: it was not read
    predicted: tuple[Finding, ...] = ()
    contention: Contention | None = None
    forecast: Forecast | None = None
    way_back: Mapping[str, Any] = field(default_factory=dict)  # as the receipt says it
    timings: dict[str, float] = field(default_factory=dict)
    unmeasured: list[Unmeasured] = field(default_factory=list)  # what the plan's own session left unmeasured
    lowered: list[str] = field(default_factory=list)  # why the grade is less than full, beyond what the clone knows

    @property
    def pristine_schema(self) -> Schema | None:
        """As it was read."""
        return None if self.pristine_known is None else self.pristine_known.schema

    @property
    def clone_schema(self) -> Schema | None:
        """As it was read, after the plan."""
        return None if self.clone_known is None else self.clone_known.schema


def receipt_of(seen: Seen, now: datetime) -> Receipt:
    """Judge what was seen and seal it."""
    pair, request = seen.pair, seen.request
    assert pair is not None, "a receipt needs a finished clone"
    assert seen.pristine_schema is not None
    assert seen.clone_schema is not None
    changes = diff(seen.pristine_schema, seen.clone_schema, same_oids=True)
    integrity = seen.integrity or Integrity(checks=(), broken=(), not_measured=())
    lost = find_lost_guarantees(seen.pristine_schema, seen.clone_schema)
    guarantees = (*lost, *find_broken_promises(integrity))
    failure = seen.failure if seen.doubt is None else None
    undeclared = seen.intent.left if seen.intent.left is not None else seen.data
    findings = find_all(
        seen.predicted,
        seen.traces,
        undeclared,
        guarantees,
        failure,
        (
            *find_query_findings(seen.queries),
            *find_application_findings(seen.application, seen.traces),
            *find_contention_findings(seen.contention),
        ),
        declared=seen.intent.findings,
        excused=seen.intent.excused,
    )
    findings = hold_against_schema(findings, seen.traces, find_fates(seen.pristine_schema, seen.clone_schema))
    findings = held_against_application(findings, seen.application, seen.traces)
    unlike = _unlike_source(seen)
    not_measured = list(_not_measured(seen))
    verdict = decide(
        failed=failure is not None,
        data=undeclared,
        findings=findings,
        level=request.level,
        checks=seen.checks,
        not_measured=not_measured,
    )
    if any(entry.decisive for entry in seen.unmeasured):
        findings = without_disproof(findings)
    why_not = [
        *pair.lowered,
        *unlike,
        *seen.lowered,
        *([pair.role_problem] if pair.role_problem else []),
    ]
    return Receipt.seal(
        {
            "format": FORMAT,
            "verdict": verdict.value,
            "grade": {"full": not why_not, "why_not": why_not},
            "source": _source(seen, pair),
            "clone": {
                "address": "private local server" if pair.is_private else pair.clone.address,
                "provider": "pg_dump and template",
                "private": pair.is_private,
                "server_version": seen.clone_server_version,
                "switched_off": [f"{each.kind} {each.name}: {each.how}" for each in pair.switched_off],
            },
            "role": pair.role,
            "transaction": request.mode.value,
            "plan": [
                {"version": migration.version, "name": migration.name, "sha256": migration.sha256}
                for migration in request.plan.migrations
            ],
            "statements": [_statement(trace) for trace in seen.traces],
            "tables": [table.as_json() for table in seen.data.tables] if seen.data is not None else [],
            "proof": {
                "mode": (seen.data.proof if seen.data is not None else request.proof).value,
                "counters_not_believed": seen.data.counters_not_believed if seen.data is not None else None,
            },
            "schema": {
                "before": fingerprint(seen.source_schema) if seen.source_schema is not None else None,
                "after": fingerprint(seen.clone_schema),
                "changes": [change.as_json() for change in changes],
            },
            "declarations": [declaration.as_json() for declaration in seen.intent.declarations],
            "checks": [
                *(check.as_json() for check in seen.checks),
                *(check.as_json() for check in integrity.checks),
                *([application_check(seen.application).as_json()] if seen.application is not None else []),
            ],
            "queries": [query.as_json() for query in seen.queries.queries] if seen.queries is not None else [],
            "contention": _contention(seen),
            "rollback": dict(seen.way_back),
            "findings": [finding.as_json() for finding in findings],
            "not_measured": [
                {"what": entry.what, "reason": entry.reason, "decisive": entry.decisive} for entry in not_measured
            ],
            "timings": {name: round(value, 3) for name, value in _timings(seen, pair, now).items()},
            "receipt": {
                "recipe": RECIPE,
                "tool_version": __version__,
                "created_at": now.isoformat(),
                "rehearsed_by": seen.rehearser.login,
                "rehearser": seen.rehearser.as_json(),
                "level": request.level.value,
                "source_kind": request.plan.migrations[0].kind.value,
                "plan_digest": request.plan.digest,
                "files": files_of(
                    request.plan,
                    {version: [(s.text, s.kind) for s in found] for version, found in seen.statements.items()},
                ),
                "statement_rows": [trace.rows_affected for trace in seen.traces],
                "commits": [commit.as_json() for commit in seen.commits],
                "settings": dict(seen.settings.settings),
                "parameters": seen.settings.parameters_as_json(),
                "source_started_at": pair.origin.started_at.astimezone(UTC).isoformat(timespec="microseconds"),
                "schema_objects": {
                    "recipe": FINGERPRINT_RECIPE,
                    "before": pack(seen.source_schema) if seen.source_schema is not None else None,
                    "after": pack(seen.clone_schema),
                },
                "table_sizes": {name: size.as_json() for name, size in seen.table_sizes.items()},
                "samples": [sample.as_json() for sample in seen.data.samples] if seen.data is not None else [],
            },
        }
    )


def _contention(seen: Seen) -> dict[str, Any]:
    if seen.contention is None:
        return {}
    return {**seen.contention.as_json(), "forecast": None if seen.forecast is None else seen.forecast.as_json()}


def _source(seen: Seen, pair: ClonePair) -> dict[str, Any]:
    origin, identity = pair.origin, pair.origin.identity
    return {
        "address": seen.request.source.address,
        "environment": seen.request.environment,
        "database": identity.database,
        "database_oid": identity.database_oid,
        "system_identifier": None if identity.system_identifier is None else str(identity.system_identifier),
        "server_version": f"{identity.major}.{identity.server_version % 10000}",
        "is_replica": origin.is_replica,
        "lsn": origin.lsn,
        "taken_at": origin.taken_at.isoformat(),
    }


def _statement(trace: StatementTrace) -> dict[str, Any]:
    text, kind = trace.statement.text, trace.statement.kind
    secrets = find_secrets(text, kind)
    error = trace.error
    return {
        "file": trace.migration.path,
        "line": trace.statement.line,
        "sql": redact(text, kind),
        "duration_ms": round(trace.duration_ms, 3),
        "locks": {name: mode.value for name, mode in trace.locks.items()},
        "rewrites": list(trace.rewrites),
        "scans_under_lock": list(trace.scans_under_lock),
        "error": None
        if error is None
        else {
            "sqlstate": error.sqlstate,
            "message": mask(error.message, secrets),
            "hint": None if error.hint is None else mask(error.hint, secrets),
        },
    }


def _unlike_source(seen: Seen) -> list[str]:
    """How the copy's schema differs from its source's, which it should not."""
    if seen.source_schema is None or seen.pristine_schema is None:
        return ["the source's schema was not read"]
    if fingerprint(seen.source_schema) == fingerprint(seen.pristine_schema):
        return []
    changes = diff(seen.source_schema, seen.pristine_schema)
    told = [str(change) for change in changes[:SHOWN_DIFFERENCES]]
    rest = f" and {len(changes) - len(told)} more" if len(changes) > len(told) else ""
    return [f"the copy's schema differs from its source's: {'; '.join(told)}{rest}"]


def _not_measured(seen: Seen) -> Iterator[Unmeasured]:
    pair = seen.pair
    assert pair is not None
    if pair.role_problem is not None:
        yield Unmeasured(what="the whole plan", reason=pair.role_problem, decisive=True)
    for left_out in seen.not_run:
        place = f"{left_out.migration.path}:{left_out.statement.line}"
        yield Unmeasured(what=f"{place} was not run", reason=left_out.reason, decisive=True)
    if seen.failure is not None and seen.doubt is not None:
        said = str(seen.failure).partition("\n")[0]  # the server's detail, which follows, quotes values
        yield Unmeasured(what=f"whether it fails in production, too: {said}", reason=seen.doubt, decisive=True)
    yield from seen.unmeasured
    yield from seen.intent.not_measured
    if seen.data is not None:
        for fact in seen.data.not_measured:
            yield Unmeasured(what=fact.what, reason=fact.reason, decisive=fact.blocking)
    if pair.role_is_powerful and not pair.is_private:
        what = "what the plan did to the target's machine outside its database"
        yield Unmeasured(what=what, reason=POWERFUL_ON_SHARED, decisive=False)
    for what in pair.not_measured:
        yield Unmeasured(what="clone", reason=what, decisive=False)
    for trace in seen.traces:
        if trace.sampled:
            place = f"{trace.migration.path}:{trace.statement.line}"
            failed = trace.statement.need is TransactionNeed.ANY and trace.error is not None
            why = "it failed, and was run once more for its locks" if failed else "it runs outside a transaction"
            reason = f"{why}; they were sampled from another session: a lower bound"
            yield Unmeasured(what=f"exact locks of {place}", reason=reason, decisive=False)
    for name in seen.request.unguarded if seen.request.target is not None else ():
        reason = "the variable with its URL is not set here, so that nobody could ask it"
        yield Unmeasured(what=f"whether the target is on the server of {name}", reason=reason, decisive=False)
    if pair.is_private:
        reason = "the private local server is not production's machine, and does not wait for its disk (fsync off)"
        yield Unmeasured(what="durations as production would have them", reason=reason, decisive=False)
    if seen.integrity is not None:
        yield from find_unasked(seen.integrity)
    if seen.way_back.get("type") == "not-measured":
        yield Unmeasured(what="the way back", reason="; ".join(seen.way_back["reasons"]), decisive=False)
    insisted = seen.request.queries.insisted
    yield from find_unmeasured_queries(seen.queries, seen.no_queries, insisted=insisted)
    yield from find_unmeasured_application(seen.application)
    if seen.application is None and seen.queries is None:
        yield Unmeasured(what="the old application", reason=NO_APPLICATION, decisive=False)
    yield from find_unmeasured_contention(seen.contention)
    yield from find_unmeasured_forecast(seen.forecast)


def _timings(seen: Seen, pair: ClonePair, now: datetime) -> dict[str, float]:
    made = {name: value for name, value in pair.timings.as_json().items() if value is not None}
    total_ms = (now - seen.started_at).total_seconds() * 1000
    return {**made, **seen.timings, "total_ms": total_ms}

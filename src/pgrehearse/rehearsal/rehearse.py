"""The rehearsal: clone, observe, apply, observe, judge.

`rehearse` is the story; what it saw becomes a document in `document.py`, the verdict comes from `judge.py`.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

import psycopg
from psycopg import sql

from pgrehearse.clones.pair import ClonePair, make_pair
from pgrehearse.data.derived import find_not_carried, read_derived
from pgrehearse.data.loss import compare_data
from pgrehearse.data.proof import Proof
from pgrehearse.data.sizes import read_table_sizes
from pgrehearse.data.untouched import read_baseline
from pgrehearse.errors import (
    CloneFailed,
    CloneLost,
    CommitOutcomeUnknown,
    ConnectionLost,
    MigrationFailed,
    UnreadableSql,
)
from pgrehearse.hazards.allow import read_allows
from pgrehearse.hazards.trace import Tracer
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.expectations import parse_expectations
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.observer import Observers
from pgrehearse.migrations.own_ledger import NAMESPACE as OWN_NAMESPACE
from pgrehearse.migrations.own_state import OwnState
from pgrehearse.migrations.progress import ProgressTable
from pgrehearse.migrations.statements import Statement, find_unparsed, split_file
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.progress import Progress
from pgrehearse.rehearsal.application import RunningApplication
from pgrehearse.rehearsal.application_queries import NOT_MIGRATED, plan_queries, read_workload
from pgrehearse.rehearsal.asked_here import find_asked
from pgrehearse.rehearsal.checks import CheckResult, run_command_check, run_sql_checks
from pgrehearse.rehearsal.commits import CommitRecorder
from pgrehearse.rehearsal.contention import ContentionLevel
from pgrehearse.rehearsal.contention_run import contend
from pgrehearse.rehearsal.document import Seen, receipt_of
from pgrehearse.rehearsal.failed_locks import with_locks_of_failure
from pgrehearse.rehearsal.forecast import Forecasting
from pgrehearse.rehearsal.integrity import rehearse_integrity
from pgrehearse.rehearsal.intent import plan_failed
from pgrehearse.rehearsal.judge import Unmeasured
from pgrehearse.rehearsal.moments import Moments
from pgrehearse.rehearsal.not_carried import find_foreign_keys_off, find_touched, find_written, tell_not_carried
from pgrehearse.rehearsal.own_namespace import find_own_changes
from pgrehearse.rehearsal.person import read_person
from pgrehearse.rehearsal.plan_session import PlanSession
from pgrehearse.rehearsal.prediction import predict_plan, read_pristine_model
from pgrehearse.rehearsal.read_intent import read_intent
from pgrehearse.rehearsal.receipt import Receipt, save_receipt
from pgrehearse.rehearsal.rehearsed_way_back import RehearsedWayBack, WayBackType
from pgrehearse.rehearsal.request import Request
from pgrehearse.rehearsal.settings import read_settings
from pgrehearse.rehearsal.syntax import ask_server
from pgrehearse.rehearsal.way_back import rehearse_way_back
from pgrehearse.schema.known import read_known_schema, read_schema_again
from pgrehearse.schema.snapshot import read_schema

# Nobody waits behind us on a clone, and nothing there may time out before it was measured.
CLONE_LIMITS = Limits(lock_timeout_ms=60_000, attempts=2, max_block_s=None, wait_s=60.0)

COUNTED_ONLY = "--proof counts: rows were counted, and values were not compared"
MAY_CREATE_SCHEMA = "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')"
GRANT_NAMESPACE = "GRANT ALL ON SCHEMA {namespace} TO {role}"
GRANT_TABLES = "GRANT ALL ON ALL TABLES IN SCHEMA {namespace} TO {role}"
GRANT_SEQUENCES = "GRANT ALL ON ALL SEQUENCES IN SCHEMA {namespace} TO {role}"


def rehearse(request: Request, *, releases: ReleaseLedger, now: Callable[[], datetime], progress: Progress) -> Receipt:
    """Rehearse a plan on a fresh clone and record the receipt.

    Reads the source once; writes only to databases of its own, which are dropped on leaving unless ``keep``.
    Raises what `make_pair` raises (nothing could be measured then); a plan that fails is not an error but
    the verdict ``failed``.
    """
    statements, unparsed = _read_files(request.plan)
    rehearser = read_person(request.checks.working_directory)
    seen = Seen(request=request, statements=statements, started_at=now(), rehearser=rehearser)
    readable = [migration for migration in request.plan.migrations if migration.version not in unparsed]
    # Before the clone is made, so that a mistake is told at once.
    read_allows(readable)
    seen.expectations = tuple(
        expectation
        for migration in readable
        for expectation in parse_expectations(migration, statements[migration.version])
    )
    with make_pair(
        request.source,
        request.target,
        ledger=releases,
        now=now,
        progress=progress.step,
        on_snapshot=lambda session: _read_source(session, seen),
        names=request.plan_names,
        **request.copying,
    ) as pair:
        seen.pair = pair
        _read_pristine(pair, seen)
        read_pristine_model(pair, seen)
        application = _begin_application(pair, seen, progress)
        if unparsed:
            _ask_server(pair, seen, unparsed, progress)
        else:
            _apply_plan(pair, seen, progress, application)
        _compare(pair, seen, progress)
        _examine_integrity(pair, seen, progress)
        plan_queries(pair, seen, progress)
        _hold_declarations(pair, seen, progress)
        _end_application(application, seen, migrated=not unparsed)
        _check(pair, seen, progress)
        _rehearse_way_back(pair, seen, progress)
        _contend(pair, seen, progress)
        progress.step("judging")
        seen.predicted += predict_plan(seen, readable)
        receipt = receipt_of(seen, now())
        save_receipt(releases, receipt, now())  # before the copies go: nothing that was measured is lost by that
        progress.step("keeping the copies" if request.copying["keep"] else "dropping the copies")
    return receipt


def _read_files(plan: Plan) -> tuple[dict[str, tuple[Statement, ...]], dict[str, tuple[Statement, ...]]]:
    """Every file's statements by version, and those parts that our parser cannot read; a psql command raises."""
    statements, unparsed = {}, {}
    for migration in plan.migrations:
        try:
            statements[migration.version] = split_file(migration.content, path=migration.path, kind=migration.kind)
        except UnreadableSql:
            unparsed[migration.version] = find_unparsed(migration.content, path=migration.path, kind=migration.kind)
            if not unparsed[migration.version]:
                raise
            statements[migration.version] = unparsed[migration.version]
    return statements, unparsed


def _ask_server(pair: ClonePair, seen: Seen, unparsed: Mapping[str, tuple[Statement, ...]], progress: Progress) -> None:
    progress.step("asking the server about files that cannot be read here")
    with pair.session("clone", "apply") as session:
        asked = ask_server(session, seen.request.plan, unparsed)
    seen.failure, seen.traces, seen.predicted = asked.failure, asked.traces, asked.findings
    seen.unmeasured += asked.unmeasured


def _read_source(session: Connection, seen: Seen) -> None:
    """In the snapshot that the copy is made from."""
    seen.source_schema = read_schema(session, ignore_relations=frozenset({seen.request.ledger.table}))
    seen.settings = read_settings(session, seen.request.copying["role"], named=seen.request.plan_names)
    seen.table_sizes = read_table_sizes(session)
    read_workload(session, seen)
    seen.derived = read_derived(session)


def _read_pristine(pair: ClonePair, seen: Seen) -> None:
    """The copy must have the source's schema: a rehearsal on something else would prove nothing."""
    with pair.session("pristine", "observe") as session:
        seen.pristine_known = read_known_schema(session, ignore_relations=frozenset({seen.request.ledger.table}))
        seen.clone_server_version = fetch_value(session, "SHOW server_version")
        seen.not_carried = find_not_carried(seen.derived, read_derived(session) if seen.derived else {})


def _begin_application(pair: ClonePair, seen: Seen, progress: Progress) -> RunningApplication | None:
    asked = seen.request.application
    if asked is None or pair.role_problem is not None:
        return None
    application = RunningApplication(pair=pair, asked=asked, progress=progress, timings=seen.timings)
    application.try_before()
    return application


def _end_application(application: RunningApplication | None, seen: Seen, *, migrated: bool) -> None:
    """After the data was compared: nobody else has written into the clone, and it leaves no trace there."""
    if application is None:
        return
    if not migrated or seen.failure is not None or seen.not_run:
        application.give_up(NOT_MIGRATED)
    else:
        application.try_after()
    seen.application = application.found


def _apply_plan(pair: ClonePair, seen: Seen, progress: Progress, application: RunningApplication | None) -> None:
    if pair.role_problem is not None:
        return  # told as not measured: run as anybody else, the plan would prove nothing
    _prepare_ledger(pair, seen)
    if seen.request.proof is Proof.TOUCHED:
        with pair.session("clone", "observe") as session:
            seen.baseline = read_baseline(
                session, role=pair.role, as_role=lambda: pair.session_as_role("observe")
            )  # fmt: skip
    progress.step(f"applying as {pair.role}")
    plan_session = PlanSession(pair, [statement for file in seen.statements.values() for statement in file])
    plan_session.begin()
    started = time.monotonic()
    ignored = frozenset({seen.request.ledger.table})
    state = OwnState(exclusive=True)
    tracer = Tracer(lambda: pair.session("clone", "watch"), ignored=ignored, state=state)
    recorder = CommitRecorder(lambda: pair.session("clone", "watch"), ignored=ignored, state=state, alone=True)
    if application is not None:
        application.prepare()  # after the baseline, which is read when nobody else is there
    moments = Moments({expectation.version for expectation in seen.expectations})
    try:
        apply(
            pair.session_as_role,
            seen.request.plan,
            ledger=seen.request.ledger,
            mode=seen.request.mode,
            limits=seen.request.within_timeouts(CLONE_LIMITS),
            observer=Observers(recorder, tracer, plan_session, moments),
            beyond_allowed=pair.is_private,
            keeps_inside=True,
            why_left_out=plan_session.why_left_out,
        )
    except (ConnectionLost, CommitOutcomeUnknown) as error:
        raise CloneLost(f"{pair.clone.address}: {str(error).partition(chr(10))[0]}") from error
    except MigrationFailed as error:
        seen.failure = error
        seen.doubt = plan_session.find_doubt(error)
    finally:
        seen.traces = tuple(tracer.statements)
        seen.not_run = tuple(tracer.not_run_statements)
        seen.timings["apply_ms"] = (time.monotonic() - started) * 1000
        seen.commits = tuple(recorder.commits)
        seen.moments = moments.of
        recorder.close()
        tracer.close()
        if application is not None:
            application.ask_prepared()
    if seen.failure is not None and seen.doubt is None:  # run again, it could reach what was stopped the first time
        seen.traces = with_locks_of_failure(pair, seen.traces, seen.commits, ignored=ignored)
    plan_session.end()
    seen.unmeasured += plan_session.unmeasured
    seen.lowered += plan_session.lowered
    _tell_false_premises(pair, seen)


def _tell_false_premises(pair: ClonePair, seen: Seen) -> None:
    """A plan that touched what the copy holds otherwise than production, or decided by what only a clone answers."""
    told = [*_not_carried(pair, seen), *_asked_here(pair, seen)]
    seen.unmeasured += told
    decisive = [each for each in told if each.decisive]
    seen.lowered += [f"{each.what}: {each.reason}" for each in decisive]
    if decisive and seen.failure is not None and seen.doubt is None and _may_be_of_premises(seen.failure):
        seen.doubt = "; ".join(f"{each.what}: {each.reason}" for each in decisive)


def _not_carried(pair: ClonePair, seen: Seen) -> list[Unmeasured]:
    assert seen.source_schema is not None
    assert seen.pristine_schema is not None
    off = find_foreign_keys_off(seen.source_schema, seen.pristine_schema)
    if not seen.not_carried and not off:
        return []
    with pair.session("pristine", "observe") as pristine:
        touched = find_touched(pristine, seen.not_carried, _statements(seen), seen.traces)
        written = find_written(pristine, off, seen.traces)
    # Those of no matter are told by the grade: the schemas differ.
    of_keys = [each for each in tell_not_carried(off, written) if each.decisive]
    return [*tell_not_carried(seen.not_carried, touched), *of_keys]


def _asked_here(pair: ClonePair, seen: Seen) -> list[Unmeasured]:
    statements = _statements(seen)
    places = [
        f"{file.path}:{statement.line}"
        for file in seen.request.plan.migrations
        for statement in seen.statements[file.version]
    ]
    login_differs = pair.role_access is not None and pair.role_access.login is not None
    with pair.session("pristine", "observe") as pristine, pair.session("clone", "observe") as clone:
        asked = find_asked(statements, pristine, clone, login_differs=login_differs)
    return [
        Unmeasured(
            what=f"what {'the plan' if each.where is None else places[each.where]} does in production",
            reason=each.reason,
            decisive=True,
        )
        for each in asked
    ]


def _statements(seen: Seen) -> list[Statement]:
    return [each for file in seen.request.plan.migrations for each in seen.statements[file.version]]


def _may_be_of_premises(failure: MigrationFailed) -> bool:
    """Whether it could pass where they hold: not where the server refused what a statement says."""
    return not (failure.sqlstate or "").startswith("42")


def _prepare_ledger(pair: ClonePair, seen: Seen) -> None:
    """Where the role may not make our tables, an administrator does; for the ledger, the grade says so.

    The plan itself may be fine without that right; refusing it for our own bookkeeping would be a needless alarm.
    """
    ledger = seen.request.ledger
    with pair.session_as_role("apply") as session:
        if fetch_value(session, MAY_CREATE_SCHEMA):
            return
        missing = not ledger.exists(session)
    with pair.session("clone", "apply") as admin, _told_when_refused(ledger.table), admin.transaction():
        ledger.create(admin)
        ProgressTable(ledger=ledger.table).create(admin)
        for namespace in {ledger.place.namespace, OWN_NAMESPACE} if missing else {OWN_NAMESPACE}:
            names = {"namespace": sql.Identifier(namespace), "role": sql.Identifier(pair.role)}
            for grant in (GRANT_NAMESPACE, GRANT_TABLES, GRANT_SEQUENCES):
                admin.execute(sql.SQL(grant).format(**names))
    lowered = f"role {pair.role} may not create the migration ledger {ledger.table} in production"
    if missing and lowered not in seen.lowered:
        seen.lowered.append(lowered)


@contextmanager
def _told_when_refused(table: str) -> Iterator[None]:
    try:
        yield
    except psycopg.OperationalError:
        raise  # the line was cut, or a lock was not to be had
    except psycopg.Error as error:  # an event trigger of the team's, most likely
        context = (error.diag.context or "").partition("\n")[0]
        raise CloneFailed(
            f"the clone refuses to make {table}: {str(error.diag.message_primary or error).strip()}"
            f"{f' ({context})' if context else ''}",
            remedy=f"Let what refuses it (an event trigger: \\dy in psql) allow {table}: production has it too.",
        ) from error


def _compare(pair: ClonePair, seen: Seen, progress: Progress) -> None:
    progress.step("comparing schema and data")
    started = time.monotonic()
    with pair.session("clone", "observe") as session:
        assert seen.pristine_known is not None
        seen.clone_known = read_schema_again(session, seen.pristine_known)  # made by TEMPLATE
    with pair.session("pristine", "observe") as pristine, pair.session("clone", "observe") as clone:
        seen.unmeasured += find_own_changes(pristine, clone)
    seen.data = compare_data(
        lambda: pair.session("pristine", "observe"),
        lambda: pair.session("clone", "observe"),
        ignore_relations=frozenset({seen.request.ledger.table}),
        jobs=seen.request.copying["jobs"],
        progress=progress.advance,
        samples=seen.request.samples,
        proof=seen.request.proof,
        baseline=seen.baseline,
    )
    if seen.request.proof is Proof.COUNTS:
        seen.lowered.append(COUNTED_ONLY)
    seen.timings["compare_ms"] = (time.monotonic() - started) * 1000


def _examine_integrity(pair: ClonePair, seen: Seen, progress: Progress) -> None:
    if pair.role_problem is not None:
        return  # no plan was run
    assert seen.data is not None
    progress.step("asking the rows whether they keep what the schema promises")
    started = time.monotonic()
    ignored = frozenset({seen.request.ledger.table})
    seen.integrity = rehearse_integrity(pair, seen.data, ignore_relations=ignored, progress=progress)
    seen.timings["integrity_ms"] = (time.monotonic() - started) * 1000


def _hold_declarations(pair: ClonePair, seen: Seen, progress: Progress) -> None:
    """What the files say that they do, against what they did."""
    if not seen.expectations:
        return
    if seen.failure is not None or seen.data is None or pair.role_problem is not None:
        seen.intent = plan_failed(seen.expectations)
        return
    progress.step("holding what the files declare against what happened")
    started = time.monotonic()
    seen.intent = read_intent(
        pair,
        seen.expectations,
        moments=seen.moments,
        data=seen.data,
        commits=seen.commits,
        traces=seen.traces,
        statement_timeout_ms=seen.request.statement_timeout_ms,
    )
    seen.timings["declarations_ms"] = (time.monotonic() - started) * 1000


def _rehearse_way_back(pair: ClonePair, seen: Seen, progress: Progress) -> None:
    """After all that looks at the migrated clone: it changes it."""
    if seen.request.way_back:
        found = rehearse_way_back(pair, seen, progress, prepare_ledger=lambda: _prepare_ledger(pair, seen))
    else:
        reason = "not asked for (--no-way-back)"
        found = RehearsedWayBack(type=WayBackType.NOT_MEASURED, reasons=(reason,))
    seen.way_back = found.as_json()


def _contend(pair: ClonePair, seen: Seen, progress: Progress) -> None:
    """What others feel on a clone, and what production would; its counters run on meanwhile."""
    forecasting = None
    if seen.request.contention is not ContentionLevel.OFF:
        forecasting = Forecasting.begin(seen.request.source, seen.traces, sample_s=seen.request.forecast_s)
    seen.contention = contend(pair, seen, progress, prepare_ledger=lambda: _prepare_ledger(pair, seen))
    if forecasting is not None:
        if forecasting.locks:
            progress.step("reading what production does to what is locked")
        seen.forecast = forecasting.finish()


def _address_for_checks(pair: ClonePair) -> Conninfo:
    """As production's role where it can be had: as administrator, a test would pass that fails for the application."""
    access = pair.role_access
    return access.conninfo if access is not None else pair.clone


def _check(pair: ClonePair, seen: Seen, progress: Progress) -> None:
    checks = seen.request.checks
    results: tuple[CheckResult, ...] = ()
    if checks.directory is not None and checks.directory.is_dir():
        progress.step("running the team's checks")
        results += run_sql_checks(
            checks.directory, lambda: pair.session("pristine", "check"), lambda: pair.session("clone", "check")
        )
    if checks.command is not None:
        progress.step(f"running {checks.command}")
        results += (
            run_command_check(
                checks.command,
                url=_address_for_checks(pair),
                url_variable=checks.url_variable,
                environment=checks.environment,
                working_directory=checks.working_directory,
            ),
        )
    seen.checks = results

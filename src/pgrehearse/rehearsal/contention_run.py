"""The plan once more, on a clone of its own, while others use what it locks.

The quiet run's proof and timings are finished by then; nothing of this run is compared with anything.
"""

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import psycopg

from pgrehearse.clones.guards import NOT_ASKED
from pgrehearse.clones.pair import ClonePair
from pgrehearse.clones.snapshot import NO_TIMEOUTS
from pgrehearse.counted import agree, counted
from pgrehearse.errors import Interrupted, MigrationFailed, PgRehearseError
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.observer import NoObserver
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.progress import Progress
from pgrehearse.rehearsal.application import find_ways_out
from pgrehearse.rehearsal.contention import (
    Contended,
    Contention,
    ContentionLevel,
    Outcome,
    TrafficFigures,
    TrafficKind,
    find_contended,
)
from pgrehearse.rehearsal.contention_script import ScriptRun, ScriptTraffic
from pgrehearse.rehearsal.contention_traffic import DEADLOCK, Traffic, TrafficStatement, read_statements
from pgrehearse.rehearsal.contention_watch import LockWatch, OutOfTimeError, PlanUnderTraffic, Reader
from pgrehearse.rehearsal.document import Seen
from pgrehearse.rehearsal.judge import Unmeasured

WARM_UP_S = 0.25  # of traffic before the plan
COOL_DOWN_S = 0.1  # and after it
SCRIPT_WARM_UP_S = 0.75  # pgbench starts more slowly
SCRIPT_PATIENCE_S = 10.0  # for transactions that were begun in time
MOST_STATEMENTS = 50  # of the application's own
SPARE_SESSIONS = 10  # that a shared server has left beside ours
OURS_BESIDE = 8  # the plan's own sessions, the watch, the reader
LOCK_WAIT_S = 60.0
NOT_ASKED_FOR = "not asked for (--contention off)"
FREE_SESSIONS = """
SELECT pg_catalog.current_setting('max_connections')::int
       - pg_catalog.current_setting('superuser_reserved_connections')::int
       - (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend')::int
"""
TIMED_OUT = "57014"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bounds:
    """How much traffic a level is, and for how long."""

    sessions: int  # at least
    relations: int  # that get traffic, the strongest locks first; each has two sessions
    per_second: float  # statements of all sessions
    script_clients: int
    reader_s: float  # how long the reader holds the plan up, at most
    longest_s: float  # that the quiet run, or the one under traffic, may take


BOUNDS = {
    ContentionLevel.LIGHT: _Bounds(
        sessions=4, relations=6, per_second=300.0, script_clients=4, reader_s=0.3, longest_s=30.0
    ),
    ContentionLevel.HEAVY: _Bounds(
        sessions=32, relations=16, per_second=2000.0, script_clients=16, reader_s=2.0, longest_s=300.0
    ),
}


def contend(pair: ClonePair, seen: Seen, progress: Progress, *, prepare_ledger: Callable[[], None]) -> Contention:
    """Measure what the application would feel while the plan runs.  Last of all: it makes the clone anew.

    Costs one more copy of the pristine database, the plan once more and about a second, and no more than the level's
    bound; nothing where the quiet run locked nothing that others wait for.  Never raises for what goes wrong: it is
    told as not measured.
    """
    asked = seen.request.contention
    max_block_s = seen.request.waits.max_block_s
    found = Contention(
        level=asked,
        outcome=Outcome.NOT_MEASURED,
        contended=find_contended(seen.traces),
        max_block_ms=None if max_block_s is None else max_block_s * 1000,
    )
    if asked is ContentionLevel.OFF:
        return replace(found, reason=NOT_ASKED_FOR)
    if (reason := _why_no_plan(pair, seen)) is not None:
        return replace(found, reason=reason)
    if not found.contended:
        return replace(found, outcome=Outcome.NOTHING)
    started = time.monotonic()
    bounds = BOUNDS[asked]
    try:
        if (reason := _why_not_here(pair, seen, bounds)) is not None:
            return replace(found, reason=reason)
        contending = _Contending(pair, seen, progress, prepare_ledger, bounds)
        try:
            return contending.measure(found)
        finally:
            contending.leave_migrated()
    except Interrupted:
        raise
    except OutOfTimeError:
        reason = f"beside traffic the plan took longer than the {bounds.longest_s:g} s that this is given"
    except (PgRehearseError, psycopg.Error, OSError) as error:
        reason = f"it could not be run: {_told(error)}"
    except Exception as error:  # a fault of ours must not cost the receipt of all that was measured before
        reason = f"it could not be run: {type(error).__name__}, an error of pgrehearse itself"
    finally:
        seen.timings["contention_ms"] = (time.monotonic() - started) * 1000
    return replace(found, reason=reason)


def _why_no_plan(pair: ClonePair, seen: Seen) -> str | None:
    if pair.role_problem is not None or not seen.traces:
        return "the plan was not run"
    if seen.failure is not None:
        return "the plan failed already without traffic"
    if seen.not_run:
        return "a part of the plan was not run"
    if any(entry.decisive for entry in seen.unmeasured):
        return "the plan was not measured, and is not run a second time"
    return None


def _why_not_here(pair: ClonePair, seen: Seen, bounds: _Bounds) -> str | None:
    """Why this server gets no traffic, or not for so long."""
    quiet_s = (seen.timings["apply_ms"] + pair.timings.template_ms) / 1000
    if quiet_s > bounds.longest_s:
        return f"a copy and the plan take {quiet_s:,.0f} s without traffic, and this is given {bounds.longest_s:g} s"
    if pair.is_private:
        return None
    if seen.request.copying["same_server_allowed"]:
        return "clone.same_server lets the clone stand beside a protected database, which gets no traffic"
    if seen.request.unguarded:
        names = ", ".join(seen.request.unguarded)
        return f"nobody could ask whether the target's server holds {names} too: its variable is not set here"
    if any(each.startswith(NOT_ASKED) for each in pair.not_measured):
        return "a protected environment could not be asked whether it is on the target's server too"
    with pair.session("pristine", "watch") as admin:
        free = int(fetch_value(admin, FREE_SESSIONS))
        ways = find_ways_out(admin)
    if ways:
        return (
            f"on a shared server no trigger is fired where a function may do what cannot be seen ({ways[0]}); leave "
            "--target out for a private server"
        )
    needed = max(bounds.sessions, 2 * bounds.relations + 1) + bounds.script_clients + OURS_BESIDE
    if free < needed + SPARE_SESSIONS:
        left = f"the target has {counted(free, 'session')} left"
        return f"{left}, and {needed} {agree(needed, 'is', 'are')} needed beside {SPARE_SESSIONS} for others"
    return None


@dataclass(slots=True)
class _Contending:
    pair: ClonePair
    seen: Seen
    progress: Progress
    prepare_ledger: Callable[[], None]
    bounds: _Bounds
    left_out: dict[str, str] = field(default_factory=dict)

    def measure(self, found: Contention) -> Contention:
        self.progress.step(f"applying once more beside {found.level.value} traffic")
        most = self.bounds.relations
        contended = found.contended[:most]
        for each in found.contended[most:]:
            self.left_out[each.relation] = f"only {most} relations get {found.level.value} traffic"
        self._renew()
        with self.pair.session("clone", "traffic") as admin:
            statements, without = read_statements(admin, [each.relation for each in contended])
            names = _names(admin, contended)
        self.left_out |= without
        statements += self._application_statements()
        traffic = Traffic(
            self._open, statements, at_least=self.bounds.sessions, per_second=self.bounds.per_second
        )  # fmt: skip
        with traffic:
            self.left_out |= traffic.left_out
            if not traffic.statements:
                reasons = "; ".join(f"{what}: {reason}" for what, reason in self.left_out.items())
                return replace(found, reason=f"no traffic could be made: {reasons}")
            ran = self._run(found, traffic, names)
        return ran if ran.plan_error is None else self._held_against_quiet(ran, found)

    def _held_against_quiet(self, ran: Contention, found: Contention) -> Contention:
        """It failed beside traffic.  Was that the traffic's doing?

        What the plan does outside of its database is still there from before (a role that it makes): then it fails
        without anybody, too, and nothing is known of the traffic.
        """
        self.progress.step("applying once more without traffic")
        self._renew()
        try:
            self._apply(NoObserver())
        except MigrationFailed as error:
            return replace(
                found, reason=f"the plan does not run a second time, not even without traffic: {_told(error)}"
            )
        return ran

    def _run(self, found: Contention, traffic: Traffic, names: list[tuple[str, str]]) -> Contention:
        """The plan, between a quarter of a second of traffic before it and a little after."""
        reader = Reader(self._open(), names, hold_s=self._reader_s)
        held = reader.holds
        plan = PlanUnderTraffic(until_s=time.monotonic() + WARM_UP_S + self.bounds.longest_s)
        watch = LockWatch(self.pair.session("clone", "watch"), plan, reader)
        failure: MigrationFailed | None = None
        script = self._script()
        with script or nullcontext(), watch:
            time.sleep(WARM_UP_S if script is None else SCRIPT_WARM_UP_S)
            started, started_at = time.monotonic(), time.time()
            try:
                self._apply(plan)
            except MigrationFailed as error:
                failure = error
            ended, ended_at = time.monotonic(), time.time()
            time.sleep(COOL_DOWN_S)
            scripted: tuple[TrafficFigures, ...] = ()
            if script is not None:
                script.finish(at_most_s=self._script_s + SCRIPT_PATIENCE_S)
                if script.problem is not None:
                    self.left_out[f"script {script.name}"] = script.problem
                else:
                    scripted = (script.figures(begun_at=started_at, ended_at=ended_at),)
        if failure is not None and failure.sqlstate == TIMED_OUT and ended - started > self.bounds.longest_s:
            raise OutOfTimeError
        traffic.stop()
        figures = traffic.figures(begun_s=plan.begun_s or started, ended_s=ended)
        if not watch.looked:
            self.left_out["who waited for whom"] = "the session that watched the locks was lost"
        return replace(
            found,
            outcome=Outcome.MEASURED,
            sessions=traffic.sessions,
            reader_ms=self._reader_s * 1000 if held else 0.0,
            quiet_ms=self.seen.timings["apply_ms"],
            under_traffic_ms=(ended - started) * 1000,
            waits=watch.waits if watch.looked else None,
            deadlocks=plan.deadlocks
            + traffic.deadlocks()
            + sum(error.count for each in scripted for error in each.errors if error.sqlstate == DEADLOCK),
            lock_timeouts=plan.lock_timeouts,
            plan_error=None if failure is None else _told(failure),
            traffic=(*scripted, *figures),
            left_out=self.left_out,
        )

    @property
    def _reader_s(self) -> float:
        """Never so long that the reader alone is the stall that is complained of."""
        max_block_s = self.seen.request.waits.max_block_s
        return self.bounds.reader_s if max_block_s is None else min(self.bounds.reader_s, max_block_s / 4)

    @property
    def _script_s(self) -> int:
        """Longer than the plan is expected to take, with a deadlock that is found after a second.

        What waits for the plan at the end is waited for; what then ends in a deadlock, pgbench does not write down.
        """
        quiet_s = self.seen.timings["apply_ms"] / 1000
        return math.ceil(min(SCRIPT_WARM_UP_S + 1.5 * quiet_s + self._reader_s + 2, self.bounds.longest_s))

    def _script(self) -> ScriptTraffic | None:
        """As who runs the migrations: another role is only lent to a session, and pgbench opens its own."""
        file, access = self.seen.request.contention_script, self.pair.role_access
        if file is None or access is None:
            return None
        run = ScriptRun(
            script=file, clients=self.bounds.script_clients, per_second=self.bounds.per_second / 2,
            seconds=self._script_s,
        )  # fmt: skip
        return ScriptTraffic(run, access.conninfo, server_major=self.pair.origin.identity.major)

    def _open(self) -> Connection:
        """As the application's role where one is named, else as who runs the migrations."""
        asked = self.seen.request.application
        role = asked.role if asked is not None else None
        if role is None:
            session = self.pair.session_as_role("traffic")
            session.execute(NO_TIMEOUTS)
            return session
        return self.pair.session_of("clone", role, "traffic")

    def _application_statements(self) -> list[TrafficStatement]:
        found = self.seen.application
        if found is None:
            return []
        running = [each for each in found.working if each.runs]
        if len(running) > MOST_STATEMENTS:
            self.left_out[found.file] = f"only its first {MOST_STATEMENTS} statements are sent as traffic"
        return [
            TrafficStatement(what=found.file, kind=TrafficKind.APPLICATION, text=each.text.encode())
            for each in running[:MOST_STATEMENTS]
        ]

    def _apply(self, observer: NoObserver) -> None:
        """As a promotion does it, but that it does not give way before the stall is measured."""
        request = self.seen.request
        limits = replace(request.waits, max_block_s=None, wait_s=LOCK_WAIT_S)
        longest_ms = min(request.statement_timeout_ms, round(self.bounds.longest_s * 1000))
        apply(
            self.pair.session_as_role,
            request.plan,
            ledger=request.ledger,
            mode=request.mode,
            limits=replace(request.within_timeouts(limits), longest_statement_ms=longest_ms),
            observer=observer,
            beyond_allowed=self.pair.is_private,
            keeps_inside=True,
        )

    def _renew(self) -> None:
        self.pair.renew_clone()
        self.prepare_ledger()

    def leave_migrated(self) -> None:
        """Who keeps the clone wants the migrated one, and traffic leaves traces: sequences, dead rows."""
        if self.seen.request.copying["keep"]:
            self.progress.step("migrating the clone again")
            self._renew()
            try:
                self._apply(NoObserver())
            except PgRehearseError as error:
                reason = f"after the run under traffic it could not be migrated again: {_told(error)}"
                self.seen.unmeasured.append(Unmeasured(what="the clone that is kept", reason=reason, decisive=False))


def _names(admin: Connection, contended: tuple[Contended, ...]) -> list[tuple[str, str]]:
    """Namespace and name, as they are."""
    wanted = {each.relation for each in contended}
    rows = admin.execute(
        "SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname), n.nspname::text, c.relname::text "
        "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE pg_catalog.format('%%I.%%I', n.nspname, c.relname) = ANY (%s) ORDER BY c.oid",
        (sorted(wanted),),
    )
    return [(namespace, name) for _, namespace, name in rows.fetchall()]


def _told(error: BaseException) -> str:
    """One line, without the DETAIL that quotes rows."""
    if isinstance(error, psycopg.Error):
        return error.diag.message_primary or type(error).__name__
    return str(error).partition("\n")[0]

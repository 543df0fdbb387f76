"""The old application against the new schema: its statements tried on the pristine copy, and again on the clone.

`RunningApplication` lives through a rehearsal: `try_before` on the pristine copy, `prepare` in a session that stays
open in the clone while the plan runs, `ask_prepared` when it has, and `try_after`.  What it found is `found`.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from pgrehearse.clones.pair import ClonePair
from pgrehearse.counted import counted
from pgrehearse.errors import CloneFailed
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.progress import Progress
from pgrehearse.queries.application import (
    ApplicationStatement,
    Outcome,
    find_refused,
    names_in,
    prepare_statements,
    try_statement,
)
from pgrehearse.queries.asked import ApplicationAsked
from pgrehearse.queries.compare import QueryLimits, compare_queries
from pgrehearse.queries.comparison import QueryVerdict
from pgrehearse.queries.planning import Refusal
from pgrehearse.queries.workload import Gathering
from pgrehearse.rehearsal.unseen import read_unseen_functions

QUERIES = named_queries(__file__)
AT_ONCE = 200  # sequences read by one query
SHOWN = 5
ONLY_PLANNED = "its values are not known, so that it was planned and not run"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenStatement:
    """It worked before the plan and is refused after it."""

    statement: ApplicationStatement
    refusal: Refusal
    names: frozenset[str]  # objects that the server's answer names
    at_commit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationFound:
    """What became of the application's statements."""

    file: str
    role: str
    role_given: bool  # None was named: these are the rights of who runs the migrations
    statements: int
    working: tuple[ApplicationStatement, ...]  # before and after
    broken: tuple[BrokenStatement, ...]
    prepared: tuple[ApplicationStatement, ...]  # in a session that stayed open
    prepared_broken: tuple[tuple[ApplicationStatement, Refusal], ...]  # in open sessions alone
    not_tried: tuple[tuple[ApplicationStatement, str], ...]  # and why
    prepared_problem: str | None = None  # why it is not known what open sessions meet
    problem: str | None = None  # why nothing was measured


@dataclass(slots=True)
class RunningApplication:
    """The statements of one application in one rehearsal.  The caller calls `close`."""

    pair: ClonePair
    asked: ApplicationAsked
    progress: Progress
    timings: dict[str, float]
    _problem: str | None = None
    _only_planned: str | None = None  # why nothing is run on this server
    _before: dict[int, Outcome] = field(default_factory=dict)
    _after: dict[int, Outcome] = field(default_factory=dict)
    _planned: dict[int, Refusal | str | None] = field(default_factory=dict)
    _session: Connection | None = None
    _prepared: tuple[ApplicationStatement, ...] = ()
    _prepared_refused: list[tuple[ApplicationStatement, Refusal]] = field(default_factory=list)
    _prepared_problem: str | None = None

    @property
    def role(self) -> str:
        return self.asked.role or self.pair.role

    def try_before(self) -> None:
        """On the pristine copy, before the plan: it may change roles, which both copies have in common."""
        self.progress.step(
            f"trying {counted(len(self.asked.statements), 'statement')} of the application before the plan"
        )
        try:
            self._only_planned = self._why_only_planned()
            self._before = self._try("pristine", [each for each in self.asked.statements if self._runs(each)])
        except (CloneFailed, psycopg.Error) as error:
            self._problem = _told(error)

    def prepare(self) -> None:
        """As an open session of the application has; it is idle while the plan runs and holds no lock."""
        if self._problem is not None:
            return
        try:
            self._session = self.pair.session_of("clone", self.role, "prepared")
            self._prepared = prepare_statements(self._session, self.asked.statements)
        except (CloneFailed, psycopg.Error) as error:
            self._prepared_problem = _told(error)

    def ask_prepared(self) -> None:
        """After the plan; closes that session."""
        if self._session is None:
            return
        try:
            self._prepared_refused = list(find_refused(self._session, self._prepared))
        except psycopg.Error as error:
            self._prepared_problem = f"their session ended while the plan ran: {_told(error)}"
        self.close()

    def try_after(self) -> None:
        """On the clone, whose rows and sequences are afterwards as they were."""
        if self._problem is not None:
            return
        self.progress.step(f"trying {counted(len(self._before), 'statement')} of the application after the plan")
        started = time.monotonic()
        try:
            worked = [each for each in self.asked.statements if self._worked_before(each)]
            self._after = self._try("clone", worked)
            self._plan([each for each in self.asked.statements if each.left_out is None and not self._runs(each)])
        except (CloneFailed, psycopg.Error) as error:
            self._problem = _told(error)
        self._add_time(started)

    def give_up(self, problem: str) -> None:
        """There is nothing to try it on."""
        self.close()
        self._problem = self._problem or problem

    def close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None

    @property
    def found(self) -> ApplicationFound:
        broken = tuple(self._find_broken())
        numbers = {each.statement.number for each in broken}
        return ApplicationFound(
            file=self.asked.file,
            role=self.role,
            role_given=self.asked.role is not None,
            statements=len(self.asked.statements),
            working=tuple(each for each in self.asked.statements if self._works(each)),
            prepared=self._prepared,
            broken=broken,
            prepared_broken=tuple(pair for pair in self._prepared_refused if pair[0].number not in numbers),
            not_tried=tuple(self._find_not_tried()),
            prepared_problem=self._prepared_problem,
            problem=self._problem,
        )

    # --- one copy -------------------------------------------------------------------------------------------------

    def _runs(self, statement: ApplicationStatement) -> bool:
        return statement.runs and self._only_planned is None

    def _worked_before(self, statement: ApplicationStatement) -> bool:
        outcome = self._before.get(statement.number)
        return outcome is not None and outcome.refusal is None

    def _try(self, which: str, statements: Sequence[ApplicationStatement]) -> dict[int, Outcome]:
        started = time.monotonic()
        limit_ms = round(self.asked.time_limit_s * 1000)
        outcomes = {}
        with (
            self.pair.session(which, "application") as admin,
            _sequences_put_back(admin),
            self.pair.session_of(which, self.role, "application") as session,
        ):
            for done, statement in enumerate(statements):
                self.progress.advance("statements of the application", done, len(statements))
                outcomes[statement.number] = try_statement(session, statement, limit_ms=limit_ms)
        self._add_time(started)
        return outcomes

    def _why_only_planned(self) -> str | None:
        """On a shared server, where a function could leave the application's role, which is an administrator's loan."""
        if self.pair.is_private:
            return None
        with self.pair.session("pristine", "application") as admin:
            ways = find_ways_out(admin)
        if not ways:
            return None
        return (
            f"on a shared server nothing is run as {self.role} where a function may do what cannot be seen "
            f"({', '.join(ways[:SHOWN])}), so that it was only planned; leave --target out to have it run"
        )

    def _plan(self, statements: Sequence[ApplicationStatement]) -> None:
        """What has placeholders, or may not be run: whether the server still takes and plans it."""
        gathering, keys = Gathering(), {}
        for statement in statements:
            key = gathering.add(statement.text, role=self.role, keep_example=True)
            if key is None:
                self._planned[statement.number] = "it has no plan, and was not run"
            else:
                keys[statement.number] = key
        workload = gathering.finished(self.asked.file, {self.role: self.pair.place.settings_of(self.role)})
        if not workload.queries:
            return
        compared = compare_queries(
            workload,
            lambda: self.pair.session("pristine", "plan"),
            lambda: self.pair.session("clone", "plan"),
            limits=QueryLimits(execute_worst=0),
        )
        found = {(each.query.statement.shape, each.query.role): each for each in compared.queries}
        for number, key in keys.items():
            each = found.get(key)
            if each is None or each.verdict is QueryVerdict.NOT_MEASURED:
                self._planned[number] = each.reason if each is not None and each.reason else "it was left out"
            elif each.verdict is QueryVerdict.WORKS_NOW:
                self._planned[number] = str(each.reason)
            else:
                self._planned[number] = each.refusal if each.verdict is QueryVerdict.BROKEN else None

    def _add_time(self, started: float) -> None:
        took_ms = (time.monotonic() - started) * 1000
        self.timings["application_ms"] = self.timings.get("application_ms", 0.0) + took_ms

    # --- both held against each other -----------------------------------------------------------------------------

    def _find_broken(self) -> Iterator[BrokenStatement]:
        for statement in self.asked.statements:
            before, after = self._before.get(statement.number), self._after.get(statement.number)
            if before is not None and after is not None:
                # What could not be committed before either need only work as far as it did.
                said = after.said if before.works else after.refusal
                if said is not None and not said.of_the_moment:
                    at_commit = after.refusal is None
                    yield BrokenStatement(statement=statement, refusal=said, names=after.names, at_commit=at_commit)
            planned = self._planned.get(statement.number)
            if isinstance(planned, Refusal):
                yield BrokenStatement(statement=statement, refusal=planned, names=names_in(planned))

    def _works(self, statement: ApplicationStatement) -> bool:
        before, after = self._before.get(statement.number), self._after.get(statement.number)
        if before is not None and after is not None:
            return after.works or (not before.works and after.refusal is None)
        return self._planned.get(statement.number, "") is None

    def _find_not_tried(self) -> Iterator[tuple[ApplicationStatement, str]]:
        for statement in self.asked.statements:
            before, after = self._before.get(statement.number), self._after.get(statement.number)
            if statement.left_out is not None:
                yield statement, statement.left_out
            elif before is not None and before.refusal is not None:
                yield statement, f"it fails before the plan, too: {before.refusal}"
            elif before is not None and before.at_commit is not None:
                yield statement, f"before the plan, too, it could not be committed alone: {before.at_commit}"
            elif after is not None and after.said is not None and after.said.of_the_moment:
                yield statement, f"it could not be tried on the clone: {after.said}"
            elif isinstance(told := self._planned.get(statement.number), str):
                yield statement, told
            elif statement.number in self._planned and self._only_planned is None:
                yield statement, ONLY_PLANNED
        if self._only_planned is not None and self._planned:
            statement = next(each for each in self.asked.statements if each.number in self._planned)
            yield statement, self._only_planned


@contextmanager
def _sequences_put_back(admin: Connection) -> Iterator[None]:
    """What they hand out is not rolled back with the statement that asked for it."""
    before = _read_sequences(admin)
    try:
        yield
    finally:
        after = _read_sequences(admin)
        for oid, state in before.items():
            if after.get(oid, state) != state:
                admin.execute(QUERIES["put_back"], (oid, *state))


def _read_sequences(admin: Connection) -> dict[int, tuple[int, bool]]:
    """By oid: last_value and is_called.  One query per `AT_ONCE` sequences."""
    known = admin.execute(QUERIES["sequences"]).fetchall()
    states = {}
    for at in range(0, len(known), AT_ONCE):
        parts = [
            sql.SQL("SELECT {}::pg_catalog.int8, last_value, is_called FROM {}").format(oid, sql.Identifier(*names))
            for oid, *names in known[at : at + AT_ONCE]
        ]
        for oid, last_value, is_called in admin.execute(sql.SQL(" UNION ALL ").join(parts)):
            states[oid] = (last_value, is_called)
    return states


def find_ways_out(admin: Connection) -> tuple[str, ...]:
    """Functions that take another role, or may do so unseen."""
    unseen = [function.name for function in read_unseen_functions(admin, powerful=True)]
    taking = [name for (name,) in admin.execute(QUERIES["taking_roles"])]
    return tuple(dict.fromkeys(f"{name}()" for name in (*unseen, *taking)))


def _told(error: Exception) -> str:
    if isinstance(error, psycopg.Error):
        return error.diag.message_primary or type(error).__name__
    return str(error)

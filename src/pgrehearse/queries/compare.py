"""The workload planned on both copies: which queries break, which get another plan, and which of them are slower."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pgrehearse.postgres.connect import Connection
from pgrehearse.queries.comparison import (
    Executed,
    QueryComparison,
    QueryVerdict,
    Thresholds,
    WorkloadComparison,
    judge_plans,
    worst_first,
)
from pgrehearse.queries.guessed_types import guess_types
from pgrehearse.queries.inserts import find_unsent
from pgrehearse.queries.labels import Labels, read_labels
from pgrehearse.queries.plan import Plan, parse_plan
from pgrehearse.queries.planning import PlanningSession, Refusal, Signature, sent_types
from pgrehearse.queries.replay import BreaksWhenRun, NotExecuted, Replay
from pgrehearse.queries.statement_text import respell, share_placeholders
from pgrehearse.queries.workload import Workload, WorkloadQuery, looks_like_one_of_n

OPEN = Callable[[], Connection]
STRING = "S"  # pg_type.typcategory
# Those that running could confirm or disprove.
WORTH_RUNNING = frozenset({
    QueryVerdict.SLOWER, QueryVerdict.INDEX_LOST, QueryVerdict.ESTIMATE_CHANGED, QueryVerdict.PLAN_CHANGED,
    QueryVerdict.FASTER,
})  # fmt: skip
PLANNING_LIMIT_MS = 30_000
NOT_NULL_VIOLATION = "23502"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryLimits:
    """How far the comparison goes."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    execute_worst: int = 5
    time_limit_s: float = 5.0  # of one execution


def compare_queries(
    workload: Workload,
    before: OPEN,
    after: OPEN,
    *,
    limits: QueryLimits,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> WorkloadComparison:
    """Plan every query on the pristine copy and on the migrated clone, and run the worst on both.

    Both must have statistics (see `fresh_statistics`).  ``before`` and ``after`` open an administrator's
    autocommit session; nothing is written through them.  Cost: two to six round trips per query and copy.
    Raises psycopg's error when a session breaks.
    """
    with _planning(before, workload) as there, _planning(after, workload) as here:
        labels = read_labels(there.connection, here.connection)
        comparing = _Comparing(workload, there, here, limits.thresholds, *labels)
        found = comparing.compare_all(progress)
        replay = Replay(there, here, time_limit_s=limits.time_limit_s)
        found = _run_worst(found, replay, comparing, limits)
    not_measured = Counter(workload.left_out)
    not_measured.update(each.reason or "" for each in found if each.verdict is QueryVerdict.NOT_MEASURED)
    return WorkloadComparison(
        origin=workload.origin,
        queries=worst_first(found),
        not_measured=not_measured,
        planned_as_another=comparing.planned_as_another,
        index_tables=comparing.labels_before.tables,
    )


@contextmanager
def _planning(opening: OPEN, workload: Workload) -> Iterator[PlanningSession]:
    with opening() as connection:
        yield PlanningSession(connection, PLANNING_LIMIT_MS, workload.role_settings)


@dataclass(slots=True)
class _Comparing:
    workload: Workload
    there: PlanningSession
    here: PlanningSession
    thresholds: Thresholds
    labels_before: Labels
    labels_after: Labels
    planned_as_another: dict[str, str] = field(default_factory=dict)

    def compare_all(self, progress: Callable[[str, int, int], None]) -> list[QueryComparison]:
        found = []
        queries = sorted(self.workload.queries, key=lambda query: query.role or "")
        role: str | None = None
        for number, query in enumerate(queries):
            if number == 0 or query.role != role:
                role = query.role
                self.become(role)
            if number % 20 == 0:
                progress("planning queries", number, len(queries))
            found.append(replace(self._compare(query), one_of_n=looks_like_one_of_n(query)))
        progress("planning queries", len(queries), len(queries))
        return found

    def become(self, role: str | None) -> str | None:
        """On both copies, which are on one server; why it cannot be had, or None."""
        problems = [session.become(role) for session in (self.there, self.here)]
        problem = next((each for each in problems if each is not None), None)
        if problem is not None and role is not None:
            self.planned_as_another[role] = problem
        return problem

    def _compare(self, query: WorkloadQuery) -> QueryComparison:
        text, before = self._plan_before(query)
        if text is None or isinstance(before, Refusal):
            return self._failed_before(query, before)
        signature, plan = before
        refused = self._refuse_typed(text, signature) or self._refuse_as_sent(query)
        explained = refused or self.here.explain(text, len(signature.parameters))
        if isinstance(explained, Refusal):
            if text not in _spellings(query) and guess_types(query.statement.text, self.here) is not None:
                reason = f"which types its placeholders have is a guess, and with these: {explained}"
                return QueryComparison(query=query, verdict=QueryVerdict.NOT_MEASURED, reason=reason, before=plan)
            return _broken(query, plan, explained)
        if unsent := self._unsent(query):
            message = f"it does not send {', '.join(unsent)}, which may not be NULL now and has no default"
            return _broken(query, plan, Refusal(sqlstate=NOT_NULL_VIOLATION, message=message))
        after = parse_plan(explained, self.labels_after)
        lost = tuple(index for index in plan.indexes if index not in self.labels_after.every)
        changes = self._result_changes(text, signature)
        return QueryComparison(
            query=query,
            verdict=judge_plans(plan, after, lost, changes, self.thresholds),
            planned_as=text,
            before=plan,
            after=after,
            indexes_lost=lost,
            result_changes=changes,
        )

    def _plan_before(self, query: WorkloadQuery) -> tuple[str | None, tuple[Signature, Plan] | Refusal]:
        """The first of its spellings that the pristine copy plans; else what it said to the first."""
        said: Refusal | None = None
        for text in _spellings(query):
            signature = self.there.describe(text)
            if isinstance(signature, Refusal):
                said = said or signature
                continue
            explained = self.there.explain(text, len(signature.parameters))
            if not isinstance(explained, Refusal):
                return text, (signature, parse_plan(explained, self.labels_before))
            said = said or explained
        if (guessed := guess_types(query.statement.text, self.there)) is not None:
            signature = self.there.describe(guessed)
            if not isinstance(signature, Refusal):
                explained = self.there.explain(guessed, len(signature.parameters))
                if not isinstance(explained, Refusal):
                    return guessed, (signature, parse_plan(explained, self.labels_before))
        assert said is not None
        return None, said

    def _refuse_as_sent(self, query: WorkloadQuery) -> Refusal | None:
        """Whether one fails with the values that it was sent with: an enum's label, a sequence's name."""
        for text in (query.example, *query.also_sent):
            if text is None or isinstance(self.there.describe(text), Refusal):
                continue
            found = self.here.describe(text)
            if isinstance(found, Refusal):
                return found
        return None

    def _refuse_typed(self, text: str, signature: Signature) -> Refusal | None:
        """Whether it fails where values come with the types that they had before.

        ``age = $1`` says nothing of $1, so that the server would infer text after ``age`` became text; an application
        that sends the number 33, as a literal or typed, gets "operator does not exist".
        """
        found = self.here.describe(text)
        if isinstance(found, Refusal):
            return found
        types = sent_types(signature)
        if any(types) and sent_types(found) != types:
            typed = self.here.describe(text, types)
            if isinstance(typed, Refusal):
                return typed
        return None

    def _unsent(self, query: WorkloadQuery) -> tuple[str, ...]:
        statement = query.statement
        return find_unsent(self.there.connection, self.here.connection, statement.kind, statement.tree)

    def _result_changes(self, text: str, signature: Signature) -> tuple[str, ...]:
        found = self.here.describe(text)
        return () if isinstance(found, Refusal) else tuple(_result_changes(signature, found))

    def _failed_before(self, query: WorkloadQuery, said: object) -> QueryComparison:
        assert isinstance(said, Refusal)
        for text in _spellings(query):
            signature = self.here.describe(text)
            if isinstance(signature, Refusal) or said.of_the_moment:
                continue
            if not isinstance(self.here.explain(text, len(signature.parameters)), Refusal):
                return QueryComparison(query=query, verdict=QueryVerdict.WORKS_NOW, reason=f"failed before: {said}")
        reason = f"the server does not plan it before the migration either: {said}"
        return QueryComparison(query=query, verdict=QueryVerdict.NOT_MEASURED, reason=reason)


def _spellings(query: WorkloadQuery) -> Iterator[str]:
    """With placeholders, repaired where normalising broke it; as somebody sent it."""
    text = query.statement.text
    for repaired in (text, respell(text), share_placeholders(text)):
        if repaired is not None:
            yield repaired
    if (shared := share_placeholders(text)) is not None and (printed := respell(shared)) is not None:
        yield printed
    if query.example is not None:
        yield query.example


def _broken(query: WorkloadQuery, plan: Plan, refusal: Refusal) -> QueryComparison:
    if refusal.of_the_moment:
        reason = f"the clone could not plan it: {refusal}"
        return QueryComparison(query=query, verdict=QueryVerdict.NOT_MEASURED, reason=reason, before=plan)
    return QueryComparison(query=query, verdict=QueryVerdict.BROKEN, refusal=refusal, before=plan)


def _result_changes(before: Signature, after: Signature) -> Iterator[str]:
    """Columns that went, and those of another type; one that was added breaks nobody who names columns."""
    types = dict(after.columns)
    for name, old in dict(before.columns).items():
        new = types.get(name)
        if new is None:
            yield f"{name} is gone"
        elif new.name != old.name and not old.category == new.category == STRING:
            yield f"{name} was {old.name}, is {new.name}"


# --- the worst, run -------------------------------------------------------------------------------------------------


def _run_worst(
    found: list[QueryComparison], replay: Replay, comparing: _Comparing, limits: QueryLimits
) -> list[QueryComparison]:
    chosen = [each for each in worst_first(found) if each.verdict in WORTH_RUNNING][: limits.execute_worst]
    ran = {}
    for each in chosen:
        problem = comparing.become(each.query.role)
        if problem is not None:
            ran[id(each)] = replace(each, not_executed=f"nobody here can be {each.query.role}: {problem}")
            continue
        try:
            executed = replay.run(each.query, each.planned_as)
        except NotExecuted as error:
            ran[id(each)] = replace(each, not_executed=str(error))
            continue
        except BreaksWhenRun as error:
            ran[id(each)] = replace(each, verdict=QueryVerdict.BROKEN, refusal=error.refusal)
            continue
        ran[id(each)] = _with_times(each, executed, limits.thresholds)
    return [ran.get(id(each), each) for each in found]


def _with_times(each: QueryComparison, executed: Executed, thresholds: Thresholds) -> QueryComparison:
    """What the clock says has the last word over what the planner expects."""
    if executed.rows_before and executed.rows_after == 0:
        # Row-level security without a policy, a view that filters: nothing fails, and nothing is found.
        told = f"it found {executed.rows_before:,} before, and nothing after, for the same values"
        changes = (*each.result_changes, told)
        worst = min(each.verdict, QueryVerdict.RESULT_CHANGED, key=list(QueryVerdict).index)
        each = replace(each, result_changes=changes, verdict=worst)
    before_ms, after_ms = executed.before_ms, executed.after_ms
    slower = after_ms is None or (before_ms is not None and after_ms >= before_ms * thresholds.cost_factor)
    if each.verdict is QueryVerdict.SLOWER and not slower:
        verdict = QueryVerdict.INDEX_LOST if each.indexes_lost else QueryVerdict.PLAN_CHANGED
        return replace(each, executed=executed, verdict=verdict, reason="its cost rose, and running it took no longer")
    return replace(each, executed=executed)

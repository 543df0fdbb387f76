"""What became of one query: planned before, planned after, perhaps run both ways."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from pgrehearse.queries.plan import Plan
from pgrehearse.queries.planning import Refusal
from pgrehearse.queries.workload import WorkloadQuery

SHOWN_SQL = 4000
LEAST_COST_ADDED = 50.0  # about fifty pages: below it, any factor is a matter of microseconds
LEAST_ROWS = 1000.0


class QueryVerdict(Enum):
    """What became of a query; where several hold, the first of this order."""

    BROKEN = "broken"  # worked before, fails after
    SLOWER = "slower"  # its cost rose by more than the factor, and running it did not disprove that
    INDEX_LOST = "index-lost"  # it used an index that is gone
    RESULT_CHANGED = "result-changed"  # a column of its result is gone, or is of another type
    ESTIMATE_CHANGED = "estimate-changed"  # the planner expects more or fewer rows by more than the factor
    PLAN_CHANGED = "plan-changed"
    FASTER = "faster"
    WORKS_NOW = "works-now"  # failed before
    NOT_MEASURED = "not-measured"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From which factor on a difference is told."""

    cost_factor: float = 2.0
    rows_factor: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """One query run warm on both copies, in turns; None: did not end within the limit."""

    before_ms: float | None  # medians
    after_ms: float | None
    rows_before: int | None
    rows_after: int | None
    runs: int  # on each copy, the first not counted
    sampled: bool  # its parameters were sampled from the data

    def as_json(self) -> dict[str, Any]:
        return {
            "before_ms": None if self.before_ms is None else round(self.before_ms, 3),
            "after_ms": None if self.after_ms is None else round(self.after_ms, 3),
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "runs": self.runs,
            "sampled": self.sampled,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryComparison:
    """One query before and after."""

    query: WorkloadQuery
    verdict: QueryVerdict
    planned_as: str = field(default="", repr=False)  # the spelling that the server took; it may hold values
    reason: str | None = None  # of a verdict that the figures do not explain
    refusal: Refusal | None = None  # the server's, after
    before: Plan | None = None
    after: Plan | None = None
    indexes_lost: tuple[str, ...] = ()
    result_changes: tuple[str, ...] = ()
    executed: Executed | None = None
    not_executed: str | None = None  # why, for one of the worst
    one_of_n: bool = False  # likely the inner query of an N+1

    @property
    def cost_ratio(self) -> float:
        if self.before is None or self.after is None:
            return 1.0
        return self.after.cost / max(self.before.cost, 0.01)

    @property
    def weight(self) -> float:
        """How much more all its calls cost after, in the planner's units."""
        if self.before is None or self.after is None:
            return float(self.query.calls or 1)
        return (self.after.cost - self.before.cost) * (self.query.calls or 1)

    def as_json(self) -> dict[str, Any]:
        statement = self.query.statement.text
        return {
            "sql": statement if len(statement) <= SHOWN_SQL else statement[: SHOWN_SQL - 1] + "…",
            "role": self.query.role,
            "calls": self.query.calls,
            "rows": self.query.rows,
            "total_ms": None if self.query.total_ms is None else round(self.query.total_ms, 3),
            "verdict": self.verdict.value,
            "reason": self.reason,
            "error": None if self.refusal is None else self.refusal.as_json(),
            "before": None if self.before is None else self.before.as_json(),
            "after": None if self.after is None else self.after.as_json(),
            "indexes_lost": list(self.indexes_lost),
            "result_changes": list(self.result_changes),
            "executed": None if self.executed is None else self.executed.as_json(),
            "not_executed": self.not_executed,
            "one_of_n": self.one_of_n,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadComparison:
    """The whole workload, worst first."""

    origin: str
    queries: tuple[QueryComparison, ...] = ()
    not_measured: Mapping[str, int] = field(default_factory=dict)  # how many queries, by reason
    planned_as_another: Mapping[str, str] = field(default_factory=dict)  # role -> why its rights were not looked at
    index_tables: Mapping[str, str] = field(default_factory=dict)  # a lost index -> its table


def judge_plans(
    before: Plan, after: Plan, lost: Sequence[str], result_changes: Sequence[str], thresholds: Thresholds
) -> QueryVerdict:
    """The worst that the two plans of one query show."""
    if _rose(before.cost, after.cost, thresholds.cost_factor, LEAST_COST_ADDED):
        return QueryVerdict.SLOWER
    if lost:
        return QueryVerdict.INDEX_LOST
    if result_changes:
        return QueryVerdict.RESULT_CHANGED
    if _estimates_differ(before, after, thresholds.rows_factor):
        return QueryVerdict.ESTIMATE_CHANGED
    if _rose(after.cost, before.cost, thresholds.cost_factor, LEAST_COST_ADDED):
        return QueryVerdict.FASTER
    return QueryVerdict.UNCHANGED if before.shape == after.shape else QueryVerdict.PLAN_CHANGED


def worst_first(found: Sequence[QueryComparison]) -> tuple[QueryComparison, ...]:
    """By verdict, then by what all calls cost more."""
    order = list(QueryVerdict)
    return tuple(sorted(found, key=lambda each: (order.index(each.verdict), -each.weight)))


def _rose(before: float, after: float, factor: float, least: float) -> bool:
    return after >= before * factor and after - before >= least


def _estimates_differ(before: Plan, after: Plan, factor: float) -> bool:
    pairs = [(before.rows, after.rows)]
    for table, rows in before.scanned_rows.items():
        if table in after.scanned_rows:
            pairs.append((rows, after.scanned_rows[table]))
    return any(_rose(min(pair), max(pair), factor, LEAST_ROWS) for pair in pairs)

"""What is said of the application's queries: findings, and what was not measured."""

from collections.abc import Iterator, Sequence

from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level, Measured
from pgrehearse.queries.comparison import QueryComparison, QueryVerdict, WorkloadComparison
from pgrehearse.queries.statistics_view import ORIGIN as COUNTED_BY_PRODUCTION
from pgrehearse.rehearsal.judge import Unmeasured

SHOWN_QUERIES = 3
SHOWN_WIDTH = 160
MOST_FINDINGS = 20  # of one kind; the table has every query
MOST_REASONS = 20
NOTICED_MS = 100.0  # longer than this by one call, people notice

DEPLOY_FIRST = (
    "Deploy an application that does not send it any more before this migration, "
    "or keep what it needs (the old column, a view under the old name) until then."
)
NEW_INDEX = "Build what replaces it first (CREATE INDEX CONCURRENTLY, in a migration before), or keep the index."
LOOK_AT_PLAN = "Compare the two plans in the JSON; an index for the new shape, built CONCURRENTLY before, often helps."
READ_BY_NAME = (
    "Deploy an application that names its columns and reads the new types before this migration; "
    "sessions that prepared it before must reconnect."
)


def find_unmeasured_queries(
    found: WorkloadComparison | None, reason_for_none: str | None, *, insisted: bool
) -> Iterator[Unmeasured]:
    """What of the workload was not looked at; all of it weighs where somebody ``insisted`` on it."""
    if reason_for_none is not None:
        yield Unmeasured(what="the application's queries", reason=reason_for_none, decisive=insisted)
    if found is None:
        return
    reasons = sorted(found.not_measured.items(), key=lambda pair: -pair[1])
    for reason, count in reasons[:MOST_REASONS]:
        yield Unmeasured(what=f"{_count(count, 'statement')} of the workload", reason=reason, decisive=False)
    if rest := sum(count for _, count in reasons[MOST_REASONS:]):
        what = f"{_count(rest, 'more statement')} of the workload"
        yield Unmeasured(what=what, reason="for other reasons, which the JSON has", decisive=False)
    for role, reason in found.planned_as_another.items():
        yield Unmeasured(what=f"whether {role} still has the rights for its queries", reason=reason, decisive=False)


def find_query_findings(found: WorkloadComparison | None) -> tuple[Finding, ...]:
    """One finding per error of the server, per index that is gone, and per query that is slower or gives otherwise."""
    if found is None:
        return ()
    return (*_broken(found), *_indexes_lost(found), *_slower(found), *_results_changed(found))


def _broken(found: WorkloadComparison) -> Iterator[Finding]:
    by_error: dict[str, list[QueryComparison]] = {}
    for each in found.queries:
        if each.verdict is QueryVerdict.BROKEN and each.refusal is not None:
            by_error.setdefault(str(each.refusal), []).append(each)
    for error, queries in by_error.items():
        # Sent once since the counters began: a person, or an earlier migration, rather than the application.
        once = all(each.query.calls == 1 for each in queries) and found.origin == COUNTED_BY_PRODUCTION
        yield Finding(
            hazard="query-breaks",
            classes=(HazardClass.BREAKS_RUNNING_APP,),
            level=Level.WARNING if once else Level.ERROR,
            message=f"{_count(len(queries), 'query', 'queries')} of {found.origin} worked before and "
            f"{'fails' if len(queries) == 1 else 'fail'} after: {error}: {_listed(queries)}"
            + ("; sent only once" if once else ""),
            remedy=DEPLOY_FIRST,
            evidence=Evidence.OBSERVED,
            measured=_measured(queries),
        )


def _indexes_lost(found: WorkloadComparison) -> Iterator[Finding]:
    by_index: dict[str, list[QueryComparison]] = {}
    for each in found.queries:
        for index in each.indexes_lost:
            by_index.setdefault(index, []).append(each)
    for index, queries in by_index.items():
        worst = max(queries, key=lambda each: each.cost_ratio)
        yield Finding(
            hazard="index-in-use-dropped",
            classes=(HazardClass.BREAKS_RUNNING_APP,),
            level=min((_level_of(each) for each in queries), key=list(Level).index),
            message=f"the index {index} is gone, and {_count(len(queries), 'query', 'queries')} of {found.origin} "
            f"used it: {_listed(queries)}; {_told_change(worst)}",
            remedy=NEW_INDEX,
            evidence=Evidence.OBSERVED,
            relation=found.index_tables.get(index),
            measured=_measured(queries) | _figures(worst),
        )


def _slower(found: WorkloadComparison) -> Iterator[Finding]:
    slower = [each for each in found.queries if each.verdict is QueryVerdict.SLOWER and not each.indexes_lost]
    for each in slower[:MOST_FINDINGS]:
        yield Finding(
            hazard="query-slower",
            classes=(HazardClass.BREAKS_RUNNING_APP,),
            level=_level_of(each),
            message=f"a query of {found.origin} gets slower: {_told_change(each)}: {_listed([each])}",
            remedy=LOOK_AT_PLAN,
            evidence=Evidence.OBSERVED,
            measured=_measured([each]) | _figures(each),
        )


def _results_changed(found: WorkloadComparison) -> Iterator[Finding]:
    by_change: dict[tuple[str, ...], list[QueryComparison]] = {}
    for each in found.queries:
        if each.result_changes:
            by_change.setdefault(each.result_changes, []).append(each)
    for changes, queries in list(by_change.items())[:MOST_FINDINGS]:
        yield Finding(
            hazard="query-result-changes",
            classes=(HazardClass.BREAKS_RUNNING_APP,),
            level=Level.WARNING,
            message=f"{_count(len(queries), 'query', 'queries')} of {found.origin} still "
            f"{'runs' if len(queries) == 1 else 'run'}, with another result: {'; '.join(changes)}: {_listed(queries)}",
            remedy=READ_BY_NAME,
            evidence=Evidence.OBSERVED,
            measured=_measured(queries),
        )


def _level_of(each: QueryComparison) -> Level:
    """What was timed counts; what is only estimated is a warning, and an index that nobody misses is told."""
    if each.verdict is not QueryVerdict.SLOWER:
        return Level.INFO
    ran = each.executed
    if ran is None or ran.before_ms is None:
        return Level.WARNING
    return Level.ERROR if ran.after_ms is None or ran.after_ms - ran.before_ms >= NOTICED_MS else Level.WARNING


def _told_change(each: QueryComparison) -> str:
    ran = each.executed
    if ran is not None and ran.before_ms is not None:
        after = "longer than the limit" if ran.after_ms is None else f"{ran.after_ms:,.1f} ms"
        return f"{ran.before_ms:,.1f} ms before, {after} after"
    if each.before is None or each.after is None:
        return "not planned after"
    return f"estimated cost {each.before.cost:,.0f} before, {each.after.cost:,.0f} after"


def _figures(each: QueryComparison) -> dict[str, Measured]:
    figures: dict[str, Measured] = {}
    if each.before is not None and each.after is not None:
        figures |= {"cost_before": round(each.before.cost, 2), "cost_after": round(each.after.cost, 2)}
    if each.executed is not None:
        figures |= {"before_ms": each.executed.before_ms, "after_ms": each.executed.after_ms}
    return figures


def _measured(queries: Sequence[QueryComparison]) -> dict[str, Measured]:
    calls = [each.query.calls for each in queries if each.query.calls is not None]
    return {"queries": len(queries), **({"calls": sum(calls)} if calls else {})}


def _listed(queries: Sequence[QueryComparison]) -> str:
    shown = [_short(each) for each in queries[:SHOWN_QUERIES]]
    rest = len(queries) - len(shown)
    return " | ".join(shown) + (f" and {rest:,} more" if rest > 0 else "")


def _short(each: QueryComparison) -> str:
    line = " ".join(each.query.statement.text.split())
    calls = f" ({_count(each.query.calls, 'call')})" if each.query.calls is not None else ""
    return (line if len(line) <= SHOWN_WIDTH else line[: SHOWN_WIDTH - 1] + "…") + calls


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"

"""What the traces of a table claim to have been found again: never more than came to where it was found."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from pgrehearse.data.table_loss import PoolResult
from pgrehearse.data.trace_links import Place
from pgrehearse.data.verdicts import ColumnLoss, ColumnVerdict, TableLoss, Trace, Traced


def was_dropped(column: ColumnLoss) -> bool:
    """With values in it."""
    return column.verdict is ColumnVerdict.DROPPED and bool(column.values_lost)


def with_traces(fact: TableLoss, traces: list[Trace]) -> TableLoss:
    """What is told of the table, with how much of what is gone was found again."""
    found_rows = sum(each.found for each in traces if each.proved and each.what is Traced.ROWS)
    rows_moved = min(fact.rows_lost, found_rows)
    columns = []
    for column in fact.columns:
        lost, moved = column.values_lost or 0, 0
        if fact.name_after is None and rows_moved:
            moved = max(0, lost - (fact.rows_lost - rows_moved))  # each row not found may have held a value
        for each in traces:
            if each.proved and each.what is Traced.VALUES and column.name in each.columns and was_dropped(column):
                # Merged with others: each one not found may have held a value of every column.
                alone = len(each.columns) == 1
                moved = min(lost, each.found) if alone else max(0, lost - (each.sought - each.found))
        columns.append(replace(column, values_moved=moved))
    return replace(fact, rows_moved=rows_moved, columns=tuple(columns), traces=tuple(traces))


def without_contested(results: Sequence[PoolResult], places: Sequence[Place]) -> list[PoolResult]:
    """The results, where of rows that several tables claim none is taken for found again in any."""
    claimed = [
        (number, trace) for number, result in enumerate(results) for fact in result.tables for trace in fact.traces
    ]
    contested = frozenset(_contested(claimed, places))
    return [
        replace(result, tables=tuple(_without_claims(fact, contested) for fact in result.tables)) for result in results
    ]


def _contested(claimed: Iterable[tuple[int, Trace]], places: Iterable[Place]) -> Iterator[str]:
    """Places that gained fewer rows than several tables claim: equal rows were lost in these."""
    claims: dict[str, Counter[int]] = {}
    for number, trace in claimed:
        if trace.proved and trace.what is Traced.ROWS:
            claims.setdefault(trace.into, Counter())[number] += trace.found
    for place in places:
        found = claims.get(place.table.name, Counter())
        if len(found) > 1 and place.rows_are_new and found.total() > place.rows_gained:
            yield place.table.name


def _without_claims(fact: TableLoss, contested: frozenset[str]) -> TableLoss:
    if not any(trace.proved and trace.what is Traced.ROWS and trace.into in contested for trace in fact.traces):
        return fact
    reason = "rows of other tables were lost that are equal to them, too"
    traces = [
        replace(each, proved=False, reason=reason)
        if each.proved and each.what is Traced.ROWS and each.into in contested
        else each
        for each in fact.traces
    ]
    return with_traces(fact, traces)

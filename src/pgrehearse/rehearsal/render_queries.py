"""The application's queries as a table: before and after, worst first."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SHOWN_QUERIES = 20
SQL_WIDTH = 72
HEAD = ("query", "verdict", "calls", "cost before", "cost after", "ms before", "ms after", "what")
CALM = "unchanged"
STYLES = {"broken": "red", "slower": "yellow", "index-lost": "yellow", "result-changed": "yellow"}

Query = Mapping[str, Any]


def query_rows(queries: Sequence[Query]) -> list[tuple[str, ...]]:
    """One row per query that is not unchanged, in the document's order."""
    return [_row(query) for query in queries if query["verdict"] != CALM or query["one_of_n"]]


def query_summary(queries: Sequence[Query]) -> str | None:
    """How many there are of each verdict; None without any."""
    counts: dict[str, int] = {}
    for query in queries:
        counts[query["verdict"]] = counts.get(query["verdict"], 0) + 1
    return ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()) or None


def _row(query: Query) -> tuple[str, ...]:
    executed = query["executed"] or {}
    return (
        _short(query["sql"]),
        query["verdict"],
        "" if query["calls"] is None else f"{query['calls']:,}",
        _cost(query["before"]),
        _cost(query["after"]),
        _ms(executed, "before_ms"),
        _ms(executed, "after_ms"),
        "; ".join(_what(query)),
    )


def _what(query: Query) -> list[str]:
    parts = []
    if query["error"]:
        parts.append(f"{query['error']['message']} (SQLSTATE {query['error']['sqlstate']})")
    if query["indexes_lost"]:
        parts.append(f"lost {', '.join(query['indexes_lost'])}")
    parts += query["result_changes"]
    if query["before"] and query["after"] and query["before"]["shape"] != query["after"]["shape"]:
        parts.append(f"{_first_difference(query['before']['shape'], query['after']['shape'])}")
    parts += [query[key] for key in ("reason", "not_executed") if query[key]]
    if query["one_of_n"]:
        parts.append("likely N+1")
    return parts


def _first_difference(before: Sequence[str], after: Sequence[str]) -> str:
    pairs = zip([*before, *[""] * len(after)], [*after, *[""] * len(before)], strict=False)
    old, new = next((one, other) for one, other in pairs if one != other)
    return f"{old.strip() or 'nothing'} -> {new.strip() or 'nothing'}"


def _cost(plan: Mapping[str, Any] | None) -> str:
    return "" if plan is None else f"{plan['cost']:,.0f}"


def _ms(executed: Mapping[str, Any], key: str) -> str:
    if not executed:
        return ""
    return "too long" if executed[key] is None else f"{executed[key]:,.1f}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SQL_WIDTH else line[: SQL_WIDTH - 1] + "…"


def query_lines(queries: Sequence[Query]) -> Iterator[tuple[str, str]]:
    """The table for a terminal: each line with its style."""
    rows = query_rows(queries)
    if not rows:
        return
    yield f"  {'verdict':<16} {'calls':>11} {'cost':>21} {'ms':>21}", "dim"
    for sql, verdict, calls, *figures, what in rows[:SHOWN_QUERIES]:
        costs, times = _arrow(*figures[:2]), _arrow(*figures[2:])
        yield f"  {verdict:<16} {calls:>11} {costs:>21} {times:>21}  {sql}", STYLES.get(verdict, "")
        if what:
            yield f"{'':30}{what}", "dim"
    if (rest := len(rows) - SHOWN_QUERIES) > 0:
        yield f"  … and {rest:,} more; all of them are in the JSON", "dim"


def _arrow(before: str, after: str) -> str:
    return f"{before} -> {after}" if after else before

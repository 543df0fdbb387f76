"""The run under traffic, and the forecast for production, as lines of text and as a table."""

from collections.abc import Mapping
from typing import Any

from pgrehearse.counted import agree, counted

HEAD = ("what", "kind", "sent", "longest ms", "p99 ms before", "p99 ms", "errors")
NOTHING = "nothing that the plan locks would hold anybody up: no second run"
SHOWN = 12


def contention_title(contention: Mapping[str, Any]) -> str:
    return f"Contention ({contention['level']})"


def contention_told(contention: Mapping[str, Any]) -> list[str]:
    """Sentences about it; none where it was not measured, which is told there, or in a receipt from before it was."""
    if contention.get("outcome") == "nothing-to-contend-for":
        return [NOTHING]
    if contention.get("outcome") != "measured":
        return []
    them = agree(contention["sessions"], "it", "them")
    told = [
        f"{counted(contention['sessions'], 'session')}: the plan took {_ms(contention['under_traffic_ms'])}, "
        f"{_ms(contention['quiet_ms'])} without {them}; the longest stall was {_ms(contention['longest_stall_ms'])}"
    ]
    if contention["plan_waited_ms"] is not None:
        queue = contention["longest_queue"]
        reader = f", a reader's {_ms(contention['reader_ms'])} among it" if contention["reader_ms"] else ""
        told.append(
            f"it waited {_ms(contention['plan_waited_ms'])} for its own locks"
            + (reader if contention["plan_waited_ms"] >= contention["reader_ms"] else "")
            + (f"; meanwhile {queue} stood in the queue behind it" if queue else "; nobody queued behind it meanwhile")
        )
    if contention["deadlocks"] or contention["lock_timeouts"]:
        gave_way = counted(contention["lock_timeouts"], "time")
        told.append(f"{counted(contention['deadlocks'], 'deadlock')}; it gave way {gave_way}")
    if contention["plan_error"]:
        told.append(f"it did not run through: {contention['plan_error']}")
    return told


def contention_rows(contention: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """One row per relation and kind of statement, the longest stall first."""
    traffic = sorted(contention.get("traffic", []), key=lambda each: -(each["longest_ms"] or 0))
    return [
        (
            each["what"],
            each["kind"],
            f"{each['sent']:,}",
            _figure(each["longest_ms"]),
            _figure(each["p99_before_ms"]),
            _figure(each["p99_ms"]),
            "; ".join(f"{error['count']:,} x {error['message']} ({error['sqlstate']})" for error in each["errors"]),
        )
        for each in traffic[:SHOWN]
    ]


def contention_lines(contention: Mapping[str, Any]) -> list[str]:
    """For a terminal."""
    rows = contention_rows(contention)
    if not rows:
        return []
    width = max(len(row[0]) for row in rows)
    return [
        (
            f"{what:<{width}}  {kind:<11}  {sent:>6} sent  longest {longest:>9} ms  "
            f"p99 {before:>7} -> {p99:>9} ms  {errors}"
        ).rstrip()
        for what, kind, sent, longest, before, p99, errors in rows
    ]  # fmt: skip


def forecast_told(contention: Mapping[str, Any]) -> list[str]:
    """One sentence per lock."""
    forecast = contention.get("forecast")
    if not forecast or forecast["outcome"] != "measured":
        return []
    return [_lock_told(each, forecast) for each in forecast["locks"]]


def _lock_told(lock: Mapping[str, Any], forecast: Mapping[str, Any]) -> str:
    counted = forecast["counted_by"] == "pg_stat_statements"
    reads, writes = ("reads", "writes") if counted else ("scans", "rows written")
    parts = [f"{lock['writes_per_s']:,.0f} {writes}/s"]
    if lock["blocks_reads"]:
        parts.insert(0, f"{lock['reads_per_s']:,.0f} {reads}/s")
    return (
        f"holds {lock['mode'].removesuffix('Lock')} on {lock['relation']} for {lock['held_ms'] / 1000:,.1f} s on the "
        f"clone; production does {' and '.join(parts)} there: about {_about(lock['would_wait'])} "
        f"{'statements' if counted else 'of them'} would wait"
    )


def forecast_title(contention: Mapping[str, Any]) -> str:
    forecast = contention["forecast"]
    return f"Forecast for production (by {forecast['counted_by']} over {forecast['sampled_s']:.1f} s)"


def _about(number: float) -> str:
    """Two figures of it; what is only estimated has no more."""
    if number < 100:
        return f"{number:,.0f}"
    digits = len(str(int(number))) - 2
    return f"{round(number / 10**digits) * 10**digits:,}"


def _ms(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value / 1000:,.2f} s" if value >= 1000 else f"{value:,.0f} ms"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"

"""Whether a receipt still speaks of this database: identity, settings, age, and how far the data has moved."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pgrehearse.data.sizes import TableSize, read_table_sizes
from pgrehearse.postgres.connect import Connection, fetch_clock, fetch_value
from pgrehearse.postgres.identity import DatabaseIdentity, read_identity
from pgrehearse.rehearsal.settings import StartingSettings
from pgrehearse.release.gate import Reason, ReasonKind

# They bound waiting, warn only, or decide whether a statement runs, not what it does.
SETTINGS_THAT_DO_NOT_MATTER = frozenset({
    "default_transaction_deferrable", "default_transaction_read_only",  # a fence sets it
    "escape_string_warning", "lock_timeout", "max_locks_per_transaction", "server_version", "statement_timeout",
    "transaction_timeout",
})  # fmt: skip
OF_A_REPLICA = (
    "Rehearse again.  A replica's clone is as old as the last commit that it had replayed, unless its user may see how "
    "far the primary has written: GRANT pg_read_all_stats."
)
_SPACE = r"(?:\s|/\*.*?\*/|--[^\n]*\n)+"
SETS_FOR_LATER = re.compile(
    rf"\bALTER{_SPACE}(?:DATABASE|ROLE|USER|SYSTEM)\b[^;]*?\b(?:SET|RESET){_SPACE}"
    rf"(TIME{_SPACE}ZONE\b|XML{_SPACE}OPTION\b|%|[\w.\"]+)",
    re.IGNORECASE | re.DOTALL,
)
WRITTEN_OTHERWISE = {"time": "timezone", "xml": "xmloption", "schema": "search_path", "all": None, "%": None}
POSITION = """
SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
            ELSE pg_catalog.pg_current_wal_insert_lsn() END::pg_catalog.text
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far production may have moved since the clone was taken."""

    max_age: timedelta = timedelta(hours=24)
    max_change: float = 0.2  # of a touched table's rows or bytes, as a share
    spared_rows: int = 10_000  # a small table may grow by this many whatever the share
    spared_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductionNow:
    """What the gate compares the receipt with.  Read without writing anything."""

    identity: DatabaseIdentity
    lsn: str | None
    at: datetime  # the server's clock
    settings: StartingSettings  # of the role that would promote
    sizes: Mapping[str, TableSize]


def read_production(session: Connection, settings: StartingSettings) -> ProductionNow:
    """Some four queries; ACCESS SHARE on one table at a time.  ``settings``: read where the plan would run."""
    return ProductionNow(
        identity=read_identity(session),
        lsn=fetch_value(session, POSITION),
        at=fetch_clock(session),
        settings=settings,
        sizes=read_table_sizes(session),
    )


def judge_identity(document: Mapping[str, Any], now: ProductionNow, *, role: str) -> list[Reason]:
    """This very database: a base backup or a branch has the same identifiers, but not a later position in the WAL."""
    source, identity = document["source"], now.identity
    system = None if identity.system_identifier is None else str(identity.system_identifier)
    differing = [
        f"{what}: the receipt has {then}, here it is {here}"
        for what, then, here in (
            ("system identifier", source["system_identifier"], system),
            ("database oid", source["database_oid"], identity.database_oid),
            ("database", source["database"], identity.database),
        )
        if then != here
    ]
    if system is None and source["system_identifier"] is None and source["address"] != identity.address:
        differing.append(f"neither tells its system identifier, and {source['address']} is not {identity.address}")
    if not differing and _is_behind(source["lsn"], now.lsn):
        differing.append(f"position in the WAL: the receipt has {source['lsn']}, here it is only {now.lsn}")
    reasons = []
    if identity.in_recovery:
        reasons.append(
            Reason(
                kind=ReasonKind.IDENTITY,
                message=f"{identity.address} is a standby: nothing can be promoted to it",
                remedy="Give the address of the primary, after a failover of the new one.",
            )
        )
    if differing:
        reasons.append(
            Reason(
                kind=ReasonKind.IDENTITY,
                message="this is not the database that was cloned",
                remedy="Rehearse with this database as the source, or point the environment at the one that was.",
                details=tuple(differing),
            )
        )
    major = int(source["server_version"].split(".")[0])
    if major != identity.major:
        reasons.append(
            Reason(
                kind=ReasonKind.GRADE,
                message=f"rehearsed for PostgreSQL {major}, and production runs {identity.major} now",
                remedy="Rehearse again on the new major version.",
            )
        )
    if document["role"] != role:
        reasons.append(
            Reason(
                kind=ReasonKind.ROLE,
                message=f"rehearsed as {document['role']}, and the promotion would run as {role}",
                remedy=f"Give the environment a URL that logs in as {document['role']}, or rehearse as {role}.",
            )
        )
    return reasons


def judge_age(document: Mapping[str, Any], at: datetime, bounds: Bounds) -> list[Reason]:
    """Whether the clone was taken not too long before ``at``, by production's clock."""
    taken_at = datetime.fromisoformat(document["source"]["taken_at"])
    age = at - taken_at
    if age > bounds.max_age or age < -timedelta(minutes=5):
        return [
            Reason(
                kind=ReasonKind.AGE,
                message=f"the clone was taken {_hours(age)} ago, and the limit is {_hours(bounds.max_age)}"
                if age > bounds.max_age
                else f"the clone was taken {_hours(-age)} in the future by production's clock",
                remedy="Rehearse again." if not document["source"].get("is_replica") else OF_A_REPLICA,
            )
        ]
    return []


def judge_freshness(
    document: Mapping[str, Any],
    now: ProductionNow,
    bounds: Bounds,
    touched: Iterable[str],
    *,
    partly_applied: bool = False,
) -> tuple[list[Reason], list[str]]:
    """Age, settings that matter, and the size of what the plan touches; told: what moved within the bounds.

    ``partly_applied``: what the plan itself sets for later sessions is told as not compared.
    """
    reasons = judge_age(document, now.at, bounds)
    found, not_recorded = _compare_settings(document["receipt"], now.settings)
    by_plan = found.keys() & _set_by(document["statements"], found) if partly_applied else frozenset()
    differing = [line for name, line in found.items() if name not in by_plan]
    not_recorded += [f"{found[name]}; not compared, for the plan sets it" for name in found if name in by_plan]
    if differing:
        reasons.append(
            Reason(
                kind=ReasonKind.SETTINGS,
                message="production's settings are not those that the plan was rehearsed under",
                remedy="Set them back, or rehearse again.",
                details=tuple(differing),
            )
        )
    grown, told = _compare_sizes(document, now, bounds, touched)
    if grown:
        reasons.append(
            Reason(
                kind=ReasonKind.CHANGED,
                message="what the plan touches has changed beyond the bounds since the clone was taken",
                remedy="Rehearse again, or widen promotion.max_change_percent.",
                details=tuple(grown),
            )
        )
    return reasons, [*not_recorded, *told]


def _compare_settings(receipt: Mapping[str, Any], now: StartingSettings) -> tuple[dict[str, str], list[str]]:
    """By name what differs; and what cannot be compared: an earlier version made the receipt, or nobody saw it then.

    A custom parameter is told without its values: they may be secrets.
    """
    then = receipt["settings"]
    here = {name: value for name, value in now.settings.items() if name not in SETTINGS_THAT_DO_NOT_MATTER}
    differing = {
        name: f"{name}: {then[name]} then, {here[name]} now"
        for name in sorted(here.keys() & then.keys())
        if here[name] != then[name]
    }
    unknown = sorted(here.keys() - then.keys())
    parameters = receipt.get("parameters")
    if parameters is None:  # of an earlier version
        unknown += sorted(now.parameters)
    else:
        digests = parameters["digests"]
        for name in sorted({*digests, *now.parameters}):
            if name in digests and digests[name] != now.parameters.get(name):
                what = "another value now" if name in now.parameters else "set then, not set now"
                differing[name] = f"{name}: {what}"
            elif name not in digests and (parameters["listed"] or name in now.mentioned):
                differing[name] = f"{name}: not set then, set now"
    told = {
        "the receipt does not have them": unknown,
        "nothing tells them now": sorted(then.keys() - now.settings.keys() - SETTINGS_THAT_DO_NOT_MATTER),
    }
    return differing, [f"not compared, since {why}: {', '.join(names)}" for why, names in told.items() if names]


def _set_by(statements: Iterable[Mapping[str, Any]], names: Iterable[str]) -> frozenset[str]:
    """Of these settings, those that the statements, or strings in them, set for later sessions.

    All of them by RESET ALL, and where a string has a place for the name.
    """
    written = [found for statement in statements for found in SETS_FOR_LATER.findall(statement["sql"])]
    words = {word.replace('"', "").lower().split()[0].partition("/*")[0].partition("--")[0] for word in written}
    found = {WRITTEN_OTHERWISE.get(word, word) for word in words}
    return frozenset(name for name in names if None in found or name.lower() in found)


def _compare_sizes(
    document: Mapping[str, Any], now: ProductionNow, bounds: Bounds, touched: Iterable[str]
) -> tuple[list[str], list[str]]:
    refused, told = [], []
    then = {name: TableSize.from_json(size) for name, size in document["receipt"]["table_sizes"].items()}
    counted = {table["name"]: table["rows_before"] for table in document["tables"]}
    of_replica = document["source"].get("is_replica", False)
    for name in sorted(set(touched) & set(then) & set(now.sizes)):
        old, new = then[name], now.sizes[name]
        # The rehearsal has counted: that tells more than no estimate then, and, where ANALYZE has made one since, than
        # an estimate of then which it may have put right.
        if old.rows is None or (new.is_analysed and new.rows != old.rows and counted.get(name) is not None):
            old = replace(old, rows=counted.get(name))
        rows, size, writes = _rows_between(old, new), new.size_bytes - old.size_bytes, new.writes - old.writes
        shown = "rows not known (the server has no estimate)" if rows is None else f"{rows:+,} rows by estimate"
        if of_replica:  # its own counters have seen no write at all
            writes, since = 0, "writes not known (the clone was taken of a replica, which does not count them)"
        else:
            since = f"{writes:,} writes" if writes >= 0 else "writes not known (statistics reset)"
        text = f"{name}: {shown}, {size:+,} bytes, {since}"
        if (
            (rows is not None and abs(rows) > max(bounds.spared_rows, bounds.max_change * (old.rows or 0)))
            or abs(size) > max(bounds.spared_bytes, bounds.max_change * old.size_bytes)
        ):  # fmt: skip
            refused.append(text)
        elif rows is None and not size and not writes:
            told.append(f"not compared with when the clone was taken: {text}")
        elif rows is None or rows or size or writes:
            told.append(f"changed since the clone was taken, within the bounds: {text}")
    return refused, told


def _rows_between(old: TableSize, new: TableSize) -> int | None:
    """None where one side has no estimate, or only what the statistics have counted since they were lost.

    Every row was once an insert, so fewer writes than rows tell that they were.
    """
    if old.rows is None or new.rows is None:
        return None
    if not new.is_analysed and new.writes < max(old.writes, old.rows):
        return None
    return new.rows - old.rows


def _is_behind(then: str | None, now: str | None) -> bool:
    return then is not None and now is not None and _position(now) < _position(then)


def _position(lsn: str) -> int:
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def _hours(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"

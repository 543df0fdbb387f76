"""Standbys, slots, publications and subscriptions: whom a promotion holds up, cancels or breaks downstream.

What cannot be read (a managed host shows its own replication to nobody) is told as not measured, never as fine.
"""

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.identity import read_identity
from pgrehearse.postgres.locks import LockMode
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
GIGABYTE = 1024**3
STATEMENT_TIMEOUT_MS = 10_000
NO_RIGHT = "GRANT pg_monitor to the promoting role, and try again."


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyBounds:
    """Beyond these a promotion is refused; below them it is told."""

    max_replay_lag_s: float = 60.0
    max_replay_lag_gb: float = 1.0  # the server's own lag in seconds stands still while replay does
    max_retained_wal_gb: float = 50.0  # behind any slot
    max_cancelled_s: float = 60.0  # a query on a standby that is older than this is not to be cancelled
    min_free_gb: float = 2.0  # what the forecast WAL must leave of the disk, where that is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """One receiver of this server's WAL, as `pg_stat_replication` shows it."""

    name: str  # its application_name, and where from
    state: str | None  # None: the role may not see it
    sync_state: str | None
    lag_bytes: int | None
    lag_s: float | None  # None: caught up, or not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One replication slot of the server."""

    name: str
    kind: str  # physical, logical
    is_active: bool
    database: str | None
    wal_status: str | None  # reserved, extended, unreserved, lost
    spare_bytes: int | None  # WAL that may still be written before it is given up (max_slot_wal_keep_size)
    retained_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbyQuery:
    """A transaction on a standby that the plan's locks would meet there."""

    standby: str
    pid: int
    relations: tuple[str, ...]
    age_s: float | None  # None: the role may not see it


@dataclass(frozen=True, slots=True, kw_only=True)
class StandbySelf:
    """What a standby says of itself, through a session of its own."""

    name: str  # host/database
    lag_s: float | None
    is_paused: bool
    cancels_after_ms: int  # max_standby_streaming_delay; -1: replay waits for queries for ever
    queries: tuple[StandbyQuery, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standbys:
    """All of it, at one moment."""

    standbys: tuple[Standby, ...] = ()
    slots: tuple[Slot, ...] = ()
    asked: tuple[StandbySelf, ...] = ()
    commit_waits: bool = False  # synchronous_standby_names, and a synchronous_commit that heeds it
    publications: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # relations of the plan, by publication
    subscriptions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    forecast_wal_bytes: int | None = None  # what the rewritten tables alone will write
    free_bytes: int | None = None  # of the disk that holds the WAL
    not_measured: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "standbys": [
                {"name": each.name, "state": each.state, "sync_state": each.sync_state, "lag_bytes": each.lag_bytes,
                 "lag_s": each.lag_s}
                for each in self.standbys
            ],
            "slots": [
                {"name": each.name, "kind": each.kind, "active": each.is_active, "wal_status": each.wal_status,
                 "retained_bytes": each.retained_bytes, "spare_bytes": each.spare_bytes}
                for each in self.slots
            ],
            "publications": {name: list(relations) for name, relations in self.publications.items()},
            "subscriptions": {name: list(relations) for name, relations in self.subscriptions.items()},
            "forecast_wal_bytes": self.forecast_wal_bytes,
            "free_bytes": self.free_bytes,
            "not_measured": list(self.not_measured),
        }  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One thing to know, and whether it stops a promotion."""

    sentence: str
    refused: bool = False
    remedy: str = ""


def read_standbys(session: Connection, document: Mapping[str, Any], *, standbys: Sequence[Connection] = ()) -> Standbys:
    """Ask production, and each standby that ``standbys`` leads to, about replication; reads catalogs and views alone.

    ``document`` is the receipt: which tables its plan touches, locks ACCESS EXCLUSIVE and rewrites.  ``session`` may
    be in a transaction; ``standbys`` are autocommit sessions in the same database on the standbys.  Some ten small
    queries, no lock beyond ACCESS SHARE on catalogs.
    """
    plan = _Plan.of(document)
    reading = _Reading(session)
    found = tuple(_standby(row) for row in reading.rows("standbys", "standbys"))
    not_measured = reading.not_measured
    slots = tuple(_slot(row) for row in reading.rows("slots", "replication slots"))
    touched = {"touched": sorted(plan.touched)}
    published = reading.rows("published", "publications", touched)
    subscribed = reading.rows("subscribed", "subscriptions", touched)
    synchronous = reading.rows("synchronous", "synchronous replication")
    forecast = reading.rows("rewritten", "the size of rewritten tables", {"rewritten": sorted(plan.rewritten)})
    asked = []
    for standby in standbys:
        told = _ask_standby(standby, session, plan)
        if isinstance(told, str):
            not_measured.append(told)
        else:
            asked.append(told)
    return Standbys(
        standbys=found,
        slots=slots,
        asked=tuple(asked),
        commit_waits=bool(synchronous and synchronous[0][0]),
        publications={name: tuple(relations) for name, relations in published},
        subscriptions={name: tuple(relations) for name, relations in subscribed},
        forecast_wal_bytes=forecast[0][0] if forecast else None,
        free_bytes=_find_free_bytes(reading),
        not_measured=tuple(not_measured),
    )


def judge_standbys(found: Standbys, bounds: StandbyBounds) -> tuple[Judged, ...]:
    """What to tell and what refuses.  Pure."""
    return (
        *_judge_receivers(found, bounds),
        *_judge_slots(found, bounds),
        *_judge_queries(found, bounds),
        *_judge_order(found),
        *_judge_disk(found, bounds),
        *(Judged(sentence=f"not measured: {each}") for each in found.not_measured),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    touched: frozenset[str]
    exclusive: frozenset[str]
    rewritten: frozenset[str]

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "_Plan":
        statements = document["statements"]
        locks = [(name, mode) for statement in statements for name, mode in statement["locks"].items()]
        changed = {table["name"] for table in document["tables"] if table["name"] and table["verdict"] != "unchanged"}
        return cls(
            touched=frozenset(name for name, _ in locks) | changed,
            exclusive=frozenset(name for name, mode in locks if mode == LockMode.ACCESS_EXCLUSIVE.value),
            rewritten=frozenset(name for statement in statements for name in statement["rewrites"]),
        )


class _Reading:
    """Questions of which each may be refused by the server without taking the others with it."""

    def __init__(self, session: Connection) -> None:
        self.session = session
        self.not_measured: list[str] = []

    def rows(self, query: str, what: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        try:
            with self.session.transaction(force_rollback=True):
                self.session.execute("SET TRANSACTION READ ONLY")
                self.session.execute(
                    "SELECT pg_catalog.set_config('statement_timeout', %s, true)", (str(STATEMENT_TIMEOUT_MS),)
                )
                return self.session.execute(QUERIES[query], parameters).fetchall()
        except psycopg.Error as error:
            if self.session.closed or error.sqlstate is None:
                raise
            self.not_measured.append(f"{what}: {error.diag.message_primary}")
            return []


def _standby(row: tuple[Any, ...]) -> Standby:
    name, address, state, sync_state, lag_bytes, lag_s = row
    shown = f"{name or 'a standby'}{f' at {address}' if address else ''}"
    return Standby(name=shown, state=state, sync_state=sync_state, lag_bytes=lag_bytes, lag_s=lag_s)


def _slot(row: tuple[Any, ...]) -> Slot:
    name, kind, active, database, status, spare, retained = row
    return Slot(
        name=name,
        kind=kind,
        is_active=active,
        database=database,
        wal_status=status,
        spare_bytes=spare,
        retained_bytes=retained,
    )


def _ask_standby(standby: Connection, primary: Connection, plan: _Plan) -> StandbySelf | str:
    """What it says, or why it was not asked."""
    ours, theirs = read_identity(primary), read_identity(standby)
    if not theirs.in_recovery:
        return f"{theirs.address} is no standby: it is not in recovery"
    same = (ours.system_identifier, ours.database_oid) == (theirs.system_identifier, theirs.database_oid)
    if not same or ours.database != theirs.database:
        return f"{theirs.address} is no standby of this database"
    reading = _Reading(standby)
    answer = reading.rows("on_a_standby", "its replay")
    queries = reading.rows("in_the_way", "its queries", {"exclusive": sorted(plan.exclusive)})
    if reading.not_measured:
        return f"standby {theirs.address}: {'; '.join(reading.not_measured)}"
    _, lag_s, is_paused, delay = answer[0]
    return StandbySelf(
        name=theirs.address,
        lag_s=lag_s,
        is_paused=is_paused,
        cancels_after_ms=delay,
        queries=tuple(
            StandbyQuery(standby=theirs.address, pid=pid, relations=tuple(relations), age_s=age)
            for pid, relations, age in queries
        ),
    )


def _find_free_bytes(reading: _Reading) -> int | None:
    """Of the WAL's disk, where the server is on this machine and lets us look: elsewhere SQL cannot tell."""
    known = len(reading.not_measured)
    rows = reading.rows("data_directory", "the disk")
    del reading.not_measured[known:]  # an ordinary role may not ask, and need not
    if not rows:
        return None
    directory, started = Path(rows[0][0]), rows[0][1]
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The same path may exist on our side of a container's wall: the third line is when its server started.
        lines = (directory / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        if abs(int(lines[2]) - started) <= 2:
            return shutil.disk_usage(directory / "pg_wal").free
    return None


def _judge_receivers(found: Standbys, bounds: StandbyBounds) -> Iterator[Judged]:
    hidden = [each for each in found.standbys if each.state is None]
    if hidden:
        sentence = f"not measured: {len(hidden)} receivers of WAL are there, and this role may not see how far they are"
        yield Judged(sentence=sentence, remedy=NO_RIGHT)
    for each in found.standbys:
        if each.state is None:
            continue
        lag_s = each.lag_s if each.lag_bytes else 0.0
        beyond = (lag_s or 0.0) > bounds.max_replay_lag_s or (each.lag_bytes or 0) > bounds.max_replay_lag_gb * GIGABYTE
        if each.lag_bytes is None and each.state != "streaming":
            yield Judged(sentence=f"{each.name} receives WAL, and is in state {each.state}: a backup, or catching up")
        elif beyond:
            yield Judged(
                sentence=f"{each.name} is {_lag(each.lag_bytes, lag_s)} behind; allowed are "
                f"{bounds.max_replay_lag_s:g} s and {bounds.max_replay_lag_gb:g} GB",
                refused=True,
                remedy="Wait until it has caught up, or raise promotion.max_replay_lag_s.",
            )
        else:
            yield Judged(sentence=f"{each.name} is {_lag(each.lag_bytes, lag_s)} behind")
    if found.commit_waits and not any(each.sync_state in ("sync", "quorum") for each in found.standbys) and not hidden:
        yield Judged(
            sentence="synchronous_standby_names asks for a standby that is not there: every COMMIT waits for it",
            refused=True,
            remedy="Bring the synchronous standby back, or change synchronous_standby_names.",
        )
    for standby in found.asked:
        if standby.is_paused:
            yield Judged(
                sentence=f"replay is paused on standby {standby.name}",
                refused=True,
                remedy="SELECT pg_wal_replay_resume() there, or leave the standby out.",
            )
        elif standby.lag_s is not None and standby.lag_s > bounds.max_replay_lag_s:
            yield Judged(
                sentence=f"standby {standby.name} last replayed a transaction of {standby.lag_s:.0f} s ago, and has "
                f"more to replay; allowed are {bounds.max_replay_lag_s:g} s",
                refused=True,
                remedy="Wait until it has caught up, or raise promotion.max_replay_lag_s.",
            )


def _judge_slots(found: Standbys, bounds: StandbyBounds) -> Iterator[Judged]:
    for slot in found.slots:
        shown = f"{slot.kind} slot {slot.name}" + ("" if slot.is_active else ", which nobody uses,")
        retained = slot.retained_bytes or 0
        if slot.wal_status == "lost":
            yield Judged(sentence=f"{shown} is lost: whoever reads from it must be set up anew")
            continue
        if retained > bounds.max_retained_wal_gb * GIGABYTE:
            yield Judged(
                sentence=f"{shown} holds {written_size(retained)} of WAL back; allowed are "
                f"{bounds.max_retained_wal_gb:g} GB",
                refused=True,
                remedy="Let its reader catch up, drop the slot if nobody needs it, "
                "or raise promotion.max_retained_wal_gb.",
            )
        elif slot.spare_bytes is not None and slot.spare_bytes < (found.forecast_wal_bytes or 0):
            yield Judged(
                sentence=f"{shown} is given up after {written_size(max(slot.spare_bytes, 0))} more of WAL "
                f"(max_slot_wal_keep_size), and the rewritten tables alone write "
                f"{written_size(found.forecast_wal_bytes or 0)}",
                refused=True,
                remedy="Let its reader catch up, or raise max_slot_wal_keep_size.",
            )
        elif not slot.is_active or slot.kind == "logical":
            yield Judged(sentence=f"{shown} holds {written_size(retained)} of WAL back")


def _judge_queries(found: Standbys, bounds: StandbyBounds) -> Iterator[Judged]:
    for standby in found.asked:
        for query in standby.queries:
            relations = ", ".join(query.relations)
            age = "for a time that this role may not see" if query.age_s is None else f"for {query.age_s:.0f} s"
            reads = f"process {query.pid} on standby {standby.name} has been reading {relations} {age}"
            if standby.cancels_after_ms < 0:
                yield Judged(sentence=f"{reads}: replay of the plan's lock will wait for it, with all that follows")
            else:
                after_s = standby.cancels_after_ms / 1000
                yield Judged(
                    sentence=f"{reads}: replay of the plan's lock cancels it after {after_s:g} s",
                    refused=query.age_s is None or query.age_s > bounds.max_cancelled_s,
                    remedy="Wait for it or end it, then try again.",
                )
    if found.standbys and not found.asked:
        sentence = "not measured: queries on the standbys that the plan's locks would cancel; no standby's URL is known"
        yield Judged(sentence=sentence)


def _judge_order(found: Standbys) -> Iterator[Judged]:
    for name, relations in found.publications.items():
        yield Judged(
            sentence=f"publication {name} carries {', '.join(relations)}: DDL is not replicated; what is added must be "
            "on the subscribers first, what is dropped goes there last"
        )
    for name, relations in found.subscriptions.items():
        yield Judged(
            sentence=f"subscription {name} writes to {', '.join(relations)}: it stops at the first row that no longer "
            "fits, and while the plan's locks are held"
        )


def _judge_disk(found: Standbys, bounds: StandbyBounds) -> Iterator[Judged]:
    forecast = found.forecast_wal_bytes
    if not forecast:
        return
    what = f"rewritten tables will write about {written_size(forecast)} of WAL"
    if found.free_bytes is None:
        yield Judged(sentence=f"{what}; not measured: how much is free on the server's disk")
        return
    # The new files of the tables stand beside the old ones until COMMIT.
    left = found.free_bytes - 2 * forecast
    if left < bounds.min_free_gb * GIGABYTE:
        yield Judged(
            sentence=f"{what} and as much of new files; free are {written_size(found.free_bytes)}, "
            f"{bounds.min_free_gb:g} GB of which must remain",
            refused=True,
            remedy="Free disk space on the server first.",
        )
    else:
        yield Judged(sentence=f"{what}; free are {written_size(found.free_bytes)}")


def _lag(lag_bytes: int | None, lag_s: float | None) -> str:
    if lag_bytes is None:
        return "an unknown amount"
    return written_size(lag_bytes) + ("" if lag_s is None else f" and {lag_s:.1f} s")


def written_size(size_bytes: int) -> str:
    """As a person reads it: 0 B, 16 MB, 1.5 GB."""
    size = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 10 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TB"

"""What production would feel of the locks that the clone saw: how much it does there per second, times how long.

A forecast, and marked as one: the clone's durations are not production's, and a few seconds are not a day.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any

import pglast.parser
import psycopg
from psycopg import sql

from pgrehearse.errors import PgRehearseError
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.locks import LockMode, strongest
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.queries.statement_text import NotPlannable, find_nodes, find_relations, parse_with_text
from pgrehearse.rehearsal.judge import Unmeasured

QUERIES = named_queries(__file__)
FELT_MS = 100.0  # a lock that is held for less is not asked production about
LOOK_MS = 5_000  # the most that one look at production may take
READ_ONLY = (
    "SELECT pg_catalog.set_config('default_transaction_read_only', 'on', false),"
    " pg_catalog.set_config('statement_timeout', %s, false), pg_catalog.set_config('lock_timeout', %s, false)"
)
COUNTS_OFF = "track_counts is off there: nothing is counted"
STANDBY = "the source is a standby: its counters are of its own readers, and not of the primary's"
RESET = "the counters were reset meanwhile"
CHANGES = ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt")
STATEMENTS = "pg_stat_statements"
TABLES = "pg_stat_user_tables"


class Outcome(Enum):
    MEASURED = "measured"
    NOTHING = "nothing-to-forecast"  # no lock that stops others was held for `FELT_MS`
    NOT_MEASURED = "not-measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLock:
    """A lock that stops others, from the statement that took it to the end of its transaction."""

    relation: str  # by its name before the plan
    mode: LockMode
    file: str
    line: int
    held_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LockForecast:
    """One of them with what production does there."""

    lock: HeldLock
    reads_per_s: float
    writes_per_s: float

    @property
    def would_wait(self) -> float:
        """What is sent while the lock is held, and conflicts with it."""
        rate = self.writes_per_s + (self.reads_per_s if self.lock.mode.blocks_reads else 0.0)
        return rate * self.lock.held_ms / 1000

    def as_json(self) -> dict[str, Any]:
        return {
            "relation": self.lock.relation,
            "mode": self.lock.mode.value,
            "blocks_reads": self.lock.mode.blocks_reads,
            "file": self.lock.file,
            "line": self.lock.line,
            "held_ms": round(self.lock.held_ms, 3),
            "reads_per_s": round(self.reads_per_s, 3),
            "writes_per_s": round(self.writes_per_s, 3),
            "would_wait": round(self.would_wait, 1),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """For every lock that was held long enough to be felt."""

    outcome: Outcome
    reason: str | None = None
    counted_by: str | None = None  # pg_stat_statements: calls; pg_stat_user_tables: scans and rows written
    sampled_s: float | None = None
    locks: tuple[LockForecast, ...] = ()
    not_counted: tuple[str, ...] = ()  # relations whose figures production does not have

    def as_json(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome.value,
            "reason": self.reason,
            "counted_by": self.counted_by,
            "sampled_s": None if self.sampled_s is None else round(self.sampled_s, 3),
            "locks": [each.as_json() for each in self.locks],
            "not_counted": list(self.not_counted),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Production's counters at one moment."""

    at_s: float  # production's own clock
    reset_at: str | None
    tables: Mapping[str, tuple[int, int] | None]  # scans and rows written; None: partitioned, so not counted
    statements: Mapping[int, tuple[str, int]] | None = None  # text and calls, by queryid


def find_held_locks(traces: Sequence[StatementTrace]) -> tuple[HeldLock, ...]:
    """The longest first; what several transactions hold one after the other is added up."""
    found: dict[str, HeldLock] = {}
    for _, group in groupby(enumerate(traces), key=_transaction):
        statements = [trace for _, trace in group]
        for position, trace in enumerate(statements):
            for name, mode in trace.locks.items():
                if mode.blocks_writes and not any(_blocks(each, name) for each in statements[:position]):
                    held_ms = sum(each.duration_ms for each in statements[position:])
                    strong = strongest(None, mode)
                    for each in statements[position:]:
                        strong = strongest(strong, each.locks.get(name, mode))
                    lock = HeldLock(
                        relation=name, mode=strong, file=trace.migration.path, line=trace.statement.line,
                        held_ms=held_ms,
                    )  # fmt: skip
                    found[name] = _added(found.get(name), lock)
    return tuple(sorted(found.values(), key=lambda each: -each.held_ms))


def _transaction(numbered: tuple[int, StatementTrace]) -> int:
    """What ran outside a transaction is one by itself."""
    position, trace = numbered
    return trace.transaction if trace.transaction is not None else -1 - position


def _blocks(trace: StatementTrace, name: str) -> bool:
    mode = trace.locks.get(name)
    return mode is not None and mode.blocks_writes


def _added(before: HeldLock | None, lock: HeldLock) -> HeldLock:
    if before is None:
        return lock
    longer = max(before, lock, key=lambda each: each.held_ms)
    return HeldLock(
        relation=lock.relation, mode=strongest(before.mode, lock.mode), file=longer.file, line=longer.line,
        held_ms=before.held_ms + lock.held_ms,
    )  # fmt: skip


@dataclass(slots=True)
class Forecasting:
    """Reads production's counters twice, with the rest of the rehearsal between.

    Each look is a short read-only session of its own; none is opened where no lock was held long enough to be felt.
    What goes wrong is told as not measured.
    """

    source: Conninfo
    sample_s: float  # at least so long between the two looks
    locks: tuple[HeldLock, ...] = ()
    _first: Reading | None = None
    _looked_at_s: float = 0.0
    _problem: str | None = None

    @classmethod
    def begin(cls, source: Conninfo, traces: Sequence[StatementTrace], *, sample_s: float) -> "Forecasting":
        """After the quiet run, when it is known which locks there are."""
        locks = tuple(lock for lock in find_held_locks(traces) if lock.held_ms >= FELT_MS)
        forecasting = cls(source=source, sample_s=sample_s, locks=locks)
        if locks:
            forecasting._first = forecasting._look()
        return forecasting

    def finish(self) -> Forecast:
        """Waits until ``sample_s`` have passed since the first look, and looks again."""
        if not self.locks:
            return Forecast(outcome=Outcome.NOTHING)
        first = self._first
        if first is None:
            return Forecast(outcome=Outcome.NOT_MEASURED, reason=self._problem)
        time.sleep(max(0.0, self._looked_at_s + self.sample_s - time.monotonic()))
        second = self._look()
        if second is None:
            return Forecast(outcome=Outcome.NOT_MEASURED, reason=self._problem)
        return forecast(self.locks, first, second)

    def _look(self) -> Reading | None:
        self._looked_at_s = time.monotonic()
        try:
            with connect(self.source, verb="forecast") as session:
                limit = str(LOOK_MS)
                session.execute(READ_ONLY, (limit, limit))
                return self._read(session)
        except (PgRehearseError, psycopg.Error) as error:
            self._problem = f"production's counters could not be read: {_told(error)}"
            return None

    def _read(self, session: Connection) -> Reading | None:
        row = session.execute(QUERIES["standing"]).fetchone()
        assert row is not None
        counts, standby, at_s, reset_at = row
        if not counts or standby:
            self._problem = STANDBY if standby else COUNTS_OFF
            return None
        names = [lock.relation for lock in self.locks]
        tables = {
            name: None if partitioned else (scans, written)
            for name, partitioned, scans, written in session.execute(QUERIES["tables"], {"names": names})
        }
        return Reading(at_s=at_s, reset_at=reset_at, tables=tables, statements=read_calls(session))


def read_calls(session: Connection) -> Mapping[int, tuple[str, int]] | None:
    """Text and calls by queryid; None where pg_stat_statements cannot be asked."""
    place = session.execute(QUERIES["extension"]).fetchone()
    if place is None:
        return None
    try:
        view = sql.Identifier(place[0], "pg_stat_statements")
        rows = session.execute(sql.SQL(QUERIES["statements"]).format(view=view)).fetchall()
    except psycopg.Error:  # not preloaded, or not ours to read
        return None
    # Another user's text is hidden from who may not see it: then nobody knows which relations its calls were for.
    if any(text is None or text.startswith("<insufficient privilege>") for _, text, _ in rows):
        return None
    return {queryid: (text, calls) for queryid, text, calls in rows}


def forecast(locks: Sequence[HeldLock], first: Reading, second: Reading) -> Forecast:
    """Pure: what happened between two readings, per second, times how long each lock was held."""
    sampled_s = second.at_s - first.at_s
    if first.reset_at != second.reset_at or sampled_s <= 0:
        return Forecast(outcome=Outcome.NOT_MEASURED, reason=RESET)
    names = {lock.relation for lock in locks}
    known = names & first.tables.keys() & second.tables.keys()
    rates: dict[str, tuple[float, float]] = {}
    by_statements = False
    if first.statements is not None and second.statements is not None and _goes_on(first.statements, second.statements):
        by_statements = True
        rates = _rates_of_statements(first.statements, second.statements, known, sampled_s)
    else:
        for name in known:
            before, after = first.tables[name], second.tables[name]
            if before is None or after is None:
                continue
            (scans, written), (scans_later, written_later) = before, after
            if scans_later < scans or written_later < written:
                return Forecast(outcome=Outcome.NOT_MEASURED, reason=RESET)
            rates[name] = ((scans_later - scans) / sampled_s, (written_later - written) / sampled_s)
    return Forecast(
        outcome=Outcome.MEASURED,
        counted_by=STATEMENTS if by_statements else TABLES,
        sampled_s=sampled_s,
        locks=tuple(
            LockForecast(lock=lock, reads_per_s=rates[lock.relation][0], writes_per_s=rates[lock.relation][1])
            for lock in locks if lock.relation in rates
        ),
        not_counted=tuple(sorted(names - rates.keys())),
    )  # fmt: skip


def _goes_on(first: Mapping[int, tuple[str, int]], second: Mapping[int, tuple[str, int]]) -> bool:
    """Whether nothing was reset or, among many, forgotten: calls that are counted anew would be too few."""
    return all(queryid in second and second[queryid][1] >= calls for queryid, (_, calls) in first.items())


def _rates_of_statements(
    first: Mapping[int, tuple[str, int]], second: Mapping[int, tuple[str, int]], known: set[str], sampled_s: float
) -> dict[str, tuple[float, float]]:
    reads, writes = dict.fromkeys(known, 0), dict.fromkeys(known, 0)
    for queryid, (text, calls) in second.items():
        more = calls - first.get(queryid, (text, 0))[1]
        if more <= 0:
            continue
        try:
            kind, tree, _ = parse_with_text(text)
        except (NotPlannable, pglast.parser.ParseError):
            continue
        written = [tree, *(node for change in CHANGES for node in find_nodes(tree, change))]
        targets = {_name(node["relation"]) for node in written if isinstance(node.get("relation"), dict)}
        targets = targets if kind in CHANGES or len(written) > 1 or tree.get("is_from") else set()
        named = {_name(each) for each in find_relations(tree)}
        for relation in known:
            if any(_is(relation, *each) for each in targets):
                writes[relation] += more
            elif any(_is(relation, *each) for each in named):
                reads[relation] += more
    return {name: (reads[name] / sampled_s, writes[name] / sampled_s) for name in known}


def find_unmeasured_forecast(found: Forecast | None) -> Iterator[Unmeasured]:
    """What production would feel, and could not be reckoned."""
    if found is None:
        return
    if found.outcome is Outcome.NOT_MEASURED:
        yield Unmeasured(what="forecast for production", reason=found.reason or "", decisive=False)
    for name in found.not_counted:
        reason = "production does not count what is done there (a partitioned table's leaves are counted instead)"
        yield Unmeasured(what=f"forecast for {name}", reason=reason, decisive=False)


def _name(node: Mapping[str, Any]) -> tuple[str | None, str]:
    return node.get("schemaname"), str(node.get("relname"))


def _is(relation: str, namespace: str | None, name: str) -> bool:
    """Without a namespace any of that name; which one it is only the search path knows."""
    quoted = {name, '"' + name.replace('"', '""') + '"'}
    if namespace is None:
        return any(relation.endswith(f".{each}") for each in quoted)
    spaces = {namespace, '"' + namespace.replace('"', '""') + '"'}
    return any(relation == f"{space}.{each}" for space in spaces for each in quoted)


def _told(error: Exception) -> str:
    if isinstance(error, psycopg.Error):
        return error.diag.message_primary or type(error).__name__
    return str(error)

"""What a plan does to those who use its relations meanwhile: the facts of its run under traffic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.locks import LockMode, strongest

# Whoever updates the same rows waits for them until the transaction ends, whatever the lock on the table.
CHANGES_ROWS = frozenset({"UpdateStmt", "DeleteStmt", "MergeStmt"})


class ContentionLevel(Enum):
    """How much traffic there is beside the plan."""

    OFF = "off"
    LIGHT = "light"
    HEAVY = "heavy"


class Outcome(Enum):
    """What became of the run under traffic."""

    MEASURED = "measured"
    NOTHING = "nothing-to-contend-for"  # the quiet run locked nothing that others would wait for
    NOT_MEASURED = "not-measured"


class TrafficKind(Enum):
    """What a session of the traffic sends; all but a script's is rolled back."""

    READ = "read"
    WRITE = "write"
    APPLICATION = "application"  # the statements that somebody gave
    SCRIPT = "script"  # a whole transaction of a pgbench script, which is committed


@dataclass(frozen=True, slots=True, kw_only=True)
class Contended:
    """A relation that the quiet run locked so that others would wait."""

    relation: str  # by its name before the plan
    mode: LockMode
    file: str
    line: int
    duration_ms: float  # of the statements that locked it


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficError:
    """One kind of error that traffic met."""

    sqlstate: str  # empty where pgbench does not tell it
    message: str  # as the server said it first, without its detail
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficFigures:
    """What one kind of statement on one relation met.  Milliseconds, as its sender feels them."""

    what: str  # a relation, or the file of the application's statements
    kind: TrafficKind
    sent: int  # while the plan ran
    longest_ms: float | None  # of one statement while the plan ran; None: none was sent then
    p99_before_ms: float | None  # before the plan began
    p99_ms: float | None  # while it ran; what would have been sent during a stall counts too
    errors: tuple[TrafficError, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "kind": self.kind.value,
            "sent": self.sent,
            "longest_ms": _rounded(self.longest_ms),
            "p99_before_ms": _rounded(self.p99_before_ms),
            "p99_ms": _rounded(self.p99_ms),
            "errors": [
                {"sqlstate": each.sqlstate, "message": each.message, "count": each.count} for each in self.errors
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class LockWaits:
    """Who waited for locks, as the server shows it."""

    plan_ms: float  # the plan, for its own locks
    behind_plan_ms: float  # the longest that one session of the traffic was held up by the plan
    longest_queue: int  # sessions that stood behind the plan while it waited itself; 0: no queue formed


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """One run of the plan under traffic, on a clone of its own."""

    level: ContentionLevel
    outcome: Outcome
    reason: str | None = None  # why it was not measured
    contended: tuple[Contended, ...] = ()
    max_block_ms: float | None = None  # how long others may wait in production; None: as long as it takes
    sessions: int = 0
    reader_ms: float = 0.0  # how long a reader that was there before held the plan up, at most
    quiet_ms: float | None = None
    under_traffic_ms: float | None = None
    waits: LockWaits | None = None
    deadlocks: int = 0
    lock_timeouts: int = 0  # of the plan, which gave way and tried again
    plan_error: str | None = None  # why it did not run through beside traffic; its SQLSTATE in front
    traffic: tuple[TrafficFigures, ...] = ()
    left_out: Mapping[str, str] | None = None  # what got no traffic, and why

    @property
    def longest(self) -> TrafficFigures | None:
        """Who waited longest while the plan ran."""
        felt = [each for each in self.traffic if each.longest_ms is not None]
        return max(felt, key=lambda each: each.longest_ms or 0.0, default=None)

    def place_of(self, relation: str) -> Contended | None:
        """Where the plan locks it."""
        return next((each for each in self.contended if each.relation == relation), None)

    def as_json(self) -> dict[str, Any]:
        longest, waits = self.longest, self.waits
        return {
            "level": self.level.value,
            "outcome": self.outcome.value,
            "reason": self.reason,
            "sessions": self.sessions,
            "reader_ms": self.reader_ms,
            "max_block_ms": self.max_block_ms,
            "quiet_ms": _rounded(self.quiet_ms),
            "under_traffic_ms": _rounded(self.under_traffic_ms),
            "longest_stall_ms": None if longest is None else _rounded(longest.longest_ms),
            "plan_waited_ms": None if waits is None else _rounded(waits.plan_ms),
            "held_up_by_plan_ms": None if waits is None else _rounded(waits.behind_plan_ms),
            "longest_queue": None if waits is None else waits.longest_queue,
            "deadlocks": self.deadlocks,
            "lock_timeouts": self.lock_timeouts,
            "plan_error": self.plan_error,
            "traffic": [each.as_json() for each in self.traffic],
            "left_out": [{"what": what, "reason": reason} for what, reason in (self.left_out or {}).items()],
        }


def find_contended(traces: Sequence[StatementTrace]) -> tuple[Contended, ...]:
    """What others would wait for, the strongest and longest first: tables locked against writers, and rows changed."""
    found: dict[str, Contended] = {}
    for trace in traces:
        for name, mode in trace.locks.items():
            if not mode.blocks_writes and not _changed_rows(trace.statement, trace.rows_affected, mode):
                continue
            before = found.get(name)
            strong = strongest(before.mode if before else None, mode)
            first = before is None or strong is not before.mode
            found[name] = Contended(
                relation=name,
                mode=strong,
                file=trace.migration.path if before is None or first else before.file,
                line=trace.statement.line if before is None or first else before.line,
                duration_ms=trace.duration_ms + (before.duration_ms if before else 0.0),
            )
    return tuple(sorted(found.values(), key=lambda each: (-each.mode.strength, -each.duration_ms)))


def _changed_rows(statement: Statement, rows: int | None, mode: LockMode) -> bool:
    return mode is LockMode.ROW_EXCLUSIVE and statement.kind in CHANGES_ROWS and bool(rows)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)

"""What each statement really did on the clone: its locks, rewrites, scans under a lock, and time.

Inside a transaction everything is read by the executing session itself after each statement, before
commit, so it is exact.  A statement that runs outside any transaction (CONCURRENTLY, VACUUM) is
watched from other sessions (`outside_locks`); where it was not seen waiting for them, its locks are a
lower bound, and said to be so.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from pgrehearse.hazards.outside_locks import OutsideLocks
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.observer import NoObserver, Running, StatementError
from pgrehearse.migrations.own_state import OwnState
from pgrehearse.migrations.statements import Statement, TransactionNeed
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.locks import LockMode
from pgrehearse.postgres.named_queries import named_queries

SCANNED_WHOLE = 0.9  # a statement that read this share of a table's rows scanned it
SCAN_MATTERS_ROWS = 100

_CONTROL = frozenset({TransactionNeed.BEGINS, TransactionNeed.COMMITS, TransactionNeed.ROLLS_BACK})

_QUERIES = named_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementTrace:
    """One statement of the plan as it ran."""

    migration: Migration
    statement: Statement
    duration_ms: float
    rows_affected: int | None
    locks: dict[str, LockMode]  # newly taken or strengthened, by the relation's name before the plan
    rewrites: tuple[str, ...]
    scans_under_lock: tuple[str, ...]
    error: StatementError | None
    sampled: bool  # locks were sampled from another session: a lower bound
    transaction: int | None = None  # counted from 1; None: it ran outside one


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementNotRun:
    """A statement that was left out, and why."""

    migration: Migration
    statement: Statement
    reason: str


@dataclass(slots=True)
class _Relation:
    """A relation that existed before the plan, with what is known of it now."""

    name: str
    rows: float
    file: int | None
    size_bytes: int
    index_files: tuple[int, ...] = ()


@dataclass(slots=True)
class _InTransaction:
    """What the running transaction holds and has read so far."""

    modes: dict[int, LockMode] = field(default_factory=dict)  # the strongest that its statements took
    ours: dict[int, set[str]] = field(default_factory=dict)  # held before the first: by the runner, by before-images
    rows_read: dict[int, int] = field(default_factory=dict)


class Tracer(NoObserver):
    """An observer that writes down what every statement did.

    ``watch`` opens a session of its own into the same database.  Costs about 0.5 ms per statement.
    ``ignored``: the migration ledger's table, which may be locked against everybody while a plan runs.
    ``may_hold_up=False``, for production: no statement is made to wait so that its locks show; those of a
    statement outside transactions are sampled a few times a second, a lower bound, and no table's file is looked
    at, since asking its size waits for whoever has it locked.  ``state`` may be shared with other observers.
    """

    def __init__(
        self,
        watch: Callable[[], Connection],
        *,
        ignored: frozenset[str] = frozenset(),
        may_hold_up: bool = True,
        state: OwnState | None = None,
    ) -> None:
        self._state = state or OwnState()
        self._may_hold_up = may_hold_up
        self.statements: list[StatementTrace] = []
        self.not_run_statements: list[StatementNotRun] = []
        self._open_session = watch
        self._watch = watch()
        self._relations: dict[int, _Relation] = {
            oid: _Relation(name=name, rows=rows, file=file, size_bytes=size)
            for oid, name, _kind, rows, file, size in self._watch.execute(
                _QUERIES["relations" if may_hold_up else "relations_without_sizes"]
            )
            if name not in ignored
        }
        self._oids = list(self._relations)
        for oid, files in self._watch.execute(_QUERIES["index_files"], (self._oids,)):
            self._relations[oid].index_files = tuple(files)
        self._positions: dict[tuple[int, int], int] = {}  # in `statements`; by migration and index in its file
        self._transaction: _InTransaction | None = None
        self._transactions = 0
        self._outside: OutsideLocks | None = None

    def close(self) -> None:
        self._watch.close()

    # --- the observer's part ---------------------------------------------------------------------------

    def before(self, running: Running) -> None:
        self._forget_earlier_attempt(running)
        if running.statement.need in _CONTROL:
            return  # BEGIN and COMMIT take no lock on a table
        if not running.in_transaction:
            opens = self._open_session if self._may_hold_up else None
            self._state.ran_outside()
            self._outside = OutsideLocks(self._watch, opens, running.backend_pid, self._oids)
            self._outside.start()
        elif self._transaction is None:
            self._transactions += 1
            begun = self._state.at_begin(running.session)
            self._transaction = _InTransaction(rows_read=dict(begun.rows_read))
            for oid, mode in begun.locks:
                self._transaction.ours.setdefault(oid, set()).add(mode)

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        sampled = False
        locks: dict[int, LockMode] = {}
        rewritten: list[int] = []
        scanned: list[int] = []
        if self._outside is not None:
            locks = self._outside.stop()
            sampled = not self._outside.is_exact
            self._outside = None
            if error is None and self._may_hold_up:
                rewritten = self._look_at_files(running.statement)
        elif error is None and self._transaction is not None:
            locks, rewritten, scanned = self._read_own_state(running, self._transaction)
        self.statements.append(
            StatementTrace(
                migration=running.migration,
                statement=running.statement,
                duration_ms=duration_ms,
                rows_affected=rows_affected,
                locks={self._relations[oid].name: mode for oid, mode in sorted(locks.items())},
                rewrites=tuple(self._relations[oid].name for oid in rewritten),
                scans_under_lock=tuple(self._relations[oid].name for oid in scanned),
                error=error,
                sampled=sampled,
                transaction=self._transactions if self._transaction is not None else None,
            )
        )

    def not_run(self, migration: Migration, statement: Statement, reason: str) -> None:
        self.not_run_statements.append(StatementNotRun(migration=migration, statement=statement, reason=reason))

    def before_commit(self, session: Connection) -> None:
        """Nothing to check on a clone."""

    def transaction_ended(self, *, committed: bool) -> None:
        self._transaction = None
        self._state.ended(committed=committed)
        if not committed and self._may_hold_up:  # files and indexes are again what they were
            files = {oid: (file, size) for oid, file, size in self._watch.execute(_QUERIES["files"], (self._oids,))}
            for oid, (file, size) in files.items():
                self._relations[oid].file, self._relations[oid].size_bytes = file, size

    def _forget_earlier_attempt(self, running: Running) -> None:
        """A segment that is tried again after a lock timeout runs its statements again from its first."""
        key = (id(running.migration), running.statement.index)
        position = self._positions.get(key)
        if position is not None:
            del self.statements[position:]
            self._positions = {earlier: place for earlier, place in self._positions.items() if place < position}
        self._positions[key] = len(self.statements)

    # --- details ---------------------------------------------------------------------------------------

    def _read_own_state(
        self, running: Running, transaction: _InTransaction
    ) -> tuple[dict[int, LockMode], list[int], list[int]]:
        newly: dict[int, LockMode] = {}
        now = [held for held in self._state.after(running) if held.oid in self._relations]
        for held in now:
            oid = held.oid
            ours = transaction.ours.get(oid, ())
            known = transaction.modes.get(oid)
            for mode in (LockMode(mode) for mode in held.modes if mode not in ours):
                if known is None or mode.strength > known.strength:
                    newly[oid] = known = mode
        transaction.modes |= newly
        emptied = {held.oid for held in now if self._relations[held.oid].size_bytes > 0 and held.size_bytes == 0}
        rewritten = self._rewritten(running.statement, [(held.oid, held.file, held.size_bytes) for held in now])
        scanned = []
        for held in now:
            oid = held.oid
            relation = self._relations[oid]
            # TRUNCATE reads nothing; its rows may have been counted by another observer just before it.
            before = transaction.rows_read.get(oid, 0)
            read_here = 0 if running.statement.kind == "TruncateStmt" else held.rows_read - before
            transaction.rows_read[oid] = held.rows_read
            new_indexes = bool(set(held.index_files) - set(relation.index_files)) and oid not in emptied
            relation.index_files = held.index_files
            copied = oid in rewritten and running.statement.kind != "RefreshMatViewStmt"
            read_whole = new_indexes or copied or read_here >= SCANNED_WHOLE * relation.rows
            blocks_writes = any(LockMode(mode).blocks_writes for mode in held.modes)
            if relation.rows >= SCAN_MATTERS_ROWS and read_whole and blocks_writes:
                scanned.append(oid)
        return newly, rewritten, scanned

    def _look_at_files(self, statement: Statement) -> list[int]:
        """After a statement outside a transaction: which relations have another file; which indexes there are."""
        for oid, index_files in self._watch.execute(_QUERIES["index_files"], (self._oids,)):
            self._relations[oid].index_files = tuple(index_files)
        return self._rewritten(statement, self._watch.execute(_QUERIES["files"], (self._oids,)))

    def _rewritten(self, statement: Statement, files: Iterable[tuple[int, int | None, int | None]]) -> list[int]:
        """Relations with a new file that holds what the old one held; a table emptied inside a function is none."""
        found = []
        for oid, file, size in files:
            relation = self._relations[oid]
            emptied = relation.size_bytes > 0 and size == 0
            if file is not None and relation.file is not None and file != relation.file:
                if statement.kind != "TruncateStmt" and not emptied:
                    found.append(oid)
                relation.file = file
            relation.size_bytes = size or 0
        return found

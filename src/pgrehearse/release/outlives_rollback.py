"""What a rolled-back transaction leaves behind all the same: sequences that it moved, and what it did elsewhere.

``nextval`` and ``setval`` know no transaction, and no ROLLBACK reaches another server, a file or a program.  Nothing of
that is put back here: numbers may have been handed out since.  It is told, with the statement that would do it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.observer import Observer, Running, StatementError
from pgrehearse.migrations.reach import outlives_rollback
from pgrehearse.migrations.segments import PendingFile, Segment
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.release.promotion import BEGUN, ENDED, STEP
from pgrehearse.rollback.image import SequenceAt

QUERIES = named_queries(__file__)
ROLLED_BACK = "rolled-back"  # the state of a step's entry that tells it
AT_ONCE = 200  # sequences read by one query: each takes a lock
LOCK_TIMEOUT_MS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceMoved:
    """A sequence that a rolled-back transaction drew from or set; what others drew meanwhile is among it."""

    name: str  # namespace.sequence as SQL writes it
    before: SequenceAt  # at the transaction's begin
    after: SequenceAt
    increment: int
    is_ours: bool  # False: the statement that failed may have moved it, or others have

    @property
    def is_back(self) -> bool:
        """Whether it will hand out numbers again that it had handed out before."""
        ahead = self.after.last_value - self.before.last_value
        if ahead == 0:
            return self.before.is_called and not self.after.is_called
        return (ahead > 0) != (self.increment > 0)

    @property
    def statement(self) -> str:
        """What would put it where it stood."""
        called = "true" if self.before.is_called else "false"
        name = sql.Literal(self.name).as_string(None)
        return f"SELECT pg_catalog.setval({name}, {self.before.last_value}, {called});"

    def __str__(self) -> str:
        who = "which no ROLLBACK takes back" if self.is_ours else "by the statement that failed or by others"
        moved = f"sequence {self.name} went from {_at(self.before)} to {_at(self.after)}, {who}"
        if self.is_back:
            return (
                f"{moved}: it hands out numbers again that were handed out before.  Set it to where it stood, or "
                f"further where rows have higher ones: {self.statement}"
            )
        return (
            f"{moved}: the numbers between are skipped, which harms nothing.  While nobody has drawn since, this "
            f"puts it back: {self.statement}"
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "before": {"last_value": self.before.last_value, "is_called": self.before.is_called},
            "after": {"last_value": self.after.last_value, "is_called": self.after.is_called},
            "is_ours": self.is_ours,
            "moved_back": self.is_back,
            "statement": self.statement,
        }


def _at(found: SequenceAt) -> str:
    return f"{found.last_value}" if found.is_called else f"{found.last_value} (not handed out yet)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    at: SequenceAt
    increment: int
    owner: str | None  # the table of the column that it belongs to


@dataclass(slots=True)
class _Transaction:
    pid: int
    before: Mapping[str, _Found]
    used: set[str] = field(default_factory=set)
    failed: bool = False  # a statement of it, which gave its locks back at once
    beyond: list[str] = field(default_factory=list)


class TellsWhatStays(Observer):
    """Passes everything on to ``inner``, and finds out what each rolled-back transaction leaves behind.

    Which sequences it used say the locks that it holds to its end: nobody draws without one.  A statement that fails
    gives them back at once; of those that it ``may_use`` (by name, and the table that owns it) whichever moved is told.
    Opens one session of its own; `close` ends it.  Cost: about 1 ms per statement, and per transaction one reading of
    every sequence.
    """

    def __init__(
        self,
        inner: Observer,
        look: Callable[[], Connection],
        *,
        may_use: Callable[[str, str | None], bool],
        tell: Callable[[str], None],
    ) -> None:
        self._inner = inner
        self._may_use = may_use
        self._look = look()
        self._look.execute("SELECT pg_catalog.set_config('lock_timeout', %s, false)", (f"{LOCK_TIMEOUT_MS}",))
        self._tell = tell
        self._open: _Transaction | None = None
        self._moved: dict[str, SequenceMoved] = {}
        self._beyond: list[str] = []

    def close(self) -> None:
        self._look.close()

    @property
    def moved(self) -> tuple[SequenceMoved, ...]:
        """By all transactions that were rolled back so far, each sequence once."""
        return tuple(self._moved.values())

    @property
    def told(self) -> tuple[str, ...]:
        return (*map(str, self.moved), *self._beyond)

    def as_json(self) -> dict[str, Any]:
        return {
            "sequences_moved": [each.as_json() for each in self.moved],
            "beyond": list(self._beyond),
            "told": list(self.told),
        }

    # --- the observer's part ---------------------------------------------------------------------------------

    def under_lock(self, session: Connection, pending: Sequence[PendingFile]) -> None:
        self._inner.under_lock(session, pending)

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        self._open = None
        try:
            pid = int(fetch_value(session, "SELECT pg_catalog.pg_backend_pid()"))
            self._open = _Transaction(pid=pid, before=self._read(None))
        except psycopg.Error as error:
            if session.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
                raise
            told = error.diag.message_primary or type(error).__name__
            self._tell(f"where the sequences stand could not be read, so a rollback will not tell which moved: {told}")
        self._inner.transaction_begun(session, segment)

    def outside_begun(self, migration: Migration, statement: Statement) -> None:
        self._inner.outside_begun(migration, statement)

    def before(self, running: Running) -> None:
        self._inner.before(running)

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        statement = running.statement
        if self._open is not None and running.in_transaction:
            if outlives_rollback(statement.kind, statement.beyond):
                self._open.beyond.append(f"{running.migration.path}:{statement.line}: {statement.beyond}")
            if error is None:
                self._note()
            self._open.failed |= error is not None
        self._inner.after(running, duration_ms=duration_ms, rows_affected=rows_affected, error=error)

    def not_run(self, migration: Migration, statement: Statement, reason: str) -> None:
        self._inner.not_run(migration, statement, reason)

    def before_commit(self, session: Connection) -> None:
        try:
            self._inner.before_commit(session)  # deferred triggers may draw
        finally:
            self._note()

    def transaction_ended(self, *, committed: bool) -> None:
        transaction, self._open = self._open, None
        if not committed and transaction is not None:
            self._look_again(transaction)
        self._inner.transaction_ended(committed=committed)

    # --- details -----------------------------------------------------------------------------------------------

    def _note(self) -> None:
        """While the locks are held; by another session, for a transaction's own may have failed."""
        if self._open is None:
            return
        try:
            self._open.used.update(name for (name,) in self._look.execute(QUERIES["used"], {"pid": self._open.pid}))
        except psycopg.Error as error:
            self._tell(f"which sequences this transaction used could not be read: {type(error).__name__}")

    def _look_again(self, transaction: _Transaction) -> None:
        self._beyond += [f"{each}; what it did there is not rolled back" for each in transaction.beyond]
        wanted = {
            name for name, found in transaction.before.items()
            if name in transaction.used or (transaction.failed and self._may_use(name, found.owner))
        }  # fmt: skip
        try:
            now = self._read(wanted) if wanted else {}
        except psycopg.Error as error:
            self._tell(f"whether {', '.join(sorted(wanted))} moved could not be read: {type(error).__name__}")
            return
        for name, found in now.items():
            known = self._moved.get(name)
            before = known.before if known is not None else transaction.before[name].at
            if before != found.at:
                is_ours = name in transaction.used or (known is not None and known.is_ours)
                self._moved[name] = SequenceMoved(
                    name=name, before=before, after=found.at, increment=found.increment, is_ours=is_ours
                )

    def _read(self, wanted: Iterable[str] | None) -> dict[str, _Found]:
        """Where sequences stand that this role may read; None: all."""
        names = None if wanted is None else sorted(wanted)
        rows = self._look.execute(QUERIES["sequences"], {"names": names}).fetchall()
        owners = {name: (increment, owner) for name, _, _, increment, owner in rows}
        found: dict[str, _Found] = {}
        for first in range(0, len(rows), AT_ONCE):
            query = sql.SQL(" UNION ALL ").join(
                sql.SQL("SELECT {}, last_value, is_called FROM {}").format(
                    sql.Literal(name), sql.Identifier(namespace, relation)
                )
                for name, namespace, relation, _, _ in rows[first : first + AT_ONCE]
            )
            for name, last_value, is_called in self._look.execute(query):
                increment, owner = owners[name]
                at = SequenceAt(name=name, last_value=last_value, is_called=is_called)
                found[name] = _Found(at=at, increment=increment, owner=owner)
        return found


def find_left_behind(releases: ReleaseLedger, key: str) -> tuple[str, ...]:
    """What promotions of this database left behind that were rolled back since the last one that was promoted."""
    ended = {entry.subject: entry.body["outcome"] for entry in releases.entries(kind=ENDED)}
    lines: list[str] = []
    for begun in releases.entries(kind=BEGUN):
        if begun.body["key"] != key:
            continue
        if ended.get(begun.subject) == "promoted":
            lines.clear()
            continue
        for step in read_rolled_back(releases, begun.subject):
            lines += [f"promotion {begun.subject} was rolled back: {line}" for line in step["told"]]
    return tuple(dict.fromkeys(lines))


def read_rolled_back(releases: ReleaseLedger, promotion: str) -> tuple[Mapping[str, Any], ...]:
    """What the runs of one promotion recorded of it, oldest first."""
    steps = releases.entries(kind=STEP, subject=promotion)
    return tuple(step.body for step in steps if step.body["state"] == ROLLED_BACK)

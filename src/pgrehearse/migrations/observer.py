"""Who watches while migrations run: on a clone the tracer, on production the watch; the apply path is the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.segments import PendingFile, Segment
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One statement about to run, or just run, and the session that runs it."""

    migration: Migration
    statement: Statement
    session: Connection  # usable for queries while `in_transaction`, or after what ran by itself, unless it failed
    backend_pid: int
    in_transaction: bool  # False: by itself, outside any transaction block (CONCURRENTLY, VACUUM …)
    outside: bool = False  # by itself for sure: BEGIN and SET TRANSACTION are not `in_transaction` either


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementError:
    """What the server said."""

    sqlstate: str
    message: str
    detail: str | None
    hint: str | None
    line: int  # of the file, 1-based, where the server points; the statement's first line where it doesn't
    column: int


class Observer(Protocol):
    """Called around every statement, in the executing thread.  Its own time is not counted as the statement's."""

    def under_lock(self, session: Connection, pending: Sequence[PendingFile]) -> None:
        """The turn between runners is ours, and of the plan this is left; nothing of it runs if this raises.

        ``session`` is idle and executes nothing of the plan.
        """
        ...

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        """Inside the transaction, before its first statement (after SET TRANSACTION), in each attempt.

        An error of the server here is met as one of the statement: lock timeout and deadlock are tried again.
        """
        ...

    def outside_begun(self, migration: Migration, statement: Statement) -> None:
        """A statement is about to run by itself, and nothing of it is recorded yet; once, whatever its attempts."""
        ...

    def before(self, running: Running) -> None: ...

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None: ...

    def not_run(self, migration: Migration, statement: Statement, reason: str) -> None:
        """A statement that reaches beyond its database was left out on a server that is not ours alone."""
        ...

    def before_commit(self, session: Connection) -> None:
        """Still inside the transaction, its statements done; raising rolls it back."""
        ...

    def transaction_ended(self, *, committed: bool) -> None: ...


class NoObserver:
    """Watches nothing."""

    def under_lock(self, session: Connection, pending: Sequence[PendingFile]) -> None: ...

    def transaction_begun(self, session: Connection, segment: Segment) -> None: ...

    def outside_begun(self, migration: Migration, statement: Statement) -> None: ...

    def before(self, running: Running) -> None: ...

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None: ...

    def not_run(self, migration: Migration, statement: Statement, reason: str) -> None: ...

    def before_commit(self, session: Connection) -> None: ...

    def transaction_ended(self, *, committed: bool) -> None: ...


class Observers:
    """Several observers, each told in this order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def under_lock(self, session: Connection, pending: Sequence[PendingFile]) -> None:
        for observer in self._observers:
            observer.under_lock(session, pending)

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        for observer in self._observers:
            observer.transaction_begun(session, segment)

    def outside_begun(self, migration: Migration, statement: Statement) -> None:
        for observer in self._observers:
            observer.outside_begun(migration, statement)

    def before(self, running: Running) -> None:
        for observer in self._observers:
            observer.before(running)

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        for observer in self._observers:
            observer.after(running, duration_ms=duration_ms, rows_affected=rows_affected, error=error)

    def not_run(self, migration: Migration, statement: Statement, reason: str) -> None:
        for observer in self._observers:
            observer.not_run(migration, statement, reason)

    def before_commit(self, session: Connection) -> None:
        for observer in self._observers:
            observer.before_commit(session)

    def transaction_ended(self, *, committed: bool) -> None:
        for observer in self._observers:
            observer.transaction_ended(committed=committed)

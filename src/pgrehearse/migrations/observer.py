"""Who watches while migrations run: on a clone the tracer, on production the watch; the apply path is the same."""

from dataclasses import dataclass
from typing import Protocol

from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One statement about to run, or just run, and the session that runs it."""

    migration: Migration
    statement: Statement
    session: Connection  # usable for queries only while `in_transaction` and the statement did not fail
    backend_pid: int
    in_transaction: bool  # False: by itself, outside any transaction block (CONCURRENTLY, VACUUM …)


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

    def before(self, running: Running) -> None: ...

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None: ...

    def not_run(self, migration: Migration, statement: Statement, reason: str) -> None:
        """A statement that reaches beyond its database was left out on a server that is not ours alone."""
        ...

    def before_commit(self, session: Connection) -> None:
        """Still inside the transaction; raising rolls it back."""
        ...

    def transaction_ended(self, *, committed: bool) -> None: ...


class NoObserver:
    """Watches nothing."""

    def before(self, running: Running) -> None: ...

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None: ...

    def not_run(self, migration: Migration, statement: Statement, reason: str) -> None: ...

    def before_commit(self, session: Connection) -> None: ...

    def transaction_ended(self, *, committed: bool) -> None: ...

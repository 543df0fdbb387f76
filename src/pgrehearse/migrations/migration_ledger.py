"""The migration ledger: the table *inside* a database that says what is applied there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pgrehearse.migrations.ledger_table import LedgerTable
from pgrehearse.migrations.migration import Migration
from pgrehearse.postgres.connect import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRow:
    """One applied migration as its ledger knows it."""

    sha256: str  # drizzle's `hash`
    created_at_ms: int | None = None  # drizzle's `created_at`
    name: str | None = None  # our own ledger's version, drizzle 1.0's folder name; None in drizzle 0.31's rows
    applied_at: str | None = None  # ISO 8601 where the ledger keeps it


class MigrationLedger(Protocol):
    """How one migration tool records what it applied.  Facts go in and out; connections are the caller's."""

    @property
    def place(self) -> LedgerTable:
        """The table's namespace and name."""
        ...

    @property
    def table(self) -> str:
        """``namespace.relation``, quoted where SQL needs it."""
        ...

    def exists(self, connection: Connection) -> bool:
        """Whether the table is there.  Read-only."""
        ...

    def create(self, connection: Connection) -> None:
        """Make the table as the source's own tool would; does nothing where it exists.  Caller's transaction."""
        ...

    def read(self, connection: Connection) -> tuple[LedgerRow, ...]:
        """All rows in the order they were recorded; empty where the table is missing.  Read-only."""
        ...

    def lock(self, connection: Connection) -> None:
        """ACCESS EXCLUSIVE on the table until the caller's transaction ends: another runner waits in its SELECT."""
        ...

    def record(self, connection: Connection, migration: Migration) -> int:
        """Insert the row which makes the source's own tool, and us, see this migration as applied.

        In the caller's transaction, which should be the one that did the migration's work.  The number of rows that
        went in: none where a trigger swallowed it.
        """
        ...

    def forget(self, connection: Connection, migration: Migration) -> int:
        """Delete what says that exactly this migration is applied: it was taken back.  The number of rows.

        In the caller's transaction, which should be the one that took its work back.
        """
        ...

    def is_applied(self, migration: Migration, rows: Sequence[LedgerRow]) -> bool:
        """Whether these rows say that exactly this migration (its bytes) is applied."""
        ...

    def names(self, row: LedgerRow, migration: Migration) -> bool:
        """Whether this row speaks of this migration, even if its bytes were others then."""
        ...

    def holders(self, connection: Connection) -> tuple[tuple[int, str], ...]:
        """Sessions that hold the table in ACCESS EXCLUSIVE: (backend pid, application name).  Read-only."""
        ...

    def recording(self, migration: Migration) -> str:
        """SQL for a person who has made sure that the migration is applied and wants it recorded."""
        ...

    def naming(self, migration: Migration) -> str:
        """SQL for a person whose row of this migration lacks the name that drizzle 1.0 goes by."""
        ...

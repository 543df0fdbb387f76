"""Our own migration ledger, ``pgrehearse.migrations``: for folders of SQL files and for ad-hoc files."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pgrehearse import __version__
from pgrehearse.migrations.ledger_table import OWN_NAMESPACE, LedgerTable
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.migration_ledger import LedgerRow
from pgrehearse.postgres.connect import Connection

NAMESPACE = OWN_NAMESPACE
TABLE = "migrations"

# A numbered file is applied once, whatever its bytes; an ad-hoc file once for each content, since
# teams keep mending and re-running the same `fix.sql`.  The two kinds never collide.
_CREATE = """
CREATE TABLE IF NOT EXISTS {} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('sql-folder', 'ad-hoc')),
    version text NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{{64}}$'),
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    applied_by text NOT NULL DEFAULT session_user,
    tool_version text NOT NULL,
    once_for text GENERATED ALWAYS AS (CASE kind WHEN 'ad-hoc' THEN sha256 ELSE '' END) STORED,
    UNIQUE (kind, version, once_for)
)
"""
_READ = """
SELECT sha256, version, pg_catalog.to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM {} WHERE kind = %s ORDER BY id
"""
_RECORD = "INSERT INTO {} (kind, version, name, sha256, tool_version) VALUES (%s, %s, %s, %s, %s)"
_FORGET = "DELETE FROM {} WHERE kind = %s AND version = %s AND sha256 = %s"
_LEADING_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnLedger:
    """A `MigrationLedger` over ``pgrehearse.migrations``; reads the rows of one kind of source only."""

    kind: SourceKind

    @property
    def place(self) -> LedgerTable:
        return LedgerTable(namespace=OWN_NAMESPACE, name=TABLE)

    @property
    def table(self) -> str:
        return self.place.display

    def exists(self, connection: Connection) -> bool:
        return bool(self.place.read_columns(connection))

    def create(self, connection: Connection) -> None:
        if not self.place.read_columns(connection):
            self.place.create(connection, sql.SQL(_CREATE).format(self.place.identifier))

    def read(self, connection: Connection) -> tuple[LedgerRow, ...]:
        columns = self.place.read_columns(connection)
        if not columns:
            return ()
        self.place.require_columns(columns, ("id", "kind", "version", "sha256", "applied_at"))
        rows = self.place.read(connection, sql.SQL(_READ).format(self.place.identifier), (self.kind.value,))
        return tuple(
            LedgerRow(sha256=str(sha256), name=str(version), applied_at=str(applied_at))
            for sha256, version, applied_at in rows
        )

    def lock(self, connection: Connection) -> None:
        self.place.lock(connection)

    def record(self, connection: Connection, migration: Migration) -> int:
        return connection.execute(
            sql.SQL(_RECORD).format(self.place.identifier),
            (migration.kind.value, migration.version, migration.name, migration.sha256, __version__),
        ).rowcount

    def forget(self, connection: Connection, migration: Migration) -> int:
        named = (migration.kind.value, migration.version, migration.sha256)
        return connection.execute(sql.SQL(_FORGET).format(self.place.identifier), named).rowcount

    def is_applied(self, migration: Migration, rows: Sequence[LedgerRow]) -> bool:
        return any(row.sha256 == migration.sha256 and self.names(row, migration) for row in rows)

    def names(self, row: LedgerRow, migration: Migration) -> bool:
        """Whether this row speaks of this migration: the same number, or for an ad-hoc file name and bytes."""
        if migration.kind is SourceKind.AD_HOC:
            return row.name == migration.version and row.sha256 == migration.sha256
        return row.name is not None and number_of(row.name) == number_of(migration.version)

    def holders(self, connection: Connection) -> tuple[tuple[int, str], ...]:
        return self.place.read_holders(connection)

    def recording(self, migration: Migration) -> str:
        values = (migration.kind.value, migration.version, migration.name, migration.sha256, __version__)
        return self.place.insertion(("kind", "version", "name", "sha256", "tool_version"), values)

    def naming(self, migration: Migration) -> str:
        return ""  # every row of ours has its name


def number_of(version: str) -> int | None:
    """The leading number of a version: a file renamed after it was applied keeps its place."""
    match = _LEADING_NUMBER.match(version)
    return int(match[0]) if match else None

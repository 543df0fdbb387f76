"""``pgrehearse.progress``: how far a file has come that is not wholly one transaction.

One row per file, written in the transaction that does the work; the transaction that records the
file in its ledger deletes it.  So a row means: a run stopped in the middle of this file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.types.json import Jsonb

from pgrehearse.migrations.ledger_table import OWN_NAMESPACE, LedgerTable
from pgrehearse.migrations.migration import Migration
from pgrehearse.postgres.connect import Connection, fetch_value

_EXISTS = """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'pgrehearse' AND c.relname = 'progress')
"""
_HAS_NAMESPACE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'pgrehearse')"
_CREATE = """
CREATE TABLE IF NOT EXISTS pgrehearse.progress (
    ledger text NOT NULL,
    version text NOT NULL,
    sha256 text NOT NULL,
    statements_done integer NOT NULL,
    started integer,
    facts jsonb,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (ledger, version))
"""
_READ = """
SELECT version, sha256, statements_done, started, facts, at::text
FROM pgrehearse.progress WHERE ledger OPERATOR(pg_catalog.=) %s
"""
_WRITE = """
INSERT INTO pgrehearse.progress AS p (ledger, version, sha256, statements_done, started, facts)
VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (ledger, version) DO UPDATE
SET sha256 = excluded.sha256, statements_done = excluded.statements_done, started = excluded.started,
    facts = excluded.facts, at = excluded.at
"""
_FORGET = """
DELETE FROM pgrehearse.progress
WHERE ledger OPERATOR(pg_catalog.=) %s AND version OPERATOR(pg_catalog.=) %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run stopped in one file."""

    version: str
    sha256: str
    statements_done: int  # committed, counted from the file's beginning
    started: int | None  # the statement that was begun outside a transaction and has no recorded end
    facts: dict[str, Any]  # what the catalog said before it
    at: str  # when this was written, as the server prints a timestamptz

    @property
    def is_nothing(self) -> bool:
        """Its first statement failed and left nothing: the file may be mended, renamed or taken away."""
        return self.statements_done == 0 and self.started is None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressTable:
    """The rows of one ledger's files; connections are the caller's, as are transactions."""

    ledger: str  # the ledger's kind and table, since two sources may use one version's name

    def exists(self, connection: Connection) -> bool:
        return bool(fetch_value(connection, _EXISTS))

    def create(self, connection: Connection) -> None:
        """Needs CREATE on the database the first time.  The caller holds the lock between runners."""
        if self.exists(connection):
            return
        if not fetch_value(connection, _HAS_NAMESPACE):
            connection.execute("CREATE SCHEMA IF NOT EXISTS pgrehearse")
        connection.execute(_CREATE)

    def read(self, connection: Connection) -> dict[str, Progress]:
        """By version; empty where there is no such table."""
        if not self.exists(connection):
            return {}
        place = LedgerTable(namespace=OWN_NAMESPACE, name="progress")
        place.require_columns(place.read_columns(connection), ("ledger", "version", "sha256", "statements_done"))
        rows: Sequence[Any] = connection.execute(_READ, (self.ledger,)).fetchall()
        return {
            version: Progress(
                version=version, sha256=sha256, statements_done=done, started=started, facts=facts or {}, at=at
            )
            for version, sha256, done, started, facts, at in rows
        }

    def write_done(self, connection: Connection, migration: Migration, statements_done: int) -> None:
        row = (self.ledger, migration.version, migration.sha256, statements_done, None, None)
        connection.execute(_WRITE, row)

    def write_started(
        self, connection: Connection, migration: Migration, statement: int, facts: dict[str, Any]
    ) -> None:
        """The statements before this one are done, and this one is about to run outside a transaction."""
        row = (self.ledger, migration.version, migration.sha256, statement, statement, Jsonb(facts))
        connection.execute(_WRITE, row)

    def forget(self, connection: Connection, migration: Migration) -> None:
        connection.execute(_FORGET, (self.ledger, migration.version))

"""What the two migration ledgers share: find the table, read it without surprises, make it once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import psycopg
from psycopg import sql
from psycopg.adapt import Transformer

from pgrehearse.errors import LedgerUnreadable, MalformedLedger
from pgrehearse.postgres.connect import Connection, fetch_value

# One query, so that a table made meanwhile is seen whole or not at all.
_COLUMNS = """
SELECT c.relkind IN ('r', 'p'), pg_catalog.row_security_active(c.oid),
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""
OWN_NAMESPACE = "pgrehearse"
_HAS_NAMESPACE = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = %s)"
_HOLDERS = """
SELECT DISTINCT l.pid, COALESCE(NULLIF(a.application_name, ''), 'no application name')
FROM pg_catalog.pg_locks l
JOIN pg_catalog.pg_class c ON c.oid = l.relation
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE n.nspname = %s AND c.relname = %s AND l.granted AND l.mode = 'AccessExclusiveLock'
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""
_RACES = (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable, psycopg.errors.DuplicateSchema)


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTable:
    """The name of a ledger's table, and what any ledger does with it."""

    namespace: str
    name: str

    @property
    def display(self) -> str:
        """``namespace.relation``, quoted where SQL needs it."""
        return f"{_quoted(self.namespace)}.{_quoted(self.name)}"

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.namespace, self.name)

    @property
    def _remedy(self) -> str | None:
        if self.namespace != OWN_NAMESPACE:
            return None  # the error's own: the drizzle config
        return f"The schema {OWN_NAMESPACE} is pgrehearse's: give what stands in its place another name."

    def read_columns(self, connection: Connection) -> tuple[str, ...]:
        """The table's columns; empty where there is no such table.  Needs no right on the table."""
        found = connection.execute(_COLUMNS, (self.namespace, self.name)).fetchone()
        if found is None:
            return ()
        is_table, hides_rows, columns = found
        if not is_table:
            raise MalformedLedger(f"{self.display} is not a table", remedy=self._remedy)
        if hides_rows:
            raise LedgerUnreadable(
                f"row-level security may hide rows of {self.display} from the role {connection.info.user}",
                remedy="Ask as the table's owner, or as a role with BYPASSRLS.",
            )
        return tuple(columns)

    def require_columns(self, found: Sequence[str], needed: Sequence[str]) -> None:
        """Raise `MalformedLedger` unless the table has these columns."""
        missing = [column for column in needed if column not in found]
        if missing:
            raise MalformedLedger(
                f"{self.display} has no column {', '.join(missing)}; it has {', '.join(found) or 'none'}",
                remedy=self._remedy,
            )

    def read(
        self, connection: Connection, query: sql.Composed, parameters: Sequence[object] = ()
    ) -> list[tuple[object, ...]]:
        """The query's rows; `LedgerUnreadable` (exit 3) without the right to, or while a runner holds the table.

        A failed read ends the caller's transaction, as any failed statement does.
        """
        try:
            return connection.execute(query, parameters or None).fetchall()
        except psycopg.errors.InsufficientPrivilege as error:
            raise LedgerUnreadable(
                f"the role {connection.info.user} may not read {self.display}",
                remedy=f"GRANT USAGE ON SCHEMA {_quoted(self.namespace)}, and SELECT ON {self.display}, to that role.",
            ) from error
        except psycopg.errors.LockNotAvailable as error:
            raise LedgerUnreadable(
                f"{self.display} is locked: migrations are being applied right now",
                remedy="Ask again when that runner is done; pg_stat_activity shows it "
                "(application_name, and pg_locks for this table).",
            ) from error

    def read_holders(self, connection: Connection) -> tuple[tuple[int, str], ...]:
        """Sessions that hold the table in ACCESS EXCLUSIVE: (backend pid, application name)."""
        return tuple(connection.execute(_HOLDERS, (self.namespace, self.name)).fetchall())

    def lock(self, connection: Connection) -> None:
        """ACCESS EXCLUSIVE until the caller's transaction ends."""
        connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(self.identifier))

    def insertion(self, columns: Sequence[str], values: Sequence[object]) -> str:
        """An INSERT as text, for a person or for us to run."""
        context = Transformer()  # one for all: each value would make its own
        literals = ", ".join(sql.Literal(value).as_string(context) for value in values)
        return f"{_insertion_head(self, tuple(columns))} ({literals});"

    def create(self, connection: Connection, statement: sql.Composed) -> None:
        """Run a ``CREATE TABLE IF NOT EXISTS``, its namespace first, and survive another maker at the same moment.

        ``IF NOT EXISTS`` does not keep two makers apart: the later one meets a unique violation in the
        catalog once the first has committed, and then finds what it wanted.
        """

        def make() -> None:
            # Asked first, because CREATE SCHEMA IF NOT EXISTS needs CREATE on the database even where it exists.
            if not fetch_value(connection, _HAS_NAMESPACE, (self.namespace,)):
                connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(self.namespace)))
            connection.execute(statement)

        for _ in range(2):  # once for the namespace, once for the table
            if _survives(connection, make):
                return
        make()


@lru_cache(maxsize=16)
def _insertion_head(table: LedgerTable, columns: tuple[str, ...]) -> str:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("INSERT INTO {} ({}) VALUES").format(table.identifier, names).as_string(None)


def _survives(connection: Connection, make: Callable[[], None]) -> bool:
    try:
        with connection.transaction():
            make()
    except _RACES:
        return False
    return True


def _quoted(name: str) -> str:
    """A name as SQL needs it.  Only for showing: what is sent goes through `psycopg.sql.Identifier`."""
    plain = name.isascii() and name.replace("_", "a").isalnum() and not name[0].isdigit() and name == name.lower()
    return name if plain else '"' + name.replace('"', '""') + '"'

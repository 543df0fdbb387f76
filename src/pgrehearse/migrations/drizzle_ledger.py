"""drizzle's own migration ledger, read and written so that drizzle-kit 0.31 and 1.0 agree with us.

Shapes: 0.31 makes ``(id serial primary key, hash text not null, created_at bigint)``; 1.0 adds
``name text, applied_at timestamptz default now()`` and upgrades the old shape when it first runs.
Sources: drizzle-orm 0.45.4 ``pg-core/dialect.ts``; 1.0.0-rc.5 ``pg-core/async/session.ts`` and
``up-migrations/pg.ts``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation

from psycopg import sql

from pgrehearse.errors import LedgerRowUnknown, MalformedLedger
from pgrehearse.migrations.ledger_table import LedgerTable
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.migration_ledger import LedgerRow
from pgrehearse.postgres.connect import Connection

DEFAULT_NAMESPACE = "drizzle"
DEFAULT_TABLE = "__drizzle_migrations"

_CREATE_031 = "CREATE TABLE IF NOT EXISTS {} (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at bigint)"
_CREATE_10 = """
CREATE TABLE IF NOT EXISTS {} (
    id SERIAL PRIMARY KEY,
    hash text NOT NULL,
    created_at bigint,
    name text,
    applied_at timestamp with time zone DEFAULT now()
)
"""
_READ_031 = "SELECT hash, created_at, NULL, NULL FROM {} ORDER BY id"
_READ_10 = """
SELECT hash, created_at, name,
       pg_catalog.to_char(applied_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
FROM {} ORDER BY id
"""
_RECORD_031 = "INSERT INTO {} (hash, created_at) VALUES (%s, %s)"
_FORGET = "DELETE FROM {} WHERE id = ANY (%s)"
_RECORD_10 = "INSERT INTO {} (hash, created_at, name) VALUES (%s, %s, %s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrizzleLedger:
    """A `MigrationLedger` over ``drizzle.__drizzle_migrations`` or where the drizzle config puts it."""

    kind: SourceKind
    namespace: str = DEFAULT_NAMESPACE
    name: str = DEFAULT_TABLE
    migrations: tuple[Migration, ...] = field(default=(), repr=False)  # whose row one is, where times are shared

    @property
    def place(self) -> LedgerTable:
        return LedgerTable(namespace=self.namespace, name=self.name)

    @property
    def table(self) -> str:
        return self.place.display

    def exists(self, connection: Connection) -> bool:
        return bool(self.place.read_columns(connection))

    def create(self, connection: Connection) -> None:
        """Make the table with the columns of the source's drizzle version, so that it finds nothing to upgrade.

        A 0.31 table that meets a 1.0 source is upgraded as 1.0 does it, and `LedgerRowUnknown` is raised,
        as 1.0 does, when a row matches no migration of the folder.
        """
        columns = self.place.read_columns(connection)
        if not columns:
            shape = _CREATE_10 if self.kind is SourceKind.DRIZZLE_FOLDER else _CREATE_031
            self.place.create(connection, sql.SQL(shape).format(self.place.identifier))
        elif self.kind is SourceKind.DRIZZLE_FOLDER and "name" not in columns:
            self._upgrade(connection)

    def read(self, connection: Connection) -> tuple[LedgerRow, ...]:
        columns = self.place.read_columns(connection)
        if not columns:
            return ()
        self.place.require_columns(columns, ("id", "hash", "created_at"))
        query = _READ_10 if {"name", "applied_at"} <= set(columns) else _READ_031
        rows = self.place.read(connection, sql.SQL(query).format(self.place.identifier))
        return tuple(_row(row) for row in rows)

    def lock(self, connection: Connection) -> None:
        self.place.lock(connection)

    def record(self, connection: Connection, migration: Migration) -> int:
        """``created_at`` is the journal's ``when`` or the folder's time, never the clock: drizzle compares with it."""
        if "name" in self.place.read_columns(connection):
            return connection.execute(
                sql.SQL(_RECORD_10).format(self.place.identifier),
                (migration.sha256, migration.created_at_ms, folder_name(migration)),
            ).rowcount
        if self.kind is SourceKind.DRIZZLE_FOLDER:
            raise MalformedLedger(
                f"{self.table} has the shape of drizzle 0.31 and the migrations that of 1.0",
                remedy="The ledger must be upgraded first: `create` does it before the first migration is recorded.",
            )
        return connection.execute(
            sql.SQL(_RECORD_031).format(self.place.identifier), (migration.sha256, migration.created_at_ms)
        ).rowcount

    def forget(self, connection: Connection, migration: Migration) -> int:
        query = _READ_10 if "name" in self.place.read_columns(connection) else _READ_031
        read = sql.SQL(query).format(self.place.identifier)
        ids = sql.SQL("SELECT id FROM {} ORDER BY id").format(self.place.identifier)
        rows = zip(connection.execute(ids).fetchall(), connection.execute(read).fetchall(), strict=True)
        mine = [number for (number,), row in rows if self.is_applied(migration, [_row(row)])]
        return connection.execute(sql.SQL(_FORGET).format(self.place.identifier), (mine,)).rowcount

    def is_applied(self, migration: Migration, rows: Sequence[LedgerRow]) -> bool:
        """By time *and* hash, per entry: drizzle 0.31's own rule (the greatest time) misses what it skipped."""
        return any(row.sha256 == migration.sha256 and self.names(row, migration) for row in rows)

    def names(self, row: LedgerRow, migration: Migration) -> bool:
        """Whether this row speaks of this migration, whatever its bytes were."""
        if migration.kind is SourceKind.DRIZZLE_JOURNAL:
            if row.created_at_ms == migration.created_at_ms:
                return row.sha256 == migration.sha256 or not self._is_of_a_twin(row, migration)
            # 1.0 wrote the row with the time in whole seconds, and the folder's name that `drizzle-kit up` would give.
            return row.name is not None and row.name == folder_name(migration)
        if row.name is not None:
            return row.name == migration.version
        if row.created_at_ms is None or migration.created_at_ms is None:
            return False
        # 0.31 wrote it, with the milliseconds that the folder's name has lost; folders may share a second.
        same_second = row.created_at_ms // 1000 == migration.created_at_ms // 1000
        return same_second and (row.sha256 == migration.sha256 or not self._shares_its_second(migration))

    def holders(self, connection: Connection) -> tuple[tuple[int, str], ...]:
        return self.place.read_holders(connection)

    def recording(self, migration: Migration) -> str:
        values: list[object] = [migration.sha256, migration.created_at_ms]
        if self.kind is SourceKind.DRIZZLE_FOLDER:
            values.append(folder_name(migration))
        columns = ("hash", "created_at", "name")[: len(values)]
        return self.place.insertion(columns, values)

    def naming(self, migration: Migration) -> str:
        statement = sql.SQL("UPDATE {} SET name = {} WHERE name IS NULL AND hash = {};").format(
            self.place.identifier, sql.Literal(folder_name(migration)), sql.Literal(migration.sha256)
        )
        return statement.as_string(None)

    def _is_of_a_twin(self, row: LedgerRow, migration: Migration) -> bool:
        """Two entries of a merged journal may have one `when`: then the bytes tell whose row it is."""
        return any(
            other.version != migration.version
            and other.created_at_ms == migration.created_at_ms
            and other.sha256 == row.sha256
            for other in self.migrations
        )

    def _shares_its_second(self, migration: Migration) -> bool:
        return sum(other.created_at_ms == migration.created_at_ms for other in self.migrations) > 1

    def _upgrade(self, connection: Connection) -> None:
        """drizzle-orm 1.0's ``upToV1``: rows matched by their second, then by hash; then two new columns."""
        place = self.place.identifier
        rows = self.place.read(connection, sql.SQL("SELECT id, hash, created_at FROM {} ORDER BY id").format(place))
        matched: list[tuple[object, str]] = []
        unknown: list[str] = []
        for row_id, sha256, created_at in rows:
            found = self._match_old_row(str(sha256), created_at)
            if found is None:
                unknown.append(str(row_id))
            else:
                matched.append((row_id, found.version))
        if unknown:
            raise LedgerRowUnknown(
                f"{self.table} was written by drizzle 0.31, and its rows with id {', '.join(unknown)} match no folder: "
                "drizzle 1.0 cannot upgrade it either"
            )
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS name text").format(place))
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD COLUMN IF NOT EXISTS applied_at timestamp with time zone DEFAULT now()").format(
                place
            )
        )
        for row_id, folder in matched:
            connection.execute(
                sql.SQL("UPDATE {} SET name = %s, applied_at = NULL WHERE id = %s").format(place), (folder, row_id)
            )

    def _match_old_row(self, sha256: str, created_at: object) -> Migration | None:
        second_ms = int(created_at) // 1000 * 1000 if isinstance(created_at, int) else None
        candidates = [migration for migration in self.migrations if migration.created_at_ms == second_ms]
        if len(candidates) == 1:
            return candidates[0]
        same_bytes = [migration for migration in candidates or self.migrations if migration.sha256 == sha256]
        if not same_bytes:
            return None
        return same_bytes[0] if candidates else same_bytes[-1]  # as upToV1's find() and its Map do


def folder_name(migration: Migration) -> str:
    """The name by which drizzle 1.0 knows it; for a journal's entry the one that `drizzle-kit up` would give it."""
    if migration.kind is SourceKind.DRIZZLE_FOLDER or migration.created_at_ms is None:
        return migration.version
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=migration.created_at_ms // 1000)
    return f"{moment:%Y%m%d%H%M%S}_{migration.name}"


def _row(row: tuple[object, ...]) -> LedgerRow:
    sha256, created_at, name, applied_at = row
    return LedgerRow(
        sha256=str(sha256),
        created_at_ms=_milliseconds(created_at),
        name=None if name is None else str(name),
        applied_at=None if applied_at is None else str(applied_at),
    )


def _milliseconds(created_at: object) -> int | None:
    """drizzle's bigint; a numeric or text of the same number means the same to drizzle, which compares it.

    Raises `MalformedLedger` for anything else: read as absent, an applied migration would be run again.
    """
    if created_at is None:
        return None
    try:
        number = Decimal(str(created_at).strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number != number.to_integral_value():
        raise MalformedLedger(
            f"a row of drizzle's ledger has created_at = {str(created_at)[:40]!r}, which is no number of milliseconds",
            remedy="Make the column bigint again, as drizzle creates it.",
        )
    return int(number)

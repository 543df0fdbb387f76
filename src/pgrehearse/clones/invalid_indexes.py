"""Indexes that are invalid in production: pg_dump leaves them out, and a migration meets them all the same.

``CREATE INDEX … IF NOT EXISTS`` does nothing where one has its name, ``DROP INDEX`` drops it, and one that is ready is
kept up to date by every write.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
UNIQUE = "CREATE UNIQUE INDEX "
# As CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY leaves it; nobody but a superuser may say so.
MARK = """
UPDATE pg_catalog.pg_index SET indisvalid = false, indisunique = %s, indisready = %s, indislive = %s
WHERE indexrelid = pg_catalog.to_regclass(%s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidIndex:
    """One index as the source's catalog has it."""

    namespace: str
    name: str
    definition: str  # as pg_get_indexdef writes it
    unique: bool
    ready: bool  # written by INSERT and UPDATE
    live: bool

    @property
    def written(self) -> str:
        return sql.Identifier(self.namespace, self.name).as_string(None)


def read_invalid_indexes(source: Connection) -> tuple[InvalidIndex, ...]:
    """One catalog query, in the caller's snapshot."""
    return tuple(
        InvalidIndex(namespace=row[0], name=row[1], definition=row[2], unique=row[3], ready=row[4], live=row[5])
        for row in source.execute(QUERIES["invalid"])
    )


def restore_invalid_indexes(admin: Connection, indexes: tuple[InvalidIndex, ...]) -> tuple[str, ...]:
    """Make them in the copy, as invalid as they are; those that could not be had, with the reason.

    Builds each one, for nobody can make an index invalid from the start: without its uniqueness, which the rows may
    break.  ``admin`` is in autocommit.
    """
    missing = []
    for index in indexes:
        definition = index.definition
        if definition.startswith(UNIQUE):
            definition = "CREATE INDEX " + definition.removeprefix(UNIQUE)
        try:
            with admin.transaction():
                admin.execute(definition.encode())
                admin.execute(MARK, (index.unique, index.ready, index.live, index.written))
        except psycopg.Error as error:
            told = error.diag.message_primary or str(error).strip()
            missing.append(f"index {index.written}, which is invalid in production, is not in the copy: {told}")
    return tuple(missing)

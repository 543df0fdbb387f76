"""Which rows of a table were written behind the migration: each carries the number of the transaction that wrote it.

Content alone does not tell: an application may write the very row that the migration has left.
"""

from psycopg import sql

from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.rollback.image import Settled
from pgrehearse.rollback.image_columns import Expression, LiveTable
from pgrehearse.rollback.image_refresh import HALF_OF_XIDS

FILE_NODE = "SELECT pg_catalog.pg_relation_filenode(%s::int8::oid)::int8"
# Up to the way back's own transaction, whose rows are nobody else's.
NEWEST = """
SELECT COALESCE(pg_catalog.pg_current_xact_id_if_assigned()::text,
                pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text)::int8
"""
# A row's 32 bits, told by their distance from the first number behind the migration's own.
WRITTEN_BEHIND = "((t.xmin::pg_catalog.text::pg_catalog.int8 - {first}) & 4294967295) < {distance}"


def read_file_node(session: Connection, table: LiveTable) -> int | None:
    """What changes when all rows of the table are written anew."""
    found = fetch_value(session, FILE_NODE, (table.oid,))
    return None if found is None else int(found)


def written_behind(session: Connection, settled: Settled, table: LiveTable) -> Expression:
    """SQL: whether the row ``t`` of ``table`` was written behind the migration that left ``settled``, and before now.

    Never where all rows were written anew since, by the way back itself or by VACUUM FULL, nor of a transaction that
    had begun to write before the migration ended: then content tells.  A row frozen 2³² transactions ago may be told so
    by chance, where a table without a key lost columns.
    """
    behind = settled.behind
    if behind is None or not table.is_heap or read_file_node(session, table) != settled.file_node:
        return sql.SQL("false")
    distance = int(fetch_value(session, NEWEST)) - behind
    if not 0 < distance < HALF_OF_XIDS:
        return sql.SQL("false")
    return sql.SQL(WRITTEN_BEHIND).format(first=sql.Literal(behind % 2**32), distance=sql.Literal(distance))

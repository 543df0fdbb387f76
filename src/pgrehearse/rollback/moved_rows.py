"""Rows that left their partition since: an UPDATE of the partition key takes a row to another one."""

from collections.abc import Sequence

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rollback.image_columns import Expression, ImageColumn, LiveTable, same_key

QUERIES = named_queries(__file__)


def find_moved(session: Connection, table: LiveTable, key: Sequence[tuple[ImageColumn, ImageColumn]]) -> Expression:
    """SQL: whether a row ``i`` of the image, gone from its partition, may stand in another one of the tree.

    ``key``: the image's columns with those of the table now.  What of the key does not decide the partition is looked
    for in the whole tree: it need not be unique there, so a row that it finds is one that may have moved.  False where
    the table is no partition, or all of its key decides; true where the tree may not be read.  One catalog query.
    """
    row = session.execute(QUERIES["tree"], {"oid": table.oid}).fetchone()
    if row is None:
        return sql.SQL("false")
    namespace, name, readable, deciding = row
    stays = [(kept, live) for kept, live in key if live.name not in deciding]
    if not stays:
        return sql.SQL("false")
    if not readable:
        return sql.SQL("true")
    return sql.SQL("EXISTS (SELECT FROM {} r WHERE r.tableoid <> {}::pg_catalog.oid AND {})").format(
        sql.Identifier(namespace, name),
        sql.Literal(table.oid),
        sql.SQL(" AND ").join(same_key(kept, live, "i", "r") for kept, live in stays),
    )

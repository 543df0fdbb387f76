"""Tables of the quarantine namespace: kept like any other, and no subscriber ever hears of them.

A publication FOR ALL TABLES takes in every new table, and a subscriber that has no such table stops at the first row
of it.  Unlogged tables are published nowhere, and the rewrite that makes one logged is not decoded either.  So where
there is such a publication, images are unlogged until they are settled; a crash before that empties them, which
refreshing finds out.
"""

from psycopg import sql

from pgrehearse.postgres.connect import Connection, fetch_value

PUBLISHES_ALL = "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication WHERE puballtables)"
IS_UNLOGGED = "SELECT c.relpersistence = 'u' FROM pg_catalog.pg_class c WHERE c.oid = pg_catalog.to_regclass(%s)"

SCRATCH = sql.SQL("UNLOGGED TABLE")  # gone before the transaction ends


def kind_of_table(session: Connection) -> sql.SQL:
    """What to create: ``TABLE``, or ``UNLOGGED TABLE`` where every table is published."""
    return SCRATCH if fetch_value(session, PUBLISHES_ALL) else sql.SQL("TABLE")


def make_durable(session: Connection, table: sql.Identifier) -> None:
    """Have an unlogged table survive crashes from now on; it is written once more."""
    if fetch_value(session, IS_UNLOGGED, (table.as_string(session),)):
        session.execute(sql.SQL("ALTER TABLE {} SET LOGGED").format(table))

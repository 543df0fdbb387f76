"""ANALYZE of a copy, whose foreign tables are switched off."""

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)


def analyze_copy(session: Connection) -> tuple[str, ...]:
    """ANALYZE every table of a copy; what could not be analyzed, for a person.

    A table with a foreign table among its partitions or children is left out (`read_parents_of_foreign_tables`).  Its
    partitions that stand here are analyzed.
    """
    left_out = read_parents_of_foreign_tables(session)
    if not left_out:
        session.execute("ANALYZE")
        return ()
    oids = list(left_out)
    for namespace, name in session.execute(QUERIES["others"], {"left_out": oids}).fetchall():
        session.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(namespace, name)))
    return tuple(
        f"{'.'.join(name)} has no statistics of its own on the clone: a foreign table is among its partitions or "
        "children"
        for name in left_out.values()
    )


def read_parents_of_foreign_tables(session: Connection) -> dict[int, tuple[str, str]]:
    """Tables above a foreign table, by oid: (namespace, name).

    To analyze such a one, PostgreSQL samples the foreign table too, and the error that a clone answers with ends it.
    """
    return {oid: (namespace, name) for oid, namespace, name in session.execute(QUERIES["parents"])}

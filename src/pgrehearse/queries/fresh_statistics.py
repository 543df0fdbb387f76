"""Statistics of the migrated clone: made anew where the migration changed something, else those of the pristine copy.

The clone inherits what ANALYZE found in the pristine copy.  Where nothing changed they stay: a second random sample
would differ by chance, and with it the plans.
"""

from collections.abc import Collection

from psycopg import sql

from pgrehearse.clones.planner_statistics import read_parents_of_foreign_tables
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)


def refresh_statistics(before: Connection, after: Connection, *, changed: Collection[str] = ()) -> tuple[str, ...]:
    """ANALYZE, in the clone, every table that the migration touched; their names.  Not those above a foreign table.

    ``changed``: further tables of the clone, as ``namespace.relation``.  Changes statistics and nothing else; takes
    SHARE UPDATE EXCLUSIVE on one table at a time.  Cost: a sample of 30,000 rows per table.
    """
    pristine = {row[0]: row[3:6] for row in before.execute(QUERIES["relations"])}
    touched: dict[int, tuple[str, str]] = {}
    names, roots = {}, {}
    for oid, namespace, name, *shape, written, root in after.execute(QUERIES["relations"]):
        names[oid], roots[oid] = (namespace, name), root
        if written or pristine.get(oid) != tuple(shape) or _is_named(namespace, name, changed):
            touched[oid] = (namespace, name)
    touched |= {roots[oid]: names[roots[oid]] for oid in list(touched) if roots[oid] in names}
    for oid in read_parents_of_foreign_tables(after):  # sampling one ends in an error on a clone
        touched.pop(oid, None)
    for namespace, name in touched.values():
        after.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(namespace, name)))
    return tuple(f"{namespace}.{name}" for namespace, name in touched.values())


def _is_named(namespace: str, name: str, changed: Collection[str]) -> bool:
    return f"{namespace}.{name}" in changed

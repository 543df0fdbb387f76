"""Materialized views: derived data, so no row of theirs counts as lost; but an emptied one fails its readers."""

from collections.abc import Iterator

from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.judge import LostGuarantee

POPULATED = """
SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), c.relispopulated
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm'
"""


def find_emptied_matviews(pristine: Connection, clone: Connection) -> Iterator[LostGuarantee]:
    """Those that could be read before and cannot be now: ``WITH NO DATA``, or made anew without rows."""
    readable = [(oid, name) for oid, name, populated in pristine.execute(POPULATED) if populated]
    oids, names = {oid for oid, _ in readable}, {name for _, name in readable}
    for oid, name, populated in clone.execute(POPULATED):
        if not populated and (oid in oids or name in names):
            yield LostGuarantee(
                relation=name,
                what=f"materialized view {name} is not populated any more: every read of it fails",
                hazard="matview-not-populated",
                level=Level.ERROR,
                remedy=f"REFRESH MATERIALIZED VIEW {name};",
                classes=(HazardClass.BREAKS_RUNNING_APP,),
            )


def has_matviews(session: Connection) -> bool:
    """Whether the database has any: their content is then told as not compared."""
    return session.execute(POPULATED).fetchone() is not None

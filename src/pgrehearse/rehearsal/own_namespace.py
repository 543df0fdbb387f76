"""Tables of somebody else in the namespace ``pgrehearse``, which no comparison of schema or data looks into.

The namespace is ours: the ledgers stand there.  What a plan does to other tables there is not measured.
"""

from collections.abc import Iterator, Mapping

from psycopg import sql

from pgrehearse.data.session import prepare_session
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rehearsal.judge import Unmeasured

_QUERIES = named_queries(__file__)
_CONTENT = sql.SQL(
    "SELECT pg_catalog.count(*), COALESCE(pg_catalog.sum(pg_catalog.hashtextextended(t::pg_catalog.text, 0)), 0)::text"
    " FROM ONLY {} t"
)
WHY = "it stands in pgrehearse's own namespace, which is not compared; give it another one"


def find_own_changes(pristine: Connection, clone: Connection) -> Iterator[Unmeasured]:
    """One entry per table that the plan wrote into, made or dropped there.  Reads each of them whole, on both sides."""
    before, after = _read(pristine), _read(clone)
    for oid in dict.fromkeys((*before, *after)):
        if before.get(oid) != after.get(oid):
            name = (before.get(oid) or after[oid])[0]
            yield Unmeasured(what=f"what the plan did to {name}", reason=WHY, decisive=True)


def _read(session: Connection) -> Mapping[int, tuple[str, int, str]]:
    """Name, rows and the sum of their hashes, by oid, which both copies share."""
    prepare_session(session)
    found: dict[int, tuple[str, int, str]] = {}
    for oid, *name in session.execute(_QUERIES["tables"]).fetchall():
        table = sql.Identifier(*name)
        for rows, total in session.execute(_CONTENT.format(table)):
            found[oid] = (table.as_string(None), rows, total)
    return found

"""By what a promise that the server enforces could have been broken all the same, so that its rows must be read.

For everybody but a few roles the server is the evidence: nobody else can switch a foreign key's triggers off or
write to a catalog.  What nobody enforces is left: NOT VALID, functions that do something else now, BEFORE triggers
that swallow a cascade, a NULL that a query hands past its domain, a table attached by what its CHECK says.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from psycopg import sql

from pgrehearse.data.integrity.dependencies import Dependencies, Node, Reached
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
REPLICA_ROLE = "pg_catalog.has_parameter_privilege(r.oid, 'session_replication_role', 'SET')"


def read_power(session: Connection, role: str) -> str | None:
    """Why this role could get past what the server enforces; None: it could not.  Of the database as it is now."""
    query = sql.SQL(QUERIES["powers"]).format(
        role=sql.Literal(role),
        replica_role=sql.SQL(REPLICA_ROLE if session.info.server_version >= 150000 else "false"),
    )
    row = session.execute(query).fetchone()
    if row is None:
        return f"role {role} is not known on this server"
    superuser, member, replica, function = row
    if superuser:
        return f"role {role} is a superuser"
    if member:
        return f"role {role} can become a superuser"
    if replica:
        return f"role {role} may set session_replication_role"
    return f"role {role} may call {function}, which runs as a superuser" if function is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What the plan changed, as far as promises may stand on it; of the migrated clone."""

    power: str | None  # see `read_power`
    touched: frozenset[int]  # relations whose rows are others now, with the ancestors of a partition
    kept: Mapping[int, frozenset[str]]  # tables that lost no row, with the columns that kept every value
    changed: frozenset[Node]  # routines, text search configurations and dictionaries that do something else now
    moved: frozenset[int]  # attached or detached, with what is below them
    dependencies: Dependencies

    def reached(self, *start: Node, leave_out: Collection[int] = ()) -> Reached:
        return self.dependencies.reached_from(*start, leave_out=leave_out)

    def calls(self, reached: Reached) -> bool:
        """Whether asking runs routines of users: its own, or a cast's that the printed text may be read with."""
        return bool(reached.routines) or self.dependencies.has_casts

    def is_touched(self, *relations: int) -> bool:
        return not self.touched.isdisjoint(relations)

    def keeps(self, relations: Collection[int], columns: Collection[str]) -> bool:
        """Whether whoever is found by these columns is found as before, in all of these tables."""
        return all(
            not self.is_touched(oid) or (oid in self.kept and self.kept[oid].issuperset(columns)) for oid in relations
        )

    def affects(self, reached: Reached, relations: Collection[int]) -> bool:
        """Whether it gives something else now, or runs routines of users over other rows."""
        if reached.routines and self.is_touched(*relations, *reached.relations):
            return True
        return not reached.nodes.isdisjoint(self.changed)

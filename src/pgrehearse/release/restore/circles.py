"""Deleted rows that cannot be deleted once more table by table: their tables refer to each other in a circle.

Whichever table comes first, ON DELETE CASCADE takes along rows of another, whose own statement would then find none,
and RESTRICT refuses at once.  Circles within one table are put in order row by row (`delete_order`).
"""

from collections import defaultdict
from collections.abc import Mapping, Set

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.release.backup.writes import Writes

QUERIES = named_queries(__file__)
TOLD = (
    "--reapply may stop, with nothing written back and production as it was: by ON DELETE CASCADE or RESTRICT "
    "{} refer to each other in a circle, and rows {} deleted from them since the backup; the files that are exported "
    "have them either way"
)


def find_circles(session: Connection, writes: Writes) -> tuple[str, ...]:
    """A sentence for each circle in which rows were deleted, by what was counted; where that is in doubt, for each.

    Of production as it is now: a foreign key that was dropped since the backup is not seen.  Two catalog queries.
    """
    roots: dict[str, int] = {}
    names: dict[int, str] = {}
    for name, root, root_name in session.execute(QUERIES["tables"]):
        roots[name], names[root] = root, root_name
    deleted = {roots[table.name] for table in writes.tables if table.deleted and table.name in roots}
    parents: dict[int, set[int]] = defaultdict(set)
    strict: list[tuple[int, int]] = []
    for child, parent, cascades in session.execute(QUERIES["references"]):
        if child != parent and (writes.doubts or {child, parent} <= deleted):
            parents[child].add(parent)
            if cascades:
                strict.append((child, parent))
    were = "may have been" if writes.doubts else "were"
    circles = {frozenset(_circle_of(child, parent, parents)) for child, parent in strict}
    listed = sorted(", ".join(sorted(names[oid] for oid in circle)) for circle in circles if circle)
    return tuple(TOLD.format(tables, were) for tables in listed)


def _circle_of(child: int, parent: int, parents: Mapping[int, Set[int]]) -> Set[int]:
    """All that stand with both in a circle; none where the parent does not refer to the child, over others or not."""
    above = _above(parent, parents)
    return {oid for oid in above if child in _above(oid, parents)} if child in above else set()


def _above(oid: int, parents: Mapping[int, Set[int]]) -> Set[int]:
    """What it refers to, over others or not, and itself."""
    seen, waiting = {oid}, [oid]
    while waiting:
        found = parents.get(waiting.pop(), frozenset()) - seen
        seen |= found
        waiting += found
    return seen

"""Deleted rows that cannot be deleted once more table by table: their tables refer to each other in a circle.

Whichever table comes first, ON DELETE CASCADE takes along rows of another, whose own statement would then find none,
and RESTRICT refuses at once.  Circles within one table are put in order row by row (`delete_order`).
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Set

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
    component_of = {oid: each for each in find_components(parents) for oid in each}
    circles = {component_of[child] for child, parent in strict if parent in component_of[child]}
    listed = sorted(", ".join(sorted(names[oid] for oid in circle)) for circle in circles)
    return tuple(TOLD.format(tables, were) for tables in listed)


def find_components(parents: Mapping[int, Set[int]]) -> Iterator[frozenset[int]]:
    """Those that refer to each other, over others or not; each table is in one.  Takes time by the references alone.

    Kosaraju's: searched from the last one of which the first search came to an end, against the references.
    """
    ended: list[int] = []
    seen: set[int] = set()
    children: dict[int, set[int]] = defaultdict(set)
    for start, above in parents.items():
        for each in above:
            children[each].add(start)
        if start in seen:
            continue
        seen.add(start)
        path = [(start, iter(above))]
        while path:
            following = next((each for each in path[-1][1] if each not in seen), None)
            if following is None:
                ended.append(path.pop()[0])
            else:
                seen.add(following)
                path.append((following, iter(parents.get(following, frozenset()))))
    while ended:
        found = {ended.pop()} & seen
        waiting = list(found)
        seen -= found
        while waiting:
            more = children.get(waiting.pop(), set()) & seen
            seen -= more
            found |= more
            waiting += more
        if found:
            yield frozenset(found)

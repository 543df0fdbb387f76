"""What an expression, a view or a routine is made of, as far down as can be followed.

The catalogs know what an expression calls.  They do not know what a function's text calls or reads: there every
word of the text that is the name of a routine of this database counts, and of a relation where one could stand, which
finds too much rather than too little.  Names that a text puts together while it runs are not found.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pgrehearse.data.integrity.routine_text import words_of
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)

# pg_class.oid of the catalogs, as initdb gives them in every version.
PG_PROC, PG_CLASS, PG_ATTRDEF, PG_CONSTRAINT = 1255, 1259, 2604, 2606
PG_TYPE, PG_OPCLASS, PG_OPERATOR, PG_TS_CONFIG = 1247, 2616, 2617, 3602
ORDERING = frozenset({PG_OPCLASS, PG_TYPE})  # what an index is ordered by, whatever stands in it


class Node(NamedTuple):
    """An object as pg_depend names it."""

    catalog: int
    oid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Routine:
    name: str
    text: str
    language: str
    version: str  # a digest of all that decides what it does


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What something is made of."""

    nodes: frozenset[Node]
    routines: frozenset[int]  # of users, whose text is there to read
    relations: frozenset[int]  # tables and views


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Who is made of what, in one database."""

    edges: Mapping[Node, tuple[Node, ...]]
    routines: Mapping[int, Routine]
    by_name: Mapping[str, tuple[Node, ...]]  # routines, relations and what text search is configured by
    by_function: Mapping[str, tuple[Node, ...]]  # of PostgreSQL's own: what they may use without its being named
    versions: Mapping[Node, str]  # of what can come to do something else: a digest of all that decides what it does
    has_casts: bool  # by routines of users

    def reached_from(self, *start: Node, leave_out: Collection[int] = ()) -> Reached:
        """Without what is reached only through objects of the catalogs ``leave_out``.

        Cost: the texts of the routines on the way.
        """
        seen: set[Node] = set()
        waiting = list(start)
        while waiting:
            node = waiting.pop()
            if node in seen or node.catalog in leave_out:
                continue
            seen.add(node)
            waiting += self.edges.get(node, ())
            if node.catalog == PG_PROC and node.oid in self.routines:
                waiting += self._named_in(self.routines[node.oid])
        return Reached(
            nodes=frozenset(seen),
            routines=frozenset(n.oid for n in seen if n.catalog == PG_PROC and n.oid in self.routines),
            relations=frozenset(n.oid for n in seen if n.catalog == PG_CLASS),
        )

    def _named_in(self, routine: Routine) -> Iterable[Node]:
        words = words_of(routine.text, routine.language)
        for word in words.all:
            yield from self.by_function.get(word, ())
            for node in self.by_name.get(word, ()):
                if node.catalog != PG_CLASS or word in words.of_relations:
                    yield node


def read_dependencies(session: Connection, relations: Mapping[int, str]) -> Dependencies:
    """Some catalog queries.  ``relations`` are the tables' names (relname) by oid."""
    edges: dict[Node, list[Node]] = {}
    for query in ("edges", "ordering_edges", "text_search_edges"):
        for classid, objid, refclassid, refobjid in session.execute(QUERIES[query]):
            edges.setdefault(Node(classid, objid), []).append(Node(refclassid, refobjid))
    routines = {
        oid: Routine(name=name, text=text, language=language, version=version)
        for oid, name, text, language, version in session.execute(QUERIES["routines"])
    }
    versions = {Node(PG_PROC, oid): routine.version for oid, routine in routines.items()}
    versions |= {Node(PG_PROC, oid): version for oid, version in session.execute(QUERIES["compiled"])}
    by_name: dict[str, list[Node]] = {}
    for oid, routine in routines.items():
        by_name.setdefault(routine.name, []).append(Node(PG_PROC, oid))
    for oid, name in (*relations.items(), *session.execute(QUERIES["views"])):
        by_name.setdefault(name, []).append(Node(PG_CLASS, oid))
    configurations = []
    for catalog, oid, name, version in session.execute(QUERIES["text_search"]):
        versions[Node(catalog, oid)] = version
        by_name.setdefault(name, []).append(Node(catalog, oid))
        if catalog == PG_TS_CONFIG:
            configurations.append(Node(catalog, oid))
    return Dependencies(
        edges={node: tuple(found) for node, found in edges.items()},
        routines=routines,
        by_name={name: tuple(found) for name, found in by_name.items()},
        by_function={name: tuple(configurations) for (name,) in session.execute(QUERIES["text_search_functions"])},
        versions=versions,
        has_casts=bool(fetch_value(session, QUERIES["casts"])),
    )


def find_changed(before: Dependencies, after: Dependencies) -> frozenset[Node]:
    """Those that do something else after.

    A new one is reached through a changed or new thing, or by its name: a routine's may have hidden another one, and
    anything else stands for one that was called so.
    """
    known = {node for name in before.by_name for node in after.by_name.get(name, ())}
    return frozenset(
        node
        for node, version in after.versions.items()
        if before.versions.get(node) != version
        if node in before.versions or node in known or (node.catalog == PG_PROC and node.oid in after.routines)
    )

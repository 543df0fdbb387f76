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

    routines: frozenset[int]
    relations: frozenset[int]  # tables and views


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Who is made of what, in one database."""

    edges: Mapping[Node, tuple[Node, ...]]
    routines: Mapping[int, Routine]
    by_name: Mapping[str, tuple[Node, ...]]  # routines and relations
    has_casts: bool  # by routines of users

    def reached_from(self, *start: Node) -> Reached:
        """Cost: the texts of the routines on the way."""
        seen: set[Node] = set()
        waiting = list(start)
        while waiting:
            node = waiting.pop()
            if node in seen:
                continue
            seen.add(node)
            waiting += self.edges.get(node, ())
            if node.catalog == PG_PROC and node.oid in self.routines:
                waiting += self._named_in(self.routines[node.oid])
        return Reached(
            routines=frozenset(n.oid for n in seen if n.catalog == PG_PROC and n.oid in self.routines),
            relations=frozenset(n.oid for n in seen if n.catalog == PG_CLASS),
        )

    def _named_in(self, routine: Routine) -> Iterable[Node]:
        words = words_of(routine.text, routine.language)
        for word in words.all:
            for node in self.by_name.get(word, ()):
                if node.catalog != PG_CLASS or word in words.of_relations:
                    yield node


def read_dependencies(session: Connection, relations: Mapping[int, str]) -> Dependencies:
    """Four catalog queries.  ``relations`` are the tables' names (relname) by oid."""
    edges: dict[Node, list[Node]] = {}
    for classid, objid, refclassid, refobjid in session.execute(QUERIES["edges"]):
        edges.setdefault(Node(classid, objid), []).append(Node(refclassid, refobjid))
    routines = {
        oid: Routine(name=name, text=text, language=language, version=version)
        for oid, name, text, language, version in session.execute(QUERIES["routines"])
    }
    by_name: dict[str, list[Node]] = {}
    for oid, routine in routines.items():
        by_name.setdefault(routine.name, []).append(Node(PG_PROC, oid))
    for oid, name in (*relations.items(), *session.execute(QUERIES["views"])):
        by_name.setdefault(name, []).append(Node(PG_CLASS, oid))
    return Dependencies(
        edges={node: tuple(found) for node, found in edges.items()},
        routines=routines,
        by_name={name: tuple(found) for name, found in by_name.items()},
        has_casts=bool(fetch_value(session, QUERIES["casts"])),
    )


def find_changed_routines(before: Dependencies, after: Dependencies) -> frozenset[int]:
    """Those that do something else after; a new one can only be reached through a changed or new thing."""
    return frozenset(
        oid
        for oid, routine in after.routines.items()
        if oid not in before.routines or before.routines[oid].version != routine.version
    )


def is_affected(reached: Reached, *, routines: Collection[int], relations: Collection[int]) -> bool:
    """Whether something that it is made of has changed, or stands on rows that have."""
    return not reached.routines.isdisjoint(routines) or not reached.relations.isdisjoint(relations)

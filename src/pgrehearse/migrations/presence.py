"""Whether objects exist in a database: one catalog query for each kind of object."""

from collections.abc import Sequence
from enum import Enum
from typing import Any, LiteralString

from pgrehearse.migrations.creations import DatabaseObject, ObjectKind
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

_RELKINDS = {ObjectKind.TABLE: "rpf", ObjectKind.VIEW: "vm", ObjectKind.SEQUENCE: "S", ObjectKind.INDEX: "iI"}
_OWNED = {ObjectKind.COLUMN: "columns", ObjectKind.CONSTRAINT: "constraints", ObjectKind.ENUM_VALUE: "enum_values"}


class Presence(Enum):
    """An object's state in the catalog."""

    ABSENT = "absent"
    PRESENT = "present"
    INVALID = "invalid"  # an index whose CONCURRENTLY build ended half-way, or is still going on


def read_creation_namespace(connection: Connection) -> str | None:
    """Where this session's unqualified CREATE lands: the first namespace of its search path that exists."""
    row = connection.execute("SELECT (pg_catalog.current_schemas(false))[1]::text").fetchone()
    namespace = row[0] if row else None
    return None if namespace is None else str(namespace)


def read_presence(connection: Connection, objects: Sequence[DatabaseObject]) -> dict[DatabaseObject, Presence]:
    """Each object's state.  Read-only, needs no right on the objects; at most six queries whatever their number."""
    queries = named_queries(__file__)
    found = dict.fromkeys(objects, Presence.ABSENT)

    def chosen(*kinds: ObjectKind) -> tuple[list[int], list[str], list[str]]:
        numbers = [number for number, thing in enumerate(objects) if thing.kind in kinds]
        return numbers, [objects[n].namespace for n in numbers], [objects[n].name for n in numbers]

    numbers, namespaces, names = chosen(*_RELKINDS)
    for number, relkind, table, valid in _rows(connection, queries["relations"], numbers, namespaces, names):
        thing = objects[number]
        if relkind in _RELKINDS[thing.kind] and (thing.kind is not ObjectKind.INDEX or table == thing.owner):
            found[thing] = Presence.INVALID if valid is False else Presence.PRESENT
    for kind, query in _OWNED.items():
        numbers, namespaces, names = chosen(kind)
        owners = [objects[number].owner for number in numbers]
        for (number,) in _rows(connection, queries[query], numbers, namespaces, owners, names):
            found[objects[number]] = Presence.PRESENT
    numbers, namespaces, names = chosen(ObjectKind.TYPE)
    for (number,) in _rows(connection, queries["types"], numbers, namespaces, names):
        found[objects[number]] = Presence.PRESENT
    numbers, _, names = chosen(ObjectKind.NAMESPACE)
    for (number,) in _rows(connection, queries["namespaces"], numbers, names):
        found[objects[number]] = Presence.PRESENT
    return found


def _rows(
    connection: Connection, query: LiteralString, numbers: list[int], *columns: Sequence[object]
) -> list[tuple[Any, ...]]:
    return connection.execute(query, (numbers, *columns)).fetchall() if numbers else []

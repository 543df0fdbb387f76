"""Names that a migration changed, changed back.  Nothing is dropped: who stands in the way is renamed aside."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pgrehearse.rollback.ddl import ON_RELATION, ROUTINES, WORDS, split_name
from pgrehearse.rollback.definitions import node_of
from pgrehearse.schema.diff import pair_objects
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

ASIDE = "pgrehearse_aside_"
Slot = tuple[str, str, str]
"""Where a name must be unique: what shares it, the namespace or relation, the name."""

SHARE_NAMES = frozenset(
    {
        ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE, ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW, ObjectKind.SEQUENCE,
        ObjectKind.INDEX, ObjectKind.TYPE, ObjectKind.DOMAIN,
    }
)  # fmt: skip
IN_RELATION = ON_RELATION | {ObjectKind.COLUMN, ObjectKind.CONSTRAINT, ObjectKind.DOMAIN_CONSTRAINT}
FOLLOWS_ITS_TABLE = frozenset({ObjectKind.INDEX})
CANNOT = frozenset(
    {
        ObjectKind.EXTENSION, ObjectKind.DEFAULT_PRIVILEGES, ObjectKind.SYSTEM_OBJECT, ObjectKind.PUBLICATION_RELATION,
        ObjectKind.CAST, ObjectKind.OPERATOR, ObjectKind.TRANSFORM, ObjectKind.ACCESS_METHOD,
    }
)  # fmt: skip
# A namespace before what stands in it, a relation before what belongs to it.
ORDER = (ObjectKind.SCHEMA, *sorted(SHARE_NAMES, key=lambda kind: kind.value))


def rename_back(before: Schema, after: Schema) -> tuple[str, ...]:
    """The statements that give every object of ``before`` which is still there its name, column and namespace back.

    ``after`` is the same database later, or a copy of it by TEMPLATE: an oid that persists is the same object.
    """
    pairs = [
        (old, new)
        for old, new in pair_objects(before, after, same_oids=True)
        if old is not None and new is not None and old.oid == new.oid and old.name != new.name
        and old.kind not in CANNOT and "partition of " not in new.name
    ]  # fmt: skip
    if not pairs:
        return ()
    renaming = _Renaming(after)
    pairs.sort(key=lambda pair: (ORDER.index(pair[0].kind) if pair[0].kind in ORDER else len(ORDER), pair[0].key))
    for old, new in pairs:
        if not renaming.goes_with_its_parent(old, new, pairs):
            renaming.rename(old, new)
    return tuple(renaming.statements)


@dataclass(slots=True)
class _Renaming:
    """The names as they are while one statement after the other is written."""

    after: Schema
    statements: list[str] = field(default_factory=list)
    _namespaces: dict[str, str] = field(default_factory=dict)  # as read -> as it is by now
    _relations: dict[str, str] = field(default_factory=dict)
    _occupied: dict[Slot, SchemaObject] = field(default_factory=dict)
    _own_names: dict[tuple[ObjectKind, int | None, int], str] = field(default_factory=dict)  # of what is in a relation
    _aside: int = 0

    def __post_init__(self) -> None:
        for found in self.after.objects:
            for slot in self._slots(found, found.name):
                self._occupied.setdefault(slot, found)

    def rename(self, old: SchemaObject, new: SchemaObject) -> None:
        if old.kind is ObjectKind.SCHEMA:
            self._emit(new, f"RENAME TO {old.name}")
            self._namespaces[new.name] = old.name
            return
        self._clear_the_way(old, new)
        for slot in self._slots(new, new.name):  # somebody else may have its name now
            if (occupant := self._occupied.get(slot)) is not None and _same(occupant, new):
                del self._occupied[slot]
        if old.kind in IN_RELATION:
            self._rename_to(new, old.name)
            return
        namespace, name, _ = split_name(old.name)
        now_in, now, arguments = self._current(new)
        if now != name:
            self._emit(new, f"RENAME TO {name}")
            self._moved(new, now_in, name, arguments)
        if now_in != namespace and old.kind not in FOLLOWS_ITS_TABLE:
            self._emit(new, f"SET SCHEMA {namespace}")
            self._moved(new, namespace, name, arguments)

    def goes_with_its_parent(
        self, old: SchemaObject, new: SchemaObject, pairs: list[tuple[SchemaObject, SchemaObject]]
    ) -> bool:
        """An inherited column takes its new name from the parent's; a table takes its sequences and indexes along."""
        if old.kind is ObjectKind.COLUMN:
            parents = self._parents(new.relation)
            return any(
                pair[1].kind is ObjectKind.COLUMN and pair[1].relation in parents and pair[1].name == new.name
                for pair in pairs
            )
        if old.kind is ObjectKind.SEQUENCE and "owned by" in new.attributes:
            namespace, name, _ = self._current(new)
            wanted_in, wanted, _ = split_name(old.name)
            if name == wanted and namespace != wanted_in:  # only its namespace changed: its table's move moves it
                self._moved(new, wanted_in, name, "")
                return True
        return False

    def _parents(self, relation: str | None) -> set[str]:
        found = next(
            (each for each in self.after.objects if each.kind is ObjectKind.TABLE and each.name == relation), None
        )
        return set((found.attributes.get("inherits") or "").split(", ")) - {""} if found else set()

    def _clear_the_way(self, old: SchemaObject, new: SchemaObject) -> None:
        for slot in self._slots(new, old.name):
            occupant = self._occupied.get(slot)
            if occupant is None or _same(occupant, new):
                continue
            self._aside += 1
            self._rename_to(occupant, f"{ASIDE}{self._aside}")
            del self._occupied[slot]

    def _rename_to(self, found: SchemaObject, name: str) -> None:
        current = self._own_names.get((found.kind, found.oid, found.number), found.name)
        if found.kind in IN_RELATION:
            self._own_names[found.kind, found.oid, found.number] = name
        relation = self._relations.get(found.relation or "", found.relation)
        match found.kind:
            case ObjectKind.COLUMN | ObjectKind.CONSTRAINT:
                self.statements.append(f"ALTER TABLE {relation} RENAME {WORDS[found.kind]} {current} TO {name};")
            case ObjectKind.DOMAIN_CONSTRAINT:
                self.statements.append(f"ALTER DOMAIN {relation} RENAME CONSTRAINT {current} TO {name};")
            case _ if found.kind in ON_RELATION:
                self.statements.append(f"ALTER {WORDS[found.kind]} {current} ON {relation} RENAME TO {name};")
            case _:
                namespace, _, arguments = self._current(found)
                self._emit(found, f"RENAME TO {name}")
                self._moved(found, namespace, name, arguments)

    def _current(self, found: SchemaObject) -> tuple[str, str, str]:
        namespace, name, rest = split_name(self._relations.get(found.name, found.name))
        return self._namespaces.get(namespace, namespace), name, rest

    def _emit(self, found: SchemaObject, action: str) -> None:
        namespace, name, rest = self._current(found)
        full = f"{namespace}.{name}{rest}" if namespace else found.name
        self.statements.append(f"ALTER {WORDS[found.kind]} {full} {action};")

    def _moved(self, found: SchemaObject, namespace: str, name: str, arguments: str) -> None:
        # Only relations are asked for again, by what belongs to them; a function's name has its arguments behind it.
        self._relations[found.name] = f"{namespace}.{name}{arguments}" if namespace else name

    def _slots(self, found: SchemaObject, name: str) -> Iterator[Slot]:
        if found.kind in SHARE_NAMES:
            namespace, base, _ = split_name(name)
            yield ("relation", namespace, base)
        elif found.kind in IN_RELATION:
            yield (found.kind.value, found.relation or "", name)
            if _has_index(found):
                yield ("relation", split_name(found.relation or "")[0], name)
        elif found.kind in ROUTINES:
            yield ("routine", "", name)
        else:
            yield (found.kind.value, "", name)


def _has_index(found: SchemaObject) -> bool:
    definition = found.attributes.get("definition", "")
    return found.kind is ObjectKind.CONSTRAINT and definition.startswith(("PRIMARY KEY", "UNIQUE", "EXCLUDE"))


def _same(one: SchemaObject, other: SchemaObject) -> bool:
    return node_of(one) == node_of(other) and one.kind is other.kind

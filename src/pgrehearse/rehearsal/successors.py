"""What each object of a schema became: by its oid where that persists, else by its name."""

from collections.abc import Iterator

from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

TABLES = (ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE)
RELATIONS = (*TABLES, ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW)


class Successors:
    """Both schemas, and what each object of before became."""

    def __init__(self, before: Schema, after: Schema) -> None:
        self.before, self.after = before, after
        self._by_oid: dict[object, SchemaObject] = {
            (each.kind, each.oid, each.number): each for each in after.objects if each.oid is not None
        }
        self._by_key = {each.key: each for each in after.objects}
        self._known = {(each.kind, each.oid, each.number) for each in before.objects if each.oid is not None}
        self._successors: dict[ObjectKind, set[int]] = {}  # identities of objects of `after`
        self._names = {each.name: self.of(each) for each in before.of_kind(*RELATIONS, ObjectKind.DOMAIN)}

    def of(self, found: SchemaObject) -> SchemaObject | None:
        return self._by_oid.get((found.kind, found.oid, found.number)) or self._by_key.get(found.key)

    def relation_of(self, found: SchemaObject) -> SchemaObject | None:
        """What the relation that it belongs to became."""
        return self._names.get(found.relation) if found.relation is not None else None

    def is_new(self, found: SchemaObject) -> bool:
        return (found.kind, found.oid, found.number) not in self._known

    def came(self, found: SchemaObject) -> bool:
        """Whether nothing of its name was there before: what was made again has a predecessor."""
        if found.kind not in self._successors:
            self._successors[found.kind] = {id(now) for _, now in self.pairs(found.kind)}
        return self.is_new(found) and id(found) not in self._successors[found.kind]

    def pairs(self, *kinds: ObjectKind) -> Iterator[tuple[SchemaObject, SchemaObject]]:
        for then in self.before.of_kind(*kinds):
            now = self.of(then)
            if now is not None:
                yield then, now

    def lost(self, *kinds: ObjectKind) -> Iterator[tuple[SchemaObject, SchemaObject]]:
        """Objects that are gone from a relation that is still there, each with that relation."""
        for then in self.before.of_kind(*kinds):
            relation = self.relation_of(then)
            if relation is None or self.of(then) is not None:
                continue
            if (then.kind.value, relation.name, then.name) not in self._by_key:
                yield then, relation

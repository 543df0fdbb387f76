"""What a plan changed, sorted by how it is taken back: dropped, made again, altered; and what must go with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pgrehearse.rollback import ddl
from pgrehearse.rollback.alterations import GENERIC, renamed_labels
from pgrehearse.rollback.definitions import PG_CLASS, Definitions, Dependents, Node, node_of
from pgrehearse.schema.diff import pair_objects
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

VIEWS = frozenset({ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW})
TABLES = frozenset({ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE})
# What is dropped and made again rather than altered, and the attributes for which it is altered after all.
REBUILT = frozenset(ObjectKind) - {
    ObjectKind.SCHEMA, ObjectKind.EXTENSION, ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE, ObjectKind.COLUMN,
    ObjectKind.SEQUENCE, ObjectKind.DEFAULT_PRIVILEGES, ObjectKind.SYSTEM_OBJECT, ObjectKind.FOREIGN_DATA_WRAPPER,
    ObjectKind.SERVER, ObjectKind.ACCESS_METHOD,
}  # fmt: skip
ALTERED = {
    ObjectKind.TRIGGER: {"enabled"},
    ObjectKind.RULE: {"enabled"},
    ObjectKind.EVENT_TRIGGER: {"enabled"},
    ObjectKind.STATISTICS: {"statistics target"},
    ObjectKind.INDEX: {"clustered", "statistics targets"},
    ObjectKind.CONSTRAINT: {"index clustered"},
    ObjectKind.PUBLICATION: {"publish", "via partition root"},
    ObjectKind.DOMAIN: {"default", "not null"},
    ObjectKind.MATERIALIZED_VIEW: {"options", "toast options", "access method", "replica identity"},
}
# Not what may lead to another relation, and from there back: foreign keys, rules, triggers, policies.
GO_WITH_THEIR_RELATION = frozenset(
    {
        ObjectKind.COLUMN, ObjectKind.CONSTRAINT, ObjectKind.INDEX, ObjectKind.STATISTICS,
        ObjectKind.PUBLICATION_RELATION,
    }
)  # fmt: skip
# What stands on a column and hinders a change of its type; indexes and constraints PostgreSQL makes again by itself.
HINDER_RETYPING = VIEWS | {
    ObjectKind.RULE, ObjectKind.POLICY, ObjectKind.TRIGGER, ObjectKind.FUNCTION, ObjectKind.PROCEDURE,
    ObjectKind.PUBLICATION_RELATION, ObjectKind.COLUMN,
}  # fmt: skip


@dataclass(slots=True)
class Differences:
    """Of ``after`` against ``before``; complete once it is made.  Objects that are still there keep their pair."""

    before: Schema
    after: Schema
    definitions: Definitions
    dependents: Dependents
    added: dict[Node, SchemaObject] = field(default_factory=dict)
    removed: list[SchemaObject] = field(default_factory=list)
    kept: list[tuple[SchemaObject, SchemaObject, set[str]]] = field(default_factory=list)
    rebuilt: dict[Node, tuple[SchemaObject, SchemaObject]] = field(default_factory=dict)  # by their node after
    pairs: dict[Node, tuple[SchemaObject, SchemaObject]] = field(default_factory=dict)  # by their node after
    _relations: tuple[dict[str, SchemaObject], dict[str, SchemaObject]] = field(default_factory=lambda: ({}, {}))
    _there: frozenset[Node] = frozenset()
    impossible: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for relations, schema in zip(self._relations, (self.before, self.after), strict=True):
            relations |= {found.name: found for found in schema.of_kind(*ddl.RELATIONS)}
        self._there = frozenset(node for users in self.dependents.of.values() for _, node in users)
        self._classify()
        self._close()

    # --- what is to be done ----------------------------------------------------------------------------------------

    def _classify(self) -> None:
        for old, new in pair_objects(self.before, self.after, same_oids=True):
            if new is None:
                assert old is not None
                if not self._is_still_there(old):
                    self.removed.append(old)
            elif old is None:
                if not self._was_there_already(new) and (node := node_of(new)) is not None:
                    self.added[node] = new
                elif node_of(new) is None:
                    self.impossible.append(f"{new.kind.value} {new.identity} cannot be taken back")
            else:
                self._classify_pair(old, new)
        self.rebuilt |= {node: pair for node, pair in self.pairs.items() if self._must_be_rebuilt(*pair)}

    def _classify_pair(self, old: SchemaObject, new: SchemaObject) -> None:
        changed = find_changed(old, new)
        node = node_of(new)
        if node is not None:
            self.pairs[node] = (old, new)
        if changed:
            self.kept.append((old, new, changed))

    def _must_be_rebuilt(self, old: SchemaObject, new: SchemaObject) -> bool:
        changed = find_changed(old, new) - GENERIC - ALTERED.get(old.kind, set())
        if old.kind is ObjectKind.COLUMN:
            return bool({"generated", "generation expression"} & changed) or (
                "generated" in old.attributes and bool({"type", "collation"} & changed)
            )
        if old.kind is ObjectKind.SEQUENCE:
            return is_identity(old) is not is_identity(new)
        if not changed or old.kind not in REBUILT or (old.kind is ObjectKind.TYPE and "labels" in old.attributes):
            return False
        if old.oid == new.oid and old.kind in (ObjectKind.FUNCTION, ObjectKind.PROCEDURE):
            return False  # CREATE OR REPLACE did it, and undoes it
        return not (old.kind is ObjectKind.VIEW and old.oid == new.oid and self._same_columns(old, new))

    def _same_columns(self, old: SchemaObject, new: SchemaObject) -> bool:
        def columns(schema: Schema, view: SchemaObject) -> list[tuple[int | None, str, str | None]]:
            return sorted(
                (found.position, found.name, found.attributes.get("type"))
                for found in schema.of_kind(ObjectKind.COLUMN)
                if found.relation == view.name
            )

        return columns(self.before, old) == columns(self.after, new)

    def _is_still_there(self, old: SchemaObject) -> bool:
        """An index or constraint of a table that became a partition is part of its parent's, and no object any more."""
        return old.kind in (ObjectKind.INDEX, ObjectKind.CONSTRAINT) and node_of(old) in self._there

    def _was_there_already(self, new: SchemaObject) -> bool:
        """And the other way round: a detached partition's own index was its parent's part before."""
        node = node_of(new)
        return (
            node is not None
            and new.kind in (ObjectKind.INDEX, ObjectKind.CONSTRAINT)
            and (node[:2] in self.definitions.belongings)
        )

    # --- what goes with it -----------------------------------------------------------------------------------------

    def _close(self) -> None:
        """Until nothing more depends on what goes: what can be made again is dropped and made again."""
        seeds: set[Node] = set()
        while True:
            more = {*self.added, *self.rebuilt, *self._hindering()} - seeds
            if not more:
                return
            seeds |= more
            for node in self.dependents.reach(sorted(more)):
                self._goes_too(node)
            for enum, _ in self.rebuilt_enums():
                for node in self.dependents.reach(filter(None, [node_of(enum)])):
                    if not node[2]:  # its columns are moved over
                        self._goes_too(node)
            for node in self._hindering():
                self._goes_too(node)

    def _goes_too(self, node: Node) -> None:
        pair = self.pairs.get(node)
        if pair is None or node in self.rebuilt:
            return
        old, new = pair
        if old.kind in REBUILT and not (old.kind is ObjectKind.TYPE and "labels" in old.attributes):
            if not self.goes_with_its_relation(new):
                self.rebuilt[node] = pair
        elif old.kind is ObjectKind.COLUMN:
            if "generated" in old.attributes:
                self.rebuilt[node] = pair
            elif "default" in new.attributes and find_changed(old, new).isdisjoint({"default", "type"}):
                self._kept_changes(old, new).add("default")

    def _kept_changes(self, old: SchemaObject, new: SchemaObject) -> set[str]:
        for entry in self.kept:
            if entry[0] is old:
                return entry[2]
        self.kept.append((old, new, set()))
        return self.kept[-1][2]

    def _hindering(self) -> list[Node]:
        """Views and the like on columns whose type changes back."""
        found: list[Node] = []
        for node in self._retyped():
            for used, user in self.dependents.of.get(node[:2], ()):
                pair = self.pairs.get(user)
                if used != node[2] or pair is None or pair[0].kind not in HINDER_RETYPING:
                    continue
                if pair[0].kind is not ObjectKind.COLUMN or "generated" in pair[0].attributes:
                    found.append(user)
        return found

    def _retyped(self) -> Iterator[Node]:
        for old, new, changed in self.kept:
            if old.kind is ObjectKind.COLUMN and changed & {"type", "collation"}:
                node = node_of(new)
                if node is not None:
                    yield node
        for _, new in self.rebuilt_enums():
            yield from (node for _, _, node in self.columns_of_type(new))

    def rebuilt_enums(self) -> Iterator[tuple[SchemaObject, SchemaObject]]:
        for old, new, changed in self.kept:
            if old.kind is ObjectKind.TYPE and "labels" in changed and renamed_labels(old, new) is None:
                yield old, new

    def columns_of_type(self, enum: SchemaObject) -> Iterator[tuple[SchemaObject, SchemaObject, Node]]:
        for node, (old, new) in self.pairs.items():
            if old.kind is ObjectKind.COLUMN and old.attributes["type"] in (enum.name, f"{enum.name}[]"):
                relation = self.pairs.get((PG_CLASS, node[1], 0))
                if relation is not None and relation[0].kind in TABLES:
                    yield old, new, node

    # --- who goes with whom ----------------------------------------------------------------------------------------

    def relation_goes(self, found: SchemaObject) -> bool:
        """Whether its relation is dropped, and takes it along."""
        leads_on = found.attributes.get("definition", "").startswith("FOREIGN KEY")
        return found.kind in GO_WITH_THEIR_RELATION and not leads_on and found.relation in self._relations_going()

    def _relations_going(self) -> set[str | None]:
        return {each.name for each in self.going() if each.kind in ddl.RELATIONS}

    def goes_with_its_relation(self, found: SchemaObject) -> bool:
        """Whether it is dropped by a statement that drops something else."""
        if self.relation_goes(found):
            return True
        whole = node_of(found)
        while whole is not None and (whole := self.dependents.part_of.get(whole)) is not None:
            if whole in self.added:
                return True
        if found.kind is ObjectKind.COLUMN:
            relation = self.relation(self.after, found.relation)
            if relation is None or relation.kind in VIEWS:
                return True
            return self.is_inherited(found, self.after, lambda column: node_of(column) in self.added)
        if found.kind is ObjectKind.PUBLICATION_RELATION:
            return any(each.kind is ObjectKind.PUBLICATION and each.name == found.name for each in self.added.values())
        if found.kind is ObjectKind.DOMAIN_CONSTRAINT:
            return any(each.kind is ObjectKind.DOMAIN and each.name == found.relation for each in self.going())
        owned_by = found.attributes.get("owned by", "") if found.kind is ObjectKind.SEQUENCE else ""
        if owned_by.endswith(" (identity)"):
            return True
        if owned_by:
            columns = {f"{each.relation}.{each.name}" for each in self.added.values() if each.kind is ObjectKind.COLUMN}
            return owned_by in columns
        return False

    def relation_node(self, found: SchemaObject) -> Node | None:
        """Of the relation that it stands in, after."""
        relation = self.relation(self.after, found.relation)
        return None if relation is None else node_of(relation)

    def going(self) -> Iterator[SchemaObject]:
        yield from self.added.values()
        yield from (new for _, new in self.rebuilt.values())

    def relation(self, schema: Schema, name: str | None) -> SchemaObject | None:
        return self._relations[schema is self.after].get(name or "")

    def is_inherited(self, column: SchemaObject, schema: Schema, is_done: Callable[[SchemaObject], bool]) -> bool:
        """Whether a parent's column of that name has it done already."""
        relation = self.relation(schema, column.relation)
        parents = (relation.attributes.get("inherits") or "").split(", ") if relation else []
        if parents == [""]:
            return False
        return any(
            each.relation in parents and each.name == column.name and is_done(each)
            for each in schema.of_kind(ObjectKind.COLUMN)
        )


def find_changed(old: SchemaObject, new: SchemaObject) -> set[str]:
    return {name for name in {*old.attributes, *new.attributes} if old.compared(name) != new.compared(name)}


def is_identity(sequence: SchemaObject) -> bool:
    return sequence.attributes.get("owned by", "").endswith(" (identity)")

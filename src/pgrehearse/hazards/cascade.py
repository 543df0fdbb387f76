"""What a DROP takes with it, as far as the model shows the dependencies."""

from dataclasses import dataclass, field

from pgrehearse.hazards.model import RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, name_of

RELATIONS = frozenset({
    "OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_FOREIGN_TABLE",
})  # fmt: skip
TYPES = frozenset({"OBJECT_TYPE", "OBJECT_DOMAIN"})
FUNCTIONS = frozenset({"OBJECT_FUNCTION", "OBJECT_PROCEDURE", "OBJECT_ROUTINE", "OBJECT_AGGREGATE"})


@dataclass(slots=True)
class Dropped:
    """Everything that goes."""

    relations: list[RelationName] = field(default_factory=list)  # tables, views …, the named ones first
    columns: list[tuple[RelationName, str]] = field(default_factory=list)  # by the type that is dropped
    constraints: list[tuple[RelationName, str]] = field(default_factory=list)  # foreign keys of other tables
    defaults: list[tuple[RelationName, str]] = field(default_factory=list)
    triggers: list[tuple[RelationName, str]] = field(default_factory=list)
    types: list[RelationName] = field(default_factory=list)
    functions: list[RelationName] = field(default_factory=list)
    named: int = 0  # how many of the relations the statement names

    @property
    def altered(self) -> set[RelationName]:
        """Tables that stay and lose something."""
        lost = (*self.columns, *self.constraints, *self.defaults, *self.triggers)
        return {name for name, _ in lost} - set(self.relations)


def object_name(node: Node) -> RelationName | None:
    """The name of one of DropStmt's objects; None for casts, operators and their like."""
    if "String" in node:
        return RelationName(None, node["String"].get("sval", ""))
    if "TypeName" in node:
        return name_of(node["TypeName"]["names"])
    if "ObjectWithArgs" in node:
        return name_of(node["ObjectWithArgs"]["objname"])
    items = node.get("List", {}).get("items", ())
    return name_of(items) if items and all("String" in each for each in items) else None


def dropped_with(tree: Node, situation: Situation) -> Dropped:
    """What this DropStmt takes, as if its dependants never refused it."""
    found = Dropped()
    removed = tree["removeType"]
    for node in tree["objects"]:
        name = object_name(node)
        if name is None:
            continue
        if removed in RELATIONS:
            found.relations.append(situation.resolve(name))
        elif removed == "OBJECT_SCHEMA":
            found.relations.extend(each for each in situation.model.relations if each.namespace == name.name)
            found.types.extend(each for each in situation.model.types if each.namespace == name.name)
            found.functions.extend(each for each in situation.model.functions if each.namespace == name.name)
        elif removed in TYPES:
            found.types.append(situation.resolve_type(name))
        elif removed in FUNCTIONS:
            found.functions.append(situation.resolve_function(name))
    found.named = len(found.relations)
    _follow(found, situation)
    return found


def _follow(found: Dropped, situation: Situation) -> None:
    model = situation.model
    for type_name in found.types:
        for relation, column in model.typed(type_name):
            found.columns.append((relation.name, column.name))
            found.relations.extend(each.name for each in model.using(relation.name, column.name))
        found.types.extend(
            each.name
            for each in model.types.values()
            if each.base is not None and each.base.name == type_name.name and each.name not in found.types
        )
    for function in found.functions:
        for relation in model.relations.values():
            for trigger in relation.triggers.values():
                if trigger.function == function:
                    found.triggers.append((relation.name, trigger.name))
            for column in relation.columns.values():
                if function in column.default_calls:
                    found.defaults.append((relation.name, column.name))
            if function in relation.calls and relation.name not in found.relations:
                found.relations.append(relation.name)
    for name in found.relations:  # grows while it is read
        known = model.relations.get(name)
        if known is None:
            continue
        more = [*sorted(known.partitions, key=lambda each: each.name)]
        more += [each.name for each in model.using(name)]
        if known.kind is RelationKind.SEQUENCE:
            found.defaults.extend(
                (relation.name, column.name)
                for relation in model.relations.values()
                for column in relation.columns.values()
                if name in column.default_calls
            )
        else:
            found.constraints.extend(
                (relation.name, constraint.name)
                for relation, constraint in model.referencing(name)
                if relation.name not in found.relations
            )
        found.relations.extend(each for each in more if each not in found.relations)

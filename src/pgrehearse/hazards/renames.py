"""What RENAME and SET SCHEMA do to the model: everything that names the object follows it."""

from dataclasses import replace

from pgrehearse.hazards.model import Model, Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, name_of, relation_of


def rename(tree: Node, situation: Situation) -> None:
    """RENAME of anything."""
    model, new = situation.model, tree.get("newname", "")
    match tree["renameType"]:
        case "OBJECT_TABLE" | "OBJECT_VIEW" | "OBJECT_MATVIEW" | "OBJECT_SEQUENCE" | "OBJECT_FOREIGN_TABLE":
            old = situation.resolve(relation_of(tree["relation"]))
            if old in model.index_tables:
                _rename_index(situation, old, new)
            else:
                move_relation(situation, old, RelationName(old.namespace, new))
        case "OBJECT_INDEX":
            _rename_index(situation, situation.resolve(relation_of(tree["relation"])), new)
        case "OBJECT_COLUMN":
            for relation in situation.with_partitions(situation.relation(relation_of(tree["relation"]))):
                _rename_column(situation, relation, tree["subname"], new)
        case "OBJECT_TABCONSTRAINT":
            relation = situation.relation(relation_of(tree["relation"]))
            constraint = relation.constraints.pop(tree["subname"], None)
            if constraint is not None:
                constraint.name = new
                relation.constraints[new] = constraint
        case "OBJECT_TYPE" | "OBJECT_DOMAIN":
            old = situation.resolve_type(name_of(tree["object"]["List"]["items"]))
            user_type = model.types.pop(old, None)
            if user_type is not None:
                _retype(model, old, RelationName(old.namespace, new))
                user_type.name = RelationName(old.namespace, new)
                model.types[user_type.name] = user_type
        case "OBJECT_FUNCTION" | "OBJECT_PROCEDURE" | "OBJECT_ROUTINE":
            old = situation.resolve_function(name_of(tree["object"]["ObjectWithArgs"]["objname"]))
            overloads = model.functions.pop(old, None)
            if overloads is not None:
                model.functions[RelationName(old.namespace, new)] = overloads
        case "OBJECT_SCHEMA":
            _rename_namespace(situation, tree["subname"], new)
        case "OBJECT_ROLE":
            _rename_one(model.roles, tree["subname"], new)
        case "OBJECT_POLICY":
            _rename_one(situation.relation(relation_of(tree["relation"])).policy_names or set(), tree["subname"], new)


def _rename_one(names: set[str], old: str, new: str) -> None:
    if old in names:
        names.discard(old)
        names.add(new)


def _retype(model: Model, old: RelationName, new: RelationName) -> None:
    for _, column in list(model.typed(old)):
        if column.type is not None:
            column.type = replace(column.type, name=new.name)


def _rename_index(situation: Situation, old: RelationName, new: str) -> None:
    table = situation.model.index_tables.pop(old, None)
    if table is None:
        return
    situation.model.index_tables[RelationName(old.namespace, new)] = table
    indexes = situation.relation(table).indexes
    if (index := indexes.pop(old.name, None)) is not None:
        index.name = new
        indexes[new] = index


def _rename_column(situation: Situation, relation: Relation, old: str, new: str) -> None:
    if (column := relation.columns.get(old)) is not None:
        column.name = new
        in_order = {each.name: each for each in relation.columns.values()}  # an INSERT may name none
        relation.columns.clear()
        relation.columns.update(in_order)

    def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(new if each == old else each for each in names)

    for constraint in relation.constraints.values():
        constraint.columns = renamed(constraint.columns)
        constraint.proves_not_null = frozenset(renamed(tuple(constraint.proves_not_null)))
    for index in relation.indexes.values():
        index.columns, index.key_columns = renamed(index.columns), renamed(index.key_columns)
        index.expression_columns = frozenset(renamed(tuple(index.expression_columns)))
    for view in tuple(situation.model.using(relation.name, old)):
        if (relation.name, old) in view.uses:
            view.uses.discard((relation.name, old))
            view.uses.add((relation.name, new))
    for _, constraint in situation.model.referencing(relation.name):
        constraint.referenced_columns = renamed(constraint.referenced_columns)


def move_relation(situation: Situation, old: RelationName, new: RelationName) -> None:
    """Another name, or another namespace; everything that names it follows."""
    model = situation.model
    relation = model.relations.pop(old, None)
    if relation is None:
        return
    relation.name = new
    model.relations[new] = relation
    for index in relation.indexes:
        model.index_tables.pop(RelationName(old.namespace, index), None)
        model.index_tables[RelationName(new.namespace, index)] = new
    for child, constraint in tuple(model.referencing(old)):
        constraint.referenced = new
        model.note_links(child)
    for user in tuple(model.using(old)):
        user.uses = {(new if used == old else used, column) for used, column in user.uses}
        model.note_links(user)
    for constraint in relation.constraints.values():  # to itself
        if constraint.referenced == old:
            constraint.referenced = new
    model.note_links(relation)
    if relation.partition_of is not None and relation.partition_of in model.relations:
        siblings = model.relations[relation.partition_of].partitions
        siblings.discard(old)
        siblings.add(new)
    for name in relation.partitions:
        below = model.relations.get(name)
        if below is not None and below.partition_of == old:
            below.partition_of = new
    for each in model.relations.values():
        if each.owned_by is not None and each.owned_by[0] == old:
            each.owned_by = (new, each.owned_by[1])
        if each.kind is not RelationKind.PARTITIONED and old in each.partitions:
            each.partitions.discard(old)
            each.partitions.add(new)


def _rename_namespace(situation: Situation, old: str, new: str) -> None:
    model = situation.model
    model.namespaces[new] = model.namespaces.pop(old, None)
    for name in [each for each in model.relations if each.namespace == old]:
        move_relation(situation, name, RelationName(new, name.name))
    for type_name in [each for each in model.types if each.namespace == old]:
        model.types[RelationName(new, type_name.name)] = model.types.pop(type_name)
    for function in [each for each in model.functions if each.namespace == old]:
        model.functions[RelationName(new, function.name)] = model.functions.pop(function)


def set_schema(tree: Node, situation: Situation) -> None:
    """SET SCHEMA of a relation."""
    if "relation" in tree:
        old = situation.resolve(relation_of(tree["relation"]))
        namespace = tree["newschema"]
        move_relation(situation, old, RelationName(namespace, old.name))
        moved = RelationName(namespace, old.name)
        for each in [one for one in situation.model.relations.values() if one.owned_by and one.owned_by[0] == moved]:
            move_relation(situation, each.name, RelationName(namespace, each.name.name))  # its sequences go with it

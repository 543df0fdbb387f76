"""CREATE of what is there, and labels of enums that are not: by a catalog."""

from collections.abc import Iterator

from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.situation import Situation, situation_name
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, name_of, relation_of
from pgrehearse.hazards.written import Written

_RELATIONS = frozenset({
    "OBJECT_TABLE", "OBJECT_INDEX", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_FOREIGN_TABLE",
})  # fmt: skip
_WITH_INDEX = frozenset({"CONSTR_PRIMARY", "CONSTR_UNIQUE", "CONSTR_EXCLUSION"})


def existing_names(written: Written, situation: Situation) -> Iterator[Hit]:
    """What stands in the way of a CREATE, and which label is not there."""
    if not situation.model.complete or situation.blind or written.conditional:
        return
    tree, model = written.tree, situation.model
    match written.kind:
        case "CreateSchemaStmt" if not tree.get("if_not_exists") and tree.get("schemaname") in model.namespaces:
            yield _exists("SCHEMA", quoted(tree["schemaname"]))
        case "CreateSeqStmt" if not tree.get("if_not_exists"):
            name = situation_name(relation_of(tree["sequence"]), situation)
            if name in model.relations:
                yield _exists("SEQUENCE", name.written)
        case "CreateEnumStmt" | "CompositeTypeStmt" | "CreateDomainStmt":
            name = situation_name(_type_name(written.kind, tree), situation)
            if name in model.types or name in model.relations:
                yield _exists("TYPE", name.written)
        case "CreateTrigStmt" if not tree.get("replace"):
            relation = model.relations.get(situation.resolve(relation_of(tree["relation"])))
            if relation is not None and tree["trigname"] in relation.triggers:
                yield _exists("TRIGGER", quoted(tree["trigname"]))
        case "CreatePolicyStmt":
            relation = model.relations.get(situation.resolve(relation_of(tree["table"])))
            if relation is not None and tree["policy_name"] in (relation.policy_names or ()):
                yield _exists("POLICY", quoted(tree["policy_name"]))
        case "CreateRoleStmt" if tree["role"] in model.roles:
            yield _exists("ROLE", quoted(tree["role"]))
        case "CreateStmt" | "CreateTableAsStmt" | "ViewStmt":
            yield from _index_in_the_way(written.kind, tree, situation)
            yield from _twice(tree)
        case "RenameStmt" | "AlterObjectSchemaStmt":
            yield from _taken(written.kind, tree, situation)
        case "AlterTableStmt":
            yield from _key_in_the_way(tree, situation)
        case "AlterEnumStmt":
            known = model.types.get(situation.resolve_type(name_of(tree["typeName"])))
            for key in ("newValNeighbor", "oldVal"):
                if known is not None and known.labels and key in tree and tree[key] not in known.labels:
                    yield _missing("enum value", f"'{tree[key]}'")


def _index_in_the_way(kind: str, tree: Node, situation: Situation) -> Iterator[Hit]:
    """Relations of a schema share their names with its indexes."""
    made = tree["into"]["rel"] if kind == "CreateTableAsStmt" else tree["view" if kind == "ViewStmt" else "relation"]
    name = situation_name(relation_of(made), situation)
    if not tree.get("if_not_exists") and name in situation.model.index_tables and name.namespace != "pg_temp":
        yield _exists("INDEX", name.written)


def _taken(kind: str, tree: Node, situation: Situation) -> Iterator[Hit]:
    """The new name of a relation, or of a constraint; the old name in the new schema."""
    model = situation.model
    if "relation" not in tree:
        return
    old = situation.resolve(relation_of(tree["relation"]))
    known = model.relations.get(old)
    if kind == "RenameStmt" and tree["renameType"] == "OBJECT_TABCONSTRAINT":
        if known is not None and known.knows and tree["newname"] in known.constraints:
            yield _exists("CONSTRAINT", quoted(tree["newname"]))
        return
    if kind == "RenameStmt" and tree["renameType"] not in _RELATIONS:
        return
    new = RelationName(tree.get("newschema", old.namespace), tree.get("newname", old.name))
    is_there = known is not None or old in model.index_tables
    if new != old and is_there and (new in model.relations or new in model.index_tables):
        yield _exists("RELATION", new.written)


def _twice(tree: Node) -> Iterator[Hit]:
    """A column, or a constraint, of one definition."""
    columns, constraints = [], []
    for element in tree.get("tableElts", ()):
        if "ColumnDef" in element:
            columns.append(element["ColumnDef"]["colname"])
            constraints += [each["Constraint"] for each in element["ColumnDef"].get("constraints", ())]
        elif "Constraint" in element:
            constraints.append(element["Constraint"])
    named = [each["conname"] for each in constraints if "conname" in each]
    for kind, names in (("COLUMN", columns), ("CONSTRAINT", named)):
        for name in sorted({each for each in names if names.count(each) > 1}):
            yield _exists(kind, quoted(name))


def _key_in_the_way(tree: Node, situation: Situation) -> Iterator[Hit]:
    """The index of a new key takes the constraint's name."""
    if tree.get("objtype") != "OBJECT_TABLE":
        return
    commands = [each["AlterTableCmd"] for each in tree["cmds"]]
    dropped = {each.get("name") for each in commands if each["subtype"] == "AT_DropConstraint"}
    table = situation.resolve(relation_of(tree["relation"]))
    for command in commands:
        body = command.get("def", {}).get("Constraint", {}) if command["subtype"] == "AT_AddConstraint" else {}
        name = body.get("conname")
        if name is None or name in dropped or "indexname" in body or body.get("contype") not in _WITH_INDEX:
            continue
        full = RelationName(table.namespace, name)
        if full in situation.model.relations or situation.model.index_tables.get(full, table) != table:
            yield _exists("RELATION", full.written)


def _type_name(kind: str, tree: Node) -> RelationName:
    if kind == "CompositeTypeStmt":
        return relation_of(tree["typevar"])
    return name_of(tree["domainname"] if kind == "CreateDomainStmt" else tree["typeName"])


def _exists(kind: str, shown: str) -> Hit:
    return Hit(hazard="object-exists", relation=None, names={"kind": kind, "object": shown}, even_new=True)


def _missing(kind: str, shown: str) -> Hit:
    return Hit(hazard="missing-object", relation=None, names={"kind": kind, "object": shown}, even_new=True)

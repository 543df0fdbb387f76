"""Names that lead nowhere: where a catalog was read, a statement that names what is not there fails."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, columns_in, functions_in, name_of, relation_of, strings, walk
from pgrehearse.hazards.written import Written

_NAMES_OTHERS = ("CreateSchemaStmt", "ConstraintsSetStmt")  # what it makes itself, and constraints
_CATALOGS = frozenset({"pg_catalog", "information_schema", "pg_toast", "pg_temp"})
_OF_A_COLUMN = frozenset({
    "AT_ColumnDefault", "AT_DropNotNull", "AT_SetNotNull", "AT_SetStatistics", "AT_SetOptions", "AT_ResetOptions",
    "AT_SetStorage", "AT_SetCompression", "AT_AddIdentity", "AT_SetIdentity", "AT_DropIdentity", "AT_DropExpression",
    "AT_SetExpression", "AT_AlterColumnType", "AT_DropColumn",
})  # fmt: skip
_OF_A_CONSTRAINT = frozenset({"AT_DropConstraint", "AT_ValidateConstraint", "AT_AlterConstraint"})
_OF_A_TRIGGER = frozenset({"AT_EnableTrig", "AT_EnableAlwaysTrig", "AT_EnableReplicaTrig", "AT_DisableTrig"})
# What each kind makes itself, under this key; CREATE SCHEMA makes what its own elements name.
_MADE = {"CreateStmt": "relation", "ViewStmt": "view", "CreateSeqStmt": "sequence", "CreateForeignTableStmt": "base"}
_SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})


def missing_names(written: Written, situation: Situation) -> Iterator[Hit]:
    """What the statement names and is certainly not there; without a catalog, or after a blind statement, nothing."""
    if not situation.model.complete or situation.blind or written.conditional or written.kind in _NAMES_OTHERS:
        return
    for name in _relations(written, situation):
        yield _missing("TABLE", name.written, None)
    for name in _functions(written, situation):
        yield _missing("FUNCTION", f"{name.written}()", None)
    if written.kind in ("DropStmt", "CommentStmt", "CreateStatsStmt"):
        yield from _by_list(written.tree, situation)
    elif (own := _own_relation(written.tree)) is not None:
        relation = situation.model.relations.get(situation.resolve(own))
        if relation is not None and relation.knows and not relation.perhaps_made:
            for kind, name_of_part in _parts(written, relation):
                yield _missing(kind, f"{relation.name.written}.{quoted(name_of_part)}", relation.name)


def _by_list(tree: Node, situation: Situation) -> Iterator[Hit]:
    """What is named by a dotted list: the table, then its part."""
    for items in _lists(tree):
        *before, part = strings(items)
        table = RelationName(before[-2] if len(before) > 1 else None, before[-1])
        relation = situation.model.relations.get(situation.resolve(table))
        if relation is None:
            if situation.exists(table) is False and table.namespace not in _CATALOGS:
                yield _missing("TABLE", table.written, None)
        elif relation.knows and not relation.perhaps_made:
            kind = (tree.get("removeType") or tree.get("objtype", "OBJECT_COLUMN")).removeprefix("OBJECT_")
            known = _known_parts(relation).get(kind)
            if known is not None and part not in known and part != "_RETURN":
                yield _missing(kind.removeprefix("TAB"), f"{relation.name.written}.{quoted(part)}", relation.name)


def _known_parts(relation: Relation) -> dict[str, Mapping[str, object]]:
    return {
        "COLUMN": relation.columns,
        "TABCONSTRAINT": relation.constraints,
        "TRIGGER": relation.triggers,
        "RULE": relation.rules,
        **({"POLICY": dict.fromkeys(relation.policy_names)} if relation.policy_names is not None else {}),
    }


def _lists(tree: Node) -> Iterator[list[Node]]:
    if "removeType" in tree:
        if tree["removeType"] in ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY") and not tree.get("missing_ok"):
            yield from (each["List"]["items"] for each in tree["objects"])
    elif "objtype" in tree:
        if tree["objtype"] in ("OBJECT_COLUMN", "OBJECT_TABCONSTRAINT", "OBJECT_TRIGGER", "OBJECT_RULE"):
            yield tree["object"]["List"]["items"]
    elif len(tree.get("relations", ())) == 1 and "RangeVar" in tree["relations"][0]:
        name = relation_of(tree["relations"][0]["RangeVar"])
        table = [{"String": {"sval": part}} for part in (name.namespace, name.name) if part is not None]
        named = {each["StatsElem"]["name"] for each in tree.get("exprs", ()) if "name" in each["StatsElem"]}
        yield from ([*table, {"String": {"sval": column}}] for column in sorted(named))


def _missing(kind: str, shown: str, relation: RelationName | None) -> Hit:
    return Hit(hazard="missing-object", relation=relation, names={"kind": kind, "object": shown}, even_new=True)


# --- relations ---------------------------------------------------------------------------------------------


def _relations(written: Written, situation: Situation) -> Iterator[RelationName]:
    tree = written.tree
    made = {relation_of(body["rel"]) for kind, body in walk(tree) if kind == "IntoClause" and "rel" in body}
    if written.kind == "CreateForeignTableStmt":
        made.add(relation_of(tree["base"]["relation"]))
    elif (key := _MADE.get(written.kind)) is not None:
        made.add(relation_of(tree[key]))
    if tree.get("missing_ok") and "relation" in tree:
        made.add(relation_of(tree["relation"]))
    with_names = {body["ctename"] for kind, body in walk(tree) if kind == "CommonTableExpr"}
    for kind, body in walk(tree):
        if kind == "LockingClause":  # FOR UPDATE OF names aliases
            with_names |= {each["RangeVar"]["relname"] for each in body.get("lockedRels", ())}
    seen: set[RelationName] = set()
    own = _own_relation(tree)
    for name in [*([own] if own is not None else []), *_named(tree)]:
        if name in seen or name in made or name.namespace in _CATALOGS:
            continue
        seen.add(name)
        if name.namespace is None and (name.name in with_names or name.name.startswith("pg_")):
            continue
        if situation.exists(name) is False and situation.resolve(name) not in situation.model.index_tables:
            yield name


def _own_relation(tree: Node) -> RelationName | None:
    """A statement's own `relation`, which has no name of its type around it in the tree."""
    own: Any = tree.get("relation")
    return relation_of(own) if isinstance(own, dict) and "relname" in own else None


def _named(tree: Node) -> Iterator[RelationName]:
    for kind, body in walk(tree):
        if kind == "RangeVar":
            yield relation_of(body)
        elif kind == "Constraint" and "pktable" in body:
            yield relation_of(body["pktable"])
        elif kind in ("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
            yield relation_of(body["relation"])


def _functions(written: Written, situation: Situation) -> Iterator[RelationName]:
    """By name alone: which overload is meant hangs on types."""
    model = situation.model
    if not model.builtin_functions or written.kind in ("DefineStmt", "CreateFunctionStmt"):
        return
    fired = [name_of(written.tree["funcname"])] if written.kind == "CreateTrigStmt" else []
    for name in dict.fromkeys([*functions_in(written.tree), *fired]):
        if name.namespace in (None, "pg_catalog") and name.name in model.builtin_functions:
            continue
        if name.namespace != "pg_catalog" and not any(
            known.name == name.name and name.namespace in (None, known.namespace) for known in model.functions
        ):
            yield name


# --- columns, constraints, triggers --------------------------------------------------------------------------


def _parts(written: Written, relation: Relation) -> Iterator[tuple[str, str]]:
    tree = written.tree
    match written.kind:
        case "AlterTableStmt":
            yield from _of_alter_table(tree, relation)
        case "IndexStmt":
            named = {each["IndexElem"]["name"] for each in tree.get("indexParams", ()) if "name" in each["IndexElem"]}
            named |= {each["IndexElem"]["name"] for each in tree.get("indexIncludingParams", ())}
            named |= columns_in(tree.get("indexParams", [])) | columns_in(tree.get("whereClause", {}))
            yield from _columns(named, relation)
        case "UpdateStmt":
            yield from _columns({each["ResTarget"]["name"] for each in tree.get("targetList", ())}, relation)
            yield from _columns(_own_columns(written), relation)
        case "DeleteStmt":
            yield from _columns(_own_columns(written), relation)
        case "InsertStmt":
            yield from _columns({each["ResTarget"]["name"] for each in tree.get("cols", ())}, relation)
        case "RenameStmt":
            kind = tree["renameType"].removeprefix("OBJECT_")
            known = _known_parts(relation).get(kind)
            if known is not None and tree["subname"] not in known:
                yield kind.removeprefix("TAB"), tree["subname"]


def _own_columns(written: Written) -> set[str]:
    """Of a condition that can name no other table's, nor a variable of a body's."""
    tree = written.tree
    others = {"fromClause", "usingClause", "withClause"} & tree.keys()
    if written.inside or others or "alias" in tree["relation"]:
        return set()
    where = tree.get("whereClause", {})
    if any(kind in ("SubLink", "CurrentOfExpr") for kind, _ in walk({"where": where})):
        return set()
    qualified = [body for kind, body in walk(where) if kind == "ColumnRef" and len(body.get("fields", ())) > 1]
    return columns_in(where) - {tree["relation"]["relname"]} if not qualified else set()  # its name: the whole row


def _of_alter_table(tree: Node, relation: Relation) -> Iterator[tuple[str, str]]:
    commands = [each["AlterTableCmd"] for each in tree["cmds"]]
    added = {command["def"]["ColumnDef"]["colname"] for command in commands if command["subtype"] == "AT_AddColumn"}
    added_constraints = {
        command["def"]["Constraint"].get("conname") for command in commands if command["subtype"] == "AT_AddConstraint"
    }
    for command in commands:
        subtype, name = command["subtype"], command.get("name", "")
        if subtype in _OF_A_COLUMN and not command.get("missing_ok") and name:
            yield from _columns({name} - added, relation)
        elif subtype in _OF_A_CONSTRAINT and not command.get("missing_ok"):
            name = name or command.get("def", {}).get(
                "Constraint", command.get("def", {}).get("ATAlterConstraint", {})
            ).get("conname", "")
            if name and name not in relation.constraints and name not in added_constraints:
                yield "CONSTRAINT", name
        elif subtype in _OF_A_TRIGGER and name and name not in relation.triggers:
            yield "TRIGGER", name
        elif subtype == "AT_DetachPartition" and "PartitionCmd" in command.get("def", {}):
            partition = relation_of(command["def"]["PartitionCmd"]["name"])
            if partition.name not in {each.name for each in relation.partitions}:
                yield "PARTITION", partition.name
        elif subtype == "AT_AddConstraint":
            constraint = command["def"]["Constraint"]
            named = {*strings(constraint.get("keys")), *strings(constraint.get("fk_attrs"))}
            if constraint["contype"] == "CONSTR_CHECK":
                named |= columns_in(constraint.get("raw_expr", {}))
            yield from _columns(named - added, relation)


def _columns(named: Iterable[str], relation: Relation) -> Iterator[tuple[str, str]]:
    for name in sorted(named):
        if name not in relation.columns and name not in _SYSTEM_COLUMNS:
            yield "COLUMN", name

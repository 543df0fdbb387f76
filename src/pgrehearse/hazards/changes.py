"""What each statement does to the model: the files' own history of the schema, statement by statement."""

import copy
from collections.abc import Callable, Iterable

from pgrehearse.hazards.alter_table_changes import alter_table
from pgrehearse.hazards.cascade import FUNCTIONS, dropped_with, object_name
from pgrehearse.hazards.columns import argument_type
from pgrehearse.hazards.constraint import ConstraintKind
from pgrehearse.hazards.model import Function, Index, Model, Relation, RelationKind, Trigger, Volatility
from pgrehearse.hazards.renames import rename, set_schema
from pgrehearse.hazards.session_changes import prepare, set_constraints, set_to, set_variable
from pgrehearse.hazards.situation import Situation, situation_name
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.table_parts import add_column, add_constraint, constraint_of
from pgrehearse.hazards.tree import (
    Node,
    columns_in,
    constant_of,
    is_on,
    kind_of,
    name_of,
    options,
    relation_of,
    strings,
    walk,
)
from pgrehearse.hazards.type_changes import alter_domain, alter_enum, create_composite, create_domain, create_enum
from pgrehearse.hazards.view_changes import names_all, note_uses, view

_EVENTS = {4: "insert", 8: "delete", 16: "update", 32: "truncate"}
_RULE_EVENTS = {"CMD_INSERT": "insert", "CMD_UPDATE": "update", "CMD_DELETE": "delete", "CMD_SELECT": "select"}


def apply_statement(kind: str, tree: Node, situation: Situation, text: str = "", *, perhaps: bool = False) -> None:
    """Take in one statement, after it was judged.  A kind that changes no shape changes nothing.

    `perhaps`: it may not be reached, or fail unseen; what it would change is not certain from here on.
    """
    rule = _RULES.get(kind)
    if perhaps and rule is not None:
        _doubt(kind, tree, situation)
    if kind == "CreateFunctionStmt":
        _function(tree, situation, text)
    elif rule is not None:
        rule(tree, situation)
    elif kind in ("InsertStmt", "CopyStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"):
        if kind == "InsertStmt" and "onConflictClause" not in tree and "cols" not in tree:
            _note_copy(tree.get("selectStmt", {}), situation)
        for relation in _written(kind, tree, situation):
            if relation.is_empty:
                relation.is_empty = None
    elif kind == "SelectStmt":
        _select(tree, situation)


def _doubt(kind: str, tree: Node, situation: Situation) -> None:
    model = situation.model
    if kind == "DropStmt" and tree.get("behavior") == "DROP_CASCADE":
        situation.doubted.update(model.relations)
        return
    named = [
        relation_of(value)
        for _, body in [(kind, tree), *walk(tree)]
        for value in (body, *body.values())
        if isinstance(value, dict) and "relname" in value
    ]
    if kind == "DropStmt":
        of_table = tree["removeType"] in ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY")
        for node in tree["objects"]:
            items = node.get("List", {}).get("items", ())
            name = name_of(items[:-1]) if of_table and items else object_name(node)
            named += [name] if name is not None else []
    for name in map(situation.resolve, named):
        relation = model.relations.get(model.index_tables.get(name, name))
        situation.doubted.add(name)
        if relation is not None:
            situation.doubted.update(each.name for each in situation.with_partitions(relation))


def _note_copy(query: Node, situation: Situation) -> None:
    """SELECT * FROM one table, with nothing else: all of its rows."""
    body = query.get("SelectStmt", {})
    sources, targets = body.get("fromClause", []), body.get("targetList", [])
    if (
        len(sources) == len(targets) == 1
        and "RangeVar" in sources[0]
        and names_all(targets[0])
        and not {"whereClause", "limitCount", "limitOffset", "distinctClause", "groupClause"} & body.keys()
    ):
        situation.copied.add(situation.resolve(relation_of(sources[0]["RangeVar"])))


def _written(kind: str, tree: Node, situation: Situation) -> Iterable[Relation]:
    if kind == "CopyStmt":
        return [situation.relation(relation_of(tree["relation"]))] if tree.get("is_from") else []
    return [
        situation.relation(relation_of(body["relation"]))
        for name, body in [(kind, tree), *walk(tree)]
        if name in ("InsertStmt", "MergeStmt", "UpdateStmt")
    ]


# --- tables, views, indexes --------------------------------------------------------------------------------


def _create(tree: Node, situation: Situation) -> None:
    name = situation_name(relation_of(tree["relation"]), situation)
    if tree.get("if_not_exists") and situation.exists(name):
        return
    of_type = situation.resolve_type(name_of(tree["ofTypename"]["names"])) if "ofTypename" in tree else None
    relation = Relation(
        name=name,
        knows=of_type is None and (not tree.get("if_not_exists") or situation.model.complete),
        of_type=of_type,
        made_in=situation.file,
        perhaps_made=bool(tree.get("if_not_exists")) and not situation.model.complete,
        temporary=tree["relation"].get("relpersistence") == "t",
        unlogged=tree["relation"].get("relpersistence") == "u",
        is_empty=True,
        access_method=tree.get("accessMethod"),
        borrows="inhRelations" in tree,
    )
    if "partspec" in tree:
        relation.kind = RelationKind.PARTITIONED
        relation.partition_key = ", ".join(
            each["PartitionElem"].get("name", "(…)") for each in tree["partspec"].get("partParams", ())
        )
    situation.model.relations[name] = relation
    for each in tree.get("inhRelations", ()):
        parent = situation.relation(relation_of(each["RangeVar"]))
        parent.partitions.add(name)
        _inherit(relation, parent)
        situation.model.note_links(relation)
        if "partbound" in tree:
            relation.partition_of = parent.name
            if tree["partbound"].get("is_default"):
                relation.partition_bound = "DEFAULT"
                parent.has_default_partition = True
    for element in tree.get("tableElts", ()):
        kind, body = kind_of(element)
        if kind == "ColumnDef":
            add_column(situation, relation, body)
        elif kind == "Constraint":
            add_constraint(situation, relation, constraint_of(body, relation, situation))
        elif kind == "TableLikeClause":
            _like(situation.relation(relation_of(body["relation"])), relation)


def _inherit(relation: Relation, parent: Relation) -> None:
    for column in parent.columns.values():
        relation.columns[column.name] = copy.copy(column)
    for constraint in parent.constraints.values():
        if constraint.kind in (ConstraintKind.CHECK, ConstraintKind.NOT_NULL) or relation.partition_of:
            relation.constraints[constraint.name] = copy.copy(constraint)
    relation.knows = relation.knows and parent.knows


def _like(source: Relation, relation: Relation) -> None:
    for column in source.columns.values():
        relation.columns[column.name] = copy.copy(column)
    relation.knows, relation.borrows = relation.knows and source.knows, True


def _create_as(tree: Node, situation: Situation) -> None:
    name = situation_name(relation_of(tree["into"]["rel"]), situation)
    _new_from_query(name, tree, situation)
    if "whereClause" not in tree["query"].get("SelectStmt", {}) and name.namespace != "pg_temp":
        _note_copy(tree["query"], situation)
    if tree.get("objtype") == "OBJECT_MATVIEW":
        relation = situation.model.relations[name]
        relation.kind = RelationKind.MATERIALIZED_VIEW
        situation.bridges.add(name)
        note_uses(relation, tree["query"], situation)


def _new_from_query(name: RelationName, tree: Node, situation: Situation) -> None:
    if tree.get("if_not_exists") and situation.exists(name):
        return
    situation.model.relations[name] = Relation(
        name=name,
        made_in=situation.file,
        perhaps_made=bool(tree.get("if_not_exists")) and not situation.model.complete,
        temporary=name.namespace == "pg_temp",
    )


def _select(tree: Node, situation: Situation) -> None:
    if "intoClause" in tree:
        _new_from_query(situation_name(relation_of(tree["intoClause"]["rel"]), situation), tree, situation)
    if "fromClause" in tree:
        return
    for target in tree.get("targetList", ()):
        call = target["ResTarget"].get("val", {}).get("FuncCall")
        if call is not None and name_of(call["funcname"]).name == "set_config" and len(call.get("args", ())) == 3:
            setting, value, local = (constant_of(each) for each in call["args"])
            set_to(str(setting).lower(), None if value is None else [str(value)], situation, local=bool(local))


def _free_name(name: str, relation: Relation, situation: Situation) -> str:
    """As the server numbers a name that is taken; source: ChooseRelationName in indexcmds.c."""
    tried, number = name, 0
    while RelationName(relation.name.namespace, tried) in situation.model.index_tables:
        number += 1
        tried = f"{name}{number}"
    return tried


def _index(tree: Node, situation: Situation) -> None:
    relation = situation.relation(relation_of(tree["relation"]))
    elements = [each["IndexElem"] for each in tree.get("indexParams", ())]
    keys = tuple(each["name"] for each in elements if "name" in each)
    including = tuple(each["IndexElem"]["name"] for each in tree.get("indexIncludingParams", ()))
    name = tree.get("idxname") or _free_name(
        "_".join([relation.name.name, *(each.get("name", "expr") for each in elements), "idx"]), relation, situation
    )
    full = RelationName(relation.name.namespace, name)
    if tree.get("if_not_exists") and full in situation.model.index_tables:
        return
    relation.indexes[name] = Index(
        name=name,
        columns=keys + including,
        key_columns=keys,
        expression_columns=frozenset(
            columns_in([each["expr"] for each in elements if "expr" in each]) | columns_in(tree.get("whereClause", {}))
        ),
        unique=bool(tree.get("unique")),
        # Without its partitions' indexes that of a partitioned table is not valid.
        valid=relation.kind is not RelationKind.PARTITIONED or bool(tree["relation"].get("inh")),
        expressions=len(keys) < len(elements),
        partial="whereClause" in tree,
        method=tree.get("accessMethod", "btree"),
        made_in=None if tree.get("if_not_exists") else situation.file,
    )
    situation.model.index_tables[full] = relation.name


def _drop(tree: Node, situation: Situation) -> None:
    model = situation.model
    removed = tree["removeType"]
    if removed == "OBJECT_INDEX":
        for node in tree["objects"]:
            full = situation.resolve(name_of(node["List"]["items"]))
            table = model.index_tables.pop(full, None)
            index = model.relations[table].indexes.pop(full.name, None) if table in model.relations else None
            if index is not None and table is not None:
                situation.dropped_indexes.append((table, index))
        return
    if removed in ("OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"):
        for node in tree["objects"]:
            items = node["List"]["items"]
            relation = situation.relation(name_of(items[:-1]))
            name = strings(items[-1:])[0]
            relation.triggers.pop(name, None)
            relation.rules.pop(name, None)
            if removed == "OBJECT_POLICY" and relation.policies:
                relation.policies -= 1
                (relation.policy_names or set()).discard(name)
        return
    dropped = dropped_with(tree, situation)
    cascade = tree.get("behavior") == "DROP_CASCADE"
    if removed in ("OBJECT_VIEW", "OBJECT_MATVIEW"):
        for each in dropped.relations:
            known = model.relations.get(each)
            situation.dropped_views[each] = frozenset(known.columns if known is not None else ())
    if removed in FUNCTIONS:
        for body in (node["ObjectWithArgs"] for node in tree["objects"] if "ObjectWithArgs" in node):
            if not body.get("args_unspecified"):
                types = tuple(argument_type(each["TypeName"]) for each in body.get("objargs", ()) if each)
                situation.dropped_signatures.add((situation.resolve_function(name_of(body["objname"])), types))
    if removed == "OBJECT_TABLE":
        situation.dropped.update(each for each in dropped.relations if not _is_new(situation, each))
    situation.dropped_functions.update(dropped.functions)
    situation.dropped_overloads.update(each.name for each in dropped.functions)
    remove_relations(model, dropped.relations if cascade else dropped.relations[: dropped.named])
    for type_name in dropped.types:
        model.types.pop(type_name, None)
    for function in dropped.functions:
        model.functions.pop(function, None)
    if removed == "OBJECT_PUBLICATION":
        model.published.clear()
    if removed == "OBJECT_SCHEMA":
        for node in tree["objects"]:
            name_ = object_name(node)
            model.namespaces.pop(name_.name if name_ is not None else "", None)
    if cascade:
        for table, name in dropped.constraints:
            if table in model.relations:
                model.relations[table].constraints.pop(name, None)
        for table, name in dropped.columns:
            if table in model.relations:
                model.relations[table].columns.pop(name, None)
        for table, name in dropped.triggers:
            if table in model.relations:
                model.relations[table].triggers.pop(name, None)


def _is_new(situation: Situation, name: RelationName) -> bool:
    known = situation.model.relations.get(name)
    return known is not None and situation.is_new(known)


def _grant(tree: Node, situation: Situation) -> None:
    if tree.get("is_grant"):
        ranges = [each["RangeVar"] for each in tree.get("objects", ()) if "RangeVar" in each]
        situation.granted.update(situation.resolve(relation_of(each)) for each in ranges)
        if tree.get("targtype") == "ACL_TARGET_ALL_IN_SCHEMA" and tree.get("objtype") == "OBJECT_SEQUENCE":
            names = situation.model.relations
            situation.granted.update(name for name in names if name.namespace in strings(tree["objects"]))


def remove_relations(model: Model, names: Iterable[RelationName]) -> None:
    """Forget them, their indexes and their places among partitions; partitions go with their parent."""
    for name in list(names):
        relation = model.relations.pop(name, None)
        if relation is None:
            continue
        for index in relation.indexes:
            model.index_tables.pop(RelationName(name.namespace, index), None)
        for other in (relation.partition_of,):
            if other is not None and other in model.relations:
                model.relations[other].partitions.discard(name)
        if relation.kind in (RelationKind.PARTITIONED, RelationKind.TABLE):
            remove_relations(model, relation.partitions)
            owned = [each.name for each in model.relations.values() if each.owned_by and each.owned_by[0] == name]
            remove_relations(model, owned)


def _truncate(tree: Node, situation: Situation) -> None:
    for each in tree["relations"]:
        for relation in situation.with_partitions(situation.relation(relation_of(each["RangeVar"]))):
            relation.is_empty = True


def _function(tree: Node, situation: Situation, text: str) -> None:
    name = situation_name(name_of(tree["funcname"]), situation)
    given = options(tree.get("options"))
    body = given.get("as")
    if isinstance(body, dict):
        body = strings(body["List"]["items"])[0]
    returns = tree.get("returnType", {}).get("names")
    made = Function(
        name=name,
        arguments=str(len(tree.get("parameters", ()))),
        kind="p" if tree.get("is_procedure") else "f",
        language=str(given.get("language", "sql")).lower(),
        volatility=Volatility(str(given.get("volatility", "volatile"))[0]),
        body=body if isinstance(body, str) else None,
        definition=text or None,
        returns_trigger=bool(returns) and strings(returns)[-1] == "trigger",
        made_in=situation.file,
    )
    types = tuple(argument_type(each["FunctionParameter"]["argType"]) for each in tree.get("parameters", ()))
    if (name, types) in situation.dropped_signatures:
        situation.made_again.add(name)
    overloads = situation.model.functions.setdefault(name, [])
    if tree.get("replace"):
        overloads[:] = [each for each in overloads if each.made_in is not None and each.arguments != made.arguments]
    overloads.append(made)


def _role(tree: Node, situation: Situation) -> None:
    situation.model.roles.add(tree["role"])


def _drop_role(tree: Node, situation: Situation) -> None:
    situation.model.roles -= {each["RoleSpec"].get("rolename", "") for each in tree.get("roles", ())}


def _range(tree: Node, situation: Situation) -> None:
    """Its multirange type may have any name."""
    situation.model.type_names.clear()


def _publication(tree: Node, situation: Situation) -> None:
    """What is sent from here on is not followed."""
    situation.model.published.clear()


def _define(tree: Node, situation: Situation) -> None:
    """CREATE AGGREGATE; what other kinds of CREATE … (…) make is not followed."""
    if tree["kind"] == "OBJECT_TYPE":
        situation.model.type_names.clear()
    if tree["kind"] == "OBJECT_AGGREGATE":
        name = situation_name(name_of(tree["defnames"]), situation)
        made = Function(name=name, kind="a", language="internal", made_in=situation.file)
        situation.model.functions.setdefault(name, []).append(made)


def _trigger(tree: Node, situation: Situation) -> None:
    relation = situation.relation(relation_of(tree["relation"]))
    relation.triggers[tree["trigname"]] = Trigger(
        name=tree["trigname"],
        function=situation.resolve_function(name_of(tree["funcname"])),
        events=frozenset(event for bit, event in _EVENTS.items() if tree.get("events", 0) & bit),
        constraint=bool(tree.get("isconstraint")),
        initially_deferred=bool(tree.get("initdeferred")),
    )


def _statistics(tree: Node, situation: Situation) -> None:
    if "defnames" in tree:
        name = situation_name(name_of(tree["defnames"]), situation)
        for each in tree.get("relations", ()):
            if "RangeVar" in each:
                situation.model.statistics[name] = situation.resolve(relation_of(each["RangeVar"]))


def _rule(tree: Node, situation: Situation) -> None:
    relation = situation.relation(relation_of(tree["relation"]))
    relation.rules[tree["rulename"]] = _RULE_EVENTS.get(tree.get("event", ""), "")


def _sequence(tree: Node, situation: Situation) -> None:
    name = situation_name(relation_of(tree["sequence"]), situation)
    if tree.get("if_not_exists") and situation.exists(name):
        return
    situation.model.relations[name] = Relation(
        name=name, kind=RelationKind.SEQUENCE, knows=True, made_in=situation.file,
        perhaps_made=bool(tree.get("if_not_exists")),
    )  # fmt: skip


def _namespace(tree: Node, situation: Situation) -> None:
    name = tree.get("schemaname") or tree.get("authrole", {}).get("rolename", "")
    if not (tree.get("if_not_exists") and name in situation.model.namespaces):
        situation.model.namespaces[name] = situation.file
    kept = situation.search_path
    situation.search_path = (name, *kept)
    for element in tree.get("schemaElts", ()):
        apply_statement(*kind_of(element), situation)
    situation.search_path = kept


def _policy(tree: Node, situation: Situation) -> None:
    relation = situation.relation(relation_of(tree["table"]))
    relation.policies = (relation.policies or 0) + 1
    if relation.policy_names is not None:
        relation.policy_names.add(tree["policy_name"])


def _alter_sequence(tree: Node, situation: Situation) -> None:
    owner = options(tree.get("options")).get("owned_by")
    if isinstance(owner, dict):
        items = owner["List"]["items"]
        relation = situation.relation(relation_of(tree["sequence"]))
        relation.owned_by = (situation.resolve(name_of(items[:-1])), strings(items)[-1]) if len(items) > 1 else None


def _default_privileges(tree: Node, situation: Situation) -> None:
    action = tree["action"]
    if action.get("objtype") == "OBJECT_SEQUENCE" and is_on(action.get("is_grant", False)):
        situation.model.sequences_granted_by_default = True


_RULES: dict[str, Callable[[Node, Situation], None]] = {
    "CreateStmt": _create,
    "CreateTableAsStmt": _create_as,
    "ViewStmt": view,
    "IndexStmt": _index,
    "DropStmt": _drop,
    "TruncateStmt": _truncate,
    "AlterTableStmt": alter_table,
    "RenameStmt": rename,
    "AlterObjectSchemaStmt": set_schema,
    "CreateEnumStmt": create_enum,
    "AlterEnumStmt": alter_enum,
    "CreateDomainStmt": create_domain,
    "AlterDomainStmt": alter_domain,
    "CompositeTypeStmt": create_composite,
    "CreateTrigStmt": _trigger,
    "RuleStmt": _rule,
    "CreateStatsStmt": _statistics,
    "CreateSeqStmt": _sequence,
    "AlterSeqStmt": _alter_sequence,
    "CreateSchemaStmt": _namespace,
    "DefineStmt": _define,
    "CreateRangeStmt": _range,
    "CreateRoleStmt": _role,
    "DropRoleStmt": _drop_role,
    "CreatePublicationStmt": _publication,
    "AlterPublicationStmt": _publication,
    "CreatePolicyStmt": _policy,
    "VariableSetStmt": set_variable,
    "ConstraintsSetStmt": set_constraints,
    "PrepareStmt": prepare,
    "GrantStmt": _grant,
    "AlterDefaultPrivilegesStmt": _default_privileges,
}

"""What ALTER TABLE's commands do to the model."""

from dataclasses import replace

from pgrehearse.hazards.columns import type_of
from pgrehearse.hazards.constraint import ConstraintKind
from pgrehearse.hazards.model import Column, Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.table_parts import add_column, add_constraint, calls_of, constraint_of
from pgrehearse.hazards.tree import Node, relation_of

_TABLES = frozenset({"OBJECT_TABLE", "OBJECT_MATVIEW", "OBJECT_VIEW", "OBJECT_FOREIGN_TABLE"})


def alter_table(tree: Node, situation: Situation) -> None:
    """All commands of one statement."""
    if tree.get("objtype") not in _TABLES:
        return
    if tree.get("missing_ok") and situation.exists(relation_of(tree["relation"])) is False:
        return
    relation = situation.relation(relation_of(tree["relation"]))
    for each in tree["cmds"]:
        command = each["AlterTableCmd"]
        for target in situation.with_partitions(relation) if tree["relation"].get("inh") else [relation]:
            _apply(situation, target, command, is_child=target is not relation)


def column_in(relation: Relation, name: str) -> Column:
    """The column; one that nothing is known of is remembered from here on."""
    return relation.columns.setdefault(name, Column(name=name))


def drop_column(situation: Situation, relation: Relation, name: str) -> None:
    """The column with the constraints and indexes that name it."""
    relation.columns.pop(name, None)
    for constraint in [each for each in relation.constraints.values() if name in each.columns]:
        relation.constraints.pop(constraint.name)
    for index in [each for each in relation.indexes.values() if name in (*each.columns, *each.expression_columns)]:
        relation.indexes.pop(index.name)
        situation.model.index_tables.pop(RelationName(relation.name.namespace, index.name), None)


def _apply(situation: Situation, relation: Relation, command: Node, *, is_child: bool) -> None:
    name = command.get("name", "")
    match command["subtype"]:
        case "AT_AddColumn":
            body = command["def"]["ColumnDef"]
            if command.get("missing_ok") and body["colname"] in relation.columns:
                return
            column = add_column(situation, relation, body)
            if command.get("missing_ok") and not relation.knows:
                column.made_in = None
        case "AT_DropColumn":
            drop_column(situation, relation, name)
        case "AT_AlterColumnType":
            column = column_in(relation, name)
            body = command["def"]["ColumnDef"]
            column.type = type_of(body["typeName"])
            column.collation = body["collClause"]["collname"][-1]["String"]["sval"] if "collClause" in body else None
        case "AT_SetNotNull":
            column_in(relation, name).not_null = True
        case "AT_DropNotNull":
            column_in(relation, name).not_null = False
        case "AT_ColumnDefault":
            column = column_in(relation, name)
            column.has_default = "def" in command
            column.default_calls = calls_of(command.get("def", {}), situation)
        case "AT_AddIdentity":
            column = column_in(relation, name)
            column.identity = command.get("def", {}).get("Constraint", {}).get("generated_when", "d")
            column.has_default = True
        case "AT_DropIdentity":
            column = column_in(relation, name)
            column.identity, column.has_default = "", False
        case "AT_DropExpression":
            column = column_in(relation, name)
            column.generated, column.has_default = "", False
        case "AT_AddConstraint":
            body = command["def"]["Constraint"]
            if not is_child or body["contype"] in ("CONSTR_CHECK", "CONSTR_NOTNULL"):
                constraint = constraint_of(body, relation, situation)
                if "indexname" in body:
                    _adopt_index(situation, relation, body["indexname"], constraint.name)
                add_constraint(situation, relation, constraint)
        case "AT_DropConstraint":
            _drop_constraint(situation, relation, name, cascade=command.get("behavior") == "DROP_CASCADE")
        case "AT_ValidateConstraint" if name in relation.constraints:
            constraint = relation.constraints[name]
            constraint.validated = True
            if constraint.kind is ConstraintKind.NOT_NULL:
                for column_name in constraint.columns:
                    column_in(relation, column_name).not_null = True
        case "AT_AlterConstraint":
            constraint_body = command["def"].get("ATAlterConstraint", command["def"].get("Constraint", {}))
            known = relation.constraints.get(constraint_body.get("conname", ""))
            if known is not None:
                known.deferrable = bool(constraint_body.get("deferrable"))
                known.initially_deferred = bool(constraint_body.get("initdeferred"))
        case "AT_ReplicaIdentity":
            relation.replica_identity = command["def"]["ReplicaIdentityStmt"].get("identity_type", "d")
        case "AT_SetLogged":
            relation.unlogged = False
        case "AT_SetUnLogged":
            relation.unlogged = True
        case "AT_SetTableSpace":
            relation.tablespace = name
        case "AT_SetAccessMethod":
            relation.access_method = name
        case "AT_EnableRowSecurity":
            relation.row_security = True
        case "AT_DisableRowSecurity":
            relation.row_security = False
        case "AT_ChangeOwner":
            relation.owner = command.get("newowner", {}).get("rolename")
        case "AT_AttachPartition" if relation.kind is RelationKind.PARTITIONED or relation.kind is None:
            if is_child:
                return
            child = situation.relation(relation_of(command["def"]["PartitionCmd"]["name"]))
            child.partition_of, child.borrows = relation.name, True
            child.partition_bound = child.partition_bound or "FOR VALUES …"
            relation.partitions.add(child.name)
            if relation.is_empty and not child.is_empty:
                relation.is_empty = None
        case "AT_DetachPartition":
            child = situation.relation(relation_of(command["def"]["PartitionCmd"]["name"]))
            child.partition_of, child.borrows = None, True
            relation.partitions.discard(child.name)
        case "AT_AddInherit" if not is_child:
            parent = situation.relation(relation_of(command["def"]["RangeVar"]))
            parent.partitions.add(relation.name)
        case "AT_DropInherit" if not is_child:
            situation.relation(relation_of(command["def"]["RangeVar"])).partitions.discard(relation.name)
        case "AT_DisableTrig" if name in relation.triggers:
            relation.triggers[name] = replace(relation.triggers[name], enabled=False)
        case "AT_EnableTrig" if name in relation.triggers:
            relation.triggers[name] = replace(relation.triggers[name], enabled=True)


def _adopt_index(situation: Situation, relation: Relation, index: str, constraint: str) -> None:
    """ADD CONSTRAINT … USING INDEX: the index takes the constraint's name."""
    found = relation.indexes.pop(index, None)
    situation.model.index_tables.pop(RelationName(relation.name.namespace, index), None)
    if found is not None:
        found.name = found.constraint = constraint


def _drop_constraint(situation: Situation, relation: Relation, name: str, *, cascade: bool) -> None:
    constraint = relation.constraints.pop(name, None)
    if constraint is None:
        return
    if constraint.index is not None:
        relation.indexes.pop(constraint.index, None)
        situation.model.index_tables.pop(RelationName(relation.name.namespace, constraint.index), None)
    if constraint.kind is ConstraintKind.NOT_NULL:
        for column in constraint.columns:
            column_in(relation, column).not_null = False
    if cascade:
        for child, foreign in list(situation.model.referencing(relation.name)):
            if not foreign.referenced_columns or foreign.referenced_columns == constraint.columns:
                child.constraints.pop(foreign.name, None)

"""What ALTER TABLE is refused by the shape of the table: its partition key, its parents, its primary key."""

from collections.abc import Iterator

from pgrehearse.hazards.constraint import ConstraintKind
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation, RelationKind
from pgrehearse.hazards.predict.constraints import partition_columns
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, columns_in, relation_of
from pgrehearse.hazards.written import Written

_KINDS = {
    "OBJECT_VIEW": RelationKind.VIEW,
    "OBJECT_MATVIEW": RelationKind.MATERIALIZED_VIEW,
    "OBJECT_SEQUENCE": RelationKind.SEQUENCE,
    "OBJECT_FOREIGN_TABLE": RelationKind.FOREIGN,
}
_OF_TABLES = frozenset({
    "AT_AddColumn", "AT_DropColumn", "AT_AlterColumnType", "AT_SetNotNull", "AT_DropNotNull", "AT_AddConstraint",
    "AT_DropConstraint", "AT_ValidateConstraint", "AT_AddIdentity", "AT_DropIdentity", "AT_SetIdentity",
    "AT_DropExpression", "AT_SetExpression", "AT_EnableRowSecurity", "AT_DisableRowSecurity", "AT_ForceRowSecurity",
    "AT_NoForceRowSecurity", "AT_AttachPartition", "AT_DetachPartition", "AT_AddInherit", "AT_DropInherit",
})  # fmt: skip
_NO_TABLE = frozenset({RelationKind.VIEW, RelationKind.MATERIALIZED_VIEW, RelationKind.SEQUENCE})


def refused_by_kind(written: Written, situation: Situation) -> Iterator[Hit]:
    """ALTER of a relation that is of another kind; source: RangeVarCallbackForAlterRelation, ATSimplePermissions."""
    tree = written.tree
    if not situation.model.complete or "relation" not in tree:
        return
    table = relation_of(tree["relation"])
    known = situation.model.relations.get(situation.resolve(table))
    if known is None or known.kind is None:
        return
    said = tree.get({"RenameStmt": "renameType", "AlterObjectSchemaStmt": "objectType"}.get(written.kind, "objtype"))
    if said in _KINDS and known.kind is not _KINDS[said]:
        yield _refuse(table, f"ALTER {said.removeprefix('OBJECT_').replace('_', ' ')}", "it is of another kind")
    elif written.kind == "AlterTableStmt" and known.kind in _NO_TABLE:
        for each in tree["cmds"]:
            if each["AlterTableCmd"]["subtype"] in _OF_TABLES:
                yield _refuse(table, f"ALTER TABLE of {table.written}", "it is no table")
                return


def refused_as_inherited(situation: Situation, written: Written) -> Iterator[Hit]:
    """RENAME COLUMN of a part of the tree; source: renameatt_internal in tablecmds.c."""
    tree = written.tree
    if tree.get("renameType") != "OBJECT_COLUMN" or "relation" not in tree:
        return
    table = relation_of(tree["relation"])
    known = situation.model.relations.get(situation.resolve(table))
    if known is None or tree["subname"] not in known.columns:
        return
    if _is_inherited(situation, known, tree["subname"]):
        yield _refuse(table, f"RENAME COLUMN {quoted(tree['subname'])}", "a parent table has it")
    elif known.partitions and not tree["relation"].get("inh"):
        yield _refuse(table, f"RENAME COLUMN {quoted(tree['subname'])}", "its child tables have it, too")


def _refuse(table: RelationName, command: str, why: str) -> Hit:
    return Hit(hazard="statement-refused", relation=table, names={"command": command, "object": why}, even_new=True)


def refused_by_shape(
    situation: Situation, table: RelationName, relation: Relation, command: Node, *, only: bool
) -> Hit | None:
    """The refusal of one command, as far as the shape is known; source: ATPrepDropColumn … in tablecmds.c."""
    name = command.get("name", "")
    why = None
    match command["subtype"]:
        case "AT_AddColumn" | "AT_DropColumn" | "AT_AlterColumnType" if relation.of_type is not None:
            why = f"to add, drop or retype a column of a table of the type {relation.of_type.written}"
        case "AT_DropColumn" | "AT_AlterColumnType":
            why = _value(situation, relation, name)
        case "AT_AddColumn" if relation.partition_of is not None:
            why = f"ADD COLUMN to a partition of {relation.partition_of.written}"
        case "AT_AddColumn" if only and relation.partitions and not _is_there(relation, command):
            why = "ADD COLUMN to the parent table alone"
        case "AT_AddColumn" if (made_of := _generated(relation, command)) is not None:
            why = f"a generated column that is made of {quoted(made_of)}, which is one, too"
        case "AT_AddConstraint" if only and relation.partitions:
            body = command["def"]["Constraint"]
            if body["contype"] == "CONSTR_CHECK" and not body.get("is_no_inherit"):
                why = "a CHECK of the parent table alone, without NO INHERIT"
        case "AT_AttachPartition" | "AT_DetachPartition" if relation.kind is RelationKind.TABLE and relation.knows:
            why = "a partition of a table that is not partitioned"
        case "AT_AttachPartition":
            child = situation.model.relations.get(
                situation.resolve(relation_of(command["def"]["PartitionCmd"]["name"]))
            )
            if child is not None and child.partition_of is not None:
                why = f"ATTACH of a partition that {child.partition_of.written} has"
        case "AT_DropNotNull":
            why = _null(relation, name)
        case "AT_ColumnDefault" if (column := relation.columns.get(name)) is not None and "def" in command:
            if column.generated or column.identity:
                why = f"SET DEFAULT for {quoted(name)}, which is a generated or an identity column"
        case "AT_AddIdentity" if (column := relation.columns.get(name)) is not None and column.has_default:
            if column.identity or relation.knows:
                why = f"an identity for {quoted(name)}, which has a default or an identity"
        case "AT_AlterConstraint":
            body = command["def"].get("ATAlterConstraint", command["def"].get("Constraint", {}))
            constraint = relation.constraints.get(body.get("conname", ""))
            if constraint is not None and constraint.kind not in (ConstraintKind.FOREIGN, ConstraintKind.NOT_NULL):
                why = f"ALTER CONSTRAINT {quoted(constraint.name)}, which is no foreign key"
        case "AT_DropConstraint":
            known = relation.constraints.get(name)
            if known is not None and known.inherited:
                why = f"DROP CONSTRAINT {quoted(name)}, which a parent table has"
    if why is None:
        return None
    names = {"table": table.written, "command": why, "object": table.written}
    return Hit(hazard="statement-refused", relation=table, names=names, even_new=True)


def _value(situation: Situation, relation: Relation, name: str) -> str | None:
    if relation.kind is RelationKind.PARTITIONED and name in partition_columns(relation):
        return f"to drop or retype {quoted(name)}, which is of the partition key"
    if _is_inherited(situation, relation, name):
        return f"to drop or retype {quoted(name)}, which a parent table has"
    return None


def _is_inherited(situation: Situation, relation: Relation, name: str) -> bool:
    relations = situation.model.relations.values()
    return any(relation.name in each.partitions and name in each.columns for each in relations)


def _generated(relation: Relation, command: Node) -> str | None:
    """The generated column that a new one's expression names."""
    for each in command["def"]["ColumnDef"].get("constraints", ()):
        if each["Constraint"]["contype"] == "CONSTR_GENERATED":
            named = columns_in(each["Constraint"].get("raw_expr", {}))
            return next(
                (name for name in sorted(named) if name in relation.columns and relation.columns[name].generated), None
            )
    return None


def _is_there(relation: Relation, command: Node) -> bool:
    """ADD COLUMN IF NOT EXISTS of one that is there does nothing."""
    return bool(command.get("missing_ok")) and command["def"]["ColumnDef"]["colname"] in relation.columns


def _null(relation: Relation, name: str) -> str | None:
    for constraint in relation.constraints.values():
        if constraint.kind is ConstraintKind.PRIMARY and name in constraint.columns:
            return f"DROP NOT NULL of {quoted(name)}, which is of the primary key"
    column = relation.columns.get(name)
    if column is not None and column.identity:
        return f"DROP NOT NULL of {quoted(name)}, which is an identity column"
    return None

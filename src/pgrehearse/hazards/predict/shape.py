"""What ALTER TABLE is refused by the shape of the table: its partition key, its parents, its primary key."""

from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import ConstraintKind, Relation, RelationKind
from pgrehearse.hazards.predict.constraints import partition_columns
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node


def refused_by_shape(situation: Situation, table: RelationName, relation: Relation, command: Node) -> Hit | None:
    """The refusal of one command, as far as the shape is known; source: ATPrepDropColumn … in tablecmds.c."""
    name = command.get("name", "")
    why = None
    match command["subtype"]:
        case "AT_DropColumn" | "AT_AlterColumnType":
            why = _value(situation, relation, name)
        case "AT_AddColumn" if relation.partition_of is not None:
            why = f"ADD COLUMN to a partition of {relation.partition_of.written}"
        case "AT_DropNotNull":
            why = _null(relation, name)
        case "AT_ColumnDefault" if (column := relation.columns.get(name)) is not None and "def" in command:
            if column.generated or column.identity:
                why = f"SET DEFAULT for {quoted(name)}, which is a generated or an identity column"
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
    if any(relation.name in each.partitions and name in each.columns for each in situation.model.relations.values()):
        return f"to drop or retype {quoted(name)}, which a parent table has"
    return None


def _null(relation: Relation, name: str) -> str | None:
    for constraint in relation.constraints.values():
        if constraint.kind is ConstraintKind.PRIMARY and name in constraint.columns:
            return f"DROP NOT NULL of {quoted(name)}, which is of the primary key"
    column = relation.columns.get(name)
    if column is not None and column.identity:
        return f"DROP NOT NULL of {quoted(name)}, which is an identity column"
    return None

"""The order in which one ALTER TABLE runs its commands, whatever the order in which they are written."""

import copy
from collections.abc import Sequence

from pgrehearse.hazards.model import Relation
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.table_parts import column_of, constraint_of
from pgrehearse.hazards.tree import Node

_ADD_COLUMN, _CONSTRAINTS, _ATTRIBUTES, _LAST = 2, 3, 4, 5
# AlterTablePass in tablecmds.c, as far as one command meets what another of the same statement did.
_PASSES = {
    "AT_DropColumn": 0,
    "AT_DropConstraint": 0,
    "AT_DropNotNull": 0,
    "AT_DropIdentity": 0,
    "AT_DropExpression": 0,
    "AT_AlterColumnType": 1,
    "AT_AddColumn": _ADD_COLUMN,
    "AT_AddConstraint": _CONSTRAINTS,
    "AT_SetNotNull": _ATTRIBUTES,
}


def pass_of(command: Node) -> int:
    """When the command runs; those of a lower number are done by then."""
    if command["subtype"] == "AT_ColumnDefault" and "def" not in command:  # DROP DEFAULT
        return 0
    return _PASSES.get(command["subtype"], _LAST)


def as_met(relation: Relation, command: Node, commands: Sequence[Node], situation: Situation) -> Relation:
    """The table as this command meets it: without what the statement drops before, with what it adds before."""
    earlier = [each for each in commands if pass_of(each) < pass_of(command)]
    if not earlier:
        return relation
    met = copy.copy(relation)
    met.columns, met.constraints, met.indexes = (
        dict(relation.columns),
        dict(relation.constraints),
        dict(relation.indexes),
    )
    for each in sorted(earlier, key=pass_of):
        match each["subtype"]:
            case "AT_DropColumn":
                _without_column(met, each["name"])
            case "AT_DropConstraint":
                gone = met.constraints.pop(each["name"], None)
                if gone is not None and gone.index is not None:
                    met.indexes.pop(gone.index, None)
            case "AT_AddColumn":
                column = column_of(each["def"]["ColumnDef"], situation)
                if not (each.get("missing_ok") and column.name in met.columns):
                    met.columns[column.name] = column
            case "AT_AddConstraint":
                constraint = constraint_of(each["def"]["Constraint"], met, situation)
                met.constraints[constraint.name] = constraint
    return met


def _without_column(met: Relation, name: str) -> None:
    met.columns.pop(name, None)
    for constraint in [each for each in met.constraints.values() if name in each.columns]:
        met.constraints.pop(constraint.name)
    for index in [each for each in met.indexes.values() if name in (*each.columns, *each.expression_columns)]:
        met.indexes.pop(index.name)

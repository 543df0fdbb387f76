"""Constants that an INSERT … VALUES cannot leave in the table: the key of a row that is there, a value that a CHECK, a
foreign key or the column's own length refuses.

Only of tables whose rows no trigger and no rule changes on their way in.
"""

from collections.abc import Iterator
from typing import Any

from pglast import ast
from pglast.enums import OverridingKind
from pglast.stream import RawStream

from pgrehearse.hazards.constraint import Constraint, ConstraintKind
from pgrehearse.hazards.data_questions import DataQuestions
from pgrehearse.hazards.expressions import check_expression
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import quoted


def refused_rows(node: Any, relation: Relation, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """Of an INSERT without ON CONFLICT into a table whose rows the database shows as the statement will meet them."""
    if situation.blind or relation.name in situation.doubted or node.override is OverridingKind.OVERRIDING_USER_VALUE:
        return
    if relation.rules or any("insert" in each.events for each in relation.triggers.values()):  # or enabled meanwhile
        return
    if node.withClause is None:  # which may take the row away
        yield from _already_there(node, relation, situation, data)
    yield from _violating(node, relation, data)
    yield from _too_long(node, relation, situation, data)
    if node.withClause is None and not situation.as_replica:
        yield from _orphaned(node, relation, situation, data)


def mended_later(key: Constraint, situation: Situation) -> bool:
    """A check that waits for the COMMIT: a later statement may take the rows that refer to those that go."""
    declared = key.initially_deferred if situation.all_deferred is None else situation.all_deferred
    waits = situation.deferred.get(key.name, declared)
    return (key.deferrable or key.initially_deferred) and waits and not situation.last_of_file


def _violating(node: Any, relation: Relation, data: DataQuestions) -> Iterator[Hit]:
    """INSERT … VALUES whose constants a CHECK of the table refuses."""
    for constraint in relation.constraints.values():
        if constraint.kind is not ConstraintKind.CHECK or not constraint.enforced or constraint.definition is None:
            continue
        for given in _rows(node, relation):
            values = {
                name: (_text(given[name]), column.type.written)
                for name in constraint.columns
                if isinstance(given.get(name), ast.A_Const)
                and (column := relation.columns.get(name)) is not None
                and column.type is not None
            }
            if len(values) < len(constraint.columns) or not values:
                continue
            if data.refuses_row(relation.name, values, check_expression(constraint.definition)):
                names = {"constraint": quoted(constraint.name)}
                names["definition"] = f"CONSTRAINT {names['constraint']} {constraint.definition}"
                yield _hit("check-violated", relation, names)
                return


def _already_there(node: Any, relation: Relation, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """INSERT … VALUES with the key of a row that is there."""
    for constraint in relation.constraints.values():
        if constraint.kind not in (ConstraintKind.PRIMARY, ConstraintKind.UNIQUE):
            continue
        if mended_later(constraint, situation) or (constraint.deferrable and situation.as_replica):
            continue  # what checks a deferrable one once more is a trigger
        for given in _rows(node, relation):
            keys = [given.get(key) for key in constraint.columns]
            if not all(isinstance(key, ast.A_Const) and not key.isnull for key in keys):
                continue
            same = [f"{quoted(name)} = {_text(key)}" for name, key in zip(constraint.columns, keys, strict=True)]
            if data.has_row_where(relation.name, " AND ".join(same)):
                yield _hit("unique-on-duplicates", relation, {"column": ", ".join(map(quoted, constraint.columns))})
                return


def _too_long(node: Any, relation: Relation, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """A string that is cut by a cast, and refused where it is assigned."""
    for given in _rows(node, relation):
        for name, value in given.items():
            column = relation.columns.get(name)
            if not isinstance(value, ast.A_Const) or not isinstance(value.val, ast.String):
                continue
            if (
                column is None
                or column.type is None
                or any(column.type.name == each.name for each in situation.model.types)
            ):
                continue
            if data.is_too_long(value.val.sval, column.type.written):
                yield Hit(
                    hazard="statement-refused",
                    relation=relation.name,
                    names={
                        "command": f"a value for {relation.name.written}.{quoted(name)}",
                        "object": "it is too long",
                    },
                )
                return


def _orphaned(node: Any, relation: Relation, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """The key of a parent row that is not there."""
    for key in relation.constraints.values():
        parent = situation.model.relations.get(key.referenced) if key.referenced is not None else None
        if key.kind is not ConstraintKind.FOREIGN or not key.enforced or parent is None or parent.name == relation.name:
            continue
        if parent.made_in is not None or mended_later(key, situation) or "PERIOD" in (key.definition or ""):
            continue  # a period is covered, not equalled
        if any(each.name in situation.model.touched for each in situation.with_partitions(parent)):
            continue
        theirs = key.referenced_columns or _primary_key(parent)
        for given in _rows(node, relation):
            values = [given.get(name) for name in key.columns]
            if len(theirs) != len(values) or not all(
                isinstance(each, ast.A_Const) and not each.isnull for each in values
            ):
                continue
            types = [column.type for name in key.columns if (column := relation.columns.get(name)) is not None]
            if len(types) != len(values) or None in types:
                continue
            # As the child's column takes it: 1.4 becomes 1 in an integer.
            stored = [
                f"({_text(value)})::{of.written}" for value, of in zip(values, types, strict=True) if of is not None
            ]
            same = [f"{quoted(name)} = {value}" for name, value in zip(theirs, stored, strict=True)]
            if data.has_row_where(parent.name, " AND ".join(same)) is False:
                names = {"constraint": quoted(key.name), "referenced": parent.name.written}
                names["definition"] = f"CONSTRAINT {names['constraint']} {key.definition} NOT VALID"
                yield _hit("fk-violated", relation, names)
                return


def _rows(node: Any, relation: Relation) -> Iterator[dict[str, Any]]:
    """What each row of VALUES gives, by column."""
    columns = [target.name for target in node.cols] if node.cols else list(relation.columns)
    for row in getattr(node.selectStmt, "valuesLists", None) or ():
        if any(isinstance(last, ast.A_Star) for each in row for last in _path(each)[-1:]):
            continue  # several columns
        yield dict(zip(columns, row, strict=False))


def _path(value: Any) -> tuple[Any, ...]:
    """``r.*`` or ``(r).*``: its names."""
    if isinstance(value, ast.ColumnRef):
        return tuple(value.fields)
    return tuple(value.indirection) if isinstance(value, ast.A_Indirection) else ()


def _primary_key(relation: Relation) -> tuple[str, ...]:
    return next((each.columns for each in relation.constraints.values() if each.kind is ConstraintKind.PRIMARY), ())


def _hit(hazard: str, relation: Relation, names: dict[str, str]) -> Hit:
    return Hit(hazard=hazard, relation=relation.name, names={"table": relation.name.written, **names})


def _text(node: Any) -> str:
    text: str = RawStream()(node)
    return text

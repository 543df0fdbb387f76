"""What an index or an expression needs of the server: an operator class for the type, functions that are immutable.

By the catalogs of the database that is asked; only for columns that are there as the database shows them.
Source: ComputeIndexAttrs and CheckMutability in indexcmds.c, GetDefaultOpClass; cookDefault in heap.c.
"""

from collections.abc import Iterator
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType, ConstrType, ObjectType
from pglast.stream import RawStream

from pgrehearse.hazards.data_questions import DataQuestions
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Column, Relation
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted

_KEYS = (ConstrType.CONSTR_PRIMARY, ConstrType.CONSTR_UNIQUE)


def refused_by_server(node: Any, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """Of CREATE INDEX and ALTER TABLE."""
    if situation.blind:  # an operator class or a function may have come
        return
    match node:
        case ast.IndexStmt():
            relation = _known(node.relation, situation)
            if relation is not None and not (node.if_not_exists and node.idxname in relation.indexes):
                yield from _index(node, relation, data)
        case ast.AlterTableStmt() if node.objtype is ObjectType.OBJECT_TABLE:
            relation = _known(node.relation, situation)
            for command in node.cmds if relation is not None else ():
                if relation is not None:
                    yield from _command(command, relation, data)


def _known(target: Any, situation: Situation) -> Relation | None:
    relation = situation.model.relations.get(situation.resolve(RelationName.of_range(target)))
    if relation is None or relation.made_in is not None or not relation.knows:
        return None
    return None if relation.name in situation.model.touched else relation


def _index(node: Any, relation: Relation, data: DataQuestions) -> Iterator[Hit]:
    method = node.accessMethod or "btree"
    for element in node.indexParams:
        if element.name is not None:
            yield from _operator_class(relation, element, method, data)
        else:
            yield from _mutable(relation, element.expr, "an index's expression", data)
    if node.whereClause is not None:
        yield from _mutable(relation, node.whereClause, "an index's predicate", data)


def _command(command: Any, relation: Relation, data: DataQuestions) -> Iterator[Hit]:
    if command.subtype is AlterTableType.AT_AddConstraint:
        constraint = command.def_
        if constraint.contype in _KEYS and constraint.keys:
            for key in constraint.keys:
                yield from _operator_class(relation, ast.IndexElem(name=key.sval), "btree", data)
        elif constraint.contype is ConstrType.CONSTR_EXCLUSION:
            for element, _ in constraint.exclusions:
                if element.name is not None:
                    yield from _operator_class(relation, element, constraint.access_method or "btree", data)
    elif command.subtype is AlterTableType.AT_AddColumn:
        for constraint in command.def_.constraints or ():
            if constraint.contype is ConstrType.CONSTR_GENERATED:
                yield from _mutable(relation, constraint.raw_expr, "a generated column's expression", data)


def _operator_class(relation: Relation, element: Any, method: str, data: DataQuestions) -> Iterator[Hit]:
    column = relation.columns.get(element.name)
    if column is None or column.made_in is not None:
        return
    named = element.opclass[-1].sval if element.opclass else None
    if data.lacks_operator_class(relation.name, column.name, method, named):
        what = (
            f"there is no operator class {named}" if named else f"its type has no default operator class for {method}"
        )
        yield _hit(relation, f"an index of {quoted(column.name)}", what)


def _mutable(relation: Relation, expression: Any, where: str, data: DataQuestions) -> Iterator[Hit]:
    for call in _calls(expression):
        why = None
        match call:
            case ast.SQLValueFunction():
                why = _text(call)
            case ast.TypeCast():
                column = _column(call.arg, relation)
                if column is not None and column.type is not None:
                    new = _text(call.typeName)
                    if data.cast_is_immutable(column.type.written, new) is False:
                        why = f"the cast of {quoted(column.name)} to {new}"
            case _ if _is_mutable_call(call, relation, data):
                why = _text(call)
        if why is not None:
            yield _hit(relation, where, f"{why} is not immutable")
            return


def _calls(expression: Any) -> Iterator[Any]:
    """Function calls and casts, at any depth."""
    stack = [expression]
    while stack:
        value = stack.pop()
        if isinstance(value, tuple | list):
            stack.extend(value)
        elif isinstance(value, ast.Node):
            if isinstance(value, ast.FuncCall | ast.TypeCast | ast.SQLValueFunction):
                yield value
            stack.extend(getattr(value, name) for name in value)


def _is_mutable_call(call: Any, relation: Relation, data: DataQuestions) -> bool:
    """Where every overload that fits is stable or volatile; a column's type must be an argument's very type."""
    marks = data.marks(RelationName.of_strings(call.funcname)) or ()
    arguments = [_column(each, relation) for each in call.args or ()]
    fitting = [
        mark
        for mark, types in marks
        if len(types) == len(arguments)
        and all(
            column is None or (column.type is not None and not column.type.dimensions and column.type.name == type_name)
            for column, type_name in zip(arguments, types, strict=True)
        )
    ]
    candidates = fitting if fitting and any(arguments) else [mark for mark, _ in marks]
    return bool(candidates) and not {"i", "inlined"} & set(candidates)


def _column(node: Any, relation: Relation) -> Column | None:
    if isinstance(node, ast.ColumnRef) and isinstance(node.fields[-1], ast.String):
        return relation.columns.get(node.fields[-1].sval)
    return None


def _text(node: Any) -> str:
    text: str = RawStream()(node)
    return text


def _hit(relation: Relation, command: str, why: str) -> Hit:
    names = {"table": relation.name.written, "command": command, "object": why}
    return Hit(hazard="statement-refused", relation=relation.name, names=names, even_new=True)

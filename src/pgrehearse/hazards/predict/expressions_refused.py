"""Expressions that PostgreSQL refuses wherever they stand: told by the text alone."""

from collections.abc import Iterator

from pgrehearse.hazards.columns import type_of
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, constant_of, is_null, kind_of, relation_of, walk
from pgrehearse.hazards.written import Written

_INTEGERS = frozenset({"int2", "int4", "int8", "serial", "bigserial", "smallserial"})


def refused_expressions(written: Written) -> Iterator[Hit]:
    """Of defaults and CHECKs: a sub-select, a column in a default, a text that is no number for a number.

    Source: transformSubLink, transformColumnRef and their EXPR_KIND_… cases in parse_expr.c.
    """
    if written.kind not in ("AlterTableStmt", "CreateStmt"):
        return
    table = relation_of(written.tree["relation"])
    for column, constraint in _constraints(written):
        expression = constraint.get("raw_expr")
        if not expression:
            continue
        is_default = constraint["contype"] == "CONSTR_DEFAULT"
        shown = "a DEFAULT" if is_default else "a CHECK" if constraint["contype"] == "CONSTR_CHECK" else None
        if shown is None:
            continue
        kinds = {kind_of(expression)[0], *(kind for kind, _ in walk(expression))}
        if "SubLink" in kinds:
            yield _refused(table, f"a sub-select in {shown}")
        elif is_default and "ColumnRef" in kinds:
            yield _refused(table, "a column's name in a DEFAULT")
        elif is_default and column is not None and _is_no_number(column, expression):
            yield _refused(table, f"the DEFAULT of {quoted(column['colname'])}, which is no whole number")


def _constraints(written: Written) -> Iterator[tuple[Node | None, Node]]:
    """Each with its column where it stands at one."""
    elements = written.tree.get("tableElts", ())
    if written.kind == "AlterTableStmt":
        commands = [each["AlterTableCmd"] for each in written.tree.get("cmds", ())]
        elements = [each["def"] for each in commands if each["subtype"] in ("AT_AddColumn", "AT_AddConstraint")]
        for each in commands:
            if each["subtype"] == "AT_ColumnDefault" and "def" in each:
                yield None, {"contype": "CONSTR_DEFAULT", "raw_expr": each["def"]}
    for element in elements:
        kind, body = kind_of(element)
        if kind == "Constraint":
            yield None, body
        elif kind == "ColumnDef":
            yield from ((body, each["Constraint"]) for each in body.get("constraints", ()))


def _is_no_number(column: Node, expression: Node) -> bool:
    written = type_of(column["typeName"]) if "typeName" in column else None
    if written is None or written.namespace is not None or written.name not in _INTEGERS or written.dimensions:
        return False
    value = constant_of(expression) if "A_Const" in expression and not is_null(expression) else None
    return isinstance(value, str) and "sval" in expression["A_Const"] and not value.strip().lstrip("+-")[:1].isdigit()


def _refused(table: RelationName, what: str) -> Hit:
    names = {"table": table.written, "command": what, "object": table.written}
    return Hit(hazard="statement-refused", relation=None, names=names, even_new=True)

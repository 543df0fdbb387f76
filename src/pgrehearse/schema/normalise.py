"""Normal forms of SQL that the server printed: equal across dump and restore, different where the meaning may differ.

A restored expression was printed, read and printed again, and reading changes some trees.  Each rewrite here does
to the text what the server does when it reads it (found by restoring the tests' zoo of expressions on 15, 16, 18):

* ``(ARRAY[a::T, b::T])::U[]`` becomes ``ARRAY[(a::T)::U, (b::T)::U]``: a cast of an ARRAY constructor is handed to its
  elements (parse_expr.c, transformTypeCast).  ``varchar IN (…)`` prints the first form.
* ``(a AND b) AND c`` becomes ``a AND b AND c``: nested lists are flattened (gram.y, makeAndExpr, makeOrExpr).
  BETWEEN and IN with columns in the list print the first form.
* The name of a column inside an expression's subquery goes: nobody can refer to it, and only a restored one is printed.

Cost: 10 µs for PostgreSQL's own parser, then about 1 µs per node.  What the parser refuses is compared as it stands.
"""

import json
import re
from functools import lru_cache
from typing import Any

from pglast.parser import ParseError, parse_sql_json

# Positions in the text, which say nothing.
POSITIONS = frozenset({"location", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end", "name_location"})

# Text without any of these words cannot hold what a rewrite touches, and is compared as it stands.
REWRITABLE = re.compile(r"\bARRAY\[|\bAND\b|\bOR\b|\bSELECT\b", re.IGNORECASE)

# Statements that repeat their object's name and relation.
NAMED = {"IndexStmt": "idxname", "CreateTrigStmt": "trigname", "RuleStmt": "rulename"}

# How each attribute becomes a whole statement that the parser can read; an attribute not named here is plain text.
FRAMES = {
    "expression": ("SELECT ", ""),
    "constraint": ("ALTER TABLE t ADD ", ""),
    "partition key": ("CREATE TABLE t () PARTITION BY ", ""),
    "statement": ("", ""),
}


@lru_cache(maxsize=16384)
def normal_form(text: str, frame: str) -> str | None:
    """The form to compare instead of ``text``; None where the text itself is to be compared.

    ``frame`` says what the text is: an ``expression``, a ``constraint``'s definition or a whole ``statement``.
    """
    if REWRITABLE.search(text) is None and frame != "statement":
        return None
    before, after = FRAMES[frame]
    try:
        tree = json.loads(parse_sql_json(before + text + after))
    except (ParseError, ValueError, RecursionError):
        return None
    return json.dumps(
        [_rewritten(statement["stmt"]) for statement in tree["stmts"]], sort_keys=True, separators=(",", ":")
    )


def _rewritten(node: Any) -> Any:
    """The same tree without positions, its children rewritten before it."""
    if isinstance(node, list):
        return [_rewritten(child) for child in node]
    if not isinstance(node, dict):
        return node
    clean = {key: _rewritten(value) for key, value in node.items() if key not in POSITIONS}
    if "TypeCast" in clean:
        return _cast_pushed_to_elements(clean)
    if "BoolExpr" in clean:
        return _flattened(clean)
    if "SubLink" in clean:
        _forget_column_names(clean["SubLink"].get("subselect", {}))
    if "MultiAssignRef" in clean:
        _forget_column_names(clean["MultiAssignRef"].get("source", {}))
    for statement, name in NAMED.items():
        if statement in clean:  # compared as the object's own name and relation, and so not changed by a rename
            clean[statement].pop(name, None)
            clean[statement].pop("relation", None)
    return clean


def _cast_pushed_to_elements(node: dict[str, Any]) -> dict[str, Any]:
    cast = node["TypeCast"]
    array = cast["arg"].get("A_ArrayExpr")
    target = cast["typeName"]
    if array is None or not target.get("arrayBounds"):
        return node
    element = {key: value for key, value in target.items() if key != "arrayBounds"}
    pushed = []
    for each in array.get("elements", []):
        # An inner ARRAY[…] of a multidimensional one is read with the same array type.
        inner = target if "A_ArrayExpr" in each else element
        pushed.append(_cast_pushed_to_elements({"TypeCast": {"arg": each, "typeName": inner}}))
    if not pushed:
        return node  # ARRAY[]::text[] has nothing else to say its type by
    return {"A_ArrayExpr": {**array, "elements": pushed}}


def _flattened(node: dict[str, Any]) -> dict[str, Any]:
    condition = node["BoolExpr"]
    kind = condition["boolop"]
    if kind == "NOT_EXPR":
        return node
    flat: list[Any] = []
    for each in condition["args"]:
        inner = each.get("BoolExpr") if isinstance(each, dict) else None
        flat.extend(inner["args"] if inner is not None and inner["boolop"] == kind else [each])
    return {"BoolExpr": {**condition, "args": flat}}


def _forget_column_names(query: dict[str, Any]) -> None:
    select = query.get("SelectStmt", query)
    for target in select.get("targetList", []):
        target.get("ResTarget", {}).pop("name", None)

"""Normal forms of SQL that the server printed: equal across dump and restore, different where the meaning may differ.

A restored expression was printed, read and printed again, and reading changes some trees.  Each rewrite here does
to the text what the server does when it reads it (found by restoring the tests' zoo of expressions on 15, 16, 18):

* ``(ARRAY[a::T, b::T])::U[]`` becomes ``ARRAY[(a::T)::U, (b::T)::U]``: a cast of an ARRAY constructor is handed to its
  elements (parse_expr.c, transformTypeCast).  ``varchar IN (…)`` prints the first form.
* ``(a AND b) AND c`` becomes ``a AND b AND c``: nested lists are flattened (gram.y, makeAndExpr, makeOrExpr).
  BETWEEN and IN with columns in the list print the first form.
* The name of a column inside an expression's subquery goes: nobody can refer to it, and only a restored one is printed.

Cost: 10 µs for PostgreSQL's own parser, then about 1 µs per node, once per text.  What the parser refuses
is compared as it stands.
"""

import hashlib
import json
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from pglast.parser import ParseError, parse_sql_json

# Text without any of these words cannot hold what a rewrite touches, and is compared as it stands.
REWRITABLE = re.compile(r"\bARRAY\[|\bAND\b|\bOR\b|\bSELECT\b", re.IGNORECASE)

# How each kind of text becomes a whole statement that the parser can read.
FRAMES = {
    "expression": "SELECT ",
    "constraint": "ALTER TABLE t ADD ",
    "partition key": "CREATE TABLE t () PARTITION BY ",
    "statement": "",
}


@lru_cache(maxsize=16384)
def normal_form(text: str, frame: str) -> str | None:
    """A digest to compare instead of ``text``; None where the text itself is to be compared.

    ``frame`` says what the text is: an ``expression``, a ``constraint``'s definition, a ``partition key`` or a whole
    ``statement``.
    """
    if REWRITABLE.search(text) is None:
        return None
    try:
        tree = json.loads(parse_sql_json(FRAMES[frame] + text), object_hook=_rewritten)
    except (ParseError, ValueError, RecursionError):
        return None
    canonical = json.dumps([statement["stmt"] for statement in tree["stmts"]], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _rewritten(node: dict[str, Any]) -> dict[str, Any]:
    """One node of the tree, its children rewritten before it, without positions in the text, which say nothing."""
    for position in POSITIONS & node.keys():
        del node[position]
    if len(node) == 1:
        for name, content in node.items():
            rewrite = REWRITES.get(name)
            return node if rewrite is None else rewrite(content)
    return node


def _cast_pushed_to_elements(cast: dict[str, Any]) -> dict[str, Any]:
    array = cast["arg"].get("A_ArrayExpr")
    target = cast["typeName"]
    if array is None or not target.get("arrayBounds") or not array.get("elements"):
        return {"TypeCast": cast}  # ARRAY[]::text[] has nothing else to say its type by
    element = {key: value for key, value in target.items() if key != "arrayBounds"}
    # An inner ARRAY[…] of a multidimensional one is read with the same array type.
    pushed = [
        _cast_pushed_to_elements({"arg": each, "typeName": target if "A_ArrayExpr" in each else element})
        for each in array["elements"]
    ]
    return {"A_ArrayExpr": {**array, "elements": pushed}}


def _flattened(condition: dict[str, Any]) -> dict[str, Any]:
    kind = condition["boolop"]
    if kind == "NOT_EXPR":
        return {"BoolExpr": condition}
    flat: list[Any] = []
    for each in condition["args"]:
        inner = each.get("BoolExpr")
        flat.extend(inner["args"] if inner is not None and inner["boolop"] == kind else [each])
    return {"BoolExpr": {**condition, "args": flat}}


def _without_column_names(subquery: dict[str, Any]) -> dict[str, Any]:
    _forget_column_names(subquery.get("subselect", {}))
    return {"SubLink": subquery}


def _forget_column_names(query: dict[str, Any]) -> None:
    select = query.get("SelectStmt", query)  # the arms of a UNION stand there without their node's name
    for target in select.get("targetList", []):
        target.get("ResTarget", {}).pop("name", None)
    for arm in ("larg", "rarg"):
        if arm in select:
            _forget_column_names(select[arm])


POSITIONS = frozenset({"location", "list_start", "list_end", "rexpr_list_start", "rexpr_list_end", "name_location"})
REWRITES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "TypeCast": _cast_pushed_to_elements,
    "BoolExpr": _flattened,
    "SubLink": _without_column_names,
}

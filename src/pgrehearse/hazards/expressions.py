"""What an expression names, read from PostgreSQL's own text of it (`pg_get_expr`, `pg_get_constraintdef`)."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pglast.parser import ParseError, parse_sql_json

_AFTER_CHECK = re.compile(r"(?: NO INHERIT| NOT VALID| NOT ENFORCED)+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Expression:
    """The columns of one expression."""

    columns: frozenset[str]
    proves_not_null: frozenset[str]  # true or NULL only where these are not null, as PostgreSQL can see it


def check_expression(definition: str) -> str:
    """What stands between the parentheses of `pg_get_constraintdef`'s ``CHECK (…)``."""
    return _AFTER_CHECK.sub("", definition).removeprefix("CHECK ")


def parse_expressions(texts: Sequence[str]) -> list[Expression | None]:
    """One for each text, in order; None where the parser does not know the syntax of a newer server.

    Cost: one parse for all of them, and one each where that fails.
    """
    if not texts:
        return []
    try:
        trees = _parse(";".join(f"SELECT {text}" for text in texts))
    except ParseError:
        return [_parse_one(text) for text in texts]
    return [_expression(tree) for tree in trees]


def _parse_one(text: str) -> Expression | None:
    try:
        return _expression(_parse(f"SELECT {text}")[0])
    except ParseError:
        return None


def _parse(text: str) -> list[Any]:
    return [each["stmt"]["SelectStmt"]["targetList"] for each in json.loads(parse_sql_json(text))["stmts"]]


def _expression(targets: Any) -> Expression:
    proved: set[str] = set()
    for target in targets:
        proved.update(_not_null(target["ResTarget"]["val"]))
    return Expression(columns=frozenset(_columns(targets)), proves_not_null=frozenset(proved))


def _columns(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for each in node:
            yield from _columns(each)
    elif isinstance(node, dict):
        reference = node.get("ColumnRef")
        if reference is not None:
            last = reference["fields"][-1]
            if "String" in last:
                yield last["String"]["sval"]
            return
        for each in node.values():
            yield from _columns(each)


def not_null_columns(node: Any) -> frozenset[str]:
    """The columns of which a CHECK's expression proves that they are not null."""
    return frozenset(_not_null(node))


def _not_null(node: Any) -> Iterator[str]:
    """`a IS NOT NULL`, and what AND joins to it.

    An OR, or a strict operator, proves nothing: a CHECK passes where it is NULL (predtest.c, weak implication).
    """
    if "NullTest" in node and node["NullTest"]["nulltesttype"] == "IS_NOT_NULL":
        argument = node["NullTest"]["arg"]
        if "ColumnRef" in argument:
            yield from _columns(argument)
    elif "BoolExpr" in node and node["BoolExpr"]["boolop"] == "AND_EXPR":
        for each in node["BoolExpr"]["args"]:
            yield from _not_null(each)


def cut_by_a_cast(new: str) -> str | None:
    """A cast cuts longer values silently, an assignment refuses: what finds them (varchar.c, varbit.c)."""
    tree = json.loads(parse_sql_json(f"SELECT NULL::{new}"))
    written = tree["stmts"][0]["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]["val"]["TypeCast"]["typeName"]
    name, modifiers = written["names"][-1]["String"]["sval"], written.get("typmods", [])
    if "arrayBounds" in written or len(modifiers) != 1:
        return None
    limit = modifiers[0].get("A_Const", {}).get("ival", {}).get("ival")
    if not isinstance(limit, int):
        return None
    if name in ("varchar", "bpchar"):  # blanks at the end may go
        return f"pg_catalog.length(pg_catalog.rtrim({{}}::pg_catalog.text)) > {limit}"
    if name == "varbit":
        return f"pg_catalog.length({{}}) > {limit}"
    return f"pg_catalog.length({{}}) <> {limit}" if name == "bit" else None

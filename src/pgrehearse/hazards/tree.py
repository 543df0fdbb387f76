"""Reading the parser's JSON tree: plain dicts, a node being ``{"Kind": {field: value}}``.

A field that the parser leaves away is false, zero, empty or its enum's first value.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

from pgrehearse.hazards.sql_names import RelationName

Node = dict[str, Any]
_WALKED: deque[tuple[Any, list[tuple[str, Node]]]] = deque(maxlen=4)


def kind_of(node: Node) -> tuple[str, Node]:
    """``{"Kind": {…}}`` taken apart."""
    return next(iter(node.items()))


def strings(nodes: list[Node] | None) -> list[str]:
    """The texts of a list of String nodes."""
    return [node["String"].get("sval", "") for node in nodes or ()]


def relation_of(range_var: Node) -> RelationName:
    """The name that a RangeVar holds; a temporary table's namespace is pg_temp."""
    namespace = range_var.get("schemaname")
    if namespace is None and range_var.get("relpersistence") == "t":
        namespace = "pg_temp"
    return RelationName(namespace, range_var["relname"])


def name_of(nodes: list[Node]) -> RelationName:
    """A dotted name as a list of String nodes."""
    *before, name = strings(nodes)
    return RelationName(before[-1] if before else None, name)


def walk(tree: Any) -> Sequence[tuple[str, Node]]:
    """Every ``(kind, body)`` below, in no particular order.  Iterative: expressions nest deeply.

    The rules ask for the same few trees again and again, so the last answers are kept, with their trees, which nobody
    changes.
    """
    for kept, found in _WALKED:
        if kept is tree:
            return found
    found = _walk(tree)
    _WALKED.append((tree, found))
    return found


def _walk(tree: Any) -> list[tuple[str, Node]]:
    found: list[tuple[str, Node]] = []
    stack = [tree]
    while stack:
        value = stack.pop()
        if type(value) is dict:
            for key, below in value.items():
                if type(below) is dict:
                    if key[0].isupper():
                        found.append((key, below))
                    stack.append(below)
                elif type(below) is list:
                    stack.append(below)
        elif type(value) is list:
            stack.extend(value)
    return found


def columns_in(tree: Any) -> set[str]:
    """The last names of all column references below; ``*`` is left out."""
    found: set[str] = set()
    for kind, body in walk(tree):
        if kind == "ColumnRef":
            last = body.get("fields", [{}])[-1]
            if "String" in last:
                found.add(last["String"].get("sval", ""))
    return found


def functions_in(tree: Any) -> list[RelationName]:
    """The functions called below."""
    return [name_of(body["funcname"]) for kind, body in walk(tree) if kind == "FuncCall"]


def constant_of(node: Node | None) -> str | int | bool | None:
    """The value of an A_Const, also below casts; None for NULL and for what is no constant."""
    while node is not None and "TypeCast" in node:
        node = node["TypeCast"].get("arg")
    if node is None or "A_Const" not in node:
        return None
    value = node["A_Const"]
    for key, default in (("sval", ""), ("ival", 0), ("boolval", False), ("fval", ""), ("bsval", "")):
        if key in value:
            found: str | int | bool = value[key].get(key, default)
            return found
    return None


def is_null(node: Node | None) -> bool:
    """The constant NULL, also cast."""
    while node is not None and "TypeCast" in node:
        node = node["TypeCast"].get("arg")
    return node is not None and bool(node.get("A_Const", {}).get("isnull"))


def options(nodes: list[Node] | None) -> dict[str, Any]:
    """DefElem nodes by name: their argument, or True where they have none."""
    found: dict[str, Any] = {}
    for node in nodes or ():
        element = node["DefElem"]
        found[element["defname"]] = option_value(element)
    return found


def option_value(element: Node) -> Any:
    """A DefElem's argument as a plain value where it is one."""
    argument = element.get("arg")
    if argument is None:
        return True
    kind, body = kind_of(argument)
    match kind:
        case "String":
            return body.get("sval", "")
        case "Integer":
            return body.get("ival", 0)
        case "Boolean":
            return body.get("boolval", False)
        case "Float":
            return body.get("fval", "")
    return argument


def is_on(value: Any) -> bool:
    """How PostgreSQL reads a Boolean option."""
    return value is True or str(value).lower() in ("true", "on", "1", "yes")

"""Inside: the statements of DO blocks, of functions that are called, of triggers that fire, and of constant strings.

What cannot be read is told: a string that is built from what only the database knows, a language that is no SQL, a
function that neither the files nor a catalog show.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pgrehearse.errors import UnreadableSql
from pgrehearse.hazards.functions import is_builtin
from pgrehearse.hazards.model import Function, RelationKind, Volatility
from pgrehearse.hazards.parsed import parse_text
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import (
    Node,
    constant_of,
    functions_in,
    is_null,
    kind_of,
    name_of,
    options,
    relation_of,
    strings,
    walk,
)

_CHANGES = {"InsertStmt": "insert", "UpdateStmt": "update", "DeleteStmt": "delete"}
_RUN = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CreateTableAsStmt", "CallStmt"})
_ASSIGNMENT = re.compile(r"^\s*[\w.\"\[\]]+\s*:?=\s*")
_RETURNS = ("void", "trigger", "text", "SETOF text", "record")
_DOES = frozenset({f"PLpgSQL_stmt_{word}" for word in ("execsql", "dynexecute", "perform", "call", "assign")})
_MOST = 64  # strings that one EXECUTE may stand for
_DEEPEST = 6


@dataclass(slots=True)
class Inside:
    """What a statement runs beside itself."""

    statements: list[tuple[str, Node, str]] = field(
        default_factory=list
    )  # kind, tree, and its text where that is known
    blind: list[str] = field(default_factory=list)
    conditional: bool = False  # some of it stands in an IF, a loop or behind an exception
    branched: bool = False  # in an IF, a loop, or what an exception's handler does
    caught: bool = False  # an EXCEPTION block catches more than that something is there already


def look_inside(kind: str, tree: Node, text: str, situation: Situation) -> Inside:
    """Everything that this statement makes run, its callees too."""
    inside = Inside()
    _look(kind, tree, text, situation, inside, seen=set(), depth=0)
    inside.blind[:] = dict.fromkeys(inside.blind)
    return inside


def _look(
    kind: str, tree: Node, text: str, situation: Situation, inside: Inside, seen: set[RelationName], depth: int
) -> None:
    if kind == "DoStmt":
        given = options(tree.get("args"))
        language = str(given.get("language", "plpgsql"))
        if language != "plpgsql":
            inside.blind.append(f"a DO block in {language}: what it does shows only when it runs")
        else:
            body = str(given.get("as", ""))
            _read_body(f"DO $pgrehearse${body}$pgrehearse$", "a DO block", situation, inside, seen, depth)
    elif kind == "ExecuteStmt":
        prepared = situation.prepared.get(tree["name"])
        if isinstance(prepared, dict):
            _add(*kind_of(prepared), "", situation, inside, seen, depth)
        else:
            inside.blind.append(f"EXECUTE {quoted(tree['name'])}: a prepared statement shows only when it runs")
    elif kind == "CallStmt":
        _call(name_of(tree["funccall"]["funcname"]), "CALL {}()", situation, inside, seen, depth)
    elif kind in _RUN:
        _look_into_query(kind, tree, situation, inside, seen, depth)
    elif kind == "ExplainStmt" and any(each["DefElem"]["defname"] == "analyze" for each in tree.get("options", ())):
        _add(*kind_of(tree["query"]), "", situation, inside, seen, depth)


def _look_into_query(
    kind: str, tree: Node, situation: Situation, inside: Inside, seen: set[RelationName], depth: int
) -> None:
    for name in dict.fromkeys(functions_in(tree)):
        _call(name, "calls {}()", situation, inside, seen, depth)
    for each, body in [(kind, tree), *walk(tree)]:
        if each in _CHANGES:
            _triggers(relation_of(body["relation"]), _CHANGES[each], situation, inside, seen, depth)
        elif each == "RangeVar":
            known = situation.model.relations.get(situation.resolve(relation_of(body)))
            if known is not None and known.kind is RelationKind.VIEW and known.name not in seen:
                seen.add(known.name)
                for name in known.calls:
                    _call(name, f"the view {known.name.written} calls {{}}()", situation, inside, seen, depth)


def _triggers(
    name: RelationName, event: str, situation: Situation, inside: Inside, seen: set[RelationName], depth: int
) -> None:
    known = situation.model.relations.get(situation.resolve(name))
    if known is None:
        return
    for trigger in known.triggers.values():
        if event in trigger.events and trigger.enabled and trigger.function is not None:
            _call(trigger.function, f"fires {quoted(trigger.name)}, which runs {{}}()", situation, inside, seen, depth)
    if event in known.rules.values():
        inside.blind.append(f"a rule of {known.name.written} does something else on {event.upper()}")


def _call(
    name: RelationName, how: str, situation: Situation, inside: Inside, seen: set[RelationName], depth: int
) -> None:
    if is_builtin(name):
        return
    resolved = situation.resolve_function(name)
    known = situation.model.functions.get(resolved)
    said = how.format(name.written)
    if not known:
        inside.blind.append(
            f"{said}: what {'the procedure' if how.startswith('CALL') else 'a function'} does shows only when it runs"
        )
        return
    if resolved in seen or all(each.volatility is not Volatility.VOLATILE for each in known):
        return  # PostgreSQL lets no other function change rows, except in a function that it calls in turn
    seen.add(resolved)
    for function in known:
        if depth >= _DEEPEST or not (function.definition or function.body):
            inside.blind.append(f"{said}: its body is not known")
        elif function.language == "sql":
            _read_sql(function, said, situation, inside, seen, depth + 1)
        elif function.language == "plpgsql":
            _read_function(function, said, situation, inside, seen, depth + 1)
        else:
            inside.blind.append(f"{said}: what {function.language} does shows only when it runs")


def _read_sql(
    function: Function, said: str, situation: Situation, inside: Inside, seen: set[RelationName], depth: int
) -> None:
    if function.body is None:
        [(_, tree)] = parse_text(function.definition or "")
        for each in _atomic(tree.get("sql_body")):
            _add(*each, "", situation, inside, seen, depth)
        return
    try:
        statements = parse_text(function.body)
    except UnreadableSql:
        inside.blind.append(f"{said}: its body cannot be read")
        return
    for kind, tree in statements:
        _add(kind, tree, "", situation, inside, seen, depth)


def sql_body(tree: Node) -> list[tuple[str, Node]]:
    """The statements of CREATE FUNCTION … LANGUAGE sql, as far as they can be read; none of another language."""
    given = options(tree.get("options"))
    if "sql_body" in tree:
        return list(_atomic(tree["sql_body"]))
    if str(given.get("language", "sql")).lower() != "sql":
        return []
    body = given.get("as")
    if isinstance(body, dict):
        body = strings(body["List"]["items"])[0]
    try:
        return parse_text(body) if isinstance(body, str) else []
    except UnreadableSql:
        return []


def _atomic(body: Any) -> Iterator[tuple[str, Node]]:
    """BEGIN ATOMIC's statements: lists of lists, or one RETURN."""
    if isinstance(body, dict):
        if "List" in body:
            yield from _atomic(body["List"].get("items", []))
        elif "ReturnStmt" in body:
            yield "SelectStmt", {"targetList": [{"ResTarget": {"val": body["ReturnStmt"].get("returnval", {})}}]}
        elif body:
            yield kind_of(body)
    elif isinstance(body, list):
        for each in body:
            yield from _atomic(each)


def _read_function(
    function: Function, said: str, situation: Situation, inside: Inside, seen: set[RelationName], depth: int
) -> None:
    if function.definition:
        _read_body(function.definition, said, situation, inside, seen, depth)
        return
    if function.returns_trigger:
        returns: tuple[str, ...] = ("trigger",)
    else:
        returns = (function.returns, *_RETURNS) if function.returns else _RETURNS
    kinds = [f"FUNCTION f({function.arguments}) RETURNS {each}" for each in returns]
    if function.kind == "p":
        kinds = [f"PROCEDURE f({function.arguments})"]
    for head in kinds:
        written = f"CREATE {head} LANGUAGE plpgsql AS $pgrehearse${function.body}$pgrehearse$"
        if _parse_body(written) is not None:
            _read_body(written, said, situation, inside, seen, depth)
            return
    inside.blind.append(f"{said}: its body cannot be read")


def _parse_body(text: str) -> Any:
    from pglast.parser import ParseError, parse_plpgsql_json

    try:
        return json.loads(parse_plpgsql_json(text))
    except (ParseError, RecursionError, ValueError):
        return None


def _read_body(text: str, said: str, situation: Situation, inside: Inside, seen: set[RelationName], depth: int) -> None:
    parsed = _parse_body(text)
    if parsed is None:
        inside.blind.append(f"{said}: its body cannot be read")
        return
    for each in parsed:
        function = each["PLpgSQL_function"]
        values = _values(function)
        for kind, body in _in_order(function.get("action", {})):
            if kind in ("PLpgSQL_stmt_if", "PLpgSQL_stmt_case", "PLpgSQL_exception_block") or "loop" in kind:
                inside.conditional = True
            if kind in ("PLpgSQL_stmt_if", "PLpgSQL_stmt_case") or "loop" in kind:
                inside.branched = True
            if kind == "PLpgSQL_exception" and any(each in _DOES for each, _ in _in_order(body.get("action", []))):
                inside.branched = True
            if kind == "PLpgSQL_condition" and not body.get("condname", "others").startswith("duplicate_"):
                inside.caught = True
            _read_plpgsql(kind, body, values, said, situation, inside, seen, depth)


def _in_order(tree: Any) -> Iterator[tuple[str, Node]]:
    """Every node below, as the text has them."""
    if isinstance(tree, list):
        for each in tree:
            yield from _in_order(each)
    elif isinstance(tree, dict):
        for key, below in tree.items():
            if isinstance(below, dict) and key.startswith("PLpgSQL_"):
                yield key, below
            if isinstance(below, (dict, list)):
                yield from _in_order(below)


def _read_plpgsql(
    kind: str, body: Node, values: dict[str, list[str]], said: str, situation: Situation, inside: Inside,
    seen: set[RelationName], depth: int,
) -> None:  # fmt: skip
    dynamic = body.get("query") if kind in ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors") else body.get("dynquery")
    if dynamic is not None:
        strings = _fold_text(dynamic["PLpgSQL_expr"]["query"], values)
        if strings is None:
            inside.blind.append(f"{said}: it runs a string that is built while it runs (EXECUTE)")
        for string in strings or ():
            _add_text(string, said, situation, inside, seen, depth)
        return
    if kind != "PLpgSQL_expr":
        return
    query, mode = body.get("query", ""), body.get("parseMode", 0)
    if mode == 3:
        query, mode = _ASSIGNMENT.sub("", query, count=1), 2
    _add_text(query if mode == 0 else f"SELECT {query}", said, situation, inside, seen, depth)


def _add_text(text: str, said: str, situation: Situation, inside: Inside, seen: set[RelationName], depth: int) -> None:
    try:
        statements = parse_text(text)
    except UnreadableSql:
        return  # of an EXECUTE, whose string was looked at; or of a name that PL/pgSQL alone knows
    for kind, tree in statements:
        _add(kind, tree, text.strip() if len(statements) == 1 else "", situation, inside, seen, depth)


def _add(
    kind: str, tree: Node, text: str, situation: Situation, inside: Inside, seen: set[RelationName], depth: int
) -> None:
    if kind == "SelectStmt" and not ({"fromClause", "intoClause", "withClause", "lockingClause", "larg"} & tree.keys()):
        if "SubLink" in str(tree):
            inside.statements.append((kind, tree, text))
    elif kind != "TransactionStmt":
        inside.statements.append((kind, tree, text))
    if depth < _DEEPEST:
        _look(kind, tree, text, situation, inside, seen, depth + 1)


# --- constant strings ------------------------------------------------------------------------------------------


def _values(function: Node) -> dict[str, list[str]]:
    """Variables that hold one of a few constants wherever they are read."""
    datums = function.get("datums", [])
    names: dict[int, str] = {}
    sources: dict[str, list[str | None]] = {}
    for number, datum in enumerate(datums):
        body = datum.get("PLpgSQL_var")
        if body is None:
            continue
        names[number] = body["refname"]
        if "default_val" in body:
            sources.setdefault(body["refname"], []).append(body["default_val"]["PLpgSQL_expr"]["query"])
    arrays: dict[str, list[str]] = {}
    for kind, body in _in_order(function.get("action", {})):
        if kind == "PLpgSQL_stmt_assign":
            sources.setdefault(names.get(body.get("varno", 0), ""), []).append(
                _ASSIGNMENT.sub("", body["expr"]["PLpgSQL_expr"]["query"], count=1)
            )
        elif kind == "PLpgSQL_stmt_foreach_a":
            elements = _array(body["expr"]["PLpgSQL_expr"]["query"])
            name = names.get(body.get("varno", 0), "")
            if elements is not None:
                arrays[name] = elements
        elif kind in ("PLpgSQL_stmt_execsql", "PLpgSQL_stmt_fors") and ("target" in body or "var" in body):
            target: Node = body.get("target") or body.get("var") or {}
            for field_ in target.get("PLpgSQL_row", {}).get("fields", ()):
                sources.setdefault(field_.get("name", ""), []).append(None)
    found = dict(arrays)
    for name, queries in sources.items():
        if name in found or any(query is None for query in queries):
            found.pop(name, None)
            continue
        folded = [_fold_text(query or "", {}) for query in queries]
        if all(each is not None for each in folded):
            found[name] = [string for each in folded for string in each or ()]
    return found


def _array(query: str) -> list[str] | None:
    try:
        [(_, select)] = parse_text(f"SELECT {query}")
    except (UnreadableSql, ValueError):
        return None
    value = select["targetList"][0]["ResTarget"]["val"]
    while "TypeCast" in value:
        value = value["TypeCast"]["arg"]
    if "A_ArrayExpr" in value:
        elements = [constant_of(each) for each in value["A_ArrayExpr"].get("elements", ())]
        return (
            [each for each in elements if isinstance(each, str)]
            if all(isinstance(each, str) for each in elements)
            else None
        )
    text = constant_of(value)
    if isinstance(text, str) and text.startswith("{") and '"' not in text:
        return [each.strip() for each in text.strip("{}").split(",")]
    return None


def _fold_text(query: str, values: dict[str, list[str]]) -> list[str] | None:
    try:
        [(kind, select)] = parse_text(f"SELECT {query}")
    except (UnreadableSql, ValueError):
        return None
    targets = select.get("targetList", []) if kind == "SelectStmt" and "fromClause" not in select else []
    return _fold(targets[0]["ResTarget"]["val"], values) if len(targets) == 1 else None


def _fold(node: Node, values: dict[str, list[str]]) -> list[str] | None:
    """The strings that an expression may be; None: not known."""
    while "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    kind, body = kind_of(node)
    match kind:
        case "A_Const":
            return [""] if is_null(node) else [str(constant_of(node))]
        case "ColumnRef" if len(body["fields"]) == 1 and "String" in body["fields"][0]:
            return values.get(body["fields"][0]["String"].get("sval", ""))
        case "A_Expr" if body.get("name", [{}])[0].get("String", {}).get("sval") == "||" and "lexpr" in body:
            left, right = _fold(body["lexpr"], values), _fold(body["rexpr"], values)
            return _joined(left, right)
        case "FuncCall":
            name = name_of(body["funcname"]).name
            arguments = [_fold(each, values) for each in body.get("args", ())]
            if any(each is None for each in arguments):
                return None
            return _call_folded(name, [each or [] for each in arguments])
    return None


def _joined(left: list[str] | None, right: list[str] | None) -> list[str] | None:
    if left is None or right is None or len(left) * len(right) > _MOST:
        return None
    return [one + other for one in left for other in right]


def _call_folded(name: str, arguments: list[list[str]]) -> list[str] | None:
    match name:
        case "quote_ident" if len(arguments) == 1:
            return [quoted(each) for each in arguments[0]]
        case "quote_literal" | "quote_nullable" if len(arguments) == 1:
            return [_literal(each) for each in arguments[0]]
        case "concat":
            found: list[str] | None = [""]
            for each in arguments:
                found = _joined(found, each)
            return found
        case "format" if arguments:
            return _formatted(arguments)
        case "lower" | "upper" | "trim" | "btrim" if len(arguments) == 1:
            return [
                (each.lower() if name == "lower" else each.upper() if name == "upper" else each.strip())
                for each in arguments[0]
            ]
    return None


_FORMAT = re.compile(r"%(?:%|(?:(\d+)\$)?-?\d*([sIL]))")


def _formatted(arguments: list[list[str]]) -> list[str] | None:
    found: list[str] | None = []
    for pattern in arguments[0]:
        pieces: list[str] | None = [""]
        at = used = 0
        for match in _FORMAT.finditer(pattern):
            pieces = _joined(pieces, [pattern[at : match.start()]])
            at = match.end()
            if match.group() == "%%":
                pieces = _joined(pieces, ["%"])
                continue
            used = int(match[1]) if match[1] else used + 1
            if used >= len(arguments):
                return None
            quoting = _QUOTING[match[2]]
            pieces = _joined(pieces, [quoting(each) for each in arguments[used]])
        pieces = _joined(pieces, [pattern[at:]])
        if pieces is None or found is None:
            return None
        found += pieces
    return found


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


_QUOTING: dict[str, Callable[[str], str]] = {"I": quoted, "L": _literal, "s": str}

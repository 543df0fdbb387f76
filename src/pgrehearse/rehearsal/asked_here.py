"""What a plan asks that a clone answers otherwise than production: its database's name, who wrote a row, where it lies.

A statement that decides by the answer does something else in production, so what it did here says nothing.  Read from
the parse trees of its SQL, of PL/pgSQL bodies, and of what the plan leads to by name: functions, and of relations whose
rows it reads or writes views, rules, defaults, checks, policies and conditions of triggers.  An answer that only names
the database again (``format('ALTER DATABASE %I …', current_database())``, ``datname = current_database()``), or is only
shown or stored, decides nothing; nor do places that are compared with each other (``a.ctid < b.ctid``), whose order a
copy keeps.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pglast.parser import ParseError, parse_plpgsql_json, parse_sql_json

from pgrehearse.hazards.tree import Node, columns_in, name_of, strings, walk
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rehearsal.named_paths import MOVE_ROWS, follow, read_named

QUERIES = named_queries(__file__)
_WORDS = re.compile(
    r"\b(current_database|current_catalog|datname|\w*catalog_name|(?!pg_)\w+_catalog|xmin|xmax|cmin|cmax|tableoid|ctid"
    r"|session_user)\b",
    re.IGNORECASE,
)
_WRITERS = frozenset({"xmin", "xmax", "cmin", "cmax"})
_NAMES_ITSELF = frozenset(
    {
        "format", "quote_ident", "quote_literal", "concat", "concat_ws", "pg_database_size", "has_database_privilege",
        "json_build_object", "jsonb_build_object", "pg_notify",
    }
)  # fmt: skip
_CATALOG_COLUMN = re.compile(r"datname|\w*catalog_name|(?!pg_)\w+_catalog")
_BUILDS = frozenset({"||", "+", "-", "*", "/", "%"})
_ASSIGNMENT = re.compile(r"^\s*[\w.\"\[\]]+\s*:?=\s*")
_HEADS = ("FUNCTION f() RETURNS void", "FUNCTION f() RETURNS trigger", "FUNCTION f() RETURNS text",
          "FUNCTION f() RETURNS SETOF record", "PROCEDURE f()")  # fmt: skip
_KEEP = frozenset({"CreateFunctionStmt", "ViewStmt", "RuleStmt", "CommentStmt", "CreatePolicyStmt", "AlterPolicyStmt"})
OF_DATABASE = "it asks for {name}, and a clone's database has another name"
OF_LOGIN = "it asks for session_user, which on the clone is a login of our own"
OF_WRITER = "it compares {name}, and other transactions wrote the rows of a clone"
OF_TABLE = "it compares tableoid with a number, and a clone's tables have others"
OF_PLACE = "it compares ctid with a constant, and rows of a clone may lie elsewhere"
OF_BODY = "{name} stands in it, and a clone answers that otherwise (its body could not be read)"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedHere:
    """One thing that a statement decides by; ``where`` is its number among the statements, None: in a function."""

    where: int | None
    reason: str


def find_asked(
    statements: Sequence[Statement], pristine: Connection, clone: Connection, *, login_differs: bool
) -> tuple[AskedHere, ...]:
    """Each once for a statement.  One query where no function asks such a thing; else two more on each copy."""
    found = [
        AskedHere(where=number, reason=reason)
        for number, statement in enumerate(statements)
        if statement.kind not in _KEEP
        for reason in asks_of(statement.text, login_differs=login_differs)
    ]
    asking: dict[tuple[str, bool], dict[str, None]] = {}  # reasons by name, and whether it is a function's
    for name, is_function, body in _bodies(statements, pristine):
        reasons = asking.setdefault((name, is_function), {})
        reasons |= dict.fromkeys(asks_of_body(body, login_differs=login_differs))
    if any(asking.values()):
        named = read_named(pristine) | read_named(clone)
        moving = [statement for statement in statements if statement.kind in MOVE_ROWS]
        reached = {
            is_function: follow(
                statements if is_function else moving, named, relations={name for name, _ in asking}, functions=()
            ).relations
            for is_function in (True, False)
        }
        found += [
            AskedHere(where=None, reason=f"it leads to {name}{'()' if is_function else ''}: {reason}")
            for (name, is_function), reasons in sorted(asking.items())
            if name in reached[is_function]
            for reason in reasons
        ]
    return tuple(found)


def asks_of(text: str, *, login_differs: bool = False, in_body: bool = False) -> tuple[str, ...]:
    """Of one statement, with what a DO block holds; () where the parser cannot read it.

    ``login_differs``: who logged in is not who it is in production.  ``in_body``: what it selects may go on to decide.
    """
    if _WORDS.search(text) is None:
        return ()
    try:
        trees = [each["stmt"] for each in json.loads(parse_sql_json(text)).get("stmts", ())]
    except (ParseError, RecursionError):
        return ()
    found: list[str] = []
    for tree in trees:
        if "DoStmt" in tree:
            found += asks_of_body(text, is_definition=True, login_differs=login_differs)
        else:
            keeps_output = in_body and "SelectStmt" in tree
            found += _asks(tree if keeps_output else _without_shown(tree), login_differs=login_differs)
    return tuple(dict.fromkeys(found))


def asks_of_body(body: str, *, is_definition: bool = False, login_differs: bool = False) -> tuple[str, ...]:
    """Of a function's body in SQL or PL/pgSQL; of a whole DO or CREATE FUNCTION where it is a definition."""
    if _WORDS.search(body) is None:
        return ()
    if not is_definition and _parses(body):
        return asks_of(body, login_differs=login_differs, in_body=True)
    texts = [body] if is_definition else [f"CREATE {head} LANGUAGE plpgsql AS $pgrehearse${body}$pgrehearse$"
                                          for head in _HEADS]  # fmt: skip
    for text in texts:
        try:
            parsed = json.loads(parse_plpgsql_json(text))
        except (ParseError, RecursionError, ValueError):
            continue
        asked = (asks_of(query, login_differs=login_differs, in_body=True) for query in _queries(parsed))
        return tuple(dict.fromkeys(reason for reasons in asked for reason in reasons))
    names = dict.fromkeys(name.lower() for name in _WORDS.findall(body))
    return tuple(OF_BODY.format(name=name) for name in names if login_differs or name != "session_user")


def _bodies(statements: Sequence[Statement], pristine: Connection) -> Iterator[tuple[str, bool, str]]:
    """Name, whether it is a function, and text of what holds such a word: production's own, and what the plan makes."""
    yield from pristine.execute(QUERIES["bodies"])
    for statement in statements:
        if statement.kind == "CreateFunctionStmt" and _WORDS.search(statement.text):
            tree = json.loads(parse_sql_json(statement.text))["stmts"][0]["stmt"]["CreateFunctionStmt"]
            bodies = [
                "\n".join(strings(each["arg"]["List"]["items"]))
                for kind, each in walk(tree)
                if kind == "DefElem" and each.get("defname") == "as" and "List" in each.get("arg", {})
            ]
            yield name_of(tree["funcname"]).name, True, "\n".join(bodies) or statement.text
        elif statement.kind == "ViewStmt" and _WORDS.search(statement.text):
            tree = json.loads(parse_sql_json(statement.text))["stmts"][0]["stmt"]["ViewStmt"]
            yield tree["view"]["relname"], False, statement.text


def _parses(text: str) -> bool:
    try:
        parse_sql_json(text)
    except (ParseError, RecursionError):
        return False
    return True


def _queries(parsed: object) -> Iterator[str]:
    """The SQL in a PL/pgSQL tree, expressions as SELECTs; constant strings of EXECUTE, too; not what RAISE shows."""
    shown = [each for kind, body in walk(parsed) if kind == "PLpgSQL_stmt_raise" for each in body.get("params", ())]
    for kind, body in walk(parsed):
        if any(body is each.get("PLpgSQL_expr") for each in shown):
            continue
        if kind != "PLpgSQL_expr":
            if kind in ("PLpgSQL_stmt_dynexecute", "PLpgSQL_stmt_dynfors"):
                yield from _constants(f"SELECT {body['query']['PLpgSQL_expr']['query']}")
            continue
        query, mode = body.get("query", ""), body.get("parseMode", 0)
        if mode == 3:
            query = _ASSIGNMENT.sub("", query, count=1)
        yield query if mode == 0 else f"SELECT {query}"


def _constants(text: str) -> list[str]:
    if not _parses(text):
        return []
    return [each["sval"].get("sval", "") for kind, each in walk(json.loads(parse_sql_json(text)))
            if kind == "A_Const" and "sval" in each]  # fmt: skip


# --- trees -----------------------------------------------------------------------------------------------------


def _asks(tree: Node, *, login_differs: bool) -> Iterator[str]:
    made_here = {body.get("name") for kind, body in walk(tree) if kind == "ResTarget"}
    made_here |= {body.get("aliasname") for kind, body in walk(tree) if kind == "Alias"}
    stack: list[tuple[object, bool, bool]] = [(tree, False, False)]  # node, in a comparison, only named again
    while stack:
        value, compared, named = stack.pop()
        if isinstance(value, list):
            stack += [(each, compared, named) for each in value]
            continue
        if not isinstance(value, dict):
            continue
        for kind, body in value.items():
            below_compared, below_named = compared, named
            if kind in ("returningClause", "returningList"):
                continue  # of the rows just written, which are ours here as there
            if kind == "A_Expr" and isinstance(body, dict):
                operator = name_of(body["name"]).name
                if operator == "||":
                    below_named = True
                elif operator not in _BUILDS:
                    if _names_catalog(body):
                        if any(each == "A_Const" for each, _ in walk(body)):
                            yield OF_DATABASE.format(name="a database by name")
                        continue
                    below_compared = True
                    yield from _compared(body, made_here)
            elif kind == "FuncCall":
                if name_of(body["funcname"]).name in _NAMES_ITSELF:
                    below_named = True
            elif kind == "TypeCast" and _is_place(body):
                yield OF_PLACE
            if (name := _of_database(kind, body)) is not None and (compared or not named):
                yield OF_DATABASE.format(name=name)
            if login_differs and _is_login(kind, body) and (compared or not named):
                yield OF_LOGIN
            stack.append((body, below_compared, below_named))


def _of_database(kind: str, body: object) -> str | None:
    if not isinstance(body, dict):
        return None
    if kind == "SQLValueFunction" and body.get("op") == "SVFOP_CURRENT_CATALOG":
        return "current_catalog"
    if kind == "FuncCall" and name_of(body["funcname"]).name == "current_database":
        return "current_database()"
    return None


def _is_login(kind: str, body: object) -> bool:
    return kind == "SQLValueFunction" and isinstance(body, dict) and body.get("op") == "SVFOP_SESSION_USER"


def _is_place(cast: Node) -> bool:
    return strings(cast["typeName"].get("names"))[-1:] == ["tid"] and "A_Const" in cast["arg"]


def _without_shown(tree: Node) -> Node:
    """Without answers that are a SELECT's output, a row's value or a column's default: nothing is decided by them."""
    ((kind, body),) = tree.items()
    if kind == "SelectStmt" and "intoClause" not in body:
        return {kind: {**body, "targetList": _undirect(body.get("targetList", []), "ResTarget", "val")}}
    if kind == "InsertStmt" and (select := body.get("selectStmt", {}).get("SelectStmt")) is not None:
        rows = [
            {"List": {"items": [each for each in row["List"]["items"] if not _is_answer(each)]}}
            for row in select.get("valuesLists", ())
        ]
        columns = _undirect(select.get("targetList", []), "ResTarget", "val")
        return {kind: {**body, "selectStmt": {"SelectStmt": {**select, "valuesLists": rows, "targetList": columns}}}}
    if kind == "UpdateStmt":
        return {kind: {**body, "targetList": _undirect(body.get("targetList", []), "ResTarget", "val")}}
    if kind in ("CreateStmt", "AlterTableStmt"):
        return {kind: _without_defaults(body)}
    return tree


def _undirect(nodes: list[Node], kind: str, field: str) -> list[Node]:
    return [each for each in nodes if not _is_answer(each.get(kind, {}).get(field, {}))]


def _without_defaults(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_defaults(each) for each in _undirect(value, "Constraint", "raw_expr")]
    if isinstance(value, dict):
        return {key: _without_defaults(each) for key, each in value.items()}
    return value


def _is_answer(node: Node) -> bool:
    while "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    return any(_of_database(kind, body) is not None or _is_login(kind, body) for kind, body in node.items())


def _names_catalog(comparison: Node) -> bool:
    """Whether the database's name is sought among names of databases, or in a column that says it of every row."""
    sides = [comparison.get("lexpr", {}), comparison.get("rexpr", {})]
    return any(
        "ColumnRef" in side and all(_CATALOG_COLUMN.fullmatch(name) for name in columns_in(side)) for side in sides
    )


def _compared(comparison: Node, made_here: set[str | None]) -> Iterator[str]:
    sides = [comparison.get("lexpr", {}), comparison.get("rexpr", {})]
    for side, other in (sides, sides[::-1]):
        of_rows = columns_in(other) or any(kind == "SubLink" for kind, _ in walk({"other": other}))
        constants = [body for kind, body in walk({"other": other}) if kind == "A_Const"]
        for name in columns_in(side) - made_here:
            if name in _WRITERS and (constants or of_rows):
                yield OF_WRITER.format(name=name)
            elif of_rows:
                continue
            elif name == "ctid" and constants:
                yield OF_PLACE
            elif name == "tableoid" and any(_is_number(body) for body in constants):
                yield OF_TABLE


def _is_number(constant: Node) -> bool:
    return "ival" in constant or constant.get("sval", {}).get("sval", "").strip().isdigit()

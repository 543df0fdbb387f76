"""One statement of a workload: its text without values, and what its parse tree says of it.  Pure."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pglast.parser

from pgrehearse.migrations.reach import reach_beyond

PLANNED = frozenset({"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})
COMMENTS = frozenset({"SQL_COMMENT", "C_COMMENT"})
HINT = "/*+"  # pg_hint_plan's
CATALOGS = frozenset({"pg_catalog", "information_schema", "pg_toast"})

UNREADABLE = "its text is no whole statement that can be read: cut off, or left so by normalising"
SEVERAL = "its text holds several statements"
TOO_DEEP = "it is nested too deeply to be read"
DEEPEST = 600  # levels of a parse tree; Python's own limit is 1,000, and whoever walks through it stands on some
UTILITY = "it is a utility statement, which has no plan"
CATALOGS_ONLY = "it reads only the server's own catalogs"

_PLACEHOLDER = re.compile(r"\$\d+")
_PLACES = re.compile(r'"(?:location|number|stmt_location|stmt_len|list_start|list_end|rexpr_list_\w+)": \d+,? ?')
_LIST = re.compile(r"\b(IN|VALUES)\s*\(\$(?:, ?\$)*\)(?:, ?\(\$(?:, ?\$)*\))*", re.IGNORECASE)

Tree = Mapping[str, Any]


class NotPlannable(ValueError):
    """Why a statement cannot be planned; a sentence with `it` for the statement."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementText:
    """A plannable statement, known by its shape."""

    text: str  # with a placeholder for every value
    kind: str  # the parse tree's node
    parameters: int  # the highest placeholder
    shape: str  # the same for lists of any length, and however it is spaced

    @property
    def tree(self) -> Tree:
        """The node's body, parsed anew; some 0.1 ms."""
        return parse_one(self.text)[1]


def read_statement(text: str) -> StatementText:
    """Normalise one statement.  Raises `NotPlannable`.

    Values become placeholders behind those that are there.  Cost: below 1 ms.
    """
    try:
        # Normalised a second time where the server did: it keeps the text as sent when an entry was evicted meanwhile.
        normal = pglast.parser.normalize(without_comments(text).strip().rstrip(";").rstrip())
        kind, tree = parse_one(normal)
    except pglast.parser.ParseError:
        raise NotPlannable(UTILITY if _is_utility(text) else UNREADABLE) from None
    if kind not in PLANNED:
        raise NotPlannable(UTILITY)
    relations = list(find_relations(tree))
    if relations and all(_is_catalog(relation) for relation in relations):
        raise NotPlannable(CATALOGS_ONLY)
    if (why := reach_beyond(kind, json.dumps(tree, separators=(",", ":")), normal)) is not None:
        raise NotPlannable(why)
    return StatementText(text=normal, kind=kind, parameters=count_parameters(tree), shape=_shape(normal))


def _is_utility(text: str) -> bool:
    """Normalising a utility statement (``DO $$ … $$``) may leave what is no statement."""
    try:
        return parse_one(text)[0] not in PLANNED
    except (pglast.parser.ParseError, NotPlannable):
        return False


def _shape(text: str) -> str:
    shape = _PLACEHOLDER.sub("$", " ".join(text.split()))
    return _LIST.sub(r"\1 ($…)", shape)


def count_parameters(tree: Tree) -> int:
    """The highest placeholder."""
    return max((each.get("number", 0) for each in find_nodes(tree, "ParamRef")), default=0)


def without_comments(text: str) -> str:
    """The statement without what applications write into comments: request ids, users.  Planner hints stay."""
    kept, at = [], 0
    for token in pglast.parser.scan(text):
        if token.name in COMMENTS and not text.startswith(HINT, token.start):
            kept.append(text[at : token.start])
            at = token.end + 1
    return "".join([*kept, text[at:]])


def respell(text: str) -> str | None:
    """The same statement as the grammar's own printer writes it; None where it cannot.

    Normalising makes ``interval $1`` of ``interval '1 day'``, which no server reads; the printer's ``$1::interval`` is
    the same expression.
    """
    try:
        printed: str = pglast.parser.deparse_protobuf(pglast.parser.parse_sql_protobuf(text))
    except pglast.parser.Error:
        return None
    return printed


def share_placeholders(text: str) -> str | None:
    """The statement with the same placeholders in GROUP BY, ORDER BY and DISTINCT ON as in its select list; or None.

    Normalising numbers the two ``'day'`` of ``SELECT date_trunc('day', c) … GROUP BY date_trunc('day', c)`` apart, and
    no server takes the one for the other then.
    """
    renumbered: dict[int, int] = {}  # place of a placeholder, in bytes -> the number that it shares
    _, tree = parse_one(text)
    for select in (tree, *find_nodes(tree, "SelectStmt")):
        targets = [each["ResTarget"]["val"] for each in select.get("targetList", []) if "val" in each["ResTarget"]]
        known = {_blank(target): target for target in targets}
        for clause in ("groupClause", "sortClause", "distinctClause"):
            for entry in select.get(clause, []):
                expression = entry.get("SortBy", {}).get("node", entry)
                placeholders = list(find_nodes(expression, "ParamRef"))
                same = known.get(_blank(expression))
                if same is None or not placeholders or expression.keys() & {"ParamRef"}:
                    continue
                for here, there in zip(placeholders, find_nodes(same, "ParamRef"), strict=True):
                    renumbered[here.get("location", 0)] = there["number"]
    if not renumbered:
        return None
    places = {each.get("location", 0): each["number"] for each in find_nodes(tree, "ParamRef")} | renumbered
    # Without gaps: a server wants to know the type of each placeholder up to the highest.
    compact = {number: position for position, number in enumerate(sorted(set(places.values())), 1)}
    encoded, parts, at = text.encode(), [], 0
    for place in sorted(places):
        parts += [encoded[at:place], b"$%d" % compact[places[place]]]
        at = place + 1
        while encoded[at : at + 1].isdigit():
            at += 1
    return b"".join([*parts, encoded[at:]]).decode()


def _blank(expression: Any) -> str:
    """An expression's structure without places and placeholders' numbers."""
    return _PLACES.sub("", json.dumps(expression, sort_keys=True))


def parse_one(text: str) -> tuple[str, Tree]:
    """Node name and body of the only statement.  Raises `NotPlannable`, or the parser's error."""
    kind, tree, _ = parse_with_text(text)
    return kind, tree


def parse_with_text(text: str) -> tuple[str, Tree, str]:
    """The same, and the body once more as the parser wrote it, which `reach_beyond` reads."""
    written = pglast.parser.parse_sql_json(text)
    try:
        statements = json.loads(written).get("stmts", [])
    except RecursionError:
        raise NotPlannable(TOO_DEEP) from None
    if len(written) > DEEPEST and _is_deeper(statements, DEEPEST):
        raise NotPlannable(TOO_DEEP)
    if not statements:
        raise NotPlannable(UNREADABLE)
    if len(statements) > 1:
        raise NotPlannable(SEVERAL)
    ((kind, tree),) = statements[0]["stmt"].items()
    return kind, tree, written


def _is_deeper(tree: Any, levels: int) -> bool:
    nodes = [tree]
    for _ in range(levels):
        nodes = [
            value
            for node in nodes
            for value in (node.values() if isinstance(node, dict) else node)
            if isinstance(value, dict | list)
        ]
        if not nodes:
            return False
    return True


def find_nodes(tree: Any, kind: str) -> Iterator[Tree]:
    """Every node of this kind, outermost first."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            if key == kind and isinstance(value, dict):
                yield value
            yield from find_nodes(value, kind)
    elif isinstance(tree, list):
        for value in tree:
            yield from find_nodes(value, kind)


def find_relations(tree: Tree) -> Iterator[Tree]:
    """Every relation that the statement names, common table expressions left out."""
    made_here = {each.get("ctename") for each in find_nodes(tree, "CommonTableExpr")}
    if isinstance(target := tree.get("relation"), dict):
        yield target
    for relation in find_nodes(tree, "RangeVar"):
        if "schemaname" in relation or relation.get("relname") not in made_here:
            yield relation


def _is_catalog(relation: Tree) -> bool:
    namespace = relation.get("schemaname")
    if namespace is None:
        return str(relation.get("relname", "")).startswith("pg_")
    return namespace in CATALOGS

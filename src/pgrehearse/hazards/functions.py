"""PostgreSQL's own functions: which there are, and which are volatile.

``builtin_functions.txt`` lists pg_proc of PostgreSQL 15, 16 and 18 (pg_catalog, callable from SQL): a name is volatile
where any overload is.
"""

from functools import lru_cache
from pathlib import Path

from pgrehearse.hazards.model import Volatility
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, functions_in

# Of extensions that many databases have, and that are not in pg_catalog.
_EXTENSIONS = {
    "uuid_generate_v1": Volatility.VOLATILE, "uuid_generate_v1mc": Volatility.VOLATILE,
    "uuid_generate_v4": Volatility.VOLATILE, "uuid_generate_v3": Volatility.IMMUTABLE,
    "uuid_generate_v5": Volatility.IMMUTABLE, "gen_random_bytes": Volatility.VOLATILE,
    "gen_salt": Volatility.VOLATILE, "crypt": Volatility.IMMUTABLE, "digest": Volatility.IMMUTABLE,
    "hmac": Volatility.IMMUTABLE, "similarity": Volatility.IMMUTABLE, "unaccent": Volatility.STABLE,
}  # fmt: skip
# They run a text that is handed to them.
_RUN_TEXT = frozenset({
    "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "cursor_to_xml", "ts_stat", "ts_rewrite",
})  # fmt: skip


@lru_cache(maxsize=1)
def _builtin() -> tuple[frozenset[str], frozenset[str]]:
    text = Path(__file__).with_name("builtin_functions.txt").read_text(encoding="ascii")
    volatile, others = text.removeprefix("volatile:").split("others:")
    return frozenset(volatile.split()), frozenset(others.split())


def is_builtin(name: RelationName) -> bool:
    """PostgreSQL's own, with no effect on tables that its text does not show."""
    if name.namespace not in (None, "pg_catalog") or name.name in _RUN_TEXT:
        return False
    volatile, others = _builtin()
    return name.name in volatile or name.name in others or name.name.startswith("pg_") or name.name in _EXTENSIONS


def volatility_of(name: RelationName, situation: Situation) -> Volatility | None:
    """How the function is marked; None: not known."""
    known = situation.model.functions.get(situation.resolve_function(name))
    if known:
        marks = {each.volatility for each in known}
        return Volatility.VOLATILE if Volatility.VOLATILE in marks else min(marks, key=lambda each: each.value)
    volatile, others = _builtin()
    if name.namespace in (None, "pg_catalog"):
        if name.name in volatile:
            return Volatility.VOLATILE
        if name.name in others:
            return Volatility.STABLE
    return _EXTENSIONS.get(name.name)


def is_volatile(expression: Node, situation: Situation) -> bool | None:
    """Whether the expression is worked out anew for each row; None: a function's mark is not known."""
    answer: bool | None = False
    for name in functions_in(expression):
        volatility = volatility_of(name, situation)
        if volatility is Volatility.VOLATILE:
            if _inlines(name, situation):
                continue
            return True
        if volatility is None:
            answer = None
    return answer


def _inlines(name: RelationName, situation: Situation) -> bool:
    """A one-line SQL function becomes its body's expression (inline_function in clauses.c).

    Only for a body without any call; a body that cannot be read keeps the function's own mark.
    """
    from pgrehearse.errors import UnreadableSql
    from pgrehearse.hazards.parsed import parse_text

    known = situation.model.functions.get(situation.resolve_function(name), [])
    if len(known) != 1 or known[0].language != "sql" or not known[0].body:
        return False
    try:
        statements = parse_text(known[0].body)
    except UnreadableSql:
        return False
    if len(statements) != 1 or statements[0][0] != "SelectStmt":
        return False
    body = statements[0][1]
    if {"fromClause", "whereClause", "withClause", "valuesLists", "larg"} & body.keys() or '"SubLink"' in str(body):
        return False
    return not is_volatile(body, situation) and len(body.get("targetList", ())) == 1

"""Types for placeholders that a statement alone gives none: `$1 IS NULL`, `jsonb_build_object($1, id)`, `$1 + $2`.

Its sender's driver gives them one, or they were values, which normalising took out.
"""

import re
from collections.abc import Iterator, Mapping

from pgrehearse.queries.planning import PlanningSession, Refusal
from pgrehearse.queries.statement_text import Tree, find_nodes, parse_one

UNDETERMINED = ("42P18", "42P08")  # indeterminate_datatype, ambiguous_parameter
AMBIGUOUS = "42725"  # an operator or function that is there for several types
NUMBER = "pg_catalog.int8"
# The first that the statement takes.
GUESSED_TYPES = (
    "pg_catalog.text", NUMBER, "pg_catalog.timestamptz", "pg_catalog.bool", "pg_catalog.uuid",
    "pg_catalog.numeric", "pg_catalog.jsonb", "pg_catalog.date", "pg_catalog.text[]", "pg_catalog.int8[]",
)  # fmt: skip


def guess_types(text: str, session: PlanningSession) -> str | None:
    """The statement with a cast behind each such placeholder; None where it needs none, or where none helps.

    Two to some twenty round trips; only for statements that the server refused.
    """
    types: dict[int, str] = {}
    refusal = session.describe(text)
    if isinstance(refusal, Refusal) and refusal.sqlstate == AMBIGUOUS:
        types = dict.fromkeys(_alone_together(parse_one(text)[1]), NUMBER)
        refusal = session.describe(with_types(text, types))
    while isinstance(refusal, Refusal):
        number = _undetermined(refusal)
        if number is None or number in types:
            return None
        for types[number] in GUESSED_TYPES:  # the first that moves it on
            refusal = session.describe(with_types(text, types))
            if not isinstance(refusal, Refusal) or _undetermined(refusal) not in (None, *types):
                break
    return with_types(text, types) if types else None


def with_types(text: str, types: Mapping[int, str]) -> str:
    """The statement with these placeholders cast to these types."""
    _, tree = parse_one(text)
    encoded, parts, at = text.encode(), [], 0
    places = {each.get("location", 0): each["number"] for each in find_nodes(tree, "ParamRef")}
    for place, number in sorted(places.items()):
        if number in types:
            end = place + len(b"$%d" % number)
            parts += [encoded[at:end], f"::{types[number]}".encode()]
            at = end
    return b"".join([*parts, encoded[at:]]).decode()


def _undetermined(refusal: Refusal) -> int | None:
    """The placeholder whose type nothing determines."""
    if refusal.sqlstate not in UNDETERMINED or (found := re.search(r"\$(\d+)", refusal.message)) is None:
        return None
    return int(found[1])


def _alone_together(tree: Tree) -> Iterator[int]:
    """Placeholders that are all that an operator or a function takes."""
    for expression in find_nodes(tree, "A_Expr"):
        yield from _all_placeholders([expression.get("lexpr", {}), expression.get("rexpr", {})])
    for call in find_nodes(tree, "FuncCall"):
        yield from _all_placeholders(call.get("args", []))


def _all_placeholders(operands: list[Tree]) -> list[int]:
    found = [operand["ParamRef"]["number"] for operand in operands if "ParamRef" in operand]
    return found if len(found) == len(operands) else []

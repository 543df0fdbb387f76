"""Statements that are built while they run: EXECUTE of anything but a constant string.

Their text stands in no file.  A constant is as good as written out: `reach` searches it like the rest of a body.
"""

import json
import re

import pglast.parser

from pgrehearse.migrations.body_tokens import (
    CONSTANTS,
    NONE,
    NOT_DYNAMIC,
    RUNS_STRINGS,
    SEMICOLON,
    Token,
    Unscannable,
    called_functions,
    read_tokens,
)
from pgrehearse.migrations.reach import find_reach_in_body

# After a constant, EXECUTE's own words may follow; anything else (an operator, a dot) builds a string.
_ENDS_CONSTANT = frozenset({SEMICOLON, "", "INTO", "USING", "LOOP", "IDENT"})
_BODY = re.compile(r'"defname":"as","arg":\{"String":\{"sval":("(?:[^"\\]|\\.)*")\}')
_LANGUAGE = re.compile(r'"defname":"language","arg":\{"String":\{"sval":("(?:[^"\\]|\\.)*")\}')


def why_unseen_do(text: str) -> str | None:
    """Why this DO block may do what its text does not show, or None."""
    tree = pglast.parser.parse_sql_json(text)
    body, language = _BODY.search(tree), _LANGUAGE.search(tree)
    if body is None:
        return "its body is not found"
    return why_unseen(json.loads(body.group(1)), json.loads(language.group(1)) if language else "plpgsql")


def why_unseen(body: str, language: str) -> str | None:
    """Why a function of this language with this body may do what no text shows, or reaches beyond its database."""
    if language not in {"plpgsql", "sql"}:
        return f"what {language} does on the server cannot be read from its text"
    if (found := find_reach_in_body(body)) is not None:
        return f"its body has {found}, which reaches beyond the database"
    if language == "plpgsql" and _builds_strings(body):
        return "its body runs a string that is built at run time (EXECUTE), which could be anything"
    return None


def _builds_strings(body: str, *, is_constant: bool = False) -> bool:
    try:
        tokens = read_tokens(body)
    except Unscannable:
        return re.search(r"\bexecute\b", body, re.IGNORECASE) is not None
    for place, token in enumerate(tokens):
        if is_constant and token.name in CONSTANTS and _builds_strings(token.constant or "", is_constant=True):
            return True  # the body of a DO that is itself a string
        if token.name != "EXECUTE":
            continue
        first, second = [*tokens[place + 1 : place + 3], NONE, NONE][:2]
        if first.name in NOT_DYNAMIC:
            continue
        constant = first.constant if second.name in _ENDS_CONSTANT else None
        if constant is None or _builds_strings(constant, is_constant=True):
            return True
    return any(
        name in RUNS_STRINGS and not _is_given_constant(tokens, place) for place, _, name in called_functions(tokens)
    )


def _is_given_constant(tokens: tuple[Token, ...], called_at: int) -> bool:
    """Whether a function's first argument is a constant string and nothing is done to it."""
    first, second = [*tokens[called_at + 2 : called_at + 4], NONE, NONE][:2]
    return first.constant is not None and second.text in {",", ")"}

"""Statements that are built while they run: EXECUTE of anything but a constant string.

Their text stands in no file.  A constant is as good as written out: `reach` searches it like the rest of a body.
"""

import json
import re

import pglast.parser

from pgrehearse.migrations.reach import find_reach_in_body

# After a constant, EXECUTE's own words may follow; anything else (an operator, a dot) builds a string.
_ENDS_CONSTANT = frozenset({"ASCII_59", "INTO", "USING", "LOOP", "IDENT"})
_COMMENTS = frozenset({"SQL_COMMENT", "C_COMMENT"})
_NOT_DYNAMIC = frozenset({"ON", "FUNCTION", "PROCEDURE"})  # GRANT EXECUTE ON, a trigger's EXECUTE FUNCTION
_BODY = re.compile(r'"defname":"as","arg":\{"String":\{"sval":("(?:[^"\\]|\\.)*")\}')
_LANGUAGE = re.compile(r'"defname":"language","arg":\{"String":\{"sval":("(?:[^"\\]|\\.)*")\}')
_DOLLAR = re.compile(r"\A(\$\w*\$)(.*)\1\Z", re.DOTALL)


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
        tokens = [(token.name, body[token.start : token.end + 1]) for token in pglast.parser.scan(body)]
    except pglast.parser.ParseError:
        return re.search(r"\bexecute\b", body, re.IGNORECASE) is not None
    tokens = [token for token in tokens if token[0] not in _COMMENTS]
    for position, (name, text) in enumerate(tokens):
        if is_constant and name == "SCONST" and _builds_strings(_constant(text) or "", is_constant=True):
            return True  # the body of a DO that is itself a string
        if name != "EXECUTE":
            continue
        following = [*tokens[position + 1 : position + 3], ("", ""), ("", "")]
        (first, written), (second, _) = following[:2]
        if first in _NOT_DYNAMIC:
            continue
        constant = _constant(written) if first == "SCONST" and second in _ENDS_CONSTANT else None
        if constant is None or _builds_strings(constant, is_constant=True):
            return True
    return False


def _constant(written: str) -> str | None:
    """The value of a string literal; None for one with escapes."""
    if dollar := _DOLLAR.match(written):
        return dollar.group(2)
    if "\\" in written or not written.endswith("'"):
        return None
    return written[written.index("'") + 1 : -1].replace("''", "'")

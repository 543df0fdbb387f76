"""What may be told of why the server refused a query: nothing that stands in it between quotes, which may be secret."""

import re

from pglast.parser import scan
from psycopg.errors import lookup

_QUOTED = re.compile(r'"([^"]*)"')
_WORD = re.compile(r"\w+")
_LITERALS = frozenset({"SCONST", "USCONST", "BCONST", "XCONST", "ICONST", "FCONST"})
_ENGLISH = re.compile(r"(?:C|POSIX|en|English)(?:[._-]|$)")
_OF_A_COLUMN = "42804"  # datatype_mismatch: names the catalog's own columns


def without_literals(state: str, message: str, query: str, language: str) -> str:
    """The server's message, its quoted words struck out where they may be a value; else its condition's name.

    `language` is the server's `lc_messages`: only of English ones is it known what is quoted how.  A word in double
    quotes that stands alone may be meant as a value, too.  Cost: one scan of the query.
    """
    condition = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", lookup(state).__name__).lower()
    if state.startswith("22") or not _ENGLISH.match(language):
        return condition
    names, values = _words(query)
    told = _QUOTED.sub(lambda found: found[0] if _names_only(found[1], state, names, values) else '"…"', message)
    shown = {word.lower() for word in _WORD.findall(_QUOTED.sub("", told))}
    return condition if not told or shown & (values - names) else told


def _names_only(quoted: str, state: str, names: set[str], values: set[str]) -> bool:
    words = {word.lower() for word in _WORD.findall(quoted)}
    return (bool(words) and not words - names) or (state == _OF_A_COLUMN and not words & values)


def _words(query: str) -> tuple[set[str], set[str]]:
    """The words of names, in small letters, and those of literals and of names that may be meant as such."""
    names: set[str] = set()
    values: set[str] = set()
    tokens = scan(query)
    for number, token in enumerate(tokens):
        if token.name.endswith("COMMENT"):
            continue
        text = query[token.start : token.end + 1].lower()
        beside = {each.name for each in (*tokens[max(number - 1, 0) : number], *tokens[number + 1 : number + 2])}
        alone = text[0] == '"' and "ASCII_46" not in beside  # no dot
        is_value = token.name in _LITERALS or token.name == "UIDENT" or alone
        (values if is_value else names).update(_WORD.findall(text))
    return names, values

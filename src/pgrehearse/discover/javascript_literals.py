"""Object literals in a JavaScript or TypeScript file, read as text; nothing is run.

Enough for configuration files: comments are skipped, strings understood, nested objects followed.
What is computed is kept as its tokens, so that ``process.env.NAME`` can be recognised.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

# A string that is not closed ends with its line: seeking its end again at every quote would take quadratic time.
_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
      | "(?P<double>(?:[^"\\\n]|\\.)*)"?
      | '(?P<single>(?:[^'\\\n]|\\.)*)'?
      | `(?P<template>(?:[^`\\]|\\.)*)`?
      | (?P<word>[\w$]+)
      | (?P<mark>.)
    """,
    re.DOTALL | re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(u\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|\r?\n|.)", re.DOTALL)
_NAMED_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "0": "\0", "\n": "", "\r\n": ""}
_OPENING, _CLOSING = frozenset("{[("), frozenset("}])")


@dataclass(frozen=True, slots=True)
class Token:
    """One word, mark or string (`is_string`: its text is the value, without quotes)."""

    text: str
    is_string: bool = False


Value = tuple[Token, ...]
Literal = Mapping[str, Value]  # by dotted path: "dbCredentials.url"


def string_of(value: Value | None) -> str | None:
    """The text of a value that is a plain string; TypeScript's ``as const`` behind it is passed over."""
    if not value or not value[0].is_string or (len(value) > 1 and value[1].text not in ("as", "satisfies")):
        return None
    return value[0].text


def environment_variables(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Each NAME of ``process.env.NAME``, ``env["NAME"]`` and the like, in order."""
    found: list[str] = []
    for place, token in enumerate(tokens[:-2]):
        if token.text != "env" or token.is_string:
            continue
        mark, name = tokens[place + 1], tokens[place + 2]
        if mark.text == "?" and len(tokens) > place + 3:  # env?.NAME
            mark, name = tokens[place + 2], tokens[place + 3]
        if (mark.text == "." and not name.is_string) or (mark.text == "[" and name.is_string):
            found.append(name.text)
    return tuple(found)


def read_tokens(text: str) -> tuple[Token, ...]:
    """The text's words, marks and strings, without comments."""
    return tuple(_tokens(text))


def object_literals(tokens: Sequence[Token]) -> tuple[Literal, ...]:
    """Every outermost ``{key: value}``, flattened; blocks of code give literals without use."""
    found: list[Literal] = []
    place = 0
    while place < len(tokens):
        if tokens[place] == Token("{"):
            literal: dict[str, Value] = {}
            place = _read_object(tokens, place + 1, "", literal)
            found.append(literal)
        else:
            place += 1
    return tuple(found)


def _read_object(tokens: Sequence[Token], place: int, prefix: str, literal: dict[str, Value]) -> int:
    """Fill `literal` from behind an opening brace; gives the place behind the closing one."""
    while place < len(tokens) and tokens[place] != Token("}"):
        is_pair = place + 1 < len(tokens) and tokens[place + 1] == Token(":")
        if not is_pair:
            place = _end_of_value(tokens, place)
        else:
            path = f"{prefix}{tokens[place].text}"
            place += 2
            end = _end_of_value(tokens, place)
            literal[path] = tuple(tokens[place:end])
            if place < len(tokens) and tokens[place] == Token("{"):
                _read_object(tokens, place + 1, f"{path}.", literal)
            place = end
        if place < len(tokens) and tokens[place].text in (",", ";") and not tokens[place].is_string:
            place += 1
    return place + 1


def _end_of_value(tokens: Sequence[Token], place: int) -> int:
    """The first comma, semicolon or closing brace behind the value that belongs to the object around it."""
    depth = 0
    while place < len(tokens):
        token = tokens[place]
        if not token.is_string:
            if depth == 0 and token.text in (",", ";", "}"):
                return place
            depth += (token.text in _OPENING) - (token.text in _CLOSING)
            if depth < 0:
                return place + 1  # unbalanced, or code rather than a literal
        place += 1
    return place


def _tokens(text: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "template" and "${" in match[kind]:
            yield Token(match[kind])  # computed: not a string that we could read
        elif kind in ("double", "single", "template"):
            yield Token(_ESCAPE.sub(_unescaped, match[kind]), is_string=True)
        elif kind in ("word", "mark"):
            yield Token(match[kind])


def _unescaped(match: re.Match[str]) -> str:
    escape = match[1]
    if escape[0] in "ux" and len(escape) > 1:
        code = int(escape[1:].strip("{}"), 16)
        is_character = code <= sys.maxunicode and not 0xD800 <= code <= 0xDFFF
        return chr(code) if is_character else match[0]
    return _NAMED_ESCAPES.get(escape, escape)

"""A function's body, or any text of SQL, as the server's own scanner reads it: comments and spacing do not count.

PL/pgSQL is scanned by the same scanner as SQL, so a ``;`` inside a string ends no statement, and ``to/**/program`` is
two words.  What a constant says is read by the parser, with its escapes.
"""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pglast.parser

COMMENTS = frozenset({"SQL_COMMENT", "C_COMMENT"})
CONSTANTS = frozenset({"SCONST", "USCONST"})
SEMICOLON, OPEN, CLOSE, DOT = "ASCII_59", "ASCII_40", "ASCII_41", "ASCII_46"
# What stands before the first word of a statement, in a body as in a file.
_BEFORE_STATEMENT = frozenset({"", SEMICOLON, "THEN", "ELSE", "BEGIN_P", "LOOP"})
_NAMES_ONLY = frozenset({"FUNCTION", "PROCEDURE", "ROUTINE", "INTO", "TABLE"})
NOT_DYNAMIC = frozenset({"ON", "FUNCTION", "PROCEDURE"})  # GRANT EXECUTE ON, a trigger's EXECUTE FUNCTION
# Functions that run the statement which they are given as a string.
RUNS_STRINGS = frozenset({
    "query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema", "ts_stat", "ts_rewrite", "crosstab",
    "crosstab2", "crosstab3", "crosstab4", "crosstabn", "connectby", "xpath_table", "pg_background_launch",
})  # fmt: skip
_DEEPEST = 8  # strings within strings


@dataclass(frozen=True, slots=True)
class Token:
    """One word, constant or sign; ``name`` is the grammar's."""

    name: str
    text: str

    @property
    def constant(self) -> str | None:
        """What a string constant says; None for anything else."""
        return read_constant(self.text) if self.name in CONSTANTS else None

    @property
    def identifier(self) -> str:
        """The name that it may be, folded as the server folds it."""
        if self.name == "UIDENT":
            return read_identifier(self.text)
        if self.text.startswith('"'):
            return self.text[1:-1].replace('""', '"')
        return self.text.lower()


NONE = Token("", "")


class Unscannable(ValueError):
    """A text that the scanner refuses: another language, or a string that does not end."""


@lru_cache(maxsize=256)
def read_tokens(text: str) -> tuple[Token, ...]:
    """Its tokens without comments.  Some 0.1 ms per kilobyte.  Raises `Unscannable`."""
    try:
        found = pglast.parser.scan(text)
    except pglast.parser.ParseError as error:
        raise Unscannable(str(error)) from None
    return tuple(Token(token.name, text[token.start : token.end + 1]) for token in found if token.name not in COMMENTS)


def read_constant(written: str) -> str | None:
    """The value of a string constant as the parser reads it, with its escapes; None where it cannot."""
    value = _parsed(f"SELECT {written}")
    return value["val"]["A_Const"].get("sval", {}).get("sval", "") if value and "A_Const" in value["val"] else None


def read_identifier(written: str) -> str:
    """A ``U&"…"`` as the parser reads it."""
    value = _parsed(f"SELECT 1 AS {written}")
    return value["name"] if value else written


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        (statement,) = json.loads(pglast.parser.parse_sql_json(text))["stmts"]
    except (pglast.parser.ParseError, ValueError):
        return None
    target: dict[str, Any] = statement["stmt"]["SelectStmt"]["targetList"][0]["ResTarget"]
    return target


def starts_statement(tokens: Sequence[Token], at: int) -> bool:
    """Whether a statement begins with this token: at the start, behind ``;``, THEN, ELSE, BEGIN, LOOP or a label."""
    before = tokens[at - 1] if at else NONE
    return before.name in _BEFORE_STATEMENT or before.text.endswith(">>")


def rest_of_statement(tokens: Sequence[Token], at: int) -> Iterator[tuple[int, Token]]:
    """The tokens behind this one, up to the statement's end, that stand in no parentheses; each with its place."""
    depth = 0
    for place in range(at + 1, len(tokens)):
        token = tokens[place]
        if token.name == SEMICOLON:
            return
        if token.name == CLOSE:
            depth -= 1
        if depth <= 0:
            yield place, token
        if token.name == OPEN:
            depth += 1


def called_functions(tokens: Sequence[Token]) -> Iterator[tuple[int, str, str]]:
    """Every name before a parenthesis, as a call has it: its place, its namespace or "", and itself."""
    for place in range(len(tokens) - 1):
        token = tokens[place]
        if tokens[place + 1].name != OPEN or not re.match(r'[^\W\d]|"', token.text):
            continue
        qualified = place >= 2 and tokens[place - 1].name == DOT
        before = (
            tokens[place - 3] if qualified and place >= 3 else tokens[place - 1] if place and not qualified else NONE
        )
        if before.name not in _NAMES_ONLY:
            yield place, tokens[place - 2].identifier if qualified else "", token.identifier


def texts_within(text: str, *, deepest: int = _DEEPEST) -> Iterator[tuple[Token, ...]]:
    """The tokens of a text, and of every string constant in it that may be run, and of those in them.

    Bodies (behind DO and AS) are run; any other string may be where something in the text runs strings.  What cannot be
    scanned is left out.  Raises `Unscannable` for the text itself only.
    """
    tokens = read_tokens(text)
    yield tokens
    if deepest == 0:
        return
    runs = any(
        token.name == "EXECUTE" and following.name not in NOT_DYNAMIC
        for token, following in itertools.pairwise((*tokens, NONE))
    ) or any(name in RUNS_STRINGS for _, _, name in called_functions(tokens))
    for place, token in enumerate(tokens):
        if token.name in CONSTANTS and (runs or _is_body(tokens, place)) and (value := token.constant):
            try:
                yield from texts_within(value, deepest=deepest - 1)
            except Unscannable:
                continue


def _is_body(tokens: Sequence[Token], at: int) -> bool:
    before = tokens[at - 1].name if at else ""
    after = tokens[at + 1].name if at + 1 < len(tokens) else ""
    return before in {"DO", "AS"} or after == "LANGUAGE" or (at >= 2 and tokens[at - 2].name == "LANGUAGE")

"""Passwords inside statements: found, so that no report, receipt or error repeats them.

``CREATE ROLE … PASSWORD 'x'``, user mappings, servers and subscriptions carry secrets as string constants; so do
URLs and ``password=…`` conninfo strings in any statement (dblink), and the constants of a DO block or a function that
makes such a thing.  What is not certain to be harmless there is hidden whole.  The values of an application's own rows
(``INSERT INTO settings …``) are data, not the migration's secrets; `pgrehearse` prints no rows unless it is asked to.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pglast.parser

from pgrehearse.migrations.body_tokens import COMMENTS, CONSTANTS, read_constant
from pgrehearse.postgres.hidden import MASK, hide

# Every string constant of these statements is masked: an option's name does not tell a secret from a host.
_SECRET_KINDS = frozenset(
    {
        "CreateRoleStmt",
        "AlterRoleStmt",
        "CreateUserMappingStmt",
        "AlterUserMappingStmt",
        "CreateForeignServerStmt",
        "AlterForeignServerStmt",
        "CreateSubscriptionStmt",
        "AlterSubscriptionStmt",
    }
)
_SETTING_KINDS = frozenset({"AlterRoleSetStmt", "AlterDatabaseSetStmt", "VariableSetStmt"})
_BODY_KINDS = frozenset({"DoStmt", "CreateFunctionStmt"})

# Searched for anywhere in a text: a beginning like \w* would be tried at every letter of a long word, to its end.
_KEYWORDS = r"(?:password|passwd|passfile|secret|token|api_?key|private_?key|credential)"
_WORTH_A_LOOK = re.compile(
    r"password|passwd|passfile|secret|token|api_?key|private_?key|credential|://|mapping|subscription|server|dblink|"
    r"\brole\b|\buser\b|\bgroup\b|pgp_",
    re.I,
)
_SECRET_NAME = re.compile(_KEYWORDS, re.I)
# A body that says this may make a role, a mapping, a connection, in words or in a string that it runs.
_MAKES_SECRETS = re.compile(
    rf"\b(?:create|alter)\W+(?:role|user|group|server|subscription)\b|\bmapping\b|\bsubscription\b|dblink|{_KEYWORDS}",
    re.I,
)
_IN_A_CONNINFO = re.compile(rf"{_KEYWORDS}s?\s*=\s*(?P<secret>'(?:[^'\\]|\\.|'')*'|[^\s'\",;)&]+)", re.I)
_IN_A_URL = re.compile(r"(?<=\w)://[^:/@\s']{0,256}:(?P<secret>[^@\s']{1,512})(?=@)")
_IN_A_CLAUSE = re.compile(r"\bpassword\b\W*'(?P<secret>(?:[^'\\]|\\.|'')*)'", re.I)
_IN_A_VALUE = (_IN_A_CONNINFO, _IN_A_URL, _IN_A_CLAUSE)

# In what the scanner cannot read, and outside of constants: comments, identifiers, settings.
_PATTERNS = (
    re.compile(r"(?P<keep>\bpassword\s+'+)(?P<secret>(?:[^'\\]|\\.)+)(?='+)", re.IGNORECASE),
    re.compile(
        r"(?P<keep>\b(?:password|passwd|sslpassword|secret|token|api_?key)\s*(?:=|:=|=>)\s*'*)"
        r"(?P<secret>[^\s'\",;)&]+)",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<keep>(?<=\w)://[^:/@\s']{0,256}:)(?P<secret>[^@\s']{1,512})(?=@)"),
)
_STRING = re.compile(
    r"""(?:\b[eEnN]|\b[uU]&)?'(?P<quoted>(?:[^'\\]|''|\\.)*)'   # 'x', E'x', U&'x'
      | \$(?P<tag>\w*)\$(?P<dollar>.*?)\$(?P=tag)\$             # $tag$x$tag$
    """,
    re.DOTALL | re.VERBOSE,
)
_DOLLARS = re.compile(r"\A(?P<tag>\$\w*\$)(?P<body>.*)(?P=tag)\Z", re.DOTALL)
_DEEPEST = 8  # constants within constants
_SHORTEST = 3  # of a value that a message is searched for


@dataclass(frozen=True, slots=True)
class _Shown:
    """A text as it may be shown, and what was taken out of it."""

    text: str
    hidden: frozenset[str] = frozenset()


def redact(text: str, kind: str) -> str:
    """The statement with its secrets shown as ``***``; ``kind`` is the parse tree's node (`Statement.kind`)."""
    return _shown(text, kind).text


def shown_query(query: str | None) -> str:
    """The beginning of another session's query on one line, for a message; its kind is not known."""
    return redact(" ".join((query or "").split()), "")[:80]


def find_secrets(text: str, kind: str) -> tuple[str, ...]:
    """The values that `redact` hides, longest first, to scrub what a server echoes of them."""
    hidden = _shown(text, kind).hidden
    return tuple(
        sorted((value for value in hidden if len(value) >= _SHORTEST and value != MASK), key=len, reverse=True)
    )


def mask(message: str, secrets: Iterable[str]) -> str:
    """A server's message with these values shown as ``***``."""
    return hide(message, secrets, quoted=True)


@lru_cache(maxsize=256)
def _shown(text: str, kind: str) -> _Shown:
    if kind not in _SECRET_KINDS | _SETTING_KINDS and not _WORTH_A_LOOK.search(text):
        return _Shown(text)
    try:
        tokens = _scan(text)
    except pglast.parser.ParseError:
        return _by_patterns(_all_strings(text) if kind in _SECRET_KINDS else _Shown(text))
    everything = kind in _SECRET_KINDS or _sets_a_secret(kind, tokens)
    return _by_patterns(_with_constants_shown(text, tokens, everything=everything, body=kind in _BODY_KINDS, depth=0))


def _scan(text: str) -> Sequence[tuple[str, int, int]]:
    """Each token's name and place, without comments."""
    tokens = pglast.parser.scan(text)
    return [(token.name, token.start, token.end + 1) for token in tokens if token.name not in COMMENTS]


def _sets_a_secret(kind: str, tokens: Sequence[tuple[str, int, int]]) -> bool:
    """``SET app.jwt_secret TO 'x'``: the server's own parameters hold none, a dotted name is the team's own."""
    return kind in _SETTING_KINDS and any(name == "ASCII_46" for name, _, _ in tokens)


def _with_constants_shown(
    text: str, tokens: Sequence[tuple[str, int, int]], *, everything: bool, body: bool, depth: int
) -> _Shown:
    pieces: list[str] = []
    hidden: set[str] = set()
    end = 0
    sets = "set_config" in text.lower() and _SECRET_NAME.search(text) is not None
    for name, start, stop in tokens:
        if name not in CONSTANTS:
            continue
        written = text[start:stop]
        shown = _constant(written, everything=everything or sets, body=body, depth=depth)
        pieces += [text[end:start], shown.text]
        hidden |= shown.hidden
        end = stop
    return _Shown("".join((*pieces, text[end:])), frozenset(hidden))


def _constant(written: str, *, everything: bool, body: bool, depth: int) -> _Shown:
    value = read_constant(written)
    if value is None:
        return _hidden(written, written)
    if everything:
        return _hidden(written, value)
    if (dollars := _DOLLARS.match(written)) is not None and depth < _DEEPEST:  # a body, whoever shows it
        shown = _body(dollars["body"], depth + 1)
        return _Shown(f"{dollars['tag']}{shown.text}{dollars['tag']}", shown.hidden)
    if any(pattern.search(value) for pattern in _IN_A_VALUE) or (body and _MAKES_SECRETS.search(value)):
        return _hidden(written, value)
    return _Shown(written)


def _hidden(written: str, value: str) -> _Shown:
    """The whole constant, and of a conninfo string or a URL its password too, since a server may echo that alone."""
    inner = written.strip("'")
    return _Shown(f"'{MASK}'", frozenset({value, inner, *_parts(value)}))


def _parts(value: str, depth: int = 0) -> Iterator[str]:
    for pattern in _IN_A_VALUE:
        for match in pattern.finditer(value):
            yield match["secret"].strip("'")
    if depth < _DEEPEST:
        for match in _STRING.finditer(value):
            part = (match["quoted"] or match["dollar"] or "").replace("''", "'")
            yield part
            yield from _parts(part, depth + 1)


def _body(text: str, depth: int) -> _Shown:
    """Of a block or a function: where it may make something with a secret, none of its constants is shown."""
    try:
        tokens = _scan(text)
    except pglast.parser.ParseError:  # another language
        return _Shown(MASK, frozenset({text, *_parts(text)})) if _MAKES_SECRETS.search(text) else _Shown(text)
    said = " ".join(text[start:stop] for _, start, stop in tokens)  # no comment keeps two words apart
    everything = _MAKES_SECRETS.search(said) is not None
    return _with_constants_shown(text, tokens, everything=everything, body=True, depth=depth)


def _all_strings(text: str) -> _Shown:
    found = {match["quoted"] or match["dollar"] or "" for match in _STRING.finditer(text)}
    return _Shown(_STRING.sub(lambda match: f"'{MASK}'", text), frozenset(found))


def _by_patterns(shown: _Shown) -> _Shown:
    text, hidden = shown.text, set(shown.hidden)
    for pattern in _PATTERNS:
        hidden.update(match["secret"] for match in pattern.finditer(text))
        text = pattern.sub(lambda match: f"{match['keep']}{MASK}", text)
    return _Shown(text, frozenset(hidden - {MASK}))

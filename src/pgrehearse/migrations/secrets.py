"""Passwords inside statements: found, so that no report, receipt or error repeats them.

``CREATE ROLE … PASSWORD 'x'``, user mappings, servers and subscriptions carry secrets as string
constants; so do URLs and ``password=…`` conninfo strings in any statement (dblink, DO blocks).
"""

import re
from collections.abc import Iterable

MASK = "***"

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
_STRING = re.compile(
    r"""(?:\b[eEnN]|\b[uU]&)?'(?P<quoted>(?:[^'\\]|''|\\.)*)'   # 'x', E'x', U&'x'
      | \$(?P<tag>\w*)\$(?P<dollar>.*?)\$(?P=tag)\$             # $tag$x$tag$
    """,
    re.DOTALL | re.VERBOSE,
)
# Wherever they stand, in a DO body or a function's argument too.
_KEYWORDS = r"(?:password|passwd|sslpassword|secret|token|api_?key)"
_SECRET_PATTERNS = (
    re.compile(r"(?P<keep>\bpassword\s+'+)(?P<secret>(?:[^'\\]|\\.)+)(?='+)", re.IGNORECASE),
    re.compile(rf"(?P<keep>\b{_KEYWORDS}\s*(?:=|:=|=>)\s*'*)(?P<secret>[^\s'\",;)&]+)", re.IGNORECASE),
    re.compile(r"(?P<keep>\w+://[^:/@\s']*:)(?P<secret>[^@\s']+)(?=@)"),
)


def redact(text: str, kind: str) -> str:
    """The statement with its secrets shown as ``***``; ``kind`` is the parse tree's node (`Statement.kind`)."""
    if kind in _SECRET_KINDS:
        text = _STRING.sub(lambda match: f"'{MASK}'", text)
    for pattern in _SECRET_PATTERNS:
        text = pattern.sub(lambda match: f"{match['keep']}{MASK}", text)
    return text


def shown_query(query: str | None) -> str:
    """The beginning of another session's query on one line, for a message; its kind is not known."""
    return redact(" ".join((query or "").split()), "")[:80]


def find_secrets(text: str, kind: str) -> tuple[str, ...]:
    """The values that `redact` hides, longest first, to scrub what a server echoes of them."""
    found: set[str] = set()
    if kind in _SECRET_KINDS:
        found.update(match["quoted"] or match["dollar"] or "" for match in _STRING.finditer(text))
    for pattern in _SECRET_PATTERNS:
        found.update(match["secret"] for match in pattern.finditer(text))
    return tuple(sorted((value for value in found if len(value) > 2 and value != MASK), key=len, reverse=True))


def mask(message: str, secrets: Iterable[str]) -> str:
    """A server's message with these values shown as ``***``."""
    for secret in secrets:
        message = message.replace(secret, MASK)
    return message

"""What other tools write into their SQL files, blanked so that lines and columns stay where an editor shows them.

goose (``-- +goose Down``), sql-migrate (``-- +migrate Down``), dbmate (``-- migrate:down``), node-pg-migrate
(``-- Down Migration``) and tern (``---- create above / drop below ----``) keep the way back in the same file;
psql's commands and the data behind COPY … FROM STDIN are no SQL; Flyway fills in ``${names}``, psql ``:names``: what
stands for one here is a name like ``x____x`` of the same width, and what it names is not known.
Liquibase's formatted SQL keeps its way back in comments (``--rollback``), so nothing is to be done there.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_UP_OR_DOWN = re.compile(
    rb"^[ \t]*--[ \t]*(?:\+goose[ \t]+|\+migrate[ \t]+|migrate:)(?P<way>up|down)\b(?P<rest>[^\r\n]*)"
    rb"|^[ \t]*--[ \t]*(?P<node>up|down)[ \t]+migration\b[^\r\n]*"
    rb"|^(?P<tern>----[ \t]*create above[ \t]*/[ \t]*drop below[ \t]*----)",
    re.MULTILINE | re.IGNORECASE,
)
_NO_TRANSACTION = re.compile(
    rb"^[ \t]*--[ \t]*(?:\+goose[ \t]+no[ \t]+transaction\b|\+migrate[ \t]+up[ \t]+notransaction\b"
    rb"|migrate:up\b[^\r\n]*\btransaction:[ \t]*false\b|changeset\b[^\r\n]*\bruninTransaction:[ \t]*false\b)",
    re.MULTILINE | re.IGNORECASE,
)
_COPY_DATA = re.compile(
    rb"(^[ \t]*copy\b[^;]*?\bfrom\s+stdin\b[^;]*;[^\r\n]*\r?\n)(.*?^\\\.[ \t]*$|.*\Z)",
    re.MULTILINE | re.DOTALL | re.IGNORECASE,
)
_PSQL_LINE = re.compile(rb"^[ \t]*\\(?P<command>[a-z?!.]+)(?P<rest>[^\r\n]*)", re.MULTILINE)
_PSQL_ENDS = re.compile(rb"\\(?:gexec|gset|gx|g|crosstabview|watch)\b[^\r\n]*")
_PSQL_VARIABLE = re.compile(rb"(?<![:\w]):(?:'(?P<literal>\w+)'|\"(?P<identifier>\w+)\"|(?P<plain>[A-Za-z_]\w*))")
_PLACEHOLDER = re.compile(rb"\$\{[\w.:-]+\}")
_QUIET = frozenset({b"echo", b"qecho", b"warn", b"timing", b"pset", b"set", b"unset", b"x", b"encoding", b"."})


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """The file's SQL, and what was passed over."""

    content: bytes
    passed_over: Sequence[tuple[int, str]]
    refuses_transaction: bool
    placeholders: frozenset[str] = frozenset()  # what stands in `content` for names that a tool fills in


def blank_foreign(content: bytes) -> Foreign | None:
    """The file without what is not to be run as SQL; None where there is nothing of the kind.  Pure."""
    passed_over: list[tuple[int, str]] = []
    refuses = False
    changed = content
    if b"--" in content:
        refuses = _NO_TRANSACTION.search(content) is not None
        changed = _blank_down(changed)
    if b"stdin" in content.lower():
        changed = _COPY_DATA.sub(lambda match: match[1] + _blank(match[2]), changed)
    if b"\\" in changed:
        changed = _blank_psql(changed, passed_over)
    placeholders: frozenset[str] = frozenset()
    if b"${" in changed:
        placeholders = frozenset(_stand_in(len(each)).decode() for each in _PLACEHOLDER.findall(changed))
        changed = _PLACEHOLDER.sub(lambda match: _stand_in(len(match[0])), changed)
    if changed is content and not refuses:
        return None
    return Foreign(
        content=changed, passed_over=tuple(passed_over), refuses_transaction=refuses, placeholders=placeholders
    )


def with_stand_ins(content: bytes) -> tuple[bytes, frozenset[str]] | None:
    """``:name``, ``:'name'`` and ``:"name"`` that psql is given from outside; None where there is none.  Pure.

    Only for what cannot be read otherwise: JSON_OBJECT and slices of arrays have colons of their own.
    """
    if not _PSQL_VARIABLE.search(content):
        return None
    hidden = _inside_literals(content, but_behind=b":")
    found: set[str] = set()

    def fill(match: re.Match[bytes]) -> bytes:
        if hidden[match.start()]:
            return match[0]
        quote = b"" if match["plain"] else match[0][1:2]
        stand_in = _stand_in(len(match[0]) - 1 - len(quote) * 2)
        found.add(stand_in.decode())
        return b" " + quote + stand_in + quote

    changed = _PSQL_VARIABLE.sub(fill, content)
    return (changed, frozenset(found)) if found else None


def _stand_in(width: int) -> bytes:
    return b"x" if width < 2 else b"x" + b"_" * (width - 2) + b"x"


def _blank(piece: bytes) -> bytes:
    """Blanks as wide as the text: lines stay lines."""
    return re.sub(rb"[^\r\n]", b" ", piece)


def _blank_down(content: bytes) -> bytes:
    marks = list(_UP_OR_DOWN.finditer(content))
    if not marks:
        return content
    pieces = [content[: marks[0].start()]]
    for mark, following in zip(marks, [*marks[1:], None], strict=True):
        piece = content[mark.start() : following.start() if following else len(content)]
        way = (mark["way"] or mark["node"] or b"down").lower()
        pieces.append(_blank(piece) if way == b"down" else piece)
    return b"".join(pieces)


def _blank_psql(content: bytes, passed_over: list[tuple[int, str]]) -> bytes:
    """Backslash commands that begin a line, outside of literals; the variables of ``\\set`` are filled in."""
    if not _PSQL_LINE.search(content) and not _PSQL_ENDS.search(content):
        return content
    hidden = _inside_literals(content)
    variables: dict[bytes, bytes] = {}

    def pass_over(match: re.Match[bytes]) -> bytes:
        if hidden[match.start() + match[0].index(b"\\")]:
            return match[0]
        command, rest = match["command"], match["rest"].split(None, 1)
        if command == b"set" and rest:
            variables[rest[0]] = _value(rest[1]) if len(rest) > 1 else b""
        line = content.count(b"\n", 0, match.start()) + 1
        name = command.decode(errors="replace")
        passed_over.append((line, f"\\{name} is a command of psql, not SQL, and run refuses it"))
        return _blank(match[0])

    content = _PSQL_LINE.sub(pass_over, content)

    def end(match: re.Match[bytes]) -> bytes:
        if hidden[match.start()]:
            return match[0]
        line = content.count(b"\n", 0, match.start()) + 1
        passed_over.append((line, f"{match[0].split()[0].decode(errors='replace')} runs what the query answers"))
        return b";" + _blank(match[0][1:])

    content = _PSQL_ENDS.sub(end, content)
    if not variables:
        return content
    hidden = _inside_literals(content)

    def fill(match: re.Match[bytes]) -> bytes:
        name = match["literal"] or match["identifier"] or match["plain"]
        if hidden[match.start()] or name not in variables:
            return match[0]
        value = variables[name]
        if match["literal"]:
            return b"'" + value.replace(b"'", b"''") + b"'"
        return b'"' + value.replace(b'"', b'""') + b'"' if match["identifier"] else value

    return _PSQL_VARIABLE.sub(fill, content)


def _value(written: bytes) -> bytes:
    written = written.strip()
    if len(written) > 1 and written[:1] == written[-1:] == b"'":
        return written[1:-1].replace(b"''", b"'")
    return written


_LITERAL = re.compile(
    rb"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$|--[^\r\n]*|/\*.*?\*/", re.DOTALL
)


def _inside_literals(content: bytes, but_behind: bytes | None = None) -> bytearray:
    """1 for every byte inside a string, a quoted name, a dollar-quoted body or a comment, but for those behind it."""
    hidden = bytearray(len(content))
    for match in _LITERAL.finditer(content):
        if but_behind is not None and content[match.start() - 1 : match.start()] == but_behind:
            continue
        hidden[match.start() : match.end()] = b"\1" * (match.end() - match.start())
    return hidden

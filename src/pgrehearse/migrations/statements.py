"""A file's SQL split into statements by the server's own parser, and what each needs from its transaction."""

import bisect
import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import pglast.parser

from pgrehearse.errors import UnreadableSql
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.reach import reach_beyond
from pgrehearse.migrations.transaction_need import (
    TransactionNeed,
    touches_whole_database,
    transaction_need,
    unsupported_transaction_control,
)

__all__ = ["SplitStatement", "Statement", "TransactionNeed", "find_unparsed", "split_file", "split_with_trees"]

DRIZZLE_BREAKPOINT = "--> statement-breakpoint"  # split on this very text, wherever it stands, as drizzle does
DRIZZLE_KINDS = frozenset({SourceKind.DRIZZLE_JOURNAL, SourceKind.DRIZZLE_FOLDER})

# Only a RawStmt has a field "stmt", and inside a JSON string its quotes would be escaped.
_RAW_STATEMENT = re.compile(r'[\[,]\{"stmt":\{"(\w+)":')
_LOCATION = re.compile(r'\}(?:,"stmt_location":(\d+))?(?:,"stmt_len":(\d+))?\}(?:\]\})?$')
_COPY_FROM_STDIN = re.compile(r"\bcopy\b[^;]*\bfrom\s+stdin\b[^;]*;", re.IGNORECASE)
_BLANK = re.compile(r"\s+|--[^\n\r]*")
_COMMENT_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One statement as it stands in its file; `text` is what is sent, byte for byte, without the semicolon."""

    index: int  # 0-based in its file
    text: str
    line: int  # of its first token, 1-based, in the file as an editor shows it
    column: int  # 1-based, in characters
    kind: str  # the parse tree's node: "CreateStmt", "AlterTableStmt", "IndexStmt" …
    need: TransactionNeed
    beyond: str | None  # why it reaches beyond its database ("ALTER SYSTEM changes the whole server"), else None
    whole_database: bool = False  # needs a lock on every table: VACUUM without a table, REINDEX DATABASE

    def place(self, character: int) -> tuple[int, int]:
        """Line and column in the file of the 1-based character of `text` that the server points at."""
        before = self.text[: max(character - 1, 0)]
        newlines = before.count("\n")
        if newlines == 0:
            return self.line, self.column + len(before)
        return self.line + newlines, len(before) - before.rfind("\n")


@lru_cache(maxsize=1024)
def split_file(content: bytes, *, path: str, kind: SourceKind) -> tuple[Statement, ...]:
    """The file's statements in order; comments between them are left out.

    Cost: about 0.15 s per MB, once for each file: status, plan and run ask again.  A BOM and CRLF are
    accepted.  Raises `UnreadableSql` (exit 2) with file, line and column for bytes that are not UTF-8, syntax
    errors, psql commands, COPY data and transaction commands that a migration cannot hold.
    """
    text = _decode(content, path)
    lines = _Lines(path, text)
    statements: list[Statement] = []
    for each in _split(text, lines, kind):
        _refuse_unsupported(each.statement.kind, each.tree, each.first_character, lines)
        statements.append(each.statement)
    return tuple(statements)


@dataclass(frozen=True, slots=True)
class SplitStatement:
    """A statement with the JSON text of its tree, for a reader of what it does."""

    statement: Statement
    tree: str
    first_byte: int  # where it begins in what the parser was given; the tree's locations count from there
    first_character: int  # where it begins in the file's text


def split_with_trees(content: bytes, *, path: str, kind: SourceKind) -> tuple[SplitStatement, ...]:
    """As `split_file`, from the same parse; but nothing is refused, for the statements are only read."""
    text = _decode(content, path)
    return tuple(_split(text, _Lines(path, text), kind))


def _split(text: str, lines: "_Lines", kind: SourceKind) -> Iterator[SplitStatement]:
    index = 0
    for offset, chunk in _drizzle_chunks(text) if kind in DRIZZLE_KINDS else iter([(0, text)]):
        for node, tree, start, end, first_byte in _parse(chunk, offset, lines):
            written = chunk[start:end]
            line, column = lines.place(offset + start)
            statement = Statement(
                index=index,
                text=written,
                line=line,
                column=column,
                kind=node,
                need=transaction_need(node, tree, written),
                beyond=reach_beyond(node, tree, written),
                whole_database=touches_whole_database(node, tree),
            )
            yield SplitStatement(statement, tree, first_byte, offset + start)
            index += 1


def find_unparsed(content: bytes, *, path: str, kind: SourceKind) -> tuple[Statement, ...]:
    """The parts of the file that are sent by themselves and that our parser, of one major, cannot read as SQL.

    Each as one `Statement` of no kind, for a server to judge; empty where psql's commands or COPY data are the
    reason, which no server accepts.  Raises `UnreadableSql` for bytes that are not UTF-8.
    """
    text = _decode(content, path)
    lines = _Lines(path, text)
    found: list[Statement] = []
    for offset, chunk in _drizzle_chunks(text) if kind in DRIZZLE_KINDS else iter([(0, text)]):
        try:
            pglast.parser.parse_sql_json(chunk)
        except pglast.parser.ParseError as error:
            if _psqls_own(error, chunk, offset, lines) is not None:
                return ()
            line, column = lines.place(offset)
            found.append(
                Statement(
                    index=len(found),
                    text=chunk,
                    line=line,
                    column=column,
                    kind="",
                    need=TransactionNeed.ANY,
                    beyond=None,
                )
            )
    return tuple(found)


class _Lines:
    """Where each line of a text begins."""

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def place(self, character: int) -> tuple[int, int]:
        line = bisect.bisect_right(self._starts, character)
        return line, character - self._starts[line - 1] + 1

    def error(self, character: int, message: str, *, remedy: str | None = None) -> UnreadableSql:
        line, column = self.place(character)
        return UnreadableSql(f"{self.path}:{line}:{column}: {message}", remedy=remedy)


def _decode(content: bytes, path: str) -> str:
    body = content.removeprefix(codecs.BOM_UTF8)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise UnreadableSql(
            f"{path}:{line}: byte 0x{body[error.start]:02x} is not UTF-8",
            remedy="Save the file as UTF-8, for example with `iconv -f latin1 -t utf-8`.",
        ) from None
    if "\0" in text:
        lines = _Lines(path, text)
        raise lines.error(text.index("\0"), "a NUL byte", remedy="Save the file as plain UTF-8 text.")
    return text


def _drizzle_chunks(text: str) -> Iterator[tuple[int, str]]:
    """Each part between breakpoints with its offset; they are sent one by one, so each must parse by itself."""
    start = 0
    for part in text.split(DRIZZLE_BREAKPOINT):
        yield start, part
        start += len(part) + len(DRIZZLE_BREAKPOINT)


def _parse(chunk: str, offset: int, lines: _Lines) -> Iterator[tuple[str, str, int, int, int]]:
    """Node name, JSON of its body, first and last character, and first byte, of each statement in the chunk."""
    try:
        answer = pglast.parser.parse_sql_json(chunk)
    except pglast.parser.ParseError as error:
        raise _syntax_error(error, chunk, offset, lines) from None
    encoded = None if chunk.isascii() else chunk.encode()
    byte = character = 0  # where we are, in both measures: the parser counts bytes
    pieces = _RAW_STATEMENT.split(answer)
    for node, body in zip(pieces[1::2], pieces[2::2], strict=True):
        location = _LOCATION.search(body)
        assert location is not None, "libpg_query's RawStmt changed its shape"
        start = int(location.group(1) or 0)
        length = int(location.group(2) or 0)
        end = start + length if length else len(chunk if encoded is None else encoded)
        if encoded is not None:
            first = character + len(encoded[byte:start].decode())
            last = first + len(encoded[start:end].decode())
            byte, character = end, last
            start, end = first, last
        token = _skip_blank(chunk, start)
        first_byte = int(location.group(1) or 0)
        first_byte += token - start if encoded is None else len(chunk[start:token].encode())
        yield node, body[: location.start()], token, token + len(chunk[token:end].rstrip()), first_byte


def _skip_blank(text: str, at: int) -> int:
    """The first character at or after ``at`` that is neither white space nor in a comment (they nest)."""
    while True:
        if blank := _BLANK.match(text, at):
            at = blank.end()
        elif text.startswith("/*", at):
            depth = 0
            for edge in _COMMENT_EDGE.finditer(text, at):
                depth += 1 if edge.group() == "/*" else -1
                if depth == 0:
                    at = edge.end()
                    break
            else:
                return at
        else:
            return at


def _refuse_unsupported(node: str, tree: str, at: int, lines: _Lines) -> None:
    if node == "CopyStmt" and '"filename":' not in tree:
        if '"is_from":true' in tree:
            raise _copy_data(at, lines)
        raise lines.error(
            at,
            "COPY TO STDOUT sends rows to a client, and a migration has none that would read them",
            remedy="Take the statement out of the migration; export data with psql's \\copy.",
        )
    command = unsupported_transaction_control(node, tree)
    if command is not None:
        raise lines.error(
            at,
            f"{command} cannot be followed by a runner that records what it applied",
            remedy="Use plain BEGIN and COMMIT, or leave the transaction to --transaction.",
        )


def _copy_data(at: int, lines: _Lines) -> UnreadableSql:
    return lines.error(
        at,
        "COPY … FROM STDIN: the data that follows is psql's format, not SQL",
        remedy="Write the rows as INSERT statements (pg_dump --inserts does), or load the data with psql's \\copy.",
    )


def _place_in(error: pglast.parser.ParseError, chunk: str) -> int:
    """The character of the chunk at which the parser gave up."""
    index = error.args[1] if len(error.args) > 1 else None
    return len(chunk.rstrip()) if index is None else int(index)


def _syntax_error(error: pglast.parser.ParseError, chunk: str, offset: int, lines: _Lines) -> UnreadableSql:
    """psql's own inventions are told apart from plain mistakes, since their remedy is another."""
    told = _psqls_own(error, chunk, offset, lines)
    if told is not None:
        return told
    message, index = str(error.args[0]), _place_in(error, chunk)
    if chunk[index : index + 1] == ":":
        message += ": if this is a psql variable, write its value instead"
    return lines.error(offset + index, message)


def _psqls_own(error: pglast.parser.ParseError, chunk: str, offset: int, lines: _Lines) -> UnreadableSql | None:
    """What only psql understands: backslash commands, and the data behind COPY … FROM STDIN."""
    index = _place_in(error, chunk)
    line_start = chunk.rfind("\n", 0, index) + 1
    line_text = chunk[line_start:].split("\n", 1)[0].strip()
    copies = list(_COPY_FROM_STDIN.finditer(chunk, 0, index))
    if copies and ";" not in chunk[copies[-1].end() : index].split("\n", 1)[0]:
        return _copy_data(offset + copies[-1].start(), lines)
    if chunk[index : index + 1] != "\\" and not line_text.startswith("\\"):
        return None
    if not line_text.startswith("\\"):
        line_text = chunk[index:].split("\n", 1)[0].strip()
    return lines.error(
        offset + index,
        f"{line_text.split()[0]} is a command of psql, not SQL",
        remedy="Remove psql's backslash commands; files are sent to the server as SQL alone.",
    )

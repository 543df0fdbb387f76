"""The way in: files read by the server's own parser once, as JSON, each statement's tree loaded when it is asked for.

pglast's node objects cost sixteen times the parse itself; the JSON text is split where statements begin, and
only the statement that a rule looks at becomes dicts.  What other tools add to their files is passed over:
psql's commands, COPY data, and the parts of goose, dbmate, sql-migrate, tern and node-pg-migrate that
take a migration back.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pgrehearse.errors import UnreadableSql
from pgrehearse.hazards.foreign_formats import blank_foreign, with_stand_ins
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.statements import SplitStatement, Statement, split_with_trees

Node = dict[str, Any]
_LONG = 20_000
_CALLS = re.compile(r'"(?:FuncCall|SubLink|RangeVar)":')


@dataclass(slots=True)
class ParsedStatement:
    """A statement with its tree."""

    statement: Statement
    tree_text: str = field(repr=False)  # JSON of the node's body
    first_byte: int  # of its first token, in what the parser was given: trees count from there
    _tree: Node | None = field(default=None, repr=False)

    @property
    def kind(self) -> str:
        return self.statement.kind

    @property
    def text(self) -> str:
        return self.statement.text

    @property
    def tree(self) -> Node:
        """The node's body.  Raises `RecursionError` for an expression that nests thousands of times."""
        if self._tree is None:
            tree = json.loads(self.tree_text)
            if len(self.tree_text) > _LONG and self.kind == "InsertStmt" and not _CALLS.search(self.tree_text):
                tree.get("selectStmt", {}).get("SelectStmt", {}).pop("valuesLists", None)  # a seed's constants
            self._tree = tree
        return self._tree

    def character(self, location: int) -> int:
        """A tree's byte location as a character of `text`."""
        offset = location - self.first_byte
        return offset if self.text.isascii() else len(self.text.encode()[:offset].decode(errors="ignore"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedFile:
    """A file's statements in order."""

    statements: tuple[ParsedStatement, ...]
    passed_over: Sequence[tuple[int, str]] = ()  # line and what stands there that is not SQL
    refuses_transaction: bool = False  # the file says that its tool must not wrap it
    plain: bool = True  # nothing was passed over: this is what a server would be sent
    placeholders: frozenset[str] = frozenset()  # stand in the statements for names that a tool fills in


def parse_file(migration: Migration, *, as_executed: bool = False) -> ParsedFile:
    """The file's statements with their trees.

    ``as_executed``: the bytes are sent as they stand, so nothing that a tool would leave out is left out.
    Cost: 0.3 s per MB.  Raises `UnreadableSql` (exit 2).
    """
    foreign = blank_foreign(migration.content) if not as_executed else None
    content = foreign.content if foreign is not None else migration.content
    placeholders = foreign.placeholders if foreign is not None else frozenset()
    filled = None
    try:
        split = split_with_trees(content, path=migration.path, kind=migration.kind)
    except UnreadableSql:
        filled = with_stand_ins(content) if not as_executed else None
        if filled is None:
            raise
        split = split_with_trees(filled[0], path=migration.path, kind=migration.kind)
        placeholders |= filled[1]
    return ParsedFile(
        statements=_parsed(split),
        passed_over=foreign.passed_over if foreign is not None else (),
        refuses_transaction=foreign is not None and foreign.refuses_transaction,
        plain=foreign is None and filled is None,
        placeholders=placeholders,
    )


def parse_text(text: str) -> list[tuple[str, Node]]:
    """Kind and body of each statement of an SQL text; raises `UnreadableSql`."""
    from pglast.parser import ParseError, parse_sql_json

    try:
        answer = json.loads(parse_sql_json(text))
    except (ParseError, RecursionError) as error:
        raise UnreadableSql(str(error)) from None
    return [next(iter(each["stmt"].items())) for each in answer.get("stmts", ())]


def _parsed(split: Sequence[SplitStatement]) -> tuple[ParsedStatement, ...]:
    return tuple(ParsedStatement(each.statement, each.tree, each.first_byte) for each in split)

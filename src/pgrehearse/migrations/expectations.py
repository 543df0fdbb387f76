"""How far a statement's row counts may differ from the rehearsal's, as its file declares it.

    -- pgrehearse: expect deletes sessions <= 2%
    DELETE FROM sessions WHERE expires_at < now();

A comment on a line of its own before the statement that it speaks of.  The number is the largest difference to
the rehearsal's count that is allowed, in rows or in percent of that count; without one, counts must be equal.
"""

import codecs
import re
from dataclasses import dataclass
from enum import Enum

from pgrehearse.errors import UnreadableSql
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.statements import Statement

_DIRECTIVE = re.compile(r"^\s*--\s*pgrehearse:\s*expect\b(.*)$")
_NAME = r'(?:"(?:[^"]|"")+"|[^\s".]+)'
_EXPECTATION = re.compile(rf"^\s*(deletes|updates|inserts)\s+({_NAME}(?:\.{_NAME})?)\s*<=\s*(\d+(?:\.\d+)?)\s*(%?)\s*$")


class Verb(Enum):
    """What happens to rows."""

    INSERTS = "inserts"
    UPDATES = "updates"
    DELETES = "deletes"  # TRUNCATE too


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """A tolerance that a file declares for one statement."""

    verb: Verb
    relation: str  # as written: with its namespace, or the relation's name alone
    most: float
    percent: bool

    def speaks_of(self, relation: str) -> bool:
        """Whether ``namespace.relation`` is meant."""
        return relation == self.relation or relation.endswith(f".{self.relation}")

    def allows(self, predicted: int, actual: int) -> bool:
        """Whether the difference stays within it."""
        bound = self.most * predicted / 100 if self.percent else self.most
        return abs(actual - predicted) <= bound

    def __str__(self) -> str:
        return f"{self.verb.value} {self.relation} <= {self.most:g}{'%' if self.percent else ''}"


def parse_expectations(migration: Migration, statements: tuple[Statement, ...]) -> dict[int, tuple[Expectation, ...]]:
    """By the statement's index.  Raises `UnreadableSql` for one that cannot be read, or that no statement follows.

    A line inside a statement (in a string, a function's body) is no declaration.
    """
    found: dict[int, tuple[Expectation, ...]] = {}
    lines = migration.content.removeprefix(codecs.BOM_UTF8).decode("utf-8").split("\n")
    for number, line in enumerate(lines, 1):
        match = _DIRECTIVE.match(line.rstrip("\r"))
        if match is None or any(_covers(statement, number) for statement in statements):
            continue
        place = f"{migration.path}:{number}"
        read = _EXPECTATION.match(match.group(1))
        if read is None:
            raise UnreadableSql(
                f"{place}:1: cannot read what is expected: {line.strip()}",
                remedy="Write `-- pgrehearse: expect deletes|updates|inserts TABLE <= N`, or `<= N%`.",
            )
        following = [statement for statement in statements if statement.line > number]
        if not following:
            raise UnreadableSql(
                f"{place}:1: no statement follows: {line.strip()}",
                remedy="An expectation stands on a line of its own before the statement that it speaks of.",
            )
        verb, relation, most, percent = read.groups()
        expectation = Expectation(verb=Verb(verb), relation=relation, most=float(most), percent=bool(percent))
        index = following[0].index
        found[index] = (*found.get(index, ()), expectation)
    return found


def _covers(statement: Statement, line: int) -> bool:
    return statement.line < line <= statement.line + statement.text.count("\n")

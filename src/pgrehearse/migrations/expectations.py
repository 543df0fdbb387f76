"""Declared intent: comments in a migration that say what it is meant to do to data.

    -- pgrehearse: expect deletes sessions where expired_at < now() <= 2%
    -- pgrehearse: expect changes orders.updated_at
    DELETE FROM sessions WHERE expired_at < now();

Each on a line of its own; it speaks of the statements below it in its file.  The grammar is told in
``docs/declared-intent.md``.
"""

import codecs
import re
from collections.abc import Iterator

from pglast import ast, parse_sql
from pglast.parser import ParseError, scan

from pgrehearse.errors import MalformedExpectation
from pgrehearse.migrations.expectation import Bound, Expectation, Verb
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.statements import DRIZZLE_BREAKPOINT, DRIZZLE_KINDS, Statement

_MEANT = re.compile(r"(?:--|/\*)[\s>]*pg_?rehearse\b\W*expect", re.IGNORECASE)
_DIRECTIVE = re.compile(r"--\s*pgrehearse:\s*expect\s+(.*?)[\s;]*$")
_VERB = re.compile(r"(inserts|updates|deletes|truncates|changes|drops\s+column|drops(?:\s+table)?)(?=\s)\s*", re.I)
_NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
_NAMES = re.compile(rf"{_NAME}(?:\s*\.\s*{_NAME}){{0,2}}(?=\s|$|[<=])")
_PART = re.compile(_NAME)
_WHERE = re.compile(r"where\b\s*", re.IGNORECASE)
_NUMBER = r"(\d[\d,_]*(?:\.\d+)?)"
_UNIT = r"\s*(%|percent\b|rows?\b|values?\b)"
_BOUND = re.compile(
    rf"(?:(<=|<|=|within\b)\s*{_NUMBER}|between\s+{_NUMBER}(?:\s*%)?\s+and\s+{_NUMBER})(?:{_UNIT})?\s*$", re.IGNORECASE
)
# Behind a condition a bound needs its unit: `where tries <= 5` is SQL.
_BOUND_BEHIND = re.compile(
    rf"(?:^|(?<=[\s)\w'\"]))(?:(<=|<|=|within\b)\s*{_NUMBER}|between\s+{_NUMBER}(?:\s*%)?\s+and\s+{_NUMBER}){_UNIT}\s*$",
    re.IGNORECASE,
)
_HAVE_CONDITION = frozenset({Verb.DELETES, Verb.UPDATES, Verb.CHANGES})
_OF_COLUMNS = frozenset({Verb.CHANGES, Verb.DROPS_COLUMN})
_WITHOUT_BOUND = frozenset({Verb.DROPS, Verb.DROPS_COLUMN})
SHAPES = (
    "Write `-- pgrehearse: expect VERB …` on a line of its own: `deletes|updates TABLE [where CONDITION] [BOUND]`, "
    "`inserts|truncates TABLE [BOUND]`, `changes TABLE.COLUMN [where CONDITION] [BOUND]`, `drops TABLE` or "
    "`drops column TABLE.COLUMN`.  A BOUND is `<= N rows`, `< N rows`, `= N rows`, `between N and M rows`, the same "
    "in `%`, or `within N%`."
)


def parse_expectations(migration: Migration, statements: tuple[Statement, ...]) -> tuple[Expectation, ...]:
    """The file's declarations in order.  Pure; a file without any costs a search for one word.

    Raises `MalformedExpectation` (exit 2), with file and line, for a comment that is meant as one and cannot be
    read, stands inside of a statement or behind one, or that no statement follows.
    """
    text = migration.content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    if _MEANT.search(text) is None:
        return ()
    found = []
    for at, comment in _comments(text, drizzle=migration.kind in DRIZZLE_KINDS):
        if _MEANT.match(comment) is None:
            continue
        line = text.count("\n", 0, at) + 1
        found.append(_read(comment, migration, statements, line, alone=not text[:at].rpartition("\n")[2].strip()))
    return tuple(found)


def _comments(text: str, *, drizzle: bool) -> Iterator[tuple[int, str]]:
    """Each comment with where it begins.  By the server's own scanner, so none inside a string or a function's body."""
    start = 0
    for chunk in text.split(DRIZZLE_BREAKPOINT) if drizzle else [text]:
        if _MEANT.search(chunk) is not None:
            for token in scan(chunk):
                if token.name in ("SQL_COMMENT", "C_COMMENT"):
                    yield start + token.start, chunk[token.start : token.end + 1]
        start += len(chunk) + len(DRIZZLE_BREAKPOINT)


def _read(
    comment: str, migration: Migration, statements: tuple[Statement, ...], line: int, *, alone: bool
) -> Expectation:
    told = " ".join(comment.split())

    def refuse(why: str, remedy: str = SHAPES) -> MalformedExpectation:
        return MalformedExpectation(f"{migration.path}:{line}:1: {why}: {told}", remedy=remedy)

    own_line = "Put it on a line of its own above the statement that it speaks of."
    if not alone and not comment.startswith("/*"):
        raise refuse("an expectation cannot stand behind something else on its line", own_line)
    directive = _DIRECTIVE.match(comment)
    if directive is None:
        raise refuse("cannot read what is expected")
    if any(statement.line < line <= statement.line + statement.text.count("\n") for statement in statements):
        raise refuse("an expectation cannot stand inside of a statement", own_line)
    following = next((statement for statement in statements if statement.line > line), None)
    if following is None:
        raise refuse("no statement follows", own_line)
    text = directive.group(1)
    verb_found = _VERB.match(text)
    if verb_found is None:
        raise refuse("cannot read what is expected")
    verb = _verb(verb_found.group(1))
    names = _NAMES.match(text, verb_found.end())
    if names is None:
        raise refuse("cannot read the name", "Write the name as SQL does: odd and upper-case names in double quotes.")
    relation, column = _names(names.group(), verb)
    if not relation or len(relation) > 2:
        raise refuse("a column is named TABLE.COLUMN" if verb in _OF_COLUMNS else "a table is named [NAMESPACE.]TABLE")
    rest = text[names.end() :].strip()
    condition, bound = None, None
    if where := _WHERE.match(rest):
        if verb not in _HAVE_CONDITION:
            raise refuse(f"`{verb.value}` takes no condition")
        condition, rest = _cut(rest[where.end() :])
        if not _is_condition(condition):
            raise refuse("the condition is not SQL that could stand behind WHERE", "Write it as the statement has it.")
    if rest:
        if verb in _WITHOUT_BOUND:
            raise refuse(f"`{verb.value}` takes nothing but a name")
        bound = read_bound(rest)
        if bound is None:
            raise refuse("cannot read how many")
        if problem := _senseless(bound):
            raise refuse(*problem)
    return Expectation(
        version=migration.version,
        file=migration.path,
        line=line,
        text=text,
        first=following.index,
        verb=verb,
        relation=relation,
        column=column,
        condition=condition,
        bound=bound,
    )


def _verb(word: str) -> Verb:
    word = " ".join(word.lower().split())
    return Verb.DROPS if word == "drops table" else Verb(word)


def _names(written: str, verb: Verb) -> tuple[tuple[str, ...], str | None]:
    """Folded as SQL folds them."""
    parts = [part[1:-1].replace('""', '"') if part.startswith('"') else part.lower() for part in _PART.findall(written)]
    column = parts.pop() if verb in _OF_COLUMNS else None
    return tuple(parts), column


def _cut(rest: str) -> tuple[str, str]:
    """A condition and the bound behind it."""
    bound = _BOUND_BEHIND.search(rest)
    return (rest, "") if bound is None else (rest[: bound.start()].strip(), rest[bound.start() :].strip())


def _is_condition(text: str) -> bool:
    """Whether it is one expression and nothing else: it may not close the parenthesis that it is put in."""
    try:
        parse_sql(f"SELECT FROM t WHERE\n{text}")  # "true) OR (true" is none, and reads as one in parentheses
        statements = parse_sql(f"SELECT FROM t WHERE (\n{text}\n)")
    except ParseError:
        return False
    if len(statements) != 1 or not isinstance(select := statements[0].stmt, ast.SelectStmt):
        return False
    plain = parse_sql("SELECT FROM t WHERE true")[0].stmt
    return all(getattr(select, part) == getattr(plain, part) for part in plain.__slots__ if part != "whereClause")


def read_bound(text: str) -> Bound | None:
    """``<= 20 rows``, ``within 5%``, ``between 0 and 10 rows``, as it stands behind a declaration."""
    read = _BOUND.fullmatch(text)
    if read is None:
        return None
    sign, number, least, most, unit = read.groups()
    percent = unit is not None and unit.lower() in ("%", "percent")
    if sign is None:
        low = _number(least)
        return Bound(least=low, most=_number(most), percent=percent, allows_none=low == 0, text=text)
    value = _number(number)
    return Bound(
        least=value if sign == "=" else 0,
        most=value,
        strict=sign == "<",
        percent=percent,
        within=sign.lower() == "within",
        text=text,
    )


def _number(text: str) -> float:
    return float(text.replace(",", "").replace("_", ""))


def _senseless(bound: Bound) -> tuple[str, str] | None:
    """Why such a bound means nothing, and what to write."""
    if bound.percent and bound.most > 100:
        return "more than 100% bounds nothing", "Write at most 100%, or a number of rows."
    if bound.least > bound.most:
        return "the smaller number comes first", "Write `between SMALLER and LARGER`."
    if not bound.percent and (bound.least % 1 or bound.most % 1):
        return "rows are whole", "Write a whole number of rows, or percent."
    if bound.most == 0 or (bound.strict and not bound.percent and bound.most <= 1):
        return "nothing at all is no expectation", "Leave the line out: what is not declared may not happen."
    return None

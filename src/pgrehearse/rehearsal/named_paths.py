"""Where a plan's statements lead by the names in them: through functions, triggers, views, partitions and cascades.

For what cannot be seen while it runs.  Every word of a body counts as a name, wherever it stands and in whichever
namespace, so that more is found than runs; a string that is built at run time may name anything.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from pgrehearse.migrations.run_time_strings import why_unseen, why_unseen_do
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
# Statements that read or write rows, and so fire triggers and rules; others run expressions at most.
MOVE_ROWS = frozenset(
    {
        "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "SelectStmt", "CopyStmt", "TruncateStmt", "DoStmt",
        "CallStmt", "ExecuteStmt", "PrepareStmt", "CreateTableAsStmt", "RefreshMatViewStmt", "ExplainStmt",
        "DeclareCursorStmt",
    }
)  # fmt: skip
# Statements that keep a body or a name, and run nothing.
_KEEP = frozenset(
    {
        "CreateFunctionStmt", "AlterFunctionStmt", "CreateTrigStmt", "CreateEventTrigStmt", "ViewStmt", "RuleStmt",
        "DropStmt", "CommentStmt", "GrantStmt", "RenameStmt", "AlterOwnerStmt", "AlterObjectSchemaStmt",
        "AlterExtensionContentsStmt", "SecLabelStmt", "AlterDefaultPrivilegesStmt",
    }
)  # fmt: skip
_WORDS = re.compile(r"[\w$]+")
_WORD = re.compile(r"[\w$]+\Z")
_ELSEWISE = re.compile(r"\blanguage\s+(?!['\"]?plpgsql\b)", re.IGNORECASE)  # a DO in another language
_CATCHES = re.compile(r"(?<!\braise )\bexception\b", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One thing that a name in a text leads to."""

    name: str
    text: str  # where it leads on
    moves_rows: bool = False  # only where rows are read or written; else wherever the name stands
    catches: bool = False  # it may catch an error
    builds: bool = False  # it runs strings that are built at run time
    unnamed: bool = False  # it runs without anybody's naming it


@dataclass(slots=True)
class Path:
    """What was reached: the names, and what of it could catch an error or name anything."""

    names: set[str] = field(default_factory=set)
    catches: bool = False
    builds: bool = False


def read_named(session: Connection) -> frozenset[Named]:
    """Everything that leads on, as it is now in the session's database.  Two queries over the catalogs."""
    found = {
        Named(
            name=name, text=body, unnamed=unnamed, catches=may_catch(body, language),
            builds=why_unseen(body, language) is not None,
        )
        for name, language, body, unnamed in session.execute(QUERIES["functions"])
    }  # fmt: skip
    for name, rewritten, names in session.execute(QUERIES["relations"]):
        found.add(Named(name=name, text="\n".join(names), moves_rows=not rewritten))
    return frozenset(found)


def read_foreign_tables(session: Connection, handlers: Sequence[int]) -> frozenset[str]:
    """The names of the foreign tables whose wrappers have these handlers (oids)."""
    return frozenset(name for (name,) in session.execute(QUERIES["foreign_tables"], (list(handlers),)))


def may_catch(body: str, language: str) -> bool:
    """Whether a function may catch an error: PL/pgSQL by its word, SQL never, any other language for all we know."""
    return language != "sql" and (language != "plpgsql" or _catches(body))


def follow(statements: Iterable[Statement], named: Collection[Named], ends: Collection[str]) -> Path:
    """What these statements lead to among ``named`` and ``ends``.  About 1 ms for each 100 kB of bodies."""
    by_name: dict[str, list[Named]] = {}
    for each in named:
        by_name.setdefault(each.name.casefold(), []).append(each)
    known = {*by_name, *(end.casefold() for end in ends)}
    odd = {name for name in known if _WORD.match(name) is None}
    path = Path()
    waiting = [(each.text, True) for each in named if each.unnamed]
    path.catches, path.builds = _over(each for each in named if each.unnamed)
    for statement in statements:
        if statement.kind not in _KEEP:
            waiting.append((statement.text, statement.kind in MOVE_ROWS))
            if statement.kind == "DoStmt":
                path.catches |= _catches(statement.text) or _ELSEWISE.search(statement.text) is not None
                path.builds |= why_unseen_do(statement.text) is not None
    seen: set[tuple[str, bool]] = set()
    while waiting:
        text, moves_rows = waiting.pop()
        for name in _names_in(text, known, odd):
            if (name, moves_rows) in seen:
                continue
            seen.add((name, moves_rows))
            path.names.add(name)
            reached = [each for each in by_name.get(name, ()) if moves_rows or not each.moves_rows]
            waiting += [(each.text, True) for each in reached]
            catches, builds = _over(reached)
            path.catches |= catches
            path.builds |= builds
    return path


def _catches(body: str) -> bool:
    return _CATCHES.search(_SPACE.sub(" ", body)) is not None


def _over(reached: Iterable[Named]) -> tuple[bool, bool]:
    catches = builds = False
    for each in reached:
        catches |= each.catches
        builds |= each.builds
    return catches, builds


def _names_in(text: str, known: Collection[str], odd: Collection[str]) -> set[str]:
    folded = text.casefold().replace('""', '"')
    return {word for word in _WORDS.findall(folded) if word in known} | {name for name in odd if name in folded}

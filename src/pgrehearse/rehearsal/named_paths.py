"""Where a plan's statements lead by the names in them: through functions, triggers, views, partitions and cascades.

For what cannot be seen while it runs.  Every word of a body counts as a name, wherever it stands and in whichever
namespace, so that more is found than runs; of a function at an end only calls count.  A string built at run time
may name anything.
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
_OPENS = r'"?(?:\s|/\*.*?\*/|--[^\n]*\n)*\('
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
    """What was reached: the ends, and whether anything on the way could catch an error or name anything."""

    relations: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
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


def follow(
    statements: Iterable[Statement], named: Collection[Named], *, relations: Collection[str], functions: Collection[str]
) -> Path:
    """Which of these ends the statements lead to through ``named``.  About 1 ms for each 100 kB of bodies."""
    by_name: dict[str, list[Named]] = {}
    for each in named:
        by_name.setdefault(each.name.casefold(), []).append(each)
    names = _Names({*by_name, *(end.casefold() for end in relations)})
    path = Path()
    waiting = []
    for each in named:
        if each.unnamed:
            path.catches |= each.catches
            waiting.append((each.text, True))
    for statement in statements:
        if statement.kind not in _KEEP:
            waiting.append((statement.text, statement.kind in MOVE_ROWS))
            if statement.kind == "DoStmt":
                path.catches |= _catches(statement.text) or _ELSEWISE.search(statement.text) is not None
                path.builds |= why_unseen_do(statement.text) is not None
    seen: set[tuple[str, bool]] = set()
    while waiting:
        text, moves_rows = waiting.pop()
        path.functions |= {end for end in functions if _calls(text, end)}
        for name in names.found_in(text):
            if (name, moves_rows) in seen:
                continue
            seen.add((name, moves_rows))
            for reached in by_name.get(name, ()):
                if moves_rows or not reached.moves_rows:
                    path.catches |= reached.catches
                    path.builds |= reached.builds
                    waiting.append((reached.text, True))
    reached_names = {name for name, _ in seen}
    path.relations |= {end for end in relations if end.casefold() in reached_names}
    return path


def _calls(text: str, function: str) -> bool:
    if function.casefold() not in text.casefold():
        return False
    return re.search(rf"(?<![\w$]){re.escape(function)}{_OPENS}", text, re.IGNORECASE) is not None


class _Names:
    """Names to be looked for in texts."""

    def __init__(self, known: Collection[str]) -> None:
        self._known = frozenset(known)
        self._odd = tuple(name for name in known if _WORD.match(name) is None)

    def found_in(self, text: str) -> frozenset[str]:
        folded = text.casefold().replace('""', '"')
        return self._known.intersection(_WORDS.findall(folded)).union(name for name in self._odd if name in folded)


def _catches(body: str) -> bool:
    return _CATCHES.search(_SPACE.sub(" ", body)) is not None

"""The running application's statements, tried one by one, each in a transaction that is rolled back.

What an application sends is held against the database before a migration and after it: what worked and raises now is
broken.  Unlike planning alone this meets what only a row meets: checks, triggers, sequences without a grant.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pglast.parser
import psycopg
from psycopg import sql
from psycopg.pq import ExecStatus

from pgrehearse.errors import ConfigurationError
from pgrehearse.migrations.reach import reach_beyond
from pgrehearse.migrations.secrets import redact
from pgrehearse.postgres.connect import Connection
from pgrehearse.queries.planning import Refusal
from pgrehearse.queries.statement_text import (
    PLANNED,
    NotPlannable,
    count_parameters,
    find_relations,
    parse_with_text,
    without_comments,
)
from pgrehearse.queries.workload_file import split_statements

# What runs inside a transaction and is undone with it.  Others change their session, the server, or no transaction.
TRIED = PLANNED | {
    "CallStmt", "DoStmt", "LockStmt", "TruncateStmt", "RefreshMatViewStmt", "CreateTableAsStmt", "CreateStmt",
    "NotifyStmt", "ExplainStmt",
}  # fmt: skip
NOT_TRIED = (
    "each statement is tried in a transaction of its own, which is rolled back, and this kind has no place there"
)
CALLS_FOR_ROLE = re.compile(r"\bset_config\s*\(\s*'(role|session_authorization)'", re.IGNORECASE)
COMMANDS_FOR_ROLE = re.compile(
    r"\bset\s+(local\s+|session\s+)?role\b|\breset\s+role\b|\b(set|reset)\s+(local\s+|session\s+)?session\s+authorization\b",
    re.IGNORECASE,
)
CHANGES_ROLE = "it takes another role than the one that was asked for"
# Every statement of an application ends in its COMMIT: what is only asked there counts, too.
AT_COMMIT = "SET CONSTRAINTS ALL IMMEDIATE"
SET_LIMITS = (
    "SELECT pg_catalog.set_config(name, %s, true) FROM (VALUES ('statement_timeout'), ('lock_timeout')) v (name)"
)
PREPARED = "pgrehearse_open_{}"
_CONTEXT = re.compile(r"\bfunction ([\w.]+)\(")
_NAMED = re.compile(r'"([^"]+)"|\bfor (?:\w+ )+([\w.]+)$|\bfunction ([\w.]+)\(')


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationStatement:
    """One statement of the application."""

    number: int  # 1-based in its file
    text: str = field(repr=False)  # as it is sent, with its values: never shown, never kept
    shown: str  # with a placeholder for every value
    kind: str  # the parse tree's node
    parameters: int  # the highest placeholder that it has itself
    relations: tuple[str, ...]  # that it names, without their namespaces
    left_out: str | None = None  # why it is not tried; a sentence

    @property
    def runs(self) -> bool:
        """Whether it can be run as it stands: placeholders would need values that nobody gave."""
        return self.left_out is None and self.parameters == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of one statement in one database; neither refusal: it worked."""

    refusal: Refusal | None = None
    at_commit: Refusal | None = None  # it worked, and its transaction could not have been committed
    names: frozenset[str] = frozenset()  # objects that the server's answer names

    @property
    def said(self) -> Refusal | None:
        return self.refusal or self.at_commit

    @property
    def works(self) -> bool:
        return self.said is None


def read_application(path: Path) -> tuple[ApplicationStatement, ...]:
    """The statements of a file of SQL, in its order.  Raises `ConfigurationError` (exit 2)."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(
            f"the application's statements {path.name} cannot be read: {error.strerror}",
            remedy="Name a readable file of SQL statements with --application.",
        ) from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path.name}: is not UTF-8", remedy="Save it as UTF-8.") from None
    return tuple(_read(number, each) for number, each in enumerate(split_statements(text), 1))


def _read(number: int, text: str) -> ApplicationStatement:
    try:
        kind, tree, written = parse_with_text(text)
    except (pglast.parser.ParseError, NotPlannable) as error:
        why = str(error) if isinstance(error, NotPlannable) else "its text cannot be read as SQL"
        return ApplicationStatement(
            number=number, text=text, shown=f"statement {number}", kind="", parameters=0, relations=(), left_out=why
        )
    return ApplicationStatement(
        number=number,
        text=text,
        shown=_shown(text, kind),
        kind=kind,
        parameters=count_parameters(tree),
        relations=tuple(dict.fromkeys(str(each.get("relname", "")) for each in find_relations(tree))),
        left_out=_why_left_out(kind, written, text),
    )


def _shown(text: str, kind: str) -> str:
    """Without its values and comments; of what normalising leaves as it is, only the kind is told."""
    if kind not in PLANNED:
        return kind.removesuffix("Stmt").upper()
    normal = pglast.parser.normalize(without_comments(text).strip())
    return redact(" ".join(normal.split()), kind)


def _why_left_out(kind: str, tree: str, text: str) -> str | None:
    if kind not in TRIED:
        return NOT_TRIED
    if CALLS_FOR_ROLE.search(text) or (kind == "DoStmt" and COMMANDS_FOR_ROLE.search(text)):
        return CHANGES_ROLE
    return reach_beyond(kind, tree, text)


def try_statement(session: Connection, statement: ApplicationStatement, *, limit_ms: int) -> Outcome:
    """Run it in a transaction that is rolled back, as the session's role; what a sequence handed out stays so.

    ``session`` is in autocommit, outside a transaction.  Rows are thrown away as they come.  Raises psycopg's error
    when the session breaks.
    """
    session.execute("BEGIN")
    try:
        session.execute(SET_LIMITS, (str(limit_ms),))
        try:
            _run(session, statement)
        except psycopg.Error as error:
            return Outcome(refusal=Refusal.of(error), names=_names(error))
        try:
            session.execute(AT_COMMIT)
        except psycopg.Error as error:
            return Outcome(at_commit=Refusal.of(error), names=_names(error))
        return Outcome()
    finally:
        session.execute("ROLLBACK")


def _run(session: Connection, statement: ApplicationStatement) -> None:
    text = statement.text.encode()
    if statement.kind != "SelectStmt":
        session.execute(text)
        return
    with session.cursor() as cursor:
        for _ in cursor.stream(text):
            pass


def _names(error: psycopg.Error) -> frozenset[str]:
    """Those that the error's fields have, and those that its message quotes where it quotes no values."""
    diag = error.diag
    fields = {diag.table_name, diag.column_name, diag.constraint_name, diag.datatype_name}
    functions = (name.rpartition(".")[2] for name in _CONTEXT.findall(diag.context or ""))
    return frozenset(name for name in fields if name) | frozenset(functions) | names_in(Refusal.of(error))


def names_in(refusal: Refusal) -> frozenset[str]:
    """Objects that its message names."""
    found = (name.rpartition(".")[2] for groups in _NAMED.findall(refusal.message) for name in groups)
    return frozenset(name for name in found if name)


# --- what open sessions have prepared ---------------------------------------------------------------------------------


def prepare_statements(
    session: Connection, statements: tuple[ApplicationStatement, ...]
) -> tuple[ApplicationStatement, ...]:
    """Prepare in ``session`` all that can be; those that were.  Nothing is run or locked beyond that."""
    return tuple(each for each in statements if _prepare(session, each))


def _prepare(session: Connection, statement: ApplicationStatement) -> bool:
    if statement.kind not in PLANNED or statement.left_out is not None:
        return False
    name = PREPARED.format(statement.number).encode()
    prepared = session.pgconn.prepare(name, statement.text.encode(), None)
    return prepared.status == ExecStatus.COMMAND_OK


def find_refused(
    session: Connection, prepared: tuple[ApplicationStatement, ...]
) -> Iterator[tuple[ApplicationStatement, Refusal]]:
    """Which of what this session prepared before a migration its server would not run any more.  Runs none of it.

    EXPLAIN EXECUTE plans the statement anew, as EXECUTE would, and refuses a result of another type.
    """
    for statement in prepared:
        nulls = sql.SQL(", ").join([sql.NULL] * statement.parameters)
        arguments = sql.SQL("({})").format(nulls) if statement.parameters else sql.SQL("")
        name = sql.Identifier(PREPARED.format(statement.number))
        try:
            session.execute(sql.SQL("EXPLAIN EXECUTE {}{}").format(name, arguments))
        except psycopg.Error as error:
            if session.broken:
                raise
            yield statement, Refusal.of(error)

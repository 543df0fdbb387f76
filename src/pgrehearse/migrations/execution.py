"""One statement sent and timed, and what the server said when it refused."""

import time
from dataclasses import dataclass

import psycopg

from pgrehearse.migrations.ledger_wall import Executor
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.observer import Observer, Running, StatementError
from pgrehearse.migrations.secrets import find_secrets, mask
from pgrehearse.migrations.statements import Statement, TransactionNeed
from pgrehearse.postgres.connect import Connection

LOCK_TIMEOUT = "55P03"
DEADLOCK = "40P01"
CANCELLED = "57014"
SAID_GOODBYE = frozenset({None, "57P01", "57P02", "57P03"})
# A CALL or DO whose procedure ends transactions; a command that only the server knows to refuse them.
REFUSES_TRANSACTION = frozenset({"2D000", "25001"})


class Refused(Exception):
    """The server refused; caught by the apply path, which knows what state that leaves."""

    def __init__(self, migration: Migration, statement: Statement | None, error: StatementError, *, lost: bool) -> None:
        super().__init__(error.message)
        self.migration = migration
        self.statement = statement  # None: the COMMIT that we sent
        self.error = error
        self.lost = lost  # the connection is gone, and with it the answer

    @property
    def may_be_tried_again(self) -> bool:
        return self.error.sqlstate in {LOCK_TIMEOUT, DEADLOCK}


def is_lost(session: Connection, failure: psycopg.Error) -> bool:
    """Whether the answer is missing because a connection is gone: this one, or another of ours to the same server.

    The libraries' own errors have no SQLSTATE; 57P01 to 57P03 are the server's last words.  Class 08 says
    nothing where it is no FATAL: a statement gets it, too, from a server that it reached out to.
    """
    return says_goodbye(failure) or session.broken or session.closed


def says_goodbye(failure: psycopg.Error) -> bool:
    """The same, told by the error alone."""
    if not isinstance(failure, psycopg.OperationalError):
        return False
    by_pooler = (failure.sqlstate or "").startswith(
        "08"
    ) and failure.diag.severity == "FATAL"  # it had no server for us
    return by_pooler or failure.sqlstate in SAID_GOODBYE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A statement that the server accepted."""

    duration_ms: float
    rows_affected: int | None
    status: str


def run_statement(
    executor: Executor, migration: Migration, statement: Statement, observer: Observer, *, in_transaction: bool
) -> Sent:
    """Send it byte for byte, with the observer around it; raises `Refused`.

    The observer may use the session only where a query changes nothing: BEGIN and SET TRANSACTION must
    come before the first query of a transaction, so around them it is told that there is none.
    """
    text = statement.text
    untouched = comes_before_any_query(statement)
    running = Running(
        migration=migration,
        statement=statement,
        session=executor.session,
        backend_pid=executor.pid,
        in_transaction=in_transaction and not untouched,
        outside=not in_transaction and statement.need is not TransactionNeed.BEGINS,
    )
    observer.before(running)
    began = time.perf_counter()
    try:
        cursor = executor.session.execute(text.encode())
    except psycopg.Error as failure:
        duration_ms = (time.perf_counter() - began) * 1000
        error = describe(failure, statement)
        observer.after(running, duration_ms=duration_ms, rows_affected=None, error=error)
        raise Refused(migration, statement, error, lost=is_lost(executor.session, failure)) from failure
    duration_ms = (time.perf_counter() - began) * 1000
    rows = cursor.rowcount if cursor.rowcount >= 0 else None
    status = cursor.statusmessage or ""
    cursor.close()
    observer.after(running, duration_ms=duration_ms, rows_affected=rows, error=None)
    return Sent(duration_ms=duration_ms, rows_affected=rows, status=status)


def comes_before_any_query(statement: Statement) -> bool:
    """BEGIN and SET TRANSACTION, which the server refuses after a query of the same transaction."""
    return statement.need is TransactionNeed.BEGINS or (
        statement.kind == "VariableSetStmt" and "transaction" in statement.text.lower()
    )


def describe_own(failure: psycopg.Error, statement: Statement) -> StatementError:
    """What the server said to a query of our own beside this statement."""
    diagnostic = failure.diag
    return StatementError(
        sqlstate=failure.sqlstate or "08006",
        message=f"while we looked around it: {diagnostic.message_primary or str(failure).strip()}",
        detail=diagnostic.message_detail,
        hint=diagnostic.message_hint,
        line=statement.line,
        column=statement.column,
    )


def describe(failure: psycopg.Error, statement: Statement) -> StatementError:
    """What the server said, placed in the file, without the secrets that the statement holds."""
    secrets = find_secrets(statement.text, statement.kind)
    diagnostic = failure.diag

    def told(text: str | None) -> str | None:
        return None if text is None else mask(text, secrets)

    position = diagnostic.statement_position
    line, column = statement.place(int(position)) if position else (statement.line, statement.column)
    return StatementError(
        sqlstate=failure.sqlstate or "08006",
        message=told(diagnostic.message_primary or str(failure).strip() or "the connection was lost") or "",
        detail=told(diagnostic.message_detail),
        hint=told(diagnostic.message_hint),
        line=line,
        column=column,
    )

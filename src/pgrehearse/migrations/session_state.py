"""What a session carries: our own settings for it, and what a file SET that its next statements rely on."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection, fetch_value

# A killed run's backend notices within a second that nobody listens; without it, it would build its
# index to the end.  Waiting for our own turn must not count as idling in a transaction.  What others committed
# before we had our lock must be seen, whatever the database's default isolation; a file's own BEGIN may say otherwise.
_OUR_SETTINGS = {
    "client_encoding": "UTF8",
    "client_connection_check_interval": "1000",
    "default_transaction_isolation": "read committed",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
}
_SINCE_17 = {"transaction_timeout": "0"}

_SET = "SELECT pg_catalog.set_config(%s, %s, %s)"
# What was told as committed must outlive a crash; standbys are waited for only where the server itself would.
_COMMIT_DURABLY = """
SELECT pg_catalog.set_config('synchronous_commit', 'local', %s)
 WHERE pg_catalog.current_setting('synchronous_commit') = 'off'
"""
_OWN_TIMEOUT = "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'"  # in ms
_SETTINGS = "SELECT name, setting FROM pg_catalog.pg_settings WHERE source = 'session' ORDER BY name"
_CUSTOM_SETTING = "SELECT pg_catalog.current_setting(%s, true)"
_IDENTITY = "SELECT pg_catalog.current_setting('role'), session_user::text"

_CUSTOM = re.compile(r"\A\s*SET\s+(?:SESSION\s+)?(\w+\.\w+)\s*(?:=|\bTO\b)", re.IGNORECASE)
_CUSTOM_CALL = re.compile(r"set_config\s*\(\s*'(\w+\.\w+)'", re.IGNORECASE)
_NOT_FOR_THE_SESSION = re.compile(r"\A\s*SET\s+(?:LOCAL|TRANSACTION)\b", re.IGNORECASE)
_SET_CONFIG = re.compile(
    r"\A\s*SELECT\s+(?:pg_catalog\s*\.\s*)?set_config\s*\([^()]*,\s*false\s*\)\s*\Z", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """What was SET in a session and outlives its transactions."""

    settings: tuple[tuple[str, str], ...] = ()
    role: str = "none"
    authorization: str = ""


def prepare(connection: Connection, limits: Limits) -> SessionState:
    """Give a fresh executing session our settings; what it says of itself then is the baseline."""
    with suppress(psycopg.errors.InvalidParameterValue, psycopg.errors.FeatureNotSupported):
        connection.execute(_SET, ("client_connection_check_interval", "1000", False))  # not on every platform
    ours = {key: value for key, value in _OUR_SETTINGS.items() if key != "client_connection_check_interval"}
    if connection.info.server_version >= 170000:
        ours |= _SINCE_17
    ours["lock_timeout"] = str(limits.lock_timeout_ms)
    timeout_ms = _statement_timeout_ms(connection, limits)
    if timeout_ms is not None:
        ours["statement_timeout"] = str(timeout_ms)
    calls = sql.SQL(", ").join([sql.SQL("pg_catalog.set_config(%s, %s, false)")] * len(ours))
    parameters = [part for pair in ours.items() for part in pair]
    connection.execute(sql.SQL("SELECT {}").format(calls), parameters)
    connection.execute(_COMMIT_DURABLY, (False,))
    return read_state(connection, ())


def _statement_timeout_ms(connection: Connection, limits: Limits) -> int | None:
    """What to SET; None: the role's own stays, so that a rehearsal meets the one that production will meet."""
    if limits.longest_statement_ms is None:
        return limits.statement_timeout_ms
    own_ms = limits.statement_timeout_ms
    if own_ms is None:
        own_ms = int(fetch_value(connection, _OWN_TIMEOUT))
    return limits.longest_statement_ms if own_ms == 0 else min(own_ms, limits.longest_statement_ms)


def read_state(connection: Connection, statements: Iterable[Statement]) -> SessionState:
    """The session's state now; ``statements`` tell which custom parameters to ask for (no catalog lists them)."""
    settings = dict(connection.execute(_SETTINGS).fetchall())
    for name in sorted({name for statement in statements for name in _custom_names(statement)}):
        row = connection.execute(_CUSTOM_SETTING, (name,)).fetchone()
        if row is not None and row[0] is not None:
            settings[name] = row[0]
    identity = connection.execute(_IDENTITY).fetchone()
    assert identity is not None
    return SessionState(settings=tuple(sorted(settings.items())), role=identity[0], authorization=identity[1])


def carry_over(connection: Connection, *, baseline: SessionState, state: SessionState) -> None:
    """Make another session of ours what this one had become.  Asks nothing where nothing was SET.

    A query takes a snapshot, after which SET TRANSACTION is refused; hence nothing is sent without need.
    """
    if state.authorization != baseline.authorization:
        connection.execute(_SET, ("session_authorization", state.authorization, False))
    if state.role != baseline.role:
        connection.execute(_SET, ("role", state.role, False))
    had = dict(baseline.settings)
    for name, value in state.settings:
        if had.get(name) != value:
            connection.execute(_SET, (name, value, False))


def become_recorder(connection: Connection, baseline: SessionState) -> None:
    """Before we write our own rows: undo, for this transaction, a role and a lax commit that the file had SET."""
    connection.execute(_COMMIT_DURABLY, (True,))
    identity = connection.execute(_IDENTITY).fetchone()
    assert identity is not None
    role, authorization = identity
    if authorization != baseline.authorization:
        connection.execute("SET LOCAL SESSION AUTHORIZATION DEFAULT")
        role = None
    if role != baseline.role:
        connection.execute(_SET, ("role", baseline.role, True))


def session_settings(statements: Iterable[Statement]) -> tuple[Statement, ...]:
    """Those that only SET something for the session: a rerun that skips them as done must send them again."""
    return tuple(
        statement
        for statement in statements
        if (statement.kind == "VariableSetStmt" and not _NOT_FOR_THE_SESSION.match(statement.text))
        or (statement.kind == "SelectStmt" and _SET_CONFIG.match(statement.text))
    )


# Statements of these kinds leave nothing in the session, so the next file may use it too.
_PLAIN_KINDS = frozenset(
    {
        "AlterDomainStmt", "AlterEnumStmt", "AlterObjectSchemaStmt", "AlterOwnerStmt", "AlterSeqStmt", "AlterTableStmt",
        "CommentStmt", "CompositeTypeStmt", "CreateDomainStmt", "CreateEnumStmt", "CreateExtensionStmt",
        "CreateFunctionStmt", "CreatePolicyStmt", "CreateSchemaStmt", "CreateSeqStmt", "CreateStmt", "CreateTrigStmt",
        "DeleteStmt", "DropStmt", "GrantStmt", "IndexStmt", "InsertStmt", "RenameStmt", "TruncateStmt", "UpdateStmt",
        "ViewStmt",
    }
)  # fmt: skip
_STATEFUL_WORD = re.compile(r"\btemp(?:orary)?\b|set_config|advisory|dblink", re.IGNORECASE)


def leaves_session_clean(statements: Iterable[Statement]) -> bool:
    """Whether these statements can leave nothing behind in their session but their work."""
    return all(statement.kind in _PLAIN_KINDS and not _STATEFUL_WORD.search(statement.text) for statement in statements)


def _custom_names(statement: Statement) -> list[str]:
    names = [match.group(1) for match in _CUSTOM_CALL.finditer(statement.text)]
    if statement.kind == "VariableSetStmt" and (match := _CUSTOM.match(statement.text)):
        names.append(match.group(1))
    return names

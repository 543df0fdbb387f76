"""Files that our parser cannot read: the clone's server is asked, since it is the server's grammar that counts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pglast
import psycopg
from psycopg import errors as sqlstates

from pgrehearse.errors import MigrationFailed
from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.migrations.migration import Migration, Plan
from pgrehearse.migrations.observer import StatementError
from pgrehearse.migrations.secrets import find_secrets, mask
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.judge import Unmeasured

# Only one statement may be prepared.  Behind these two, a text that the grammar accepts is always refused for that,
# without a position, before any of it is analysed or run; one that it does not accept is refused where the mistake is.
TWO_STATEMENTS = "SELECT 1;SELECT 1;"
REMEDY = "Mend the file; `psql -f` on a scratch database shows the same place."


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the server says of the files that our parser could not read; nothing of the plan was run."""

    failure: MigrationFailed | None
    traces: tuple[StatementTrace, ...]
    findings: tuple[Finding, ...]
    unmeasured: tuple[Unmeasured, ...]


def ask_server(session: Connection, plan: Plan, unparsed: Mapping[str, tuple[Statement, ...]]) -> Asked:
    """Let the server parse them, in the plan's order, up to the first that it refuses.  Nothing of them is executed."""
    for migration in plan.migrations:
        for part in unparsed.get(migration.version, ()):
            error = find_syntax_error(session, part)
            if error is not None:
                return _refused(migration, part, error)
    names = ", ".join(migration.path for migration in plan.migrations if migration.version in unparsed)
    major = pglast.get_postgresql_version()[0]
    reason = (
        f"the parser in use here (of PostgreSQL {major}) cannot split {names} into statements, and the server of the "
        "clone accepts the text; run it with psql on a kept clone (`pgrehearse clone`), or write it in older words"
    )
    return Asked(
        failure=None,
        traces=(),
        findings=(),
        unmeasured=(Unmeasured(what="the whole plan", reason=reason, decisive=True),),
    )


def find_syntax_error(session: Connection, part: Statement) -> StatementError | None:
    """What the server's grammar says against this text, placed in its file; None where it accepts it."""
    encoding = session.info.encoding
    result = session.pgconn.prepare(b"", (TWO_STATEMENTS + part.text).encode(encoding))
    error = psycopg.errors.error_from_result(result, encoding)
    diagnostic = error.diag
    if isinstance(error, sqlstates.SyntaxError) and diagnostic.statement_position is None:
        return None
    line, column = part.line, part.column
    if diagnostic.statement_position is not None:
        line, column = part.place(int(diagnostic.statement_position) - len(TWO_STATEMENTS))
    secrets = find_secrets(part.text, part.kind)
    return StatementError(
        sqlstate=error.sqlstate or "42601",
        message=mask(diagnostic.message_primary or str(error).strip(), secrets),
        detail=None,
        hint=None if diagnostic.message_hint is None else mask(diagnostic.message_hint, secrets),
        line=line,
        column=column,
    )


def _refused(migration: Migration, part: Statement, error: StatementError) -> Asked:
    place = f"{migration.path}:{error.line}:{error.column}"
    shown = part.text.split("\n")[error.line - part.line].strip()
    statement = replace(part, text=shown, line=error.line, column=error.column)
    message = f"the server cannot read it: {error.message} (SQLSTATE {error.sqlstate})"
    finding = Finding(
        hazard="migration-failed",
        classes=(HazardClass.FAILS,),
        level=Level.ERROR,
        file=migration.path,
        line=error.line,
        column=error.column,
        message=message,
        remedy=REMEDY,
        evidence=Evidence.OBSERVED,
    )
    trace = StatementTrace(
        migration=migration,
        statement=statement,
        duration_ms=0.0,
        rows_affected=None,
        locks={},
        rewrites=(),
        scans_under_lock=(),
        error=error,
        sampled=False,
    )
    failure = MigrationFailed(
        f"{place}: {message}",
        sqlstate=error.sqlstate, path=migration.path, line=error.line, column=error.column, hint=error.hint,
        remedy=REMEDY,
    )  # fmt: skip
    reason = f"{place} cannot be read, so nothing of the plan was run"
    rest = Unmeasured(what="everything else in the plan", reason=reason, decisive=True)
    return Asked(failure=failure, traces=(trace,), findings=(finding,), unmeasured=(rest,))

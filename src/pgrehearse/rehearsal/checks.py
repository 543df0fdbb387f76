"""The team's own checks: SQL files that must return no rows (or the same as before), and their application's tests."""

import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import psycopg

from pgrehearse.counted import counted
from pgrehearse.migrations.secrets import mask
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.hidden import hide

COMMAND_TIMEOUT_S = 1800
RESTORE_DEFAULT = "SELECT pg_catalog.set_config('default_transaction_read_only', %s, false)"
SHOWN_LINES = 15
_BEFORE = re.compile(r"--\s*pgrehearse:\s*before\s*$", re.IGNORECASE)
_WRITES = re.compile(r"\bread\s+write\b|transaction_read_only", re.IGNORECASE)


class CheckVerdict(Enum):
    PASSED = "passed"
    FAILED = "failed"
    UNMEASURED = "unmeasured"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    name: str  # the file's name, or the command
    verdict: CheckVerdict
    detail: str  # counts and errors, never rows

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "verdict": self.verdict.value, "detail": self.detail}


def run_sql_checks(
    directory: Path, pristine: Callable[[], Connection], clone: Callable[[], Connection]
) -> tuple[CheckResult, ...]:
    """Run each ``*.sql`` of the directory, in the order of names, read-only, on both databases.

    A check passes when the migrated clone returns no rows, or exactly the rows that the pristine copy
    returns.  The last statement of a file that returns rows counts.  A check of kind "before" (see
    `run_before_checks`) asks the pristine copy alone.
    """
    files = sorted(directory.glob("*.sql"))
    if not files:
        return ()
    with pristine() as before, clone() as after:
        return tuple(
            _run_before_check(file, before) if _is_before(file) else _run_sql_check(file, before, after)
            for file in files
        )


def run_before_checks(directory: Path, session: Connection) -> tuple[CheckResult, ...]:
    """Run each ``*.sql`` whose first line is ``-- pgrehearse: before``, read-only; it must return no rows."""
    return tuple(_run_before_check(file, session) for file in sorted(directory.glob("*.sql")) if _is_before(file))


def run_command_check(
    command: str, *, url: Conninfo, url_variable: str, environment: Mapping[str, str], working_directory: Path
) -> CheckResult:
    """Run the team's own command (split as a shell splits words, no shell) against the clone; exit code 0 passes.

    ``environment`` is what `scrubbed_environment` left; the clone's URL is added as ``url_variable``.
    """
    try:
        done = subprocess.run(
            shlex.split(command),
            cwd=working_directory,
            env={**environment, url_variable: url.as_url()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        detail = f"could not be started: {error.strerror}"
        return CheckResult(name=command, verdict=CheckVerdict.UNMEASURED, detail=detail)
    except subprocess.TimeoutExpired:
        detail = f"did not end within {COMMAND_TIMEOUT_S} s"
        return CheckResult(name=command, verdict=CheckVerdict.UNMEASURED, detail=detail)
    output = mask(done.stdout, (*url.secrets, url.as_url())).strip().splitlines()
    detail = f"exit code {done.returncode}"
    if done.returncode != 0 and output:
        detail += ":\n" + "\n".join(output[-SHOWN_LINES:])
    verdict = CheckVerdict.PASSED if done.returncode == 0 else CheckVerdict.FAILED
    return CheckResult(name=command, verdict=verdict, detail=detail)


def scrubbed_environment(
    environment: Mapping[str, str], *, names: Iterable[str], databases: Iterable[Conninfo]
) -> dict[str, str]:
    """The environment without any way to another database than the clone.

    Left out: libpq's own variables, the named ones (the environments' URL variables), whatever holds a
    database URL, and whatever holds a secret of these databases.
    """
    named = set(names)
    secrets = [secret for database in databases for secret in database.secrets]
    return {
        key: value
        for key, value in environment.items()
        if not (key.startswith("PG") and key.isupper())
        and key not in named
        and not value.startswith(("postgres://", "postgresql://", "prisma+postgres://"))
        and value not in secrets
        and hide(value, secrets) == value
    }


def _is_before(file: Path) -> bool:
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        return _BEFORE.match(text.readline()) is not None


def _run_before_check(file: Path, session: Connection) -> CheckResult:
    text = file.read_text(encoding="utf-8-sig")
    if _WRITES.search(text):
        detail = "it names READ WRITE or transaction_read_only: production is only read"
        return CheckResult(name=file.name, verdict=CheckVerdict.UNMEASURED, detail=detail)
    try:
        rows = _rows(session, text)
    except psycopg.Error as error:
        detail = f"fails: {error.sqlstate}: {error.diag.message_primary or error}"
        return CheckResult(name=file.name, verdict=CheckVerdict.UNMEASURED, detail=detail)
    if rows:
        return CheckResult(
            name=file.name, verdict=CheckVerdict.FAILED, detail=f"{counted(len(rows), 'row')}, and none are wanted"
        )
    return CheckResult(name=file.name, verdict=CheckVerdict.PASSED, detail="no rows")


def _run_sql_check(file: Path, before: Connection, after: Connection) -> CheckResult:
    text = file.read_text(encoding="utf-8-sig")
    try:
        rows_after = _rows(after, text)
    except psycopg.Error as error:
        problem = f"{error.sqlstate}: {error.diag.message_primary or error}"
        try:
            _rows(before, text)
        except psycopg.Error:
            detail = f"fails before and after the migration: {problem}"
            return CheckResult(name=file.name, verdict=CheckVerdict.UNMEASURED, detail=detail)
        detail = f"worked before the migration, fails after it: {problem}"
        return CheckResult(name=file.name, verdict=CheckVerdict.FAILED, detail=detail)
    if not rows_after:
        return CheckResult(name=file.name, verdict=CheckVerdict.PASSED, detail="no rows")
    try:
        rows_before = _rows(before, text)
    except psycopg.Error as error:
        problem = f"{error.sqlstate}: {error.diag.message_primary or error}"
        detail = f"{counted(len(rows_after), 'row')} after the migration; before it, the check fails: {problem}"
        return CheckResult(name=file.name, verdict=CheckVerdict.FAILED, detail=detail)
    if sorted(map(repr, rows_before)) == sorted(map(repr, rows_after)):
        detail = f"the same {counted(len(rows_after), 'row')} before and after"
        return CheckResult(name=file.name, verdict=CheckVerdict.PASSED, detail=detail)
    detail = f"{counted(len(rows_before), 'row')} before, {len(rows_after)} after, and not the same"
    return CheckResult(name=file.name, verdict=CheckVerdict.FAILED, detail=detail)


def _rows(session: Connection, text: str) -> list[tuple[Any, ...]]:
    """The rows of the last statement that returns any, in a read-only transaction that is rolled back.

    A text that ends the transaction is read-only in its next one, too.
    """
    rows: list[tuple[Any, ...]] = []
    default = fetch_value(session, "SELECT pg_catalog.current_setting('default_transaction_read_only')")
    session.execute("SET default_transaction_read_only = on")
    session.execute("BEGIN READ ONLY")
    try:
        cursor = session.execute(text.encode())
        while True:
            if cursor.description is not None:
                rows = cursor.fetchall()
            if not cursor.nextset():
                return rows
    finally:
        session.execute("ROLLBACK")
        session.execute(RESTORE_DEFAULT, (default,))

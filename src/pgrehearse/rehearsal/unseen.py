"""What a superuser could do to a shared server without its standing in any file, and what is left out for that.

On a server of our own nothing needs to be left out.  On a shared one a superuser's EXECUTE of a string that is
built at run time could be COPY … TO PROGRAM or ALTER ROLE: such a statement is not run there.
"""

import re
from dataclasses import dataclass

from pgrehearse.migrations.run_time_strings import why_unseen, why_unseen_do
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
REMEDY = "leave --target out: on a private local server it is run"
# Statements that name a function without running it.
_ONLY_NAME = frozenset(
    {
        "CreateFunctionStmt", "AlterFunctionStmt", "DropStmt", "CommentStmt", "GrantStmt", "RenameStmt",
        "AlterOwnerStmt", "AlterObjectSchemaStmt", "CreateTrigStmt", "CreateEventTrigStmt", "ViewStmt",
        "AlterDefaultPrivilegesStmt", "AlterExtensionContentsStmt", "SecLabelStmt",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UnseenFunction:
    """A function that runs as a superuser and may do what no text shows."""

    oid: int
    name: str
    reason: str

    def is_called_in(self, statement: Statement) -> bool:
        """By its name before a parenthesis; what calls it unnamed (a trigger, a default) is seen while it runs."""
        if statement.kind in _ONLY_NAME:
            return False
        return re.search(rf'(?<![\w"]){_quotable(self.name)}\s*\(', statement.text, re.IGNORECASE) is not None


def read_unseen_functions(session: Connection, *, as_superuser: bool) -> tuple[UnseenFunction, ...]:
    """Functions of the database that would run as a superuser: for a superuser all, else SECURITY DEFINER of one."""
    found = []
    for oid, name, language, body in session.execute(QUERIES["functions"], (as_superuser,)):
        if (reason := why_unseen(body, language)) is not None:
            found.append(UnseenFunction(oid=oid, name=name, reason=reason))
    return tuple(found)


def why_unseen_statement(
    statement: Statement, functions: tuple[UnseenFunction, ...], *, as_superuser: bool
) -> str | None:
    """Why this statement is not run on a shared server, or None."""
    if as_superuser and statement.kind == "DoStmt" and (why := why_unseen_do(statement.text)) is not None:
        return f"a superuser runs it on a shared server, and {why}; {REMEDY}"
    for function in functions:
        if function.is_called_in(statement):
            why = f"it runs as a superuser on a shared server, and {function.reason}"
            return f"it calls {function.name}(): {why}; {REMEDY}"
    return None


def _quotable(name: str) -> str:
    return f'"?{re.escape(name)}"?'

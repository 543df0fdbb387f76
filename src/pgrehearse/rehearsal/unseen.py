"""What a powerful role could do to a shared server without its standing in any file, and what is left out for that.

On a server of our own nothing needs to be left out.  On a shared one, EXECUTE of a string that is built at run
time could be COPY … TO PROGRAM, where a superuser runs it or a role that may run the machine's programs or write
its files: such a statement is not run there.
"""

import json
import re
from dataclasses import dataclass

import pglast.parser

from pgrehearse.migrations.run_time_strings import why_unseen, why_unseen_do
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
POWERFUL = "a role that may reach the machine of a shared server"
REMEDY = "leave --target out: on a private local server it is run"
# Statements that name a function without running it.
_CALLED = re.compile(
    r'"(?:FuncCall|funccall)":\{"funcname":\[(?:\{"String":\{"sval":"(?:[^"\\]|\\.)*"\}\},)*'
    r'\{"String":\{"sval":("(?:[^"\\]|\\.)*")\}\}\]'
)
_ONLY_NAME = frozenset(
    {
        "CreateFunctionStmt", "AlterFunctionStmt", "DropStmt", "CommentStmt", "GrantStmt", "RenameStmt",
        "AlterOwnerStmt", "AlterObjectSchemaStmt", "CreateTrigStmt", "CreateEventTrigStmt", "ViewStmt",
        "AlterDefaultPrivilegesStmt", "AlterExtensionContentsStmt", "SecLabelStmt",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class UnseenFunction:
    """A function that runs as a powerful role and may do what no text shows."""

    oid: int
    name: str
    reason: str

    def is_called_in(self, statement: Statement) -> bool:
        """By its name; what calls it unnamed (a trigger, a default, a view) is seen while it runs."""
        if statement.kind in _ONLY_NAME:
            return False
        if statement.kind == "DoStmt":
            return re.search(rf'(?<![\w"])"?{re.escape(self.name)}"?\s*\(', statement.text, re.IGNORECASE) is not None
        return self.name in {
            json.loads(found) for found in _CALLED.findall(pglast.parser.parse_sql_json(statement.text))
        }


def read_unseen_functions(session: Connection, *, powerful: bool) -> tuple[UnseenFunction, ...]:
    """Functions that would run as a powerful role: all where the plan's role is one, else SECURITY DEFINER of one."""
    found = []
    for oid, name, language, body in session.execute(QUERIES["functions"], (powerful,)):
        if (reason := why_unseen(body, language)) is not None:
            found.append(UnseenFunction(oid=oid, name=name, reason=reason))
    return tuple(found)


def why_unseen_statement(statement: Statement, functions: tuple[UnseenFunction, ...], *, powerful: bool) -> str | None:
    """Why this statement is not run on a shared server, or None."""
    if powerful and statement.kind == "DoStmt" and (why := why_unseen_do(statement.text)) is not None:
        return f"it runs as {POWERFUL}, and {why}; {REMEDY}"
    for function in functions:
        if function.is_called_in(statement):
            return f"it calls {function.name}(), which runs as {POWERFUL}, and {function.reason}; {REMEDY}"
    return None

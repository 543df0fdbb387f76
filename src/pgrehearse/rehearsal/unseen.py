"""What a powerful role could do to a shared server without its standing in any file, and what is left out for that.

On a server of our own nothing needs to be left out.  On a shared one, EXECUTE of a string that is built at run
time could be COPY … TO PROGRAM, where a superuser runs it or a role that may run the machine's programs or write
its files: such a statement is not run there.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pglast.parser

from pgrehearse.clones.inert_functions import is_switched_off
from pgrehearse.migrations.reach import find_reach_in_body
from pgrehearse.migrations.run_time_strings import why_unseen, why_unseen_do
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
POWERFUL = "a role that may reach the machine of a shared server"
PLAN = "the role of the plan on a shared server"
READABLE = frozenset({"plpgsql", "sql"})
UNTRUSTED_REMEDY = "look at what it does, and rehearse where that harms nobody"
# Statements that keep a call, for whoever uses what they make.
_KEEPS_A_CALL = frozenset({"ViewStmt", "RuleStmt"})
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
    """A function that reaches the server, or runs as a powerful role and may do what no text shows."""

    oid: int
    name: str
    reason: str
    who: str  # whom it may do that as
    remedy: str = REMEDY
    must_not_run: bool = False  # not even where something calls it unnamed

    def is_called_in(self, statement: Statement) -> bool:
        """By its name; what calls it unnamed (a trigger, a default, a view) is seen while it runs."""
        if statement.kind in _ONLY_NAME:
            return False
        if statement.kind == "DoStmt":
            return re.search(rf'(?<![\w"])"?{re.escape(self.name)}"?\s*\(', statement.text, re.IGNORECASE) is not None
        return self.name in {
            json.loads(found) for found in _CALLED.findall(pglast.parser.parse_sql_json(statement.text))
        }


def read_unseen_functions(
    session: Connection, *, powerful: bool, known: Sequence[UnseenFunction] = ()
) -> tuple[UnseenFunction, ...]:
    """Functions that reach beyond the database by their text, and those that may as a powerful role.

    The latter are all where the plan's role is one, else SECURITY DEFINER of one.  Those that are switched off by now
    are taken from ``known``.
    """
    found = []
    switched_off = {each.oid: each for each in known}
    for oid, name, language, body, definer in session.execute(QUERIES["functions"]):
        if is_switched_off(body, oid):
            found += [switched_off[oid]] if oid in switched_off else []
            continue
        runs_powerful = powerful or definer
        reach = find_reach_in_body(body) if language in READABLE else None
        if reach is not None:
            reason, who = (
                f"its body has {reach}, which reaches beyond the database",
                POWERFUL if runs_powerful else PLAN,
            )
            found.append(UnseenFunction(oid=oid, name=name, reason=reason, who=who, must_not_run=True))
        elif runs_powerful and (why := why_unseen(body, language)) is not None:
            found.append(UnseenFunction(oid=oid, name=name, reason=why, who=POWERFUL, must_not_run=definer))
    return tuple(found)


def read_untrusted_functions(session: Connection) -> tuple[UnseenFunction, ...]:
    """Functions in languages that may do anything, to other servers too, whoever calls them."""
    return tuple(
        UnseenFunction(
            oid=oid, name=name, who="the server's own user of the machine", remedy=UNTRUSTED_REMEDY,
            reason=f"what {language} does, to other servers too, cannot be seen",
        )
        for oid, name, language in session.execute(QUERIES["untrusted"])
    )  # fmt: skip


def why_unseen_statement(statement: Statement, functions: tuple[UnseenFunction, ...], *, powerful: bool) -> str | None:
    """Why this statement is not run on a shared server, or None."""
    if powerful and statement.kind == "DoStmt" and (why := why_unseen_do(statement.text)) is not None:
        return f"it runs as {POWERFUL}, and {why}; {REMEDY}"
    if powerful and statement.kind in _KEEPS_A_CALL and (reach := find_reach_in_body(statement.text)) is not None:
        return f"it would let {reach} run as {POWERFUL}; {REMEDY}"
    for function in functions:
        if function.is_called_in(statement):
            return f"it calls {function.name}(), which runs as {function.who}, and {function.reason}; {function.remedy}"
    return None

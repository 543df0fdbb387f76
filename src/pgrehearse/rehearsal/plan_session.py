"""The session that runs the plan, asked after each statement who it is and what ran in it.

An observer beside the tracer.  A plan that left production's role, or in which something ran unseen on a
shared server, was not measured, whatever else was seen.
"""

import re
from collections.abc import Sequence

import psycopg
from psycopg import sql

from pgrehearse.clones.inert_functions import (
    SWITCHED_OFF,
    Replaced,
    put_back,
    replace_bodies,
)
from pgrehearse.clones.pair import ClonePair
from pgrehearse.clones.shared_catalogs import (
    SharedCatalogs,
    SharedChange,
    Transactions,
    Whose,
    compare_shared_catalogs,
    read_shared_catalogs,
)
from pgrehearse.errors import MigrationFailed
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.observer import NoObserver, Running, StatementError
from pgrehearse.migrations.statements import Statement, TransactionNeed
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.rehearsal.judge import Unmeasured
from pgrehearse.rehearsal.outward_use import OutwardUse
from pgrehearse.rehearsal.unseen import (
    QUERIES,
    UnseenFunction,
    read_unseen_functions,
    read_untrusted_functions,
    why_unseen_statement,
)

LOGIN_REMEDY = "give --target a login as that role itself, or leave --target out for a private local server"
INSUFFICIENT_PRIVILEGE = "42501"
UNDEFINED_OBJECT = "42704"
WRONG_OBJECT_TYPE = "42809"
FOREIGN_DATA_CLASSES = frozenset({"08", "HV"})  # connection exception, foreign data wrapper error
FOREIGN_KINDS = frozenset({"user mapping", "foreign server", "foreign table"})  # of `SwitchedOff`
TRACK_FUNCTIONS = "ALTER DATABASE {} SET track_functions TO 'all'"
# What leads out of a role that was SET: back to who logged in, who is another here than in production.
_LEAVES_ROLE = r"session[\s_]+authorization|discard\s+all|\yrole\s*(=|\yto\y)?\s*[\"']?none\y|'role'\s*,\s*'none'"
# A superuser may SET ROLE to anybody; our login, which became one, may not.
_TAKES_ROLE = r"|\yset\s+(local\s+|session\s+)?role\y|'role'\s*,"
_SESSION_USER = re.compile(r"\bsession_user\b", re.IGNORECASE)
_CREATES_FUNCTIONS = frozenset(
    {
        "CreateFunctionStmt", "AlterFunctionStmt", "AlterOwnerStmt", "CreateExtensionStmt", "AlterExtensionStmt",
        "DoStmt", "CreateFdwStmt", "AlterFdwStmt",
    }
)  # fmt: skip
# In one of our own names, so that nothing of the plan can be told by it.
SHARED_SERVER = "reaches beyond its database, or may do so unseen as a powerful role of a shared server"
_CONTROL = frozenset({TransactionNeed.BEGINS, TransactionNeed.COMMITS, TransactionNeed.ROLLS_BACK})


class PlanSession(NoObserver):
    """Watches one run of a plan on a clone.  About 0.3 ms per statement."""

    def __init__(self, pair: ClonePair, statements: Sequence[Statement]) -> None:
        self._pair = pair
        self._statements = statements
        self._login = pair.role_access.login if pair.role_access is not None else None
        self._powerful = pair.role_is_powerful
        self._functions: tuple[UnseenFunction, ...] = ()
        self._called: dict[int, str] = {}  # unseen functions that ran: where first
        self._left_role_at: str | None = None
        self._left_out_at: str | None = None
        self._xids: dict[int, int] = {}  # the plan's transactions: each's id, and the next one to be given out
        self._outside: list[tuple[int, int]] = []
        self._next_xid = 0
        self._before: SharedCatalogs | None = None
        self._replaced: tuple[Replaced, ...] = ()
        self._outward = OutwardUse(statements)
        self._counts_calls = True
        self.lowered: list[str] = []
        self.unmeasured: list[Unmeasured] = []

    # --- before and after the plan -------------------------------------------------------------------------

    def begin(self) -> None:
        """Look at the server and at the clone's functions."""
        with self._pair.session("clone", "watch") as admin:
            if self._login is not None:
                self.lowered += self._asking_who_logged_in(admin)
            self._outward.begin(admin)
            self._functions = self._read_functions(admin)
            if self._functions or (self._powerful and not self._pair.is_private):
                self._track_functions(admin)  # by name only calls in the files are known
            if self._pair.is_private:
                return
            stopped = {each.oid: (each.name, SHARED_SERVER) for each in self._functions if each.must_not_run}
            self._replaced = replace_bodies(admin, stopped)
            self._before = read_shared_catalogs(admin)
            self._next_xid = self._before.next_xid

    def end(self) -> None:
        """Put what was not measured into ``unmeasured``."""
        if self._left_role_at is not None:
            reason = (
                f"it leads out of {self._pair.role}, back to who logged in: in production that is {self._pair.role} "
                f"again, here it is a login of our own that may do nothing; {LOGIN_REMEDY}"
            )
            self.unmeasured.append(
                Unmeasured(what=f"the plan from {self._left_role_at} on", reason=reason, decisive=True)
            )
        for function in self._functions:
            if (place := self._called.get(function.oid)) is not None:
                reason = f"{function.name}() ran in it as {function.who}, and {function.reason}; {function.remedy}"
                self.unmeasured.append(
                    Unmeasured(what=f"what {place} does to the server", reason=reason, decisive=True)
                )
        self._tell_outward_use()
        self.unmeasured += [_told(change) for change in self._shared_changes()]

    def find_doubt(self, failure: MigrationFailed) -> str | None:
        """Why a plan that failed here need not fail in production; None where it was measured that it does."""
        if self._left_role_at is not None:
            return f"since {self._left_role_at} the session is not {self._pair.role}'s any more"
        if self._left_out_at is not None:
            return f"{self._left_out_at}, which was not run here, may be why"
        if failure.sqlstate == SWITCHED_OFF or (called := self._outward_calls()):
            names = "something" if failure.sqlstate == SWITCHED_OFF else ", ".join(called)
            return f"{names} that is switched off on a clone was called, and may be why"
        if failure.sqlstate == WRONG_OBJECT_TYPE and "fdw_handler" in str(failure):
            return "the handlers of foreign-data wrappers are switched off on a clone, and none takes them for its own"
        if foreign := self._foreign_behind(failure):
            return f"{foreign} of production is switched off on a clone, and may be why"
        if self._login is not None and failure.sqlstate == INSUFFICIENT_PRIVILEGE and self._changes_user():
            return (
                f"who logged in is not {self._pair.role} but a login of our own, and something in the plan or in a "
                f"function leads back to it; {LOGIN_REMEDY}"
            )
        return None

    def _foreign_behind(self, failure: MigrationFailed) -> str | None:
        """What of a foreign-data wrapper's is switched off, where the failure may be of its reaching nobody."""
        state = failure.sqlstate or ""
        no_mapping = state == UNDEFINED_OBJECT and "user mapping" in str(failure)  # its own code says no more
        if not no_mapping and state[:2] not in FOREIGN_DATA_CLASSES:
            return None
        found = [f"{each.kind} {each.name}" for each in self._pair.switched_off if each.kind in FOREIGN_KINDS]
        return ", ".join(found) or None

    def why_left_out(self, statement: Statement) -> str | None:
        """For `apply`: why this statement is not run here."""
        if self._pair.is_private:
            return None  # the statement is run, and what ran in it is told
        return why_unseen_statement(statement, self._functions, powerful=self._powerful)

    # --- the observer's part ---------------------------------------------------------------------------------

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        statement = running.statement
        if error is not None or statement.need in _CONTROL or not (running.in_transaction or running.outside):
            return
        if statement.kind in _CREATES_FUNCTIONS:
            self._look_at_functions(running)
        self._outward.after(running.session, statement)
        oids = [function.oid for function in self._functions]
        row = running.session.execute(QUERIES["state"], (oids,)).fetchone()
        assert row is not None
        user, xid, next_xid, called = row
        place = f"{running.migration.path}:{statement.line}"
        if self._login is not None and user == self._login and self._left_role_at is None:
            self._left_role_at = place
        for oid in called:
            self._called.setdefault(oid, place)
        if xid is not None:
            self._xids[xid] = next_xid
        elif running.outside:  # its transactions are over: any since the last look may have been its own
            self._outside.append((self._next_xid, next_xid))
        self._next_xid = next_xid

    def not_run(self, migration: Migration, statement: Statement, reason: str) -> None:
        if self._left_out_at is None:
            self._left_out_at = f"{migration.path}:{statement.line}"

    # --- details -----------------------------------------------------------------------------------------------

    def _read_functions(self, session: Connection) -> tuple[UnseenFunction, ...]:
        untrusted = read_untrusted_functions(session)
        if self._pair.is_private:
            return untrusted
        unseen = read_unseen_functions(session, powerful=self._powerful, known=self._functions)
        known = {each.oid for each in unseen}
        return (*unseen, *(each for each in untrusted if each.oid not in known))

    def _look_at_functions(self, running: Running) -> None:
        """What the plan made may not reach out either; its own session is the only one that sees it yet."""
        place = f"{running.migration.path}:{running.statement.line}"
        self._outward.look(running.session, place)
        known = self._functions
        self._functions = self._read_functions(running.session)
        if not self._pair.is_private:
            stopped = {
                each.oid: (each.name, SHARED_SERVER)
                for each in self._functions
                if each.must_not_run and not any(each is before for before in known)
            }
            self._replaced += replace_bodies(running.session, stopped)

    def _track_functions(self, admin: Connection) -> None:
        try:
            admin.execute(sql.SQL(TRACK_FUNCTIONS).format(sql.Identifier(admin.info.dbname)))
        except psycopg.errors.InsufficientPrivilege:
            self._counts_calls = False

    def _outward_calls(self) -> list[str]:
        with self._pair.session("clone", "watch") as admin:
            return self._outward.read_used(admin)

    def _tell_outward_use(self) -> None:
        with self._pair.session("clone", "watch") as admin:
            self.unmeasured += self._outward.end(admin)
            if self._functions and not self._counts_calls:
                names = ", ".join(sorted({each.name for each in self._functions}))
                reason = "which functions ran can be asked only by a superuser of the target"
                what = f"whether the plan called {names}"
                self.unmeasured.append(Unmeasured(what=what, reason=reason, decisive=False))
            if self._replaced:
                put_back(admin, self._replaced)

    def _shared_changes(self) -> tuple[SharedChange, ...]:
        if self._before is None:
            return ()
        with self._pair.session("clone", "watch") as admin:
            after = read_shared_catalogs(admin)
        plan = Transactions(xids=frozenset(self._xids), spans=(*self._xids.items(), *self._outside))
        return compare_shared_catalogs(self._before, after, plan)

    def _changes_user(self) -> bool:
        pattern = _LEAVES_ROLE + (_TAKES_ROLE if self._pair.role_is_superuser else "")
        ours = re.compile(pattern.replace(r"\y", r"\b"), re.IGNORECASE)
        if any(ours.search(statement.text) for statement in self._statements):
            return True
        with self._pair.session("clone", "watch") as admin:
            return bool(fetch_value(admin, QUERIES["changes_user"], (pattern,)))

    def _asking_who_logged_in(self, admin: Connection) -> list[str]:
        told = "asks for session_user, which on the clone is a login of our own"
        found = [name for (name,) in admin.execute(QUERIES["session_user_readers"])]
        if any(_SESSION_USER.search(statement.text) for statement in self._statements):
            found.insert(0, "the plan")
        return [f"{name} {told}" for name in found]


def _told(change: SharedChange) -> Unmeasured:
    what = f"{change.what} of the shared server is {change.effect}"
    if change.whose is Whose.ANOTHER:
        return Unmeasured(what=what, reason=f"it was {change.whose.value}", decisive=False)
    reason = (
        f"it was {change.whose.value}: a plan that changes its server cannot be measured on a shared one; "
        "leave --target out for a private local server"
    )
    if change.undo is not None:
        reason += f"; unless somebody else meant it, this undoes it: {change.undo};"
    return Unmeasured(what=what, reason=reason, decisive=True)

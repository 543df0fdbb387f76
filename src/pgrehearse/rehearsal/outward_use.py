"""Whether the plan used what leads out of a clone: counted where that is switched off, followed by names where not.

Only a superuser may switch off the functions of an extension and the handlers of foreign-data wrappers.  Where UAT's
login is none, such a function really runs, and a foreign table, whose server points nowhere, gives an error that the
plan may catch: both leave no trace, so what the plan leads to by its text decides.
"""

from collections.abc import Iterator, Sequence

from pgrehearse.clones.inert_functions import (
    WRAPPER,
    OutwardFunction,
    read_calls,
    read_outward_functions,
    switch_off_functions,
)
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.judge import Unmeasured
from pgrehearse.rehearsal.named_paths import MOVE_ROWS, Named, follow, read_foreign_tables, read_named

REMEDY = "leave --target out, or give --target a superuser's login, so that they are switched off and counted"


class OutwardUse:
    """Watches one run of a plan.  Four small catalog queries, and three more where something was left."""

    def __init__(self, statements: Sequence[Statement]) -> None:
        self._statements = statements
        self._calls_before: dict[str, int] = {}
        self._left: tuple[OutwardFunction, ...] = ()  # that could not be switched off
        self._named: frozenset[Named] = frozenset()
        self._foreign_tables: frozenset[str] = frozenset()
        self._made: dict[str, str] = {}  # what the plan made and only a superuser may switch off: where

    def begin(self, admin: Connection) -> None:
        """Look at the clone before the plan; ``admin`` is an administrator's session in it."""
        self._calls_before = read_calls(admin)
        self._left = read_outward_functions(admin)
        self._read_named(admin)

    def look(self, session: Connection, place: str) -> None:
        """What the plan has just made may not reach out either; its own session is the only one that sees it yet."""
        known = {each.oid for each in self._left}
        for left in switch_off_functions(session).left:
            if left.oid not in known:
                self._made.setdefault(left.of, place)
        self._read_named(session)

    def after(self, session: Connection, statement: Statement) -> None:
        """What this statement made may be gone again before the plan ends."""
        if self._left and statement.kind not in MOVE_ROWS:
            self._read_named(session)

    def read_used(self, admin: Connection) -> list[str]:
        """What is switched off on the clone and was used since the plan began."""
        calls = read_calls(admin)
        return sorted(name for name, count in calls.items() if count != self._calls_before.get(name, 0))

    def end(self, admin: Connection) -> Iterator[Unmeasured]:
        """What was not measured, each of it decisive."""
        for name in self.read_used(admin):
            did, what = ("used", name) if name.startswith(WRAPPER) else ("called", f"{name}()")
            reason = f"the plan {did} {what}, which is switched off on a clone: what it would have done was not seen"
            yield Unmeasured(what=f"what {what} does elsewhere", reason=reason, decisive=True)
        for extension, place in self._made.items():
            reason = f"its functions reach outward, and only a superuser may switch them off; {place} made it here"
            yield Unmeasured(what=f"extension {extension}", reason=reason, decisive=True)
        if self._left:
            self._read_named(admin)
            yield from self._maybe_used()

    def _read_named(self, session: Connection) -> None:
        if self._left:  # what the plan drops or makes in between counts, too
            self._named |= read_named(session)
            self._foreign_tables |= read_foreign_tables(session, [each.oid for each in self._left if each.is_handler])

    def _maybe_used(self) -> Iterator[Unmeasured]:
        functions = {each.name.strip('"') for each in self._left if not each.is_handler}
        path = follow(self._statements, self._named, relations=self._foreign_tables, functions=functions)
        if path.functions:
            what = f"what {', '.join(f'{name}()' for name in sorted(path.functions))} does elsewhere"
            reason = f"the plan leads to it, and only a superuser may switch it off on a clone; {REMEDY}"
            yield Unmeasured(what=what, reason=reason, decisive=True)
        if path.relations and path.catches:  # else it would have failed the plan
            what = f"whether the plan uses foreign table {', '.join(sorted(path.relations))}"
            reason = f"on a clone it reaches nobody, and what the plan leads to may catch that error; {REMEDY}"
            yield Unmeasured(what=what, reason=reason, decisive=True)
        elif path.builds and not path.functions and (functions or self._foreign_tables):
            what = f"whether the plan uses {', '.join(sorted({each.of for each in self._left}))}"
            reason = (
                "it leads to a string that is built at run time, which may name anything, and what reaches out could "
                f"not be switched off; {REMEDY}"
            )
            yield Unmeasured(what=what, reason=reason, decisive=True)

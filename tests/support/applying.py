"""Plans, observers and sessions for the tests of the apply path."""

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from pgrehearse.migrations.applied import Applied
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.drizzle_ledger import DrizzleLedger
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.observer import NoObserver, Running, StatementError
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

QUICK = Limits(lock_timeout_ms=150, attempts=3, backoff_s=0.05, max_block_s=None, wait_s=120)
DRIZZLE = SourceKind.DRIZZLE_JOURNAL
FOLDER = SourceKind.SQL_FOLDER
BOTH = pytest.mark.parametrize("kind", [FOLDER, DRIZZLE], ids=["own-ledger", "drizzle"])
# Each row tells the transaction that wrote it.
TABLE = "CREATE TABLE t (a int, x xid8 DEFAULT pg_current_xact_id())"
CONCURRENTLY = (TABLE, "CREATE INDEX CONCURRENTLY i ON t (a);\n--> statement-breakpoint\nINSERT INTO t VALUES (1);")


def plan_of(*texts: str, kind: SourceKind = FOLDER) -> Plan:
    """Files 0001_step, 0002_step … with these texts."""
    return Plan.of(
        Migration(
            version=f"{number:04}_step",
            name="step",
            path=f"{number:04}_step.sql",
            kind=kind,
            content=text.encode(),
            created_at_ms=1_700_000_000_000 + number * 1000,
        )
        for number, text in enumerate(texts, start=1)
    )


def ledger_of(kind: SourceKind) -> MigrationLedger:
    return DrizzleLedger(kind=kind) if kind is DRIZZLE else OwnLedger(kind=kind)


def sessions_to(database: Conninfo) -> Callable[[str], Connection]:
    return lambda verb: connect(database, verb=verb)


def run_plan(database: Conninfo, plan: Plan, **options: Any) -> Applied:
    """`apply` with the ledger that fits and short limits."""
    options.setdefault("limits", QUICK)
    if "ledger" not in options:
        options["ledger"] = ledger_of(plan.migrations[0].kind)
    return apply(options.pop("sessions", sessions_to(database)), plan, **options)


def recorded(connection: Connection, kind: SourceKind = FOLDER) -> list[str | None]:
    """The recorded versions (drizzle: the first characters of the hash), in order."""
    rows = ledger_of(kind).read(connection)
    return [row.name if kind is FOLDER else row.sha256 for row in rows]


class Notes(NoObserver):
    """Writes down what an observer is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.ran: list[tuple[str, bool]] = []

    def before(self, running: Running) -> None:
        self.events.append("before")

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        self.events.append("after" if error is None else f"error {error.sqlstate}")
        self.ran.append((running.statement.text, running.in_transaction))

    def not_run(self, migration: Migration, statement: Statement, reason: str) -> None:
        self.events.append(f"not run: {statement.text}")

    def before_commit(self, session: Connection) -> None:
        self.events.append("before commit")

    def transaction_ended(self, *, committed: bool) -> None:
        self.events.append("committed" if committed else "rolled back")


class KillAt(NoObserver):
    """Kills its own process at the n-th step boundary (1-based), as the machine's end would."""

    def __init__(self, boundary: int) -> None:
        self._left = boundary

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    def before(self, running: Running) -> None:
        self._step()

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        self._step()

    def before_commit(self, session: Connection) -> None:
        self._step()

    def transaction_ended(self, *, committed: bool) -> None:
        self._step()


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def wait_until(condition: Callable[[], object], timeout_s: float = 120) -> None:
    """Until it holds; fails the test otherwise."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def numbers(rows_found: Iterable[tuple[Any, ...]]) -> list[Any]:
    return [row[0] for row in rows_found]

"""Who waits to read the ledger holds a snapshot; CONCURRENTLY waits for snapshots; the server sees no circle."""

import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from pgrehearse.errors import MigrationFailed
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.drizzle_ledger import DrizzleLedger
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.migrations.observer import NoObserver, Running
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessShareLock'"
PLAN = Plan.of(
    Migration(
        version=f"{number:04}_m", name="m", path=f"drizzle/{number:04}_m.sql", kind=SourceKind.DRIZZLE_JOURNAL,
        content=content, created_at_ms=number + 1,
    )
    for number, content in enumerate([b"CREATE TABLE t (a int);", b"CREATE INDEX CONCURRENTLY i ON t (a);"])
)  # fmt: skip
WAIT_S = 120


class Reader(NoObserver):
    """Before the index is built, another session asks for the ledger's rows, and waits."""

    def __init__(self, database: Conninfo) -> None:
        self.database = database
        self.outcome: list[object] = []
        self.thread = threading.Thread(target=self._read)

    def before(self, running: Running) -> None:
        if running.statement.kind != "IndexStmt":
            return
        self.thread.start()
        deadline = time.monotonic() + WAIT_S
        with connect(self.database, verb="test") as looking:
            while looking.execute(WAITING).fetchone() != (1,):
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def _read(self) -> None:
        with connect(self.database, verb="reader") as session:
            try:
                self.outcome.append(session.execute("SELECT * FROM drizzle.__drizzle_migrations").fetchall())
            except psycopg.errors.QueryCanceled as error:
                self.outcome.append(error)


def run(runner: Conninfo, reader: Reader) -> list[str]:
    told: list[str] = []
    ledger = DrizzleLedger(kind=SourceKind.DRIZZLE_JOURNAL)
    try:
        apply(lambda verb: connect(runner, verb=verb), PLAN, ledger=ledger, observer=reader, tell=told.append)
    finally:
        reader.thread.join(WAIT_S)
    return told


@pytest.mark.pg(">= 15")
def test_the_reader_is_cancelled_and_told_of_and_the_index_is_built(connection: Connection, database: Conninfo) -> None:
    reader = Reader(database)
    told = run(database, reader)
    assert isinstance(reader.outcome[0], psycopg.errors.QueryCanceled)
    assert [line for line in told if "pgrehearse:reader" in line and "run it again afterwards" in line]
    assert connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass").fetchone() == (True,)


@pytest.fixture
def plain_role(connection: Connection, database: Conninfo) -> Iterator[Conninfo]:
    """One that owns what it migrates, and may not cancel a superuser's query."""
    role = f"plain_{database.database}"
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'".encode())
    connection.execute(f"GRANT CREATE ON DATABASE {database.database} TO {role}".encode())
    connection.execute(f"GRANT CREATE ON SCHEMA public TO {role}".encode())
    yield database.replaced(user=role, password="x")
    connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.mark.pg("== 18")
def test_a_reader_that_we_may_not_cancel_ends_the_run_by_name_and_a_rerun_completes(
    connection: Connection, database: Conninfo, plain_role: Conninfo
) -> None:
    reader = Reader(database)
    with pytest.raises(MigrationFailed, match=r"pgrehearse:reader.*which waits for the ledger's table that we hold"):
        run(plain_role, reader)
    assert not isinstance(reader.outcome[0], BaseException)  # it read once we let go
    apply(lambda verb: connect(plain_role, verb=verb), PLAN, ledger=DrizzleLedger(kind=SourceKind.DRIZZLE_JOURNAL))
    assert connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass").fetchone() == (True,)
    assert connection.execute("SELECT count(*) FROM drizzle.__drizzle_migrations").fetchone() == (2,)

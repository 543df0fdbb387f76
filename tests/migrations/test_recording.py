"""The ledger's row and the COMMIT that go in one message: which of the two was refused, and who may send it."""

import pytest
from tests.support.applying import plan_of, recorded, run_plan

from pgrehearse.errors import ConnectionLost, LedgerRowsGone, MigrationFailed
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.runner_lock import NAMESPACE, TURN
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo

pytestmark = pytest.mark.pg(">= 15")

REFUSE_SECOND = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF NEW.version LIKE '0002%' THEN RAISE 'no more rows'; END IF; RETURN NEW; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON pgrehearse.migrations FOR EACH ROW EXECUTE FUNCTION refuse();
"""


def test_a_row_that_is_refused_takes_its_file_back(database: Conninfo, connection: Connection) -> None:
    with pytest.raises(MigrationFailed, match=r"0002_step could not be recorded: no more rows(.|\n)*0001_step"):
        run_plan(database, plan_of(REFUSE_SECOND, "CREATE TABLE b (id int);", "CREATE TABLE c (id int);"))
    assert recorded(connection) == ["0001_step"]
    assert (
        connection.execute("SELECT pg_catalog.to_regclass('b'), pg_catalog.to_regclass('c')").fetchone() == (None,) * 2
    )


def test_a_commit_that_is_refused_leaves_no_row(database: Conninfo, connection: Connection) -> None:
    late = """
    CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO t VALUES (1), (1);
    """
    with pytest.raises(MigrationFailed, match="at COMMIT: duplicate key"):
        run_plan(database, plan_of("CREATE TABLE a (id int);", late))
    assert recorded(connection) == ["0001_step"]


def test_nothing_is_committed_once_the_turn_is_lost(database: Conninfo, connection: Connection) -> None:
    lose = f"""
    CREATE TABLE b (id int);
    SELECT pg_terminate_backend(pid, 120000) FROM pg_locks
     WHERE locktype = 'advisory' AND classid = {NAMESPACE} AND objid = {TURN} AND granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    """
    with pytest.raises(ConnectionLost, match=r"terminat|closed|lost"):
        run_plan(database, plan_of("CREATE TABLE a (id int);", lose, "CREATE TABLE c (id int);"))
    assert recorded(connection) == ["0001_step"]
    assert (
        connection.execute("SELECT pg_catalog.to_regclass('b'), pg_catalog.to_regclass('c')").fetchone() == (None,) * 2
    )


def test_a_line_that_ends_at_a_row_is_lost_and_goes_on(database: Conninfo, connection: Connection) -> None:
    """Half-way in a file, so that the row and the COMMIT are sent one by one: exit 4, and nothing is in the way."""
    cut = """
    CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN new; END $$;
    CREATE TRIGGER cut BEFORE INSERT ON pgrehearse.migrations FOR EACH ROW EXECUTE FUNCTION cut();
    """
    run_plan(database, plan_of("CREATE TABLE a (id int);"))
    connection.execute(cut.encode())
    plan = plan_of("CREATE TABLE a (id int);", "BEGIN; CREATE TABLE b (id int); COMMIT; CREATE TABLE c (id int);")
    with pytest.raises(ConnectionLost, match="first 3 of 4 statements"):
        run_plan(database, plan)
    assert recorded(connection) == ["0001_step"]
    connection.execute("DROP TRIGGER cut ON pgrehearse.migrations")
    run_plan(database, plan)
    assert recorded(connection) == ["0001_step", "0002_step"]


def test_a_name_with_quotes_is_recorded_as_it_is(database: Conninfo, connection: Connection) -> None:
    plan = plan_of("SET standard_conforming_strings = off; CREATE TABLE a (id int);")
    odd = "0001_it's a \\ name"
    (migration,) = plan.migrations
    object.__setattr__(migration, "version", odd)
    run_plan(database, plan)
    assert recorded(connection) == [odd]


LEDGERS = pytest.mark.parametrize(
    ("kind", "table"),
    [
        (SourceKind.SQL_FOLDER, "pgrehearse.migrations"),
        (SourceKind.DRIZZLE_JOURNAL, "drizzle.__drizzle_migrations"),
    ],
    ids=["own-ledger", "drizzle"],
)  # fmt: skip


@LEDGERS
@pytest.mark.parametrize("second", ["CREATE TABLE b (id int)", "CREATE INDEX CONCURRENTLY i ON a (id)"])
def test_what_a_trigger_keeps_from_being_recorded_is_not_done(
    database: Conninfo, connection: Connection, kind: SourceKind, table: str, second: str
) -> None:
    swallow = """
    CREATE TABLE a (id int);
    CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
    """
    run_plan(database, plan_of(swallow, kind=kind))
    connection.execute(f"CREATE TRIGGER s BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION swallow()")
    plan = plan_of(swallow, f"{second};", kind=kind)
    for _ in range(2):
        with pytest.raises(MigrationFailed, match=r"0002_step could not be recorded: a trigger or a rule"):
            run_plan(database, plan)
    assert recorded(connection, kind) == recorded(connection, kind)[:1]
    assert connection.execute("SELECT pg_catalog.to_regclass('b')").fetchone() == (None,)
    connection.execute(f"DROP TRIGGER s ON {table}")
    run_plan(database, plan)
    assert len(recorded(connection, kind)) == 2


@LEDGERS
@pytest.mark.parametrize("change", ["DELETE FROM {}", "UPDATE {} SET {} = '{}'"], ids=["delete", "update"])
def test_a_migration_that_touches_the_ledgers_rows_is_told(
    database: Conninfo, connection: Connection, kind: SourceKind, table: str, change: str
) -> None:
    column = "sha256" if kind is SourceKind.SQL_FOLDER else "hash"
    run_plan(database, plan_of("CREATE TABLE a (id int);", kind=kind))
    plan = plan_of("CREATE TABLE a (id int);", change.format(table, column, "0" * 64) + ";", kind=kind)
    with pytest.raises(LedgerRowsGone, match="no longer says what it said of"):
        run_plan(database, plan)


@LEDGERS
def test_a_row_that_is_taken_out_as_it_is_committed_is_told(
    database: Conninfo, connection: Connection, kind: SourceKind, table: str
) -> None:
    first = f"""
    CREATE FUNCTION take_out() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN DELETE FROM {table} WHERE id = NEW.id; RETURN NULL; END $$;
    """
    run_plan(database, plan_of(first, kind=kind))
    connection.execute(
        f"CREATE CONSTRAINT TRIGGER t AFTER INSERT ON {table} DEFERRABLE INITIALLY DEFERRED "
        "FOR EACH ROW EXECUTE FUNCTION take_out()"
    )
    with pytest.raises(LedgerRowsGone, match=r"0002_step(.|\n)*0002_step is applied"):
        run_plan(database, plan_of(first, "CREATE TABLE b (id int);", kind=kind))

"""The ledger's row and the COMMIT that go in one message: which of the two was refused, and who may send it."""

import pytest
from tests.support.applying import plan_of, recorded, run_plan

from pgrehearse.errors import ConnectionLost, MigrationFailed
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
    SELECT pg_terminate_backend(pid) FROM pg_locks
     WHERE locktype = 'advisory' AND classid = {NAMESPACE} AND objid = {TURN} AND granted
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database());
    SELECT pg_sleep(0.2);
    """
    with pytest.raises(ConnectionLost, match=r"terminat|closed|lost"):
        run_plan(database, plan_of("CREATE TABLE a (id int);", lose, "CREATE TABLE c (id int);"))
    assert recorded(connection) == ["0001_step"]
    assert (
        connection.execute("SELECT pg_catalog.to_regclass('b'), pg_catalog.to_regclass('c')").fetchone() == (None,) * 2
    )


def test_a_name_with_quotes_is_recorded_as_it_is(database: Conninfo, connection: Connection) -> None:
    plan = plan_of("SET standard_conforming_strings = off; CREATE TABLE a (id int);")
    odd = "0001_it's a \\ name"
    (migration,) = plan.migrations
    object.__setattr__(migration, "version", odd)
    run_plan(database, plan)
    assert recorded(connection) == [odd]

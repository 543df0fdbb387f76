"""The locks of a statement outside transactions, where a pooler stands before the server."""

import pytest
from tests.support.poolers import PGBOUNCER, pgbouncer

from pgrehearse.hazards.outside_locks import OutsideLocks
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.locks import LockMode

pytestmark = pytest.mark.pg("== 18")


@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
def test_behind_a_pooler_the_statement_is_let_go_on(
    server: LocalServer, database: Conninfo, connection: Connection
) -> None:
    connection.execute("CREATE TABLE t (id int)")
    oid = fetch_value(connection, "SELECT 't'::regclass::oid::int8")
    with pgbouncer(server, pool_mode="session") as pooler:
        pooled = pooler.replaced(dbname=database.database)
        with connect(pooled, verb="test") as running, connect(pooled, verb="test") as watch:
            pid = fetch_value(running, "SELECT pg_backend_pid()")
            assert pid != running.info.backend_pid
            watching = OutsideLocks(watch, lambda: connect(pooled, verb="test"), pid, [oid])
            watching.start()
            running.execute("SET statement_timeout = '60s'")
            try:
                running.execute("CREATE INDEX CONCURRENTLY ON t (id)")
            finally:
                found = watching.stop()
    assert found == {oid: LockMode.SHARE_UPDATE_EXCLUSIVE}
    assert watching.is_exact

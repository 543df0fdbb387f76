"""What was told as applied is there after a crash, even where the role's commits are not durable of themselves."""

import pytest
from tests.support.applying import FOLDER, plan_of, recorded, rows, run_plan

from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.session_state import prepare
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.local_server import LocalServer

FILES = ("CREATE TABLE t (a int); INSERT INTO t VALUES (1);", "SET synchronous_commit = off; INSERT INTO t VALUES (2);")
NEVER_OF_ITSELF = {"synchronous_commit": "off", "wal_writer_delay": "10s", "bgwriter_delay": "10s"}


@pytest.mark.pg("== 18")
def test_applied_files_outlive_a_crash_of_a_server_that_commits_asynchronously(server: LocalServer) -> None:
    with LocalServer.create(server.binaries, settings=NEVER_OF_ITSELF) as mortal:
        database = mortal.conninfo()
        run_plan(database, plan_of(*FILES, kind=FOLDER))
        mortal.stop(immediate=True)
        mortal.start()
        with connect(database, verb="test") as session:
            assert rows(session, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]
            assert len(recorded(session, FOLDER)) == 2


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("setting", ["local", "remote_write", "on", "remote_apply"])
def test_a_durable_setting_is_left_as_it_is(server: LocalServer, setting: str) -> None:
    with connect(server.conninfo(), verb="test") as session:
        session.execute(f"SET synchronous_commit = {setting}".encode())
        prepare(session, Limits())
        assert rows(session, "SHOW synchronous_commit") == [(setting,)]

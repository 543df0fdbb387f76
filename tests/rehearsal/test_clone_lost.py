"""The clone's server goes away while the plan, or the way back, runs: that says nothing of either."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.rehearsing import rehearsing_on

from pgrehearse.clones.record import recorded_clones
from pgrehearse.errors import CloneLost, UnknownReceipt
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions

RUNNING = "SELECT pid FROM pg_stat_activity WHERE query LIKE %s AND state = 'active' AND pid <> pg_backend_pid()"
LET_GO = "pgrehearse-test-let-go"
# Runs until somebody of that name is on the server, whom everybody there can see, from whatever database.
UNTIL_LET_GO = f"""
CREATE FUNCTION until_let_go() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
    WHILE NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE application_name = '{LET_GO}') LOOP
        PERFORM pg_catalog.pg_stat_clear_snapshot(), pg_catalog.pg_sleep(0.01);
    END LOOP;
END $$
"""
DEADLINE_S = 240


@contextmanager
def ending(server: LocalServer, statement: str, *, nth: int = 1) -> Iterator[None]:
    """Meanwhile the n-th session that runs this very statement is ended by the server; the ones before are let go."""
    over = threading.Event()

    def watch() -> None:
        deadline = time.monotonic() + DEADLINE_S
        with connect(server.conninfo(), verb="test") as session:

            def wait(*, running: bool) -> int | None:
                while not over.is_set() and time.monotonic() < deadline:
                    row = session.execute(RUNNING, (f"{statement}%",)).fetchone()
                    if (row is not None) == running:
                        return row[0] if row else None
                    time.sleep(0.01)
                return None

            for _ in range(nth - 1):
                wait(running=True)
                session.execute(f"SET application_name = '{LET_GO}'")
                wait(running=False)
                session.execute("RESET application_name")
            session.execute("SELECT pg_terminate_backend(%s)", (wait(running=True),))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.pg("== 18")
def test_a_connection_that_is_lost_in_the_plan_is_no_verdict_on_it(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute("CREATE TABLE t (a int)")
    statement = f"SELECT pg_sleep(60), '{tmp_path.name}'"
    with ending(uat, statement), pytest.raises(CloneLost, match=r"m\.sql:2.*terminating connection") as lost:
        rehearsing_on(database, tmp_path)(f"ALTER TABLE t ADD b int;\n{statement}", target=uat.conninfo())
    assert lost.value.exit_code == 4
    project = Project.open(None, start=tmp_path)
    with pytest.raises(UnknownReceipt):
        project.receipt(None)
    with project.releases() as releases:
        assert not recorded_clones(releases)


@pytest.mark.pg("== 18")
def test_a_connection_that_is_lost_in_the_way_back_disproves_nothing(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute("CREATE TABLE t (a int)")
    connection.execute(UNTIL_LET_GO)
    statement = f"SELECT until_let_go(), '{tmp_path.name}'"
    (tmp_path / "m.sql").write_text(f"ALTER TABLE t ADD b int;\n{statement}")
    options = RehearsalOptions(
        source=database.text, target=uat.conninfo().text, files=(tmp_path / "m.sql",), contention="off"
    )
    with ending(uat, statement, nth=2):  # the plan once more, behind the way back
        document = Project.open(None, start=tmp_path).rehearse(options).document
    assert document["verdict"] != "failed"
    assert document["rollback"]["type"] == "not-measured"
    assert "terminating connection" in document["rollback"]["reasons"][0]

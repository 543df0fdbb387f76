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

ENDED = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid()"
DEADLINE_S = 60


@contextmanager
def ending(server: LocalServer, statement: str, *, nth: int = 1) -> Iterator[None]:
    """Meanwhile the n-th session that runs this very statement is ended by the server."""
    over = threading.Event()

    def watch() -> None:
        left, deadline = nth, time.monotonic() + DEADLINE_S
        with connect(server.conninfo(), verb="test") as session:
            while left and not over.is_set() and time.monotonic() < deadline:
                wanted = ENDED if left == 1 else ENDED.replace("pg_terminate_backend(pid)", "pid")
                if session.execute(wanted.encode(), (f"{statement}%",)).fetchall():
                    left -= 1
                    time.sleep(1.0)  # longer than the statement takes
                time.sleep(0.02)

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
    statement = f"SELECT pg_sleep(0.5), '{tmp_path.name}'"
    (tmp_path / "m.sql").write_text(f"ALTER TABLE t ADD b int;\n{statement}")
    options = RehearsalOptions(
        source=database.text, target=uat.conninfo().text, files=(tmp_path / "m.sql",), contention="off"
    )
    with ending(uat, statement, nth=2):  # the plan once more, behind the way back
        document = Project.open(None, start=tmp_path).rehearse(options).document
    assert document["verdict"] != "failed"
    assert document["rollback"]["type"] == "not-measured"
    assert "terminating connection" in document["rollback"]["reasons"][0]

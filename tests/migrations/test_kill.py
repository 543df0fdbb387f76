"""Killed anywhere, the rerun completes: each effect once, and the database as an undisturbed run leaves it."""

import os
import signal
import threading
import time

import pytest
from tests.support.applying import (
    BOTH,
    DRIZZLE,
    QUICK,
    KillAt,
    Notes,
    plan_of,
    recorded,
    rows,
    run_plan,
    wait_until,
)
from tests.support.killing import (
    CuttingProxy,
    PauseBefore,
    assert_each_effect_once,
    contents,
    fork_run,
    kill_after,
    kill_when,
    moments,
    soak_plan,
    wait_for,
    wipe,
)

from pgrehearse.errors import EditedMidway, MigrationFailed, RunnerBusy, StateUnknown
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.standing import Resolution
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

# PGREHEARSE_SOAK=1 (make soak): all 50 moments, every boundary, every major.
SOAK = bool(os.environ.get("PGREHEARSE_SOAK"))
MOMENTS = 50 if SOAK else 6
EVERY_BOUNDARY = 1 if SOAK else 8
COMMITS = range(1, 14) if SOAK else (2, 9)
SEED = 20260501

pytestmark = pytest.mark.pg(">= 15" if SOAK else "== 18")


class Undisturbed:
    """What a run that nobody disturbs leaves, how long it takes, and how many boundaries it has."""

    def __init__(self, database: Conninfo, connection: Connection, kind: SourceKind) -> None:
        notes = Notes()
        began = time.monotonic()
        run_plan(database, soak_plan(kind), observer=notes)
        self.duration_s = time.monotonic() - began
        self.boundaries = len(notes.events)
        assert_each_effect_once(connection)
        self.contents = contents(database, connection, kind)


@pytest.fixture
def undisturbed(database: Conninfo, connection: Connection, kind: SourceKind) -> Undisturbed:
    return Undisturbed(database, connection, kind)


def rerun_and_compare(database: Conninfo, connection: Connection, kind: SourceKind, undisturbed: Undisturbed) -> None:
    run_plan(database, soak_plan(kind))
    assert_each_effect_once(connection)
    assert contents(database, connection, kind) == undisturbed.contents


@BOTH
def test_killed_at_each_step_boundary(
    database: Conninfo, connection: Connection, kind: SourceKind, undisturbed: Undisturbed
) -> None:
    assert undisturbed.boundaries > 50
    offset = SEED % EVERY_BOUNDARY
    for boundary in range(1 + offset, undisturbed.boundaries + 1, EVERY_BOUNDARY):
        wipe(database)
        assert wait_for(fork_run(database, kind, KillAt(boundary))) == -signal.SIGKILL, f"boundary {boundary}"
        rerun_and_compare(database, connection, kind, undisturbed)


@BOTH
def test_killed_at_seeded_moments(
    database: Conninfo, connection: Connection, kind: SourceKind, undisturbed: Undisturbed
) -> None:
    for moment_s in moments(MOMENTS, SEED, whole_run_s=undisturbed.duration_s):
        wipe(database)
        kill_after(fork_run(database, kind), moment_s)
        rerun_and_compare(database, connection, kind, undisturbed)


@BOTH
@pytest.mark.parametrize("hear_answer", [True, False], ids=["after-the-server-committed", "while-it-commits"])
def test_killed_between_commit_and_its_answer(
    database: Conninfo, connection: Connection, kind: SourceKind, undisturbed: Undisturbed, hear_answer: bool
) -> None:
    for commit in COMMITS:
        wipe(database)
        with CuttingProxy(database, commit=commit, hear_answer=hear_answer).opened() as proxy:
            proxy.kill_at_commit(fork_run(proxy.conninfo, kind))
        assert proxy.cut, f"the run has no {commit}th COMMIT"
        rerun_and_compare(database, connection, kind, undisturbed)


@pytest.mark.pg("== 18")
@BOTH
@pytest.mark.parametrize("hear_answer", [True, False], ids=["after-the-server-committed", "while-it-commits"])
def test_a_connection_lost_at_commit_is_looked_up_and_told(
    database: Conninfo, connection: Connection, kind: SourceKind, hear_answer: bool
) -> None:
    plan = plan_of("CREATE TABLE t (a int);", "VACUUM t;", "INSERT INTO t VALUES (1);", kind=kind)
    # by COMMIT: the ledger is made; drizzle: it is read; 0001; the record of VACUUM
    with CuttingProxy(database, commit=4 if kind is DRIZZLE else 3, hear_answer=hear_answer).opened() as proxy:
        failures: list[MigrationFailed] = []

        def migrate() -> None:
            try:
                run_plan(proxy.conninfo, plan)
            except MigrationFailed as error:
                failures.append(error)

        thread = threading.Thread(target=migrate)
        thread.start()
        proxy.drop_connection_at_commit(thread)
        thread.join()
    (error,) = failures
    happened = len(recorded(connection, kind)) == 2
    assert happened or not hear_answer
    assert ("the COMMIT of 0002_step had happened" in str(error)) == happened
    assert ("which was rolled back" in str(error)) != happened
    run_plan(database, plan)
    assert rows(connection, "SELECT a FROM t") == [(1,)]
    assert len(recorded(connection, kind)) == 3


@BOTH
@pytest.mark.parametrize(
    ("doing", "blocker"),
    [
        ("CREATE INDEX CONCURRENTLY t_b", "INSERT INTO t VALUES (-1)"),
        ("CREATE UNIQUE INDEX CONCURRENTLY", "INSERT INTO t VALUES (-1)"),
        ("REINDEX INDEX CONCURRENTLY", "INSERT INTO t VALUES (-1)"),
        ("ALTER TABLE parted DETACH", "SELECT * FROM parted"),
        ("DROP INDEX CONCURRENTLY", "SELECT * FROM t WHERE b = 'x'"),
    ],
)
def test_killed_inside_concurrently_the_rerun_waits_for_its_orphan_or_ends_it(
    database: Conninfo,
    connection: Connection,
    kind: SourceKind,
    undisturbed: Undisturbed,
    doing: str,
    blocker: str,
) -> None:
    wipe(database)
    waiting = f"SELECT 1 FROM pg_stat_activity WHERE query LIKE '{doing}%' AND wait_event_type = 'Lock'"
    with connect(database, verb="holder", autocommit=False) as holder:
        pause = PauseBefore(doing)
        child = fork_run(database, kind, pause)
        pause.wait_until_paused()
        holder.execute(blocker)  # its transaction holds the statement up
        pause.let_go()
        assert kill_when(child, lambda: rows(connection, waiting))
        holder.rollback()
    rerun_and_compare(database, connection, kind, undisturbed)


@BOTH
def test_ten_runners_at_once(
    database: Conninfo, connection: Connection, kind: SourceKind, undisturbed: Undisturbed
) -> None:
    wipe(database)
    children = [fork_run(database, kind) for _ in range(10 if SOAK else 5)]
    assert [wait_for(child) for child in children] == [0] * len(children)
    assert_each_effect_once(connection)
    assert contents(database, connection, kind) == undisturbed.contents


@pytest.mark.pg("== 18")
@BOTH
def test_a_rerun_waits_for_an_orphan_names_it_and_ends_it_when_told(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    """The orphan's backend does not notice its client's end: its own check is switched off by the file."""
    connection.execute("CREATE TABLE t (a int)")
    plan = plan_of("SET client_connection_check_interval = 0; CREATE INDEX CONCURRENTLY i ON t (a);", kind=kind)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'"
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute("INSERT INTO t VALUES (1)")
        pid = os.fork()
        if not pid:
            try:
                run_plan(database, plan)
            finally:
                os._exit(0)
        assert kill_when(pid, lambda: rows(connection, waiting))
        told: list[str] = []
        with pytest.raises(RunnerBusy, match=r"killed run left behind .*: pid \d+ \(pgrehearse:migrate"):
            run_plan(database, plan, limits=Limits(wait_s=0.3, max_block_s=None), tell=told.append)
        assert "waiting for what a killed run left behind: pid" in told[0]
        assert rows(connection, waiting)
        ending: list[str] = []

        def tell(line: str) -> None:
            ending.append(line)
            if line.startswith("ending pid"):
                holder.rollback()  # or the rerun would wait for it too

        run_plan(database, plan, limits=Limits(wait_s=120, max_block_s=None), end_orphan=True, tell=tell)
        assert any(line.startswith("ending pid") for line in ending)
    assert rows(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") == [(True,)]
    assert len(recorded(connection, kind)) == 1


@pytest.mark.pg("== 18")
def test_a_killed_runs_backend_ends_itself_long_before_its_statement_would(
    database: Conninfo, connection: Connection
) -> None:
    plan = plan_of("CREATE TABLE t (); SELECT pg_sleep(300);")
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
    pid = os.fork()
    if not pid:
        try:
            run_plan(database, plan)
        finally:
            os._exit(0)
    assert kill_when(pid, lambda: rows(connection, sleeping))
    wait_until(lambda: not rows(connection, sleeping))


@pytest.mark.pg("== 18")
@BOTH
def test_where_the_catalog_cannot_tell_a_person_decides(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    plan = plan_of(
        "CREATE TABLE t (a int);",
        "DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; END $$;--> statement-breakpoint\nINSERT INTO t VALUES (2);",
        kind=kind,
    )
    boundary = 6  # 0001: before, after, before commit, committed; then before and after DO: the effect is there
    pid = os.fork()
    if not pid:
        try:
            run_plan(database, plan, observer=KillAt(boundary))
        finally:
            os._exit(0)
    assert wait_for(pid) == -signal.SIGKILL
    with pytest.raises(StateUnknown, match=r"0002_step\.sql:1: this statement was started at .* nobody knows"):
        run_plan(database, plan)
    assert rows(connection, "SELECT a FROM t") == [(1,)]
    run_plan(database, plan, resolve={"0002_step": Resolution.APPLIED})
    assert rows(connection, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]
    assert len(recorded(connection, kind)) == 2


@pytest.mark.pg("== 18")
@BOTH
def test_a_rerun_sets_again_what_the_file_had_set_before_the_kill(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute("CREATE SCHEMA app; CREATE TABLE app.t (a int)")
    text = """SET search_path = app;
        CREATE INDEX CONCURRENTLY i ON t (a);
        INSERT INTO t VALUES (1);
        VACUUM t;
        INSERT INTO t VALUES (2);
        VACUUM t;
        INSERT INTO t VALUES (3);"""
    plan = plan_of(text.replace(";", ";--> statement-breakpoint\n") if kind is DRIZZLE else text, kind=kind)
    pid = os.fork()
    if not pid:
        try:
            run_plan(database, plan, observer=KillAt(6))  # SET: before, after, before commit, committed; the index
        finally:
            os._exit(0)
    assert wait_for(pid) == -signal.SIGKILL
    run_plan(database, plan)
    assert rows(connection, "SELECT a FROM app.t ORDER BY a") == [(1,), (2,), (3,)]
    assert len(recorded(connection, kind)) == 1


@pytest.mark.pg("== 18")
def test_a_file_that_was_edited_after_a_kill_is_refused(database: Conninfo, connection: Connection) -> None:
    before = plan_of("CREATE TABLE t (a int); CREATE INDEX CONCURRENTLY i ON t (a);")
    pid = os.fork()
    if not pid:
        try:
            run_plan(database, before, observer=KillAt(5))
        finally:
            os._exit(0)
    assert wait_for(pid) == -signal.SIGKILL
    with pytest.raises(EditedMidway, match="an earlier run did 1 of its statements"):
        run_plan(database, plan_of("CREATE TABLE t (a int, b int); CREATE INDEX CONCURRENTLY i ON t (a);"))
    run_plan(database, before, limits=QUICK)
    assert recorded(connection) == ["0001_step"]

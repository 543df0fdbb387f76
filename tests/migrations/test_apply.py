"""The one way migrations run: what shares a transaction, what is retried, what is refused, what state is left."""

import os
import re
import signal
import threading
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from tests.support.applying import (
    BOTH,
    CONCURRENTLY,
    DRIZZLE,
    FOLDER,
    TABLE,
    Notes,
    ledger_of,
    numbers,
    plan_of,
    recorded,
    rows,
    run_plan,
    wait_until,
)
from tests.support.poolers import PGBOUNCER, pgbouncer

from pgrehearse.errors import (
    ConfigurationError,
    ConnectionLost,
    EditedMidway,
    Interrupted,
    LedgerChanged,
    MigrationFailed,
    StateUnknown,
    UnreadableSql,
)
from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.migrations.standing import Resolution
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

THREE = (f"{TABLE}; INSERT INTO t VALUES (1);", "INSERT INTO t VALUES (2); INSERT INTO t VALUES (3);")


def transactions(connection: Connection) -> list[int]:
    """Rows of ``t`` per transaction that wrote them, in order."""
    return numbers(rows(connection, "SELECT count(*) FROM t GROUP BY x ORDER BY x"))


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize(
    ("kind", "mode", "expected"),
    [
        (DRIZZLE, TransactionMode.AUTO, [3]),
        (FOLDER, TransactionMode.AUTO, [1, 2]),
        (FOLDER, TransactionMode.PLAN, [3]),
        (DRIZZLE, TransactionMode.FILE, [1, 2]),
        (FOLDER, TransactionMode.STATEMENT, [1, 1, 1]),
        (DRIZZLE, TransactionMode.STATEMENT, [1, 1, 1]),
    ],
)
def test_statements_share_transactions_as_the_mode_says(
    database: Conninfo, connection: Connection, kind: SourceKind, mode: TransactionMode, expected: list[int]
) -> None:
    applied = run_plan(database, plan_of(*THREE, kind=kind), mode=mode)
    assert transactions(connection) == expected
    assert applied.applied == ("0001_step", "0002_step")
    assert len(recorded(connection, kind)) == 2
    assert run_plan(database, plan_of(*THREE, kind=kind), mode=mode).already_applied == ("0001_step", "0002_step")
    assert transactions(connection) == expected


@pytest.mark.pg(">= 15")
@BOTH
def test_auto_runs_concurrently_outside_and_leaves_no_progress(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    notes = Notes()
    run_plan(database, plan_of(*CONCURRENTLY, kind=kind), observer=notes)
    assert [inside for _, inside in notes.ran] == [True, False, True]
    assert rows(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") == [(True,)]
    assert rows(connection, "SELECT * FROM pgrehearse.progress") == []
    assert len(recorded(connection, kind)) == 2


@pytest.mark.pg("== 18")
@BOTH
@pytest.mark.parametrize("mode", [TransactionMode.PLAN, TransactionMode.FILE])
def test_explicit_modes_reproduce_the_failure_of_a_tool_that_wraps_everything(
    database: Conninfo, connection: Connection, kind: SourceKind, mode: TransactionMode
) -> None:
    with pytest.raises(MigrationFailed) as caught:
        run_plan(database, plan_of(*CONCURRENTLY, kind=kind), mode=mode)
    assert caught.value.sqlstate == "25001"
    assert len(recorded(connection, kind)) == (1 if mode is TransactionMode.FILE else 0)


@pytest.mark.pg(">= 15")
@BOTH
def test_a_files_own_blocks_run_as_written(database: Conninfo, connection: Connection, kind: SourceKind) -> None:
    text = f"""
        BEGIN; {TABLE}; INSERT INTO t VALUES (1); INSERT INTO t VALUES (2); COMMIT;
        INSERT INTO t VALUES (3);
        BEGIN; INSERT INTO t VALUES (99); ROLLBACK;
        START TRANSACTION ISOLATION LEVEL SERIALIZABLE;
        INSERT INTO t SELECT 4 WHERE current_setting('transaction_isolation') = 'serializable';
        SAVEPOINT a; INSERT INTO t VALUES (98); ROLLBACK TO a; INSERT INTO t VALUES (5);
        END;
        VACUUM t;
        INSERT INTO t VALUES (6);"""
    run_plan(database, plan_of(text, kind=kind))
    assert numbers(rows(connection, "SELECT a FROM t ORDER BY a")) == [1, 2, 3, 4, 5, 6]
    # the savepoint's rows carry its subtransaction's number only in xmin, so (4) and (5) count as one
    assert transactions(connection) == [2, 1, 2, 1]
    assert len(recorded(connection, kind)) == 1
    assert rows(connection, "SELECT * FROM pgrehearse.progress") == []


@pytest.mark.pg("== 18")
@BOTH
def test_a_file_that_ends_with_rollback_is_recorded_and_leaves_nothing(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    run_plan(database, plan_of("BEGIN; CREATE TABLE t (); ROLLBACK;", kind=kind))
    assert rows(connection, "SELECT to_regclass('t')") == [(None,)]
    assert len(recorded(connection, kind)) == 1


@pytest.mark.pg("== 18")
def test_drizzles_commit_and_reopen_trick_works_and_psqls_open_end_is_refused(
    database: Conninfo, connection: Connection
) -> None:
    text = f"{TABLE};COMMIT;\nCREATE INDEX CONCURRENTLY i ON t (a);\nBEGIN;INSERT INTO t VALUES (1);"
    run_plan(database, plan_of(text, kind=DRIZZLE))
    assert transactions(connection) == [1]
    with pytest.raises(UnreadableSql, match=r"0001_step\.sql:2:1: this transaction is never ended"):
        run_plan(database, plan_of("CREATE TABLE u ();\nBEGIN; CREATE TABLE v ();"))
    assert rows(connection, "SELECT to_regclass('u')") == [(None,)]


@pytest.mark.pg("== 18")
@BOTH
def test_an_error_names_its_place_and_the_state_left(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    plan = plan_of(
        "CREATE TABLE t (a int);",
        "CREATE TABLE u ();\nSELECT 'é',\n       nöpe FROM t;",
        "CREATE TABLE v ();",
        kind=kind,
    )
    with pytest.raises(MigrationFailed) as caught:
        run_plan(database, plan, mode=TransactionMode.FILE)
    error = caught.value
    assert (error.path, error.line, error.column, error.sqlstate) == ("0002_step.sql", 3, 8, "42703")
    assert "0001_step is applied and recorded; nothing of 0002_step, 0003_step remains" in str(error)
    assert rows(connection, "SELECT to_regclass('u')") == [(None,)]
    assert len(recorded(connection, kind)) == 1


@pytest.mark.pg("== 18")
@BOTH
def test_a_deferred_constraint_fails_at_commit_and_rolls_back(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    plan = plan_of(
        "CREATE TABLE t (a int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (1), (1);", kind=kind
    )
    with pytest.raises(MigrationFailed, match="at COMMIT: duplicate key"):
        run_plan(database, plan)
    assert recorded(connection, kind) == []
    assert rows(connection, "SELECT to_regclass('t')") == [(None,)]


@pytest.mark.pg("== 18")
def test_a_servers_error_does_not_repeat_a_password(database: Conninfo) -> None:
    with pytest.raises(MigrationFailed) as caught:
        run_plan(database, plan_of("DO $$ BEGIN RAISE EXCEPTION 'password=canary-7'; END $$;"))
    assert "canary" not in str(caught.value)


@pytest.mark.pg(">= 15")
@BOTH
def test_a_procedure_that_commits_is_called_outside(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    procedure = """CREATE PROCEDURE p() LANGUAGE plpgsql AS $$
        BEGIN INSERT INTO t VALUES (1); COMMIT; INSERT INTO t VALUES (2); COMMIT; END $$;"""
    notes = Notes()
    plan = plan_of(f"{TABLE}; {procedure}", "CALL p();\n--> statement-breakpoint\nINSERT INTO t VALUES (3)", kind=kind)
    run_plan(database, plan, observer=notes)
    assert transactions(connection) == [1, 1, 1]
    assert ("CALL p()", False) in notes.ran
    assert len(recorded(connection, kind)) == 2


@pytest.mark.pg("== 18")
@BOTH
def test_a_file_may_be_mended_while_nothing_of_it_is_committed_and_not_after(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    with pytest.raises(MigrationFailed) as untouched:
        run_plan(database, plan_of("VACUUM nothing_here; CREATE TABLE t ();", kind=kind))
    assert "Mend the migration" in str(untouched.value.remedy)
    with pytest.raises(MigrationFailed) as half:
        run_plan(database, plan_of("CREATE TABLE t (); COMMIT; SELECT 1 / 0;", kind=kind))
    assert "its bytes must stay as they are" in str(half.value.remedy)
    mended = plan_of("CREATE TABLE t (); COMMIT; CREATE TABLE u ();", kind=kind)
    with pytest.raises(EditedMidway) as refused:
        run_plan(database, mended)
    assert "--resolve 0001_step:edited" in refused.value.remedy
    with pytest.raises(EditedMidway):  # fewer statements than are committed cannot be the same file mended
        run_plan(database, plan_of("", kind=kind), resolve={"0001_step": Resolution.EDITED})
    run_plan(database, mended, resolve={"0001_step": Resolution.EDITED})
    assert rows(connection, "SELECT to_regclass('t') IS NOT NULL, to_regclass('u') IS NOT NULL") == [(True, True)]
    run_plan(database, mended)
    assert rows(connection, "SELECT count(*) FROM pgrehearse.progress") == [(0,)]


@pytest.mark.pg(">= 15")
@BOTH
def test_a_file_renamed_half_way_is_not_run_from_its_beginning(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute("CREATE TABLE t (a int)")
    plan = plan_of("INSERT INTO t VALUES (1); COMMIT; SELECT 1 / 0;", kind=kind)
    with pytest.raises(MigrationFailed):
        run_plan(database, plan)
    renamed = Plan.of(replace(each, version="0001_other") for each in plan.migrations)
    with pytest.raises(EditedMidway, match="was called 0001_step when an earlier run did"):
        run_plan(database, renamed)
    assert rows(connection, "SELECT a FROM t") == [(1,)]


@pytest.mark.pg("== 18")
def test_what_reaches_beyond_the_database_is_left_out_where_it_is_not_allowed(
    database: Conninfo, connection: Connection
) -> None:
    notes = Notes()
    plan = plan_of("CREATE ROLE nobody_makes_this; ALTER SYSTEM SET work_mem = '1MB'; CREATE TABLE t ();")
    applied = run_plan(database, plan, observer=notes, beyond_allowed=False)
    assert [line.line for line in applied.left_out] == [1, 1]
    assert "not run: CREATE ROLE nobody_makes_this" in notes.events
    assert rows(connection, "SELECT 1 FROM pg_roles WHERE rolname = 'nobody_makes_this'") == []
    assert recorded(connection) == ["0001_step"]


@pytest.mark.pg("== 18")
@BOTH
def test_an_observer_that_raises_before_commit_rolls_everything_back(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    class Refuses(Notes):
        def before_commit(self, session: Connection) -> None:
            raise LedgerChanged("the schema is not the rehearsed one")

    notes = Refuses()
    with pytest.raises(LedgerChanged):
        run_plan(database, plan_of(TABLE, kind=kind), observer=notes)
    assert notes.events[-1] == "rolled back"
    assert rows(connection, "SELECT to_regclass('t')") == [(None,)]
    assert recorded(connection, kind) == []


@pytest.mark.pg("== 18")
def test_an_applied_file_with_other_bytes_is_refused(database: Conninfo, connection: Connection) -> None:
    run_plan(database, plan_of("CREATE TABLE t ();"))
    with pytest.raises(LedgerChanged, match=r"recorded in pgrehearse\.migrations with other bytes"):
        run_plan(database, plan_of("CREATE TABLE t (a int);"))


@pytest.mark.pg("== 18")
def test_resolve_for_an_unknown_version_is_refused(database: Conninfo) -> None:
    with pytest.raises(ConfigurationError, match="no migration of this plan"):
        run_plan(database, plan_of("SELECT 1;"), resolve={"0009_step": Resolution.AGAIN})


@pytest.mark.pg("== 18")
@BOTH
def test_ctrl_c_cancels_rolls_back_and_says_so(database: Conninfo, connection: Connection, kind: SourceKind) -> None:
    plan = plan_of("CREATE TABLE t (); SELECT pg_sleep(30);", kind=kind)

    def interrupt() -> None:
        with connect(database, verb="looking") as looking:
            wait_until(lambda: rows(looking, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"))
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(Interrupted, match="nothing of 0001_step remains"):
        run_plan(database, plan)
    assert rows(connection, "SELECT to_regclass('t')") == [(None,)]
    idle = (
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'pgrehearse:migrate' AND datname = current_database()"
    )
    wait_until(lambda: not rows(connection, idle))


@pytest.mark.pg("== 18")
@BOTH
def test_a_whole_database_vacuum_does_not_wait_for_our_own_wall(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    run_plan(database, plan_of("CREATE TABLE t ();", "VACUUM;", "CREATE TABLE u ();", kind=kind))
    assert len(recorded(connection, kind)) == 3


@pytest.mark.pg("== 18")
def test_a_statement_that_waits_for_our_own_wall_is_ended_and_told(database: Conninfo) -> None:
    plan = plan_of("CREATE TABLE t ();", "VACUUM drizzle.__drizzle_migrations;", kind=DRIZZLE)
    with pytest.raises(MigrationFailed, match="locked while we migrate"):
        run_plan(database, plan, limits=Limits(lock_timeout_ms=5000))


@pytest.mark.pg("== 18")
def test_sessions_of_ours_are_gone_afterwards_and_the_role_needs_no_superuser(
    database: Conninfo, connection: Connection
) -> None:
    connection.execute("CREATE ROLE plain_role LOGIN PASSWORD 'plain'")
    try:
        connection.execute(f"GRANT CREATE ON DATABASE {database.database} TO plain_role")
        connection.execute("GRANT CREATE ON SCHEMA public TO plain_role")
        plain = database.replaced(user="plain_role", password="plain")
        for kind in (FOLDER, DRIZZLE):
            connection.execute("DROP TABLE IF EXISTS t")
            run_plan(plain, plan_of(*CONCURRENTLY, kind=kind))
        ours = "SELECT 1 FROM pg_stat_activity WHERE usename = 'plain_role'"
        wait_until(lambda: not rows(connection, ours))
    finally:
        connection.execute("DROP OWNED BY plain_role; DROP ROLE plain_role")


@pytest.mark.pg("== 18")
def test_each_small_file_takes_the_round_trips_of_its_own_transaction_and_no_more(
    database: Conninfo, connection: Connection, tmp_path: Path
) -> None:
    """Counted by libpq's own trace, which has a line for each message."""
    files = 100
    with (tmp_path / "trace").open("w+") as trace:

        def traced(verb: str) -> Connection:
            session = connect(database, verb=verb)
            if verb != "watch":  # that one looks ten times a second
                session.pgconn.trace(trace.fileno())
            return session

        run_plan(database, plan_of(*(f"CREATE TABLE t{number} (a int);" for number in range(files))), sessions=traced)
        trace.seek(0)
        asked = [line for line in trace if "\tF\t" in line and ("\tQuery\t" in line or "\tSync" in line)]
    asked = [line for line in asked if '"SELECT 1"' not in line]  # whether the turn is still ours, once a second
    assert len(recorded(connection)) == files
    begin_create_and_commit = 3
    assert begin_create_and_commit * files <= len(asked) <= begin_create_and_commit * files + 60


@pytest.mark.pg("== 18")
def test_an_empty_plan_touches_nothing(database: Conninfo, connection: Connection) -> None:
    ledger = ledger_of(FOLDER)

    def no_sessions(verb: str) -> Connection:
        raise AssertionError(verb)

    assert run_plan(database, Plan.of([]), ledger=ledger, sessions=no_sessions).applied == ()
    assert rows(connection, "SELECT 1 FROM pg_namespace WHERE nspname = 'pgrehearse'") == []


@pytest.mark.pg("== 18")
def test_an_empty_file_and_an_ad_hoc_file_are_recorded(database: Conninfo, connection: Connection) -> None:
    run_plan(database, plan_of("-- nothing yet"))
    fix = Migration(
        version="fix.sql", name="fix", path="fix.sql", kind=SourceKind.AD_HOC, content=b"CREATE TABLE t ();"
    )
    run_plan(database, Plan.of([fix]))
    assert run_plan(database, Plan.of([fix])).already_applied == ("fix.sql",)
    kinds = rows(connection, "SELECT kind, version FROM pgrehearse.migrations ORDER BY id")
    assert kinds == [("sql-folder", "0001_step"), ("ad-hoc", "fix.sql")]


@pytest.mark.pg("== 18")
def test_a_lost_connection_is_told_with_the_state(database: Conninfo, connection: Connection) -> None:
    plan = plan_of("CREATE TABLE t ();", "SELECT pg_sleep(30);")

    def end() -> None:
        with connect(database, verb="killer") as killer:
            query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"
            wait_until(lambda: rows(killer, query))
            killer.execute("SELECT pg_terminate_backend(%s)", (rows(killer, query)[0][0],))

    threading.Thread(target=end).start()
    state = "last heard of: 0001_step is applied and recorded; nothing of 0002_step remains"
    with pytest.raises(ConnectionLost, match=state) as lost:
        run_plan(database, plan)
    assert lost.value.exit_code == 4
    assert re.search("not known until the server answers.*resume", lost.value.remedy)
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM u")
    assert recorded(connection) == ["0001_step"]


@pytest.mark.pg("== 18")
@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
def test_a_pooler_that_has_no_server_left_for_us_is_a_lost_connection(server: LocalServer, database: Conninfo) -> None:
    with (
        pgbouncer(server, pool_mode="session", pool_size=1, settings="query_wait_timeout = 1\n") as pooler,
        pytest.raises(ConnectionLost, match="query_wait_timeout") as lost,
    ):
        run_plan(pooler.replaced(dbname=database.database), plan_of("CREATE TABLE t ();"))
    assert lost.value.exit_code == 4


@pytest.mark.pg("== 18")
def test_a_session_that_the_server_ends_for_its_length_is_a_failure_and_no_lost_server(database: Conninfo) -> None:
    with pytest.raises(MigrationFailed, match="25P04") as ended:
        run_plan(database, plan_of("SET LOCAL transaction_timeout = '100ms'; SELECT pg_sleep(5);"))
    assert ended.value.exit_code == 1


@pytest.mark.pg("== 18")
@BOTH
def test_what_a_block_committed_before_it_failed_is_for_a_person_to_look_at(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute("CREATE TABLE t (a int)")
    block = "DO $$ BEGIN INSERT INTO t VALUES (1); COMMIT; PERFORM 1 / (count(*) - 1) FROM t; END $$;"
    plan = plan_of(f"{block}--> statement-breakpoint\nINSERT INTO t VALUES (2);", kind=kind)
    with pytest.raises(MigrationFailed, match="of 0001_step what DO itself committed stays") as failed:
        run_plan(database, plan)
    assert "nothing of" not in str(failed.value)
    assert failed.value.remedy is not None
    assert "--resolve 0001_step:again" in failed.value.remedy
    for resolve, said in (({}, ""), ({"0001_step": Resolution.EDITED}, "nothing was edited")):
        with pytest.raises(StateUnknown, match="by a run that failed or was killed in it") as unknown:
            run_plan(database, plan, resolve=resolve)
        assert said in (unknown.value.remedy or "")
    run_plan(database, plan, resolve={"0001_step": Resolution.AGAIN})
    assert rows(connection, "SELECT a FROM t ORDER BY a") == [(1,), (1,), (2,)]

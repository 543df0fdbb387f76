"""The one way migrations run: what shares a transaction, what is retried, what is refused, what state is left."""

import os
import re
import signal
import threading
import time
from dataclasses import replace

import psycopg
import pytest
from tests.support.applying import (
    DRIZZLE,
    FOLDER,
    Notes,
    ledger_of,
    numbers,
    plan_of,
    recorded,
    rows,
    run_plan,
    wait_until,
)

from pgrehearse.errors import (
    BlockedOthers,
    ConfigurationError,
    ConnectionLost,
    EditedMidway,
    Interrupted,
    LedgerChanged,
    LockNotAcquired,
    MigrationFailed,
    StateUnknown,
    UnreadableSql,
)
from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.migrations.standing import Resolution
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

BOTH = pytest.mark.parametrize("kind", [FOLDER, DRIZZLE], ids=["own-ledger", "drizzle"])
TABLE = "CREATE TABLE t (a int, x xid8 DEFAULT pg_current_xact_id())"
THREE = (f"{TABLE}; INSERT INTO t VALUES (1);", "INSERT INTO t VALUES (2); INSERT INTO t VALUES (3);")
CONCURRENTLY = (TABLE, "CREATE INDEX CONCURRENTLY i ON t (a);\n--> statement-breakpoint\nINSERT INTO t VALUES (1);")


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
def test_lock_timeout_rolls_the_segment_back_and_tries_again(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute(TABLE)
    plan = plan_of("INSERT INTO t VALUES (1); ALTER TABLE t ADD b int;", kind=kind)
    told: list[str] = []
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute("SELECT * FROM t")

        def tell(line: str) -> None:
            told.append(line)
            holder.rollback()

        applied = run_plan(database, plan, tell=tell)
    assert applied.retries == 1
    assert rows(connection, "SELECT count(*) FROM t") == [(1,)]
    assert "canceling statement due to lock timeout" in told[0]
    assert "pgrehearse:holder" in told[0]


@pytest.mark.pg("== 18")
@BOTH
def test_attempts_are_bounded_and_the_holder_is_named(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute(TABLE)
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute("SELECT * FROM t")
        with pytest.raises(LockNotAcquired, match=r"in 3 attempts; we waited for pid \d+ \(pgrehearse:holder"):
            run_plan(database, plan_of("ALTER TABLE t ADD b int;", kind=kind))
    assert recorded(connection, kind) == []


@pytest.mark.pg("== 18")
def test_a_deadlock_is_tried_again_and_another_error_is_not(database: Conninfo, connection: Connection) -> None:
    connection.execute("CREATE TABLE t (a int); CREATE TABLE u (a int); SET deadlock_timeout = '10s'")
    plan = plan_of("SET deadlock_timeout = '20ms'; LOCK t; SELECT pg_sleep(1.2); LOCK u; INSERT INTO t VALUES (1);")
    other = threading.Thread(target=lambda: connection.execute("BEGIN; LOCK u; SELECT pg_sleep(1); LOCK t; COMMIT"))
    other.start()
    applied = run_plan(database, plan, limits=Limits(lock_timeout_ms=5000, backoff_s=0.05, max_block_s=None))
    other.join()
    assert applied.retries == 1
    with pytest.raises(MigrationFailed, match=r"division by zero.*22012"):
        run_plan(database, plan_of("SELECT 1/0;", kind=SourceKind.AD_HOC))


@pytest.mark.pg(">= 15")
@BOTH
def test_the_watchdog_cancels_us_when_others_wait_behind_us(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute(TABLE)
    plan = plan_of("ALTER TABLE t ADD b int; SELECT pg_sleep(30);", kind=kind)
    failures: list[BaseException] = []

    def migrate() -> None:
        try:
            run_plan(database, plan, limits=Limits(max_block_s=0.3))
        except MigrationFailed as error:
            failures.append(error)

    thread = threading.Thread(target=migrate)
    thread.start()
    wait_until(lambda: rows(connection, "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'"))
    began = time.monotonic()
    connection.execute("SELECT * FROM t")  # waits behind ALTER TABLE
    waited_s = time.monotonic() - began
    thread.join()
    assert 0.15 <= waited_s < 5  # half of it: below a second there is no half second to be early by
    (error,) = failures
    assert isinstance(error, BlockedOthers)
    assert "pgrehearse:test" in str(error)
    assert "SELECT * FROM t" in str(error)
    assert recorded(connection, kind) == []


@pytest.mark.pg("== 18")
def test_the_watchdog_sees_sessions_of_other_roles_and_cancels_under_another_role(
    database: Conninfo, connection: Connection
) -> None:
    connection.execute("CREATE ROLE plain_watch")
    try:
        connection.execute(f"GRANT CREATE ON DATABASE {database.database} TO plain_watch")
        connection.execute("CREATE TABLE t (a int); ALTER TABLE t OWNER TO plain_watch")

        def as_plain(verb: str) -> Connection:
            session = connect(database, verb=verb)
            session.execute("SET ROLE plain_watch")
            return session

        def wait_behind() -> None:
            with connect(database, verb="app") as app:
                query = "SELECT 1 FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = 't'::regclass"
                wait_until(lambda: rows(app, query))
                app.execute("SELECT * FROM t")

        waiter = threading.Thread(target=wait_behind)
        waiter.start()
        with pytest.raises(BlockedOthers, match=r"pid \d+ \(pgrehearse:app, postgres\) waited"):
            run_plan(
                database,
                plan_of("ALTER TABLE t ADD b int; SELECT pg_sleep(20);"),
                sessions=as_plain,
                limits=Limits(max_block_s=0.3),
            )
        waiter.join()
    finally:
        connection.execute("DROP OWNED BY plain_watch; DROP ROLE plain_watch")


@pytest.mark.pg("== 18")
def test_the_watchdog_sees_who_waits_behind_our_own_waiting(database: Conninfo, connection: Connection) -> None:
    connection.execute(TABLE)
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute("SELECT * FROM t")
        outcome: list[BaseException] = []

        def migrate() -> None:
            try:
                run_plan(
                    database, plan_of("ALTER TABLE t ADD b int;"), limits=Limits(lock_timeout_ms=0, max_block_s=0.3)
                )
            except MigrationFailed as error:
                outcome.append(error)

        thread = threading.Thread(target=migrate)
        thread.start()
        wait_until(lambda: rows(connection, "SELECT 1 FROM pg_locks WHERE NOT granted"))
        connection.execute("SELECT * FROM t")  # the holder only reads, so it is we who are in the way
        thread.join()
    assert isinstance(outcome[0], BlockedOthers)


@pytest.mark.pg("== 18")
@BOTH
def test_concurrently_waits_longer_than_lock_timeout_for_old_transactions(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute(TABLE)
    with connect(database, verb="holder", autocommit=False) as holder:
        holder.execute("INSERT INTO t VALUES (1)")
        threading.Timer(0.8, holder.commit).start()
        applied = run_plan(database, plan_of("CREATE INDEX CONCURRENTLY i ON t (a);", kind=kind))
    assert applied.retries == 0
    assert rows(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'i'::regclass") == [(True,)]


@pytest.mark.pg("== 18")
@BOTH
def test_a_failed_unique_index_is_dropped_before_the_next_try(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
    plan = plan_of("CREATE UNIQUE INDEX CONCURRENTLY ON t (a);", kind=kind)
    with pytest.raises(MigrationFailed, match="INVALID index may be left"):
        run_plan(database, plan)
    assert rows(connection, "SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass") == [(False,)]
    connection.execute("DELETE FROM t WHERE ctid = '(0,1)'")
    told: list[str] = []
    assert run_plan(database, plan, tell=told.append).resumed == ("0001_step",)
    assert rows(connection, "SELECT indisvalid FROM pg_index WHERE indrelid = 't'::regclass") == [(True,)]
    assert any("INVALID index t_a_idx that it left was dropped" in line for line in told)


@pytest.mark.pg("== 18")
def test_an_invalid_index_that_if_not_exists_would_keep_is_told(database: Conninfo, connection: Connection) -> None:
    connection.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1)")
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)")
    connection.execute("DELETE FROM t")
    plan = plan_of("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a);")
    told: list[str] = []
    run_plan(database, plan, tell=told.append)
    assert any("the index i was there before, INVALID" in line for line in told)


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
def test_what_a_file_sets_holds_for_its_later_statements(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute("CREATE SCHEMA app; CREATE TABLE app.t (a int); CREATE ROLE settler_role SUPERUSER")
    try:
        text = """SET search_path = app, public; SET my.word = 'x';
            CREATE INDEX CONCURRENTLY i ON t (a);
            INSERT INTO t SELECT 1 WHERE current_setting('my.word') = 'x';
            SET ROLE settler_role;
            REINDEX INDEX CONCURRENTLY i;
            INSERT INTO t SELECT 2 WHERE current_user = 'settler_role';"""
        text = text.replace(";", ";--> statement-breakpoint\n") if kind is DRIZZLE else text
        run_plan(database, plan_of(text, kind=kind))
        assert numbers(rows(connection, "SELECT a FROM app.t ORDER BY a")) == [1, 2]
        assert len(recorded(connection, kind)) == 1
    finally:
        connection.execute("DROP OWNED BY settler_role; DROP ROLE settler_role")


@pytest.mark.pg("== 18")
def test_one_files_settings_do_not_reach_the_next_where_files_are_independent(
    database: Conninfo, connection: Connection
) -> None:
    texts = (
        "CREATE TABLE t (word text); SET my.word = 'x';",
        "INSERT INTO t VALUES (current_setting('my.word', true));",
    )
    run_plan(database, plan_of(*texts))
    assert rows(connection, "SELECT word FROM t") == [(None,)]
    connection.execute("DROP TABLE t")
    run_plan(database, plan_of(*texts, kind=DRIZZLE))  # drizzle has one session for all
    assert rows(connection, "SELECT word FROM t") == [("x",)]


@pytest.mark.pg("== 18")
def test_a_role_set_by_a_file_needs_no_right_on_the_ledger(database: Conninfo, connection: Connection) -> None:
    connection.execute("CREATE ROLE poor_role")
    try:
        connection.execute("GRANT CREATE ON SCHEMA public TO poor_role")
        run_plan(database, plan_of("SET ROLE poor_role; CREATE TABLE t ();", "CREATE TABLE u ();", kind=DRIZZLE))
        owners = rows(connection, "SELECT tableowner FROM pg_tables WHERE tablename IN ('t', 'u')")
        assert owners == [("poor_role",), ("poor_role",)]
    finally:
        connection.execute("DROP OWNED BY poor_role; DROP ROLE poor_role")


@pytest.mark.pg("== 18")
@BOTH
def test_a_role_set_by_a_file_needs_no_right_on_our_progress_either(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute("CREATE ROLE poor_role; GRANT CREATE ON SCHEMA public TO poor_role")
    try:
        text = (
            "SET ROLE poor_role; CREATE TABLE t (a int); CREATE INDEX CONCURRENTLY i ON t (a); INSERT INTO t VALUES (1)"
        )
        run_plan(database, plan_of(text, kind=kind))
        assert rows(connection, "SELECT tableowner, hasindexes FROM pg_tables WHERE tablename = 't'") == [
            ("poor_role", True)
        ]
        assert (rows(connection, "SELECT a FROM t"), len(recorded(connection, kind))) == ([(1,)], 1)
        assert rows(connection, "SELECT * FROM pgrehearse.progress") == []
    finally:
        connection.execute("DROP OWNED BY poor_role; DROP ROLE poor_role")


ALLOW_LIST = """
CREATE FUNCTION allow_list() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_type = 'schema') THEN
        RAISE EXCEPTION 'this schema is not in the allow list';
    END IF;
END $$;
CREATE EVENT TRIGGER allow_list ON ddl_command_end EXECUTE FUNCTION allow_list();
"""


@pytest.mark.pg("== 18")
@BOTH
def test_an_event_trigger_that_refuses_the_ledger_is_told(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute(ALLOW_LIST)
    with pytest.raises(MigrationFailed, match=r"this schema is not in the allow list .*allow_list") as caught:
        run_plan(database, plan_of("SELECT 1;", kind=kind))
    assert "event trigger" in str(caught.value.remedy)


@pytest.mark.pg("== 18")
@BOTH
def test_a_role_that_may_not_make_the_ledger_is_told_what_it_needs(
    database: Conninfo, connection: Connection, kind: SourceKind
) -> None:
    connection.execute("CREATE ROLE makes_nothing LOGIN PASSWORD 'p'")
    try:
        with pytest.raises(MigrationFailed, match="may not make") as caught:
            run_plan(database.replaced(user="makes_nothing", password="p"), plan_of("SELECT 1;", kind=kind))
        assert "GRANT CREATE ON DATABASE" in str(caught.value.remedy)
    finally:
        connection.execute("DROP ROLE makes_nothing")


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
def test_many_small_files_take_little_more_than_their_statements(database: Conninfo, connection: Connection) -> None:
    began = time.monotonic()
    for number in range(100):
        connection.execute(f"BEGIN; CREATE TABLE floor{number} (a int); COMMIT")
    floor_s = time.monotonic() - began
    began = time.monotonic()
    run_plan(database, plan_of(*(f"CREATE TABLE t{number} (a int);" for number in range(100))))
    assert len(recorded(connection)) == 100
    assert time.monotonic() - began < 5 * floor_s + 2  # measured: 1.1 times with 500 files of two statements


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

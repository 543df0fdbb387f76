"""What a file sets in its session, and whom the role that it takes on would need."""

import pytest
from tests.support.applying import (
    BOTH,
    DRIZZLE,
    numbers,
    plan_of,
    recorded,
    rows,
    run_plan,
)

from pgrehearse.errors import (
    MigrationFailed,
)
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo


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

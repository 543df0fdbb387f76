"""What is read, under which name, what is left out, and that nothing is left behind."""

from collections.abc import Iterable

import psycopg
import pytest

from pgrehearse.errors import SchemaUnreadable
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.schema import snapshot
from pgrehearse.schema.diff import diff
from pgrehearse.schema.fingerprint import fingerprint
from pgrehearse.schema.schema_object import ObjectKind, find_newly_unproved, find_unproved
from pgrehearse.schema.snapshot import read_schema

from .conftest import Databases, read, run_script


def test_names_are_quoted_only_where_sql_needs_it(connection: Connection) -> None:
    run_script(
        connection,
        """CREATE SCHEMA "Sché ma"; CREATE TABLE "Sché ma"."a""b.c" (
               "select" int PRIMARY KEY, plain int, "Ünï" int UNIQUE);
           CREATE TABLE plain (id int PRIMARY KEY);
           CREATE TABLE abcdefghijklmnopqrstuvwxyz_abcdefghijklmnopqrstuvwxyz_123456789 (a int CHECK (a > 0));""",
    )
    names = {found.identity for found in read_schema(connection).objects}
    assert names >= {
        '"Sché ma"', '"Sché ma"."a""b.c"', '"Sché ma"."a""b.c"."select"', '"Sché ma"."a""b.c".plain',
        '"Sché ma"."a""b.c"."Ünï"', '"a""b.c_pkey" on "Sché ma"."a""b.c"', "public.plain", "public.plain.id",
        "plain_pkey on public.plain", "public.abcdefghijklmnopqrstuvwxyz_abcdefghijklmnopqrstuvwxyz_123456789",
    }  # fmt: skip


def test_ledgers_our_own_namespace_temporary_and_ignored_relations_take_no_part(connection: Connection) -> None:
    before = fingerprint(read_schema(connection))
    run_script(
        connection,
        """CREATE SCHEMA pgrehearse; CREATE TABLE pgrehearse.migrations (id serial PRIMARY KEY);
           CREATE SCHEMA drizzle; CREATE TABLE drizzle.__drizzle_migrations (id serial PRIMARY KEY, hash text NOT NULL);
           CREATE TEMPORARY TABLE mine (a serial);
           CREATE TABLE "Alembic version" (id serial PRIMARY KEY, a text CHECK (a <> ''));
           COMMENT ON COLUMN "Alembic version".a IS 'x'; CREATE INDEX ON "Alembic version" (a);
           GRANT SELECT ON "Alembic version" TO PUBLIC;""",
    )
    ignore = frozenset({'public."Alembic version"'})
    assert fingerprint(read_schema(connection, ignore_relations=ignore)) == before
    assert [left.what for left in read_schema(connection, ignore_relations=ignore).left_out][
        -1
    ] == 'public."Alembic version"'
    assert fingerprint(read_schema(connection)) != before
    connection.execute("CREATE TABLE drizzle.of_the_team (a int)")
    kept = {found.identity for found in read_schema(connection).objects}
    assert {"drizzle", "drizzle.of_the_team"} <= kept
    assert not any("__drizzle_migrations" in name for name in kept)


def test_an_extension_stands_for_its_members(connection: Connection) -> None:
    # Every server has plpgsql; dropped and made again, its members get user oids.
    connection.execute("DROP EXTENSION plpgsql")
    without = read_schema(connection)
    connection.execute("CREATE EXTENSION plpgsql")
    with_it = read_schema(connection)
    assert {found.key for found in with_it.objects} - {found.key for found in without.objects} == {
        ("extension", "", "plpgsql")
    }
    connection.execute("REVOKE EXECUTE ON FUNCTION pg_catalog.plpgsql_call_handler() FROM PUBLIC")
    assert [str(change) for change in diff(with_it, read_schema(connection))] == [
        "system object plpgsql_call_handler(): added"
    ]


def test_secrets_of_foreign_servers_are_not_read(connection: Connection) -> None:
    run_script(
        connection,
        """CREATE FOREIGN DATA WRAPPER w OPTIONS (key 'canary');
           CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (host 'h', password 'canary');
           CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (password 'canary');
           CREATE FOREIGN TABLE f (a int) SERVER s OPTIONS (table_name 't', password 'canary', api_key 'canary');""",
    )
    schema = read_schema(connection)
    assert "canary" not in repr(schema)
    table = schema.find(ObjectKind.FOREIGN_TABLE, "public.f")
    assert table is not None
    assert table.attributes["foreign options"] == "table_name='t'"


def test_reading_inside_a_transaction_sees_its_work_and_gives_back_locks_and_settings(connection: Connection) -> None:
    connection.execute(
        "DO $$ BEGIN FOR i IN 1..450 LOOP EXECUTE format('CREATE TABLE t%s (a int)', i); "
        "EXECUTE format('CREATE VIEW v%s AS SELECT * FROM t%s', i, i); END LOOP; END $$"
    )
    with connection.transaction():
        connection.execute("SET LOCAL search_path = public, pg_catalog")
        connection.execute("CREATE TABLE uncommitted (a int)")
        held = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'relation'"
        before = fetch_value(connection, held)
        schema = read_schema(connection)
        assert schema.find(ObjectKind.TABLE, "public.uncommitted") is not None
        assert fetch_value(connection, "SHOW search_path") == "public, pg_catalog"
        assert fetch_value(connection, "SHOW lock_timeout") == "0"
        assert fetch_value(connection, held) - before < 10
    assert schema.find(ObjectKind.VIEW, "public.v450") is not None


def test_views_are_read_in_batches_whose_locks_are_given_back(
    connection: Connection, database: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One statement over all views would hold all their locks at once and, with thousands of them, fail."""
    connection.execute(
        "DO $$ BEGIN FOR i IN 1..30 LOOP EXECUTE format('CREATE TABLE t%s (a int)', i); "
        "EXECUTE format('CREATE VIEW v%s AS SELECT * FROM t%s', i, i); END LOOP; END $$"
    )
    monkeypatch.setattr(snapshot, "BATCH", 10)
    most_held = 0
    pid = connection.info.backend_pid
    read_batch = snapshot.Reading._annotate
    with connect(database, verb="watch") as watch:

        def watched(reading: snapshot.Reading, rows: list[tuple[object, ...]]) -> None:
            nonlocal most_held
            held = watch.execute(
                "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
                " WHERE l.pid = %s AND c.relname ~ '^[tv]\\d+$'",
                (pid,),
            ).fetchone()
            most_held = max(most_held, held[0] if held else 0)
            read_batch(reading, rows)

        monkeypatch.setattr(snapshot.Reading, "_annotate", watched)
        views = list(read_schema(connection).of_kind(ObjectKind.VIEW))
    assert all("definition" in view.attributes for view in views)
    assert len(views) == 30
    assert most_held == 0


def test_a_catalog_that_the_role_may_not_read_is_told(databases: Databases) -> None:
    database = databases.create()
    with connect(database, verb="test") as admin:
        admin.execute("DROP ROLE IF EXISTS schema_blind")
        admin.execute("CREATE ROLE schema_blind LOGIN PASSWORD 'only here'")
        admin.execute("REVOKE SELECT ON pg_catalog.pg_policy FROM PUBLIC")
    with (
        connect(database.replaced(user="schema_blind", password="only here"), verb="test") as session,
        pytest.raises(SchemaUnreadable, match="pg_policy") as told,
    ):
        read_schema(session)
    assert told.value.exit_code == 3
    assert any(found.kind is ObjectKind.SYSTEM_OBJECT and "pg_policy" in found.name for found in read(database).objects)


def test_a_table_locked_by_another_session_is_told_and_not_waited_for(
    connection: Connection, database: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(snapshot.PRINTING, "lock_timeout", "50ms")
    run_script(connection, "CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t")
    with connect(database, verb="other") as other, other.transaction():
        other.execute("LOCK TABLE t")
        with pytest.raises(SchemaUnreadable, match="ACCESS EXCLUSIVE"):
            read_schema(connection)


def test_a_broken_session_is_not_dressed_up(connection: Connection) -> None:
    connection.execute("SET statement_timeout = 0")
    connection.close()
    with pytest.raises(psycopg.OperationalError):
        read_schema(connection)


def test_what_is_not_proved_is_found(connection: Connection) -> None:
    run_script(
        connection,
        "CREATE TABLE t (a int, b int); INSERT INTO t VALUES (1, 1), (1, 2);"
        "ALTER TABLE t ADD CONSTRAINT old CHECK (a > 5) NOT VALID",
    )
    before = read_schema(connection)
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (a)")
    run_script(
        connection,
        "CREATE TABLE p (id int PRIMARY KEY); ALTER TABLE t ADD CONSTRAINT fk FOREIGN KEY (b) REFERENCES p NOT VALID;"
        "CREATE DOMAIN d AS int; ALTER DOMAIN d ADD CONSTRAINT positive CHECK (VALUE > 0) NOT VALID",
    )
    after = read_schema(connection)
    assert {found.identity for found in find_unproved(before)} == {"old on public.t"}
    assert {found.identity for found in find_newly_unproved(before, after)} == {
        "public.broken", "fk on public.t", "positive on public.d",
    }  # fmt: skip


@pytest.mark.pg(">= 18")
def test_a_not_null_that_is_not_validated_is_found(connection: Connection) -> None:
    run_script(connection, "CREATE TABLE t (a int); ALTER TABLE t ADD CONSTRAINT later NOT NULL a NOT VALID")
    assert [found.identity for found in find_unproved(read_schema(connection))] == ["public.t.a"]


def test_columns_of_a_child_by_inheritance_stand_in_their_parents_order(connection: Connection) -> None:
    run_script(
        connection,
        "CREATE TABLE parent (a int, b int); CREATE TABLE child (own int) INHERITS (parent);"
        "ALTER TABLE parent ADD later int;"
        "CREATE TABLE adopted (x int, b int, a int, later int); ALTER TABLE adopted INHERIT parent",
    )
    schema = read_schema(connection)
    assert schema.columns("public.child") == ("a", "b", "later", "own")
    assert schema.columns("public.adopted") == ("a", "b", "later", "x")


def test_an_object_dropped_while_being_read_is_read_again(
    connection: Connection, database: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_script(
        connection, "CREATE TABLE t (a int); CREATE VIEW doomed AS SELECT a FROM t; CREATE VIEW kept AS SELECT a FROM t"
    )
    number_columns = snapshot.Reading._number_columns
    reads = 0

    def dropped_meanwhile(reading: snapshot.Reading, inheritance: Iterable[snapshot.Row]) -> None:
        nonlocal reads
        reads += 1
        with connect(database, verb="other") as other:
            other.execute("DROP VIEW IF EXISTS doomed")
        number_columns(reading, inheritance)

    monkeypatch.setattr(snapshot.Reading, "_number_columns", dropped_meanwhile)
    assert [view.identity for view in read_schema(connection).of_kind(ObjectKind.VIEW)] == ["public.kept"]
    assert reads == 2


def test_the_stamp_that_a_server_puts_on_each_column_is_no_part_of_the_schema(connection: Connection) -> None:
    """As 15.20 does; here on every server."""
    connection.execute("CREATE TABLE t (id int, v text); ALTER TABLE t ALTER v SET (n_distinct = 3)")
    before = read_schema(connection)
    connection.execute(
        "UPDATE pg_attribute SET attoptions = coalesce(attoptions, '{}') || 'pg_attver=7'::text "
        "WHERE attrelid = 't'::regclass AND attnum > 0"
    )
    after = read_schema(connection)
    assert after == before
    (column,) = [each for each in after.of_kind(ObjectKind.COLUMN) if each.name == "v"]
    assert column.attributes["options"] == "n_distinct=3"

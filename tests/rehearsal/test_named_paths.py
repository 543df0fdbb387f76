"""What a plan leads to by names: through whatever runs without being called by its statements."""

import pytest

from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.statements import split_file
from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.named_paths import Path, follow, read_named


def lead(connection: Connection, plan: str) -> Path:
    statements = split_file(plan.encode(), path="m.sql", kind=SourceKind.SQL_FOLDER)
    return follow(statements, read_named(connection), relations={"Far Away", "remote_rows"}, functions={"dblink"})


@pytest.mark.pg("== 18")
def test_what_no_statement_names_is_followed(connection: Connection) -> None:
    """Conditions of triggers, keys of partitions, extended statistics, defaults, checks, cascades, views."""
    connection.execute(
        "CREATE TABLE remote_rows (id int); CREATE VIEW over_far AS SELECT id FROM remote_rows;"
        "CREATE FUNCTION looks(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN "
        "PERFORM id FROM over_far; RETURN 1;EXCEPTION WHEN OTHERS THEN RETURN 1; END $$;"
        "CREATE FUNCTION idle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;"
        "CREATE TABLE conditional (id int);"
        "CREATE TRIGGER t AFTER INSERT ON conditional FOR EACH ROW WHEN (looks(new.id) > 0) EXECUTE FUNCTION idle();"
        "CREATE TABLE parts (id int) PARTITION BY LIST (looks(id)); CREATE TABLE part PARTITION OF parts DEFAULT;"
        "CREATE TABLE counted (id int, n int); CREATE STATISTICS s ON (looks(id)), n FROM counted;"
        "CREATE TABLE filled (id int, n int DEFAULT looks(1)); CREATE TABLE checked (id int CHECK (looks(id) > 0));"
        "CREATE TABLE parent (id int PRIMARY KEY);"
        "CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE, CHECK (looks(id) > 0));"
        "CREATE TABLE plain (id int)"
    )
    for plan in (
        "INSERT INTO conditional VALUES (1)",
        "INSERT INTO parts VALUES (1)",
        "ANALYZE counted",
        "INSERT INTO filled VALUES (1)",
        "ALTER TABLE checked ALTER id TYPE bigint",
        "DELETE FROM parent",
        "DO $$ BEGIN PERFORM looks(1); END $$",
    ):
        path = lead(connection, plan)
        assert (path.relations, path.catches, path.builds) == ({"remote_rows"}, True, False), plan
    for plan in ("INSERT INTO plain VALUES (1)", "ALTER TABLE conditional ADD COLUMN n int", "DROP TABLE conditional"):
        assert lead(connection, plan) == Path(), plan


@pytest.mark.pg("== 18")
def test_a_function_counts_where_it_is_called(connection: Connection) -> None:
    connection.execute('CREATE TABLE notes (dblink text); CREATE VIEW "Far Away" AS SELECT 1 AS one')
    for plan in (
        "SELECT dblink('a', 'b')",
        "SELECT public.\"dblink\" ( 'a', 'b')",
        "SELECT DBLINK/* at */ ('a', 'b')",
        "DO $$ BEGIN PERFORM dblink -- there\n ('a', 'b'); END $$",
    ):
        assert lead(connection, plan).functions == {"dblink"}, plan
    for plan in ("UPDATE notes SET dblink = 'see dblink, http://x'", "SELECT my_dblink('a')"):
        assert lead(connection, plan).functions == set(), plan
    assert lead(connection, 'SELECT one FROM "Far Away"').relations == {"Far Away"}


@pytest.mark.pg("== 18")
def test_errors_are_caught_where_a_body_says_so(connection: Connection) -> None:
    connection.execute(
        "CREATE FUNCTION raises() RETURNS void LANGUAGE plpgsql AS $$ BEGIN RAISE\n  EXCEPTION 'no'; END $$;"
        "CREATE FUNCTION builds(t text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'TABLE ' || t; END $$"
    )
    assert lead(connection, "SELECT raises()") == Path()
    assert lead(connection, "SELECT builds('x')") == Path(builds=True)
    assert lead(connection, "DO $$ BEGIN NULL;EXCEPTION WHEN OTHERS THEN NULL; END $$") == Path(catches=True)

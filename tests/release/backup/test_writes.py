"""How much was written since a backup: told per table, and told when it may be too little."""

import pytest
from psycopg import sql

from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.release.backup.writes import Counters, read_counters, writes_since

pytestmark = pytest.mark.pg(">= 15")


def write(database: Conninfo, statements: str) -> None:
    """Its counts reach the others at once, and not within ten seconds."""
    with connect(database, verb="application") as session:
        session.execute(statements.encode())
        session.execute("SELECT pg_stat_force_next_flush()")


def test_rows_are_counted_per_table_through_a_rename(database: Conninfo, connection: Connection) -> None:
    write(database, "CREATE TABLE a (i int); CREATE TABLE quiet (i int); CREATE TABLE gone ()")
    write(database, 'CREATE TABLE "b B" (i int)')
    write(database, "INSERT INTO a SELECT generate_series(1, 100); INSERT INTO quiet VALUES (1)")
    before = read_counters(connection)
    assert before == Counters.from_json(before.as_json())
    write(database, "UPDATE a SET i = i WHERE i <= 30; DELETE FROM a WHERE i > 95; ALTER TABLE a RENAME TO renamed")
    write(database, 'INSERT INTO "b B" VALUES (1), (2); CREATE TABLE new AS SELECT 1 AS i; DROP TABLE gone')
    writes = writes_since(connection, before)
    assert [table.as_json() for table in writes.tables] == [
        {"name": 'public."b B"', "inserted": 2, "updated": 0, "deleted": 0},
        {"name": "public.new", "inserted": 1, "updated": 0, "deleted": 0},
        {"name": "public.renamed", "inserted": 0, "updated": 30, "deleted": 5},
    ]
    assert writes.doubts == ("public.gone is not there any more",)


def test_a_reset_is_told(database: Conninfo, connection: Connection) -> None:
    write(database, "CREATE TABLE a (i int); INSERT INTO a VALUES (1), (2)")
    before = read_counters(connection)
    fetch_value(connection, "SELECT pg_stat_reset()")
    write(database, "INSERT INTO a VALUES (3)")
    writes = writes_since(connection, before)
    assert "the counters were reset since" in writes.doubts
    assert any("public.a went back" in doubt for doubt in writes.doubts)


def test_counters_that_are_off_are_told(database: Conninfo, connection: Connection) -> None:
    before = read_counters(connection)
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET track_counts = off").format(sql.Identifier(database.database or ""))
    )
    with connect(database, verb="test") as session:
        assert writes_since(session, before).doubts[0].startswith("track_counts is off")

"""What a dump does not carry: a plan that reads it was rehearsed on something else than production holds."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.rehearsing import Rehearse, reasons, rehearsing_on

from pgrehearse.data.derived import find_not_carried, read_derived
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

COLUMN = (
    "CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 2';"
    "CREATE TABLE t (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (f(a)) STORED);"
    "INSERT INTO t (id, a) SELECT g, g FROM generate_series(1, 20) g;"
    "CREATE TABLE calm (id int PRIMARY KEY, a int, b int GENERATED ALWAYS AS (a + 1) STORED);"
    "INSERT INTO calm (id, a) SELECT g, g FROM generate_series(1, 20) g;"
    "CREATE OR REPLACE FUNCTION f(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i * 3';"
)
OF_COLUMN = (
    "what generated column b holds in production is not what its expression gives now, and a clone has only the latter"
)
VIEW = (
    "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'v' || g FROM generate_series(1, 30) g;"
    "CREATE MATERIALIZED VIEW mv AS SELECT * FROM t; INSERT INTO t SELECT g, 'v' || g FROM generate_series(31, 50) g;"
    "CREATE MATERIALIZED VIEW fresh AS SELECT count(*), sum(id * 0.1::float8) FROM t; CREATE VIEW over AS TABLE mv;"
)
OF_VIEW = (
    "what it holds in production (30 rows) is not what its query gives now (50 rows), and a clone has only the latter"
)


@pytest.fixture
def rehearse(tmp_path: Path, database: Conninfo) -> Rehearse:
    return rehearsing_on(database, tmp_path)


def told_of(document: dict[str, Any], name: str) -> list[str]:
    return [entry["reason"] for entry in document["not_measured"] if entry["what"] == name]


def test_a_plan_over_a_generated_column_that_a_restore_computes_otherwise_is_not_measured(
    rehearse: Rehearse, connection: Connection
) -> None:
    connection.execute(COLUMN.encode())
    for plan in (
        "UPDATE t SET a = a WHERE id <= 5;",
        "ALTER TABLE t ALTER b DROP EXPRESSION;",
        "DELETE FROM t WHERE b % 3 <> 0;",
        "ALTER TABLE t ADD COLUMN n int;\nUPDATE t SET n = b;",
        "DO $$ BEGIN IF EXISTS (SELECT FROM t WHERE b = 2) THEN DELETE FROM calm; END IF; END $$;",
    ):
        document = rehearse(plan)
        assert document["verdict"] == "unmeasured", plan
        assert "disproved" not in {finding["evidence"] for finding in document["findings"]}
        assert told_of(document, "public.t") == [f"{OF_COLUMN}: what this plan does with it was not rehearsed"]
        assert document["grade"]["why_not"] == [f"public.t: {OF_COLUMN}: what this plan does with it was not rehearsed"]
    for plan in ("UPDATE calm SET a = a + 0;", "ALTER TABLE t ADD COLUMN n int NOT NULL DEFAULT 1;"):
        document = rehearse(plan)
        assert document["verdict"] == "clean", reasons(document)
        assert document["grade"]["full"]
        assert told_of(document, "public.t") == [f"{OF_COLUMN}; nothing in this plan depends on that"]
        assert told_of(document, "public.calm") == []


def test_a_plan_over_a_stale_materialized_view_is_not_measured(rehearse: Rehearse, connection: Connection) -> None:
    connection.execute(VIEW.encode())
    reads = "IF (SELECT count(*) FROM mv) = 30 THEN DELETE FROM t; END IF;"
    for plan in (
        "DELETE FROM t WHERE id NOT IN (SELECT id FROM mv);",
        "DELETE FROM t WHERE id NOT IN (SELECT id FROM over);",
        "ALTER MATERIALIZED VIEW mv RENAME TO act;\nDELETE FROM t WHERE id NOT IN (SELECT id FROM act);",
        "ALTER TABLE mv RENAME TO a;\nALTER TABLE a RENAME TO b;\n"
        "DO $$ BEGIN DELETE FROM t WHERE id NOT IN (SELECT id FROM b); COMMIT; END $$;",
        "CREATE TABLE k AS TABLE mv;\nREFRESH MATERIALIZED VIEW mv;",
        "CREATE MATERIALIZED VIEW second AS TABLE mv;\nREFRESH MATERIALIZED VIEW second;",
        "CREATE FUNCTION n() RETURNS int LANGUAGE sql AS 'SELECT count(*)::int FROM mv';\n"
        "ALTER TABLE t ADD COLUMN n int DEFAULT n();",
        "CREATE TABLE keep AS SELECT * FROM mv;\nDROP MATERIALIZED VIEW mv;",
        f"DO $$ BEGIN {reads} END $$;",
        f"DO $$ BEGIN BEGIN {reads} RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN NULL; END; END $$;",
    ):
        document = rehearse(plan)
        named = "DROP" in plan or "RENAME" in plan
        assert document["verdict"] == ("hazard" if named else "unmeasured"), plan
        assert told_of(document, "public.mv") == [f"{OF_VIEW}: what this plan does with it was not rehearsed"]
    document = rehearse("UPDATE t SET v = v;\nCOMMENT ON MATERIALIZED VIEW mv IS 'of yesterday';")
    assert document["grade"]["full"], document["grade"]
    assert document["verdict"] == "clean", reasons(document)
    assert told_of(document, "public.mv") == [f"{OF_VIEW}; nothing in this plan depends on that"]
    assert told_of(document, "public.fresh") == []


def test_what_reads_no_stale_row_or_computes_them_anew_is_measured(rehearse: Rehearse, connection: Connection) -> None:
    connection.execute(VIEW.encode())
    connection.execute("CREATE UNIQUE INDEX ON mv (id)")
    for plan in (
        "INSERT INTO t VALUES (60, 'v');\nREFRESH MATERIALIZED VIEW mv;\nSELECT count(*) FROM mv;",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY mv;",
        "REFRESH MATERIALIZED VIEW mv;\nUPDATE t SET v = 'kept' WHERE id IN (SELECT id FROM mv);",
        "CREATE OR REPLACE VIEW over AS TABLE mv;\nALTER MATERIALIZED VIEW mv SET (fillfactor = 90);",
        "CREATE FUNCTION n() RETURNS int LANGUAGE sql AS 'SELECT count(*)::int FROM mv';",
        "DROP VIEW over;\nDROP MATERIALIZED VIEW mv;\nCREATE MATERIALIZED VIEW mv AS TABLE t;\n"
        "UPDATE t SET v = 'kept' WHERE id IN (SELECT id FROM mv);",
    ):
        document = rehearse(plan)
        assert told_of(document, "public.mv") == [f"{OF_VIEW}; nothing in this plan depends on that"], plan
        assert document["grade"]["full"], document["grade"]
        assert not [each for each in document["not_measured"] if each["decisive"]], plan


def test_a_plan_that_fails_on_rows_that_production_does_not_hold_may_pass_there(
    rehearse: Rehearse, connection: Connection
) -> None:
    connection.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1);"
        "CREATE MATERIALIZED VIEW mv AS SELECT v FROM t; INSERT INTO t VALUES (2, 1);"
    )
    document = rehearse("CREATE UNIQUE INDEX ON mv (v);")
    assert document["verdict"] == "unmeasured", reasons(document)
    assert any(entry["what"].startswith("whether it fails in production") for entry in document["not_measured"])
    assert rehearse("SELECT nothing FROM mv;")["verdict"] == "failed"


def test_what_could_not_be_read_is_told_and_matters_where_it_is_touched(
    database: Conninfo, connection: Connection
) -> None:
    """Another session holds it; nothing stays locked, and the transaction around goes on as it was."""
    connection.execute(VIEW.encode())
    with connect(database, verb="test") as other, connect(database, verb="test") as reader:
        before = reader.execute("SHOW search_path").fetchone()
        other.execute("BEGIN; LOCK TABLE t; REFRESH MATERIALIZED VIEW mv")
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        held = read_derived(reader)
        assert reader.execute("SHOW search_path").fetchone() == before
        assert reader.execute(
            "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN "
            "('fresh'::regclass::oid, 'mv'::regclass::oid)"
        ).fetchone() == (0,)
        other.execute("ROLLBACK")
        found = find_not_carried(held, read_derived(reader))
    why = "LockNotAvailable, SQLSTATE 55P03"
    assert [(each.relation, each.reason) for each in found] == [
        ("public.mv", f"a clone computes it anew, and what it holds in production could not be read ({why})")
    ]


def test_values_that_changed_rows_are_other_values(database: Conninfo, connection: Connection) -> None:
    connection.execute(
        "CREATE FUNCTION f(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT i';"
        "CREATE TABLE t (id int, b int GENERATED ALWAYS AS (f(id)) STORED, c text GENERATED ALWAYS AS (NULL) STORED);"
        "INSERT INTO t VALUES (1), (2), (NULL)"
    )
    before = read_derived(connection)
    assert find_not_carried(before, read_derived(connection)) == ()
    connection.execute(
        "CREATE OR REPLACE FUNCTION f(i int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 3 - i'; UPDATE t SET id = id"
    )
    (found,) = find_not_carried(before, read_derived(connection))
    assert found.reason.startswith("what generated column b holds")


def test_a_plan_that_writes_where_production_enforces_no_foreign_key_is_not_measured(
    rehearse: Rehearse, connection: Connection
) -> None:
    connection.execute(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);"
        "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1);"
        'CREATE TABLE "O.d""d" (id int PRIMARY KEY, a int REFERENCES other); '
        "ALTER TABLE b DISABLE TRIGGER ALL; ALTER TABLE a DISABLE TRIGGER ALL;"
        'ALTER TABLE "O.d""d" DISABLE TRIGGER ALL;'
    )
    tries = (
        """DO $$ BEGIN INSERT INTO "O.d""d" VALUES (2, 7); EXCEPTION WHEN foreign_key_violation THEN NULL; END $$;"""
    )
    document = rehearse(tries)  # the row that production takes is rolled back on the clone, and its locks with it
    assert document["verdict"] == "unmeasured", reasons(document)
    assert 'public."O.d""d"' in {entry["what"] for entry in document["not_measured"] if entry["decisive"]}
    for plan in ("INSERT INTO b VALUES (2, 7);", "ALTER TABLE a ADD COLUMN n int;\nUPDATE a SET id = 3;"):
        document = rehearse(plan)
        # On the clone both fail; that the latter overwrites keys is foreseen, whatever enforces them.
        assert document["verdict"] == ("hazard" if "UPDATE" in plan else "unmeasured"), reasons(document)
        assert "triggers that enforce foreign keys (b_a_fkey) are disabled in production" in reasons(document)
    document = rehearse("ALTER TABLE b ADD COLUMN n int;\nCREATE TABLE c (id int);")
    assert document["verdict"] == "clean", reasons(document)
    assert not document["grade"]["full"]

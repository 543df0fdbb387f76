"""What a clone answers otherwise than production: a plan that decides by it was not measured."""

from pathlib import Path

import pytest
from tests.support.rehearsing import Rehearse, reasons, rehearsing_on

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rehearsal.asked_here import (
    OF_BODY,
    OF_DATABASE,
    OF_LOGIN,
    OF_PLACE,
    OF_TABLE,
    OF_WRITER,
    asks_of,
    asks_of_body,
)

NAME = OF_DATABASE.format(name="current_database()")
BY_NAME = OF_DATABASE.format(name="a database by name")


@pytest.fixture
def rehearse(tmp_path: Path, database: Conninfo) -> Rehearse:
    return rehearsing_on(database, tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("DO $$ BEGIN IF current_database() = 'd' THEN DELETE FROM t; END IF; END $$", NAME),
        ("DO $$ DECLARE x text; BEGIN x := current_database(); IF x = 'd' THEN DELETE FROM t; END IF; END $$", NAME),
        ("DO $$ DECLARE x text := current_database(); BEGIN IF x = 'd' THEN DELETE FROM t; END IF; END $$", NAME),
        ("DO $$ DECLARE x text; BEGIN SELECT current_database() INTO x; IF x = 'd' THEN NULL; END IF; END $$", NAME),
        ("DO $$ BEGIN IF format('%s', current_database()) = 'd' THEN DELETE FROM t; END IF; END $$", NAME),
        ("DELETE FROM t WHERE current_catalog LIKE 'd%'", OF_DATABASE.format(name="current_catalog")),
        ("SELECT CASE current_database() WHEN 'd' THEN f() END", NAME),
        ("DO $$ BEGIN IF session_user = 'app' THEN DELETE FROM t; END IF; END $$", OF_LOGIN),
        ("DELETE FROM t WHERE ctid IN ('(0,1)', '(0,2)')", OF_PLACE),
        ("DELETE FROM t WHERE ctid = '(0,1)'::tid", OF_PLACE),
        ("DELETE FROM t WHERE ctid = ANY (ARRAY['(0,1)'::tid])", OF_PLACE),
        ("DELETE FROM t WHERE ctid IN (SELECT '(0,1)'::tid)", OF_PLACE),
        ("DELETE FROM t WHERE ctid BETWEEN '(0,1)' AND '(2,0)'", OF_PLACE),
        ("DELETE FROM t WHERE (ctid::text::point)[0] < 5", OF_PLACE),
        ("DO $$ BEGIN EXECUTE 'DELETE FROM t WHERE ctid = ''(0,1)'''; END $$", OF_PLACE),
        ("DELETE FROM t WHERE xmin::text::int8 > 1000", OF_WRITER.format(name="xmin")),
        ("DELETE FROM t WHERE xmin::text::int8 < (SELECT max(u.id) FROM u)", OF_WRITER.format(name="xmin")),
        ("DELETE FROM t a USING t b WHERE a.xmin::text < b.xmin::text AND b.id = 7", OF_WRITER.format(name="xmin")),
        ("UPDATE t SET v = 1 WHERE t.xmax <> 0", OF_WRITER.format(name="xmax")),
        ("DELETE FROM t WHERE tableoid = 16384", OF_TABLE),
        ("DO $$ BEGIN IF EXISTS (SELECT FROM pg_database WHERE datname = 'd') THEN NULL; END IF; END $$", BY_NAME),
        (
            "DELETE FROM t WHERE EXISTS (SELECT FROM information_schema.tables x WHERE x.table_catalog LIKE 'd%')",
            BY_NAME,
        ),
        (
            "DELETE FROM t USING information_schema.information_schema_catalog_name n WHERE n.catalog_name = 'd'",
            BY_NAME,
        ),
        ("INSERT INTO t SELECT CASE WHEN current_database() = 'd' THEN 1 END", NAME),
        ("UPDATE t SET v = CASE current_database() WHEN 'd' THEN 1 END", NAME),
    ],
)
def test_what_decides_is_found(text: str, reason: str) -> None:
    assert asks_of(text, login_differs=True) == (reason,)


@pytest.mark.parametrize(
    "text",
    [
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET a.b = 1', current_database()); END $$",
        "DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || quote_ident(current_database()) || ' SET a.b = 1'; END $$",
        "SELECT FROM information_schema.tables WHERE table_catalog = current_database()",
        "SELECT current_database()",
        "INSERT INTO log SELECT current_database(), v FROM t",
        "UPDATE t SET v = current_database()",
        "DO $$ BEGIN RAISE NOTICE 'in % by %', current_database(), upper(session_user); END $$",
        "DO $$ BEGIN PERFORM pg_notify('c', json_build_object('db', current_database())::text); END $$",
        "DO $$ BEGIN IF EXISTS (SELECT FROM information_schema.columns WHERE table_catalog = current_catalog) THEN "
        "NULL; END IF; END $$",
        "SELECT FROM pg_stat_activity a JOIN pg_database d ON d.datname = a.datname",
        "SELECT pg_catalog.count(*) FROM t WHERE s = 'pg_catalog'",
        "INSERT INTO log VALUES (current_database(), session_user)",
        "ALTER TABLE t ADD COLUMN d text DEFAULT current_database()",
        "DELETE FROM t WHERE id = 5 /* current_database() = 'd' */ AND v <> 'xmin = 5'",
        "DELETE FROM t WHERE ctid IN (SELECT ctid FROM t LIMIT 3)",
        "DELETE FROM t a USING t b WHERE a.ctid < b.ctid AND a.v = b.v",
        "DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t)",
        "DELETE FROM t WHERE xmin::text = txid_current()::text",
        "INSERT INTO t VALUES (1) ON CONFLICT (id) DO UPDATE SET v = 1 RETURNING (xmax = 0)",
        "DELETE FROM t WHERE tableoid = 't'::regclass",
        "SELECT * FROM (SELECT st_xmin(g) AS xmin FROM t) s WHERE xmin > 3",
    ],
)
def test_what_decides_nothing_is_left_alone(text: str) -> None:
    assert asks_of(text, login_differs=True) == ()


def test_bodies_are_read_whatever_they_return() -> None:
    decides = "IF current_database() = 'd' THEN DELETE FROM t; END IF;"
    assert asks_of_body(f"BEGIN {decides} RETURN new; END") == (NAME,)
    assert asks_of_body("DELETE FROM t WHERE ctid = '(0,1)'") == (OF_PLACE,)
    assert asks_of_body(f"BEGIN argument := 1; {decides} END") == (OF_BODY.format(name="current_database"),)
    assert asks_of("DO $$ BEGIN IF session_user = 'app' THEN DELETE FROM t; END IF; END $$") == ()


def test_a_plan_that_decides_by_what_only_a_clone_answers_is_not_measured(
    rehearse: Rehearse, connection: Connection
) -> None:
    condition = f"current_database() = '{connection.info.dbname}'"
    connection.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'x' FROM generate_series(1, 10) g;"
        "CREATE TABLE u (id int PRIMARY KEY);"
        "CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN IF {condition} THEN DELETE FROM t; END IF; RETURN new; END $$;"
        "CREATE TRIGGER guard BEFORE INSERT ON u FOR EACH ROW EXECUTE FUNCTION guard();".encode()
    )
    for plan, what, reason in (
        (f"DO $$ BEGIN IF {condition} THEN DELETE FROM t; END IF; END $$;", "m.sql:1", NAME),
        ("INSERT INTO u VALUES (1);", "the plan", f"it leads to guard(): {NAME}"),
        (
            "CREATE FUNCTION once() RETURNS void LANGUAGE sql AS "
            f"$$ DELETE FROM t WHERE {condition} $$;\nSELECT once();\nDROP FUNCTION once();",
            "the plan",
            f"it leads to once(): {NAME}",
        ),
        ("DELETE FROM t WHERE ctid = '(7,1)';", "m.sql:1", OF_PLACE),
        (f"DO $$ BEGIN IF NOT {condition} THEN RAISE 'not here'; END IF; END $$;", "m.sql:1", NAME),
    ):
        document = rehearse(plan)
        assert document["verdict"] == "unmeasured", f"{plan}\n{reasons(document)}"
        told = [entry["what"] for entry in document["not_measured"] if entry["reason"] == reason]
        assert len(told) == 1, reasons(document)
        assert told[0].endswith(f"{what} does in production")
        assert any(reason in why for why in document["grade"]["why_not"])
    document = rehearse(
        "DO $$ BEGIN EXECUTE format('ALTER TABLE t RENAME TO %I', current_database() || '_t'); END $$;\n"
        f"CREATE FUNCTION later() RETURNS bool LANGUAGE sql AS $$ SELECT {condition} $$;"
    )
    assert not [each for each in document["not_measured"] if each["decisive"]], reasons(document)


def test_what_stands_in_relations_is_found_where_rows_are_read_or_written(
    rehearse: Rehearse, connection: Connection
) -> None:
    condition = f"current_database() = '{connection.info.dbname}'"
    connection.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT g, 'x' FROM generate_series(1, 10) g;"
        f'CREATE VIEW here AS SELECT {condition} AS yes; CREATE VIEW "O.d""d" AS SELECT yes AS also FROM here;'
        f"CREATE TABLE defaulted (id int, here bool DEFAULT ({condition}), db text DEFAULT current_database());"
        f"CREATE TABLE checked (id int, CHECK (NOT ({condition}) OR id < 10));"
        "CREATE TABLE ruled (id int); CREATE TABLE fired (id int);"
        "CREATE TABLE calm (db text DEFAULT current_database());"
        f"CREATE RULE r AS ON INSERT TO ruled WHERE {condition} DO ALSO DELETE FROM t;"
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM t; RETURN new; END';"
        f"CREATE TRIGGER g BEFORE INSERT ON fired FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION f();".encode()
    )
    for plan, name in (
        ("DELETE FROM t WHERE (SELECT yes FROM here);", "here"),
        ('UPDATE t SET v = CASE WHEN (SELECT also FROM "O.d""d") THEN 1 ELSE 2 END;', "here"),
        ("INSERT INTO defaulted (id) VALUES (1);", "defaulted"),
        ("INSERT INTO checked VALUES (12);", "checked"),
        ("INSERT INTO ruled VALUES (1);", "ruled"),
        ("INSERT INTO fired VALUES (1);", "fired"),
        (f"CREATE VIEW mine AS SELECT {condition} AS yes;\nDELETE FROM t WHERE (SELECT yes FROM mine);", "mine"),
    ):
        document = rehearse(plan)
        told = {each["reason"] for each in document["not_measured"] if each["decisive"]}
        assert f"it leads to {name}: {NAME}" in told, f"{plan}\n{reasons(document)}"
    for plan in ("INSERT INTO calm SELECT;", "ALTER TABLE checked ADD COLUMN n int;", "DROP VIEW here CASCADE;"):
        document = rehearse(plan)
        assert not [each for each in document["not_measured"] if each["decisive"]], f"{plan}\n{reasons(document)}"
        assert document["grade"]["full"], document["grade"]

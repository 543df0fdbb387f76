"""A clone reaches nobody."""

from pathlib import Path

import psycopg
import pytest
from tests.support.dumps import dump_text

from pgrehearse.clones.inert_functions import (
    SWITCHED_OFF,
    MadeInert,
    OutwardFunction,
    read_calls,
    refresh_matviews,
    switch_off_functions,
)
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import ON_A_SOCKET, Conninfo
from pgrehearse.postgres.local_server import LocalServer

from .conftest import MakePair

CANARY = "canary-7f3b"
COUNTED = "foreign-data wrapper postgres_fdw"
OUTWARD = f"""
CREATE FOREIGN DATA WRAPPER faraway;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER faraway OPTIONS (host 'prod.example', dbname 'billing', secret '{CANARY}');
CREATE USER MAPPING FOR PUBLIC SERVER elsewhere OPTIONS (user 'billing', password '{CANARY}');
CREATE FOREIGN TABLE invoices (id int, total numeric) SERVER elsewhere;
CREATE SUBSCRIPTION orders_feed CONNECTION 'host=prod.example password={CANARY}' PUBLICATION p
    WITH (connect = false, slot_name = NONE);
CREATE PUBLICATION kept FOR ALL TABLES;
CREATE SCHEMA cron;
CREATE TABLE cron.job (jobid bigint PRIMARY KEY, command text, active boolean NOT NULL DEFAULT true);
INSERT INTO cron.job VALUES (1, 'DELETE FROM mails', true), (2, 'VACUUM', false);
CREATE TABLE log (what text);
CREATE FUNCTION call_out() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'a trigger fired'; END $$;
CREATE TRIGGER calls BEFORE UPDATE ON cron.job FOR EACH ROW EXECUTE FUNCTION call_out();
CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.log VALUES (tg_tag); END
$$;
CREATE EVENT TRIGGER noted ON ddl_command_end EXECUTE FUNCTION note();
"""


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("private", [True, False])
def test_everything_that_reaches_outward_is_switched_off_and_told(
    database: Conninfo, clean_uat: LocalServer, pair_of: MakePair, tmp_path: Path, private: bool
) -> None:
    with connect(database, verb="test") as session:
        session.execute(OUTWARD.encode())
        session.execute("TRUNCATE log")
    with pair_of(database, None if private else clean_uat.conninfo()) as pair:
        told = {(each.kind, each.name) for each in pair.switched_off}
        assert told == {
            ("subscription", "orders_feed"),
            ("user mapping", "public on elsewhere"),
            ("foreign server", "elsewhere"),
            ("job", "cron.job"),
        }
        for copy in (pair.pristine, pair.clone):
            text = dump_text(copy)
            assert CANARY not in text
            assert "prod.example" not in text
            assert "CREATE USER MAPPING" not in text
            assert "CREATE SUBSCRIPTION" not in text
            assert "CREATE PUBLICATION kept" in text
            assert "CREATE EVENT TRIGGER noted" in text
            with connect(copy, verb="test") as session:
                assert session.execute("SELECT count(*), count(*) FILTER (WHERE active) FROM cron.job").fetchone() == (
                    2,
                    0,
                )
                assert session.execute("SELECT count(*) FROM pg_user_mappings").fetchone() == (0,)
                assert session.execute("SELECT count(*) FROM pg_subscription").fetchone() == (0,)
                assert session.execute("SELECT count(*) FROM log").fetchone() == (0,)
        with connect(pair.clone, verb="test") as session:
            session.execute("CREATE TABLE x (i int)")
            assert session.execute("SELECT what FROM log").fetchall() == [("CREATE TABLE",)]
    assert CANARY.encode() not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    with connect(database, verb="test") as session:
        session.execute("DROP SUBSCRIPTION orders_feed")


@pytest.mark.pg("== 15")
def test_postgres_fdw_and_file_fdw_point_nowhere_and_views_on_them_are_not_refreshed(
    production: LocalServer, database: Conninfo, pair_of: MakePair
) -> None:
    """Debian's 15 brings contrib: the mapping works in the source, and must not in the clone."""
    given = database.parameters
    with connect(database, verb="test") as session:
        session.execute("CREATE EXTENSION postgres_fdw; CREATE EXTENSION file_fdw; CREATE EXTENSION dblink")
        session.execute("CREATE TABLE here AS SELECT 1 AS i")
        session.execute(
            f"CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS "
            f"(host '{given['host']}', dbname '{given['dbname']}', fetch_size '7')".encode()
        )
        mapping = f"(user 'postgres', password '{given['password']}')"
        session.execute(f"CREATE USER MAPPING FOR PUBLIC SERVER loop OPTIONS {mapping}".encode())
        session.execute(
            "CREATE FOREIGN TABLE there (i int) SERVER loop OPTIONS (table_name 'here');"
            "CREATE VIEW between AS SELECT i FROM there; CREATE MATERIALIZED VIEW cached AS SELECT i FROM between;"
            "CREATE MATERIALIZED VIEW fine AS SELECT i FROM here;"
            "CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;"
            "CREATE FOREIGN TABLE lines (line text) SERVER files OPTIONS (program 'echo ran');"
            "CREATE FUNCTION swallows() RETURNS int LANGUAGE plpgsql AS $$ BEGIN "
            "RETURN (SELECT max(i) FROM public.there); EXCEPTION WHEN OTHERS THEN RETURN 0; END $$;"
            "CREATE MATERIALIZED VIEW quiet AS SELECT swallows() AS i;"
            "CREATE TABLE parted (i int) PARTITION BY LIST (i);"
            "CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);"
            "CREATE FOREIGN TABLE far_part PARTITION OF parted FOR VALUES IN (2) SERVER loop "
            "OPTIONS (table_name 'here');"
            "INSERT INTO parted VALUES (1)"
        )
        assert session.execute("SELECT i FROM cached, lines").fetchall() == [(1,)]
    with pair_of(database, None) as pair:
        assert {each.kind for each in pair.switched_off} == {
            "user mapping", "materialized view", "foreign server", "foreign table", "foreign-data wrapper", "function",
        }  # fmt: skip
        assert pair.not_measured == (
            "materialized view public.cached is not populated on the clone: it reads a foreign table",
            "materialized view public.quiet is not populated on the clone: filling it calls foreign-data wrapper "
            "postgres_fdw, which reaches beyond the database",
            "public.parted has no statistics of its own on the clone: a foreign table is among its partitions or "
            "children",
        )
        assert _definitions(pair.pristine) == _definitions(pair.clone)
        with connect(pair.clone, verb="test") as session:
            assert session.execute("SELECT i FROM fine").fetchall() == [(1,)]
            assert session.execute("SELECT ispopulated FROM pg_matviews WHERE matviewname = 'cached'").fetchone() == (
                False,
            )
            options = session.execute(
                "SELECT unnest(srvoptions) FROM pg_foreign_server WHERE srvname = 'loop'"
            ).fetchall()
            assert ("fetch_size=7",) in options
            assert ("host=/nonexistent/pgrehearse",) in options
            options = session.execute("SELECT unnest(ftoptions) FROM pg_foreign_table").fetchall()
            assert "program" not in str(options)
            analyzed = session.execute("SELECT DISTINCT tablename FROM pg_stats WHERE schemaname = 'public'").fetchall()
            assert sorted(analyzed) == [("fine",), ("here",), ("part",)]
            for read in (
                "SELECT * FROM there",
                "INSERT INTO there VALUES (1)",
                "SELECT * FROM lines",
                "TRUNCATE there",
            ):
                with pytest.raises(psycopg.errors.Error) as caught:
                    session.execute(read.encode())
                assert caught.value.sqlstate == SWITCHED_OFF
            before = read_calls(session)[COUNTED]
            assert session.execute("SELECT swallows(), swallows()").fetchone() == (0, 0)
            assert read_calls(session)[COUNTED] == before + 2
            session.execute("ALTER FOREIGN TABLE there ADD COLUMN j int; DROP FOREIGN TABLE there CASCADE")


def _definitions(database: Conninfo) -> list[str]:
    """A dump's statements but for those that fill materialized views."""
    return [line for line in dump_text(database).splitlines() if line and not line.startswith(("--", "REFRESH "))]


@pytest.mark.pg("== 15")
def test_dblink_reaches_nobody_from_a_clone_nor_while_it_is_made(
    server: LocalServer, database: Conninfo, pair_of: MakePair
) -> None:
    """The oracle is a log on production's own server that each of them writes to where it can."""
    address = f"{server.conninfo().replaced(**dict.fromkeys(ON_A_SOCKET)).text} dbname={database.parameters['dbname']}"
    write = "insert into public.log values (''{}'') returning what"
    with connect(database, verb="test") as session:
        session.execute("CREATE EXTENSION dblink; CREATE TABLE log (what text)")
        session.execute(
            f"CREATE FUNCTION remote() RETURNS SETOF text LANGUAGE sql AS $q$ SELECT w FROM public.dblink('{address}', "
            f"'{write.format('function')}') AS x(w text) $q$;"
            "CREATE FUNCTION quiet() RETURNS text LANGUAGE plpgsql AS $q$ BEGIN "
            "RETURN (SELECT max(w) FROM public.remote() w); EXCEPTION WHEN OTHERS THEN RETURN 'caught'; END $q$;"
            "CREATE MATERIALIZED VIEW direct AS SELECT w "
            f"FROM dblink('{address}', '{write.format('direct')}') AS x(w text);"
            "CREATE MATERIALIZED VIEW a_reader AS SELECT w FROM direct;"
            "CREATE MATERIALIZED VIEW inside AS SELECT * FROM remote() w; CREATE INDEX ON inside (w);"
            "CREATE MATERIALIZED VIEW swallows AS SELECT quiet() AS w;"
            "CREATE MATERIALIZED VIEW harmless AS SELECT 1 AS i; CREATE UNIQUE INDEX ON harmless (i);"
            "CREATE MATERIALIZED VIEW also_harmless AS SELECT i FROM harmless;"
            "CREATE MATERIALIZED VIEW never_filled AS SELECT 1 AS i WITH NO DATA; TRUNCATE log".encode()
        )
    with pair_of(database, None) as pair:
        off = {each.name for each in pair.switched_off if each.kind == "function"}
        assert off == {
            "dblink",
            "dblink_connect",
            "dblink_connect_u",
            "dblink_exec",
            "dblink_open",
            "dblink_send_query",
        }
        told = [each for each in pair.not_measured if "materialized view" in each]
        assert sorted(each.split(" is not populated")[0].rpartition(".")[2] for each in told) == [
            "a_reader", "direct", "inside", "swallows",
        ]  # fmt: skip
        assert any("filling it calls dblink, which reaches another server" in each for each in told)
        assert _definitions(pair.pristine) == _definitions(pair.clone) == _definitions(database)
        for copy in (pair.pristine, pair.clone):
            with connect(copy, verb="test") as session:
                populated = session.execute("SELECT matviewname FROM pg_matviews WHERE ispopulated ORDER BY 1")
                assert [name for (name,) in populated] == ["also_harmless", "harmless"]
        with connect(pair.clone, verb="test") as session:
            before = read_calls(session)
            for call in (f"dblink_connect('{address}')", f"dblink_exec('{address}', 'x')", "remote()"):
                with pytest.raises(psycopg.errors.Error) as caught:
                    session.execute(f"SELECT {call}".encode())
                assert caught.value.sqlstate == SWITCHED_OFF
                assert "reaches another server, and is switched off on a clone" in str(caught.value)
            assert session.execute("SELECT quiet()").fetchone() == ("caught",)
            assert session.execute("SELECT dblink_get_connections()").fetchone() == (None,)
            calls = read_calls(session)
            assert {name: calls[name] - before.get(name, 0) for name in calls} == {
                "dblink": 2, "dblink_connect": 1, "dblink_exec": 1,
            }  # fmt: skip
    with connect(database, verb="test") as session:
        assert session.execute("SELECT what FROM log").fetchall() == []


@pytest.mark.pg("== 15")
def test_where_nobody_may_switch_functions_off_what_calls_any_stays_empty(database: Conninfo) -> None:
    """On a platform whose administrator is no superuser."""
    left = OutwardFunction(oid=1, name="dblink", of="dblink")
    with connect(database, verb="test") as session:
        session.execute(
            "CREATE EXTENSION dblink; CREATE ROLE no_superuser; CREATE TABLE t AS SELECT 1 AS i;"
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE VIEW v AS SELECT f() AS i;"
            "CREATE MATERIALIZED VIEW calls AS SELECT i FROM v WITH NO DATA;"
            "CREATE MATERIALIZED VIEW counts AS SELECT count(*) FROM t WITH NO DATA"
        )
        session.execute("SET ROLE no_superuser")
        found = switch_off_functions(session)
        session.execute("RESET ROLE; DROP ROLE no_superuser")
        assert not found.functions
        assert {each.of for each in found.left} == {"dblink"}
        assert "can be switched off only by a superuser" in found.not_measured()[0]
        empty, _ = refresh_matviews(session, [("public", "calls"), ("public", "counts")], MadeInert(left=(left,)))
        assert list(empty) == [("public", "calls")]
        filled = session.execute("SELECT matviewname FROM pg_catalog.pg_matviews WHERE ispopulated").fetchall()
        assert filled == [("counts",)]

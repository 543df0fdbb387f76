"""A clone reaches nobody."""

from pathlib import Path

import pytest
from tests.support.dumps import dump_text

from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

from .conftest import MakePair

CANARY = "canary-7f3b"
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
            "CREATE FOREIGN TABLE lines (line text) SERVER files OPTIONS (program 'echo ran')"
        )
        assert session.execute("SELECT i FROM cached, lines").fetchall() == [(1,)]
    with pair_of(database, None) as pair:
        assert {each.kind for each in pair.switched_off} == {
            "user mapping", "materialized view", "foreign server", "foreign table",
        }  # fmt: skip
        assert pair.not_measured == (
            "extension dblink: its functions reach outward when something calls them",
            "materialized view public.cached is not populated on the clone: it reads a foreign table",
        )
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

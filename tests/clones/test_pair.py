from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.support.applying import wait_until
from tests.support.dumps import dump_text, dump_with_database

from pgrehearse.errors import CloneFailed, CloneImpossible, ConfigurationError, ServerUnreachable
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

from .conftest import MakePair, contents_of

ROLES = """
SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls
FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1
"""
MEMBERS = """
SELECT r.rolname, m.rolname, a.admin_option FROM pg_auth_members a
JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member ORDER BY 1, 2
"""
WHO = """
SELECT session_user::text, current_user::text, current_setting('is_superuser'), current_setting('search_path'),
       current_setting('TimeZone'), current_setting('lock_timeout')
"""


def rows(conninfo: Conninfo, query: str) -> list[Any]:
    with connect(conninfo, verb="test") as session:
        return session.execute(query.encode()).fetchall()


def counts(conninfo: Conninfo) -> dict[str, int]:
    """Exact rows of every table, by plain SQL."""
    with connect(conninfo, verb="test") as session:
        names = session.execute(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relkind IN ('r', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1, 2"
        ).fetchall()
        found = {}
        for namespace, name in names:
            counted = session.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(namespace, name)))
            found[f"{namespace}.{name}"] = counted.fetchone()[0]  # type: ignore[index]
        return found


def without_setval(text: str) -> list[str]:
    return [line for line in text.splitlines() if "pg_catalog.setval" not in line]


def as_admin(server: LocalServer, conninfo: Conninfo) -> Conninfo:
    assert conninfo.database is not None
    return server.conninfo(conninfo.database)


@pytest.mark.pg(">= 15")
def test_a_private_pair_is_the_source_down_to_the_databases_own_settings(
    production: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    source = as_admin(production, shop)
    with pair_of(shop, None) as pair:
        assert pair.is_private
        expected = dump_with_database(source)
        assert dump_with_database(pair.pristine) == expected
        assert dump_with_database(pair.clone) == expected
        assert counts(pair.pristine) == counts(pair.clone) == counts(source)
        assert counts(pair.clone)["shop.totals"] == 500
        assert rows(pair.clone, ROLES) == rows(source, ROLES)
        assert rows(pair.clone, MEMBERS) == rows(source, MEMBERS)
        assert pair.lowered == ()
        assert pair.switched_off == ()
        assert pair.not_measured == ()


@pytest.mark.pg(">= 15")
def test_a_pair_on_uat_is_the_source(
    production: LocalServer, clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    source = as_admin(production, shop)
    with pair_of(shop, clean_uat.conninfo(), create_roles=True) as pair:
        assert not pair.is_private
        expected = dump_text(source)
        assert dump_text(pair.pristine) == expected
        assert dump_text(pair.clone) == expected
        assert counts(pair.pristine) == counts(pair.clone) == counts(source)
        assert pair.lowered == ()


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("private", [True, False])
def test_the_role_session_is_production_s_own(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, private: bool
) -> None:
    with connect(shop, verb="test") as session:
        expected = session.execute(WHO).fetchone()
    assert expected == ("shop_owner", "shop_owner", "off", 'shop, "Odd One", public', "Asia/Tokyo", "7s")
    with pair_of(shop, None if private else clean_uat.conninfo(), create_roles=True) as pair:
        assert pair.role_problem is None
        with pair.session_as_role("run") as session:
            assert session.execute(WHO).fetchone() == expected
            assert session.info.dbname == pair.clone.database
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("ALTER SYSTEM SET work_mem = '1MB'")
            session.execute("CREATE TABLE made_by_a_migration (i int)")
            owner = session.execute(
                "SELECT schemaname::text, tableowner::text FROM pg_tables WHERE tablename = 'made_by_a_migration'"
            ).fetchone()
            assert owner == ("shop", "shop_owner")
        with pair.session("pristine", "look") as admin:
            assert admin.execute(
                "SELECT count(*) FROM pg_tables WHERE tablename = 'made_by_a_migration'"
            ).fetchone() == (0,)
            assert admin.execute("SELECT current_setting('is_superuser')").fetchone() == ("on",)


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("private", [True, False])
def test_the_source_server_s_own_configuration_counts_below_database_and_role(
    production: LocalServer, clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, private: bool
) -> None:
    """production has timezone in its configuration, the shop database another one on top; reset that one."""
    with connect(production.conninfo(), verb="test") as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} RESET timezone").format(sql.Identifier(str(shop.database))))
    with pair_of(shop, None if private else clean_uat.conninfo(), create_roles=True) as pair:
        with pair.session_as_role("run") as session:
            assert session.execute("SHOW timezone").fetchone() == ("America/St_Johns",)
        with pair.session("pristine", "look") as session:
            assert session.execute("SHOW timezone").fetchone() == ("America/St_Johns",)


@pytest.mark.pg("== 18")
def test_options_in_the_source_s_url_reach_the_role_s_session(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    source = shop.replaced(options="-c search_path=public")
    with pair_of(source, clean_uat.conninfo(), create_roles=True) as pair, pair.session_as_role("run") as session:
        assert session.execute("SHOW search_path").fetchone() == ("public",)


@pytest.mark.pg("== 18")
def test_a_login_of_our_own_starts_as_the_role_with_its_settings(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    """The roles exist there, with other passwords and settings, as on a real UAT server."""
    with connect(clean_uat.conninfo(), verb="test") as admin:
        for role in ("shop_owner LOGIN CREATEROLE", "shop_app LOGIN NOINHERIT", "shop_readers"):
            admin.execute(f"CREATE ROLE {role}".encode())
        admin.execute("GRANT shop_readers TO shop_owner, shop_app")
        admin.execute("ALTER ROLE shop_owner SET search_path = elsewhere")
        try:
            with pair_of(shop, clean_uat.conninfo()) as pair:
                assert pair.role_problem is None
                assert pair.lowered == ()
                login = f"pgrehearse_{pair.id}_login"
                expected = (login, "shop_owner", "off", 'shop, "Odd One", public', "Asia/Tokyo", "7s")
                with pair.session_as_role("run") as session:
                    assert session.execute(WHO).fetchone() == expected
                    for back in ("RESET ROLE", "RESET ALL", "RESET search_path"):
                        session.execute(f"SET search_path = elsewhere; {back}".encode())
                        assert session.execute("SELECT current_user::text").fetchone() == ("shop_owner",)
                    assert session.execute(WHO).fetchone() == expected
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        session.execute("CREATE DATABASE x")
            assert rows(clean_uat.conninfo(), "SELECT setconfig FROM pg_db_role_setting") == [
                (["search_path=elsewhere"],)
            ]
        finally:
            for role in ("shop_app", "shop_owner", "shop_readers"):
                admin.execute(f"DROP ROLE {role}".encode())


@pytest.mark.pg("== 18")
def test_a_role_that_is_more_on_uat_makes_the_run_not_measured(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    with connect(clean_uat.conninfo(), verb="test") as admin:
        admin.execute("CREATE ROLE shop_owner SUPERUSER LOGIN")
        try:
            with pair_of(shop, clean_uat.conninfo(), create_roles=True) as pair:
                assert pair.role_problem == "role shop_owner is a superuser on the target, unlike in production"
                assert "role shop_owner differs in SUPERUSER, CREATEROLE" in pair.lowered
                with pytest.raises(CloneFailed) as failed:
                    pair.session_as_role("run")
                assert failed.value.exit_code == 3
        finally:
            admin.execute("DROP ROLE shop_owner")


@pytest.mark.pg("== 18")
def test_missing_roles_are_named_with_the_statements_that_make_them(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    with pytest.raises(CloneImpossible) as refused, pair_of(shop, clean_uat.conninfo()):
        pass
    assert "role shop_readers does not exist" in str(refused.value)
    assert 'CREATE ROLE "shop_owner" LOGIN CREATEROLE;' in refused.value.remedy
    assert "clone.create_roles = true" in refused.value.remedy
    assert refused.value.exit_code == 3


@pytest.mark.pg("== 18")
def test_a_role_that_production_does_not_have_is_refused(shop: Conninfo, pair_of: MakePair) -> None:
    with pytest.raises(ConfigurationError, match="role nobody_knows"), pair_of(shop, None, role="nobody_knows"):
        pass


@pytest.mark.pg("== 18")
def test_another_role_than_the_url_s_runs_the_migrations(
    production: LocalServer, clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    with pair_of(as_admin(production, shop), None, role="shop_app") as pair:
        assert pair.role == "shop_app"
        with pair.session_as_role("run") as session:
            assert session.execute("SELECT session_user::text").fetchone() == ("shop_app",)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute("DROP TABLE shop.orders")
    for target in (clean_uat.conninfo(), None):  # it may not log in: a login of our own becomes it
        source = as_admin(production, shop)
        made = pair_of(source, target, role="shop_readers", create_roles=True)
        with made as pair, pair.session_as_role("run") as session:
            assert session.execute("SELECT current_user::text").fetchone() == ("shop_readers",)
            session.execute("DISCARD ALL")
            assert session.execute("SELECT current_user::text").fetchone() == ("shop_readers",)


@pytest.mark.pg("== 18")
def test_the_snapshot_is_one_instant_for_dump_and_reader(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    seen: list[Any] = []

    def read(session: Connection) -> None:
        with connect(shop, verb="writer") as writer:
            writer.execute("DELETE FROM shop.orders")
        seen.append(session.execute("SELECT count(*) FROM shop.orders").fetchone())

    with pair_of(shop, clean_uat.conninfo(), create_roles=True, on_snapshot=read) as pair:
        assert seen == [(3000,)]
        assert rows(pair.clone, "SELECT count(*) FROM shop.orders") == [(3000,)]
        assert pair.origin.lsn is not None
        assert pair.origin.identity.database == shop.database
        assert pair.timings.dump_ms > 0


@pytest.mark.pg("== 18")
def test_odd_names_survive(production: LocalServer, clean_uat: LocalServer, pair_of: MakePair) -> None:
    database, role = 'ödd "db" %s \\ ' + "ü" * 24, "rôle 'with' \"quotes\""
    assert len(database.encode()) <= 63
    with connect(production.conninfo(), verb="test") as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(role)))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(role)))
        name = sql.SQL("ALTER ROLE {} IN DATABASE {} SET search_path = {}, public")
        admin.execute(name.format(sql.Identifier(role), sql.Identifier(database), sql.Identifier('a "b", c')))
    try:
        source = production.conninfo(database, user=role, password="p")
        with connect(source, verb="test") as session:
            session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier('a "b", c')))
            session.execute(sql.SQL("CREATE TABLE {} (i int)").format(sql.Identifier("t" * 63)))
            path = session.execute("SHOW search_path").fetchone()
        for target in (None, clean_uat.conninfo()):
            with pair_of(source, target, create_roles=True) as pair, pair.session_as_role("run") as session:
                assert session.execute("SHOW search_path").fetchone() == path
                assert session.execute(
                    sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("t" * 63))
                ).fetchone() == (0,)
                assert session.execute("SELECT current_user::text").fetchone() == (role,)
    finally:
        with connect(production.conninfo(), verb="test") as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.mark.pg("== 18")
def test_a_hot_standby_may_be_the_source(
    production: LocalServer,
    standby_of: Callable[[LocalServer], LocalServer],
    clean_uat: LocalServer,
    shop: Conninfo,
    pair_of: MakePair,
) -> None:
    """Its sequences run ahead of the primary's, by the values that the WAL logs beforehand."""
    standby = standby_of(production)
    with connect(production.conninfo(), verb="test") as primary, connect(standby.conninfo(), verb="test") as replica:
        lsn = primary.execute("SELECT pg_current_wal_lsn()::text").fetchone()
        assert lsn is not None
        replayed = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
        wait_until(lambda: fetch_value(replica, replayed, lsn))
    replicated = shop.replaced(host=str(standby.socket_directory))
    with pair_of(replicated, clean_uat.conninfo(), create_roles=True) as pair:
        assert pair.origin.is_replica
        assert pair.origin.lsn is not None
        assert without_setval(dump_text(pair.clone)) == without_setval(dump_text(as_admin(production, shop)))


@pytest.mark.pg("== 18")
def test_a_wrong_password_is_exit_4(uat: LocalServer, shop: Conninfo, pair_of: MakePair) -> None:
    for source, target in ((shop.replaced(password="no"), None), (shop, uat.conninfo(password="no"))):
        with pytest.raises(ServerUnreachable) as refused, pair_of(source, target):
            pass
        assert refused.value.exit_code == 4


@pytest.mark.pg("== 18")
def test_statistics_are_there_and_the_same_in_both(clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair) -> None:
    query = "SELECT relname, reltuples FROM pg_class WHERE relname IN ('customers', 'orders_2025') ORDER BY 1"
    with pair_of(shop, clean_uat.conninfo(), create_roles=True) as pair:
        assert rows(pair.clone, query) == rows(pair.pristine, query)
        assert rows(pair.clone, query)[0][1] == 500


@pytest.mark.pg("== 18")
def test_nothing_is_left_of_a_private_pair(shop: Conninfo, pair_of: MakePair, production: LocalServer) -> None:
    before = contents_of(production)
    with pair_of(shop, None) as pair:
        server = pair.clone.parameters["host"]
        assert Path(server).is_dir()
    assert not Path(server).exists()
    assert not Path(server).parent.parent.exists()
    assert contents_of(production) == before

"""What the source server's configuration gives every session, in sessions of a clone: its own parameters, too."""

from collections.abc import Iterator

import pytest
from tests.support.applying import wait_until

from pgrehearse.clones.roles import Setting, apply_settings, read_setting_entries
from pgrehearse.clones.server_settings import apply_to_server, read_custom_parameters, read_server_settings
from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

from .conftest import MakePair

CONFIGURED = {
    "search_path": 's2, "Odd, One", public', "app.tenant": "the seventh, secret", "plpgsql.check_asserts": "off",
    "quote_all_identifiers": "on", "transform_null_equals": "on", "pg_trgm.similarity_threshold": "0.5",
}  # fmt: skip
ASKED = "SELECT n, current_setting(n, true) FROM unnest(%s::text[]) n"
MENTIONS = """
CREATE FUNCTION shop.tenant() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('App.Tenant', true) $$;
CREATE VIEW shop.thresholds AS SELECT current_setting('pg_trgm.similarity_threshold') AS value;
"""


@pytest.fixture
def configured(production: LocalServer) -> Iterator[LocalServer]:
    """Production with `CONFIGURED`, which is taken away again."""
    with connect(production.conninfo(), verb="test") as admin:
        assert apply_to_server(admin, CONFIGURED) == []

    def value() -> object:
        with connect(production.conninfo(), verb="test") as session:
            return fetch_value(session, "SELECT current_setting('app.tenant', true)")

    wait_until(lambda: value() == CONFIGURED["app.tenant"])
    yield production
    with connect(production.conninfo(), verb="test") as admin:
        admin.execute("ALTER SYSTEM RESET ALL")
        admin.execute("SELECT pg_reload_conf()")
    wait_until(lambda: not value())  # an empty string until the server is started anew


def _values(address: Conninfo, names: list[str]) -> dict[str, str]:
    with connect(address, verb="test") as session:
        return dict(session.execute(ASKED, (names,)).fetchall())


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("private", [True, False])
def test_sessions_of_the_clone_start_as_the_source_s(
    configured: LocalServer, clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, private: bool
) -> None:
    """As an ordinary role reads it, which sees no file: by what the database's code mentions."""
    with connect(shop, verb="test") as owner:
        owner.execute(MENTIONS.encode())
    admin = configured.conninfo(str(shop.database))
    assert _values(admin, list(CONFIGURED)) == CONFIGURED
    names = [name for name in CONFIGURED if name != "search_path"]  # the owner has its own
    expected = _values(admin, names)
    with pair_of(shop, None if private else clean_uat.conninfo(), create_roles=True) as pair:
        assert pair.lowered == ()
        for address in (pair.clone, pair.pristine):
            assert _values(address, names) == expected
        with pair.session_as_role("run") as session, connect(shop, verb="test") as source:
            found = session.execute(ASKED, (names,)).fetchall()
            assert found == source.execute(ASKED, (names,)).fetchall()
            session.execute("RESET ALL")
            again = session.execute(ASKED, (["app.tenant"],)).fetchall()
            assert again == [("app.tenant", CONFIGURED["app.tenant"])]


@pytest.mark.pg("== 18")
def test_uat_s_own_configuration_gives_way_to_the_source_s_defaults(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    with connect(clean_uat.conninfo(), verb="test") as admin:
        apply_to_server(admin, {"xmlbinary": "hex", "array_nulls": "off"})
    try:
        with pair_of(shop, clean_uat.conninfo(), create_roles=True) as pair:
            assert pair.lowered == ()
            with pair.session_as_role("run") as session:
                assert dict(session.execute(ASKED, (["xmlbinary", "array_nulls"],)).fetchall()) == {
                    "xmlbinary": "base64", "array_nulls": "on",
                }  # fmt: skip
    finally:
        with connect(clean_uat.conninfo(), verb="test") as admin:
            admin.execute("ALTER SYSTEM RESET ALL")
            admin.execute("SELECT pg_reload_conf()")


@pytest.mark.pg("== 18")
def test_what_the_reader_s_own_settings_hide(configured: LocalServer, shop: Conninfo, pair_of: MakePair) -> None:
    """Another role migrates: only what has no usual value lowers the grade, and only where nobody can look."""
    reader = configured.conninfo(str(shop.database), user="hidden_reader", password="own")
    with connect(configured.conninfo(str(shop.database)), verb="test") as admin:
        admin.execute("CREATE ROLE hidden_reader LOGIN BYPASSRLS PASSWORD 'own'")
        try:
            admin.execute("GRANT pg_read_all_data TO hidden_reader")
            for name, value in (("timezone", "UTC"), ("statement_timeout", "1h"), ("xmlbinary", "hex")):
                admin.execute(f"ALTER ROLE hidden_reader SET {name} = '{value}'".encode())
            admin.execute("ALTER ROLE hidden_reader SET app.tenant = 'its own'")
            admin.execute(f"GRANT CONNECT ON DATABASE {shop.database} TO hidden_reader".encode())
            with connect(reader, verb="test") as session:
                entries = read_setting_entries(session)
                server = read_server_settings(session, entries)
                assert server.hidden == {"TimeZone"}
                assert (server.values["statement_timeout"], server.values["xmlbinary"]) == ("0", "base64")
                assert server.values["transform_null_equals"] == "on"
                assert "app.tenant" not in read_custom_parameters(session, entries).of_server
            admin.execute(f"ALTER DATABASE {shop.database} RESET timezone".encode())
            with pair_of(reader, None, role="shop_owner") as pair:
                assert [why.partition(" is hidden")[0] for why in pair.lowered] == ["TimeZone of the source's server"]
            admin.execute("ALTER ROLE hidden_reader SUPERUSER")
            with connect(reader, verb="test") as session:
                custom = read_custom_parameters(session, entries)
                assert custom.of_server["app.tenant"] == CONFIGURED["app.tenant"]  # the file has it
                assert custom.of_session["app.tenant"] == "its own"
                assert not read_server_settings(session, entries).hidden
        finally:
            admin.execute("DROP OWNED BY hidden_reader")
            admin.execute("DROP ROLE hidden_reader")


@pytest.mark.pg(">= 15")
def test_a_custom_parameter_that_a_server_refuses_is_told_without_its_value(uat: LocalServer) -> None:
    with connect(uat.conninfo(), verb="test") as admin:
        admin.execute("DO LANGUAGE plpgsql 'BEGIN END'")
        entry = Setting(role=None, in_database=True, name="plpgsql.check_asserts", value="s3cr3t")
        told = [*apply_to_server(admin, {entry.name: entry.value}), *apply_settings(admin, [entry], "postgres")]
    assert [line.partition(" could not")[0] for line in told] == [
        "plpgsql.check_asserts of the source's server", "plpgsql.check_asserts of every role",
    ]  # fmt: skip
    assert "s3cr3t" not in str(told)


@pytest.mark.pg("== 18")
def test_a_shared_server_s_log_has_no_value(uat: LocalServer) -> None:
    entry = Setting(role=None, in_database=True, name="app.logged", value="never-to-be-logged")
    with connect(uat.conninfo(), verb="test") as admin:
        admin.execute("SET log_statement = 'all'; SET log_min_duration_statement = 0")
        assert apply_settings(admin, [entry], "postgres") == []
        admin.execute("ALTER DATABASE postgres RESET app.logged")
    assert "RESET app.logged" in uat.log_path.read_text()
    assert "never-to-be-logged" not in uat.log_path.read_text()

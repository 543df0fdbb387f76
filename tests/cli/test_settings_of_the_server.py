"""What production's server gives its sessions reaches the clone, and a promotion finds what was changed since."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from tests.support.applying import wait_until
from tests.support.shop_project import Shop, make_shop

from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg(">= 15")

SECRET = "s3cr3t-of-the-tenant"
TABLES = """
CREATE SCHEMA s2;
CREATE TABLE s2.w (id int PRIMARY KEY); INSERT INTO s2.w VALUES (1);
CREATE TABLE public.w (id int PRIMARY KEY); INSERT INTO public.w VALUES (1), (2);
CREATE FUNCTION public.tenant() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('app.tenant', true) $$;
"""
OWNER = """
CREATE ROLE shop_owner LOGIN PASSWORD 'own';
ALTER SCHEMA public OWNER TO shop_owner; ALTER SCHEMA s2 OWNER TO shop_owner;
ALTER TABLE users OWNER TO shop_owner; ALTER TABLE sessions OWNER TO shop_owner;
ALTER TABLE w OWNER TO shop_owner; ALTER TABLE s2.w OWNER TO shop_owner; ALTER FUNCTION tenant() OWNER TO shop_owner;
"""


@pytest.fixture
def shop(tmp_path: Path, server: LocalServer, uat: LocalServer) -> Iterator[Shop]:
    """On a server of its own: its configuration is changed."""
    with LocalServer.create(server.binaries) as production:
        with connect(production.conninfo(), verb="test") as admin:
            admin.execute("CREATE DATABASE shop")
        with connect(production.conninfo("shop"), verb="test") as connection:
            shop = make_shop(tmp_path, connection, production.conninfo("shop"), uat)
            connection.execute(TABLES.encode())
            connection.execute("GRANT CREATE ON DATABASE shop TO PUBLIC")
        for file in (tmp_path / "db").iterdir():
            file.unlink()
        yield shop


def _configure(shop: Shop, name: str, *values: str) -> None:
    """As the server's administrator does."""
    parts = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
    with connect(shop.production, verb="test") as admin:
        if "." in name:
            admin.execute("SELECT set_config(%s, 'x', false)", (name,))  # until 16 it must exist
        admin.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(parts, sql.SQL(", ").join(map(sql.Literal, values))))
        admin.execute("SELECT pg_reload_conf()")

    def is_there() -> bool:
        with connect(shop.production, verb="test") as session:
            return bool(fetch_value(session, "SELECT current_setting(%s, true)", (name,)) == ", ".join(values))

    wait_until(is_there)


def _told(shop: Shop, *arguments: str, code: int | None = None) -> dict[str, Any]:
    done = shop.pgrehearse(*arguments, "--json")
    assert code is None or done.returncode == code, done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def _receipt(shop: Shop, private: bool) -> dict[str, Any]:
    _told(shop, "run", *([] if private else ["--target", "uat"]))
    return _told(shop, "report")


@pytest.mark.parametrize("private", [True, False])
def test_a_path_and_a_parameter_of_the_configuration_reach_the_clone(shop: Shop, private: bool) -> None:
    _configure(shop, "search_path", "s2", "public")
    _configure(shop, "app.tenant", SECRET)
    _configure(shop, "plpgsql.check_asserts", "off")
    (shop.folder / "db/0001_tenant.sql").write_text(
        "DELETE FROM w;\nDELETE FROM public.w WHERE length(public.tenant()) = 20;\n"
        "DELETE FROM users WHERE length(current_setting('app.' || 'tenant', true)) = 20;\n"
        "DO $$ BEGIN ASSERT false; END $$;\n"
    )
    receipt = _receipt(shop, private)
    assert receipt["receipt"]["statement_rows"][:3] == [1, 2, 500]
    assert receipt["verdict"] == "loss"
    assert receipt["grade"] == {"full": True, "why_not": []}
    assert receipt["receipt"]["parameters"]["listed"] is True
    assert list(receipt["receipt"]["parameters"]["digests"]) == ["app.tenant"]


@pytest.mark.parametrize("private", [True, False])
def test_an_ordinary_role_s_rehearsal_finds_what_plan_and_functions_mention(shop: Shop, private: bool) -> None:
    shop.execute(OWNER)
    _configure(shop, "app.tenant", SECRET)
    _configure(shop, "app.month", "5")
    owner = Shop(
        folder=shop.folder, production=shop.production.replaced(user="shop_owner", password="own"), uat=shop.uat
    )
    (shop.folder / "pgrehearse.toml").write_text(
        (shop.folder / "pgrehearse.toml").read_text() + "[clone]\ncreate_roles = true\n"
    )
    (shop.folder / "db/0001_tenant.sql").write_text(
        "DELETE FROM public.w WHERE length(public.tenant()) = 20 AND id = 1;\n"
        "DELETE FROM users WHERE current_setting('App.Month') = '5' AND id <= 7;\n"
    )
    receipt = _receipt(owner, private)
    assert receipt["receipt"]["statement_rows"] == [1, 7]
    assert receipt["receipt"]["parameters"]["listed"] is False
    assert list(receipt["receipt"]["parameters"]["digests"]) == ["app.month", "app.tenant"]


def test_what_an_extension_s_machinery_is_set_to_raises_no_alarm(shop: Shop) -> None:
    for name, value in (("pg_stat_statements.max", "777"), ("auto_explain.log_min_duration", "5s")):
        _configure(shop, name, value)
    (shop.folder / "db/0001_nick.sql").write_text("ALTER TABLE users ADD COLUMN nick text;\n")
    receipt = _receipt(shop, False)
    assert receipt["grade"] == {"full": True, "why_not": []}
    assert receipt["receipt"]["parameters"]["digests"] == {}
    _configure(shop, "auto_explain.log_min_duration", "9s")
    _told(shop, "approve", code=0)
    _told(shop, "promote", code=0)


def test_a_promotion_is_refused_where_a_parameter_was_changed_since(shop: Shop) -> None:
    _configure(shop, "app.tenant", "seven")
    shop.execute("ALTER DATABASE shop SET app.token = 'old'")
    (shop.folder / "db/0001_nick.sql").write_text("ALTER TABLE users ADD COLUMN nick text;\n")
    _told(shop, "run", "--target", "uat", code=0)
    _told(shop, "approve", code=0)
    _configure(shop, "app.tenant", SECRET)
    shop.execute(f"ALTER DATABASE shop SET app.token = '{SECRET}'")
    shop.execute(f"ALTER DATABASE shop SET app.since = '{SECRET}'")
    shop.execute("ALTER DATABASE shop SET transform_null_equals = on")
    shop.execute("ALTER DATABASE shop SET statement_timeout = '50min'")
    done = shop.pgrehearse("promote")
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr
    for told in (
        "app.since: not set then, set now", "app.tenant: another value now", "app.token: another value now",
        "transform_null_equals: off then, on now",
    ):  # fmt: skip
        assert told in done.stdout + done.stderr
    assert "statement_timeout" not in done.stdout + done.stderr
    for file in shop.folder.rglob("*"):
        assert file.is_dir() or SECRET.encode() not in file.read_bytes(), file
    _configure(shop, "app.tenant", "seven")
    shop.execute("ALTER DATABASE shop SET app.token = 'old'")
    shop.execute("ALTER DATABASE shop RESET app.since")
    shop.execute("ALTER DATABASE shop RESET transform_null_equals")
    _told(shop, "promote", code=0)

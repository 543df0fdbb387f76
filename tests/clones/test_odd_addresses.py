"""Copying by libpq's own ways, with names and passwords that must be quoted somewhere on the way."""

from pathlib import Path

import pytest
from psycopg import sql

from pgrehearse.clones.server_settings import apply_to_server
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

from .conftest import MakePair

PASSWORD = "ca%41:n@r/y p'w\"d ü="
LONG = "Ä\"'%41 " * 7 + "abcdefg"  # 63 bytes


@pytest.mark.pg("== 18")
def test_a_service_s_odd_names_and_a_target_whose_sessions_start_read_only(
    production: LocalServer, clean_uat: LocalServer, pair_of: MakePair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(LONG.encode()) == 63
    name, user = sql.Identifier(LONG), sql.Identifier(LONG[::-1])
    with connect(production.conninfo(), verb="test") as admin, connect(clean_uat.conninfo(), verb="test") as uat:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(user, sql.Literal(PASSWORD)))
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, user))
        uat.execute("CREATE ROLE careful SUPERUSER LOGIN PASSWORD 'its own'")
        uat.execute("ALTER ROLE careful SET default_transaction_read_only = on")
        uat.execute("ALTER ROLE careful SET datestyle = 'German'")
        services = (
            f"[prod]\nhost={production.socket_directory}\ndbname={LONG}\nuser={LONG[::-1]}\npassword={PASSWORD}\n"
        )
        (tmp_path / "services").write_text(services)
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        monkeypatch.setenv("PGSERVICE", "prod")
        source = Conninfo.parse("postgresql://")
        try:
            with connect(source, verb="test") as owner:
                owner.execute("CREATE TABLE t AS SELECT 1 AS i")
            target = clean_uat.conninfo(user="careful", password="its own")
            with pair_of(source, target, create_roles=True) as pair, pair.session_as_role("run") as session:
                row = session.execute("SELECT session_user::text, (SELECT count(*) FROM t)").fetchone()
                assert row == (LONG[::-1], 1)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
            admin.execute(sql.SQL("DROP ROLE {}").format(user))
            uat.execute("DROP ROLE careful")


@pytest.mark.pg("== 18")
def test_a_server_is_told_to_read_its_settings_whatever_the_date_style(uat: LocalServer) -> None:
    with connect(uat.conninfo(), verb="test") as admin:
        admin.execute("SET datestyle = 'German'")
        assert apply_to_server(admin, {}) == []

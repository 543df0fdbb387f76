"""A production whose own settings change how values are written is rehearsed, promoted and taken back all the same."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from tests.support.dumps import dump_text
from tests.support.shop_project import Shop, make_shop

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg("== 18")

AS_NOBODY_EXPECTS = {
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Pacific/Chatham",
    "bytea_output": "escape",
    "extra_float_digits": "-7",
    "quote_all_identifiers": "on",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "search_path": "elsewhere, public",
    "array_nulls": "off",
    "row_security": "off",
}
STAYS = """
CREATE TABLE visits (id int PRIMARY KEY, at timestamptz, took interval, share float8, body bytea, day date, many int[]);
INSERT INTO visits SELECT n, '2026-02-03 04:05:06+00'::timestamptz + n * interval '25 hours', n * interval '-1 mon 3 d',
    n / 3.0::float8, decode('00ff5c27', 'hex'), '2026-01-02'::date + n, '{1,NULL}'::int[] FROM generate_series(1, 5) n;
"""
DESTROYS = "ALTER TABLE visits DROP COLUMN took, DROP COLUMN share, DROP COLUMN body, DROP COLUMN many;\n"
DIGEST = """
SELECT md5(string_agg(v::text, E'\\n' ORDER BY id)) FROM (SELECT id, at, took, share, body, day, many FROM visits) v
"""


@pytest.fixture
def shop(tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer) -> Shop:
    shop = make_shop(tmp_path, connection, database, uat)
    connection.execute(STAYS.encode())
    (tmp_path / "db/0003_visits.sql").write_text(DESTROYS)
    return shop


def _set_for_all(shop: Shop, settings: dict[str, str]) -> None:
    with connect(shop.production, verb="test") as session:
        for name, value in settings.items():
            database = sql.Identifier(str(shop.production.database))
            parts = value.split(", ") if name == "search_path" else [value]
            given = sql.SQL(", ").join(map(sql.Literal, parts))
            session.execute(sql.SQL("ALTER DATABASE {} SET {} = {}").format(database, sql.Identifier(name), given))


@pytest.fixture
def latin1(server: LocalServer) -> Iterator[Conninfo]:
    """A database that cannot hold every character, since it is not in UTF-8."""
    name = f"latin1_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0".encode())
    yield server.conninfo(name)
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _told(shop: Shop, *arguments: str, code: int = 0) -> dict[str, Any]:
    done = shop.pgrehearse(*arguments, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def _digest(shop: Shop) -> str:
    with connect(shop.production, verb="test") as session:
        session.execute("SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 1")
        session.execute("SET TimeZone = 'UTC'; SET bytea_output = 'hex'")
        return str(session.execute(DIGEST.encode()).fetchall()[0][0])


def test_from_rehearsal_to_rollback(shop: Shop) -> None:
    _set_for_all(shop, AS_NOBODY_EXPECTS)
    before, text = _digest(shop), dump_text(shop.production)
    assert _told(shop, "run", "--target", "uat", code=1)["verdict"] == "loss"
    _told(shop, "approve", "--accept", "drop-column:public.visits=gone for good")
    assert _told(shop, "promote")
    assert dump_text(shop.production) != text
    _told(shop, "rollback", "--yes")
    assert _digest(shop) == before


def test_where_everything_is_read_only(shop: Shop) -> None:
    _set_for_all(shop, {"default_transaction_read_only": "on"})
    told = _told(shop, "run", "--target", "uat", code=1)
    assert told["verdict"] == "failed"
    failed = [finding for finding in told["findings"] if finding["hazard"] == "migration-failed"]
    assert [finding["message"].partition(":")[0] for finding in failed] == ["no statement ran"]
    assert "default_transaction_read_only" in failed[0]["remedy"]


def test_where_the_encoding_is_not_utf_8(latin1: Conninfo, tmp_path: Path, uat: LocalServer) -> None:
    with connect(latin1, verb="test") as connection:
        shop = make_shop(tmp_path, connection, latin1, uat)
        connection.execute("CREATE TABLE größen (id int PRIMARY KEY, maß text); INSERT INTO größen VALUES (1, 'groß')")
    (tmp_path / "db/0003_sizes.sql").write_text("ALTER TABLE größen DROP COLUMN maß;\n", encoding="utf-8")
    text = dump_text(latin1)
    assert _told(shop, "run", "--target", "uat", code=1)["verdict"] == "loss"
    _told(shop, "approve", "--accept", 'drop-column:public."größen"=gone for good')
    _told(shop, "promote")
    assert dump_text(latin1) != text
    _told(shop, "rollback", "--yes")
    with connect(latin1, verb="test") as connection:
        assert connection.execute("SELECT id, maß FROM größen").fetchall() == [(1, "groß")]

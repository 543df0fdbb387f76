"""Whether the way back could be performed by who would be asked to is said before anything is promoted."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql
from tests.support.shop_project import Shop, make_shop

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg("== 18")
TOLD = "the way back by restoring could not be performed now"


@pytest.fixture
def shop(tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer) -> Shop:
    return make_shop(tmp_path, connection, database, uat)


@pytest.fixture
def poor(shop: Shop, connection: Connection) -> Iterator[Shop]:
    """The same shop by the URL of one who may read everything, and not restore."""
    name = f"poor_{shop.production.database}"
    role = sql.Identifier(name)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x' IN ROLE pg_read_all_data").format(role))
    yield replace(shop, production=shop.production.replaced(user=name, password="x"))
    connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


def recoverability(shop: Shop) -> tuple[str, list[str]]:
    """What is refused of the way back, and what is told of it."""
    answer = shop.pgrehearse("status", "prd", "--json")
    found = json.loads(answer.stdout)["gate"]
    refused = [each for each in found["reasons"] if each["kind"] == "recoverability"]
    text = "\n".join(word for each in refused for word in (each["message"], *each["details"], each["remedy"]))
    return text, [line for line in found["told"] if TOLD in line]


def test_missing_rights_are_told_and_refuse_where_only_a_restore_is_left(shop: Shop, poor: Shop) -> None:
    shop.run()
    assert recoverability(shop) == ("", [])
    refused, (told,) = recoverability(poor)
    assert refused == ""  # its inverse takes this plan back
    assert "lacks CREATEDB" in told
    assert "it belongs to postgres" in told
    assert "--to env:ADMIN_URL" in told

    (shop.folder / "db/0003_large.sql").write_text("SELECT lo_create(4242);\n")
    done = shop.pgrehearse("run", "--target", "uat", "--json")
    assert json.loads(done.stdout)["rollback"]["type"] == "loses-writes"
    with connect(shop.production, verb="test") as session:  # a superuser's, which the poor one may not end
        session.execute("SET application_name = 'shop'")
        refused, none = recoverability(poor)
    assert none == []
    assert "only a restore takes this back, and it could not be performed" in refused
    assert "lacks CREATEDB" in refused
    assert "may not end 1 of the sessions" in refused
    assert "CREATEDB and pg_signal_backend" in refused
    assert recoverability(shop) == ("", [])
    with (shop.folder / "pgrehearse.toml").open("a") as file:
        file.write('policy = ["dump", "external"]\nexternal_command = "true"\n')
    refused, (told,) = recoverability(poor)
    assert refused == ""
    assert "lacks CREATEDB" in told

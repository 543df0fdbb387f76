"""Production and UAT for each major, and what production's databases hold."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from psycopg import sql
from tests.support.replication import allow_loopback, siblings, start_replicating, tcp_address

from pgrehearse.clones.pair import ClonePair, make_pair
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

SHOP = (Path(__file__).parent / "shop.sql").read_text()
ROLES = ("shop_owner", "shop_app", "shop_readers")
_numbers = itertools.count(1)

MakePair = Callable[..., AbstractContextManager[ClonePair]]


@pytest.fixture(scope="session")
def production(server_major: int) -> Iterator[LocalServer]:
    """A server that base backups and standbys can be taken from; it listens on a loopback address too."""
    settings = {"listen_addresses": tcp_address(), "timezone": "America/St_Johns"}
    with start_replicating(server_major, **settings) as server:
        allow_loopback(server)
        yield server


@pytest.fixture(scope="session")
def uat(server_major: int) -> Iterator[LocalServer]:
    """Another server of the same major."""
    with LocalServer.create(require_server(server_major)) as server:
        yield server


@pytest.fixture
def clean_uat(uat: LocalServer) -> Iterator[LocalServer]:
    """The UAT server, checked afterwards: whatever a test did, nothing of it is left there."""
    before = contents_of(uat)
    yield uat
    assert contents_of(uat) == before


@pytest.fixture
def shop(production: LocalServer) -> Iterator[Conninfo]:
    """A fresh shop database on production, as its owner, an ordinary role, reaches it."""
    name = f"shop_{os.getpid()}_{next(_numbers)}"
    with connect(production.conninfo(), verb="test") as admin:
        admin.execute("CREATE ROLE shop_readers NOLOGIN")
        admin.execute("CREATE ROLE shop_owner LOGIN CREATEROLE PASSWORD 'owner-secret' IN ROLE shop_readers")
        admin.execute("CREATE ROLE shop_app LOGIN NOINHERIT PASSWORD 'app-secret' IN ROLE shop_readers")
        admin.execute(sql.SQL("CREATE DATABASE {} OWNER shop_owner").format(sql.Identifier(name)))
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO shop_app").format(sql.Identifier(name)))
        admin.execute('ALTER ROLE shop_owner SET search_path = shop, "Odd One", public')
        admin.execute(
            sql.SQL("ALTER ROLE shop_owner IN DATABASE {} SET lock_timeout = '7s'").format(sql.Identifier(name))
        )
        admin.execute(sql.SQL("ALTER DATABASE {} SET timezone = 'Asia/Tokyo'").format(sql.Identifier(name)))
    address = production.conninfo(name, user="shop_owner", password="owner-secret")
    with connect(address, verb="test") as owner:
        owner.execute(SHOP)
    yield address
    with connect(production.conninfo(), verb="test") as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        for role in ("shop_app", "shop_owner", "shop_readers"):
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[ReleaseLedger]:
    with ReleaseLedger.open(tmp_path / "ledger.db") as opened:
        yield opened


@pytest.fixture
def pair_of(ledger: ReleaseLedger) -> MakePair:
    """`make_pair` with a ledger and a clock; nothing of a pair may be on disk when the test ends."""
    return partial(make_pair, ledger=ledger, now=lambda: datetime.now(UTC))


@pytest.fixture(scope="session")
def twin_of() -> Iterator[Callable[[LocalServer], LocalServer]]:
    yield from siblings(standby=False)


@pytest.fixture(scope="session")
def standby_of() -> Iterator[Callable[[LocalServer], LocalServer]]:
    yield from siblings(standby=True)


def contents_of(server: LocalServer) -> tuple[list[str], list[str]]:
    """Names of all databases and roles of a server."""
    with connect(server.conninfo(), verb="test") as admin:
        databases = admin.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
        roles = admin.execute("SELECT rolname FROM pg_roles ORDER BY 1").fetchall()
    return [row[0] for row in databases], [row[0] for row in roles]

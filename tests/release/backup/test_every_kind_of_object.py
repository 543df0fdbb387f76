"""A database with every kind of object is backed up, proved and restored: no needless alarm, and nothing left out."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pglast
import pytest

from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.backup.compare import compare_with_backup
from pgrehearse.release.backup.create import create_dump
from pgrehearse.release.backup.restore import restore_into
from pgrehearse.release.backup.scratch import ScratchOptions

from .conftest import Home, utc_now

pytestmark = pytest.mark.pg(">= 15")
ZOO = Path(__file__).parents[2] / "schema" / "zoo"
ROLES = ("zoo_app", "zoo_owner", "zoo_other")


@pytest.fixture
def roles(server: LocalServer, uat: LocalServer) -> Iterator[None]:
    """What the zoo grants to; on the scratch's server they go again."""
    for place in (server, uat):
        with connect(place.conninfo(), verb="test") as admin:
            known = {row[0] for row in admin.execute("SELECT rolname::text FROM pg_roles")}
            for role in sorted(set(ROLES) - known):
                admin.execute(f"CREATE ROLE {role}".encode())
    yield
    with connect(uat.conninfo(), verb="test") as admin:
        for role in ROLES:
            admin.execute(f"DROP ROLE {role}".encode())


@pytest.fixture
def zoo(database: Conninfo, server_major: int, roles: None) -> Conninfo:
    with connect(database, verb="test") as session:
        for file in sorted(ZOO.glob("*.sql")):
            script = file.read_text(encoding="utf-8")
            needs = re.match(r"-- needs: (\d+)", script)
            if needs is None or int(needs[1]) <= server_major:
                for statement in pglast.split(script):
                    session.execute(statement.encode())
    return database


def test_every_kind_of_object_comes_back_as_it_was(
    zoo: Conninfo, home: Home, scratch: ScratchOptions, uat: LocalServer, empty_on: Callable[[LocalServer], Conninfo]
) -> None:
    backup = create_dump(zoo, directory=home.directory, ledger=home.ledger, now=utc_now, scratch=scratch)
    target = empty_on(uat)
    restore_into(backup, target)
    assert compare_with_backup(backup, target) == ()

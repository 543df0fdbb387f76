"""One bank per major, one proved backup of it that tests copy, and a scratch server."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from psycopg import sql

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.backup.create import create_dump
from pgrehearse.release.backup.dump_backup import DumpBackup, open_backup
from pgrehearse.release.backup.record import BEGUN, PROVED
from pgrehearse.release.backup.scratch import ScratchOptions

BANK = (Path(__file__).parent / "bank.sql").read_text()


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """A directory of backups and the release ledger beside it."""

    directory: Path
    ledger: ReleaseLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvedBank:
    """A database that nobody writes to, and a backup of it that was proved on a private server."""

    database: Conninfo
    backup: DumpBackup
    begun: dict[str, object]
    proved: dict[str, object]

    def copied_to(self, home: Home) -> DumpBackup:
        """The same backup in another directory, recorded in its ledger."""
        target = home.directory / self.backup.id
        shutil.copytree(self.backup.directory, target)
        home.ledger.append(BEGUN, self.backup.id, self.begun, utc_now())
        home.ledger.append(PROVED, self.backup.id, self.proved, utc_now())
        return open_backup(target)


@pytest.fixture(scope="session")
def bank(server_major: int, server: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProvedBank]:
    name = f"bank_{os.getpid()}_{server_major}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("ALTER DATABASE {} SET work_mem = '5MB'").format(sql.Identifier(name)))
        admin.execute(sql.SQL("COMMENT ON DATABASE {} IS 'the bank''s'").format(sql.Identifier(name)))
    with connect(server.conninfo(name), verb="test") as session:
        session.execute(BANK)
    directory = tmp_path_factory.mktemp(f"proved-{server_major}")
    with ReleaseLedger.open(directory / "ledger.db") as ledger:
        backup = create_dump(server.conninfo(name), directory=directory / "backups", ledger=ledger, now=utc_now)
        begun, proved = ledger.entries(kind=BEGUN), ledger.entries(kind=PROVED)
        assert len(begun) == len(proved) == 1
    yield ProvedBank(
        database=server.conninfo(name), backup=backup, begun=dict(begun[0].body), proved=dict(proved[0].body)
    )
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    directory = tmp_path / "backups"
    directory.mkdir()
    with ReleaseLedger.open(tmp_path / "ledger.db") as ledger:
        yield Home(directory=directory, ledger=ledger)


@pytest.fixture
def scratch(uat: LocalServer) -> Iterator[ScratchOptions]:
    """Another server; whatever a test does, it leaves no database of ours there."""
    before = _ours(uat)
    yield ScratchOptions(server=uat.conninfo(), create_roles=True)
    assert _ours(uat) <= before


def _ours(server: LocalServer) -> set[str]:
    with connect(server.conninfo(), verb="test") as admin:
        return {name for (name,) in admin.execute("SELECT datname FROM pg_database WHERE datname LIKE 'pgrehearse%'")}


@pytest.fixture
def empty_on(request: pytest.FixtureRequest) -> Iterator[Callable[[LocalServer], Conninfo]]:
    """A function that makes an empty database, from template0, on a server."""
    made: list[tuple[LocalServer, str]] = []

    def make(server: LocalServer) -> Conninfo:
        name = f"restored_{os.getpid()}_{len(made)}_{abs(hash(request.node.name)) % 10**6}"
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        made.append((server, name))
        return server.conninfo(name)

    yield make
    for server, name in made:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

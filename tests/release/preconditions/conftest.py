"""One database for many small cases, each in a transaction that is rolled back."""

from collections.abc import Iterator

import pytest

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer


@pytest.fixture(scope="module")
def shared(server: LocalServer, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A session in a database of this module's own."""
    name = f"preconditions_{server.major}_{request.module.__name__.rpartition('.')[2]}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        admin.execute(f"CREATE DATABASE {name}".encode())
        with connect(server.conninfo(name), verb="test") as session:
            yield session
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def undone(shared: Connection) -> Iterator[Connection]:
    """The shared session, within a transaction that is rolled back afterwards."""
    with shared.transaction(force_rollback=True):
        yield shared

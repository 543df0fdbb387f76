"""Servers that replicate, their twins and standbys: one of each per major, shared by this room's tests."""

from collections.abc import Callable, Iterator

import pytest
from tests.support.replication import allow_loopback, siblings, start_replicating, tcp_address

from pgrehearse.postgres.local_server import LocalServer


@pytest.fixture(scope="session")
def replicating(server_major: int) -> Iterator[LocalServer]:
    """A server of its own that base backups and standbys are taken from; it listens on a loopback address too."""
    with start_replicating(server_major, listen_addresses=tcp_address()) as server:
        allow_loopback(server)
        yield server


@pytest.fixture(scope="session")
def twin_of() -> Iterator[Callable[[LocalServer], LocalServer]]:
    """Starts a server from a base backup, once per server: equal identifiers, a life of its own."""
    yield from siblings(standby=False)


@pytest.fixture(scope="session")
def standby_of() -> Iterator[Callable[[LocalServer], LocalServer]]:
    """Starts a hot standby, once per server."""
    yield from siblings(standby=True)

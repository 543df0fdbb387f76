"""Servers that replicate, their twins and standbys: one of each per major, shared by this room's tests."""

from collections.abc import Callable, Iterator

import pytest
from tests.support.replication import allow_loopback, start_replicating, start_sibling, tcp_address

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
    yield from _siblings(standby=False)


@pytest.fixture(scope="session")
def standby_of() -> Iterator[Callable[[LocalServer], LocalServer]]:
    """Starts a hot standby, once per server."""
    yield from _siblings(standby=True)


def _siblings(*, standby: bool) -> Iterator[Callable[[LocalServer], LocalServer]]:
    made: dict[int, LocalServer] = {}

    def sibling_of(server: LocalServer) -> LocalServer:
        if id(server) not in made:
            made[id(server)] = start_sibling(server, standby=standby)
        return made[id(server)]

    yield sibling_of
    for server in made.values():
        server.wipe()

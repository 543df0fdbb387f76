"""Siblings of a server, made from its files: twins and hot standbys, whose identifiers are all equal."""

import os
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.local_server import MARKER, LocalServer, _server_identity
from pgrehearse.postgres.owner import Owner

REPLICATING = {"wal_level": "replica", "max_wal_senders": "4", "wal_keep_size": "64MB"}


def start_replicating(major: int, **settings: str) -> LocalServer:
    """A server that base backups and standbys can be taken from."""
    return LocalServer.create(require_server(major), settings=REPLICATING | settings)


def start_sibling(server: LocalServer, *, standby: bool) -> LocalServer:
    """A base backup of the server, started: as its hot standby, or as a twin that goes its own way."""
    directory = Path(tempfile.mkdtemp(prefix="pgrehearse-"))
    sibling = LocalServer(server.binaries, directory, server._password)
    (directory / MARKER).write_text(Owner.of(os.getpid()).as_text())
    sibling.socket_directory.mkdir(mode=0o700)
    address, environment = server.conninfo().for_child()
    arguments = [server.binaries.program("pg_basebackup"), f"--dbname={address}", f"--pgdata={sibling.data_directory}"]
    arguments += ["--checkpoint=fast", "--wal-method=stream", "--no-sync"]
    if standby:
        arguments.append("--write-recovery-conf")
    subprocess.run(arguments, env=environment, check=True, capture_output=True)
    identity = _server_identity()
    if identity:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, identity["user"], identity["group"])
    try:
        sibling.start(server._settings | {"hot_standby": "on", "listen_addresses": ""})
    except BaseException:
        sibling.wipe()
        raise
    return sibling


def tcp_address() -> str:
    """An address of the loopback network that nobody else listens on."""
    return f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.{secrets.randbelow(250) + 1}"


def allow_loopback(server: LocalServer) -> None:
    """Let the whole loopback network in, with a password."""
    with (server.data_directory / "pg_hba.conf").open("a") as file:
        file.write("host all all 127.0.0.0/8 scram-sha-256\n")


def siblings(*, standby: bool) -> Iterator[Callable[[LocalServer], LocalServer]]:
    """For a fixture: a function that starts one sibling per server, all of them wiped at the end."""
    made: dict[Path, LocalServer] = {}

    def sibling_of(server: LocalServer) -> LocalServer:
        if server.directory not in made:
            made[server.directory] = start_sibling(server, standby=standby)
        return made[server.directory]

    try:
        yield sibling_of
    finally:
        for server in made.values():
            server.wipe()

"""Copies of a database, as a backup would restore them."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql
from tests.support.swapping import databases

from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

_numbers = itertools.count(1)


@pytest.fixture
def copy_of(server: LocalServer) -> Iterator[Callable[[Conninfo], Conninfo]]:
    """A second database with the same content, by TEMPLATE: quick, and nobody may be in the first one meanwhile."""
    yield from _copies(server, lambda database, target: None, template=True)


@pytest.fixture
def restored_from(server: LocalServer, tmp_path: Path) -> Iterator[Callable[[Conninfo], Conninfo]]:
    """A second database with the same content, by pg_dump and pg_restore: other oids, other places."""

    def fill(database: Conninfo, target: Conninfo) -> None:
        dump = tmp_path / f"{target.database}.dump"
        programs = server.binaries
        address, environment = database.for_child()
        arguments = [programs.program("pg_dump"), "-Fc", "-Z0", f"--file={dump}", f"--dbname={address}"]
        subprocess.run(arguments, env=environment, check=True)
        address, environment = target.for_child()
        arguments = [programs.program("pg_restore"), "--exit-on-error", f"--dbname={address}", str(dump)]
        subprocess.run(arguments, env=environment, check=True)

    yield from _copies(server, fill, template=False)


def _copies(
    server: LocalServer, fill: Callable[[Conninfo, Conninfo], None], *, template: bool
) -> Iterator[Callable[[Conninfo], Conninfo]]:
    made: list[sql.Identifier] = []

    def copy(database: Conninfo) -> Conninfo:
        name = f"copy_{os.getpid()}_{next(_numbers)}"
        like = sql.Identifier(str(database.database) if template else "template0")
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), like))
        made.append(sql.Identifier(name))
        target = server.conninfo(name)
        fill(database, target)
        return target

    yield copy
    with connect(server.conninfo(), verb="test") as admin:
        for name in made:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
def production(server: LocalServer, database: Conninfo) -> Iterator[Conninfo]:
    """A database whose relatives are dropped too."""
    yield database
    with connect(server.conninfo(), verb="test") as admin:
        for name in databases(database):
            if name.startswith(str(database.database)):
                admin.execute(
                    sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT -1").format(sql.Identifier(name))
                )
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

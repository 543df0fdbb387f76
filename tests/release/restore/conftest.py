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
def copy_of(server: LocalServer, tmp_path: Path) -> Iterator[Callable[[Conninfo], Conninfo]]:
    """Restore a dump of a database into another one of the same server."""
    made: list[str] = []

    def copy(database: Conninfo) -> Conninfo:
        name = f"copy_{os.getpid()}_{next(_numbers)}"
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE DATABASE {name}")
        made.append(name)
        dump = tmp_path / f"{name}.dump"
        address, environment = database.for_child()
        programs = server.binaries
        subprocess.run(
            [programs.program("pg_dump"), "-Fc", "-Z0", f"--file={dump}", f"--dbname={address}"],
            env=environment, check=True,
        )  # fmt: skip
        target = server.conninfo(name)
        address, environment = target.for_child()
        arguments = [programs.program("pg_restore"), "--exit-on-error", f"--dbname={address}", str(dump)]
        subprocess.run(arguments, env=environment, check=True)
        return target

    yield copy
    with connect(server.conninfo(), verb="test") as admin:
        for name in made:
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


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

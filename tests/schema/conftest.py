"""Databases to compare: the zoo, copies by dump and restore, and pg_dump's own text as the oracle."""

import re
import subprocess
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pglast
import pytest

from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.schema.schema_object import Schema
from pgrehearse.schema.snapshot import read_schema

HERE = Path(__file__).parent
ROLES = ("zoo_app", "zoo_owner", "zoo_other")

_numbers = count(1)


class Databases:
    """Fresh databases on one server, dropped at the end."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.made: list[str] = []

    def create(self, *, template: str = "template0") -> Conninfo:
        name = f"schema_{self.server.major}_{next(_numbers)}"
        with connect(self.server.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        self.made.append(name)
        return self.server.conninfo(name)

    def restored(self, source: Conninfo, directory: Path) -> Conninfo:
        """A copy made by pg_dump and pg_restore of the server's own major."""
        target, file = self.create(), directory / "dump"
        client = require_client(self.server.major)
        for program, conninfo, arguments in (
            ("pg_dump", source, ["--format=custom", f"--file={file}", "--dbname"]),
            ("pg_restore", target, ["--exit-on-error", str(file), "--dbname"]),
        ):
            text, environment = conninfo.for_child()
            subprocess.run(
                [client.program(program), *arguments, text],
                env=environment,
                check=True,
                stderr=subprocess.PIPE,
                text=True,
            )
        return target

    def dump_entries(self, source: Conninfo) -> list[str]:
        """`pg_dump --schema-only` text, one item per entry of its table of contents."""
        text, environment = source.for_child()
        command = [require_client(self.server.major).program("pg_dump"), "--schema-only", "--dbname", text]
        printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        body = re.sub(r"^\\(un)?restrict .*$|^SET default_.*$", "", printed, flags=re.MULTILINE)
        return [re.sub(r"\s+", " ", entry) for entry in re.split(r"^--\n-- Name: ", body, flags=re.MULTILINE)[1:]]

    def drop(self) -> None:
        with connect(self.server.conninfo(), verb="test") as admin:
            for name in self.made:
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def run_script(session: Connection, script: str) -> None:
    """Statement by statement, each by itself, so that a failing one is named."""
    for statement in pglast.split(script):
        session.execute(statement.encode())


def read(database: Conninfo) -> Schema:
    with connect(database, verb="test") as session:
        return read_schema(session)


@pytest.fixture(scope="session")
def databases(server: LocalServer) -> Iterator[Databases]:
    made = Databases(server)
    with connect(server.conninfo(), verb="test") as admin:
        for role in ROLES:
            admin.execute(f"DROP ROLE IF EXISTS {role}")
            admin.execute(f"CREATE ROLE {role}")
    yield made
    made.drop()


@pytest.fixture(scope="session")
def zoo(databases: Databases) -> Conninfo:
    """A database with every kind of object that this major knows."""
    database = databases.create()
    with connect(database, verb="test") as session:
        for file in sorted((HERE / "zoo").glob("*.sql")):
            script = file.read_text(encoding="utf-8")
            needs = re.match(r"-- needs: (\d+)", script)
            if needs is None or int(needs[1]) <= databases.server.major:
                run_script(session, script)
    return database

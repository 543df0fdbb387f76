"""A pristine database, its TEMPLATE copy, and the comparison of the two after a migration of the copy."""

import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from pgrehearse.data.loss import compare_data
from pgrehearse.data.verdicts import DataComparison
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

_numbers = itertools.count(1)


@dataclass(slots=True)
class Twins:
    """``pristine`` is filled first; ``migrate`` copies it and runs a migration on the copy."""

    server: LocalServer
    pristine: str
    clone: str
    role: str | None = None
    _open: list[Connection] = field(default_factory=list)

    def session(self, database: str, role: str | None = None) -> Connection:
        connection = connect(self.server.conninfo(database), verb="test")
        if role is not None:
            connection.execute(f"SET SESSION AUTHORIZATION {role}")
        return connection

    def given(self, script: str) -> None:
        with self.session(self.pristine) as connection:
            connection.execute(script)

    def migrate(self, *scripts: str) -> None:
        """Each script is sent as one; several, when a statement must stand alone (VACUUM)."""
        with connect(self.server.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE DATABASE {self.clone} TEMPLATE {self.pristine}")
        with self.session(self.clone) as connection:
            for script in scripts:
                connection.execute(script)

    def compare(self, **options: Any) -> DataComparison:
        return compare_data(
            lambda: self.session(self.pristine, self.role), lambda: self.session(self.clone, self.role), **options
        )

    def ask(self, which: str, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query against ``pristine`` or ``clone``: the independent witness."""
        with self.session(self.pristine if which == "pristine" else self.clone) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def twins(server: LocalServer) -> Iterator[Twins]:
    number = next(_numbers)
    made = Twins(server, f"pristine_{os.getpid()}_{number}", f"clone_{os.getpid()}_{number}")
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {made.pristine}")
    yield made
    with connect(server.conninfo(), verb="test") as admin:
        for name in (made.pristine, made.clone):
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def ordinary_role(server: LocalServer) -> Iterator[str]:
    """A role without any right of its own; its objects and rights go with the databases."""
    name = f"clerk_{os.getpid()}_{next(_numbers)}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE ROLE {name}")
        yield name
        with suppress(Exception):
            admin.execute(f"DROP ROLE {name}")

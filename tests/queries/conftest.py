"""A pristine database and the clone of it on which a migration ran."""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.queries.compare import QueryLimits, compare_queries
from pgrehearse.queries.comparison import QueryComparison, WorkloadComparison
from pgrehearse.queries.fresh_statistics import refresh_statistics
from pgrehearse.queries.workload import Gathering

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, age int, nick varchar(40), created timestamptz NOT NULL);
INSERT INTO users SELECT n, 'u' || n || '@example.com', n % 90, 'nick' || n % 7, now() - n * interval '1 minute'
FROM generate_series(1, 8000) n;
CREATE UNIQUE INDEX users_email ON users (email);
CREATE TABLE orders (id int PRIMARY KEY, user_id int NOT NULL REFERENCES users, total numeric, day date);
INSERT INTO orders SELECT n, n % 8000 + 1, n, date '2026-01-01' + n % 300 FROM generate_series(1, 12000) n;
CREATE INDEX orders_user ON orders (user_id);
"""


class Copies:
    """Two databases of one server, the second a copy of the first by TEMPLATE."""

    def __init__(self, pristine: Conninfo, clone: Conninfo) -> None:
        self.pristine = pristine
        self.clone = clone

    def before(self) -> Connection:
        return connect(self.pristine, verb="test")

    def after(self) -> Connection:
        return connect(self.clone, verb="test")

    def compare(
        self,
        *texts: str,
        role: str | None = None,
        role_settings: Mapping[str, Mapping[str, str]] | None = None,
        keep_example: bool = False,
        calls: int | None = 10,
        rows: int | None = None,
        execute_worst: int = 0,
        **limits: Any,
    ) -> WorkloadComparison:
        gathering = Gathering()
        for text in texts:
            gathering.add(text, role=role, calls=calls, rows=rows, keep_example=keep_example)
        with self.before() as before, self.after() as after:
            refresh_statistics(before, after)
        return compare_queries(
            gathering.finished("test", role_settings or {}),
            self.before,
            self.after,
            limits=QueryLimits(execute_worst=execute_worst, **limits),
        )

    def compare_one(self, text: str, **options: Any) -> QueryComparison:
        (found,) = self.compare(text, **options).queries
        return found


Making = Callable[..., Copies]


@pytest.fixture
def make_copies(server: LocalServer, database: Conninfo) -> Iterator[Making]:
    """``make_copies(migration, before=SHOP, more="")``."""
    name = f"{database.database}_clone_{os.getpid()}"

    def make(migration: str, *, before: str = SHOP, more: str = "") -> Copies:
        with connect(database, verb="test") as session:
            session.execute((before + more).encode())
            session.execute("ANALYZE")
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {database.database}".encode())
        copies = Copies(database, server.conninfo(name))
        with copies.after() as session:
            session.execute(migration.encode())
            session.execute("SELECT pg_stat_clear_snapshot()")
        return copies

    yield make
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())

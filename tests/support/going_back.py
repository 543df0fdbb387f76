"""A migration rehearsed on a copy, promoted with before-images, and taken back: the two ends are the test's."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pgrehearse.data.loss import compare_data
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.images import (
    Image,
    ImagePlan,
    plan_images,
    refresh_images,
    settle_images,
    take_images,
)
from pgrehearse.rollback.put_back import PutBack, put_back
from pgrehearse.schema.diff import diff
from pgrehearse.schema.snapshot import read_schema

_numbers = itertools.count(1)


@dataclass(slots=True)
class GoingBack:
    """``database`` stands for production; ``rehearsed`` is the copy that the plan is made from."""

    server: LocalServer
    database: str
    rehearsed: str
    role: str | None = None
    plans: tuple[ImagePlan, ...] = ()
    images: tuple[Image, ...] = ()

    def session(self, database: str | None = None) -> Connection:
        session = connect(self.server.conninfo(database or self.database), verb="test")
        if self.role is not None:
            session.execute(f'SET SESSION AUTHORIZATION "{self.role}"')
        return session

    def run(self, script: str) -> None:
        """As the application, or whoever else."""
        with self.session() as session:
            session.execute(script)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The independent witness: plain SQL."""
        with self.session() as session:
            return session.execute(query).fetchall()

    def rehearse(self, migration: str) -> tuple[ImagePlan, ...]:
        """What the receipt's own comparison leads to."""
        with connect(self.server.conninfo(), verb="test") as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {self.rehearsed} WITH (FORCE)")
            admin.execute(f"CREATE DATABASE {self.rehearsed} TEMPLATE {self.database}")
        with self.session() as before, self.session(self.rehearsed) as after:
            after.execute(migration)
            data = compare_data(self.session, lambda: self.session(self.rehearsed))
            schema = read_schema(before)
            changes = diff(schema, read_schema(after), same_oids=True)
        self.plans = plan_images(
            [table.as_json() for table in data.tables], [change.as_json() for change in changes], schema
        )
        return self.plans

    def take(self, id: str = "p1") -> tuple[Image, ...]:  # noqa: A002
        with self.session() as session:
            self.images = take_images(session, self.plans, id=id)
        return self.images

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """The migration's transaction with both hooks."""
        with self.session() as session, session.transaction():
            refresh_images(session, self.images)
            yield session
            self.images = settle_images(session, self.images)

    def promote(self, migration: str, *, writes_before: str = "") -> None:
        """Rehearse, take, let the application write, migrate."""
        self.rehearse(migration)
        self.take()
        if writes_before:
            self.run(writes_before)
        with self.migrating() as session:
            session.execute(migration)

    def go_back(self, inverse: str) -> PutBack:
        with self.session() as session, session.transaction():
            session.execute(inverse or "SELECT")
            return put_back(session, self.images)


@contextmanager
def going_back(server: LocalServer) -> Iterator[Callable[[], GoingBack]]:
    """Makes databases for it; all are dropped afterwards."""
    made: list[GoingBack] = []

    def make() -> GoingBack:
        number = next(_numbers)
        found = GoingBack(server, f"back_{os.getpid()}_{number}", f"rehearsed_{os.getpid()}_{number}")
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE DATABASE {found.database}")
        made.append(found)
        return found

    yield make
    with connect(server.conninfo(), verb="test") as admin:
        for each in made:
            for name in (each.database, each.rehearsed):
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

"""The same four migrations promoted again and again, and disturbed; each end is held against an undisturbed one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.dumps import dump_text
from tests.support.ledger_story import read_story, require_approved_and_recoverable
from tests.support.release_world import MIGRATIONS, REHEARSER, Outcome, World, attempt

from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer


class SameEnd:
    """A world, the receipt of its first beginning, and what stands in it after an undisturbed promotion."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.receipt: dict[str, Any] = {}
        self.undisturbed: tuple[object, ...] = ()

    @property
    def digest(self) -> str:
        return str(self.receipt["digest"])

    def begin(self) -> None:
        """A fresh production and project; the receipt of the first time is approved again."""
        self.begin_project()
        self.approve()

    def begin_project(self) -> Path:
        """The same without receipt and approval; where the project keeps its own things, which is not there yet."""
        self.world.begin()
        for version in MIGRATIONS:
            self.world.write_migration(version)
        return self.world.home / ".pgrehearse"

    def approve(self) -> None:
        self.receipt = self.world.rehearse(as_at_first=True).value
        names = [
            f"{each['hazard']}:{each['relation']}" for each in self.receipt["findings"] if each["level"] == "error"
        ]
        assert self.world.approve("ann", self.digest, names).error is None

    def promote(self, by: Conninfo | None = None) -> Outcome:
        self.world.reach(by or self.world.production)
        return attempt(lambda: self.world.promote(self.digest))

    def go_on(self) -> Outcome:
        self.world.reach(self.world.production)
        return self.world.patiently(lambda: self.world.promote(self.digest))

    def left(self) -> tuple[object, ...]:
        """pg_dump's text of the schema, what stands in the tables, and how promotions ended that began to apply."""
        schema = dump_text(
            self.world.production, "--schema-only", "--exclude-schema=pgrehearse",
            "--exclude-schema=pgrehearse_quarantine",
        )  # fmt: skip
        story = read_story(self.world.entries())
        require_approved_and_recoverable(self.world.entries(), {self.digest: self.receipt}, REHEARSER)
        ended = [told.outcome for told in story.promotions.values()]
        return schema, self.world.look(), [outcome for outcome in ended if outcome != "refused"]

    def require_same_end(self, what: object) -> None:
        assert self.left() == self.undisturbed, what


@contextmanager
def same_end(server: LocalServer, uat: LocalServer, home: Path, name: str) -> Iterator[SameEnd]:
    """Its databases go in the end."""
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}".encode())
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patched.setenv("GIT_CONFIG_NOSYSTEM", "1")
        story = SameEnd(World(server.conninfo(name), uat.conninfo(), home))
        story.begin()
        yield story
        story.world.end()

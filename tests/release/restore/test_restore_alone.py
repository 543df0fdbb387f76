"""While a restore is under way nobody else promotes, rolls back, or opens production: their writes would be lost."""

import os
from pathlib import Path

import pytest
from tests.support.release_world import Outcome, World, attempt

from pgrehearse.errors import RestoreFailed
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.restore import fence
from pgrehearse.release.restore.beside import Mark

pytestmark = pytest.mark.pg("== 18")


class Another:
    """Somebody else, at each step of the restore."""

    def __init__(self, world: World, digest: str) -> None:
        self.seen: dict[str, set[str]] = {}
        self._world = world
        self._digest = digest

    def step(self, what: str) -> None:
        tried: list[Outcome] = [
            attempt(lambda: self._world.promote(self._digest)),
            attempt(lambda: self._world.rollback(agree=True)),
            attempt(lambda: self._world.rolling_back.undo_restore(None, drop=False)),
        ]
        self.seen[what.split()[0]] = {str(each).split(":")[0] for each in tried}

    def advance(self, what: str, done: int, total: int) -> None: ...


def test_nobody_else_is_let_in_until_a_restore_has_ended(
    server: LocalServer, uat: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    name = f"alone_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}")
    world = World(server.conninfo(name), uat.conninfo(), tmp_path)
    world.begin()
    world.write_migration("0003_stars")
    digest = world.rehearse(as_at_first=False).value["digest"]
    assert world.approve("ann", digest, ()).error is None
    world.promote(digest)
    another = Another(world, digest)

    # Somebody who opens it by hand is not kept from it; what they let others write is in no export.
    with monkeypatch.context() as patched:
        shut = fence._shut

        def open_at_once(admin: Connection, mark: Mark) -> Mark:
            fenced = shut(admin, mark)
            admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
            return fenced

        patched.setattr(fence, "_shut", open_at_once)
        with pytest.raises(RestoreFailed, match="somebody opened"):
            world.rollback(agree=True, only="restore")
    assert "notes.stars" in world.look().columns

    done = world.rollback(agree=True, only="restore", progress=another)
    assert done.restore is not None
    # A step of the swap begins only once production is shut, and then it cannot even be asked who it is.
    assert {"shutting", "exporting", "moving", "swapping"} <= set(another.seen)
    assert {name for seen in another.seen.values() for name in seen} <= {"LeaseHeld", "DatabaseFenced"}
    assert another.seen["shutting"] == {"LeaseHeld"}
    assert "notes.stars" not in world.look().columns
    world.end()

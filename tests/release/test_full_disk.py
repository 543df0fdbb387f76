"""A disk that fills up during a promotion: a clear error, nothing lost, and once there is space it goes on."""

import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.applying import KillAt
from tests.support.same_end import SameEnd, same_end
from tests.support.small_disk import SmallDisk, small_disk

from pgrehearse.clones.dump_restore import start_dump
from pgrehearse.errors import LedgerUnusable
from pgrehearse.ledger import Entry, ReleaseLedger
from pgrehearse.migrations.observer import Observers
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release import apply_watched as apply_module
from pgrehearse.release.backup import create as create_module

pytestmark = pytest.mark.pg("== 18")
# PGREHEARSE_SOAK=1 (make soak): at every entry of the release ledger, at every boundary within the migration.
SOAK = bool(os.environ.get("PGREHEARSE_SOAK"))
ENTRIES = range(2, 20) if SOAK else (6, 11)
BOUNDARIES = range(1, 20) if SOAK else (3,)
NO_SPACE = "No space left|disk is full|disk I/O error|unable to open database file"


@pytest.fixture(scope="module")
def story(server: LocalServer, uat: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SameEnd]:
    with same_end(server, uat, tmp_path_factory.mktemp("disk"), f"disk_{os.getpid()}") as story:
        assert story.promote().error is None
        story.undisturbed = story.left()
        yield story


def test_where_the_backup_and_the_release_ledger_are(story: SameEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be backed up is told, though the ledger has no room for that either."""
    with small_disk(story.begin_project(), 8) as disk:
        story.approve()
        was = story.world.look()
        with monkeypatch.context() as patched:

            def full(*given: Any, **more: Any) -> Any:
                disk.fill()
                return start_dump(*given, **more)

            patched.setattr(create_module, "start_dump", full)
            refused = story.promote()
        assert refused.name == "BackupFailed", refused
        assert refused.error is not None
        assert refused.error.exit_code == 3
        assert re.search(NO_SPACE, str(refused.error)), refused
        assert "disk space" in refused.error.remedy
        assert story.world.look() == was
        disk.make_space()
        went_on = story.go_on()
        assert went_on.error is None, went_on
        story.require_same_end("a full disk for the backup")


def test_where_the_release_ledger_is(story: SameEnd) -> None:
    for number in ENTRIES:
        with small_disk(story.begin_project(), 8) as disk:
            story.approve()
            with pytest.MonkeyPatch.context() as patched:
                fill_at_entry(number, disk, patched)
                refused = story.promote()
            assert refused.error is not None, number
            assert refused.name in ("LedgerUnusable", "LeaseLost"), f"{number}: {refused}"
            if isinstance(refused.error, LedgerUnusable):
                assert re.search(NO_SPACE, str(refused.error)), f"{number}: {refused}"
                assert "disk" in refused.error.remedy
            disk.make_space()
            went_on = story.go_on()
            assert went_on.error is None, f"{number}: {went_on}"
            story.require_same_end(number)


def fill_at_entry(number: int, disk: SmallDisk, patched: pytest.MonkeyPatch) -> None:
    """The disk is full when the n-th entry is written, and from then on."""
    original, left = ReleaseLedger._append, number

    def append(
        self: ReleaseLedger, kind: str, subject: str, body: Mapping[str, Any], now: datetime, **more: Any
    ) -> Entry | None:
        nonlocal left
        left -= 1
        if left == 0:
            disk.fill()
        return original(self, kind, subject, body, now, **more)

    patched.setattr(ReleaseLedger, "_append", append)


class FillAt(KillAt):
    """Fills the disk at the n-th boundary."""

    def __init__(self, boundary: int, disk: SmallDisk) -> None:
        super().__init__(boundary)
        self._disk = disk

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._disk.fill()


def test_where_production_is(server: LocalServer, uat: LocalServer, tmp_path: Path) -> None:
    """Data and WAL: the server says so, or crashes, and is started again once there is space."""
    place = Path(tempfile.mkdtemp(prefix="pgr-"))  # where another user may enter, as whom the server runs
    place.chmod(0o755)
    settings = {"synchronous_commit": "on", "shared_buffers": "16MB", "max_wal_size": "64MB", "min_wal_size": "32MB"}
    with (
        small_disk(place, 300) as disk,
        LocalServer.create(server.binaries, parent=disk.place, settings=settings) as mine,
        same_end(mine, uat, tmp_path, "production") as story,
    ):
        assert story.promote().error is None
        story.undisturbed = story.left()
        for boundary in BOUNDARIES:
            story.begin()
            with pytest.MonkeyPatch.context() as patched:
                fill = FillAt(boundary, disk)
                patched.setitem(vars(apply_module), "Observers", lambda *given, f=fill: Observers(*given, f))
                refused = story.promote()
            disk.make_space()
            if refused.error is None:  # what was left to do needed no room
                assert SOAK
            else:
                assert refused.error.exit_code in (1, 4), f"{boundary}: {refused}"
                assert re.search(f"{NO_SPACE}|connection", str(refused.error)), f"{boundary}: {refused}"
                mine.stop()  # it may have crashed, and be starting again
                mine.start()
                went_on = story.go_on()
                assert went_on.error is None, f"{boundary}: {refused}; {went_on}"
            story.require_same_end(boundary)
    place.rmdir()

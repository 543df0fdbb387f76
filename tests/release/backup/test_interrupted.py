"""Killed, interrupted, or out of disk: nothing ever stands under a proved one's name that is not proved."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgrehearse.clones.prune import prune_clones
from pgrehearse.clones.record import recorded_clones
from pgrehearse.errors import BackupFailed
from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.backup.create import create_dump
from pgrehearse.release.backup.inventory import ListedBackup, State, list_backups, prune_backups
from pgrehearse.release.backup.scratch import ScratchOptions

from .conftest import Home, ProvedBank, utc_now

pytestmark = pytest.mark.pg("== 18")
CHILD = """
    import os, resource, signal, sys
    from datetime import UTC, datetime
    from pathlib import Path
    from pgrehearse.errors import PgRehearseError
    from pgrehearse.ledger import ReleaseLedger
    from pgrehearse.postgres.conninfo import Conninfo
    from pgrehearse.release.backup.create import create_dump
    from pgrehearse.release.backup.scratch import ScratchOptions

    class Steps:
        def step(self, what):
            if sys.argv[1] == what.split()[0]:
                os.kill(os.getpid(), int(sys.argv[2]))
        def advance(self, what, done, total): ...

    if sys.argv[1] == "limit":
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
    try:
        with ReleaseLedger.open(Path(os.environ["LEDGER"])) as ledger:
            create_dump(
                Conninfo.parse(os.environ["SOURCE"]), directory=Path(os.environ["HOME_OF_BACKUPS"]), ledger=ledger,
                now=lambda: datetime.now(UTC), progress=Steps(),
                scratch=ScratchOptions(server=Conninfo.parse(os.environ["SCRATCH"]), create_roles=True),
            )
    except PgRehearseError as error:
        print(f"{type(error).__name__}: {error}\\n{error.remedy}")
        sys.exit(error.exit_code)
"""


def in_a_child(source: Conninfo, home: Home, uat: LocalServer, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {
        "SOURCE": source.text, "SCRATCH": uat.conninfo().text, "LEDGER": str(home.ledger.path),
        "HOME_OF_BACKUPS": str(home.directory),
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), *arguments], env=environment, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip


# The first words of its steps; `make soak` has them all.
STEPS = ["reading", "dumping", "writing", "restoring", "analyzing", "comparing"]
if "PGREHEARSE_SOAK" not in os.environ:
    STEPS = ["dumping", "restoring", "comparing"]


@pytest.mark.parametrize("step", STEPS)
def test_what_a_killed_process_leaves_is_unproved_and_pruned(
    step: str, bank: ProvedBank, home: Home, uat: LocalServer
) -> None:
    before = count_ours(uat)
    done = in_a_child(bank.database, home, uat, step, str(int(signal.SIGKILL)))
    assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
    [left] = list_backups(home.directory, home.ledger)
    assert left.state is State.UNPROVED
    assert left.directory is not None
    assert left.directory.name.endswith(".unproved")
    prune_clones(home.ledger, now=utc_now, targets=[uat.conninfo()])
    pruned = prune_backups(home.directory, ledger=home.ledger, now=utc_now, keep=5)
    assert pruned.removed == (left.id,)
    assert list(home.directory.iterdir()) == []
    assert list_backups(home.directory, home.ledger) == ()
    assert recorded_clones(home.ledger) == ()
    assert count_ours(uat) == before


def count_ours(server: LocalServer) -> int:
    with connect(server.conninfo(), verb="test") as admin:
        return int(fetch_value(admin, "SELECT count(*) FROM pg_database WHERE datname LIKE 'pgrehearse%%'"))


def test_ctrl_c_leaves_nothing(bank: ProvedBank, home: Home, uat: LocalServer) -> None:
    done = in_a_child(bank.database, home, uat, "restoring", str(int(signal.SIGINT)))
    assert "KeyboardInterrupt" in done.stderr
    assert list(home.directory.iterdir()) == []
    assert recorded_clones(home.ledger) == ()
    assert [entry.body["reason"] for entry in home.ledger.entries(kind="backup-failed")] == ["KeyboardInterrupt"]


def test_while_it_is_made_it_is_in_progress_and_not_pruned(
    bank: ProvedBank, home: Home, scratch: ScratchOptions
) -> None:
    seen: list[ListedBackup] = []

    def look(_: Conninfo) -> None:
        seen.extend(list_backups(home.directory, home.ledger))
        assert prune_backups(home.directory, ledger=home.ledger, now=utc_now, keep=1).removed == ()

    create_dump(
        bank.database, directory=home.directory, ledger=home.ledger, now=utc_now, scratch=scratch, on_restored=look
    )
    assert [each.state for each in seen] == [State.IN_PROGRESS]


def test_a_limit_on_file_sizes_is_told_and_leaves_nothing(noise: Conninfo, home: Home, uat: LocalServer) -> None:
    done = in_a_child(noise, home, uat, "limit", str(1 << 20))  # the ledger's SQLite file fits
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.startswith("BackupFailed: "), done.stdout
    assert "what had been written was removed" in done.stdout
    assert list(home.directory.iterdir()) == []
    assert len(home.ledger.entries(kind="backup-failed")) == 1


def test_a_full_disk_is_told_and_leaves_nothing(
    noise: Conninfo, home: Home, scratch: ScratchOptions, small_disk: Path
) -> None:
    with pytest.raises(BackupFailed, match="No space left on device") as caught:
        create_dump(noise, directory=small_disk, ledger=home.ledger, now=utc_now, scratch=scratch)
    assert "backup.directory" in caught.value.remedy
    assert list(small_disk.iterdir()) == []
    assert recorded_clones(home.ledger) == ()


def test_too_little_room_is_told_before_anything_is_read(
    bank: ProvedBank, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.disk_usage

    def nearly_full(path: Path) -> object:
        return real(path)._replace(free=1 << 20)

    monkeypatch.setattr("pgrehearse.release.backup.disk.shutil.disk_usage", nearly_full)
    with pytest.raises(BackupFailed, match=r"has 1 MB free; about \d+ MB are needed"):
        create_dump(bank.database, directory=home.directory, ledger=home.ledger, now=utc_now)
    assert list(home.directory.iterdir()) == []


@pytest.fixture
def noise(database: Conninfo) -> Conninfo:
    """A database whose 4 MB do not compress."""
    with connect(database, verb="test") as session:
        session.execute(
            "CREATE TABLE noise AS SELECT g, decode(string_agg(md5(random()::text), ''), 'hex') AS bytes"
            " FROM generate_series(1, 1000) g, generate_series(1, 256) h GROUP BY g"
        )
    return database


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB, more than is asked for beforehand; only root may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=3m", "pgrehearse-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(["mount", *options], check=False, capture_output=True).returncode != 0:
        pytest.skip("no small file system can be mounted here; the limit on file sizes stands in for it")
    yield place
    subprocess.run(["umount", str(place)], check=True)

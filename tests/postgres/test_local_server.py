import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from pgrehearse.errors import LocalServerFailed, ServerUnreachable
from pgrehearse.postgres.binaries import Binaries, require_server
from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.local_server import LocalServer

START_AND_SLEEP = """
import sys, time
from pgrehearse.postgres.binaries import Binaries, require_server
from pgrehearse.postgres.local_server import LocalServer
server = LocalServer.create(require_server(18))
print(server.pid, server.directory, flush=True)
time.sleep(600)
"""


@pytest.mark.pg(">= 15")
def test_server_has_the_major_that_was_asked_for(server: LocalServer, server_major: int) -> None:
    with connect(server.conninfo(), verb="test") as session:
        assert int(fetch_value(session, "SHOW server_version_num")) // 10000 == server_major


@pytest.mark.pg("== 18")
def test_only_the_owner_can_enter_its_socket_directory_and_a_password_is_needed(server: LocalServer) -> None:
    assert stat.S_IMODE(server.socket_directory.stat().st_mode) == 0o700
    with pytest.raises(ServerUnreachable, match="password authentication failed"):
        connect(server.conninfo(password="wrong"), verb="test")


def test_a_killed_process_leaves_no_server_running() -> None:
    child = subprocess.Popen([sys.executable, "-c", START_AND_SLEEP], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    pid, directory = child.stdout.readline().split()
    assert psutil.pid_exists(int(pid))
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    deadline = time.monotonic() + 120
    while psutil.pid_exists(int(pid)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not psutil.pid_exists(int(pid))
    subprocess.run(["rm", "-rf", directory], check=True)


def test_wipe_removes_everything() -> None:
    with (
        tempfile.TemporaryDirectory() as directory
    ):  # not tmp_path: other runs of pytest close its parent to the server
        parent = Path(directory)
        parent.chmod(0o755)
        server = LocalServer.create(require_server(18), parent=parent)
        assert list(parent.iterdir())
        server.wipe()
        assert not list(parent.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a server as somebody else, who may not enter its folders")
def test_a_server_starts_from_an_environment_that_others_may_not_enter(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    embedded = require_server(18).directory
    package = embedded.parents[1]
    shutil.copytree(package, private / package.name, symlinks=True)
    shutil.copytree(package.with_name(f"{package.name}.libs"), private / f"{package.name}.libs", symlinks=True)
    moved = Binaries(major=18, directory=private / embedded.relative_to(package.parent), has_server=True)
    with LocalServer.create(moved) as server, connect(server.conninfo(), verb="test") as session:
        assert fetch_value(session, "SELECT 1") == 1
    shutil.rmtree(server.binaries.directory.parents[2])


def test_a_directory_too_deep_for_a_socket_is_told_before_anything_is_made(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 90)
    deep.mkdir()
    with pytest.raises(LocalServerFailed, match="socket") as caught:
        LocalServer.create(require_server(18), parent=deep)
    assert "clone.directory" in str(caught.value.remedy)
    assert list(deep.iterdir()) == []

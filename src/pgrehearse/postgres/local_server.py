"""A private PostgreSQL server of our own: made by initdb, reached by a 0700 socket directory, wiped afterwards.

It listens on no address, asks for a scram password, and dies with the process that started it
(``PR_SET_PDEATHSIG`` on Linux), so that a killed rehearsal leaves no server behind; its directory
carries a marker by which a later `prune` knows it.
"""

import contextlib
import hashlib
import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

from pgrehearse.errors import LocalServerFailed
from pgrehearse.postgres.binaries import Binaries
from pgrehearse.postgres.child_process import start_child
from pgrehearse.postgres.conninfo import ON_A_SOCKET, Conninfo
from pgrehearse.postgres.owner import Owner

SUPERUSER = "postgres"
MARKER = "pgrehearse-owner"  # in the server's directory: the process without which it is nobody's, see owner.py
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60

# What a throw-away copy may do without: its files are wiped, so nothing needs to survive a crash.
# max_locks_per_transaction lets one transaction touch thousands of tables (pg_restore, migrations).
SETTINGS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_wal_senders": "0",
    "max_connections": "60",
    "max_locks_per_transaction": "512",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "lc_messages": "C",
    "logging_collector": "off",
}
# Of `sun_path`, without its final NUL: 108 bytes on Linux, 104 elsewhere.
LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103


class LocalServer:
    """A running private server.  Context manager: leaving it stops the server and wipes its directory.

    ``directory`` holds ``data``, ``socket`` and ``log``.  Start costs about 1.5 s (initdb included).
    """

    def __init__(
        self,
        binaries: Binaries,
        directory: Path,
        password: str,
        *,
        superuser: str = SUPERUSER,
        outlives_us: bool = False,
    ) -> None:
        self.binaries = binaries
        self.directory = directory
        self.superuser = superuser
        self.outlives_us = outlives_us
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None
        self._settings: dict[str, str] = {}

    @classmethod
    def create(
        cls,
        binaries: Binaries,
        *,
        parent: Path | None = None,
        settings: Mapping[str, str] | None = None,
        initdb_options: tuple[str, ...] = (),
        superuser: str = SUPERUSER,
        outlives_us: bool = False,
    ) -> "LocalServer":
        """Make and start a server of these binaries in a new directory below ``parent`` (default: the
        temporary directory).  Raises `LocalServerFailed`; nothing is left behind then.

        With ``outlives_us`` it is not ended when this process is (a copy that is kept).
        """
        directory = Path(tempfile.mkdtemp(prefix="pgrehearse-", dir=parent))
        if len(os.fsencode(directory / "socket" / ".s.PGSQL.5432")) > LONGEST_SOCKET_PATH:
            directory.rmdir()
            raise LocalServerFailed(
                f"the path of a server's socket in {directory.parent} would be too long: a system takes "
                f"{LONGEST_SOCKET_PATH} bytes",
                remedy="Name a directory with a shorter path with clone.directory or TMPDIR.",
            )
        password = secrets.token_urlsafe(24)
        server = cls(_reachable(binaries), directory, password, superuser=superuser, outlives_us=outlives_us)
        try:
            server._init(initdb_options)
            server.start(settings or {})
        except BaseException:
            server.wipe()
            raise
        return server

    def __enter__(self) -> "LocalServer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wipe()

    @property
    def major(self) -> int:
        return self.binaries.major

    @property
    def log_path(self) -> Path:
        return self.directory / "log"

    @property
    def socket_directory(self) -> Path:
        return self.directory / "socket"

    @property
    def data_directory(self) -> Path:
        return self.directory / "data"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def conninfo(self, database: str = "postgres", *, user: str | None = None, password: str | None = None) -> Conninfo:
        """The server's address; the superuser's own password unless another role's is given."""
        user = user or self.superuser
        secret = self._password if password is None else password
        base = Conninfo.parse("dbname=postgres")
        return base.replaced(
            host=str(self.socket_directory), user=user, password=secret, dbname=database, **ON_A_SOCKET
        )  # fmt: skip

    def start(self, settings: Mapping[str, str] | None = None) -> None:
        """Start (again) with these settings over `SETTINGS`; waits until it accepts connections."""
        self._settings |= dict(settings or {})
        merged = {**SETTINGS, **self._settings, "unix_socket_directories": str(self.socket_directory)}
        arguments = [self.binaries.program("postgres"), "-D", str(self.data_directory)]
        for name, value in merged.items():
            arguments += ["-c", f"{name}={value}"]
        with self.log_path.open("ab") as log:
            self._process = start_child(
                arguments,
                environment=_plain_environment(),
                output=log,
                dies_with_us=None if self.outlives_us else signal.SIGQUIT,
                cwd=self.directory,
                **_server_identity(),
            )
        if self.outlives_us:
            (self.directory / MARKER).write_text(Owner.of(self._process.pid).as_text())
        self._wait_until_ready()

    def stop(self, *, immediate: bool = False) -> None:
        """Fast shutdown (sessions are ended); ``immediate`` is a crash, as SIGQUIT does it."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGQUIT if immediate else signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def release(self) -> None:
        """Let a server that outlives us go: from now on it is known by its marker alone."""
        process, self._process = self._process, None
        if process is not None:
            process.returncode = 0  # else Popen warns, when collected, of a child that still runs

    def wipe(self) -> None:
        """Stop the server and remove everything it wrote."""
        self.stop(immediate=True)  # nothing in it needs a checkpoint any more
        shutil.rmtree(self.directory, ignore_errors=True)

    def _init(self, options: tuple[str, ...]) -> None:
        (self.directory / MARKER).write_text(Owner.of(os.getpid()).as_text())
        password_file = self.directory / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password + "\n")
        self.socket_directory.mkdir(mode=0o700)
        identity = _server_identity()
        if identity:
            for path in (self.directory, self.socket_directory, password_file):
                os.chown(path, identity["user"], identity["group"])
        arguments = [
            self.binaries.program("initdb"), "-D", str(self.data_directory), "-U", self.superuser, "--no-sync",
            "--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8", *options,
        ]  # fmt: skip
        if not any(option.startswith("--locale") for option in options):
            arguments.append("--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C")
        done = subprocess.run(
            arguments, capture_output=True, text=True, cwd=self.directory, env=_plain_environment(),
            check=False, **_server_identity(),
        )  # fmt: skip
        password_file.unlink(missing_ok=True)
        if done.returncode != 0:
            raise LocalServerFailed(f"initdb of a private PostgreSQL {self.major} failed:\n{_tail(done.stderr)}")

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.conninfo().text, connect_timeout=2).close()
                return
            time.sleep(0.03)
        log = _tail(self.log_path.read_text(errors="replace"))
        self.stop(immediate=True)
        raise LocalServerFailed(f"the private PostgreSQL {self.major} did not start:\n{log}")


def _server_identity() -> dict[str, Any]:
    """As root: the unprivileged user the server runs as, since PostgreSQL refuses root.  Else empty."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid}
    raise LocalServerFailed(
        "running as root, and neither the user postgres nor nobody exists to run a server as",
        remedy="Run pgrehearse as an ordinary user, or name a UAT server with --target.",
    )


def _plain_environment() -> dict[str, str]:
    """The environment without PG* variables: a server must not inherit an address or a password."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}


def _reachable(binaries: Binaries) -> Binaries:
    """As root: binaries that the server's user can execute, copied out of a private directory if need be.

    A virtual environment below a 0700 home or temporary directory cannot be entered by another user;
    its rights are the owner's to change, not ours, so the installation (35 MB) is copied once, together
    with the folder of shared libraries that a wheel keeps beside its package and finds by relative path.
    """
    identity = _server_identity()
    if not identity or _all_may_enter(binaries.directory):
        return binaries
    installation = binaries.directory.parent
    stamp = f"{installation}:{(binaries.directory / 'postgres').stat().st_mtime_ns}"
    name = f"pgrehearse-pg{binaries.major}-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
    copy = Path(tempfile.gettempdir()) / name
    if not _is_ours(copy):
        fresh = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=tempfile.gettempdir()))
        package = installation.parent
        shutil.copytree(installation, fresh / package.name / installation.name, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
        for path in [fresh, *fresh.rglob("*")]:
            if not path.is_symlink():
                path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or path.stat().st_mode & 0o100 else 0o444))
        try:
            fresh.rename(copy)
        except OSError:  # another process was first, or somebody else's directory stands there
            if not _is_ours(copy):
                copy = fresh
            else:
                shutil.rmtree(fresh, ignore_errors=True)
    directory = copy / installation.parent.name / installation.name / binaries.directory.name
    return Binaries(major=binaries.major, directory=directory, has_server=True)


def _is_ours(path: Path) -> bool:
    """A real directory that only we may write to: in a shared temporary directory anyone may have made it."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _all_may_enter(directory: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in [directory, *directory.parents])


def _tail(text: str, lines: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])

"""What may lie between a client and its server: PgBouncer, and a proxy that only moves bytes."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer, _server_identity

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def pgbouncer(server: LocalServer, *, pool_mode: str, pool_size: int = 5, settings: str = "") -> Iterator[Conninfo]:
    """A running PgBouncer in front of every database of the server; yields the address of ``postgres`` through it."""
    assert PGBOUNCER is not None
    directory = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    given = server.conninfo().parameters
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={given['host']} port=5432 user={given['user']} password={given['password']}\n"
        f"[pgbouncer]\nlisten_addr =\nunix_socket_dir = {directory}\nlisten_port = 6432\nauth_type = any\n"
        f"pool_mode = {pool_mode}\ndefault_pool_size = {pool_size}\nlogfile = {directory}/log\n"
        "max_client_conn = 50\nignore_startup_parameters = extra_float_digits,options\n"
        f"{settings}"
    )
    identity = _server_identity()
    if identity:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, identity["user"], identity["group"])
    process = subprocess.Popen(
        [PGBOUNCER, "-q", str(directory / "pgbouncer.ini")],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **identity,
    )  # fmt: skip
    try:
        address = Conninfo.parse(f"host={directory} port=6432 user=postgres dbname=postgres")
        deadline = time.monotonic() + 120
        while True:
            try:
                psycopg.connect(address.text).close()
                break
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, (directory / "log").read_text()
                time.sleep(0.05)
        yield address
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def byte_proxy(server: LocalServer) -> Iterator[Conninfo]:
    """A TCP port that forwards every byte to the server's socket, as a tunnel or a load balancer does."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    target = f"{server.socket_directory}/.s.PGSQL.5432"
    accepting = threading.Thread(target=_accept, args=(listener, target), daemon=True)
    accepting.start()
    try:
        yield server.conninfo().replaced(host="localhost", hostaddr="127.0.0.1", port=port, gssencmode="disable")
    finally:
        # close() alone leaves accept() waiting, which may go on with whatever socket has the file's number next.
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()


def _accept(listener: socket.socket, target: str) -> None:
    with contextlib.suppress(OSError):  # closed at the end of the test
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_forward, args=(client, target), daemon=True).start()


def _forward(client: socket.socket, target: str) -> None:
    with client, socket.socket(socket.AF_UNIX) as upstream:
        upstream.connect(target)
        back = threading.Thread(target=_pump, args=(upstream, client), daemon=True)
        back.start()
        _pump(client, upstream)
        back.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)

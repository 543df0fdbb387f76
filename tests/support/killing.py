"""Runs of `apply` in a child process that is killed, and what the database must look like afterwards.

The child is forked: a new interpreter would cost half a second for each of the many moments.
"""

import os
import random
import re
import select
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from psycopg import sql
from tests.support.applying import QUICK, ledger_of, plan_of, recorded, rows, run_plan
from tests.support.dumps import dump_text

from pgrehearse.migrations.migration import Plan, SourceKind
from pgrehearse.migrations.observer import NoObserver, Observer, Running
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

ROWS = 4000
# Every kind of step.  Each effect is counted: by the audit table itself, by a trigger, by the catalog.
FILES = (
    f"""CREATE TABLE audit (what text NOT NULL);
CREATE TABLE t (a int PRIMARY KEY, b text, n int NOT NULL DEFAULT 0);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO audit VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH STATEMENT EXECUTE FUNCTION note();
CREATE TABLE parted (a int) PARTITION BY RANGE (a);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
INSERT INTO t SELECT i, 'row ' || i % 97 FROM generate_series(1, {ROWS}) AS i;""",
    """UPDATE t SET n = n + 1;
CREATE INDEX CONCURRENTLY t_b ON t (b);
INSERT INTO audit VALUES ('0002 between');
CREATE UNIQUE INDEX CONCURRENTLY ON t (b, a);
INSERT INTO audit VALUES ('0002 after');""",
    """SET search_path = public, pg_temp;
BEGIN;
ALTER TABLE t ADD COLUMN c int NOT NULL DEFAULT 7;
UPDATE t SET n = n + 10;
COMMIT;
INSERT INTO audit VALUES ('0003 by itself');
REINDEX INDEX CONCURRENTLY t_b;
BEGIN;
UPDATE t SET n = n + 100;
INSERT INTO audit VALUES ('0003 second block');
END;""",
    """INSERT INTO audit VALUES ('0004');
ALTER TABLE parted DETACH PARTITION parted_1 CONCURRENTLY;
DROP INDEX CONCURRENTLY t_b;
VACUUM t;
INSERT INTO parted VALUES (15);""",
    "UPDATE t SET n = n + 1000;",
)
EFFECTS = [
    ("0002 after", 1), ("0002 between", 1), ("0003 by itself", 1), ("0003 second block", 1), ("0004", 1),
    ("INSERT t", 1), ("UPDATE t", 4),
]  # fmt: skip
AUDIT = 'SELECT what, count(*) FROM audit GROUP BY what ORDER BY what COLLATE "C"'
LEFTOVERS = "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid"


def soak_plan(kind: SourceKind) -> Plan:
    return plan_of(*FILES, kind=kind)


def contents(database: Conninfo, connection: Connection, kind: SourceKind) -> tuple[str, list[object], list[object]]:
    """pg_dump's text of the schema, the sorted rows of every table, and what the ledger says."""
    text = dump_text(database, "--schema-only", "--exclude-schema=pgrehearse", "--exclude-schema=drizzle")
    found: list[object] = []
    for table in ("audit", "t", "parted", "parted_1"):
        found += rows(connection, f"SELECT '{table}', x::text FROM {table} AS x ORDER BY x::text COLLATE \"C\"")
    return text, found, list(recorded(connection, kind))


def assert_each_effect_once(connection: Connection) -> None:
    assert rows(connection, AUDIT) == EFFECTS
    assert rows(connection, "SELECT DISTINCT n FROM t") == [(1111,)]
    assert rows(connection, LEFTOVERS) == []
    assert rows(connection, "SELECT * FROM pgrehearse.progress") == []


def wipe(database: Conninfo) -> None:
    """Everything of a run, without making a new database.  Sessions of a killed run are waited for."""
    with connect(database, verb="wipe") as session:
        for namespace in ("drizzle", "pgrehearse", "public"):
            session.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(namespace)))
        session.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
        session.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
        session.execute("COMMENT ON SCHEMA public IS 'standard public schema'")


def fork_run(database: Conninfo, kind: SourceKind, observer: Observer | None = None) -> int:
    """Start `apply` in a forked child; returns its pid.  Exit code 0: it came to its end."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        run_plan(database, soak_plan(kind), observer=observer or NoObserver(), ledger=ledger_of(kind), limits=QUICK)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def wait_for(pid: int) -> int:
    """The child's exit code; negative: the signal that ended it."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def kill_after(pid: int, seconds: float) -> None:
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    wait_for(pid)


def kill_when(pid: int, condition: Callable[[], object], timeout_s: float = 120) -> bool:
    """Kill it as soon as the condition holds; False when it came to its end before."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            os.kill(pid, signal.SIGKILL)
            wait_for(pid)
            return True
        ended, _ = os.waitpid(pid, os.WNOHANG)
        if ended:
            return False
    raise AssertionError("the moment never came")


def moments(count: int, seed: int, *, whole_run_s: float) -> Iterator[float]:
    """Seeded moments, spread over a run."""
    generator = random.Random(seed)
    for number in range(count):
        yield (number + generator.random()) / count * whole_run_s


class PauseBefore(NoObserver):
    """Stops the child before a statement until the parent lets it go."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._paused = os.pipe()
        self._go = os.pipe()

    def before(self, running: Running) -> None:
        if running.statement.text.startswith(self._text):
            os.write(self._paused[1], b"x")
            os.read(self._go[0], 1)

    def wait_until_paused(self) -> None:
        ready, _, _ = select.select([self._paused[0]], [], [], 120)
        assert ready, "the child never came to the statement"

    def let_go(self) -> None:
        os.write(self._go[1], b"x")
        for end in (*self._paused, *self._go):
            os.close(end)


class CuttingProxy:
    """Stands between the child and the server; lets the n-th COMMIT through, and then cuts.

    With ``hear_answer`` the server's answer has arrived at the proxy, so the transaction is over for sure;
    without it the server may still be committing.
    """

    def __init__(self, database: Conninfo, *, commit: int, hear_answer: bool) -> None:
        self._directory = tempfile.mkdtemp(prefix="pgr-")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._directory}/.s.PGSQL.5432")
        self._listener.listen(32)
        self._server_path = f"{database.parameters['host']}/.s.PGSQL.5432"
        self._left = commit
        self._hear_answer = hear_answer
        self.conninfo = database.replaced(host=self._directory)
        self.cut = False
        self._partner: dict[socket.socket, socket.socket] = {}

    @contextmanager
    def opened(self) -> Iterator["CuttingProxy"]:
        try:
            yield self
        finally:
            self._listener.close()
            shutil.rmtree(self._directory)

    def kill_at_commit(self, child: int) -> None:
        """Relay until the n-th COMMIT, and kill the child there."""

        def kill(_client: socket.socket) -> bool:
            os.kill(child, signal.SIGKILL)
            wait_for(child)
            return True

        self._relay(lambda: bool(os.waitpid(child, os.WNOHANG)[0]), kill)

    def drop_connection_at_commit(self, thread: threading.Thread) -> None:
        """Relay until the thread ends; at the n-th COMMIT its connection is lost, and nothing else."""
        self._relay(lambda: not thread.is_alive(), self._drop)

    def _drop(self, client: socket.socket) -> bool:
        for end in (client, self._partner.pop(client)):
            self._partner.pop(end, None)
            end.close()
        return False

    def _relay(self, is_over: Callable[[], bool], at_cut: Callable[[socket.socket], bool]) -> None:
        clients: set[socket.socket] = set()
        try:
            while True:
                ready, _, _ = select.select([self._listener, *self._partner], [], [], 0.05)
                if not ready and is_over():
                    return
                for one in ready:
                    if one is self._listener:
                        clients.add(self._accept())
                    elif one in self._partner and (data := self._forward(one)) and one in clients and is_commit(data):
                        self._left -= 1
                        if self._left == 0:
                            if self._hear_answer:
                                assert self._partner[one].recv(65536)
                            self.cut = True
                            if at_cut(one):
                                return
        finally:
            for one in self._partner:
                one.close()

    def _accept(self) -> socket.socket:
        client, _ = self._listener.accept()
        server = socket.socket(socket.AF_UNIX)
        server.connect(self._server_path)
        self._partner |= {client: server, server: client}
        return client

    def _forward(self, one: socket.socket) -> bytes:
        """What was forwarded; nothing when the connection ended."""
        other = self._partner[one]
        try:
            data = one.recv(65536)
            if data:
                other.sendall(data)
                return data
        except (ConnectionResetError, BrokenPipeError):
            pass
        for end in (one, other):
            self._partner.pop(end, None)
            end.close()
        return b""


def is_commit(data: bytes) -> bool:
    """A simple Query message whose text is COMMIT or END."""
    if data[:1] != b"Q":
        return False
    (length,) = struct.unpack("!I", data[1:5])
    return re.fullmatch(rb"(COMMIT|END)\0", data[5 : 1 + length]) is not None

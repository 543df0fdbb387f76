"""Killed or standing still anywhere, a promotion that is run again ends as an undisturbed one does."""

import contextlib
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from tests.support.applying import QUICK, KillAt, recorded, rows
from tests.support.dumps import dump_text
from tests.support.killing import CuttingProxy, wait_for
from tests.support.promoting import ledger_database, rehearse_folder, request_for, run_promotion
from tests.support.release_world import attempt

from pgrehearse.errors import GateClosed, LeaseHeld, LeaseLost, PgRehearseError, RunnerBusy
from pgrehearse.ledger import Entry, ReleaseLedger
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.observer import Observers
from pgrehearse.migrations.sources.source import Source
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release import apply_watched as apply_module
from pgrehearse.release.gate import Gate, Reason, ReasonKind

# PGREHEARSE_SOAK=1 (make soak): every entry, every boundary, every commit, every major.
SOAK = bool(os.environ.get("PGREHEARSE_SOAK"))
ENTRIES = range(1, 17) if SOAK else (2, 7, 9, 11, 14)
STOPPED_AT = range(1, 16) if SOAK else (3, 8, 11)
BOUNDARIES = range(1, 24) if SOAK else (2, 7, 13)
COMMITS = range(1, 9) if SOAK else (3, 5)
LEASE_S = 600  # a killed one's is ended by `let_leases_end`; none ends by itself while a busy machine stands still

pytestmark = pytest.mark.pg(">= 15" if SOAK else "== 18")

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, user_id int, note text);
CREATE TABLE audit (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO audit VALUES (TG_OP || ' ' || TG_TABLE_NAME); RETURN NULL; END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON orders FOR EACH STATEMENT EXECUTE FUNCTION note();
INSERT INTO users SELECT i, 'n' || i FROM generate_series(1, 50) i;
INSERT INTO orders SELECT i, i, 'o' FROM generate_series(1, 80) i;
"""
PLAN = (
    "DELETE FROM orders WHERE user_id NOT IN (SELECT id FROM users);",
    "CREATE INDEX CONCURRENTLY orders_user ON orders (user_id); ALTER TABLE users DROP COLUMN name;",
    "ALTER TABLE orders ADD FOREIGN KEY (user_id) REFERENCES users; INSERT INTO audit VALUES ('0003');",
)


class Scene:
    """A production database that can be put back to its beginning, and what is to be promoted to it."""

    def __init__(self, database: Conninfo, connection: Connection, receipt: Receipt, source: Source, home: Path):
        self.database = database
        self.connection = connection
        self.receipt = receipt
        self.source = source
        self.home = home
        self.number = 0
        self.shared: Conninfo | None = None  # a ledger in a database, for several machines

    @property
    def ledger(self) -> Path | Conninfo:
        return self.shared or self.home / f"ledger_{self.number}.db"

    def begin(self) -> None:
        """Everything as it was, and a new release ledger."""
        self.number += 1
        self.shared = None
        with connect(self.database, verb="wipe") as session:
            for namespace in ("pgrehearse", "pgrehearse_quarantine", "public"):
                session.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(namespace)))
            session.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            session.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
            session.execute("COMMENT ON SCHEMA public IS 'standard public schema'")
            session.execute(SHOP)

    def promote(self, database: Conninfo | None = None, **more: Any) -> None:
        with ReleaseLedger.open(self.ledger) as releases:
            request = request_for(database or self.database, self.receipt, self.source, **more)
            run_promotion(request, releases, gate=self.gate)

    def gate(self) -> Gate:
        """Of all that the gate asks: whether the plan is still pending."""
        with connect(self.database, verb="gate") as session:
            pending = len(recorded(session)) < len(PLAN)
        reason = Reason(kind=ReasonKind.PLAN, message="it is applied", remedy="")
        return Gate() if pending else Gate.of([reason])

    def fork(self, prepare: Callable[[], None], database: Conninfo | None = None, **more: Any) -> int:
        """A promotion in a child that ``prepare`` has made fragile; returns its pid."""
        sys.stdout.flush()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            prepare()
            self.promote(database, **more)
            code = 0
        except LeaseLost:
            code = 3
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def try_beside_a_sleeper(self) -> None:
        """Another promoter; where the sleeper holds the turn, or locks, in production, it is told so and stops."""
        limits = Limits(lock_timeout_ms=150, attempts=2, backoff_s=0.05, max_block_s=None, wait_s=0.5)
        try:
            self.promote(limits=limits, holder="bob")
        except (RunnerBusy, GateClosed):
            pass
        except PgRehearseError as error:
            if "lock timeout" not in str(error):
                raise

    def let_leases_end(self) -> None:
        """As time would: whoever held one is dead."""
        if isinstance(self.ledger, Conninfo):
            with connect(self.ledger, verb="test") as session:
                session.execute("UPDATE pgrehearse.leases SET until = 0")
            return
        with contextlib.closing(sqlite3.connect(self.ledger, timeout=60)) as file, file:
            file.execute("UPDATE leases SET until = 0")

    def contents(self) -> tuple[object, ...]:
        """pg_dump's text of the schema, every row, and what the migration ledger says."""
        text = dump_text(
            self.database, "--schema-only", "--exclude-schema=pgrehearse", "--exclude-schema=pgrehearse_quarantine"
        )
        found = [
            rows(self.connection, f'SELECT x::text FROM {table} x ORDER BY x::text COLLATE "C"')
            for table in ("users", "orders", "audit")
        ]
        left = rows(self.connection, "SELECT count(*) FROM pgrehearse.progress")
        return text, found, recorded(self.connection), left, self.images()

    def images(self) -> list[tuple[Any, ...]]:
        """What is kept of the destroyed rows, whichever run took it."""
        kept = {
            name: rows(self.connection, f'SELECT count(*) FROM pgrehearse_quarantine."{name}"')[0][0]
            for (name,) in rows(
                self.connection, "SELECT tablename FROM pg_tables WHERE schemaname = 'pgrehearse_quarantine'"
            )
        }
        return sorted((name.split("_", 1)[1], count) for name, count in kept.items())  # without the promotion's id

    def require_ended_well(self, undisturbed: tuple[object, ...]) -> None:
        assert self.contents() == undisturbed
        with ReleaseLedger.open(self.ledger) as releases:
            releases.verify()
            ended = [entry.body["outcome"] for entry in releases.entries(kind="promotion-ended")]
            begun = releases.entries(kind="promotion-begun")
            assert "promoted" in ended
            assert len(begun) == len(ended), "a promotion was left without its end"
            leases = "leases" if self.shared is None else "pgrehearse.leases"
            with releases._session("cannot be read") as session:
                assert session.exec_driver_sql(f"SELECT count(*) FROM {leases}").scalar() == 0


@pytest.fixture(scope="module")
def scene(server: LocalServer, uat: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    name = f"kills_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}")
    database, home = server.conninfo(name), tmp_path_factory.mktemp("kills")
    with connect(database, verb="test") as session:
        session.execute(SHOP)
        receipt, source = rehearse_folder(home, database, uat, *PLAN)
        yield Scene(database, session, receipt, source, home)
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def undisturbed(scene: Scene) -> tuple[object, ...]:
    scene.begin()
    scene.promote()
    found = scene.contents()
    scene.require_ended_well(found)
    assert rows(scene.connection, "SELECT what FROM audit ORDER BY what") == [
        ("0003",),
        ("DELETE orders",),
        ("INSERT orders",),
    ]
    return found


def at_entry(number: int, signal_number: int, *, after: bool) -> Callable[[], None]:
    """The process gets the signal at the n-th entry that it writes into the release ledger, before or after it."""
    left = number
    original, renew = ReleaseLedger._append, ReleaseLedger.renew_lease
    beat = threading.Lock()  # SQLite lets nobody in while a stopped process is inside a transaction

    def renew_lease(self: ReleaseLedger, name: str, **more: Any) -> bool:
        with beat:
            return renew(self, name, **more)

    def get_signal() -> None:
        with beat:
            os.kill(os.getpid(), signal_number)

    def append(
        self: ReleaseLedger, kind: str, subject: str, body: Mapping[str, Any], now: datetime, **more: Any
    ) -> Entry | None:
        nonlocal left
        left -= 1
        if left == 0 and not after:
            get_signal()
        entry = original(self, kind, subject, body, now, **more)
        if left == 0 and after:
            get_signal()
        return entry

    def prepare() -> None:
        for name, patched in (("_append", append), ("renew_lease", renew_lease)):
            setattr(ReleaseLedger, name, patched)

    return prepare


def go_on(scene: Scene, **more: Any) -> None:
    """Run it again, as a person would: until nobody holds the lease or the turn any more, or it is told as done."""
    deadline = time.monotonic() + 120
    while True:
        try:
            scene.promote(**more)
        except (LeaseHeld, RunnerBusy) as error:
            assert time.monotonic() < deadline
            scene.let_leases_end() if isinstance(error, LeaseHeld) else time.sleep(0.05)
        except GateClosed:
            return  # it was killed after its end
        else:
            return


@pytest.mark.parametrize("after", [False, True], ids=["before-the-entry", "after-the-entry"])
def test_killed_at_each_entry_of_the_release_ledger(scene: Scene, undisturbed: tuple[object, ...], after: bool) -> None:
    for number in ENTRIES:
        scene.begin()
        child = scene.fork(at_entry(number, signal.SIGKILL, after=after), lease_ttl_s=LEASE_S)
        code = wait_for(child)
        assert code == -signal.SIGKILL or (number > 14 and code == 0), number
        go_on(scene)
        scene.require_ended_well(undisturbed)


def test_killed_and_gone_on_with_from_another_machine(
    scene: Scene, undisturbed: tuple[object, ...], uat: LocalServer
) -> None:
    """The other machine shares nothing but the ledger's URL and the files."""
    for number in (7, 12) if SOAK else (9,):
        scene.begin()
        with ledger_database(uat) as scene.shared:
            child = scene.fork(at_entry(number, signal.SIGKILL, after=True), lease_ttl_s=LEASE_S)
            assert wait_for(child) == -signal.SIGKILL
            with pytest.raises(LeaseHeld, match="ann on here is at it since"):
                scene.promote(holder="bob")
            go_on(scene, holder="bob")
            scene.require_ended_well(undisturbed)


def test_killed_at_each_boundary_within_the_migration(scene: Scene, undisturbed: tuple[object, ...]) -> None:
    for boundary in BOUNDARIES:
        scene.begin()

        def prepare(boundary: int = boundary) -> None:
            fragile = KillAt(boundary)
            vars(apply_module)["Observers"] = lambda *observers: Observers(*observers, fragile)

        code = wait_for(scene.fork(prepare, lease_ttl_s=LEASE_S))
        assert code == -signal.SIGKILL or (boundary > 13 and code == 0), boundary
        go_on(scene)
        scene.require_ended_well(undisturbed)


@pytest.mark.parametrize("hear_answer", [True, False], ids=["after-the-server-committed", "while-it-commits"])
def test_killed_between_a_commit_and_its_answer(
    scene: Scene, undisturbed: tuple[object, ...], hear_answer: bool
) -> None:
    for commit in COMMITS:
        scene.begin()
        with CuttingProxy(scene.database, commit=commit, hear_answer=hear_answer).opened() as proxy:
            proxy.kill_at_commit(scene.fork(lambda: None, proxy.conninfo, lease_ttl_s=LEASE_S))
        assert proxy.cut or SOAK
        go_on(scene)
        scene.require_ended_well(undisturbed)


def stopped_at(scene: Scene, number: int, *, after: bool) -> int:
    """The pid of a promotion that stands still there, for longer than its lease by now.

    A busy machine may lose a short lease before: then it is begun anew, with a longer one.
    """
    for lease_s in (0.5, 1, 2, 4, 8):
        scene.begin()
        child = scene.fork(at_entry(number, signal.SIGSTOP, after=after), lease_ttl_s=lease_s)
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            time.sleep(1.4 * lease_s)
            return child
        assert os.waitstatus_to_exitcode(status) == 3, number
    raise AssertionError("this machine is too busy to keep a lease of eight seconds")


@pytest.mark.parametrize("after", [False, True], ids=["before-the-entry", "after-the-entry"])
def test_stopped_for_longer_than_its_lease_while_another_goes_on(
    scene: Scene, undisturbed: tuple[object, ...], after: bool
) -> None:
    """The other takes over; the one that wakes up either finds its lease lost, or held the turn all the time."""
    for number in STOPPED_AT:
        child = stopped_at(scene, number, after=after)
        try:
            scene.try_beside_a_sleeper()
        finally:
            os.kill(child, signal.SIGCONT)
        assert wait_for(child) in (0, 3), number
        with ReleaseLedger.open(scene.ledger) as releases:
            ended = {entry.subject for entry in releases.entries(kind="promotion-ended")}
            unfinished = [entry for entry in releases.entries(kind="promotion-begun") if entry.subject not in ended]
        if unfinished:
            go_on(scene, limits=QUICK)
        scene.require_ended_well(undisturbed)


class CrashAt(KillAt):
    """Crashes the server at the n-th boundary, and starts it again."""

    def __init__(self, boundary: int, server: LocalServer) -> None:
        super().__init__(boundary)
        self._server = server

    def _step(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._server.stop(immediate=True)
            self._server.start()


def test_a_server_that_crashes_and_is_started_again(
    server: LocalServer, uat: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As production commits; a throw-away server's commits may be lost in a crash, those of the test's own set-up too.
    with LocalServer.create(server.binaries, settings={"synchronous_commit": "on"}) as mine:
        production = mine.conninfo()
        with connect(production, verb="test") as session:
            session.execute(SHOP)
            receipt, source = rehearse_folder(tmp_path, production, uat, *PLAN)
            scene = Scene(production, session, receipt, source, tmp_path)
            scene.begin()
            scene.promote()
            undisturbed = scene.contents()
        for boundary in BOUNDARIES:
            scene.begin()
            crash = CrashAt(boundary, mine)
            with monkeypatch.context() as patched:
                patched.setitem(vars(apply_module), "Observers", lambda *given, c=crash: Observers(*given, c))
                outcome = attempt(scene.promote)
            assert boundary > 13 if outcome.error is None else outcome.error.exit_code in (3, 4), outcome
            go_on(scene)
            with connect(production, verb="test") as session:
                scene.connection = session
                scene.require_ended_well(undisturbed)

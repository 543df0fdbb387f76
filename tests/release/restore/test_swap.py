"""The restored database in production's place, undisturbed and killed; oracles: the shared catalogs and plain SQL."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from tests.support.restoring import MIGRATION, SHOP, WRITES_AFTER, WRITES_BEFORE, content, rows, run
from tests.support.swapping import (
    ID,
    Dump,
    databases,
    fork_swap,
    now,
    properties_of,
    restore,
    set_properties,
    swap_now,
)

import pgrehearse.release.restore.swap as swap_module
from pgrehearse.errors import (
    DatabaseFenced,
    NotReapplied,
    RestoreFailed,
    RestoreRefused,
    ServerUnreachable,
    UnknownRestore,
)
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.restore.beside import RestoreNames, drop_restored, find_restores, restore_beside
from pgrehearse.release.restore.swap import WhatIsKnown, compare_beside, undo
from pgrehearse.release.restore.written_files import By, Change

pytestmark = pytest.mark.pg(">= 15")
ONCE = pytest.mark.pg("== 18")  # what is asked here is our own doing, and no version's
SMALL = "CREATE TABLE t (id serial PRIMARY KEY, what text); INSERT INTO t (what) VALUES ('a'), ('b'), ('c')"
WRITES = "INSERT INTO t (what) VALUES ('d'); UPDATE t SET what = 'B' WHERE id = 2; DELETE FROM t WHERE id = 3"


@pytest.fixture
def owner(server: LocalServer) -> Iterator[str]:
    name = f"shop_owner_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(name)))
    yield name
    with connect(server.conninfo(), verb="test") as admin:
        for database in databases(server.conninfo()):
            if database.startswith("test_"):
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


class Watcher:
    """Tries to get in at every step of the swap, as a superuser."""

    def __init__(self, production: Conninfo) -> None:
        self._production = production
        self.seen: dict[str, str] = {}

    def step(self, what: str) -> None:
        try:
            connect(self._production, verb="application").close()
        except DatabaseFenced as error:
            self.seen[what] = type(error).__name__
        else:
            self.seen[what] = "let in"

    def advance(self, what: str, done: int, total: int) -> None: ...


def test_rollback_after_the_applications_writes_keeps_them_and_all_that_belongs_to_the_database(
    production: Conninfo, owner: str, tmp_path: Path
) -> None:
    run(production, SHOP)
    set_properties(production, owner)
    dump, before = Dump(production, tmp_path), properties_of(production)
    run(production, WRITES_BEFORE)
    run(production, MIGRATION)
    run(production, WRITES_AFTER)
    handed_out = [highest(production), highest(production, "tickets")]
    as_it_failed = content(production)
    application = connect(production, verb="application")
    with ReleaseLedger.open(tmp_path / "ledger.sqlite") as ledger:
        names = restore(production, dump.fill, ledger=ledger)
        at_backup = content(production.replaced(dbname=names.restored))
        watcher = Watcher(production)
        done = swap_now(production, tmp_path / "kept", ledger=ledger, progress=watcher)
        steps = [entry.body.get("step", entry.kind) for entry in ledger.entries(subject=ID)]
    with pytest.raises(psycopg.OperationalError):
        application.execute("SELECT 1")
    application.close()

    assert watcher.seen == {
        f"shutting {production.database}": "let in",
        "exporting what differs": "DatabaseFenced",
        "moving sequences beyond every number handed out": "DatabaseFenced",
        f"swapping the names of {production.database} and {names.restored}": "DatabaseFenced",
    }
    assert steps == [
        "rollback-begun", "restore", "restore", "fence", "fence", "export", "export", "sequences", "sequences", "swap",
        "swap", "rollback-ended",
    ]  # fmt: skip
    assert properties_of(production) == before
    assert content(production) == at_backup
    with connect(production, verb="test") as session:
        assert session.execute("SELECT nextval('orders_id_seq')").fetchone()[0] > handed_out[0]  # type: ignore[index]
        assert session.execute("SELECT nextval('tickets')").fetchone()[0] > handed_out[1]  # type: ignore[index]
    assert done.rows is not None
    (orders,) = (table for table in done.rows.tables if table.name == "public.orders")
    assert [orders.count(By.APPLICATION, change) for change in Change] == [3000, 2000, 500]
    # the failed database is kept as it was, and admits nobody
    quarantine = production.replaced(dbname=names.quarantine)
    with pytest.raises(DatabaseFenced):
        connect(quarantine, verb="test")
    with connect(production.replaced(dbname="postgres"), verb="test") as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(names.quarantine)))
    assert content(quarantine) == as_it_failed
    assert find_restores(production) == ()


def highest(database: Conninfo, sequence: str = "orders_id_seq") -> int:
    with connect(database, verb="test") as session:
        return int(str(rows(session, f"SELECT last_value FROM {sequence}")[0][0]))


def test_what_the_application_wrote_can_be_written_back_before_the_swap(production: Conninfo, tmp_path: Path) -> None:
    run(production, SHOP)
    dump = Dump(production, tmp_path)
    run(production, WRITES_BEFORE)
    expected = content(production)
    restore(production, dump.fill)
    done = swap_now(production, tmp_path / "kept", reapply=True)
    assert done.written_back is not None
    assert done.written_back == 3201  # 1,601 of the application, 1,600 of the trigger that noted them
    assert content(production) == expected


@ONCE
def test_writes_that_do_not_fit_open_production_again(production: Conninfo, tmp_path: Path) -> None:
    run(production, SMALL)
    run(production, WRITES)
    names = restore(production, lambda target: run(target, SMALL))
    run(production.replaced(dbname=names.restored), "ALTER TABLE t ADD CHECK (what <> 'd')")
    with pytest.raises(NotReapplied, match=r"application\.sql:\d+: new row .* violates check constraint") as refused:
        swap_now(production, tmp_path / "kept", reapply=True)
    told = f"{names.database} is open again as it was before, and {names.restored} was left beside it"
    assert told in str(refused.value)
    assert "same command without `--reapply`" in refused.value.remedy
    with connect(production, verb="test") as session:
        assert rows(session, "SELECT count(*) FROM t") == [(3,)]
    with connect(production.replaced(dbname=names.restored), verb="test") as session:
        assert rows(session, "SELECT what FROM t ORDER BY id") == [("a",), ("b",), ("c",)]
    assert [each.state for each in find_restores(production)] == ["restored"]
    assert swap_now(production, tmp_path / "kept").written_back is None  # as the remedy says
    with connect(production, verb="test") as session:
        assert rows(session, "SELECT what FROM t ORDER BY id") == [("a",), ("b",), ("c",)]


@pytest.fixture
def restored(production: Conninfo) -> RestoreNames:
    """A small production that was written to, and its restored database beside it."""
    run(production, SMALL)
    with connect(production, verb="test") as session:
        session.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 33").format(sql.Identifier(str(production.database)))
        )
    run(production, WRITES)
    return restore(production, lambda target: run(target, SMALL))


# A swap writes nine entries: begun and done of fence, export, sequences and swap, and the end; killed before the Nth.
@pytest.mark.pg("== 18")
@pytest.mark.parametrize("fatal", [1, 2, 4, 6, 8, 9])  # those between two steps differ in nothing
def test_a_swap_killed_at_each_moment_goes_on_or_is_undone_and_says_so(
    production: Conninfo, restored: RestoreNames, tmp_path: Path, fatal: int
) -> None:
    _kill_and_go_on(production, restored, tmp_path, fatal)


@pytest.mark.pg(">= 15", "< 18")
@pytest.mark.parametrize("fatal", [4, 8])
def test_a_killed_swap_goes_on_or_is_undone_and_says_so(
    production: Conninfo, restored: RestoreNames, tmp_path: Path, fatal: int
) -> None:
    _kill_and_go_on(production, restored, tmp_path, fatal)


def _kill_and_go_on(production: Conninfo, restored: RestoreNames, tmp_path: Path, fatal: int) -> None:
    ledger, kept = tmp_path / "ledger.sqlite", tmp_path / "kept"
    before = properties_of(production)
    assert fork_swap(production, kept, ledger, fatal=fatal) == 9
    swapped = fatal >= 8  # just after the transaction of the renames
    fenced = fatal in range(2, 8)
    if fenced:
        with pytest.raises(DatabaseFenced) as refused:
            connect(production, verb="test")
        assert "rollback --undo" in refused.value.remedy
        (found,) = find_restores(production)
        assert found.state == "fenced"
        assert "admits nobody" in found.told
        with pytest.raises(RestoreRefused, match="has shut"):
            drop_restored(production, ID, ledger=None, now=now)
        undo(production, ID, ledger=None, now=now)
        with connect(production, verb="test") as session:
            assert rows(session, "SELECT what FROM t ORDER BY id") == [("a",), ("B",), ("d",)]
        assert properties_of(production) == before
        assert fork_swap(production, kept, ledger, fatal=fatal) == 9  # and once more, to go on from there
    elif swapped:
        with pytest.raises(RestoreRefused, match="has taken"):
            undo(production, ID, ledger=None, now=now)
    done = swap_now(production, kept)
    assert properties_of(production) == before
    with connect(production, verb="test") as session:
        assert rows(session, "SELECT what FROM t ORDER BY id") == [("a",), ("b",), ("c",)]
        assert rows(session, "SELECT nextval('t_id_seq')") == [(5,)]
    assert {str(production.database), restored.quarantine} <= databases(production)
    assert restored.restored not in databases(production)
    exported = sorted(kept.glob("rows-*/application.sql"))
    assert exported, "every row that differs is in a file, whichever run wrote it"
    assert done.rows is None or (done.rows.rows_by(By.APPLICATION) == 3)


def test_an_owner_who_is_no_superuser_can_do_all_of_it(
    production: Conninfo, owner: str, tmp_path: Path, server: LocalServer
) -> None:
    name = sql.Identifier(str(production.database))
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(sql.SQL("ALTER ROLE {} CREATEDB PASSWORD 'x'").format(sql.Identifier(owner)))
        admin.execute(sql.SQL("GRANT pg_signal_backend TO {}").format(sql.Identifier(owner)))
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(owner)))
    mine = production.replaced(user=owner, password="x")
    run(mine, SMALL)
    dump = Dump(mine, tmp_path)
    run(mine, WRITES)
    before = properties_of(production)
    restore(mine, dump.fill)
    guest = _open_as_guest(production, server)  # what it is, is hidden from one who lacks pg_read_all_stats
    # an application that is the owner too, and comes back whenever it is thrown out
    assert fork_swap(mine, tmp_path / "kept", tmp_path / "ledger.sqlite", fatal=4) == 9
    with pytest.raises(psycopg.OperationalError):
        guest.execute("SELECT 1")
    guest.close()
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute("DROP ROLE guest_of_the_shop")
    with pytest.raises(DatabaseFenced):
        connect(mine, verb="test")
    stop = threading.Event()
    thread = threading.Thread(target=_keep_connecting, args=(mine, stop))
    thread.start()
    try:
        done = swap_now(mine, tmp_path / "kept", reapply=True)
    finally:
        stop.set()
        thread.join()
    assert properties_of(production) == before
    assert done.written_back == 3
    with connect(mine, verb="test") as session:
        assert rows(session, "SELECT what FROM t ORDER BY id") == [("a",), ("B",), ("d",)]


def _open_as_guest(production: Conninfo, server: LocalServer) -> Connection:
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute("CREATE ROLE guest_of_the_shop LOGIN PASSWORD 'x'")
    return connect(production.replaced(user="guest_of_the_shop", password="x"), verb="application")


def _keep_connecting(database: Conninfo, stop: threading.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(psycopg.Error, ServerUnreachable), connect(database, verb="application") as session:
            session.execute("SELECT pg_sleep(0.01)")


def test_both_names_are_swapped_or_none(
    production: Conninfo, restored: RestoreNames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, there = properties_of(production), databases(production)

    def refuse(*_: object) -> None:
        raise RestoreFailed("not carried over")

    monkeypatch.setattr(swap_module, "_require_same", refuse)
    with pytest.raises(RestoreFailed, match="not carried over"):
        swap_now(production, tmp_path / "kept")
    assert (properties_of(production), databases(production)) == (before, there)
    with connect(production, verb="test") as session:
        assert rows(session, "SELECT count(*) FROM t") == [(3,)]


@ONCE
def test_a_full_disk_while_exporting_opens_production_again(
    production: Conninfo, restored: RestoreNames, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()

    class FillsUp(Watcher):
        def step(self, what: str) -> None:
            if what.startswith("exporting"):
                (kept / "rows-1").mkdir(exist_ok=True)
                (kept / "rows-1" / "differing-rows.json").symlink_to("/dev/full")

    with pytest.raises(RestoreFailed, match=r"is open again: .*No space left"):
        swap_now(production, kept, progress=FillsUp(production))
    with connect(production, verb="test") as session:
        assert rows(session, "SELECT count(*) FROM t") == [(3,)]


def test_a_dry_run_counts_what_would_be_left_behind_and_shuts_nothing(
    production: Conninfo, restored: RestoreNames, tmp_path: Path
) -> None:
    with connect(production, verb="application") as application:
        found = compare_beside(production, ID, directory=tmp_path / "dry", known=WhatIsKnown())
        application.execute("INSERT INTO t (what) VALUES ('e')")
    assert found.rows == 3


def test_a_user_who_may_not_rename_changes_nothing(
    production: Conninfo, restored: RestoreNames, tmp_path: Path, owner: str
) -> None:
    with connect(production, verb="test") as session:
        session.execute(sql.SQL("ALTER ROLE {} PASSWORD 'x'").format(sql.Identifier(owner)))
    before = properties_of(production)
    with pytest.raises(RestoreRefused, match="may not rename"):
        swap_now(production.replaced(user=owner, password="x"), tmp_path / "kept")
    assert properties_of(production) == before
    assert not (tmp_path / "kept").exists()


@ONCE
def test_what_cannot_be_restored_leaves_nothing(production: Conninfo, tmp_path: Path) -> None:
    there = databases(production)
    with pytest.raises(RestoreFailed, match="2 rows less"):
        restore_beside(
            production,
            id=ID,
            backup="b",
            fill=lambda _: None,
            compare=lambda _: ("t: 2 rows less",),
            ledger=None,
            now=now,
        )
    assert databases(production) == there
    with pytest.raises(UnknownRestore):
        swap_now(production, tmp_path / "kept")
    with pytest.raises(UnknownRestore):
        compare_beside(production, ID, directory=tmp_path / "dry", known=WhatIsKnown())


@ONCE
def test_what_a_killed_restore_left_is_named_and_made_anew(production: Conninfo, tmp_path: Path) -> None:
    run(production, SMALL)
    pid = os.fork()
    if not pid:
        try:
            restore(production, lambda _: os.kill(os.getpid(), signal.SIGKILL))
        finally:
            os._exit(1)
    os.waitpid(pid, 0)
    (found,) = find_restores(production)
    assert found.state == "filling"
    with pytest.raises(RestoreRefused, match="not complete"):
        swap_now(production, tmp_path / "kept")
    names = restore(production, lambda target: run(target, SMALL))
    assert [each.state for each in find_restores(production)] == ["restored"]
    with pytest.raises(RestoreRefused, match="already"):
        restore(production, lambda target: run(target, SMALL))
    drop_restored(production, ID, ledger=None, now=now)
    assert names.restored not in databases(production)


@ONCE
def test_a_release_ledger_in_the_database_itself_is_refused(
    production: Conninfo, restored: RestoreNames, tmp_path: Path
) -> None:
    with ReleaseLedger.open(production) as ledger, pytest.raises(RestoreRefused, match="is kept in"):
        swap_now(production, tmp_path / "kept", ledger=ledger)
    connect(production, verb="test").close()


def test_long_names_are_cut_where_postgresql_would_cut_them() -> None:
    names = RestoreNames(id=ID, database="ä" * 31)
    assert all(len(name.encode()) <= 63 for name in (names.restored, names.quarantine))
    assert names.restored != names.quarantine

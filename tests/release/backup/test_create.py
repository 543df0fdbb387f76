"""Taking a backup: of one instant while others write, whole or not at all, and never by the wrong name."""

import contextlib
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.support.applying import wait_until
from tests.support.replication import start_replicating, start_sibling

from pgrehearse.clones import dump_restore
from pgrehearse.clones.record import recorded_clones
from pgrehearse.errors import (
    BackupDiffers,
    BackupFailed,
    PgRehearseError,
    SameDatabase,
    SameServer,
    SourceUnreadable,
)
from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.conninfo import ON_A_SOCKET, Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.backup.create import create_dump
from pgrehearse.release.backup.dump_backup import DumpBackup
from pgrehearse.release.backup.restore import restore_into
from pgrehearse.release.backup.scratch import ScratchOptions
from pgrehearse.release.backup.writes import writes_since

from .conftest import Home, ProvedBank, utc_now

pytestmark = pytest.mark.pg(">= 15")
Back = Callable[..., DumpBackup]
EmptyOn = Callable[[LocalServer], Conninfo]
on_one_major = pytest.mark.pg("== 18")  # what no server decides


@pytest.fixture
def back_up(home: Home, scratch: ScratchOptions) -> Back:
    """`create_dump` into the home, proved on the scratch server."""

    def back_up(source: Conninfo, **options: Any) -> DumpBackup:
        given: dict[str, Any] = {"scratch": scratch} | options
        return create_dump(source, directory=home.directory, ledger=home.ledger, now=utc_now, **given)

    return back_up


def kinds(home: Home) -> list[str]:
    """What the ledger says of backups."""
    return [entry.kind for entry in home.ledger.entries() if entry.kind.startswith("backup-")]


def left_in(home: Home) -> list[str]:
    return sorted(path.name for path in home.directory.iterdir())


def test_it_is_of_one_instant_while_others_write(
    back_up: Back, database: Conninfo, uat: LocalServer, empty_on: EmptyOn
) -> None:
    """Money moves between two tables, so only one instant has all of it; the sequence moves on all the time."""
    with connect(database, verb="test") as session:
        session.execute(
            "CREATE TABLE one (id bigserial PRIMARY KEY, cents int); CREATE TABLE two (LIKE one INCLUDING ALL)"
        )
        session.execute("INSERT INTO one (cents) SELECT 100 FROM generate_series(1, 3000)")
    with _busy(database, "WITH gone AS (DELETE FROM one WHERE id = (SELECT min(id) FROM one) RETURNING cents) "
               "INSERT INTO two (cents) SELECT cents FROM gone; SELECT nextval('one_id_seq')") as count:  # fmt: skip
        wait_until(lambda: count() > 0)
        before = count()
        backup = back_up(database)
        assert count() > before
    assert backup.manifest.contents.rows == 3000
    restored = empty_on(uat)
    restore_into(backup, restored)
    with connect(restored, verb="test") as session:
        assert fetch_value(session, "SELECT sum(cents) FROM (TABLE one UNION ALL TABLE two) t") == 300_000
        moved = fetch_value(session, "SELECT count(*) FROM two")
        assert moved == next(table.rows for table in backup.manifest.contents.tables if table.relation == "two")


@on_one_major
def test_one_row_that_differs_in_the_scratch_is_refused(
    back_up: Back, database: Conninfo, home: Home
) -> None:  # fmt: skip
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE orders (id int PRIMARY KEY, total int)")
        session.execute("INSERT INTO orders SELECT g, g FROM generate_series(1, 100) g")

    def tamper(restored: Conninfo) -> None:
        with connect(restored, verb="test") as session:
            session.execute("UPDATE orders SET total = 0 WHERE id = 50")

    with pytest.raises(BackupDiffers, match=r"public\.orders: values of total differ") as caught:
        back_up(database, on_restored=tamper)
    assert kinds(home) == ["backup-begun", "backup-failed"]
    [kept] = left_in(home)
    assert kept.endswith(".failed")
    assert f"is kept in {home.directory / kept}" in str(caught.value)
    assert recorded_clones(home.ledger) == ()


@on_one_major
def test_the_sources_own_server_is_no_scratch(
    back_up: Back, database: Conninfo, server: LocalServer, home: Home
) -> None:
    with pytest.raises(SameServer, match="is on the server that holds") as caught:
        back_up(database, scratch=ScratchOptions(server=server.conninfo()))
    assert "backup.scratch" in caught.value.remedy
    with pytest.raises(SameDatabase):
        back_up(database, scratch=ScratchOptions(server=database))
    assert kinds(home) == left_in(home) == []


@on_one_major
def test_a_protected_server_is_no_scratch(back_up: Back, database: Conninfo, uat: LocalServer, home: Home) -> None:
    with pytest.raises(SameServer, match="protected"):
        back_up(database, scratch=ScratchOptions(server=uat.conninfo(), protected=(uat.conninfo("template1"),)))
    assert kinds(home) == []
    nowhere = Conninfo.parse("host=/nonexistent dbname=other")
    back_up(database, scratch=ScratchOptions(server=uat.conninfo(), protected=(nowhere,)))
    [begun] = home.ledger.entries(kind="backup-begun")
    assert "protected /nonexistent/other" in str(begun.body["not_asked"])


@on_one_major
def test_what_the_role_cannot_read_is_an_error_and_never_a_smaller_backup(
    back_up: Back, bank: ProvedBank, home: Home, reader: Callable[[str], Conninfo]
) -> None:
    address = reader(bank.database.database or "")
    with pytest.raises(SourceUnreadable, match="may not read all of") as told:  # all at once, and how to mend it
        back_up(address)
    assert "no SELECT on large object" in str(told.value)
    assert "GRANT " in told.value.remedy
    with connect(bank.database.replaced(dbname="postgres"), verb="test") as admin:
        admin.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(sql.Identifier(address.user or "")))
    with pytest.raises(SourceUnreadable, match=r"row-level security hides rows of bank\.keyless"):
        back_up(address)
    assert not home.directory.exists() or left_in(home) == []
    assert kinds(home) == []  # asked before anything begins
    assert "only here" not in str([entry.body for entry in home.ledger.entries()])


@on_one_major
def test_of_a_list_of_hosts_the_one_that_was_reached_is_dumped(
    back_up: Back, database: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where libpq picked another server for pg_dump, that one would not know the snapshot."""
    real = database.parameters["host"]
    asked: list[str] = []

    def start_dump(binaries: Any, source: Conninfo, **options: Any) -> Any:
        asked.append(source.parameters["host"])
        return dump_restore.start_dump(binaries, source, **options)

    monkeypatch.setattr("pgrehearse.release.backup.create.start_dump", start_dump)
    back_up(database.replaced(host=f"/nonexistent,{real}"))
    assert asked == [real]


@on_one_major
def test_an_owner_who_is_no_superuser_backs_up_and_restores(
    back_up: Back, server: LocalServer, reader: Callable[[str], Conninfo], database: Conninfo, uat: LocalServer,
    empty_on: EmptyOn,
) -> None:  # fmt: skip
    owner = reader(database.database or "")
    with connect(database, verb="test") as admin:
        admin.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(sql.Identifier(owner.user or "")))
        admin.execute(sql.SQL("COMMENT ON DATABASE {} IS 'ours'").format(sql.Identifier(database.database or "")))
    with connect(owner, verb="test") as session:
        session.execute("CREATE TABLE t AS SELECT g, 'x' || g AS b FROM generate_series(1, 50) g")
        session.execute("SELECT lo_from_bytea(0, 'mine')")
    backup = back_up(owner)
    assert backup.surroundings().comment == "ours"
    assert (owner.user or "nobody") in (backup.directory / "globals.sql").read_text()
    assert backup.manifest.user == owner.user
    assert backup.manifest.contents.large_objects.count == 1


@on_one_major
def test_a_server_that_goes_away_leaves_nothing(back_up: Back, database: Conninfo, home: Home) -> None:
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 10) g")

    def end_everybody(restored: Conninfo) -> None:
        with connect(restored.replaced(dbname="postgres"), verb="test") as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(restored.database or "")))

    with pytest.raises(PgRehearseError, match=r"does not exist(.|\n)*what had been written was removed"):
        back_up(database, on_restored=end_everybody)
    assert left_in(home) == []
    assert kinds(home) == ["backup-begun", "backup-failed"]


@on_one_major
def test_a_table_that_somebody_keeps_locked_is_told(
    back_up: Back, database: Conninfo, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgrehearse.clones.dump_restore.LOCK_WAIT_MS", 300)
    monkeypatch.setattr("pgrehearse.release.backup.shape.LOCK_WAIT_MS", 300)
    monkeypatch.setattr("pgrehearse.release.backup.reading.LOCK_WAIT_MS", "300")
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE t AS SELECT 1 AS a")
        session.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(BackupFailed, match=r"lock|LockNotAvailable"):
            back_up(database)
    assert left_in(home) == []


@on_one_major
def test_a_dump_holds_subscriptions_and_restores_them_only_when_asked(
    back_up: Back, database: Conninfo, uat: LocalServer, empty_on: EmptyOn
) -> None:
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE t (a int PRIMARY KEY)")
        session.execute(
            "CREATE SUBSCRIPTION news CONNECTION 'host=/nonexistent password=hush' PUBLICATION p"
            " WITH (connect = false, slot_name = NONE)"
        )
    names: list[str] = []

    def look(restored: Conninfo) -> None:
        with connect(restored, verb="test") as session:
            names.extend(row[0] for row in session.execute("SELECT subname::text FROM pg_subscription"))

    try:
        backup = back_up(database, on_restored=look)
        assert names == []  # the proof subscribes to nothing
        assert any("subscription news" in sentence for sentence in backup.manifest.left_out)
        assert "hush" not in (backup.directory / "manifest.json").read_text()
        for wanted in (False, True):
            target = empty_on(uat)
            restore_into(backup, target, subscriptions=wanted)
            with connect(target, verb="test") as session:
                found = session.execute("SELECT subname::text, subenabled FROM pg_subscription").fetchall()
                assert found == ([("news", False)] if wanted else [])
                session.execute("DROP SUBSCRIPTION IF EXISTS news")
    finally:
        with connect(database, verb="test") as session:
            session.execute("DROP SUBSCRIPTION news")


@on_one_major
def test_a_replica_can_be_backed_up_and_its_primary_is_no_scratch(back_up: Back, uat: LocalServer) -> None:
    with start_replicating(18) as primary:
        with connect(primary.conninfo(), verb="test") as session:
            session.execute("CREATE TABLE t AS SELECT g FROM generate_series(1, 500) g; CREATE SEQUENCE s")
        standby = start_sibling(primary, standby=True)
        try:
            backup = back_up(standby.conninfo())
            assert backup.manifest.source.in_recovery
            assert backup.manifest.contents.rows == 500
            with connect(primary.conninfo(), verb="test") as session:
                doubts = writes_since(session, backup.manifest.writes).doubts
            assert doubts == ("the counters of a replica say nothing of what its primary writes",)
            with pytest.raises(SameServer, match="primary of the replica"):
                back_up(standby.conninfo(), scratch=ScratchOptions(server=primary.conninfo()))
        finally:
            standby.wipe()


@pytest.mark.pg("== 15")  # the others come without contrib
def test_the_proof_asks_no_foreign_server(back_up: Back, database: Conninfo, request: pytest.FixtureRequest) -> None:
    folder = Path(tempfile.mkdtemp(prefix="asked-"))  # pytest's own lets no other user in, and servers may be one
    request.addfinalizer(lambda: shutil.rmtree(folder))
    folder.chmod(0o777)
    asked = folder / "asked"
    with connect(database, verb="test") as session:
        session.execute(
            "CREATE EXTENSION file_fdw; CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;"
            " CREATE USER MAPPING FOR CURRENT_USER SERVER files"
        )
        session.execute(
            sql.SQL("CREATE FOREIGN TABLE far (a text) SERVER files OPTIONS (program {})").format(
                sql.Literal(f"echo asked | tee -a {asked}")
            )
        )
        session.execute("CREATE MATERIALIZED VIEW near AS SELECT * FROM far; CREATE TABLE t (a int)")
    before = asked.read_text()
    backup = back_up(database)
    assert asked.read_text() == before
    assert backup.surroundings().outward.user_mappings == (("files", "postgres"),)
    assert backup.manifest.contents.not_held == ("public.far: a foreign table, its rows stand on another server",)
    assert any("public.near: filled from a foreign server" in sentence for sentence in backup.manifest.left_out)


@pytest.mark.pg("== 15")  # the others come without contrib
def test_another_version_of_an_extension_is_told_and_no_alarm(back_up: Back, database: Conninfo) -> None:
    with connect(database, verb="test") as session:
        session.execute("CREATE EXTENSION pg_trgm VERSION '1.5'; CREATE TABLE t (a varchar(9) CHECK (a IN ('x', 'y')))")
    told = back_up(database).manifest.left_out
    assert "extension pg_trgm: version 1.5; the copy that was compared had 1.6" in told


@on_one_major
def test_a_database_without_the_namespace_public_comes_back_without_it(
    back_up: Back, database: Conninfo, uat: LocalServer, empty_on: EmptyOn
) -> None:
    with connect(database, verb="test") as session:
        session.execute("DROP SCHEMA public; CREATE SCHEMA app; CREATE TABLE app.t (a int)")
    target = empty_on(uat)
    restore_into(back_up(database), target)
    with connect(target, verb="test") as session:
        assert fetch_value(session, "SELECT count(*) FROM pg_namespace WHERE nspname = 'public'") == 0


@pytest.fixture
def reader(server: LocalServer, uat: LocalServer) -> Iterator[Callable[[str], Conninfo]]:
    """A function that makes an ordinary role and gives its way into a database."""
    made: list[str] = []

    def make(database: str) -> Conninfo:
        name = f"backup_reader_{len(made)}"
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'only here'").format(sql.Identifier(name)))
        made.append(name)
        return server.conninfo(database, user=name, password="only here")

    yield make
    for name in made:
        with connect(server.conninfo(), verb="test") as admin:
            databases = [row[0] for row in admin.execute("SELECT datname FROM pg_database WHERE datallowconn")]
        for database in databases:
            with connect(server.conninfo(database), verb="test") as session:
                session.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@contextlib.contextmanager
def _busy(database: Conninfo, statement: str) -> Iterator[Callable[[], int]]:
    """Somebody who runs the statement again and again; how often until now."""
    done = 0
    stop = threading.Event()

    def work() -> None:
        nonlocal done
        with connect(database, verb="application") as session:
            while not stop.is_set():
                with contextlib.suppress(psycopg.errors.SerializationFailure):
                    session.execute(statement.encode())
                done += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield lambda: done
    finally:
        stop.set()
        thread.join()


@pytest.mark.pg("== 15")
def test_a_proof_reaches_no_other_server(back_up: Back, server: LocalServer, database: Conninfo) -> None:
    """Debian's 15 brings dblink; a view over it writes into a log of production wherever it is filled."""
    address = f"{server.conninfo().replaced(**dict.fromkeys(ON_A_SOCKET)).text} dbname={database.parameters['dbname']}"
    names: list[str] = []

    def look(restored: Conninfo) -> None:
        with connect(restored, verb="test") as session:
            names.extend(row[0] for row in session.execute("SELECT matviewname FROM pg_matviews WHERE ispopulated"))

    with connect(database, verb="test") as session:
        session.execute("CREATE EXTENSION dblink; CREATE TABLE log (what text)")
        session.execute(
            "CREATE MATERIALIZED VIEW m AS SELECT w FROM "
            f"dblink('{address}', 'insert into public.log values (1) returning what') AS x(w text);"
            "CREATE MATERIALIZED VIEW fine AS SELECT 1 AS i; TRUNCATE log".encode()
        )
        backup = back_up(database, on_restored=look)
        assert names == ["fine"]
        assert session.execute("SELECT count(*) FROM log").fetchone() == (0,)
    assert (
        "materialized view public.m: not compared, since the copy could not fill it: filling it calls dblink, which "
        "reaches another server"
    ) in backup.manifest.left_out

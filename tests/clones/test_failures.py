"""Whatever ends a copy, nothing half-made is left, and the error says what to do."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from tests.support.making_pairs import start_making

from pgrehearse.clones import dump_restore
from pgrehearse.clones.dump_restore import failure_of
from pgrehearse.errors import CloneFailed, CloneImpossible, PgRehearseError, SourceUnreadable
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.child_process import start_child
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

from .conftest import MakePair, contents_of

MANY_TABLES = int(os.environ.get("PGREHEARSE_MANY_TABLES", "400"))


def refusal(pair: contextlib.AbstractContextManager[Any]) -> PgRehearseError:
    """The error that making this pair ends in."""
    with pytest.raises(PgRehearseError) as raised, pair:
        pass
    assert raised.value.remedy
    return raised.value


def states(ledger: ReleaseLedger) -> list[str]:
    return [entry.kind for entry in ledger.entries()]


@pytest.mark.pg("== 18")
def test_the_source_dropped_in_the_middle(
    production: LocalServer, clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    def drop(_: Connection) -> None:
        with connect(production.conninfo(), verb="test") as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(str(shop.database))))

    error = refusal(pair_of(shop, clean_uat.conninfo(), create_roles=True, on_snapshot=drop))
    assert isinstance(error, CloneFailed)
    assert states(ledger) == ["clone-intended", "clone-dropped"]


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("program", ["pg_dump", "pg_restore"])
def test_a_killed_child(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger, program: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip

    def start_and_kill(arguments: Sequence[str], **more: Any) -> "subprocess.Popen[bytes]":
        process = start_child(arguments, **more)
        if Path(arguments[0]).name == program:
            process.kill()
        return process

    monkeypatch.setattr(dump_restore, "start_child", start_and_kill)
    error = refusal(pair_of(shop, clean_uat.conninfo(), create_roles=True))
    assert "killed by SIGKILL" in str(error)
    assert error.exit_code == 3
    assert states(ledger) == ["clone-intended", "clone-dropped"]


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGINT, "dumping"),
        (signal.SIGTERM, "restoring data"),
        (signal.SIGINT, "restoring data"),
        (signal.SIGINT, "copying the pristine"),
    ],
)
def test_an_interrupt_drops_what_was_made(
    clean_uat: LocalServer, shop: Conninfo, tmp_path: Path, number: signal.Signals, step: str
) -> None:
    with start_making(tmp_path / "interrupted.db", shop, clean_uat.conninfo()) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(step):
                process.send_signal(number)
        assert process.wait() == 130, process.stderr.read() if process.stderr else ""
    with ReleaseLedger.open(tmp_path / "interrupted.db") as ledger:
        assert states(ledger) == ["clone-intended", "clone-dropped"]


@pytest.mark.pg("== 18")
def test_a_user_who_may_not_create_databases(clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair) -> None:
    with connect(clean_uat.conninfo(), verb="test") as admin:
        admin.execute("CREATE ROLE humble LOGIN PASSWORD 'x'")
        try:
            error = refusal(pair_of(shop, clean_uat.conninfo(user="humble", password="x"), create_roles=True))
        finally:
            admin.execute("DROP ROLE humble")
    assert isinstance(error, CloneImpossible)
    assert "humble may not create databases" in str(error)
    assert "ALTER ROLE humble CREATEDB" in error.remedy


@pytest.mark.pg("== 18")
def test_an_ordinary_user_with_createdb_can_be_the_target_s(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    with connect(clean_uat.conninfo(), verb="test") as admin:
        admin.execute("CREATE ROLE shop_readers; CREATE ROLE shop_app LOGIN NOINHERIT IN ROLE shop_readers")
        admin.execute("CREATE ROLE shop_owner LOGIN CREATEROLE CREATEDB PASSWORD 'uat' IN ROLE shop_readers")
        try:
            with pair_of(shop, clean_uat.conninfo(user="shop_owner", password="uat")) as pair:
                assert pair.role_problem is None
                assert pair.lowered == ("role shop_owner differs in CREATEDB",)
                with pair.session_as_role("run") as session:
                    row = session.execute("SELECT count(*), current_setting('TimeZone') FROM orders").fetchone()
                    assert row == (3000, "Asia/Tokyo")
        finally:
            admin.execute("DROP ROLE shop_owner, shop_app, shop_readers")


@pytest.mark.pg("== 18")
def test_a_user_who_may_not_read_everything(
    production: LocalServer, clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    source = production.conninfo(str(shop.database), user="shop_app", password="app-secret")
    error = refusal(pair_of(source, clean_uat.conninfo(), create_roles=True))
    assert isinstance(error, SourceUnreadable)
    assert "no SELECT on sequence shop.customers_id_seq" in str(error)
    with connect(shop, verb="test") as owner:
        owner.execute("ALTER TABLE shop.customers ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    error = refusal(pair_of(shop, clean_uat.conninfo(), create_roles=True))
    assert "row-level security" in str(error)
    assert "BYPASSRLS" in error.remedy
    assert states(ledger) == []


@pytest.mark.parametrize(
    "said",
    [
        "pg_dump: error: query failed: ERROR:  permission denied for sequence counted_id_seq",
        # since 18
        'pg_dump: error: failed to get data for sequence "counted_id_seq"; user may lack SELECT privilege on it',
    ],
)
def test_a_dump_that_may_not_read_a_sequence_says_what_to_grant(said: str) -> None:
    """Where rights were taken away after they were asked for."""
    error = failure_of("pg_dump", said, 1, Conninfo.parse("host=h dbname=d"))
    assert isinstance(error, SourceUnreadable)
    assert "counted_id_seq" in str(error)
    assert "pg_read_all_data" in error.remedy


@pytest.mark.pg("== 15")
def test_an_extension_that_the_target_lacks_and_versions_that_differ(
    production: LocalServer, database: Conninfo, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    """Debian's 15 has contrib; the embedded 16 has not."""
    with connect(database, verb="test") as session:
        session.execute("CREATE EXTENSION hstore VERSION '1.7'")
    with pair_of(database, None) as pair:
        assert pair.lowered == ("extension hstore: source 1.7, clone 1.8",)
    with LocalServer.create(require_server(16)) as newer:
        error = refusal(pair_of(database, newer.conninfo()))
        assert isinstance(error, CloneImpossible)
        assert "extension hstore 1.7 is not available" in str(error)
        assert "Install the package" in error.remedy
        with connect(database, verb="test") as session:
            session.execute("DROP EXTENSION hstore")
        with pair_of(database, newer.conninfo()) as pair:
            assert "major version differs: source 15, clone 16" in pair.lowered
        older = refusal(pair_of(newer.conninfo(), production.conninfo()))
        assert "the target runs PostgreSQL 15, the source 16" in str(older)


@pytest.mark.pg("== 15")
def test_a_locale_that_the_target_lacks(pair_of: MakePair, ledger: ReleaseLedger) -> None:
    """ICU is built into Debian's 15; a server that has no such locale cannot order text as the source does."""
    with LocalServer.create(require_server(15)) as source:
        with connect(source.conninfo(), verb="test") as admin:
            admin.execute(
                "CREATE DATABASE sorted TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' "
                "LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
            )
        with pair_of(source.conninfo("sorted"), None) as pair, connect(pair.clone, verb="test") as session:
            row = session.execute(
                "SELECT datlocprovider::text, daticulocale FROM pg_database WHERE datname = current_database()"
            ).fetchone()
            assert row == ("i", "de-DE")
            assert pair.lowered == ()
        with LocalServer.create(require_server(18)) as without_icu:
            error = refusal(pair_of(source.conninfo("sorted"), without_icu.conninfo()))
            assert isinstance(error, CloneImpossible)
            assert "icu de-DE" in str(error)
            assert "locale" in error.remedy
            assert contents_of(without_icu)[0] == ["postgres", "template0", "template1"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 130 MB."""
    place = Path(f"/tmp/pgrehearse-test-small-{os.getpid()}")
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=130m,mode=755", "tmpfs", str(place)], check=False)
    if mounted.returncode != 0:
        place.rmdir()
        pytest.skip("no right to mount a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)
    place.rmdir()


@pytest.fixture
def large(production: LocalServer) -> Iterator[Conninfo]:
    """A database of about 100 MB."""
    with connect(production.conninfo(), verb="test") as admin:
        admin.execute("CREATE DATABASE large")
    with connect(production.conninfo("large"), verb="test") as session:
        session.execute("CREATE TABLE filler AS SELECT g, repeat(md5(g::text), 60) FROM generate_series(1, 45000) g")
    yield production.conninfo("large")
    with connect(production.conninfo(), verb="test") as admin:
        admin.execute("DROP DATABASE large WITH (FORCE)")


@pytest.mark.pg("== 18")
def test_a_full_disk_while_cloning(large: Conninfo, small_disk: Path, pair_of: MakePair, ledger: ReleaseLedger) -> None:
    """With wal_level = minimal the rows fill the disk, not the WAL, whose end would be the server's."""
    settings = {"wal_level": "minimal", "max_wal_size": "48MB", "min_wal_size": "32MB"}
    with LocalServer.create(require_server(18), parent=small_disk, settings=settings) as cramped:
        with connect(cramped.conninfo(), verb="test") as admin:
            for _ in range(3):  # its next WAL segments lie ready before the disk is full
                admin.execute("SELECT pg_switch_wal()")
                admin.execute("CHECKPOINT")
        error = refusal(pair_of(large, cramped.conninfo()))
        assert isinstance(error, CloneFailed)
        assert "No space left on device" in str(error)
        assert "Free disk space" in error.remedy
        assert contents_of(cramped)[0] == ["postgres", "template0", "template1"]
    assert states(ledger) == ["clone-intended", "clone-dropped"]


@pytest.mark.pg("== 18")
def test_a_dump_s_directory_that_is_too_small_is_found_beforehand(
    large: Conninfo, uat: LocalServer, small_disk: Path, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    (small_disk / "filler").write_bytes(b"x" * (120 << 20))
    error = refusal(pair_of(large, uat.conninfo(), work_directory=small_disk))
    assert isinstance(error, CloneImpossible)
    assert "MB free" in str(error)
    assert states(ledger) == []
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.pg("== 18")
def test_two_at_once(clean_uat: LocalServer, shop: Conninfo, database: Conninfo, pair_of: MakePair) -> None:
    made: list[str] = []
    together = threading.Barrier(2)

    def clone(source: Conninfo) -> None:
        with pair_of(source, clean_uat.conninfo(), role="postgres") as pair:
            together.wait(60)
            with pair.session("clone", "look") as session:
                made.append(str(session.info.dbname))
            together.wait(60)

    threads = [threading.Thread(target=clone, args=(source,)) for source in (database, database)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2


@pytest.mark.pg("== 18")
@pytest.mark.slow
def test_many_tables(clean_uat: LocalServer, database: Conninfo, pair_of: MakePair) -> None:
    """The server under test has max_locks_per_transaction = 512; PGREHEARSE_MANY_TABLES=5000 is the long form."""
    with connect(database, verb="test") as session:
        for start in range(0, MANY_TABLES, 200):
            session.execute(
                f"DO $$ BEGIN FOR i IN {start}..{min(start + 200, MANY_TABLES) - 1} LOOP "
                "EXECUTE format('CREATE TABLE t%s (i int PRIMARY KEY)', i); END LOOP; END $$".encode()
            )
    with pair_of(database, clean_uat.conninfo()) as pair, pair.session("clone", "look") as session:
        assert session.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (
            MANY_TABLES,
        )


@pytest.mark.pg("== 18")
def test_no_password_is_ever_in_a_process_list_nor_in_the_ledger(
    production: LocalServer, clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What is started is noted as it is started; /proc is looked at all the time, for what they start in turn."""
    secrets = [production._password, clean_uat._password, "owner-secret"]
    started: list[str] = []
    exposed: list[str] = []

    def note(arguments: Sequence[str], **more: Any) -> "subprocess.Popen[bytes]":
        started.append("\0".join(arguments))
        return start_child(arguments, **more)

    monkeypatch.setattr(dump_restore, "start_child", note)
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            for file in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = file.read_bytes().decode(errors="replace")
                    exposed.extend(line for secret in secrets if secret in line)
            time.sleep(0.005)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        with pair_of(shop, clean_uat.conninfo(), create_roles=True) as pair:
            assert "secret" not in repr(pair)
            assert pair.role_access is not None
            secrets.append(pair.role_access.conninfo.parameters["password"])
    finally:
        ended.set()
        thread.join()
    assert {"pg_dump", "pg_restore"} <= {Path(line.partition("\0")[0]).name for line in started}
    assert exposed == []
    assert not [line for line in started if any(secret in line for secret in secrets)]
    written = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert written
    assert not [secret for secret in secrets if secret.encode() in written]


@pytest.mark.pg("== 18")
def test_an_error_of_the_caller_drops_the_pair_and_stays_what_it_is(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    with pytest.raises(ZeroDivisionError), pair_of(shop, clean_uat.conninfo(), create_roles=True):
        raise ZeroDivisionError
    assert states(ledger) == ["clone-intended", "clone-dropped"]


@pytest.mark.pg("== 18")
def test_a_target_server_that_dies_while_the_pair_is_used_is_told_and_stays_recorded(
    shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    with LocalServer.create(require_server(18)) as mortal:

        def crash(step: str) -> None:
            if step == "analyzing":
                mortal.stop(immediate=True)

        error = refusal(pair_of(shop, mortal.conninfo(), create_roles=True, progress=crash))
        assert isinstance(error, CloneFailed)
        assert "could not be dropped" in str(error)
        assert "clones prune" in error.remedy
        assert "dropped again" not in error.remedy
        assert states(ledger) == ["clone-intended"]
        mortal.start()
        with (
            pytest.raises(PgRehearseError, match="could not be dropped"),
            pair_of(shop, mortal.conninfo(), create_roles=True),
        ):
            mortal.stop(immediate=True)
        assert states(ledger) == ["clone-intended"] * 2

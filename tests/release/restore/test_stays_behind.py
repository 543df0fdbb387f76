"""What a restored database does not have is named, and what would stop the swap is told before it."""

import contextlib
from collections.abc import Iterator

import pytest
from psycopg import sql
from tests.support.replication import start_replicating

from pgrehearse.errors import RestoreRefused
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.restore.beside import names_of, open_admin
from pgrehearse.release.restore.in_the_way import (
    Room,
    find_in_the_way,
    read_room,
    require_free_way,
    require_room,
)
from pgrehearse.release.restore.stays_behind import Left, what_stays_behind

pytestmark = pytest.mark.pg(">= 15")


@pytest.fixture(scope="module")
def logical(server_major: int) -> Iterator[LocalServer]:
    """A server with logical decoding and prepared transactions."""
    with start_replicating(server_major, wal_level="logical", max_prepared_transactions="4") as server:
        yield server


def test_slots_subscriptions_publications_and_prepared_transactions_are_named(logical: LocalServer) -> None:
    database = logical.conninfo()
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE t (id int)")
        session.execute("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')")
        session.execute("CREATE PUBLICATION news FOR TABLE t")
        session.execute(
            "CREATE SUBSCRIPTION input CONNECTION 'host=/no' PUBLICATION p WITH (connect = false, slot_name = NONE)"
        )
        session.execute("BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'two-phase'")
        try:
            found = {(each.kind, each.name, each.blocks) for each in what_stays_behind(session)}
            assert found >= {
                (Left.PREPARED_TRANSACTION, "two-phase", True),
                (Left.REPLICATION_SLOT, "feed", False),
                (Left.SUBSCRIPTION, "input", False),
                (Left.PUBLICATION, "news", False),
            }
            names = names_of(database.replaced(dbname="postgres"), "x")
            with connect(database.replaced(dbname="template1"), verb="test") as admin:
                assert any("two-phase" in reason for reason in find_in_the_way(admin, names))
        finally:
            session.execute("ROLLBACK PREPARED 'two-phase'")
            session.execute("DROP SUBSCRIPTION input")
            session.execute("SELECT pg_drop_replication_slot('feed')")


def test_an_ordinary_database_leaves_only_sessions_statistics_and_its_oid(database: Conninfo) -> None:
    with connect(database, verb="test") as session, connect(database, verb="other"):
        kinds = [each.kind for each in what_stays_behind(session)]
    assert kinds == [Left.SESSIONS, Left.STATISTICS, Left.IDENTITY]


@contextlib.contextmanager
def role(server: LocalServer, name: str, attributes: str = "") -> Iterator[str]:
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x' {attributes}")
        try:
            yield name
        finally:
            admin.execute(f"DROP ROLE {name}")


def test_who_may_not_rename_is_told_every_reason_before_anything_happened(
    database: Conninfo, server: LocalServer
) -> None:
    assert database.database is not None
    with role(server, "nobody_much") as user, connect(database, verb="application"):
        poor = database.replaced(user=user, password="x")
        with open_admin(poor) as admin, pytest.raises(RestoreRefused) as refused:
            require_free_way(admin, names_of(poor, "x"))
        told = str(refused.value)
        assert "may not rename" in told
        assert "lacks CREATEDB" in told
        assert "may not end 1 of the sessions" in told
        assert "superuser" in refused.value.remedy


def test_an_owner_with_createdb_may(database: Conninfo, server: LocalServer) -> None:
    with role(server, "owner_enough", "CREATEDB IN ROLE pg_signal_backend") as user:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(
                sql.SQL("ALTER DATABASE {} OWNER TO owner_enough").format(sql.Identifier(str(database.database)))
            )
        try:
            mine = database.replaced(user=user, password="x")
            with open_admin(mine) as admin:
                assert find_in_the_way(admin, names_of(mine, "x")) == ()
        finally:
            with connect(server.conninfo(), verb="test") as admin:
                admin.execute(
                    sql.SQL("ALTER DATABASE {} OWNER TO postgres").format(sql.Identifier(str(database.database)))
                )


def test_room_is_read_on_the_servers_own_disk_and_too_little_is_refused(database: Conninfo) -> None:
    names = names_of(database, "x")
    with open_admin(database) as admin:
        room = read_room(admin, names)
    assert room.needed_bytes is not None
    assert room.needed_bytes > 7 << 20
    assert room.free_bytes is not None
    require_room(room, names)
    require_room(Room(needed_bytes=1, free_bytes=None), names)
    with pytest.raises(RestoreRefused, match="0 MB are free"):
        require_room(Room(needed_bytes=room.needed_bytes, free_bytes=1), names)

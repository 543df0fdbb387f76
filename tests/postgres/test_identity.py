import secrets
from collections.abc import Callable

import pytest
from tests.support.poolers import PGBOUNCER, byte_proxy, pgbouncer

from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import (
    Nearness,
    find_nearness,
    is_replica_of,
    read_identity,
    same_database,
    same_server,
)
from pgrehearse.postgres.local_server import LocalServer


@pytest.fixture
def nonce() -> int:
    return secrets.randbits(64)


@pytest.mark.pg(">= 15")
def test_identity_is_what_the_server_says(server: LocalServer, database: Conninfo, server_major: int) -> None:
    with connect(database, verb="test") as session:
        identity = read_identity(session)
        row = session.execute(
            "SELECT oid::int8, (SELECT system_identifier FROM pg_control_system()) FROM pg_database "
            "WHERE datname = current_database()"
        ).fetchone()
    assert (identity.database_oid, identity.system_identifier) == row
    assert identity.major == server_major
    assert not identity.in_recovery
    assert identity.database == database.database
    assert "password" not in str(identity)


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("key", [0, 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_every_64_bit_nonce_is_found_again(database: Conninfo, key: int) -> None:
    with connect(database, verb="one") as one, connect(database, verb="two") as two:
        assert same_database(one, two, key)


@pytest.mark.pg(">= 15")
def test_two_databases_of_one_server_are_told_apart(server: LocalServer, database: Conninfo, nonce: int) -> None:
    with connect(database, verb="one") as one, connect(server.conninfo(), verb="two") as two:
        assert find_nearness(one, two, nonce) is Nearness.SAME_SERVER
        assert same_server(one, two, nonce)
        assert not same_database(one, two, nonce)


@pytest.mark.pg("== 18")
def test_the_handshake_leaves_no_lock_and_no_transaction(database: Conninfo, nonce: int) -> None:
    with connect(database, verb="one") as one, connect(database, verb="two") as two:
        assert same_database(one, two, nonce)
        locks = one.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        assert locks == (0,)
        assert one.info.transaction_status.name == "IDLE"


@pytest.mark.pg("== 18")
def test_a_role_without_rights_can_shake_hands(server: LocalServer, database: Conninfo, nonce: int) -> None:
    with connect(database, verb="admin") as admin:
        admin.execute("CREATE ROLE nobody_special LOGIN PASSWORD 'x'")
        try:
            plain = database.replaced(user="nobody_special", password="x")
            with connect(plain, verb="one") as one:
                assert same_database(one, admin, nonce)
                assert same_database(admin, one, nonce)
                read_identity(one)
        finally:
            admin.execute("DROP ROLE nobody_special")


@pytest.mark.pg("== 18")
def test_twins_with_equal_identifiers_are_different_servers(
    twin_of: Callable[[LocalServer], LocalServer], replicating: LocalServer, nonce: int
) -> None:
    twin = twin_of(replicating)
    with connect(replicating.conninfo(), verb="one") as one, connect(twin.conninfo(), verb="two") as two:
        mine, its = read_identity(one), read_identity(two)
        assert mine.system_identifier == its.system_identifier
        assert mine.database_oid == its.database_oid
        assert find_nearness(one, two, nonce) is Nearness.DIFFERENT_SERVERS


@pytest.mark.pg(">= 15")
def test_a_standby_knows_its_own_primary_from_a_twin_of_it(
    replicating: LocalServer,
    standby_of: Callable[[LocalServer], LocalServer],
    twin_of: Callable[[LocalServer], LocalServer],
    nonce: int,
) -> None:
    standby, twin = standby_of(replicating), twin_of(replicating)
    with (
        connect(standby.conninfo(), verb="standby") as replica,
        connect(replicating.conninfo(), verb="primary") as primary,
        connect(twin.conninfo(), verb="twin") as other,
    ):
        assert read_identity(replica).in_recovery
        assert find_nearness(replica, primary, nonce) is Nearness.DIFFERENT_SERVERS
        assert is_replica_of(replica, primary) is True
        assert is_replica_of(replica, other, wait_s=1.0) is not True
        tables = primary.execute("SELECT count(*) FROM pg_class WHERE relname = 'pgrehearse_handshake'").fetchone()
        assert tables == (0,)


@pytest.mark.pg("== 18")
def test_two_sessions_of_a_standby_shake_hands(
    replicating: LocalServer, standby_of: Callable[[LocalServer], LocalServer], nonce: int
) -> None:
    standby = standby_of(replicating)
    with connect(standby.conninfo(), verb="one") as one, connect(standby.conninfo(), verb="two") as two:
        assert same_database(one, two, nonce)


@pytest.mark.pg("== 18")
def test_socket_tcp_and_a_proxy_reach_the_same_database(replicating: LocalServer, nonce: int) -> None:
    tcp = replicating.conninfo().replaced(host=replicating._settings["listen_addresses"])
    with byte_proxy(replicating) as proxied:
        for other in (tcp, proxied):
            with connect(replicating.conninfo(), verb="one") as one, connect(other, verb="two") as two:
                assert same_database(one, two, nonce)
                assert same_database(two, one, nonce)


@pytest.mark.pg("== 18")
@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
@pytest.mark.parametrize("pool_mode", ["transaction", "session"])
def test_the_handshake_works_through_a_pooler(server: LocalServer, pool_mode: str, nonce: int) -> None:
    with (
        pgbouncer(server, pool_mode=pool_mode) as pooled,
        connect(pooled, verb="one") as one,
        connect(server.conninfo(), verb="two") as two,
    ):
        assert same_database(one, two, nonce)
        assert same_database(two, one, nonce)

import threading
import time

import pytest
from tests.support.poolers import PGBOUNCER, byte_proxy, pgbouncer

from pgrehearse.errors import PoolerRefused
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.pooler import find_direct, read_session_path, require_direct_name, require_session

needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")


@pytest.mark.parametrize(
    ("pooled", "direct"),
    [
        (
            "postgresql://me:pw@ep-cool-1-pooler.us-east-2.aws.neon.tech/shop?sslmode=require",
            "ep-cool-1.us-east-2.aws.neon.tech/shop",
        ),
        ("postgresql://me:pw@db-pooler/shop", "db/shop"),
        (
            "postgresql://postgres.abc:pw@aws-0-eu-central-1.pooler.supabase.com:6543/postgres",
            "aws-0-eu-central-1.pooler.supabase.com/postgres",
        ),
        ("postgresql://postgres:pw@db.abc.supabase.co:6543/postgres", "db.abc.supabase.co/postgres"),
    ],
)
def test_a_pooler_by_name_is_refused_and_its_direct_host_suggested(pooled: str, direct: str) -> None:
    found = find_direct(Conninfo.parse(pooled))
    assert found is not None
    assert found.address == direct
    with pytest.raises(PoolerRefused) as refused:
        require_session(Conninfo.parse(pooled))
    assert direct in refused.value.remedy
    assert refused.value.exit_code == 2
    assert "pw" not in str(refused.value) + refused.value.remedy


@pytest.mark.parametrize(
    "direct",
    [
        "postgresql://me@ep-cool-1.us-east-2.aws.neon.tech/shop",
        "postgresql://postgres.abc@aws-0-eu-central-1.pooler.supabase.com:5432/postgres",
        "postgresql://me@example.org:6543/shop",
        "service=shop",
        "dbname=shop",
    ],
)
def test_other_names_are_not_suspected(direct: str) -> None:
    assert find_direct(Conninfo.parse(direct)) is None
    require_direct_name(Conninfo.parse(direct))


@pytest.mark.pg(">= 15")
def test_a_direct_connection_is_told_as_such(server: LocalServer) -> None:
    path = require_session(server.conninfo())
    assert (path.proxied, path.kept, path.told) == (False, True, None)


@pytest.mark.pg("== 18")
def test_a_tunnel_keeps_the_session(server: LocalServer) -> None:
    with byte_proxy(server) as proxied:
        assert require_session(proxied).kept


@pytest.mark.pg("== 18")
@needs_pgbouncer
@pytest.mark.parametrize("pool_size", [1, 5])
def test_pgbouncer_in_transaction_mode_is_refused(server: LocalServer, pool_size: int) -> None:
    with pgbouncer(server, pool_mode="transaction", pool_size=pool_size) as pooled:
        with pytest.raises(PoolerRefused, match="does not keep the session"):
            require_session(pooled)
        assert read_session_path(pooled).proxied


@pytest.mark.pg("== 18")
@needs_pgbouncer
def test_pgbouncer_in_transaction_mode_is_found_while_others_use_it(server: LocalServer) -> None:
    ended = threading.Event()

    def work(address: Conninfo) -> None:
        with connect(address, verb="busy") as session:
            while not ended.is_set():
                session.execute("SELECT pg_sleep(0.001)")

    with pgbouncer(server, pool_mode="transaction", pool_size=4) as pooled:
        threads = [threading.Thread(target=work, args=(pooled,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(0.1)
            for _ in range(8):
                assert not read_session_path(pooled).kept
        finally:
            ended.set()
            for thread in threads:
                thread.join()


@pytest.mark.pg("== 18")
@needs_pgbouncer
def test_pgbouncer_in_session_mode_is_told_and_accepted(server: LocalServer) -> None:
    with pgbouncer(server, pool_mode="session") as pooled:
        path = require_session(pooled)
        assert path.proxied
        assert path.kept
        assert path.told is not None
        assert "proxy or pooler" in path.told


@pytest.mark.pg("== 18")
@needs_pgbouncer
def test_a_full_pool_of_sessions_is_not_taken_for_one_of_transactions(server: LocalServer) -> None:
    with pgbouncer(server, pool_mode="session", pool_size=1) as pooled:
        assert require_session(pooled).kept

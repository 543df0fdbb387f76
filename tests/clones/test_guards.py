"""A clone never lands on its source, nor on a server that holds a protected database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.support.dumps import dump_text
from tests.support.poolers import PGBOUNCER, byte_proxy, pgbouncer

from pgrehearse.errors import PoolerRefused, SameDatabase, SameServer
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity
from pgrehearse.postgres.local_server import LocalServer

from .conftest import MakePair, contents_of


@contextmanager
def other_ways(production: LocalServer, database: str) -> Iterator[list[Conninfo]]:
    """Every other address of the same database: TCP by another host, a proxy, poolers in both modes."""
    tcp = production.conninfo(database).replaced(host=production._settings["listen_addresses"])
    ways = [production.conninfo(database), tcp]
    with byte_proxy(production) as proxied:
        ways.append(proxied.replaced(dbname=database))
        if PGBOUNCER is None:
            yield ways
            return
        with pgbouncer(production, pool_mode="transaction") as one, pgbouncer(production, pool_mode="session") as two:
            yield [*ways, one.replaced(dbname=database), two.replaced(dbname=database)]


@pytest.mark.pg(">= 15")
def test_the_source_under_any_other_address_is_no_target_and_nothing_is_written(
    production: LocalServer, shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    assert shop.database is not None
    before = dump_text(production.conninfo(shop.database)), contents_of(production)
    with other_ways(production, shop.database) as ways:
        for target in ways:
            for allowed in (False, True):
                with pytest.raises(SameDatabase) as refused, pair_of(shop, target, same_server_allowed=allowed):
                    pass
                assert refused.value.exit_code == 2
    assert (dump_text(production.conninfo(shop.database)), contents_of(production)) == before
    assert ledger.entries() == ()


@pytest.mark.pg("== 18")
def test_another_database_of_the_source_s_server_is_refused_unless_allowed(
    production: LocalServer, shop: Conninfo, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    before = contents_of(production)
    with pytest.raises(SameServer) as refused, pair_of(shop, production.conninfo()):
        pass
    assert refused.value.exit_code == 1
    assert "clone.same_server = true" in refused.value.remedy
    assert ledger.entries() == ()
    with pair_of(shop, production.conninfo(), same_server_allowed=True) as pair:
        assert dump_text(pair.clone) == dump_text(production.conninfo(str(shop.database)))
    assert contents_of(production) == before


@pytest.mark.pg("== 18")
def test_a_target_on_the_server_of_a_protected_database_is_refused(
    production: LocalServer, uat: LocalServer, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    """Development is copied; the target turns out to share its server with production."""
    guarded = {"protected": [production.conninfo("template1")]}
    with pytest.raises(SameServer, match="the protected"), pair_of(uat.conninfo(), production.conninfo(), **guarded):
        pass
    guarded = {"protected": [production.conninfo()]}
    with pytest.raises(SameDatabase, match="the protected"), pair_of(uat.conninfo(), production.conninfo(), **guarded):
        pass
    assert ledger.entries() == ()


@pytest.mark.pg("== 18")
def test_a_protected_database_that_cannot_be_reached_is_told(
    clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    lost = Conninfo.parse("host=/nonexistent dbname=production password=canary-9")
    with pair_of(shop, clean_uat.conninfo(), protected=[lost], create_roles=True) as pair:
        assert len(pair.not_measured) == 1
        assert "/nonexistent/production" in pair.not_measured[0]
        assert "canary-9" not in pair.not_measured[0]


@pytest.mark.pg("== 18")
def test_a_twin_with_equal_identifiers_is_accepted_as_target(
    production: LocalServer, twin_of: Callable[[LocalServer], LocalServer], pair_of: MakePair
) -> None:
    """A UAT server made from a base backup: the same system identifier, oids and names."""
    twin = twin_of(production)
    with connect(production.conninfo(), verb="one") as one, connect(twin.conninfo(), verb="two") as two:
        mine, its = read_identity(one), read_identity(two)
        assert (mine.system_identifier, mine.database_oid) == (its.system_identifier, its.database_oid)
    with pair_of(production.conninfo(), twin.conninfo()) as pair:
        assert dump_text(pair.clone) == dump_text(production.conninfo())


@pytest.mark.pg("== 18")
def test_the_primary_is_no_target_for_a_copy_of_its_standby(
    production: LocalServer,
    standby_of: Callable[[LocalServer], LocalServer],
    twin_of: Callable[[LocalServer], LocalServer],
    pair_of: MakePair,
) -> None:
    before = contents_of(production)
    replica = standby_of(production).conninfo()
    with pytest.raises(SameServer, match="primary of the replica"), pair_of(replica, production.conninfo()):
        pass
    assert contents_of(production) == before


@pytest.mark.pg("== 18")
@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
def test_a_pooler_that_does_not_keep_sessions_is_refused_on_either_side(
    production: LocalServer, clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    with pgbouncer(production, pool_mode="transaction") as pooled:
        source = pooled.replaced(dbname=shop.database)
        with pytest.raises(PoolerRefused), pair_of(source, clean_uat.conninfo()):
            pass
    with pgbouncer(clean_uat, pool_mode="transaction") as pooled, pytest.raises(PoolerRefused), pair_of(shop, pooled):
        pass
    with pytest.raises(PoolerRefused), pair_of(Conninfo.parse("postgresql://a@b-pooler.example/c"), None):
        pass


@pytest.mark.pg("== 18")
@pytest.mark.skipif(PGBOUNCER is None, reason="pgbouncer is not installed")
def test_a_pooler_that_keeps_sessions_is_accepted_and_told(
    production: LocalServer, clean_uat: LocalServer, shop: Conninfo, pair_of: MakePair
) -> None:
    """It keeps our sessions in the pristine database, too, which nobody may be connected to when it is copied."""
    with (
        pgbouncer(production, pool_mode="session", pool_size=20) as pooled,
        pgbouncer(clean_uat, pool_mode="session", pool_size=20) as target,
    ):
        source = pooled.replaced(dbname=shop.database)
        with pair_of(source, target, create_roles=True) as pair:
            assert pair.origin.path.proxied
            assert pair.role == "postgres"
            pair.renew_clone()

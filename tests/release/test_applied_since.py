"""What somebody else's release ledger, or another tool, has applied behind a promotion closes its inverse."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.applying import DRIZZLE, FOLDER, ledger_of, plan_of
from tests.support.release_world import MIGRATIONS, World

from pgrehearse.errors import NoWayBack
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.release.applied_since import AppliedSince, find_applied_since
from pgrehearse.release.gate import names_to_accept
from pgrehearse.release.history import PromotionRecord
from pgrehearse.rolling_back import RollbackOptions

AD_HOC = SourceKind.AD_HOC
OWN, DRIZZLES = "pgrehearse.migrations", "drizzle.__drizzle_migrations"


@pytest.fixture
def world(database: Conninfo, uat: LocalServer, tmp_path: Path) -> World:
    made = World(database, uat.conninfo(), tmp_path)
    made.begin()
    return made


@pytest.mark.pg("== 18")
def test_nobody_goes_back_past_what_another_has_applied_since(world: World) -> None:
    world.write_migration("0002_orphans")
    document = world.rehearse(as_at_first=False).value
    assert world.approve("ann", document["digest"], names_to_accept(document)).error is None
    world.promote(document["digest"])
    (stars,) = plan_of(MIGRATIONS["0003_stars"]).migrations
    with world.session() as another:  # a copy of the folder and its release ledger, on another machine
        another.execute(MIGRATIONS["0003_stars"].encode())
        ledger_of(FOLDER).record(another, stars)
    before = world.look()
    with pytest.raises(NoWayBack, match=rf"applied since.*{OWN} records {stars.version} \(20.*take that back"):
        world.rollback(agree=False, only="inverse")
    options = RollbackOptions(only="restore", dry_run=True)
    dry = world.rolling_back.rollback(options, progress=Silent(), tell=lambda _: None, agree=lambda _: False)
    assert any(f"taken back with it, for the backup is older: {OWN} records" in each for each in dry.ways[0].told)
    assert world.look() == before
    world.execute("DELETE FROM pgrehearse.migrations WHERE version = '0001_step'; ALTER TABLE notes DROP COLUMN stars")
    assert world.rollback(agree=False).inverse is not None
    assert world.look().recorded == ()


def record(connection: Connection, kind: SourceKind, *migrations: Migration) -> None:
    ledger = ledger_of(kind)
    ledger.create(connection)
    for migration in migrations:
        assert ledger.record(connection, migration) == 1


def find(
    connection: Connection, kind: SourceKind, *plan: Migration, at: datetime | None = None, known: frozenset[str]
) -> AppliedSince:
    promotion = PromotionRecord(
        id="p", seq=1, key="k", at=at or datetime.now(UTC) - timedelta(minutes=1), receipt=None, plan=(), digests={},
        by="ann", outcome="promoted", ended_at=None, proofs=(),
    )  # fmt: skip
    return find_applied_since(connection, connection, promotion, plan, ledger_of(kind), known=known)


@pytest.mark.parametrize("kind", [FOLDER, AD_HOC, DRIZZLE])
def test_in_its_own_ledger_the_order_of_the_rows_tells(connection: Connection, kind: SourceKind) -> None:
    earlier, first, between, second, later = plan_of("1", "2", "3", "4", "5", kind=kind).migrations
    nothing = frozenset[str]()
    assert find(connection, kind, first, known=nothing) == AppliedSince()  # not even the ledger's table is there
    record(connection, kind, earlier, first, second)
    assert find(connection, kind, first, second, known=nothing).found == ()
    record(connection, kind, later)
    (found,) = find(connection, kind, first, second, known=nothing).found
    name = later.sha256[:12] if kind is DRIZZLE else later.version
    assert found.startswith(f"{DRIZZLES if kind is DRIZZLE else OWN} records {name}")
    assert find(connection, kind, first, second, known=frozenset({later.sha256})).found == ()
    assert len(find(connection, kind, first, known=nothing).found) == 2  # the order counts, not the plan's
    assert find(connection, kind, between, known=nothing) == AppliedSince()  # itself not applied


@pytest.mark.parametrize(("kind", "other"), [(FOLDER, AD_HOC), (AD_HOC, FOLDER), (DRIZZLE, AD_HOC), (DRIZZLE, FOLDER)])
def test_in_another_ledger_the_time_tells(connection: Connection, kind: SourceKind, other: SourceKind) -> None:
    nothing = frozenset[str]()
    (mine,), (before, since) = plan_of("1", kind=kind).migrations, plan_of("2", "3", kind=other).migrations
    record(connection, other, before)
    began = datetime.now(UTC)
    record(connection, kind, mine)
    assert find(connection, kind, mine, at=began, known=nothing) == AppliedSince()
    record(connection, other, since)
    (found,) = find(connection, kind, mine, at=began, known=nothing).found
    assert found.startswith(f"{OWN} records {since.version} (20")
    assert find(connection, kind, mine, at=began, known=frozenset({since.sha256})) == AppliedSince()


def test_of_drizzles_rows_those_of_younger_files_are_found(connection: Connection) -> None:
    (mine,), (old, young) = plan_of("1").migrations, plan_of("2", "3", kind=DRIZZLE).migrations
    record(connection, FOLDER, mine)
    record(connection, DRIZZLE, old)
    assert find(connection, FOLDER, mine, known=frozenset()) == AppliedSince()
    record(connection, DRIZZLE, young)
    connection.execute(
        "UPDATE drizzle.__drizzle_migrations SET created_at = (extract(epoch FROM now()) + 60) * 1000 WHERE hash = %s",
        (young.sha256,),
    )
    (found,) = find(connection, FOLDER, mine, known=frozenset()).found
    assert found == f"{DRIZZLES} records {young.sha256[:12]}"


def test_a_ledger_that_cannot_be_read_is_no_yes(connection: Connection) -> None:
    (mine,) = plan_of("1").migrations
    record(connection, FOLDER, mine)
    connection.execute("CREATE SCHEMA drizzle; CREATE VIEW drizzle.__drizzle_migrations AS SELECT 1")
    (reason,) = find(connection, FOLDER, mine, known=frozenset()).why_not_newest
    assert reason == f"what was applied since cannot be told: {DRIZZLES} is not a table"

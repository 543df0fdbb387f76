"""Subscribers of a publication of all tables never hear of the quarantine namespace."""

from collections.abc import Iterator

import pytest
from tests.support.going_back import GoingBack, going_back
from tests.support.replication import start_replicating

from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.put_back import put_back

pytestmark = pytest.mark.pg(">= 15")

BEFORE = """
CREATE TABLE orders (id int PRIMARY KEY, note text);
INSERT INTO orders SELECT i, 'note ' || i FROM generate_series(1, 100) i;
CREATE TABLE log (line text, n int);
ALTER TABLE log REPLICA IDENTITY FULL;
INSERT INTO log SELECT 'l', i % 3 FROM generate_series(1, 30) i;
CREATE TABLE old (id int PRIMARY KEY);
INSERT INTO old SELECT generate_series(1, 10);
CREATE PUBLICATION everything FOR ALL TABLES;
"""
MIGRATION = """
DELETE FROM orders WHERE id % 3 = 0; INSERT INTO orders VALUES (777);
UPDATE log SET n = 7 WHERE n = 1;
DROP TABLE old;
"""
APPLICATION = """
UPDATE orders SET note = 'late' WHERE id = 3; DELETE FROM orders WHERE id = 6;
INSERT INTO log VALUES ('x', 1);
"""
PUBLISHED = """
SELECT string_agg(encode(data, 'escape'), ' ') FROM pg_logical_slot_get_binary_changes(
    'hearing', NULL, NULL, 'proto_version', '1', 'publication_names', 'everything')
"""
PERSISTENCE = """
SELECT c.relname, c.relpersistence::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pgrehearse_quarantine' AND c.relkind = 'r' ORDER BY 1
"""


@pytest.fixture(scope="module")
def decoding(server_major: int) -> Iterator[LocalServer]:
    """A server that decodes its WAL for subscribers."""
    with start_replicating(server_major, wal_level="logical", max_replication_slots="2") as server:
        yield server


@pytest.fixture
def world(decoding: LocalServer) -> Iterator[GoingBack]:
    with going_back(decoding) as make:
        yield make()


def test_what_is_kept_is_durable_and_was_published_to_nobody(world: GoingBack) -> None:
    world.run(BEFORE)
    before = world.rows("SELECT id, note FROM orders ORDER BY 1"), world.rows("SELECT * FROM log ORDER BY 1, 2")
    world.rehearse(MIGRATION)
    world.run("SELECT pg_create_logical_replication_slot('hearing', 'pgoutput')")
    world.take()
    assert {kind for _, kind in world.rows(PERSISTENCE)} == {"u"}
    world.run(APPLICATION)
    with world.migrating() as session:
        session.execute(MIGRATION)
    assert {kind for _, kind in world.rows(PERSISTENCE)} == {"p"}
    world.run("INSERT INTO orders VALUES (9, 'mine')")
    with world.session() as session, session.transaction():
        session.execute("CREATE TABLE old (id int PRIMARY KEY)")
        found = put_back(session, world.images)
    assert [table.rows_left for table in found.tables if table.relation == "public.orders"] == [1]
    assert {kind for _, kind in world.rows(PERSISTENCE)} == {"p"}

    expected = [row for row in before[0] if row[0] not in (3, 6, 9)] + [(3, "late"), (9, "mine")]
    assert world.rows("SELECT id, note FROM orders ORDER BY 1") == sorted(expected)
    assert world.rows("SELECT * FROM log ORDER BY 1, 2") == sorted([*before[1], ("x", 1)])
    published = world.rows(PUBLISHED)[0][0]
    assert "orders" in published
    assert "note 12" in published, "the row that came back is the subscribers' too"
    assert "quarantine" not in published
    world.run("SELECT pg_drop_replication_slot('hearing')")


def test_a_crash_before_the_migration_costs_the_copy_and_nothing_else(world: GoingBack) -> None:
    """An unlogged image is empty afterwards; it is taken again under the lock."""
    world.run(BEFORE)
    before = world.rows("SELECT id, note FROM orders ORDER BY 1")
    world.rehearse(MIGRATION)
    world.take()
    world.run("CHECKPOINT")
    world.server.stop(immediate=True)
    world.server.start(world.server._settings)
    with world.session() as session:
        for image in world.images:
            assert session.execute(f'SELECT count(*) FROM pgrehearse_quarantine."{image.table}"').fetchall() == [(0,)]
    with world.migrating() as session:
        session.execute(MIGRATION)
    world.go_back("CREATE TABLE old (id int PRIMARY KEY)")
    assert world.rows("SELECT id, note FROM orders ORDER BY 1") == before
    assert world.rows("SELECT count(*) FROM old") == [(10,)]

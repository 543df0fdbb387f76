"""Between the copy and the migration the application goes on writing; under the lock the image is the table again."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from tests.support.going_back import GoingBack, going_back

from pgrehearse.errors import ImagesNotKept
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.image_refresh import Refreshed, refresh_images
from pgrehearse.rollback.image_settle import settle_images

pytestmark = pytest.mark.pg(">= 15")

BEFORE = """
CREATE TABLE orders (id bigint PRIMARY KEY, customer text, note text);
INSERT INTO orders SELECT i, 'c' || i % 7, 'note ' || i FROM generate_series(1, 1000) i;
CREATE TABLE stock (shop text, item int, n numeric, PRIMARY KEY (item, shop));
INSERT INTO stock SELECT 's' || i % 5, i, i FROM generate_series(1, 100) i;
CREATE TABLE log (line text, n int);
INSERT INTO log SELECT 'line ' || i % 4, i % 3 FROM generate_series(1, 100) i;
CREATE TABLE parts (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (50);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM (50) TO (100);
INSERT INTO parts SELECT i, 'v' FROM generate_series(1, 90) i;
"""
MIGRATION = """
ALTER TABLE orders DROP COLUMN note;
UPDATE stock SET n = 0 WHERE item > 50;
DELETE FROM log WHERE n = 1;
DELETE FROM parts WHERE id % 2 = 0;
"""


# One after the other on the same tables: each finds rows to write.
WRITES = (
    "INSERT INTO orders VALUES (2000, 'new', 'new'), (2001, NULL, NULL)",
    "UPDATE orders SET note = 'changed' WHERE id % 100 = 0",
    "UPDATE orders SET note = NULL WHERE id = 7",
    "DELETE FROM orders WHERE id % 100 = 0",
    "DELETE FROM orders WHERE id = 3; INSERT INTO orders VALUES (3, 'back', 'again')",
    "DELETE FROM orders WHERE id = 3; INSERT INTO orders VALUES (5000, 'as many', 'as before')",
    "UPDATE stock SET n = n + 0.00; DELETE FROM stock WHERE item = 1; INSERT INTO stock VALUES ('s0', 1, 9)",
    "INSERT INTO log SELECT * FROM log LIMIT 1",
    "UPDATE log SET line = 'other' WHERE ctid = (SELECT min(ctid) FROM log)",
    "DELETE FROM log WHERE ctid = (SELECT min(ctid) FROM log)",
    "UPDATE parts SET id = 95 WHERE id = 5",
    "UPDATE parts SET v = 'w' WHERE id IN (1, 60)",
    "UPDATE orders SET id = -id WHERE id < 10",
    "VACUUM FULL orders",
    "TRUNCATE orders",
)


@pytest.fixture(scope="module")
def rehearsed(server: LocalServer) -> Iterator[GoingBack]:
    """Its plans are made once; a database for each test would take most of the time."""
    with going_back(server) as make:
        found = make()
        found.run(BEFORE)
        found.rehearse(MIGRATION)
        yield found


@pytest.fixture
def world(rehearsed: GoingBack) -> GoingBack:
    rehearsed.run("DROP SCHEMA IF EXISTS pgrehearse_quarantine CASCADE; DROP TABLE orders, stock, log, parts CASCADE")
    rehearsed.run(BEFORE)
    rehearsed.take()
    return rehearsed


def differences(session: Connection, world: GoingBack) -> list[str]:
    """Plain SQL: rows of the table that the image has not, and the other way round."""
    found = []
    for image in world.images:
        columns = sql.SQL(", ").join(column.identifier for column in image.columns)
        table = sql.Identifier(*image.relation.split("."))
        for one, other in ((table, image.identifier), (image.identifier, table)):
            query = sql.SQL("SELECT {0} FROM {1} EXCEPT ALL SELECT {0} FROM {2}").format(columns, one, other)
            found += [f"{image.relation}: {row}" for row in session.execute(query)]
    return found


def refresh(world: GoingBack) -> dict[str, Refreshed]:
    """Refresh in a transaction, hold it against the tables, go back out."""
    with world.session() as session, session.transaction(force_rollback=True):
        found = refresh_images(session, world.images)
        assert differences(session, world) == []
    return {each.relation: each for each in found}


def test_untouched_tables_are_proved_equal_without_copying(world: GoingBack) -> None:
    found = refresh(world)
    assert {
        name: (each.rows_written, each.rows_deleted, each.copied_again) for name, each in found.items()
    } == dict.fromkeys(
        ("public.orders", "public.stock", "public.log", "public.parts_1", "public.parts_2"), (0, 0, False)
    )


def test_each_kind_of_write_is_caught(world: GoingBack) -> None:
    for number, writes in enumerate(WRITES):
        world.take(id=f"w{number}")
        with world.session() as session:
            for each in writes.split("; "):
                session.execute(each)
            assert "VACUUM" in writes or differences(session, world), f"{writes} must make a difference"
        refresh(world)


def test_what_was_uncommitted_while_the_copy_was_taken_is_caught(world: GoingBack) -> None:
    """Its transaction, and a subtransaction, had their numbers before the copy's snapshot."""
    with world.session() as writer, world.session() as other:
        writer.execute("BEGIN; INSERT INTO orders VALUES (3000, 'top', 'x'); SAVEPOINT s")
        writer.execute("INSERT INTO orders VALUES (3001, 'sub', 'x'); DELETE FROM orders WHERE id = 9")
        writer.execute("UPDATE log SET n = 77 WHERE ctid = (SELECT min(ctid) FROM log)")
        other.execute("UPDATE orders SET customer = 'later' WHERE id = 500")
        world.take(id="p2")
        writer.execute("RELEASE s; COMMIT")
    refresh(world)


def test_writers_wait_from_refreshing_on_and_readers_go_on(world: GoingBack) -> None:
    with world.session() as session, world.session() as application, session.transaction(force_rollback=True):
        refresh_images(session, world.images)
        application.execute("SET lock_timeout = '50ms'")
        for table in ("orders", "stock", "log", "parts_1"):
            assert application.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
            with pytest.raises(psycopg.errors.LockNotAvailable):
                application.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))


def test_a_lock_that_is_not_had_is_the_servers_own_error(world: GoingBack) -> None:
    with world.session() as session, world.session() as application:
        application.execute("BEGIN; UPDATE orders SET note = '' WHERE id = 1")
        session.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable), session.transaction():
            refresh_images(session, world.images)


def test_a_rolled_back_attempt_leaves_the_copy_for_the_next(world: GoingBack) -> None:
    world.run("DELETE FROM orders WHERE id = 3; INSERT INTO log VALUES ('late', 1)")
    refresh(world)
    world.run("UPDATE orders SET note = 'later' WHERE id = 4")
    refresh(world)


def test_settings_and_role_of_the_migration_are_as_it_left_them(world: GoingBack) -> None:
    shown = "SELECT current_setting('search_path'), current_setting('DateStyle'), current_setting('role'), current_user"
    with world.session() as session, session.transaction(force_rollback=True):
        session.execute("SET LOCAL search_path = public, pg_temp; SET LOCAL DateStyle = 'German'; SET ROLE pg_monitor")
        before = session.execute(shown).fetchone()
        refresh_images(session, world.images)
        assert session.execute(shown).fetchone() == before


def test_a_changed_shape_is_refused(world: GoingBack) -> None:
    world.run("ALTER TABLE stock ALTER COLUMN n TYPE float8")
    with (
        world.session() as session,
        pytest.raises(ImagesNotKept, match=r"columns of public\.stock"),
        session.transaction(),
    ):
        refresh_images(session, world.images)


def test_an_image_that_was_dropped_is_missed(world: GoingBack) -> None:
    world.run(f'DROP TABLE pgrehearse_quarantine."{world.images[0].table}"')
    with world.session() as session, pytest.raises(ImagesNotKept, match="not in the quarantine"), session.transaction():
        refresh_images(session, world.images)


def test_nothing_is_settled_that_was_not_refreshed_in_the_same_transaction(world: GoingBack) -> None:
    with world.session() as session:
        with session.transaction():
            refresh_images(session, world.images)
        session.execute("BEGIN")
        with pytest.raises(ImagesNotKept, match="not refreshed"):
            settle_images(session, world.images)
        session.execute("ROLLBACK")


def test_a_hidden_snapshot_is_refused(world: GoingBack) -> None:
    """At REPEATABLE READ what others committed before our lock could not be seen."""
    with world.session() as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        with pytest.raises(ImagesNotKept, match="READ COMMITTED"):
            refresh_images(session, world.images)
        session.execute("ROLLBACK")


def test_rows_that_go_though_only_values_should_are_stopped_before_the_commit(world: GoingBack) -> None:
    """The image of `stock` holds no whole rows, since the rehearsal lost none."""
    with world.session() as session:
        session.execute("BEGIN")
        refresh_images(session, world.images)
        session.execute(MIGRATION)
        session.execute("DELETE FROM stock WHERE item < 3")
        with pytest.raises(ImagesNotKept, match=r"2 rows of public\.stock went"):
            settle_images(session, world.images)
        session.execute("ROLLBACK")
    assert world.rows("SELECT count(*) FROM orders WHERE note IS NOT NULL") == [(1000,)]

"""Rows that the migration moved to another partition: one row is never two, and what was deleted since stays so."""

from collections.abc import Iterator

import pytest
from tests.support.going_back import GoingBack, going_back

from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.left_behind import find_left_behind

pytestmark = pytest.mark.pg(">= 15")


@pytest.fixture
def world(server: LocalServer) -> Iterator[GoingBack]:
    with going_back(server) as make:
        yield make()


LIST = """
CREATE TABLE t (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);
CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2);
CREATE TABLE t3 PARTITION OF t FOR VALUES IN (3);
INSERT INTO t SELECT g, 1, 'v' || g FROM generate_series(1, 8) g;
INSERT INTO t VALUES (8, 2, 'other');
"""
OWN_KEYS = """
CREATE TABLE t (id int, k int, v text) PARTITION BY RANGE (k);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (2);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (2) TO (3);
CREATE TABLE t3 PARTITION OF t FOR VALUES FROM (3) TO (4);
ALTER TABLE t1 ADD PRIMARY KEY (id); ALTER TABLE t2 ADD PRIMARY KEY (id); ALTER TABLE t3 ADD PRIMARY KEY (id);
INSERT INTO t SELECT g, 1, 'v' || g FROM generate_series(1, 8) g;
INSERT INTO t VALUES (9, 2, 'other');
"""


@pytest.mark.parametrize(("before", "other"), [(LIST, (8, 2, "other")), (OWN_KEYS, (9, 2, "other"))])
def test_rows_that_the_application_has_used_where_they_were_moved_to(
    world: GoingBack, before: str, other: tuple[int, int, str]
) -> None:
    world.run(before)
    world.promote("UPDATE t SET k = 2 WHERE k = 1 AND id < 8")
    world.run("""
        UPDATE t SET v = 'app' WHERE id = 1;
        DELETE FROM t WHERE id = 2;
        UPDATE t SET k = 3 WHERE id = 3;
        INSERT INTO t VALUES (10, 2, 'new');
        DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (4, 1, 'again');
    """)
    with world.session() as session:
        told = find_left_behind(session, world.images, ())
    backs = {back.relation: back for back in world.go_back("").tables}

    assert world.rows("SELECT id, k, v FROM t ORDER BY id, k") == sorted([
        (1, 2, "app"), (3, 3, "v3"), (4, 1, "again"), (5, 1, "v5"), (6, 1, "v6"), (7, 1, "v7"), (8, 1, "v8"),
        (10, 2, "new"), other,
    ])  # fmt: skip
    t1, t2 = backs["public.t1"], backs["public.t2"]
    assert (t1.rows_back, t1.rows_deleted_since, t1.rows_left) == (3, 1, 3)
    assert (t2.added_removed, t2.added_left) == (3, 1)
    reasons = dict(world.rows(f'SELECT v, "pgrehearse reason" FROM {t1.left_table}'))
    assert {v: reason.split(",")[0] for v, reason in reasons.items()} == {
        "v1": "the migration moved the row to another partition",
        "v3": "the row is gone from its partition",
        "v4": "the application has written a row under its key since",
    }
    those = [line for line in told if "public.t1" in line]
    assert [line.split("public.t1 ")[1].split(" since")[0].split(" and may")[0] for line in those] == [
        "that it deleted has a newer row under its key, and stands in pgrehearse_quarantine then (id="
        + ("4, k=1)" if before is LIST else "4)"),
        "that it moved to another partition is gone there",
        "is gone from its partition",
        "that it moved to another partition was written there",
    ]


def test_rows_of_a_dropped_partition_that_were_moved_to_one_that_was_there(world: GoingBack) -> None:
    world.run(LIST)
    world.promote("""
        ALTER TABLE t DETACH PARTITION t1;
        UPDATE t1 SET k = 2 WHERE id < 8;
        INSERT INTO t SELECT * FROM t1 WHERE k = 2;
        DROP TABLE t1;
    """)
    world.run("UPDATE t SET v = 'app' WHERE id = 1; DELETE FROM t WHERE id = 2")
    back = world.go_back("CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1)").tables
    assert world.rows("SELECT id, k, v FROM t ORDER BY id, k") == [
        (1, 2, "app"), *((n, 1, f"v{n}") for n in range(3, 9)), (8, 2, "other"),
    ]  # fmt: skip
    assert {table.relation: (table.rows_back, table.rows_deleted_since, table.rows_left) for table in back} == {
        "public.t1": (6, 1, 1),
        "public.t2": (0, 0, 0),
    }


def test_untouched_rows_go_back_where_another_row_has_their_number(world: GoingBack) -> None:
    world.run(LIST)
    world.promote("UPDATE t SET k = 3 WHERE k = 1")
    world.go_back("")
    assert world.rows("SELECT id, k, v FROM t ORDER BY id, k") == [
        *((n, 1, f"v{n}") for n in range(1, 9)), (8, 2, "other"),
    ]  # fmt: skip


def test_added_rows_that_the_application_deleted_are_not_told_as_left(world: GoingBack) -> None:
    world.run("CREATE TABLE s (id int PRIMARY KEY, v text); INSERT INTO s VALUES (1, 'a')")
    world.promote("INSERT INTO s VALUES (2, 'mig'), (3, 'mig'), (4, 'mig')")
    world.run("DELETE FROM s WHERE id = 2; UPDATE s SET v = 'app' WHERE id = 3")
    (back,) = world.go_back("").tables
    assert (back.added_removed, back.added_left) == (1, 1)
    assert world.rows("SELECT id, v FROM s ORDER BY id") == [(1, "a"), (3, "app")]

"""What a dry run tells of rows that cannot come back is what the way back itself then leaves."""

from collections.abc import Iterator

import pytest
from tests.support.going_back import GoingBack, going_back

from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.left_behind import find_left_behind

pytestmark = pytest.mark.pg(">= 15")

BEFORE = """
CREATE TABLE parents (id int PRIMARY KEY);
INSERT INTO parents SELECT generate_series(1, 5);
CREATE TABLE t (
    id int PRIMARY KEY, email text CONSTRAINT one_email UNIQUE, code int, busy int4range, parent int,
    CONSTRAINT not_twice EXCLUDE USING gist (busy WITH &&),
    CONSTRAINT has_parent FOREIGN KEY (parent) REFERENCES parents
);
CREATE UNIQUE INDEX lower_code ON t (lower(email), code) WHERE code > 0;
INSERT INTO t SELECT i, 'E' || i, i, int4range(i * 10, i * 10 + 5), 1 + i % 5 FROM generate_series(1, 20) i;
"""
MIGRATION = """
DELETE FROM t WHERE id <= 6;
UPDATE t SET email = lower(email) WHERE id > 10;
INSERT INTO t (id, email, code) VALUES (100, 'E4', 1);
"""
# Of 1 the key, of 2 the email, of 3 the range, of 5 the parent's row is taken; 4's email only the migration's row has.
# Of 12 the value before is taken, 13's was written since, of 14 it is free again: its own row has what it had.
APPLICATION = """
INSERT INTO t (id, email) VALUES (1, 'new one'), (200, 'E2'), (201, 'E12');
INSERT INTO t (id, busy) VALUES (202, '[31,33)');
INSERT INTO t (id, email, code) VALUES (203, 'e6', 6);
UPDATE t SET parent = 2 WHERE parent = 1;
DELETE FROM parents WHERE id = 1;
UPDATE t SET email = 'other' WHERE id = 13;
"""


@pytest.fixture
def world(server: LocalServer) -> Iterator[GoingBack]:
    with going_back(server) as make:
        yield make()


def test_rows_that_another_row_or_a_missing_parent_keeps_out_are_told_beforehand(world: GoingBack) -> None:
    world.run(BEFORE)
    world.promote(MIGRATION)
    world.run(APPLICATION)
    with world.session() as session:
        told = find_left_behind(session, world.images, ())
    assert [line.removeprefix("left behind: ") for line in told] == [
        "1 row of public.t that it deleted has a newer row under its key, and stands in pgrehearse_quarantine then "
        "(id=1)",
        "1 row of public.t holds values written since, which stay; the ones before stand in pgrehearse_quarantine then "
        "(id=13)",
        "2 rows of public.t were written since and get a value back by their key, as those do that were deleted and "
        "written anew (id=15; id=20)",
        "1 row of public.t cannot come back: lower_code lets another row have the same values (id=6)",
        "1 row of public.t cannot come back: not_twice lets another row have the same values (id=3)",
        "2 rows of public.t cannot come back: one_email lets another row have the same values (id=12; id=2)",
        "1 row of public.t cannot come back: the row that has_parent points at is gone (id=5)",
    ]
    back = world.go_back("")
    left = world.rows(f"SELECT id FROM {back.tables[0].left_table} ORDER BY id")
    assert left == [(1,), (2,), (3,), (5,), (6,), (12,), (13,)]


def test_a_promise_that_the_plan_added_keeps_nothing_out(world: GoingBack) -> None:
    world.run("CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT i, i / 2 FROM generate_series(1, 9) i")
    world.promote("DELETE FROM t WHERE id % 2 = 1; CREATE UNIQUE INDEX added ON t (v)")
    changes = [{"effect": "added", "kind": "index", "name": "public.added", "relation": "public.t"}]
    with world.session() as session:
        assert find_left_behind(session, world.images, changes) == ()
    assert world.go_back("DROP INDEX added").tables[0].rows_left == 0


def test_rows_that_it_added_and_that_were_written_since_are_told_beforehand_to_stay(world: GoingBack) -> None:
    world.run("CREATE TABLE t (id int PRIMARY KEY, v int)")
    world.promote("INSERT INTO t SELECT i, i FROM generate_series(1, 5) i")
    world.run("UPDATE t SET v = v WHERE id = 1; DELETE FROM t WHERE id IN (2, 3); INSERT INTO t VALUES (2, 2)")
    with world.session() as session:
        told = find_left_behind(session, world.images, ())
    assert told == ("left behind: 2 rows of public.t that it added were written since, and stay (id=1; id=2)",)
    world.go_back("")
    assert world.rows("SELECT id, v FROM t ORDER BY id") == [(1, 1), (2, 2)]


def test_what_cannot_be_told_once_the_way_back_has_written_all_rows_anew_is_not_promised(world: GoingBack) -> None:
    world.run("CREATE TABLE t (id int PRIMARY KEY, n int)")
    world.promote("ALTER TABLE t ALTER n TYPE bigint; INSERT INTO t SELECT i, i FROM generate_series(1, 3) i")
    world.run("UPDATE t SET n = n WHERE id = 1; UPDATE t SET n = 9 WHERE id = 2")
    changes = [{"effect": "changed", "kind": "column", "name": "n", "relation": "public.t"}]
    with world.session() as session:
        told = find_left_behind(session, world.images, changes)
    assert told == ("left behind: 1 row of public.t that it added was written since, and stays (id=2)",)
    world.go_back("ALTER TABLE t ALTER n TYPE int")
    assert world.rows("SELECT id, n FROM t") == [(2, 9)]


def test_a_missing_parent_in_its_own_table_is_told_beforehand(world: GoingBack) -> None:
    world.run("""
        CREATE TABLE t (id int PRIMARY KEY, parent int REFERENCES t, v text);
        INSERT INTO t SELECT g, NULLIF(g / 2, 0), 'v' || g FROM generate_series(1, 12) g;
    """)
    world.promote("DELETE FROM t WHERE id >= 4")
    with world.session() as session:
        assert find_left_behind(session, world.images, ()) == ()
    world.run("DELETE FROM t WHERE id = 3")
    with world.session() as session:
        (told,) = find_left_behind(session, world.images, ())
    assert told == (
        "left behind: 2 rows of public.t cannot come back: the row that t_parent_fkey points at is gone; "
        "nor can those that point at these (id=6; id=7)"
    )
    (back,) = world.go_back("").tables
    assert (back.rows_back, back.rows_left) == (6, 3)  # 12 points at 6

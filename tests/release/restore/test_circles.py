"""Tables that refer to each other in a circle: a dry run says what `--reapply` would stop at."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.restoring import run

from pgrehearse.errors import NotReapplied
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.release.backup.writes import TableWrites, Writes, read_counters, writes_since
from pgrehearse.release.restore.circles import find_circles, find_components
from pgrehearse.release.restore.differing_rows import find_differing_rows
from pgrehearse.release.restore.reapply import reapply

pytestmark = pytest.mark.pg("== 18")
CIRCLE = """
CREATE TABLE team (id int PRIMARY KEY, lead int) PARTITION BY RANGE (id);
CREATE TABLE team_1 PARTITION OF team FOR VALUES FROM (0) TO (100);
CREATE TABLE "Person" (id int PRIMARY KEY, team int REFERENCES team ON DELETE {action}, boss int REFERENCES "Person");
ALTER TABLE team ADD FOREIGN KEY (lead) REFERENCES "Person" ON DELETE {action};
CREATE TABLE pet (id int PRIMARY KEY, of int REFERENCES "Person" ON DELETE CASCADE);
INSERT INTO team SELECT n FROM generate_series(1, 9) n;
INSERT INTO "Person" SELECT n, n FROM generate_series(1, 9) n;
UPDATE team SET lead = id;
INSERT INTO pet SELECT n, n FROM generate_series(1, 9) n;
"""


@pytest.mark.parametrize(("action", "stops"), [("CASCADE", True), ("NO ACTION", False)])
def test_what_reapply_stops_at_is_told_before(
    database: Conninfo, restored_from: Callable[[Conninfo], Conninfo], tmp_path: Path, action: str, stops: bool
) -> None:
    run(database, CIRCLE.format(action=action))
    restored = restored_from(database)
    with connect(database, verb="test") as session:
        before = read_counters(session)
        assert find_circles(session, writes_since(session, before)) == ()
        with session.transaction():
            session.execute("SET CONSTRAINTS ALL DEFERRED")
            session.execute("UPDATE team SET lead = NULL WHERE id = 3")
            session.execute('DELETE FROM pet WHERE of = 3; DELETE FROM "Person" WHERE id = 3')
            session.execute("DELETE FROM team WHERE id = 3")
        session.execute("SELECT pg_stat_force_next_flush()")
        told = find_circles(session, writes_since(session, before))
    with connect(database, verb="test") as left, connect(restored, verb="test") as right:
        found = find_differing_rows(left, right, directory=tmp_path / "rows")
    assert found.reapply is not None
    with connect(restored, verb="test") as session:
        if not stops:
            assert told == ()
            assert reapply(session, found.reapply) == 3
            return
        with pytest.raises(NotReapplied):
            reapply(session, found.reapply)
    (line,) = told
    assert "refer to each other in a circle, and rows were deleted from them since the backup" in line
    assert 'RESTRICT public."Person", public.team refer' in line  # neither the pets nor the partition


def test_where_it_is_in_doubt_what_was_deleted_every_circle_is_told(connection: Connection) -> None:
    connection.execute(CIRCLE.format(action="RESTRICT").encode())
    one = TableWrites(name="public.team_1", inserted=0, updated=0, deleted=5)
    assert find_circles(connection, Writes(tables=(one,), doubts=())) == ()
    (line,) = find_circles(connection, Writes(tables=(), doubts=("the counters were reset since",)))
    assert "rows may have been deleted from them" in line


def test_long_circles_are_found_in_one_search() -> None:
    ring = {number: {(number + 1) % 5000} for number in range(5000)}  # deeper than Python recurses
    both = {-1: {-2}, -2: {-1, 0}, -3: {-1}}  # refers to the ring, and is in no circle with it
    assert set(find_components({**both, **ring})) == {frozenset(range(5000)), frozenset({-1, -2}), frozenset({-3})}

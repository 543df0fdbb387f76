"""Lost promises are told in the words in which the server prints them."""

import pytest

from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.guarantees import find_lost_guarantees
from pgrehearse.schema.snapshot import read_schema


def test_promises_with_conditions_are_told_in_plain_sql(connection: Connection) -> None:
    connection.execute("CREATE TABLE t (a varchar CONSTRAINT allowed CHECK (a IN ('x', 'y') AND a <> 'z'), b int)")
    connection.execute("CREATE UNIQUE INDEX once ON t (b) WHERE a IN ('x', 'y') AND b > 0")
    before = read_schema(connection)
    connection.execute("ALTER TABLE t DROP CONSTRAINT allowed")
    connection.execute("DROP INDEX once")
    told = [lost.what for lost in find_lost_guarantees(before, read_schema(connection))]
    assert len(told) == 2
    assert any("once: CREATE UNIQUE INDEX once ON public.t" in what for what in told)
    assert any("check allowed: CHECK (" in what for what in told)


def test_a_promise_made_again_in_the_same_words_is_kept(connection: Connection) -> None:
    connection.execute("CREATE TABLE t (a varchar, b int)")
    connection.execute("CREATE UNIQUE INDEX once ON t (b) WHERE a IN ('x', 'y')")
    before = read_schema(connection)
    connection.execute("DROP INDEX once")
    connection.execute("CREATE UNIQUE INDEX again ON t (b) WHERE a IN ('x', 'y')")
    assert find_lost_guarantees(before, read_schema(connection)) == ()


def test_an_index_that_becomes_a_constraint_is_no_loss(connection: Connection) -> None:
    connection.execute("CREATE TABLE t (a int NOT NULL, b int); CREATE UNIQUE INDEX once ON t (a, b)")
    before = read_schema(connection)
    connection.execute("ALTER TABLE t ADD CONSTRAINT once_now UNIQUE USING INDEX once")
    assert find_lost_guarantees(before, read_schema(connection)) == ()


def test_a_unique_index_on_other_columns_does_not_stand_in(connection: Connection) -> None:
    connection.execute("CREATE TABLE t (a int, b int); CREATE UNIQUE INDEX once ON t (a)")
    before = read_schema(connection)
    connection.execute("DROP INDEX once; ALTER TABLE t ADD UNIQUE (a, b)")
    (lost,) = find_lost_guarantees(before, read_schema(connection))
    assert "unique index" in lost.what


def test_foreign_keys_that_are_no_longer_enforced_are_told(connection: Connection) -> None:
    connection.execute("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int REFERENCES p (id))")
    before = read_schema(connection)
    connection.execute("ALTER TABLE c DISABLE TRIGGER ALL")
    (lost,) = find_lost_guarantees(before, read_schema(connection))
    assert (lost.hazard, lost.relation) == ("disable-trigger", "public.c")


@pytest.mark.pg(">= 18")
def test_a_constraint_that_is_not_enforced_any_more_is_told(connection: Connection) -> None:
    connection.execute("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int CONSTRAINT f REFERENCES p (id))")
    before = read_schema(connection)
    connection.execute("ALTER TABLE c ALTER CONSTRAINT f NOT ENFORCED")
    assert "drop-fk" in {lost.hazard for lost in find_lost_guarantees(before, read_schema(connection))}


def test_a_table_that_is_renamed_keeps_its_promises_and_a_dropped_one_takes_them_along(connection: Connection) -> None:
    connection.execute("CREATE TABLE t (a int PRIMARY KEY CHECK (a > 0)); CREATE TABLE gone (a int UNIQUE)")
    before = read_schema(connection)
    connection.execute("ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME a TO b; DROP TABLE gone")
    found = find_lost_guarantees(before, read_schema(connection))
    assert [lost.hazard for lost in found] == ["rename-table", "rename-column"]


def test_a_foreign_key_that_is_with_another_action_is_kept_and_the_action_told(
    connection: Connection,
) -> None:
    connection.execute(
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (a int CONSTRAINT f REFERENCES p (id), b int)"
    )
    before = read_schema(connection)
    connection.execute(
        "ALTER TABLE c DROP CONSTRAINT f, ADD CONSTRAINT g FOREIGN KEY (a) REFERENCES p (id) ON DELETE CASCADE"
    )
    (told,) = find_lost_guarantees(before, read_schema(connection))
    assert (told.hazard, told.level.value) == ("cascade-delete-elsewhere", "warning")
    assert told.what.endswith("deletes them now; before, it was refused")
    connection.execute("ALTER TABLE c DROP CONSTRAINT g, ADD CONSTRAINT h FOREIGN KEY (b) REFERENCES p (id)")
    assert [lost.hazard for lost in find_lost_guarantees(before, read_schema(connection))] == ["drop-fk"]

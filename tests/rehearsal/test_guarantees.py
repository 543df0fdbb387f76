"""Lost promises are told in the words in which the server prints them."""

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

"""Queries that a session plans once: what they leave behind, and what they survive."""

import psycopg
import pytest

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.prepared import PreparedQueries

pytestmark = pytest.mark.pg(">= 15")

SETTING = "SELECT pg_catalog.current_setting('work_mem')"


def queries() -> PreparedQueries:
    return PreparedQueries(
        {
            "sum": "SELECT $1::integer + $2::integer",
            "words": "SELECT u.word FROM pg_catalog.unnest($1::text[]) AS u (word)",
            "setting": SETTING,
            "fails": "SELECT 1 / $1::integer",
        },
        settings={"work_mem": "123kB"},
    )


def test_each_call_is_answered_in_its_place(connection: Connection) -> None:
    asked = queries()
    for _ in range(2):
        assert asked.read(connection, ("sum", (1, 2)), ("words", (["a", "it's", "b\\c"],)), ("setting", ())) == [
            [(3,)],
            [("a",), ("it's",), ("b\\c",)],
            [("123kB",)],
        ]


def test_settings_hold_only_while_they_run_and_the_transaction_goes_on(connection: Connection) -> None:
    asked = queries()
    before = connection.execute(SETTING).fetchone()
    with connection.transaction():
        connection.execute("CREATE TABLE kept (id int)")
        assert asked.read(connection, ("setting", ())) == [[("123kB",)]]
        assert connection.execute(SETTING).fetchone() == before
    assert connection.execute("SELECT pg_catalog.to_regclass('kept') IS NOT NULL").fetchone() == (True,)
    assert asked.read(connection, ("sum", (2, 2))) == [[(4,)]]
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


@pytest.mark.parametrize("forget", ["DEALLOCATE ALL", "DO $$ BEGIN EXECUTE 'DEALLOCATE ALL'; END $$"])
def test_a_session_that_was_told_to_forget_is_asked_all_the_same(connection: Connection, forget: str) -> None:
    asked = queries()
    with connection.transaction():
        connection.execute("CREATE TABLE kept (id int)")
        asked.read(connection, ("sum", (1, 1)))
        connection.execute(forget.encode())
        assert asked.read(connection, ("sum", (1, 1))) == [[(2,)]]
    assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_an_error_leaves_the_transaction_as_it_was(connection: Connection) -> None:
    asked = queries()
    with connection.transaction():
        connection.execute("CREATE TABLE kept (id int)")
        with pytest.raises(psycopg.errors.DivisionByZero):
            asked.read(connection, ("fails", (0,)))
        assert asked.read(connection, ("fails", (1,))) == [[(1,)]]
    with pytest.raises(psycopg.errors.DivisionByZero):
        asked.read(connection, ("fails", (0,)))
    assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_two_sessions_prepare_each_for_itself(connection: Connection, database: Conninfo) -> None:
    asked = queries()
    asked.read(connection, ("sum", (1, 1)))
    with connect(database, verb="test") as other:
        assert asked.read(other, ("sum", (2, 3))) == [[(5,)]]

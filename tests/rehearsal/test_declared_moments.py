"""now() in a condition is what it was to the statement; nothing else in it is touched."""

import pytest
from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.moments import at_moment

NOW = "2026-07-01 01:30:00.000000+00"
INSTANT = f"('{NOW}'::pg_catalog.timestamptz)"


@pytest.mark.parametrize(
    ("condition", "becomes"),
    [
        ("a < now()", f"a < {INSTANT}"),
        ("a < pg_catalog.now () AND b > clock_timestamp()", f"a < {INSTANT} AND b > {INSTANT}"),
        ("a < mine.now()", "a < mine.now()"),
        ("a = 'now()' AND now > 1", "a = 'now()' AND now > 1"),
        ("á < NOW() -- now()", f"á < {INSTANT} -- now()"),
        ("now_at(a)", "now_at(a)"),
    ],
)
def test_only_its_own_now_is_replaced(condition: str, becomes: str) -> None:
    assert at_moment(condition, NOW) == becomes


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("CURRENT_DATE", "2026-06-30"),
        ("CURRENT_TIMESTAMP(0)", "2026-06-30 21:30:00-04"),
        ("LOCALTIMESTAMP(3)", "2026-06-30 21:30:00"),
        ("LOCALTIME", "21:30:00"),
        ("CURRENT_TIME", "21:30:00-04"),
        ("statement_timestamp() - interval '1 hour'", "2026-06-30 20:30:00-04"),
    ],
)
def test_each_way_to_ask_for_the_time_answers_as_the_server_would(
    connection: Connection, asked: str, answer: str
) -> None:
    connection.execute("SET TimeZone = 'America/New_York'")
    row = connection.execute(sql.SQL("SELECT ({})::text").format(sql.SQL(at_moment(asked, NOW)))).fetchone()
    assert row == (answer,)

"""How production is asked: without writing, without a lock that anybody would notice, and never with a guess."""

import json
import threading
from collections.abc import Sequence
from dataclasses import replace

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from tests.support.applying import wait_until
from tests.support.asking_production import ask, derive

from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.release.preconditions import (
    PreconditionKind,
    PreconditionResult,
    check_preconditions,
    read_search_path,
    was_seen_in_rehearsal,
)

EVERY_KIND = """
CREATE DOMAIN d AS int;
CREATE TYPE s AS ENUM ('a', 'b');
CREATE TABLE p (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, a text, n int, m d, r int4range, s s, big bigint, nums numeric);
INSERT INTO p VALUES (1);
INSERT INTO t VALUES (1, 'secret', 1, 1, '[1,3)', 'a', 1, 1), (2, 'secret', 9, -1, '[2,3)', 'b', 3000000000, 1.5),
                     (3, NULL, -1, 1, NULL, 'a', 1, 1);
CREATE TABLE parted (id int, n int) PARTITION BY RANGE (n);
CREATE TABLE rest PARTITION OF parted DEFAULT;
INSERT INTO rest VALUES (1, 5);
"""
EVERY_PLAN = """
ALTER TABLE t ADD UNIQUE (a), ALTER a SET NOT NULL;
ALTER TABLE t ADD FOREIGN KEY (n) REFERENCES p;
ALTER TABLE t ADD CHECK (n > 0);
ALTER DOMAIN d ADD CHECK (VALUE > 0);
ALTER TABLE t ADD EXCLUDE USING gist (r WITH &&);
ALTER TABLE t ADD x int NOT NULL;
CREATE TABLE q PARTITION OF parted FOR VALUES FROM (1) TO (10);
ALTER TABLE t ALTER big TYPE int, ALTER nums TYPE int;
ALTER TYPE s RENAME TO s_old;
CREATE TYPE s AS ENUM ('a');
ALTER TABLE t ALTER s TYPE s USING s::text::s;
"""


def test_every_question_needs_no_more_than_access_share(connection: Connection, database: Conninfo) -> None:
    connection.execute(EVERY_KIND.encode())
    preconditions = derive(connection, EVERY_PLAN)

    with connect(database, verb="test", autocommit=False) as other:
        # EXCLUSIVE gets on with ACCESS SHARE alone.
        other.execute("LOCK TABLE t, p, parted, rest IN EXCLUSIVE MODE")
        results = check_preconditions(connection, preconditions, lock_timeout_ms=100)

    assert {result.precondition.kind for result in results} == set(PreconditionKind)
    assert [result.sentence for result in results if result.holds is None and not result.left_to_rehearsal] == []
    assert {result.precondition.kind for result in results if result.holds is False} == set(PreconditionKind)
    assert connection.info.transaction_status == TransactionStatus.IDLE


def test_nothing_can_be_written(undone: Connection) -> None:
    undone.execute("CREATE SEQUENCE seq; CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")

    (result,) = ask(undone, "ALTER TABLE t ADD CHECK (nextval('seq') > 0)")

    assert result.holds is None
    assert result.left_to_rehearsal
    assert result.reason == "its expression writes, which a question may not"
    assert fetch_value(undone, "SELECT is_called FROM seq") is False


def test_settings_and_transactions_of_the_caller_stay_as_they_were(connection: Connection) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
    connection.execute("SET statement_timeout = '77s'; SET search_path = pg_catalog, public")
    with connection.transaction():
        connection.execute("INSERT INTO t VALUES (1, NULL)")  # ours, and not committed

        (result,) = ask(connection, "SET search_path = public; ALTER TABLE t ALTER a SET NOT NULL")

        connection.execute("INSERT INTO t VALUES (2, 'x')")  # not read-only for us
    assert result.keys == ({"id": "1"},)
    assert fetch_value(connection, "SHOW statement_timeout") == "77s"
    assert fetch_value(connection, "SHOW search_path") == "pg_catalog, public"
    assert fetch_value(connection, "SELECT count(*) FROM t") == 2


def test_a_timeout_is_not_measured(undone: Connection) -> None:
    undone.execute("CREATE TABLE t AS SELECT g AS id, md5(g::text) AS a FROM generate_series(1, 300000) g")
    plan = "ALTER TABLE t ADD UNIQUE (a), ADD CHECK (md5(md5(a)) <> a); ALTER TABLE t ALTER a TYPE varchar(40)"

    results = ask(undone, plan, statement_timeout_ms=10)

    measured = [result for result in results if not result.left_to_rehearsal]
    assert len(measured) == 4
    assert [result.holds for result in measured] == [None] * 4
    assert all("took longer than 10 ms" in (result.reason or "") for result in measured)
    assert all(result.refuses and result.violators is None for result in measured)
    assert [result.holds for result in ask(undone, plan)] == [True] * 4


def test_a_lock_that_is_not_to_be_had_is_not_measured(connection: Connection, database: Conninfo) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
    preconditions = derive(connection, "ALTER TABLE t ALTER a SET NOT NULL")

    with connect(database, verb="test", autocommit=False) as other:
        other.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        (result,) = check_preconditions(connection, preconditions, lock_timeout_ms=200)  # else it waited for ever

    assert result.holds is None
    assert "held its table locked" in (result.reason or "")
    assert [each.holds for each in check_preconditions(connection, preconditions)] == [True]


def test_rows_hidden_by_a_policy_or_a_missing_right_are_not_measured(undone: Connection) -> None:
    undone.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a text); CREATE TABLE u (a text); INSERT INTO t VALUES (1, NULL);"
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY; DROP ROLE IF EXISTS reader; CREATE ROLE reader;"
        "GRANT SELECT ON t TO reader; CREATE POLICY p ON t USING (false)"
    )
    preconditions = derive(undone, "ALTER TABLE t ALTER a SET NOT NULL; ALTER TABLE u ALTER a SET NOT NULL")
    undone.execute("SET ROLE reader")

    hidden, forbidden = check_preconditions(undone, preconditions)

    undone.execute("RESET ROLE; DROP OWNED BY reader; DROP ROLE reader")
    assert (hidden.holds, forbidden.holds) == (None, None)
    assert "row-level security" in (hidden.reason or "")
    assert "permission denied" in (forbidden.reason or "")


def test_a_table_that_went_meanwhile_is_not_measured(undone: Connection) -> None:
    undone.execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
    preconditions = derive(undone, "ALTER TABLE t ALTER a SET NOT NULL")
    undone.execute("DROP TABLE t")

    (result,) = check_preconditions(undone, preconditions)

    assert result.holds is None
    assert result.reason == 'the question cannot be asked: relation "public.t" does not exist'


@pytest.mark.parametrize("condition", ["P0001", "42501", "42601"])
def test_what_a_function_raises_is_not_shown(undone: Connection, condition: str) -> None:
    undone.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 4711);"
        "CREATE FUNCTION strict(n int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$"
        f"BEGIN RAISE EXCEPTION 'secretvalue %', n USING ERRCODE = '{condition}'; END $$"
    )
    preconditions = derive(undone, "ALTER TABLE t ADD CHECK (strict(n))")

    (result,) = check_preconditions(undone, preconditions)

    assert (result.holds, result.timed_out) == (None, False)
    assert f"SQLSTATE {condition}" in (result.reason or "")
    assert "secret" not in result.sentence


def test_keys_are_shown_and_no_other_value(undone: Connection) -> None:
    undone.execute(EVERY_KIND.encode())
    undone.execute("INSERT INTO t (id, a, n) VALUES (4, 'secret', 0)")

    results = ask(
        undone, EVERY_PLAN, "ALTER TABLE t ALTER a TYPE int USING a::int; ALTER TABLE t ADD CHECK (a::int > 0)"
    )

    text = json.dumps([result.as_json() for result in results]) + repr([result.sentence for result in results])
    assert "secret" not in text
    assert "3000000000" not in text
    duplicates = next(result for result in results if result.precondition.kind is PreconditionKind.DUPLICATES)
    assert [dict(key) for key in duplicates.keys] == [{"id": "1"}, {"id": "2"}, {"id": "4"}]
    assert duplicates.sentence == (
        "0001_test.sql:2: public.t: no two rows have the same (a): 3 rows violate it (id=1; id=2; id=4)"
    )


def test_many_violators_are_counted_and_some_shown(undone: Connection) -> None:
    undone.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a text, n int);"
        "INSERT INTO t SELECT g, NULL, -g FROM generate_series(1, 5000) g;"
        "INSERT INTO t SELECT g, g % 1000, 1 FROM generate_series(10000, 12999) g"
    )
    plan = "ALTER TABLE t ALTER a SET NOT NULL, ADD CHECK (n > 0), ADD UNIQUE (a)"

    results = {result.precondition.kind.value: result for result in ask(undone, plan, keys_shown=3)}

    assert {kind: result.violators for kind, result in results.items()} == {
        "nulls": 5000, "check": 5000, "duplicates": 3000,
    }  # fmt: skip
    assert all(len(result.keys) == 3 for result in results.values())
    assert results["nulls"].keys == ({"id": "1"}, {"id": "2"}, {"id": "3"})
    assert "5,000 rows violate it (id=1; id=2; id=3 …)" in results["nulls"].sentence


def test_many_values_that_do_not_convert_are_not_all_counted(undone: Connection) -> None:
    undone.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a text);"
        "INSERT INTO t SELECT g, CASE WHEN g % 1000 = 7 THEN 'x' ELSE g::text END FROM generate_series(1, 20000) g"
    )

    result = ask(undone, "ALTER TABLE t ALTER a TYPE int USING a::int", keys_shown=3)[0]

    assert result.holds is False
    assert result.keys == ({"id": "7"}, {"id": "1007"}, {"id": "2007"})
    assert result.violators is None
    assert "at least 3 rows violate it" in result.sentence


def test_rows_of_partitions_without_a_key_are_told_with_their_partition(undone: Connection) -> None:
    undone.execute(
        "CREATE TABLE t (a int, n int) PARTITION BY LIST (n); CREATE TABLE t1 PARTITION OF t FOR VALUES IN (1);"
        "CREATE TABLE t2 PARTITION OF t FOR VALUES IN (2); INSERT INTO t VALUES (1, 1), (NULL, 2), (0, 2)"
    )

    nulls, check = ask(undone, "ALTER TABLE t ALTER a SET NOT NULL, ADD CHECK (1 / a > 0)")

    assert nulls.keys == ({"tableoid": "t2", "ctid": "(0,1)"},)
    assert check.keys == ({"tableoid": "t2", "ctid": "(0,2)"},)


def test_rows_that_the_plan_adds_are_told_as_not_asked(undone: Connection) -> None:
    undone.execute("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'admin')")
    plan = "INSERT INTO t VALUES (2, 'admin'); ALTER TABLE t ADD UNIQUE (a)"

    (result,) = ask(undone, plan)

    assert result.holds is True
    assert result.sentence.endswith("rows that the plan adds were not asked: 0001_test.sql:1 inserts into it")


def test_a_very_long_key_is_cut(undone: Connection) -> None:
    undone.execute("CREATE TABLE t (id text PRIMARY KEY, a int); INSERT INTO t VALUES (repeat('k', 1000), NULL)")

    (result,) = ask(undone, "ALTER TABLE t ALTER a SET NOT NULL")

    assert len(result.keys[0]["id"]) == 200


def test_an_expression_that_fails_without_rows_is_not_measured(undone: Connection) -> None:
    undone.execute("CREATE TABLE t (id int PRIMARY KEY, a text)")

    (result,) = ask(undone, "ALTER TABLE t ADD CHECK (a <> '' AND 1 / 0 > 0)")

    assert result.holds is None
    assert result.reason == "the question fails without any row"


@pytest.mark.parametrize(
    ("before", "after", "values", "lossy"),
    [
        ("numeric", "numeric(6, 2)", ("1.5", "1.239", "NULL"), "2"),
        ("float8", "int", ("1", "1.5", "NULL"), "2"),
        ("timestamp", "date", ("'2020-01-01'", "'2020-01-01 10:00'", "NULL"), "2"),
        ("timestamp(6)", "timestamp(0)", ("'2020-01-01'", "'2020-01-01 10:00:00.4'", "NULL"), "2"),
        ("bigint", "float4", ("1", "16777217", "NULL"), "2"),
        ("text", "varchar(3)", ("'abc'", "'ab   '", "NULL"), "2"),
        ("jsonb", "text", ("'{}'", "'[1]'", "NULL"), ""),
        ("json", "jsonb", ("'{\"a\": 1}'", "'{\"a\": 1, \"a\": 2}'", "NULL"), "2"),
        ("text", "int USING length(c)", ("'1'", "'22'", "NULL"), "2"),
        ("varchar(9)", "varchar(3) USING c::varchar(3)", ("'abc'", "'abcd'", "NULL"), "2"),
    ],
)  # fmt: skip
def test_values_that_are_not_kept_whole_are_named(
    before: str, after: str, values: Sequence[str], lossy: str, undone: Connection
) -> None:
    undone.execute(f"CREATE TABLE t (id serial PRIMARY KEY, c {before})".encode())
    for value in values:
        undone.execute(f"INSERT INTO t (c) VALUES ({value})".encode())

    results = ask(undone, f"ALTER TABLE t ALTER c TYPE {after}")

    assert [result.sentence for result in results if result.precondition.kind is not PreconditionKind.LOSSY
            and result.holds is not True] == []  # fmt: skip
    found = [key["id"] for each in results if each.precondition.kind is PreconditionKind.LOSSY for key in each.keys]
    assert found == lossy.split()
    old = {row[0]: row[1] for row in undone.execute("SELECT id::text, c::text FROM t WHERE c IS NOT NULL")}
    undone.execute(f"ALTER TABLE t ALTER c TYPE {after}".encode())
    if "json" not in before and "float" not in after and "USING length" not in after:
        # Back in the old type they are what they were, but for those that were named.
        undone.execute(f"ALTER TABLE t ALTER c TYPE {before} USING c::{before}".encode())
        new = {row[0]: row[1] for row in undone.execute("SELECT id::text, c::text FROM t WHERE c IS NOT NULL")}
        changed = [key for key in old if _number(old[key]) != _number(new[key])]
        assert changed == found


def test_a_value_that_cannot_come_back_is_left_to_the_rehearsal(undone: Connection) -> None:
    undone.execute("CREATE TABLE t (id int PRIMARY KEY, c point); INSERT INTO t VALUES (1, '(1,2)')")

    conversion, lossy = ask(undone, "ALTER TABLE t ALTER c TYPE int USING (c[0])::int")

    assert conversion.holds is True
    assert lossy.left_to_rehearsal
    assert not lossy.refuses
    assert "no cast from integer back to point" in (lossy.reason or "")


def test_values_that_do_not_convert_are_told_once(undone: Connection) -> None:
    undone.execute("CREATE TABLE t (id int PRIMARY KEY, c int8); INSERT INTO t VALUES (1, 1), (2, 70000)")

    conversion, lossy = ask(undone, "ALTER TABLE t ALTER c TYPE smallint")

    assert conversion.keys == ({"id": "2"},)
    assert lossy.left_to_rehearsal
    assert "do not convert" in (lossy.reason or "")


def test_names_are_found_as_the_role_finds_them(undone: Connection) -> None:
    undone.execute(
        "CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, a text); INSERT INTO app.t VALUES (1, NULL);"
        "CREATE TABLE t (id int PRIMARY KEY, a text); SET LOCAL search_path = app, public"
    )
    path = read_search_path(undone)

    (found,) = derive(undone, "ALTER TABLE t ALTER a SET NOT NULL", search_path=path)

    assert path == ("app", "public")
    assert found.relation == "app.t"
    assert [result.keys for result in check_preconditions(undone, [found])] == [({"id": "1"},)]


def test_a_loss_that_the_receipt_tells_was_seen(undone: Connection) -> None:
    undone.execute('CREATE TABLE "T" (id int PRIMARY KEY, "C c" numeric); INSERT INTO "T" VALUES (1, 1.5)')
    column = {"name": '"C c"', "values_changed": 3, "values_lost": 0}
    tables = [{"name": 'public."T"', "columns": [column]}]

    conversion, lossy = ask(undone, 'ALTER TABLE "T" ALTER "C c" TYPE int')

    assert lossy.refuses
    assert was_seen_in_rehearsal(lossy, tables)
    assert not was_seen_in_rehearsal(lossy, [{**tables[0], "columns": [{**column, "values_changed": 0}]}])
    assert not was_seen_in_rehearsal(lossy, [{**tables[0], "name": "public.t"}])
    assert not was_seen_in_rehearsal(conversion, tables)


def test_a_question_is_cancelled_when_the_session_is(connection: Connection, database: Conninfo) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)")
    preconditions = derive(connection, "ALTER TABLE t ADD CHECK (pg_sleep(1) IS NOT NULL)")
    results: list[PreconditionResult] = []
    thread = threading.Thread(target=lambda: results.extend(check_preconditions(connection, preconditions)))
    thread.start()
    sleeping = "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
    with connect(database, verb="test") as other:
        wait_until(lambda: other.execute(sleeping, (connection.info.backend_pid,)).fetchone() is not None)

    connection.cancel_safe()
    thread.join(120)

    assert [result.holds for result in results] == [None]


def test_a_lost_connection_is_an_error_and_no_answer(connection: Connection, database: Conninfo) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
    preconditions = derive(connection, "ALTER TABLE t ALTER a SET NOT NULL")
    with connect(database, verb="test") as other:
        other.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))

    with pytest.raises(psycopg.OperationalError):
        check_preconditions(connection, preconditions)


def test_a_precondition_is_tested_or_left_with_a_reason(undone: Connection) -> None:
    undone.execute("CREATE TABLE t (id int PRIMARY KEY, a text)")
    (precondition,) = derive(undone, "ALTER TABLE t ALTER a SET NOT NULL")

    with pytest.raises(ValueError, match="either tested or left"):
        replace(precondition, left_because="x")
    with pytest.raises(ValueError, match="either tested or left"):
        replace(precondition, test=None)


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return text

"""Queries planned before and after migrations; the oracle is EXPLAIN, typed into psql."""

import json
import subprocess

import psycopg
import pytest
from tests.queries.conftest import Copies, Making

from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.queries.comparison import QueryComparison, QueryVerdict, Thresholds
from pgrehearse.queries.statement_text import without_comments
from pgrehearse.schema.fingerprint import fingerprint
from pgrehearse.schema.snapshot import read_schema

MIGRATION = """
DROP INDEX users_email;
DROP VIEW adults;
ALTER TABLE users RENAME COLUMN nick TO handle;
ALTER TABLE users ALTER age TYPE text;
ALTER TABLE users ADD COLUMN note text;
ALTER INDEX orders_pkey RENAME TO orders_key;
CREATE INDEX orders_user_again ON orders (user_id);
DROP INDEX orders_user;
CREATE VIEW adults AS SELECT id FROM users;
CREATE TABLE events_3 PARTITION OF events FOR VALUES IN (3);
CREATE TABLE later (id int);
REVOKE SELECT ON orders FROM clerk_role;
"""
BEFORE = """
CREATE VIEW adults AS SELECT id, nick FROM users WHERE age >= 18;
CREATE TABLE events (kind int, id int, PRIMARY KEY (kind, id)) PARTITION BY LIST (kind);
CREATE TABLE events_1 PARTITION OF events FOR VALUES IN (1);
CREATE TABLE events_2 PARTITION OF events FOR VALUES IN (2);
INSERT INTO events SELECT n % 2 + 1, n FROM generate_series(1, 5000) n;
"""
EXPECTED = {
    "SELECT id FROM users WHERE email = $1": "slower",
    "SELECT nick FROM users WHERE id = $1": "broken",
    "UPDATE users SET nick = $1 WHERE id = $2": "broken",
    "INSERT INTO users (id, email, nick, created) VALUES ($1, $2, $3, now())": "broken",
    "SELECT id FROM users WHERE age = $1": "broken",  # a number has no operator with text any more
    "SELECT nick FROM adults": "broken",
    "SELECT * FROM users WHERE id = $1": "result-changed",
    "SELECT * FROM orders WHERE id = $1": "unchanged",
    "SELECT total FROM orders WHERE user_id = $1": "unchanged",
    "SELECT count(*) FROM users u JOIN orders o ON o.user_id = u.id WHERE u.created > now() - interval $1": "unchanged",
    "SELECT id FROM events WHERE kind = $1 AND id = $2": "unchanged",
    "SELECT id FROM events WHERE id = $1": "unchanged",
    "DELETE FROM orders WHERE id = $1": "unchanged",
    "SELECT id FROM orders WHERE id IN ($1 /*, ... */)": "unchanged",
    "SELECT id FROM later": "works-now",
    "SELECT id FROM nowhere": "not-measured",
    "SELECT extract($1 FROM created) FROM users": "not-measured",
}


def explained(server: LocalServer, database: Conninfo, statement: str) -> float:
    """The total cost that psql shows for a statement with one placeholder."""
    if server.major >= 16:
        script = f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement};"
    else:
        script = f"SET plan_cache_mode = force_generic_plan; PREPARE q AS {statement}; "
        script += "EXPLAIN (FORMAT JSON) EXECUTE q(NULL);"
    psql = [server.binaries.program("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", database.text]
    done = subprocess.run(psql, input=script, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)[0]["Plan"]["Total Cost"])


@pytest.fixture
def clerk(server: LocalServer, database: Conninfo) -> str:
    name = f"clerk_{database.database}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE ROLE {name}".encode())
    return name


@pytest.mark.pg(">= 15")
def test_each_query_gets_its_verdict(make_copies: Making, server: LocalServer, clerk: str) -> None:
    setup = BEFORE + f"GRANT SELECT ON orders TO {clerk};"
    copies = make_copies(MIGRATION.replace("clerk_role", clerk), more=setup)
    found = copies.compare(*EXPECTED, "VACUUM users", "SELECT relname FROM pg_class", "SELECT 1; SELECT 2")
    expected = {without_comments(text): verdict for text, verdict in EXPECTED.items()}
    assert {each.query.statement.text: each.verdict.value for each in found.queries} == expected
    assert [each.verdict for each in found.queries][:6] == [QueryVerdict.BROKEN] * 5 + [QueryVerdict.SLOWER]
    by_text = {each.query.statement.text: each for each in found.queries}

    slower = by_text["SELECT id FROM users WHERE email = $1"]
    assert slower.before is not None
    assert slower.after is not None
    assert slower.before.cost == explained(server, copies.pristine, slower.query.statement.text)
    assert slower.after.cost == explained(server, copies.clone, slower.query.statement.text)
    assert slower.indexes_lost == ("public.users_email",)
    assert found.index_tables["public.users_email"] == "public.users"

    renamed = by_text["SELECT nick FROM users WHERE id = $1"]
    assert renamed.refusal is not None
    assert renamed.refusal.as_json() == {"sqlstate": "42703", "message": 'column "nick" does not exist'}
    assert by_text["SELECT * FROM users WHERE id = $1"].result_changes == ("age was integer, is text", "nick is gone")
    retyped = by_text["SELECT id FROM users WHERE age = $1"]
    assert retyped.refusal is not None
    assert retyped.refusal.sqlstate == "42883"

    again = by_text["SELECT total FROM orders WHERE user_id = $1"]
    assert again.after is not None
    assert again.after.indexes == ("public.orders_user",)
    assert set(found.not_measured) >= {
        "it is a utility statement, which has no plan",
        "it reads only the server's own catalogs",
        "its text holds several statements",
    }

    refused = copies.compare_one("SELECT total FROM orders WHERE id = $1", role=clerk)
    assert refused.verdict is QueryVerdict.BROKEN
    assert refused.refusal is not None
    assert refused.refusal.sqlstate == "42501"


@pytest.mark.pg("== 18")
def test_roles_have_their_own_search_path_and_rights(make_copies: Making, clerk: str) -> None:
    copies = make_copies("ALTER TABLE shop.goods DROP COLUMN price", before=f"""
        CREATE SCHEMA shop CREATE TABLE goods (id int, price int);
        CREATE SCHEMA {clerk} CREATE TABLE mine (id int);
        GRANT USAGE ON SCHEMA shop, {clerk} TO {clerk};
        GRANT SELECT ON shop.goods, {clerk}.mine TO {clerk};
    """)  # fmt: skip
    settings = {clerk: {"search_path": '"$user", shop'}, "gone": {"search_path": '"$user", shop'}}
    text = "SELECT price FROM goods"
    assert copies.compare_one(text, role=clerk, role_settings=settings).verdict is QueryVerdict.BROKEN
    assert copies.compare_one(text, role=clerk).verdict is QueryVerdict.NOT_MEASURED
    own = copies.compare_one("SELECT id FROM mine", role=clerk, role_settings=settings)
    assert own.verdict is QueryVerdict.UNCHANGED
    found = copies.compare(text, role="gone", role_settings=settings)
    assert found.queries[0].verdict is QueryVerdict.BROKEN
    assert found.planned_as_another == {"gone": 'role "gone" does not exist'}


@pytest.mark.pg("== 18")
def test_partitioning_a_table_is_no_change_of_its_plans_and_a_swap_of_names_is_followed(make_copies: Making) -> None:
    copies = make_copies("""
        ALTER TABLE orders RENAME TO orders_old;
        ALTER TABLE orders_old RENAME CONSTRAINT orders_pkey TO old_key;
        CREATE TABLE orders (LIKE orders_old) PARTITION BY RANGE (id);
        CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (6000);
        CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (6000) TO (100000);
        INSERT INTO orders SELECT * FROM orders_old;
        ALTER TABLE orders ADD PRIMARY KEY (id);
        CREATE INDEX ON orders (user_id);
    """)
    found = copies.compare("SELECT sum(total) FROM orders", "SELECT total FROM orders WHERE user_id = $1")
    whole, by_user = sorted(found.queries, key=lambda each: each.query.statement.text)
    assert whole.before is not None
    assert whole.after is not None
    assert whole.after.shape == whole.before.shape == ("Aggregate", "  Seq Scan on public.orders")
    assert by_user.after is not None
    assert by_user.after.indexes == ("public.orders_user",)  # the new one is defined as the old one was
    assert whole.verdict is QueryVerdict.UNCHANGED
    assert by_user.indexes_lost == ()


@pytest.mark.pg("== 18")
def test_an_estimate_that_moved_is_told(make_copies: Making) -> None:
    copies = make_copies("DELETE FROM orders WHERE id > 500")
    found = copies.compare_one("SELECT * FROM orders")
    assert found.verdict is QueryVerdict.ESTIMATE_CHANGED
    assert found.before is not None
    assert found.after is not None
    assert (found.before.rows, found.after.rows) == (12_000, 500)
    assert copies.compare_one("SELECT * FROM users").verdict is QueryVerdict.UNCHANGED


@pytest.mark.pg("== 18")
def test_thresholds_decide_what_counts_as_slower_and_an_upsert_misses_its_index(make_copies: Making) -> None:
    copies = make_copies("DROP INDEX users_email")
    text = "SELECT id FROM users WHERE email = $1"
    assert copies.compare_one(text).verdict is QueryVerdict.SLOWER
    high = Thresholds(cost_factor=100.0)
    assert copies.compare_one(text, thresholds=high).verdict is QueryVerdict.INDEX_LOST
    upsert = "INSERT INTO users (id, email, created) VALUES ($1, $2, $3) ON CONFLICT (email) DO NOTHING"
    refusal = copies.compare_one(upsert).refusal
    assert refusal is not None
    assert refusal.sqlstate == "42P10"


# --- the pristine copy stays pristine ---------------------------------------------------------------------------------

ROWS = "SELECT md5(string_agg(xmin::text || ctid::text || users::text, ',' ORDER BY id)) FROM users"
ANALYZED = "SELECT array_agg(relname::text ORDER BY relname) FROM pg_stat_user_tables WHERE analyze_count > 0"


def state(session: Connection) -> tuple[str, str]:
    return fetch_value(session, ROWS), fingerprint(read_schema(session))


@pytest.mark.pg(">= 15")
def test_nothing_is_written_and_only_what_was_touched_is_analyzed_again(make_copies: Making) -> None:
    copies = make_copies("UPDATE orders SET total = total + 1 WHERE id < 100; CREATE INDEX ON users (lower(email))")
    with copies.before() as before, copies.after() as after:
        before.execute("SELECT pg_stat_reset()")
        states = state(before), state(after)
    statements = (
        "SELECT id FROM users WHERE email = $1", "UPDATE users SET age = $1", "DELETE FROM users",
        "WITH gone AS (DELETE FROM users RETURNING id) SELECT count(*) FROM gone",
        "SELECT id FROM users WHERE lower(email) = $1", "SELECT nextval($1)",
    )  # fmt: skip
    found = copies.compare(*statements, execute_worst=10)
    assert found.queries
    with copies.before() as before, copies.after() as after:
        assert (state(before), state(after)) == states
        assert fetch_value(before, ANALYZED) is None
        assert fetch_value(after, ANALYZED) == ["orders", "users"]


# --- the worst, run ---------------------------------------------------------------------------------------------------


def run_one(copies: Copies, text: str, **options: object) -> QueryComparison:
    return copies.compare_one(text, execute_worst=5, **options)


@pytest.mark.pg(">= 15")
def test_the_worst_are_run_with_values_of_the_data(make_copies: Making) -> None:
    copies = make_copies("DROP INDEX users_email; DROP INDEX orders_user", more="""
        CREATE FUNCTION opaque(int) RETURNS int LANGUAGE plpgsql AS
          $$ BEGIN EXECUTE 'SELECT ' || $1; RETURN 1; END $$;
        CREATE FUNCTION hides(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN opaque($1); END $$;
        CREATE VIEW hidden AS SELECT u.*, hides(u.id) FROM users u;
    """)  # fmt: skip
    ran = run_one(copies, "SELECT * FROM users WHERE email = $1")
    assert ran.verdict is QueryVerdict.SLOWER
    assert ran.executed is not None
    assert (ran.executed.rows_before, ran.executed.rows_after, ran.executed.sampled) == (1, 1, True)
    assert ran.executed.before_ms is not None
    assert ran.executed.after_ms is not None

    joined = run_one(
        copies, "SELECT o.id FROM orders o JOIN users u ON u.id = o.user_id WHERE u.email = $1 ORDER BY 1 LIMIT $2"
    )
    assert joined.executed is not None
    assert joined.executed.rows_before == joined.executed.rows_after

    sent = run_one(copies, "SELECT * FROM users WHERE email = 'u7@example.com' AND age = 7", keep_example=True)
    assert sent.executed is not None
    assert (sent.executed.rows_before, sent.executed.sampled) == (1, False)

    for text, reason in {
        "SELECT id FROM users WHERE email = $1 FOR UPDATE": "it locks rows",
        "DELETE FROM users WHERE email = $1": "it writes",
        "WITH d AS (DELETE FROM users WHERE email = $1 RETURNING 1) SELECT * FROM d": "it writes",
        "SELECT id FROM users WHERE email = upper($1)": "its parameters are unknown: nothing tells what $1 may be",
        "SELECT hides(id) FROM users WHERE email = $1": "nobody can see what hides() does",
        "SELECT * FROM hidden WHERE email = $1": "nobody can see what hides() does",
    }.items():
        found = run_one(copies, text)
        assert (found.executed, found.not_executed) == (None, reason), text


@pytest.mark.pg("== 18")
def test_a_run_that_does_not_end_is_told_as_such(make_copies: Making) -> None:
    copies = make_copies("DROP INDEX users_email; CREATE OR REPLACE FUNCTION f() RETURNS bool LANGUAGE plpgsql AS "
                         "$$ BEGIN PERFORM pg_sleep(300); RETURN true; END $$",
        more="CREATE FUNCTION f() RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$",
    )  # fmt: skip
    for time_limit_s in (0.2, 5, 60):  # a busy machine may not be through with the fast one in the first
        found = run_one(copies, "SELECT id FROM users WHERE email = $1 AND f()", time_limit_s=time_limit_s)
        if found.executed is not None and found.executed.before_ms is not None:
            break
    assert found.verdict is QueryVerdict.SLOWER
    assert found.executed is not None
    assert found.executed.before_ms is not None
    assert (found.executed.after_ms, found.executed.rows_after) == (None, None)


@pytest.mark.pg("== 18")
def test_what_fails_only_when_it_runs_is_broken(make_copies: Making) -> None:
    copies = make_copies(
        "DROP INDEX users_email; ALTER TABLE users DROP COLUMN age",
        more="CREATE FUNCTION f() RETURNS bool LANGUAGE plpgsql AS "
        "$$ BEGIN RETURN (SELECT count(age) > 0 FROM users); END $$",
    )
    found = run_one(copies, "SELECT id FROM users WHERE email = $1 AND f()")
    assert found.verdict is QueryVerdict.BROKEN
    assert found.refusal is not None
    assert found.refusal.as_json() == {"sqlstate": "42703", "message": 'column "age" does not exist'}


@pytest.mark.pg("== 18")
def test_an_insert_that_does_not_send_what_must_be_there_is_broken(make_copies: Making) -> None:
    copies = make_copies("""
        DELETE FROM orders; ALTER TABLE orders ADD COLUMN place text NOT NULL;
        ALTER TABLE users ADD COLUMN note text NOT NULL DEFAULT '', ADD COLUMN n int GENERATED ALWAYS AS IDENTITY;
    """)
    verdicts = {
        "INSERT INTO orders (id, user_id) VALUES ($1, $2)": "broken",
        "INSERT INTO orders VALUES ($1, $2, $3)": "broken",
        "INSERT INTO orders (id, user_id, place) VALUES ($1, $2, $3)": "works-now",
        "INSERT INTO users (id, email, created) VALUES ($1, $2, $3)": "unchanged",
    }
    found = copies.compare(*verdicts)
    assert {each.query.statement.text: each.verdict.value for each in found.queries} == verdicts
    refusal = found.queries[0].refusal
    assert refusal is not None
    assert refusal.sqlstate == "23502"
    with copies.after() as session, pytest.raises(psycopg.errors.NotNullViolation):
        session.execute("INSERT INTO orders (id, user_id) VALUES (1, 2)")


@pytest.mark.pg("== 18")
def test_no_value_stands_in_what_the_server_said(make_copies: Making) -> None:
    copies = make_copies(
        "DROP INDEX users_email; CREATE OR REPLACE FUNCTION f(text) RETURNS bool LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'not for %', $1; END $$",
        more="CREATE FUNCTION f(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$",
    )
    raised = run_one(copies, "SELECT id FROM users WHERE email = $1 AND f(email)")
    assert raised.refusal is not None
    assert raised.refusal.as_json() == {"sqlstate": "P0001", "message": "RaiseException"}
    cast = run_one(copies, "SELECT id FROM users WHERE id = 'anna'", keep_example=True)
    assert "anna" not in str(cast.as_json())


@pytest.mark.pg("== 18")
def test_the_clock_overrules_the_estimate(make_copies: Making) -> None:
    # A function that says of itself that it is dear, and is not.
    copies = make_copies("ALTER FUNCTION f(int) COST 100000", more="CREATE FUNCTION f(int) RETURNS bool "
                         "LANGUAGE plpgsql COST 1 AS $$ BEGIN RETURN $1 > 0; END $$")  # fmt: skip
    text = "SELECT id FROM users WHERE f(id)"
    assert copies.compare_one(text).verdict is QueryVerdict.SLOWER
    calm = run_one(copies, text, thresholds=Thresholds(cost_factor=50.0))
    assert calm.executed is not None
    assert calm.verdict is QueryVerdict.PLAN_CHANGED
    assert calm.reason == "its cost rose, and running it took no longer"


@pytest.mark.pg("== 18")
def test_a_query_that_finds_nothing_any_more_is_told(make_copies: Making, clerk: str) -> None:
    copies = make_copies("ALTER TABLE users ENABLE ROW LEVEL SECURITY", more=f"GRANT SELECT ON users TO {clerk}")
    found = run_one(copies, "SELECT id FROM users WHERE email = $1", role=clerk)
    assert found.executed is not None
    assert (found.executed.rows_before, found.executed.rows_after) == (1, 0)
    assert found.verdict is QueryVerdict.RESULT_CHANGED
    assert found.result_changes == ("it found 1 before, and nothing after, for the same values",)


@pytest.mark.pg(">= 15")
def test_values_that_normalising_numbered_apart_are_one_again(make_copies: Making) -> None:
    copies = make_copies("ALTER TABLE orders RENAME COLUMN day TO on_day")
    monthly = "SELECT date_trunc($1, {0}), sum(total) FROM orders WHERE user_id = $2 GROUP BY date_trunc($3, {0})"
    found = copies.compare(monthly.format("created"), monthly.format("day"), monthly.format("id"))
    assert [each.verdict.value for each in found.queries] == ["broken", "not-measured", "not-measured"]
    lost = found.queries[0]
    assert lost.refusal is not None
    assert lost.refusal.message == 'column "day" does not exist'

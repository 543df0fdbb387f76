"""What is asked of the rows and what is not, by whom, and what raises nothing."""

import os
import signal
import threading
from typing import Any

import pytest
from tests.support.applying import wait_until

from pgrehearse.data.integrity.examine import examine_integrity
from pgrehearse.data.integrity.verdicts import CheckVerdict, Integrity
from pgrehearse.rehearsal.integrity import find_kept, find_unchanged, find_widened

SHOP = """
CREATE SCHEMA app; SET search_path = app;
CREATE FUNCTION kind(v text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower(v)';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE DOMAIN amount AS numeric CONSTRAINT not_negative CHECK (VALUE >= 0);
CREATE TYPE state AS ENUM ('new', 'paid');
CREATE TABLE users (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, mail text NOT NULL CHECK (mail LIKE '%@%'));
CREATE UNIQUE INDEX users_mail ON users (kind(mail));
CREATE TABLE orders (
    id bigserial PRIMARY KEY, user_id int NOT NULL REFERENCES users ON DELETE CASCADE, total amount,
    state state NOT NULL DEFAULT 'new', net numeric GENERATED ALWAYS AS (total * 0.8) STORED,
    at date DEFAULT '2026-01-01',
    CONSTRAINT cheap CHECK (total < 1000)
);
CREATE TABLE logs (id int, at int NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE logs_1 PARTITION OF logs FOR VALUES FROM (0) TO (100);
CREATE TABLE rooms (id int PRIMARY KEY, during int4range, EXCLUDE USING gist (during WITH &&));
CREATE MATERIALIZED VIEW totals AS SELECT user_id, sum(total) AS total FROM orders GROUP BY 1;
CREATE VIEW mails AS SELECT id, mail FROM users;
CREATE TABLE calm (id int PRIMARY KEY, v int NOT NULL UNIQUE CHECK (v > 0), user_id int REFERENCES users);
INSERT INTO users (mail) SELECT 'u' || n || '@example.com' FROM generate_series(1, 50) n;
INSERT INTO orders (user_id, total) SELECT n % 50 + 1, n FROM generate_series(1, 300) n;
INSERT INTO logs SELECT n, n FROM generate_series(1, 99) n;
INSERT INTO rooms SELECT n, int4range(n * 10, n * 10 + 10) FROM generate_series(1, 50) n;
INSERT INTO calm SELECT n, n, 1 FROM generate_series(1, 50) n;
ALTER TABLE calm ADD CONSTRAINT odd CHECK (v % 2 = 1) NOT VALID;
REFRESH MATERIALIZED VIEW totals;
"""
BENIGN = (
    "INSERT INTO users (mail) VALUES ('new@example.com'); INSERT INTO orders (user_id, total) VALUES (51, 3)",
    "UPDATE orders SET total = total + 1 WHERE id < 100",
    "DELETE FROM users WHERE id = 7",
    "ALTER TABLE orders ADD COLUMN note text NOT NULL DEFAULT '' CHECK (note <> 'x')",
    "ALTER TABLE orders ALTER COLUMN at TYPE timestamptz",
    "ALTER TABLE orders ADD CONSTRAINT user_again FOREIGN KEY (user_id) REFERENCES users NOT VALID; "
    "ALTER TABLE orders VALIDATE CONSTRAINT user_again",
    "ALTER TABLE orders DROP CONSTRAINT cheap; ALTER TABLE orders ADD CONSTRAINT cheap CHECK (total < 2000)",
    "REFRESH MATERIALIZED VIEW totals",
    "CREATE OR REPLACE VIEW mails AS SELECT u.id, u.mail, u.mail LIKE 'a%' AS a FROM users u WHERE u.mail IS NOT NULL",
    "CREATE TABLE logs_2 (LIKE logs); INSERT INTO logs_2 VALUES (1, 150); "
    "ALTER TABLE logs ATTACH PARTITION logs_2 FOR VALUES FROM (100) TO (200)",
    "INSERT INTO rooms VALUES (99, '[5000,5001)'), (100, NULL), (101, 'empty'), (102, 'empty')",
    "SET session_replication_role = replica; INSERT INTO calm VALUES (900, 901, NULL); RESET session_replication_role",
    # the other half
    "ALTER TABLE logs DETACH PARTITION logs_1",
    "ALTER DOMAIN amount ADD CONSTRAINT small CHECK (VALUE < 1000000)",
    "CREATE OR REPLACE FUNCTION kind(v text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower(trim(v))'",
    "CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END'",
    "ALTER TYPE state ADD VALUE 'sent'; ALTER TYPE state RENAME VALUE 'paid' TO 'settled'",
    "ALTER TABLE calm DROP CONSTRAINT odd; UPDATE calm SET v = -v + 1000",
    "DROP MATERIALIZED VIEW totals; CREATE MATERIALIZED VIEW totals AS "
    "SELECT o.user_id, sum(o.total) AS total FROM orders o GROUP BY o.user_id",
    "CREATE TABLE copied AS TABLE orders; DROP TABLE orders CASCADE; ALTER TABLE copied RENAME TO orders",
    "CREATE MATERIALIZED VIEW totals AS SELECT user_id, sum(total) AS total FROM orders GROUP BY 1",
    "ALTER TABLE users RENAME COLUMN mail TO email; ALTER TABLE users RENAME TO people; "
    "CREATE VIEW users AS SELECT id, email AS mail FROM people",
)  # fmt: skip


def examine(twins: Any, role: str = "postgres") -> Integrity:
    """As a rehearsal does it: the data compared first."""
    data = twins.compare()
    return examine_integrity(
        lambda: twins.session(twins.pristine),
        lambda: twins.session(twins.clone),
        lambda: twins.session(twins.clone, role),
        role=role,
        unchanged=find_unchanged(data),
        widened=find_widened(data),
        kept=find_kept(data),
    )


def detail(integrity: Integrity, name: str) -> str:
    return next(check.detail for check in integrity.checks if check.name == f"integrity: {name}")


@pytest.mark.pg(">= 15")
def test_benign_plans_raise_nothing(twins: Any, server_major: int) -> None:
    """By a superuser, who could get past everything: so every promise on what they touch is asked."""
    twins.given(SHOP)
    half = len(BENIGN) // 2
    for scripts in (BENIGN[:half], BENIGN[half:]) if server_major == 18 else (BENIGN[half:],):
        with twins.session("postgres") as admin:
            admin.execute(f"DROP DATABASE IF EXISTS {twins.clone}")
        twins.migrate()
        with twins.session(twins.clone) as session:
            for script in scripts:
                session.execute("SET search_path = app")
                session.execute(script)
        integrity = examine(twins)
        assert integrity.broken == ()
        assert [entry for entry in integrity.not_measured if entry.decisive] == []
        assert {check.verdict for check in integrity.checks} == {CheckVerdict.PASSED}


@pytest.mark.pg("== 18")
def test_a_view_over_a_replaced_function_is_asked_and_not_blamed_for_rows_of_the_plan(twins: Any) -> None:
    twins.given(
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100);"
        "CREATE FUNCTION few() RETURNS int LANGUAGE sql AS 'SELECT 90';"
        "CREATE VIEW v AS SELECT id FROM t WHERE id < few()"
    )
    twins.migrate("CREATE OR REPLACE FUNCTION few() RETURNS int LANGUAGE sql AS 'SELECT 80 + 10'")
    found = examine(twins)
    assert (found.broken, found.not_measured) == ((), ())
    assert (
        detail(found, "views")
        == "0 views defined anew, 1 over what does something else now; 0 of them show other rows or columns"
    )
    with twins.session(twins.clone) as session:
        session.execute("DELETE FROM t WHERE id < 5")
    moved = examine(twins)
    (unclear,) = moved.not_measured
    assert (moved.broken, unclear.decisive) == ((), False)
    assert "rows of its tables are others, too" in unclear.reason


@pytest.mark.parametrize(
    ("column", "reason"), [("clock_timestamp()", "other rows each time"), ("current_user", "hangs on who asks")]
)
def test_a_view_that_shows_other_rows_by_itself_is_not_blamed_on_what_was_replaced(
    twins: Any, column: str, reason: str
) -> None:
    twins.given(
        "CREATE FUNCTION few() RETURNS int LANGUAGE sql AS 'SELECT 90';"
        f"CREATE VIEW v AS SELECT {column} AS c WHERE few() > 0"
    )
    twins.migrate("CREATE OR REPLACE FUNCTION few() RETURNS int LANGUAGE sql AS 'SELECT 80 + 10'")
    found = examine(twins)
    (unclear,) = found.not_measured
    assert (found.broken, unclear.decisive) == ((), False)
    assert reason in unclear.reason


def test_what_was_broken_before_is_information_and_no_finding(twins: Any) -> None:
    twins.given(SHOP)
    twins.migrate("ALTER TABLE app.calm ADD COLUMN more int")
    integrity = examine(twins)
    assert integrity.broken == ()
    assert "check odd of app.calm (25 rows then, 25 now)" in detail(integrity, "checks")


@pytest.mark.pg("== 18")
def test_rows_that_cannot_be_told_apart_are_not_taken_for_those_of_before(twins: Any) -> None:
    twins.given("CREATE TABLE t (v int); INSERT INTO t VALUES (1), (2), (3); CREATE TABLE u (id int)")
    twins.given("ALTER TABLE t ADD CONSTRAINT c CHECK (v > 2) NOT VALID")
    twins.migrate("UPDATE t SET v = 5 WHERE v = 1")
    integrity = examine(twins)
    assert integrity.broken == ()
    (unsure,) = integrity.not_measured
    assert unsure.what == "whether those that break check c of public.t are the rows of before"
    assert not unsure.decisive


@pytest.mark.pg("== 18")
def test_a_cast_of_the_plans_runs_as_the_plans_role_alone(twins: Any, ordinary_role: str) -> None:
    """The text of a CHECK is read again, and would find it."""
    twins.given(
        "CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE t (id int PRIMARY KEY, m mood CHECK (m::text <> 'x'))"
    )
    twins.given(f"INSERT INTO t VALUES (1, 'a'); ALTER TYPE mood OWNER TO {ordinary_role}; GRANT SELECT ON t TO public")
    twins.given(f"GRANT ALL ON SCHEMA public TO {ordinary_role}; ALTER TABLE t ADD CHECK (m::text <> 'y') NOT VALID")
    twins.migrate()
    with twins.session(twins.clone, ordinary_role) as session:
        session.execute(
            "CREATE FUNCTION f(m mood) RETURNS text LANGUAGE plpgsql AS $$ BEGIN IF current_user = 'postgres' THEN "
            "RAISE 'as the administrator'; END IF; RETURN 'z'; END $$; CREATE CAST (mood AS text) WITH FUNCTION f(mood)"
        )
    integrity = examine(twins, ordinary_role)
    assert (integrity.broken, integrity.not_measured) == ((), ())
    assert "1 of 2 asked" in detail(integrity, "checks")


@pytest.mark.pg("== 18")
def test_the_server_is_believed_where_the_role_could_not_get_past_it(twins: Any, ordinary_role: str) -> None:
    """Nothing but the constraint that is NOT VALID is asked, though every table is touched."""
    twins.given(SHOP.replace("users_mail ON users (kind(mail))", "users_mail ON users (lower(mail))"))
    twins.given(f"GRANT ALL ON SCHEMA app TO {ordinary_role}; GRANT ALL ON ALL TABLES IN SCHEMA app TO {ordinary_role}")
    twins.migrate()
    with twins.session(twins.clone, ordinary_role) as session:
        session.execute("UPDATE app.orders SET total = total; UPDATE app.orders SET total = 0 WHERE id = 5")
        session.execute("UPDATE app.calm SET v = v + 1000 WHERE id = 5; UPDATE app.rooms SET id = 900 WHERE id = 1")
    integrity = examine(twins, ordinary_role)
    asked = {check.name: check.detail.partition(" asked")[0] for check in integrity.checks if " asked" in check.detail}
    assert asked["integrity: foreign keys"] == "0 of 2"
    assert asked["integrity: checks"] == "1 of 4"
    assert asked["integrity: unique keys"].startswith("0 of ")
    assert asked["integrity: exclusion constraints"] == "0 of 1"
    assert "it is NOT VALID" in detail(integrity, "checks")
    assert integrity.broken[0].hazard == "stale-matview"


@pytest.mark.pg("== 18")
def test_what_is_not_touched_is_not_asked_of_a_superusers_plan(twins: Any) -> None:
    twins.given(SHOP)
    twins.migrate("UPDATE app.rooms SET id = 900 WHERE id = 1")
    integrity = examine(twins)
    assert detail(integrity, "foreign keys").startswith("0 of 2 asked")
    assert detail(integrity, "exclusion constraints") == "1 of 1 asked of the rows (role postgres is a superuser)"
    assert detail(integrity, "materialized views") == "1 in all, 0 compared with what their query gives now"


@pytest.mark.pg("== 18")
def test_of_a_table_that_only_gained_columns_their_own_promises_are_asked(twins: Any) -> None:
    twins.given("CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v > 0)); INSERT INTO t VALUES (1, 1)")
    twins.migrate("ALTER TABLE t ADD n int", "UPDATE pg_attribute SET attnotnull = true WHERE attname = 'n'")
    integrity = examine(twins)
    assert [broken.hazard for broken in integrity.broken] == ["broken-not-null"]
    assert detail(integrity, "checks").startswith("0 of 1")


REFERRED_TO = {
    "INSERT INTO p VALUES (50, 1, 'new'); UPDATE p SET name = 'x'": False,
    "UPDATE p SET id = 60 WHERE id = 3": True,
    "DELETE FROM p WHERE id = 3": True,
    "UPDATE p SET code = 60 WHERE id = 3": False,
    "ALTER TABLE p RENAME COLUMN id TO nr; ALTER TABLE p RENAME TO parents; INSERT INTO parents VALUES (50)": False,
    "SET session_replication_role = replica; DELETE FROM p WHERE id = 1; INSERT INTO p VALUES (1)": False,
    "UPDATE c SET p = 2 WHERE id = 1": True,
    "ALTER TABLE c RENAME COLUMN p TO parent": False,
}


@pytest.mark.pg("== 18")
def test_children_that_are_as_before_are_read_only_where_a_parent_went(twins: Any) -> None:
    """A small table gains a row; the big one that refers to it is not read for that."""
    for n in range(len(REFERRED_TO)):
        twins.given(
            f"CREATE SCHEMA s{n}; SET search_path = s{n}; CREATE TABLE p (id int PRIMARY KEY, code int, name text);"
            "INSERT INTO p SELECT n, n FROM generate_series(1, 5) n; CREATE TABLE c (id int PRIMARY KEY, p int);"
            f"INSERT INTO c SELECT n, 1 FROM generate_series(1, 9) n; ALTER TABLE c ADD CONSTRAINT to_{n} "
            "FOREIGN KEY (p) REFERENCES p"
        )
    twins.migrate(*(f"SET search_path = s{n}; {change}; RESET ALL" for n, change in enumerate(REFERRED_TO)))
    told = detail(examine(twins), "foreign keys")
    assert told.startswith(f"{sum(REFERRED_TO.values())} of {len(REFERRED_TO)} asked"), told


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("GRANT SET ON PARAMETER session_replication_role TO {role}", "may set session_replication_role"),
        ("CREATE FUNCTION app.f() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'SELECT'", "app.f, which runs as a"),
        ("GRANT postgres TO {role}", "can become a superuser"),
    ],
)  # fmt: skip
def test_whoever_could_get_past_the_server_is_not_believed(
    twins: Any, ordinary_role: str, given: str, why: str
) -> None:
    twins.given("CREATE SCHEMA app; CREATE TABLE app.t (id int PRIMARY KEY, v int CHECK (v > 0))")
    twins.given(given.format(role=ordinary_role))
    try:
        twins.migrate("INSERT INTO app.t VALUES (1, 1)")
        assert why in detail(examine(twins, ordinary_role), "checks")
    finally:
        if "PARAMETER" in given:
            twins.given(f"REVOKE SET ON PARAMETER session_replication_role FROM {ordinary_role}")


@pytest.mark.pg("== 18")
def test_what_the_plan_brought_runs_as_the_plans_role_alone(twins: Any, ordinary_role: str) -> None:
    """A function of the plan's must not run as the administrator who asks."""
    twins.given(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x'); CREATE TABLE who (name text)"
    )
    twins.given(f"GRANT ALL ON t, who TO {ordinary_role}; GRANT ALL ON SCHEMA public TO {ordinary_role}")
    twins.given(f"ALTER TABLE t OWNER TO {ordinary_role}")
    twins.migrate()
    with twins.session(twins.clone, ordinary_role) as session:
        session.execute(
            "CREATE FUNCTION f(v text) RETURNS boolean IMMUTABLE LANGUAGE sql "
            "AS $$ SELECT current_user <> 'postgres' $$;"
            "ALTER TABLE t ADD CONSTRAINT c CHECK (f(v))"
        )
    integrity = examine(twins, ordinary_role)
    assert detail(integrity, "checks").startswith("1 of 1 asked")
    assert integrity.broken == ()
    with twins.session(twins.clone) as admin:
        admin.execute(f"ALTER TABLE t OWNER TO postgres; REVOKE ALL ON t FROM {ordinary_role}")
    (unmeasured,) = [entry for entry in examine(twins, ordinary_role).not_measured if entry.decisive]
    assert unmeasured.reason == "the plan's role may not read it, and what it calls runs as nobody else"


@pytest.mark.pg("== 18")
def test_a_failing_question_stops_no_other(twins: Any) -> None:
    twins.given(
        "CREATE FUNCTION f(v int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT 1 / v > 0';"
        "CREATE TABLE t (id int PRIMARY KEY, v int, w int); INSERT INTO t VALUES (1, 0, -1);"
        "ALTER TABLE t ADD CONSTRAINT c CHECK (f(v)) NOT VALID"
    )
    twins.migrate("ALTER TABLE t ADD CONSTRAINT w CHECK (w > 0) NOT VALID")
    integrity = examine(twins)
    assert [broken.promise for broken in integrity.broken] == ["check w"]
    (unmeasured,) = integrity.not_measured[:1]
    assert unmeasured.what == "check c of public.t"
    assert unmeasured.reason == "DivisionByZero, SQLSTATE 22012"


@pytest.mark.pg("== 18")
def test_a_long_question_tells_where_it_is_and_can_be_interrupted(twins: Any) -> None:
    """As Ctrl-C does: what runs on the server is cancelled, and no session is left."""
    twins.given(
        "CREATE FUNCTION slow(v int) RETURNS boolean LANGUAGE sql AS 'SELECT pg_sleep(300) IS NOT NULL';"
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 0);"
        "ALTER TABLE t ADD CONSTRAINT c CHECK (slow(v)) NOT VALID"
    )
    twins.migrate()
    told: list[str] = []

    asking = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"

    def interrupt() -> None:
        wait_until(lambda: twins.ask("clone", asking) == [(1,)])
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            examine_integrity(
                lambda: twins.session(twins.pristine),
                lambda: twins.session(twins.clone),
                lambda: twins.session(twins.clone),
                role="postgres",
                unchanged=(),
                progress=lambda what, done, total: told.append(f"{what} {done}/{total}"),
            )
    finally:
        thread.join()
    assert told[0].startswith("public.t 0/")
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    wait_until(lambda: twins.ask("clone", query) == [(0,)])

"""Drift: strict where the plan touches or depends on something, told everywhere else."""

from typing import Any, LiteralString

import pytest

from pgrehearse.postgres.connect import Connection
from pgrehearse.release.touched import Touched, find_touched, judge_state
from pgrehearse.schema.diff import diff
from pgrehearse.schema.schema_object import Schema
from pgrehearse.schema.snapshot import read_schema

SHOP: LiteralString = """
CREATE SCHEMA elsewhere;
CREATE TYPE mood AS ENUM ('fine', 'bad');
CREATE TYPE colour AS ENUM ('red', 'green');
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL DEFAULT '', m mood DEFAULT 'fine');
CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users);
CREATE TABLE more_users (LIKE users);
CREATE TABLE other (id int PRIMARY KEY, c colour);
CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN noted(NEW); END';
CREATE FUNCTION noted(u users) RETURNS users LANGUAGE sql AS 'SELECT u';
CREATE FUNCTION unrelated() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TRIGGER stamped BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE VIEW active AS SELECT id FROM users;
CREATE VIEW others AS SELECT id FROM other
"""
PLAN: LiteralString = "ALTER TABLE users ADD nick text; ALTER TABLE events ADD n int; CREATE TABLE made (id int)"

# What production got since the rehearsal, and whether the gate refuses for it.
DRIFTS: tuple[tuple[LiteralString, bool], ...] = (
    ("ALTER TABLE users ALTER email SET DEFAULT 'x'", True),
    ("ALTER TABLE users ADD late int", True),
    ("CREATE INDEX late ON users (email)", True),
    ("ALTER TABLE users DISABLE TRIGGER stamped", True),
    ("ALTER TYPE mood ADD VALUE 'late'", True),
    ("CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'", True),
    ("CREATE OR REPLACE FUNCTION noted(u users) RETURNS users LANGUAGE sql AS 'SELECT u LIMIT 1'", True),
    ("CREATE TABLE made (id bigint)", True),
    ("ALTER TABLE users ADD CHECK (id > 0) NOT VALID", True),
    ("ALTER TABLE users ENABLE ROW LEVEL SECURITY", True),
    ("DROP VIEW active; DROP TABLE users CASCADE", True),
    ("ALTER TABLE other ALTER id SET DEFAULT 1", False),
    ("CREATE OR REPLACE FUNCTION unrelated() RETURNS int LANGUAGE sql AS 'SELECT 2'", False),
    ("ALTER TYPE colour ADD VALUE 'late'", False),
    ("CREATE TABLE late (id int)", False),
    ("DROP VIEW others", False),
    ("GRANT SELECT ON users TO pg_monitor", False),
    ("CREATE TABLE events_2027 PARTITION OF events FOR VALUES FROM ('2027-01-01') TO ('2028-01-01')", False),
    ("DROP TABLE events_2026", False),
    ("CREATE TABLE late_users () INHERITS (users)", False),
    ("ALTER TABLE more_users INHERIT users", True),
    ("COMMENT ON TABLE users IS 'late'", False),
    ("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO pg_monitor", True),
    ("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO pg_monitor", True),
    ("ALTER DEFAULT PRIVILEGES IN SCHEMA elsewhere GRANT SELECT ON TABLES TO pg_monitor", False),
    ("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM public", False),
    ("ALTER DEFAULT PRIVILEGES FOR ROLE pg_monitor GRANT SELECT ON TABLES TO pg_read_all_data", False),
    ("ALTER TABLE users ALTER email SET STATISTICS 50", False),
    ("ALTER TABLE other ALTER c SET STATISTICS 50", False),
)
# Of what is only told, this stands where the plan touches.
ON_TOUCHED = (
    "GRANT SELECT ON users",
    "COMMENT ON TABLE users",
    "ALTER TABLE users ALTER email SET STATISTICS",
    "CREATE TABLE events_2027",
    "DROP TABLE events_2026",
    "CREATE TABLE late_users",
)


@pytest.fixture
def before(connection: Connection) -> Schema:
    connection.execute(SHOP)
    return read_schema(connection)


def touched_by_plan(connection: Connection, before: Schema, text: str = PLAN) -> Touched:
    """As a receipt would tell it: the plan runs, and is taken back."""
    with connection.transaction(force_rollback=True):
        connection.execute(PLAN)
        after = read_schema(connection)
    changes = [change.as_json() for change in diff(before, after)]
    locks = {"public.users": "AccessExclusiveLock", "public.events": "AccessExclusiveLock"}
    document: dict[str, Any] = {
        "statements": [{"locks": locks}], "tables": [], "schema": {"changes": changes}, "role": "postgres",
    }  # fmt: skip
    return find_touched(document, before, after, [text])


@pytest.mark.pg(">= 15")
def test_drift_is_strict_where_the_plan_reaches(connection: Connection, before: Schema) -> None:
    touched = touched_by_plan(connection, before)
    wrong = []
    for drift, strict in DRIFTS:
        with connection.transaction(force_rollback=True):
            connection.execute(drift)
            reasons, told = judge_state(before, read_schema(connection), touched)
        on_touched = ["which the plan does not touch" not in line for line in told]
        said = bool(told) and set(on_touched) == {drift.startswith(ON_TOUCHED)}
        if bool(reasons) is not strict or not (strict or said):
            wrong.append((drift, reasons, told))
    assert wrong == []


@pytest.mark.pg(">= 15")
def test_what_only_the_plans_own_text_names_counts_too(connection: Connection, before: Schema) -> None:
    touched = touched_by_plan(connection, before, PLAN + "; SELECT unrelated()")
    connection.execute("CREATE OR REPLACE FUNCTION unrelated() RETURNS int LANGUAGE sql AS 'SELECT 2'")
    reasons, _told = judge_state(before, read_schema(connection), touched)
    assert len(reasons) == 1
    assert "unrelated" in reasons[0].details[0]


@pytest.mark.pg(">= 15")
def test_the_same_schema_has_no_drift(connection: Connection, before: Schema) -> None:
    assert judge_state(before, read_schema(connection), touched_by_plan(connection, before)) == ([], [])

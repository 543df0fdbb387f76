"""A recorder that is alone on a clone, and shares its looks, writes down what one that asks for everything does."""

from typing import Any

import pytest
from tests.support.applying import plan_of, run_plan

from pgrehearse.hazards.trace import Tracer
from pgrehearse.migrations.observer import Observers
from pgrehearse.migrations.own_state import OwnState
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rehearsal.commits import CommitRecorder

pytestmark = pytest.mark.pg(">= 15")

IGNORED = frozenset({"pgrehearse.migrations"})
SHOP = """
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE, note text);
CREATE TABLE parted (id int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE audit (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO users SELECT i, 'n' || i FROM generate_series(1, 200) i;
INSERT INTO orders SELECT i, 1 + i % 10 FROM generate_series(1, 300) i;
INSERT INTO parted SELECT generate_series(0, 9);
ANALYZE;
"""
FILES = (
    "UPDATE users SET name = 'x' WHERE id <= 3;",  # its deferred trigger writes at COMMIT, after the last look
    "UPDATE users SET name = 'y' WHERE id <= 2; INSERT INTO audit VALUES ('by hand');",
    "CREATE TYPE state AS ENUM ('new', 'paid'); ALTER TABLE orders ADD COLUMN state state DEFAULT 'new';",
    "CREATE INDEX orders_note ON orders (note); ALTER TABLE orders ALTER note TYPE varchar(80);",
    "CREATE INDEX CONCURRENTLY orders_user ON orders (user_id);",
    "DELETE FROM orders WHERE id > 250;",
    "DEALLOCATE ALL; DELETE FROM users WHERE id > 195;",
    "CREATE FUNCTION twice(a int) RETURNS int LANGUAGE sql RETURN a * 2; CREATE VIEW seen AS SELECT twice(1);",
    "DROP VIEW seen; DROP FUNCTION twice; CREATE SCHEMA kept; ALTER TABLE audit SET SCHEMA kept;",
    "TRUNCATE orders; DROP TABLE parted; ALTER TYPE state ADD VALUE 'sent';",
    "ALTER TABLE users RENAME TO people; GRANT SELECT ON people TO PUBLIC; ALTER TABLE people ADD UNIQUE (name, id);",
    "SELECT count(*) FROM people; LOCK TABLE people;",
    # What is no relation: each kind is read again only where its catalog was written.
    "CREATE TYPE pair AS (a int, b text); CREATE DOMAIN positive AS int CHECK (VALUE > 0); CREATE SEQUENCE counted;",
    "ALTER TYPE pair ADD ATTRIBUTE c date;",
    "INSERT INTO people VALUES (500, 'z');",
    "ALTER TYPE pair SET SCHEMA kept;",
    "ALTER DOMAIN positive ADD CONSTRAINT small CHECK (VALUE < 100) NOT VALID;",
    "ALTER DOMAIN positive VALIDATE CONSTRAINT small; ALTER DOMAIN positive RENAME CONSTRAINT small TO tiny;",
    "ALTER TYPE state RENAME VALUE 'new' TO 'fresh';",
    "CREATE FUNCTION kept.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER TABLE people ADD CHECK (id > 0);",
    "DO $$ BEGIN EXECUTE 'CREATE OR REPLACE FUNCTION kept.f() RETURNS int LANGUAGE sql AS $_$SELECT 2$_$'; END $$;",
    "DO $$ BEGIN DROP FUNCTION kept.f(); RAISE 'no'; EXCEPTION WHEN OTHERS THEN NULL; END $$; DELETE FROM kept.audit;",
    "UPDATE pg_catalog.pg_attribute SET attstorage = 'e' WHERE attrelid = 'kept.pair'::regclass AND attname = 'b';",
    "UPDATE pg_catalog.pg_proc SET prosrc = 'SELECT 3' WHERE proname = 'f';",
    "UPDATE pg_catalog.pg_extension SET extversion = '1.1' WHERE extname = 'plpgsql';",
    "CREATE SCHEMA late; ALTER SCHEMA late RENAME TO later; DROP TYPE kept.pair; DROP DOMAIN positive;",
    "BEGIN; SAVEPOINT s; CREATE FUNCTION a() RETURNS int LANGUAGE sql AS 'SELECT 1'; ROLLBACK TO s; "
    "CREATE FUNCTION b() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT;",
    "DROP SCHEMA later; DROP FUNCTION kept.f; DROP SEQUENCE counted;",
)


def seen(database: Conninfo, *, alone: bool) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
    """The commits and the traces of these files."""
    state = OwnState(exclusive=True) if alone else None
    recorder = CommitRecorder(lambda: connect(database, verb="watch"), ignored=IGNORED, state=state, alone=alone)
    tracer = Tracer(lambda: connect(database, verb="watch"), ignored=IGNORED, state=state)
    try:
        run_plan(database, plan_of(*FILES), observer=Observers(recorder, tracer))
    finally:
        recorder.close()
        tracer.close()
    traces = [
        (each.statement.text, each.rows_affected, each.locks, each.rewrites, each.scans_under_lock)
        for each in tracer.statements
        if not each.sampled
    ]
    return [commit.as_json() for commit in recorder.commits], traces


def test_alone_on_a_clone_the_same_is_seen_with_fewer_questions(database: Conninfo, connection: Connection) -> None:
    connection.execute(SHOP)
    copy = database.replaced(dbname=f"{database.parameters['dbname']}_copy")
    with connect(copy.replaced(dbname="postgres"), verb="test") as admin:
        connection.close()
        admin.execute(
            f'CREATE DATABASE "{copy.parameters["dbname"]}" TEMPLATE "{database.parameters["dbname"]}"'.encode()
        )
    commits, traces = seen(database, alone=False)
    alone_commits, alone_traces = seen(copy, alone=True)
    assert alone_commits == commits
    assert alone_traces == traces
    others = {name for each in commits for name in each["catalog"]["others"]}
    assert {"type kept.pair", "type public.positive", "type public.state", "function kept.f()", "extension plpgsql",
            "schema later", "function public.b()"} <= others  # fmt: skip
    gone = {name for each in commits for name, found in each["catalog"]["relations"].items() if found is None}
    assert {"public.users", "public.audit", "public.parted"} <= gone  # under another name, in another schema, dropped
    assert commits[0]["at_commit"] == {"public.audit": [3, 0, 0]}
    assert commits[1]["statements"][0]["written"] == {"public.users": [0, 2, 0]}

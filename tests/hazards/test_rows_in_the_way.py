"""What a catalog and its rows settle beforehand: each file is judged first, then the server says who was right."""

import psycopg
import pytest

from pgrehearse.hazards.against import read_catalog
from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.lint import lint_files
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.postgres.connect import Connection

SCHEMA = """
CREATE TYPE mood AS ENUM ('new', 'done', 'odd');
CREATE DOMAIN amount AS int;
CREATE TABLE users (id int PRIMARY KEY, email varchar(40), score amount, state mood, nick text,
    CONSTRAINT hoped CHECK (id < 500));
CREATE TABLE orders (id int PRIMARY KEY, buyer int REFERENCES users, seller int);
ALTER TABLE orders ADD CONSTRAINT late FOREIGN KEY (seller) REFERENCES users NOT VALID;
CREATE TRIGGER kept BEFORE TRUNCATE ON users EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE FUNCTION twice(v int) RETURNS int LANGUAGE sql AS 'SELECT 2 * v';
CREATE FUNCTION twice(v text) RETURNS text LANGUAGE sql AS 'SELECT v || v';
CREATE FUNCTION norm(v text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN lower(v); END';
INSERT INTO users SELECT g, 'u' || g % 90, g - 1, 'new', 'n' FROM generate_series(1, 150) g;
INSERT INTO orders VALUES (1, 1, 1), (2, 2, NULL);
ANALYZE;
"""
FAILING = (
    "ALTER TABLE users ADD CONSTRAINT fresh UNIQUE (email)",
    "CREATE UNIQUE INDEX ON users (email) WHERE id < 100",
    "ALTER TABLE orders ALTER seller SET NOT NULL",
    "ALTER TABLE users ADD CHECK (id < 150)",
    "ALTER TABLE orders ADD FOREIGN KEY (seller, id) REFERENCES users (id, email)",
    "ALTER TABLE users ALTER email TYPE varchar(2)",
    "ALTER TABLE users ALTER email TYPE int USING email::int",
    "ALTER DOMAIN amount ADD CHECK (VALUE < 100)",
    "DELETE FROM users WHERE id = 2",
    "DELETE FROM users u USING orders o WHERE o.id = u.id",
    "INSERT INTO orders VALUES (9, 1), (2, 1)",
    "ALTER TABLE users DETACH PARTITION orders",
    "ALTER TABLE users ALTER absent SET STATISTICS 5",
    "ALTER TABLE users VALIDATE CONSTRAINT absent",
    "ALTER TABLE users DISABLE TRIGGER absent",
    "ALTER TABLE users RENAME COLUMN absent TO other",
    "ALTER TABLE users RENAME CONSTRAINT absent TO other",
    "ALTER TABLE users ADD UNIQUE (id, absent)",
    "CREATE INDEX ON users (lower(absent))",
    "CREATE INDEX ON users (norm(email))",
    "CREATE INDEX ON users (id) WHERE absent",
    "CREATE STATISTICS s ON id, absent FROM users",
    "UPDATE users SET absent = 1",
    "INSERT INTO users (id, absent) VALUES (999, 1)",
    "SELECT count(*) FROM users JOIN absent USING (id)",
    "CREATE VIEW v AS SELECT * FROM absent",
    "CREATE TABLE t (id int REFERENCES absent)",
    "ALTER TABLE users ADD COLUMN c text DEFAULT absent_function()",
    "DROP TRIGGER absent ON users",
    "COMMENT ON COLUMN users.absent IS 'x'",
    "UPDATE users SET nick = 'x'; ALTER TABLE users ADD COLUMN nick text",
)
PASSING = (
    "CREATE UNIQUE INDEX ON users (email) WHERE id < 90",
    "ALTER TABLE users ALTER state SET NOT NULL",
    "ALTER TABLE users ADD CHECK (id < 151)",
    "ALTER TABLE orders VALIDATE CONSTRAINT late",
    "ALTER TABLE users ALTER email TYPE varchar(5)",
    "ALTER DOMAIN amount ADD CHECK (VALUE < 150)",
    "DELETE FROM users WHERE id = 3",
    "INSERT INTO orders VALUES (9, 1), (8, 1)",
    "INSERT INTO orders VALUES (2, 1) ON CONFLICT DO NOTHING",
    "DELETE FROM orders WHERE id = 2; INSERT INTO orders VALUES (2, 1)",
    "DELETE FROM orders; DELETE FROM users",  # what the database shows of orders is not what the second one meets
    "UPDATE orders SET seller = 1; ALTER TABLE orders ALTER seller SET NOT NULL",
    "ALTER TABLE users ADD COLUMN c int, ADD CONSTRAINT fresh CHECK (c > 0)",
    "ALTER TABLE users ADD COLUMN c int; CREATE INDEX ON users (c)",
    "ALTER TABLE users RENAME nick TO called; UPDATE users SET called = 'x'",
    "WITH absent AS (SELECT 1 AS id) SELECT * FROM absent",
    "CREATE FUNCTION made() RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT made()",
    "SELECT * FROM pg_class c, pg_catalog.pg_type t, information_schema.tables LIMIT 1",
    "SELECT 1 FROM users u JOIN orders o ON true FOR UPDATE OF u, o",
    "ALTER TABLE IF EXISTS absent ADD COLUMN c int",
    "DROP TRIGGER IF EXISTS absent ON users",
    "DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE made_by_' || 'it (id int)'); END $$; INSERT INTO made_by_it VALUES (1)",
    "CREATE TABLE t (id int PRIMARY KEY, up int REFERENCES t)",
    "DROP FUNCTION twice(int); DROP FUNCTION twice(text)",
    "ALTER FUNCTION norm(text) IMMUTABLE; CREATE INDEX ON users (norm(email))",
    "CREATE ROLE told_once; ALTER ROLE told_once RENAME TO told_twice; GRANT SELECT ON users TO told_twice",
    """CREATE POLICY own ON users USING (true); ALTER POLICY own ON users RENAME TO old;
       CREATE POLICY own ON users USING (true); DROP POLICY old ON users""",
    "DELETE FROM orders WHERE orders IS NULL",
)
LOSING = (
    "UPDATE users SET nick = 'x' WHERE id = 1",
    "DELETE FROM orders WHERE id > 1",
    "ALTER TABLE users DROP COLUMN nick",
    "ALTER TABLE users ALTER email TYPE varchar(2) USING left(email, 2)",
    """CREATE TYPE feel AS ENUM ('a'); ALTER TABLE users ALTER state TYPE feel USING (CASE state WHEN 'new' THEN 'a'
       ELSE NULL END)::feel; UPDATE users SET state = NULL""",
)
KEEPING = (
    "UPDATE users SET nick = 'n'",
    "DELETE FROM orders WHERE id > 2",
    "ALTER TABLE users ALTER email TYPE varchar(4) USING left(email, 4)",
    """CREATE TYPE feel AS ENUM ('a');
       ALTER TABLE users ALTER state TYPE feel USING (replace(state::text, 'new', 'a'))::feel""",
)


@pytest.fixture
def shop(connection: Connection) -> Connection:
    connection.execute(SCHEMA)
    return connection


def classes_told(connection: Connection, text: str) -> set[HazardClass]:
    """By the database as it is now, without what is a matter of taste."""
    migration = Migration(version="1", name="m", path="m.sql", kind=SourceKind.SQL_FOLDER, content=text.encode())
    with connection.transaction():
        result = lint_files([migration], model=read_catalog(connection), transaction=TransactionMode.FILE)
    return {each for found in result.findings if found.level is not Level.INFO for each in found.classes}


def fails(connection: Connection, text: str) -> bool:
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(text.encode())
    except psycopg.Error:
        return True
    return False


@pytest.mark.pg("== 18")
def test_what_will_fail_is_known_and_nothing_else_is_said_to_happen(shop: Connection) -> None:
    for text in FAILING:
        told = classes_told(shop, text)
        assert fails(shop, text), text
        assert HazardClass.FAILS in told, text
        assert not told & {HazardClass.DATA_LOSS, HazardClass.REWRITES_TABLE}, text


@pytest.mark.pg("== 18")
def test_what_will_not_fail_is_not_said_to(shop: Connection) -> None:
    for text in PASSING:
        told = classes_told(shop, text)
        assert not fails(shop, text), text
        assert HazardClass.FAILS not in told, text


@pytest.mark.pg("== 18")
def test_a_loss_is_told_where_rows_lose_something(shop: Connection) -> None:
    assert [text for text in LOSING if HazardClass.DATA_LOSS not in classes_told(shop, text)] == []
    assert [text for text in KEEPING if HazardClass.DATA_LOSS in classes_told(shop, text)] == []


@pytest.mark.pg("== 15")
def test_a_function_that_is_younger_than_the_server_is_missing(shop: Connection) -> None:
    text = "ALTER TABLE users ADD COLUMN c uuid DEFAULT uuidv7()"
    assert fails(shop, text)
    assert HazardClass.FAILS in classes_told(shop, text)

"""What is written down before each COMMIT: rows by table, and the catalog as the transaction leaves it."""

import pytest
from tests.support.applying import plan_of, run_plan, sessions_to

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rehearsal.commits import CommitEvidence, CommitRecorder, RowsWritten

pytestmark = pytest.mark.pg(">= 15")

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE);
CREATE TABLE parted (id int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (10) TO (20);
INSERT INTO users SELECT i, 'n' || i FROM generate_series(1, 10) i;
INSERT INTO orders SELECT i, 1 + i % 10 FROM generate_series(1, 30) i;
INSERT INTO parted SELECT generate_series(0, 19);
"""


def record(database: Conninfo, *texts: str) -> list[CommitEvidence]:
    """The commits of a plan of these files, after a round through JSON."""
    recorder = CommitRecorder(lambda: connect(database, verb="watch"), ignored=frozenset({"pgrehearse.migrations"}))
    run_plan(database, plan_of(*texts), sessions=sessions_to(database), observer=recorder)
    recorder.close()
    return [CommitEvidence.from_json(commit.as_json()) for commit in recorder.commits]


def test_rows_are_counted_by_table_whoever_wrote_them(database: Conninfo, connection: Connection) -> None:
    connection.execute(SHOP)
    connection.execute("""
        CREATE TABLE audit (what text);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NULL; END $$;
        CREATE TRIGGER note AFTER UPDATE ON users FOR EACH ROW EXECUTE FUNCTION note();
    """)
    (commit,) = record(
        database,
        """UPDATE users SET name = 'x' WHERE id <= 3;
        DELETE FROM users WHERE id = 1;
        DO $$ BEGIN DELETE FROM orders WHERE id = 2; INSERT INTO orders VALUES (99, 2); END $$;
        DELETE FROM parted WHERE id BETWEEN 8 AND 11;
        TRUNCATE users CASCADE;
        SELECT 1;""",
    )
    written = [dict(statement.written) for statement in commit.statements]
    assert written == [
        {"public.users": RowsWritten(updated=3), "public.audit": RowsWritten(inserted=3)},
        {"public.users": RowsWritten(deleted=1), "public.orders": RowsWritten(deleted=3)},
        {"public.orders": RowsWritten(inserted=1, deleted=1)},
        {"public.parted": RowsWritten(deleted=4)},
        {"public.users": RowsWritten(deleted=9), "public.orders": RowsWritten(deleted=27)},
        {},
    ]
    assert [statement.rows for statement in commit.statements] == [3, 1, None, 4, None, 1]


def test_one_transactions_rows_are_not_counted_in_the_next(database: Conninfo, connection: Connection) -> None:
    connection.execute(SHOP)
    first, second = record(database, "DELETE FROM orders WHERE id <= 5;", "DELETE FROM orders WHERE id = 6;")
    assert first.statements[0].written == {"public.orders": RowsWritten(deleted=5)}
    assert second.statements[0].written == {"public.orders": RowsWritten(deleted=1)}


def test_the_catalog_is_kept_object_by_object(database: Conninfo, connection: Connection) -> None:
    connection.execute(SHOP)
    first, second, third = record(
        database,
        """CREATE TYPE state AS ENUM ('new', 'paid');
        CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql RETURN a + 1;
        ALTER TABLE orders ADD COLUMN state state DEFAULT 'new', ADD CHECK (id > 0);
        CREATE VIEW v AS SELECT id FROM orders;
        DROP TABLE parted;""",
        "CREATE INDEX CONCURRENTLY orders_user ON orders (user_id);",
        "DROP FUNCTION f; ALTER TYPE state ADD VALUE 'sent';",
    )
    relations = first.catalog.relations
    orders = relations["public.orders"]
    assert orders is not None
    assert set(orders.objects) >= {"relation", "column id", "column state", "constraint orders_id_check"}
    assert relations["public.parted"] is None
    assert relations["public.parted_1"] is None
    assert "public.v" in relations
    assert set(first.catalog.others) == {"type public.state", "function public.f(integer)"}
    assert second.outside
    found = second.catalog.relations["public.orders"]
    assert found is not None
    assert found.objects.keys() - orders.objects.keys() == {"index orders_user"}
    assert third.catalog.others["function public.f(integer)"] is None
    assert third.catalog.others["type public.state"] != first.catalog.others["type public.state"]
    assert not any(name.startswith("pgrehearse") for name in {*relations, *third.catalog.relations})

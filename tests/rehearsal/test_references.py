"""Children without parents under a foreign key that the catalog calls valid."""

import pytest

from pgrehearse.data.session import prepare_session
from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.references import find_broken_references

TABLES = """
CREATE TABLE "the parent" (a int, "b""c" varchar, PRIMARY KEY (a, "b""c"));
CREATE TABLE child (id int, "b""c" text, a int, CONSTRAINT "to it" FOREIGN KEY (a, "b""c") REFERENCES "the parent");
CREATE TABLE tree (id int PRIMARY KEY, a int REFERENCES tree) PARTITION BY RANGE (id);
CREATE TABLE leaf PARTITION OF tree FOR VALUES FROM (0) TO (100);
INSERT INTO "the parent" VALUES (1, 'x'), (2, 'y');
INSERT INTO child VALUES (1, 'x', 1), (2, NULL, 7), (3, 'y', 2);
INSERT INTO tree VALUES (1, NULL), (2, 1);
"""


@pytest.mark.parametrize(
    ("change", "changed", "expected"),
    [
        ("INSERT INTO child VALUES (4, 'y', 1), (5, 'z', 2)", "public.child", "2 rows of"),
        ("DELETE FROM \"the parent\" WHERE a = 1", 'public."the parent"', "1 rows of"),
        ("DELETE FROM tree WHERE id = 1", "public.leaf", "1 rows of"),
        ("INSERT INTO child VALUES (6, NULL, 9)", "public.child", None),
        ("INSERT INTO child VALUES (7, 'q', 9)", "public.leaf", None),  # not asked for: that table did not change
    ],
)  # fmt: skip
def test_rows_that_a_foreign_key_forbids_are_counted(
    connection: Connection, change: str, changed: str, expected: str | None
) -> None:
    connection.execute(TABLES)
    connection.execute(f"SET session_replication_role = replica; {change}; RESET session_replication_role")
    found = list(find_broken_references(prepare_session(connection), [changed]))
    assert [each.what.startswith(expected or "") for each in found] == ([True] if expected else [])


def test_a_foreign_key_that_is_not_validated_promises_nothing_of_old_rows(connection: Connection) -> None:
    connection.execute("CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p int); INSERT INTO c VALUES (1)")
    connection.execute("ALTER TABLE c ADD FOREIGN KEY (p) REFERENCES p NOT VALID")
    assert list(find_broken_references(prepare_session(connection), ["public.c"])) == []

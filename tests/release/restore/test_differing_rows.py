"""What differs between the failed and the restored database, kept and told apart; oracles: plain SQL, pg_dump."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql
from tests.support.dumps import dump_text
from tests.support.restoring import MIGRATION, SHOP, WRITES_AFTER, WRITES_BEFORE, content, psql, rows, run

from pgrehearse.data.loss import compare_data
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.restore.differing_rows import DifferingRows, DifferingTable, find_differing_rows
from pgrehearse.release.restore.migration_transactions import find_migration_transactions
from pgrehearse.release.restore.reapply import reapply
from pgrehearse.release.restore.touched import TouchedTable, touched_tables
from pgrehearse.release.restore.written_files import By, Change

pytestmark = pytest.mark.pg(">= 15")
ONCE = pytest.mark.pg("== 18")  # what is asked here is our own doing, and no version's
LEDGER = frozenset({"drizzle.__drizzle_migrations"})
CopyOf = Callable[[Conninfo], Conninfo]


def compare(failed: Conninfo, restored: Conninfo, directory: Path, **more: Any) -> DifferingRows:
    with connect(failed, verb="test") as left, connect(restored, verb="test") as right:
        return find_differing_rows(left, right, directory=directory, ignore_relations=LEDGER, **more)


def told_apart(
    failed: Conninfo, restored: Conninfo, directory: Path, touched: tuple[TouchedTable, ...]
) -> DifferingRows:
    with connect(failed, verb="test") as left, connect(restored, verb="test") as right:
        transactions = find_migration_transactions(left, right)
        assert len(transactions) == 1
        return find_differing_rows(
            left, right, directory=directory, touched=touched, transactions=transactions, ignore_relations=LEDGER
        )


def table(found: DifferingRows, name: str) -> DifferingTable:
    return next(each for each in found.tables if each.name == name)


def counts(found: DifferingTable, by: By) -> tuple[int, int, int]:
    return (found.count(by, Change.INSERT), found.count(by, Change.UPDATE), found.count(by, Change.DELETE))


def read_csv(found: DifferingRows, by: By, name: str, change: Change) -> list[dict[str, str]]:
    (path,) = (found.directory / by.value).glob(f"*-{name}.{change.value}.csv")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rehearsed(database: Conninfo, copy_of: CopyOf) -> tuple[TouchedTable, ...]:
    """What a rehearsal of the migration says of the tables, as the receipt keeps it."""
    pristine, clone = copy_of(database), copy_of(database)
    run(clone, MIGRATION)
    report = compare_data(lambda: connect(pristine, verb="test"), lambda: connect(clone, verb="test"))
    return touched_tables([each.as_json() for each in report.tables])


def test_three_thousand_inserts_two_thousand_updates_five_hundred_deletes_are_told_apart_from_the_migration(
    database: Conninfo, copy_of: CopyOf, restored_from: CopyOf, tmp_path: Path, server: LocalServer
) -> None:
    run(database, SHOP)
    touched = rehearsed(database, copy_of)
    restored, without_migration = restored_from(database), copy_of(database)
    run(database, WRITES_BEFORE)
    run(database, MIGRATION)
    run(database, WRITES_AFTER + "UPDATE knobs SET setting = 'blue' WHERE name = 'colour'")
    run(without_migration, WRITES_BEFORE + WRITES_AFTER + "UPDATE options SET value = 'blue'")
    found = told_apart(database, restored, tmp_path / "rows", touched)

    assert not found.not_compared
    assert counts(table(found, "public.orders"), By.APPLICATION) == (3000, 2000, 500)
    assert counts(table(found, "public.orders"), By.MIGRATION) == (0, 0, 0)
    # the trigger noted each write of the application once
    assert counts(table(found, "public.audit"), By.APPLICATION) == (5500, 0, 0)
    assert counts(table(found, "public.prices"), By.MIGRATION) == (0, 200, 0)
    assert counts(table(found, "public.prices"), By.APPLICATION) == (1, 0, 0)  # written before, rewritten since
    assert counts(table(found, "public.leftovers"), By.UNCLEAR) == (0, 0, 30)  # a row that is gone has no xmin
    assert table(found, "public.options").name_failed == "public.knobs"
    assert counts(table(found, "public.options"), By.MIGRATION) == (1, 0, 0)
    assert counts(table(found, "public.options"), By.APPLICATION) == (0, 1, 0)
    assert [(each.name, each.rows) for each in found.only_in_failed] == [("public.brand_new", 1)]
    assert {each.name for each in found.tables} == {
        "public.orders", "public.audit", "public.prices", "public.leftovers", "public.options",
    }  # fmt: skip
    deleted = {row["id"] for row in read_csv(found, By.APPLICATION, "public.orders", Change.DELETE)}
    assert deleted == {str(number) for number in range(7001, 7501)}
    assert json.loads((found.directory / "differing-rows.json").read_text()) == found.as_json()

    # What the application wrote, written back, is what there would be had the migration never run.
    assert found.reapply is not None
    psql(restored, found.reapply, server.major)
    expected = content(without_migration).replace("INSERT INTO public.prices VALUES (1001, 7);", "")
    got = content(restored).replace("INSERT INTO public.prices VALUES (1001, 700);", "")
    assert got == expected
    assert schema_of(restored) == schema_of(without_migration)


def schema_of(database: Conninfo) -> str:
    return dump_text(database, "--schema-only")


def test_counts_of_the_csv_files_equal_plain_sql(database: Conninfo, copy_of: CopyOf, tmp_path: Path) -> None:
    run(database, SHOP)
    restored = copy_of(database)
    run(
        database,
        """INSERT INTO "Odd ""Table"",x" VALUES (E'a,"b"\\n\\t\\\\', 1, '{"q": "\\""}', '\\x5c2e',
            ARRAY['a,b', 'NULL', '']), ('', 2, NULL, '', '{}'), ('\\.', 3, 'null', NULL, NULL);
        UPDATE "Odd ""Table"",x" SET raw = NULL, words = '{}' WHERE "key, one" LIKE 'k1%';
        DELETE FROM "Odd ""Table"",x" WHERE "key, one" LIKE 'k2%';""",
    )
    found = compare(database, restored, tmp_path / "rows")
    odd = table(found, 'public."Odd ""Table"",x"')
    with connect(database, verb="test") as left, connect(restored, verb="test") as right:
        updated = rows(left, """SELECT count(*) FROM "Odd ""Table"",x" WHERE "key, one" LIKE 'k1%'""")[0][0]
        deleted = rows(right, """SELECT count(*) FROM "Odd ""Table"",x" WHERE "key, one" LIKE 'k2%'""")[0][0]
        assert counts(odd, By.APPLICATION) == (3, updated, deleted)
        # COPY reads the file back as the rows that stand there
        (path,) = (found.directory / "application").glob("*.inserts.csv")
        right.execute("""CREATE TEMPORARY TABLE again (LIKE "Odd ""Table"",x")""")
        with right.cursor() as cursor, cursor.copy("COPY again FROM STDIN (FORMAT csv, HEADER true)") as copy:
            copy.write(path.read_bytes())
        again = rows(right, "SELECT * FROM again AS t ORDER BY 1")
        assert again == rows(
            left, """SELECT * FROM "Odd ""Table"",x" AS t WHERE "key, one" !~ '^k' ORDER BY 1"""
        )  # fmt: skip
    assert oct(found.directory.stat().st_mode & 0o777) == "0o700"
    assert oct(path.stat().st_mode & 0o777) == "0o600"


def test_odd_names_keyless_rows_partitions_and_swapped_values_are_written_back(
    database: Conninfo, copy_of: CopyOf, tmp_path: Path, server: LocalServer
) -> None:
    run(database, SHOP)
    restored = copy_of(database)
    run(
        database,
        """INSERT INTO "Odd ""Table"",x" VALUES (E'a,"b''\\n\\t\\\\', 1, '{"q": "\\""}', '\\x5c2e',
            ARRAY['a,b', E'\\n', '']), ('', 2, NULL, '', '{}');
        UPDATE "Odd ""Table"",x" SET payload = '[1]', words = NULL WHERE "key, one" LIKE 'k1%';
        DELETE FROM "Odd ""Table"",x" WHERE "key, one" LIKE 'k2%';
        DELETE FROM lines WHERE what = 'line 7' AND n = 1;
        INSERT INTO lines SELECT 'line 8', 2, NULL FROM generate_series(1, 5);
        INSERT INTO lines VALUES (NULL, NULL, '{ "b":2}'), (NULL, NULL, '{ "b":2}'), ('', 0, NULL);
        UPDATE lines SET extra = '{"z":1}' WHERE what = 'line 9';
        UPDATE events SET at = at + 365 WHERE id BETWEEN 10 AND 20;
        UPDATE events SET what = 'new' WHERE id = 400;
        -- a child finds another parent before its own goes, whose deletion would take it along
        INSERT INTO customers (email) VALUES ('late@example.org');
        UPDATE orders SET customer = (SELECT id FROM customers WHERE email = 'late@example.org') WHERE customer = 5;
        DELETE FROM customers WHERE id IN (5, 6);
        INSERT INTO customers (email, name) VALUES ('c6@example.org', 'the same address again');""",
    )
    found = compare(database, restored, tmp_path / "rows")
    assert found.reapply is not None
    assert all("\n" not in line for line in found.reapply.read_text().split("\n"))
    psql(restored, found.reapply, server.major)
    assert content(restored) == content(database)
    assert compare(database, restored, tmp_path / "again").rows == 0
    assert schema_of(restored) == schema_of(database)  # constraints and triggers are as they were


@ONCE
@pytest.mark.parametrize("action", ["CASCADE", "RESTRICT"])
def test_children_that_were_deleted_with_their_parents_go_before_them(
    database: Conninfo, copy_of: CopyOf, tmp_path: Path, action: str, server: LocalServer
) -> None:
    # By name and by oid each parent comes before its children; two tables refer to each other.
    run(
        database,
        f"""CREATE TABLE a (id int PRIMARY KEY);
        CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a ON DELETE {action}) PARTITION BY HASH (id);
        CREATE TABLE b_0 PARTITION OF b FOR VALUES WITH (MODULUS 2, REMAINDER 0);
        CREATE TABLE b_1 PARTITION OF b FOR VALUES WITH (MODULUS 2, REMAINDER 1);
        CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b ON DELETE {action});
        CREATE TABLE d (id int PRIMARY KEY, b int REFERENCES b ON DELETE {action}, e int);
        CREATE TABLE e (id int PRIMARY KEY, d int REFERENCES d);
        ALTER TABLE d ADD FOREIGN KEY (e) REFERENCES e;
        INSERT INTO a SELECT generate_series(1, 9);
        INSERT INTO b SELECT i, i FROM generate_series(1, 9) i;
        INSERT INTO c SELECT i, i FROM generate_series(1, 9) i;
        INSERT INTO d SELECT i, i FROM generate_series(1, 9) i;
        INSERT INTO e SELECT i, NULL FROM generate_series(1, 9) i""",
    )
    restored = copy_of(database)
    run(database, "DELETE FROM e WHERE id < 3; DELETE FROM d WHERE id < 5; DELETE FROM c WHERE id < 5")
    run(database, "DELETE FROM b WHERE id < 5; DELETE FROM a WHERE id < 5; INSERT INTO a VALUES (10)")
    run(database, "INSERT INTO b VALUES (10, 10); INSERT INTO c VALUES (10, 10)")
    found = compare(database, restored, tmp_path / "rows")
    assert found.reapply is not None
    with connect(restored, verb="test") as session:
        assert reapply(session, found.reapply) == 4 * 4 + 2 + 3
    assert compare(database, restored, tmp_path / "again").rows == 0
    assert schema_of(restored) == schema_of(database)
    assert not list(found.directory.glob(".*"))


@ONCE
@pytest.mark.parametrize("action", ["CASCADE", "RESTRICT", "SET NULL"])
def test_rows_of_a_table_that_refers_to_itself_are_deleted_children_first(
    database: Conninfo, copy_of: CopyOf, tmp_path: Path, action: str
) -> None:
    # A parent has a smaller id than its child, or a greater one; the last three rows refer to each other in a circle.
    run(
        database,
        f"""CREATE TABLE t (id int PRIMARY KEY, up int, again bigint, FOREIGN KEY (up) REFERENCES t ON DELETE {action});
        CREATE TABLE nokey (code text UNIQUE, up text REFERENCES nokey (code) ON DELETE {action});
        INSERT INTO t SELECT i, nullif(i / 3, 0) FROM generate_series(1, 60) i;
        INSERT INTO t SELECT 200 - i, CASE WHEN i > 2 THEN 200 - i / 3 END FROM generate_series(1, 20) i;
        INSERT INTO t VALUES (301, NULL), (302, 301), (303, 302), (304, 304);
        UPDATE t SET up = 303 WHERE id = 301;
        INSERT INTO nokey VALUES ('a', NULL), ('b', 'a'), ('c', 'b'), ('d', NULL);""",
    )
    restored = copy_of(database)
    keep = "id IN (1, 2, 5, 199)"
    run(database, f"DELETE FROM t WHERE NOT ({keep}); DELETE FROM nokey WHERE code <> 'd'")
    found = compare(database, restored, tmp_path / "rows")
    assert found.reapply is not None
    with connect(restored, verb="test") as session:
        assert reapply(session, found.reapply) == 84 - 4 - 2 + 3  # the circle of three is one statement
    assert compare(database, restored, tmp_path / "again").rows == 0
    assert schema_of(restored) == schema_of(database)
    assert not list(found.directory.glob(".*"))


def test_the_other_types_of_a_column_are_compared_by_value(
    database: Conninfo, copy_of: CopyOf, tmp_path: Path, server: LocalServer
) -> None:
    run(database, "CREATE TABLE t (id int PRIMARY KEY, a int, b text, c numeric(6,2), d char(4));"
                  "INSERT INTO t SELECT i, i, i::text, i / 7.0, 'x' FROM generate_series(1, 100) AS i")  # fmt: skip
    restored = copy_of(database)
    run(database, """ALTER TABLE t ALTER id TYPE bigint, ALTER a TYPE numeric(20,4), ALTER b TYPE int USING b::int,
        ALTER c TYPE numeric(12,6), ALTER d TYPE text;
        UPDATE t SET a = a + 1 WHERE id <= 3; UPDATE t SET c = c + 0.000001 WHERE id = 9;
        UPDATE t SET b = 0 WHERE id = 10;
        INSERT INTO t VALUES (500, 1, 2, 3, 'y')""")  # fmt: skip
    found = compare(database, restored, tmp_path / "rows")
    assert counts(table(found, "public.t"), By.APPLICATION) == (1, 5, 0)
    changed = read_csv(found, By.APPLICATION, "public.t", Change.UPDATE)
    assert sorted((int(row["id"]), row["changed_columns"]) for row in changed) == [
        (1, "a"), (2, "a"), (3, "a"), (9, "c"), (10, "b"),
    ]  # fmt: skip
    assert found.reapply is not None
    psql(restored, found.reapply, server.major)
    with connect(restored, verb="test") as session:
        assert rows(session, "SELECT id, a FROM t WHERE id <= 3 ORDER BY 1") == [(1, 2), (2, 3), (3, 4)]


@ONCE
def test_a_value_that_its_old_type_cannot_hold_is_told_and_not_lost(
    database: Conninfo, copy_of: CopyOf, tmp_path: Path
) -> None:
    run(
        database,
        "CREATE TABLE t (id int PRIMARY KEY, a int); INSERT INTO t SELECT i, i FROM generate_series(1, 9) AS i",
    )
    restored = copy_of(database)
    run(database, "ALTER TABLE t ALTER a TYPE text; UPDATE t SET a = 'many' WHERE id = 4")
    found = compare(database, restored, tmp_path / "rows")
    assert [row["a"] for row in read_csv(found, By.APPLICATION, "public.t", Change.UPDATE)] == ["many"]


@ONCE
def test_values_in_columns_that_the_migration_added_are_kept(
    database: Conninfo, copy_of: CopyOf, tmp_path: Path
) -> None:
    run(database, SHOP)
    restored = copy_of(database)
    run(database, MIGRATION)
    run(database, "UPDATE customers SET rank = 1 WHERE id <= 20")
    found = told_apart(database, restored, tmp_path / "rows", ())
    assert table(found, "public.customers").rows_in_new_columns == 20
    (path,) = (found.directory / "application").glob("*customers.new-columns.csv")
    assert path.read_text().splitlines()[:2] == ["id,rank", "1,1"]


@ONCE
def test_updates_of_a_column_that_the_migration_writes_too_are_told_and_left_out(
    database: Conninfo, copy_of: CopyOf, tmp_path: Path, server: LocalServer
) -> None:
    run(database, SHOP)
    touched = rehearsed(database, copy_of)
    restored = copy_of(database)
    run(database, MIGRATION)
    run(database, "UPDATE prices SET cents = 5 WHERE id = 9")
    found = told_apart(database, restored, tmp_path / "rows", touched)
    prices = table(found, "public.prices")
    assert (counts(prices, By.MIGRATION), counts(prices, By.APPLICATION)) == ((0, 199, 0), (0, 1, 0))
    assert prices.not_assigned == 1
    assert found.reapply is not None
    assert "\"cents\" is '5' in the failed database, '9' here" in found.reapply.read_text()
    psql(restored, found.reapply, server.major)
    with connect(restored, verb="test") as session:
        assert rows(session, "SELECT cents FROM prices WHERE id = 9") == [(9,)]


@ONCE
def test_tables_of_one_side_only_are_named_with_their_rows(database: Conninfo, copy_of: CopyOf, tmp_path: Path) -> None:
    run(database, SHOP)
    restored = copy_of(database)
    run(
        database,
        "DROP TABLE leftovers; CREATE TABLE fresh (a int, b text); INSERT INTO fresh VALUES (1, 'x'), (2, NULL)",
    )
    found = compare(database, restored, tmp_path / "rows")
    assert [(each.name, each.rows) for each in found.only_in_failed] == [("public.fresh", 2)]
    assert [(each.name, each.rows) for each in found.only_in_restored] == [("public.leftovers", 40)]
    (path,) = (found.directory / "only-in-failed").iterdir()
    assert path.read_text() == "a,b\n1,x\n2,\n"


@ONCE
def test_equal_databases_differ_in_nothing(database: Conninfo, copy_of: CopyOf, tmp_path: Path) -> None:
    run(database, SHOP)
    found = compare(database, copy_of(database), tmp_path / "rows")
    assert (found.tables, found.rows, found.reapply, found.unclear, found.not_compared) == ((), 0, None, None, ())
    assert [path.name for path in found.directory.iterdir()] == ["differing-rows.json"]


def test_a_table_that_may_not_be_read_is_told_as_not_compared(
    database: Conninfo, copy_of: CopyOf, tmp_path: Path, server: LocalServer
) -> None:
    run(database, "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE hidden (id int)")
    restored = copy_of(database)
    role = f"reader_{database.database}"
    admin = connect(server.conninfo(), verb="test")
    admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(role)))
    try:
        for each in (database, restored):
            with connect(each, verb="test") as session:
                session.execute(sql.SQL("GRANT SELECT ON t TO {}").format(sql.Identifier(role)))
        reader = {"user": role, "password": "x"}
        found = compare(database.replaced(**reader), restored.replaced(**reader), tmp_path / "rows")
        assert [each.name for each in found.not_compared] == ["public.hidden"]
    finally:
        for each in (database, restored):
            with connect(each, verb="test") as session:
                session.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
        admin.close()


@ONCE
def test_a_large_table_travels_only_near_its_differences(database: Conninfo, copy_of: CopyOf, tmp_path: Path) -> None:
    run(database, "CREATE TABLE big (id bigint PRIMARY KEY, what text);"
                  "INSERT INTO big SELECT i, repeat('x', 400) || i FROM generate_series(1, 30000) AS i")  # fmt: skip
    restored = copy_of(database)
    run(
        database,
        "UPDATE big SET what = 'y' WHERE id % 6000 = 0; DELETE FROM big WHERE id = 77; INSERT INTO big VALUES (0)",
    )
    found = compare(database, restored, tmp_path / "rows")
    assert counts(table(found, "public.big"), By.APPLICATION) == (1, 5, 1)

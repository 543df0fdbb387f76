"""What was moved is found again, all of it or exactly so much; what is equal by coincidence is not taken for it."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from pgrehearse.data.loss import compare_data
from pgrehearse.data.verdicts import ColumnLoss, ColumnVerdict, DataComparison, TableLoss, TableVerdict, Trace
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.local_server import LocalServer

Twins = Any  # tests/data/conftest.py

pytestmark = pytest.mark.pg("== 18")

USERS = """
CREATE TABLE users (id int PRIMARY KEY, name text, first text, last text, address text, active boolean, joined date);
INSERT INTO users SELECT i, current_schema || i || ' Last' || i % 70, current_schema || i,
    NULLIF(current_schema || i % 70, current_schema || '3'), NULLIF(current_schema || ' ' || i, current_schema || ' 9'),
    i % 3 = 0, date '2020-01-01' + i % 400 FROM generate_series(1, 200) i;
"""


def table(compared: DataComparison, name: str) -> TableLoss:
    return next(found for found in compared.tables if found.name == f"public.{name}" and found.verdict.value != "new")


def column(compared: DataComparison, name: str, of: str = "users") -> ColumnLoss:
    return next(found for found in table(compared, of).columns if found.name == name)


def traces(compared: DataComparison, of: str = "users") -> list[tuple[tuple[str, ...], str, tuple[str, ...], int, int]]:
    return [(t.columns, t.into, t.into_columns, t.found, t.sought) for t in table(compared, of).traces if t.proved]


CASES: list[tuple[str, str]] = []


def after(given: str, migration: str) -> pytest.MarkDecorator:
    """The test is given what the migration lost.  All run in one pair of databases, each in a namespace of its own."""
    CASES.append((given, migration))
    return pytest.mark.parametrize("number", [pytest.param(len(CASES) - 1, id="")])


@pytest.fixture(scope="module")
def whole(server: LocalServer) -> Iterator[DataComparison]:
    pristine, clone = f"traced_{os.getpid()}", f"traced_clone_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        try:
            admin.execute(f"CREATE DATABASE {pristine}")
            with connect(server.conninfo(pristine), verb="test") as session:
                for number, (given, _) in enumerate(CASES):
                    session.execute(f"CREATE SCHEMA case_{number}_; SET search_path = case_{number}_; {given}")
            admin.execute(f"CREATE DATABASE {clone} TEMPLATE {pristine}")
            with connect(server.conninfo(clone), verb="test") as session:
                for number, (_, migration) in enumerate(CASES):
                    session.execute(f"SET search_path = case_{number}_; {migration}")
            yield compare_data(
                lambda: connect(server.conninfo(pristine), verb="test"),
                lambda: connect(server.conninfo(clone), verb="test"),
            )
        finally:
            for name in (pristine, clone):
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def compared(whole: DataComparison, number: int) -> DataComparison:
    """The tables of one case, as if its namespace were ``public``."""
    own = f"case_{number}_."
    assert whole.not_measured == ()

    def public(name: str | None) -> str:
        return (name or "").replace(own, "public.")

    tables = [
        replace(
            table,
            name=public(table.name),
            name_after=public(table.name_after),
            traces=tuple(
                replace(each, into=public(each.into), reason=public(each.reason) or None) for each in table.traces
            ),
            orphans=tuple(replace(o, child=public(o.child), parent=public(o.parent)) for o in table.orphans),
        )
        for table in whole.tables
        if table.name.startswith(own)
    ]
    return replace(whole, tables=tuple(tables), large_objects=None)


# --- columns


@after(USERS, "ALTER TABLE users ADD street text; UPDATE users SET street = address; ALTER TABLE users DROP address")
def test_a_column_that_was_renamed_by_hand(compared: DataComparison) -> None:
    assert traces(compared) == [(("address",), "public.users", ("street",), 199, 199)]
    assert column(compared, "address").verdict is ColumnVerdict.DROPPED
    assert column(compared, "address").values_lost == column(compared, "address").values_moved == 199
    assert table(compared, "users").verdict is TableVerdict.VALUES_CHANGED
    assert compared.lost


@after(
    USERS,
    """ALTER TABLE users ADD street text; UPDATE users SET street = address WHERE id <= 150;
        ALTER TABLE users DROP address""",
)
def test_a_column_renamed_by_hand_and_half_filled_is_lost_for_the_rest(compared: DataComparison) -> None:
    assert traces(compared) == [(("address",), "public.users", ("street",), 149, 199)]
    found = column(compared, "address")
    assert (found.verdict, found.values_lost, found.values_moved) == (ColumnVerdict.DROPPED, 199, 149)
    assert compared.lost


@after(
    USERS,
    """ALTER TABLE users ADD given text, ADD family text;
        UPDATE users SET given = split_part(name, ' ', 1), family = split_part(name, ' ', 2);
        ALTER TABLE users DROP name""",
)
def test_a_column_split_in_two(compared: DataComparison) -> None:
    assert traces(compared) == [(("name",), "public.users", ("given", "family"), 200, 200)]
    assert table(compared, "users").traces[0].joined_by == "' '"
    assert compared.lost


@after(
    USERS + "UPDATE users SET name = 'A B ' || id WHERE id % 20 = 0",
    """ALTER TABLE users ADD given text, ADD family text;
        UPDATE users SET given = split_part(name, ' ', 1), family = split_part(name, ' ', -1);
        ALTER TABLE users DROP name""",
)
def test_a_split_that_forgets_middle_names(compared: DataComparison) -> None:
    assert traces(compared) == [(("name",), "public.users", ("given", "family"), 190, 200)]
    assert column(compared, "name").values_moved == 190
    assert compared.lost


@after(
    USERS,
    """ALTER TABLE users ADD full_name text; UPDATE users SET full_name = concat_ws(', ', last, first);
        ALTER TABLE users DROP first, DROP last""",
)
def test_two_columns_merged_into_one(compared: DataComparison) -> None:
    assert traces(compared) == [(("last", "first"), "public.users", ("full_name",), 200, 200)]
    for found in (column(compared, "first"), column(compared, "last")):
        assert (found.verdict, found.values_moved) == (ColumnVerdict.DROPPED, found.values_lost)
    assert compared.lost


@after(
    USERS,
    """CREATE TABLE addresses (number serial PRIMARY KEY, owner int NOT NULL REFERENCES users, line varchar(80));
        INSERT INTO addresses (owner, line) SELECT id, address FROM users WHERE address IS NOT NULL ORDER BY random();
        ALTER TABLE users DROP address""",
)
def test_a_column_moved_to_a_new_table_by_its_foreign_key(compared: DataComparison) -> None:
    assert traces(compared) == [(("address",), "public.addresses", ("line",), 199, 199)]
    assert table(compared, "users").traces[0].by == {"id": "owner"}
    assert compared.lost


@after(
    USERS,
    """CREATE TABLE addresses (user_id bigint, line text);
        INSERT INTO addresses SELECT id, address FROM users WHERE id <> 77; ALTER TABLE users DROP address""",
)
def test_a_column_moved_by_a_name_alone_with_one_row_left_out(compared: DataComparison) -> None:
    assert traces(compared) == [(("address",), "public.addresses", ("line",), 198, 199)]
    assert column(compared, "address").values_moved == 198
    assert compared.lost


@after(
    USERS,
    """CREATE TABLE families (id serial PRIMARY KEY, name text UNIQUE);
        INSERT INTO families (name) SELECT DISTINCT last FROM users WHERE last IS NOT NULL;
        ALTER TABLE users ADD family_id int REFERENCES families;
        UPDATE users SET family_id = f.id FROM families f WHERE f.name = last; ALTER TABLE users DROP last""",
)
def test_values_moved_to_a_table_that_is_pointed_to(compared: DataComparison) -> None:
    assert traces(compared) == [(("last",), "public.families", ("name",), 197, 197)]
    assert compared.lost


# --- rows


@after(
    USERS,
    """CREATE TABLE archive (LIKE users); INSERT INTO archive SELECT * FROM users WHERE id % 20 = 0;
        DELETE FROM users WHERE id % 20 = 0""",
)
def test_rows_moved_to_an_archive(compared: DataComparison) -> None:
    found = table(compared, "users")
    assert (found.verdict, found.rows_lost, found.rows_moved) == (TableVerdict.ROWS_LOST, 10, 10)
    assert [(t.into, t.found, t.sought) for t in found.traces] == [("public.archive", 10, 10)]
    assert compared.lost


@after(
    USERS,
    """CREATE TABLE archive (LIKE users); INSERT INTO archive SELECT * FROM users WHERE id % 10 = 0 AND id <> 40;
        UPDATE archive SET address = upper(address) WHERE id = 50; DELETE FROM users WHERE id % 10 = 0""",
)
def test_rows_moved_but_for_one_and_but_for_one_value(compared: DataComparison) -> None:
    found = table(compared, "users")
    assert (found.verdict, found.rows_lost, found.rows_moved) == (TableVerdict.ROWS_LOST, 20, 18)
    assert compared.lost


@after(
    USERS,
    """CREATE TABLE active_users AS SELECT * FROM users WHERE active;
        CREATE TABLE other_users AS SELECT * FROM users WHERE NOT active; DROP TABLE users""",
)
def test_a_table_divided_among_two_and_dropped(compared: DataComparison) -> None:
    found = table(compared, "users")
    assert (found.verdict, found.rows_lost, found.rows_moved) == (TableVerdict.DROPPED, 200, 200)
    assert {(t.into, t.found) for t in found.traces} == {("public.active_users", 66), ("public.other_users", 134)}
    assert compared.lost


@after(
    USERS
    + """CREATE TABLE profiles (user_id int PRIMARY KEY REFERENCES users, bio text, seen date);
        INSERT INTO profiles SELECT id, 'bio of ' || id, joined FROM users WHERE id > 50""",
    """ALTER TABLE users ADD bio text, ADD seen_on date;
        UPDATE users SET bio = p.bio, seen_on = p.seen FROM profiles p WHERE user_id = id; INSERT INTO users VALUES (0);
        DROP TABLE profiles""",
)
def test_a_table_merged_into_its_parent(compared: DataComparison) -> None:
    found = table(compared, "profiles")
    assert (found.verdict, found.rows_lost, found.rows_moved) == (TableVerdict.DROPPED, 150, 150)
    assert compared.lost


# --- by coincidence


def unproved(compared: DataComparison) -> list[Trace]:
    return [t for t in table(compared, "users").traces if not t.proved]


@after(USERS, "ALTER TABLE users ADD paid boolean; UPDATE users SET paid = active; ALTER TABLE users DROP active")
def test_a_boolean_that_equals_an_unrelated_new_one_stays_lost(compared: DataComparison) -> None:
    assert column(compared, "active").values_moved == 0
    assert compared.lost
    assert [(t.found, t.sought, t.into_columns) for t in unproved(compared)] == [(200, 200, ("paid",))]
    assert "coincidence" in (unproved(compared)[0].reason or "")


@after(
    USERS + "ALTER TABLE users ADD origin text DEFAULT 'unknown'",
    "ALTER TABLE users ADD state text DEFAULT 'unknown', DROP origin",
)
def test_a_constant_that_equals_a_new_default_stays_lost(compared: DataComparison) -> None:
    assert column(compared, "origin").values_moved == 0
    assert compared.lost


@after(
    USERS + "ALTER TABLE users ADD place int; UPDATE users SET place = id",
    "ALTER TABLE users ADD number serial; UPDATE users SET number = id; ALTER TABLE users DROP place",
)
def test_numbers_that_equal_a_new_serial_stay_lost(compared: DataComparison) -> None:
    assert table(compared, "users").traces == ()
    assert compared.lost


@after(
    USERS + "ALTER TABLE users ADD state text; UPDATE users SET state = CASE WHEN id % 10 = 0 THEN 's' || id / 10"
    " ELSE 'new' END",
    """ALTER TABLE users ADD phase text DEFAULT 'new'; UPDATE users SET phase = 's' || id / 10 WHERE id % 20 = 0;
        ALTER TABLE users DROP state""",
)
def test_a_state_that_mostly_equals_another_stays_lost(compared: DataComparison) -> None:
    """Ten states, nine rows in ten alike: an unrelated column that has the usual state agrees in most rows."""
    assert column(compared, "state").values_moved == 0
    assert compared.lost


@after(
    USERS,
    """CREATE TABLE addresses (user_id int, line text); INSERT INTO addresses SELECT id % 200 + 1, address FROM users;
        ALTER TABLE users DROP address""",
)
def test_values_under_other_keys_are_not_found(compared: DataComparison) -> None:
    assert table(compared, "users").traces == ()
    assert compared.lost


@after(
    "CREATE TABLE users (id int PRIMARY KEY); INSERT INTO users SELECT generate_series(1, 100)",
    "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other SELECT generate_series(1, 500); DELETE FROM users",
)
def test_lost_rows_are_not_found_in_a_table_with_the_same_numbers(compared: DataComparison) -> None:
    assert table(compared, "users").rows_moved == 0
    assert compared.lost


@after(
    "CREATE TABLE users (id int PRIMARY KEY, a boolean); "
    "INSERT INTO users SELECT -i, i % 2 = 0 FROM generate_series(1, 99) i",
    "CREATE TABLE flags (id int PRIMARY KEY, a boolean); INSERT INTO flags SELECT * FROM users; DELETE FROM users",
)
def test_rows_with_few_different_contents_are_told_and_stay_lost(compared: DataComparison) -> None:
    assert (table(compared, "users").rows_moved, table(compared, "users").verdict) == (0, TableVerdict.ROWS_LOST)
    assert [(t.found, t.proved) for t in table(compared, "users").traces] == [(99, False)]
    assert compared.lost


@after(
    USERS,
    """CREATE TABLE archive (LIKE users); INSERT INTO archive SELECT * FROM users WHERE id < 4;
        DELETE FROM users WHERE id < 4""",
)
def test_a_row_or_two_in_another_table_are_told_and_stay_lost(compared: DataComparison) -> None:
    assert (table(compared, "users").rows_lost, table(compared, "users").rows_moved) == (3, 0)
    assert [(t.into, t.found, t.proved) for t in table(compared, "users").traces] == [("public.archive", 3, False)]
    assert compared.lost


@after(
    USERS + "CREATE TABLE addresses AS SELECT id AS user_id, address AS line FROM users",
    "ALTER TABLE users DROP address",
)
def test_values_that_were_elsewhere_already_are_not_taken_for_moved(compared: DataComparison) -> None:
    assert table(compared, "users").traces == ()
    assert compared.lost


# --- duplicates and orphans


@after(
    """CREATE TABLE t (a int, b text); INSERT INTO t SELECT i % 5, 'x' || i % 5 FROM generate_series(1, 20) i;
        INSERT INTO t VALUES (99, 'alone');
        CREATE TABLE u (id int PRIMARY KEY, email text, n int);
        INSERT INTO u SELECT i, 'm' || i % 30, i % 30 FROM generate_series(1, 90) i;
        INSERT INTO u VALUES (91, 'own', 1)""",
    """DELETE FROM t o USING t k WHERE o.ctid > k.ctid AND o = k; DELETE FROM t WHERE a = 99;
        DELETE FROM u o USING u k WHERE o.id > k.id AND o.email = k.email; DELETE FROM u WHERE id = 91""",
)
def test_merged_duplicates_are_told_and_still_counted(compared: DataComparison) -> None:
    assert (table(compared, "t").rows_lost, table(compared, "t").rows_merged) == (16, 15)
    assert (table(compared, "u").rows_lost, table(compared, "u").rows_merged) == (61, 60)
    assert compared.lost


@after(
    """CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p);
        CREATE TABLE d (id int PRIMARY KEY, p int REFERENCES p ON DELETE SET NULL);
        INSERT INTO p SELECT generate_series(1, 10); INSERT INTO c SELECT i, i % 10 + 1 FROM generate_series(1, 50) i;
        INSERT INTO c VALUES (0, NULL); INSERT INTO d SELECT * FROM c;
        CREATE TABLE q (id int PRIMARY KEY); CREATE TABLE e (q int REFERENCES q); INSERT INTO q VALUES (1), (2);
        INSERT INTO e VALUES (1), (1), (NULL)""",
    "ALTER TABLE c DROP CONSTRAINT c_p_fkey; ALTER TABLE c RENAME p TO parent; DELETE FROM p WHERE id IN (3, 4);"
    " DROP TABLE q CASCADE",
)
def test_orphans_are_counted_under_the_parent_that_lost_rows(compared: DataComparison) -> None:
    assert [orphans.as_json() for orphans in table(compared, "p").orphans] == [
        {"child": "public.c", "columns": ["parent"], "parent": "public.p", "rows": 10}
    ]
    assert [(orphans.child, orphans.rows) for orphans in table(compared, "q").orphans] == [("public.e", 2)]
    assert table(compared, "c").orphans == ()


@pytest.mark.pg("== 15")  # which is built with contrib
def test_orphans_are_known_by_the_operator_of_their_key(twins: Twins) -> None:
    twins.given(
        """CREATE EXTENSION citext; CREATE TABLE p (mail citext PRIMARY KEY); INSERT INTO p VALUES ('Ada'), ('Bob');
        CREATE TABLE c (id int PRIMARY KEY, mail citext CONSTRAINT to_p REFERENCES p);
        INSERT INTO c VALUES (1, 'aDA'), (2, 'ada'), (3, 'BOB'), (4, NULL)"""
    )
    twins.migrate("ALTER TABLE c DROP CONSTRAINT to_p; DELETE FROM p WHERE mail = 'ada'")
    ((orphans,),) = twins.ask("clone", "SELECT count(*) FROM c WHERE lower(mail::text) = 'ada'")
    (found,) = table(twins.compare(), "p").orphans
    assert (found.child, found.rows) == ("public.c", orphans)


# --- equal rows that came from elsewhere


SEEDS = """
CREATE TABLE users (id int PRIMARY KEY, code text, name text);
INSERT INTO users SELECT i, current_schema || i, 'n' || i FROM generate_series(1, 30) i;
CREATE TABLE archive (LIKE users INCLUDING ALL); CREATE TABLE other (LIKE users INCLUDING ALL);
"""


@after(
    SEEDS + "INSERT INTO archive SELECT * FROM users WHERE id <= 20",
    "INSERT INTO archive SELECT i, 'x', 'x' FROM generate_series(101, 120) i; DELETE FROM users WHERE id <= 20",
)
def test_rows_that_stood_there_before_the_plan_did_not_come_from_here(compared: DataComparison) -> None:
    assert (table(compared, "users").rows_lost, table(compared, "users").rows_moved) == (20, 0)
    assert table(compared, "users").traces == ()


@after(
    SEEDS + "INSERT INTO archive SELECT * FROM users WHERE id <= 5",
    "INSERT INTO archive SELECT * FROM users WHERE id BETWEEN 6 AND 20; DELETE FROM users WHERE id <= 20",
)
def test_only_those_that_came_count(compared: DataComparison) -> None:
    assert (table(compared, "users").rows_lost, table(compared, "users").rows_moved) == (20, 15)
    assert traces(compared)[0][1::2] == ("public.archive", 15)


@after(
    SEEDS,
    """INSERT INTO archive SELECT * FROM users WHERE id <= 20;
        INSERT INTO other SELECT * FROM users WHERE id BETWEEN 16 AND 20;
        DELETE FROM users WHERE id <= 20""",
)
def test_rows_that_were_inserted_in_two_tables_are_claimed_of_neither(compared: DataComparison) -> None:
    assert table(compared, "users").rows_moved == 15
    told = {(t.into, t.found, t.reason) for t in unproved(compared)}
    assert told == {
        ("public.archive", 5, "equal rows were also inserted in public.other"),
        ("public.other", 5, "equal rows were also inserted in public.archive"),
    }


@after(
    SEEDS + "CREATE TABLE twins (LIKE users INCLUDING ALL); INSERT INTO twins SELECT * FROM users",
    "INSERT INTO archive SELECT * FROM users; DELETE FROM users; DELETE FROM twins",
)
def test_rows_that_two_tables_lost_are_found_again_for_neither(compared: DataComparison) -> None:
    for name in ("users", "twins"):
        assert (table(compared, name).rows_lost, table(compared, name).rows_moved) == (30, 0)
        assert [(t.proved, t.reason) for t in table(compared, name).traces] == [
            (False, "rows of other tables were lost that are equal to them, too")
        ]

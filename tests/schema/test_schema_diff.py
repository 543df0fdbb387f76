"""Changes name the object, the attribute, and what it was and is."""

import pytest

from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.schema.diff import Change, Effect, diff
from pgrehearse.schema.schema_object import ObjectKind, Schema

from .conftest import Databases, read, run_script

BEFORE = """
CREATE TABLE customers (id int PRIMARY KEY, name varchar(20) NOT NULL, status varchar CHECK (status IN ('a', 'b')));
CREATE INDEX by_name ON customers (name) WHERE status IN ('a', 'b');
CREATE VIEW active AS SELECT id FROM customers WHERE status IN ('a', 'b');
CREATE TABLE swap_a (x int); CREATE TABLE swap_b (y text);
"""


@pytest.fixture
def pristine(databases: Databases) -> Conninfo:
    database = databases.create()
    with connect(database, verb="test") as session:
        run_script(session, BEFORE)
    return database


def changes_by(databases: Databases, pristine: Conninfo, migration: str, *, same_oids: bool) -> list[str]:
    """What a migration changes on a clone made by TEMPLATE."""
    clone = databases.create(template=str(pristine.database))
    with connect(clone, verb="test") as session:
        run_script(session, migration)
    return [str(change) for change in diff(read(pristine), read(clone), same_oids=same_oids)]


def test_nothing_changed_gives_nothing(databases: Databases, pristine: Conninfo) -> None:
    assert changes_by(databases, pristine, "", same_oids=True) == []


def test_a_changed_attribute_is_told_with_both_texts(databases: Databases, pristine: Conninfo) -> None:
    migration = "ALTER TABLE customers ALTER name TYPE varchar(10), ALTER name DROP NOT NULL"
    assert changes_by(databases, pristine, migration, same_oids=False) == [
        "table column public.customers.name: not null was `yes`, is not set",
        "table column public.customers.name: type was `character varying(20)`, is `character varying(10)`",
    ]


def test_a_renamed_column_is_a_rename_where_oids_persist(databases: Databases, pristine: Conninfo) -> None:
    migration = "DROP VIEW active; ALTER TABLE customers RENAME name TO full_name"
    assert changes_by(databases, pristine, migration, same_oids=True) == [
        "index public.by_name: definition was `CREATE INDEX by_name ON public.customers USING btree (name)"
        " WHERE ((status)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))`,"
        " is `CREATE INDEX by_name ON public.customers USING btree (full_name)"
        " WHERE ((status)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))`",
        "table column public.customers.name: renamed to full_name",
        "view public.active: removed",
    ]
    assert "table column public.customers.full_name: added" in changes_by(
        databases, pristine, migration, same_oids=False
    )


def test_a_renamed_table_is_one_change_and_its_parts_are_none(databases: Databases, pristine: Conninfo) -> None:
    migration = "DROP VIEW active; ALTER TABLE customers RENAME TO clients"
    assert changes_by(databases, pristine, migration, same_oids=True) == [
        "table public.customers: renamed to public.clients",
        "view public.active: removed",
    ]


def test_swapped_names_are_two_renames(databases: Databases, pristine: Conninfo) -> None:
    migration = "ALTER TABLE swap_a RENAME TO t; ALTER TABLE swap_b RENAME TO swap_a; ALTER TABLE t RENAME TO swap_b"
    assert changes_by(databases, pristine, migration, same_oids=True) == [
        "table public.swap_a: renamed to public.swap_b",
        "table public.swap_b: renamed to public.swap_a",
    ]


def test_a_dropped_and_recreated_table_is_compared_under_its_name(databases: Databases, pristine: Conninfo) -> None:
    migration = "DROP TABLE swap_a; CREATE TABLE swap_a (x int, z int)"
    assert changes_by(databases, pristine, migration, same_oids=True) == ["table column public.swap_a.z: added"]


def test_a_dropped_table_is_told_with_its_constraints_but_without_each_column(
    databases: Databases, pristine: Conninfo
) -> None:
    assert changes_by(databases, pristine, "DROP TABLE customers CASCADE", same_oids=True) == [
        "index public.by_name: removed",
        "table public.customers: removed",
        "table constraint customers_pkey on public.customers: removed",
        "table constraint customers_status_check on public.customers: removed",
        "view public.active: removed",
    ]


def test_another_column_order_is_told_at_the_table(databases: Databases, pristine: Conninfo) -> None:
    migration = (
        "DROP TABLE customers CASCADE;"
        "CREATE TABLE customers (name varchar(20) NOT NULL, id int PRIMARY KEY,"
        " status varchar CHECK (status IN ('a', 'b')))"
    )
    assert "table public.customers: column order was `id, name, status`, is `name, id, status`" in changes_by(
        databases, pristine, migration, same_oids=False
    )


def test_a_change_as_json_holds_plain_values() -> None:
    change = Change(
        kind=ObjectKind.TABLE,
        name="public.t",
        relation=None,
        effect=Effect.CHANGED,
        attribute="owner",
        before="a",
        after="b",
    )
    assert change.as_json() == {
        "kind": "table", "name": "public.t", "relation": None, "effect": "changed",
        "attribute": "owner", "before": "a", "after": "b",
    }  # fmt: skip


def test_diff_needs_no_database() -> None:
    assert diff(Schema(server_major=18, objects=()), Schema(server_major=18, objects=())) == ()


def test_a_password_in_a_definition_is_not_shown() -> None:
    change = Change(
        kind=ObjectKind.COLUMN, name="public.t.c", relation="public.t", effect=Effect.CHANGED, attribute="default",
        before="'host=a password=hunter2'::text", after="'plain'::text",
    )  # fmt: skip
    assert str(change) == "table column public.t.c: default was `'***'::text`, is `'plain'::text`"
    assert "hunter2" not in str(change.as_json())


def changed(attribute: str, before: str, after: str) -> str:
    return str(
        Change(
            kind=ObjectKind.TABLE, name="public.t", relation=None, effect=Effect.CHANGED, attribute=attribute,
            before=before, after=after,
        )
    )  # fmt: skip


def test_long_texts_are_cut_down_to_where_they_differ() -> None:
    columns = [f"column_{number}" for number in range(1, 1001)]
    moved = [*columns[:499], *columns[500:], columns[499]]
    line = changed("column order", ", ".join(columns), ", ".join(moved))
    assert "was `column_500, column_501, " in line
    assert "is `column_501, column_502, " in line
    assert "from number 500 of 1,000 on" in line
    assert len(line) < 200
    body = "x" * 5000
    line = changed("definition", f"{body}one{body}", f"{body}two{body}")
    assert "xone" in line
    assert "xtwo" in line
    assert "(10,003 characters)" in line
    assert len(line) < 400
    assert len(changed("definition", body, "")) < 300
    assert changed("column order", "a, b", "b, a") == "table public.t: column order was `a, b`, is `b, a`"

"""How values changed, kind by kind: the counts of each are found by hand, or by the plain SQL beside them."""

import json
from typing import Any

import pytest

from pgrehearse.data.tables import Type
from pgrehearse.data.value_changes import COMPARED, ChangeKind, kind_of_change
from pgrehearse.data.verdicts import ColumnLoss, DataComparison, TableVerdict

Twins = Any  # tests/data/conftest.py

# column, type before, three values and a last one of NULL or more, what is done, kinds with their counts
RETYPED = {
    "age": ("numeric", ["12.5", "13", "7.25", "NULL"], "TYPE integer", {"fraction-lost": 2}),
    "price": ("numeric(10,4)", ["1.2345", "2.5", "3.0051", "NULL"], "TYPE numeric(10,2)", {"rounded": 2}),
    "plain": ("numeric", ["1.10", "2", "0.125", "NULL"], "TYPE numeric(10,2)", {"rounded": 1}),
    "ratio": ("float8", ["0.1", "0.5", "1e-9", "NULL"], "TYPE real", {"float-rounded": 2}),
    "exact": ("numeric", ["0.1", "12345678901234567.125", "3", "NULL"], "TYPE float8", {"float-rounded": 1}),
    "cut": ("text", ["'abcdef'", "'abc'", "'xyz1'", "NULL"], "TYPE varchar(3) USING cut::varchar(3)", {"truncated": 2}),
    "blanks": (
        "text", ["'a  '", "'b'", "'  c '", "NULL"], "TYPE text USING rtrim(blanks)", {"trailing-blanks-lost": 2}
    ),
    "padded": ("varchar", ["'a  '", "'b'", "'c '", "NULL"], "TYPE char(4)", {"trailing-blanks-lost": 2}),
    "trimmed": ("text", ["' a '", "'b'", "'  c'", "NULL"], "TYPE text USING btrim(trimmed)", {"blanks-trimmed": 2}),
    "folded": ("text", ["'Ada@X.org'", "'b'", "'ÄÖ'", "NULL"], "TYPE text USING lower(folded)", {"case-folded": 2}),
    "composed": (
        "text", ["U&'a\\0308'", "'b'", "'e'", "NULL"], "TYPE text USING normalize(composed)", {"normalised": 1}
    ),
    "emptied": ("text", ["'x'", "''", "'y'", "NULL"], "TYPE text USING ''", {"emptied": 2, "null-filled": 1}),
    "nulled": ("text", ["'x'", "'y'", "'z'", "NULL"], "TYPE text USING NULLIF(nulled, 'x')", {"became-null": 1}),
    "code": ("text", ["'007'", "'7'", "'1.50'", "NULL"], "TYPE numeric USING code::numeric", {"same-number": 1}),
    "at": (
        "timestamp", ["'2024-01-01 10:00'", "'2024-07-01 00:00'", "'infinity'", "NULL"], "TYPE timestamptz",
        {"time-zone-shift": 2},
    ),
    "seen": (
        "timestamptz", ["'2024-01-01 10:00Z'", "'2024-07-01 00:00Z'", "'2024-07-01 12:00Z'", "NULL"],
        "TYPE date USING (seen AT TIME ZONE 'UTC')::date", {"time-of-day-lost": 2},
    ),
    "ticked": (
        "timestamp", ["'2024-01-01 10:00:00.1234'", "'2024-07-01'", "'2024-07-01 12:00:00.5'", "NULL"],
        "TYPE timestamp(0)", {"rounded": 2},
    ),
    "clock": ("time", ["'10:00:00.1234'", "'11:00'", "'12:00:00.5'", "NULL"], "TYPE time(3)", {"rounded": 1}),
    "doc": (
        "json", ["'{\"a\":1,\"a\":2}'", "'{\"b\":  1}'", "'{\"b\": 1, \"a\": 2}'", "NULL"], "TYPE jsonb",
        {"duplicate-keys-lost": 1, "text-normalised": 2},
    ),
}  # fmt: skip


def column(compared: DataComparison, table: str, name: str) -> ColumnLoss:
    found = next(each for each in compared.tables if each.name == f"public.{table}")
    return next(each for each in found.columns if each.name == name)


def kinds(found: ColumnLoss) -> dict[str, int]:
    return {change.kind.value: change.values for change in found.changes}


@pytest.fixture
def retyped(twins: Twins) -> Twins:
    rows = zip(*(values for _, values, _, _ in RETYPED.values()), strict=True)
    values = ", ".join(f"({number}, {', '.join(row)})" for number, row in enumerate(rows))
    columns = ", ".join(f"{name} {kind}" for name, (kind, _, _, _) in RETYPED.items())
    changes = ", ".join(f"ALTER {name} {change}" for name, (_, _, change, _) in RETYPED.items())
    twins.given(f"SET TimeZone = 'UTC'; CREATE TABLE t (id int PRIMARY KEY, {columns}); INSERT INTO t VALUES {values}")
    twins.migrate(f"SET TimeZone = 'Europe/Berlin'; ALTER TABLE t {changes}")
    return twins


@pytest.mark.pg(">= 15")
def test_each_kind_is_told_and_counted(retyped: Twins) -> None:
    compared = retyped.compare()
    assert {name: kinds(column(compared, "t", name)) for name in RETYPED} == {
        name: expected for name, (_, _, _, expected) in RETYPED.items()
    }
    assert compared.not_measured == ()
    for name in RETYPED:
        found = column(compared, "t", name)
        in_place = {kind: count for kind, count in kinds(found).items() if kind != "null-filled"}
        assert sum(in_place.values()) == (found.values_changed or 0) + (found.values_lost or 0), name
        assert found.values_before == 3
        assert all(change.example is None for change in found.changes)


@pytest.mark.pg("== 18")
def test_examples_are_there_on_request_and_mask_what_is_personal(retyped: Twins) -> None:
    retyped.given("COMMENT ON COLUMN t.folded IS 'The address; pgrehearse: personal.'")
    with retyped.session(retyped.clone) as session:
        session.execute("COMMENT ON COLUMN t.cut IS 'pgrehearse:personal'")
    compared = retyped.compare(samples=3)
    example = column(compared, "t", "age").changes[0].example
    assert example is not None
    assert (example.key["id"], example.before, example.after) in {("0", "12.5", "13"), ("2", "7.25", "7")}
    told = json.dumps(compared.as_json())
    assert '"13"' in told or '"7.25"' in told
    assert "Ada@" not in told
    assert "ada@" not in told
    assert "abcdef" not in told
    assert "(personal)" in told
    assert "7.25" not in json.dumps(retyped.compare().as_json())


@pytest.mark.pg("== 18")
def test_a_personal_key_and_rows_that_are_all_lost_are_masked(twins: Twins) -> None:
    twins.given(
        """CREATE TABLE t (email text PRIMARY KEY, n numeric); INSERT INTO t VALUES ('ada@example.org', 1.5);
        CREATE TABLE u AS SELECT * FROM t; COMMENT ON COLUMN t.email IS 'pgrehearse: personal';
        COMMENT ON COLUMN u.email IS 'PGREHEARSE: PERSONAL'"""
    )
    twins.migrate("ALTER TABLE t ALTER n TYPE int; DROP TABLE u")
    compared = twins.compare(samples=5)
    assert len(compared.samples) == 2
    assert kinds(column(compared, "t", "n")) == {"fraction-lost": 1}
    assert "ada@" not in json.dumps(compared.as_json())


@pytest.mark.pg("== 18")
def test_a_mark_holds_for_partitions_and_for_new_names(twins: Twins) -> None:
    twins.given(
        """CREATE TABLE t (id int PRIMARY KEY, email text) PARTITION BY RANGE (id);
        CREATE TABLE t_1 PARTITION OF t DEFAULT; INSERT INTO t VALUES (1, 'ada@example.org'), (2, 'bob@example.org');
        COMMENT ON COLUMN t.email IS 'pgrehearse: personal'; CREATE TABLE u (id int PRIMARY KEY, mail text);
        INSERT INTO u SELECT * FROM t"""
    )
    twins.migrate(
        """UPDATE t SET email = upper(email); UPDATE u SET mail = upper(mail); ALTER TABLE u RENAME mail TO address;
        ALTER TABLE u RENAME TO people; COMMENT ON COLUMN people.address IS 'pgrehearse: personal'"""
    )
    compared = twins.compare(samples=5)
    told = json.dumps(compared.as_json())
    assert len(compared.samples) == 4
    for table, name in (("t_1", "email"), ("u", "mail")):
        assert kinds(column(compared, table, name)) == {"case-folded": 2}
    assert told.count("(personal)") >= 10
    assert "example.org" not in told
    assert "EXAMPLE.ORG" not in told


@pytest.mark.pg("== 18")
def test_json_that_becomes_jsonb_changes_each_value_that_prints_otherwise(twins: Twins) -> None:
    twins.given(
        """CREATE TABLE t (id int PRIMARY KEY, v json); INSERT INTO t VALUES (1, '{"b":1,"a": 2}'), (2, '[1]'),
        (3, '[true, 1e2]'), (4, '{"a": {"x": 1, "x": 2}}'), (5, '{"a": 1}'), (6, NULL), (7, '"caf\\u00e9"')"""
    )
    twins.migrate("ALTER TABLE t ALTER v TYPE jsonb")
    compared = twins.compare()
    [(other,)] = twins.ask("pristine", "SELECT count(*) FROM t WHERE v::jsonb::text <> v::text")
    assert column(compared, "t", "v").values_changed == other == 4
    assert kinds(column(compared, "t", "v")) == {"text-normalised": 3, "duplicate-keys-lost": 1}
    assert compared.tables[0].verdict is TableVerdict.VALUES_CHANGED
    assert compared.lost


@pytest.mark.pg(">= 15")
def test_a_type_change_with_other_work_in_a_table_of_many_rows(twins: Twins) -> None:
    """Counts of all kinds together, held against a join in SQL."""
    twins.given(
        """CREATE TABLE t (id bigint PRIMARY KEY, age numeric, name text, at timestamp);
        INSERT INTO t SELECT i * 3, i / 4.0, repeat('x', i % 9) || i, timestamp '2024-01-01' + i * interval '1 min'
        FROM generate_series(1, 40000) i"""
    )
    twins.migrate(
        """DELETE FROM t WHERE id % 999 = 0; UPDATE t SET name = NULL WHERE id % 1001 = 0;
        UPDATE t SET name = upper(name) WHERE id % 1003 = 0; UPDATE t SET name = 'other' WHERE id % 1005 = 0;
        INSERT INTO t SELECT -i, i, 'new', now() FROM generate_series(1, 50) i;
        ALTER TABLE t ALTER age TYPE integer"""
    )
    compared = twins.compare()
    table = compared.tables[0]
    [(kept, fractions)] = twins.ask(
        "pristine", "SELECT count(*), count(*) FILTER (WHERE age <> trunc(age)) FROM t WHERE id % 999 <> 0"
    )
    [(nulled, upper)] = twins.ask(
        "clone",
        "SELECT count(*) FILTER (WHERE name IS NULL), count(*) FILTER (WHERE name <> 'other' AND name = upper(name))"
        " FROM t WHERE id > 0 AND (name IS NULL OR name ~ 'X|other')",
    )
    [(other,)] = twins.ask("clone", "SELECT count(*) FROM t WHERE name = 'other'")
    assert table.rows_lost == 40000 - kept
    assert kinds(column(compared, "t", "age")) == {"fraction-lost": fractions}
    assert kinds(column(compared, "t", "name")) == {"became-null": nulled, "case-folded": upper, "changed": other}
    assert table.columns[0].changes == ()


# --- without a server: what a kind may not be taken for


def of(oid: int, category: str) -> Type:
    return Type(
        oid=oid, name="t", kind="b", category=category, base_oid=0, base_typmod=-1, element_oid=0, subtype_oid=0,
        has_text_function=False, attributes=(), labels=(),
    )  # fmt: skip


NUMERIC, INTEGER, TEXT, TIMESTAMP, TIMESTAMPTZ = (
    of(1700, "N"), of(23, "N"), of(25, "S"), of(1114, "D"), of(1184, "D")
)  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "before", "after"),
    [
        ("12.5", "14", NUMERIC, INTEGER),
        ("NaN", "0", NUMERIC, INTEGER),
        ("10", "11", INTEGER, INTEGER),
        ("abc", "bc", TEXT, TEXT),
        ("a" * COMPARED, "b" * COMPARED, TEXT, TEXT),
        ("a" * COMPARED, "A" * COMPARED, TEXT, TEXT),
        ("a" * COMPARED, "a" * COMPARED, TEXT, TEXT),
        ("2024-01-01 10:00:00", "2024-01-01 09:00:00", TIMESTAMP, TIMESTAMP),  # nobody changed the zone
        ("2024-01-01 10:00:00", "2024-02-01 09:00:00+00", TIMESTAMP, TIMESTAMPTZ),
        ("2024-01-01 10:00:00", "2024-01-05 00:00:00", TIMESTAMP, TIMESTAMP),
        ("infinity", "2024-01-05 00:00:00", TIMESTAMP, TIMESTAMP),
        ("0044-03-15 10:00:00 BC", "0044-03-15 10:00:00", TIMESTAMP, TIMESTAMP),
        ("twelve", "12", TEXT, INTEGER),
    ],
)
def test_what_the_texts_do_not_prove_is_just_another_value(old: str, new: str, before: Type, after: Type) -> None:
    assert kind_of_change(old, new, before, after) is ChangeKind.CHANGED


def test_a_long_text_that_was_cut_is_known_by_what_is_left() -> None:
    assert kind_of_change("a" * COMPARED, "a" * 999, TEXT, TEXT) is ChangeKind.TRUNCATED

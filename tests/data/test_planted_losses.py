"""Every kind of loss planted in every kind of type: counted exactly, held against plain COPY output.

One database holds a table per (type, loss); one comparison looks at all of them.  The witness reads both
databases with COPY, as text, and compares in Python: no hash, no code of ours.
"""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.support.built_without import BUILT_WITHOUT

from pgrehearse.data.loss import compare_data
from pgrehearse.data.verdicts import ColumnLoss, DataComparison, TableLoss, TableVerdict
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg(">= 15")

TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'angry');
CREATE DOMAIN price AS numeric(10,3) CHECK (VALUE > -1000000);
CREATE DOMAIN handle AS varchar(20);
CREATE TYPE point3 AS (x integer, y numeric, label text);
CREATE TYPE price_range AS RANGE (subtype = numeric);
"""


@dataclass(frozen=True)
class Planted:
    """A type, four or more values that all differ, one more, and a statement that shortens values (or None)."""

    name: str
    type: str
    values: tuple[str, ...]
    other: str
    shorten: str | None = None

    @property
    def needs(self) -> frozenset[str]:
        """What the server must be built with."""
        return frozenset({"libxml"} if self.type == "xml" else ())


CASES = (
    Planted("smallint", "smallint", ("1", "-2", "32767", "0"), "5", "UPDATE {t} SET v = v / 10 * 10"),
    Planted("integer", "integer", ("1", "-1", "2147483647", "0"), "7", "UPDATE {t} SET v = v / 10 * 10"),
    Planted(
        "bigint",
        "bigint",
        ("1", "-1", "9223372036854775807", "4294967296"),
        "4294967297",
        "ALTER TABLE {t} ALTER v TYPE integer USING (v % 1000)::integer",
    ),
    Planted(
        "numeric",
        "numeric",
        ("1.25", "-1.25", "123456789012345678901234567890.5", "0.001"),
        "1.250",
        "ALTER TABLE {t} ALTER v TYPE numeric(40,1)",
    ),
    Planted(
        "numeric_scaled",
        "numeric(12,4)",
        ("1.2345", "-1.2345", "9999999.9999", "0"),
        "10000",
        "ALTER TABLE {t} ALTER v TYPE numeric(12,2)",
    ),
    Planted(
        "real", "real", ("1.5", "-0", "NaN", "3.4e38", "0.1"), "1e-30", "UPDATE {t} SET v = trunc(v) WHERE v <> 'NaN'"
    ),
    Planted(
        "float8",
        "double precision",
        ("0.1", "-0", "NaN", "Infinity", "1e300", "0"),
        "0.30000000000000004",
        "UPDATE {t} SET v = v::numeric(8,2) WHERE v < 10",
    ),
    Planted(
        "float8_to_real",
        "double precision",
        ("0.1", "-0", "123456789.125", "0"),
        "1",
        "ALTER TABLE {t} ALTER v TYPE real",
    ),
    Planted(
        "text",
        "text",
        ("'a'", "'A'", "''", "'ä€😀 | tab\t'", "'a '"),
        "'b'",
        "ALTER TABLE {t} ALTER v TYPE varchar(2) USING left(v, 2)",
    ),
    Planted(
        "varchar",
        "varchar(40)",
        ("'alpha'", "'beta '", "'beta'", "''"),
        "'gamma'",
        "ALTER TABLE {t} ALTER v TYPE varchar(3) USING v::varchar(3)",
    ),
    Planted(
        "char",
        "char(8)",
        ("'alpha'", "'beta'", "''", "'x'"),
        "'gamma'",
        "ALTER TABLE {t} ALTER v TYPE char(3) USING v::char(3)",
    ),
    Planted("bpchar", "bpchar", ("'a'", "'a  '", "''", "'x'"), "'a '"),
    Planted("bool", "boolean", ("true", "false", "true", "false", "false"), "NULL"),
    Planted(
        "date",
        "date",
        ("'2024-02-29'", "'infinity'", "'0044-03-15 BC'", "'1970-01-01'"),
        "'2024-03-01'",
        "UPDATE {t} SET v = date_trunc('month', v)::date WHERE v = '2024-02-29'",
    ),
    Planted(
        "time",
        "time",
        ("'00:00'", "'24:00'", "'12:34:56.789'", "'23:59:59.999999'"),
        "'01:00'",
        "ALTER TABLE {t} ALTER v TYPE time(0)",
    ),
    Planted("timetz", "timetz", ("'12:00+00'", "'13:00+01'", "'00:00:00.5-11'", "'01:00Z'"), "'02:00Z'"),
    Planted(
        "timestamp",
        "timestamp",
        ("'2024-01-01 00:00:00.123456'", "'infinity'", "'-infinity'", "'2024-01-01'"),
        "'2024-01-01 00:00:00.123457'",
        "ALTER TABLE {t} ALTER v TYPE timestamp(3)",
    ),
    Planted(
        "timestamptz",
        "timestamptz",
        ("'2024-01-01 00:00:00.5+02'", "'infinity'", "'1900-01-01Z'", "'2024-06-01Z'"),
        "'2024-06-01 00:00:00.000001Z'",
        "ALTER TABLE {t} ALTER v TYPE date",
    ),
    Planted(
        "interval",
        "interval",
        ("'1 mon'", "'30 days'", "'720:00:00'", "'-1 year 2.5 s'"),
        "'1 day'",
        "UPDATE {t} SET v = justify_interval(v)",
    ),
    Planted(
        "uuid",
        "uuid",
        tuple(f"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1{n}'" for n in range(4)),
        "'00000000-0000-0000-0000-000000000000'",
    ),
    Planted(
        "jsonb",
        "jsonb",
        ("""'{"a": 1}'""", """'{"a": 1.0}'""", "'null'", "'[1, 2, 3]'", "'[1, 3, 2]'"),
        "'{}'",
        "UPDATE {t} SET v = v - 'a' WHERE jsonb_typeof(v) = 'object'",
    ),
    Planted("json", "json", ("""'{"a":1}'""", """'{"a": 1}'""", "'null'", """'{"a":1,"a":2}'"""), "'[]'"),
    Planted(
        "bytea",
        "bytea",
        (r"'\x00'", r"'\x'", r"'\xdeadbeef'", r"'\x0000'"),
        r"'\xff'",
        "UPDATE {t} SET v = substr(v, 1, 1)",
    ),
    Planted(
        "int_array",
        "integer[]",
        ("'{1,2}'", "'{2,1}'", "'[2:3]={1,2}'", "'{{1},{2}}'", "'{}'", "'{NULL}'"),
        "'{1,2,3}'",
        "UPDATE {t} SET v = v[1:1] WHERE array_ndims(v) = 1",
    ),
    Planted(
        "text_array",
        "text[]",
        ("'{a,b}'", """'{"a,b"}'""", "'{NULL}'", "'{\"NULL\"}'"),
        "'{c}'",
        "ALTER TABLE {t} ALTER v TYPE varchar(1)[] USING v::varchar(1)[]",
    ),
    Planted("numeric_array", "numeric[]", ("'{1.25,2}'", "'{2,1.25}'", "'{}'", "'{1.250,2}'"), "'{3}'"),
    Planted(
        "enum",
        "mood",
        ("'sad'", "'ok'", "'happy'", "'sad'"),
        "'angry'",
    ),
    Planted("enum_array", "mood[]", ("'{sad}'", "'{ok,sad}'", "'{sad,ok}'", "'{}'"), "'{angry}'"),
    Planted(
        "inet",
        "inet",
        ("'10.0.0.1'", "'10.0.0.1/24'", "'10.0.0.0/24'", "'::1'"),
        "'10.0.0.2'",
        "UPDATE {t} SET v = set_masklen(v, 16) WHERE family(v) = 4",
    ),
    Planted("cidr", "cidr", ("'10.0.0.0/8'", "'10.0.0.0/16'", "'::/0'", "'1.2.3.4'"), "'11.0.0.0/8'"),
    Planted("macaddr", "macaddr", tuple(f"'08:00:2b:01:02:0{n}'" for n in range(4)), "'ff:ff:ff:ff:ff:ff'"),
    Planted("int4range", "int4range", ("'[1,5)'", "'[1,6)'", "'empty'", "'(,)'"), "'[2,3)'"),
    Planted(
        "tstzrange",
        "tstzrange",
        ("'[2024-01-01Z,2024-02-01Z)'", "'[2024-01-01Z,2024-02-01Z]'", "'empty'", "'(,)'"),
        "'[2025-01-01Z,)'",
    ),
    Planted("own_range", "price_range", ("'[1.0,2)'", "'[1.00,2)'", "'(1.0,2)'", "'empty'"), "'[5,6]'"),
    Planted("range_array", "int4range[]", ("""'{"[1,2)"}'""", """'{"[1,3)"}'""", "'{}'", "'{empty}'"), "'{NULL}'"),
    Planted("multirange", "int4multirange", ("'{[1,3),[5,7)}'", "'{[1,7)}'", "'{}'", "'{[5,7)}'"), "'{[0,1)}'"),
    Planted("domain", "price", ("1.234", "-1.234", "5", "0"), "6", "ALTER TABLE {t} ALTER v TYPE numeric(10,1)"),
    Planted(
        "string_domain",
        "handle",
        ("'anna'", "'bob'", "''", "'anna '"),
        "'carl'",
        "ALTER TABLE {t} ALTER v TYPE varchar(2) USING v::varchar(2)",
    ),
    Planted(
        "composite",
        "point3",
        ("(1, 2.0, 'a')", "(1, 2.00, 'a')", "(1, 2.0, NULL)", "(NULL, NULL, NULL)"),
        "(2, 1, 'a')",
        "UPDATE {t} SET v.y = round((v).y) WHERE (v).x = 1",
    ),
    Planted(
        "composite_array",
        "point3[]",
        ("ARRAY[(1,2,'a')::point3]", "ARRAY[(1,2,'b')::point3]", "'{}'", "'{NULL}'"),
        "ARRAY[(9,2,'a')::point3]",
    ),
    Planted("money", "money", ("1.25", "-1.25", "0", "99.99"), "1.26"),
    Planted("xml", "xml", ("'<a/>'", "'<a></a>'", "'<a>1</a>'", "'x'"), "'<b/>'"),
    Planted(
        "bit",
        "bit(4)",
        ("'0001'", "'0010'", "'1111'", "'0000'"),
        "'1000'",
        "ALTER TABLE {t} ALTER v TYPE bit(2) USING v::bit(2)",
    ),
    Planted("varbit", "varbit", ("'1'", "'01'", "''", "'0001'"), "'10'"),
    Planted("point", "point", ("'(1,2)'", "'(2,1)'", "'(0,0)'", "'(-0,0)'"), "'(9,9)'"),
    Planted("box", "box", ("'(1,1),(0,0)'", "'(2,2),(0,0)'", "'(2,2),(1,1)'", "'(3,3),(1,1)'"), "'(9,9),(8,8)'"),
    Planted("tsvector", "tsvector", ("'a:1 b:2'", "'a:2 b:1'", "'a b'", "''"), "'c'", "UPDATE {t} SET v = strip(v)"),
    Planted("tsquery", "tsquery", ("'a & b'", "'a | b'", "'a <-> b'", "'!a'"), "'c'"),
    Planted("jsonpath", "jsonpath", ("'$.a'", "'$.b'", "'$[0]'", "'$[*]'"), "'$'"),
    Planted("oid", "oid", ("1", "2", "4294967295", "0"), "3"),
    Planted("internal_char", '"char"', ("'a'", "'b'", "''", "'c'"), "'d'"),
    Planted("pg_lsn", "pg_lsn", ("'0/1'", "'1/0'", "'0/0'", "'1/1'"), "'2/2'"),
)

LOSSES = ("deleted", "changed", "swapped", "nulled", "duplicate", "recreated", "shortened")
ROWS = 12


def literal(case: Planted, number: int) -> str:
    value = case.values[number % len(case.values)]
    quoted = value if not value[0].isdigit() and value[0] != "-" and not value[0].isalpha() else f"'{value}'"
    if value.startswith(("(", "ARRAY", "'")) or value in ("NULL", "true", "false"):
        quoted = value
    return f"{quoted}::{case.type}"


def other(case: Planted) -> str:
    return literal(Planted(case.name, case.type, (case.other,), ""), 0)


def given(case: Planted) -> Iterator[str]:
    values = ", ".join(f"({number}, {literal(case, number)})" for number in range(ROWS))
    for loss in LOSSES:
        table = f"{case.name}_{loss}"
        key = "" if loss == "duplicate" else "PRIMARY KEY"
        yield f"CREATE TABLE {table} (id integer {key}, v {case.type})"
        yield f"INSERT INTO {table} VALUES {values}"
        if loss == "duplicate":
            yield f"INSERT INTO {table} SELECT * FROM {table}"


def migration(case: Planted) -> Iterator[str]:
    name = case.name
    yield f"DELETE FROM {name}_deleted WHERE id = 3"
    yield f"UPDATE {name}_changed SET v = {other(case)} WHERE id IN (2, 5)"
    yield (
        f"UPDATE {name}_swapped a SET v = b.v FROM {name}_swapped b"
        " WHERE a.id IN (0, 1) AND b.id IN (0, 1) AND a.id <> b.id"
    )
    yield f"UPDATE {name}_nulled SET v = NULL WHERE id IN (1, 6, 7)"
    yield f"DELETE FROM {name}_duplicate WHERE ctid = (SELECT min(ctid) FROM {name}_duplicate WHERE id = 4)"
    yield f"CREATE TEMP TABLE kept AS SELECT * FROM {name}_recreated WHERE id NOT IN (2, 8)"
    yield f"DROP TABLE {name}_recreated"
    yield f"CREATE TABLE {name}_recreated (v {case.type}, extra text, id integer PRIMARY KEY)"
    yield f"INSERT INTO {name}_recreated (id, v) SELECT id, v FROM kept"
    yield f"UPDATE {name}_recreated SET v = {other(case)} WHERE id = 5"
    yield "DROP TABLE kept"
    if case.shorten:
        yield case.shorten.format(t=f"{name}_shortened")


@dataclass(frozen=True)
class Witness:
    rows_lost: int
    changed: int
    nulled: int


PINNED = "SET TimeZone = 'UTC'; SET extra_float_digits = 1; SET IntervalStyle = postgres; SET DateStyle = 'ISO, YMD'"


def fetch(connection: Connection, query: str) -> list[tuple[str | None, ...]]:
    with connection.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
        return [tuple(row) for row in copy.rows()]


def witness(before: Connection, after: Connection, case: Planted, loss: str) -> Witness:
    query = f"SELECT id, v::{case.type} FROM {case.name}_{loss}"
    plain = f"SELECT id, v FROM {case.name}_{loss}"
    mine, theirs = fetch(before, plain), fetch(after, query if loss == "shortened" else plain)
    if loss == "duplicate":
        return Witness(sum((Counter(mine) - Counter(theirs)).values()), 0, 0)
    now = {row[0]: row[1] for row in theirs}
    kept = [(row[1], now[row[0]]) for row in mine if row[0] in now]
    return Witness(
        rows_lost=len(mine) - len(kept),
        changed=sum(old != new and old is not None and new is not None for old, new in kept),
        nulled=sum(old is not None and new is None for old, new in kept),
    )


@dataclass(frozen=True)
class Seen:
    compared: DataComparison
    witnesses: dict[tuple[str, str], Witness]

    def table(self, name: str) -> TableLoss:
        return next(table for table in self.compared.tables if table.name == f"public.{name}")

    def value_column(self, name: str) -> ColumnLoss:
        return next(column for column in self.table(name).columns if column.name == "v")


@pytest.fixture(scope="module")
def seen(server: LocalServer) -> Iterator[Seen]:
    pristine, clone = f"planted_{os.getpid()}", f"planted_clone_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {pristine}")
        try:
            with connect(server.conninfo(pristine), verb="test") as session:
                session.execute(TYPES)
                cases = [case for case in CASES if not case.needs & BUILT_WITHOUT[server.major]]
                for case in cases:
                    session.execute("; ".join(given(case)))
            admin.execute(f"CREATE DATABASE {clone} TEMPLATE {pristine}")
            with (
                connect(server.conninfo(pristine), verb="test") as before,
                connect(server.conninfo(clone), verb="test") as after,
            ):
                after.execute(PINNED)
                before.execute(PINNED)
                for case in cases:
                    after.execute("; ".join(migration(case)))
                compared = compare_data(
                    lambda: connect(server.conninfo(pristine), verb="test"),
                    lambda: connect(server.conninfo(clone), verb="test"),
                )
                witnesses = {(case.name, loss): witness(before, after, case, loss) for case in cases for loss in LOSSES}
            yield Seen(compared, witnesses)
        finally:
            for name in (pristine, clone):
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=case.name, marks=pytest.mark.needs(*case.needs)) for case in CASES]
)
def test_each_loss_is_counted_as_plain_copy_counts_it(seen: Seen, case: Planted) -> None:
    for loss in LOSSES:
        told, counted = seen.table(f"{case.name}_{loss}"), seen.witnesses[case.name, loss]
        column = seen.value_column(f"{case.name}_{loss}")
        assert Witness(told.rows_lost, column.values_changed or 0, column.values_lost or 0) == counted, loss
        assert told.rows_before == (2 * ROWS if loss == "duplicate" else ROWS)
        assert all(found.values_changed == found.values_lost == 0 for found in told.columns if found.name != "v"), loss
        if loss != "shortened" or case.shorten:
            assert counted != Witness(0, 0, 0), f"{loss}: nothing was planted"
            assert told.lost
        if loss == "recreated":
            assert told.verdict is TableVerdict.RECREATED
            assert counted.rows_lost == 2


def test_nothing_was_left_unmeasured(seen: Seen) -> None:
    assert seen.compared.not_measured == ()
    assert seen.compared.lost

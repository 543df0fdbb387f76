"""What unsound fingerprints take for equal: each is a changed value here, with a true count.

Every case is the whole data of a column before and after; the number of values that differ is part of the
case, found by hand.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from tests.support.built_without import BUILT_WITHOUT

from pgrehearse.data.loss import compare_data
from pgrehearse.data.verdicts import DataComparison, TableLoss
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg(">= 15")


@dataclass(frozen=True)
class Collision:
    name: str
    columns: str
    before: tuple[str, ...]  # rows
    after: tuple[str, ...]
    changed: dict[str, int]  # per column
    rows_lost: int = 0

    @property
    def needs_icu(self) -> bool:
        return "anycase" in self.columns


def jsonb_array(first: int, second: int, length: int = 70) -> str:
    return "'[" + ", ".join({first: '"x"', second: '"y"'}.get(n, "0") for n in range(length)) + "]'"


CASES = (
    Collision(
        "values_swapped_between_rows",
        "id int PRIMARY KEY, a int, b text",
        ("1, 10, 'p'", "2, 20, 'q'"),
        ("1, 20, 'p'", "2, 10, 'q'"),
        {"a": 2},
    ),
    Collision(
        "values_swapped_between_columns",
        "id int PRIMARY KEY, a int, b int",
        ("1, 10, 20",),
        ("1, 20, 10",),
        {"a": 1, "b": 1},
    ),
    Collision(
        "pairs_of_equal_rows",
        "a int, b text",  # xor: cancel
        ("1, 'x'", "1, 'x'", "2, 'y'"),
        ("2, 'y'",),
        {},
        rows_lost=2,
    ),
    Collision(
        "equal_rows_exchanged",
        "a int, b text",
        ("1, 'x'", "1, 'x'", "2, 'y'", "2, 'y'"),
        ("1, 'x'", "2, 'y'", "2, 'y'", "2, 'y'"),
        {},
        rows_lost=1,
    ),
    Collision(
        "separator_in_the_text",
        "id int PRIMARY KEY, a text, b text",  # concat_ws
        ("1, 'a|b', 'c'",),
        ("1, 'a', 'b|c'",),
        {"a": 1, "b": 1},
    ),
    Collision(
        "separator_in_a_keyless_row",
        "a text, b text, c text",
        ("'a,b', 'c', 'd'",),
        ("'a', 'b,c', 'd'",),
        {},
        rows_lost=1,
    ),
    Collision(
        "null_moves_to_the_next_column",
        "id int PRIMARY KEY, a text, b text",
        ("1, NULL, 'x'",),
        ("1, 'x', NULL",),
        {"b": -1},
    ),
    Collision(
        "empty_string_for_null_keyless", "a text, b text", ("'p', ''", "'q', 'z'"), ("'p', NULL", "'q', 'z'"), {"b": -1}
    ),
    Collision(
        "jsonb_elements_32_apart",
        "id int PRIMARY KEY, v jsonb",
        (f"1, {jsonb_array(1, 33)}",),
        (f"1, {jsonb_array(33, 1)}",),
        {"v": 1},
    ),
    Collision(
        "jsonb_elements_64_apart",
        "id int PRIMARY KEY, v jsonb",
        (f"1, {jsonb_array(1, 65)}",),
        (f"1, {jsonb_array(65, 1)}",),
        {"v": 1},
    ),
    Collision(
        "negative_zero", "id int PRIMARY KEY, v float8, w real", ("1, '-0', '-0'",), ("1, 0, 0",), {"v": 1, "w": 1}
    ),
    Collision("numeric_scale", "id int PRIMARY KEY, v numeric", ("1, 1.0",), ("1, 1.00",), {"v": 1}),
    Collision("numeric_sign", "id int PRIMARY KEY, v numeric", ("1, 5", "2, 7"), ("1, -5", "2, 7"), {"v": 1}),
    Collision("numeric_weight", "id int PRIMARY KEY, v numeric", ("1, 1", "2, 10000"), ("1, 10000", "2, 1"), {"v": 2}),
    Collision(
        "numeric_nan",
        "id int PRIMARY KEY, v numeric",
        ("1, 'NaN'", "2, 'Infinity'"),
        ("1, 'Infinity'", "2, 'NaN'"),
        {"v": 2},
    ),
    Collision("bigint_halves", "id int PRIMARY KEY, v bigint", ("1, 1", "2, -1"), ("1, 4294967296", "2, 0"), {"v": 2}),
    Collision(
        "bigint_halves_in_the_key",
        "id bigint PRIMARY KEY, v int",
        ("1, 10", "4294967296, 20"),
        ("1, 20", "4294967296, 10"),
        {"v": 2},
    ),
    Collision(
        "one_month_is_not_thirty_days",
        "id int PRIMARY KEY, v interval",
        ("1, '1 mon'", "2, '1 day'"),
        ("1, '30 days'", "2, '24:00'"),
        {"v": 2},
    ),
    Collision(
        "array_bounds_and_dimensions",
        "id int PRIMARY KEY, v int[]",
        ("1, '{1,2}'", "2, '{1,2}'"),
        ("1, '[0:1]={1,2}'", "2, '{{1,2}}'"),
        {"v": 2},
    ),
    Collision(
        "trailing_blanks",
        "id int PRIMARY KEY, v bpchar, w text",
        ("1, 'a ', 'a '",),
        ("1, 'a', 'a'",),
        {"v": 1, "w": 1},
    ),
    Collision(
        "netmask",
        "id int PRIMARY KEY, v inet, w inet",
        ("1, '10.0.0.1', '10.0.0.1/24'",),
        ("1, '10.0.0.1/31', '10.0.0.1/32'",),
        {"v": 1, "w": 1},
    ),
    Collision("additive_seed", "id int PRIMARY KEY, v numeric", ("1, 2", "2, 1"), ("1, 1", "2, 2"), {"v": 2}),
    Collision(
        "nondeterministic_collation",
        'id int PRIMARY KEY, v text COLLATE "anycase"',
        ("1, 'abc'",),
        ("1, 'ABC'",),
        {"v": 1},
    ),
    Collision(
        "nondeterministic_key", 'id text COLLATE "anycase" PRIMARY KEY, v int', ("'abc', 1",), ("'ABC', 1",), {"id": 1}
    ),
    Collision(
        "same_instant_in_another_zone", "id int PRIMARY KEY, v timetz", ("1, '12:00+00'",), ("1, '13:00+01'",), {"v": 1}
    ),
    Collision(
        "row_of_nulls_is_not_null", "id int PRIMARY KEY, v duo", ("1, ROW(NULL, NULL)::duo",), ("1, NULL",), {"v": -1}
    ),
    Collision(
        "composite_key",
        "a int, b int, v int, PRIMARY KEY (a, b)",
        ("1, 2, 5", "2, 1, 6"),
        ("1, 2, 6", "2, 1, 5"),
        {"v": 2},
    ),
    Collision(
        "null_element_and_the_word_null",
        "id int PRIMARY KEY, v text[]",
        ("1, '{NULL}'",),
        ("""1, '{"NULL"}'""",),
        {"v": 1},
    ),
    Collision(
        "json_key_order_and_blanks",
        "id int PRIMARY KEY, v json",
        ("""1, '{"a":1,"b":2}'""",),
        ("""1, '{"b":2,"a":1}'""",),
        {"v": 1},
    ),
    Collision(
        "extreme_dates",
        "id int PRIMARY KEY, v date, w timestamp",
        ("1, 'infinity', '-infinity'",),
        ("1, '5874897-12-31', '4713-01-01 BC'",),
        {"v": 1, "w": 1},
    ),
)

# No hash function of their own (facts of PostgreSQL 15 to 18): they must be readable at all.
UNHASHED = {
    "json": "'{}'", "point": "'(1,2)'", "box": "'(1,1),(0,0)'", "path": "'((1,2),(3,4))'", "polygon": "'((1,2),(3,4))'",
    "circle": "'<(1,2),3>'", "line": "'{1,2,3}'", "lseg": "'((1,2),(3,4))'", "bit(3)": "'101'", "varbit": "'101'",
    "money": "'1.00'", "tsvector": "'a'", "tsquery": "'a'", "jsonpath": "'$'", "int4range": "'[1,2)'",
    "nummultirange": "'{[1,2)}'", "plain": "ROW(point(1,2), '1'::bit)", "txid_snapshot": "'10:20:'",
}  # fmt: skip


ANYCASE = "CREATE COLLATION anycase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)"


@pytest.fixture(scope="module")
def compared(server: LocalServer) -> Iterator[DataComparison]:
    pristine, clone = f"collisions_{os.getpid()}", f"collisions_clone_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        try:
            admin.execute(f"CREATE DATABASE {pristine}")
            with connect(server.conninfo(pristine), verb="test") as session:
                session.execute("CREATE TYPE duo AS (a int, b int); CREATE TYPE plain AS (p point, b bit(1))")
                has_icu = "icu" not in BUILT_WITHOUT[server.major]
                cases = [case for case in CASES if has_icu or not case.needs_icu]
                if has_icu:
                    session.execute(ANYCASE)
                for case in cases:
                    session.execute(f"CREATE TABLE {case.name} ({case.columns})")
                    for row in case.before:
                        session.execute(f"INSERT INTO {case.name} VALUES ({row})")
                for number, (kind, value) in enumerate(UNHASHED.items()):
                    session.execute(f"CREATE TABLE unhashed_{number} (id int PRIMARY KEY, v {kind})")
                    session.execute(f"INSERT INTO unhashed_{number} VALUES (1, {value}), (2, {value}), (3, NULL)")
            admin.execute(f"CREATE DATABASE {clone} TEMPLATE {pristine}")
            with connect(server.conninfo(clone), verb="test") as session:
                for case in cases:
                    session.execute(f"DELETE FROM {case.name}")
                    for row in case.after:
                        session.execute(f"INSERT INTO {case.name} VALUES ({row})")
                for number in range(len(UNHASHED)):
                    session.execute(f"UPDATE unhashed_{number} SET v = NULL WHERE id = 2")
            yield compare_data(
                lambda: connect(server.conninfo(pristine), verb="test"),
                lambda: connect(server.conninfo(clone), verb="test"),
            )
        finally:
            for name in (pristine, clone):
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def table_of(compared: DataComparison, name: str) -> TableLoss:
    return next(table for table in compared.tables if table.name == f"public.{name}")


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=case.name, marks=[pytest.mark.needs("icu")] if case.needs_icu else []) for case in CASES],
)
def test_what_looks_alike_is_told_apart(compared: DataComparison, case: Collision) -> None:
    """A negative number in the case counts values that became NULL."""
    table = table_of(compared, case.name)
    assert table.lost
    assert table.rows_lost == case.rows_lost, table.as_json()
    told = {
        column.name: column.values_changed or -(column.values_lost or 0)
        for column in table.columns
        if column.values_changed or column.values_lost
    }
    assert told == case.changed


@pytest.mark.parametrize("kind", UNHASHED)
def test_a_type_without_a_hash_function_is_compared(compared: DataComparison, kind: str) -> None:
    table = table_of(compared, f"unhashed_{list(UNHASHED).index(kind)}")
    assert [(column.values_changed, column.values_lost) for column in table.columns] == [(0, 0), (0, 1)]


def test_nothing_was_left_unmeasured(compared: DataComparison) -> None:
    assert compared.not_measured == ()

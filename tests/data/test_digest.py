"""Pairs of tables that one number for all their values could take for the same: every one must be told apart.

Each case is what stands in a table before and after; the witness is the text that COPY gives of it.  What
test_collisions.py changes goes through the same number first; here is what this number's own making invites.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pgrehearse.data.loss import compare_data
from pgrehearse.data.verdicts import DataComparison, TableLoss
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

# The functions are the same in all majors, so the short form looks at one.
pytestmark = pytest.mark.pg(">= 15" if "PGREHEARSE_SOAK" in os.environ else "== 18")


@dataclass(frozen=True)
class Pair:
    name: str
    columns: str
    before: tuple[str, ...]
    after: tuple[str, ...]


def folded(value: int) -> int:
    """Another 64-bit integer whose halves have the same XOR, which is all that PostgreSQL's hash of one sees."""
    low, high = value & 0xFFFFFFFF, value >> 32
    return ((high ^ 1) << 32) | (low ^ 1)


MICROSECONDS = 757_382_400_123_456  # of some timestamp in 2024, since 2000


def at(microseconds: int) -> str:
    return (
        f"timestamp '2000-01-01' + {microseconds // 1000} * interval '1 ms' + {microseconds % 1000} * interval '1 us'"
    )


PAIRS = (
    Pair("null_and_value_change_places", "a int, b int", ("1, NULL",), ("NULL, 1",)),
    Pair("nulls_move", "a int, b int, c int, d int", ("7, NULL, NULL, NULL",), ("NULL, NULL, NULL, 7",)),
    Pair("nulls_between_rows", "a int, b int", ("1, NULL", "2, 5"), ("1, 5", "2, NULL")),
    Pair("equal_columns_of_two_rows", "a int, b int", ("1, 1", "2, 2"), ("1, 2", "2, 1")),
    Pair("equal_columns", "a int, b int", ("1, 1",), ("2, 2",)),
    Pair("a_pair_of_equal_rows", "a int", ("1", "1"), ("2", "2")),
    Pair("two_rows_for_three", "a int", ("1", "1", "2"), ("1", "2", "2")),
    Pair("a_row_of_nulls", "a int, b text", ("1, 'x'", "NULL, NULL"), ("1, 'x'", "NULL, NULL", "NULL, NULL")),
    Pair("booleans", "a bool, b bool", ("true, NULL", "false, true"), ("NULL, true", "false, true")),
    Pair("booleans_of_two_rows", "a bool, b bool", ("true, false", "false, true"), ("true, true", "false, false")),
    Pair("folded_bigint", "v bigint", (str(MICROSECONDS),), (str(folded(MICROSECONDS)),)),
    Pair("folded_timestamp", "v timestamp", (at(MICROSECONDS),), (at(folded(MICROSECONDS)),)),
    Pair("folded_timestamptz", "v timestamptz", (at(MICROSECONDS),), (at(folded(MICROSECONDS)),)),
    Pair("folded_time", "v time", ("'00:00:00'",), ("time '00:00' + 4294967297 * interval '1 us'",)),
    Pair("one_microsecond", "v timestamptz", ("'2024-02-29 12:00:00.000001+00'",), ("'2024-02-29 12:00:00+00'",)),
    Pair("infinities", "v timestamptz", ("'infinity'",), ("'-infinity'",)),
    Pair("years_before", "v timestamp", ("'4713-01-02 BC'",), ("'294276-12-31'",)),
    Pair("interval_fields", "v interval", ("'1 day'", "'1 mon'"), ("'24:00:00'", "'30 days'")),
    Pair("interval_signs", "v interval", ("'1 day -1 hours'",), ("'23:00:00'",)),
    Pair("time_zones", "v timetz", ("'12:00+00'",), ("'13:00+01'",)),
    Pair("zeros", "v float8, w float4", ("'0', '-0'",), ("'-0', '0'",)),
    Pair("nan_and_infinity", "v float8", ("'NaN'", "'Infinity'"), ("'Infinity'", "'-Infinity'")),
    Pair("nan_and_null", "v float8", ("'NaN'",), ("NULL",)),
    Pair("last_bit", "v float8", ("0.1",), ("0.10000000000000002",)),
    Pair("subnormal", "v float8", ("5e-324",), ("1e-323",)),
    Pair("floats_change_places", "v float8, w float8", ("1.5, 2.5",), ("2.5, 1.5",)),
    Pair("scale_between_rows", "id int, v numeric", ("1, 1.0", "2, 1.00"), ("1, 1.00", "2, 1.0")),
    Pair("netmask", "v inet", ("'10.0.0.1'",), ("'10.0.0.1/31'",)),
    Pair("netmasks_network", "v cidr", ("'10.0.0.0/8'",), ("'10.0.0.0/9'",)),
    Pair("family", "v inet", ("'0.0.0.0'",), ("'::'",)),
    Pair("hardware", "v macaddr", ("'08002b010203'",), ("'08002b010204'",)),
    Pair("longer_hardware", "v macaddr8", ("'08002b0102030405'",), ("'08002b0102030406'",)),
    Pair("points", "v point", ("'(1,2)'",), ("'(2,1)'",)),
    Pair("boxes", "v box, w circle", ("'(1,1),(0,0)', '<(1,2),3>'",), ("'(1,1),(0,-0)', '<(1,2),3.000000000000001>'",)),
    Pair("paths", "v path", ("'((1,2),(3,4))'",), ("'[(1,2),(3,4)]'",)),
    Pair("polygons", "v polygon", ("'((1,2),(3,4),(5,6))'",), ("'((3,4),(1,2),(5,6))'",)),
    Pair("lines", "v lseg, w line", ("'((1,2),(3,4))', '{1,2,3}'",), ("'((3,4),(1,2))', '{1,2,3.5}'",)),
    Pair("bits", "v varbit, w bit(3)", ("'01', '100'",), ("'010', '001'",)),
    Pair("money", "v money", ("'1.01'",), ("'1.10'",)),
    Pair("ranges", "v int4range, w tstzrange", ("'[1,5)', '[2024-01-01,)'",), ("'empty', '(2024-01-01,)'",)),
    Pair("multiranges", "v nummultirange", ("'{[1,2),[3,4)}'",), ("'{[1.0,2),[3,4)}'",)),
    Pair("search", "v tsvector, w tsquery", ("'a:1 b:2', 'a & b'",), ("'a:2 b:1', 'b & a'",)),
    Pair("json_text", "v json", ("""'{"a": 1}'""",), ("""'{"a":1}'""",)),
    Pair("jsonb_duplicates", "v jsonb", ("'[1, 1.0]'",), ("'[1.0, 1]'",)),
    Pair("arrays", "v text[]", ("""'{"a,b"}'""",), ("'{a,b}'",)),
    Pair("empty_arrays", "v int[]", ("'{}'",), ("'{NULL}'",)),
    Pair("array_bounds", "v timestamptz[]", ("'[2:2]={2024-01-01}'",), ("'{2024-01-01}'",)),
    Pair("bytes", "v bytea", (r"'\\x00'",), (r"'\\x0000'",)),
    Pair("empty_bytes", "v bytea", ("''",), ("NULL",)),
    Pair("blanks", "v char(4), w bpchar", ("'a', 'a'",), ("'a', 'a  '",)),
    Pair("names", 'v name, w "char"', ("'a', 'b'",), ("'b', 'a'",)),
    Pair("composed", "v duo", ("ROW(1, NULL)",), ("ROW(NULL, 1)",)),
    Pair("composed_floats", "v twofold", ("ROW('0', '2024-01-01')",), ("ROW('-0', '2024-01-01')",)),
    Pair("domains", "v counted, w instant", ("1, '2024-01-01 00:00+00'",), ("2, '2024-01-01 00:00:01+00'",)),
    Pair("labels", "v mood, w mood[]", ("'sad', '{sad,glad}'",), ("'glad', '{glad,sad}'",)),
    Pair("custom_type", "v custom", ("'5'",), ("'6'",)),
    Pair("collated", 'v text COLLATE "C", w text', ("'a', 'B'",), ("'A', 'b'",)),
    Pair("normal_forms", "v text", ("U&'\\00e9'",), ("U&'e\\0301'",)),
    Pair("long_text", "v text", ("repeat('x', 3000000) || 'a'",), ("repeat('x', 3000000) || 'b'",)),
    Pair("a_row_less", "", ("", ""), ("",)),
)  # fmt: skip

SETUP = """
CREATE TYPE duo AS (a int, b int); CREATE TYPE twofold AS (f float8, at timestamptz);
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN counted AS int; CREATE DOMAIN instant AS timestamptz;
CREATE TYPE custom;
CREATE FUNCTION custom_in(cstring) RETURNS custom LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION custom_out(custom) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';
CREATE TYPE custom (INPUT = custom_in, OUTPUT = custom_out, LIKE = int4)
"""


def put(session: Connection, table: str, rows: tuple[str, ...]) -> None:
    for row in rows:
        session.execute(f"INSERT INTO {table} VALUES ({row})" if row else f"INSERT INTO {table} DEFAULT VALUES")


@dataclass(frozen=True)
class Compared:
    found: DataComparison
    texts: dict[str, tuple[bytes, bytes]]  # by the table's name: what COPY gives before and after

    def table(self, name: str) -> TableLoss:
        return next(table for table in self.found.tables if table.name == f"public.{name}")


@pytest.fixture(scope="module")
def compared(server: LocalServer) -> Iterator[Compared]:
    pristine, clone = f"digest_{os.getpid()}", f"digest_clone_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        try:
            admin.execute(f"CREATE DATABASE {pristine}")
            with connect(server.conninfo(pristine), verb="test") as session:
                session.execute(SETUP)
                for pair in PAIRS:
                    session.execute(f"CREATE TABLE {pair.name} ({pair.columns})")
                    put(session, pair.name, pair.before)
                    session.execute(f"CREATE TABLE same_{pair.name} ({pair.columns})")
                    put(session, f"same_{pair.name}", (*pair.before, *pair.after))
                wide = ", ".join(f"c{number} int" for number in range(1600))
                numbers = ", ".join(map(str, range(1600)))
                for name in ("wide", "same_wide"):
                    session.execute(f"CREATE TABLE {name} ({wide}); INSERT INTO {name} VALUES ({numbers})")
            admin.execute(f"CREATE DATABASE {clone} TEMPLATE {pristine}")
            with connect(server.conninfo(clone), verb="test") as session:
                for pair in PAIRS:
                    session.execute(f"DELETE FROM {pair.name}; DELETE FROM same_{pair.name}")
                    put(session, pair.name, pair.after)
                    put(session, f"same_{pair.name}", (*reversed(pair.after), *reversed(pair.before)))
                session.execute("UPDATE wide SET c799 = c798, c798 = c799; UPDATE same_wide SET c798 = c798")
            found = compare_data(
                lambda: connect(server.conninfo(pristine), verb="test"),
                lambda: connect(server.conninfo(clone), verb="test"),
            )
            yield Compared(found, texts(server, pristine, clone))
        finally:
            for name in (pristine, clone):
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def texts(server: LocalServer, *databases: str) -> dict[str, tuple[bytes, bytes]]:
    found: dict[str, list[bytes]] = {pair.name: [] for pair in PAIRS}
    for database in databases:
        with connect(server.conninfo(database), verb="test") as session:
            for name, read in found.items():
                with session.cursor() as cursor, cursor.copy(f"COPY {name} TO STDOUT") as copy:
                    read.append(b"".join(sorted(bytes(line) for line in copy)))
    return {name: (before, after) for name, (before, after) in found.items()}


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.name for pair in PAIRS])
def test_what_differs_is_told_apart(compared: Compared, pair: Pair) -> None:
    before, after = compared.texts[pair.name]
    assert before != after  # the case itself
    table = compared.table(pair.name)
    assert table.lost or len(pair.before) < len(pair.after), table.as_json()
    assert table.proof is not None
    assert table.proof.how.value == "compared"


@pytest.mark.parametrize("pair", PAIRS, ids=[pair.name for pair in PAIRS])
def test_the_same_rows_written_in_another_order_are_the_same(compared: Compared, pair: Pair) -> None:
    table = compared.table(f"same_{pair.name}")
    assert table.proof is not None
    assert (table.verdict.value, table.proof.how.value) == ("unchanged", "fingerprint")


def test_1600_columns_are_one_scan_and_where_they_differ_all_are_compared(compared: Compared) -> None:
    table = compared.table("same_wide")
    assert table.proof is not None
    assert (table.verdict.value, table.proof.how.value) == ("unchanged", "fingerprint")
    changed = {column.name: column.values_changed for column in compared.table("wide").columns if column.lost}
    assert changed in ({"c798": 1, "c799": 1}, {}), changed
    assert compared.table("wide").rows_lost == (0 if changed else 1)  # one row without a key, and two columns differ
    assert compared.found.not_measured == ()

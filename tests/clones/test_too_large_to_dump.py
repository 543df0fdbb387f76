"""Rows that pg_dump cannot print are told before it is tried."""

import pytest

from pgrehearse.clones import too_large_to_dump
from pgrehearse.clones.dump_restore import failure_of
from pgrehearse.clones.preflight import check_server, read_needs
from pgrehearse.clones.too_large_to_dump import find_unprintable_rows
from pgrehearse.errors import CloneFailed, CloneImpossible
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity

MADE = """
CREATE DOMAIN photo AS bytea; CREATE SCHEMA "Odd";
CREATE TABLE "Odd"."Photos" (id int PRIMARY KEY, small photo, "Large" photo, note text);
CREATE TABLE thumbs (id int, v bytea); CREATE TABLE texts (id int, v text);
ALTER TABLE "Odd"."Photos" ALTER small SET STORAGE EXTERNAL, ALTER "Large" SET STORAGE EXTERNAL;
ALTER TABLE thumbs ALTER v SET STORAGE EXTERNAL; ALTER TABLE texts ALTER v SET STORAGE EXTERNAL;
INSERT INTO "Odd"."Photos" VALUES (1, NULL, NULL, 'n'), (2, 'x', repeat('0123456789', 300000)::bytea, 'n');
INSERT INTO thumbs SELECT i, repeat('0123456789', 100000)::bytea FROM generate_series(1, 3) i;
INSERT INTO texts VALUES (1, repeat('0123456789', 700000));
"""


@pytest.mark.pg("== 18")
def test_a_row_that_is_too_large_as_hex_is_told_before_the_dump(
    connection: Connection, database: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of 5 MB instead of PostgreSQL's own, which a server needs some minutes and GB to meet."""
    connection.execute(MADE)
    assert find_unprintable_rows(connection) == ()
    monkeypatch.setattr(too_large_to_dump, "MOST_PRINTED", 5_000_000)
    with connection.transaction():
        connection.execute("SET TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ")
        timeout = connection.execute("SHOW statement_timeout").fetchone()
        needs = read_needs(connection, read_identity(connection))
        assert connection.execute("SHOW statement_timeout").fetchone() == timeout
    (row,) = needs.unprintable
    assert (row.table, row.columns) == ('"Odd"."Photos"', ("small", "Large"))
    copied = b"".join(
        bytes(part) for part in _copy(connection, 'SELECT small, "Large" FROM "Odd"."Photos" WHERE id = 2')
    )
    assert row.printed_bytes == len(copied.strip()) - len(b"\t")
    with pytest.raises(CloneImpossible, match=r'a row of "Odd"\."Photos" \(small, Large\) takes 5 MB as hex') as raised:
        check_server(connection, needs).require("the target")
    assert "large objects" in str(raised.value.remedy)


def _copy(connection: Connection, query: str) -> list[bytes]:
    with connection.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT".encode()) as rows:
        return [bytes(part) for part in rows]


@pytest.mark.parametrize(
    "said",
    [
        "invalid memory alloc request size 1258291203",
        "out of memory\nDETAIL:  Cannot enlarge string buffer containing 1073741822 bytes by 1 more bytes.",
        "string buffer exceeds maximum allowed length (1073741823 bytes)",
    ],
)
def test_a_dump_that_fails_for_such_a_row_says_what_to_do(said: str) -> None:
    stderr = (
        f'pg_dump: error: Dumping the contents of table "t" failed: PQgetResult() failed.\npg_dump: detail: {said}\n'
    )
    error = failure_of("pg_dump", stderr, 1, Conninfo.parse("postgresql://db.example.com/shop"))
    assert isinstance(error, CloneFailed)
    assert "large objects" in error.remedy

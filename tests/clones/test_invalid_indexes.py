"""Indexes that a failed CONCURRENTLY left invalid are in the copy as they are in production."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import psycopg
import pytest

from pgrehearse.clones.pair import ClonePair
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

TABLE = """
CREATE TABLE "Odd one" (id int PRIMARY KEY, kind text);
INSERT INTO "Odd one" SELECT n, 'same' FROM generate_series(1, 9) n;
"""
BUILDS = (
    'CREATE UNIQUE INDEX CONCURRENTLY "the Kinds" ON "Odd one" (lower(kind)) WHERE id > 3',
    'CREATE UNIQUE INDEX CONCURRENTLY kinds ON "Odd one" (kind) NULLS NOT DISTINCT',
)
INDEXES = """
SELECT pg_get_indexdef(indexrelid), indisvalid, indisready, indislive FROM pg_index
WHERE indrelid = '"Odd one"'::regclass ORDER BY 1
"""


@pytest.mark.pg(">= 15")
def test_an_invalid_index_is_copied_with_its_state(
    production: LocalServer, clean_uat: LocalServer, pair_of: Callable[..., AbstractContextManager[ClonePair]]
) -> None:
    with connect(production.conninfo(), verb="test") as admin:
        admin.execute("CREATE DATABASE invalid_indexes")
    try:
        source = production.conninfo("invalid_indexes")
        expected = leave_invalid(source)
        assert [row[1] for row in expected] == [True, False, False]
        with pair_of(source, clean_uat.conninfo()) as pair, connect(pair.clone, verb="test") as clone:
            assert clone.execute(INDEXES.encode()).fetchall() == expected
            clone.execute(BUILDS[0].replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS").encode())
    finally:
        with connect(production.conninfo(), verb="test") as admin:
            admin.execute("DROP DATABASE invalid_indexes")


def leave_invalid(source: Conninfo) -> list[tuple[object, ...]]:
    with connect(source, verb="test") as session:
        session.execute(TABLE.encode())
        for build in BUILDS:
            with pytest.raises(psycopg.errors.UniqueViolation):
                session.execute(build.encode())
        return session.execute(INDEXES.encode()).fetchall()

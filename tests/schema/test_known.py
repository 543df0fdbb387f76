"""What is read again of a changed database is what a whole reading finds, after any kind of change."""

import os
import random
import re
from collections.abc import Iterator

import psycopg
import pytest

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.schema.known import KnownSchema, read_known_schema, read_schema_again
from pgrehearse.schema.schema_object import SchemaObject

from .conftest import HERE, Databases, run_script

SOAK = bool(os.environ.get("PGREHEARSE_SOAK"))
CHANGES = [
    line
    for line in (HERE / "changes.sql").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("--")
]
# Renames and drops of whatever there is; each name of a changed thing stands in the text of others.
RENAMES = """
SELECT format('ALTER %s %s RENAME COLUMN %I TO %I', k.what, c.oid::regclass, a.attname, 'r_' || left(a.attname, 40))
FROM pg_class c JOIN (VALUES ('r', 'TABLE'), ('p', 'TABLE'), ('v', 'VIEW'), ('m', 'MATERIALIZED VIEW')) k (kind, what)
    ON k.kind = c.relkind::text
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attinhcount = 0
WHERE c.oid >= 16384 AND c.relnamespace::regnamespace::text !~ '^pg_' AND c.reloftype = 0
UNION ALL
SELECT format('ALTER %s %s RENAME TO %I', k.what, c.oid::regclass, 'r_' || left(c.relname, 40))
FROM pg_class c JOIN (VALUES ('r', 'TABLE'), ('p', 'TABLE'), ('v', 'VIEW'), ('m', 'MATERIALIZED VIEW'), ('i', 'INDEX'),
                             ('I', 'INDEX'), ('S', 'SEQUENCE')) k (kind, what) ON k.kind = c.relkind::text
WHERE c.oid >= 16384 AND c.relnamespace::regnamespace::text !~ '^pg_'
UNION ALL
SELECT format('ALTER TABLE %s RENAME CONSTRAINT %I TO %I', k.conrelid::regclass, k.conname, 'r_' || left(k.conname, 40))
FROM pg_constraint k WHERE k.conrelid >= 16384 AND k.coninhcount = 0
UNION ALL
SELECT format('ALTER TYPE %s RENAME TO %I', t.oid::regtype, 'r_' || left(t.typname, 40))
FROM pg_type t WHERE t.oid >= 16384 AND t.typtype IN ('e', 'd', 'c', 'r') AND NOT EXISTS (
    SELECT FROM pg_class c WHERE c.oid = t.typrelid AND c.relkind <> 'c')
UNION ALL
SELECT format('ALTER ROUTINE %s RENAME TO %I', p.oid::regprocedure, 'r_' || left(p.proname, 40))
FROM pg_proc p WHERE p.oid >= 16384
UNION ALL
SELECT format('DROP %s %s CASCADE', k.what, c.oid::regclass)
FROM pg_class c JOIN (VALUES ('r', 'TABLE'), ('v', 'VIEW'), ('i', 'INDEX')) k (kind, what) ON k.kind = c.relkind::text
WHERE c.oid >= 16384 AND c.relnamespace::regnamespace::text !~ '^pg_' AND c.oid::bigint % 7 = 0
ORDER BY 1
"""


def everything_of(found: SchemaObject) -> tuple[object, ...]:
    return (found, found.oid, found.number)


def require_same(again: KnownSchema, whole: KnownSchema, why: str) -> None:
    assert list(map(everything_of, again.schema.objects)) == list(map(everything_of, whole.schema.objects)), why
    assert [entry[:2] for entry in again.entries] == [entry[:2] for entry in whole.entries], why
    assert (again.members, again.left_out, again.schema.left_out) == (
        whole.members,
        whole.left_out,
        whole.schema.left_out,
    ), why


@pytest.fixture
def copy(databases: Databases, zoo: Conninfo) -> Iterator[tuple[Connection, KnownSchema]]:
    """A copy by TEMPLATE of the zoo, and what is known of the zoo itself."""
    with connect(zoo, verb="test") as session:
        known = read_known_schema(session)
    database = databases.create(template=str(zoo.parameters["dbname"]))
    with connect(database, verb="test") as session:
        yield session, known


def test_of_an_unchanged_copy_only_the_small_catalogs_are_read_again(copy: tuple[Connection, KnownSchema]) -> None:
    session, known = copy
    again = read_schema_again(session, known)
    assert again.objects_read < len(known.entries) / 4
    assert {entry[1] for entry in again.entries} == {entry[1] for entry in known.entries}
    require_same(again, read_known_schema(session), "unchanged")


def test_after_a_small_change_little_is_read_again(copy: tuple[Connection, KnownSchema]) -> None:
    session, known = copy
    session.execute("ALTER TABLE fk_cols ADD COLUMN c int")
    again = read_schema_again(session, known)
    kept = {id(entry) for entry in known.entries}
    read = {found.relation or found.name for _, owner, found in again.entries if owner}
    read -= {found.relation or found.name for entry in again.entries if id(entry) in kept for found in entry[2:]}
    assert read >= {"public.fk_cols", "public.fk_from"}  # the foreign key's text names a column of the first
    assert again.objects_read < len(known.entries) / 4  # their neighbours come with them


def test_after_each_kind_of_change_it_is_as_a_whole_reading(copy: tuple[Connection, KnownSchema]) -> None:
    """Each for itself with PGREHEARSE_SOAK=1; otherwise several at a time."""
    session, known = copy
    major = session.info.server_version // 10000
    changes = [change for change in CHANGES if major >= 18 or not re.search("since18|parent18", change)]
    size = 1 if SOAK else 12 if major == 18 else 40
    for start in range(0, len(changes), size):
        for change in changes[start : start + size]:
            run_script(session, change)
        known = read_schema_again(session, known)
        require_same(known, read_known_schema(session), "; ".join(changes[start : start + size]))


@pytest.mark.pg(">= 15" if SOAK else "== 18")
def test_after_random_renames_and_drops_it_is_as_a_whole_reading(copy: tuple[Connection, KnownSchema]) -> None:
    session, known = copy
    chance = random.Random(4)
    for _ in range(200 if SOAK else 3):
        done: list[str] = []
        while len(done) < (chance.choice([1, 5]) if SOAK else 15):
            statement = chance.choice(session.execute(RENAMES.encode()).fetchall())[0]
            try:
                session.execute(statement.encode())
                done.append(statement)
            except psycopg.Error:
                continue  # an inherited one, one that others need: refused, so nothing changed
        known = read_schema_again(session, known)
        require_same(known, read_known_schema(session), "; ".join(done))

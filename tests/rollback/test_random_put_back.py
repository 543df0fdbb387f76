"""Any writes before, any migration, any writes after: what comes back is what a model of three states says."""

import itertools
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import psycopg
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.image_plan import COLUMNS_DROPPED, ROWS_DELETED, VALUES_CHANGED, ImagePlan
from pgrehearse.rollback.image_refresh import refresh_images
from pgrehearse.rollback.image_settle import settle_images
from pgrehearse.rollback.image_take import drop_images, take_images
from pgrehearse.rollback.put_back import put_back

pytestmark = pytest.mark.pg(">= 15")

EXAMPLES = 300 if os.environ.get("PGREHEARSE_SOAK") else 10
COLUMNS = ("a", "b", "c")
SETUP = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'fine');
CREATE TABLE t (id int PRIMARY KEY, a text, b int, c mood);
"""

# Every combination of values stands in the table, and each statement meets many of them.
ROWS = list(
    enumerate(itertools.product([None, "", "x", "y"], [None, 0, 1], [None, "sad", "ok", "fine"], [1, 2]), start=1)
)
written = st.sampled_from(
    ["a = 'x'", "a = NULL", "a = a || 'z'", "b = 0", "b = 1", "c = 'ok'", "c = 'fine'", "id = id + 200"]
)
where = st.builds("id % {} = {}".format, st.sampled_from([2, 3, 5]), st.integers(0, 2)) | st.sampled_from(["a IS NULL"])
updates = st.builds("UPDATE t SET {} WHERE {}".format, written, where)
deletes = st.builds("DELETE FROM t WHERE {}".format, where)
inserts = st.builds(
    "INSERT INTO t (id, a) SELECT i, {} FROM generate_series({}, 110) i WHERE i % 3 = 0 ON CONFLICT DO NOTHING".format,
    st.sampled_from(["NULL", "'x'", "'new'"]),
    st.integers(1, 90),
)
any_write = updates | deletes | inserts
writes = st.lists(any_write, min_size=1, max_size=4)


@dataclass(frozen=True, slots=True)
class Shape:
    """What else a migration does: DDL, its inverse, and the column that it drops."""

    ddl: str
    inverse: str
    dropped: str | None


SHAPES = (
    Shape("SELECT", "SELECT", None),
    Shape("ALTER TABLE t DROP COLUMN c", "ALTER TABLE t ADD COLUMN c mood", "c"),
    Shape("ALTER TABLE t DROP COLUMN a", "ALTER TABLE t ADD COLUMN a text", "a"),
    Shape("ALTER TABLE t ALTER COLUMN b TYPE text", "ALTER TABLE t ALTER COLUMN b TYPE int USING b::int", None),
    Shape("ALTER TABLE t ALTER COLUMN c TYPE text", "ALTER TABLE t ALTER COLUMN c TYPE mood USING c::mood", None),
    Shape("DROP TYPE mood CASCADE", "CREATE TYPE mood AS ENUM ('sad', 'ok', 'fine'); ALTER TABLE t ADD c mood", "c"),
)


@pytest.fixture(scope="module")
def database(server: LocalServer) -> Iterator[Conninfo]:
    name = f"random_{os.getpid()}_{server.major}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield server.conninfo(name)
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@given(
    writes,
    st.lists(any_write, max_size=3),
    st.sampled_from(SHAPES),
    writes,
)
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=not os.environ.get("PGREHEARSE_SOAK"),
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_what_comes_back_is_what_the_three_states_say(
    database: Conninfo, meanwhile: list[str], migration: list[str], shape: Shape, later: list[str]
) -> None:
    with connect(database, verb="test") as session:
        session.execute(SETUP)
        with session.cursor() as cursor:
            cursor.executemany("INSERT INTO t VALUES (%s, %s, %s, %s)", [(key, *row[:3]) for key, row in ROWS])
        images = take_images(session, [plan_of(migration, shape)], id="r")
        try:
            run_each(session, meanwhile)
            before = read(session)
            session.execute("BEGIN")
            refresh_images(session, images)
            run_each(session, migration)
            session.execute(shape.ddl)
            settle_images(session, images)
            session.execute("COMMIT")
            migrated = read(session)
            run_each(session, later)
            left = read(session)
            session.execute("BEGIN")
            session.execute(shape.inverse)
            found = put_back(session, images)
            session.execute("COMMIT")
            note(str(found))
            assert read(session) == expected(before, migrated, left, shape)
        finally:
            session.execute("ROLLBACK")
            drop_images(session, images)
            session.execute("DROP TABLE t; DROP TYPE IF EXISTS mood")


def plan_of(migration: list[str], shape: Shape) -> ImagePlan:
    """As the receipt would have it, had the rehearsal seen each statement do all it can."""
    names_after = {name: None if name == shape.dropped else name for name in ("id", *COLUMNS)}
    touched = {name for name in COLUMNS for statement in migration if f"SET {name} =" in statement}
    whole = any(statement.startswith("DELETE") or "SET id" in statement for statement in migration)
    changed = tuple(sorted(touched - {shape.dropped}))
    columns = ("id", *(name for name in COLUMNS if name in touched or name == shape.dropped))
    return ImagePlan(
        relation="public.t",
        name_after="public.t",
        key=("id",),
        columns=None if whole else columns,
        why=ROWS_DELETED if whole else COLUMNS_DROPPED if shape.dropped else VALUES_CHANGED,
        changed=changed,
        names_after=names_after,
    )


def run_each(session: Connection, statements: list[str]) -> None:
    """A statement that cannot be (a key that is taken, a column that is gone) is nobody's writing."""
    for statement in statements:
        with suppress(psycopg.errors.UniqueViolation, psycopg.errors.UndefinedColumn), session.transaction():
            session.execute(statement.encode())


def read(session: Connection) -> dict[int, dict[str, object]]:
    """All rows as text by column, whatever the shape now is."""
    found = session.execute("SELECT id, to_jsonb(t) FROM t")
    return {
        key: {name: None if value is None else str(value) for name, value in row.items() if name != "id"}
        for key, row in found
    }


Read = dict[int, dict[str, object]]


def expected(before: Read, migrated: Read, left: Read, shape: Shape) -> Read:
    """The rules, row by row."""
    found: Read = {}
    for key, row in left.items():
        full = {name: row.get(name) for name in COLUMNS}
        if key in before and key in migrated:
            for name in COLUMNS:
                overwritten = name != shape.dropped and before[key][name] != migrated[key][name]
                if name == shape.dropped or (overwritten and row[name] == migrated[key][name]):
                    full[name] = before[key][name]
        elif key in migrated and row == migrated[key]:
            continue  # the migration added it, and nobody wrote it since
        found[key] = full
    for key, row in before.items():
        if key not in migrated and key not in left:
            found[key] = row
    return found

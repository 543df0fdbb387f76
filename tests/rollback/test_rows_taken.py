"""Which rows went is one number: the same of the same rows wherever they lie, another of others."""

from collections.abc import Iterator

import pytest
from tests.rollback.test_put_back import CASES, script
from tests.support.going_back import GoingBack, going_back

from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.rows_taken import RowsTaken, read_keys_gone, read_rows_taken

pytestmark = pytest.mark.pg(">= 15")

# A column of each table that a plain UPDATE may set to itself, which moves its row.
MOVABLE = """
SELECT a.attrelid::regclass::text, quote_ident(min(a.attname::text))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped
  AND a.attidentity = '' AND a.attgenerated = ''
GROUP BY 1
"""


@pytest.fixture
def worlds(server: LocalServer) -> Iterator[tuple[GoingBack, GoingBack]]:
    with going_back(server) as make:
        yield make(), make()


def taken(world: GoingBack, migration: str) -> dict[str, RowsTaken | None]:
    world.promote(migration)
    with world.session() as session:
        return {image.relation: read_rows_taken(session, image) for image in world.images}


def test_the_same_rows_are_told_alike_wherever_they_lie(worlds: tuple[GoingBack, GoingBack]) -> None:
    for number, world in enumerate(worlds):
        for case in CASES:
            world.run(f'CREATE SCHEMA "{case.name}"; {script(case, "before")}')
        with world.session() as session:
            session.execute("SET session_replication_role = replica")
            movable = session.execute(MOVABLE, ([case.name for case in CASES],)).fetchall()
            assert len(movable) > len(CASES)
            for table, column in movable if number else ():
                session.execute(f"UPDATE ONLY {table} SET {column} = {column} WHERE random() < 0.5".encode())
    migration = "; ".join(script(case, "migration") for case in CASES)
    first, second = (taken(world, migration) for world in worlds)
    assert {name: each for name, each in first.items() if each != second[name]} == {}
    told = [each for each in first.values() if each is not None]
    assert sum(1 for each in told if each.gone.rows) > 10
    assert sum(1 for each in told if each.changed is not None and each.changed.rows) > 10


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""])
def test_other_rows_are_told_apart(worlds: tuple[GoingBack, GoingBack], key: str) -> None:
    found = []
    for world, place in zip(worlds, (1, 8), strict=True):
        world.run(
            f'CREATE TABLE "T t" ("Id" int {key}, v text); INSERT INTO "T t" SELECT n, n FROM generate_series(1, 9) n'
        )
        found.append(taken(world, f'DELETE FROM "T t" WHERE "Id" IN ({place}, {place + 1})')['public."T t"'])
    one, other = found
    assert one is not None
    assert other is not None
    assert one.by == other.by == (('"Id"',) if key else ('"Id"', "v"))
    assert one.gone.rows == other.gone.rows == 2
    assert one.gone.digest != other.gone.digest
    assert RowsTaken.from_json(one.as_json()) == one
    with worlds[1].session() as session:
        keys = read_keys_gone(session, worlds[1].images[0], most=5)
    assert keys == (({'"Id"': "8"}, {'"Id"': "9"}) if key else ())


def test_values_written_over_in_other_rows_are_told_apart(worlds: tuple[GoingBack, GoingBack]) -> None:
    found = []
    for world, place in zip(worlds, (1, 2), strict=True):
        world.run("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, n FROM generate_series(1, 9) n")
        found.append(taken(world, f"UPDATE t SET v = 'x' WHERE id = {place}")["public.t"])
    one, other = found
    assert one is not None
    assert other is not None
    assert one.gone == other.gone
    assert one.changed is not None
    assert other.changed is not None
    assert one.changed.rows == other.changed.rows == 1
    assert one.changed != other.changed

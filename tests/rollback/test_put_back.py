"""What a migration destroyed comes back as it was; plain SQL is the witness."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from psycopg import sql
from tests.support.going_back import GoingBack, going_back

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg(">= 15")

CASES = sorted(path for path in (Path(__file__).parent / "image_cases").iterdir() if path.is_dir())
TABLES = """
SELECT c.relname, n.nspname || '.' || c.relname,
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND n.nspname = %s ORDER BY c.relname
"""
TRIGGERS = """
SELECT t.tgrelid::regclass::text, t.tgname, t.tgenabled::text FROM pg_trigger t WHERE NOT t.tgisinternal
UNION ALL
SELECT r.ev_class::regclass::text, r.rulename, r.ev_enabled::text FROM pg_rewrite r WHERE r.rulename <> '_RETURN'
ORDER BY 1, 2
"""


@pytest.fixture
def make(server: LocalServer) -> Iterator[Callable[[], GoingBack]]:
    with going_back(server) as maker:
        yield maker


@pytest.fixture
def world(make: Callable[[], GoingBack]) -> GoingBack:
    return make()


def rows_of(session: Connection, namespace: str) -> dict[str, list[str]]:
    """Every row of every table of the case, as text, its columns in the order of their names."""
    found = {}
    for relation, name, columns in session.execute(TABLES, (namespace,)).fetchall():
        row = sql.SQL("ROW({})::text").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
        query = sql.SQL("SELECT {} FROM ONLY {} ORDER BY 1").format(row, sql.Identifier(namespace, relation))
        found[name] = [text for (text,) in session.execute(query)]
    return found


def script(case: Path, name: str) -> str:
    """One file of a case, in the namespace of that case."""
    path = case / f"{name}.sql"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return f'SET LOCAL search_path = "{case.name}"; {text}'


def test_every_case_comes_back_as_it_was(world: GoingBack) -> None:
    """All cases of the folder in one database, one promotion, one way back."""
    for case in CASES:
        world.run(f'CREATE SCHEMA "{case.name}"; {script(case, "before")}')
    with world.session() as session:
        before = {case.name: rows_of(session, case.name) for case in CASES}
        triggers = session.execute(TRIGGERS).fetchall()
    world.promote("; ".join(script(case, "migration") for case in CASES))
    with world.session() as session:
        migrated = {case.name: rows_of(session, case.name) for case in CASES}
    assert [name for name in before if before[name] == migrated[name]] == [], "each case must destroy something"
    found = world.go_back("; ".join(script(case, "inverse") for case in CASES))
    with world.session() as session:
        after = {case.name: rows_of(session, case.name) for case in CASES}
        assert session.execute(TRIGGERS).fetchall() == triggers
    wrong = [name for name in before if before[name] != after[name]]
    assert {name: (before[name], after[name]) for name in wrong[:1]} == {}
    assert wrong == []
    assert [table for table in found.tables if table.rows_left or table.added_left] == []


def test_rows_that_are_equal_but_for_their_key_take_no_key_from_each_other(world: GoingBack) -> None:
    """Moved keys alone are put back, in one statement: no row fails, so none is tried by itself."""
    world.run(
        "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'x' FROM generate_series(1, 5000) n"
    )
    world.promote("UPDATE t SET id = id + 100000 WHERE id % 5 = 0")
    world.run("UPDATE t SET v = 'y' WHERE id = 4; DELETE FROM t WHERE id = 3")
    (back,) = world.go_back("").tables
    assert (back.values_back, back.rows_back, back.rows_left) == (1000, 0, 0)
    assert world.rows("SELECT count(*), sum(id), max(id), count(*) FILTER (WHERE v = 'y' AND id = 4) FROM t") == [
        (4999, 5000 * 5001 // 2 - 3, 5000, 1)
    ]

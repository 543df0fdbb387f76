"""The quarantine namespace: for its owner's eyes, no part of schema or data, and gone when nobody needs it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from tests.support.going_back import GoingBack, going_back

from pgrehearse.clones.dump_restore import read_contents, start_dump
from pgrehearse.clones.snapshot import exported_snapshot
from pgrehearse.data.loss import compare_data
from pgrehearse.errors import ImagesNotTaken, PutBackFailed
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.image import find_images
from pgrehearse.rollback.image_plan import ImagePlan
from pgrehearse.rollback.image_refresh import refresh_images
from pgrehearse.rollback.image_settle import settle_images
from pgrehearse.rollback.image_take import drop_images, take_images
from pgrehearse.rollback.put_back import put_back
from pgrehearse.schema.fingerprint import fingerprint
from pgrehearse.schema.snapshot import read_schema

pytestmark = pytest.mark.pg(">= 15")

BEFORE = """
CREATE TABLE orders (id int PRIMARY KEY, note text);
INSERT INTO orders SELECT i, 'n' FROM generate_series(1, 100) i;
CREATE TABLE log (line text);
INSERT INTO log SELECT 'l' FROM generate_series(1, 10);
"""
MIGRATION = "ALTER TABLE orders DROP COLUMN note; DELETE FROM log"
INVERSE = "ALTER TABLE orders ADD COLUMN note text"
IN_QUARANTINE = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pgrehearse_quarantine' AND c.relkind = 'r' ORDER BY 1
"""


@pytest.fixture
def role(server: LocalServer) -> Iterator[str]:
    """An ordinary role; it goes after the databases in which it has anything."""
    name = f"owner {uuid4().hex[:8]}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))
        yield name
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.fixture
def world(server: LocalServer, role: str) -> Iterator[GoingBack]:
    with going_back(server) as make:
        found = make()
        found.run(BEFORE)
        yield found


def own(world: GoingBack, role: str) -> None:
    """From now on all is the ordinary role's."""
    with connect(world.server.conninfo(world.database), verb="test") as admin:
        admin.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {role}; ALTER SCHEMA public OWNER TO {role}").format(
                sql.Identifier(world.database), role=sql.Identifier(role)
            )
        )
        for table in ("orders", "log"):
            admin.execute(sql.SQL("ALTER TABLE {} OWNER TO {}").format(sql.Identifier(table), sql.Identifier(role)))
    world.role = role


def test_images_are_no_part_of_schema_data_or_clones(world: GoingBack, tmp_path: Path) -> None:
    world.rehearse(MIGRATION)
    with world.session() as session:
        before = fingerprint(read_schema(session))
        world.take()
        assert fingerprint(read_schema(session)) == before
    with connect(world.server.conninfo(), verb="test") as admin:
        admin.execute(f"DROP DATABASE {world.rehearsed}")
        admin.execute(f"CREATE DATABASE {world.rehearsed} TEMPLATE {world.database}")
    compared = compare_data(world.session, lambda: world.session(world.rehearsed))
    assert {table.name for table in compared.tables} == {"public.orders", "public.log"}
    source = world.server.conninfo(world.database)
    with exported_snapshot(source) as snapshot, start_dump(
        world.server.binaries, source, snapshot=snapshot.exported, directory=tmp_path / "dump", jobs=1, compress=False,
        log=tmp_path / "log",
    ) as dump:  # fmt: skip
        dump.wait()
    lines = [entry.line for entry in read_contents(world.server.binaries, tmp_path / "dump")]
    assert lines
    assert not [line for line in lines if "quarantine" in line]
    whole = subprocess.run(
        [world.server.binaries.program("pg_dump"), "--schema-only", source.text],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pgrehearse_quarantine" in whole.stdout, "pg_dump itself would have taken it"


def test_nobody_else_may_look(world: GoingBack, role: str) -> None:
    other = sql.Identifier(role)
    with world.session() as session:
        session.execute(sql.SQL("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {}, PUBLIC").format(other))
        session.execute(sql.SQL("ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO {}, PUBLIC").format(other))
    world.promote(MIGRATION)
    with world.session() as session:
        for (name,) in session.execute(IN_QUARANTINE).fetchall():
            privileges = session.execute(
                "SELECT has_schema_privilege(%s, 'pgrehearse_quarantine', 'USAGE'),"
                " has_table_privilege(%s, %s, 'SELECT')",
                (role, role, f'pgrehearse_quarantine."{name}"'),
            ).fetchone()
            assert privileges == (False, False)


def test_taking_twice_gives_what_is_there(world: GoingBack) -> None:
    world.rehearse(MIGRATION)
    first = world.take()
    world.run("DELETE FROM orders WHERE id = 1")
    assert world.take() == first
    with world.session() as session:
        assert find_images(session, id="p1") == first
        assert find_images(session, id="p") == ()
        with pytest.raises(ImagesNotTaken, match="something else"):
            take_images(session, world.plans[:1], id="p1")


def test_nothing_is_left_where_something_cannot_be_copied(world: GoingBack) -> None:
    world.rehearse(MIGRATION)
    world.run("DROP TABLE orders")
    with pytest.raises(ImagesNotTaken, match=r"public\.orders is not there"):
        world.take()
    assert world.rows("SELECT to_regnamespace('pgrehearse_quarantine')") == [(None,)]


def test_dropped_images_leave_nothing(world: GoingBack) -> None:
    world.promote(MIGRATION)
    with world.session() as session:
        drop_images(session, world.images)
    assert world.rows("SELECT to_regnamespace('pgrehearse_quarantine')") == [(None,)]


def test_the_owner_under_forced_policies_puts_back_what_they_hide(world: GoingBack, role: str) -> None:
    world.run("ALTER TABLE orders ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON orders USING (id < 10)")
    own(world, role)
    world.promote(MIGRATION)
    assert world.rows("SELECT count(*) FROM orders") == [(100,)]
    world.run("ALTER TABLE orders FORCE ROW LEVEL SECURITY")
    world.go_back(INVERSE)
    assert world.rows("SELECT count(*) FROM orders") == [(9,)]
    with connect(world.server.conninfo(world.database), verb="test") as admin:
        assert admin.execute("SELECT count(*) FROM orders WHERE note = 'n'").fetchall() == [(100,)]
        assert admin.execute(
            "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = 'orders'::regclass"
        ).fetchall() == [(True, True)]


def test_rows_that_a_policy_hides_are_not_taken_for_all(world: GoingBack, role: str) -> None:
    world.rehearse(MIGRATION)
    world.run(
        "ALTER TABLE orders ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
        "CREATE POLICY few ON orders USING (id < 10)"
    )
    own(world, role)
    with pytest.raises(ImagesNotTaken, match="may not copy"):
        world.take()


def test_images_of_a_plan_in_several_transactions(world: GoingBack) -> None:
    """What the first destroys is settled with it; the rest stays a copy until its own transaction."""
    before = world.rows("SELECT id, note FROM orders ORDER BY 1"), world.rows("SELECT * FROM log")
    world.rehearse(MIGRATION)
    world.take()
    first, second = MIGRATION.split("; ")
    for script, last in ((first, False), (second, True)):
        with world.session() as session, session.transaction():
            refresh_images(session, world.images)
            session.execute(script)
            settle_images(session, world.images, last=last)
        world.run("INSERT INTO log VALUES ('between')")
    world.go_back(INVERSE)
    assert world.rows("SELECT id, note FROM orders ORDER BY 1") == before[0]
    assert sorted(world.rows("SELECT * FROM log")) == sorted([*before[1], ("between",), ("between",)])


def test_an_image_that_was_never_settled_is_not_put_back(world: GoingBack) -> None:
    world.rehearse(MIGRATION)
    world.take()
    with pytest.raises(PutBackFailed, match="never settled"):
        world.go_back("")


def test_a_lost_session_while_putting_back_changes_nothing(world: GoingBack) -> None:
    world.promote(MIGRATION)
    kept = world.rows(IN_QUARANTINE)

    with world.session() as session, connect(world.server.conninfo(), verb="test") as admin:
        session.execute(f"BEGIN; {INVERSE}")
        put_back(session, world.images)
        admin.execute("SELECT pg_terminate_backend(%s)", (session.info.backend_pid,))
        with pytest.raises(psycopg.OperationalError):
            session.execute("COMMIT")
    assert world.rows(IN_QUARANTINE) == kept
    assert world.go_back(INVERSE).complete
    assert world.rows("SELECT count(*) FROM orders WHERE note = 'n'") == [(100,)]


def test_plans_survive_their_json(world: GoingBack) -> None:
    world.rehearse("DROP TABLE orders; DELETE FROM log")
    assert [ImagePlan.from_json(plan.as_json()) for plan in world.plans] == list(world.plans)
    assert [(plan.relation, plan.why, plan.key, plan.columns) for plan in world.plans] == [
        ("public.log", "rows-deleted", (), None),
        ("public.orders", "table-dropped", ("id",), None),
    ]

"""Files that nobody rehearsed are taken back from the backup, without a folder of migrations, and all of it is told."""

from pathlib import Path

import pytest
from tests.support.shop_project import Shop, make_shop

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg("== 18")


@pytest.fixture
def shop(tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer) -> Shop:
    shop = make_shop(tmp_path, connection, database, uat)
    for path in (tmp_path / "db").iterdir():
        path.unlink()
    return shop


def test_a_restore_tells_of_later_promotions_and_large_objects_and_needs_no_folder(shop: Shop) -> None:
    shop.execute("SELECT lo_from_bytea(4242, 'hello')")
    for number in (1, 2):
        (shop.folder / f"fix_{number}.sql").write_text(f"ALTER TABLE users ADD COLUMN c{number} int;")
        done = shop.pgrehearse(
            "promote", "--to", "prd", "--allow-unrehearsed", "it is down", "--file", f"fix_{number}.sql"
        )
        assert done.returncode == 0, done.stderr
        assert "is as rehearsed" not in done.stdout
        assert "WHICH NOBODY REHEARSED: promotion " in " ".join(done.stdout.split())
    first, second = (line.split()[0] for line in shop.pgrehearse("rollback", "--list").stdout.splitlines())
    shop.execute("SELECT lo_put(4242, 0, 'HELLO')")

    dry = shop.pgrehearse("rollback", first, "--dry-run")
    assert dry.returncode == 0, dry.stdout + dry.stderr
    assert f"promoted since, and taken back with it, for the backup is older: {second}" in dry.stdout
    assert "large objects 1: what was written to them since the backup is not exported" in dry.stdout
    done = shop.pgrehearse("rollback", first, "--yes")
    assert done.returncode == 0, done.stderr
    assert f"taken back with it, for the backup is older: {second} (fix_2" in done.stdout
    assert "of large objects 0 are new, 1 changed and 0 gone in the failed database" in done.stdout
    with connect(shop.production, verb="test") as session:
        assert session.execute("SELECT lo_get(4242)").fetchall() == [(b"hello",)]
        assert session.execute("SELECT FROM pg_attribute WHERE attname IN ('c1', 'c2')").fetchall() == []

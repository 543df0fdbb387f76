"""A proved backup of our own, restored beside production, and production replaced by it."""

import shutil
from pathlib import Path

import pytest
from tests.support.restoring import content, rows, run
from tests.support.swapping import ID, databases, now, properties_of, swap_now

from pgrehearse.errors import BackupDamaged, RestoreRefused
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.release.backup.create import create_dump
from pgrehearse.release.restore.beside import find_restores
from pgrehearse.release.restore.from_backup import plan_restore, restore_backup_beside

pytestmark = pytest.mark.pg(">= 15")
SMALL = """
CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text);
INSERT INTO t (what) VALUES ('a'), ('b'), ('c');
"""
WRITES = "INSERT INTO t (what) VALUES ('d'); UPDATE t SET what = 'B' WHERE id = 2; DELETE FROM t WHERE id = 3"


def test_the_whole_way_from_backup_to_swap(production: Conninfo, tmp_path: Path) -> None:
    run(production, SMALL)
    at_backup, before = content(production), properties_of(production)
    with ReleaseLedger.open(tmp_path / "ledger.sqlite") as ledger:
        backup = create_dump(production, directory=tmp_path / "backups", ledger=ledger, now=now)
        run(production, WRITES)
        with connect(production, verb="test") as session:
            session.execute("SELECT pg_stat_force_next_flush()")
        plan = plan_restore(production, backup, id=ID)
        assert plan.in_the_way == ()
        assert [(each.inserted, each.updated, each.deleted) for each in plan.writes.tables] == [(1, 1, 1)]
        assert any("at most 1 row inserted, 1 updated, 1 deleted since" in line for line in plan.told)

        there = databases(production)
        damaged = shutil.copytree(backup.directory, tmp_path / "damaged" / backup.id)
        victim = next(path for path in sorted((damaged / "dump").iterdir()) if path.name != "toc.dat")
        victim.write_bytes(bytes([victim.read_bytes()[0] ^ 1]) + victim.read_bytes()[1:])
        with pytest.raises(BackupDamaged):
            restore_backup_beside(
                production, type(backup)(directory=damaged, manifest=backup.manifest), id=ID, digest=None,
                ledger=None, now=now,
            )  # fmt: skip
        with pytest.raises(RestoreRefused, match="not of"):
            restore_backup_beside(
                production.replaced(dbname="postgres"), backup, id=ID, digest=None, ledger=None, now=now
            )  # fmt: skip
        assert databases(production) == there

        names = restore_backup_beside(
            production, backup, id=ID, digest=backup.digest, ledger=ledger, now=now, work_directory=tmp_path
        )
        assert [each.state for each in find_restores(production)] == ["restored"]
        done = swap_now(production, tmp_path / "kept", ledger=ledger)
        ledger.verify()
    assert content(production) == at_backup
    assert properties_of(production) == before
    assert done.quarantine == names.quarantine
    assert done.rows is not None
    assert done.rows.rows == 3
    with connect(production, verb="test") as session:
        assert rows(session, "INSERT INTO t (what) VALUES ('e') RETURNING id") == [(5,)]
        assert rows(session, "SELECT reltuples FROM pg_class WHERE relname = 't'") == [(3.0,)]  # analyzed

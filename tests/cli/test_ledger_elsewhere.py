"""drizzle's table under another name, as its config may have it: no part of the schema that a rehearsal seals."""

import json
from pathlib import Path

import pytest
from tests.support.shop_project import CONFIGURATION, FIRST, make_shop

from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

TABLE = 'drizzle_schema = "Its own"\ndrizzle_table = "What is applied"\n'
RENAMED = "ALTER TABLE sessions RENAME TO visits;\n"  # names are given back first, and the rest is read again
THERE = "SELECT count(*) FROM pg_catalog.pg_class WHERE relname = 'What is applied'"


@pytest.mark.pg("== 18")
def test_it_is_neither_drift_nor_taken_back(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    shop = make_shop(tmp_path, connection, database, uat)
    configuration = CONFIGURATION.replace('path = "db"\n', f'path = "drizzle"\n{TABLE}')
    configuration += 'policy = "before-images"\n[promotion]\napprovals = 0\n'
    (tmp_path / "pgrehearse.toml").write_text(configuration)
    (tmp_path / "drizzle/meta").mkdir(parents=True)
    (tmp_path / "drizzle/0000_nick.sql").write_text(FIRST + "--> statement-breakpoint\n" + RENAMED)
    entries = [{"idx": 0, "version": "7", "when": 1_767_225_600_000, "tag": "0000_nick", "breakpoints": True}]
    journal = {"version": "7", "dialect": "postgresql", "entries": entries}
    (tmp_path / "drizzle/meta/_journal.json").write_text(json.dumps(journal))

    rehearsed = json.loads(shop.pgrehearse("run", "--target", "uat", "--level", "error", "--json").stdout)
    changed = json.dumps(rehearsed["schema"]["changes"])
    assert "visits" in changed
    assert "Its own" not in changed  # it is made with the first migration
    assert rehearsed["rollback"]["proved"]

    names = [f"{each['hazard']}:{each['relation']}" for each in rehearsed["findings"] if each["level"] == "error"]
    accepted = [part for name in names for part in ("--accept", f"{name}=no application yet")]
    approved = shop.pgrehearse("approve", *accepted)
    assert approved.returncode == 0, approved.stderr
    promoted = shop.pgrehearse("promote", "--json")
    assert promoted.returncode == 0, promoted.stderr
    assert "drift" not in promoted.stderr

    with connect(database, verb="test") as session:
        assert fetch_value(session, THERE) == 1
    back = shop.pgrehearse("rollback", "--json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["type"] == "lossless"
    with connect(database, verb="test") as session:
        assert fetch_value(session, THERE) == 1
    gate = json.loads(shop.pgrehearse("status", "--gate", "--json").stdout)["gate"]
    assert not [told for told in json.dumps(gate).split('"') if "Its own" in told]

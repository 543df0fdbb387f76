"""`pgrehearse rollback` as a user meets it: what is left, what it would do, and doing it."""

import csv
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.schemas import validate_answer
from tests.support.shop_project import Shop, make_shop

from pgrehearse.cli.rollback import _show as show_taken
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.restore.differing_rows import DifferingRows, DifferingTable, OneSided
from pgrehearse.release.restore.swap import Swapped
from pgrehearse.release.restore.written_files import By, Change
from pgrehearse.release.take_back import TakenBack, tell_restored

pytestmark = pytest.mark.pg("== 18")

DESTROYS = "ALTER TABLE users DROP COLUMN age;\nDELETE FROM sessions WHERE id <= 100;\n"
AGES = "SELECT md5(string_agg(id || ':' || age, ',' ORDER BY id)) FROM users WHERE id <= 500"


@pytest.fixture
def shop(tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer) -> Shop:
    return make_shop(tmp_path, connection, database, uat)


CIRCLE = """
CREATE TABLE team (id int PRIMARY KEY, lead int);
CREATE TABLE member (id int PRIMARY KEY, team int REFERENCES team ON DELETE CASCADE);
INSERT INTO team VALUES (1, 1);
INSERT INTO member VALUES (1, 1);
ALTER TABLE team ADD FOREIGN KEY (lead) REFERENCES member;
"""


def forget_the_end(shop: Shop) -> None:
    ledger = sqlite3.connect(shop.folder / ".pgrehearse/ledger.db")
    with ledger:
        for (name,) in ledger.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            ledger.execute(f"DROP TRIGGER {name}")
        ledger.execute("DELETE FROM entries WHERE kind = 'rollback-ended'")
    ledger.close()


def promote(shop: Shop) -> None:
    """Rehearse what is pending, accept what it destroys, promote it."""
    rehearse_and_accept(shop)
    promoted = shop.pgrehearse("promote")
    assert promoted.returncode == 0, promoted.stderr


def rehearse_and_accept(shop: Shop) -> None:
    done = shop.pgrehearse("run", "--target", "uat", "--json")
    assert done.returncode in (0, 1), done.stderr
    gate = json.loads(shop.pgrehearse("status", "prd", "--json").stdout)["gate"]
    names = [name for reason in gate["reasons"] if reason["kind"] == "verdict" for name in reason["details"]]
    accepted = [word for name in names for word in ("--accept", f"{name}=meant")]
    assert shop.pgrehearse("approve", *accepted).returncode == 0


def test_the_newest_goes_first_and_what_was_destroyed_comes_back(shop: Shop) -> None:
    with connect(shop.production, verb="test") as session:
        ages = fetch_value(session, AGES)
    promote(shop)
    (shop.folder / "db/0003_forget.sql").write_text(DESTROYS)
    rehearse_and_accept(shop)
    with connect(shop.production, verb="test") as reader, reader.transaction():
        reader.execute("LOCK TABLE users IN ACCESS SHARE MODE")
        assert shop.pgrehearse("promote", "--lock-timeout", "0.1").returncode == 1
    first = shop.pgrehearse("rollback", "--list").stdout.split()[0]
    past_it = shop.pgrehearse("rollback", first, "--inverse", "--dry-run")  # the newer one has applied nothing
    assert past_it.returncode == 0, past_it.stdout
    assert shop.pgrehearse("resume").returncode == 0
    listed = shop.pgrehearse("rollback", "--list").stdout.splitlines()
    assert [line.split()[2] for line in listed] == ["promoted", "promoted"]
    older, newer = (line.split()[0] for line in listed)

    shop.execute(CIRCLE)
    shop.execute("DELETE FROM team")
    restore = shop.pgrehearse("rollback", older, "--restore", "--dry-run", "--reapply")
    assert f"promoted since, and taken back with it, for the backup is older: {newer}" in restore.stdout
    assert "RESTRICT public.member, public.team refer to each other in a circle" in restore.stdout
    shop.execute("DROP TABLE team, member CASCADE")
    too_early = shop.pgrehearse("rollback", older, "--inverse")
    assert too_early.returncode == 1
    assert f"promoted since, and to be taken back first: {newer}" in too_early.stderr

    shop.execute(
        "INSERT INTO users (id, email, nick) VALUES (9001, 'late', 'late'); DELETE FROM sessions WHERE id = 200"
    )
    dry = shop.pgrehearse("rollback", "--dry-run", "--json")
    assert dry.returncode == 0, dry.stderr
    plan = json.loads(dry.stdout)
    validate_answer("rollback", plan)
    assert (plan["promotion"], plan["type"]) == (newer, "restorable")

    done = shop.pgrehearse("rollback", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    validate_answer("rollback", answer)
    with connect(shop.production, verb="test") as session:
        assert fetch_value(session, AGES) == ages
        assert fetch_value(session, "SELECT count(*) FROM sessions") == 299  # 300 but the one deleted since
        assert fetch_value(session, "SELECT nick FROM users WHERE id = 9001") == "late"
    status = json.loads(shop.pgrehearse("status", "prd", "--json").stdout)
    assert status["plan"]["versions"] == ["0003_forget"]
    assert "approval" in {reason["kind"] for reason in status["gate"]["reasons"]}  # given before it was taken back
    assert "taken back" in shop.pgrehearse("rollback", "--list").stdout.splitlines()[1]
    listed = json.loads(shop.pgrehearse("rollback", "--list", "--json").stdout)
    validate_answer("promotions", listed)
    assert [each["outcome"] for each in listed["promotions"]] == ["promoted", "taken back"]

    again = shop.pgrehearse("rollback", newer)
    assert again.returncode == 2
    assert "is taken back already" in again.stderr
    lossless = shop.pgrehearse("rollback")  # the older one now, whose column somebody has written to
    assert lossless.returncode == 0, lossless.stderr
    assert "kept aside: 1 row of public.users.nick" in lossless.stdout
    assert shop.pgrehearse("rollback").returncode == 2


def test_a_restore_is_asked_for_and_keeps_what_was_written_since(shop: Shop) -> None:
    promote(shop)
    (shop.folder / "db/0003_forget.sql").write_text("ALTER TABLE users DROP COLUMN age;\n")
    promote(shop)
    shop.execute("INSERT INTO users (id, email) VALUES (9001, 'late'); UPDATE users SET email = 'x5' WHERE id = 5")
    shop.execute("DELETE FROM sessions WHERE id = 200")
    unasked = shop.pgrehearse("rollback", "--restore")
    assert unasked.returncode == 1
    assert "nothing was done" in unasked.stderr
    done = shop.pgrehearse("rollback", "--restore", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    validate_answer("rollback", answer)
    assert answer["type"] == "loses-writes"
    rows = answer["restore"]["rows"]
    assert {table["name"]: sum(table["application"].values()) for table in rows["tables"]} == {
        "public.sessions": 1, "public.users": 2,
    }  # fmt: skip
    assert written_since(Path(rows["directory"])) == {"9001", "5", "200"}
    with connect(shop.production, verb="test") as session:
        assert fetch_value(session, "SELECT count(age) FROM users") == 500  # as it was when it was backed up
        assert fetch_value(session, "SELECT count(*) FROM sessions") == 300
        kept = "SELECT count(*) FROM pg_database WHERE datname = %s AND NOT datallowconn"
        assert fetch_value(session, kept, (answer["restore"]["quarantine"],)) == 1
    assert shop.pgrehearse("rollback", "--undo").stdout.strip() == "no restore stands beside this database"
    forget_the_end(shop)  # as a kill just before the last entry would leave it
    killed = shop.pgrehearse("rollback", "--dry-run")
    assert "had swapped the names before it was killed" in killed.stderr
    assert "had swapped" not in shop.pgrehearse("rollback", "--dry-run").stderr

    # The restored database is another one, with the history that its backup had.
    listed = shop.pgrehearse("rollback", "--list").stdout.splitlines()
    assert ["taken back" in line for line in listed] == [False, True]
    assert shop.pgrehearse("resume").returncode == 1
    status = json.loads(shop.pgrehearse("status", "prd", "--json").stdout)
    assert status["plan"]["versions"] == ["0003_forget"]
    older = shop.pgrehearse("rollback", "--json")
    assert older.returncode == 0, older.stderr
    assert json.loads(older.stdout)["promotion"] == listed[0].split()[0]
    with connect(shop.production, verb="test") as session:
        assert fetch_value(session, "SELECT to_regclass('users_email') IS NULL")


def written_since(directory: Path) -> set[str]:
    """The ids of the exported rows that the application wrote."""
    found = set()
    for path in directory.rglob("*.csv"):
        with path.open(newline="") as file:
            found |= {row["id"] for row in csv.DictReader(file)}
    return found


def test_without_a_promotion_there_is_nothing_to_take_back(shop: Shop) -> None:
    done = shop.pgrehearse("rollback")
    assert done.returncode == 2
    assert "knows no promotion of this database" in done.stderr
    for flag, name in (("--list", "promotions"), ("--undo", "undone")):
        answer = json.loads(shop.pgrehearse("rollback", flag, "--json").stdout)
        validate_answer(name, answer)
        assert answer[name] == []


def test_exported_rows_are_told_apart_by_who_wrote_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counts = {
        (By.APPLICATION, Change.INSERT): 1200,
        (By.APPLICATION, Change.DELETE): 34,
        (By.MIGRATION, Change.UPDATE): 50000,
        (By.UNCLEAR, Change.DELETE): 7,
    }
    table = DifferingTable(
        name="public.users", name_failed="public.users", key=("id",), counts=counts, not_assigned=0,
        new_columns=("nick",), rows_in_new_columns=20, dropped_columns=(), cannot_insert=(),
    )  # fmt: skip
    rows = DifferingRows(
        directory=tmp_path, tables=(table,), only_in_failed=(OneSided(name="public.brand_new", rows=3),),
        only_in_restored=(), not_compared=(), large_objects=None, reapply=None, unclear=None,
    )  # fmt: skip
    swapped = Swapped(
        id="p", database="shop", quarantine="shop_failed_p", rows=rows, written_back=None, sequences=(),
        sessions_refused_ms=1,
    )  # fmt: skip
    written = replace(swapped, rows=replace(rows, tables=(replace(table, not_assigned=2),)), written_back=5)
    assert list(tell_restored(written))[1:3] == [
        "written back: 5 statements of the application's",
        f"not written back: values of 2 rows in columns that the migration wrote too; the SQL files in {tmp_path} have "
        "them as comments",
    ]
    assert not any("written back" in line for line in tell_restored(swapped))
    show_taken(
        TakenBack(promotion="p", database="h/shop", dry_run=False, type="loses-writes", ways=(), restore=swapped)
    )
    assert capsys.readouterr().out.splitlines()[0] == (
        f"  51,264 rows that differ are exported to {tmp_path}: 1,234 by the application, 50,000 by the migration, "
        "7 by either of them, 23 in tables and columns that the backup does not have"
    )

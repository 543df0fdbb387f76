"""`rollback --dry-run` asks production's rows whether the inverse can run on them."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.schemas import validate_answer
from tests.support.shop_project import Shop, make_shop

from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg("== 18")

TABLES = """
CREATE TYPE mood AS ENUM ('calm', 'glad');
CREATE TABLE coded (id int PRIMARY KEY, code text UNIQUE);
CREATE TABLE counted (id int PRIMARY KEY, n int);
CREATE TABLE felt (id int PRIMARY KEY, m mood NOT NULL DEFAULT 'calm');
CREATE TABLE named (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE checked (id int PRIMARY KEY, n int CONSTRAINT positive CHECK (n > 0));
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int CONSTRAINT of_parent REFERENCES parent);
CREATE TABLE priced (id int PRIMARY KEY, price numeric(6, 2));
INSERT INTO coded VALUES (1, 'a');
INSERT INTO counted VALUES (1, 1);
INSERT INTO felt VALUES (1);
INSERT INTO named VALUES (1, 'a');
INSERT INTO checked VALUES (1, 1);
INSERT INTO priced VALUES (1, 1.25);
"""
LOOSENS = """
ALTER TABLE coded DROP CONSTRAINT coded_code_key;
ALTER TABLE counted ALTER n TYPE bigint;
ALTER TABLE named ALTER name DROP NOT NULL;
ALTER TABLE checked DROP CONSTRAINT positive;
ALTER TABLE child DROP CONSTRAINT of_parent;
ALTER TABLE priced ALTER price TYPE numeric(8, 4);
"""
ADDS_LABEL = "ALTER TYPE mood ADD VALUE 'sad';\n"
FAIL = """
INSERT INTO coded VALUES (2, 'a');
INSERT INTO counted VALUES (2, 3000000000);
INSERT INTO felt VALUES (2, 'sad');
"""
WEAKEN = """
INSERT INTO named VALUES (2, NULL);
INSERT INTO checked VALUES (2, -1);
INSERT INTO child VALUES (2, 9);
INSERT INTO priced VALUES (2, 1.2345);
"""


@pytest.fixture
def shop(tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer) -> Shop:
    """Production with our tables, and nothing pending but what a test writes."""
    shop = make_shop(tmp_path, connection, database, uat)
    for file in (shop.folder / "db").iterdir():
        file.unlink()
    shop.execute(TABLES)
    return shop


def promote(shop: Shop, *files: str) -> None:
    for number, text in enumerate(files, 1):
        (shop.folder / f"db/{number:04}_m.sql").write_text(text)
    done = shop.pgrehearse("run", "--target", "uat", "--json")
    assert done.returncode in (0, 1), done.stderr
    gate = json.loads(shop.pgrehearse("status", "prd", "--json").stdout)["gate"]
    names = [name for reason in gate["reasons"] if reason["kind"] == "verdict" for name in reason["details"]]
    accepted = [word for name in names for word in ("--accept", f"{name}=meant")]
    assert shop.pgrehearse("approve", *accepted).returncode == 0
    promoted = shop.pgrehearse("promote")
    assert promoted.returncode == 0, promoted.stderr


def look(shop: Shop, *, exit_code: int = 0) -> dict[str, Any]:
    """The inverse, as the dry run tells it."""
    done = shop.pgrehearse("rollback", "--dry-run", "--inverse", "--json")
    assert done.returncode == exit_code, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    validate_answer("rollback", answer)
    way: dict[str, Any] = answer["ways"][0]
    return way


def find(lines: list[str], *words: str) -> str:
    return next((line for line in lines if all(word in line for word in words)), f"{words} not in {lines}")


def test_rows_that_the_inverse_fails_on_close_it_with_their_keys(shop: Shop) -> None:
    promote(shop, LOOSENS, ADDS_LABEL)
    fresh = look(shop)
    assert fresh["open"]
    assert not find(fresh["told"], "not measured").startswith("inverse")
    shop.execute(FAIL)
    way = look(shop, exit_code=1)
    assert not way["open"]
    code = find(way["why_not"], "public.coded: no two rows have the same (code): 2 rows violate it")
    assert "id=1; id=2" in code
    assert find(way["why_not"], "public.counted", "(id=2)").startswith("would fail on rows written since: inverse:")
    assert find(way["why_not"], "public.felt", "every m is a label", "(id=2)").startswith("would fail")
    assert "say `pgrehearse rollback --restore`" in way["why_not"][-1]
    best = shop.pgrehearse("rollback", "--dry-run")
    assert (best.returncode, "lossless: not open" in best.stdout) == (0, True)

    failed = shop.pgrehearse("rollback")
    assert failed.returncode == 1
    assert "`pgrehearse rollback --restore`" in failed.stderr

    shop.execute("DELETE FROM coded WHERE id = 2; DELETE FROM counted WHERE id = 2; DELETE FROM felt WHERE id = 2")
    assert look(shop)["open"]
    done = shop.pgrehearse("rollback", "--inverse")
    assert done.returncode == 0, done.stderr


def test_promises_that_would_come_back_for_new_rows_only_are_told(shop: Shop) -> None:
    promote(shop, LOOSENS)
    shop.execute(WEAKEN)
    way = look(shop)
    assert way["open"]
    for table, key in (("named", "id=2"), ("checked", "id=2"), ("child", "id=2")):
        assert find(way["told"], "would hold for new rows only", f"public.{table}", key).startswith("would hold")
    assert find(way["told"], "that do not fit back whole", "public.priced", "id=2").startswith("left behind")
    done = shop.pgrehearse("rollback", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["inverse"]["weakened"]) == 3  # as foretold
    with connect(shop.production, verb="test") as session:
        assert fetch_value(session, "SELECT price = 1.23 FROM priced WHERE id = 2")


def test_what_putting_rows_back_mends_does_not_close_the_way(shop: Shop) -> None:
    promote(
        shop,
        "ALTER TABLE coded DROP CONSTRAINT coded_code_key;\nINSERT INTO coded VALUES (5, 'a');\n"
        "ALTER TABLE checked DROP CONSTRAINT positive;\nUPDATE checked SET n = -n;\n",
    )
    way = look(shop)
    assert way["open"]
    for table in ("coded", "checked"):
        assert find(way["told"], f"public.{table}: ").startswith("not measured of rows that come back from the images")
    done = shop.pgrehearse("rollback", "--inverse", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["inverse"]["weakened"] == []


def test_a_question_that_cannot_be_asked_is_told_as_not_measured(shop: Shop) -> None:
    promote(shop, LOOSENS)
    shop.execute(FAIL.replace("'sad'", "'glad'"))
    with connect(shop.production, verb="test") as other, other.transaction():
        other.execute("LOCK TABLE coded")
        way = look(shop, exit_code=1)
    assert find(way["told"], "not measured whether no two rows have the same (code)").startswith("inverse")
    assert find(way["why_not"], "public.counted").startswith("would fail")

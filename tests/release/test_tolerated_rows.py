"""What a declaration lets production destroy, though the rehearsal destroyed none of it, comes back all the same."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.applying import QUICK, rows
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.errors import NotAsRehearsed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.sources.source import Source
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.project import utc_now
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.history import find_promotion
from pgrehearse.release.lineage import database_key
from pgrehearse.release.take_back import TakenBack, take_back
from pgrehearse.release.ways_back import TakeBackRequest

pytestmark = pytest.mark.pg("== 18")
SHOP = """
CREATE TABLE t (id int PRIMARY KEY, v text, n int); INSERT INTO t SELECT n, 'v' || n, n FROM generate_series(1, 100) n;
CREATE TABLE c (id int PRIMARY KEY, t int REFERENCES t ON DELETE CASCADE); CREATE TABLE arch (id int, v text);
"""
PLAN = """
-- pgrehearse: expect updates t between 0 and 10 rows
UPDATE t SET v = 'gone' WHERE n BETWEEN -5 AND -1;
-- pgrehearse: expect inserts arch between 0 and 10 rows
INSERT INTO arch SELECT id, v FROM t WHERE n < -5;
-- pgrehearse: expect deletes t between 0 and 10 rows
-- pgrehearse: expect deletes c between 0 and 10 rows
DELETE FROM t WHERE n < -5;
"""
LATE = """
INSERT INTO t SELECT n, 'keep' || n, -n FROM generate_series(200, 204) n;
INSERT INTO t SELECT n, 'keep' || n, -3 FROM generate_series(300, 305) n;
INSERT INTO c SELECT n, n FROM generate_series(200, 204) n;
"""


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[ReleaseLedger]:
    with ReleaseLedger.open(tmp_path / "ledger.db") as found:
        yield found


@pytest.fixture
def go_back(database: Conninfo, connection: Connection, releases: ReleaseLedger, tmp_path: Path) -> Callable[..., Any]:
    def go(receipt: Receipt, source: Source, *, dry_run: bool) -> TakenBack:
        request = TakeBackRequest(
            production=database, migrate=database, promotion=find_promotion(releases, database_key(connection), None),
            receipt=receipt, migrations=source.migrations, ledger=source.ledger, directory=tmp_path / "rows",
            holder="ann on here", by={"login": "ann", "host": "here", "git": None}, limits=QUICK,
        )  # fmt: skip
        return take_back(
            request, releases=releases, now=utc_now, nonce=lambda: secrets.token_hex(4), progress=Silent(),
            dry_run=dry_run, agree=lambda _: False,
        )  # fmt: skip

    return go


def contents(connection: Connection) -> list[object]:
    return [rows(connection, f"SELECT * FROM {table} ORDER BY id") for table in ("t", "c", "arch")]


def test_rows_that_only_production_had_to_lose_come_back(
    database: Conninfo,
    connection: Connection,
    uat: LocalServer,
    tmp_path: Path,
    releases: ReleaseLedger,
    go_back: Callable[..., TakenBack],
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)
    assert receipt.verdict == "clean"
    rollback = receipt.document["rollback"]
    assert rollback["type"] == "restorable", rollback["reasons"]
    assert {image["relation"] for image in rollback["before_images"]} == {"public.t", "public.c", "public.arch"}
    connection.execute(LATE)
    before = contents(connection)
    run_promotion(request_for(database, receipt, source), releases)
    assert contents(connection) != before
    assert rows(connection, "SELECT count(*) FROM t WHERE v = 'gone' OR id < 100")[0][0] == 105
    dry = go_back(receipt, source, dry_run=True)
    assert dry.type == "restorable"
    told = [line for line in dry.ways[0].told if "not as in the rehearsal" in line]
    assert any("public.c: 0 rows deleted in the rehearsal, 5 here" in line for line in told), told
    assert not any("cannot come back" in line for line in dry.ways[0].told)  # what it points at comes back too
    assert go_back(receipt, source, dry_run=False).type == "restorable"
    assert contents(connection) == before


def test_rows_of_a_partition_that_came_since_are_not_destroyed_without_an_image(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute("""
        CREATE TABLE e (id int, n int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
        CREATE TABLE e_1 PARTITION OF e FOR VALUES FROM (0) TO (100);
        INSERT INTO e SELECT n, n FROM generate_series(1, 50) n
    """)
    plan = """CREATE TABLE e_3 PARTITION OF e FOR VALUES FROM (200) TO (300); INSERT INTO e VALUES (201, 201);
        UPDATE e SET n = n + 1 WHERE id = 201; DELETE FROM e WHERE n = 7;"""
    receipt, source = rehearse_folder(tmp_path, database, uat, plan)
    connection.execute("CREATE TABLE e_2 PARTITION OF e FOR VALUES FROM (100) TO (200)")
    connection.execute("UPDATE e SET n = 0 WHERE n = 7; INSERT INTO e VALUES (150, 7)")
    before = rows(connection, "SELECT tableoid::regclass, * FROM e ORDER BY id")
    with pytest.raises(NotAsRehearsed, match=r"public\.e_2: a partition that the rehearsal did not know"):
        run_promotion(request_for(database, receipt, source), releases)
    assert rows(connection, "SELECT tableoid::regclass, * FROM e ORDER BY id") == before
    connection.execute("UPDATE e SET n = 8 WHERE id = 150; UPDATE e SET n = 7 WHERE id = 7")
    assert run_promotion(request_for(database, receipt, source), releases).applied


def test_without_an_image_no_way_back_is_called_lossless_where_production_destroyed_something(
    database: Conninfo,
    connection: Connection,
    uat: LocalServer,
    tmp_path: Path,
    releases: ReleaseLedger,
    go_back: Callable[..., TakenBack],
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)
    connection.execute(LATE)
    run_promotion(request_for(database, receipt, source, take_images=False), releases)
    calls_it_lossless = {**receipt.document["rollback"], "type": "lossless", "before_images": []}
    taken = go_back(Receipt({**receipt.document, "rollback": calls_it_lossless}), source, dry_run=True)
    assert taken.type == "impossible"
    assert any(
        "production destroyed more than the rehearsal did" in line and "public.t: 0 rows updated" in line
        for line in taken.ways[0].why_not
    ), taken.ways

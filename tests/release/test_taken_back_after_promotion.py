"""What a promotion images in production is what takes it back: more than the rehearsal's own images, and as good."""

from pathlib import Path

import pytest
from tests.support.applying import recorded, rows, sessions_to
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.errors import NotAsRehearsed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.aside import find_going
from pgrehearse.rollback.image import find_images
from pgrehearse.rollback.left_behind import find_left_behind
from pgrehearse.rollback.perform import Ddl, perform

SHOP = """
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total numeric(9, 2), note text);
CREATE TABLE keyless (n int GENERATED ALWAYS AS IDENTITY, v int);
CREATE TABLE small (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
CREATE TABLE parted (id int GENERATED ALWAYS AS IDENTITY, k int, v int) PARTITION BY RANGE (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE tags (name text PRIMARY KEY);
INSERT INTO orders (total, note) SELECT n, 'note ' || n FROM generate_series(1, 40) n;
INSERT INTO keyless (v) SELECT n % 5 FROM generate_series(1, 20) n;
INSERT INTO small (v) SELECT 'v' || n FROM generate_series(1, 10) n;
INSERT INTO parted (k, v) SELECT n, n % 3 FROM generate_series(1, 12) n;
INSERT INTO tags SELECT 't' || n FROM generate_series(1, 5) n;
"""
PLAN = """
ALTER TABLE orders DROP COLUMN note;
UPDATE orders SET total = total * 2 WHERE id <= 10;
UPDATE keyless SET v = v + 100 WHERE v = 3;
UPDATE parted SET v = v + 100 WHERE v = 2;
ALTER TABLE small ALTER id TYPE bigint;
"""
TABLES = ("orders", "keyless", "small", "parted")


def contents(connection: Connection) -> dict[str, list[tuple[object, ...]]]:
    return {table: rows(connection, f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1") for table in TABLES}


@pytest.mark.pg("== 18")
def test_tables_with_identities_come_back_and_later_writes_stay(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP)
    before = contents(connection)
    identities = (
        "SELECT attrelid::regclass::text, attname, attidentity FROM pg_attribute "
        "WHERE attidentity <> '' AND attrelid::regclass::text !~ '^pgrehearse' ORDER BY 1"
    )
    shape = rows(connection, identities)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN)
    rollback = receipt.document["rollback"]
    assert rollback["type"] == "restorable", rollback["reasons"]
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        promotion = run_promotion(request_for(database, receipt, source), releases)
    images = find_images(connection, id=promotion.id)
    assert {image.relation: image.plan.key for image in images}["public.orders"] == ("id",)
    connection.execute("""
        INSERT INTO orders (total) VALUES (7777); UPDATE orders SET total = 1 WHERE id = 5;
        DELETE FROM orders WHERE id = 7;
    """)
    told = find_left_behind(connection, images, ())
    assert [line for line in told if "orders" in line] == [
        "left behind: 1 row of public.orders is gone under its key since, deleted or given another, and stays so; "
        "the image keeps the one before (id=7)",
        "left behind: 1 row of public.orders holds values written since, which stay; the ones before stand in "
        "pgrehearse_quarantine then (id=5)",
        "1 row of public.orders was written since and gets a value back by its key, as one does that was deleted and "
        "written anew (id=5)",
    ]
    assert any("public.keyless: no key that the plan leaves alone" in line for line in told)
    went = perform(
        sessions_to(database), Ddl.of_receipt(rollback), images, ledger=source.ledger, plan=source.migrations,
        id=promotion.id, going=find_going(receipt.document["schema"]["changes"]),
    )  # fmt: skip
    assert went.put_back is not None
    (orders,) = (each for each in went.put_back.tables if each.relation == "public.orders")
    assert (orders.rows_deleted_since, orders.rows_left) == (1, 1)
    assert recorded(connection) == []
    assert rows(connection, "SELECT total, note FROM orders WHERE id IN (5, 6, 7, 41) ORDER BY id") == [
        (1, "note 5"), (6, "note 6"), (7777, None),
    ]  # fmt: skip
    after = contents(connection)
    assert {table: after[table] for table in TABLES[1:]} == {table: before[table] for table in TABLES[1:]}
    assert rows(connection, identities) == shape


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("update", ["UPDATE tags SET name = lower(name);", "UPDATE small SET v = lower(v);"])
def test_an_update_that_changes_a_key_or_a_value_unseen_is_refused(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, update: str
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, update)
    connection.execute("UPDATE tags SET name = 'ABC' WHERE name = 't1'; UPDATE small SET v = 'ABC' WHERE id = 1")
    with (
        ReleaseLedger.open(tmp_path / "ledger.db") as releases,
        pytest.raises(NotAsRehearsed, match=r"public\.(tags|small): the rehearsal changed no value"),
    ):
        run_promotion(request_for(database, receipt, source), releases)
    assert recorded(connection) == []

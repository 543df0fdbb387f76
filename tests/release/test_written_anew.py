"""What the application wrote since into columns that the way back writes anew is copied aside, and nothing else is."""

from pathlib import Path

import pytest
from tests.support.applying import rows, sessions_to
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.aside import find_going, find_rewritten
from pgrehearse.rollback.image import find_images
from pgrehearse.rollback.left_behind import find_left_behind
from pgrehearse.rollback.perform import Ddl, WentBack, perform

SHOP = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE computed (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE named (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE again (id int PRIMARY KEY, a int, g int GENERATED ALWAYS AS (a * 2) STORED);
CREATE TABLE typed (id int PRIMARY KEY, n numeric(10,2), r real, d date, i int, b bool, m mood, s varchar(9));
INSERT INTO computed SELECT g, g FROM generate_series(1, 5) g;
INSERT INTO named SELECT g, g FROM generate_series(1, 5) g;
INSERT INTO again SELECT g, g FROM generate_series(1, 5) g;
INSERT INTO typed SELECT g, g / 3.0, g / 3.0, '2026-01-01', g, g > 2, 'sad', 's' || g FROM generate_series(1, 5) g;
"""
COMPUTED = "ALTER TABLE computed ALTER g DROP EXPRESSION;"
NAMED = "ALTER TABLE named ALTER g DROP EXPRESSION; ALTER TABLE named RENAME g TO h;"
AGAIN = "ALTER TABLE again DROP COLUMN g; ALTER TABLE again ADD COLUMN g int; UPDATE again SET g = a * 2;"
TYPED = """
ALTER TABLE typed ALTER n TYPE numeric, ALTER r TYPE float8, ALTER d TYPE timestamp, ALTER i TYPE bigint,
    ALTER m TYPE text, ALTER s TYPE text, ALTER b TYPE text USING CASE WHEN b THEN 'yes' ELSE 'no' END;
DROP TYPE mood;
"""
APPLICATION = """
INSERT INTO computed VALUES (6, 6, 99), (7, 7, 14); UPDATE computed SET g = 5 WHERE id = 4;
INSERT INTO named VALUES (6, 6, 99), (7, 7, NULL);
UPDATE again SET g = 777 WHERE id = 2;
INSERT INTO typed VALUES (6, 1.23456, 0.1234567890123, '2026-02-02 03:04:05', 6, 'no', 'glad', 'short');
INSERT INTO typed VALUES (7, 1.5, 0.5, '2026-02-02', 7, 'true', 'sad', 'short');
UPDATE typed SET n = 9.999 WHERE id = 3;
"""


@pytest.mark.pg(">= 15")
def test_values_that_come_back_as_others_are_copied_first(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, COMPUTED + NAMED + AGAIN + TYPED)
    rollback, changes = receipt.document["rollback"], receipt.document["schema"]["changes"]
    assert rollback["type"] in ("lossless", "restorable"), rollback
    assert [str(each) for each in find_rewritten(changes)] == [
        "public.again.g", "public.computed.g", "public.named.h",
        *(f"public.typed.{column}" for column in "bdimnrs"),
    ]  # fmt: skip
    (line,) = [each for each in rollback["left_behind"] if "is another value in the type" in each]
    assert "public.again.g, public.computed.g, public.named.h" in line
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        promotion = run_promotion(request_for(database, receipt, source), releases)
    images = find_images(connection, id=promotion.id)
    assert [line for line in find_left_behind(connection, images, changes) if "copied to" in line] == []
    connection.execute(APPLICATION)
    told = find_left_behind(connection, images, changes)
    went: WentBack = perform(
        sessions_to(database), Ddl.of_receipt(rollback), images, ledger=source.ledger, plan=source.migrations,
        id=promotion.id, going=find_going(changes),
    )  # fmt: skip
    kept = {
        each.what: dict(rows(connection, f"SELECT id, {each.what.rpartition('.')[2]}::text FROM {each.table}"))
        for each in went.kept_aside
    }
    assert kept == {
        "public.again.g": {2: "777"},
        "public.computed.g": {4: "5", 6: "99"},
        "public.named.h": {6: "99"},
        "public.typed.b": {3: "yes", 6: "no"},  # who wrote a row wrote all of it
        "public.typed.d": {6: "2026-02-02 03:04:05"},
        "public.typed.m": {3: "sad", 6: "glad", 7: "sad"},
        "public.typed.n": {3: "9.999", 6: "1.23456"},
        "public.typed.r": {6: "0.1234567890123"},
    }
    counted = {line.split(" of ")[1].split(",")[0]: line for line in told if "copied to" in line}
    assert sorted(counted) == sorted(kept)
    assert rows(connection, "SELECT id, g FROM computed ORDER BY id") == [(n, n * 2) for n in range(1, 8)]


@pytest.mark.pg(">= 15")
def test_a_value_that_does_not_fit_stops_the_way_back_as_before(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, "ALTER TABLE typed ALTER i TYPE bigint;")
    changes = receipt.document["schema"]["changes"]
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        promotion = run_promotion(request_for(database, receipt, source), releases)
    connection.execute("UPDATE typed SET i = 5000000000 WHERE id = 1")
    images = find_images(connection, id=promotion.id)
    assert [line for line in find_left_behind(connection, images, changes) if "copied to" in line] == []

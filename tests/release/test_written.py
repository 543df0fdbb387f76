"""What the rehearsal saw unchanged must stay unchanged, and what a plan writes over is copied first."""

from pathlib import Path

import pytest
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.errors import NotAsRehearsed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

B = (
    "CREATE TABLE b (id int PRIMARY KEY, email text, y int); "
    "INSERT INTO b SELECT n, 'u' || n, n FROM generate_series(1, 50) n"
)
NORMALISE = "UPDATE b SET email = lower(trim(email));"


@pytest.mark.pg(">= 15")
def test_an_update_that_changed_nothing_in_rehearsal_may_change_nothing_in_production(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(B)
    receipt, source = rehearse_folder(tmp_path, database, uat, NORMALISE)
    assert receipt.verdict == "clean"
    connection.execute("UPDATE b SET email = '  ABC' WHERE id = 5")
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with pytest.raises(NotAsRehearsed, match=r"public\.b: the rehearsal changed no value .* those of 1 rows"):
            run_promotion(request_for(database, receipt, source), releases)
        assert fetch_value(connection, "SELECT email FROM b WHERE id = 5") == "  ABC"
        connection.execute("UPDATE b SET email = 'abc' WHERE id = 5")
        promotion = run_promotion(request_for(database, receipt, source), releases)
    assert promotion.applied == ("0001_step",)


@pytest.mark.pg(">= 15")
def test_an_update_beside_a_loss_that_was_accepted_is_imaged_too(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute(B)
    receipt, source = rehearse_folder(tmp_path, database, uat, "ALTER TABLE b DROP COLUMN y;\n" + NORMALISE)
    connection.execute("UPDATE b SET email = '  ABC' WHERE id = 5")
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        promotion = run_promotion(request_for(database, receipt, source), releases)
    assert [image["relation"] for image in promotion.images] == ["public.b"]
    kept = f"""SELECT count(*) FROM pgrehearse_quarantine."{promotion.id}_1_b" k WHERE k::text LIKE '%  ABC%'"""
    assert fetch_value(connection, kept) == 1


@pytest.mark.pg(">= 15")
def test_a_type_change_that_lost_nothing_in_rehearsal_is_imaged(
    tmp_path: Path, database: Conninfo, connection: Connection, uat: LocalServer
) -> None:
    connection.execute("CREATE TABLE n (id int PRIMARY KEY, v numeric(10, 2)); INSERT INTO n VALUES (1, 2)")
    receipt, source = rehearse_folder(tmp_path, database, uat, "ALTER TABLE n ALTER v TYPE int;")
    connection.execute("INSERT INTO n VALUES (2, 1.55)")
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        promotion = run_promotion(request_for(database, receipt, source), releases)
    assert [image["relation"] for image in promotion.images] == ["public.n"]
    kept = f"""SELECT count(*) FROM pgrehearse_quarantine."{promotion.id}_1_n" k WHERE k::text LIKE '%1.55%'"""
    assert fetch_value(connection, kept) == 1

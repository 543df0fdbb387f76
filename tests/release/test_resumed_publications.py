"""A promotion is resumed: what an applied file did to a publication or an event trigger is no drift."""

from pathlib import Path

import pytest
from tests.support.applying import recorded
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.errors import MigrationFailed, NotAsRehearsed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE sessions (id int PRIMARY KEY, note text);
CREATE TABLE prices (id int PRIMARY KEY, v numeric(10, 2));
CREATE PUBLICATION members FOR TABLE users, prices;
CREATE PUBLICATION emptied FOR TABLE sessions;
CREATE PUBLICATION options FOR TABLE sessions;
CREATE PUBLICATION renamed FOR TABLE sessions;
CREATE PUBLICATION others FOR TABLE users;
CREATE FUNCTION quiet() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watching ON sql_drop EXECUTE FUNCTION quiet();
"""
PLAN = (
    "ALTER PUBLICATION members SET TABLE users, sessions; ALTER PUBLICATION emptied DROP TABLE sessions; "
    "ALTER PUBLICATION options SET (publish = 'insert'); ALTER PUBLICATION renamed RENAME TO has_a_new_name; "
    "ALTER EVENT TRIGGER watching DISABLE",
    "ALTER TABLE prices ADD COLUMN w int;",
    "ALTER TABLE users ADD COLUMN nick text; ALTER EVENT TRIGGER watching ENABLE;",
)


@pytest.mark.pg("== 18")
def test_a_publication_that_an_applied_file_has_set_is_no_drift(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP.encode())
    receipt, source = rehearse_folder(tmp_path, database, uat, *PLAN)
    request = request_for(database, receipt, source)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with connect(database, verb="reader", autocommit=False) as reader:
            reader.execute("SELECT * FROM prices")
            with pytest.raises(MigrationFailed, match="lock timeout"):
                run_promotion(request, releases)
        assert recorded(connection) == ["0001_step"]
        connection.execute("ALTER PUBLICATION others SET TABLE prices")
        with pytest.raises(NotAsRehearsed, match=r"publication relation others on public\.prices: added"):
            run_promotion(request, releases)
        connection.execute(
            "ALTER PUBLICATION others SET TABLE users; ALTER PUBLICATION others SET (publish = 'insert')"
        )
        connection.execute("CREATE EVENT TRIGGER another ON sql_drop EXECUTE FUNCTION quiet()")
        with pytest.raises(NotAsRehearsed, match=r"event trigger another: added"):
            run_promotion(request, releases)
        connection.execute("DROP EVENT TRIGGER another")
        assert run_promotion(request, releases).applied == ("0002_step", "0003_step")

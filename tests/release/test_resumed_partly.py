"""A promotion that stopped behind whole files meets a production that nobody rehearsed in that state."""

from pathlib import Path

import pytest
from psycopg import sql
from tests.support.applying import recorded, rows
from tests.support.promoting import folder_of, rehearse_folder, request_for, run_promotion

from pgrehearse.errors import MigrationFailed, NotAsRehearsed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.observer import Observers
from pgrehearse.migrations.segments import Segment
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.image import find_images

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, name text);
CREATE TABLE sessions (id int PRIMARY KEY, user_id int, note text);
CREATE TABLE prices (id int PRIMARY KEY, v numeric(10, 2));
INSERT INTO users SELECT n, 'u' || n FROM generate_series(1, 10) n;
INSERT INTO sessions SELECT n, n, 's' || n FROM generate_series(1, 15) n;
INSERT INTO prices SELECT n, n FROM generate_series(1, 5) n;
"""
PLAN = (
    "ALTER TABLE users ADD COLUMN nick text;",
    "DELETE FROM sessions WHERE user_id NOT IN (SELECT id FROM users); ALTER TABLE prices ALTER v TYPE int;",
    "UPDATE users SET nick = name WHERE id <= 3;",
)


@pytest.mark.pg("== 18")
def test_what_changed_between_two_runs_is_met_as_the_gate_and_the_watch_would_have_met_it(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, *PLAN)
    request = request_for(database, receipt, source)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with connect(database, verb="reader", autocommit=False) as reader:
            reader.execute("SELECT * FROM prices")  # so that 0002 stops at its second statement
            with pytest.raises(MigrationFailed, match="lock timeout"):
                run_promotion(request, releases)
        assert recorded(connection) == ["0001_step"]

        def refused(change: str, back: str, says: str) -> None:
            connection.execute(change.encode())
            with pytest.raises(NotAsRehearsed, match=says):
                run_promotion(request, releases)
            assert recorded(connection) == ["0001_step"]
            assert rows(connection, "SELECT count(*) FROM sessions WHERE id <= 15") == [(15,)]
            connection.execute(back.encode())

        refused(
            "DELETE FROM users WHERE id = 10", "INSERT INTO users VALUES (10, 'u10')",
            r"public\.sessions: 5 rows deleted in the rehearsal, 6 here",
        )  # fmt: skip
        refused(
            "INSERT INTO prices VALUES (6, 1.5)", "DELETE FROM prices WHERE id = 6",
            r"public\.prices\.v: its type changes from numeric\(10,2\) to integer; .* those of 1 row",
        )  # fmt: skip
        refused(  # what the first file added is used by now, and the third would write over it
            "CREATE FUNCTION n() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
            "CREATE TRIGGER n BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION n()",
            "DROP FUNCTION n() CASCADE",
            r"public\.users: trigger n",
        )
        refused(  # which the first file touched, and no transaction's evidence holds
            "CREATE PUBLICATION pp FOR TABLE users", "DROP PUBLICATION pp",
            r"publication relation pp.*: added",
        )  # fmt: skip
        refused(
            "CREATE STATISTICS s ON id, name FROM users", "DROP STATISTICS s", r"statistics object public\.s.*: added"
        )
        edited = folder_of(tmp_path, PLAN[0], PLAN[1].replace("NOT IN", "IN"), PLAN[2])
        with pytest.raises(NotAsRehearsed, match=r"0002_step\.sql is not the file that was rehearsed"):
            run_promotion(request_for(database, receipt, edited), releases)
        assert recorded(connection) == ["0001_step"]


@pytest.mark.pg("== 18")
def test_rows_that_were_written_between_two_runs_are_in_the_images(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, *PLAN)
    request = request_for(database, receipt, source)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with connect(database, verb="reader", autocommit=False) as reader:
            reader.execute("SELECT * FROM prices")
            with pytest.raises(MigrationFailed, match="lock timeout"):
                run_promotion(request, releases)
        connection.execute("UPDATE sessions SET note = 'between' WHERE id = 15; INSERT INTO prices VALUES (6, 7)")
        promotion = run_promotion(request, releases)
    assert promotion.already_applied == ("0001_step",)
    assert promotion.applied == ("0002_step", "0003_step")
    (image,) = (each for each in find_images(connection, id=promotion.id) if each.relation == "public.sessions")
    kept = sql.SQL("SELECT note FROM {} WHERE id = 15").format(image.identifier)
    assert connection.execute(kept).fetchall() == [("between",)]
    assert rows(connection, "SELECT count(*), count(nick) FROM users") == [(10, 3)]


@pytest.mark.pg("== 18")
def test_a_publication_that_the_plan_itself_leaves_and_joins_again_is_no_drift(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP.encode())
    connection.execute("CREATE PUBLICATION pp FOR TABLE users; CREATE PUBLICATION kept FOR TABLE users")
    plan = (
        "ALTER PUBLICATION pp DROP TABLE users; ALTER TABLE users ADD COLUMN nick text; "
        "CREATE PUBLICATION mine FOR TABLE users",
        "ALTER TABLE prices ALTER v TYPE numeric(12, 2);",
        "ALTER PUBLICATION pp ADD TABLE users;",
    )
    receipt, source = rehearse_folder(tmp_path, database, uat, *plan)
    request = request_for(database, receipt, source)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with connect(database, verb="reader", autocommit=False) as reader:
            reader.execute("SELECT * FROM prices")
            with pytest.raises(MigrationFailed, match="lock timeout"):
                run_promotion(request, releases)
        assert recorded(connection) == ["0001_step"]
        connection.execute("DROP PUBLICATION kept")
        with pytest.raises(NotAsRehearsed, match=r"publication relation kept.*: removed"):
            run_promotion(request, releases)
        connection.execute("CREATE PUBLICATION kept FOR TABLE users")
        assert run_promotion(request, releases).applied == ("0002_step", "0003_step")


@pytest.mark.pg("== 18")
def test_what_others_do_to_a_table_between_two_transactions_is_met_before_the_next_commit(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table is not changed by joining a publication, so no transaction's evidence holds it."""
    connection.execute(SHOP.encode())
    connection.execute("CREATE PUBLICATION pp; CREATE PUBLICATION ours FOR TABLE prices")
    plan = (
        "ALTER PUBLICATION ours ADD TABLE users; ALTER TABLE users ADD COLUMN nick text;",
        "CREATE INDEX CONCURRENTLY prices_v ON prices (v);",
        "ALTER TABLE prices ADD COLUMN old numeric; ALTER TABLE users RENAME TO people;",
        "UPDATE people SET nick = name WHERE id <= 3;",
    )
    receipt, source = rehearse_folder(tmp_path, database, uat, *plan)
    request = request_for(database, receipt, source)
    begun = Observers.transaction_begun
    then: list[str] = []

    def begin(observers: Observers, session: Connection, segment: Segment) -> None:
        """Before the first observer: the next one locks what it keeps an image of."""
        if then and segment.parts[0].migration.version == "0004_step":
            connection.execute(then.pop().encode())
        begun(observers, session, segment)

    monkeypatch.setattr(Observers, "transaction_begun", begin)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        then.append("ALTER PUBLICATION pp ADD TABLE people")
        with pytest.raises(NotAsRehearsed, match=r"publication relation pp on public\.people: added"):
            run_promotion(request, releases)
        assert recorded(connection) == ["0001_step", "0002_step", "0003_step"]
        assert rows(connection, "SELECT count(nick) FROM people") == [(0,)]
        connection.execute("ALTER PUBLICATION pp DROP TABLE people")
        assert run_promotion(request, releases).applied == ("0004_step",)

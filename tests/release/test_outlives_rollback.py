"""What a refused promotion leaves behind although its transaction was rolled back is told, and nothing is put back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.applying import rows
from tests.support.promoting import drizzle_folder_of, rehearse_folder, request_for, run_promotion
from tests.support.schemas import validate_answer

from pgrehearse.errors import MigrationFailed, NotAsRehearsed
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.reach import outlives_rollback
from pgrehearse.migrations.statements import split_file
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.lineage import database_key
from pgrehearse.release.outlives_rollback import find_left_behind

SHOP = """
CREATE SEQUENCE tickets; SELECT setval('tickets', 500);
CREATE SEQUENCE idle; SELECT setval('idle', 7);
CREATE SEQUENCE "Odd down" INCREMENT -1 MAXVALUE 900 START 900;
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, user_id int);
CREATE TABLE audit (id serial, what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO audit (what) VALUES (TG_OP); RETURN NULL; END $$;
CREATE TRIGGER note AFTER DELETE ON orders FOR EACH ROW EXECUTE FUNCTION note();
INSERT INTO orders (user_id) SELECT n FROM generate_series(1, 20) n;
"""
# It draws (an identity, a trigger's serial), sets one back, restarts another in a way that does roll back.
PLAN = """
SELECT setval('tickets', 3);
SELECT nextval('"Odd down"'), nextval('"Odd down"');
ALTER SEQUENCE idle RESTART WITH 1000;
INSERT INTO orders (user_id) VALUES (100), (101), (102);
DELETE FROM orders WHERE user_id > 15;
"""


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[ReleaseLedger]:
    with ReleaseLedger.open(tmp_path / "ledger.db") as opened:
        yield opened


def position(connection: Connection, name: str) -> tuple[int, bool]:
    ((last_value, is_called),) = rows(connection, f"SELECT last_value, is_called FROM {name}")
    return last_value, is_called


NAMES = ("tickets", "idle", '"Odd down"', "orders_id_seq", "audit_id_seq")


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("make", [None, drizzle_folder_of], ids=["folder", "drizzle"])
def test_the_sequences_that_a_refused_promotion_moved_are_told_and_no_others(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger, make: object
) -> None:
    connection.execute(SHOP)
    receipt, source = rehearse_folder(tmp_path, database, uat, PLAN, **({"make": make} if make else {}))  # type: ignore[arg-type]
    connection.execute("INSERT INTO orders (user_id) VALUES (99)")
    before = {name: position(connection, name) for name in NAMES}
    with pytest.raises(NotAsRehearsed, match="8 rows deleted in the rehearsal, 9 here") as caught:
        run_promotion(request_for(database, receipt, source), releases)
    after = {name: position(connection, name) for name in NAMES}
    moved = {name for name in NAMES if after[name] != before[name]}
    assert moved == {"tickets", '"Odd down"', "orders_id_seq", "audit_id_seq"}
    told = str(caught.value).splitlines()[1:]
    assert len(told) == len(moved)
    for name in moved:
        (line,) = (line for line in told if f"sequence public.{name} went" in line)
        assert ("hands out numbers again" in line) is (name == "tickets")
        connection.execute(line.split(": ")[-1].encode())  # the statement that it offers
    assert {name: position(connection, name) for name in NAMES} == before
    assert "public.tickets went from 500 to 3," in "\n".join(told)
    assert 'public."Odd down" went from 900 (not handed out yet) to 899,' in "\n".join(told)
    (step,) = (entry.body for entry in releases.entries(kind="promotion-step") if entry.body["state"] == "rolled-back")
    assert {each["name"] for each in step["sequences_moved"]} == {f"public.{name}" for name in moved}
    (ended,) = releases.entries(kind="promotion-ended")
    assert all(line in ended.body["message"] for line in told)
    status = find_left_behind(releases, database_key(connection))
    assert status == tuple(f"promotion {ended.subject} was rolled back: {line}" for line in told)


@pytest.mark.pg("== 18")
def test_what_an_earlier_attempt_moved_stands_in_the_promotions_record(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP + "CREATE TABLE busy (a int);")
    connection.execute("CREATE FUNCTION draw() RETURNS int RETURN nextval('tickets')")
    plan = "INSERT INTO orders (user_id) VALUES (1), (2); ALTER TABLE busy ADD b int DEFAULT draw();"
    receipt, source = rehearse_folder(tmp_path, database, uat, plan)
    request = request_for(database, receipt, source)
    with connect(database, verb="reader", autocommit=False) as reader:
        reader.execute("SELECT * FROM busy")
        connection.execute("SELECT nextval('idle')")
        with pytest.raises(MigrationFailed, match=r"sequence public\.orders_id_seq went from 20 to 26, which no"):
            run_promotion(request, releases)  # three attempts
    promotion = run_promotion(request, releases)
    (moved,) = promotion.sequences_moved
    assert (moved["name"], moved["before"]["last_value"], moved["after"]["last_value"]) == (
        "public.orders_id_seq",
        20,
        26,
    )
    assert position(connection, "orders_id_seq") == (28, True)
    validate_answer("promote", promotion.as_json())
    assert find_left_behind(releases, database_key(connection)) == ()


@pytest.mark.pg("== 18")
def test_what_the_failing_statement_itself_may_have_drawn_is_told_as_such(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, releases: ReleaseLedger
) -> None:
    connection.execute(SHOP + "CREATE TABLE twice (n int UNIQUE);")
    plan = "INSERT INTO twice SELECT nextval('tickets') - 480 + n - n FROM generate_series(1, 5) n;"
    receipt, source = rehearse_folder(tmp_path, database, uat, plan)
    connection.execute("INSERT INTO twice VALUES (23); SELECT nextval('idle')")
    with pytest.raises(MigrationFailed, match="duplicate key") as caught:
        run_promotion(request_for(database, receipt, source), releases)
    (line,) = str(caught.value).splitlines()[-1:]
    assert line.startswith("sequence public.tickets went from 500 to 503, by the statement that failed or by others")
    assert "idle" not in str(caught.value)


def test_what_reaches_beyond_the_database_by_a_function_or_a_file_outlives_a_rollback() -> None:
    script = b"""
        CREATE ROLE r; COMMENT ON ROLE r IS 'x'; COPY (SELECT 1) TO '/tmp/x'; SELECT pg_reload_conf();
        DO $$ BEGIN PERFORM dblink_exec('x', 'y'); END $$; SELECT 1;
    """
    statements = split_file(script, path="x.sql", kind=SourceKind.SQL_FOLDER)
    assert [outlives_rollback(each.kind, each.beyond) for each in statements] == [False, False, True, True, True, False]

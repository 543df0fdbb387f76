"""Plans that come back to a table in a later transaction: what before-images can hold, and what only a backup has."""

from pathlib import Path

import pytest
from tests.support.applying import rows
from tests.support.promoting import rehearse_folder, request_for, run_promotion

from pgrehearse.errors import ImagesNotTaken
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.recoverability import DUMP, Proof

pytestmark = pytest.mark.pg("== 18")

TABLES = ("backfilled", "renamed", "column_renamed", "widened", "twice", "thinned", "keyless", "retyped")
SHOP = "".join(
    f"CREATE TABLE {name} (id int{'' if name == 'keyless' else ' PRIMARY KEY'}, body text, code varchar(9));"
    f"INSERT INTO {name} SELECT n, 'body-' || n, 'c' FROM generate_series(1, 9) n;"
    for name in TABLES
)
# The commonest of all plans, an expansion with its backfill, and whatever else leaves the rows of a table alone first.
PLAN = (
    """ALTER TABLE backfilled ADD COLUMN nick text; ALTER TABLE keyless ADD COLUMN nick text;
    ALTER TABLE renamed RENAME TO afterwards; ALTER TABLE column_renamed RENAME COLUMN body TO content;
    ALTER TABLE twice ADD COLUMN nick text, ADD COLUMN other text; ALTER TABLE thinned ADD COLUMN nick text;
    ALTER TABLE widened ALTER COLUMN body SET DEFAULT 'none'; UPDATE retyped SET code = upper(code);""",
    """UPDATE backfilled SET nick = lower(body); UPDATE keyless SET nick = lower(body);
    UPDATE afterwards SET body = upper(body); INSERT INTO column_renamed VALUES (10, 'body-10', 'c');
    UPDATE twice SET nick = lower(body); DELETE FROM thinned WHERE id > 6; UPDATE widened SET body = upper(body);""",
    """ALTER TABLE backfilled ALTER nick SET NOT NULL; ALTER TABLE keyless ALTER nick SET NOT NULL;
    ALTER TABLE widened ALTER body SET NOT NULL; UPDATE twice SET other = nick;
    ALTER TABLE retyped ALTER code TYPE varchar(20);""",
)

AGAIN = ("backfilled", "retyped", "thinned", "twice", "widened")


def everything(session: Connection) -> list[object]:
    names = [row[0] for row in rows(session, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")]
    return [(name, rows(session, f"SELECT * FROM {name} ORDER BY id")) for name in names]


def test_a_table_may_be_reshaped_by_one_transaction_and_written_by_the_next(
    connection: Connection, database: Conninfo, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP.encode())
    receipt, source = rehearse_folder(tmp_path, database, uat, *PLAN)
    before = everything(connection)
    for text in PLAN:  # what the plan does, by plain SQL
        connection.execute(f"BEGIN; {text} COMMIT".encode())
    expected = everything(connection)
    assert expected != before
    connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner")
    connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC; COMMENT ON SCHEMA public IS 'standard public schema'")
    connection.execute(SHOP.encode())
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        done = run_promotion(request_for(database, receipt, source), releases)
    assert everything(connection) == expected
    kept = {image["relation"]: image["rows"] for image in done.images}
    assert kept == {f"public.{name}": 9 for name in TABLES}
    # What was destroyed, as it was: the first transaction has not spoilt the copies that the second needed.
    images = dict(rows(connection, "SELECT regexp_replace(tablename, '^.*?_[0-9]+_', ''), tablename FROM pg_tables "
                                   "WHERE schemaname = 'pgrehearse_quarantine'"))  # fmt: skip

    def image(name: str, columns: str) -> list[tuple[object, ...]]:
        return rows(connection, f'SELECT {columns} FROM pgrehearse_quarantine."{images[name]}" ORDER BY id')

    assert image("thinned", "id, body") == [(n, f"body-{n}") for n in (7, 8, 9)]
    assert image("renamed", "id, body") == [(n, f"body-{n}") for n in range(1, 10)]
    assert image("widened", "id, body") == [(n, f"body-{n}") for n in range(1, 10)]
    for untouched in ("backfilled", "twice", "keyless"):
        assert image(untouched, "id") == []


def test_what_two_transactions_destroy_needs_a_backup(
    connection: Connection, database: Conninfo, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SHOP.encode())
    receipt, source = rehearse_folder(
        tmp_path, database, uat,
        "UPDATE twice SET body = 'a'; INSERT INTO thinned VALUES (10, 'a', 'b'); DELETE FROM widened WHERE id = 1;"
        "DELETE FROM backfilled WHERE id = 1; ALTER TABLE retyped ALTER code TYPE text;",
        "UPDATE twice SET body = 'b'; DELETE FROM thinned WHERE id = 1; DELETE FROM renamed;"
        "ALTER TABLE widened DROP COLUMN body; DROP TABLE backfilled;"
        "UPDATE retyped SET code = upper(code);",
    )  # fmt: skip
    before = everything(connection)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        with pytest.raises(ImagesNotTaken) as refused:
            run_promotion(request_for(database, receipt, source), releases)
        assert sorted(str(refused.value).splitlines()) == [
            f"2 transactions of the plan destroy or add something of public.{name} "
            "(they begin at 0001_step, line 1; 0002_step, line 1), and an image holds what one of them took"
            for name in AGAIN
        ]
        assert "backup.policy" in refused.value.remedy
        assert everything(connection) == before
        assert rows(connection, "SELECT to_regnamespace('pgrehearse_quarantine')") == [(None,)]
        dump = Proof(way=DUMP, summary="a dump", facts={"directory": str(tmp_path)})
        told: list[str] = []
        done = run_promotion(request_for(database, receipt, source), releases, secure=lambda: (dump,), told=told)
    assert [image["relation"] for image in done.images] == ["public.renamed"]
    assert sorted(line.split(" (")[0] for line in told if line.startswith("not copied")) == [
        f"not copied, only the backup has it: 2 transactions of the plan destroy or add something of public.{name}"
        for name in AGAIN
    ]
    assert rows(connection, "SELECT DISTINCT body FROM twice") == [("b",)]

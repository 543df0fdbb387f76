"""The locks of a statement that fails, which has given them back when it is asked."""

from pathlib import Path

import pytest
from tests.rehearsal.test_rehearse import run

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

SHOP = """
CREATE TABLE users (id int PRIMARY KEY, email text);
INSERT INTO users SELECT n, 'same' FROM generate_series(1, 200) n;
CREATE TABLE orders (id int PRIMARY KEY, user_id int);
INSERT INTO orders SELECT n, n + 150 FROM generate_series(1, 200) n;
"""
MIGRATION = """
UPDATE users SET email = 'other' WHERE id = 1;
ALTER TABLE orders ADD COLUMN note text;
ALTER TABLE orders ADD CONSTRAINT orders_user FOREIGN KEY (user_id) REFERENCES users;
"""


# A foreign key takes SHARE ROW EXCLUSIVE on both tables (the manual, 13.3.1 and ALTER TABLE); of orders the plan
# holds more already.
@pytest.mark.pg(">= 15")
def test_the_locks_of_a_failed_statement_are_seen_by_running_its_transaction_again(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute(SHOP.encode())
    (tmp_path / "migration.sql").write_text(MIGRATION)
    receipt = run(tmp_path, database, uat.conninfo(), files=(tmp_path / "migration.sql",), transaction="file")
    statements = receipt.document["statements"]
    assert receipt.verdict == "failed"
    assert [(each["locks"], each["error"] and each["error"]["sqlstate"]) for each in statements] == [
        ({"public.users": "RowExclusiveLock"}, None),
        ({"public.orders": "AccessExclusiveLock"}, None),
        ({"public.users": "ShareRowExclusiveLock"}, "23503"),
    ]
    tables = {table["name"]: table["verdict"] for table in receipt.document["tables"]}
    assert tables == {"public.orders": "unchanged", "public.users": "unchanged"}
    assert not any("outside a transaction" in each["reason"] for each in receipt.document["not_measured"])


@pytest.mark.pg("== 18")
def test_sampled_locks_of_a_failed_statement_are_told_for_what_they_are(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    (tmp_path / "migration.sql").write_text("CREATE TABLE u (i int);\nSELECT 1 / 0;\n")
    receipt = run(tmp_path, database, uat.conninfo(), files=(tmp_path / "migration.sql",), transaction="file")
    told = {each["what"]: each["reason"] for each in receipt.document["not_measured"]}
    found = [reason for what, reason in told.items() if what.startswith("exact locks of ")]
    assert [reason.partition(" for its locks")[0] for reason in found] == ["it failed, and was run once more"], told

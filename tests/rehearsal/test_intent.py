"""Declared intent on real clones: what is declared is no loss, and what goes beyond it or does not happen is told."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.promoting import drizzle_folder_of
from tests.support.schemas import validate_answer

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions

NEWEST = pytest.mark.pg("== 18")

SCHEMA = """
CREATE TABLE users (id int PRIMARY KEY, nick text, email text);
INSERT INTO users SELECT i, 'nick ' || i, 'u' || i FROM generate_series(1, 50) i;
CREATE TABLE sessions (id int PRIMARY KEY, user_id int, expired_at timestamptz NOT NULL, note text);
INSERT INTO sessions SELECT i, i % 50 + 1, now() + (i - 40) * interval '1 day', 'n' FROM generate_series(1, 200) i;
CREATE TABLE orders (id int PRIMARY KEY, total numeric(10,2), state text, updated_at timestamptz DEFAULT '2020-01-01');
INSERT INTO orders SELECT i, i, CASE WHEN i <= 30 THEN 'old' ELSE 'new' END FROM generate_series(1, 100) i;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at := now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
CREATE SCHEMA "App";
CREATE TABLE "App"."Odd Name" ("Key" uuid PRIMARY KEY DEFAULT gen_random_uuid(), "Val" int);
INSERT INTO "App"."Odd Name" ("Val") SELECT generate_series(1, 20);
CREATE TABLE events (id int, at date, kind text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
INSERT INTO events SELECT i, date '2026-01-01' + i % 50, CASE WHEN i % 5 = 0 THEN 'x' ELSE 'y' END
    FROM generate_series(1, 100) i;
CREATE TABLE bag (a int, b text);
INSERT INTO bag SELECT i % 5, 'b' FROM generate_series(1, 25) i;
CREATE TABLE stale (id int PRIMARY KEY); INSERT INTO stale SELECT generate_series(1, 7);
CREATE TABLE cache (id int PRIMARY KEY); INSERT INTO cache SELECT generate_series(1, 9);
CREATE VIEW recent AS SELECT * FROM sessions;
"""


def rehearse(directory: Path, database: Conninfo, uat: LocalServer, *texts: str) -> dict[str, Any]:
    folder = directory / "db"
    folder.mkdir()
    for number, text in enumerate(texts, 1):
        (folder / f"{number:04}_step.sql").write_text(text)
    return run(directory, database, uat)


def run(directory: Path, database: Conninfo, uat: LocalServer) -> dict[str, Any]:
    options = RehearsalOptions(
        source=database.text, target=uat.conninfo().text, folder=directory / "db", way_back=False
    )
    receipt = Project.open(None, start=directory).rehearse(options)
    validate_answer("run", receipt.run_document)
    validate_answer("receipt", dict(receipt.document))
    return dict(receipt.document)


def outcomes(document: dict[str, Any]) -> dict[str, str]:
    return {each["text"]: each["outcome"] for each in document["declarations"]}


def findings(document: dict[str, Any], hazard: str) -> dict[str, dict[str, Any]]:
    return {found["relation"]: found for found in document["findings"] if found["hazard"] == hazard}


def detail(document: dict[str, Any], text: str) -> str:
    return next(str(each["detail"]) for each in document["declarations"] if each["text"] == text)


ALL_AS_DECLARED = """
-- pgrehearse: expect deletes sessions where expired_at < now()
-- pgrehearse: expect updates orders where state = 'old'
-- pgrehearse: expect changes orders.updated_at = 30 values
-- pgrehearse: expect deletes "App"."Odd Name" where "Val" > 15 between 1 and 5 rows
-- pgrehearse: expect deletes events where kind = 'x' <= 20%
-- pgrehearse: expect deletes bag where a in (1, 2)
-- pgrehearse: expect drops stale
-- pgrehearse: expect drops column users.nick
-- pgrehearse: expect truncates cache
-- pgrehearse: expect inserts users between 1 and 5 rows
DELETE FROM sessions WHERE expired_at < now();
UPDATE orders SET state = 'archived' WHERE state = 'old';
DELETE FROM "App"."Odd Name" WHERE "Val" > 15;
DELETE FROM events WHERE kind = 'x';
DELETE FROM bag WHERE a IN (1, 2);
DROP TABLE stale;
ALTER TABLE users DROP COLUMN nick;
TRUNCATE cache;
INSERT INTO users VALUES (1001, 'x'), (1002, 'y');
"""


@pytest.mark.pg(">= 15")
def test_what_is_declared_and_nothing_else_is_clean_and_told(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SCHEMA)
    document = rehearse(tmp_path, database, uat, ALL_AS_DECLARED)
    assert set(outcomes(document).values()) == {"as-declared"}, document["declarations"]
    assert document["verdict"] == "clean", document["findings"]
    told = detail(document, "deletes sessions where expired_at < now()")
    assert told == "40 rows of public.sessions deleted, as expected"
    by_text = {each["text"]: each for each in document["declarations"]}
    assert by_text["deletes events where kind = 'x' <= 20%"]["rows_declared"] == 20
    assert by_text["deletes bag where a in (1, 2)"]["count"] == 10
    assert by_text["drops column users.nick"]["count"] == 50
    lost = {table["name"]: table["rows_lost"] for table in document["tables"] if table["rows_lost"]}
    assert lost["public.sessions"] == 40  # the receipt still says what went
    dropped = findings(document, "drop-column")["public.users"]
    assert (dropped["evidence"], dropped["level"]) == ("confirmed", "warning")
    assert dropped["classes"] == ["breaks-running-app"]


BEYOND = """
-- pgrehearse: expect deletes sessions where expired_at < now()
-- pgrehearse: expect updates orders where state = 'old'
-- pgrehearse: expect deletes "App"."Odd Name" <= 10%
-- pgrehearse: expect deletes events_1
-- pgrehearse: expect deletes bag where a = 1
-- pgrehearse: expect inserts users <= 1 row
"""


@NEWEST
def test_what_goes_beyond_a_declaration_is_a_loss(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SCHEMA)
    document = rehearse(
        tmp_path,
        database,
        uat,
        f"""{BEYOND}
        DELETE FROM sessions WHERE expired_at < now() + interval '5 days';
        UPDATE orders SET state = 'archived' WHERE id <= 35;
        DELETE FROM "App"."Odd Name" WHERE "Val" <= 3;
        DELETE FROM events WHERE kind = 'x';
        DELETE FROM bag WHERE a IN (1, 2);
        INSERT INTO users VALUES (1001, 'x'), (1002, 'y');
        """,
    )
    assert document["verdict"] == "loss"
    became = outcomes(document)
    assert became.pop("deletes events_1") == "as-declared"
    assert set(became.values()) == {"beyond"}, document["declarations"]
    found = findings(document, "beyond-declaration")
    assert found["public.sessions"]["measured"] == {"count": 40, "rows_declared": 40, "beyond": 5}
    assert found["public.sessions"]["level"] == "error"
    assert found["public.sessions"]["classes"] == ["data-loss"]
    assert found["public.sessions"]["file"].endswith("db/0001_step.sql")
    assert found["public.sessions"]["line"] == 2
    assert found["public.orders"]["measured"]["beyond"] == 5
    assert "5 values of" in found["public.orders"]["message"]
    assert "3 rows of" in found['"App"."Odd Name"']["message"]
    assert found['"App"."Odd Name"']["measured"]["beyond"] == 1
    assert found["public.bag"]["measured"]["beyond"] == 5
    assert found["public.users"]["classes"] == ["guarantee-lost"]  # nothing is lost by that
    # The other partition's rows are nobody's.
    (other,) = [each for each in document["findings"] if each["relation"] == "public.events"]
    assert (other["hazard"], other["level"], other["measured"]["rows_lost"]) == ("delete-rows", "error", 6)


@NEWEST
def test_what_is_declared_and_does_not_happen_is_an_error(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SCHEMA)
    document = rehearse(
        tmp_path,
        database,
        uat,
        """
        -- pgrehearse: expect deletes nosuch
        -- pgrehearse: expect deletes sessions
        -- pgrehearse: expect updates orders between 0 and 5 rows
        -- pgrehearse: expect changes orders.total
        -- pgrehearse: expect changes orders.nothing
        -- pgrehearse: expect drops stale
        -- pgrehearse: expect drops column users.nick
        -- pgrehearse: expect deletes recent
        -- pgrehearse: expect inserts users = 5 rows
        -- pgrehearse: expect deletes events where kind = 'nowhere'
        INSERT INTO users VALUES (1001, 'x'), (1002, 'y');
        """,
    )
    found = outcomes(document)
    assert found.pop("updates orders between 0 and 5 rows") == "as-declared"
    assert found.pop("inserts users = 5 rows") == "less"
    assert set(found.values()) == {"did-not-happen"}
    assert document["verdict"] == "hazard"
    told = [each for each in document["findings"] if each["hazard"] == "declaration-not-met"]
    assert len(told) == 9
    assert {each["level"] for each in told} == {"error"}
    assert "there is no table nosuch" in detail(document, "deletes nosuch")
    assert "public.recent is a view" in detail(document, "deletes recent")
    assert "had no column nothing" in detail(document, "changes orders.nothing")


@NEWEST
def test_a_declaration_speaks_of_its_own_file_alone(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SCHEMA)
    document = rehearse(
        tmp_path,
        database,
        uat,
        "-- pgrehearse: expect deletes sessions\n-- pgrehearse: expect drops stale\n"
        "-- pgrehearse: expect deletes cache\nDELETE FROM cache WHERE id = 1;",
        "DELETE FROM sessions WHERE id = 1;\nDELETE FROM cache WHERE id = 2;",
        "DROP TABLE stale;",
        # Outside transactions nobody counts rows by statement.
        "-- pgrehearse: expect inserts users\nINSERT INTO users VALUES (1001, 'x');\n"
        "-- pgrehearse: expect deletes bag\nDELETE FROM bag WHERE a = 1;",
        "DO $$ BEGIN DELETE FROM bag WHERE a = 2; COMMIT; END $$;",
    )
    assert document["verdict"] == "loss"
    assert outcomes(document) == {
        "deletes sessions": "did-not-happen",
        "drops stale": "did-not-happen",
        "deletes cache": "beyond",
        "inserts users": "as-declared",
        "deletes bag": "beyond",
    }
    assert findings(document, "beyond-declaration")["public.bag"]["measured"]["beyond"] == 5
    assert "db/0002_step.sql:1 did" in detail(document, "deletes sessions")
    assert "db/0002_step.sql:2 did it without a declaration" in detail(document, "deletes cache")
    assert findings(document, "beyond-declaration")["public.cache"]["measured"]["beyond"] == 1
    assert findings(document, "drop-table")["public.stale"]["level"] == "error"


@NEWEST
def test_two_declarations_on_one_table_speak_of_both_kinds_of_rows(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SCHEMA)
    drizzle_folder_of(
        tmp_path,
        "-- pgrehearse: expect deletes sessions where expired_at < now()\n"
        "DELETE FROM sessions WHERE expired_at < now();"
        "\n-- pgrehearse: expect deletes sessions where user_id = 7\nDELETE FROM sessions WHERE user_id = 7;"
        "\n-- pgrehearse: expect updates sessions where user_id = 8\n"
        "-- pgrehearse: expect changes sessions.note where user_id = 9\n"
        "UPDATE sessions SET note = 'other' WHERE user_id IN (8, 9);",
    )
    document = run(tmp_path, database, uat)
    assert set(outcomes(document).values()) == {"as-declared"}, document["declarations"]
    assert document["verdict"] == "clean", document["findings"]
    assert [each["count"] for each in document["declarations"]] == [40, 4, 6, 3]


@NEWEST
def test_a_condition_means_what_the_statement_means(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    """The plan's own search_path, time zone and now(); and never more than the plan's role may do."""
    connection.execute(SCHEMA)
    connection.execute('CREATE TABLE "App".sessions (id int PRIMARY KEY, at timestamptz)')
    connection.execute(
        """INSERT INTO "App".sessions SELECT i, timestamptz '2026-06-30 23:30+00' FROM generate_series(1, 6) i"""
    )
    document = rehearse(
        tmp_path,
        database,
        uat,
        """SET LOCAL search_path = "App"; SET LOCAL TimeZone = 'Asia/Tokyo';
        -- pgrehearse: expect deletes sessions where at::date = '2026-07-01' and id in (select "Val" from "Odd Name")
        DELETE FROM sessions WHERE at::date = '2026-07-01' AND id < 4;
        -- pgrehearse: expect deletes "Odd Name" where "Missing" > 3
        DELETE FROM "Odd Name" WHERE "Val" = 1;
        """,
    )
    first, second = document["declarations"]
    assert (first["relation"], first["outcome"], first["rows_declared"]) == ('"App".sessions', "as-declared", 6)
    assert second["outcome"] == "not-measured"
    assert 'column "Missing" does not exist' in second["detail"]
    assert document["verdict"] == "loss"  # in doubt it stays one
    assert any('"Odd Name" where' in entry["what"] for entry in document["not_measured"])


@NEWEST
def test_rows_that_an_update_makes_others_are_updated_ones(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    """Moved to another partition, under another key, under another name of the table."""
    connection.execute(SCHEMA)
    document = rehearse(
        tmp_path,
        database,
        uat,
        """
        -- pgrehearse: expect updates events where id <= 3
        -- pgrehearse: expect updates users = 10 rows
        -- pgrehearse: expect updates bag
        -- pgrehearse: expect deletes leftovers where id > 5
        UPDATE events SET at = at + 40 WHERE id <= 3 AND at < '2026-01-20';
        UPDATE users SET id = id + 1000 WHERE id <= 10;
        UPDATE bag SET b = 'c' WHERE a = 1;
        ALTER TABLE cache RENAME TO leftovers;
        DELETE FROM leftovers WHERE id > 5;
        """,
    )
    assert set(outcomes(document).values()) == {"as-declared"}, document["declarations"]
    assert [each["count"] for each in document["declarations"]] == [3, 10, 5, 4]
    assert document["declarations"][3]["relation"] == "public.cache"
    errors = [found for found in document["findings"] if found["level"] == "error"]
    assert not [found for found in errors if "data-loss" in found["classes"]]
    assert document["verdict"] != "loss"  # the renamed table is another matter


@NEWEST
def test_a_condition_is_measured_without_a_key_by_what_the_rows_hold(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    """Equal rows among them; bag and half have one column that changes, pair two."""
    tables = "CREATE TABLE half AS TABLE bag; CREATE TABLE beyond AS TABLE bag; CREATE TABLE pair AS TABLE bag"
    connection.execute(f"{SCHEMA}; {tables}")
    document = rehearse(
        tmp_path,
        database,
        uat,
        """
        -- pgrehearse: expect updates bag where a = 1
        UPDATE bag SET b = CASE WHEN ctid = '(0,1)' THEN 'c' END WHERE a = 1;
        -- pgrehearse: expect changes half.b where a in (1, 2) = 8 values
        UPDATE half SET b = 'c' WHERE a = 1;
        UPDATE half SET b = NULL WHERE a = 2 AND ctid > (SELECT min(ctid) FROM half WHERE a = 2)
            AND ctid < (SELECT max(ctid) FROM half WHERE a = 2);
        -- pgrehearse: expect updates beyond where a = 1
        UPDATE beyond SET b = 'c' WHERE a IN (1, 3);
        -- pgrehearse: expect updates pair where a = 1
        UPDATE pair SET a = 7, b = 'c' WHERE a = 1;
        """,
    )
    assert outcomes(document) == {
        "updates bag where a = 1": "as-declared",
        "changes half.b where a in (1, 2) = 8 values": "as-declared",
        "updates beyond where a = 1": "beyond",
        "updates pair where a = 1": "as-declared",
    }, document["declarations"]
    assert findings(document, "beyond-declaration")["public.beyond"]["measured"]["beyond"] == 5
    lost = {found["relation"] for found in document["findings"] if "data-loss" in found["classes"]}
    assert lost == {"public.beyond"}


@NEWEST
def test_nothing_is_lost_where_an_update_fills_more_rows_than_it_says(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SCHEMA)
    document = rehearse(
        tmp_path,
        database,
        uat,
        "ALTER TABLE sessions ADD COLUMN kind text;\n"
        "-- pgrehearse: expect updates sessions where user_id = 7\nUPDATE sessions SET kind = 'k' WHERE id <= 50;",
    )
    assert (document["verdict"], set(outcomes(document).values())) == ("clean", {"beyond"})
    assert findings(document, "beyond-declaration")["public.sessions"]["level"] == "warning"


@NEWEST
def test_a_plan_that_fails_says_nothing_of_what_it_declares(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SCHEMA)
    document = rehearse(
        tmp_path, database, uat, "-- pgrehearse: expect deletes cache\nDELETE FROM cache WHERE id = 1; SELECT 1 / 0;"
    )
    assert (document["verdict"], outcomes(document)) == ("failed", {"deletes cache": "not-measured"})


MOVES = """
CREATE TABLE archive (LIKE orders);
WITH gone AS (DELETE FROM orders WHERE state = 'old' RETURNING *) INSERT INTO archive SELECT * FROM gone;
-- pgrehearse: expect deletes sessions where expired_at < now()
CREATE TABLE ended AS SELECT * FROM sessions WHERE expired_at < now();
DELETE FROM sessions WHERE expired_at < now();
CREATE TABLE addresses AS SELECT id AS user_id, email FROM users;
ALTER TABLE users ADD handle text;
UPDATE users SET handle = nick;
ALTER TABLE users DROP email;
-- pgrehearse: expect drops column users.nick
ALTER TABLE users DROP nick;
CREATE TABLE swapped (LIKE cache INCLUDING ALL);
INSERT INTO swapped SELECT * FROM cache;
DROP TABLE cache;
ALTER TABLE swapped RENAME TO cache;
ALTER TABLE stale RENAME TO staler;
"""


@NEWEST
def test_what_is_moved_is_told_and_a_loss_until_it_is_declared(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SCHEMA)
    document = rehearse(tmp_path, database, uat, MOVES)
    assert document["verdict"] == "loss"
    assert set(outcomes(document).values()) == {"as-declared"}, document["declarations"]
    told = {table["name"]: (table["verdict"], table["rows_lost"], table["rows_moved"]) for table in document["tables"]}
    assert told["public.orders"] == ("rows-lost", 30, 30)
    assert told["public.sessions"] == ("rows-lost", 40, 40)
    assert told["public.cache"] == ("recreated", 0, 0)
    assert told["public.stale"] == ("renamed", 0, 0)
    users = next(table for table in document["tables"] if table["name"] == "public.users")
    assert {c["name"]: (c["values_lost"], c["values_moved"]) for c in users["columns"] if c["values_lost"]} == {
        "nick": (50, 50),
        "email": (50, 50),
    }
    losses = {f["relation"]: f for f in document["findings"] if "data-loss" in f["classes"] and f["level"] == "error"}
    assert losses.keys() == {"public.orders", "public.users"}
    assert "30 of 100 rows (all found again in public.archive)" in losses["public.orders"]["message"]
    assert "50 values of email (all found again in public.addresses (email))" in losses["public.users"]["message"]
    assert losses["public.orders"]["remedy"].splitlines()[-1] == "-- pgrehearse: expect deletes public.orders"
    assert "-- pgrehearse: expect drops column public.users.email" in losses["public.users"]["remedy"]

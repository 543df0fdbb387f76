"""The way back as the receipt tells it: its type is what was proved, and what was proved works in production."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.dumps import dump_text
from tests.support.schemas import validate_answer

import pgrehearse.rehearsal.way_back as way_back_module
from pgrehearse.clones.record import recorded_clones
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.observer import Observers
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.migrations.sources.find import ad_hoc_source
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.rollback.aside import find_going
from pgrehearse.rollback.images import drop_images, find_images, plan_images, take_images
from pgrehearse.rollback.perform import Ddl, WentBack, perform
from pgrehearse.rollback.quarantine import RefreshImages, SettleImages
from pgrehearse.schema.packed import unpack

SHOP = """
CREATE TYPE state AS ENUM ('new', 'paid');
CREATE TABLE customers (id serial PRIMARY KEY, email text NOT NULL UNIQUE, nick text);
CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer int NOT NULL REFERENCES customers,
                     state state NOT NULL DEFAULT 'new', total numeric(9,2) NOT NULL CHECK (total >= 0),
                     stamped int DEFAULT 0, note text);
CREATE INDEX orders_customer ON orders (customer);
CREATE TABLE sessions (id int PRIMARY KEY, customer int REFERENCES customers, at timestamptz);
CREATE VIEW totals AS SELECT customer, sum(total) AS total FROM orders GROUP BY customer;
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.stamped := NEW.stamped + 1; RETURN NEW; END';
CREATE TRIGGER stamp BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
INSERT INTO customers (email, nick) SELECT 'c' || n || '@example.com', 'n' || n FROM generate_series(1, 50) n;
INSERT INTO orders (customer, total, note) SELECT n % 50 + 1, n, 'note ' || n FROM generate_series(1, 400) n;
INSERT INTO sessions SELECT n, n, now() FROM generate_series(1, 50) n;
"""
DESTRUCTIVE = """
DROP VIEW totals;
ALTER TABLE orders DROP COLUMN note;
ALTER TABLE orders ADD COLUMN currency text NOT NULL DEFAULT 'EUR';
UPDATE orders SET total = total * 2 WHERE id <= 100;
DELETE FROM orders WHERE id > 380;
INSERT INTO orders (customer, total) SELECT 1, 5 FROM generate_series(1, 3);
DROP TABLE sessions;
ALTER TABLE customers RENAME COLUMN nick TO nickname;
CREATE VIEW totals AS SELECT customer, currency, sum(total) AS total FROM orders GROUP BY customer, currency;
"""


def rehearse(directory: Path, source: Conninfo, target: Conninfo, text: str, **options: Any) -> dict[str, Any]:
    file = directory / "m.sql"
    file.write_text(text)
    chosen = RehearsalOptions(source=source.text, target=target.text, files=(file,), **options)
    receipt = Project.open(None, start=directory).rehearse(chosen)
    validate_answer("receipt", dict(receipt.document))
    return dict(receipt.document)


def promote(database: Conninfo, document: dict[str, Any], directory: Path) -> Plan:
    """As a promotion does it: images, the plan behind them."""
    plan = Plan.of(ad_hoc_source(directory / "m.sql").migrations)
    before = unpack(document["receipt"]["schema_objects"]["before"])
    plans = plan_images(document["tables"], document["schema"]["changes"], before)
    with connect(database, verb="test") as session:
        images = take_images(session, plans, id="p1")
    observer = Observers(RefreshImages(images), SettleImages(images, last=None))
    apply(lambda verb: connect(database, verb=verb), plan, ledger=ledger(plan), observer=observer)
    return plan


def ledger(plan: Plan) -> OwnLedger:
    return OwnLedger(kind=plan.migrations[0].kind)


def go_back(database: Conninfo, document: dict[str, Any], plan: Plan) -> WentBack:
    with connect(database, verb="test") as session:
        images = find_images(session, id="p1")
    return perform(
        lambda verb: connect(database, verb=verb),
        Ddl.of_receipt(document["rollback"]),
        images,
        ledger=ledger(plan),
        plan=plan.migrations,
        id="p1",
        going=find_going(document["schema"]["changes"]),
    )


def rows(session: Connection, table: str) -> list[str]:
    query = f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1"
    return [text for (text,) in session.execute(query.encode())]


TABLES = ("customers", "orders", "sessions", "totals")


@pytest.mark.pg(">= 15")
def test_what_was_proved_works_in_production(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute(SHOP)
    shape = dump_text(database, "--schema-only", "--schema=public")
    before = {table: rows(connection, table) for table in TABLES}
    document = rehearse(tmp_path, database, uat.conninfo(), DESTRUCTIVE)
    rollback = document["rollback"]
    assert rollback["type"] == "restorable", rollback["reasons"]
    assert rollback["proved"] is True
    assert {(image["relation"], image["rows"]) for image in rollback["before_images"]} == {
        ("public.orders", 400), ("public.sessions", 50),
    }  # fmt: skip
    plan = promote(database, document, tmp_path)
    assert "currency" in dump_text(database, "--schema-only")
    went_back = go_back(database, document, plan)
    assert went_back.put_back is not None
    assert went_back.put_back.complete
    assert went_back.weakened == ()
    assert dump_text(database, "--schema-only", "--schema=public") == shape
    assert {table: rows(connection, table) for table in TABLES} == before
    drop_images(connection, find_images(connection, id="p1"))
    assert list(promote(database, document, tmp_path).migrations) == list(plan.migrations)


@pytest.mark.pg(">= 15")
def test_what_the_application_wrote_since_stays(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute(SHOP)
    document = rehearse(tmp_path, database, uat.conninfo(), DESTRUCTIVE)
    plan = promote(database, document, tmp_path)
    connection.execute("""
        INSERT INTO orders (customer, total, currency) VALUES (2, 7777, 'USD');
        UPDATE orders SET total = 1 WHERE id = 5;
        UPDATE orders SET currency = 'CHF' WHERE id = 200;
        DELETE FROM orders WHERE id = 7;
        UPDATE customers SET nickname = 'newer' WHERE id = 9;
    """)
    went_back = go_back(database, document, plan)
    assert fetch_value(connection, "SELECT total FROM orders WHERE id = 5") == 1
    assert fetch_value(connection, "SELECT total FROM orders WHERE id = 6") == 6
    assert fetch_value(connection, "SELECT note FROM orders WHERE id = 6") == "note 6"
    assert fetch_value(connection, "SELECT count(*) FROM orders WHERE id = 7") == 0
    assert fetch_value(connection, "SELECT count(*) FROM orders WHERE id BETWEEN 381 AND 400") == 20
    assert fetch_value(connection, "SELECT count(*) FROM orders WHERE total = 7777") == 1
    assert fetch_value(connection, "SELECT nick FROM customers WHERE id = 9") == "newer"
    assert fetch_value(connection, "SELECT count(*) FROM sessions") == 50
    (aside,) = went_back.kept_aside
    assert aside.what == "public.orders.currency"
    kept = connection.execute(f"SELECT id, currency FROM {aside.table} WHERE currency <> 'EUR' ORDER BY 1".encode())
    assert [currency for _, currency in kept.fetchall()] == ["CHF", "USD"]
    newest = fetch_value(connection, "INSERT INTO orders (customer, total) VALUES (1, 1) RETURNING id")
    assert newest > fetch_value(connection, "SELECT id FROM orders WHERE total = 7777")  # no id is handed out twice


@pytest.mark.pg("== 18")
def test_a_column_that_comes_back_last_is_told(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute(SHOP)
    rollback = rehearse(tmp_path, database, uat.conninfo(), "ALTER TABLE customers DROP COLUMN email;")["rollback"]
    assert rollback["type"] == "restorable"
    assert any("another order (id, nick, email)" in reason for reason in rollback["reasons"])


@pytest.mark.pg("== 18")
@pytest.mark.parametrize(
    ("migration", "reason"),
    [
        ("ALTER TABLE orders DISABLE TRIGGER ALL;", "foreign key triggers"),
        ("SELECT lo_create(4242);", "does not run again"),
        ("SELECT lo_unlink(4711); DELETE FROM sessions;", "large objects that the plan deletes"),
        ("GRANT SELECT ON LARGE OBJECT 4711 TO PUBLIC;", "rights or comment of large objects"),
        ("ALTER FOREIGN DATA WRAPPER far OPTIONS (ADD host 'nowhere');", "not compared"),
        ("ALTER TABLE customers ADD v int; SELECT setval('customers_id_seq', 1);", "customers_id_seq is"),
    ],
)
def test_what_could_not_be_proved_is_not_promised(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer, migration: str, reason: str
) -> None:
    connection.execute(SHOP)
    connection.execute("CREATE FOREIGN DATA WRAPPER far; CREATE SERVER far FOREIGN DATA WRAPPER far")
    connection.execute("SELECT lo_from_bytea(4711, 'hello'); COMMENT ON LARGE OBJECT 4711 IS 'kept'")
    rollback = rehearse(tmp_path, database, uat.conninfo(), migration)["rollback"]
    assert rollback["type"] == "loses-writes"
    assert rollback["proved"] is False
    assert any(reason in told for told in rollback["reasons"]), rollback["reasons"]


@pytest.mark.pg(">= 15")
def test_a_type_that_is_made_anew_costs_no_way_back(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute("""
        CREATE TYPE mood AS ENUM ('a', 'b', 'c');
        CREATE DOMAIN posint AS int CHECK (VALUE > 0);
        CREATE TABLE p (id int PRIMARY KEY, m mood, q posint);
        INSERT INTO p SELECT n, (ARRAY['a', 'b', 'c'])[n % 3 + 1]::mood, n FROM generate_series(1, 50) n;
    """)
    before = rows(connection, "p")
    document = rehearse(
        tmp_path, database, uat.conninfo(),
        "ALTER TABLE p ALTER COLUMN m TYPE text, ALTER COLUMN q TYPE int; DROP TYPE mood; DROP DOMAIN posint;",
    )  # fmt: skip
    assert document["rollback"]["type"] in ("lossless", "restorable"), document["rollback"]["reasons"]
    plan = promote(database, document, tmp_path)
    go_back(database, document, plan)
    assert rows(connection, "p") == before
    assert fetch_value(connection, "SELECT pg_typeof(m)::text || pg_typeof(q)::text FROM p LIMIT 1") == "moodposint"


@pytest.mark.pg("== 18")
def test_an_event_trigger_that_is_dropped_comes_back_as_it_was(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute(SHOP)
    connection.execute("""
        CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
        CREATE EVENT TRIGGER guard ON ddl_command_start WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION watch();
        CREATE EVENT TRIGGER off ON sql_drop EXECUTE FUNCTION watch();
        ALTER EVENT TRIGGER off DISABLE; ALTER EVENT TRIGGER guard ENABLE ALWAYS;
        COMMENT ON EVENT TRIGGER guard IS 'keeps watch';
    """)
    before = dump_text(database, "--exclude-schema=pgrehearse*")
    assert "ENABLE ALWAYS" in before
    plan = "DROP FUNCTION watch() CASCADE; DELETE FROM sessions WHERE id = 3;"
    document = rehearse(tmp_path, database, uat.conninfo(), plan)
    assert document["rollback"]["type"] == "restorable", document["rollback"]["reasons"]
    promoted = promote(database, document, tmp_path)
    assert fetch_value(connection, "SELECT count(*) FROM pg_event_trigger") == 0
    go_back(database, document, promoted)
    after = dump_text(database, "--exclude-schema=pgrehearse*")
    assert sorted(after.splitlines()) == sorted(before.splitlines())  # a row that comes back stands last


@pytest.mark.pg("== 18")
def test_a_role_that_may_not_copy_what_goes_has_no_way_back(
    tmp_path: Path, connection: Connection, database: Conninfo
) -> None:
    role = f"poor_{database.database}"
    connection.execute(SHOP)
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'pw'".encode())
    connection.execute(f"ALTER TABLE sessions OWNER TO {role}; GRANT CREATE, USAGE ON SCHEMA public TO {role}".encode())
    file = tmp_path / "m.sql"
    file.write_text("DROP TABLE sessions;")
    options = RehearsalOptions(source=database.text, files=(file,), role=role)
    rollback = Project.open(None, start=tmp_path).rehearse(options).document["rollback"]
    connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
    assert rollback["type"] == "loses-writes"
    assert any("may not copy" in reason for reason in rollback["reasons"]), rollback["reasons"]


@pytest.mark.pg("== 18")
def test_the_way_back_can_be_left_out_and_a_fault_in_it_costs_no_receipt(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.execute(SHOP)
    left_out = rehearse(tmp_path, database, uat.conninfo(), "CREATE INDEX ON orders (total);", way_back=False)
    assert left_out["rollback"]["type"] == "not-measured"
    told = {"what": "the way back", "reason": "not asked for (--no-way-back)", "decisive": False}
    assert told in left_out["not_measured"]
    assert "way_back_ms" not in left_out["timings"]

    def fail(*_: object, **__: object) -> None:
        raise KeyError("oh")

    monkeypatch.setattr(way_back_module, "find_inverse", fail)
    document = rehearse(tmp_path, database, uat.conninfo(), "CREATE INDEX ON orders (total);")
    assert document["verdict"] == left_out["verdict"]
    assert document["rollback"]["type"] == "not-measured"
    assert "KeyError" in document["rollback"]["reasons"][0]


@pytest.mark.pg("== 18")
@pytest.mark.parametrize("last", ["", "SELECT lo_create(4242);"])  # proved, and not proved
def test_a_kept_clone_is_the_migrated_one(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer, last: str
) -> None:
    connection.execute(SHOP)
    document = rehearse(tmp_path, database, uat.conninfo(), DESTRUCTIVE + last, keep=True)
    assert document["rollback"]["proved"] is not bool(last)
    with Project.open(None, start=tmp_path).releases() as releases:
        (kept,) = recorded_clones(releases)
    with connect(uat.conninfo(f"pgrehearse_{kept.id}_clone"), verb="test") as clone:
        assert fetch_value(clone, "SELECT count(*) FROM orders WHERE currency = 'EUR'") == 383
        assert fetch_value(clone, "SELECT to_regclass('sessions') IS NULL") is True
        assert fetch_value(clone, "SELECT to_regnamespace('pgrehearse_quarantine') IS NULL") is True


# Rows that move to another partition are not lost, but they are not where they were: an inverse alone would drop them.
MOVES = {
    "split the default one": (
        """CREATE TABLE m AS SELECT * FROM p_rest WHERE id >= 5; DELETE FROM p_rest WHERE id >= 5;
        CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (5) TO (100); INSERT INTO p SELECT * FROM m; DROP TABLE m;""",
        "UPDATE p SET v = 'newer' WHERE id = 2; INSERT INTO p VALUES (-5, 'new')",
        (("-5", "new"), ("2", "newer")),
    ),
    "widen one": (
        """ALTER TABLE p DETACH PARTITION p_a; CREATE TABLE m AS SELECT * FROM p_rest WHERE id >= 5;
        DELETE FROM p_rest WHERE id >= 5; ALTER TABLE p ATTACH PARTITION p_a FOR VALUES FROM (5) TO (210);
        INSERT INTO p SELECT * FROM m; DROP TABLE m;""",
        "UPDATE p SET v = 'newer' WHERE id = 2",
        (("2", "newer"),),
    ),
    "exchange": (
        """CREATE TABLE m AS TABLE p; ALTER TABLE p DETACH PARTITION p_a; ALTER TABLE p DETACH PARTITION p_b;
        TRUNCATE p_a, p_b; ALTER TABLE p ATTACH PARTITION p_a FOR VALUES FROM (210) TO (220);
        ALTER TABLE p ATTACH PARTITION p_b FOR VALUES FROM (200) TO (210);
        INSERT INTO p SELECT * FROM m WHERE id BETWEEN 200 AND 219; DROP TABLE m;""",
        "UPDATE p SET v = 'newer' WHERE id = 2",
        (("2", "newer"),),
    ),
}


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("how", MOVES)
def test_rows_that_a_plan_moves_to_another_partition_come_back(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer, how: str
) -> None:
    migration, written_since, expected = MOVES[how]
    connection.execute("""
        CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p_rest PARTITION OF p DEFAULT;
        CREATE TABLE p_a PARTITION OF p FOR VALUES FROM (200) TO (210);
        CREATE TABLE p_b PARTITION OF p FOR VALUES FROM (210) TO (220);
        INSERT INTO p SELECT n, 'v' || n FROM generate_series(1, 10) n;
        INSERT INTO p SELECT n, 'v' || n FROM generate_series(200, 219) n;
    """)
    query = b"SELECT id::text, v, tableoid::regclass::text FROM p ORDER BY p.id"
    before = {row[0]: row for row in connection.execute(query)}
    document = rehearse(tmp_path, database, uat.conninfo(), migration)
    assert document["verdict"] != "loss"
    assert document["rollback"]["type"] == "restorable", document["rollback"]["reasons"]
    told = [line for line in document["rollback"]["left_behind"] if "is there again" in line]
    assert bool(told) == ("PARTITION OF" in migration), told
    plan = promote(database, document, tmp_path)
    connection.execute(written_since.encode())
    went_back = go_back(database, document, plan)
    assert went_back.put_back is not None
    assert went_back.put_back.complete
    after = {row[0]: row for row in connection.execute(query)}
    assert after == {**before, **{key: (key, value, "p_rest") for key, value in expected}}


@pytest.mark.pg("== 18")
def test_rows_of_a_materialized_view_are_told_as_left_behind(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    connection.execute("CREATE TABLE a (id int); CREATE MATERIALIZED VIEW m AS TABLE a")
    document = rehearse(tmp_path, database, uat.conninfo(), "REFRESH MATERIALIZED VIEW m; DROP MATERIALIZED VIEW m;")
    told = document["rollback"]["left_behind"]
    assert any(
        "rows of materialized view public.m: it comes back with what its query gives then" in line for line in told
    )
    assert any("is not taken back: the rows that the materialized view held" in line for line in told)

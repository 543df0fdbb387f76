"""Statements of another shop than the corpus's: what lint must tell of them, and what it must not call an error.

Each was run on PostgreSQL 15 and 18 before it was written down here: whether it failed, what values went, and which of
the application's statements broke.  `shop_cases/setup.sql` makes the tables.
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.hazard_corpus import SETTINGS

from pgrehearse.hazards.against import read_catalog
from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.lint import LintResult, lint_files
from pgrehearse.hazards.model import Model
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.local_server import LocalServer

SETUP = Path(__file__).parent / "shop_cases" / "setup.sql"
IN_SAME = "validate-in-same-transaction"
REMADE = """
    DROP VIEW crm.v_active;
    CREATE VIEW crm.v_active AS SELECT customer_id, mail, full_name, phone FROM crm.customer WHERE active;
    GRANT SELECT ON crm.v_active TO PUBLIC;
"""
SWALLOWED = """
    DO $$ BEGIN ALTER TABLE crm.dup ADD UNIQUE (a); EXCEPTION WHEN OTHERS THEN RAISE NOTICE 'no'; END $$
"""
GRANTED_LATER = """
    CREATE SEQUENCE crm.audit_id_seq;
    ALTER TABLE crm.audit ALTER COLUMN id SET DEFAULT nextval('crm.audit_id_seq');
    GRANT USAGE ON SEQUENCE crm.audit_id_seq TO app_user;
"""
BY_VARIABLE = "DO $$ DECLARE n int := 3; BEGIN UPDATE bare.thing SET v = v WHERE id = n; END $$"
LINES_FIRST = """
    SET CONSTRAINTS ALL DEFERRED;
    DELETE FROM crm.invoice WHERE invoice_no = 4000;
    DELETE FROM crm."Line Item" WHERE "invoiceNo" = 4000;
"""
SAME_KEY = """
    UPDATE crm."Line Item" SET "invoiceNo" = 2 WHERE "Id" = 1;
    ALTER TABLE crm."Line Item" ADD COLUMN y int;
"""
PARENT_FIRST = """
    INSERT INTO crm.customer (customer_id, mail) VALUES (9001, 'z');
    INSERT INTO crm.invoice (customer_id, amount) VALUES (9001, 1);
"""
FILLED = "CREATE MATERIALIZED VIEW crm.m AS SELECT 1 AS a"
REFRESHED = "REFRESH MATERIALIZED VIEW CONCURRENTLY crm.m"
UNIQUE_ALREADY = """
    CREATE UNIQUE INDEX CONCURRENTLY ON crm.customer (mail);
    ALTER TABLE crm.customer DROP CONSTRAINT customer_mail_key;
"""
COPIED = """
    ALTER TABLE crm.invoice ADD COLUMN memo_text text;
    UPDATE crm.invoice SET memo_text = memo;
    ALTER TABLE crm.invoice DROP COLUMN memo;
"""


def lint(text: str, model: Model | None = None) -> LintResult:
    migration = Migration(version="x", name="x", path="x.sql", kind=SourceKind.AD_HOC, content=text.encode())
    mode = TransactionMode.STATEMENT if "CONCURRENTLY" in text else TransactionMode.FILE
    return lint_files([migration], model=model, transaction=mode)


def told(result: LintResult, level: Level = Level.WARNING) -> set[str]:
    return {finding.hazard for finding in result.findings if finding.level.reaches(level)}


@pytest.mark.parametrize(
    ("text", "hazard"),
    [
        ("ALTER TABLE tenant_doc DISABLE ROW LEVEL SECURITY", "disable-row-security"),
        ("ALTER PUBLICATION pub_all DROP TABLE crm.audit", "publication-loses-table"),
        ("ALTER PUBLICATION pub_all DROP TABLES IN SCHEMA crm", "publication-loses-table"),
        ("ALTER PUBLICATION pub_all SET TABLE crm.invoice", "publication-loses-table"),
        ("ALTER TYPE crm.addr_t DROP ATTRIBUTE zip", "drop-attribute"),
        ("ALTER TYPE crm.addr_t RENAME ATTRIBUTE zip TO postcode", "rename-other"),
        ("ALTER TABLE crm.invoice ALTER doubled SET EXPRESSION AS (amount * 3)", "set-expression"),
        ("ALTER VIEW crm.v_active RENAME COLUMN mail TO email", "rename-column"),
        ("ALTER TABLE crm.customer DROP CONSTRAINT credit_ok", "drop-constraint"),
        ("ALTER TABLE crm.customer DROP CONSTRAINT customer_mail_key", "drop-constraint-used-by-upsert"),
        ("ALTER DOMAIN crm.mail_d DROP CONSTRAINT mail_d_check", "drop-constraint"),
        ("ALTER DOMAIN crm.mail_d VALIDATE CONSTRAINT short", "domain-add-constraint"),
        ("INSERT INTO t VALUES (1, 'n') ON CONFLICT (id) DO UPDATE SET v = excluded.v", "update-rows"),
        ("UPDATE crm.dup d SET b = x.b FROM crm.dup x WHERE x.b = d.a", "update-rows"),
        ("UPDATE crm.invoice i SET memo = 'no' FROM crm.customer c WHERE c.memo IS NULL", "update-rows"),
        ("SELECT lo_unlink(oid) FROM pg_largeobject_metadata", "large-objects-lost"),
        ("ALTER TABLE crm.customer ALTER span TYPE interval(0)", "lossy-type-change"),
        ("ALTER TABLE a ADD CONSTRAINT c CHECK (i > 0) NOT VALID, VALIDATE CONSTRAINT c", IN_SAME),
        ("ALTER TABLE a ADD COLUMN i int, VALIDATE CONSTRAINT c", IN_SAME),
        ("ALTER TYPE t ADD VALUE 'new'; ALTER TABLE a ALTER s SET DEFAULT 'new'", "enum-add-value-used-same-tx"),
        ("ALTER TABLE a ADD CHECK (id IN (SELECT id FROM b))", "statement-refused"),
        ("ALTER TABLE a ADD COLUMN y int DEFAULT id", "statement-refused"),
        ("ALTER TABLE a ADD COLUMN y int DEFAULT 'abc'", "statement-refused"),
        ("ALTER TABLE a ALTER y SET DEFAULT (SELECT 'x')", "statement-refused"),
    ],
)  # fmt: skip
def test_the_text_tells(text: str, hazard: str) -> None:
    assert hazard in told(lint(text))


@pytest.mark.parametrize(
    "text",
    [
        "BEGIN; DROP TABLE bare.thing; ROLLBACK;",
        "SAVEPOINT a; DROP TABLE bare.thing; ROLLBACK TO SAVEPOINT a; ALTER TABLE bare.thing ADD COLUMN ok int;",
        "ALTER TABLE account ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON account USING (true);",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC",
        "UPDATE crm.invoice AS i SET memo = i.memo, paid = COALESCE(i.paid, false)",
        "UPDATE crm.invoice i SET memo = 'none' WHERE i.memo IS NULL",
        "ALTER TABLE crm.audit ADD COLUMN z int DEFAULT '5', ADD COLUMN y text DEFAULT 'abc'",
        "DROP FUNCTION f(int); CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "ALTER TYPE crm.addr_t RENAME ATTRIBUTE zip TO postcode",
        "ALTER TABLE bare.thing SET LOGGED",
        "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
        REMADE,
    ],
)
def test_the_text_calls_it_no_error(text: str) -> None:
    assert told(lint(text), Level.ERROR) == set()


@pytest.fixture(scope="module")
def shop() -> Iterator[Model]:
    """The shop's catalog, which may be asked about its rows."""
    with (
        LocalServer.create(require_server(18), settings=SETTINGS | {"wal_level": "logical"}) as server,
        connect(server.conninfo(), verb="test") as connection,
    ):
        connection.execute("CREATE ROLE app_user")
        connection.execute(SETUP.read_bytes())
        connection.execute("ANALYZE")
        with connection.transaction():
            yield read_catalog(connection)


def own(model: Model) -> Model:
    """A copy for one file."""
    alone = copy.copy(model)
    alone.data = None
    alone = copy.deepcopy(alone)
    alone.data = model.data
    return alone


FAILS = [
    "ALTER TABLE metric DROP COLUMN at",
    "ALTER TABLE metric ALTER at TYPE timestamp",
    "ALTER TABLE truck DROP COLUMN wheels",
    "ALTER TABLE truck ALTER wheels TYPE bigint",
    "ALTER TABLE metric_2023 ADD COLUMN extra int",
    "ALTER TABLE bare.thing ALTER id DROP NOT NULL",
    "ALTER TABLE crm.customer ALTER customer_id DROP NOT NULL",
    "ALTER TABLE crm.invoice ALTER doubled SET DEFAULT 5",
    "DROP INDEX crm.customer_mail_key",
    "DROP TABLE crm.v_active",
    "DROP TABLE vehicle",
    "CREATE TABLE r PARTITION OF region FOR VALUES IN ('de')",
    "CREATE TABLE m PARTITION OF metric FOR VALUES FROM ('2024-06-01') TO ('2025-06-01')",
    "CREATE TABLE m PARTITION OF metric DEFAULT",
    "ALTER TABLE region ATTACH PARTITION region_as FOR VALUES IN ('us')",
    "CREATE OR REPLACE FUNCTION crm.rate(p int) RETURNS text LANGUAGE sql AS 'SELECT p::text'",
    "CREATE OR REPLACE FUNCTION crm.rate(x int) RETURNS int LANGUAGE sql AS 'SELECT x'",
    "CREATE OR REPLACE VIEW crm.v_active AS SELECT customer_id::text AS customer_id, mail, full_name FROM crm.customer",
    "ALTER FUNCTION crm.no_such(int) RENAME TO x",
    "CREATE SCHEMA crm",
    "CREATE TYPE crm.tier_t AS ENUM ('a')",
    "CREATE SEQUENCE ticket_seq",
    "CREATE TRIGGER customer_stamp BEFORE UPDATE ON crm.customer FOR EACH ROW EXECUTE FUNCTION crm.stamp()",
    "ALTER TYPE crm.tier_t RENAME VALUE 'nope' TO 'yep'",
    "ALTER TYPE crm.tier_t ADD VALUE 'x' AFTER 'nope'",
    "DELETE FROM crm.customer WHERE customer_id = 3",  # its invoices go, and lines refer to these
    "UPDATE crm.audit SET what = what || '!'",  # published, without a replica identity
    "WITH d AS (DELETE FROM crm.audit WHERE id < 50 RETURNING *) SELECT count(*) FROM d",
    "GRANT SELECT ON crm.audit TO no_such_role",
    "ALTER TABLE crm.audit OWNER TO no_such_role",
    "CREATE TABLE nowhere.t (id int)",
    "ALTER TABLE bare.thing SET SCHEMA nowhere",
    "ALTER TABLE crm.audit ADD COLUMN y crm.nope",
    "CREATE EXTENSION no_such_extension",
    "CREATE FUNCTION crm.rate(q int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE POLICY tenant_pol ON tenant_doc USING (true)",
    "DROP POLICY nope ON tenant_doc",
    "CREATE TABLE crm.t (a int, a text)",
    "ALTER TABLE crm.audit ADD CONSTRAINT invoice_pkey UNIQUE (id)",
    "CREATE INDEX ON crm.customer USING gin (mail)",
    "CREATE INDEX ON crm.customer (meta)",
    "CREATE INDEX ON crm.customer USING gin (note nope_trgm_ops)",
    "ALTER TABLE crm.customer ADD UNIQUE (meta)",
    "ALTER TABLE booking2 ADD EXCLUDE USING gist (room WITH =, during WITH &&)",
    "CREATE INDEX ON crm.customer ((joined::date))",
    "CREATE INDEX ON crm.customer (date_trunc('day', joined))",
    "CREATE INDEX ON crm.audit (id) WHERE at > now()",
    "ALTER TABLE crm.customer ADD COLUMN d text GENERATED ALWAYS AS (to_char(joined, 'YYYY')) STORED",
    "UPDATE crm.invoice SET doubled = 5",
    "INSERT INTO crm.invoice (customer_id, amount, doubled) VALUES (1, 2, 4)",
    "INSERT INTO crm.vacant VALUES (NULL, 'x')",
    "INSERT INTO crm.invoice (customer_id, amount) VALUES (1, -2)",  # amount_pos, NOT VALID
    "ALTER SEQUENCE ticket_seq MAXVALUE 4000",
    "ALTER TABLE ONLY vehicle ADD COLUMN x1 int",
    "ALTER TABLE truck RENAME COLUMN wheels TO tyres",
    "ALTER TABLE crm.v_active ADD COLUMN x int",
    "ALTER VIEW crm.invoice RENAME TO inv",
    "ALTER TABLE crm.audit ADD COLUMN z int, ALTER COLUMN z SET NOT NULL",
    "CREATE TEMP TABLE tt (id int PRIMARY KEY); ALTER TABLE crm.audit ADD FOREIGN KEY (id) REFERENCES tt",
    "ALTER TABLE region ATTACH PARTITION metric_2023 FOR VALUES IN ('us')",
    "ALTER TABLE region ATTACH PARTITION crm.vacant FOR VALUES IN ('se')",
    "CREATE TABLE m_e PARTITION OF metric FOR VALUES FROM ('2030-01-01') TO ('2030-01-01')",
    "CREATE TABLE region_n PARTITION OF region FOR VALUES FROM ('a') TO ('b')",
    "ALTER TABLE crm.dup RENAME TO vacant",
    "ALTER INDEX crm.customer_name_idx RENAME TO customer_lower_idx",
    "ALTER TABLE crm.customer RENAME CONSTRAINT credit_ok TO customer_pkey",
    "CREATE TABLE crm.thing (id int); ALTER TABLE bare.thing SET SCHEMA crm",
    "DROP FUNCTION crm.no_fn(int)",
    "ALTER TABLE crm.customer ALTER customer_id ADD GENERATED ALWAYS AS IDENTITY",
    "ALTER TABLE crm.invoice ADD COLUMN g numeric GENERATED ALWAYS AS (doubled * 2) STORED",
    "ALTER TABLE crm.customer ALTER CONSTRAINT credit_ok DEFERRABLE",
    "CREATE INDEX ON crm.vacant USING hash (id, n)",
    "ALTER SEQUENCE ticket_seq INCREMENT 0",
    "INSERT INTO bare.thing (id, v) VALUES (5001, 'a', 'b')",
    "UPDATE bare.thing SET v = 'x' WHERE nope = 3",
    # what parse analysis refuses
    "INSERT INTO crm.customer (mail, tier) VALUES ('a@b', 'platinum')",
    "UPDATE crm.customer SET note = 'x' WHERE tier = 'platinum'",
    "DELETE FROM crm.audit WHERE id = 'a'::text",
    "DELETE FROM crm.audit WHERE id",
    "SELECT crm.old_total(1)",
    "UPDATE crm.invoice SET issued = ref_no",
    "UPDATE bare.thing t SET v = 'x' FROM crm.vacant WHERE id = 3",
    "CREATE VIEW crm.v AS SELECT nope FROM crm.audit",
    # rows that no table takes
    "INSERT INTO crm.invoice (customer_id) VALUES (1)",
    "INSERT INTO crm.invoice (customer_id, amount) VALUES (999999, 1)",
    "INSERT INTO crm.invoice (customer_id, amount, currency) VALUES (1, 1, 'EURO')",
    "INSERT INTO crm.vacant (id) VALUES (1) ON CONFLICT (t) DO NOTHING",
    # names and shapes
    "DROP FUNCTION crm.rate(text)",
    "CREATE TRIGGER x BEFORE INSERT ON crm.audit FOR EACH ROW EXECUTE FUNCTION crm.not_there()",
    "CREATE TABLE crm.homes OF crm.addr_t; ALTER TABLE crm.homes ADD COLUMN x int",
    f"{FILLED}; {REFRESHED}",
]
# Only what reads or writes rows leaves the schema as parse analysis sees it, and only queries are analysed.
NOT_FORESEEN = [
    "ALTER TABLE crm.customer ALTER tier SET DEFAULT 'platinum'",
    "ALTER TABLE crm.audit ADD COLUMN t crm.tier_t DEFAULT 'platinum'",
    "CREATE TABLE crm.t (id int DEFAULT nextval('crm.no_seq'))",
    "CREATE TABLE crm.t AS SELECT what, id, count(*) FROM crm.audit GROUP BY what",
    "CREATE TABLE crm.t (id int); SELECT crm.old_total('one', 2)",
    "SET search_path = crm; SELECT old_total('one', 2)",
    "SET ROLE app_user; SELECT crm.old_total('one', 2)",
    "DO $$ BEGIN NULL; END $$; SELECT crm.old_total('one', 2)",
    "SELECT crm.next_code(); SELECT crm.old_total('one', 2)",
    "SELECT set_config('search_path', 'crm', false); SELECT crm.old_total('one', 2)",
    "SELECT 1 AS a INTO crm.t; SELECT crm.old_total('one', 2)",
    "INSERT INTO crm.customer (mail) VALUES ('a@b'); SELECT crm.old_total('one', 2)",  # fires a trigger
    "MERGE INTO crm.customer c USING bare.thing t ON c.mail = t.v WHEN NOT MATCHED THEN INSERT (mail) VALUES (t.v);"
    " SELECT crm.old_total('one', 2)",
    "CREATE INDEX CONCURRENTLY ON crm.audit (id); COMMENT ON TABLE crm.audit IS 'a'; SELECT crm.old_total('one', 2)",
]
# What fails at the end is known behind these.
ROWS_ONLY = """
    BEGIN; INSERT INTO bare.thing VALUES (5002, lower('A')); UPDATE crm.audit SET at = now() WHERE id = 1;
    DELETE FROM crm.dup WHERE a = 77; COMMENT ON TABLE crm.audit IS 'rows'; SELECT setval('ticket_seq', 6000); COMMIT;
    SELECT crm.old_total('one', 2)
"""
RUNS = [
    "ALTER TABLE crm.customer DROP CONSTRAINT credit_ok, ADD CONSTRAINT credit_ok CHECK (credit >= -10)",
    "ALTER TABLE crm.audit ADD COLUMN z int DEFAULT 5, ALTER COLUMN z SET NOT NULL",
    "ALTER TABLE crm.audit ADD CONSTRAINT c CHECK (id > 0) NOT VALID, VALIDATE CONSTRAINT c",
    "ALTER TABLE bare.thing DROP CONSTRAINT thing_pkey, ADD CONSTRAINT thing_pk PRIMARY KEY (id)",
    "TRUNCATE crm.vacant",
    "BEGIN; DROP TABLE bare.thing; ROLLBACK;",
    "CREATE TABLE r PARTITION OF region FOR VALUES IN ('za')",
    "CREATE OR REPLACE FUNCTION crm.rate(p int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT p * 3'",
    "CREATE AGGREGATE crm.mysum (int) (sfunc = int4pl, stype = int); DROP AGGREGATE crm.mysum(int)",
    "DROP PROCEDURE crm.purge_invoices()",
    "DROP TABLE crm.vacant",
    "ALTER TABLE crm.vacant ADD COLUMN w int NOT NULL",
    SAME_KEY,
    REMADE,
    SWALLOWED,
    "CREATE ROLE fresh; GRANT SELECT ON crm.audit TO fresh, PUBLIC",
    "CREATE SCHEMA fresh; CREATE TYPE fresh.t AS ENUM ('a'); CREATE TABLE fresh.x (id serial, v fresh.t)",
    "CREATE TYPE span AS RANGE (subtype = int); CREATE TABLE crm.spans (s span, m span_multirange)",
    "CREATE TABLE crm.t (a crm.mail_d, b crm.addr_t, c crm.audit, d int4[], e timestamptz(3))",
    "CREATE OR REPLACE FUNCTION crm.f(crm.audit.id%TYPE) RETURNS SETOF crm.audit LANGUAGE sql AS 'TABLE crm.audit'",
    "CREATE FUNCTION crm.rate(p text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "DROP POLICY tenant_pol ON tenant_doc; CREATE POLICY tenant_pol ON tenant_doc USING (tenant = 'app')",
    "INSERT INTO crm.audit VALUES (1, 'x'); ALTER TABLE crm.audit REPLICA IDENTITY FULL; UPDATE crm.audit SET id = id",
    "UPDATE crm.invoice SET paid = true WHERE paid IS NULL",
    "INSERT INTO crm.invoice (customer_id, amount, doubled) VALUES (1, 2, DEFAULT)",
    "CREATE INDEX CONCURRENTLY ON crm.customer USING gin (prefs, flags)",
    "CREATE INDEX CONCURRENTLY ON crm.customer (tier, contact, home, full_name)",
    "CREATE INDEX CONCURRENTLY ON crm.customer (lower(mail), date_trunc('day', local_ts), (birth::timestamp))",
    "CREATE INDEX CONCURRENTLY ON crm.customer ((joined AT TIME ZONE 'UTC'), (credit::int), (prefs ->> 'k'))",
    "CREATE INDEX CONCURRENTLY ON crm.customer (mail text_pattern_ops)",
    "ALTER SEQUENCE ticket_seq MAXVALUE 9000",
    "ALTER TABLE crm.vacant ADD COLUMN z int, ALTER COLUMN z SET NOT NULL",
    "DELETE FROM crm.vacant WHERE id = 3",
    LINES_FIRST,
    GRANTED_LATER,
    BY_VARIABLE,
    "CREATE INDEX CONCURRENTLY ON crm.vacant (crm.rate(n))",
    "ALTER INDEX crm.customer_name_idx RENAME TO customer_name_ix",
    "ALTER TABLE region ATTACH PARTITION region_us FOR VALUES IN ('us', 'ca')",
    "DROP FUNCTION IF EXISTS crm.no_fn(int)",
    "UPDATE bare.thing t SET v = v WHERE t.id = 3",
    "INSERT INTO bare.thing VALUES (5001)",
    "UPDATE crm.customer SET meta = '{\"a\": {}}' WHERE flags = '{}'",
    "INSERT INTO crm.customer (mail, tier) VALUES ('a@b', 'gold'), ('c@d', DEFAULT)",
    "INSERT INTO crm.invoice (customer_id, amount, currency) VALUES (1, 1, 'EU  ')",
    "INSERT INTO crm.vacant (id) VALUES (1) ON CONFLICT (id) DO NOTHING",
    "CREATE UNIQUE INDEX CONCURRENTLY ON crm.vacant (t); INSERT INTO crm.vacant VALUES (1) ON CONFLICT (t) DO NOTHING",
    PARENT_FIRST,
    "ALTER TABLE bare.thing ADD COLUMN z int; UPDATE bare.thing SET z = 1 WHERE z IS NULL",
    "ALTER TABLE vehicle ADD COLUMN z int; UPDATE truck SET z = 1 WHERE z IS NULL",
    "ALTER TABLE metric ADD COLUMN z int; UPDATE metric_2023 SET z = 1 WHERE z IS NULL",
    "CREATE SEQUENCE s1; GRANT USAGE ON SEQUENCE s1 TO PUBLIC; ALTER TABLE crm.dup ALTER b SET DEFAULT nextval('s1')",
    "CREATE TABLE crm.made (id serial); SELECT nextval('crm.made_id_seq'), setval('crm.\"made_id_seq\"', 5)",
    "CREATE FUNCTION crm.rate(p text) RETURNS int LANGUAGE sql AS 'SELECT 1'; SELECT crm.rate('x'::text)",
    "CREATE TYPE crm.t2 AS ENUM ('a'); CREATE VIEW crm.v2 AS SELECT 'a'::crm.t2 AS x",
    "CREATE VIEW crm.v3 AS SELECT id FROM crm.audit; CREATE VIEW crm.v4 AS SELECT id FROM crm.v3",
    "SET search_path = crm; CREATE TABLE thing2 (id int); INSERT INTO thing2 VALUES (1); INSERT INTO dup VALUES (1, 2)",
    "SET datestyle = 'ISO, DMY'; INSERT INTO crm.invoice (customer_id, amount, issued) VALUES (1, 2, '31/12/2024')",
    "CREATE CAST (integer AS crm.addr_t) WITH INOUT; UPDATE crm.customer SET home = 5 WHERE home IS NULL",
    "DO $$ DECLARE n int := 1; BEGIN UPDATE bare.thing SET v = v WHERE id = n; END $$",
    "PREPARE p (int) AS SELECT $1 + 1; EXECUTE p(1)",
    "DROP FUNCTION crm.old_total(a int, integer)",
    UNIQUE_ALREADY,
    "ALTER TABLE crm.customer DROP CONSTRAINT customer_mail_key, ADD CONSTRAINT customer_mail UNIQUE (mail)",
    "DROP INDEX crm.invoice_ref_ux; CREATE UNIQUE INDEX ON crm.invoice (ref_no)",
    "CREATE TRIGGER x BEFORE INSERT ON crm.audit FOR EACH ROW EXECUTE FUNCTION crm.stamp()",
    f"{FILLED}; CREATE UNIQUE INDEX ON crm.m (a); {REFRESHED}",
    'CREATE TABLE "a""b" (x int); INSERT INTO "a""b" VALUES (1)',
    'CREATE TABLE U&"d\\0061ta" (x int); INSERT INTO U&"d\\0061ta" VALUES (1)',
    "CREATE INDEX audit_i ON crm.audit (id); SELECT 'crm.audit_i'::regclass",
    "CREATE TYPE floats AS RANGE (subtype = float8); SELECT floatmultirange()",
    "CREATE TABLE metric_2026 PARTITION OF metric (label DEFAULT 'x') FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
    "CREATE VIEW crm.v5 AS SELECT 'a' AS a, id FROM crm.audit -- as it is",
    "CREATE RECURSIVE VIEW crm.v6 (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM v6 WHERE n < 3",
    "CREATE INDEX CONCURRENTLY ON crm.vacant (crm.old_total(id, n))",  # in SQL, so its body counts
]


def _fails(result: LintResult) -> bool:
    return any(each.level is Level.ERROR and "fails" in {one.value for one in each.classes} for each in result.findings)


@pytest.mark.pg("== 18")
def test_a_catalog_tells_what_is_refused(shop: Model) -> None:
    assert [text for text in FAILS if not _fails(lint(text, own(shop)))] == []


@pytest.mark.pg("== 18")
def test_parse_analysis_is_asked_behind_rows_alone(shop: Model) -> None:
    assert [text for text in NOT_FORESEEN if _fails(lint(text, own(shop)))] == []
    assert _fails(lint(ROWS_ONLY, own(shop)))
    retyped = "ALTER n DROP DEFAULT, ALTER n TYPE text USING n::text, ALTER n SET DEFAULT 'new'"
    assert not _fails(lint(f"ALTER TABLE crm.vacant {retyped}", own(shop)))
    files = [
        Migration(version=str(number), name="x", path=f"{number}.sql", kind=SourceKind.AD_HOC, content=text.encode())
        for number, text in enumerate(["CREATE TABLE crm.t (id int)", "SELECT crm.old_total('one', 2)"])
    ]
    assert not _fails(lint_files(files, model=own(shop), transaction=TransactionMode.FILE))
    assert _fails(lint_files(files[::-1], model=own(shop), transaction=TransactionMode.FILE))


@pytest.mark.pg("== 18")
def test_a_catalog_calls_what_runs_no_error(shop: Model) -> None:
    assert {text: found for text in RUNS if (found := told(lint(text, own(shop)), Level.ERROR))} == {}


@pytest.mark.pg("== 18")
def test_a_catalog_tells_what_is_lost_all_the_same(shop: Model) -> None:
    """Where an alarm about something else must not hide it."""
    same_name = "ALTER TABLE crm.invoice DROP COLUMN memo, ADD COLUMN memo varchar(10)"
    assert "drop-column" in told(lint(same_name, own(shop)), Level.ERROR)
    assert "drop-column" in told(lint(COPIED, own(shop)), Level.ERROR)
    other_key = SAME_KEY.replace("= 2", "= 3")  # its check waits for the COMMIT
    assert "pending-trigger-events" in told(lint(other_key, own(shop)), Level.ERROR)
    assert "large-objects-lost" in told(lint("SELECT lo_unlink(4711)", own(shop)), Level.ERROR)
    assert "revoke" in told(lint("DROP OWNED BY app_user", own(shop)), Level.ERROR)
    shorter = lint("ALTER TABLE crm.customer ALTER contact TYPE varchar(200)", own(shop))
    assert "change-column-type" in told(shorter, Level.ERROR)
    berlin = "ALTER TABLE crm.customer ALTER local_ts TYPE timestamptz USING local_ts AT TIME ZONE 'Europe/Berlin'"
    assert "lossy-type-change" in told(lint(berlin, own(shop)), Level.ERROR)

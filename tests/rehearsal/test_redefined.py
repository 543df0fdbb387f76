"""What is named as before and does something else is told; what only reads otherwise is not.

All cases stand in one database, each in a namespace of its own, so that the schema is read twice and no more.
"""

import pytest

from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.guarantees import find_lost_guarantees
from pgrehearse.schema.snapshot import read_schema

RULE = """CREATE TABLE t (id int, v text); CREATE TABLE u (id int);
CREATE RULE r AS ON DELETE TO t DO INSTEAD UPDATE t SET v = 'gone' WHERE t.id = old.id;"""
SECURE = """CREATE TABLE t (id int); CREATE POLICY own ON t FOR ALL USING (id > 0);
ALTER TABLE t ENABLE ROW LEVEL SECURITY;"""
ASKING = f"""CREATE FUNCTION mine(int) RETURNS bool LANGUAGE sql AS 'SELECT true'; {SECURE}
CREATE POLICY other ON t USING (mine(id));"""
WATCHED = """CREATE TABLE t (id int, v text);
CREATE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER w AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION seen();"""
SHOWN = "CREATE TABLE t (id int); CREATE VIEW v AS SELECT id FROM t WHERE id > 0;"
CALLED = "CREATE FUNCTION f(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT a + b';"
TREE = """CREATE TABLE p (id int) PARTITION BY RANGE (id); CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9);
CREATE TABLE rest PARTITION OF p DEFAULT;"""
FAMILY = "CREATE TABLE a (id int); CREATE TABLE b (id int);"
KEYS = "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (a int CONSTRAINT f REFERENCES p);"
DOMAIN = "CREATE DOMAIN d AS int DEFAULT 5 CONSTRAINT positive CHECK (value > 0);"
NUMBERS = "CREATE SEQUENCE s; CREATE TABLE t (id int, v text DEFAULT 'new');"
PLAIN = "CREATE TABLE t (id int, v text);"

TOLD = (
    (RULE, "DROP RULE r ON t", {"rule-instead: warning"}),
    (RULE, "CREATE OR REPLACE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", {"rule-instead: warning"}),
    (RULE, "CREATE RULE more AS ON UPDATE TO t DO ALSO DELETE FROM u WHERE u.id = new.id", {"rule-instead: warning"}),
    (SECURE, "CREATE POLICY few ON t AS RESTRICTIVE USING (id < 9)", {"alter-policy: warning"}),
    (SECURE, "CREATE POLICY everything ON t USING (true)", {"alter-policy: warning"}),
    (SECURE, "ALTER POLICY own ON t TO pg_monitor", {"alter-policy: warning"}),
    (SECURE, "DROP POLICY own ON t; CREATE POLICY own ON t FOR SELECT USING (id > 0)", {"alter-policy: warning"}),
    (ASKING, "CREATE OR REPLACE FUNCTION mine(int) RETURNS bool LANGUAGE sql AS 'SELECT false'",
     {"alter-policy: warning"}),
    (WATCHED, "CREATE OR REPLACE FUNCTION seen() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN null; END'",
     {"drop-trigger: warning"}),
    (WATCHED, "CREATE OR REPLACE TRIGGER w AFTER UPDATE OF v ON t FOR EACH ROW EXECUTE FUNCTION seen()",
     {"drop-trigger: warning"}),
    (WATCHED, "ALTER TABLE t ENABLE REPLICA TRIGGER w", {"disable-trigger: warning"}),
    (SHOWN, "ALTER VIEW v SET (security_invoker)", {"revoke: warning"}),
    (SHOWN + "ALTER VIEW v SET (security_invoker = on)", "CREATE OR REPLACE VIEW v AS SELECT id FROM t",
     {"disable-row-security: warning"}),
    (SHOWN + "ALTER VIEW v SET (check_option = cascaded)", "ALTER VIEW v RESET (check_option)",
     {"drop-constraint: warning"}),
    (CALLED, "ALTER FUNCTION f(int, int) STRICT", {"function-signature-change: warning"}),
    (CALLED, "ALTER FUNCTION f(int, int) SECURITY DEFINER", {"function-signature-change: warning"}),
    (CALLED, "ALTER FUNCTION f(int, int) SET search_path = pg_temp", {"function-signature-change: warning"}),
    (CALLED, "CREATE OR REPLACE FUNCTION f(a int, b int DEFAULT 2) RETURNS int LANGUAGE sql AS 'SELECT a + b'",
     {"function-signature-change: warning"}),
    (CALLED, "CREATE OR REPLACE FUNCTION f(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT a * b'",
     {"query-result-changes: info"}),
    (CALLED, "REVOKE EXECUTE ON FUNCTION f(int, int) FROM PUBLIC", {"lost-grants: warning"}),
    (TREE, "DROP TABLE rest", {"detach-partition: warning"}),
    (TREE, "ALTER TABLE p DETACH PARTITION p1; ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (5)",
     {"detach-partition: warning"}),
    (FAMILY, "ALTER TABLE b INHERIT a", {"query-result-changes: warning"}),
    (KEYS, "ALTER TABLE c DROP CONSTRAINT f, ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p ON DELETE SET NULL",
     {"cascade-delete-elsewhere: warning"}),
    (DOMAIN, "ALTER DOMAIN d DROP CONSTRAINT positive; ALTER DOMAIN d ADD CONSTRAINT positive CHECK (value > -9)",
     {"drop-constraint: warning"}),
    (DOMAIN, "ALTER DOMAIN d SET DEFAULT 6", {"change-default: info"}),
    (NUMBERS, "ALTER SEQUENCE s MAXVALUE 100", {"sequence-exhausted: warning"}),
    (NUMBERS, "ALTER SEQUENCE s CYCLE", {"sequence-restart: warning"}),
    (NUMBERS, "ALTER TABLE t ALTER v SET DEFAULT 'old'", {"change-default: info"}),
    (PLAIN, 'ALTER TABLE t ALTER v TYPE text COLLATE "C"', {"query-result-changes: warning"}),
    (PLAIN, "ALTER TABLE t OWNER TO pg_monitor", {"change-owner: warning"}),
    (PLAIN, "ALTER DEFAULT PRIVILEGES IN SCHEMA {namespace} REVOKE SELECT ON TABLES FROM pg_monitor",
     {"lost-grants: info"}),
)  # fmt: skip
NOT_TOLD = (
    (RULE, "CREATE OR REPLACE RULE r AS ON DELETE TO t DO INSTEAD UPDATE t SET v = 'gone' WHERE t.id = old.id"),
    (RULE, "CREATE VIEW w AS SELECT id FROM t; CREATE RULE nothing AS ON DELETE TO w DO INSTEAD NOTHING"),
    (SECURE, "DROP POLICY own ON t; CREATE POLICY own ON t FOR ALL USING (id > 0)"),
    (SECURE, "CREATE TABLE n (id int); ALTER TABLE n ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON n USING (true)"),
    (PLAIN, "CREATE POLICY later ON t USING (true)"),
    (WATCHED, "CREATE OR REPLACE TRIGGER w AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION seen()"),
    (WATCHED, "ALTER TABLE t DISABLE TRIGGER w; ALTER TABLE t ENABLE TRIGGER w"),
    (SHOWN, "CREATE OR REPLACE VIEW v AS SELECT id, 1 AS one FROM t WHERE id > 0"),
    (SHOWN + "ALTER VIEW v SET (security_invoker = on)",
     "CREATE OR REPLACE VIEW v WITH (security_invoker) AS SELECT id FROM t WHERE id > 0"),
    (CALLED, "CREATE OR REPLACE FUNCTION f(a int, b int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT a + b'"),
    (CALLED, "ALTER FUNCTION f(int, int) IMMUTABLE PARALLEL SAFE COST 7"),
    (CALLED, "CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT a'"),
    (CALLED, "GRANT EXECUTE ON FUNCTION f(int, int) TO pg_monitor"),
    (TREE, "DROP TABLE rest; CREATE TABLE others PARTITION OF p DEFAULT"),
    (TREE, "DROP TABLE p"),
    (TREE, "CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (9) TO (20)"),
    (FAMILY, "CREATE TABLE n () INHERITS (a)"),
    (KEYS, "ALTER TABLE c DROP CONSTRAINT f, ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES p ON UPDATE CASCADE"),
    (KEYS, "ALTER TABLE c RENAME CONSTRAINT f TO g"),
    (DOMAIN, "ALTER DOMAIN d RENAME CONSTRAINT positive TO above"),
    (NUMBERS, "ALTER SEQUENCE s CACHE 10 MAXVALUE 9223372036854775807 OWNED BY t.id"),
    (NUMBERS, "ALTER TABLE t ALTER v SET DEFAULT 'new'::text"),
    (PLAIN, "ALTER TABLE t ALTER v TYPE varchar(9)"),
    (PLAIN, "ALTER DEFAULT PRIVILEGES IN SCHEMA {namespace} GRANT INSERT ON TABLES TO pg_monitor"),
)  # fmt: skip


@pytest.mark.pg("== 18")
def test_what_does_something_else_under_its_name_is_told_and_nothing_else_is(connection: Connection) -> None:
    cases = [*TOLD, *((before, migration, set[str]()) for before, migration in NOT_TOLD)]
    names = [f"case_{number}_" for number in range(len(cases))]
    for namespace, (before, _, _) in zip(names, cases, strict=True):
        connection.execute(f"CREATE SCHEMA {namespace}; SET search_path = {namespace}; {before}".encode())
        connection.execute(
            f"ALTER DEFAULT PRIVILEGES IN SCHEMA {namespace} GRANT SELECT ON TABLES TO pg_monitor".encode()
        )
    schema = read_schema(connection)
    for namespace, (_, migration, _) in zip(names, cases, strict=True):
        connection.execute(f"SET search_path = {namespace}; {migration.format(namespace=namespace)}".encode())
    lost = find_lost_guarantees(schema, read_schema(connection))
    assert [each.what for each in lost if not any(namespace in each.what for namespace in names)] == []
    for namespace, (_, migration, expected) in zip(names, cases, strict=True):
        told = {f"{each.hazard}: {each.level.value}" for each in lost if namespace in each.what}
        assert told == expected, migration


@pytest.mark.pg("== 18")
def test_a_publication_that_sends_less_is_told(connection: Connection) -> None:
    connection.execute("CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE u (id int PRIMARY KEY)")
    connection.execute("CREATE PUBLICATION few FOR TABLE t; CREATE PUBLICATION most FOR TABLE t")
    before = read_schema(connection)
    connection.execute("ALTER PUBLICATION few SET TABLE t WHERE (id < 10); ALTER PUBLICATION most ADD TABLE u")
    (told,) = find_lost_guarantees(before, read_schema(connection))
    assert (told.hazard, told.relation) == ("publication-sends-less", "public.t")
    connection.execute("ALTER PUBLICATION few SET TABLE t; ALTER PUBLICATION most SET (publish = 'insert, update')")
    (told,) = find_lost_guarantees(before, read_schema(connection))
    assert told.what == "publication most sends no delete, truncate any more"

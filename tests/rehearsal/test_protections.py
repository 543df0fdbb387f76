"""What kept rows safe, private and reachable is told when it goes, and not when it stays under another name."""

import pytest

from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.guarantees import find_lost_guarantees
from pgrehearse.schema.snapshot import read_schema

AUDIT = """
CREATE TABLE t (id int PRIMARY KEY, a int DEFAULT 5, owner text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
CREATE TRIGGER audited AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION audit();
"""
PRIVATE = "CREATE TABLE t (id int, owner text); CREATE POLICY own ON t USING (owner = current_user);"
PRIVATE_ON = f"{PRIVATE} ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
TREE = """
CREATE TABLE p (id int) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
CREATE TABLE q (id int) PARTITION BY RANGE (id);
"""
CHILD = "CREATE TABLE a (); CREATE TABLE b () INHERITS (a)"
DOMAIN = "CREATE DOMAIN d AS int NOT NULL CHECK (value > 0)"
LABELS = "CREATE TYPE mood AS ENUM ('calm', 'it''s, well', 'cross'); CREATE TABLE t (m mood);"
SHARED = "CREATE TABLE t (id int, secret text); GRANT SELECT ON t TO pg_monitor; GRANT UPDATE (id) ON t TO pg_monitor;"
VIEW = "CREATE TABLE t (id int); CREATE VIEW v AS SELECT id FROM t; GRANT SELECT ON v TO PUBLIC;"


def lost(connection: Connection, before: str, migration: str) -> list[tuple[str, str]]:
    connection.execute(before)
    schema = read_schema(connection)
    connection.execute(migration)
    return [(each.hazard, each.level.value) for each in find_lost_guarantees(schema, read_schema(connection))]


def lost_but_names(connection: Connection, before: str, migration: str) -> list[tuple[str, str]]:
    return [told for told in lost(connection, before, migration) if not told[0].startswith("rename-")]


@pytest.mark.parametrize(
    ("before", "migration", "expected"),
    [
        (AUDIT, "DROP TRIGGER audited ON t", [("drop-trigger", "warning")]),
        (AUDIT, "ALTER TABLE t DISABLE TRIGGER audited", [("disable-trigger", "warning")]),
        (AUDIT, "ALTER TABLE t ALTER a DROP DEFAULT", [("drop-default", "info")]),
        (AUDIT, "ALTER TABLE t ALTER a SET DEFAULT 7", [("change-default", "info")]),
        (AUDIT, "ALTER TABLE t SET UNLOGGED", [("set-unlogged", "error")]),
        (AUDIT, "CREATE RULE r AS ON INSERT TO t DO INSTEAD NOTHING", [("rule-instead", "warning")]),
        (PRIVATE_ON, "ALTER TABLE t DISABLE ROW LEVEL SECURITY", [("disable-row-security", "error")]),
        (PRIVATE_ON, "DROP POLICY own ON t", [("drop-policy", "warning")]),
        (PRIVATE_ON, "ALTER POLICY own ON t USING (true)", [("alter-policy", "warning")]),
        (PRIVATE, "ALTER TABLE t ENABLE ROW LEVEL SECURITY", [("enable-row-security", "warning")]),
        (
            PRIVATE,
            "DROP POLICY own ON t; ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            [("enable-row-security", "error"), ("drop-policy", "warning")],
        ),
        (TREE, "ALTER TABLE p DETACH PARTITION p1", [("detach-partition", "error")]),
        (
            TREE,
            "ALTER TABLE p DETACH PARTITION p1; ALTER TABLE q ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)",
            [("detach-partition", "error")],
        ),
        (CHILD, "ALTER TABLE b NO INHERIT a", [("detach-partition", "error")]),
        (DOMAIN, "ALTER DOMAIN d DROP CONSTRAINT d_check", [("drop-constraint", "warning")]),
        (DOMAIN, "ALTER DOMAIN d DROP NOT NULL", [("drop-not-null", "warning")]),
        (LABELS, "ALTER TYPE mood RENAME VALUE 'calm' TO 'ok'", [("rename-enum-value", "error")]),
        (
            LABELS,
            "ALTER TYPE mood RENAME VALUE 'calm' TO 'x'; ALTER TYPE mood RENAME VALUE 'cross' TO 'calm';"
            "ALTER TYPE mood RENAME VALUE 'x' TO 'cross'",
            [("rename-enum-value", "error")],
        ),
        (SHARED, "REVOKE SELECT ON t FROM pg_monitor", [("lost-grants", "warning")]),
        (SHARED, "REVOKE UPDATE (id) ON t FROM pg_monitor", [("lost-grants", "warning")]),
        (VIEW, "ALTER VIEW v RENAME TO w", [("rename-view", "error")]),
        (VIEW, "CREATE SCHEMA s; ALTER TABLE t SET SCHEMA s", [("rename-table", "error")]),
        (VIEW, "DO $$ BEGIN EXECUTE 'ALTER TABLE t RENAME id TO key'; END $$", [("rename-column", "error")]),
        (
            'CREATE SCHEMA "a.b"; CREATE TABLE "a.b".t (id int); CREATE SCHEMA c; CREATE TABLE c.t (id int)',
            'ALTER SCHEMA "a.b" RENAME TO old; ALTER SCHEMA c RENAME TO "a.b"',
            [("rename-schema", "error"), ("rename-schema", "error")],
        ),
        (VIEW, "DROP VIEW v", [("drop-view", "warning")]),
        (VIEW, "DROP VIEW v; CREATE VIEW v AS SELECT id FROM t", [("lost-grants", "warning")]),
    ],
)  # fmt: skip
def test_what_protected_rows_is_told_when_it_goes(
    rolled_back: Connection, before: str, migration: str, expected: list[tuple[str, str]]
) -> None:
    assert lost(rolled_back, before, migration) == expected


@pytest.mark.pg(">= 15")
def test_a_table_that_is_made_anew_leaves_its_publication(rolled_back: Connection) -> None:
    before = "CREATE TABLE t (id int); CREATE PUBLICATION changes FOR TABLE t"
    assert lost(rolled_back, before, "DROP TABLE t; CREATE TABLE t (id int)") == [
        ("publication-loses-table", "warning")
    ]


@pytest.mark.parametrize(
    ("before", "migration"),
    [
        (AUDIT, "ALTER TABLE t RENAME TO u; ALTER TRIGGER audited ON u RENAME TO seen; ALTER TABLE u RENAME a TO b"),
        (AUDIT, "DROP TRIGGER audited ON t;"
                "CREATE TRIGGER audited AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION audit()"),
        (AUDIT, "ALTER TABLE t ALTER a DROP DEFAULT, ALTER a SET NOT NULL, ALTER a ADD GENERATED ALWAYS AS IDENTITY"),
        (AUDIT, "DROP TABLE t"),
        (PRIVATE_ON, "ALTER TABLE t RENAME TO u; ALTER POLICY own ON u RENAME TO mine"),
        (PRIVATE_ON, "CREATE TABLE u (id int); ALTER TABLE u ENABLE ROW LEVEL SECURITY"),
        (TREE, "ALTER TABLE p RENAME TO r; ALTER TABLE p1 RENAME TO r1"),
        (TREE, "ALTER TABLE p DETACH PARTITION p1; ALTER TABLE p RENAME TO r;"
               "CREATE TABLE p (id int) PARTITION BY RANGE (id);"
               "ALTER TABLE p ATTACH PARTITION p1 FOR VALUES FROM (0) TO (20)"),
        (TREE, "ALTER TABLE p DETACH PARTITION p1; CREATE TABLE p0 PARTITION OF p FOR VALUES FROM (0) TO (50)"
               " PARTITION BY RANGE (id); ALTER TABLE p0 ATTACH PARTITION p1 FOR VALUES FROM (0) TO (10)"),
        (TREE, "DROP TABLE p1"),
        (
            "CREATE TABLE t (id serial); GRANT USAGE ON SEQUENCE t_id_seq TO pg_monitor;",
            "ALTER TABLE t ALTER id DROP DEFAULT; DROP SEQUENCE t_id_seq;"
            "ALTER TABLE t ALTER id ADD GENERATED ALWAYS AS IDENTITY",
        ),
        (LABELS, "ALTER TYPE mood ADD VALUE 'new' BEFORE 'it''s, well'; ALTER TYPE mood RENAME TO feeling"),
        (LABELS, "ALTER TYPE mood RENAME TO old; CREATE TYPE mood AS ENUM ('calm', 'cross', 'it''s, well');"
                 "ALTER TABLE t ALTER m TYPE mood USING m::text::mood; DROP TYPE old"),
        (SHARED, "ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME id TO key"),
        (SHARED, "GRANT INSERT ON t TO pg_monitor; GRANT SELECT ON t TO PUBLIC"),
        (SHARED, "ALTER TABLE t DROP COLUMN id"),
        (VIEW, "CREATE OR REPLACE VIEW v AS SELECT id, 1 AS one FROM t"),
    ],
)  # fmt: skip
def test_what_protected_rows_and_stays_is_not_told(rolled_back: Connection, before: str, migration: str) -> None:
    assert lost_but_names(rolled_back, before, migration) == []

"""Plans that run although today's rows look as if they could not: nothing may be asked of production that refuses them.

Each has violators planted in the table, and cleans them up before its constraint comes, or needs nothing.  The server
is the oracle again: the plan runs.
"""

from dataclasses import dataclass

import pytest
from tests.support.asking_production import derive_from

from pgrehearse.postgres.connect import Connection
from pgrehearse.release.preconditions import PreconditionKind, check_preconditions
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject
from pgrehearse.schema.snapshot import read_schema

# Duplicates and NULLs in a, a violator of n > 0, an orphan, and a table beside it.
BEFORE = """
CREATE TYPE status AS ENUM ('open', 'done', 'odd');
CREATE DOMAIN amount AS int;
CREATE TABLE p (id int PRIMARY KEY, name text);
CREATE TABLE t (id int PRIMARY KEY, a text, n int, p_id int, s status, m amount, long text);
CREATE TABLE child (id int PRIMARY KEY, t_id int REFERENCES t ON DELETE CASCADE, c text);
CREATE TABLE log (id int GENERATED ALWAYS AS IDENTITY, what text);
CREATE VIEW v AS SELECT id, a FROM t;
CREATE MATERIALIZED VIEW mv AS SELECT a FROM t;
INSERT INTO p VALUES (1, 'one');
INSERT INTO t VALUES (1, 'x', 1, 1, 'open', 1, 'l'), (2, 'x', 2, 1, 'done', 2, 'l'),
                     (3, NULL, -1, 9, 'odd', -3, 'much too long');
INSERT INTO child VALUES (1, 3, NULL);
INSERT INTO log (what) VALUES (NULL);
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE far (id int, a text, n int) SERVER nowhere;
CREATE FUNCTION clean() RETURNS void LANGUAGE sql AS $$ UPDATE t SET a = id::text $$;
CREATE FUNCTION calls_clean() RETURNS void LANGUAGE plpgsql AS $$ BEGIN PERFORM clean(); END $$;
CREATE FUNCTION clean_any(what text) RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE format('UPDATE %I SET a = id::text', what); END $$;
CREATE PROCEDURE cleanse() LANGUAGE sql AS $$ UPDATE t SET a = id::text $$;
CREATE FUNCTION fill_log() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN UPDATE log SET what = 'x'; NEW.long := 'l'; RETURN NEW; END $$;
CREATE TRIGGER fires BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION fill_log();
"""
UNIQUE = "; ALTER TABLE t ADD UNIQUE (a)"
NOT_NULL = "; ALTER TABLE t ALTER a SET NOT NULL"
DO_CLEAN = "DO $$ BEGIN UPDATE t SET a = id::text; END $$"
DO_LOOP = "DO $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM t LOOP UPDATE t SET a = r.id::text WHERE id = r.id; " \
          "END LOOP; END $$"  # fmt: skip
DO_DYNAMIC = "DO $$ BEGIN EXECUTE format('UPDATE t SET a = id::%s', 'text'); END $$"


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    name: str
    plan: str
    because: str  # part of the reason that is told


CASES = tuple(
    Cleaned(name=name, plan=plan, because=because)
    for name, plan, because in (
        ("UPDATE", "UPDATE t SET a = id::text" + UNIQUE, "0001_test.sql:1 updates it"),
        ("UPDATE, then NOT NULL", "UPDATE t SET a = '' WHERE a IS NULL" + NOT_NULL, "updates it"),
        ("DELETE", "DELETE FROM child; DELETE FROM t WHERE id > 1" + UNIQUE, "deletes from it"),
        ("DELETE … USING", "DELETE FROM child; DELETE FROM t USING t o WHERE t.id > o.id" + UNIQUE, "deletes from it"),
        ("TRUNCATE", "TRUNCATE t CASCADE; ALTER TABLE t ADD UNIQUE (a)", "truncates it"),
        ("TRUNCATE of a parent", "TRUNCATE t CASCADE; ALTER TABLE child ALTER c SET NOT NULL", "its foreign key"),
        ("a cascade", "DELETE FROM t WHERE id = 3; ALTER TABLE child ALTER c SET NOT NULL", "its foreign key follows"),
        ("MERGE", "MERGE INTO t USING p ON true WHEN MATCHED THEN UPDATE SET a = t.id::text" + UNIQUE, "merges"),
        ("INSERT … ON CONFLICT DO UPDATE", "INSERT INTO t (id) SELECT id FROM t ON CONFLICT (id) DO UPDATE SET a = "
         "excluded.id::text" + UNIQUE, "updates it"),
        ("a writing WITH", "WITH w AS (UPDATE t SET a = id::text RETURNING 1) SELECT count(*) FROM w" + UNIQUE,
         "updates it"),
        ("a writing WITH inside EXPLAIN ANALYZE", "EXPLAIN ANALYZE UPDATE t SET a = id::text" + UNIQUE, "updates it"),
        ("through a view", "UPDATE v SET a = id::text" + UNIQUE, "updates it"),
        ("by a function", "SELECT clean()" + UNIQUE, "calls clean()"),
        ("by a function that calls one", "SELECT calls_clean()" + UNIQUE, "calls calls_clean()"),
        ("by a function that builds its statement", "SELECT clean_any('t')" + UNIQUE, "does not show"),
        ("by a procedure", "CALL cleanse()" + UNIQUE, "does not show"),
        ("by a function of the plan",
         "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ UPDATE t SET a = id::text $$;"
         "SELECT f()" + UNIQUE, "calls f()"),
        ("by a trigger, another table", "UPDATE t SET n = 1; ALTER TABLE log ALTER what SET NOT NULL", "a trigger"),
        ("by a trigger, the row itself", "UPDATE t SET n = 1; ALTER TABLE t ALTER long TYPE varchar(5)", "a trigger"),
        ("by a trigger of the plan", "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
         "NEW.a := NEW.id; RETURN NEW; END $$; CREATE TRIGGER of_plan BEFORE UPDATE ON t FOR EACH ROW "
         "EXECUTE FUNCTION g(); UPDATE t SET n = 1" + UNIQUE, "a trigger"),
        ("in a DO block", DO_CLEAN + UNIQUE, "updates it"),
        ("in a loop of a DO block", DO_LOOP + UNIQUE, "may write it in a DO block"),
        ("in a DO block that builds its statement", DO_DYNAMIC + UNIQUE, "does not show"),
        ("a DO block that catches the failure", "DO $$ BEGIN ALTER TABLE t ADD UNIQUE (a); EXCEPTION WHEN others THEN "
         "NULL; END $$", "its failure is caught: WHEN others"),
        ("a DO block that catches just this", "DO $$ BEGIN ALTER TABLE t ADD UNIQUE (a); EXCEPTION "
         "WHEN unique_violation OR duplicate_object THEN NULL; END $$", "unique_violation"),
        ("a DO block that does it perhaps", "DO $$ BEGIN IF false THEN ALTER TABLE t ADD UNIQUE (a); END IF; END $$",
         "under a condition"),
        ("in an earlier file", "UPDATE t SET a = id::text|ALTER TABLE t ADD UNIQUE (a)", "0001_test.sql:1 updates it"),
        ("a column that is new", "ALTER TABLE t ADD x int; UPDATE t SET x = id; ALTER TABLE t ALTER x SET NOT NULL",
         "column x is new"),
        ("a unique column that is new", "ALTER TABLE t ADD x int; UPDATE t SET x = id; ALTER TABLE t ADD UNIQUE (x)",
         "column x is new"),
        ("a check of a new column with a default",
         "ALTER TABLE t ADD x int DEFAULT 1 CHECK (x > 0)", "column x is new"),
        ("a column that was replaced", "ALTER TABLE t ADD b text; UPDATE t SET b = id; ALTER TABLE t DROP a CASCADE;"
         "ALTER TABLE t RENAME b TO a" + UNIQUE, "column a is new"),
        ("a table that was replaced", "CREATE TABLE t2 (LIKE t); INSERT INTO t2 SELECT DISTINCT ON (a) * FROM t;"
         "DROP TABLE t CASCADE; ALTER TABLE t2 RENAME TO t" + UNIQUE, "t is made at"),
        ("a table that a query makes", "CREATE TABLE u AS SELECT DISTINCT a FROM t; ALTER TABLE u ADD UNIQUE (a)",
         "fills it"),
        ("a written column that was renamed", "UPDATE t SET a = id; ALTER TABLE t RENAME a TO b;"
         "ALTER TABLE t ADD UNIQUE (b)", "updates it"),
        ("a written table that was renamed", "UPDATE t SET a = id; ALTER TABLE t RENAME TO u;"
         "ALTER TABLE u ADD UNIQUE (a)", "updates it"),
        ("a written table that was moved", "CREATE SCHEMA s; UPDATE t SET a = id; ALTER TABLE t SET SCHEMA s;"
         "ALTER TABLE s.t ADD UNIQUE (a)", "updates it"),
        ("parents that are inserted", "INSERT INTO p VALUES (9); ALTER TABLE t ADD FOREIGN KEY (p_id) REFERENCES p",
         "inserts into it"),
        ("parents that the plan makes", "CREATE TABLE q AS SELECT DISTINCT p_id FROM t; ALTER TABLE q ADD PRIMARY KEY "
         "(p_id); ALTER TABLE t ADD FOREIGN KEY (p_id) REFERENCES q", "q is made at"),
        ("parents that are written", "UPDATE p SET id = 9; UPDATE t SET n = 0; DELETE FROM t WHERE p_id = 1;"
         "ALTER TABLE t ADD FOREIGN KEY (p_id) REFERENCES p", "deletes from it"),
        ("orphans that are let go", "UPDATE t SET p_id = NULL WHERE p_id = 9;"
         "ALTER TABLE t ADD FOREIGN KEY (p_id) REFERENCES p", "updates it"),
        ("VALIDATE after a backfill", "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID; UPDATE t SET n = 1;"
         "ALTER TABLE t VALIDATE CONSTRAINT c", "updates it"),
        ("VALIDATE after a rename", "UPDATE t SET n = 1; ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID;"
         "ALTER TABLE t RENAME n TO k; ALTER TABLE t VALIDATE CONSTRAINT c", "renames columns"),
        ("a domain's values were mended",
         "UPDATE t SET m = 1; ALTER DOMAIN amount ADD CHECK (VALUE > 0)", "updates it"),
        ("a label that is mended", "UPDATE t SET s = 'done' WHERE s = 'odd'; ALTER TYPE status RENAME TO old;"
         "CREATE TYPE status AS ENUM ('open', 'done'); ALTER TABLE t ALTER s TYPE status USING s::text::status",
         "updates it"),
        ("values that are cut before", "UPDATE t SET long = left(long, 5); ALTER TABLE t ALTER long TYPE varchar(5)",
         "updates it"),
        ("a check over a type of the plan",
         "CREATE TYPE k AS ENUM ('l', 'much too long'); ALTER TABLE t ALTER long TYPE "
         "k USING long::k; ALTER TABLE t ADD CHECK (long <> 'l' OR id < 3)", "type of long"),
        ("a check that calls a function of the plan", "CREATE FUNCTION f(int) RETURNS bool IMMUTABLE LANGUAGE sql AS "
         "'SELECT true'; ALTER TABLE t ADD CHECK (f(n))", "f(), which the plan makes"),
        ("a check that calls what may write", "CREATE FUNCTION f(int) RETURNS bool LANGUAGE sql AS 'SELECT true';"
         "|ALTER TABLE t ADD CHECK (f(n))", "f(), which"),
        ("a check over the whole row", "ALTER TABLE t ADD CHECK (t IS NOT NULL OR true)", "more than a column"),
        ("a materialized view that is refreshed", "UPDATE t SET a = id; REFRESH MATERIALIZED VIEW mv;"
         "CREATE UNIQUE INDEX ON mv (a)", "refreshes it"),
        ("a check after a type change and a rename", "ALTER TABLE t ALTER long TYPE int USING length(long) + id;"
         "ALTER TABLE t RENAME id TO k; ALTER TABLE t ADD CHECK (long > 0)", "renames columns"),
        ("a check after a type change and a drop", "ALTER TABLE t ALTER long TYPE int USING length(long) + n;"
         "ALTER TABLE t DROP n; ALTER TABLE t ADD CHECK (long > 0)", "drops columns"),
        ("a label that got another name", "ALTER TYPE status RENAME VALUE 'odd' TO 'even'; ALTER TYPE status RENAME TO "
         "old; CREATE TYPE status AS ENUM ('open', 'done', 'even', 'x'); ALTER TABLE t ALTER s TYPE text;"
         "ALTER TABLE t ALTER s TYPE status USING s::status", "renames a label"),
        ("a composite type that the plan changes", "CREATE TYPE pair AS (x int); ALTER TABLE t ADD w pair|"
         "ALTER TYPE pair ADD ATTRIBUTE y int; ALTER TABLE t ADD CHECK ((w).y IS NULL)", "type of w"),
        ("an enum with a new label", "ALTER TABLE t ALTER s DROP DEFAULT; ALTER TYPE status ADD VALUE 'more'|"
         "ALTER TABLE t ADD CHECK (s <> 'odd' OR n < 0)", "type of s"),
        ("a partition that is attached",
         "CREATE TABLE r (a int) PARTITION BY LIST (a); CREATE TABLE r1 AS SELECT 1 AS a;"
         "ALTER TABLE r ATTACH PARTITION r1 FOR VALUES IN (1); ALTER TABLE r ALTER a SET NOT NULL", "r1 is made at"),
    )
)  # fmt: skip

NOTHING = (
    ("a new table with everything", "CREATE TABLE u (id int PRIMARY KEY, a text UNIQUE NOT NULL CHECK (a <> ''), "
     "t_id int REFERENCES t); CREATE UNIQUE INDEX ON u (lower(a)); ALTER TABLE u ADD CHECK (id > 0)"),
    ("constraints added to a new table, as drizzle-kit does", 'CREATE TABLE "u" ("id" serial PRIMARY KEY NOT NULL, '
     '"t_id" integer); ALTER TABLE "u" ADD CONSTRAINT "u_fk" FOREIGN KEY ("t_id") REFERENCES "public"."t"("id")'),
    ("what is there already",
     "CREATE UNIQUE INDEX IF NOT EXISTS t_pkey ON t (a); ALTER TABLE t ADD COLUMN IF NOT EXISTS "
     "a text NOT NULL; CREATE TABLE IF NOT EXISTS t (a text UNIQUE)"),
    ("NOT VALID",
     "ALTER TABLE t ADD CHECK (n > 0) NOT VALID; ALTER TABLE t ADD FOREIGN KEY (p_id) REFERENCES p NOT VALID;"
     "ALTER DOMAIN amount ADD CHECK (VALUE > 0) NOT VALID"),
    ("an index that is not unique", "CREATE INDEX ON t (a)"),
    ("a column with a default", "ALTER TABLE t ADD x int NOT NULL DEFAULT 1; ALTER TABLE t ADD y serial;"
     "ALTER TABLE t ADD z int GENERATED ALWAYS AS IDENTITY"),
    ("a column that may be NULL", "ALTER TABLE t ADD x int; ALTER TABLE t ADD y int REFERENCES p"),
    ("type changes that keep all", "DROP VIEW v; DROP MATERIALIZED VIEW mv; ALTER TABLE t ALTER a TYPE varchar; "
     "ALTER TABLE t ALTER n TYPE bigint, ALTER p_id TYPE bigint USING p_id::bigint; ALTER TABLE t ALTER s TYPE text"),
    ("NOT NULL where it is", "ALTER TABLE t ALTER id SET NOT NULL"),
    ("a table that is not there", "ALTER TABLE IF EXISTS nobody ADD UNIQUE (a)"),
    ("a partition that has all its parent's rules", "CREATE TABLE q (id int, n int, UNIQUE (n), FOREIGN KEY (n) "
     "REFERENCES p) PARTITION BY RANGE (n); CREATE UNIQUE INDEX ON q (n, id); CREATE TABLE q1 (LIKE q INCLUDING ALL);"
     "ALTER TABLE q1 ADD FOREIGN KEY (n) REFERENCES p; ALTER TABLE q ATTACH PARTITION q1 FOR VALUES FROM (1) TO (2)"),
    ("a foreign table", "ALTER FOREIGN TABLE far ALTER a SET NOT NULL, ADD CHECK (n > 0), ADD x int NOT NULL;"
     "ALTER FOREIGN TABLE far ALTER a TYPE int"),
    ("comments, grants, statistics", "COMMENT ON TABLE t IS 'x'; GRANT SELECT ON t TO PUBLIC; ANALYZE t"),
    ("an enum that grows", "ALTER TYPE status RENAME TO old; CREATE TYPE status AS ENUM ('odd', 'open', 'done', 'new');"
     "ALTER TABLE t ALTER s TYPE status USING s::text::status"),
    ("a temporary table of the same name", "CREATE TEMP TABLE t (a text); ALTER TABLE t ADD UNIQUE (a)"),
    ("a new table of another namespace", "CREATE SCHEMA s; SET search_path = s, public; CREATE TABLE t (a text);"
     "ALTER TABLE t ADD UNIQUE (a)"),
    ("a new table of a namespace by set_config",
     "CREATE SCHEMA s; SELECT pg_catalog.set_config('search_path', 's', true);"
     "CREATE TABLE t (a text); ALTER TABLE t ADD UNIQUE (a)"),
    ("tables of CREATE SCHEMA", "CREATE SCHEMA s CREATE TABLE t (a text); ALTER TABLE s.t ADD UNIQUE (a)"),
)  # fmt: skip


@pytest.fixture(scope="module")
def schema(shared: Connection) -> Schema:
    """Of the tables above, made once: what a test does to them is rolled back."""
    shared.execute(BEFORE.encode())
    return read_schema(shared)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_plan_cleans_itself_is_not_asked(case: Cleaned, schema: Schema, undone: Connection) -> None:
    files = case.plan.split("|")

    results = check_preconditions(undone, derive_from(schema, *files))

    stopping = [each for each in results if each.refuses and each.precondition.kind is not PreconditionKind.LOSSY]
    assert [each.sentence for each in stopping] == []
    last = [result for result in results if result.left_to_rehearsal]
    assert any(case.because in (result.reason or "") for result in last), [result.reason for result in results]
    assert all(f"left to the rehearsal, {result.reason}" in result.sentence for result in last)
    run(undone, files)


@pytest.mark.parametrize(("name", "plan"), NOTHING, ids=[name for name, _ in NOTHING])
def test_what_needs_nothing_asks_nothing(name: str, plan: str, schema: Schema, undone: Connection) -> None:
    assert [precondition.what for precondition in derive_from(schema, plan)] == []
    run(undone, [plan])


def test_a_long_chain_of_cascades_is_followed_to_its_end() -> None:
    objects = []
    for number in range(3000):
        relation = f"public.t{number}"
        text = f"FOREIGN KEY (c) REFERENCES public.t{number - 1}(c) ON DELETE CASCADE"
        objects += [
            SchemaObject(kind=ObjectKind.TABLE, name=relation),
            SchemaObject(kind=ObjectKind.COLUMN, name="c", relation=relation, position=1, attributes={"type": "int"}),
            SchemaObject(kind=ObjectKind.CONSTRAINT, name="f", relation=relation, attributes={"definition": text}),
        ]
    schema = Schema(server_major=18, objects=tuple(objects))

    last, other = derive_from(
        schema, "DELETE FROM t5 WHERE false; ALTER TABLE t2999 ADD UNIQUE (c); ALTER TABLE t4 ADD UNIQUE (c)"
    )

    assert last.left_because == "0001_test.sql:1 deletes from it, and its foreign key follows"
    assert other.left_because is None


def test_a_table_that_is_not_known_is_left_to_the_rehearsal(schema: Schema) -> None:
    found = derive_from(schema, "ALTER TABLE nobody ADD UNIQUE (a); CREATE UNIQUE INDEX ON nobody (a)")

    assert [precondition.is_left_to_rehearsal for precondition in found] == [True, True]
    assert found[1].kind is PreconditionKind.DUPLICATES


def run(connection: Connection, files: list[str]) -> None:
    for file in files:
        connection.execute(file.encode())

"""What a plan breaks behind the catalog's back is found, counted as an independent query counts it, and benign plans
raise nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from pgrehearse.data.integrity.examine import examine_integrity
from pgrehearse.data.integrity.verdicts import CheckVerdict, Integrity, Weight
from pgrehearse.postgres.connect import fetch_value
from pgrehearse.rehearsal.integrity import find_kept, find_unchanged, find_widened

SHOP = """
CREATE TABLE parent (id int PRIMARY KEY, name text);
CREATE TABLE child (id int PRIMARY KEY, parent_id int CONSTRAINT to_parent REFERENCES parent (id),
                    CONSTRAINT positive CHECK (id > 0));
CREATE TABLE calm (id int PRIMARY KEY, parent_id int REFERENCES parent (id), note text NOT NULL CHECK (note <> ''));
INSERT INTO parent SELECT n, 'p' FROM generate_series(1, 50) n;
INSERT INTO child SELECT n, n % 50 + 1 FROM generate_series(1, 200) n;
INSERT INTO calm SELECT n, 1, 'x' FROM generate_series(1, 100) n;
"""
REPLICA = "SET session_replication_role = replica; {} ; RESET session_replication_role"


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    name: str
    given: str
    migration: Sequence[str]
    hazard: str
    relation: str
    oracle: str | None  # counts the violators on the clone
    weight: Weight = Weight.ERROR
    first_key: str | None = None
    since: int = 15


ORPHANS = "SELECT count(c.parent_id) FROM child c LEFT JOIN parent p ON p.id = c.parent_id WHERE p.id IS NULL"
PLANTED = (
    Planted(
        name="orphans written in replica mode",
        given=SHOP,
        migration=[REPLICA.format("INSERT INTO child VALUES (900, 77), (901, NULL), (1000, 78)")],
        hazard="broken-foreign-key", relation="public.child", oracle=ORPHANS, first_key="(id) = (900)",
    ),
    Planted(
        name="a parent deleted while triggers were off, which are on again",
        given=SHOP,
        migration=["ALTER TABLE parent DISABLE TRIGGER ALL; DELETE FROM parent WHERE id BETWEEN 2 AND 4; "
                   "ALTER TABLE parent ENABLE TRIGGER ALL"],
        hazard="broken-foreign-key", relation="public.child", oracle=ORPHANS,
    ),
    Planted(
        name="a NOT VALID foreign key over rows that break it",
        given=SHOP + "ALTER TABLE child DROP CONSTRAINT to_parent; UPDATE child SET parent_id = 999 WHERE id <= 3",
        migration=["ALTER TABLE child ADD CONSTRAINT to_parent FOREIGN KEY (parent_id) REFERENCES parent NOT VALID"],
        hazard="broken-foreign-key", relation="public.child", oracle=ORPHANS, weight=Weight.WARNING,
        first_key="(id) = (1)",
    ),
    Planted(
        name="production's NOT VALID foreign key is broken by more rows than before",
        given=SHOP + "ALTER TABLE child DROP CONSTRAINT to_parent; UPDATE child SET parent_id = 999 WHERE id <= 3;"
        "ALTER TABLE child ADD CONSTRAINT to_parent FOREIGN KEY (parent_id) REFERENCES parent NOT VALID",
        migration=[REPLICA.format("UPDATE child SET parent_id = 998 WHERE id IN (3, 50, 60)")],
        hazard="broken-foreign-key", relation="public.child", oracle=ORPHANS, first_key="(id) = (50)",
    ),
    Planted(
        name="as many rows as before break production's NOT VALID foreign key, and others",
        given=SHOP + "ALTER TABLE child DROP CONSTRAINT to_parent; UPDATE child SET parent_id = 999 WHERE id <= 3;"
        "ALTER TABLE child ADD CONSTRAINT to_parent FOREIGN KEY (parent_id) REFERENCES parent NOT VALID",
        migration=["UPDATE child SET parent_id = 1 WHERE id <= 3;"
                   + REPLICA.format("UPDATE child SET parent_id = 998 WHERE id IN (50, 60, 70)")],
        hazard="broken-foreign-key", relation="public.child", oracle=ORPHANS, first_key="(id) = (50)",
    ),
    Planted(
        name="a constraint that is called valid by an UPDATE of the catalog",
        given=SHOP,
        migration=["ALTER TABLE child ADD CONSTRAINT small CHECK (id < 100) NOT VALID; "
                   "UPDATE pg_constraint SET convalidated = true WHERE conname = 'small'"],
        hazard="broken-check", relation="public.child", oracle="SELECT count(*) FROM child WHERE id >= 100",
        first_key="(id) = (100)",
    ),
    Planted(
        name="a CHECK whose function was replaced",
        given="CREATE FUNCTION fine(v int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN v > 0; END';"
        "CREATE TABLE t (id int PRIMARY KEY, v int CONSTRAINT c CHECK (fine(v)));"
        "INSERT INTO t SELECT n, n FROM generate_series(1, 100) n",
        migration=["CREATE OR REPLACE FUNCTION fine(v int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql "
                   "AS 'BEGIN RETURN v > 40; END'"],
        hazard="broken-check", relation="public.t", oracle="SELECT count(*) FROM t WHERE NOT v > 40",
    ),
    Planted(
        name="a CHECK that looks up another table, whose rows went",
        given="CREATE TABLE country (code text PRIMARY KEY); INSERT INTO country VALUES ('DE'), ('FR');"
        "CREATE FUNCTION known(c text) RETURNS boolean STABLE LANGUAGE sql "
        "AS 'SELECT EXISTS (SELECT FROM public.country WHERE code = c)';"
        "CREATE TABLE t (id int PRIMARY KEY, c text CHECK (known(c))); INSERT INTO t VALUES (1, 'DE'), (2, 'FR')",
        migration=["DELETE FROM country WHERE code = 'FR'"],
        hazard="broken-check", relation="public.t",
        oracle="SELECT count(*) FROM t LEFT JOIN country ON code = c WHERE code IS NULL", first_key="(id) = (2)",
    ),
    Planted(
        name="a CHECK whose function fails for rows that are there",
        given="CREATE FUNCTION fine(v int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT v < 100';"
        "CREATE TABLE t (id int PRIMARY KEY, v int CHECK (fine(v))); INSERT INTO t VALUES (1, 0)",
        migration=["CREATE OR REPLACE FUNCTION fine(v int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT 1/v < 9'"],
        hazard="broken-check", relation="public.t", oracle=None,
    ),
    Planted(
        name="NULLs under a NOT NULL by the catalog",
        given=SHOP,
        migration=["UPDATE child SET parent_id = NULL WHERE id <= 7; "
                   "UPDATE pg_attribute SET attnotnull = true "
                   "WHERE attrelid = 'child'::regclass AND attname = 'parent_id'"],
        hazard="broken-not-null", relation="public.child",
        oracle="SELECT count(*) - count(parent_id) FROM (SELECT parent_id FROM child OFFSET 0) c",
    ),
    Planted(
        name="a NOT NULL of 18 that is not valid",
        given=SHOP + "UPDATE child SET parent_id = NULL WHERE id <= 7",
        migration=["ALTER TABLE child ADD CONSTRAINT nn NOT NULL parent_id NOT VALID"],
        hazard="broken-not-null", relation="public.child", weight=Weight.WARNING, since=18,
        oracle="SELECT count(*) - count(parent_id) FROM (SELECT parent_id FROM child OFFSET 0) c",
    ),
    Planted(
        name="a foreign key that is not enforced any more, and broken",
        given=SHOP,
        migration=["ALTER TABLE child ALTER CONSTRAINT to_parent NOT ENFORCED;"
                   "UPDATE child SET parent_id = 99 WHERE id = 9"],
        hazard="broken-foreign-key", relation="public.child", oracle=ORPHANS, since=18,
    ),
    Planted(
        name="duplicates past a deferrable unique constraint in replica mode",
        given="CREATE TABLE t (id int PRIMARY KEY, v text COLLATE \"C\" CONSTRAINT once UNIQUE DEFERRABLE);"
        "INSERT INTO t SELECT n, n FROM generate_series(1, 100) n",
        migration=[REPLICA.format("INSERT INTO t VALUES (101, '5'), (102, '5'), (103, NULL)")],
        hazard="broken-unique", relation="public.t", first_key="(id) = (5)",
        oracle="SELECT sum(n) FROM (SELECT count(*) AS n FROM t WHERE v IS NOT NULL GROUP BY v HAVING count(*) > 1) d",
    ),
    Planted(
        name="duplicates past an index that was not maintained meanwhile",
        given="CREATE TABLE t (id int, v int); CREATE UNIQUE INDEX once ON t (v) NULLS NOT DISTINCT WHERE id > 0;"
        "INSERT INTO t SELECT n, n FROM generate_series(1, 100) n; INSERT INTO t VALUES (101, NULL), (0, 1), (-1, 1)",
        migration=[
            "UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'once'::regclass",
            "INSERT INTO t VALUES (102, NULL), (103, 1), (-2, 1)",
            "UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'once'::regclass",
        ],
        hazard="broken-unique", relation="public.t",
        oracle="SELECT sum(n) FROM (SELECT count(*) AS n FROM t WHERE id + 0 > 0 GROUP BY v HAVING count(*) > 1) d",
    ),
    Planted(
        name="duplicates by the expression of a unique index",
        given="CREATE FUNCTION k(v text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT v';"
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE UNIQUE INDEX once ON t (k(v));"
        "INSERT INTO t VALUES (1, 'a'), (2, 'A'), (3, 'b')",
        migration=["CREATE OR REPLACE FUNCTION k(v text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower(v)'"],
        hazard="broken-unique", relation="public.t", first_key="(id) = (1)",
        oracle="SELECT sum(n) FROM (SELECT count(*) AS n FROM t GROUP BY lower(v) HAVING count(*) > 1) d",
    ),
    Planted(
        name="rows that exclude each other, with an index that was not maintained meanwhile",
        given="CREATE TABLE t (id int PRIMARY KEY, during int4range,"
        "CONSTRAINT apart EXCLUDE USING gist (during WITH &&));"
        "INSERT INTO t SELECT n, int4range(n * 10, n * 10 + 5) FROM generate_series(1, 100) n",
        migration=[
            "UPDATE pg_index SET indisready = false WHERE indexrelid = 'apart'::regclass",
            "INSERT INTO t VALUES (901, '[12,22)')",
            "UPDATE pg_index SET indisready = true WHERE indexrelid = 'apart'::regclass",
        ],
        hazard="broken-exclusion", relation="public.t", first_key="(id) = (1)",
        oracle="SELECT count(*) FROM t a WHERE EXISTS (SELECT FROM t b WHERE a.id <> b.id AND a.during && b.during)",
    ),
    Planted(
        name="a domain that is NOT VALID over stored values",
        given="CREATE DOMAIN small AS int; CREATE TABLE t (id int PRIMARY KEY, v small);"
        "INSERT INTO t SELECT n, n FROM generate_series(1, 30) n",
        migration=["ALTER DOMAIN small ADD CONSTRAINT below CHECK (VALUE < 10) NOT VALID"],
        hazard="broken-domain", relation="public.t", oracle="SELECT count(*) FROM t WHERE v::int >= 10",
        weight=Weight.WARNING, first_key="(id) = (10)",
    ),
    Planted(
        name="a domain over a domain whose function was replaced",
        given="CREATE FUNCTION fine(v int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT v > 0';"
        "CREATE DOMAIN inner_one AS int CHECK (fine(VALUE)); CREATE DOMAIN outer_one AS inner_one;"
        "CREATE TABLE t (id int PRIMARY KEY, v outer_one); INSERT INTO t SELECT n, n FROM generate_series(1, 30) n",
        migration=["CREATE OR REPLACE FUNCTION fine(v int) RETURNS boolean IMMUTABLE LANGUAGE sql AS 'SELECT v > 20'"],
        hazard="broken-domain", relation="public.t", oracle="SELECT count(*) FROM t WHERE v::int <= 20",
    ),
    Planted(
        name="a domain that is NOT VALID over elements of arrays",
        given="CREATE DOMAIN small AS int; CREATE TABLE t (id int PRIMARY KEY, v small[]);"
        "INSERT INTO t VALUES (1, '{1,2}'), (2, '{5,50}'), (3, NULL), (4, '{}'), (5, '{{60,70},{NULL,1}}')",
        migration=["ALTER DOMAIN small ADD CONSTRAINT below CHECK (VALUE < 10) NOT VALID"],
        hazard="broken-domain", relation="public.t", oracle="SELECT count(*) FROM t WHERE 10 <= ANY (v::int[])",
        weight=Weight.WARNING, first_key="(id) = (2)",
    ),
    Planted(
        name="a NULL that a query hands past its domain",
        given="CREATE DOMAIN must AS text NOT NULL; CREATE TABLE t (id int PRIMARY KEY, v must);"
        "INSERT INTO t VALUES (1, 'x'), (2, 'y')",
        migration=["INSERT INTO t SELECT 9, (SELECT v FROM t WHERE false)"],
        hazard="broken-domain", relation="public.t", first_key="(id) = (9)",
        oracle="SELECT count(*) FROM t WHERE v::text IS NULL",
    ),
    Planted(
        name="a stored generated column whose function was replaced",
        given="CREATE FUNCTION twice(v int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * v';"
        "CREATE TABLE t (id int PRIMARY KEY, v int, g int GENERATED ALWAYS AS (twice(v)) STORED);"
        "INSERT INTO t SELECT n, n - 1 FROM generate_series(1, 30) n",
        migration=["CREATE OR REPLACE FUNCTION twice(v int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 3 * v'"],
        hazard="stale-generated-column", relation="public.t", oracle="SELECT count(*) FROM t WHERE g <> 3 * v",
        first_key="(id) = (2)",
    ),
    Planted(
        name="a partition attached by what its CHECK says",
        given="CREATE TABLE logs (id int, at int) PARTITION BY RANGE (at);"
        "CREATE TABLE old_logs (id int, at int); INSERT INTO old_logs SELECT n, n FROM generate_series(1, 100) n",
        migration=["ALTER TABLE old_logs ADD CONSTRAINT within "
                   "CHECK (at IS NOT NULL AND at >= 0 AND at < 90) NOT VALID;"
                   "UPDATE pg_constraint SET convalidated = true WHERE conname = 'within';"
                   "ALTER TABLE logs ATTACH PARTITION old_logs FOR VALUES FROM (0) TO (90)"],
        hazard="broken-partition-bound", relation="public.old_logs",
        oracle="SELECT count(*) FROM ONLY old_logs WHERE at + 0 >= 90",
    ),
    Planted(
        name="a value whose enum label is gone",
        given="CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, m mood);"
        "INSERT INTO t VALUES (1, 'sad'), (2, 'ok'), (3, 'sad')",
        migration=["DELETE FROM pg_enum WHERE enumlabel = 'sad'"],
        hazard="broken-enum", relation="public.t", oracle="SELECT 3 - count(*) FROM t WHERE m = 'ok'",
        first_key="(id) = (1)",
    ),
    Planted(
        name="an expression index that was not built again",
        given="CREATE FUNCTION k(v text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT v';"
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX found ON t (k(v)); INSERT INTO t VALUES (1, 'a')",
        migration=["CREATE OR REPLACE FUNCTION k(v text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT v || v'"],
        hazard="stale-index", relation="public.t", oracle=None,
    ),
    Planted(
        name="a materialized view that nobody refreshed",
        given=SHOP + "; CREATE VIEW v AS SELECT parent_id, count(*) AS n FROM child GROUP BY 1;"
        "CREATE MATERIALIZED VIEW m AS SELECT * FROM v",
        migration=["DELETE FROM child WHERE parent_id IN (3, 4)"],
        hazard="stale-matview", relation="public.m", weight=Weight.WARNING,
        oracle="SELECT count(*) FROM ((TABLE m EXCEPT ALL TABLE v) UNION ALL (TABLE v EXCEPT ALL TABLE m)) d",
    ),
    Planted(
        name="a view that shows fewer rows, over a table that gains some",
        given=SHOP + "; CREATE VIEW v AS SELECT id, note FROM calm",
        migration=["CREATE OR REPLACE VIEW v AS SELECT id, note FROM calm WHERE id <= 40",
                   "INSERT INTO calm VALUES (101, 1, 'x')"],
        hazard="query-result-changes", relation="public.v", weight=Weight.WARNING,
        oracle="SELECT count(*) FROM (SELECT id, note FROM calm EXCEPT ALL TABLE v) d",
    ),
    Planted(
        name="a view that shows other values, without a column that it had",
        given=SHOP + "; CREATE VIEW v AS SELECT id, note, parent_id FROM calm",
        migration=["DROP VIEW v",
                   "CREATE VIEW v AS SELECT id, CASE WHEN id > 95 THEN 'y' ELSE note END AS note FROM calm"],
        hazard="query-result-changes", relation="public.v", weight=Weight.WARNING,
        oracle="SELECT 2 * count(*) FROM calm WHERE id > 95",
    ),
    Planted(
        name="a view that has a renamed table's name, and shows fewer rows",
        given=SHOP + "; CREATE TABLE \"T 1\" (gone int, id int, \"The Note\" text);"
        "INSERT INTO \"T 1\" SELECT 1, i, 'n' || i FROM generate_series(1, 9) i; ALTER TABLE \"T 1\" DROP gone",
        migration=['ALTER TABLE "T 1" RENAME TO people', 'ALTER TABLE people RENAME "The Note" TO note',
                   'CREATE VIEW "T 1" AS SELECT id, note AS "The Note" FROM people WHERE id <> 5'],
        hazard="query-result-changes", relation='public."T 1"', weight=Weight.WARNING,
        oracle='SELECT count(*) FROM (TABLE people EXCEPT ALL TABLE "T 1") d',
    ),
    Planted(
        name="a view that calls a function which was replaced, and shows fewer rows",
        given=SHOP + "; CREATE FUNCTION few() RETURNS int LANGUAGE sql AS 'SELECT 90';"
        "CREATE VIEW v AS SELECT id FROM calm WHERE id < few()",
        migration=["CREATE OR REPLACE FUNCTION few() RETURNS int LANGUAGE sql AS 'SELECT 10'"],
        hazard="query-result-changes", relation="public.v", weight=Weight.WARNING,
        oracle="SELECT 89 - count(*) FROM v",
    ),
    Planted(
        name="a materialized view that cannot be read any more",
        given=SHOP + "; CREATE MATERIALIZED VIEW m AS SELECT * FROM child",
        migration=["REFRESH MATERIALIZED VIEW m WITH NO DATA"],
        hazard="matview-not-populated", relation="public.m", oracle=None,
    ),
    Planted(
        name="a foreign key over periods that the parent does not cover",
        given="CREATE EXTENSION IF NOT EXISTS plpgsql; CREATE TABLE room (id int4range, during daterange,"
        "PRIMARY KEY (id, during WITHOUT OVERLAPS));"
        "CREATE TABLE stay (n int PRIMARY KEY, room int4range, during daterange, "
        "FOREIGN KEY (room, PERIOD during) REFERENCES room (id, PERIOD during));"
        "INSERT INTO room VALUES ('[1,2)', '[2026-01-01,2026-02-01)'), ('[1,2)', '[2026-02-01,2026-03-01)');"
        "INSERT INTO stay VALUES (1, '[1,2)', '[2026-01-20,2026-02-10)')",
        migration=[REPLICA.format("INSERT INTO stay VALUES (2, '[1,2)', '[2026-02-20,2026-03-02)'), "
                                  "(3, '[1,2)', '[2026-01-02,2026-02-28)'), (4, '[5,6)', '[2026-01-01,2026-01-02)')")],
        hazard="broken-foreign-key", relation="public.stay", oracle="SELECT 2", first_key="(n) = (2)", since=18,
    ),
    Planted(
        name="a foreign key that must be all or nothing",
        given="CREATE TABLE p (a int, b int, PRIMARY KEY (a, b)); INSERT INTO p VALUES (1, 1);"
        "CREATE TABLE c (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES p MATCH FULL);"
        "INSERT INTO c VALUES (1, 1, 1), (2, NULL, NULL)",
        migration=[REPLICA.format("INSERT INTO c VALUES (3, 1, NULL), (4, 2, 2), (5, NULL, NULL)")],
        hazard="broken-foreign-key", relation="public.c", first_key="(id) = (3)",
        oracle="SELECT count(*) FROM c WHERE (a IS NULL) <> (b IS NULL) OR (a, b) = (2, 2)",
    ),
    Planted(
        name="a cascade that a trigger swallows, by anybody",
        given="CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p VALUES (1), (2);"
        "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p ON DELETE CASCADE);"
        "INSERT INTO c VALUES (1, 1), (2, 2);"
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER keep BEFORE DELETE ON c FOR EACH ROW EXECUTE FUNCTION keep()",
        migration=["DELETE FROM p WHERE id = 2"],
        hazard="broken-foreign-key", relation="public.c", first_key="(id) = (2)",
        oracle="SELECT count(*) FROM c WHERE p NOT IN (SELECT id FROM p)",
    ),
    Planted(
        name="orphans below a partitioned table",
        given="CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 9);"
        "CREATE TABLE c (id int PRIMARY KEY, p int REFERENCES p) PARTITION BY RANGE (id);"
        "CREATE TABLE c1 PARTITION OF c FOR VALUES FROM (0) TO (10); CREATE TABLE c2 PARTITION OF c DEFAULT;"
        "INSERT INTO c SELECT n, n FROM generate_series(1, 9) n",
        migration=[REPLICA.format("INSERT INTO c VALUES (11, 50), (0, 51)")],
        hazard="broken-foreign-key", relation="public.c", first_key="(id) = (0)",
        oracle="SELECT count(*) FROM c WHERE p NOT IN (SELECT id FROM p)",
    ),
    Planted(
        name="names that need quotes, and a key that is nobody's business",
        given='CREATE SCHEMA "a b"; CREATE TABLE "a b"."P" ("the mail" text PRIMARY KEY);'
        'CREATE TABLE "a b"."C%" ("who""s" text PRIMARY KEY, m text REFERENCES "a b"."P");'
        "INSERT INTO \"a b\".\"P\" VALUES ('x'); INSERT INTO \"a b\".\"C%\" VALUES ('ann@example.com', 'x')",
        migration=[REPLICA.format("DELETE FROM \"a b\".\"P\"")],
        hazard="broken-foreign-key", relation='"a b"."C%"', oracle='SELECT count(*) FROM "a b"."C%"',
    ),
)  # fmt: skip


def examine(twins: Any, role: str = "postgres", **options: Any) -> Integrity:
    """As a rehearsal does it: the data compared first."""
    data = twins.compare()
    return examine_integrity(
        lambda: twins.session(twins.pristine),
        lambda: twins.session(twins.clone),
        lambda: twins.session(twins.clone, role),
        role=role,
        unchanged=find_unchanged(data),
        widened=find_widened(data),
        kept=find_kept(data),
        **options,
    )


@pytest.mark.pg(">= 15")
def test_what_was_planted_is_found_and_counted(twins: Any, server_major: int) -> None:
    """All cases in one database, each in a namespace of its own: no question stops or disturbs another."""
    cases = {f"case_{n}": case for n, case in enumerate(PLANTED) if case.since <= server_major}
    for namespace, case in cases.items():
        script = case.given.replace("public.", f"{namespace}.")
        twins.given(f"CREATE SCHEMA {namespace}; SET search_path = {namespace}; {script}")
    twins.migrate()
    with twins.session(twins.clone) as session:
        for namespace, case in cases.items():
            session.execute(f"SET search_path = {namespace}")
            for script in case.migration:
                session.execute(script)
    integrity = examine(twins)
    assert [entry for entry in integrity.not_measured if entry.decisive] == []
    found = {(each.hazard, each.relation): each for each in integrity.broken}
    assert len(found) == len(integrity.broken)
    for namespace, case in cases.items():
        broken = found.pop((case.hazard, case.relation.replace("public.", f"{namespace}.")))
        assert broken.weight is case.weight, case.name
        if case.oracle is not None:
            with twins.session(twins.clone) as session:
                session.execute(f"SET search_path = {namespace}; SET enable_indexscan = off")
                session.execute("SET enable_bitmapscan = off; SET enable_indexonlyscan = off")  # some indexes lie
                wanted = fetch_value(session, case.oracle)
            assert broken.rows == wanted > 0, case.name
        if case.first_key is not None:
            assert broken.keys[0] == case.first_key, case.name
    # What else is so: the CHECK that lied, and indexes over what a replaced function gives.
    lied = next(namespace for namespace, case in cases.items() if case.relation == "public.old_logs")
    assert [key for key in found if key[0] != "stale-index"] == [("broken-check", f"{lied}.old_logs")]
    assert "ann@example.com" not in str(integrity)
    failed = {check.name for check in integrity.checks if check.verdict is CheckVerdict.FAILED}
    assert failed == {
        "integrity: foreign keys", "integrity: checks", "integrity: not null", "integrity: unique keys",
        "integrity: exclusion constraints", "integrity: domains", "integrity: generated columns",
        "integrity: partition bounds", "integrity: enum values", "integrity: indexes", "integrity: materialized views",
    }  # fmt: skip

"""Rows that a plan cannot live with, planted one by one among good ones.

The server itself is the oracle: the plan fails on it, and runs once exactly those rows are gone that the check named.
"""

from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from tests.support.asking_production import ask

from pgrehearse.postgres.connect import Connection
from pgrehearse.release.preconditions import PreconditionKind, PreconditionResult

Kind = PreconditionKind
HUNDRED = "INSERT INTO t SELECT g, 'v' || g, g FROM generate_series(1, 100) g;"
PLAIN = "CREATE TABLE t (id int PRIMARY KEY, a text, n int);" + HUNDRED
PAIR = "CREATE TABLE p (x int, y int, PRIMARY KEY (x, y)); INSERT INTO p VALUES (1, 1), (2, 2);"
PARTITIONED = """
CREATE TABLE t (id int, a text, n int, PRIMARY KEY (id, n)) PARTITION BY RANGE (n);
CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (50);
CREATE TABLE t2 PARTITION OF t FOR VALUES FROM (50) TO (1000);
"""
HEIRS = "CREATE TABLE t (id int PRIMARY KEY, a text, n int); CREATE TABLE heir (PRIMARY KEY (id)) INHERITS (t);"


@dataclass(frozen=True, kw_only=True)
class Planted:
    name: str
    before: str
    plan: str
    kind: PreconditionKind
    keys: tuple[str, ...]  # of the rows that violate: "id=7", or "x=1, y=2"
    table: str = "t"  # where they are
    enough: tuple[str, ...] | None = None  # those that must go, where it is not all of them
    after_18: bool = False


def planted(name: str, before: str, plan: str, kind: Kind, keys: str, **more: object) -> Planted:
    return Planted(name=name, before=before, plan=plan, kind=kind, keys=tuple(keys.split("; ")), **more)  # type: ignore[arg-type]


CASES = (
    planted("one late duplicate", PLAIN + "INSERT INTO t VALUES (101, 'v50', 0)",
            "ALTER TABLE t ADD CONSTRAINT u UNIQUE (a)", Kind.DUPLICATES, "id=50; id=101", enough=("id=101",)),
    planted("one late NULL", PLAIN + "INSERT INTO t VALUES (101, NULL, 0)", "ALTER TABLE t ALTER a SET NOT NULL",
            Kind.NULLS, "id=101"),
    planted("one late orphan", "CREATE TABLE p (id int PRIMARY KEY); INSERT INTO p SELECT generate_series(1, 100);" +
            PLAIN + "INSERT INTO t VALUES (101, 'x', 101), (102, 'x', NULL)",
            "ALTER TABLE t ADD FOREIGN KEY (n) REFERENCES p", Kind.ORPHANS, "id=101"),
    planted("one late violator of a check", PLAIN + "INSERT INTO t VALUES (101, 'x', -1), (102, 'x', NULL)",
            "ALTER TABLE t ADD CHECK (n >= 0)", Kind.CHECK, "id=101"),
    planted("duplicates of an expression", PLAIN + "INSERT INTO t VALUES (101, 'V7', 0)",
            "CREATE UNIQUE INDEX ON t (lower(a))", Kind.DUPLICATES, "id=7; id=101", enough=("id=101",)),
    planted("duplicates where a predicate holds", PLAIN +
            "INSERT INTO t VALUES (101, 'v7', 500), (102, 'v7', 501), (103, 'v8', 1)",
            "CREATE UNIQUE INDEX ON t (a) WHERE n > 100", Kind.DUPLICATES, "id=101; id=102", enough=("id=101",)),
    planted("NULLs are equal", PLAIN + "INSERT INTO t VALUES (101, NULL, 1), (102, NULL, 2)",
            "ALTER TABLE t ADD UNIQUE NULLS NOT DISTINCT (a)", Kind.DUPLICATES, "id=101; id=102", enough=("id=102",)),
    planted("INCLUDE does not count", PLAIN + "INSERT INTO t VALUES (101, 'v7', 99)",
            "CREATE UNIQUE INDEX i ON t (a) INCLUDE (n)", Kind.DUPLICATES, "id=7; id=101", enough=("id=101",)),
    planted("a composite unique", PLAIN + "INSERT INTO t VALUES (101, 'v7', 8), (102, 'v7', 7), (103, NULL, 7), "
            "(104, NULL, 7)", "ALTER TABLE t ADD UNIQUE (a, n)", Kind.DUPLICATES, "id=7; id=102", enough=("id=7",)),
    planted("duplicates under a collation", PLAIN + "INSERT INTO t VALUES (101, 'v7', 0)",
            'CREATE UNIQUE INDEX ON t (a COLLATE "C" text_pattern_ops DESC)', Kind.DUPLICATES, "id=7; id=101",
            enough=("id=101",)),
    planted("a primary key meets duplicates", "CREATE TABLE t (id int PRIMARY KEY, a text, n int NOT NULL);" + HUNDRED +
            "INSERT INTO t VALUES (101, 'x', 7)",
            "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (n)", Kind.DUPLICATES, "id=7; id=101",
            enough=("id=101",)),
    planted("a primary key meets a NULL", PLAIN + "INSERT INTO t VALUES (101, 'x', NULL)",
            "ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (n)", Kind.NULLS, "id=101"),
    planted("a primary key using an index meets a NULL",
            PLAIN + "INSERT INTO t VALUES (101, 'x', NULL); CREATE UNIQUE INDEX i ON t (n)",
            "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY USING INDEX i", Kind.NULLS, "id=101"),
    planted("NOT VALID and later validated in one plan", PLAIN + "INSERT INTO t VALUES (101, 'x', -1)",
            "ALTER TABLE t ADD CONSTRAINT c CHECK (n > 0) NOT VALID; ALTER TABLE t VALIDATE CONSTRAINT c",
            Kind.CHECK, "id=101"),
    planted("an old NOT VALID check is validated", PLAIN + "INSERT INTO t VALUES (101, 'x', -1);"
            "ALTER TABLE t ADD CONSTRAINT \"Odd c\" CHECK (t.n > 0 AND a LIKE '%') NOT VALID",
            'ALTER TABLE t VALIDATE CONSTRAINT "Odd c"', Kind.CHECK, "id=101"),
    planted("an old NOT VALID foreign key is validated", "CREATE TABLE p (id int PRIMARY KEY);"
            "INSERT INTO p SELECT generate_series(1, 100);" + PLAIN + "INSERT INTO t VALUES (101, 'x', -1);"
            "ALTER TABLE t ADD CONSTRAINT f FOREIGN KEY (n) REFERENCES p NOT VALID",
            "ALTER TABLE t VALIDATE CONSTRAINT f", Kind.ORPHANS, "id=101"),
    planted("a composite foreign key, MATCH SIMPLE", PAIR + "CREATE TABLE t (id int PRIMARY KEY, a int, b int);"
            "INSERT INTO t VALUES (1, 1, 1), (2, 1, 2), (3, NULL, 9), (4, 9, NULL), (5, NULL, NULL)",
            "ALTER TABLE t ADD FOREIGN KEY (a, b) REFERENCES p", Kind.ORPHANS, "id=2"),
    planted("a composite foreign key, MATCH FULL", PAIR + "CREATE TABLE t (id int PRIMARY KEY, a int, b int);"
            "INSERT INTO t VALUES (1, 1, 1), (2, 1, 2), (3, NULL, 9), (4, 9, NULL), (5, NULL, NULL)",
            "ALTER TABLE t ADD FOREIGN KEY (b, a) REFERENCES p (y, x) MATCH FULL", Kind.ORPHANS, "id=2; id=3; id=4"),
    planted("a reference to the same table", "CREATE TABLE t (id int PRIMARY KEY, up int);"
            "INSERT INTO t VALUES (1, NULL), (2, 1), (3, 9)",
            "ALTER TABLE t ADD FOREIGN KEY (up) REFERENCES t (id)", Kind.ORPHANS, "id=3"),
    planted("a check that divides by zero", PLAIN + "INSERT INTO t VALUES (101, 'x', 0)",
            "ALTER TABLE t ADD CHECK (100 / n >= 0)", Kind.CHECK, "id=101"),
    planted("a domain's check", "CREATE DOMAIN d AS int; CREATE TABLE t (id int PRIMARY KEY, n d);"
            "INSERT INTO t VALUES (1, 1), (2, -1), (3, NULL)", "ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0)",
            Kind.CHECK, "id=2"),
    planted("a domain over the domain", "CREATE DOMAIN d AS int; CREATE DOMAIN e AS d;"
            "CREATE TABLE t (id int PRIMARY KEY, n e); INSERT INTO t VALUES (1, 1), (2, -1)",
            "ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0)", Kind.CHECK, "id=2"),
    planted("a domain's NOT NULL", "CREATE DOMAIN d AS int; CREATE TABLE t (id int PRIMARY KEY, n d);"
            "INSERT INTO t VALUES (1, 1), (3, NULL)", "ALTER DOMAIN d SET NOT NULL", Kind.NULLS, "id=3"),
    planted("a domain's old check is validated", "CREATE DOMAIN d AS int; CREATE TABLE t (id int PRIMARY KEY, n d);"
            "INSERT INTO t VALUES (1, 1), (2, -1); ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0) NOT VALID",
            "ALTER DOMAIN d VALIDATE CONSTRAINT c", Kind.CHECK, "id=2"),
    planted("an exclusion constraint", "CREATE TABLE t (id int PRIMARY KEY, r int4range);"
            "INSERT INTO t VALUES (1, '[1,3)'), (2, '[3,5)'), (3, '[4,6)'), (4, NULL), (5, NULL)",
            "ALTER TABLE t ADD CONSTRAINT x EXCLUDE USING gist (r WITH &&)", Kind.CONFLICTS, "id=2; id=3",
            enough=("id=3",)),
    planted("an exclusion constraint over expressions, where a predicate holds",
            "CREATE TABLE t (id int PRIMARY KEY, a int, b int, off bool);"
            "INSERT INTO t VALUES (1, 1, 5, false), (2, 4, 6, false), (3, 1, 9, true)",
            "ALTER TABLE t ADD EXCLUDE USING gist (int4range(a, b) WITH &&) WHERE (NOT off)", Kind.CONFLICTS,
            "id=1; id=2", enough=("id=2",)),
    planted("ADD COLUMN NOT NULL with rows", "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)",
            "ALTER TABLE t ADD COLUMN x int NOT NULL", Kind.ROWS, "id=1; id=2"),
    planted("ADD COLUMN of a domain that is NOT NULL", "CREATE DOMAIN d AS int NOT NULL;"
            "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", "ALTER TABLE t ADD COLUMN x d",
            Kind.ROWS, "id=1"),
    planted("a generated column that must not be NULL", PLAIN + "INSERT INTO t VALUES (101, 'x', NULL)",
            "ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (n + 1) STORED NOT NULL", Kind.CONVERSION, "id=101"),
    planted("a generated column that cannot be computed", PLAIN + "INSERT INTO t VALUES (101, 'x', 2147483647)",
            "ALTER TABLE t ADD COLUMN g int GENERATED ALWAYS AS (n + 1) STORED", Kind.CONVERSION, "id=101"),
    planted("ATTACH PARTITION, RANGE of two columns",
            "CREATE TABLE p (id int, a text, n int) PARTITION BY RANGE (n, id);" + PLAIN +
            "INSERT INTO t VALUES (101, 'x', 200), (102, 'x', 0), (103, 'x', 150)",
            "ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (1, MINVALUE) TO (150, 103)",
            Kind.BOUND, "id=101; id=102; id=103"),
    planted("ATTACH PARTITION, RANGE up to MAXVALUE", "CREATE TABLE p (id int, a text, n int) PARTITION BY RANGE (n);" +
            PLAIN + "INSERT INTO t VALUES (101, 'x', 0), (102, 'x', NULL)",
            "ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (1) TO (MAXVALUE)", Kind.BOUND, "id=101; id=102"),
    planted("ATTACH PARTITION, LIST", "CREATE TABLE p (id int, a text, n int) PARTITION BY LIST (lower(a));"
            "CREATE TABLE t (id int PRIMARY KEY, a text, n int); INSERT INTO t VALUES (1, 'X'), (2, NULL), (3, 'z')",
            "ALTER TABLE p ATTACH PARTITION t FOR VALUES IN ('x', NULL)", Kind.BOUND, "id=3"),
    planted("ATTACH PARTITION, HASH", "CREATE TABLE p (id int, n int) PARTITION BY HASH (id);"
            "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT g, g FROM generate_series(1, 9) g;"
            "DELETE FROM t WHERE NOT satisfies_hash_partition('p'::regclass, 2, 0, id) AND id <> 3",
            "ALTER TABLE p ATTACH PARTITION t FOR VALUES WITH (MODULUS 2, REMAINDER 0)", Kind.BOUND, "id=3"),
    planted("ATTACH PARTITION under a unique key of the parent",
            "CREATE TABLE p (id int, n int, a text, UNIQUE (n)) PARTITION BY RANGE (n);"
            "CREATE TABLE t (id int PRIMARY KEY, n int, a text); INSERT INTO t VALUES (1, 1), (2, 2), (3, 2)",
            "ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (1) TO (9)", Kind.DUPLICATES, "id=2; id=3",
            enough=("id=3",)),
    planted("ATTACH PARTITION under a unique index of the parent",
            "CREATE TABLE p (id int, n int, a text) PARTITION BY RANGE (n); CREATE UNIQUE INDEX ON p (n, lower(a));"
            "CREATE TABLE t (id int PRIMARY KEY, n int, a text); INSERT INTO t VALUES (1, 1, 'a'), (2, 1, 'A')",
            "ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (1) TO (9)", Kind.DUPLICATES, "id=1; id=2",
            enough=("id=2",)),
    planted("ATTACH PARTITION under a foreign key of the parent", "CREATE TABLE q (id int PRIMARY KEY);"
            "CREATE TABLE p (id int, n int REFERENCES q) PARTITION BY RANGE (n);"
            "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO q VALUES (1); INSERT INTO t VALUES (1, 1), (2, 2)",
            "ALTER TABLE p ATTACH PARTITION t FOR VALUES FROM (1) TO (9)", Kind.ORPHANS, "id=2"),
    planted("a new partition meets rows of the default one", "CREATE TABLE p (id int, n int) PARTITION BY RANGE (n);"
            "CREATE TABLE t PARTITION OF p DEFAULT; ALTER TABLE t ADD PRIMARY KEY (id);"
            "INSERT INTO t VALUES (1, 5), (2, 15), (3, NULL)",
            "CREATE TABLE q PARTITION OF p FOR VALUES FROM (10) TO (20)", Kind.BOUND, "id=2"),
    planted("a text that is no number", PLAIN + "UPDATE t SET a = n;"
            "INSERT INTO t VALUES (101, '7 ', 0), (102, 'x', 0), (103, NULL, 0), (104, '', 0)",
            "ALTER TABLE t ALTER a TYPE int USING a::int", Kind.CONVERSION,
            "id=102; id=104"),
    planted("a number that is too big", "CREATE TABLE t (id int PRIMARY KEY, n int8);"
            "INSERT INTO t VALUES (1, 1), (2, 3000000000)", "ALTER TABLE t ALTER n TYPE int", Kind.CONVERSION, "id=2"),
    planted("a string that is too long without USING", PLAIN + "INSERT INTO t VALUES (101, 'abcdefgh', 0), "
            "(102, 'ab        ', 0)", "ALTER TABLE t ALTER a TYPE varchar(5)", Kind.CONVERSION, "id=101"),
    planted("a numeric that overflows", "CREATE TABLE t (id int PRIMARY KEY, n numeric);"
            "INSERT INTO t VALUES (1, 1), (2, 1000)", "ALTER TABLE t ALTER n TYPE numeric(5, 2)", Kind.CONVERSION,
            "id=2"),
    planted("a bit string of another length", "CREATE TABLE t (id int PRIMARY KEY, b varbit);"
            "INSERT INTO t VALUES (1, B'101'), (2, B'1')", "ALTER TABLE t ALTER b TYPE bit(3)", Kind.CONVERSION,
            "id=2"),
    planted("USING raises on one row", PLAIN + "INSERT INTO t VALUES (101, 'x', 0)",
            "ALTER TABLE t ALTER n TYPE text USING (1000 / n)::text", Kind.CONVERSION, "id=101"),
    planted("a type change into a domain", "CREATE DOMAIN d AS int CHECK (VALUE < 100);" + PLAIN,
            "ALTER TABLE t ALTER n TYPE d", Kind.CONVERSION, "id=100"),
    planted("a label that goes with the old enum", "CREATE TYPE s AS ENUM ('a', 'b', 'it''s');"
            "CREATE TABLE t (id int PRIMARY KEY, s s); "
            "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'it''s'), (4, NULL)",
            "ALTER TYPE s RENAME TO s_old; CREATE TYPE s AS ENUM ('a', 'it''s');"
            "ALTER TABLE t ALTER s TYPE s USING s::text::s; DROP TYPE s_old", Kind.LABELS, "id=2"),
    planted("a label that goes by way of text, as drizzle-kit does it", "CREATE TYPE s AS ENUM ('a', 'b');"
            "CREATE TABLE t (id int PRIMARY KEY, s s); INSERT INTO t VALUES (1, 'a'), (2, 'b')",
            'ALTER TABLE "t" ALTER COLUMN "s" SET DATA TYPE text;\nDROP TYPE "public"."s";\n'
            "CREATE TYPE \"public\".\"s\" AS ENUM('a', 'c');\n"
            'ALTER TABLE "t" ALTER COLUMN "s" SET DATA TYPE "public"."s" USING "s"::"public"."s"', Kind.LABELS, "id=2"),
    planted("a text becomes an enum of the plan", PLAIN + "UPDATE t SET a = 'on'; INSERT INTO t VALUES (101, 'off', 0)",
            "CREATE TYPE s AS ENUM ('on'); ALTER TABLE t ALTER a TYPE s USING a::s", Kind.LABELS, "id=101"),
    planted("after renames of table and column", PLAIN + "INSERT INTO t VALUES (101, 'v50', 0)",
            "ALTER TABLE t RENAME a TO \"B\"; ALTER TABLE t RENAME TO u; ALTER TABLE u ADD UNIQUE (\"B\");"
            "ALTER TABLE u RENAME TO t", Kind.DUPLICATES, "id=50; id=101", enough=("id=101",)),
    planted("a check after renames", PLAIN + "INSERT INTO t VALUES (101, 'x', -1)",
            "ALTER TABLE t RENAME n TO m; ALTER TABLE t RENAME TO u; ALTER TABLE u ADD CHECK (u.m > 0 AND a <> '%s');"
            "ALTER TABLE u RENAME TO t", Kind.CHECK, "id=101"),
    planted("two columns that swap their names", PLAIN + "ALTER TABLE t ADD m int; UPDATE t SET m = -n WHERE n = 7",
            "ALTER TABLE t RENAME n TO x; ALTER TABLE t RENAME m TO n; ALTER TABLE t RENAME x TO m;"
            "ALTER TABLE t ADD CHECK (n > 0)", Kind.CHECK, "id=7"),
    planted("a check of the value after a type change", PLAIN + "UPDATE t SET a = n;"
            "INSERT INTO t VALUES (101, '-1', 0)",
            "ALTER TABLE t ALTER a TYPE int USING a::int; ALTER TABLE t ADD CHECK (a >= 0)", Kind.CHECK, "id=101"),
    planted("duplicates after a type change", PLAIN + "UPDATE t SET a = n; INSERT INTO t VALUES (101, '07', 0)",
            "ALTER TABLE t ALTER a TYPE int USING a::int, ADD UNIQUE (a)", Kind.DUPLICATES, "id=7; id=101",
            enough=("id=101",)),
    planted("drizzle's DO block around a foreign key", "CREATE TABLE p (id int PRIMARY KEY);"
            "INSERT INTO p SELECT generate_series(1, 100);" + PLAIN + "INSERT INTO t VALUES (101, 'x', 101)",
            'DO $$ BEGIN ALTER TABLE "t" ADD CONSTRAINT "f" FOREIGN KEY ("n") REFERENCES "public"."p"("id") '
            "ON DELETE no action; EXCEPTION WHEN duplicate_object THEN null; END $$", Kind.ORPHANS, "id=101"),
    planted("rows inserted by the plan repair no duplicate", PLAIN + "INSERT INTO t VALUES (101, 'v50', 0)",
            "INSERT INTO t VALUES (500, 'new', 500); ALTER TABLE t ADD UNIQUE (a)", Kind.DUPLICATES, "id=50; id=101",
            enough=("id=101",)),
    planted("an update of another column repairs nothing", PLAIN + "INSERT INTO t VALUES (101, NULL, 0)",
            "UPDATE t SET n = n + 1; ALTER TABLE t ALTER a SET NOT NULL", Kind.NULLS, "id=101"),
    planted("EXPLAIN writes nothing", PLAIN + "INSERT INTO t VALUES (101, NULL, 0)",
            "EXPLAIN UPDATE t SET a = 'x'; ALTER TABLE t ALTER a SET NOT NULL", Kind.NULLS, "id=101"),
    planted("a name that is longer than 63 bytes", f'CREATE TABLE "{"x" * 63}" (id int PRIMARY KEY, a text);'
            f'INSERT INTO "{"x" * 63}" VALUES (1, NULL)', f'ALTER TABLE "{"x" * 70}" ALTER a SET NOT NULL', Kind.NULLS,
            "id=1", table="x" * 63),
    planted("a partitioned table's duplicates, in two partitions", PARTITIONED +
            "INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2), (1, 'c', 60), (1, 'c', 61)",
            "ALTER TABLE t ADD UNIQUE (a, n, id), ALTER a SET NOT NULL, ADD CHECK (n <> 60)", Kind.CHECK,
            "id=1, n=60"),
    planted("a partitioned table's NULLs", PARTITIONED + "INSERT INTO t VALUES (1, 'a', 1), (2, NULL, 70)",
            "ALTER TABLE t ALTER a SET NOT NULL", Kind.NULLS, "id=2, n=70"),
    planted("a partitioned table's values that do not convert", PARTITIONED +
            "INSERT INTO t VALUES (1, '1', 1), (2, 'x', 70), (3, '3', 71)",
            "ALTER TABLE t ALTER a TYPE int USING a::int", Kind.CONVERSION, "id=2, n=70"),
    planted("an heir's row breaks the parent's check", HEIRS + "INSERT INTO t VALUES (1, 'a', 1);"
            "INSERT INTO heir VALUES (2, 'a', -1)", "ALTER TABLE t ADD CHECK (n > 0)", Kind.CHECK, "id=2"),
    planted("an heir's row is no duplicate of the parent's", HEIRS +
            "INSERT INTO t VALUES (1, 'a', 1), (3, 'a', 1); INSERT INTO heir VALUES (2, 'a', -1)",
            "ALTER TABLE t ADD UNIQUE (a)", Kind.DUPLICATES, "id=1; id=3", enough=("id=3",)),
    planted("without a primary key a row is told by where it lies",
            "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (NULL), (3)", "ALTER TABLE t ALTER a SET NOT NULL",
            Kind.NULLS, "ctid=(0,2)"),
    planted("odd names", 'CREATE SCHEMA "Sch""ema"; CREATE TABLE "Sch""ema"."Täble.x %s" ("I d" int PRIMARY KEY, '
            '"{c}%" text); INSERT INTO "Sch""ema"."Täble.x %s" VALUES (1, \'a\'), (2, \'A\')',
            'CREATE UNIQUE INDEX ON "Sch""ema"."Täble.x %s" (lower("{c}%")) WHERE "{c}%" LIKE \'%\'',
            Kind.DUPLICATES, "I d=1; I d=2", table='Sch"ema.Täble.x %s', enough=("I d=2",)),
    planted("names of 63 bytes", f'CREATE TABLE "{"ä" * 31}x" ("{"ö" * 31}y" int PRIMARY KEY, "{"n" * 63}" int);'
            f'INSERT INTO "{"ä" * 31}x" VALUES (1, 1), (2, NULL)',
            f'ALTER TABLE "{"ä" * 31}x" ALTER "{"n" * 63}" SET NOT NULL', Kind.NULLS, f"{'ö' * 31}y=2",
            table=f"{'ä' * 31}x"),
    planted("a name that is a keyword", 'CREATE TABLE "order" ("user" int PRIMARY KEY, "position" int);'
            'INSERT INTO "order" VALUES (1, 1), (2, 1)', 'ALTER TABLE "order" ADD UNIQUE ("position")',
            Kind.DUPLICATES, "user=1; user=2", table="order", enough=("user=2",)),
    planted("a name of another namespace by SET search_path",
            "CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, a text);"
            "INSERT INTO s.t VALUES (1, 'a'), (2, 'a');" + PLAIN,
            "SET search_path = s, public; ALTER TABLE t ADD UNIQUE (a)",
            Kind.DUPLICATES, "id=1; id=2", table="s.t", enough=("id=2",)),
    planted("NOT NULL as a constraint", PLAIN + "INSERT INTO t VALUES (101, NULL, 0)",
            "ALTER TABLE t ADD CONSTRAINT c NOT NULL a", Kind.NULLS, "id=101", after_18=True),
    planted("WITHOUT OVERLAPS", "CREATE TABLE t (id int PRIMARY KEY, g int4range, r daterange);"
            "INSERT INTO t VALUES (1, '[1,2)', '[2020-01-01,2020-02-01)'), (2, '[1,2)', '[2020-01-15,2020-03-01)'),"
            "(3, '[2,3)', '[2020-01-15,2020-03-01)')",
            "ALTER TABLE t ADD UNIQUE (g, r WITHOUT OVERLAPS)", Kind.CONFLICTS, "id=1; id=2", enough=("id=2",),
            after_18=True),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rows_that_break_a_plan_are_named(case: Planted, undone: Connection, server_major: int) -> None:
    connection = undone
    connection.execute(case.before.encode())
    if case.after_18 and server_major < 18:
        with pytest.raises(psycopg.errors.SyntaxError), connection.transaction():
            run(connection, case.plan)  # the statement is unknown there
        return
    table = case.table.split(".", 1) if not case.table.startswith("ä") and "." in case.table else [case.table]

    violated = [result for result in ask(connection, case.plan) if result.holds is False]

    result = next(result for result in violated if result.precondition.kind is case.kind)
    told = {", ".join(f"{name}={value}" for name, value in key.items()) for key in result.keys}
    assert told == set(case.keys)
    assert result.violators == len(case.keys)
    with pytest.raises(psycopg.Error), connection.transaction():
        run(connection, case.plan)
    with connection.transaction(force_rollback=True):
        for key in case.enough or case.keys:
            delete(connection, table, key)
        assert [each.sentence for each in ask(connection, case.plan) if stops(each)] == []
        run(connection, case.plan)


def stops(result: PreconditionResult) -> bool:
    """A loss stops no statement."""
    return result.refuses and result.precondition.kind is not Kind.LOSSY


def run(connection: Connection, plan: str) -> None:
    connection.execute(plan.encode())


def delete(connection: Connection, table: list[str], key: str) -> None:
    pairs = [pair.split("=", 1) for pair in key.split(", ")]
    where = sql.SQL(" AND ").join(
        sql.SQL("({}::text) = {}").format(sql.Identifier(name), sql.Literal(value)) for name, value in pairs
    )
    deleted = connection.execute(sql.SQL("DELETE FROM {} WHERE {}").format(sql.Identifier(*table), where))
    assert deleted.rowcount == 1

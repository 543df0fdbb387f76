"""Random conditions through dump and restore: whatever the server accepts must come back with the same fingerprint."""

import os
import random
from pathlib import Path

import psycopg

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.schema.diff import diff
from pgrehearse.schema.fingerprint import fingerprint

from .conftest import Databases, read

CONDITIONS = int(os.environ.get("PGREHEARSE_RANDOM_CONDITIONS", "60"))  # more for a soak
TABLE = """
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy'); CREATE DOMAIN email AS varchar(50);
CREATE TABLE r (v varchar(20), w varchar, c char(3), t text, i int, s smallint, b bigint, n numeric(10, 2),
    f float8, g real, d date, ts timestamp, tz timestamptz, iv interval, m mood, e email, o boolean, a int[],
    va varchar[], ta text[], j jsonb, u uuid)
"""
# One operand a line, by the kind of value it gives.
OPERANDS = {
    kind: [line.strip() for line in lines.strip().splitlines()]
    for kind, lines in {
        "text": """
            v\nw\nc\nt\ne\n'a'\n'b'::varchar
            lower(v)\nv || 'x'\nCOALESCE(v, 'n')\nj ->> 'k'\ni::text\nm::text\nva[1]
            CASE WHEN o THEN v ELSE 'z' END\nNULLIF(w, '')\nsubstring(v from 1 for 2)\nGREATEST(v, w)
            """,
        "number": """
            i\ns\nb\nn\nf\ng\n1\n-1\n2.5\n-0.5\n5000000000
            i + -1\n- i\nabs(n)\nlength(v)\ns * 2\nn::int\na[1]\nCOALESCE(n, i, 0)
            CASE WHEN o THEN 1 ELSE -1.5 END\n(j ->> 'n')::numeric\nEXTRACT(year FROM d)
            """,
        "time": """
            d\nts\ntz\n'2020-01-01'::date\nCURRENT_DATE\nnow()\nts + iv\nd + 7
            tz AT TIME ZONE 'UTC'\ndate_trunc('day', ts)\nCOALESCE(d, '2000-01-01')
            """,
    }.items()
}
LITERALS = {
    "text": ["'a'", "'b'", "'it''s'", "'x'::varchar"],
    "number": ["1", "-2", "3.5", "7"],
    "time": ["'2020-01-01'", "'2021-02-03'"],
}
OTHERS = """
o\no IS NOT TRUE\nu IS NULL\niv > '1 day'\nm IN ('sad', 'ok')\nm > 'sad'
a && ARRAY[1, -2]\nva <@ ARRAY['a', 'b']::varchar[]\nv = ANY (va)\nv = ANY (ta)\nva && ta::varchar[]
ta @> ARRAY['x', 'y']\nj @> '{"a": 1}'\nj ? 'k'\ni IS DISTINCT FROM s\ni = ANY ('{1,2}')\nb IN (1, i, s)
(i, v) = (1, 'a')\n(i, s) < (b, 2)\n(v, i) IN (('a', 1), ('b', 2))\nv SIMILAR TO 'a%'
ARRAY[v, w]::text[] && ta\n(ARRAY[v, 'q']::varchar[])[1] = 'q'\ncardinality(ARRAY[c, 'abc']::text[]) > 1
array_length(ARRAY[[v], [w]]::text[], 1) = 1\nv LIKE ANY (ARRAY['a%', 'b%'])
""".strip().splitlines()


def condition(dice: random.Random, depth: int) -> str:
    if depth > 0 and dice.random() < 0.7:
        parts = [condition(dice, depth - 1) for _ in range(dice.randint(2, 3))]
        joined = dice.choice([" AND ", " OR "]).join(parts)
        return dice.choice(
            [f"({joined})", f"({joined})", f"NOT ({joined})", f"CASE WHEN {parts[0]} THEN {parts[1]} ELSE false END"]
        )
    if dice.random() < 0.3:
        return dice.choice(OTHERS)
    kind = dice.choice(sorted(OPERANDS))
    left, right = dice.choice(OPERANDS[kind]), dice.choice(OPERANDS[kind])
    literals = ", ".join(dice.choice(LITERALS[kind]) for _ in range(dice.randint(1, 3)))
    first = literals.split(", ")[0]
    return dice.choice([
        f"{left} {dice.choice(['=', '<>', '<', '>='])} {right}", f"{left} IN ({literals})",
        f"{left} NOT IN ({literals}, {right})",
        f"{left} IN ({right}, {literals})", f"{left} BETWEEN {right} AND {first}", f"{left} IS NOT NULL",
        f"{left} = ANY (ARRAY[{literals}])", f"{left} <> ALL (ARRAY[{right}, {literals}])",
        f"{left} NOT BETWEEN SYMMETRIC {right} AND {first}", f"{left} IS DISTINCT FROM {right}",
    ])  # fmt: skip


def accepted(session: Connection, statement: str) -> bool:
    try:
        session.execute(statement.encode())
    except psycopg.Error:
        return False
    return True


def test_random_conditions_keep_the_fingerprint_through_dump_and_restore(databases: Databases, tmp_path: Path) -> None:
    seed = int(os.environ.get("PGREHEARSE_SEED", "20"))
    dice = random.Random(seed)
    origin = databases.create()
    made = 0
    with connect(origin, verb="test") as session:
        session.execute(TABLE.encode())
        session.execute("SET synchronous_commit = off")
        for number in range(CONDITIONS):
            text = condition(dice, 3)
            made += accepted(session, f"ALTER TABLE r ADD CONSTRAINT c{number} CHECK ({text})")
            made += accepted(
                session, f"CREATE VIEW v{number} AS SELECT {text} AS x, v FROM r WHERE {condition(dice, 2)}"
            )
            made += accepted(
                session, f"CREATE INDEX i{number} ON r (({condition(dice, 1)})) WHERE {condition(dice, 2)}"
            )
            made += accepted(session, f"CREATE POLICY p{number} ON r USING ({text})")
    assert made > CONDITIONS  # else the conditions are too wild for the server to prove anything
    once = databases.restored(origin, tmp_path)
    assert [str(change) for change in diff(read(origin), read(once))] == [], f"seed {seed}"
    assert fingerprint(read(origin)) == fingerprint(read(once))

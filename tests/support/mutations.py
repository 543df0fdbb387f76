"""A schema with every built-in type, random changes to it, and what plain SQL says of them.

Each table takes at most one change of a batch, so that every count can be held against one join.  The join is done
by the server, in the clone, on texts that COPY brought over from the pristine database: no hash, no code of ours.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pgrehearse.postgres.connect import Connection

ROWS = 40
ARCHIVED = 12  # rows that move to another table: enough to be no coincidence
WORDS = {
    "regclass": ("pg_class", "pg_proc", "pg_type"), "regtype": ("int4", "text", "bool"),
    "regproc": ("now", "version", "pi"), "regprocedure": ("now()", "version()", "pi()"),
    "regoper": ("^@", "|/", "||/"), "regoperator": ("+(int4,int4)", "-(int4,int4)", "=(int4,int4)"),
    "regconfig": ("simple", "english", "german"), "regdictionary": ("simple", "english_stem", "german_stem"),
    "regrole": ("postgres", "pg_monitor", "pg_read_all_data"),
    "regnamespace": ("pg_catalog", "public", "information_schema"), "regcollation": ('"C"', '"POSIX"', '"default"'),
    "aclitem": ("=r/postgres", "=w/postgres", "=a/postgres"),
}  # fmt: skip
RANGES = {
    "int4": "i, i + 5", "int8": "i, i + 5", "num": "i / 4.0, i + 5", "date": "date '2024-01-01' + i, date '2031-01-01'",
    "ts": "timestamp '2024-01-01' + i * interval '1 h', NULL",
    "tstz": "timestamptz '2024-01-01Z' + i * interval '1 h', NULL",
}  # fmt: skip
# Every built-in type as SQL of i.
MAKERS = {
    "bool": "i % 2 = 0", "int2": "i::int2", "int4": "i * 7", "int8": "i * 4294967297", "numeric": "i / 7.0",
    "numeric(12,3)": "i / 7.0", "float4": "(i / 3.0)::float4", "float8": "i / 3.0::float8",
    "money": "i::numeric::money",
    "text": "'text ' || i", "varchar": "'v' || i", "varchar(20)": "'v' || i", "bpchar": "'b' || i",
    "char(12)": "'c' || i", '"char"': "chr(64 + i % 26)::\"char\"", "name": "('n' || i)::name",
    "bytea": "decode(md5(i::text), 'hex')", "bit(10)": "i::bit(10)", "varbit": "i::bit(12)::varbit",
    "date": "date '2024-01-01' + i", "time": "time '00:00' + i * interval '61 s'",
    "timetz": "('10:' || lpad((i % 60)::text, 2, '0') || ':00+0' || i % 9)::timetz",
    "timestamp": "timestamp '2024-01-01' + i * interval '1 h'",
    "timestamptz": "timestamptz '2024-01-01Z' + i * interval '1 h'", "interval": "i * interval '1 day 2 h'",
    "uuid": "md5(i::text)::uuid", "json": "json_build_object('a', i)", "jsonb": "jsonb_build_array(i, NULL, 'x')",
    "jsonpath": "('$.a[*] ? (@ > ' || i || ')')::jsonpath", "xml": "('<a>' || i || '</a>')::xml",
    "point": "point(i, -i)", "line": "('{1,2,' || i || '}')::line", "lseg": "('[(0,0),(1,' || i || ')]')::lseg",
    "box": "box(point(0, 0), point(1, i))", "path": "('[(0,0),(1,' || i || ')]')::path",
    "polygon": "('((0,0),(1,' || i || '),(2,2))')::polygon", "circle": "circle(point(0, i), 2)",
    "inet": "('10.0.0.' || i % 250)::inet", "cidr": "('10.' || i % 250 || '.0.0/16')::cidr",
    "macaddr": "('08:00:2b:01:02:' || lpad(to_hex(i % 256), 2, '0'))::macaddr",
    "macaddr8": "('08:00:2b:01:02:03:04:' || lpad(to_hex(i % 256), 2, '0'))::macaddr8",
    "tsvector": "('word' || i)::tsvector", "tsquery": "('word' || i)::tsquery", "oid": "i::oid",
    "tid": "('(' || i || ',1)')::tid", "xid": "i::text::xid", "xid8": "i::text::xid8", "cid": "i::text::cid",
    "pg_lsn": "('0/' || to_hex(i))::pg_lsn", "pg_snapshot": "(i || ':' || i + 5 || ':')::pg_snapshot",
    "txid_snapshot": "(i || ':' || i + 5 || ':')::txid_snapshot", "int2vector": "(i || ' 2')::int2vector",
    "oidvector": "(i || ' 2')::oidvector", "refcursor": "('c' || i)::refcursor", "int4[]": "ARRAY[i, NULL, 2]",
    "text[]": "ARRAY[['a' || i, 'b'], ['c', NULL]]",
    **{kind: f"(ARRAY['{a}', '{b}', '{c}'])[i % 3 + 1]::{kind}" for kind, (a, b, c) in WORDS.items()},
    **{f"{kind}range": f"{kind}range({bounds})" for kind, bounds in RANGES.items()},
    **{f"{kind}multirange": f"{kind}multirange({kind}range({bounds}))" for kind, bounds in RANGES.items()},
}  # fmt: skip
# No column of a table can hold a value of these: they have no input, or their values come from ANALYZE and rules.
INTERNAL = frozenset({
    "gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list", "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary", "unknown",
})  # fmt: skip
# A type, its values, the change of type, and the type in which a value of after is held against one of before.
LOSSY = (
    ("numeric", "i / 8.0", "TYPE integer", "numeric"),
    ("numeric(12,4)", "i / 16.0", "TYPE numeric(12,2)", "numeric"),
    ("float8", "i / 10.0", "TYPE real", "float8"),
    ("text", "repeat('x', i % 6) || i", "TYPE varchar(4) USING left(x, 4)", "text"),
    ("timestamp", "timestamp '2024-01-01' + (i % 3) * interval '7 h'", "TYPE date", "timestamp"),
    ("timestamp", "timestamp '2024-01-01' + i * interval '0.1234 s'", "TYPE timestamp(2)", "timestamp"),
    ("bigint", "i * 1000::bigint", "TYPE smallint USING (x % 7000)::smallint", "bigint"),
    ("time", "time '10:00' + i * interval '0.25 s'", "TYPE time(0)", "time"),
)
KINDS = ("row", "value", "null", "swap", "duplicate", "type", "sequence", "constraint", "moved row", "column")


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One table: ``x`` can be narrowed, ``mark`` is of its own in every row, the others are of any type."""

    number: int
    key: str | None  # None: no key, and every row is there twice
    partitioned: bool
    types: tuple[str, ...]
    lossy: tuple[str, str, str, str]

    @property
    def name(self) -> str:
        return f"t{self.number}"

    @property
    def columns(self) -> tuple[str, ...]:
        return ("id", "mark", "x", *(f"c{place}" for place in range(len(self.types))))

    def create(self) -> Iterator[str]:
        key = "" if self.key is None else " PRIMARY KEY"
        kind = self.key or "int"
        columns = ", ".join(f"c{place} {kind}" for place, kind in enumerate(self.types))
        tree = " PARTITION BY RANGE (id)" if self.partitioned else ""
        yield (
            f"CREATE TABLE {self.name} (id {kind}{key}, mark text, x {self.lossy[0]}"
            f" CONSTRAINT {self.name}_there CHECK (id IS NOT NULL), {columns}){tree}"
        )
        if self.partitioned:
            yield f"CREATE TABLE {self.name}_low PARTITION OF {self.name} FOR VALUES FROM (MINVALUE) TO (20)"
            yield f"CREATE TABLE {self.name}_high PARTITION OF {self.name} FOR VALUES FROM (20) TO (MAXVALUE)"
        yield f"INSERT INTO {self.name} {self.rows('generate_series(1, ' + str(ROWS) + ') AS i')}"
        if self.key is None:
            yield f"INSERT INTO {self.name} SELECT * FROM {self.name}"
        yield f"CREATE SEQUENCE s{self.number}"
        yield f"SELECT setval('s{self.number}', 100)"

    def rows(self, source: str) -> str:
        values = ", ".join(MAKERS[kind] for kind in self.types)
        return f"SELECT {self.id_of('i')}, '{self.name} ' || i, {self.lossy[1]}, {values} FROM {source}"

    def id_of(self, number: str) -> str:
        return {"text": f"'k' || {number}", "uuid": f"md5({number}::text)::uuid"}.get(self.key or "", number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    kind: str
    table: Made
    statements: tuple[str, ...]
    narrowed: bool = False  # x has another type
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What SQL says of one table.  Without a key only rows that are gone and that came, as a multiset."""

    lost: int
    added: int
    changed: dict[str, int] = field(default_factory=dict)
    nulled: dict[str, int] = field(default_factory=dict)


def make_tables(chance: random.Random, count: int, without: frozenset[str]) -> tuple[Made, ...]:
    """Together they hold every type."""
    kinds = [kind for kind in MAKERS if kind not in without]
    chance.shuffle(kinds)
    keys = ("int", "bigint", "text", "uuid", "numeric", None)
    tables = []
    for number in range(count):
        key = keys[number % len(keys)]
        chosen = [kinds[(number * 4 + place) % len(kinds)] for place in range(4)]
        partitioned = key in ("int", "bigint") and number % 12 < 2 and number % 24 >= 12
        tables.append(
            Made(
                number=number, key=key, partitioned=partitioned, types=tuple(chosen),
                lossy=LOSSY[number % len(LOSSY)],
            )
        )  # fmt: skip
    return tuple(tables)


def random_change(chance: random.Random, table: Made) -> Change:
    kind = chance.choice(KINDS)
    if table.key is None and kind in ("swap", "moved row"):
        kind = "duplicate"
    if table.key is not None and kind == "duplicate":
        kind = "row"
    name = table.name
    numbers = chance.sample(range(1, ROWS + 1), k=chance.randint(1, 5))
    ids = ", ".join(table.id_of(str(number)) for number in numbers)
    column = f"c{chance.randrange(len(table.types))}"
    other = MAKERS[table.types[int(column[1:])]]
    match kind:
        case "row":
            return _change(kind, table, f"DELETE FROM {name} WHERE id IN ({ids})")
        case "value":
            shifted = chance.choice([1, 2, 41])
            source = f"(SELECT {table.id_of('n')} AS id, n + {shifted} AS i FROM generate_series(1, {ROWS}) AS n) AS s"
            return _change(
                kind,
                table,
                f"UPDATE {name} SET {column} = {other} FROM {source} WHERE {name}.id = s.id AND s.id IN ({ids})",
            )
        case "null":
            return _change(kind, table, f"UPDATE {name} SET {column} = NULL WHERE id IN ({ids})")
        case "column":
            return _change(kind, table, f"UPDATE {name} SET x = NULL, mark = mark || '!' WHERE id IN ({ids})")
        case "swap":
            first, second = (table.id_of(str(number)) for number in chance.sample(range(1, ROWS + 1), k=2))
            place = chance.choice([column, "mark", "x"])
            return _change(
                kind, table,
                f"UPDATE {name} a SET {place} = b.{place} FROM {name} b"
                f" WHERE (a.id, b.id) IN (({first}, {second}), ({second}, {first}))",
            )  # fmt: skip
        case "duplicate":
            one = f"(SELECT min(ctid) FROM {name} WHERE id = {numbers[0]})"
            if chance.random() < 0.5:
                return _change(kind, table, f"INSERT INTO {name} SELECT * FROM {name} WHERE ctid = {one}")
            return _change(kind, table, f"DELETE FROM {name} WHERE ctid = {one}")
        case "type":
            return Change(
                kind=kind, table=table, statements=(f"ALTER TABLE {name} ALTER x {table.lossy[2]}",), narrowed=True
            )
        case "sequence":
            how = chance.choice(["moved-back", "dropped"])
            sequence = f"s{table.number}"
            statement = f"DROP SEQUENCE {sequence}" if how == "dropped" else f"SELECT setval('{sequence}', 7)"
            return Change(kind=kind, table=table, statements=(statement,), detail=how)
        case "constraint":
            return _change(kind, table, f"ALTER TABLE {name} DROP CONSTRAINT {name}_there")
        case _:
            low = chance.randrange(1, ROWS - ARCHIVED)
            moved = ", ".join(table.id_of(str(number)) for number in range(low, low + ARCHIVED))
            return _change(
                kind, table, f"CREATE TABLE {name}_archive AS SELECT * FROM {name} WHERE id IN ({moved})",
                f"DELETE FROM {name} WHERE id IN ({moved})",
            )  # fmt: skip


def _change(kind: str, table: Made, *statements: str) -> Change:
    return Change(kind=kind, table=table, statements=statements)


BENIGN = (
    "UPDATE {t} SET mark = mark", "UPDATE {t} SET c0 = c0 WHERE true", "DELETE FROM {t} WHERE false",
    "ALTER TABLE {t} ADD extra text DEFAULT 'x'", "ALTER TABLE {t} ADD extra int; ALTER TABLE {t} DROP extra",
    "ALTER TABLE {t} RENAME mark TO label", "ALTER TABLE {t} RENAME c1 TO renamed", "CREATE INDEX ON {t} (mark)",
    "ALTER TABLE {t} ALTER mark TYPE varchar(80)", "ALTER TABLE {t} ADD CHECK (id IS NOT NULL)",
    "ALTER TABLE {t} ALTER mark SET NOT NULL", "ALTER TABLE {t} ALTER mark SET DEFAULT 'none'",
    "COMMENT ON TABLE {t} IS 'benign'", "CREATE VIEW {t}_view AS SELECT id FROM {t}", "SELECT setval('s{n}', 200)",
    "INSERT INTO {t} (id, mark) SELECT {new}, 'new'", "ALTER TABLE {t} RENAME TO {t}_renamed",
    "CREATE TABLE {t}_copy AS TABLE {t}", "CREATE TABLE {t}_copy AS TABLE {t}; DROP TABLE {t}_copy",
    "BEGIN; DELETE FROM {t}; ROLLBACK", "ALTER TABLE {t} ALTER c2 SET STATISTICS 50",
    "CREATE TEMP TABLE held AS TABLE {t}; DELETE FROM {t}; INSERT INTO {t} SELECT * FROM held; DROP TABLE held",
    "ALTER TABLE {t} ADD given text; UPDATE {t} SET given = mark; ALTER TABLE {t} DROP mark;"
    " ALTER TABLE {t} RENAME given TO mark",
    "ALTER TABLE {t} ADD i2 int; UPDATE {t} SET i2 = 5; CREATE UNIQUE INDEX ON {t} (id, mark, x, i2) NULLS DISTINCT"
    " WHERE false", "GRANT SELECT ON {t} TO PUBLIC", "CREATE SCHEMA {t}_place; ALTER TABLE {t} SET SCHEMA {t}_place",
)  # fmt: skip


def benign_statement(chance: random.Random, table: Made) -> str:
    while True:
        statement = chance.choice(BENIGN)
        if (" SET SCHEMA" in statement or " RENAME TO" in statement) and table.partitioned:
            continue  # its leaves stay where they are, and are tables of their own here
        return statement.format(t=table.name, n=table.number, new=table.id_of("9000"))


def witness(pristine: Connection, clone: Connection, change: Change) -> Joined:
    """The texts of before brought over by COPY, and one join in the clone."""
    table = change.table
    columns = table.columns
    clone.execute("DROP TABLE IF EXISTS pg_temp.w")
    held = ", ".join(column + ' text COLLATE pg_catalog."C"' for column in columns)
    clone.execute(f"CREATE TEMP TABLE w ({held})")
    texts = ", ".join(f"{column}::text AS {column}" for column in columns)
    with (
        pristine.cursor().copy(f"COPY (SELECT {texts} FROM {table.name}) TO STDOUT") as out,
        clone.cursor().copy("COPY w FROM STDIN") as into,
    ):
        for data in out:
            into.write(data)
    if change.narrowed:
        texts = texts.replace("x::text AS x", f"x::{table.lossy[3]}::text AS x")
    now = f"(SELECT {texts} FROM {table.name}) AS n"
    if table.key is None:
        gone = f"SELECT count(*) FROM (SELECT * FROM w EXCEPT ALL SELECT * FROM {now}) AS s"
        came = f"SELECT count(*) FROM (SELECT * FROM {now} EXCEPT ALL SELECT * FROM w) AS s"
        return Joined(lost=_one(clone, gone), added=_one(clone, came))
    counts = ["count(*) FILTER (WHERE n.id IS NULL)", "count(*) FILTER (WHERE w.id IS NULL)"]
    for column in columns[1:]:
        differ = f"w.{column} <> n.{column}"
        if change.narrowed and column == "x":
            differ = f"w.x::{table.lossy[3]} <> n.x::{table.lossy[3]}"
        counts.append(f"count(*) FILTER (WHERE {differ})")
        counts.append(f"count(*) FILTER (WHERE n.id IS NOT NULL AND w.{column} IS NOT NULL AND n.{column} IS NULL)")
    row = clone.execute(f"SELECT {', '.join(counts)} FROM w FULL JOIN {now} ON n.id = w.id").fetchone()
    assert row is not None
    return Joined(
        lost=row[0], added=row[1],
        changed={column: row[2 + 2 * place] for place, column in enumerate(columns[1:]) if row[2 + 2 * place]},
        nulled={column: row[3 + 2 * place] for place, column in enumerate(columns[1:]) if row[3 + 2 * place]},
    )  # fmt: skip


def _one(connection: Connection, query: str) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


def built_in_types(connection: Connection) -> Sequence[str]:
    return [
        name
        for (name,) in connection.execute(
            "SELECT typname FROM pg_catalog.pg_type WHERE oid < 16384 AND typnamespace = 'pg_catalog'::regnamespace"
            " AND typtype IN ('b', 'r', 'm') AND typcategory <> 'A' AND typrelid = 0"
        )
    ]

"""Random tables changed at random: every count equals the one of a plain join by key, done in Python on COPY output."""

import random

import pytest

from pgrehearse.data import buckets, rows, table_loss
from pgrehearse.data.verdicts import TableLoss

pytestmark = pytest.mark.pg(">= 15")

TABLES = 24
MAKERS = {
    "integer": "(random() * 5)::integer",
    "bigint": "(random() * 9e18)::bigint",
    "text": "repeat(chr(97 + (random() * 5)::integer), (random() * 4)::integer)",
    "numeric(10,2)": "random() * 100",
    "timestamptz": "timestamptz '2024-01-01Z' + random() * interval '1 year'",
    "boolean": "random() < 0.5",
    "jsonb": "jsonb_build_array((random() * 3)::integer, NULL)",
    "uuid": "gen_random_uuid()",
    "date": "date '2024-01-01' + (random() * 30)::integer",
    "integer[]": "ARRAY[(random() * 3)::integer]",
    "bytea": "decode(md5(random()::text), 'hex')",
}
KEYS = {
    "id integer PRIMARY KEY": "i",
    "id bigint PRIMARY KEY": "i * 4294967297::bigint",
    "id text PRIMARY KEY": "'k' || i",
    "id uuid PRIMARY KEY": "md5(i::text)::uuid",
    "id date PRIMARY KEY": "date '2024-01-01' + i",
    "id numeric NOT NULL UNIQUE": "i / 8.0",
}


@pytest.mark.parametrize("seed", [1, 2])
def test_counts_are_those_of_a_join(twins, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(rows, "WORTH_BUCKETS", 200)
    if seed == 2:  # as in big tables: ranges first, cut again and again, and read through the key's index
        monkeypatch.setattr(table_loss, "WORTH_RANGES_BYTES", 0)
        monkeypatch.setattr(table_loss, "FEW_SHARE", 1.0)
        monkeypatch.setattr(buckets, "FEWEST", 4)
        monkeypatch.setattr(buckets, "MOST", 16)
        monkeypatch.setattr(buckets, "ROWS_PER_RANGE", 2)
        monkeypatch.setattr(buckets, "WORTH_CUTTING", 10)
        monkeypatch.setattr(rows, "INDEXED_SHARE", 1.0)
    chance = random.Random(seed)
    given, migration = [f"SELECT setseed(0.{seed})"], [f"SELECT setseed(0.9{seed})"]
    for number in range(TABLES):
        kinds = chance.choices(list(MAKERS), k=chance.randint(1, 6))
        key, key_value = chance.choice(list(KEYS.items()))
        columns = ", ".join(f"c{place} {kind}" for place, kind in enumerate(kinds))
        # `mark` differs in every row, so that no row can be taken for another one by its content.
        values = ", ".join(f"CASE WHEN random() > 0.1 THEN {MAKERS[kind]} END" for kind in kinds)
        given.append(f"CREATE TABLE t{number} ({key}, mark uuid DEFAULT gen_random_uuid(), {columns})")
        insert = f"INSERT INTO t{number} SELECT {key_value}, gen_random_uuid(), {values} FROM generate_series"
        given.append(f"{insert}(1, {chance.choice([0, 1, 50, 400])}) i")
        for place in chance.sample(range(len(kinds)), k=chance.randint(0, len(kinds))):
            value = chance.choice(["NULL", MAKERS[kinds[place]]])
            migration.append(
                f"UPDATE t{number} SET c{place} = {value} WHERE random() < {chance.choice([0.01, 0.3, 1])}"
            )
        if chance.random() < 0.6:
            migration.append(f"DELETE FROM t{number} WHERE random() < {chance.choice([0.02, 0.5])}")
        if chance.random() < 0.4:
            migration.append(f"{insert}(1000, {chance.choice([1001, 1100])}) i")
        if chance.random() < 0.3:
            migration.append(f"ALTER TABLE t{number} RENAME c0 TO renamed")
    twins.given("; ".join(given))
    twins.migrate("; ".join(migration))
    told: dict[str, TableLoss] = {table.name: table for table in twins.compare().tables}
    lost = 0
    for number in range(TABLES):
        table = told[f"public.t{number}"]
        before = {row[0]: row[1:] for row in twins.ask("pristine", f"SELECT * FROM t{number}")}
        after = {row[0]: row[1:] for row in twins.ask("clone", f"SELECT * FROM t{number}")}
        kept = [(before[key], after[key]) for key in before.keys() & after.keys()]
        assert (table.rows_before, table.rows_after) == (len(before), len(after))
        assert table.rows_lost == len(before) - len(kept)
        lost += table.rows_lost
        for place, column in enumerate(table.columns[1:]):
            pairs = [(old[place], new[place]) for old, new in kept]
            changed = sum(old is not None and new is not None and old != new for old, new in pairs)
            nulled = sum(old is not None and new is None for old, new in pairs)
            assert (column.values_changed, column.values_lost) == (changed, nulled), (table.name, column.name)
    assert lost > 0

"""Random changes through SQL migrations over a schema with every built-in type: each is told with the right table,
column and count, which one join in SQL confirms; migrations that lose nothing raise nothing.

The short form runs some of them; ``make mutations`` 1,000 changes and 200 benign migrations.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from tests.support.built_without import BUILT_WITHOUT
from tests.support.mutations import (
    ARCHIVED,
    BENIGN,
    INTERNAL,
    KINDS,
    MAKERS,
    WORDS,
    Change,
    Joined,
    Made,
    benign_statement,
    built_in_types,
    make_tables,
    random_change,
    witness,
)

from pgrehearse.data.loss import compare_data
from pgrehearse.data.verdicts import DataComparison, TableLoss, TableVerdict
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rehearsal.guarantees import find_lost_guarantees
from pgrehearse.schema.snapshot import read_schema

pytestmark = pytest.mark.pg("== 18")

SOAK = "PGREHEARSE_SOAK" in os.environ
TABLES = 125 if SOAK else 48
BATCHES = 8 if SOAK else 1
BENIGN_BATCHES = 2 if SOAK else 1
BENIGN_TABLES = 100 if SOAK else 24
SEED = int(os.environ.get("PGREHEARSE_SEED", "1"))


@dataclass(frozen=True)
class World:
    server: LocalServer
    name: str
    tables: tuple[Made, ...]

    @contextmanager
    def clone(self) -> Iterator[tuple[Connection, Connection]]:
        """Sessions to the pristine database and to a fresh copy."""
        copy = f"{self.name}_clone"
        with connect(self.server.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE DATABASE {copy} TEMPLATE {self.name}")
        try:
            with self.session(self.name) as before, self.session(copy) as after:
                yield before, after
        finally:
            with connect(self.server.conninfo(), verb="test") as admin:
                admin.execute(f"DROP DATABASE {copy} WITH (FORCE)")

    def session(self, name: str) -> Connection:
        return connect(self.server.conninfo(name), verb="test")

    def compare(self) -> DataComparison:
        return compare_data(lambda: self.session(self.name), lambda: self.session(f"{self.name}_clone"))


@pytest.fixture(scope="module")
def world(server: LocalServer) -> Iterator[World]:
    name = f"mutations_{os.getpid()}"
    without = frozenset({"xml"} if "libxml" in BUILT_WITHOUT[server.major] else ())
    tables = make_tables(random.Random(SEED), TABLES, without)
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            with connect(server.conninfo(name), verb="test") as session:
                for table in tables:
                    session.execute("; ".join(table.create()))
            yield World(server, name, tables)
        finally:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_every_built_in_type_is_in_the_schema(world: World) -> None:
    with world.session(world.name) as session:
        known = {name.split("(")[0].strip('"') for name in MAKERS if "[]" not in name}
        assert set(built_in_types(session)) - known - INTERNAL == {"xml"} - known
        held = {kind for table in world.tables for kind in table.types}
        assert set(MAKERS) - held <= {"xml"}
    assert set(WORDS) <= set(MAKERS)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
def test_each_change_is_told_with_its_table_column_and_count(world: World, batch: int) -> None:
    chance = random.Random(f"{SEED} {batch}")
    changes = [random_change(chance, table) for table in world.tables]
    with world.clone() as (before, after):
        for change in changes:
            for statement in change.statements:
                after.execute(statement)
        compared = world.compare()
        guarantees = find_lost_guarantees(read_schema(before), read_schema(after))
        joined = [witness(before, after, change) for change in changes]
    assert compared.not_measured == ()
    seen = Counter[str]()
    for change, counted in zip(changes, joined, strict=True):
        seen[change.kind] += check(change, counted, compared, {found.relation: found.what for found in guarantees})
    print(f"batch {batch}: {sum(seen.values())} of {len(changes)} changes changed something: {dict(seen)}")
    assert sum(seen.values()) >= 0.85 * len(changes)
    assert set(seen) == set(KINDS)


def check(change: Change, joined: Joined, compared: DataComparison, guarantees: dict[str | None, str]) -> bool:
    """Whether the change changed anything; what is told of its table, and of nothing else there, is what SQL says."""
    table = change.table
    leaves = [
        found
        for found in compared.tables
        if found.verdict is not TableVerdict.NEW
        and found.name in {f"public.{table.name}{part}" for part in ("", "_low", "_high")}
    ]
    assert len(leaves) == (2 if table.partitioned else 1), change
    lost = sum(found.rows_lost for found in leaves)
    added = sum(found.rows_after - found.rows_before + found.rows_lost for found in leaves)
    told, nulled = summed(leaves, "values_changed"), summed(leaves, "values_lost")
    if table.key is None:
        # Of equal rows nobody can say which one changed: a row that is gone, or one that has another value.
        other = sum(told.values()) + sum(nulled.values())
        filled = sum(each.values for found in leaves for column in found.columns for each in column.changes
                     if each.kind.value == "null-filled")  # fmt: skip
        if not change.narrowed:
            assert lost + max(other, joined.lost if filled else 0) >= joined.lost, change
            assert (lost + other + filled > 0) == (joined.lost > 0), change
            assert lost <= joined.lost, change
    else:
        assert (lost, added) == (joined.lost, joined.added), change
        assert told == joined.changed, change
        assert nulled == joined.nulled, change
    if change.kind == "sequence":
        state = next(found for found in compared.sequences if found.name == f"public.s{table.number}")
        assert state.verdict.value == change.detail, change
        return True
    assert not any(found.name == f"public.s{table.number}" and found.hazardous for found in compared.sequences)
    what = guarantees.get(f"public.{table.name}")
    assert (what is not None) == (change.kind == "constraint"), (change, what)
    if change.kind == "moved row":
        assert sum(found.rows_moved for found in leaves) == lost == ARCHIVED, change
        assert any(found.lost for found in leaves), change
    elif change.kind != "constraint":
        assert any(found.lost for found in leaves) == bool(joined.lost or joined.changed or joined.nulled), change
        assert not any(found.rows_moved or found.traces for found in leaves), change
    return bool(joined.lost or joined.added or joined.changed or joined.nulled or change.kind == "constraint")


def summed(leaves: list[TableLoss], what: str) -> dict[str, int]:
    counts = Counter[str]()
    for found in leaves:
        for column in found.columns:
            counts[column.name] += getattr(column, what) or 0
    return {name: count for name, count in counts.items() if count}


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BENIGN_BATCHES))
def test_benign_migrations_raise_nothing(world: World, batch: int) -> None:
    chance = random.Random(f"benign {SEED} {batch}")
    chosen = world.tables[:BENIGN_TABLES]
    statements = [benign_statement(chance, table) for table in chosen]
    with world.clone() as (before, after):
        for statement in statements:
            after.execute(statement)
        compared = world.compare()
        guarantees = find_lost_guarantees(read_schema(before), read_schema(after))
    said = {f"public.{table.name}": statement for table, statement in zip(chosen, statements, strict=True)}
    assert compared.not_measured == ()
    assert [(table.name, said.get(table.name)) for table in compared.tables if table.lost] == []
    assert [state for state in compared.sequences if state.hazardous] == []
    assert [
        found for found in guarantees if found.level.value == "error" and not found.hazard.startswith("rename")
    ] == []
    assert len(set(BENIGN)) > 20

"""Migrations as data: benign_migrations.sql lose nothing, lossy_migrations.sql exactly what they say.

All cases stand in one pair of databases, each in a namespace of its own, and are compared at once.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgrehearse.data.loss import compare_data
from pgrehearse.data.verdicts import DataComparison, TableLoss
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg(">= 15")


@dataclass(frozen=True)
class Case:
    name: str
    before: str
    migration: str
    expected: dict[str, str]  # a table's name: its verdict and what it lost, as `told` writes it

    @property
    def namespace(self) -> str:
        return re.sub(r"\W+", "_", self.name).lower()[:63]


def read_cases(file: str) -> tuple[Case, ...]:
    return tuple(
        read_case(*part.split("\n", 1)) for part in Path(__file__).with_name(file).read_text().split("-- case: ")[1:]
    )


def read_case(title: str, body: str) -> Case:
    before, _, rest = body.partition("-- migration\n")
    migration, _, expected = rest.partition("-- expect: ")
    # TABLE VERDICT FACT …, a quoted name of a table may hold anything
    found = re.findall(r'((?:"(?:[^"]|"")*"|\w)+) ([\w-]+)((?: [^\s,]+=[^\s,]+)*)', expected)
    return Case(title.strip(), before, migration, {name: verdict + facts for name, verdict, facts in found})


BENIGN = read_cases("benign_migrations.sql")
LOSSY = read_cases("lossy_migrations.sql")


def told(table: TableLoss) -> str:
    parts = [table.verdict.value]
    if table.rows_lost:
        parts.append(f"rows_lost={table.rows_lost}")
    for column in table.columns:
        if column.values_changed is None or column.values_lost is None:
            parts.append(f"{column.name}={column.verdict.value}")
        elif column.values_changed or column.values_lost:
            parts.append(f"{column.name}={column.values_changed}/{column.values_lost}")
    return " ".join(parts)


def run(session: Connection, case: Case, script: str) -> None:
    session.execute(f'SET search_path = "{case.namespace}"')
    for statement in script.split(";\n"):
        if statement.strip():
            session.execute(statement)


@pytest.fixture(scope="module")
def compared(server: LocalServer) -> Iterator[DataComparison]:
    pristine, clone = f"cases_{os.getpid()}", f"cases_clone_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        try:
            admin.execute(f"CREATE DATABASE {pristine}")
            with connect(server.conninfo(pristine), verb="test") as session:
                for case in BENIGN + LOSSY:
                    session.execute(f'CREATE SCHEMA "{case.namespace}"')
                    run(session, case, case.before)
            admin.execute(f"CREATE DATABASE {clone} TEMPLATE {pristine}")
            with connect(server.conninfo(clone), verb="test") as session:
                for case in BENIGN + LOSSY:
                    run(session, case, case.migration)
            yield compare_data(
                lambda: connect(server.conninfo(pristine), verb="test"),
                lambda: connect(server.conninfo(clone), verb="test"),
            )
        finally:
            for name in (pristine, clone):
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def tables_of(compared: DataComparison, case: Case) -> dict[str, TableLoss]:
    prefix = f"{case.namespace}."
    return {
        table.name.removeprefix(prefix): table
        for table in compared.tables
        if table.name.startswith(prefix) and table.verdict.value != "new"
    }


@pytest.mark.parametrize("case", BENIGN, ids=lambda case: case.name)
def test_a_benign_migration_is_no_loss(compared: DataComparison, case: Case) -> None:
    tables = tables_of(compared, case)
    assert {name: told(table) for name, table in tables.items()}.items() >= case.expected.items()
    assert not any(table.lost for table in tables.values())
    assert [fact for fact in compared.not_measured if fact.what.startswith(f"{case.namespace}.")] == []
    assert [state for state in compared.sequences if state.hazardous and state.name.startswith(case.namespace)] == []


@pytest.mark.parametrize("case", LOSSY, ids=lambda case: case.name.removeprefix("lossy: "))
def test_a_lossy_migration_loses_exactly_this(compared: DataComparison, case: Case) -> None:
    tables = tables_of(compared, case)
    assert {name: told(table) for name, table in tables.items()} == case.expected
    assert any(table.lost or "unmeasured" in told(table) for table in tables.values())
    not_measured = {fact.what for fact in compared.not_measured if fact.what.startswith(f"{case.namespace}.")}
    assert not_measured == {
        f"{case.namespace}.{name}.{column}"
        for name, facts in case.expected.items()
        for column in re.findall(r"(\w+)=unmeasured", facts)
    }


def test_at_least_thirty_benign_ones_are_listed() -> None:
    assert len(BENIGN) >= 30
    assert len({case.namespace for case in BENIGN + LOSSY}) == len(BENIGN + LOSSY)

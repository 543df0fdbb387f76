"""Migrations that lose nothing, told as such: the cases are in benign_migrations.sql, compared all at once."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pgrehearse.data.loss import compare_data
from pgrehearse.data.verdicts import DataComparison
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

pytestmark = pytest.mark.pg(">= 15")


@dataclass(frozen=True)
class Benign:
    name: str
    before: str
    migration: str
    expected: dict[str, str]  # a table's name: its verdict

    @property
    def namespace(self) -> str:
        return re.sub(r"\W+", "_", self.name).lower()


def read_cases() -> Iterator[Benign]:
    text = Path(__file__).with_name("benign_migrations.sql").read_text()
    for part in text.split("-- case: ")[1:]:
        title, _, body = part.partition("\n")
        before, _, rest = body.partition("-- migration\n")
        migration, _, expected = rest.partition("-- expect: ")
        verdicts = dict(one.strip().rsplit(" ", 1) for one in expected.strip().split(", "))
        yield Benign(title.strip(), before, migration, verdicts)


CASES = tuple(read_cases())


def run(session: Connection, case: Benign, script: str) -> None:
    session.execute(f'SET search_path = "{case.namespace}"')
    for statement in script.split(";\n"):
        if statement.strip():
            session.execute(statement)


@pytest.fixture(scope="module")
def compared(server: LocalServer) -> Iterator[DataComparison]:
    pristine, clone = f"benign_{os.getpid()}", f"benign_clone_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        try:
            admin.execute(f"CREATE DATABASE {pristine}")
            with connect(server.conninfo(pristine), verb="test") as session:
                for case in CASES:
                    session.execute(f'CREATE SCHEMA "{case.namespace}"')
                    run(session, case, case.before)
            admin.execute(f"CREATE DATABASE {clone} TEMPLATE {pristine}")
            with connect(server.conninfo(clone), verb="test") as session:
                for case in CASES:
                    run(session, case, case.migration)
            yield compare_data(
                lambda: connect(server.conninfo(pristine), verb="test"),
                lambda: connect(server.conninfo(clone), verb="test"),
            )
        finally:
            for name in (pristine, clone):
                admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_benign_migration_is_no_loss(compared: DataComparison, case: Benign) -> None:
    tables = [table for table in compared.tables if table.name.startswith(f"{case.namespace}.")]
    for table in tables:
        assert not table.lost, table.as_json()
    assert [fact for fact in compared.not_measured if fact.what.startswith(f"{case.namespace}.")] == []
    told = {table.name.split(".", 1)[1]: table.verdict.value for table in tables if table.verdict.value != "new"}
    assert {name: told.get(name) for name in case.expected} == case.expected
    assert [state for state in compared.sequences if state.hazardous and state.name.startswith(case.namespace)] == []


def test_there_are_at_least_thirty() -> None:
    assert len(CASES) >= 30
    assert len({case.namespace for case in CASES}) == len(CASES)


def test_nothing_at_all_was_lost(compared: DataComparison) -> None:
    assert not compared.lost
    assert compared.not_measured == ()

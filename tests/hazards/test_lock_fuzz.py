"""No statement takes a stronger lock on a relation than was predicted by the catalog: migrations made by chance."""

import copy
import os
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import HealthCheck, given, seed, settings
from tests.support.made_migrations import SCHEMA, migrations

from pgrehearse.hazards.against import read_catalog
from pgrehearse.hazards.kinds import NOT_VISIBLE
from pgrehearse.hazards.lint import lint_files
from pgrehearse.hazards.model import Model
from pgrehearse.migrations.limits import TransactionMode
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.locks import LockMode, strongest

LONG = "PGREHEARSE_SOAK" in os.environ
EXAMPLES = int(os.environ.get("PGREHEARSE_FUZZ_EXAMPLES", "20000" if LONG else "80"))
SEED = int(os.environ.get("PGREHEARSE_FUZZ_SEED", "20261123"))
# Tables, partitioned tables and materialized views that were there before, by the name that they had then.
HELD = """
    SELECT l.relation, l.mode FROM pg_catalog.pg_locks l
    WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.granted AND l.relation = ANY (%s)
"""
BEFORE = """
    SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname)
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname IN ('public', 'other')
"""

Locks = dict[str, LockMode]


@pytest.fixture(scope="module")
def made(server: LocalServer) -> Iterator[Connection]:
    """A session in a database of its own that holds the made schema."""
    name = f"fuzz_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}")
        with connect(server.conninfo(name), verb="test") as connection:
            connection.execute(SCHEMA)
            connection.execute("SET client_min_messages = error")
            yield connection
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def observe(connection: Connection, statements: list[str], before: dict[int, str]) -> list[Locks]:
    """The strongest locks held after each statement that ran; nothing remains."""
    seen: list[Locks] = []
    with connection.transaction(force_rollback=True):
        for statement in statements:
            try:
                with connection.transaction():
                    connection.execute(statement.encode())
            except psycopg.Error:
                break  # what it locked until then is given back with its savepoint
            held: Locks = {}
            for oid, mode in connection.execute(HELD, (list(before),)):
                held[before[oid]] = strongest(held.get(before[oid]), LockMode(mode))
            seen.append(held)
    return seen


def predict(statements: list[str], model: Model) -> tuple[list[Locks], bool]:
    """The locks held after each statement as lint has them, and whether lint says that it cannot see it all."""
    text = "".join(f"{statement};\n" for statement in statements)
    migration = Migration(version="1", name="m", path="m.sql", kind=SourceKind.SQL_FOLDER, content=text.encode())
    result = lint_files([migration], model=copy.deepcopy(model), transaction=TransactionMode.FILE)
    held: Locks = {}
    predicted = []
    for statement in result.statements:
        for name, mode in statement.locks.items():
            held[name] = strongest(held.get(name), mode)
        predicted.append(dict(held))
    # A kind of statement that says so by itself takes no lock on a table, and is no excuse for the others.
    return predicted, any(each.reason not in NOT_VISIBLE.values() for each in result.not_visible)


def stronger_than_predicted(observed: list[Locks], predicted: list[Locks]) -> list[str]:
    return [
        f"statement {number}: {name} {mode.value}, predicted {foreseen[name].value if name in foreseen else 'nothing'}"
        for number, (held, foreseen) in enumerate(zip(observed, predicted, strict=False), 1)
        for name, mode in held.items()
        if name not in foreseen or foreseen[name].strength < mode.strength
    ]


@pytest.mark.slow
@pytest.mark.pg(">= 15" if LONG else "== 18")
def test_no_lock_is_stronger_than_predicted(made: Connection) -> None:
    before: dict[int, str] = dict(made.execute(BEFORE).fetchall())
    with made.transaction():
        model = read_catalog(made)
    model.data = None  # its session runs the migrations
    ran = 0

    @seed(SEED)
    @settings(max_examples=EXAMPLES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(migrations())
    def check(statements: list[str]) -> None:
        nonlocal ran
        observed = observe(made, statements, before)
        predicted, blind = predict(statements, model)
        ran += len(observed)
        assert blind or stronger_than_predicted(observed, predicted) == []

    check()
    assert ran > EXAMPLES / 4  # the statements are not merely refused

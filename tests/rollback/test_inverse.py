"""The generated way back, by pg_dump: a table of migrations, each performed, taken back, and performed again."""

import re
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pglast
import psycopg
import pytest
from tests.support.dumps import dump_text

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.definitions import parse_dump, read_definitions
from pgrehearse.rollback.way_back import find_inverse
from pgrehearse.schema.diff import ORDER, diff
from pgrehearse.schema.snapshot import read_schema

HERE = Path(__file__).parent
CASES: list[dict[str, Any]] = tomllib.loads((HERE / "inverse_cases.toml").read_text(encoding="utf-8"))["case"]
MUTATIONS: list[dict[str, Any]] = tomllib.loads(
    (HERE.parent / "schema" / "mutations.toml").read_text(encoding="utf-8")
)["mutation"]
# What no ALTER takes back, so that its way back must say so and its proof must fail.
CANNOT = {
    "ALTER TABLE c NO INHERIT t",
    "ALTER TABLE t DISABLE TRIGGER ALL",
    "ALTER INDEX t1_a_idx SET (fillfactor = 50)",
    "ALTER FOREIGN TABLE f OPTIONS (SET table_name 'y')",
    "ALTER SERVER s_ns VERSION '2'",
}
RETYPED_WHEN_READ = "IN ('x', 'y')"  # printed otherwise once restored from a dump: equal by our own comparison only
ROLES = ("zoo_app", "zoo_owner", "zoo_other")
TABLES = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM pg_class c, pg_namespace n
WHERE n.oid = c.relnamespace AND c.relkind IN ('r', 'm') AND c.relispopulated AND n.nspname ~ '^[cm][0-9]'
"""
Dump = dict[tuple[str, str, str], str]


@dataclass(slots=True)
class State:
    """The database at one moment."""

    dump: Dump
    rows: dict[str, list[str]]


@dataclass(slots=True)
class Journey:
    """Up, down, up again; everything of all cases in one database."""

    states: list[State]
    order_changed: set[str]
    remaining: list[str]
    failures: list[tuple[str, str]] = field(default_factory=list)  # statement, what the server said
    not_invertible: tuple[str, ...] = ()

    def of(self, namespace: str) -> "Journey":
        """What concerns one case."""
        its = re.compile(rf"(?<![a-z0-9]){namespace}(?![0-9])")

        def mine(state: State) -> State:
            return State(
                dump={key: text for key, text in state.dump.items() if its.search(text) or its.search(key[1])},
                rows={name: rows for name, rows in state.rows.items() if its.search(name)},
            )

        return Journey(
            states=[mine(state) for state in self.states],
            order_changed={name for name in self.order_changed if its.search(name)},
            remaining=[sentence for sentence in self.remaining if its.search(sentence)],
            failures=[failure for failure in self.failures if its.search(failure[0])],
            not_invertible=tuple(sentence for sentence in self.not_invertible if its.search(sentence)),
        )


def read_state(database: Conninfo, session: Connection) -> State:
    entries = parse_dump(dump_text(database, "--schema-only", "--verbose"))
    tables = session.execute(TABLES).fetchall()
    rows = {}
    for (name,) in tables:
        query = f"SELECT to_jsonb(t)::text FROM ONLY {name} t ORDER BY 1"
        rows[name] = [text for (text,) in session.execute(query.encode())]
    dump = {}
    for entry in entries:
        dump[entry.type, entry.namespace, entry.name] = re.sub(r"\s+", " ", entry.sql)
    return State(dump=dump, rows=rows)


def written_for(namespace: str, text: str) -> str:
    return re.sub(r"(?<![a-z])ns(?![a-z])", namespace, text)


def run_in(session: Connection, namespace: str, script: str) -> None:
    session.execute("SELECT set_config('search_path', %s, false)", (f"{namespace}, public",))
    for statement in pglast.split(script):
        session.execute(statement.encode())
    session.execute("RESET search_path")


def travel(server: LocalServer, database: Conninfo, cases: list[tuple[str, str, str]]) -> Journey:
    """``cases``: namespace, script before, migration."""
    migrated = server.conninfo(f"{database.database}_migrated")
    with connect(database, verb="test") as session:
        there = {name for (name,) in session.execute("SELECT rolname FROM pg_roles")}
        for role in ROLES:
            if role not in there:
                session.execute(f"CREATE ROLE {role}".encode())
        for namespace, before, _ in cases:
            run_in(session, namespace, f"CREATE SCHEMA {namespace}; {before}")
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {migrated.database} TEMPLATE {database.database}".encode())
    try:
        with connect(database, verb="test") as pristine, connect(migrated, verb="test") as session:
            return _travel(database, migrated, pristine, session, cases)
    finally:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(f"DROP DATABASE {migrated.database} WITH (FORCE)".encode())


def _travel(
    database: Conninfo, migrated: Conninfo, pristine: Connection, session: Connection, cases: list[tuple[str, str, str]]
) -> Journey:
    states = [read_state(database, pristine)]
    before = read_schema(pristine)
    for namespace, _, migration in cases:
        run_in(session, namespace, migration)
    states.append(read_state(migrated, session))
    after = read_schema(session)
    inverse = find_inverse(before, after, read_definitions(database, pristine), session)
    failures = []
    with session.transaction():
        session.execute("SELECT set_config('search_path', '', true), set_config('check_function_bodies', 'off', true)")
        for statement in (*inverse.statements, *inverse.after_rows):
            try:
                with session.transaction():
                    session.execute(statement.encode())
            except psycopg.Error as error:
                failures.append((statement, str(error)))
    changes = diff(before, read_schema(session))
    states.append(read_state(migrated, session))
    for namespace, _, migration in cases:
        try:
            run_in(session, namespace, migration)
        except psycopg.Error as error:
            failures.append((f"{namespace}: again", str(error)))
    states.append(read_state(migrated, session))
    return Journey(
        states=states,
        order_changed={change.name for change in changes if change.attribute == ORDER},
        remaining=[str(change) for change in changes if change.attribute != ORDER],
        failures=failures,
        not_invertible=inverse.not_invertible,
    )


@pytest.fixture(scope="module")
def fresh(server: LocalServer) -> Iterator[Callable[[str], Conninfo]]:
    """Makes databases, and drops them at the end: what stands in them holds roles that other tests drop."""
    made = []

    def make(name: str) -> Conninfo:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        made.append(name)
        return server.conninfo(name)

    yield make
    with connect(server.conninfo(), verb="test") as admin:
        for name in made:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture(scope="module")
def journey(server: LocalServer, fresh: Callable[[str], Conninfo]) -> Journey:
    cases = [
        (f"c{number}", written_for(f"c{number}", case["before"]), written_for(f"c{number}", case["migration"]))
        for number, case in enumerate(CASES)
    ]
    return travel(server, fresh("inverse_cases"), cases)


@pytest.fixture(scope="module")
def mutated(server: LocalServer, fresh: Callable[[str], Conninfo]) -> Journey:
    cases = [
        (f"m{number}", written_for(f"m{number}", case.get("setup", "")), written_for(f"m{number}", case["change"]))
        for number, case in enumerate(MUTATIONS)
        if case.get("needs", 0) <= server.major
    ]
    return travel(server, fresh("inverse_mutations"), cases)


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("number", range(len(CASES)), ids=[case["name"] for case in CASES])
def test_up_down_equal_up_again(journey: Journey, number: int) -> None:
    case, seen = CASES[number], journey.of(f"c{number}")
    before, after, down, again = seen.states
    assert before.dump != after.dump, "the case does not change anything"
    assert seen.failures == []
    assert seen.remaining == []
    if case.get("order") == "differs":
        assert seen.order_changed
        assert before.dump.keys() == down.dump.keys()
    else:
        assert down.dump == before.dump
    if case.get("rows") != "lost":
        assert down.rows == before.rows
    assert again.dump == after.dump
    assert again.rows == after.rows


@pytest.mark.pg(">= 15")
@pytest.mark.parametrize("number", range(len(MUTATIONS)))
def test_every_attribute_goes_back(mutated: Journey, number: int, server_major: int) -> None:
    case, seen = MUTATIONS[number], mutated.of(f"m{number}")
    if case.get("needs", 0) > server_major:
        assert not seen.states[0].dump
        return
    before, _, down, _ = seen.states
    assert [failure for failure in seen.failures if not failure[0].endswith("again")] == []
    if case["change"] in CANNOT:
        assert seen.remaining
        return
    assert seen.remaining == []
    if not seen.order_changed and RETYPED_WHEN_READ not in case["setup"]:
        assert down.dump == before.dump

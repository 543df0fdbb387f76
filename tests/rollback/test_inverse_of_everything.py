"""Every kind of object that PostgreSQL has, dropped at once and made again, and made at once and dropped again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pglast
import pytest

from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rollback.definitions import read_definitions
from pgrehearse.rollback.way_back import find_inverse
from pgrehearse.schema.diff import diff
from pgrehearse.schema.snapshot import read_schema

ZOO = Path(__file__).parents[1] / "schema" / "zoo"
ROLES = ("zoo_app", "zoo_owner", "zoo_other")
NAMESPACES = "SELECT quote_ident(nspname) FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
# A right that another than the owner granted cannot be granted again in that role's name.
GRANTED_BY_ANOTHER = {"table public.granted: grants"}
# A base type and its functions can only be dropped with CASCADE, which the way back never says; and rights on the
# server's own objects are nobody's to hand back.
STAYS = {
    "function public.mybase_in(cstring): added", "function public.mybase_out(public.mybase): added",
    "type public.mybase: added", "system object pg_ls_waldir(): added",
}  # fmt: skip


def fill(database: Conninfo, major: int) -> None:
    with connect(database, verb="test") as session:
        for file in sorted(ZOO.glob("*.sql")):
            script = file.read_text(encoding="utf-8")
            needs = re.match(r"-- needs: (\d+)", script)
            if needs is None or int(needs[1]) <= major:
                for statement in pglast.split(script):
                    session.execute(statement.encode())


@pytest.fixture
def pair(server: LocalServer) -> Iterator[tuple[Conninfo, Conninfo]]:
    """Two empty databases, of which the second becomes a copy of the first when `copy` says so."""
    names = ("everything_before", "everything_after")
    with connect(server.conninfo(), verb="test") as admin:
        there = {name for (name,) in admin.execute("SELECT rolname FROM pg_roles")}
        for role in ROLES:
            if role not in there:
                admin.execute(f"CREATE ROLE {role}".encode())
        for name in names:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())
        admin.execute(f"CREATE DATABASE {names[0]} TEMPLATE template0".encode())
    yield server.conninfo(names[0]), server.conninfo(names[1])
    with connect(server.conninfo(), verb="test") as admin:
        for name in names:
            admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)".encode())


def copy(server: LocalServer, pair: tuple[Conninfo, Conninfo]) -> None:
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {pair[1].database} TEMPLATE {pair[0].database}".encode())


def remaining(pristine: Connection, migrated: Connection, database: Conninfo) -> tuple[set[str], set[str]]:
    """What still differs after the way back, and the statements that failed."""
    before, after = read_schema(pristine), read_schema(migrated)
    inverse = find_inverse(before, after, read_definitions(database, pristine), migrated)
    failed = set()
    with migrated.transaction():
        migrated.execute("SELECT set_config('search_path', '', true), set_config('check_function_bodies', 'off', true)")
        for statement in (*inverse.statements, *inverse.after_rows):
            try:
                with migrated.transaction():
                    migrated.execute(statement.encode())
            except Exception:  # counted, whatever it is
                failed.add(statement)
    return {str(change).split(" was ")[0] for change in diff(before, read_schema(migrated))}, failed


@pytest.mark.pg(">= 15")
def test_everything_that_was_dropped_is_made_again(server: LocalServer, pair: tuple[Conninfo, Conninfo]) -> None:
    fill(pair[0], server.major)
    copy(server, pair)
    with connect(pair[0], verb="test") as pristine, connect(pair[1], verb="test") as migrated:
        for (name,) in migrated.execute(NAMESPACES).fetchall():
            migrated.execute(f"DROP SCHEMA {name} CASCADE".encode())
        assert remaining(pristine, migrated, pair[0]) == (GRANTED_BY_ANOTHER, set())


@pytest.mark.pg(">= 15")
def test_everything_that_was_made_is_dropped_again(server: LocalServer, pair: tuple[Conninfo, Conninfo]) -> None:
    copy(server, pair)
    fill(pair[1], server.major)
    with connect(pair[0], verb="test") as pristine, connect(pair[1], verb="test") as migrated:
        differing, failed = remaining(pristine, migrated, pair[0])
    assert differing == STAYS
    assert {statement.split()[-1].split("(")[0] for statement in failed} == {
        "public.mybase_in", "public.mybase_out", "public.mybase;",
    }  # fmt: skip

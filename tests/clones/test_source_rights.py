"""What the source's user may not read is told at once, and nothing that pg_dump would not ask for."""

import subprocess
from collections.abc import Iterator

import pytest
from psycopg import sql

from pgrehearse.clones.snapshot import exported_snapshot
from pgrehearse.clones.source_rights import read_unreadable
from pgrehearse.errors import SourceUnreadable
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

from .conftest import MakePair

THINGS = """
CREATE SCHEMA "odd ""schema"; CREATE SCHEMA fine; CREATE SCHEMA shut; CREATE SCHEMA pgrehearse_quarantine;
CREATE TABLE "odd ""schema"."T'able" (i int); CREATE TABLE fine.rows (i int, v text); CREATE SEQUENCE fine.numbers;
CREATE TABLE fine.parted (i int) PARTITION BY LIST (i); CREATE TABLE fine.part PARTITION OF fine.parted DEFAULT;
CREATE TABLE fine.hidden (i int); ALTER TABLE fine.hidden ENABLE ROW LEVEL SECURITY;
CREATE MATERIALIZED VIEW fine.mat AS SELECT 1 AS i; CREATE VIEW fine.view AS SELECT i FROM fine.rows;
CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE fine.far (i int) SERVER s;
CREATE TABLE pgrehearse_quarantine.image (i int); CREATE FUNCTION shut.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE EXTENSION {0};
CREATE TABLE fine.member (i int); ALTER EXTENSION {0} ADD TABLE fine.member;
CREATE TABLE fine.registered (i int); ALTER EXTENSION {0} ADD TABLE fine.registered;
CREATE SEQUENCE fine.member_numbers; ALTER EXTENSION {0} ADD SEQUENCE fine.member_numbers;
UPDATE pg_extension SET extconfig = ARRAY['fine.registered'::regclass::oid], extcondition = ARRAY['']
    WHERE extname = '{0}';
SELECT lo_from_bytea(4711, 'x');
"""
GRANT_ALL = """
GRANT USAGE ON SCHEMA "odd ""schema", fine, shut, pgrehearse_quarantine TO {0};
GRANT SELECT ON ALL TABLES IN SCHEMA "odd ""schema", fine, pgrehearse_quarantine TO {0};
GRANT SELECT ON ALL SEQUENCES IN SCHEMA fine TO {0};
GRANT SELECT ON LARGE OBJECT 4711 TO {0};
ALTER ROLE {0} BYPASSRLS;
"""
REVOKED = (  # one at a time: what is revoked, and what gives it back
    ('REVOKE USAGE ON SCHEMA "odd ""schema" FROM {0}', 'GRANT USAGE ON SCHEMA "odd ""schema" TO {0}'),
    *(
        (f"REVOKE {right} FROM {{0}}", f"GRANT {right} TO {{0}}")
        for right in (
            "USAGE ON SCHEMA shut",
            "USAGE ON SCHEMA pgrehearse_quarantine",
            "SELECT ON fine.rows",
            "SELECT ON fine.parted",
            "SELECT ON fine.part",
            "SELECT ON SEQUENCE fine.numbers",
            "SELECT ON fine.mat",
            "SELECT ON fine.view",
            "SELECT ON fine.far",
            "SELECT ON fine.member",
            "SELECT ON fine.registered",
            "SELECT ON SEQUENCE fine.member_numbers",
            "SELECT ON LARGE OBJECT 4711",
        )
    ),
    ("ALTER ROLE {0} NOBYPASSRLS", "ALTER ROLE {0} BYPASSRLS"),
)


@pytest.fixture
def reader(server: LocalServer, database: Conninfo, connection: Connection) -> Iterator[Conninfo]:
    """An ordinary user of the database, with a name that must be quoted."""
    name = f'Rea"der {database.database}'
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x'").format(sql.Identifier(name)))
    yield database.replaced(user=name, password="x")
    connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(sql.Identifier(name)))


def make_things(connection: Connection) -> None:
    available = "SELECT name FROM pg_available_extensions WHERE name IN ('hstore', 'vector') LIMIT 1"
    connection.execute(THINGS.format(fetch_value(connection, available)).encode())


def told(reader: Conninfo) -> SourceUnreadable | None:
    with exported_snapshot(reader) as snapshot:
        try:
            read_unreadable(snapshot.connection).require_none(reader.address)
        except SourceUnreadable as error:
            return error
    return None


def dump_refusal(reader: Conninfo, major: int) -> str:
    """What pg_dump itself says, with the options of a copy; empty: it can dump."""
    address, environment = reader.for_child()
    done = subprocess.run(
        [require_client(major).program("pg_dump"), "--format=custom", "--file=/dev/null", "--no-sync",
         "--no-subscriptions", "--exclude-schema=pgrehearse_quarantine", f"--dbname={address}"],
        env=environment | {"LC_ALL": "C"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stderr if done.returncode else ""


@pytest.mark.pg(">= 16")  # 16 is asked as 14 and 15 are
def test_it_refuses_when_pg_dump_would_and_only_then(
    connection: Connection, reader: Conninfo, server_major: int
) -> None:
    make_things(connection)
    user = sql.Identifier(str(reader.user))
    connection.execute(sql.SQL(GRANT_ALL).format(user))
    seen = {}
    for revoke, grant in (("", ""), *REVOKED):
        connection.execute(sql.SQL(revoke).format(user))
        refused = dump_refusal(reader, server_major)
        seen[revoke] = (told(reader) is not None, refused != "")
        connection.execute(sql.SQL(grant).format(user))
    assert {revoke: ours for revoke, (ours, _) in seen.items()} == {revoke: its for revoke, (_, its) in seen.items()}
    assert sum(ours for ours, _ in seen.values()) >= 7


@pytest.mark.pg("== 18")
def test_all_of_it_is_told_at_once_and_the_remedy_gives_it(
    connection: Connection, reader: Conninfo, uat: LocalServer, pair_of: MakePair, ledger: ReleaseLedger
) -> None:
    make_things(connection)
    many = "".join(f"CREATE TABLE fine.t{i} (i int);" for i in range(30))
    connection.execute(many.encode())
    with pytest.raises(SourceUnreadable) as raised, pair_of(reader, uat.conninfo()):
        pass
    assert [*ledger.entries()] == []
    for name in (
        'no USAGE on schema fine, "odd ""schema"\n', "fine.parted", " more\n",
        "no SELECT on sequence fine.numbers\n", "row-level security hides rows of fine.hidden\n", "large object 4711",
    ):  # fmt: skip
        assert name in str(raised.value), name
    for line in raised.value.remedy.splitlines():
        if line.endswith(";"):
            connection.execute(line.encode())
    assert told(reader) is None
    assert dump_refusal(reader, 18) == ""

"""What every session of ours is like, whatever the database and the environment say."""

import os

import pytest

from pgrehearse.errors import ServerUnreachable
from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer


@pytest.mark.pg(">= 15")
def test_an_sql_ascii_database_speaks_text_and_not_bytes(server: LocalServer) -> None:
    """Its default client encoding makes psycopg answer with bytes."""
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute("CREATE DATABASE ascii_only ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        with connect(server.conninfo("ascii_only"), verb="test") as session:
            assert fetch_value(session, "SELECT relname::text FROM pg_class WHERE relname = 'pg_class'") == "pg_class"
    finally:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute("DROP DATABASE ascii_only WITH (FORCE)")


@pytest.mark.pg("== 18")
def test_the_environment_does_not_choose_the_encoding(database: Conninfo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    with connect(database, verb="test") as session:
        assert fetch_value(session, "SELECT 'é'::text") == "é"


@pytest.mark.pg("== 18")
def test_a_database_with_no_connection_left_is_told(server: LocalServer, database: Conninfo) -> None:
    """A superuser is never kept out."""
    role = f"one_of_many_{os.getpid()}"
    with connect(database, verb="test") as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'".encode())
        admin.execute(f"ALTER DATABASE {database.database} CONNECTION LIMIT 1".encode())
        try:
            with pytest.raises(ServerUnreachable, match="too many connections") as caught:
                connect(database.replaced(user=role, password="p"), verb="test")
            assert "--jobs 1" in str(caught.value.remedy)
        finally:
            admin.execute(f"DROP ROLE {role}".encode())

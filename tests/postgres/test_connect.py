"""What every session of ours is like, whatever the database and the environment say."""

import os

import pytest
from tests.support.dumps import dump_text

from pgrehearse.errors import ServerUnreachable
from pgrehearse.postgres.connect import connect, fetch_value, pinned
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


@pytest.mark.pg("== 18")
def test_the_environment_does_not_lead_away_from_a_server_of_our_own(
    database: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a platform's .env says of production (Neon's: PGCHANNELBINDING=require); a child process included."""
    for name, value in {
        "PGHOST": "db.example", "PGHOSTADDR": "192.0.2.1", "PGPORT": "6000", "PGUSER": "nobody", "PGPASSWORD": "wrong",
        "PGDATABASE": "nothing", "PGSSLMODE": "require", "PGCHANNELBINDING": "require", "PGREQUIREPEER": "nobody",
        "PGTARGETSESSIONATTRS": "read-only", "PGOPTIONS": "-c search_path=nowhere", "PGGSSENCMODE": "require",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE there (i int)")
    assert "CREATE TABLE public.there" in dump_text(database)


@pytest.mark.pg("== 18")
def test_a_child_is_sent_to_the_host_of_a_list_that_was_reached(
    database: Conninfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "read-only")  # the list's, of which one was chosen
    several = database.replaced(host=f"/nonexistent,{database.host}", port=None, hostaddr=None)
    with connect(several, verb="test") as session:
        assert pinned(several, session).parameters["host"] == database.host
        dump_text(pinned(several, session))


@pytest.mark.pg("== 18")
def test_a_server_without_tls_that_it_is_asked_for_is_told_as_such(database: Conninfo) -> None:
    with pytest.raises(ServerUnreachable, match="channel binding required") as caught:
        connect(database.replaced(channel_binding="require"), verb="test")
    assert "sslmode" in caught.value.remedy

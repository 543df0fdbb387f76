"""Workloads as a real server counts and logs them: pg_stat_statements, stderr, csvlog, jsonlog."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgrehearse.errors import ConfigurationError
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import Project, RehearsalOptions
from pgrehearse.queries.statistics_view import HIDDEN_WHY, NoStatistics, read_statistics
from pgrehearse.queries.workload import Workload, looks_like_one_of_n
from pgrehearse.queries.workload_file import read_file

SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "logging_collector": "on",
    "log_destination": "stderr,csvlog,jsonlog",
    "log_filename": "server.log",
    "log_min_duration_statement": "0",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
SHOP = """
CREATE EXTENSION IF NOT EXISTS pg_stat_statements;
CREATE SCHEMA shop;
CREATE TABLE shop.users (id int PRIMARY KEY, email text, nick text, age int);
INSERT INTO shop.users SELECT n, 'u' || n || '@example.com', 'n' || n, n % 90 FROM generate_series(1, 6000) n;
CREATE INDEX users_email ON shop.users (email);
GRANT USAGE ON SCHEMA shop TO app; GRANT SELECT, UPDATE ON shop.users TO app;
"""


@pytest.fixture(scope="module")
def counting(server_major: int) -> Iterator[LocalServer]:
    """A server that counts and logs what it is sent; 15 alone is here with contrib."""
    with LocalServer.create(require_server(server_major), settings=SETTINGS) as server:
        with connect(server.conninfo(), verb="test") as admin:
            admin.execute("CREATE ROLE app LOGIN; CREATE ROLE reader LOGIN PASSWORD 'reader'")
            admin.execute("CREATE DATABASE shop")
            admin.execute("CREATE DATABASE other")
            admin.execute("ALTER ROLE app IN DATABASE shop SET search_path = shop")
        with connect(server.conninfo("shop"), verb="test") as session:
            session.execute(SHOP.encode())
            session.execute("SELECT pg_stat_statements_reset()")
            session.execute("SET ROLE app; SET search_path = shop")
            send(session)
        with connect(server.conninfo("other"), verb="test") as session:
            session.execute("CREATE TABLE elsewhere (id int)")
        yield server


def send(session: Connection) -> None:
    """What an application sends."""
    session.execute("DO $$ BEGIN FOR i IN 1..1500 LOOP PERFORM email FROM users WHERE id = i; END LOOP; END $$")
    for number in (1, 2, 3):
        session.execute(f"SELECT id FROM users\n WHERE email = 'secret{number}@example.com'".encode())
    session.execute("SELECT nick FROM users WHERE id = %s", (7,))
    session.execute("UPDATE users SET nick = 'private' WHERE id = 5")
    session.execute("SELECT count(*) FROM users WHERE now() - interval '1 day' > '2020-01-01'::timestamptz")
    session.execute("VACUUM (ANALYZE) pg_class")
    session.execute("SELECT relname FROM pg_class LIMIT 1")


BY_EMAIL = "SELECT id FROM users WHERE email = $1"


def calls(workload: Workload) -> dict[str, int | None]:
    return {" ".join(query.statement.text.split()): query.calls for query in workload.queries}


@pytest.mark.pg("== 15")
def test_the_statistics_of_this_database_are_read_in_a_read_only_transaction(counting: LocalServer) -> None:
    with connect(counting.conninfo("shop"), verb="test") as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        workload = read_statistics(session)
        assert fetch_value(session, "SELECT 1") == 1
    found = calls(workload)
    assert found[BY_EMAIL] == 3
    assert found["SELECT nick FROM users WHERE id = $1"] == 1
    assert found["UPDATE users SET nick = $1 WHERE id = $2"] == 1
    assert not any("elsewhere" in text or "pg_class" in text for text in found)
    assert {query.role for query in workload.queries if "users" in query.statement.text} == {"app"}
    assert workload.role_settings == {"app": {"search_path": "shop"}}
    inner = [query for query in workload.queries if looks_like_one_of_n(query)]
    assert [(query.calls, query.rows) for query in inner] == [(1500, 1500)]
    assert workload.left_out["it is a utility statement, which has no plan"] >= 2


@pytest.mark.pg("== 15")
def test_what_cannot_be_read_is_told_and_the_transaction_goes_on(counting: LocalServer, database: Conninfo) -> None:
    with connect(counting.conninfo("shop", user="reader", password="reader"), verb="test") as session:
        workload = read_statistics(session)
    assert workload.queries == ()
    assert workload.left_out[HIDDEN_WHY] >= 5

    with connect(counting.conninfo("other"), verb="test") as session:
        session.execute("BEGIN READ ONLY")
        with pytest.raises(NoStatistics, match="no extension"):
            read_statistics(session)
        assert fetch_value(session, "SELECT 1") == 1

    with connect(database, verb="test") as session:  # the library is not loaded there
        session.execute("CREATE EXTENSION pg_stat_statements")
        session.execute("BEGIN READ ONLY")
        with pytest.raises(NoStatistics, match="shared_preload_libraries"):
            read_statistics(session)
        assert fetch_value(session, "SELECT 1") == 1


# --- logs and files ---------------------------------------------------------------------------------------------------


def wait_for(path: Path, text: str) -> None:
    deadline = time.monotonic() + 120
    while text not in path.read_text():
        assert time.monotonic() < deadline, f"{path.name} never got {text}"
        time.sleep(0.05)


@pytest.mark.pg("== 15")
@pytest.mark.parametrize("name", ["server.log", "server.csv", "server.json"])
def test_a_log_gives_the_statements_of_this_database_and_no_values(counting: LocalServer, name: str) -> None:
    path = counting.data_directory / "log" / name
    wait_for(path, "elsewhere")
    workload = read_file(path, database="shop", role="nobody", role_settings={})
    found = calls(workload)
    assert found[BY_EMAIL] == 3
    assert found["SELECT nick FROM users WHERE id = $1"] == 1
    assert found["SELECT count(*) FROM users WHERE now() - interval $1 > $2::timestamptz"] == 1
    assert not any("elsewhere" in text or "private" in text or "secret" in text for text in found)
    assert workload.left_out["it was sent to another database"] >= 1
    by_email = next(query for query in workload.queries if query.calls == 3)
    assert by_email.total_ms is not None
    assert by_email.example is not None
    assert "secret1@example.com" in by_email.example
    assert "secret" not in repr(workload)
    assert by_email.role == "postgres"  # who logged in: SET ROLE does not change that


def test_a_file_of_statements_may_hold_anything(tmp_path: Path) -> None:
    path = tmp_path / "app.sql"
    path.write_text(
        "-- the application's\nSELECT 'a;b' /* for somebody */  FROM t WHERE id = 5;\n"
        "SELECT 'c' FROM t WHERE id IN (6);\n"
        "SELECT 1 FROM t WHERE id IN (6, 7, 8);\n"
        "SELEC broken;\nBEGIN;\nDO $$ BEGIN END $$;\nSELECT $2, 7 FROM t WHERE id = $1;\n"
        "SELECT 3 FROM dblink('host=x', 'y') AS d(i int);;\n"
        f"SELECT {' || '.join(['a'] * 300)} FROM t;\nSELECT {' || '.join(['a'] * 1500)} FROM t;\n"
    )
    workload = read_file(path, database="any", role="app", role_settings={})
    assert sorted(query.statement.text for query in workload.queries) == [
        "SELECT $1   FROM t WHERE id = $2",
        "SELECT $1 FROM t WHERE id IN ($2)",
        "SELECT $2, $3 FROM t WHERE id = $1",
    ]
    assert {query.role for query in workload.queries} == {"app"}
    assert workload.left_out["it is a utility statement, which has no plan"] == 2
    assert set(workload.left_out) == {
        "its text is no whole statement that can be read: cut off, or left so by normalising",
        "it is a utility statement, which has no plan",
        "dblink() reaches beyond the database",
        "it is nested too deeply to be read",
    }
    assert workload.left_out["it is nested too deeply to be read"] == 2


def test_an_unreadable_file_is_a_mistake_of_usage(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"nothing\.sql cannot be read"):
        read_file(tmp_path / "nothing.sql", database="any", role=None, role_settings={})


# --- a whole rehearsal, with what production counts -------------------------------------------------------------------


@pytest.mark.pg("== 15")
def test_a_rehearsal_takes_what_production_counts(counting: LocalServer, tmp_path: Path) -> None:
    (tmp_path / "tidy.sql").write_text("ALTER TABLE shop.users DROP COLUMN nick; DROP INDEX shop.users_email;")
    options = RehearsalOptions(source=counting.conninfo("shop").text, files=(tmp_path / "tidy.sql",), way_back=False)
    document = Project.open(None, start=tmp_path).rehearse(options).document
    verdicts = {" ".join(query["sql"].split()): query["verdict"] for query in document["queries"]}
    assert verdicts["SELECT nick FROM users WHERE id = $1"] == "broken"
    assert verdicts["UPDATE users SET nick = $1 WHERE id = $2"] == "broken"
    assert verdicts[BY_EMAIL] == "slower"
    assert [query["calls"] for query in document["queries"] if query["one_of_n"]] == [1500]
    levels = {(each["hazard"], each["level"]) for each in document["findings"] if each["evidence"] == "observed"}
    assert ("query-breaks", "warning") in levels  # both were sent only once
    assert ("index-in-use-dropped", "warning") in levels
    assert "secret" not in str(document["queries"])
    assert "private" not in str(document["queries"])

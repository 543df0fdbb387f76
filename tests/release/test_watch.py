"""Before each COMMIT production is held against the receipt; where it is not the same, nothing is committed."""

from pathlib import Path

import pytest
from tests.support.applying import QUICK, recorded, rows, sessions_to
from tests.support.dumps import dump_text
from tests.support.promoting import LEDGER, rehearse_folder

from pgrehearse.errors import MalformedExpectation, NotAsRehearsed
from pgrehearse.hazards.trace import Tracer
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.observer import Observers
from pgrehearse.migrations.sources.source import Source
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.watch import Rehearsed, StatementCompared, Watch, compare_statements

ALL = pytest.mark.pg(">= 15")
NEWEST = pytest.mark.pg("== 18")  # what does not hang on the server's version

SESSIONS = """
CREATE TABLE users (id int PRIMARY KEY);
CREATE TABLE sessions (
    id int PRIMARY KEY, user_id int NOT NULL, note varchar(20) DEFAULT 'x' CHECK (note IN ('x', 'y')));
CREATE INDEX ON sessions (user_id) WHERE user_id > 3 AND note <> 'z';
INSERT INTO users SELECT generate_series(1, 100);
INSERT INTO sessions SELECT i, i FROM generate_series(1, 200) i;
"""
ORPHANS = "DELETE FROM sessions WHERE user_id NOT IN (SELECT id FROM users);"


def run_watched(
    database: Conninfo, receipt: Receipt, source: Source, told: list[str] | None = None
) -> tuple[StatementCompared, ...]:
    rehearsed = Rehearsed(receipt.document, source.migrations)
    tell = (told if told is not None else []).append
    tracer = Tracer(lambda: connect(database, verb="watch"), may_hold_up=False)
    watch = Watch(rehearsed, lambda: connect(database, verb="watch"), ignored=frozenset({LEDGER}), tell=tell)
    try:
        apply(
            sessions_to(database), Plan.of(source.migrations), ledger=source.ledger, limits=QUICK,
            observer=Observers(tracer, watch),
        )  # fmt: skip
    finally:
        watch.close()
        tracer.close()
    return compare_statements(rehearsed, tracer.statements)


def state(database: Conninfo) -> str:
    return dump_text(database, "--exclude-schema=pgrehearse")


@ALL
def test_a_delete_whose_subquerys_table_changed_since_is_stopped_before_its_commit(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SESSIONS)
    receipt, source = rehearse_folder(tmp_path, database, uat, ORPHANS)
    connection.execute("DELETE FROM users WHERE id > 90")
    before = state(database)
    with pytest.raises(NotAsRehearsed, match=r"0001_step.sql:1: public.sessions: 100 rows deleted.*, 110 here"):
        run_watched(database, receipt, source)
    assert state(database) == before
    assert recorded(connection) == []


@ALL
def test_the_same_data_is_committed_with_predicted_and_actual_side_by_side(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SESSIONS)
    receipt, source = rehearse_folder(
        tmp_path, database, uat,
        ORPHANS,
        "ALTER TABLE sessions ADD COLUMN at timestamptz DEFAULT now(); CREATE TYPE mood AS ENUM ('a');\n"
        "ALTER TABLE sessions ADD COLUMN mood mood, ADD FOREIGN KEY (user_id) REFERENCES users;",
        "CREATE INDEX CONCURRENTLY sessions_at ON sessions (at); ALTER TABLE users RENAME TO people;",
        "BEGIN; UPDATE sessions SET mood = 'a'; END; DROP INDEX CONCURRENTLY sessions_at;",
    )  # fmt: skip
    told: list[str] = []
    compared = run_watched(database, receipt, source, told)
    assert told == []
    assert len(recorded(connection)) == 4
    by_sql = {each.sql.split("\n")[0]: each for each in compared}
    assert by_sql[ORPHANS[:-1]].rows == (100, 100)
    adds = by_sql["ALTER TABLE sessions ADD COLUMN at timestamptz DEFAULT now()"]
    assert adds.locks == ({"public.sessions": "AccessExclusiveLock"},) * 2
    assert by_sql["CREATE INDEX CONCURRENTLY sessions_at ON sessions (at)"].locks_sampled
    assert all(each.duration_ms[0] is not None for each in compared)


@NEWEST
def test_a_declared_tolerance_lets_a_difference_pass_and_tells_it(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SESSIONS)
    receipt, source = rehearse_folder(
        tmp_path, database, uat, f"-- pgrehearse: expect deletes sessions <= 2%\n{ORPHANS}"
    )
    connection.execute("INSERT INTO sessions VALUES (901, -1), (902, -1), (903, -1)")
    with pytest.raises(NotAsRehearsed, match="100 rows deleted in the rehearsal, 103 here"):
        run_watched(database, receipt, source)
    connection.execute("DELETE FROM sessions WHERE id = 901")
    told: list[str] = []
    run_watched(database, receipt, source, told)
    assert told == [
        "db/0001_step.sql:2: public.sessions: 100 rows deleted in the rehearsal, 102 here, "
        "as declared (deletes sessions <= 2%)"
    ]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("-- pgrehearse: expect deletes sessions << 2%", "cannot read"),
        ("-- pgrehearse: expect drops t <= 2", "`drops` takes nothing"),
    ],
)
@NEWEST
def test_an_expectation_that_cannot_be_read_is_told_before_the_clone_is_made(
    database: Conninfo, uat: LocalServer, tmp_path: Path, line: str, says: str
) -> None:
    with pytest.raises(MalformedExpectation, match=f"db/0001_step.sql:1:1: {says}"):
        rehearse_folder(tmp_path, database, uat, f"{line}\nSELECT 1;")


@pytest.mark.parametrize(
    "statement",
    [
        "TRUNCATE sessions;",
        "DO $$ BEGIN DELETE FROM sessions WHERE user_id > 150; END $$;",
        "DELETE FROM users WHERE id > 50;",  # its cascade
        "UPDATE sessions SET note = 'y' WHERE user_id > 150;",
    ],
)
@NEWEST
def test_rows_destroyed_by_any_way_are_counted(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, statement: str
) -> None:
    connection.execute(SESSIONS + "INSERT INTO users SELECT generate_series(101, 300);")
    connection.execute("ALTER TABLE sessions ADD FOREIGN KEY (user_id) REFERENCES users ON DELETE CASCADE")
    receipt, source = rehearse_folder(tmp_path, database, uat, statement)
    connection.execute("INSERT INTO sessions VALUES (900, 200)")
    before = state(database)
    with pytest.raises(NotAsRehearsed, match=r"public.sessions: \d+ rows \w+ in the rehearsal, \d+ here"):
        run_watched(database, receipt, source)
    assert state(database) == before


@NEWEST
def test_what_a_deferred_trigger_destroys_at_commit_is_counted(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SESSIONS)
    connection.execute("""
        CREATE FUNCTION sweep() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN DELETE FROM sessions WHERE user_id = OLD.id; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER sweep AFTER DELETE ON users DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION sweep();
    """)
    receipt, source = rehearse_folder(tmp_path, database, uat, "DELETE FROM users WHERE id <= 10;")
    assert receipt.document["receipt"]["commits"][0]["at_commit"] == {"public.sessions": [0, 0, 10]}
    connection.execute("INSERT INTO sessions VALUES (900, 5)")
    before = state(database)
    with pytest.raises(NotAsRehearsed, match=r"public\.sessions: 10 rows deleted in the rehearsal, 11 here"):
        run_watched(database, receipt, source)
    assert state(database) == before
    connection.execute("DELETE FROM sessions WHERE id = 900")
    run_watched(database, receipt, source)
    assert rows(connection, "SELECT count(*) FROM sessions") == [(190,)]


@pytest.mark.parametrize(
    "drift",
    [
        "ALTER TABLE sessions ALTER note SET DEFAULT 'y'",
        "ALTER TABLE sessions ADD extra int",
        "CREATE INDEX more ON sessions (note)",
        "ALTER TABLE sessions DISABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
    ],
)
@NEWEST
def test_drift_where_the_plan_touches_is_refused_under_the_lock(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path, drift: str
) -> None:
    connection.execute(SESSIONS)
    receipt, source = rehearse_folder(tmp_path, database, uat, ORPHANS)
    connection.execute(drift.encode())
    before = state(database)
    with pytest.raises(NotAsRehearsed, match="not the schema that it was rehearsed on"):
        run_watched(database, receipt, source)
    assert state(database) == before


@NEWEST
def test_what_only_production_changes_is_refused_before_the_commit(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    """A row decides what a DO block does to the catalog, so neither schema nor counts tell before."""
    connection.execute(SESSIONS + "CREATE TABLE other (id int); CREATE TABLE flag (on_ boolean)")
    receipt, source = rehearse_folder(
        tmp_path, database, uat,
        "DO $$ BEGIN IF EXISTS (SELECT FROM flag) THEN ALTER TABLE other ADD b int; END IF; END $$; "
        "ALTER TABLE sessions ADD c int;",
    )  # fmt: skip
    connection.execute("INSERT INTO flag VALUES (true)")
    before = state(database)
    with pytest.raises(NotAsRehearsed, match=r"public.other.* changed here, and was not touched in the rehearsal"):
        run_watched(database, receipt, source)
    assert state(database) == before


@NEWEST
def test_a_partition_that_came_since_stops_nothing(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(
        "CREATE TABLE p (a int, b text) PARTITION BY RANGE (a);"
        "CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (10) TO (20)"
    )
    receipt, source = rehearse_folder(tmp_path, database, uat, "ALTER TABLE p ADD COLUMN c int;")
    connection.execute("CREATE TABLE p_3 PARTITION OF p FOR VALUES FROM (20) TO (30); DROP TABLE p_1")
    told: list[str] = []
    run_watched(database, receipt, source, told)
    assert rows(connection, "SELECT count(c) FROM p") == [(0,)]
    assert {line.split(",")[0] for line in told} == {"public.p_1", "public.p_3"}


@NEWEST
def test_an_outside_statement_that_left_something_else_stops_the_rest(
    database: Conninfo, connection: Connection, uat: LocalServer, tmp_path: Path
) -> None:
    connection.execute(SESSIONS)
    receipt, source = rehearse_folder(
        tmp_path, database, uat, "CREATE INDEX CONCURRENTLY i ON sessions (note);", "CREATE TABLE after_it ();"
    )
    told: list[str] = []
    rehearsed = Rehearsed(receipt.document, source.migrations)
    watch = Watch(rehearsed, lambda: connect(database, verb="watch"), ignored=frozenset({LEDGER}), tell=told.append)

    class Meddler(Observers):
        def after(self, running, **more) -> None:  # type: ignore[no-untyped-def]
            if running.outside:
                connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'i'::regclass")
            super().after(running, **more)

    with pytest.raises(NotAsRehearsed, match=r"public\.sessions: index i is not as the rehearsal left it"):
        apply(
            sessions_to(database), Plan.of(source.migrations), ledger=source.ledger, limits=QUICK,
            observer=Meddler(watch),
        )  # fmt: skip
    watch.close()
    assert recorded(connection) == []
    assert rows(connection, "SELECT to_regclass('after_it') IS NULL") == [(True,)]

"""Status on real servers: what exists without a record, what it may not do, and who may ask."""

import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from jsonschema import Draft202012Validator
from tests.support.replication import start_replicating, start_sibling

from pgrehearse.errors import LedgerUnreadable, MalformedLedger
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.migrations.progress import ProgressTable
from pgrehearse.migrations.runner_lock import take_turn
from pgrehearse.migrations.sources import ProblemKind, Source
from pgrehearse.migrations.sources.find import ad_hoc_source, open_source
from pgrehearse.migrations.status import State, Status, read_status
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo

pytestmark = pytest.mark.pg(">= 15")

SCHEMA = json.loads((files("pgrehearse.answers") / "status.schema.json").read_text(encoding="utf-8"))
WRITES = """
SELECT sum(xact_commit), sum(tup_inserted), sum(tup_updated), sum(tup_deleted)
FROM pg_stat_database WHERE datname = current_database()
"""


def journal(folder: Path, *contents: str) -> Source:
    (folder / "meta").mkdir(exist_ok=True)
    entries = [
        {"idx": number, "version": "7", "when": 1000 * (number + 1), "tag": f"{number:04}_m", "breakpoints": True}
        for number in range(len(contents))
    ]
    (folder / "meta/_journal.json").write_text(json.dumps({"dialect": "postgresql", "entries": entries}))
    for number, content in enumerate(contents):
        (folder / f"{number:04}_m.sql").write_text(content)
    return open_source(folder, display="drizzle")


def run(connection: Connection, sql: str) -> None:
    connection.execute(sql.encode())


def record(connection: Connection, source: Source, *numbers: int) -> None:
    source.ledger.create(connection)
    for number in numbers:
        source.ledger.record(connection, source.migrations[number])


def states(status: Status) -> list[str]:
    return [each.state.value for each in status.migrations]


def kinds(status: Status) -> list[ProblemKind]:
    return [problem.kind for problem in status.problems]


EVERYTHING = """
CREATE SCHEMA shop;
CREATE TYPE shop.status AS ENUM ('new', 'paid');
CREATE DOMAIN shop.email AS text;
CREATE TYPE shop.pair AS (a int, b int);
CREATE TABLE shop.orders (id bigint PRIMARY KEY, "Übergabe" text, status shop.status);--> statement-breakpoint
CREATE TABLE items (id bigint, order_id bigint);
CREATE INDEX items_by_order ON items (order_id);
ALTER TABLE items ADD CONSTRAINT "items to orders" FOREIGN KEY (order_id) REFERENCES shop.orders (id);
ALTER TABLE items ADD COLUMN note text;
ALTER TYPE shop.status ADD VALUE 'sent';
CREATE SEQUENCE shop.numbers;
CREATE VIEW shop.open AS SELECT id FROM shop.orders;
CREATE MATERIALIZED VIEW shop.totals AS SELECT 1 AS one;
"""


def test_a_migration_that_ran_without_a_record_is_seen_and_the_remedy_records_it(
    connection: Connection, tmp_path: Path
) -> None:
    """drizzle's neon-http migrator commits each statement and records only after the last."""
    source = journal(tmp_path, "CREATE TABLE a ();", EVERYTHING)
    run(connection, "CREATE TABLE a ();")
    record(connection, source, 0)
    for statement in EVERYTHING.replace("--> statement-breakpoint", "").split(";"):
        run(connection, statement)
    status = read_status(connection, source)
    assert states(status) == ["applied", "present"]
    (problem,) = status.problems
    assert problem.kind is ProblemKind.PRESENT
    assert status.exit_code() == 1
    run(connection, problem.remedy.partition("record it: ")[2])
    assert states(read_status(connection, source)) == ["applied", "applied"]


LOSE_ONE = [
    "DROP VIEW shop.open",
    "DROP MATERIALIZED VIEW shop.totals",
    "DROP SEQUENCE shop.numbers",
    "DROP INDEX items_by_order",
    'ALTER TABLE items DROP CONSTRAINT "items to orders"',
    "ALTER TABLE items DROP COLUMN note",
    'ALTER TABLE shop.orders DROP COLUMN "Übergabe"',
    "DROP DOMAIN shop.email",
    "DROP TYPE shop.pair",
]


@pytest.mark.parametrize("loss", LOSE_ONE)
def test_what_is_missing_of_a_half_run_migration_is_named(connection: Connection, tmp_path: Path, loss: str) -> None:
    source = journal(tmp_path, EVERYTHING)
    for statement in [*EVERYTHING.replace("--> statement-breakpoint", "").split(";"), loss]:
        run(connection, statement)
    status = read_status(connection, source)
    assert states(status) == ["half-present"]
    lost = loss.split()[-1].strip('"').split(".")[-1].rstrip('"')
    missing = status.problems[0].message.partition("missing: ")[2]
    assert (lost if "CONSTRAINT" not in loss else "items to orders") in missing
    assert missing.count(",") == 0
    assert status.exit_code() == 1


def test_an_index_left_invalid_is_named_as_such(connection: Connection, tmp_path: Path) -> None:
    run(connection, "CREATE TABLE t (a int); INSERT INTO t VALUES (1), (1);")
    source = journal(tmp_path, "CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a);")
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(connection, "CREATE UNIQUE INDEX CONCURRENTLY t_a ON t (a)")
    status = read_status(connection, source)
    assert states(status) == ["half-present"]
    assert "invalid: index public.t_a" in status.problems[0].message


QUIET = {
    "nothing of it exists": ("", "CREATE TABLE t (a int);"),
    "IF NOT EXISTS": ("CREATE TABLE t (a int);", "CREATE TABLE IF NOT EXISTS t (a int); ALTER TABLE u ADD b int;"),
    "OR REPLACE": ("CREATE VIEW v AS SELECT 1 AS a;", "CREATE OR REPLACE VIEW v AS SELECT 1 AS a;"),
    "dropped first in the same file": ("CREATE TABLE t (a int);", "DROP TABLE t; CREATE TABLE t (a int, b int);"),
    "dropped first with CASCADE": ("CREATE TABLE t (a int);", "DROP TABLE t CASCADE; CREATE TABLE t (a int);"),
    "dropped by a DO block": (
        "CREATE TABLE t (a int);",
        "DO $$ BEGIN EXECUTE 'DROP TABLE t'; END $$; CREATE TABLE t (a int);",
    ),
    "dropped by a function": ("CREATE TABLE t (a int);", "SELECT my_reset(); CREATE TABLE t (a int);"),
    "renamed away first": ("CREATE TABLE t (a int);", "ALTER TABLE t RENAME TO t_old; CREATE TABLE t (a int);"),
    "a column renamed away first": (
        "CREATE TABLE t (a int);",
        "ALTER TABLE t RENAME COLUMN a TO b; ALTER TABLE t ADD COLUMN a text;",
    ),
    "a column dropped first": ("CREATE TABLE t (a int);", "ALTER TABLE t DROP COLUMN a; ALTER TABLE t ADD a text;"),
    "an index dropped first": (
        "CREATE TABLE t (a int); CREATE INDEX t_a ON t (a);",
        "DROP INDEX t_a; CREATE INDEX t_a ON t (a) WHERE a > 0;",
    ),
    "a constraint dropped first": (
        "CREATE TABLE t (a int CONSTRAINT c CHECK (a > 0));",
        "ALTER TABLE t DROP CONSTRAINT c; ALTER TABLE t ADD CONSTRAINT c CHECK (a > 1);",
    ),
    "a type made anew as drizzle does": (
        "CREATE TYPE e AS ENUM ('a', 'b');",
        "DROP TYPE e; CREATE TYPE e AS ENUM ('a');",
    ),
    "a schema dropped first": ("CREATE SCHEMA s;", "DROP SCHEMA s; CREATE SCHEMA s;"),
    "a temporary table": ("CREATE TABLE t (a int);", "CREATE TEMP TABLE t (a int); DROP TABLE t;"),
    "search_path set in the file": ("CREATE TABLE t (a int);", "SET search_path = other; CREATE TABLE t (a int);"),
    "another namespace": ("CREATE TABLE t (a int);", "CREATE TABLE other.t (a int);"),
    "a table where an index is wanted": ("CREATE TABLE t (a int);", "CREATE INDEX t ON u (a);"),
    "an index of that name on another table": (
        "CREATE TABLE t (a int); CREATE INDEX i ON t (a);",
        "CREATE INDEX i ON u (a);",
    ),
    "a row type where a type is wanted": ("CREATE TABLE t (a int);", "CREATE TYPE t AS ENUM ('a');"),
    "data alone": ("CREATE TABLE t (a int);", "INSERT INTO t VALUES (1); UPDATE t SET a = 2;"),
    "SQL that cannot be parsed": ("CREATE TABLE t (a int);", "CREATE TABLE t (a int); \\echo done"),
    "an empty file": ("CREATE TABLE t (a int);", ""),
}


@pytest.mark.parametrize("case", QUIET)
def test_nothing_is_said_of_what_may_exist_for_another_reason(
    connection: Connection, tmp_path: Path, case: str
) -> None:
    before, pending = QUIET[case]
    run(connection, before)
    status = read_status(connection, journal(tmp_path, pending))
    assert states(status) == ["pending"]
    assert not status.problems


def test_what_an_applied_or_an_earlier_pending_migration_makes_is_no_sign_of_a_later_one(
    connection: Connection, tmp_path: Path
) -> None:
    source = journal(
        tmp_path, "CREATE TABLE a (x int);", "DROP TABLE b;", "CREATE TABLE a (x int);", "CREATE TABLE b (x int);"
    )
    run(connection, "CREATE TABLE a (x int); CREATE TABLE b (x int);")
    record(connection, source, 0)
    status = read_status(connection, source)
    assert states(status) == ["applied", "pending", "pending", "pending"]
    assert not status.problems


def test_what_an_applied_migration_dropped_and_is_there_again_is_a_sign(connection: Connection, tmp_path: Path) -> None:
    source = journal(tmp_path, "CREATE TABLE a (x int);", "DROP TABLE a;", "CREATE TABLE a (x int);")
    run(connection, "CREATE TABLE a (x int);")
    record(connection, source, 0, 1)
    assert states(read_status(connection, source)) == ["applied", "applied", "present"]


def test_what_leaves_no_trace_is_said_to_be_unknown(connection: Connection, tmp_path: Path) -> None:
    source = journal(tmp_path, "CREATE TABLE a (x int); INSERT INTO a VALUES (1); ALTER TABLE a ALTER x SET NOT NULL;")
    run(connection, "CREATE TABLE a (x int);")
    (problem,) = read_status(connection, source).problems
    assert "cannot be seen (INSERT, ALTER TABLE)" in problem.message


def test_the_answer_validates_against_its_published_schema(connection: Connection, tmp_path: Path) -> None:
    source = journal(tmp_path, "CREATE TABLE a ();", "CREATE TABLE b ();", "CREATE TABLE c ();", "SELECT 1;")
    (tmp_path / "0009_by_hand.sql").write_text("DROP TABLE a;")
    (tmp_path / "fix.sql").write_text("SELECT 1;")
    fix = ad_hoc_source(tmp_path / "fix.sql")
    record(connection, source, 0, 2)
    record(connection, fix, 0)
    run(connection, "CREATE TABLE b ()")
    run(connection, "INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('x', 4000), ('y', 5)")
    status = read_status(connection, open_source(tmp_path, display="drizzle"))
    answer = status.as_json(environment=None, database="host/db")
    Draft202012Validator(SCHEMA).validate(answer)
    assert states(status) == ["applied", "present", "applied", "edited"]
    assert set(kinds(status)) == {
        ProblemKind.NOT_IN_JOURNAL, ProblemKind.SKIPPED, ProblemKind.PRESENT, ProblemKind.EDITED,
        ProblemKind.ROW_WITHOUT_FILE,
    }  # fmt: skip
    assert [each["file"] for each in answer["ad_hoc"]] == ["fix.sql"]
    assert answer["plan"]["versions"] == ["0001_m"]
    assert json.loads(json.dumps(answer)) == answer


def test_a_ledger_in_another_schema_is_hinted_at(connection: Connection, tmp_path: Path) -> None:
    run(connection, "CREATE TABLE public.__drizzle_migrations (id serial, hash text, created_at bigint)")
    status = read_status(connection, journal(tmp_path, "CREATE TABLE a ();"))
    assert kinds(status) == [ProblemKind.LEDGER_ELSEWHERE]
    assert not status.ledger_exists


@pytest.fixture
def reader(connection: Connection, database: Conninfo) -> Iterator[Conninfo]:
    """A role that may read the ledgers and nothing else."""
    role = f"reader_{database.database}"
    run(connection, f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    yield database.replaced(user=role, password="x")
    run(connection, f"DROP OWNED BY {role}")
    run(connection, f"DROP ROLE {role}")


def test_a_role_with_select_on_the_ledger_alone_may_ask_and_nothing_is_written(
    connection: Connection, database: Conninfo, reader: Conninfo, tmp_path: Path
) -> None:
    source = journal(tmp_path, "CREATE TABLE a ();", "CREATE TABLE b ();")
    record(connection, source, 0)
    run(connection, "CREATE TABLE a (); CREATE TABLE b ()")
    OwnLedger(kind=SourceKind.AD_HOC).create(connection)
    for namespace in ("drizzle", "pgrehearse"):
        run(connection, f"GRANT USAGE ON SCHEMA {namespace} TO {reader.user}")
        run(connection, f"GRANT SELECT ON ALL TABLES IN SCHEMA {namespace} TO {reader.user}")
    before = fetch_value(connection, "SELECT pg_current_wal_insert_lsn()")
    with connect(reader.replaced(options="-c default_transaction_read_only=on"), verb="test") as session:
        assert states(read_status(session, source)) == ["applied", "present"]
        assert session.info.transaction_status is psycopg.pq.TransactionStatus.IDLE
    written = fetch_value(
        connection, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s::pg_lsn)::bigint", (before,)
    )
    assert written < 8192  # nothing but what the server itself notes (running transactions, hint bits)


def test_a_run_that_stopped_inside_a_file_is_seen_as_apply_left_it(
    connection: Connection, reader: Conninfo, tmp_path: Path
) -> None:
    source = journal(tmp_path, "CREATE TABLE a (); VACUUM a; CREATE TABLE b ();")
    record(connection, source)
    progress = ProgressTable(ledger="drizzle-journal:drizzle.__drizzle_migrations")
    progress.create(connection)
    progress.write_done(connection, source.migrations[0], 1)
    status = read_status(connection, source)
    assert states(status) == ["unfinished"]
    assert "1 of its statements is done" in status.problems[0].message
    run(connection, f"GRANT USAGE ON SCHEMA drizzle TO {reader.user}")
    run(connection, f"GRANT SELECT ON ALL TABLES IN SCHEMA drizzle TO {reader.user}")
    with connect(reader, verb="test") as session, pytest.raises(LedgerUnreadable, match=r"pgrehearse\.progress"):
        read_status(session, source)


def test_what_a_run_is_in_the_middle_of_is_no_alarm(connection: Connection, database: Conninfo, tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("CREATE TABLE a (); VACUUM a;")
    source = open_source(tmp_path)
    record(connection, source)
    progress = ProgressTable(ledger="sql-folder:pgrehearse.migrations")
    progress.create(connection)
    progress.write_done(connection, source.migrations[0], 1)
    with (
        connect(database, verb="migrate") as runner,
        take_turn(runner, wait_s=5, end_orphan=False, tell=lambda _: None),
    ):
        status = read_status(connection, source)
        assert states(status) == ["unfinished"]
        assert f"right now by pid {runner.info.backend_pid}" in status.problems[0].message
        assert status.exit_code() == 0
    assert read_status(connection, source).exit_code() == 1


def test_a_standby_answers_too(server_major: int, tmp_path: Path) -> None:
    source = journal(tmp_path, "CREATE TABLE a ();", "CREATE TABLE b ();")
    with start_replicating(server_major) as primary:
        with connect(primary.conninfo(), verb="test") as session:
            record(session, source, 0)
            run(session, "CREATE TABLE b ()")
        with start_sibling(primary, standby=True) as standby, connect(standby.conninfo(), verb="test") as session:
            assert fetch_value(session, "SELECT pg_is_in_recovery()") is True
            assert states(read_status(session, source)) == ["applied", "present"]


def test_a_role_without_the_right_is_told_so(connection: Connection, reader: Conninfo, tmp_path: Path) -> None:
    source = journal(tmp_path, "CREATE TABLE a ();")
    record(connection, source, 0)
    with connect(reader, verb="test") as session, pytest.raises(LedgerUnreadable) as caught:
        read_status(session, source)
    assert caught.value.exit_code == 3


def test_while_migrations_are_applied_it_says_who_and_does_not_wait(
    connection: Connection, database: Conninfo, tmp_path: Path
) -> None:
    source = journal(tmp_path, "CREATE TABLE a ();")
    record(connection, source)
    with connect(database, verb="migrate") as runner, runner.transaction():
        source.ledger.lock(runner)
        with pytest.raises(LedgerUnreadable, match=rf"backend {runner.info.backend_pid} \(pgrehearse:migrate\)"):
            read_status(connection, source)


def test_status_never_changes_the_sessions_settings(connection: Connection, tmp_path: Path) -> None:
    before = connection.execute("SHOW lock_timeout").fetchone()
    read_status(connection, journal(tmp_path, "SELECT 1;"))
    assert connection.execute("SHOW lock_timeout").fetchone() == before
    assert connection.execute("SHOW transaction_read_only").fetchone() == ("off",)


def test_names_of_63_bytes_and_with_quotes_are_found(connection: Connection, tmp_path: Path) -> None:
    long = "x" * 70
    statement = f'CREATE TABLE "{long}" ("say ""hi""" int); CREATE INDEX "i""x" ON "{long}" ("say ""hi""");'
    run(connection, statement)
    status = read_status(connection, journal(tmp_path, statement))
    assert [each.state for each in status.migrations] == [State.PRESENT]


def test_a_ledger_whose_rows_may_be_hidden_is_not_measured(
    connection: Connection, database: Conninfo, tmp_path: Path
) -> None:
    source = journal(tmp_path, "CREATE TABLE t ();")
    record(connection, source, 0)
    run(connection, "ALTER TABLE drizzle.__drizzle_migrations ENABLE ROW LEVEL SECURITY; CREATE ROLE hidden_from")
    try:
        run(connection, "GRANT USAGE ON SCHEMA drizzle TO hidden_from")
        run(connection, "GRANT SELECT ON drizzle.__drizzle_migrations TO hidden_from")
        assert states(read_status(connection, source)) == ["applied"]
        run(connection, "SET ROLE hidden_from")
        with pytest.raises(LedgerUnreadable, match="row-level security may hide rows"):
            read_status(connection, source)
    finally:
        run(connection, "RESET ROLE; DROP OWNED BY hidden_from; DROP ROLE hidden_from")


@pytest.mark.parametrize("relation", ["migrations", "progress"])
def test_a_stranger_in_the_place_of_our_tables_is_told_with_the_way_out(
    connection: Connection, tmp_path: Path, relation: str
) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    run(connection, f"CREATE SCHEMA pgrehearse; CREATE TABLE pgrehearse.{relation} (x int)")
    with pytest.raises(MalformedLedger, match=f"pgrehearse.{relation} has no column") as caught:
        read_status(connection, open_source(tmp_path))
    assert "drizzle" not in str(caught.value.remedy)

"""Both ledgers on real servers.  What drizzle-kit itself makes of ours is in tests/drizzle/."""

import threading
from pathlib import Path

import psycopg
import pytest

from pgrehearse.errors import LedgerRowUnknown, LedgerUnreadable, MalformedLedger
from pgrehearse.migrations.drizzle_ledger import DrizzleLedger
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.migration_ledger import LedgerRow, MigrationLedger
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

pytestmark = pytest.mark.pg(">= 15")

COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod), attnotnull, pg_get_expr(adbin, adrelid)
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = 'drizzle.__drizzle_migrations'::regclass AND attnum > 0 ORDER BY attnum
"""
SEQUENCE = "nextval('drizzle.__drizzle_migrations_id_seq'::regclass)"
SHAPE_031 = [
    ("id", "integer", True, SEQUENCE),
    ("hash", "text", True, None),
    ("created_at", "bigint", False, None),
]
SHAPE_10 = [*SHAPE_031, ("name", "text", False, None), ("applied_at", "timestamp with time zone", False, "now()")]


def migration(
    version: str, content: bytes = b"SELECT 1", *, kind: SourceKind, when: int | None = None, name: str | None = None
) -> Migration:
    return Migration(
        version=version, name=name or version.partition("_")[2], path=version, kind=kind, content=content,
        created_at_ms=when,
    )  # fmt: skip


def journal_entry(version: str, when: int, content: bytes = b"SELECT 1") -> Migration:
    return migration(version, content, kind=SourceKind.DRIZZLE_JOURNAL, when=when)


def folder(version: str, when: int, content: bytes = b"SELECT 1") -> Migration:
    return migration(version, content, kind=SourceKind.DRIZZLE_FOLDER, when=when)


JOURNAL = DrizzleLedger(kind=SourceKind.DRIZZLE_JOURNAL)
SQL_FOLDER = OwnLedger(kind=SourceKind.SQL_FOLDER)
AD_HOC = OwnLedger(kind=SourceKind.AD_HOC)


@pytest.mark.parametrize("ledger", [JOURNAL, DrizzleLedger(kind=SourceKind.DRIZZLE_FOLDER), SQL_FOLDER])
def test_a_missing_ledger_has_no_rows_and_creating_it_twice_is_harmless(
    connection: Connection, ledger: MigrationLedger
) -> None:
    assert not ledger.exists(connection)
    assert ledger.read(connection) == ()
    ledger.create(connection)
    ledger.create(connection)
    assert ledger.exists(connection)
    assert ledger.read(connection) == ()


def test_a_journals_ledger_has_the_columns_of_drizzle_0_31(connection: Connection) -> None:
    JOURNAL.create(connection)
    assert connection.execute(COLUMNS).fetchall() == SHAPE_031


def test_a_folders_ledger_has_the_columns_of_drizzle_1_0(connection: Connection) -> None:
    DrizzleLedger(kind=SourceKind.DRIZZLE_FOLDER).create(connection)
    assert connection.execute(COLUMNS).fetchall() == SHAPE_10


def test_a_row_holds_the_files_digest_and_the_journals_time(connection: Connection) -> None:
    JOURNAL.create(connection)
    entry = journal_entry("0000_a", 1795368190206, b"SELECT 1;")
    JOURNAL.record(connection, entry)
    assert connection.execute("SELECT * FROM drizzle.__drizzle_migrations").fetchall() == [
        (1, "17db4fd369edb9244b9f91d9aeed145c3d04ad8ba6e95d06247f07a63527d11a", 1795368190206)
    ]
    rows = JOURNAL.read(connection)
    assert JOURNAL.is_applied(entry, rows)
    assert not JOURNAL.is_applied(journal_entry("0000_a", 1795368190206, b"SELECT 2;"), rows)
    assert not JOURNAL.is_applied(journal_entry("0000_a", 1795368190207, b"SELECT 1;"), rows)


def test_a_journals_entry_gets_a_name_where_drizzle_1_0_has_been(connection: Connection) -> None:
    """Otherwise drizzle 1.0 would run it again: it goes by the name alone."""
    DrizzleLedger(kind=SourceKind.DRIZZLE_FOLDER).create(connection)
    entry = journal_entry("0001_add Age", 1795368191103)
    JOURNAL.record(connection, entry)
    (row,) = JOURNAL.read(connection)
    assert row.name == "20261122172311_add Age"
    assert row.applied_at is not None
    assert JOURNAL.is_applied(entry, [row])


def test_a_1_0_source_upgrades_a_0_31_table_as_drizzle_does(connection: Connection) -> None:
    old = [journal_entry("0000_a", 1795368190206), journal_entry("0001_b", 1795368191103, b"SELECT 2")]
    JOURNAL.create(connection)
    for entry in old:
        JOURNAL.record(connection, entry)
    new = (
        folder("20261122172310_a", 1795368190000),
        folder("20261122172311_b", 1795368191000, b"SELECT 2"),
        folder("20261122172312_c", 1795368192000, b"SELECT 3"),
    )
    ledger = DrizzleLedger(kind=SourceKind.DRIZZLE_FOLDER, migrations=new)
    assert [ledger.is_applied(each, ledger.read(connection)) for each in new] == [True, True, False]
    ledger.create(connection)
    assert connection.execute(COLUMNS).fetchall() == SHAPE_10
    assert [(row.name, row.applied_at) for row in ledger.read(connection)] == [
        ("20261122172310_a", None),
        ("20261122172311_b", None),
    ]
    assert [ledger.is_applied(each, ledger.read(connection)) for each in new] == [True, True, False]


def test_an_upgrade_is_refused_when_a_row_matches_no_folder_and_nothing_changes(connection: Connection) -> None:
    JOURNAL.create(connection)
    JOURNAL.record(connection, journal_entry("0000_gone", 1000))
    ledger = DrizzleLedger(kind=SourceKind.DRIZZLE_FOLDER, migrations=(folder("x", 9000, b"SELECT 9"),))
    with pytest.raises(LedgerRowUnknown, match="id 1 match no folder"):
        ledger.create(connection)
    assert connection.execute(COLUMNS).fetchall() == SHAPE_031
    with pytest.raises(MalformedLedger, match=r"shape of drizzle 0\.31"):
        ledger.record(connection, folder("x", 9000))


def test_two_old_rows_of_one_second_are_told_apart_by_their_hash(connection: Connection) -> None:
    JOURNAL.create(connection)
    JOURNAL.record(connection, journal_entry("0001_b", 1795368191900, b"SELECT 2"))
    JOURNAL.record(connection, journal_entry("0000_a", 1795368191100, b"SELECT 1"))
    new = (folder("20261122172311_a", 1795368191000), folder("20261122172311_b", 1795368191000, b"SELECT 2"))
    ledger = DrizzleLedger(kind=SourceKind.DRIZZLE_FOLDER, migrations=new)
    ledger.create(connection)
    assert [row.name for row in ledger.read(connection)] == ["20261122172311_b", "20261122172311_a"]


def test_a_row_without_a_name_still_speaks_of_its_folder(connection: Connection) -> None:
    one = folder("20261122172311_a", 1795368191000)
    ledger = DrizzleLedger(kind=SourceKind.DRIZZLE_FOLDER, migrations=(one,))
    ledger.create(connection)
    connection.execute(
        "INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES (%s, %s)", (one.sha256, 1795368191103)
    )
    assert ledger.is_applied(one, ledger.read(connection))


def test_our_ledger_keeps_who_when_and_with_what(connection: Connection) -> None:
    SQL_FOLDER.create(connection)
    one = migration("0001_a", kind=SourceKind.SQL_FOLDER)
    SQL_FOLDER.record(connection, one)
    (row,) = SQL_FOLDER.read(connection)
    assert (row.name, row.sha256) == ("0001_a", one.sha256)
    assert connection.execute(
        "SELECT kind, name, applied_by, tool_version <> '', now() - applied_at < '1 min' FROM pgrehearse.migrations"
    ).fetchall() == [("sql-folder", "a", "postgres", True, True)]


def test_a_numbered_file_is_recorded_once_and_known_by_its_number(connection: Connection) -> None:
    SQL_FOLDER.create(connection)
    SQL_FOLDER.record(connection, migration("0001_a", kind=SourceKind.SQL_FOLDER))
    with pytest.raises(psycopg.errors.UniqueViolation):
        SQL_FOLDER.record(connection, migration("0001_a", b"other", kind=SourceKind.SQL_FOLDER))
    rows = SQL_FOLDER.read(connection)
    assert SQL_FOLDER.is_applied(migration("1_renamed", kind=SourceKind.SQL_FOLDER), rows)
    assert not SQL_FOLDER.is_applied(migration("0001_a", b"other", kind=SourceKind.SQL_FOLDER), rows)
    assert not SQL_FOLDER.is_applied(migration("0010_a", kind=SourceKind.SQL_FOLDER), rows)


def test_an_ad_hoc_file_is_applied_once_for_each_of_its_contents(connection: Connection) -> None:
    AD_HOC.create(connection)
    first, second = (migration("fix.sql", content, kind=SourceKind.AD_HOC, name="fix") for content in (b"1", b"2"))
    AD_HOC.record(connection, first)
    assert AD_HOC.is_applied(first, AD_HOC.read(connection))
    assert not AD_HOC.is_applied(second, AD_HOC.read(connection))
    AD_HOC.record(connection, second)
    with pytest.raises(psycopg.errors.UniqueViolation):
        AD_HOC.record(connection, second)
    assert SQL_FOLDER.read(connection) == ()


@pytest.mark.parametrize("ledger", [JOURNAL, SQL_FOLDER])
def test_while_locked_another_reader_waits_and_a_bounded_one_is_told(
    connection: Connection, database: Conninfo, ledger: MigrationLedger
) -> None:
    ledger.create(connection)
    with connection.transaction():
        ledger.lock(connection)
        with connect(database, verb="test") as other:
            other.execute("SET lock_timeout = '100ms'")
            with pytest.raises(LedgerUnreadable, match="being applied right now") as caught:
                ledger.read(other)
            assert caught.value.exit_code == 3


def test_many_makers_at_once_make_one_table(connection: Connection, database: Conninfo) -> None:
    makers = 8
    barrier = threading.Barrier(makers)
    failures: list[BaseException] = []

    def make() -> None:
        try:
            with connect(database, verb="test", autocommit=False) as session:
                barrier.wait(120)
                JOURNAL.create(session)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=make) for _ in range(makers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    assert connection.execute(COLUMNS).fetchall() == SHAPE_031


def test_a_role_without_create_on_the_database_may_create_in_a_namespace_made_for_it(
    connection: Connection, database: Conninfo
) -> None:
    role = f"migrator_{database.database}"
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    connection.execute(f"CREATE SCHEMA drizzle AUTHORIZATION {role}")
    try:
        with connect(database.replaced(user=role, password="x"), verb="test") as session:
            JOURNAL.create(session)
            JOURNAL.record(session, journal_entry("0000_a", 1))
        assert len(JOURNAL.read(connection)) == 1
    finally:
        connection.execute("DROP SCHEMA drizzle CASCADE")
        connection.execute(f"DROP ROLE {role}")


def test_a_role_that_may_not_read_the_ledger_is_told_what_to_grant(connection: Connection, database: Conninfo) -> None:
    JOURNAL.create(connection)
    role = f"stranger_{database.database}"
    connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        with (
            connect(database.replaced(user=role, password="x"), verb="test") as session,
            pytest.raises(LedgerUnreadable, match=r"may not read drizzle\.__drizzle_migrations") as caught,
        ):
            JOURNAL.read(session)
        assert "GRANT USAGE ON SCHEMA drizzle" in caught.value.remedy
    finally:
        connection.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize(
    ("ddl", "message"),
    [
        ("CREATE TABLE drizzle.__drizzle_migrations (id int, version text)", "has no column hash, created_at"),
        ("CREATE VIEW drizzle.__drizzle_migrations AS SELECT 1 AS id", "is not a table"),
    ],
)
def test_a_relation_of_the_ledgers_name_that_is_no_ledger_is_refused(
    connection: Connection, ddl: str, message: str
) -> None:
    connection.execute("CREATE SCHEMA drizzle")
    connection.execute(ddl)
    with pytest.raises(MalformedLedger, match=message):
        JOURNAL.read(connection)


def test_a_name_that_needs_quotes_is_quoted_everywhere(connection: Connection) -> None:
    ledger = DrizzleLedger(kind=SourceKind.DRIZZLE_JOURNAL, namespace='My "app"', name="log; drop")
    ledger.create(connection)
    ledger.record(connection, journal_entry("0000_a", 1))
    assert ledger.read(connection) == (LedgerRow(sha256=journal_entry("0000_a", 1).sha256, created_at_ms=1),)
    assert ledger.table == '"My ""app"""."log; drop"'


def test_the_ledgers_know_nothing_of_a_path(tmp_path: Path) -> None:
    """A row is matched by time, number or name, so that a folder may move."""
    entry = journal_entry("0000_a", 1)
    moved = Migration(
        version="0000_a", name="a", path=str(tmp_path), kind=entry.kind, content=entry.content, created_at_ms=1
    )
    assert JOURNAL.is_applied(moved, [LedgerRow(sha256=entry.sha256, created_at_ms=1)])


@pytest.mark.parametrize("kind", ["numeric", "text"])
def test_a_created_at_of_another_type_means_the_same_number(connection: Connection, kind: str) -> None:
    entry = journal_entry("0000_a", 1_700_000_000_000)
    ledger = DrizzleLedger(kind=SourceKind.DRIZZLE_JOURNAL)
    ledger.create(connection)
    ledger.record(connection, entry)
    connection.execute(f"ALTER TABLE drizzle.__drizzle_migrations ALTER COLUMN created_at TYPE {kind}")
    assert ledger.is_applied(entry, ledger.read(connection))


def test_a_created_at_that_is_no_number_is_refused_rather_than_run_again(connection: Connection) -> None:
    ledger = DrizzleLedger(kind=SourceKind.DRIZZLE_JOURNAL)
    ledger.create(connection)
    connection.execute("ALTER TABLE drizzle.__drizzle_migrations ALTER COLUMN created_at TYPE text")
    connection.execute("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('x', 'yesterday')")
    with pytest.raises(MalformedLedger, match="yesterday"):
        ledger.read(connection)

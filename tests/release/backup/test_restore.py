"""A proved backup restores to exactly what was there, and only into a new database."""

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.dumps import dump_text

from pgrehearse.clones.dump_restore import ContentsEntry, Restoring, entries_told
from pgrehearse.errors import BackupDiffers, BackupRefused, CloneFailed
from pgrehearse.postgres.connect import connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.project import utc_now
from pgrehearse.release.backup.compare import compare_with_backup, require_equal
from pgrehearse.release.backup.create import create_dump
from pgrehearse.release.backup.dump_backup import open_backup
from pgrehearse.release.backup.restore import restore_into
from pgrehearse.release.backup.scratch import ScratchOptions

from .conftest import Home, ProvedBank

pytestmark = pytest.mark.pg(">= 15")
EmptyOn = Callable[[LocalServer], Conninfo]

TAMPERS = re.findall(
    r"^-- (?P<name>.+), (?P<majors>18|everywhere) -> (?P<told>.+)\n(?P<change>[^;]+;)\n-- undo\n(?P<undo>[^;]+;)\n",
    (Path(__file__).parent / "tampers.sql").read_text(),
    re.MULTILINE,
)


def test_what_is_restored_is_what_pg_dump_says_of_the_source(
    bank: ProvedBank, server: LocalServer, uat: LocalServer, empty_on: EmptyOn
) -> None:
    backup = open_backup(bank.backup.directory)
    assert backup == bank.backup
    restored = empty_on(uat)
    restore_into(backup, restored)
    assert _without_casts(dump_text(restored)) == _without_casts(dump_text(bank.database))
    with connect(restored, verb="test") as session:
        assert fetch_value(session, "SELECT lo_get(424243)") == b"\0" * 5000 + b"behind a hole"
        assert fetch_value(session, "SELECT nextval('bank.tickets')") == 990
    assert compare_with_backup(backup, restored) == (
        "sequence bank.tickets goes on with 985 in the copy, with 990 in the backup",
    )


HOLD_UP_A_PRIMARY_KEY = """
CREATE FUNCTION hold_up() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    IF pg_catalog.current_query() LIKE '%PRIMARY KEY%' THEN
        PERFORM pg_catalog.pg_advisory_xact_lock(42);
    END IF;
END $$;
CREATE EVENT TRIGGER hold_up ON ddl_command_end EXECUTE FUNCTION hold_up();
"""
ITS_TABLE = """
SELECT l.relation::pg_catalog.regclass::text
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind = 'r'
    JOIN pg_catalog.pg_locks waiting ON waiting.pid = l.pid
WHERE waiting.locktype = 'advisory' AND NOT waiting.granted AND l.mode = 'AccessExclusiveLock'
  AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
"""


def test_a_deadlock_between_indexes_and_constraints_is_got_over(
    bank: ProvedBank, uat: LocalServer, empty_on: EmptyOn
) -> None:
    restored = empty_on(uat)
    with connect(restored, verb="test") as other, ThreadPoolExecutor(1) as pool:
        other.execute(HOLD_UP_A_PRIMARY_KEY)
        other.execute("SET deadlock_timeout = '1h'")  # the restore is to be the victim
        other.execute("BEGIN")
        other.execute("SELECT pg_advisory_xact_lock(42)")
        done = pool.submit(restore_into, bank.backup, restored)
        while not (tables := other.execute(ITS_TABLE).fetchall()):
            assert not done.done(), done.result()
            time.sleep(0.02)
        other.execute(f"LOCK TABLE {tables[0][0]} IN ACCESS EXCLUSIVE MODE".encode())
        other.execute("ROLLBACK")
        other.execute("DROP EVENT TRIGGER hold_up; DROP FUNCTION hold_up")
        done.result()
    assert _without_casts(dump_text(restored)) == _without_casts(dump_text(bank.database))
    assert compare_with_backup(bank.backup, restored) == ()


def test_comments_that_were_still_to_come_are_made_where_all_else_is_there(
    database: Conninfo, home: Home, scratch: ScratchOptions, uat: LocalServer, empty_on: EmptyOn,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE t (id int CONSTRAINT one PRIMARY KEY, v int); CREATE INDEX found ON t (v)")
        session.execute("COMMENT ON INDEX found IS 'an index'; COMMENT ON CONSTRAINT one ON t IS 'a key'")
    backup = create_dump(database, directory=home.directory, ledger=home.ledger, now=utc_now, scratch=scratch)
    run = Restoring._run

    def end_before_comments(
        restoring: Restoring, section: str, keep: Callable[[ContentsEntry], bool], *, jobs: int, anew: bool = False
    ) -> None:
        if section != "post-data" or anew:
            return run(restoring, section, keep, jobs=jobs, anew=anew)
        run(restoring, section, lambda entry: keep(entry) and entry.kind != "COMMENT", jobs=jobs)
        raise CloneFailed("deadlock detected")

    monkeypatch.setattr(Restoring, "_run", end_before_comments)
    restored = empty_on(uat)
    restore_into(backup, restored)
    assert compare_with_backup(backup, restored) == ()
    with connect(restored, verb="test") as session:
        assert session.execute("SELECT description FROM pg_description WHERE description LIKE 'a% %'"
                               " AND objoid >= 16384 ORDER BY 1").fetchall() == [("a key",), ("an index",)]  # fmt: skip


def test_what_was_made_without_being_told_is_made_anew(
    bank: ProvedBank, uat: LocalServer, empty_on: EmptyOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_restore ends its workers with the first error, whatever they have just committed."""
    run = Restoring._run
    untold: list[str] = []

    def end_early(
        restoring: Restoring, section: str, keep: Callable[[ContentsEntry], bool], *, jobs: int, anew: bool = False
    ) -> None:
        if section != "post-data" or anew:
            return run(restoring, section, keep, jobs=jobs, anew=anew)
        run(restoring, section, lambda entry: keep(entry) and entry.kind != "INDEX ATTACH", jobs=jobs)
        log = restoring._log(section)
        lines = log.read_text().splitlines()
        untold.extend(line for line in lines if re.search(r"finished item \d+ INDEX ", line))
        log.write_text("".join(f"{line}\n" for line in lines if line not in untold))
        raise CloneFailed("deadlock detected")

    monkeypatch.setattr(Restoring, "_run", end_early)
    restored = empty_on(uat)
    restore_into(bank.backup, restored)
    assert any("transfers_2025" in line for line in untold)
    assert _without_casts(dump_text(restored)) == _without_casts(dump_text(bank.database))


def test_what_is_told_is_understood_whoever_else_writes_meanwhile() -> None:
    """What each process writes in pieces, as strace shows them: "pg_restore:", " ", and the message with its end."""
    stderr = (
        "pg_restore: launching item 3 CONSTRAINT a_pkey\n"
        "pg_restore:pg_restore:  launching item 4 INDEX b\n"
        'creating INDEX "public.finished item 9 "\n'
        "pg_restore: pg_restore: error: finished item 3 CONSTRAINT a_pkey\n"
        "could not execute query: ERROR:  deadlock detected\n"
        "finished item 5 INDEX c\n"
    )
    assert entries_told("launching", stderr) == {3, 4}
    assert entries_told("finished", stderr) == {3, 5}


def test_every_change_to_a_copy_is_told(bank: ProvedBank, uat: LocalServer, empty_on: EmptyOn) -> None:
    restored = empty_on(uat)
    restore_into(bank.backup, restored)
    with connect(restored, verb="test") as session:
        assert len(TAMPERS) == 17
        assert compare_with_backup(bank.backup, restored) == ()
        for name, majors, told, change, undo in TAMPERS:
            if majors == "18" and session.info.server_version < 180000:  # for the time that it takes
                continue
            session.execute(change.encode())
            differences = compare_with_backup(bank.backup, restored)
            assert any(told in sentence for sentence in differences), (name, differences)
            session.execute(undo.encode())
    assert compare_with_backup(bank.backup, restored) == ()


def test_a_difference_is_an_error_that_names_the_first_ten() -> None:
    with pytest.raises(BackupDiffers, match=r"public\.t9: .*\n +and 2 more") as caught:
        require_equal(tuple(f"public.t{number}: values of a differ" for number in range(12)), "it")
    assert "t10" not in str(caught.value)
    require_equal((), "it")


def test_a_database_that_is_not_empty_is_refused(bank: ProvedBank, database: Conninfo) -> None:
    with connect(database, verb="test") as session:
        session.execute("CREATE TABLE t (a int)")
        session.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(BackupRefused, match="is not empty"):
        restore_into(bank.backup, database)
    assert "CREATE SCHEMA bank" not in dump_text(database)


def _without_casts(text: str) -> str:
    """``varchar IN (…)`` is printed in two ways, see `schema.normalise`."""
    return re.sub(r"CHECK \(\(\(owner\)::text = ANY .*\)\)\)", "CHECK (owner IN …)", text)

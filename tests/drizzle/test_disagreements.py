"""Where the real drizzle-kit says nothing, or the wrong thing, and what `status` says of the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.drizzle_kit import DrizzleKit, apply_pending, dump, read

from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.sources import ProblemKind
from pgrehearse.migrations.status import Status
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo

pytestmark = pytest.mark.pg("== 18")

ROWS = "SELECT id, hash, created_at FROM drizzle.__drizzle_migrations ORDER BY id"


def states(status: Status) -> list[str]:
    return [each.state.value for each in status.migrations]


def kinds(status: Status) -> list[ProblemKind]:
    return [problem.kind for problem in status.problems]


def edit_journal(kit: DrizzleKit, change: Callable[[list[dict[str, Any]]], object]) -> None:
    file = kit.migrations / "meta/_journal.json"
    journal = json.loads(file.read_text())
    change(journal["entries"])
    file.write_text(json.dumps(journal, indent=2))


def assert_drizzle_does_nothing(kit: DrizzleKit, database: Conninfo, major: int) -> None:
    """It exits 0, says that all went well, and changes nothing."""
    before = dump(database, major)
    assert "applied successfully" in kit.migrate(database).stdout
    assert dump(database, major) == before


def test_an_edit_after_the_fact(database: Conninfo, server_major: int, kit: DrizzleKit) -> None:
    kit.migrate(database)
    file = kit.files()[1]
    text = file.read_bytes()
    for content, only_line_endings in (
        (text.replace(b"\n", b"\r\n"), True),
        (text.replace(b'"placed at"', b'"at"'), False),
    ):
        file.write_bytes(content)
        status = read(database, kit)
        assert states(status) == ["applied", "edited", "applied"]
        assert ("only in its line endings" in status.problems[0].message) is only_line_endings
        assert status.exit_code() == 1
    assert_drizzle_does_nothing(kit, database, server_major)


def test_an_entry_below_the_watermark_is_never_run_by_0_31_and_once_by_us(
    connection: Connection, database: Conninfo, server_major: int, kit_031: DrizzleKit
) -> None:
    """A branch merged late: its `when` is older than what is applied already."""
    kit_031.migrate(database)
    newest = connection.execute("SELECT max(created_at) FROM drizzle.__drizzle_migrations").fetchone()
    late = kit_031.add_custom("late", "CREATE TABLE late (id int);")
    edit_journal(kit_031, lambda entries: entries[-1].update(when=entries[-2]["when"] - 1))
    assert_drizzle_does_nothing(kit_031, database, server_major)
    status = read(database, kit_031)
    assert states(status) == ["applied", "applied", "applied", "skipped"]
    assert status.exit_code() == 1
    assert [each.version for each in status.pending.migrations] == [late.stem]

    apply_pending(database, kit_031)
    assert states(read(database, kit_031)) == ["applied"] * 4
    assert read(database, kit_031).exit_code() == 0
    assert connection.execute("SELECT max(created_at) FROM drizzle.__drizzle_migrations").fetchone() == newest
    assert connection.execute("SELECT count(*) FROM late").fetchone() == (0,)
    assert_drizzle_does_nothing(kit_031, database, server_major)
    assert "No schema changes" in kit_031.generate("again")


def test_an_older_folder_is_run_by_1_0_so_it_is_merely_pending(
    database: Conninfo, kit_10: DrizzleKit, tmp_path: Path
) -> None:
    """A branch that left before the last migration, and is merged after that one is applied."""
    branch = kit_10.copied(tmp_path / "branch")
    last = kit_10.files()[-1].parent
    shutil.rmtree(branch.migrations / last.name)
    late = branch.add_custom("late", "CREATE TABLE late (id int);").parent
    kit_10.migrate(database)
    shutil.copytree(late, kit_10.migrations / last.name.replace("step2", "late"))
    status = read(database, kit_10)
    assert states(status) == ["applied", "applied", "pending", "applied"]
    assert status.exit_code() == 0
    kit_10.migrate(database)
    assert read(database, kit_10).exit_code(check=True) == 0


def test_a_file_that_is_not_in_the_journal(database: Conninfo, server_major: int, kit_031: DrizzleKit) -> None:
    kit_031.migrate(database)
    (kit_031.migrations / "0003_by_hand.sql").write_text("DROP TABLE users CASCADE;")
    assert_drizzle_does_nothing(kit_031, database, server_major)
    status = read(database, kit_031)
    assert kinds(status) == [ProblemKind.NOT_IN_JOURNAL]
    assert status.exit_code() == 1
    assert not status.pending.migrations


def test_a_row_without_a_file(database: Conninfo, server_major: int, kit: DrizzleKit) -> None:
    kit.migrate(database)
    if kit.version == "031":
        kit.files()[-1].unlink()
        edit_journal(kit, lambda entries: entries.pop())
    else:
        shutil.rmtree(kit.files()[-1].parent)
    assert_drizzle_does_nothing(kit, database, server_major)
    status = read(database, kit)
    assert states(status) == ["applied", "applied"]
    assert kinds(status) == [ProblemKind.ROW_WITHOUT_FILE]
    assert status.exit_code() == 1


def test_a_lost_file_of_an_applied_entry_stops_drizzle_0_31_altogether(
    database: Conninfo, server_major: int, kit_031: DrizzleKit
) -> None:
    kit_031.migrate(database)
    kit_031.files()[1].unlink()
    kit_031.extend_schema('export const more = pgTable("more", { id: integer() });')
    kit_031.generate("more")
    before = dump(database, server_major)
    assert kit_031.migrate(database, check=False).returncode == 1
    assert dump(database, server_major) == before
    status = read(database, kit_031)
    assert states(status) == ["applied", "applied", "pending"]
    assert kinds(status) == [ProblemKind.ENTRY_WITHOUT_FILE, ProblemKind.ROW_WITHOUT_FILE]
    assert status.exit_code() == 1


def test_a_journal_time_changed_after_the_fact_makes_0_31_run_it_again(database: Conninfo, kit_031: DrizzleKit) -> None:
    kit_031.migrate(database)
    edit_journal(kit_031, lambda entries: entries[-1].update(when=entries[-1]["when"] + 1))
    status = read(database, kit_031)
    assert states(status) == ["applied", "applied", "edited"]
    assert "drizzle would run it again" in status.problems[0].message
    assert kit_031.migrate(database, check=False).returncode == 1  # CREATE TABLE "Notes", again


def test_a_renamed_folder_makes_1_0_run_it_again(database: Conninfo, kit_10: DrizzleKit) -> None:
    kit_10.migrate(database)
    folder = kit_10.files()[-1].parent
    folder.rename(folder.with_name(f"{folder.name}_renamed"))
    status = read(database, kit_10)
    assert states(status) == ["applied", "applied", "edited"]
    assert "drizzle would run it again" in status.problems[0].message
    assert kit_10.migrate(database, check=False).returncode == 1


def test_two_drizzle_kits_at_once_apply_one_file_twice(
    connection: Connection, database: Conninfo, kit_031: DrizzleKit
) -> None:
    kit_031.migrate(database)
    connection.execute("CREATE TABLE effects (at timestamptz); CREATE SEQUENCE arrived")
    both_are_here = """DO $$ BEGIN
        PERFORM nextval('arrived');  -- which others see before the COMMIT
        WHILE (SELECT last_value FROM arrived) < 2 LOOP PERFORM pg_sleep(0.01); END LOOP;
    END $$;"""
    kit_031.add_custom("effect", f"{both_are_here}--> statement-breakpoint\nINSERT INTO effects VALUES (now());")
    runners = [kit_031.start_migrate(database) for _ in range(2)]
    for runner in runners:
        runner.communicate(timeout=240)
    assert [runner.returncode for runner in runners] == [0, 0]
    assert connection.execute("SELECT count(*) FROM effects").fetchone() == (2,)
    status = read(database, kit_031)
    assert kinds(status) == [ProblemKind.RECORDED_TWICE]
    assert status.exit_code() == 1


NEON_HTTP = """
import pg from "pg";
import { drizzle } from "drizzle-orm/node-postgres";
import { migrate } from "drizzle-orm/neon-http/migrator";
const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL });
try { await migrate(drizzle(pool), { migrationsFolder: "./drizzle" }); }
catch (error) { console.error(String(error.cause ?? error)); process.exitCode = 7; }
finally { await pool.end(); }
"""


def test_what_the_neon_http_migrator_leaves_when_it_dies_half_way(
    connection: Connection, database: Conninfo, kit_031: DrizzleKit
) -> None:
    """drizzle-orm's own neon-http migrator, over an ordinary connection: no transaction, rows only at the end."""
    kit_031.files()[2].write_text(
        "CREATE TABLE one (id int);--> statement-breakpoint\nSELECT 1/0;--> statement-breakpoint\nCREATE TABLE two ();"
    )
    done = kit_031.run_script(NEON_HTTP, database=database)
    assert (done.returncode, "division by zero" in done.stderr) == (7, True)
    assert connection.execute(ROWS).fetchall() == []
    status = read(database, kit_031)
    assert states(status) == ["present", "present", "half-present"]
    assert "there: table public.one; missing: table public.two" in status.problems[-1].message
    assert status.exit_code() == 1


def test_the_remedy_for_unrecorded_migrations_makes_both_tools_agree(
    connection: Connection, database: Conninfo, server_major: int, kit: DrizzleKit
) -> None:
    kit.migrate(database)
    connection.execute("DELETE FROM drizzle.__drizzle_migrations")
    status = read(database, kit)
    assert states(status) == ["present", "present", "present"]
    for problem in status.problems:
        connection.execute(problem.remedy.partition("record it: ")[2].encode())
    assert read(database, kit).exit_code(check=True) == 0
    assert_drizzle_does_nothing(kit, database, server_major)


def upgrade(old: DrizzleKit, new: DrizzleKit) -> None:
    """`drizzle-kit up` of 1.0 on the 0.31 project's folder."""
    shutil.rmtree(new.migrations)
    shutil.copytree(old.migrations, new.migrations)
    shutil.copy(old.directory / "schema.ts", new.directory / "schema.ts")
    new.run("up")


def test_a_0_31_ledger_under_1_0_is_read_and_upgraded_as_drizzle_does(
    connection: Connection, database: Conninfo, server_major: int, kit_031: DrizzleKit, kit_10: DrizzleKit
) -> None:
    kit_031.migrate(database)
    upgrade(kit_031, kit_10)
    assert read(database, kit_10).exit_code(check=True) == 0
    kit_10.source.ledger.create(connection)
    ours = connection.execute("TABLE drizzle.__drizzle_migrations ORDER BY id").fetchall()
    assert_drizzle_does_nothing(kit_10, database, server_major)
    connection.execute("ALTER TABLE drizzle.__drizzle_migrations DROP COLUMN name, DROP COLUMN applied_at")
    kit_10.migrate(database)
    assert connection.execute("TABLE drizzle.__drizzle_migrations ORDER BY id").fetchall() == ours


def test_a_0_31_folder_on_a_1_0_ledger_is_recorded_by_us_for_both_and_by_0_31_only_for_itself(
    database: Conninfo, server_major: int, kit_031: DrizzleKit, kit_10: DrizzleKit
) -> None:
    kit_031.migrate(database)
    upgrade(kit_031, kit_10)
    kit_10.migrate(database)

    kit_031.add_custom("ours", "CREATE TABLE ours (id int);")
    apply_pending(database, kit_031)
    assert_drizzle_does_nothing(kit_031, database, server_major)
    upgrade(kit_031, kit_10)
    assert read(database, kit_10).exit_code(check=True) == 0
    assert_drizzle_does_nothing(kit_10, database, server_major)

    kit_031.add_custom("theirs", "CREATE TABLE theirs (id int);")
    kit_031.migrate(database)
    upgrade(kit_031, kit_10)
    status = read(database, kit_10)
    assert states(status) == ["applied"] * 5
    assert kinds(status) == [ProblemKind.ROW_WITHOUT_NAME]
    assert status.exit_code() == 1
    assert kit_10.migrate(database, check=False).returncode == 1  # it runs CREATE TABLE again


def test_a_row_that_1_0_cannot_match_is_told_before_it_refuses(
    connection: Connection, database: Conninfo, kit_031: DrizzleKit, kit_10: DrizzleKit
) -> None:
    kit_031.migrate(database)
    upgrade(kit_031, kit_10)
    connection.execute("INSERT INTO drizzle.__drizzle_migrations (hash, created_at) VALUES ('gone', 1000)")
    done = kit_10.migrate(database, check=False)
    assert done.returncode == 1
    assert "do not match any local migration" in done.stdout + done.stderr
    status = read(database, kit_10)
    assert kinds(status) == [ProblemKind.ROW_WITHOUT_FILE]
    assert "drizzle 1.0 refuses to upgrade" in status.problems[0].message


def test_the_hash_is_drizzles_own(connection: Connection, database: Conninfo, kit: DrizzleKit) -> None:
    """CRLF and breakpoints included; only a byte order mark makes drizzle fail."""
    file = kit.files()[0]
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n") + "-- Größe".encode())
    migrations: tuple[Migration, ...] = kit.source.migrations
    kit.migrate(database)
    assert [row[1:] for row in connection.execute(ROWS)] == [(each.sha256, each.created_at_ms) for each in migrations]
    marked = kit.add_custom("marked", "\ufeffSELECT 1;")
    assert ProblemKind.BYTE_ORDER_MARK in kinds(read(database, kit))
    assert kit.migrate(database, check=False).returncode == 1
    apply_pending(database, kit)
    assert marked.read_bytes().startswith(b"\xef\xbb\xbf")
    assert read(database, kit).counts["applied"] == 4

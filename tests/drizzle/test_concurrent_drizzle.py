"""A real drizzle-kit that starts while we apply, and what it finds after we were killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest
from tests.support.applying import rows, wait_until
from tests.support.drizzle_kit import DrizzleKit, apply_pending, dump, read

from pgrehearse.migrations.observer import NoObserver, Running
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

pytestmark = pytest.mark.pg("== 18")  # the circle itself is tested on all majors in tests/migrations

WAITING = """
SELECT count(*) FROM pg_locks
WHERE relation = 'drizzle.__drizzle_migrations'::regclass AND NOT granted AND mode = 'AccessShareLock'
"""
OURS = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'pgrehearse:migrate%'
"""
EFFECTS = "SELECT array_agg(what ORDER BY what) FROM effects"
WAIT_S = 120
EFFECT = "INSERT INTO effects VALUES ('third');"
PLAIN = (
    "CREATE TABLE effects (what text);--> statement-breakpoint\nINSERT INTO effects VALUES ('first');",
    "CREATE INDEX effects_what ON effects (what);",
    EFFECT,
)
CONCURRENT = (PLAIN[0], "CREATE INDEX CONCURRENTLY effects_what ON effects (what);", EFFECT)


def written(kit: DrizzleKit, contents: tuple[str, ...]) -> DrizzleKit:
    """The project's three files, with other contents."""
    for file, content in zip(kit.files(), contents, strict=True):
        file.write_text(content)
    return kit


@dataclass
class StartsDrizzle(NoObserver):
    """Starts a drizzle-kit before a statement, and goes on when it is seen waiting for the ledger's lock."""

    kit: DrizzleKit
    database: Conninfo
    before_file: int
    started: list[subprocess.Popen[str]] = field(default_factory=list)
    waiting_before: list[str] = field(default_factory=list)

    def before(self, running: Running) -> None:
        number = [file.content for file in self.kit.source.migrations].index(running.migration.content)
        if number < self.before_file:
            return
        with connect(self.database, verb="test") as session:
            if not self.started:
                self.started.append(self.kit.start_migrate(self.database))
                wait_until_one_waits(session)
            found = session.execute(WAITING).fetchone()
        if found == (1,):
            self.waiting_before.append(running.statement.text.split()[0])


def wait_until_one_waits(session: Connection) -> None:
    deadline = time.monotonic() + WAIT_S
    while session.execute(WAITING).fetchone() != (1,):
        assert time.monotonic() < deadline, "no drizzle-kit was seen waiting in pg_locks"
        time.sleep(0.05)


def apply_while_drizzle_starts(
    database: Conninfo, kit: DrizzleKit, *, before_file: int
) -> tuple[StartsDrizzle, int, str, list[str]]:
    """Our run with a drizzle-kit that starts in it: the observer, drizzle's exit code and output, what we told."""
    told: list[str] = []
    observer = StartsDrizzle(kit=kit, database=database, before_file=before_file)
    try:
        apply_pending(database, kit, observer=observer, tell=told.append)
    finally:
        output = "".join(drizzle.communicate(timeout=WAIT_S)[0] for drizzle in observer.started)
    return observer, observer.started[0].returncode, output, told


def assert_applied_once(connection: Connection, database: Conninfo, major: int, kit: DrizzleKit) -> None:
    """By the effects, the ledger, and a further drizzle-kit which finds nothing to do."""
    assert connection.execute(EFFECTS).fetchone() == (["first", "third"],)
    assert connection.execute("SELECT count(*) FROM drizzle.__drizzle_migrations").fetchone() == (3,)
    assert read(database, kit).exit_code(check=True) == 0
    before = dump(database, major)
    kit.migrate(database)
    assert dump(database, major) == before


@pytest.mark.parametrize(("contents", "before_file"), [(PLAIN, 0), (CONCURRENT, 2)], ids=["plain", "concurrently"])
def test_a_drizzle_kit_that_starts_meanwhile_waits_and_then_does_nothing(
    connection: Connection,
    database: Conninfo,
    server_major: int,
    kit: DrizzleKit,
    contents: tuple[str, ...],
    before_file: int,
) -> None:
    written(kit, contents)
    observer, code, output, _ = apply_while_drizzle_starts(database, kit, before_file=before_file)
    later = ["CREATE", "INSERT", "CREATE", "INSERT"] if before_file == 0 else ["INSERT"]
    assert observer.waiting_before == later  # seen waiting all the way through
    assert (code, "applied successfully" in output) == (0, True)
    assert_applied_once(connection, database, server_major, kit)


@pytest.mark.pg("<= 16")
def test_the_same_on_older_servers(
    connection: Connection, database: Conninfo, server_major: int, kit_031: DrizzleKit
) -> None:
    written(kit_031, PLAIN)
    observer, code, _, _ = apply_while_drizzle_starts(database, kit_031, before_file=0)
    assert observer.waiting_before == ["CREATE", "INSERT", "CREATE", "INSERT"]
    assert code == 0
    assert_applied_once(connection, database, server_major, kit_031)


def test_a_drizzle_kit_whose_snapshot_concurrently_would_wait_for_is_sent_away_having_done_nothing(
    connection: Connection, database: Conninfo, server_major: int, kit: DrizzleKit
) -> None:
    """It waits for our lock, CONCURRENTLY for its snapshot, and the server sees no deadlock in that."""
    written(kit, CONCURRENT)
    observer, code, _, told = apply_while_drizzle_starts(database, kit, before_file=0)
    assert observer.waiting_before == ["CREATE", "INSERT", "CREATE"]
    assert code == 1
    assert [line for line in told if "cancelled the read of the migration ledger" in line]
    assert_applied_once(connection, database, server_major, kit)


APPLY_UNTIL = """
import os, signal, sys
from pathlib import Path
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.observer import NoObserver
from pgrehearse.migrations.sources.find import open_source
from pgrehearse.migrations.status import read_status
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo

database, folder, last = Conninfo(os.environ["TARGET"]), Path(sys.argv[1]), int(sys.argv[2])

class Kills(NoObserver):
    def before(self, running):
        if running.migration.version == source.migrations[last].version:
            os.kill(os.getpid(), signal.SIGKILL)

source = open_source(folder, display="drizzle")
with connect(database, verb="test") as session:
    plan = read_status(session, source).pending
apply(lambda verb: connect(database, verb=verb), plan, ledger=source.ledger, observer=Kills())
"""


@pytest.mark.parametrize("killed_in", [1, 2])
def test_killed_between_files_the_rerun_completes_and_drizzle_agrees(
    connection: Connection, database: Conninfo, server_major: int, kit: DrizzleKit, killed_in: int
) -> None:
    written(kit, CONCURRENT)
    killed = subprocess.run(
        [sys.executable, "-c", APPLY_UNTIL, str(kit.migrations), str(killed_in)],
        env=os.environ | {"TARGET": database.text},
        check=False,
        timeout=WAIT_S,
    )
    assert killed.returncode == -signal.SIGKILL
    wait_until(lambda: not rows(connection, OURS))  # the server notices when it next looks at the line
    status = read(database, kit)
    assert [each.state.value for each in status.migrations][:killed_in] == ["applied"] * killed_in
    assert status.counts["applied"] == killed_in
    apply_pending(database, kit)
    assert_applied_once(connection, database, server_major, kit)

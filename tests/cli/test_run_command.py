"""`pgrehearse run` as a user meets it: exit codes, interruption, secrets, two at once."""

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.support.program import run_program
from tests.support.schemas import validate_answer

from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

PROGRAM = [sys.executable, "-m", "pgrehearse"]
CANARY = "c4nary-in-the-url"
CANARY_IN_SQL = "c4nary-in-the-sql"
TABLE = "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, 'v' FROM generate_series(1, 100) AS n"

pytestmark = pytest.mark.pg("== 18")


def pgrehearse(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_program(*arguments, cwd=directory)


def start(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*PROGRAM, *arguments], cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def databases(server: LocalServer) -> set[str]:
    with connect(server.conninfo(), verb="test") as session:
        return {name for (name,) in session.execute("SELECT datname FROM pg_database")}


def wait_until(is_so: Callable[[], object], timeout_s: float = 240) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def is_sleeping(server: LocalServer) -> bool:
    with connect(server.conninfo(), verb="test") as session:
        query = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(500)%' AND wait_event = 'PgSleep'"
        return bool(fetch_value(session, query))


@pytest.fixture
def urls(connection: Connection, database: Conninfo, uat: LocalServer) -> tuple[str, str]:
    """A source with a hundred rows, and a UAT server."""
    connection.execute(TABLE)
    return database.as_url(), uat.conninfo().as_url()


def test_the_exit_code_is_the_verdict_and_the_json_is_as_published(tmp_path: Path, urls: tuple[str, str]) -> None:
    source, target = urls
    for name, text, code, verdict in (
        ("add.sql", "ALTER TABLE t ADD COLUMN w int;", 0, "clean"),
        ("drop.sql", "DROP TABLE t;", 1, "loss"),
        ("fail.sql", "SELECT 1/0;", 1, "failed"),
        ("beyond.sql", "ALTER SYSTEM SET work_mem = '5MB';", 3, "unmeasured"),
        ("restart.sql", "ALTER TABLE t RENAME COLUMN v TO w;", 1, "hazard"),
    ):
        (tmp_path / name).write_text(text)
        quiet = ("--contention", "off")
        done = pgrehearse(tmp_path, "run", "--source", source, "--target", target, "--file", name, "--json", *quiet)
        assert done.returncode == code, done.stderr
        answer = json.loads(done.stdout)
        validate_answer("run", answer)
        assert answer["verdict"] == verdict
    listed = pgrehearse(tmp_path, "report", "--list").stdout.splitlines()
    assert [line.split()[2] for line in listed] == ["clean", "loss", "failed", "unmeasured", "hazard"]
    validate_answer("receipts", json.loads(pgrehearse(tmp_path, "report", "--list", "--json").stdout))
    shown = pgrehearse(tmp_path, "report", listed[1].split()[0], "--json")
    assert shown.returncode == 0
    validate_answer("receipt", json.loads(shown.stdout))


def test_a_plan_with_nothing_in_it_is_no_error(tmp_path: Path, urls: tuple[str, str]) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "0001_a.sql").write_text("CREATE TABLE a (id int);")
    assert pgrehearse(tmp_path, "migrate", urls[0], "m").returncode == 0
    done = pgrehearse(tmp_path, "run", "--source", urls[0], "--migrations", "m", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["error"]["code"] == "nothing-pending"
    assert "nothing to rehearse" in done.stderr


def test_a_migration_that_never_ends_is_ended(tmp_path: Path, urls: tuple[str, str]) -> None:
    (tmp_path / "m.sql").write_text("SELECT pg_sleep(500);")
    done = pgrehearse(
        tmp_path,
        "run",
        "--source",
        urls[0],
        "--target",
        urls[1],
        "--file",
        "m.sql",
        "--statement-timeout",
        "0.5",
        "--json",
    )
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "failed"
    assert answer["statements"][0]["error"]["sqlstate"] == "57014"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--file", "missing.sql"), "missing.sql"),
        (("--migrations", "empty"), "empty"),
        (("--migrations", "nowhere"), "nowhere"),
        (("--file", "psql.sql"), "psql.sql:2"),
        (("--file", "latin1.sql"), "UTF-8"),
    ],
)
def test_bad_files_are_refused_before_anything_is_copied(
    tmp_path: Path, urls: tuple[str, str], uat: LocalServer, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "psql.sql").write_text("SELECT 1;\n\\i other.sql\n")
    (tmp_path / "latin1.sql").write_bytes(b"SELECT '\xe9';")
    before = databases(uat)
    done = pgrehearse(tmp_path, "run", "--source", urls[0], "--target", urls[1], *arguments)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "->" in done.stderr
    assert "Traceback" not in done.stderr
    assert databases(uat) == before


def test_a_syntax_error_is_a_failed_rehearsal_with_a_receipt(tmp_path: Path, urls: tuple[str, str]) -> None:
    (tmp_path / "syntax.sql").write_text("SELECT 1;\nCREATE TABEL t ();")
    done = pgrehearse(tmp_path, "run", "--source", urls[0], "--target", urls[1], "--file", "syntax.sql", "--json")
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "failed"
    assert answer["statements"][0]["error"]["sqlstate"] == "42601"
    assert "syntax.sql:2:8" in pgrehearse(tmp_path, "report").stdout


def test_production_as_its_own_target_is_refused(tmp_path: Path, urls: tuple[str, str], server: LocalServer) -> None:
    (tmp_path / "m.sql").write_text("SELECT 1;")
    before = databases(server)
    same = pgrehearse(tmp_path, "run", "--source", urls[0], "--target", urls[0], "--file", "m.sql")
    assert same.returncode == 2, same.stderr
    neighbour = pgrehearse(
        tmp_path, "run", "--source", urls[0], "--target", server.conninfo().as_url(), "--file", "m.sql"
    )
    assert neighbour.returncode == 1, neighbour.stderr
    assert databases(server) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_rehearsal_leaves_nothing(
    tmp_path: Path, urls: tuple[str, str], uat: LocalServer, number: signal.Signals
) -> None:
    (tmp_path / "m.sql").write_text("SELECT pg_sleep(500);")
    before = databases(uat)
    child = start(tmp_path, "run", "--source", urls[0], "--target", urls[1], "--file", "m.sql")
    wait_until(lambda: is_sleeping(uat))
    assert databases(uat) != before
    child.send_signal(number)
    _, stderr = child.communicate(timeout=240)
    assert child.returncode == 130
    assert "Traceback" not in stderr
    assert databases(uat) == before
    wait_until(lambda: not is_sleeping(uat))


def test_what_a_killed_rehearsal_left_is_known_and_pruned(
    tmp_path: Path, urls: tuple[str, str], uat: LocalServer
) -> None:
    (tmp_path / "m.sql").write_text("SELECT pg_sleep(500);")
    before = databases(uat)
    child = start(tmp_path, "run", "--source", urls[0], "--target", urls[1], "--file", "m.sql")
    wait_until(lambda: is_sleeping(uat))
    child.kill()
    child.communicate()
    assert len(databases(uat) - before) == 2
    listed = pgrehearse(tmp_path, "clones", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    pruned = pgrehearse(tmp_path, "clones", "prune", "--server", urls[1])
    assert pruned.returncode == 0, pruned.stderr
    assert databases(uat) == before
    wait_until(lambda: not is_sleeping(uat))


def test_two_rehearsals_at_once_do_not_meet(tmp_path: Path, urls: tuple[str, str], uat: LocalServer) -> None:
    (tmp_path / "m.sql").write_text("ALTER TABLE t ADD COLUMN w int; SELECT pg_sleep(0.5);")
    before = databases(uat)
    arguments = ("run", "--source", urls[0], "--target", urls[1], "--file", "m.sql", "--contention", "off")
    children = [start(tmp_path, *arguments) for _ in range(2)]
    next_steps = []
    for child in children:
        stdout, stderr = child.communicate(timeout=240)
        assert child.returncode == 0, stderr
        next_steps.append(stdout.splitlines()[-1])
    assert databases(uat) == before
    listed = [line.split()[0] for line in pgrehearse(tmp_path, "report", "--list").stdout.splitlines()]
    assert len(listed) == 2
    # What a clean rehearsal ends with can be typed; an address may hold a password, and is not repeated.
    assert sorted(next_steps) == sorted(
        f"Approve it: `pgrehearse approve {digest}`; then promote it: `pgrehearse promote {digest} --to URL`"
        for digest in listed
    )


def test_a_canary_password_is_found_nowhere(
    tmp_path: Path, connection: Connection, database: Conninfo, uat: LocalServer
) -> None:
    role = f"canary_{database.database}"
    connection.execute(TABLE)
    connection.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{CANARY}'")
    source = database.replaced(user=role, password=CANARY).as_url()
    (tmp_path / "m.sql").write_text(
        f"CREATE ROLE {role}_2 LOGIN PASSWORD '{CANARY_IN_SQL}';\n"
        f"CREATE USER MAPPING FOR {role}_2 SERVER nowhere OPTIONS (password '{CANARY_IN_SQL}');\n"
    )
    (tmp_path / "broken.sql").write_text(f"CREATE ROLE x PASSWORD '{CANARY_IN_SQL}' NOSUCHOPTION;")
    outputs = []
    with _command_lines() as seen:
        for arguments in (
            ("run", "--source", source, "--file", "m.sql"),
            ("run", "--source", source, "--target", uat.conninfo().as_url(), "--file", "m.sql", "--json"),
            ("run", "--source", source, "--file", "broken.sql"),
            ("report",), ("report", "--format", "markdown"), ("report", "--json"),
            ("lint", "m.sql"), ("lint", "m.sql", "--json"), ("lint", "broken.sql"),
            ("status", source.replace("/test_", "/missing_"), "."),
            ("status", source, "nowhere"),
        ):  # fmt: skip
            done = pgrehearse(tmp_path, *arguments)
            outputs.append((arguments[0], done.stdout + done.stderr))
    connection.execute(f"DROP ROLE {role}")
    for name, output in outputs:
        assert CANARY not in output, name
        assert CANARY_IN_SQL not in output, name
        assert "Traceback" not in output, name
    ledger = (tmp_path / ".pgrehearse" / "ledger.db").read_bytes()
    assert CANARY.encode() not in ledger
    assert CANARY_IN_SQL.encode() not in ledger
    # Our own argv is the user's to choose (env:VARIABLE exists for that); our children's is not.
    children = [line for line in seen if "pgrehearse" not in line.split("\0")[0] and "-m\0pgrehearse" not in line]
    assert any("pg_dump" in line for line in children)
    assert not [line for line in children if CANARY in line or CANARY_IN_SQL in line]


class _command_lines:  # noqa: N801  reads as a statement at its one use
    """Collects /proc/*/cmdline of every process while it is open."""

    def __enter__(self) -> set[str]:
        self._seen: set[str] = set()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._collect)
        self._thread.start()
        return self._seen

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _collect(self) -> None:
        while not self._stopped.wait(0.005):
            for pid in psutil.pids():
                try:
                    self._seen.add(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
                except OSError:
                    continue

"""Apply 500 small migrations, and observe them being applied, against one psql that runs the same files.

    python benchmarks/small_migrations.py [FILES] [ROUNDS] [NAME…] [--durable]     (500 files, 5 alternating rounds)

Each file is one transaction.  The peer is a single `psql` that runs BEGIN, the file, COMMIT for each, with no ledger
and no wall against a second runner: as little as anybody can do.  Every run gets a fresh copy of one database, and
the server writes no disk it would wait for (`fsync = off`), so that what is compared is the work and not the disk;
with `--durable` it waits for its disk at each COMMIT, as production does.  "psql with a ledger" writes one row into
our ledger's table in each file's transaction: what any tool with a record does beside psql's work.
Quote the ratios, not the seconds.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from pgrehearse.hazards.trace import Tracer
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.migrate import migrate
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.observer import Observers
from pgrehearse.migrations.own_state import OwnState
from pgrehearse.migrations.sources.sql_folder import read_sql_folder
from pgrehearse.postgres.binaries import require_client, require_server
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.rehearsal.commits import CommitRecorder

MAJOR = 18
AIMS = {"observing": 1.5, "applying": 1.2}
BASE = """
DO $$ BEGIN
    FOR i IN 0..99 LOOP
        EXECUTE format('CREATE TABLE base%s (id bigserial PRIMARY KEY, name text NOT NULL, at timestamptz)', i);
        EXECUTE format('INSERT INTO base%s (name) SELECT ''row '' || n FROM generate_series(1, 200) n', i);
        EXECUTE format('CREATE INDEX ON base%s (name)', i);
    END LOOP;
END $$
"""
# What teams' folders are made of; {n} counts the files, {t} is a table that an earlier file made.
FORMS = (
    "CREATE TABLE made{n} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,\n"
    "    name text NOT NULL, price numeric(10,2));\n",
    "ALTER TABLE base{b} ADD COLUMN extra{n} integer NOT NULL DEFAULT 0;\n",
    "CREATE INDEX made{t}_name ON made{t} (name);\n",
    "INSERT INTO made{t} (name, price) VALUES ('a', 1), ('b', 2), ('c', 3);\n",
    "ALTER TABLE made{t} ADD CONSTRAINT positive CHECK (price > 0) NOT VALID;\n"
    "ALTER TABLE made{t} VALIDATE CONSTRAINT positive;\n",
    "UPDATE base{b} SET name = name || '!' WHERE id <= 10;\n",
    "CREATE VIEW seen{n} AS SELECT id, name FROM made{t} WHERE price > 1;\n",
    "CREATE FUNCTION twice{n}(x integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT x * 2';\n"
    "COMMENT ON FUNCTION twice{n}(integer) IS 'twice as much';\n",
    "ALTER TABLE base{b} ADD COLUMN owner{n} bigint REFERENCES made{t} (id);\n",
    "ALTER TABLE made{t} RENAME COLUMN name TO title;\n",
)


def main(files: int, rounds: int, names: Sequence[str], *, durable: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="pgrehearse-bench-") as directory:
        folder = Path(directory) / "migrations"
        write_files(folder, files)
        settings = {"synchronous_commit": "on"} | ({"fsync": "on"} if durable else {})
        server = LocalServer.create(require_server(MAJOR), settings=settings)
        try:
            measure(server, folder, Path(directory) / "all.sql", rounds, names)
        finally:
            server.wipe()


def write_files(folder: Path, files: int) -> None:
    folder.mkdir()
    for number in range(files):
        text = FORMS[number % len(FORMS)]
        made = number - number % len(FORMS)
        (folder / f"{number + 1:04}_step.sql").write_text(text.format(n=number, t=made, b=number % 100))


def measure(server: LocalServer, folder: Path, script: Path, rounds: int, names: Sequence[str]) -> None:
    script.write_text("".join(f"BEGIN;\n\\i {file}\nCOMMIT;\n" for file in sorted(folder.iterdir())))
    source = read_sql_folder(folder, "migrations")
    plan = Plan.of(source.migrations)
    program = require_client(MAJOR).program("psql")

    def run_psql(database: Conninfo, file: Path) -> None:
        text, environment = database.for_child()
        subprocess.run(
            [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", text, "-f", str(file)], env=environment, check=True
        )

    def psql(database: Conninfo) -> None:
        run_psql(database, script)

    ledger_script = script.with_name("with_ledger.sql")
    ledger_script.write_text(
        "".join(
            f"BEGIN;\n\\i {folder / Path(each.path).name}\n{source.ledger.recording(each)}\nCOMMIT;\n"
            for each in plan.migrations
        )
    )

    def psql_with_ledger(database: Conninfo) -> None:
        with connect(database, verb="benchmark") as session:
            source.ledger.create(session)
        run_psql(database, ledger_script)

    def migrating(database: Conninfo) -> None:
        migrate(database, source)

    def observing(database: Conninfo) -> None:
        state = OwnState(exclusive=True)
        ignored = frozenset({source.ledger.table})
        tracer = Tracer(lambda: connect(database, verb="watch"), ignored=ignored, state=state)
        recorder = CommitRecorder(lambda: connect(database, verb="watch"), ignored=ignored, state=state, alone=True)
        try:
            apply(
                lambda verb: connect(database, verb=verb), plan, ledger=source.ledger,
                observer=Observers(recorder, tracer),
            )  # fmt: skip
        finally:
            recorder.close()
            tracer.close()

    def cpu_s() -> float:
        """Spent so far by this process, its children, and the server with all that it started."""
        own = os.times()
        assert server.pid is not None
        found = own.user + own.system + own.children_user + own.children_system
        postmaster = psutil.Process(server.pid)
        for process in (postmaster, *postmaster.children()):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                found += times.user + times.system
        times = postmaster.cpu_times()
        return found + times.children_user + times.children_system

    works: dict[str, Callable[[Conninfo], None]] = {
        "psql": psql, "psql with a ledger": psql_with_ledger, "applying": migrating, "observing": observing,
    }  # fmt: skip
    works = {name: work for name, work in works.items() if name in ("psql", *names) or not names}
    seconds: dict[str, list[float]] = {name: [] for name in works}
    cpu_seconds: dict[str, list[float]] = {name: [] for name in works}
    with connect(server.conninfo(), verb="benchmark") as admin:
        admin.execute("CREATE DATABASE base")
        with connect(server.conninfo("base"), verb="benchmark") as session:
            session.execute(BASE)
            session.execute("VACUUM ANALYZE")
        for round_number in range(rounds + 1):  # the first round warms caches and is left out
            for name, work in works.items():
                admin.execute("CREATE DATABASE run TEMPLATE base")
                began, cpu = time.perf_counter(), cpu_s()
                work(server.conninfo("run"))
                ended = time.perf_counter()
                admin.execute("DROP DATABASE run WITH (FORCE)")  # every session has ended, and its CPU is counted
                if round_number:
                    seconds[name].append(ended - began)
                    cpu_seconds[name].append(cpu_s() - cpu)
    unit, cpu_unit = statistics.median(seconds["psql"]), statistics.median(cpu_seconds["psql"])
    print(f"PostgreSQL {server.major}, {len(plan.migrations)} files, medians of {rounds} alternating rounds")
    for name, values in seconds.items():
        median, cpu = statistics.median(values), statistics.median(cpu_seconds[name])
        aim = f"   (aim: at most {AIMS[name]})" if name in AIMS else ""
        wall = f"{name:<20}{median:8.2f} s {median / unit:6.2f} x psql"
        print(f"{wall}   CPU {cpu:6.2f} s {cpu / cpu_unit:6.2f} x psql{aim}")


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--durable"]
    main(
        files=int(given[0]) if given else 500,
        rounds=int(given[1]) if len(given) > 1 else 5,
        names=given[2:],
        durable="--durable" in sys.argv,
    )

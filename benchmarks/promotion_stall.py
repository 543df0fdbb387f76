"""How long ten safe migrations stall a busy table: `pgrehearse promote` beside `psql -f` and `drizzle-kit migrate`.

    python benchmarks/promotion_stall.py [SCALE] [ROUNDS]        (5 million rows, 1 round; pgbench's scale)
    python benchmarks/promotion_stall.py short                   (100,000 rows, shorter limits, no dump, about a minute)

pgbench with 20 clients reads and writes `pgbench_accounts` while an old reader, an open transaction, holds it.
Each tool gets a fresh copy of the same database, in turn; a stall is the longest single query in pgbench's own log.
The reader stays for a fixed time after the tool first waits behind it.  drizzle-kit runs all files in one transaction
and cannot make an index CONCURRENTLY: its folder has the same index without.  Without `make drizzle-peers` it is
left out, and that is said.  Exit code 1: a query was stalled for longer than `max_block` and the slack, or a
promotion did not arrive.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import quote

from psycopg import sql

from pgrehearse.errors import MissingBinaries
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

PEER = Path(__file__).parents[1] / ".peers" / "031"
PGREHEARSE = str(Path(sys.executable).with_name("pgrehearse"))
CLIENTS = 20
ROWS_PER_SCALE = 100_000
SLACK_S = 0.25  # the watchdog cancels half a second early; 20 clients, server and all tools share the machine's cores
MOST_TRIES = 8  # a promotion that cancelled itself is promoted again
GAVE_WAY = frozenset({"blocked-others", "lock-not-acquired"})

# One statement each, so that a line in pgbench's log is a query.
QUERIES = {
    "read": "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;",
    "update": "UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;",
}
WEIGHTS = {"read": 3, "update": 1}
MIGRATIONS = (
    "CREATE TABLE regions (id int PRIMARY KEY, name text NOT NULL);",
    "ALTER TABLE pgbench_accounts ADD COLUMN note text;",
    "ALTER TABLE pgbench_accounts ADD COLUMN tier int NOT NULL DEFAULT 1;",
    "ALTER TABLE pgbench_accounts ADD CONSTRAINT balance_sane CHECK (abalance > -1000000000) NOT VALID;",
    "ALTER TABLE pgbench_accounts VALIDATE CONSTRAINT balance_sane;",
    "CREATE INDEX CONCURRENTLY accounts_by_branch ON pgbench_accounts (bid);",
    "ALTER TABLE pgbench_accounts ADD COLUMN region_id int;",
    "ALTER TABLE pgbench_accounts ADD CONSTRAINT accounts_region FOREIGN KEY (region_id) REFERENCES regions NOT VALID;",
    "ALTER TABLE pgbench_accounts VALIDATE CONSTRAINT accounts_region;",
    "ALTER TABLE pgbench_accounts ALTER COLUMN tier SET DEFAULT 2;",
)
CONFIGURATION = """\
[environments.prd]
url_env = "BENCHMARK_URL"
protected = true
recoverability = ["{recoverability}"]

[migrations]
path = "drizzle"
transaction = "statement"
"""
DRIZZLE_CONFIG = """\
export default { dialect: "postgresql", out: "./drizzle", dbCredentials: { url: process.env.DATABASE_URL } };
"""
SOMEBODY_WAITS = """
SELECT count(*) > 0 FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
WHERE NOT l.granted AND l.relation = 'public.pgbench_accounts'::pg_catalog.regclass AND a.application_name <> 'pgbench'
"""
CLIENTS_AT_WORK = """
SELECT count(*) FROM pg_catalog.pg_stat_activity
WHERE datname = pg_catalog.current_database() AND application_name = 'pgbench'
"""
END_CLIENTS = """
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE datname = pg_catalog.current_database() AND application_name = 'pgbench'
"""
ARRIVED = """
SELECT pg_catalog.to_regclass('public.regions') IS NOT NULL
   AND (SELECT count(*) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = accounts.oid AND a.attname IN ('note', 'tier', 'region_id')) = 3
   AND (SELECT count(*) FROM pg_catalog.pg_constraint c
        WHERE c.conrelid = accounts.oid AND c.contype IN ('c', 'f') AND c.convalidated) = 2
   AND (SELECT bool_and(i.indisvalid) AND count(*) = 2 FROM pg_catalog.pg_index i WHERE i.indrelid = accounts.oid)
   AND (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef d
        JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
        WHERE a.attrelid = accounts.oid AND a.attname = 'tier') = '2'
FROM pg_catalog.pg_class accounts WHERE accounts.oid = 'public.pgbench_accounts'::pg_catalog.regclass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How large, and with which limits."""

    scale: int
    rounds: int
    rate: int  # queries per second of all clients: the machine is busy, and not at its end
    reader_s: float  # how long the old reader stays after the tool first waits for it
    max_block_s: float
    lock_timeouts_s: tuple[float, ...]  # one promotion each; with one above max_block only the watchdog stops us
    idle_s: float  # how long pgbench is measured without any migration
    recoverability: str


LONG = Form(  # the limits are the product's defaults
    scale=50, rounds=1, rate=400, reader_s=20, max_block_s=5, lock_timeouts_s=(3, 60), idle_s=5,
    recoverability="dump",
)  # fmt: skip
SHORT = Form(
    scale=1, rounds=1, rate=200, reader_s=4, max_block_s=1, lock_timeouts_s=(30,), idle_s=2,
    recoverability="before-images",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One tool's run on a copy of its own."""

    queries: int
    longest_s: float
    longest_query: str
    beyond: int  # queries stalled for longer than max_block
    tool_s: float
    outcome: str
    arrived: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """Something that migrates: made ready before the load starts, and run under it."""

    name: str
    prepare: Callable[[Conninfo, Path], None]
    run: Callable[[Conninfo, Path], str]  # the outcome, in a few words


def main(form: Form) -> int:
    with start() as server:
        promotions, others = tools(form, server)
        print(
            f"PostgreSQL {server.major}, {form.scale * ROWS_PER_SCALE:,} rows, {CLIENTS} pgbench clients, "
            f"{form.rate} queries/s, {len(MIGRATIONS)} migrations; a reader stays {form.reader_s:g} s; "
            f"max_block {form.max_block_s:g} s; recoverability: {form.recoverability}",
            flush=True,
        )
        fill(server, form)
        found: dict[str, list[Measured]] = {}
        for turn in range(form.rounds):
            order = [*promotions, *others]
            for tool in order if turn % 2 == 0 else reversed(order):
                found.setdefault(tool.name, []).append(measure(server, form, tool))
    worst = {name: max(runs, key=lambda run: run.longest_s) for name, runs in found.items()}
    unit = worst[promotions[0].name].longest_s
    print(f"{'':36}{'longest stall':>14}{'ratio':>7}{'beyond':>8}{'queries':>9}{'tool':>9}  outcome")
    for tool in (*promotions, *others):
        run = worst[tool.name]
        print(
            f"{tool.name:36}{run.longest_s:12.2f} s{run.longest_s / unit:7.1f}{run.beyond:8}{run.queries:9}"
            f"{run.tool_s:7.1f} s  {run.outcome} ({run.longest_query})"
        )
    bound = form.max_block_s + SLACK_S
    longest = max(worst[tool.name].longest_s for tool in promotions)
    arrived = all(run.arrived for tool in promotions for run in found[tool.name])
    passed = longest <= bound and arrived
    print(
        f"{'PASS' if passed else 'FAIL'}: the longest stall of a promotion is {longest:.2f} s; "
        f"max_block {form.max_block_s:g} s + {SLACK_S:g} s slack = {bound:g} s"
        + ("" if arrived else "; a promotion did not arrive")
    )
    return 0 if passed else 1


def start() -> LocalServer:
    for major in (18, 17, 16, 15):
        try:
            return LocalServer.create(require_server(major), settings={"shared_buffers": "512MB"})
        except MissingBinaries:
            continue
    raise SystemExit("no PostgreSQL server binaries on this machine")


def fill(server: LocalServer, form: Form) -> None:
    with connect(server.conninfo(), verb="benchmark") as session:
        session.execute("CREATE DATABASE template_of_all")
    run(
        [pgbench(server), "--initialize", "--quiet", f"--scale={form.scale}"],
        server.conninfo("template_of_all"),
    )


def pgbench(server: LocalServer) -> str:
    program = Path(server.binaries.program("pgbench"))
    if not program.exists():
        raise SystemExit(
            f"no pgbench beside {server.binaries.program('postgres')}: install PostgreSQL's contrib package"
        )
    return str(program)


def run(command: Sequence[str], database: Conninfo) -> None:
    text, environment = database.for_child()
    done = subprocess.run([*command, text], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{Path(command[0]).name}: {done.stderr}")


# --- one tool under load ---------------------------------------------------------------------------------------


def measure(server: LocalServer, form: Form, tool: Tool) -> Measured:
    name = "shop"  # the same for each: it is dropped in between
    production = server.conninfo(name)
    directory = Path(tempfile.mkdtemp(prefix="pgrehearse-benchmark-"))
    with connect(server.conninfo(), verb="benchmark") as admin:
        admin.execute("CREATE DATABASE shop TEMPLATE template_of_all")
        try:
            tool.prepare(production, directory)
            admin.execute("CHECKPOINT")
            with connect(production, verb="benchmark") as look, connect(production, verb="reader") as reader:
                with busy(server, form, production, directory, look):
                    reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                    reader.execute("SELECT 1 FROM public.pgbench_accounts LIMIT 1")
                    outcome, tool_s = beside_reader(form, tool, production, directory, look, reader)
                    time.sleep(1)
                arrived = bool(fetch_value(look, ARRIVED))
            queries, beyond, longest, which = read_log(directory, form.max_block_s)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            shutil.rmtree(directory, ignore_errors=True)
    return Measured(
        queries=queries, longest_s=longest, longest_query=which, beyond=beyond, tool_s=tool_s, outcome=outcome,
        arrived=arrived,
    )  # fmt: skip


@contextmanager
def busy(server: LocalServer, form: Form, production: Conninfo, directory: Path, look: Connection) -> Iterator[None]:
    """pgbench's clients at work; they are ended by the server, so that pgbench writes its whole log."""
    arguments = [
        pgbench(server), f"--client={CLIENTS}", "--jobs=2", f"--rate={form.rate}", "--time=3600", "--no-vacuum",
        "--log", f"--log-prefix={directory / 'log'}",
    ]  # fmt: skip
    for name, text in QUERIES.items():
        script = directory / f"{name}.pgbench"
        script.write_text(
            f"\\set aid random(1, {form.scale * ROWS_PER_SCALE})\n\\set delta random(-5000, 5000)\n{text}\n"
        )
        arguments.append(f"--file={script}@{WEIGHTS[name]}")
    text, environment = production.for_child()
    with subprocess.Popen(
        [*arguments, text], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: fetch_value(look, CLIENTS_AT_WORK) == CLIENTS, "pgbench's clients to connect")
            yield
            if fetch_value(look, CLIENTS_AT_WORK) != CLIENTS:
                raise SystemExit("a client of pgbench gave up: its queries are missing from the log")
            look.execute(END_CLIENTS)
            process.wait(60)
        finally:
            process.kill()


def beside_reader(
    form: Form, tool: Tool, production: Conninfo, directory: Path, look: Connection, reader: Connection
) -> tuple[str, float]:
    """Run the tool; the reader goes so many seconds after the tool first waited, or with the tool."""
    began, waits_since = time.perf_counter(), None
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(lambda: (tool.run(production, directory), time.perf_counter() - began))
        while not work.done():
            if waits_since is None and fetch_value(look, SOMEBODY_WAITS):
                waits_since = time.perf_counter()
            if waits_since is not None and time.perf_counter() - waits_since >= form.reader_s:
                break
            time.sleep(0.02)
        reader.execute("COMMIT")
        return work.result()


def read_log(directory: Path, bound_s: float) -> tuple[int, int, float, str]:
    """Queries, how many of them took longer than the bound, the longest in seconds, and which one it was.

    A line: client, number, elapsed µs since it was due, script, epoch, µs, µs that it began late
    (pgbench's documentation, "Per-Transaction Logging").
    """
    queries, beyond, longest, which = 0, 0, 0.0, ""
    names = list(QUERIES)
    for file in directory.glob("log.*"):
        for line in file.read_text().splitlines():
            fields = line.split()
            took_s = (int(fields[2]) - int(fields[6])) / 1e6
            queries += 1
            beyond += took_s > bound_s
            if took_s > longest:
                longest, which = took_s, names[int(fields[3])]
    return queries, beyond, longest, which


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited 30 s for {what}")
        time.sleep(0.02)


# --- the tools ---------------------------------------------------------------------------------------------------


def tools(form: Form, server: LocalServer) -> tuple[list[Tool], list[Tool]]:
    """The promotions, the one that the ratios are of first; and what they are compared with."""
    promotions = [
        Tool(
            name=f"promote, lock timeout {lock_timeout_s:g} s",
            prepare=partial(rehearse, form),
            run=partial(promote, form, lock_timeout_s),
        )
        for lock_timeout_s in form.lock_timeouts_s
    ]
    others = [
        Tool(
            name="psql -f",
            prepare=lambda _, directory: write_folder(directory),
            run=lambda production, directory: psql(server, production, directory),
        )
    ]
    if (PEER / ".ready").exists() and shutil.which("node") is not None:
        others.append(Tool(name="drizzle-kit migrate", prepare=prepare_drizzle_kit, run=drizzle_kit))
    else:
        print("drizzle-kit is not installed here and left out: `make drizzle-peers` (needs npm)")
    others.append(Tool(name="no migration, reader only", prepare=lambda *_: None, run=lambda *_: nothing(form)))
    return promotions, others


def write_folder(directory: Path, *, concurrently: bool = True) -> None:
    """The migrations as drizzle-kit 0.31 keeps them."""
    folder = directory / "drizzle"
    (folder / "meta").mkdir(parents=True)
    entries = []
    for index, text in enumerate(MIGRATIONS):
        tag = f"{index:04}_step"
        (folder / f"{tag}.sql").write_text(text if concurrently else text.replace(" CONCURRENTLY", ""))
        when = 1_767_225_600_000 + index
        entries.append({"idx": index, "version": "7", "when": when, "tag": tag, "breakpoints": True})
    journal = {"version": "7", "dialect": "postgresql", "entries": entries}
    (folder / "meta" / "_journal.json").write_text(json.dumps(journal))


def rehearse(form: Form, production: Conninfo, directory: Path) -> None:
    """A clean receipt, approved: on a private server, as `pgrehearse run` makes it."""
    write_folder(directory)
    (directory / "pgrehearse.toml").write_text(CONFIGURATION.format(recoverability=form.recoverability))
    for arguments in (["run", "--source", "prd"], ["approve"]):
        done = pgrehearse(arguments, production, directory)
        if done.returncode != 0:
            raise SystemExit(f"pgrehearse {arguments[0]}: exit code {done.returncode}\n{done.stdout}{done.stderr}")


def promote(form: Form, lock_timeout_s: float, production: Conninfo, directory: Path) -> str:
    """Promote until it has arrived; a promotion that gave way to others is started again."""
    arguments = ["promote", "--json", "--lock-timeout", f"{lock_timeout_s:g}", "--max-block", f"{form.max_block_s:g}"]
    for tries in range(1, MOST_TRIES + 1):
        done = pgrehearse(arguments, production, directory)
        if done.returncode == 0:
            return "applied" if tries == 1 else f"applied, started {tries} times"
        if json.loads(done.stdout).get("error", {}).get("code") not in GAVE_WAY:
            return f"exit code {done.returncode}: {done.stderr.strip()}"
    return f"gave way {MOST_TRIES} times"


def pgrehearse(arguments: Sequence[str], production: Conninfo, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PGREHEARSE, *arguments],
        cwd=directory,
        env={**os.environ, "BENCHMARK_URL": production.as_url()},
        capture_output=True,
        text=True,
        check=False,
    )


def psql(server: LocalServer, production: Conninfo, directory: Path) -> str:
    text, environment = production.for_child()
    files = [f"--file={file}" for file in sorted((directory / "drizzle").glob("*.sql"))]
    command = [server.binaries.program("psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", *files, text]
    return outcome_of(subprocess.run(command, env=environment, capture_output=True, text=True, check=False))


def prepare_drizzle_kit(_production: Conninfo, directory: Path) -> None:
    write_folder(directory, concurrently=False)
    (directory / "drizzle.config.ts").write_text(DRIZZLE_CONFIG)
    (directory / "node_modules").symlink_to(PEER / "node_modules")


def drizzle_kit(production: Conninfo, directory: Path) -> str:
    given = production.parameters
    user, password = quote(given["user"], safe=""), quote(given["password"], safe="")
    # node-postgres reads a socket directory from the parameter `host`.
    url = f"postgres://{user}:{password}@/{given['dbname']}?host={quote(given['host'], safe='/')}"
    return outcome_of(
        subprocess.run(
            ["node", "node_modules/drizzle-kit/bin.cjs", "migrate"],
            cwd=directory,
            env={**os.environ, "DATABASE_URL": url, "CI": "1", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    )


def nothing(form: Form) -> str:
    time.sleep(form.idle_s)
    return "nothing to apply"


def outcome_of(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode == 0:
        return "applied"
    return f"exit code {done.returncode}: {(done.stderr or done.stdout).strip().splitlines()[-1]}"


if __name__ == "__main__":
    if sys.argv[1:2] == ["short"]:
        raise SystemExit(main(SHORT))
    raise SystemExit(
        main(
            replace(
                LONG,
                scale=int(sys.argv[1]) if len(sys.argv) > 1 else LONG.scale,
                rounds=int(sys.argv[2]) if len(sys.argv) > 2 else LONG.rounds,
            )
        )
    )

"""What a proof of the data costs, as multiples of ``count(*)`` on the same tables in the same run.

    .venv/bin/python benchmarks/fingerprint.py [ROWS] [ROUNDS]

Makes a private server (PostgreSQL 18, else what is installed) and a database of 42 tables of five shapes, the n-th of a
shape a fraction of the first, ROWS rows in all (default 2,000,000; 20,000,000 are some 2 GB), and its TEMPLATE copy,
in which a migration changes 1,000 rows of one table and adds a column to another.  Rounds alternate.  CPU is that of
the server's processes, so that other work on the machine counts less; ratios travel between machines, seconds don't.
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
from psycopg import sql

from pgrehearse.data.columns import TypePair
from pgrehearse.data.digest import digest_sql
from pgrehearse.data.fingerprint import Layout, Side, layout_of, read_fingerprint
from pgrehearse.data.loss import compare_data
from pgrehearse.data.pairing import follow_columns, pair_tables
from pgrehearse.data.proof import Proof
from pgrehearse.data.session import prepare_session
from pgrehearse.data.tables import Table, read_tables
from pgrehearse.data.untouched import Baseline, read_baseline
from pgrehearse.errors import MissingBinaries
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

TABLES = 42
SHAPES = {
    "orders": (
        "id bigint PRIMARY KEY, customer int, placed timestamptz, total numeric(10,2), status text, paid boolean,"
        " note text, ref uuid, weight float8",
        "i, i % 5000, timestamptz '2024-01-01' + i * interval '1 min', i % 10000 / 7.0,"
        " (ARRAY['new', 'paid', 'sent'])[i % 3 + 1], i % 2 = 0, repeat('note ', i % 9), gen_random_uuid(), i / 3.0",
    ),
    "lines": (
        "order_id bigint, line int, product int, quantity int, price numeric(10,2), PRIMARY KEY (order_id, line)",
        "i / 4, i % 4, i % 900, i % 7, i % 100 / 3.0",
    ),
    "events": (
        "id uuid PRIMARY KEY, at timestamptz, kind text, body jsonb",
        "gen_random_uuid(), timestamptz '2024-01-01' + i * interval '1 s', 'kind ' || i % 20,"
        " jsonb_build_object('user', i % 5000, 'path', '/p/' || i, 'ok', true)",
    ),
    "users": (
        "email text PRIMARY KEY, name varchar(80), born date, active boolean, tags text[]",
        "i || '@example.org', 'Name ' || i, date '1950-01-01' + i % 20000, i % 3 = 0, ARRAY['a', 'b' || i % 10]",
    ),
    "log": (
        "at timestamptz, level int, line text",
        "timestamptz '2024-01-01' + i * interval '1 s', i % 5, 'line ' || i",
    ),
}
PLAN = (
    "UPDATE public.orders_1 SET note = 'changed'"
    " WHERE id IN (SELECT id FROM public.orders_1 ORDER BY id % 97, id LIMIT 1000)",
    "ALTER TABLE public.users_1 ADD COLUMN nick text",
)
OWNER = "shop"
ENOUGH_ROWS = 2_000_000  # scans of fewer are repeated: a process's CPU time is counted in steps of 10 ms


def start() -> LocalServer:
    for major in (18, 17, 16, 15, 14):
        try:
            return LocalServer.create(require_server(major))
        except MissingBinaries:
            continue
    raise SystemExit("no PostgreSQL server binaries on this machine")


def fill(session: Connection, rows: int) -> int:
    """42 tables; returns how many rows were made."""
    places = [(name, place) for place in range(1, TABLES // len(SHAPES) + 2) for name in SHAPES][:TABLES]
    unit = rows / sum(1 / place**2 for _, place in places)
    made = 0
    for name, place in places:
        columns, values = SHAPES[name]
        count = int(unit / place**2)
        made += count
        session.execute(f"CREATE TABLE {name}_{place} ({columns})")
        session.execute(f"INSERT INTO {name}_{place} SELECT {values} FROM generate_series(1, {count}) i")
        session.execute(f"ALTER TABLE {name}_{place} OWNER TO {OWNER}")
    session.execute("VACUUM (ANALYZE, FREEZE)")
    return made


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds."""

    wall: float
    cpu: float


class Stopwatch:
    """Wall time, and the CPU time of all processes of a server, those that have ended included."""

    def __init__(self, server: LocalServer) -> None:
        assert server.pid is not None
        self._postmaster = psutil.Process(server.pid)

    def _cpu(self) -> float:
        times = self._postmaster.cpu_times()
        total = times.user + times.system + times.children_user + times.children_system
        for child in self._postmaster.children():
            try:
                own = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += own.user + own.system
        return float(total)

    def time(self, work: Callable[[], object]) -> Spent:
        began, cpu = time.perf_counter(), self._cpu()
        work()
        wall = time.perf_counter() - began
        time.sleep(0.3)  # until sessions that were closed have ended
        return Spent(wall, self._cpu() - cpu)


def median(spent: Sequence[Spent]) -> Spent:
    return Spent(statistics.median(each.wall for each in spent), statistics.median(each.cpu for each in spent))


def scans(session: Connection, layouts: list[tuple[Table, Layout]]) -> dict[str, Callable[[], object]]:
    """One side's scans on one session, without parallel workers."""

    def count() -> None:
        for table, _ in layouts:
            session.execute(sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(table.identifier))

    def digest() -> None:
        for table, layout in layouts:
            session.execute(digest_sql(layout, table, Side.BEFORE, sql.SQL("")))

    def fingerprint() -> None:
        for table, layout in layouts:
            read_fingerprint(session, layout, table, Side.BEFORE)

    return {"count(*)": count, "digest of all values": digest, "and column by column": fingerprint}


def migrate(server: LocalServer, database: str, role: str) -> Baseline:
    with connect(server.conninfo(), verb="benchmark") as admin:
        admin.execute(f"CREATE DATABASE {database} TEMPLATE pristine OWNER {OWNER}")
    with connect(server.conninfo(database), verb="benchmark") as admin:
        baseline = read_baseline(admin, role=role)
    with connect(server.conninfo(database), verb="benchmark") as plan:
        plan.execute(f"SET SESSION AUTHORIZATION {role}")
        for statement in PLAN:
            plan.execute(statement)
    return baseline


def proofs(server: LocalServer, watch: Stopwatch, rounds: int) -> None:
    """What a rehearsal's comparison costs, both sides, two jobs, with the server's parallel workers."""
    baselines = {role: migrate(server, f"clone_of_{role}", role) for role in (OWNER, "postgres")}

    def compare(role: str, proof: Proof, ignored: frozenset[str] = frozenset()) -> Callable[[], object]:
        def work() -> None:
            compared = compare_data(
                lambda: connect(server.conninfo("pristine"), verb="benchmark"),
                lambda: connect(server.conninfo(f"clone_of_{role}"), verb="benchmark"),
                proof=proof, baseline=baselines[role], ignore_relations=ignored,
            )  # fmt: skip
            changed = {t.name: sum(c.values_changed or 0 for c in t.columns) for t in compared.tables if t.lost}
            assert changed == ({} if ignored else {"public.orders_1": 1000}), changed

        return work

    touched = frozenset({"public.orders_1"})
    works = {
        "count": lambda: count_both(server),
        "full": compare(OWNER, Proof.FULL),
        "rest": compare(OWNER, Proof.FULL, touched),
        "ordinary": compare(OWNER, Proof.TOUCHED),
        "superuser": compare("postgres", Proof.TOUCHED),
    }
    spent: dict[str, list[Spent]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            spent[name].append(watch.time(work))
    found = {name: median(each) for name, each in spent.items()}
    share = found["full"].cpu - found["rest"].cpu
    aim = share + 2 * found["count"].cpu / 2
    print("\nproof of a migration that changes 1,000 rows of one of 42 tables, both sides:")
    print(f"  count(*) of all tables, one side      {found['count'].cpu / 2:8.2f} s CPU")
    print(f"  --proof full                          {found['full'].cpu:8.2f} s CPU {found['full'].wall:8.2f} s")
    print(f"    of which the touched table          {share:8.2f} s CPU")
    for name, told in (("ordinary", "an ordinary role's"), ("superuser", "a superuser's")):
        each = found[name]
        print(f"  --proof touched, {told:<20} {each.cpu:8.2f} s CPU {each.wall:8.2f} s  "
              f"{each.cpu / aim:5.2f} x (the table's share + 2 count(*) of one side); "
              f"{found['full'].wall / each.wall:.1f} x faster than full")  # fmt: skip


def count_both(server: LocalServer) -> None:
    for database in ("pristine", f"clone_of_{OWNER}"):
        with connect(server.conninfo(database), verb="benchmark") as session:
            prepare_session(session)
            for table in read_tables(session).leaves:
                session.execute(sql.SQL("SELECT pg_catalog.count(*) FROM ONLY {}").format(table.identifier))


def main(rows: int, rounds: int) -> None:
    with start() as server:
        watch = Stopwatch(server)
        with connect(server.conninfo(), verb="benchmark") as admin:
            admin.execute(f"CREATE ROLE {OWNER}")
            admin.execute(f"CREATE DATABASE pristine OWNER {OWNER}")
            with connect(server.conninfo("pristine"), verb="benchmark") as session:
                made = fill(session, rows)
            size_bytes = admin.execute("SELECT pg_catalog.pg_database_size('pristine')").fetchone()
            assert size_bytes is not None
        print(
            f"PostgreSQL {server.major}, {made:,} rows in {TABLES} tables, {size_bytes[0] / 1e9:.2f} GB,"
            f" {rounds} rounds"
        )
        with connect(server.conninfo("pristine"), verb="benchmark") as session:
            prepare_session(session)
            session.execute("SET max_parallel_workers_per_gather = 0")
            tables = read_tables(session)
            types = TypePair(before=tables.types, after=tables.types, spell=lambda *_: "", castable=lambda *_: True)
            pools = [(pool, layout_of(pool, follow_columns(pool, types))) for pool in pair_tables(tables, tables)]
            works = scans(session, [(pool.before[0], layout) for pool, layout in pools])
            spent: dict[str, list[Spent]] = {name: [] for name in works}
            works["count(*)"]()  # warm
            times = max(1, ENOUGH_ROWS // rows)
            for _ in range(rounds):
                for name, work in works.items():
                    spent[name].append(watch.time(lambda work=work: [work() for _ in range(times)]))  # type: ignore[misc]
        unit = median(spent["count(*)"])
        print(f"scans of one side, without parallel workers, {times} of each:")
        for name, each in spent.items():
            found = median(each)
            aim = "  (aim: at most 10)" if name.startswith("digest") else ""
            print(f"  {name:<24} {found.cpu:8.2f} s CPU {found.cpu / unit.cpu:6.1f} x {found.wall:8.2f} s{aim}")
        proofs(server, watch, rounds)


if __name__ == "__main__":
    main(
        rows=int(sys.argv[1].replace("_", "").replace(",", "")) if len(sys.argv) > 1 else 2_000_000,
        rounds=int(sys.argv[2]) if len(sys.argv) > 2 else 3,
    )

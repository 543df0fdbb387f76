"""What a fingerprint costs, as a multiple of ``count(*)`` on the same tables in the same run.

    .venv/bin/python benchmarks/fingerprint.py [ROWS] [ROUNDS]

Makes a private server (PostgreSQL 18, else what is installed) and five tables of ROWS rows in all (default
1,000,000), then alternates the two, without parallel workers, and prints medians and their ratio.  Ratios
travel between machines; seconds don't.
"""

import statistics
import sys
import time
from collections.abc import Callable

from pgrehearse.data.columns import TypePair
from pgrehearse.data.fingerprint import Side, layout_of, read_fingerprint
from pgrehearse.data.loss import compare_data
from pgrehearse.data.pairing import follow_columns, pair_tables
from pgrehearse.data.session import prepare_session
from pgrehearse.data.tables import read_tables
from pgrehearse.errors import MissingBinaries
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.local_server import LocalServer

TABLES = """
CREATE TABLE orders (id bigint PRIMARY KEY, customer int, placed timestamptz, total numeric(10,2), status text,
                     paid boolean, note text, ref uuid, weight float8);
CREATE TABLE lines (order_id bigint, line int, product int, quantity int, price numeric(10,2),
                    PRIMARY KEY (order_id, line));
CREATE TABLE events (id uuid PRIMARY KEY, at timestamptz, kind text, body jsonb);
CREATE TABLE users (email text PRIMARY KEY, name varchar(80), born date, active boolean, tags text[]);
CREATE TABLE log (at timestamptz, level int, line text);
INSERT INTO orders SELECT i, i % 5000, timestamptz '2024-01-01' + i * interval '1 min', i % 10000 / 7.0,
    (ARRAY['new', 'paid', 'sent'])[i % 3 + 1], i % 2 = 0, repeat('note ', i % 9), gen_random_uuid(), i / 3.0
    FROM generate_series(1, {share}) i;
INSERT INTO lines SELECT i / 4, i % 4, i % 900, i % 7, i % 100 / 3.0 FROM generate_series(1, {share}) i;
INSERT INTO events SELECT gen_random_uuid(), timestamptz '2024-01-01' + i * interval '1 s', 'kind ' || i % 20,
    jsonb_build_object('user', i % 5000, 'path', '/p/' || i, 'ok', true) FROM generate_series(1, {share}) i;
INSERT INTO users SELECT i || '@example.org', 'Name ' || i, date '1950-01-01' + i % 20000, i % 3 = 0,
    ARRAY['a', 'b' || i % 10] FROM generate_series(1, {share}) i;
INSERT INTO log SELECT timestamptz '2024-01-01' + i * interval '1 s', i % 5, 'line ' || i
    FROM generate_series(1, {share}) i;
"""


def start() -> LocalServer:
    for major in (18, 17, 16, 15, 14):
        try:
            return LocalServer.create(require_server(major))
        except MissingBinaries:
            continue
    raise SystemExit("no PostgreSQL server binaries on this machine")


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(rows: int, rounds: int) -> None:
    with start() as server:
        with connect(server.conninfo(), verb="benchmark") as admin:
            admin.execute("CREATE DATABASE pristine")
            with connect(server.conninfo("pristine"), verb="benchmark") as session:
                session.execute(TABLES.format(share=rows // 5))
                session.execute("VACUUM (ANALYZE, FREEZE)")
            admin.execute("CREATE DATABASE clone TEMPLATE pristine")
        with connect(server.conninfo("pristine"), verb="benchmark") as session:
            prepare_session(session)
            session.execute("SET max_parallel_workers_per_gather = 0")
            tables = read_tables(session)
            types = TypePair(before=tables.types, after=tables.types, spell=lambda *_: "", castable=lambda *_: True)
            pools = [(pool, layout_of(pool, follow_columns(pool, types))) for pool in pair_tables(tables, tables)]

            def count() -> None:
                for name in ("orders", "lines", "events", "users", "log"):
                    session.execute(f"SELECT count(*) FROM public.{name}")

            def fingerprint() -> None:
                for pool, layout in pools:
                    read_fingerprint(session, layout, pool.before[0], Side.BEFORE)

            count()  # warm
            fingerprint()
            counts, prints = [], []
            for _ in range(rounds):
                counts.append(timed(count))
                prints.append(timed(fingerprint))
        whole = timed(
            lambda: compare_data(
                lambda: connect(server.conninfo("pristine"), verb="benchmark"),
                lambda: connect(server.conninfo("clone"), verb="benchmark"),
            )
        )
        median_count, median_print = statistics.median(counts), statistics.median(prints)
        print(f"PostgreSQL {server.major}, {rows:,} rows in 5 tables, {rounds} alternating rounds, no parallel workers")
        print(f"count(*)      median {median_count * 1000:9.1f} ms")
        print(f"fingerprint   median {median_print * 1000:9.1f} ms")
        print(f"ratio         {median_print / median_count:.1f}")
        print(f"compare_data of two equal databases, 2 jobs: {whole:.2f} s")


if __name__ == "__main__":
    main(
        rows=int(sys.argv[1].replace("_", "").replace(",", "")) if len(sys.argv) > 1 else 1_000_000,
        rounds=int(sys.argv[2]) if len(sys.argv) > 2 else 5,
    )

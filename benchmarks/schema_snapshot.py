"""Read, fingerprint and compare the schema of N tables, against `pg_dump --schema-only` in the same run.

    python benchmarks/schema_snapshot.py [TABLES] [RUNS]        (2,000 tables, 5 alternating runs)

Each run changes a few objects, and reads the whole schema, and again only what changed; both must find the same.
Quote the ratio, not the seconds: both sides alternate, so that what else the machine does hits both.  CPU is that of
this process, its children, and the server.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from pgrehearse.postgres.binaries import require_client, require_server
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.schema.diff import diff
from pgrehearse.schema.fingerprint import fingerprint
from pgrehearse.schema.known import read_known_schema, read_schema_again
from pgrehearse.schema.snapshot import read_schema

MAJOR = 18
PEER, WHOLE, AGAIN = "pg_dump --schema-only", "read_schema", "read what changed"
Found = TypeVar("Found")
CHUNK = 500  # tables per transaction: each takes some ten locks
FILL = """
DO $$ BEGIN
    FOR i IN {first}..{last} LOOP
        EXECUTE format('CREATE TABLE t%s (id bigserial PRIMARY KEY, name varchar(40) NOT NULL DEFAULT ''x'','
            'status varchar CHECK (status IN (''a'', ''b'')),'
            'made timestamptz DEFAULT now(), price numeric(10, 2))', i);
        EXECUTE format('CREATE INDEX ON t%s (status) WHERE status IN (''a'', ''b'')', i);
        IF i % 3 = 0 THEN
            EXECUTE format('CREATE VIEW v%s AS SELECT id, name FROM t%s WHERE status IN (''a'', ''b'')', i, i);
        END IF;
    END LOOP;
END $$
"""
# What a release changes: a column, an index, a rename that a view shows, a new table, a dropped one.
MIGRATION = """
ALTER TABLE t{n} ADD COLUMN added integer NOT NULL DEFAULT 0;
CREATE INDEX ON t{n} (made);
ALTER TABLE t{n} RENAME COLUMN name TO title;
CREATE TABLE new{n} (id bigint PRIMARY KEY, of bigint REFERENCES t{n});
CREATE FUNCTION f{n}() RETURNS integer LANGUAGE sql AS 'SELECT 1';
"""


def main() -> None:
    tables = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    server = LocalServer.create(require_server(MAJOR))
    try:
        with connect(server.conninfo(), verb="benchmark") as session:
            for first in range(0, tables, CHUNK):
                session.execute(FILL.format(first=first, last=min(first + CHUNK, tables) - 1).encode())
            session.execute("ANALYZE")
            measure(server, session, runs)
    finally:
        server.wipe()


def measure(server: LocalServer, session: Connection, runs: int) -> None:
    text, environment = server.conninfo().for_child()
    pg_dump = [require_client(MAJOR).program("pg_dump"), "--schema-only", "--file=/dev/null", "--dbname", text]
    schema = read_schema(session)
    known = read_known_schema(session)
    seconds: dict[str, list[float]] = {}
    cpu_seconds: dict[str, list[float]] = {}

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

    def timed(name: str, work: Callable[[], Found]) -> Found:
        start, cpu = time.perf_counter(), cpu_s()
        found = work()
        seconds.setdefault(name, []).append(time.perf_counter() - start)
        cpu_seconds.setdefault(name, []).append(cpu_s() - cpu)
        return found

    for run in range(runs):
        session.execute(MIGRATION.format(n=3 * run).encode())
        timed(PEER, lambda: subprocess.run(pg_dump, env=environment, check=True))
        whole = timed(WHOLE, lambda: read_schema(session))
        timed("with its footprint", lambda: read_known_schema(session))
        known = timed(AGAIN, lambda known=known: read_schema_again(session, known))  # type: ignore[misc]
        assert known.schema == whole
        timed("fingerprint", lambda: fingerprint(schema))
        timed("diff, nothing changed", lambda: diff(schema, schema))
    unit, cpu_unit = statistics.median(seconds[PEER]), statistics.median(cpu_seconds[PEER])
    print(f"PostgreSQL {MAJOR}, {len(schema.objects)} objects, medians of {runs} alternating runs")
    for name, values in seconds.items():
        median, cpu = statistics.median(values), statistics.median(cpu_seconds[name])
        wall = f"{name:24} {median:7.2f} s   {median / unit:5.2f} x pg_dump"
        print(f"{wall}   CPU {cpu:6.2f} s   {cpu / cpu_unit:5.2f} x pg_dump")
    faster, less = (
        statistics.median(found[WHOLE]) / statistics.median(found[AGAIN]) for found in (seconds, cpu_seconds)
    )
    print(f"{WHOLE} takes {faster:.1f} times (CPU {less:.1f} times) what {AGAIN} does; aim: 10")


if __name__ == "__main__":
    main()

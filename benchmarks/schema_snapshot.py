"""Read, fingerprint and compare the schema of N tables, against `pg_dump --schema-only` in the same run.

    python benchmarks/schema_snapshot.py [TABLES] [RUNS]        (2,000 tables, 5 alternating runs)

Quote the ratio, not the seconds: both sides alternate, so that what else the machine does hits both.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from pgrehearse.postgres.binaries import require_client, require_server
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.schema.diff import diff
from pgrehearse.schema.fingerprint import fingerprint
from pgrehearse.schema.snapshot import read_schema

MAJOR = 18
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
    seconds: dict[str, list[float]] = {}

    def timed(name: str, work: Callable[[], object]) -> None:
        start = time.perf_counter()
        work()
        seconds.setdefault(name, []).append(time.perf_counter() - start)

    for _ in range(runs):
        timed("pg_dump --schema-only", lambda: subprocess.run(pg_dump, env=environment, check=True))
        timed("read_schema", lambda: read_schema(session))
        timed("fingerprint", lambda: fingerprint(schema))
        timed("diff, nothing changed", lambda: diff(schema, schema))
    unit = statistics.median(seconds["pg_dump --schema-only"])
    print(f"PostgreSQL {MAJOR}, {len(schema.objects)} objects, medians of {runs} alternating runs")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:24} {median:7.2f} s   {median / unit:5.2f} x pg_dump")


if __name__ == "__main__":
    main()

"""The exact loss report and the full fingerprint of one table, against data-diff on the same table, all columns.

    make data-diff-peer
    .venv/bin/python benchmarks/loss_report.py [ROWS] [CHANGED] [ROUNDS]

Makes a private server (PostgreSQL 18, else what is installed) with a table of ROWS rows (default 5,000,000) and its
TEMPLATE copy, in which CHANGED rows (default 1,000) get another value.  The two tools alternate; medians and ratios are
printed, and both must find exactly what was changed.  data-diff runs with as many threads as there are processors, on a
checked-unique key; its own start-up (about a second) is in its figure, and ours is not more than that.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from pgrehearse.data.loss import compare_data
from pgrehearse.errors import MissingBinaries
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

PEER = Path(__file__).parents[1] / ".peers" / "data-diff" / "bin" / "data-diff"
COLUMNS = ("customer", "placed", "total", "status", "paid", "note", "ref", "weight")
TABLE = """
CREATE TABLE orders (id bigint PRIMARY KEY, customer int, placed timestamptz, total numeric(10,2), status text,
                     paid boolean, note text, ref uuid, weight float8);
INSERT INTO orders SELECT i, i % 5000, timestamptz '2024-01-01' + i * interval '1 min', i % 10000 / 7.0,
    (ARRAY['new', 'paid', 'sent'])[i % 3 + 1], i % 2 = 0, repeat('note ', i % 9), gen_random_uuid(), i / 3.0
    FROM generate_series(1, {rows}) i
"""
CHANGE = "UPDATE orders SET total = total + 1 WHERE id % {step} = 7"


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


def data_diff(server: LocalServer, before: str, after: str) -> int:
    """How many lines of difference it printed: a changed row is two."""
    with TemporaryDirectory() as folder:
        settings = Path(folder) / "data-diff.toml"
        lines = []
        for name in (before, after):
            address = server.conninfo(name).parameters
            lines += [f"[database.{name}]", 'driver = "postgresql"', f'host = "{address["host"]}"']
            lines += [f'user = "{address["user"]}"', f'password = "{address["password"]}"', f'database = "{name}"']
        lines += [
            "[run.default]", f'1.database = "{before}"', '1.table = "orders"', f'2.database = "{after}"',
            '2.table = "orders"',
        ]  # fmt: skip
        settings.write_text("\n".join(lines), encoding="utf-8")
        settings.chmod(0o600)
        command = [str(PEER), "--conf", str(settings), "--run", "default", "-k", "id", "--no-tracking", "--json"]
        command += ["-j", str(os.cpu_count() or 1), "--algorithm", "hashdiff", "--assume-unique-key"]
        for column in COLUMNS:
            command += ["-c", column]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"data-diff failed: {result.stderr[-2000:]}")
    return sum(1 for line in result.stdout.splitlines() if line.startswith("["))


def report(server: LocalServer, before: str, after: str) -> int:
    """How many values the loss report says were changed."""

    def session(name: str) -> Callable[[], Connection]:
        return lambda: connect(server.conninfo(name), verb="benchmark")

    compared = compare_data(session(before), session(after))
    assert compared.not_measured == ()
    json.dumps(compared.as_json())
    return sum(column.values_changed or 0 for table in compared.tables for column in table.columns)


def main(rows: int, changed: int, rounds: int) -> None:
    if not PEER.exists():
        raise SystemExit("data-diff is not there: make data-diff-peer")
    with start() as server:
        with connect(server.conninfo(), verb="benchmark") as admin:
            admin.execute("CREATE DATABASE pristine")
            with connect(server.conninfo("pristine"), verb="benchmark") as session:
                session.execute(TABLE.format(rows=rows))
                session.execute("VACUUM (ANALYZE, FREEZE)")
            for name in ("migrated", "same"):
                admin.execute(f"CREATE DATABASE {name} TEMPLATE pristine")
            with connect(server.conninfo("migrated"), verb="benchmark") as session:
                expected = session.execute(CHANGE.format(step=max(1, rows // changed))).rowcount
                session.execute("VACUUM ANALYZE")
        figures: dict[str, list[float]] = {}
        for _ in range(rounds):
            for title, after, work, found in (
                ("loss report, pgrehearse", "migrated", report, expected),
                ("loss report, data-diff", "migrated", data_diff, 2 * expected),
                ("equal tables, pgrehearse", "same", report, 0),
                ("equal tables, data-diff", "same", data_diff, 0),
            ):

                def run(work: Callable[..., int] = work, after: str = after, found: int = found) -> None:
                    told = work(server, "pristine", after)
                    assert told == found, f"{told} differences told, {found} there are"

                seconds = timed(run)
                figures.setdefault(title, []).append(seconds)
                print(f"{title}: {seconds:.2f} s", file=sys.stderr, flush=True)
        version = server.major
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"PostgreSQL {version}, {rows:,} rows of 9 columns, {expected:,} of them changed, {rounds} alternating rounds"
    )
    medians = {title: statistics.median(found) for title, found in figures.items()}
    for title, seconds in medians.items():
        print(f"{title:<26} {seconds:8.2f} s")
    for what, goal in (("loss report", 5), ("equal tables", 9)):
        ratio = medians[f"{what}, data-diff"] / medians[f"{what}, pgrehearse"]
        print(f"{what:<26} {ratio:8.1f} x faster (goal {goal})")
    print(f"peak memory of pgrehearse  {peak_mb:8.0f} MB")


if __name__ == "__main__":
    numbers = [int(text.replace("_", "").replace(",", "")) for text in sys.argv[1:]]
    main(*(numbers + [5_000_000, 1_000, 3][len(numbers) :]))

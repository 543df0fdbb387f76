"""How a rehearsal grows with the database: its time, its proof, and the tool's own memory.

    python benchmarks/growth.py [GB…] [--plot FILE.svg]        (0.02 0.2 2)

For each size a private server gets a database of 42 tables, the n-th 1/n² of the first, and the command `pgrehearse
run` rehearses a plan that changes 1,000 rows of one table, adds a column to another and an index to a third: once with
`--proof touched`, once with `--proof full`.  Peak memory is that of the tool's own process (VmHWM), neither the
servers' nor that of pg_dump and pg_restore.  A run needs some five times the database's size on disk.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.local_server import LocalServer

MAJOR = 18
TABLES = 42
ROWS_PER_GB = 4_900_000
PROGRAM = str(Path(sys.executable).with_name("pgrehearse"))
AIM_MB = 200
PLAN = (
    "UPDATE t2 SET note = 'changed' WHERE id <= 1000;",
    "ALTER TABLE t3 ADD COLUMN nick text;",
    "CREATE INDEX t4_customer ON t4 (customer);",
)
CREATE = """
CREATE TABLE {} (id bigint PRIMARY KEY, customer integer, placed timestamptz, total numeric(10,2), status text,
                 note text, ref uuid, body jsonb)
"""
FILL = """
INSERT INTO {} SELECT i, i % 5000, timestamptz '2024-01-01' + i * interval '1 s', i % 10000 / 7.0,
    (ARRAY['new', 'paid', 'sent'])[i % 3 + 1], repeat('note ', i % 9), gen_random_uuid(),
    jsonb_build_object('user', i % 5000, 'path', '/p/' || i) FROM generate_series(1, {}) i
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One size."""

    size_bytes: int
    rows: int
    count_s: float  # count(*) of every table, one session
    whole_s: float
    touched_s: float  # the comparison with --proof touched
    full_s: float  # and with --proof full
    peak_mb: float  # the greater of the two runs

    def row(self) -> str:
        """As the table in the docs has it."""
        return (
            f"| {self.size_bytes / 1e9:.2f} GB | {self.rows:,} | {self.count_s:.2f} s | {self.whole_s:.1f} s "
            f"| {self.touched_s:.2f} s | {self.full_s:.2f} s | {self.peak_mb:.0f} MB |"
        )


HEADER = (
    "| database | rows | `count(*)` of all | whole rehearsal | comparison `touched` | … `full` | tool's peak memory |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def main(sizes: Sequence[float], plot: Path | None) -> None:
    found = []
    print(f"PostgreSQL {MAJOR}, {TABLES} tables; memory: aim at most {AIM_MB} MB")
    print(HEADER)
    for size in sizes:
        found.append(measure(size))
        print(found[-1].row(), flush=True)
    if plot is not None:
        plot.write_text(draw(found), encoding="utf-8")


def measure(size_gb: float) -> Measured:
    server = LocalServer.create(require_server(MAJOR))
    try:
        with connect(server.conninfo(), verb="benchmark") as session:
            session.execute("CREATE DATABASE shop")
        with connect(server.conninfo("shop"), verb="benchmark") as session:
            rows = fill(session, int(size_gb * ROWS_PER_GB))
            (size,) = session.execute("SELECT pg_database_size(current_database())").fetchone() or (0,)
            began = time.perf_counter()
            for number in range(1, TABLES + 1):
                session.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(f"t{number}")))
            count_s = time.perf_counter() - began
        touched, whole_s, one_mb = rehearse(server, "touched")
        full, _, other_mb = rehearse(server, "full")
    finally:
        server.wipe()
    return Measured(
        size_bytes=size, rows=rows, count_s=count_s, whole_s=whole_s, touched_s=touched, full_s=full,
        peak_mb=max(one_mb, other_mb),
    )  # fmt: skip


def fill(session: Connection, rows: int) -> int:
    """Returns how many rows were made."""
    unit = rows / sum(1 / number**2 for number in range(1, TABLES + 1))
    made = 0
    for number in range(1, TABLES + 1):
        table, count = sql.Identifier(f"t{number}"), int(unit / number**2)
        session.execute(sql.SQL(CREATE).format(table))
        session.execute(sql.SQL(FILL).format(table, count))
        made += count
    session.execute("VACUUM (ANALYZE, FREEZE)")
    return made


def rehearse(server: LocalServer, proof: str) -> tuple[float, float, float]:
    """Seconds of the comparison and of the whole command, and the tool's peak memory in MB."""
    with tempfile.TemporaryDirectory(prefix="pgrehearse-bench-") as name:
        directory = Path(name)
        (directory / "db").mkdir()
        for number, text in enumerate(PLAN, 1):
            (directory / "db" / f"{number:04}_step.sql").write_text(text)
        environment = {**os.environ, "DATABASE_URL": server.conninfo("shop").text}
        arguments = [PROGRAM, "run", "--source", "env:DATABASE_URL", "--migrations", "db", "--proof", proof, "--json"]
        began = time.perf_counter()
        with (directory / "answer").open("wb") as answer, (directory / "errors").open("wb") as errors:
            process = subprocess.Popen(arguments, cwd=directory, env=environment, stdout=answer, stderr=errors)
            peak_mb = 0.0
            while process.poll() is None:
                peak_mb = max(peak_mb, read_peak_mb(process.pid))
                time.sleep(0.05)
        whole_s = time.perf_counter() - began
        if process.returncode not in (0, 1):
            raise SystemExit((directory / "errors").read_text())
        document = json.loads((directory / "answer").read_text())
    return document["timings"]["compare_ms"] / 1000, whole_s, peak_mb


def read_peak_mb(pid: int) -> float:
    """The process's peak resident memory so far; 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith("VmHWM:")), 0.0)


# --- the plot ------------------------------------------------------------------------------------------------

WIDTH, HEIGHT, MARGIN = 640, 360, 56
LINES: tuple[tuple[str, str, Callable[[Measured], float]], ...] = (
    ("whole rehearsal", "#1f5fa8", lambda m: m.whole_s),
    ("comparison, --proof full", "#b3471f", lambda m: m.full_s),
    ("comparison, --proof touched", "#2f7d4f", lambda m: m.touched_s),
    ("count(*) of all tables", "#777777", lambda m: m.count_s),
)


def draw(found: Sequence[Measured]) -> str:
    """Seconds over size, both logarithmic, as SVG."""
    seconds = [value(each) for each in found for _, _, value in LINES]
    sizes = [each.size_bytes / 1e9 for each in found]
    low_x, high_x = math.floor(math.log10(min(sizes))), math.ceil(math.log10(max(sizes)))
    low_y, high_y = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))

    def x(size: float) -> float:
        return MARGIN + (math.log10(size) - low_x) / (high_x - low_x) * (WIDTH - 2 * MARGIN)

    def y(value: float) -> float:
        return HEIGHT - MARGIN - (math.log10(value) - low_y) / (high_y - low_y) * (HEIGHT - 2 * MARGIN)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for power in range(low_x, high_x + 1):
        at = x(10.0**power)
        parts.append(f'<path d="M{at:.1f} {MARGIN}V{HEIGHT - MARGIN}" stroke="#ddd"/>')
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{10.0**power:g} GB</text>')
    for power in range(low_y, high_y + 1):
        at = y(10.0**power)
        parts.append(f'<path d="M{MARGIN} {at:.1f}H{WIDTH - MARGIN}" stroke="#ddd"/>')
        parts.append(f'<text x="{MARGIN - 6}" y="{at + 4:.1f}" text-anchor="end">{10.0**power:g} s</text>')
    for position, (name, colour, value) in enumerate(LINES):
        points = [(x(each.size_bytes / 1e9), y(value(each))) for each in found]
        path = " ".join(f"{at:.1f},{height:.1f}" for at, height in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{at:.1f}" cy="{height:.1f}" r="3.5" fill="{colour}"/>' for at, height in points]
        parts.append(f'<text x="{MARGIN + 10}" y="{12 + 14 * position}" fill="{colour}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How a rehearsal grows with the database.")
    parser.add_argument("sizes", nargs="*", type=float, default=[0.02, 0.2, 2.0], metavar="GB")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    main(options.sizes, options.plot)

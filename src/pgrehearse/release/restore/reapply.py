"""Write back onto the restored database what the application had written to the failed one."""

import re
from collections.abc import Callable
from pathlib import Path

import psycopg

from pgrehearse.counted import counted
from pgrehearse.errors import NotReapplied
from pgrehearse.postgres.connect import Connection

_ROWS = re.compile(r"  -- rows: (\d+)$")
_EVERY = 500  # statements between two words of progress


def reapply(session: Connection, file: Path, *, advance: Callable[[int], None] = lambda _: None) -> int:
    """Run the exported SQL; the number of its statements that wrote rows.

    The file is one transaction.  Each statement must write as many rows as its line says, or all is rolled back:
    raises `NotReapplied` with the line.  Needs the right to ALTER the tables (triggers, constraints).
    """
    written = 0
    try:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                if line.startswith("--"):
                    continue
                if _run(session, line, file, number):
                    written += 1
                    if written % _EVERY == 0:
                        advance(written)
    except BaseException:
        if not session.closed:
            session.execute("ROLLBACK")
        raise
    return written


def _run(session: Connection, line: str, file: Path, number: int) -> bool:
    """Whether the line is one that writes rows; raises unless it wrote as many as it says."""
    try:
        done = session.execute(line.encode(errors="surrogateescape")).rowcount
    except psycopg.Error as error:
        told = error.diag.message_primary or str(error).strip()
        raise NotReapplied(f"{file.name}:{number}: {told}") from error
    wanted = _ROWS.search(line.rstrip("\n"))
    if wanted is not None and done != int(wanted[1]):
        raise NotReapplied(f"{file.name}:{number}: it wrote {counted(done, 'row')} and should have written {wanted[1]}")
    return wanted is not None

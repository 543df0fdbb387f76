"""Scans of whole tables on both sides at once, big ones in parts: so they tell how far they are, and end when told.

A part is a range of blocks (a TID range scan, since PostgreSQL 14), read by one of ``jobs`` sessions of its side; a
table of less than two parts is one query, to which the server may give parallel workers.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.data.columns import Expression
from pgrehearse.data.fingerprint import Side
from pgrehearse.data.session import Sessions, prepare_session
from pgrehearse.data.tables import Table
from pgrehearse.postgres.connect import Connection, fetch_value

PART_BYTES = 128 << 20  # some 0.3 s to 3 s of work
CANCEL_AGAIN_S = 0.2

Told = Callable[[Table, str], None]
"""Called with (table, what of it: "3.1 of 41.5 GB") after each part of a table of several."""

Query = Callable[[Expression], sql.Composed]
"""From a WHERE clause, perhaps empty, to a query of one row."""


class Scans:
    """``jobs`` sessions to each side, opened when they are first needed, closed by `close`.

    Nothing writes to either database meanwhile, so parts read one after the other fit together.
    """

    def __init__(self, pristine: Sessions, clone: Sessions, *, jobs: int, told: Told) -> None:
        self._open = {Side.BEFORE: pristine, Side.AFTER: clone}
        self._jobs = max(1, jobs)
        self._told = told
        self._local = threading.local()
        self._lock = threading.Lock()
        self._opened: list[Connection] = []
        self._stopped = False
        self._block_bytes = 0
        self._read: dict[int, list[int]] = {}  # by the pristine table's oid: bytes read, and bytes in all
        self._workers = {side: ThreadPoolExecutor(self._jobs, f"scan {side.value}") for side in Side}

    def session(self, side: Side) -> Connection:
        """The calling thread's own session to this side; `close` closes it, `stop` cancels what it runs."""
        found: Connection | None = getattr(self._local, side.name, None)
        if found is None:
            found = prepare_session(self._open[side]())
            setattr(self._local, side.name, found)
            with self._lock:
                self._opened.append(found)
                self._block_bytes = self._block_bytes or int(fetch_value(found, "SHOW block_size"))
        if self._stopped:  # between two queries nothing can be cancelled
            raise psycopg.errors.QueryCanceled("stopped")
        return found

    def scan(self, *wanted: tuple[Side, Table, Query]) -> list[list[tuple[Any, ...]]]:
        """The rows of each wanted scan, one per part.  Blocks until all are there; raises what a query raised."""
        key = wanted[0][1].oid
        if any(table.is_heap and table.size_bytes >= 2 * PART_BYTES for _, table, _ in wanted):
            with self._lock:
                self._read[key] = [0, sum(table.size_bytes for _, table, _ in wanted)]
        parts: list[list[Future[tuple[Any, ...]]]] = [[] for _ in wanted]
        queues = [self._parts(table) for _, table, _ in wanted]
        # By turns, so that both sides begin at once when they share a queue.
        while any(queues):
            for place, (side, table, query) in enumerate(wanted):
                if queues[place]:
                    where, size_bytes = queues[place].pop(0)
                    task = self._workers[side].submit(self._scan_part, key, side, table, query(where), size_bytes)
                    parts[place].append(task)
        try:
            return [[part.result() for part in found] for found in parts]
        except BaseException:
            for part in (part for found in parts for part in found):
                part.cancel()
            raise
        finally:
            with self._lock:
                self._read.pop(key, None)

    def tell_rows(self, tables: Iterable[Table]) -> None:
        """That the rows of these are compared now, where that takes long."""
        for table in tables:
            if table.size_bytes >= 2 * PART_BYTES:
                self._told(table, "row by row")

    def stop(self) -> None:
        """Cancel every running query and begin no other."""
        self._stopped = True
        for workers in self._workers.values():
            workers.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            opened = list(self._opened)
        for connection in opened:
            with suppress(psycopg.Error):
                connection.cancel()

    def close(self) -> None:
        for workers in self._workers.values():
            workers.shutdown(wait=True)
        for connection in self._opened:
            connection.close()

    def _parts(self, table: Table) -> list[tuple[Expression, int]]:
        return list(_parts(table, self._block_bytes or 8192))

    def _scan_part(
        self, key: int, side: Side, table: Table, query: sql.Composed, size_bytes: int
    ) -> tuple[Any, ...]:  # fmt: skip
        row = self.session(side).execute(query).fetchone()
        assert row is not None
        with self._lock:
            counted = self._read.get(key)
            if counted is not None:
                counted[0] += size_bytes
                self._told(table, f"{counted[0] / 1e9:.1f} of {counted[1] / 1e9:.1f} GB")
        return tuple(row)


def _parts(table: Table, block_bytes: int) -> Iterator[tuple[Expression, int]]:
    """WHERE clauses that together choose every row once, and the bytes that each reads."""
    blocks, each = table.size_bytes // block_bytes, PART_BYTES // block_bytes
    if not table.is_heap or blocks < 2 * each:
        yield sql.SQL(""), table.size_bytes
        return
    starts = range(0, blocks - each + 1, each)  # the last part takes the rest
    for start in starts:
        low = sql.SQL(" WHERE ctid >= {}::pg_catalog.tid").format(sql.Literal(f"({start},0)"))
        if start == starts[-1]:
            yield low, (blocks - start) * block_bytes
            return
        high = sql.SQL(" AND ctid < {}::pg_catalog.tid").format(sql.Literal(f"({start + each},0)"))
        yield low + high, each * block_bytes

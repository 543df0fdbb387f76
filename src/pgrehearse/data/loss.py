"""What survived: all data of a pristine database compared with its migrated clone.

The story: read the tables of both, pair them, leave out those that nobody wrote into, take one digest of each of the
others in one scan per side, and compare by key only those that differ.  Exact throughout; what cannot be compared is
said, never assumed equal.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing

import psycopg
from psycopg import sql

from pgrehearse.data.columns import TypePair
from pgrehearse.data.fingerprint import Layout, layout_of
from pgrehearse.data.large_objects import compare_large_objects
from pgrehearse.data.orphans import find_orphans
from pgrehearse.data.pairing import Pool, follow_columns, pair_tables
from pgrehearse.data.proof import Proof
from pgrehearse.data.proving import Prover
from pgrehearse.data.scans import CANCEL_AGAIN_S, Scans
from pgrehearse.data.sequences import compare_sequences
from pgrehearse.data.session import Sessions, prepare_session
from pgrehearse.data.table_loss import BothSides, PoolResult
from pgrehearse.data.tables import Table, Tables, read_tables
from pgrehearse.data.tracing import trace
from pgrehearse.data.untouched import Baseline, Touches, read_touches
from pgrehearse.data.verdicts import ColumnVerdict, DataComparison, PartitionTree, TableVerdict, Unmeasured
from pgrehearse.errors import DataNotCompared
from pgrehearse.postgres.connect import Connection

Progress = Callable[[str, int, int], None]
"""Called with (table, how many are done, of how many); never from two threads at once.

While a big table is read, also with how much of it: ("public.events, 3.1 of 41.5 GB", 7, 42).
"""
PROGRAM_LIMIT = "54"  # SQLSTATE's class: a text beyond 1 GB, more columns than a query may have
ONLY_COUNTED = Unmeasured(
    what="the values of all tables", reason="--proof counts compares only how many rows there are"
)  # fmt: skip


def compare_data(
    pristine: Sessions,
    clone: Sessions,
    *,
    ignore_relations: frozenset[str] = frozenset(),
    jobs: int = 2,
    progress: Progress | None = None,
    samples: int = 0,
    proof: Proof = Proof.FULL,
    baseline: Baseline | None = None,
) -> DataComparison:
    """Compare every table, sequence and large object; ``clone`` was a TEMPLATE copy of ``pristine``.

    Nobody may write to either meanwhile.  Only reads, each statement its own transaction, so any number of
    tables needs few locks.  Opens up to twice ``jobs`` sessions to each side.  With ``samples`` > 0 that many lost or
    changed rows of each table are read into the result as text; without, no value ever is.

    ``proof`` says how thoroughly; `Proof.TOUCHED` leaves out what a ``baseline``, read from the clone before anything
    was written to it, shows to be untouched, and without one is as `Proof.FULL`.

    Cancels what runs when it is interrupted (KeyboardInterrupt), and raises on.

    Raises `DataNotCompared` when a session breaks; all else that cannot be read is in ``not_measured``.
    """
    with ExitStack() as stack:
        before = stack.enter_context(closing(prepare_session(pristine())))
        after = stack.enter_context(closing(prepare_session(clone())))
        both = BothSides(before=before, after=after)
        try:
            return _compare(both, pristine, clone, ignore_relations, jobs, progress, samples, proof, baseline)
        except psycopg.OperationalError as error:
            raise DataNotCompared(f"a session broke while data was compared ({_condition(error)})") from error


def _compare(
    both: BothSides,
    pristine: Sessions,
    clone: Sessions,
    ignore_relations: frozenset[str],
    jobs: int,
    progress: Progress | None,
    samples: int,
    proof: Proof,
    baseline: Baseline | None,
) -> DataComparison:
    tables_before = read_tables(both.before, ignore_relations=ignore_relations)
    tables_after = read_tables(both.after, ignore_relations=ignore_relations, wanted_types=tables_before.types)
    types = _types_of(tables_before, tables_after, both.after)
    pools = [(pool, layout_of(pool, follow_columns(pool, types))) for pool in pair_tables(tables_before, tables_after)]
    touches = None
    if proof is Proof.TOUCHED and baseline is not None:
        touches = read_touches(both.after, baseline, tables_before, tables_after)
    results = _run(
        pools, pristine, clone, jobs=jobs, progress=progress, samples=samples, proof=proof, touches=touches
    )  # fmt: skip
    if proof is not Proof.COUNTS:
        results = find_orphans(trace(results, both, types), both)
    sequences, unread_sequences = compare_sequences(both.before, both.after, unchanged=_unchanged(results))
    objects, unread_objects = compare_large_objects(both.before, both.after)
    foreign = (
        Unmeasured(what=name, reason="a foreign table: its rows stand on another server", blocking=False)
        for name in sorted({*tables_before.foreign, *tables_after.foreign} - ignore_relations)
    )
    return DataComparison(
        tables=tuple(sorted((table for result in results for table in result.tables), key=lambda table: table.name)),
        sequences=sequences,
        large_objects=objects,
        not_measured=(
            *dict.fromkeys(fact for result in results for fact in result.not_measured),
            *((ONLY_COUNTED,) if proof is Proof.COUNTS else ()),
            *unread_sequences,
            *unread_objects,
            *foreign,
        ),
        samples=tuple(sample for result in results for sample in result.samples),
        trees=tuple(_trees(tables_before, tables_after)),
        proof=proof,
        counters_not_believed=touches.doubt if touches is not None else None,
    )


def _trees(before: Tables, after: Tables) -> Iterator[PartitionTree]:
    for oid, leaves in before.leaves_by_tree().items():
        table = before.by_oid[oid]
        now = after.by_oid.get(oid) or after.find_named(table)
        yield PartitionTree(name=table.name, name_after=now.name if now is not None else None, leaves=leaves)


def _unchanged(results: Sequence[PoolResult]) -> frozenset[str]:
    """Tables of the clone whose rows, values and columns are as before."""
    return frozenset(
        table.name_after
        for result in results
        for table in result.tables
        if table.name_after is not None
        and table.verdict is TableVerdict.UNCHANGED
        and all(column.verdict is ColumnVerdict.UNCHANGED for column in table.columns)
    )


def _types_of(before: Tables, after: Tables, clone: Connection) -> TypePair:
    def spell(oid: int, typmod: int) -> str:
        row = clone.execute("SELECT pg_catalog.format_type(%s::int8::oid, %s)", (oid, typmod)).fetchone()
        assert row is not None
        return str(row[0])

    def castable(source: str, target: str) -> bool:
        query = sql.SQL("SELECT (NULL::{})::{}").format(sql.SQL(source), sql.SQL(target))
        try:
            clone.execute(query)
        except psycopg.OperationalError:
            raise
        except psycopg.Error:  # there is no such cast, or this role may not use the type
            return False
        return True

    return TypePair(before=before.types, after=after.types, spell=spell, castable=castable)


def _run(
    pools: list[tuple[Pool, Layout]],
    pristine: Sessions,
    clone: Sessions,
    *,
    jobs: int,
    progress: Progress | None,
    samples: int,
    proof: Proof,
    touches: Touches | None,
) -> list[PoolResult]:
    """Compare the pools, the biggest first, ``jobs`` at a time; Ctrl-C and failures cancel what still runs."""
    telling = _Telling(progress, len(pools))
    scans = Scans(pristine, clone, jobs=jobs, told=telling.part)
    prover = Prover(scans=scans, proof=proof, touches=touches, samples=samples)

    def work(pool: Pool, layout: Layout) -> tuple[PoolResult, ...]:
        results = _prove(pool, layout, prover)
        telling.done((pool.before or pool.after)[0])
        return results

    biggest_first = sorted(
        pools, key=lambda pool: -sum(table.size_bytes for table in (*pool[0].before, *pool[0].after))
    )
    with ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="compare") as executor:
        futures = [executor.submit(work, pool, layout) for pool, layout in biggest_first]
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
            return [result for future in futures for result in future.result()]
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            scans.stop()
            while wait(futures, timeout=CANCEL_AGAIN_S).not_done:
                scans.stop()  # a query that had not yet begun when it was cancelled
            raise
        finally:
            executor.shutdown(wait=True)
            scans.close()


class _Telling:
    """Tells how far the comparison is, from one thread at a time."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0
        self._lock = threading.Lock()

    def done(self, table: Table) -> None:
        with self._lock:
            self._done += 1
            if self._progress is not None:
                self._progress(table.name, self._done, self._total)

    def part(self, table: Table, what: str) -> None:
        with self._lock:
            if self._progress is not None:
                self._progress(f"{table.name}, {what}", self._done, self._total)


def _prove(pool: Pool, layout: Layout, prover: Prover) -> tuple[PoolResult, ...]:
    hidden = [fact for table in (*pool.before, *pool.after) for fact in _hidden(table)]
    if hidden:
        return (PoolResult(not_measured=tuple(dict.fromkeys(hidden))),)
    name = (pool.before or pool.after)[0].name
    try:
        return prover.prove(pool, layout)
    except psycopg.Error as error:
        limit = (error.sqlstate or "").startswith(PROGRAM_LIMIT)  # of this table's, and the session goes on
        if isinstance(error, psycopg.OperationalError) and not limit:
            raise
        # Only the condition's name: PostgreSQL's messages quote values.
        return (PoolResult(not_measured=(Unmeasured(what=name, reason=f"reading it failed: {_condition(error)}"),)),)


def _hidden(table: Table) -> list[Unmeasured]:
    if not table.readable:
        return [Unmeasured(what=table.name, reason="this role has no right to read it")]
    if table.row_security:
        return [Unmeasured(what=table.name, reason="row-level security may hide rows from this role")]
    return []


def _condition(error: psycopg.Error) -> str:
    return f"{type(error).__name__}, SQLSTATE {error.sqlstate or 'unknown'}"

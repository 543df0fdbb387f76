"""What survived: all data of a pristine database compared with its migrated clone.

The story: read the tables of both, pair them, fingerprint each pair in one scan per side, and compare
by key only those that differ.  Exact throughout; what cannot be compared is said, never assumed equal.
"""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress

import psycopg
from psycopg import sql

from pgrehearse.data.columns import TypePair
from pgrehearse.data.fingerprint import Layout, layout_of
from pgrehearse.data.large_objects import compare_large_objects
from pgrehearse.data.pairing import Pool, follow_columns, pair_tables
from pgrehearse.data.sequences import compare_sequences
from pgrehearse.data.session import Sessions, prepare_session
from pgrehearse.data.table_loss import BothSides, PoolComparison, PoolResult
from pgrehearse.data.tables import Table, Tables, read_tables
from pgrehearse.data.verdicts import DataComparison, Unmeasured
from pgrehearse.errors import DataNotCompared
from pgrehearse.postgres.connect import Connection

Progress = Callable[[str, int, int], None]
"""Called with (table, how many are done, of how many); never from two threads at once."""


def compare_data(
    pristine: Sessions,
    clone: Sessions,
    *,
    ignore_relations: frozenset[str] = frozenset(),
    jobs: int = 2,
    progress: Progress | None = None,
    samples: int = 0,
) -> DataComparison:
    """Compare every table, sequence and large object; ``clone`` was a TEMPLATE copy of ``pristine``.

    Nobody may write to either meanwhile.  Only reads, each statement its own transaction, so any number of
    tables needs few locks.  Opens ``jobs`` sessions to each side.  With ``samples`` > 0 that many lost or
    changed rows of each table are read into the result as text; without, no value ever is.

    Raises `DataNotCompared` when a session breaks; all else that cannot be read is in ``not_measured``.
    """
    with ExitStack() as stack:
        before = stack.enter_context(closing(prepare_session(pristine())))
        after = stack.enter_context(closing(prepare_session(clone())))
        try:
            return _compare(
                BothSides(before=before, after=after), pristine, clone, ignore_relations, jobs, progress, samples
            )
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
) -> DataComparison:
    tables_before = read_tables(both.before, ignore_relations=ignore_relations)
    tables_after = read_tables(both.after, ignore_relations=ignore_relations, wanted_types=tables_before.types)
    types = _types_of(tables_before, tables_after, both.after)
    pools = [(pool, layout_of(pool, follow_columns(pool, types))) for pool in pair_tables(tables_before, tables_after)]
    results = _run(pools, pristine, clone, jobs=jobs, progress=progress, samples=samples)
    sequences, unread_sequences = compare_sequences(both.before, both.after)
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
            *(fact for result in results for fact in result.not_measured),
            *unread_sequences,
            *unread_objects,
            *foreign,
        ),
        samples=tuple(sample for result in results for sample in result.samples),
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
) -> list[PoolResult]:
    """Compare the pools on ``jobs`` pairs of sessions; Ctrl-C and failures cancel what still runs."""
    local = threading.local()
    opened: list[Connection] = []
    told = threading.Lock()
    done = 0

    def work(pool: Pool, layout: Layout) -> PoolResult:
        nonlocal done
        if not hasattr(local, "both"):
            local.both = BothSides(
                before=prepare_session(_remember(pristine())), after=prepare_session(_remember(clone()))
            )
        result = _compare_pool(pool, layout, local.both, samples=samples)
        with told:
            done += 1
            if progress is not None:
                progress((pool.before or pool.after)[0].name, done, len(pools))
        return result

    def _remember(connection: Connection) -> Connection:
        opened.append(connection)
        return connection

    with ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="compare") as executor:
        # The biggest unknowns first would need sizes; name order keeps progress readable.
        futures = [executor.submit(work, pool, layout) for pool, layout in pools]
        try:
            finished, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            for connection in opened:
                with suppress(psycopg.Error):
                    connection.cancel()
            raise
        finally:
            executor.shutdown(wait=True)
            for connection in opened:
                connection.close()


def _compare_pool(pool: Pool, layout: Layout, both: BothSides, *, samples: int) -> PoolResult:
    hidden = [fact for table in (*pool.before, *pool.after) for fact in _hidden(table)]
    if hidden:
        return PoolResult(not_measured=tuple(dict.fromkeys(hidden)))
    name = (pool.before or pool.after)[0].name
    try:
        return PoolComparison(pool, layout, both, samples).run()
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        # Only the condition's name: PostgreSQL's messages quote values.
        return PoolResult(not_measured=(Unmeasured(what=name, reason=f"reading it failed: {_condition(error)}"),))


def _hidden(table: Table) -> list[Unmeasured]:
    if not table.readable:
        return [Unmeasured(what=table.name, reason="this role has no right to read it")]
    if table.row_security:
        return [Unmeasured(what=table.name, reason="row-level security may hide rows from this role")]
    return []


def _condition(error: psycopg.Error) -> str:
    return f"{type(error).__name__}, SQLSTATE {error.sqlstate or 'unknown'}"

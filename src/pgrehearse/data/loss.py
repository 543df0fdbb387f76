"""What survived: all data of a pristine database compared with its migrated clone.

The story: read the tables of both, pair them, fingerprint each pair in one scan per side, and compare
by key only those that differ.  Exact throughout; what cannot be compared is said, never assumed equal.
"""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.data.columns import TypePair
from pgrehearse.data.fingerprint import (
    Fingerprint,
    Layout,
    Side,
    count_values,
    layout_of,
    read_fingerprint,
    value_sql,
)
from pgrehearse.data.large_objects import compare_large_objects
from pgrehearse.data.pairing import FollowedColumn, Pool, follow_columns, pair_tables
from pgrehearse.data.rows import RowComparison, RowSource, Tally, compare_rows
from pgrehearse.data.samples import read_rows, read_samples
from pgrehearse.data.sequences import compare_sequences
from pgrehearse.data.session import Sessions, prepare_session
from pgrehearse.data.tables import Table, Tables, read_tables
from pgrehearse.data.verdicts import (
    ColumnLoss,
    ColumnVerdict,
    DataComparison,
    Sample,
    TableLoss,
    TableVerdict,
    Unmeasured,
)
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
                _Both(before=before, after=after), pristine, clone, ignore_relations, jobs, progress, samples
            )
        except psycopg.OperationalError as error:
            raise DataNotCompared(f"a session broke while data was compared ({_condition(error)})") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Both:
    """One prepared session to each side."""

    before: Connection
    after: Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class _PoolResult:
    tables: tuple[TableLoss, ...] = ()
    not_measured: tuple[Unmeasured, ...] = ()
    samples: tuple[Sample, ...] = ()


def _compare(
    both: _Both,
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
        except psycopg.errors.CannotCoerce:
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
) -> list[_PoolResult]:
    """Compare the pools on ``jobs`` pairs of sessions; Ctrl-C and failures cancel what still runs."""
    local = threading.local()
    opened: list[Connection] = []
    told = threading.Lock()
    done = 0

    def work(pool: Pool, layout: Layout) -> _PoolResult:
        nonlocal done
        if not hasattr(local, "both"):
            local.both = _Both(before=prepare_session(_remember(pristine())), after=prepare_session(_remember(clone())))
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
            wait(futures, return_when=FIRST_EXCEPTION)
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


def _compare_pool(pool: Pool, layout: Layout, both: _Both, *, samples: int) -> _PoolResult:
    hidden = [fact for table in (*pool.before, *pool.after) for fact in _hidden(table)]
    if hidden:
        return _PoolResult(not_measured=tuple(dict.fromkeys(hidden)))
    name = (pool.before or pool.after)[0].name
    try:
        return _PoolComparison(pool, layout, both, samples).run()
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        # Only the condition's name: PostgreSQL's messages quote values.
        return _PoolResult(not_measured=(Unmeasured(what=name, reason=f"reading it failed: {_condition(error)}"),))


def _hidden(table: Table) -> list[Unmeasured]:
    if not table.readable:
        return [Unmeasured(what=table.name, reason="this role has no right to read it")]
    if table.row_security:
        return [Unmeasured(what=table.name, reason="row-level security may hide rows from this role")]
    return []


def _condition(error: psycopg.Error) -> str:
    return f"{type(error).__name__}, SQLSTATE {error.sqlstate or 'unknown'}"


class _PoolComparison:
    """One pool's comparison: fingerprints, rows where they differ, and the facts made of them."""

    def __init__(self, pool: Pool, layout: Layout, both: _Both, samples: int) -> None:
        self._pool = pool
        self._layout = layout
        self._both = both
        self._samples = samples
        self._failing: frozenset[str] = frozenset()
        self._rows_after: dict[int, int] = {}
        self._rows_before: dict[int, int] = {}
        self._values_before: dict[int, dict[str, int]] = {}
        self._tallies: dict[int, Tally] = {}
        self._added: dict[int, int] = {}
        self._notes: list[Unmeasured] = []

    def run(self) -> _PoolResult:
        samples: tuple[Sample, ...] = ()
        if not self._pool.before:
            for table in self._pool.after:
                self._rows_after[table.oid], _ = count_values(self._both.after, table, ())
        elif not self._pool.after:
            self._count_before()
            for table in self._pool.before:
                self._tallies[table.oid] = Tally(rows_lost=self._rows_before[table.oid])
            samples = self._samples_of(self._pool.before)
        else:
            samples = self._compare()
            self._count_before()
        self._note_columns()
        tables = [self._table_loss(table) for table in self._pool.before]
        followed = {table.oid for table in self._pool.successors.values()}
        tables += [self._new_table(table) for table in self._pool.after if table.oid not in followed]
        return _PoolResult(tables=tuple(tables), not_measured=tuple(self._notes), samples=samples)

    # --- measuring

    def _compare(self) -> tuple[Sample, ...]:
        before, after = self._fingerprints()
        self._rows_before = {oid: found.rows for oid, found in before.items()}
        self._rows_after = {oid: found.rows for oid, found in after.items()}
        self._tallies = {table.oid: Tally() for table in self._pool.before}
        same = {
            oid: table.oid
            for oid, table in self._pool.successors.items()
            if oid in before and before[oid] == after.get(table.oid)
        }
        left_before = tuple(table for table in self._pool.before if table.oid not in same and before[table.oid].rows)
        taken = set(same.values())
        left_after = tuple(table for table in self._pool.after if table.oid not in taken and after[table.oid].rows)
        if not left_after:
            for table in left_before:
                self._tallies[table.oid].rows_lost = before[table.oid].rows
                self._tallies[table.oid].values_in_lost_rows.update(dict(enumerate(before[table.oid].values)))
            return self._samples_of(left_before)
        if not left_before:
            self._added = {table.oid: after[table.oid].rows for table in left_after}
            return ()
        layout = self._only_differing(before, after, left_before, left_after)
        sources = (
            RowSource(connection=self._both.before, tables=left_before, layout=layout, side=Side.BEFORE),
            RowSource(connection=self._both.after, tables=left_after, layout=layout, side=Side.AFTER),
        )
        positions = {table.oid: position for position, table in enumerate(left_after)}
        found = compare_rows(
            *sources,
            rows=max(sum(self._rows_before.values()), sum(self._rows_after.values())),
            successors={
                position: positions[successor.oid]
                for position, table in enumerate(left_before)
                if (successor := self._pool.successor_of(table)) and successor.oid in positions
            },
            examples=self._samples,
        )
        self._take_over(found, layout, left_before, left_after)
        return read_samples(*sources, found.examples)

    def _fingerprints(self) -> tuple[dict[int, Fingerprint], dict[int, Fingerprint]]:
        try:
            return self._read_fingerprints()
        except (psycopg.DataError, psycopg.errors.InternalError, psycopg.NotSupportedError):
            self._failing = self._failing_columns()
            if not self._failing:
                raise
            self._layout = self._layout.without(self._failing)
            return self._read_fingerprints()

    def _read_fingerprints(self) -> tuple[dict[int, Fingerprint], dict[int, Fingerprint]]:
        before = {
            table.oid: read_fingerprint(self._both.before, self._layout, table, Side.BEFORE)
            for table in self._pool.before
        }
        after = {
            table.oid: read_fingerprint(self._both.after, self._layout, table, Side.AFTER) for table in self._pool.after
        }
        return before, after

    def _failing_columns(self) -> frozenset[str]:
        """The columns whose values of the clone do not all cast back."""
        failing: set[str] = set()
        for column in self._layout.compared:
            for table in self._pool.after:
                value = value_sql(column, table, Side.AFTER)
                query = sql.SQL("SELECT pg_catalog.count({}) FROM ONLY {}").format(value, table.identifier)
                try:
                    self._both.after.execute(query)
                except psycopg.OperationalError:
                    raise
                except psycopg.Error:
                    failing.add(column.name)
        return frozenset(failing)

    def _only_differing(
        self,
        before: dict[int, Fingerprint],
        after: dict[int, Fingerprint],
        left_before: tuple[Table, ...],
        left_after: tuple[Table, ...],
    ) -> Layout:
        """The same keys on both sides: only columns that differ need be looked at row by row."""
        if self._layout.keyless or len(left_before) != 1 or len(left_after) != 1:
            return self._layout
        mine, other = before[left_before[0].oid], after[left_after[0].oid]
        if (mine.rows, mine.keys) != (other.rows, other.keys):
            return self._layout
        wanted = {*mine.differing(other), *self._layout.key}
        kept = tuple(column for position, column in enumerate(self._layout.compared) if position in wanted)
        key = tuple(kept.index(self._layout.compared[position]) for position in self._layout.key)
        return Layout(columns=self._layout.columns, compared=kept, key=key)

    def _take_over(
        self, found: RowComparison, layout: Layout, before: tuple[Table, ...], after: tuple[Table, ...]
    ) -> None:
        """The tallies, their positions in ``layout`` turned into those of the whole layout."""
        places = {position: self._layout.compared.index(column) for position, column in enumerate(layout.compared)}
        for table, tally in zip(before, found.before, strict=True):
            own = self._tallies[table.oid]
            own.rows_lost = tally.rows_lost
            for mine, theirs in (
                (own.changed, tally.changed),
                (own.nulled, tally.nulled),
                (own.filled, tally.filled),
                (own.values_in_lost_rows, tally.values_in_lost_rows),
            ):
                mine.update({places[position]: count for position, count in theirs.items()})
        self._added = {table.oid: found.added[position] for position, table in enumerate(after)}
        if not found.kept_all:
            self._notes.append(
                Unmeasured(
                    what=before[0].name,
                    reason="too many rows stand alone to look for them under another key; they count as lost",
                )
            )

    def _count_before(self) -> None:
        """How many values went with the columns that are gone."""
        for table in self._pool.before:
            gone = tuple(
                column.before[table.oid].name
                for column in self._layout.columns
                if table.oid in column.before and (column.reading is None)
            )
            if gone or table.oid not in self._rows_before:
                rows, values = count_values(self._both.before, table, gone)
                self._rows_before[table.oid] = rows
                self._values_before[table.oid] = values

    def _samples_of(self, tables: tuple[Table, ...]) -> tuple[Sample, ...]:
        return tuple(sample for table in tables for sample in read_rows(self._both.before, table, self._samples))

    # --- facts

    def _note_columns(self) -> None:
        model = self._pool.model_before
        for column in self._layout.columns:
            reason = None
            if column.name in self._failing:
                reason = "some of its values do not cast back to the old type"
            elif column.reading is not None and column.readable is None:
                reason = column.reading.reason  # type: ignore[union-attr]
            if reason and model is not None and self._any_rows():
                self._notes.append(Unmeasured(what=f"{model.name}.{column.sql_name}", reason=reason))

    def _any_rows(self) -> bool:
        return any(self._rows_before.values())

    def _table_loss(self, table: Table) -> TableLoss:
        successor = self._pool.successor_of(table)
        columns = [self._column_loss(column, table) for column in self._layout.columns if table.oid in column.before]
        if successor is not None:
            columns += self._new_columns(successor)
        tally = self._tallies.get(table.oid, Tally())
        return TableLoss(
            name=table.name,
            name_after=successor.name if successor else None,
            verdict=self._verdict(table, successor, tally, columns),
            rows_before=self._rows_before[table.oid],
            rows_after=self._rows_after_of(successor) if successor else 0,
            rows_lost=tally.rows_lost,
            columns=tuple(columns),
        )

    def _rows_after_of(self, successor: Table) -> int:
        if successor.partitioned:  # a plain table became a tree: its rows stand at the leaves
            return sum(self._rows_after.values())
        return self._rows_after.get(successor.oid, 0)

    def _verdict(
        self, table: Table, successor: Table | None, tally: Tally, columns: list[ColumnLoss]
    ) -> TableVerdict:  # fmt: skip
        if successor is None:
            return TableVerdict.DROPPED
        if successor.oid != table.oid:
            return TableVerdict.RECREATED
        if tally.rows_lost:
            return TableVerdict.ROWS_LOST
        if any(column.lost or column.verdict is ColumnVerdict.VALUES_GAINED for column in columns):
            return TableVerdict.VALUES_CHANGED
        if any(column.verdict is ColumnVerdict.UNMEASURED for column in columns):
            return TableVerdict.UNMEASURED
        if self._added.get(successor.oid):
            return TableVerdict.ROWS_ADDED
        return TableVerdict.RENAMED if successor.name != table.name else TableVerdict.UNCHANGED

    def _column_loss(self, column: FollowedColumn, table: Table) -> ColumnLoss:
        tally = self._tallies.get(table.oid, Tally())
        changed: int | None = 0
        lost: int | None = 0
        filled = 0
        if column.reading is None:
            lost = self._values_before[table.oid][column.name]
        elif column not in self._layout.compared:
            changed, lost = (None, None) if self._any_rows() else (0, 0)
        else:
            position = self._layout.compared.index(column)
            changed, lost, filled = tally.changed[position], tally.nulled[position], tally.filled[position]
            if self._pool.successor_of(table) is None:
                lost += tally.values_in_lost_rows[position]
        return ColumnLoss(
            name=column.sql_name,
            name_after=column.sql_name_after,
            verdict=_column_verdict(column, changed, lost, filled),
            values_changed=changed,
            values_lost=lost,
        )

    def _new_columns(self, successor: Table) -> list[ColumnLoss]:
        followed = {column.sql_name_after for column in self._layout.columns}
        followed |= {
            column.after[successor.oid].sql_name for column in self._layout.columns if successor.oid in column.after
        }
        return [_new_column(column.sql_name) for column in successor.columns if column.sql_name not in followed]

    def _new_table(self, table: Table) -> TableLoss:
        return TableLoss(
            name=table.name,
            name_after=table.name,
            verdict=TableVerdict.NEW,
            rows_before=0,
            rows_after=self._rows_after[table.oid],
            rows_lost=0,
            columns=tuple(_new_column(column.sql_name) for column in table.columns),
        )


def _new_column(sql_name: str) -> ColumnLoss:
    return ColumnLoss(
        name=sql_name, name_after=sql_name, verdict=ColumnVerdict.NEW, values_changed=0, values_lost=0
    )  # fmt: skip


def _column_verdict(column: FollowedColumn, changed: int | None, lost: int | None, filled: int) -> ColumnVerdict:
    holds = (
        (column.reading is None, ColumnVerdict.DROPPED),
        (changed is None, ColumnVerdict.UNMEASURED),
        (bool(lost), ColumnVerdict.VALUES_LOST),
        (bool(changed), ColumnVerdict.VALUES_CHANGED),
        (bool(filled), ColumnVerdict.VALUES_GAINED),
        (column.recreated, ColumnVerdict.RECREATED),
        (column.retyped, ColumnVerdict.TYPE_CHANGED),
        (column.renamed, ColumnVerdict.RENAMED),
    )
    return next((verdict for held, verdict in holds if held), ColumnVerdict.UNCHANGED)

"""What one pool of tables lost: fingerprints first, rows only where these differ, and the facts made of them."""

from dataclasses import dataclass, field
from functools import partial

import psycopg
from psycopg import sql

from pgrehearse.data import rows
from pgrehearse.data.buckets import Ranges, at_once, find_differing_ranges
from pgrehearse.data.column_changes import changes_of, column_verdict
from pgrehearse.data.fingerprint import (
    Fingerprint,
    Layout,
    Side,
    count_values,
    read_content,
    read_fingerprint,
    value_sql,
)
from pgrehearse.data.pairing import FollowedColumn, Pool
from pgrehearse.data.row_stream import KindExample, RowComparison, RowSource, Tally
from pgrehearse.data.rows import compare_rows
from pgrehearse.data.samples import MASKED, read_personal, read_rows, read_samples
from pgrehearse.data.tables import Table
from pgrehearse.data.value_changes import ChangeExample, ChangeKind, ValueChange, kind_of_change
from pgrehearse.data.verdicts import ColumnLoss, ColumnVerdict, Sample, TableLoss, TableVerdict, Unmeasured
from pgrehearse.postgres.connect import Connection

WORTH_RANGES_BYTES = 8_000_000  # of a smaller table a fingerprint costs nothing
FEW_SHARE = 0.2  # of the rows
LOST_KEYS = 50_000  # 32 bytes each


@dataclass(frozen=True, slots=True, kw_only=True)
class BothSides:
    """One prepared session to each side."""

    before: Connection
    after: Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolResult:
    tables: tuple[TableLoss, ...] = ()
    not_measured: tuple[Unmeasured, ...] = ()
    samples: tuple[Sample, ...] = ()
    pool: Pool | None = None  # what the tables are made of, for `tracing`
    layout: Layout | None = None
    lost_keys: dict[int, list[int]] = field(default_factory=dict)  # by oid, `key_sql` of lost rows, not always all


class PoolComparison:
    """One pool's comparison: fingerprints, rows where they differ, and the facts made of them."""

    def __init__(self, pool: Pool, layout: Layout, both: BothSides, samples: int) -> None:
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
        self._differing: frozenset[int] = frozenset()  # whose fingerprint is not that of the table that goes on from it
        self._lost_keys: dict[int, list[int]] = {}
        self._notes: list[Unmeasured] = []
        self._kind_examples: dict[tuple[int, str, ChangeKind], KindExample] = {}  # by the table's oid, column, kind
        self._example_key: tuple[FollowedColumn, ...] = ()
        self._personal: frozenset[tuple[str, str]] = read_personal(both.before, both.after) if samples else frozenset()

    def run(self) -> PoolResult:
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
        return self._result(samples)

    def unchanged(self, rows_before: dict[int, int], rows_after: dict[int, int]) -> PoolResult:
        """The facts where all rows were proved to be there unchanged by other means than `run`'s; counts by oid.

        What a table has more of is rows added.  Reads only how many values went with dropped columns.
        """
        self._rows_before, self._rows_after = rows_before, rows_after
        self._added = {
            successor.oid: rows_after[successor.oid] - rows_before[oid]
            for oid, successor in self._pool.successors.items()
        }
        self._count_before()
        return self._result(())

    def _result(self, samples: tuple[Sample, ...]) -> PoolResult:
        self._note_columns()
        tables = [self._table_loss(table) for table in self._pool.before]
        followed = {table.oid for table in self._pool.successors.values()}
        tables += [self._new_table(table) for table in self._pool.after if table.oid not in followed]
        return PoolResult(
            tables=tuple(tables),
            not_measured=tuple(self._notes),
            samples=samples,
            pool=self._pool,
            layout=self._layout,
            lost_keys=self._lost_keys,
        )

    # --- measuring

    def _compare(self) -> tuple[Sample, ...]:
        if (few := self._find_few()) is not None:
            return self._compare_few(few)
        before, after = self._fingerprints()
        self._rows_before = {oid: found.rows for oid, found in before.items()}
        self._rows_after = {oid: found.rows for oid, found in after.items()}
        self._values_before = {
            oid: dict(zip((column.name for column in self._layout.compared), found.values, strict=True))
            for oid, found in before.items()
        }
        self._tallies = {table.oid: Tally() for table in self._pool.before}
        same = {
            oid: table.oid
            for oid, table in self._pool.successors.items()
            if oid in before and before[oid] == after.get(table.oid)
        }
        self._differing = frozenset(before.keys() - same.keys())
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
        if self._only_keys_differ(before, after, left_before, left_after):
            layout = self._layout.turned_round()
        return self._compare_rows(left_before, left_after, layout)

    def _find_few(self) -> Ranges | None:
        """The ranges of keys that differ in a big table, where they hold few of its rows: no need of a fingerprint
        of each column, whose sums then only say that some row differs.
        """
        if self._layout.keyless or len(self._pool.before) != 1 or len(self._pool.after) != 1:
            return None
        table, now = self._pool.before[0], self._pool.after[0]
        if min(table.size_bytes, now.size_bytes) < WORTH_RANGES_BYTES:
            return None
        names = tuple(column.before[table.oid].name for column in self._layout.compared)
        (rows, values), (rows_now, _) = at_once(
            lambda: count_values(self._both.before, table, names), lambda: count_values(self._both.after, now, ())
        )
        ours, theirs = self._sources((table,), (now,), self._layout)
        try:
            found = find_differing_ranges(ours.cutting(), theirs.cutting(), rows=max(rows, rows_now))
        except psycopg.OperationalError:
            raise
        except psycopg.Error:  # a value that does not cast back: which columns hold one is found out elsewhere
            return None
        if found is None or found.rows > rows * FEW_SHARE:
            return None
        self._rows_before, self._rows_after = {table.oid: rows}, {now.oid: rows_now}
        by_name = {column.name: values[column.before[table.oid].name] for column in self._layout.compared}
        self._values_before = {table.oid: by_name}
        self._tallies = {table.oid: Tally()}
        return found

    def _compare_few(self, ranges: Ranges) -> tuple[Sample, ...]:
        return self._compare_rows(self._pool.before, self._pool.after, self._layout, ranges)

    def _sources(
        self, before: tuple[Table, ...], after: tuple[Table, ...], layout: Layout
    ) -> tuple[RowSource, RowSource]:
        return (
            RowSource(connection=self._both.before, tables=before, layout=layout, side=Side.BEFORE),
            RowSource(connection=self._both.after, tables=after, layout=layout, side=Side.AFTER),
        )

    def _compare_rows(
        self,
        left_before: tuple[Table, ...],
        left_after: tuple[Table, ...],
        layout: Layout,
        known: Ranges | None = None,
    ) -> tuple[Sample, ...]:
        sources = self._sources(left_before, left_after, layout)
        positions = {table.oid: position for position, table in enumerate(left_after)}

        def kind_of(position: int, old: str | None, new: str | None) -> ChangeKind:
            column = layout.compared[position]
            return kind_of_change(old, new, column.type_before, column.type_after)

        found = compare_rows(
            *sources,
            rows=max(sum(self._rows_before.values()), sum(self._rows_after.values())),
            successors={
                position: positions[successor.oid]
                for position, table in enumerate(left_before)
                if (successor := self._pool.successor_of(table)) and successor.oid in positions
            },
            kind_of=kind_of,
            examples=self._samples,
            known=known,
        )
        self._take_over(found, layout, left_before, left_after)
        return read_samples(*sources, found.examples, self._personal)

    def _fingerprints(self) -> tuple[dict[int, Fingerprint], dict[int, Fingerprint]]:
        try:
            return self._read_fingerprints()
        except psycopg.OperationalError:
            raise
        except psycopg.Error:
            self._failing = self._failing_columns()
            if not self._failing:
                raise
            self._layout = self._layout.without(self._failing)
            return self._read_fingerprints()

    def _read_fingerprints(self) -> tuple[dict[int, Fingerprint], dict[int, Fingerprint]]:
        def read(connection: Connection, tables: tuple[Table, ...], side: Side) -> dict[int, Fingerprint]:
            return {table.oid: read_fingerprint(connection, self._layout, table, side) for table in tables}

        return at_once(
            lambda: read(self._both.before, self._pool.before, Side.BEFORE),
            lambda: read(self._both.after, self._pool.after, Side.AFTER),
        )

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

    def _only_keys_differ(
        self,
        before: dict[int, Fingerprint],
        after: dict[int, Fingerprint],
        left_before: tuple[Table, ...],
        left_after: tuple[Table, ...],
    ) -> bool:
        """Whether keys were changed in place (UPDATE … SET id = id + 1): rows of one key are strangers then."""
        if self._layout.keyless or len(self._layout.key) == len(self._layout.compared):
            return False
        mine = [before[table.oid] for table in left_before]
        other = [after[table.oid] for table in left_after]
        if sum(found.rows for found in mine) != sum(found.rows for found in other):
            return False
        if sum(int(found.keys) for found in mine) == sum(int(found.keys) for found in other):
            return False
        content = read_content(self._both.before, self._layout, left_before, Side.BEFORE)
        # Rows of one content are held in memory together while they are matched.
        return content[1] <= rows.MOST_KEPT and content == read_content(
            self._both.after, self._layout, left_after, Side.AFTER
        )

    def _take_over(
        self, found: RowComparison, layout: Layout, before: tuple[Table, ...], after: tuple[Table, ...]
    ) -> None:
        """The tallies, their positions in ``layout`` turned into those of the whole layout."""
        places = {position: self._layout.compared.index(column) for position, column in enumerate(layout.compared)}
        for table, tally in zip(before, found.before, strict=True):
            own = self._tallies[table.oid]
            own.rows_lost, own.rows_merged = tally.rows_lost, tally.rows_merged
            own.kinds.update({(places[position], kind): count for (position, kind), count in tally.kinds.items()})
            for mine, theirs in (
                (own.changed, tally.changed),
                (own.nulled, tally.nulled),
                (own.filled, tally.filled),
                (own.values_in_lost_rows, tally.values_in_lost_rows),
            ):
                mine.update({places[position]: count for position, count in theirs.items()})
        self._added = {table.oid: found.added[position] for position, table in enumerate(after)}
        self._kind_examples = {
            (before[leaf].oid, layout.compared[position].name, kind): example
            for (leaf, position, kind), example in found.kind_examples.items()
        }
        if not layout.by_content:
            for leaf, table in enumerate(before):
                keys = [int(row.key) for row in found.lost if row.leaf == leaf]
                self._lost_keys[table.oid] = keys[:LOST_KEYS]
        self._example_key = tuple(layout.compared[position] for position in layout.key)
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
                count, values = count_values(self._both.before, table, gone)
                self._rows_before[table.oid] = count
                self._values_before.setdefault(table.oid, {}).update(values)

    def _samples_of(self, tables: tuple[Table, ...]) -> tuple[Sample, ...]:
        return tuple(
            sample for table in tables for sample in read_rows(self._both.before, table, self._samples, self._personal)
        )

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
            rows_merged=tally.rows_merged,
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
        if self._has_moved_away(table, successor, columns):
            return TableVerdict.ROWS_MOVED
        if any(column.lost or column.verdict is ColumnVerdict.VALUES_GAINED for column in columns):
            return TableVerdict.VALUES_CHANGED
        if any(column.verdict is ColumnVerdict.UNMEASURED for column in columns):
            return TableVerdict.UNMEASURED
        if self._added.get(successor.oid) or self._has_come_to(table, successor):
            return TableVerdict.ROWS_ADDED
        return TableVerdict.RENAMED if successor.name != table.name else TableVerdict.UNCHANGED

    def _has_come_to(self, table: Table, successor: Table) -> bool:
        """Whether it has more rows, which stood elsewhere in its tree before."""
        return not successor.partitioned and self._rows_after_of(successor) > self._rows_before[table.oid]

    def _has_moved_away(self, table: Table, successor: Table, columns: list[ColumnLoss]) -> bool:
        """Whether rows of it, which are not lost, stand elsewhere in its tree.

        Told by how many there are; and where there are as many of the same values, by what the fingerprints say.
        """
        if successor.partitioned or (len(self._pool.before), len(self._pool.after)) == (1, 1):
            return False
        kept = self._rows_before[table.oid] + self._added.get(successor.oid, 0)
        if self._rows_after_of(successor) != kept:
            return self._rows_after_of(successor) < kept
        changed = any(column.lost or column.verdict is ColumnVerdict.VALUES_GAINED for column in columns)
        return table.oid in self._differing and not changed and not self._added.get(successor.oid)

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
            verdict=column_verdict(column, changed, lost, filled),
            values_changed=changed,
            values_lost=lost,
            values_before=self._values_before.get(table.oid, {}).get(column.name),
            changes=self._changes(column, table, tally),
        )

    def _changes(self, column: FollowedColumn, table: Table, tally: Tally) -> tuple[ValueChange, ...]:
        if column not in self._layout.compared:
            return ()
        position = self._layout.compared.index(column)
        return changes_of(
            {kind: count for (place, kind), count in tally.kinds.items() if place == position and count},
            partial(self._example_of, column, table),
        )

    def _example_of(self, column: FollowedColumn, table: Table, kind: ChangeKind) -> ChangeExample | None:
        found = self._kind_examples.get((table.oid, column.name, kind))
        if found is None:
            return None

        successor = self._pool.successor_of(table)

        def shown(each: FollowedColumn, value: str | None) -> str | None:
            marked = (table.name, each.name) in self._personal
            if successor is not None and (now := each.after.get(successor.oid)) is not None:
                marked = marked or (successor.name, now.name) in self._personal
            return MASKED if marked and value is not None else value

        key = zip(self._example_key, found.key, strict=False)
        return ChangeExample(
            key={each.sql_name: shown(each, value) for each, value in key},
            before=shown(column, found.before),
            after=shown(column, found.after),
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

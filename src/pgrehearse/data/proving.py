"""One pool of tables: what needs no reading, what one scan of each side proves, and what must be compared."""

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import psycopg

from pgrehearse.data.digest import NOTHING, Digest, digest_sql
from pgrehearse.data.fingerprint import Layout, Side
from pgrehearse.data.pairing import Pool
from pgrehearse.data.proof import How, Proof, TableProof
from pgrehearse.data.scans import Query, Scans
from pgrehearse.data.table_loss import BothSides, PoolComparison, PoolResult
from pgrehearse.data.tables import Table
from pgrehearse.data.untouched import BY_COUNTERS, Touches, count_sql
from pgrehearse.data.verdicts import TableLoss, TableVerdict

COMPARED = frozenset({
    TableVerdict.ROWS_LOST, TableVerdict.ROWS_MOVED, TableVerdict.VALUES_CHANGED, TableVerdict.ROWS_ADDED
})  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settled:
    """A table whose rows are all there unchanged; more may have been added."""

    rows_before: int
    rows_after: int
    proof: TableProof


class _Written(enum.Enum):
    """What the rows' own writers tell of a table that is not untouched."""

    PARTLY = "some rows are those of before"
    ALL = "no row is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prover:
    """Proves pools, one after the other, on the calling thread's sessions."""

    scans: Scans
    proof: Proof
    touches: Touches | None  # None: nothing is known of what was written
    samples: int

    def prove(self, pool: Pool, layout: Layout) -> tuple[PoolResult, ...]:
        """The results of the pool's parts.  Raises `psycopg.Error` where the rows cannot be read."""
        both = BothSides(before=self.scans.session(Side.BEFORE), after=self.scans.session(Side.AFTER))
        if self.proof is Proof.COUNTS and pool.before and pool.after:
            return (self._count(pool, layout, both),)
        settled = {
            table.oid: known
            for table in pool.before
            if (successor := pool.successor_of(table)) is not None
            and not successor.partitioned
            and (known := self._settle(table, successor, layout)) is not None
        }
        same, rest = _divided(pool, _without_growing(pool, settled))
        results = []
        if same.before:
            rows_before = {table.oid: settled[table.oid].rows_before for table in same.before}
            rows_after = {same.successors[table.oid].oid: settled[table.oid].rows_after for table in same.before}
            found = PoolComparison(same, layout, both, self.samples).unchanged(rows_before, rows_after)
            proofs = {table.name: settled[table.oid].proof for table in same.before}
            tables = tuple(replace(table, proof=proofs[table.name]) for table in found.tables)
            results.append(replace(found, tables=tables))
        if rest.before or rest.after:
            self.scans.tell_rows(rest.before)
            found = PoolComparison(rest, layout, both, self.samples).run()
            results.append(replace(found, tables=tuple(map(_compared, found.tables))))
        return tuple(results)

    def _settle(self, table: Table, successor: Table, layout: Layout) -> _Settled | None:
        touches = self.touches
        if touches is not None and touches.same_description(table, successor):
            if touches.counted_nothing(table, successor):
                return self._counted_nothing(table)
            if touches.may_tell_by_xmin(table, successor) and not (table.is_empty and successor.is_empty):
                found = self._by_xmin(touches, table, successor)
                if isinstance(found, _Settled):
                    return found
                if found is _Written.PARTLY:  # which rows were written is found out row by row
                    return None
        return self._by_digest(table, successor, layout)

    def _count(self, pool: Pool, layout: Layout, both: BothSides) -> PoolResult:
        """Only how many rows there are: fewer than before are lost, and of no column anything is known."""
        before, after = _rows_of(pool, self.scans)
        unread = replace(layout, compared=(), key=())
        successors = {oid: each for oid, each in pool.successors.items() if not each.partitioned}
        missing = {oid: max(0, before[oid] - after.get(each.oid, 0)) for oid, each in successors.items()}
        missing |= {oid: count for oid, count in before.items() if oid not in successors}
        # Rows may have moved within a tree of partitions: lost are no more than the whole tree has fewer.
        room = max(0, sum(before.values()) - sum(after.values()))
        lost: dict[str, int] = {}
        for table in pool.before:
            lost[table.name] = min(room, missing[table.oid])
            room -= lost[table.name]
        found = PoolComparison(pool, unread, both, 0).unchanged(before, after)
        tables = tuple(_only_counted(table, lost.get(table.name, 0)) for table in found.tables)
        return replace(found, tables=tables)

    def _counted_nothing(self, table: Table) -> _Settled:
        rows = 0
        if not table.is_empty:
            (counted,) = self.scans.scan((Side.BEFORE, table, partial(count_sql, table)))
            rows = sum(part[0] for part in counted)
        proof = TableProof(how=How.UNTOUCHED, evidence=BY_COUNTERS)
        return _Settled(rows_before=rows, rows_after=rows, proof=proof)

    def _by_xmin(self, touches: Touches, table: Table, successor: Table) -> _Settled | _Written:
        before, after = self.scans.scan(
            (Side.BEFORE, table, partial(count_sql, table)),
            (Side.AFTER, successor, partial(touches.writers_sql, successor)),
        )
        rows = sum(part[0] for part in before)
        total, kept = sum(part[0] for part in after), sum(part[1] for part in after)
        if kept == rows:
            proof = TableProof(how=How.UNTOUCHED, evidence=touches.evidence_by_xmin(table, successor))
            return _Settled(rows_before=rows, rows_after=total, proof=proof)
        return _Written.PARTLY if kept else _Written.ALL

    def _by_digest(self, table: Table, successor: Table, layout: Layout) -> _Settled | None:
        wanted: list[tuple[Side, Table, Query]] = [
            (side, each, partial(digest_sql, layout, each, side))
            for side, each in ((Side.BEFORE, table), (Side.AFTER, successor))
            if not each.is_empty
        ]
        try:
            found = self.scans.scan(*wanted) if wanted else []
        except psycopg.OperationalError:
            raise
        except psycopg.Error:  # a value that does not cast back: which columns hold one is found out there
            return None
        digests = {
            side: sum(map(Digest.from_row, rows), NOTHING) for (side, _, _), rows in zip(wanted, found, strict=True)
        }
        before, after = digests.get(Side.BEFORE, NOTHING), digests.get(Side.AFTER, NOTHING)
        if before != after:
            return None
        return _Settled(rows_before=before.rows, rows_after=after.rows, proof=TableProof(how=How.FINGERPRINT))


def _rows_of(pool: Pool, scans: Scans) -> tuple[dict[int, int], dict[int, int]]:
    """``count(*)`` of each table on its side, by oid."""
    wanted: list[tuple[Side, Table, Query]] = [
        (side, table, partial(count_sql, table))
        for side, tables in _sides(pool)
        for table in tables
        if not table.is_empty
    ]
    counts = {side: {table.oid: 0 for table in tables} for side, tables in _sides(pool)}
    for (side, table, _), parts in zip(wanted, scans.scan(*wanted) if wanted else [], strict=True):
        counts[side][table.oid] = sum(part[0] for part in parts)
    return counts[Side.BEFORE], counts[Side.AFTER]


def _sides(pool: Pool) -> tuple[tuple[Side, tuple[Table, ...]], ...]:
    return ((Side.BEFORE, pool.before), (Side.AFTER, pool.after))


def _without_growing(pool: Pool, settled: Mapping[int, _Settled]) -> list[int]:
    """The tables that stay settled: one that has more rows now may have those that others of its tree have no more."""
    if len(settled) == len(pool.before):
        return list(settled)
    return [oid for oid, known in settled.items() if known.rows_after <= known.rows_before]


def _divided(pool: Pool, settled: Iterable[int]) -> tuple[Pool, Pool]:
    """The tables that are settled, and the others; rows can only have moved among the others."""
    chosen = set(settled)
    taken = {pool.successors[oid].oid for oid in chosen}

    def part(*, same: bool) -> Pool:
        return replace(
            pool,
            before=tuple(table for table in pool.before if (table.oid in chosen) is same),
            after=tuple(table for table in pool.after if (table.oid in taken) is same),
            successors={oid: table for oid, table in pool.successors.items() if (oid in chosen) is same},
        )

    return part(same=True), part(same=False)


def _only_counted(table: TableLoss, rows_lost: int) -> TableLoss:
    """A dropped table lost all its rows; where a new one carries the old name, how many of them is not known."""
    verdict = table.verdict
    if rows_lost and verdict not in (TableVerdict.DROPPED, TableVerdict.RECREATED):
        verdict = TableVerdict.ROWS_LOST
    elif verdict not in (TableVerdict.DROPPED, TableVerdict.RECREATED, TableVerdict.NEW) and table.rows_before:
        verdict = TableVerdict.UNMEASURED
    return replace(table, verdict=verdict, rows_lost=rows_lost, proof=TableProof(how=How.COUNTED))


def _compared(table: TableLoss) -> TableLoss:
    if table.verdict in (TableVerdict.DROPPED, TableVerdict.NEW):
        how = How.COUNTED
    else:
        how = How.COMPARED if table.verdict in COMPARED or table.lost else How.FINGERPRINT
    return replace(table, proof=TableProof(how=how))

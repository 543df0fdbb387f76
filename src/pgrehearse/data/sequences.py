"""Sequences that would hand out numbers again, or none any more: moved back, or behind a column that they number.

Sequences are followed as tables are: by oid, else by name.  One may number several columns, as their owner or as
their default; the furthest number of all of them counts.  A sequence that cycles comes back to old numbers by its
nature: there only its very next number counts.
"""

from collections.abc import Collection
from dataclasses import dataclass

from psycopg import sql

from pgrehearse.data.verdicts import SequenceState, SequenceVerdict, Unmeasured
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
AT_ONCE = 200  # sequences read by one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Column:
    namespace: str
    relation: str
    column: str
    table: str  # namespace.relation, quoted only where SQL needs it
    name: str  # with the column's, so quoted, too
    readable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequence:
    oid: int
    namespace: str
    relation: str
    name: str
    increment: int
    minimum: int
    maximum: int
    cycles: bool
    readable: bool
    columns: tuple[_Column, ...]  # that it numbers

    @property
    def upwards(self) -> bool:
        return self.increment > 0

    @property
    def way(self) -> tuple[object, ...]:
        """What decides which numbers it hands out, and where."""
        return (self.increment, self.minimum, self.maximum, self.cycles, self.columns)

    def is_ahead(self, next_value: int, furthest: int) -> bool:
        return next_value > furthest if self.upwards else next_value < furthest

    def is_exhausted(self, next_value: int) -> bool:
        return next_value > self.maximum if self.upwards else next_value < self.minimum

    def within_bounds(self, next_value: int) -> int:
        """A cycling one begins again."""
        if not self.cycles or not self.is_exhausted(next_value):
            return next_value
        return self.minimum if self.upwards else self.maximum


def compare_sequences(
    before: Connection, after: Connection, *, unchanged: Collection[str] = ()
) -> tuple[tuple[SequenceState, ...], tuple[Unmeasured, ...]]:  # fmt: skip
    """Every sequence of both sides; the highest values are read from the columns (an index helps).

    ``unchanged`` names tables of the clone whose rows are proved to be as before: where a sequence and all its tables
    are, nothing is read.
    """
    ours, theirs = _read(before), _read(after)
    next_before, next_after = _next_values(before, ours), _next_values(after, theirs)
    by_oid = {found.oid: found for found in theirs}
    by_name = {(found.namespace, found.relation): found for found in theirs}
    states: list[SequenceState] = []
    unread: list[Unmeasured] = []
    followed: set[int] = set()
    for sequence in ours:
        successor = by_oid.get(sequence.oid) or by_name.get((sequence.namespace, sequence.relation))
        if successor is not None:
            followed.add(successor.oid)
        if not sequence.readable or (successor and not successor.readable):
            unread.append(Unmeasured(what=sequence.name, reason="this role has no right to read the sequence"))
            continue
        was, now = next_before[sequence.oid], next_after[successor.oid] if successor else None
        same = successor is not None and now == was and successor.way == sequence.way
        if same and all(column.table in unchanged for column in sequence.columns):
            states.append(_told(sequence, successor, SequenceVerdict.UNCHANGED, was, now))
        else:
            states.append(_state(before, after, sequence, successor, was, now))
    for found in theirs:
        if found.oid in followed:
            continue
        if found.readable:
            states.append(_state(before, after, None, found, None, next_after[found.oid]))
        else:
            unread.append(Unmeasured(what=found.name, reason="this role has no right to read the sequence"))
    return tuple(sorted(states, key=lambda state: state.name)), tuple(unread)


def _state(
    before: Connection,
    after: Connection,
    sequence: _Sequence | None,
    successor: _Sequence | None,
    next_before: int | None,
    next_after: int | None,
) -> SequenceState:
    if successor is None or next_after is None:
        return _told(sequence, successor, SequenceVerdict.DROPPED, next_before, None)
    met = _number_met(after, successor, next_after)
    # One that lagged before is not the migration's doing, unless it fell back as well.
    lagged = (
        met is not None
        and sequence is not None
        and next_before is not None
        and _number_met(before, sequence, next_before) is not None
    )
    exhausted = sequence is not None and next_before is not None and sequence.is_exhausted(next_before)
    column = met[0] if met is not None else None
    if met is not None and not lagged:
        return _told(sequence, successor, SequenceVerdict.BEHIND, next_before, next_after, column, met[1])
    if successor.is_exhausted(next_after) and not exhausted:
        verdict = SequenceVerdict.EXHAUSTED
    elif sequence is None or next_before is None:
        verdict = SequenceVerdict.NEW
    elif next_after == next_before:
        verdict = SequenceVerdict.UNCHANGED
    elif successor.cycles:  # back at its beginning is where it would have come by itself
        verdict = SequenceVerdict.ADVANCED
    else:
        ahead = successor.is_ahead(next_after, next_before)
        verdict = SequenceVerdict.ADVANCED if ahead else SequenceVerdict.MOVED_BACK
    return _told(sequence, successor, verdict, next_before, next_after, column)


def _told(
    sequence: _Sequence | None,
    successor: _Sequence | None,
    verdict: SequenceVerdict,
    next_before: int | None,
    next_after: int | None,
    column: _Column | None = None,
    furthest: int | None = None,
) -> SequenceState:
    known = sequence or successor
    assert known is not None
    columns = successor.columns if successor is not None else ()
    shown = column or (columns[0] if columns else None)
    return SequenceState(
        name=known.name,
        name_after=successor.name if successor else None,
        verdict=verdict,
        next_before=next_before,
        next_after=next_after,
        column=shown.name if shown is not None else None,
        furthest_value=furthest,
    )


def _number_met(connection: Connection, sequence: _Sequence, next_value: int) -> tuple[_Column, int] | None:
    """The column that already holds what is to come, with its furthest number; of a cycling one, the next number."""
    if sequence.cycles:
        for column in sequence.columns:
            if column.readable and _holds(connection, column, next_value):
                return column, next_value
        return None
    found = [
        (furthest, column)
        for column in sequence.columns
        if column.readable and (furthest := _furthest(connection, column, upwards=sequence.upwards)) is not None
        if not sequence.is_ahead(next_value, furthest)
    ]
    if not found:
        return None
    furthest, column = (max if sequence.upwards else min)(found, key=lambda each: each[0])
    return column, furthest


def _furthest(connection: Connection, column: _Column, *, upwards: bool) -> int | None:
    """The highest (for a descending sequence the lowest) value of the column."""
    row = connection.execute(
        sql.SQL("SELECT pg_catalog.trunc(pg_catalog.{}({})::pg_catalog.numeric)::pg_catalog.numeric FROM {}").format(
            sql.SQL("max" if upwards else "min"),
            sql.Identifier(column.column),
            sql.Identifier(column.namespace, column.relation),
        )
    ).fetchone()
    assert row is not None
    return None if row[0] is None or not row[0].is_finite() else int(row[0])


def _holds(connection: Connection, column: _Column, value: int) -> bool:
    row = connection.execute(
        sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE {} = {})").format(
            sql.Identifier(column.namespace, column.relation), sql.Identifier(column.column), sql.Literal(value)
        )
    ).fetchone()
    return bool(row and row[0])


def _read(connection: Connection) -> tuple[_Sequence, ...]:
    columns: dict[int, list[_Column]] = {}
    for oid, namespace, relation, column, table, column_name, readable in connection.execute(QUERIES["fed"]):
        columns.setdefault(oid, []).append(
            _Column(
                namespace=namespace, relation=relation, column=column, table=table, name=f"{table}.{column_name}",
                readable=readable,
            )
        )  # fmt: skip
    return tuple(
        _Sequence(
            oid=oid, namespace=namespace, relation=relation, name=name, increment=increment, minimum=minimum,
            maximum=maximum, cycles=cycles, readable=readable, columns=tuple(columns.get(oid, ())),
        )
        for oid, namespace, relation, name, increment, minimum, maximum, cycles, readable in connection.execute(
            QUERIES["sequences"]
        )
    )  # fmt: skip


def _next_values(connection: Connection, sequences: tuple[_Sequence, ...]) -> dict[int, int]:
    """What nextval() would give, from the sequence relations themselves: RESTART shows nowhere else.

    Beyond its bounds where the sequence is exhausted.
    """
    found: dict[int, int] = {}
    readable = {sequence.oid: sequence for sequence in sequences if sequence.readable}
    waiting = list(readable.values())
    for start in range(0, len(waiting), AT_ONCE):
        parts = [
            sql.SQL("SELECT {oid}::int8, CASE WHEN is_called THEN last_value + {step} ELSE last_value END FROM {name}")
            .format(
                oid=sql.Literal(sequence.oid),
                # numeric: the last number of all plus one must not overflow
                step=sql.SQL("{}::numeric").format(sql.Literal(sequence.increment)),
                name=sql.Identifier(sequence.namespace, sequence.relation),
            )
            for sequence in waiting[start : start + AT_ONCE]
        ]  # fmt: skip
        rows = connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
        found.update({oid: readable[oid].within_bounds(int(value)) for oid, value in rows})
    return found

"""Sequences that would hand out numbers again: moved back, or behind the column that they feed.

Sequences are followed as tables are: by oid, else by name.
"""

from dataclasses import dataclass

from psycopg import sql

from pgrehearse.data.verdicts import SequenceState, SequenceVerdict, Unmeasured
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
AT_ONCE = 200  # sequences read by one statement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequence:
    oid: int
    namespace: str
    relation: str
    name: str
    increment: int
    readable: bool
    owner: tuple[str, str, str] | None  # namespace, table, column
    owner_name: str | None
    owner_readable: bool


def compare_sequences(
    before: Connection, after: Connection
) -> tuple[tuple[SequenceState, ...], tuple[Unmeasured, ...]]:  # fmt: skip
    """Every sequence of both sides; the owned columns' highest values are read from the clone (an index helps)."""
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
        now = next_after[successor.oid] if successor else None
        states.append(_state(before, after, sequence, successor, next_before[sequence.oid], now))
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
    known = sequence or successor
    assert known is not None
    furthest = None
    if successor is None:
        verdict = SequenceVerdict.DROPPED
    else:
        assert next_after is not None
        upwards = successor.increment > 0
        furthest = _furthest(after, successor)
        was = _furthest(before, sequence) if sequence and furthest is not None else None
        # One that lagged before is not the migration's doing, unless it fell back as well.
        lagged = was is not None and next_before is not None and not _is_ahead(next_before, was, upwards)
        if furthest is not None and not _is_ahead(next_after, furthest, upwards) and not lagged:
            verdict = SequenceVerdict.BEHIND
        elif sequence is None or next_before is None:
            verdict = SequenceVerdict.NEW
        elif next_after == next_before:
            verdict = SequenceVerdict.UNCHANGED
        else:
            forwards = next_after > next_before if upwards else next_after < next_before
            verdict = SequenceVerdict.ADVANCED if forwards else SequenceVerdict.MOVED_BACK
    return SequenceState(
        name=known.name,
        name_after=successor.name if successor else None,
        verdict=verdict,
        next_before=next_before,
        next_after=next_after,
        column=successor.owner_name if successor else None,
        furthest_value=furthest if verdict is SequenceVerdict.BEHIND else None,
    )


def _is_ahead(next_value: int, furthest: int, upwards: bool) -> bool:
    return next_value > furthest if upwards else next_value < furthest


def _furthest(connection: Connection, sequence: _Sequence) -> int | None:
    """The highest (for a descending sequence the lowest) value in the column that owns it."""
    if sequence.owner is None or not sequence.owner_readable:
        return None
    namespace, table, column = sequence.owner
    function = sql.SQL("max" if sequence.increment > 0 else "min")
    row = connection.execute(
        sql.SQL("SELECT pg_catalog.{}({}) FROM {}").format(
            function, sql.Identifier(column), sql.Identifier(namespace, table)
        )
    ).fetchone()
    assert row is not None
    found: int | None = row[0]
    return found


def _read(connection: Connection) -> tuple[_Sequence, ...]:
    return tuple(
        _Sequence(
            oid=oid,
            namespace=namespace,
            relation=relation,
            name=name,
            increment=increment,
            readable=readable,
            owner=(owner_namespace, owner_table, owner_column) if owner_table is not None else None,
            owner_name=owner_name,
            owner_readable=bool(owner_readable),
        )
        for (
            oid, namespace, relation, name, increment, readable,
            owner_namespace, owner_table, owner_column, owner_name, owner_readable,
        ) in connection.execute(QUERIES["sequences"])
    )  # fmt: skip


def _next_values(connection: Connection, sequences: tuple[_Sequence, ...]) -> dict[int, int]:
    """What nextval() would give, from the sequence relations themselves: RESTART shows nowhere else."""
    found: dict[int, int] = {}
    readable = [sequence for sequence in sequences if sequence.readable]
    for start in range(0, len(readable), AT_ONCE):
        parts = [
            sql.SQL("SELECT {oid}::int8, CASE WHEN is_called THEN last_value + {step} ELSE last_value END FROM {name}")
            .format(
                oid=sql.Literal(sequence.oid),
                # numeric: the last number of all plus one must not overflow
                step=sql.SQL("{}::numeric").format(sql.Literal(sequence.increment)),
                name=sql.Identifier(sequence.namespace, sequence.relation),
            )
            for sequence in readable[start : start + AT_ONCE]
        ]  # fmt: skip
        rows = connection.execute(sql.SQL(" UNION ALL ").join(parts)).fetchall()
        found.update({oid: int(value) for oid, value in rows})
    return found

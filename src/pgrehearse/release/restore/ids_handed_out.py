"""No number is handed out twice: sequences of the restored database go on beyond where the failed one's stood.

A sequence is followed by name, or by the column that takes its numbers.  Where the migration moved one back,
made it anew or dropped it, its position does not say what it once handed out, so the columns are asked as well;
elsewhere they are not, since a number that somebody wrote by hand would move the sequence there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.release.restore.touched import TouchedTable

QUERIES = named_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequence:
    oid: int
    namespace: str
    relation: str
    increment: int
    lowest: int
    highest: int
    cycles: bool
    columns: tuple[tuple[str, str, str], ...]
    last: int  # the last number handed out; one increment before the first where none was

    @property
    def name(self) -> str:
        return sql.Identifier(self.namespace, self.relation).as_string(None)

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.namespace, self.relation)

    def furthest(self, numbers: Iterable[int]) -> int:
        return max(numbers) if self.increment > 0 else min(numbers)

    def is_further(self, one: int, other: int) -> bool:
        return one > other if self.increment > 0 else one < other


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedSequence:
    """One sequence of the restored database, and where it goes on."""

    name: str
    last_restored: int
    last_failed: int | None  # None: the failed database has none that corresponds
    last_now: int
    told: str | None  # what a person should know of it

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "last_restored": self.last_restored,
            "last_failed": self.last_failed,
            "last_now": self.last_now,
            "told": self.told,
        }


def move_sequences(
    failed: Connection,
    restored: Connection,
    *,
    touched: Sequence[TouchedTable] = (),
    moved_back: frozenset[str] = frozenset(),
) -> tuple[MovedSequence, ...]:
    """Set each sequence of ``restored`` to the furthest of both sides; what was moved, or is worth telling.

    ``moved_back`` are sequences (`sequences_moved_back`, as SQL names them) that the rehearsal saw the migration
    move back.  Writes to ``restored``, not in a transaction (setval never is); may be run again.
    """
    ours = _read(restored)
    theirs = _read(failed)
    by_name = {(each.namespace, each.relation): each for each in theirs}
    by_column = {column: each for each in theirs for column in each.columns}
    names = _Renames(touched)
    moved = []
    for sequence in ours:
        other = by_name.get((sequence.namespace, sequence.relation)) or next(
            (by_column[after] for column in sequence.columns if (after := names.after(column)) in by_column), None
        )
        found = _move(failed, restored, sequence, other, names, moved_back)
        if found is not None:
            moved.append(found)
    return tuple(moved)


def _move(
    failed: Connection,
    restored: Connection,
    sequence: _Sequence,
    other: _Sequence | None,
    names: "_Renames",
    moved_back: frozenset[str],
) -> MovedSequence | None:
    told = None
    if sequence.cycles and other is not None:
        # It wraps round, so that neither position is further than the other: the later one is the failed database's.
        last = other.last
        told = "it cycles: it goes on where the failed database stood"
    else:
        known = [sequence.last] + ([] if other is None else [other.last])
        named = moved_back.intersection(_spellings(sequence.namespace, sequence.relation))
        if other is None or named or sequence.is_further(sequence.last, other.last):
            asked = _column_numbers(restored, sequence, sequence.columns)
            asked += _column_numbers(failed, sequence, [names.after(column) for column in sequence.columns])
            known += asked
            told = "the migration moved it back, made it anew or dropped it: numbers that no row carries are not known"
            if not sequence.columns:
                told += "; no column takes its numbers by default, so none was asked"
        last = sequence.furthest(known)
    if not sequence.lowest <= last <= sequence.highest and last != sequence.last:
        told = f"the failed database handed out {last}, beyond what this sequence may: it is exhausted"
        last = sequence.highest if sequence.increment > 0 else sequence.lowest
    if last != sequence.last:
        restored.execute(
            sql.SQL("SELECT pg_catalog.setval({}::pg_catalog.oid::pg_catalog.regclass, {}, true)").format(
                sql.Literal(sequence.oid), sql.Literal(last)
            )
        )
    elif told is None or sequence.cycles:
        return None
    return MovedSequence(
        name=sequence.name,
        last_restored=sequence.last,
        last_failed=None if other is None else other.last,
        last_now=last,
        told=told,
    )


class _Renames:
    """Where a column of the restored database is in the failed one."""

    def __init__(self, touched: Sequence[TouchedTable]) -> None:
        self._tables: Mapping[str, TouchedTable] = {table.name: table for table in touched}

    def after(self, column: tuple[str, str, str]) -> tuple[str, str, str]:
        namespace, table, name = column
        touch = next(
            (self._tables[key] for key in _spellings(namespace, table) if key in self._tables), None
        )  # fmt: skip
        if touch is None or touch.name_after is None:
            return column
        parts = _parts(touch.name_after)
        return (*parts, touch.renamed_columns.get(name, name))


def _spellings(namespace: str, relation: str) -> tuple[str, ...]:
    """A receipt quotes only where SQL needs it."""
    quoted = [(part, f'"{part.replace(chr(34), chr(34) * 2)}"') for part in (namespace, relation)]
    return tuple(f"{one}.{two}" for one in quoted[0] for two in quoted[1])


def _parts(name: str) -> tuple[str, str]:
    parts: list[str] = []
    rest = name
    while rest:
        if rest.startswith('"'):
            end = 1
            while rest[end] != '"' or rest[end : end + 2] == '""':
                end += 2 if rest[end] == '"' else 1
            parts.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 2 :]
        else:
            part, _, rest = rest.partition(".")
            parts.append(part)
    return parts[0], parts[1]


def _read(session: Connection) -> list[_Sequence]:
    found = []
    for oid, namespace, relation, increment, low, high, cycles, columns in session.execute(
        QUERIES["sequences"]
    ).fetchall():
        row = session.execute(
            sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(namespace, relation))
        ).fetchone()
        assert row is not None
        found.append(
            _Sequence(
                oid=oid,
                namespace=namespace,
                relation=relation,
                increment=increment,
                lowest=low,
                highest=high,
                cycles=cycles,
                columns=tuple((one, two, three) for one, two, three in columns),
                last=row[0] if row[1] else row[0] - increment,
            )
        )
    return found


def _column_numbers(session: Connection, sequence: _Sequence, columns: Iterable[tuple[str, str, str]]) -> list[int]:
    """The furthest number in each of the columns that exist here."""
    numbers = []
    for namespace, table, column in columns:
        exists = session.execute(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attname = %s AND NOT a.attisdropped"
            " AND a.attrelid = pg_catalog.to_regclass(pg_catalog.format('%%I.%%I', %s::text, %s::text)))",
            (column, namespace, table),
        ).fetchone()
        if not (exists and exists[0]):
            continue
        row = session.execute(
            sql.SQL("SELECT pg_catalog.{}({})::int8 FROM {}").format(
                sql.SQL("max" if sequence.increment > 0 else "min"),
                sql.Identifier(column),
                sql.Identifier(namespace, table),
            )
        ).fetchone()
        if row and row[0] is not None:
            numbers.append(int(row[0]))
    return numbers

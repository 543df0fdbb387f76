"""How many of the source's values stand at the matching row of another place: exact, by two sorted streams of hashes.

Both databases send (hash of the key, hash of the value), sorted by the server; one row of each is held.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from pgrehearse.counted import agree
from pgrehearse.data.columns import INTEGERS, STRINGS, Expression, Hashing, Reading, TypePair, hash_of
from pgrehearse.data.tables import Column
from pgrehearse.postgres.connect import Connection

DISTINCT_KEPT = 10_000
FEWEST_DISTINCT = 8  # values; a column of fewer may well equal another one by coincidence
OTHER_SEED = sql.SQL("4354685564936845319")  # so that a value's hash is not the key's


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """``relation`` as pairs of hashes; rows whose value is NULL are left out."""

    relation: Expression
    key: Expression
    value: Expression


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a trace counted.  ``values`` are hashes of different ones among the found, up to `DISTINCT_KEPT`."""

    sought: int
    found: int
    contradicted: int  # the place has a row of that key, with another value
    values: frozenset[int]
    by_place: tuple[int, ...] = ()
    shared: Mapping[frozenset[int], int] = field(default_factory=Counter)  # came to several places: not among ``found``

    @property
    def distinct(self) -> int:
        return len(self.values)

    @property
    def shared_rows(self) -> int:
        return sum(self.shared.values())

    def together(self, other: "Found") -> "Found":
        """Both leaves of a tree, whose rows went to the same places."""
        return Found(
            sought=self.sought + other.sought,
            found=self.found + other.found,
            contradicted=self.contradicted + other.contradicted,
            values=self.values | other.values,
            shared=Counter(self.shared) + Counter(other.shared),
        )

    def doubt(self) -> str | None:
        """Why the values may be equal by coincidence; None where that is ruled out.

        Fewer than `FEWEST_DISTINCT` different values prove nothing (booleans, states, a row or two), however many
        rows hold them.  Where some rows of the place hold other values, those found must nearly name their row.
        """
        if self.distinct < FEWEST_DISTINCT:
            different = f"{self.distinct} different value{'' if self.distinct == 1 else 's'}"
            return f"only {different}: it may be coincidence"
        if self.contradicted and (
            self.contradicted > self.found or self.distinct * 10 < min(self.found, DISTINCT_KEPT)
        ):
            hold = agree(self.contradicted, "holds", "hold")
            return f"{self.contradicted:,} of the rows there {hold} another value: it may be coincidence"
        return None


def same_reading(before: Column, after: Column, types: TypePair) -> Reading | None:
    """How values of two columns are held against each other; None where they can't without a cast that may fail.

    Integers and strings are read alike whatever their width, so that hashes of several places agree.
    """
    old, new = types.without_domains(before, after=False), types.without_domains(after, after=True)
    if old.oid in INTEGERS and new.oid in INTEGERS:
        return _cast(Hashing.INT8, "({v})::pg_catalog.int8")
    if old.category == STRINGS and new.category == STRINGS:
        return _cast(Hashing.TEXT, "({v})::pg_catalog.text")
    reading = types.reading(before, after)
    return reading if isinstance(reading, Reading) and not reading.casts else None


def _cast(hashing: Hashing, template: str) -> Reading:
    def read(value: Expression) -> Expression:
        return sql.SQL(template).format(v=value)

    return Reading(hashing=hashing, before=read, after=read, casts=False)


def text_hash(value: Expression) -> Expression:
    return hash_of(Hashing.TEXT, value, OTHER_SEED)


def count_found(
    before: Connection,
    source: Pairs,
    after: Connection,
    places: Sequence[Pairs],
    own: Sequence[Pairs] = (),
    *,
    earlier: Sequence[Pairs | None] = (),
    few: bool = False,
) -> Found:
    """Of the source's pairs those that some place holds.  Keys of ``own`` are not sought: they are still there.

    ``earlier`` are the places as they were: what stood there already did not come from the source.  The source's
    keys are unique.  One sort of each side; a ``few`` are held, and the places sort only their keys.
    """
    theirs_query = _marked([(-1, each) for each in own] + list(enumerate(places)))
    known = [(mark, each) for mark, each in enumerate(earlier) if each is not None]
    wanted: Expression = sql.SQL("")
    if few:
        held = list(_read(before, _marked([(-1, source)])))
        keys = sql.Literal([key for key, _, _ in held])
        wanted = sql.SQL(" AND k = ANY ({}::pg_catalog.int8[])").format(keys)
        held += _read(before, _marked(known), wanted) if known else ()
        ours: Iterable[tuple[int, int, int]] = sorted(held, key=lambda row: row[0])
    else:
        ours = _read(before, _marked([(-1, source), *known]))
    theirs = itertools.groupby(_read(after, theirs_query, wanted), key=lambda row: row[0])
    sought = found = contradicted = 0
    distinct: set[int] = set()
    by_place = [0] * len(places)
    shared = Counter[frozenset[int]]()
    other = next(theirs, None)
    for key, rows in itertools.groupby(ours, key=lambda row: row[0]):
        mine = list(rows)
        while other is not None and other[0] < key:
            other = next(theirs, None)
        there = Counter[tuple[int, int]]()
        if other is not None and other[0] == key:
            there.update((mark, value) for _, value, mark in other[1])
        values = [value for _, value, mark in mine if mark < 0]
        if not values or any(mark < 0 for mark, _ in there):
            continue
        came = there - Counter((mark, value) for _, value, mark in mine if mark >= 0)
        sought += 1
        marks = frozenset(mark for mark, value in came if value == values[0])
        if len(marks) == 1:
            found += 1
            by_place[next(iter(marks))] += 1
        elif marks:
            shared[marks] += 1
        elif came:
            contradicted += 1
        if marks and len(distinct) < DISTINCT_KEPT:
            distinct.add(values[0])
    for _ in theirs:  # COPY wants to be read to its end
        pass
    return Found(
        sought=sought,
        found=found,
        contradicted=contradicted,
        values=frozenset(distinct),
        by_place=tuple(by_place),
        shared=shared,
    )


def _marked(pairs: Sequence[tuple[int, Pairs]]) -> Expression:
    return sql.SQL(" UNION ALL ").join(
        sql.SQL("SELECT {key} AS k, {value} AS v, {mark} AS m FROM {relation}").format(
            key=each.key, value=each.value, mark=sql.Literal(mark), relation=each.relation
        )
        for mark, each in pairs
    )


def _read(
    connection: Connection, query: Expression, wanted: Expression | None = None
) -> Iterator[tuple[int, int, int]]:
    sorted_query = sql.SQL(
        "COPY (SELECT k, v, m FROM ({}) AS s WHERE k IS NOT NULL AND v IS NOT NULL{} ORDER BY k, m) TO STDOUT"
    ).format(query, wanted or sql.SQL(""))
    with connection.cursor() as cursor, cursor.copy(sorted_query) as copy:
        for line in copy:
            key, value, mark = bytes(line).split(b"\t")
            yield int(key), int(value), int(mark)

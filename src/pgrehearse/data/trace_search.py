"""Which columns of a place look like the source's, told from a few rows: proposals that are then counted in full.

The rows are drawn by the hash of their key, so they stand for the whole table.  Their values stay in memory.
"""

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from pgrehearse.data.columns import STRINGS, Expression, TypePair
from pgrehearse.data.row_stream import text_sql
from pgrehearse.data.tables import Column
from pgrehearse.data.trace_links import Link
from pgrehearse.postgres.connect import Connection

DRAWN = 64  # rows
LONGEST = 2000  # characters; longer values are compared by their beginning here, and whole when they are counted
AGREEING = 4  # one in so many drawn rows that are there must agree, or it is not worth counting
PARTS = 3  # columns that one is split into or that are merged
MOST_PARTS = 6  # columns among which these are looked for
SEPARATORS = 8  # characters at most

Texts = tuple[str | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Texts of the chosen columns by the hash of the key."""

    rows: dict[int, Texts]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Columns of a place that together make a value: ``concat_ws(separator, …)``; positions in the link's values."""

    positions: tuple[int, ...]
    separator: str


def draw(connection: Connection, relation: Expression, key: Expression, columns: Sequence[Column]) -> Drawn:
    """Rows of the source with the least hashes of those where not all columns are NULL; one scan."""
    texts = sql.SQL(", ").join(text_sql(column.identifier, LONGEST, column.type_oid) for column in columns)
    some = sql.SQL(" OR ").join(sql.SQL("{} IS NOT NULL").format(column.identifier) for column in columns)
    query = sql.SQL(
        "SELECT k, t FROM (SELECT {key} AS k, ARRAY[{texts}]::pg_catalog.text[] AS t FROM {relation} WHERE {some}) AS s"
        " ORDER BY k LIMIT {drawn}"
    ).format(key=key, texts=texts, relation=relation, some=some, drawn=sql.Literal(DRAWN))
    return Drawn(rows={k: tuple(texts) for k, texts in connection.execute(query)})


def draw_same(connection: Connection, link: Link, key: Expression, wanted: Drawn) -> list[tuple[int, Texts]]:
    """The rows of the place with the drawn keys; one scan."""
    texts = sql.SQL(", ").join(text_sql(value, LONGEST, new.type_oid) for value, new in link.values)
    query = sql.SQL(
        "SELECT k, t FROM (SELECT {key} AS k, ARRAY[{texts}]::pg_catalog.text[] AS t FROM {relation}) AS s"
        " WHERE k = ANY ({keys}::pg_catalog.int8[]) LIMIT {most}"
    ).format(
        key=key,
        texts=texts,
        relation=link.relation,
        keys=sql.Literal(list(wanted.rows)),
        most=sql.Literal(DRAWN * DRAWN),
    )
    return [(k, tuple(texts)) for k, texts in connection.execute(query)]


def find_same(source: int, column: Column, drawn: Drawn, there: list[tuple[int, Texts]], link: Link) -> int | None:
    """The position of the place's column that holds the source's values most often; equal names first."""
    named = next((place for place, (_, new) in enumerate(link.values) if new.name == column.name), None)
    if named is not None:  # nothing agrees better, and of 1,600 columns each would be held against each
        pairs = [(drawn.rows[key][source], texts[named]) for key, texts in there]
        if any(old is not None for old, _ in pairs) and all(old is None or old == new for old, new in pairs):
            return named
    agreeing = Counter[int]()
    known = set[int]()
    for key, texts in there:
        wanted = drawn.rows[key][source]
        if wanted is None:
            continue
        known.add(key)
        for position, text in enumerate(texts):
            if text == wanted:
                agreeing[position] += 1
    if not agreeing:
        return None

    def rank(position: int) -> tuple[int, bool]:
        return agreeing[position], link.values[position][1].name == column.name

    best = max(agreeing, key=rank)
    return best if agreeing[best] * AGREEING >= len(known) else None


def find_split(source: int, drawn: Drawn, there: list[tuple[int, Texts]], link: Link, types: TypePair) -> Joined | None:
    """Columns of the place that make the source's value, one behind the other with one separator."""
    texts = _text_columns(link, types)
    best: tuple[int, Joined] | None = None
    known = {key for key, _ in there if drawn.rows[key][source] is not None}
    for parts in range(2, PARTS + 1):
        for positions in itertools.permutations(texts, parts):
            separators = Counter[str]()
            for key, row in there:
                whole = drawn.rows[key][source]
                pieces = [row[position] for position in positions]
                if (
                    whole
                    and all(pieces)
                    and (found := separator_of(whole, [piece or "" for piece in pieces])) is not None
                ):
                    separators[found] += 1
            for separator, count in separators.most_common(1):
                if best is None or count > best[0]:
                    best = count, Joined(positions=positions, separator=separator)
    return best[1] if best is not None and best[0] * AGREEING >= len(known) else None


def find_merged(
    sources: Sequence[int], drawn: Drawn, there: list[tuple[int, Texts]], link: Link, types: TypePair
) -> tuple[tuple[int, ...], Joined] | None:
    """Some of the sources, in an order, that one text column of the place is made of."""
    best: tuple[int, tuple[int, ...], Joined] | None = None
    known = {key for key, _ in there}
    for position in _text_columns(link, types):
        for parts in range(2, min(PARTS, len(sources)) + 1):
            for order in itertools.permutations(sources, parts):
                separators = Counter[str]()
                for key, row in there:
                    pieces = [drawn.rows[key][source] for source in order]
                    whole = row[position]
                    if whole and all(pieces):
                        found = separator_of(whole, [piece or "" for piece in pieces])
                        if found is not None:
                            separators[found] += 1
                for separator, count in separators.most_common(1):
                    # More parts explain more of the value.
                    if best is None or (count, parts) > (best[0], len(best[1])):
                        best = count, order, Joined(positions=(position,), separator=separator)
    return best[1:] if best is not None and best[0] * AGREEING >= len(known) else None


def separator_of(whole: str, pieces: Sequence[str]) -> str | None:
    """What stands between the pieces, the same everywhere, where they make up the whole in this order."""
    room = len(whole) - sum(map(len, pieces))
    gaps = len(pieces) - 1
    if room < 0 or room % gaps or room // gaps > SEPARATORS or len(whole) >= LONGEST:
        return None
    length = room // gaps
    separator = whole[len(pieces[0]) : len(pieces[0]) + length]
    return separator if separator.join(pieces) == whole else None


def _text_columns(link: Link, types: TypePair) -> list[int]:
    found = [
        position
        for position, (_, column) in enumerate(link.values)
        if types.without_domains(column, after=True).category == STRINGS
    ]
    return found[:MOST_PARTS]

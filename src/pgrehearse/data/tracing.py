"""What is gone from its place and stands in another: columns renamed, split or merged, rows moved to other tables.

Columns that were dropped and rows that were lost are looked for in what the plan made or filled: new columns, new
tables, tables that gained rows.  A row is known by its key there (`trace_links`), so a value counts as found only at
the matching row; a few rows tell what to look for (`trace_search`), and all of them are counted (`trace_count`).
What is found, and not by a possible coincidence (`Found.doubt`), is told as found again.  It is a loss all the same:
only who wrote the migration knows that it was to be moved.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import psycopg
from psycopg import sql

from pgrehearse.data.columns import STRINGS, Expression, Reading, TypePair, hash_of
from pgrehearse.data.digest import hash_of_all
from pgrehearse.data.fingerprint import SEED, Layout, Side, key_sql
from pgrehearse.data.pairing import Pool
from pgrehearse.data.table_loss import BothSides, PoolResult
from pgrehearse.data.tables import Column, Table
from pgrehearse.data.trace_claims import was_dropped, with_traces, without_contested
from pgrehearse.data.trace_count import (
    OTHER_SEED,
    Found,
    Pairs,
    count_found,
    same_reading,
    text_hash,
)
from pgrehearse.data.trace_links import Link, Links, Place, read_links
from pgrehearse.data.trace_places import find_places
from pgrehearse.data.trace_search import MOST_PARTS, Drawn, Texts, draw, draw_same, find_merged, find_same, find_split
from pgrehearse.data.verdicts import (
    TableLoss,
    TableVerdict,
    Trace,
    Traced,
)

SEARCHED = 200  # lost rows among which some are drawn


def trace(results: Sequence[PoolResult], both: BothSides, types: TypePair) -> list[PoolResult]:
    """The results, with what is gone told where it was found again.

    Reads nothing where nothing is gone or nothing came.  Else some scans of each table that lost something and of
    each that its key leads to, and one sort of both for what is found.
    """
    places = tuple(find_places(results))
    if not places or not any(_is_gone(table) for result in results for table in result.tables):
        return list(results)
    links = read_links(both.before, both.after, [result.pool for result in results if result.pool])
    traced = []
    for result in results:
        if result.pool is None or result.layout is None:
            traced.append(result)
            continue
        traced.append(_trace_pool(result, places, links, both, types))
    return without_contested(traced, places)


def _is_gone(table: TableLoss) -> bool:
    return table.rows_lost > 0 or any(was_dropped(column) for column in table.columns)


def _trace_pool(
    result: PoolResult, places: tuple[Place, ...], links: Links, both: BothSides, types: TypePair
) -> PoolResult:
    """The leaves of a tree are proved together: each may have given away but a row or two."""
    assert result.pool is not None
    tables = {table.name: table for table in result.pool.before}
    searches = {
        fact.name: search
        for fact in result.tables
        if fact.verdict is not TableVerdict.NEW and fact.name in tables and _is_gone(fact)
        if (search := _search_of(tables[fact.name], result, places, links, both, types)) is not None
    }
    rows = {
        fact.name: found
        for fact in result.tables
        if fact.name in searches and fact.rows_lost
        if (found := searches[fact.name].rows(fact.rows_lost, result.lost_keys.get(tables[fact.name].oid, ())))
    }
    together = reduce(Found.together, (found.counted for found in rows.values())) if rows else None
    reason = together.doubt() if together is not None else None
    if together is not None and reason is not None and together.found + together.shared_rows < together.sought:
        rows = {}  # of few different rows some are found in many a table
    facts = []
    for fact in result.tables:
        if fact.name not in searches:
            facts.append(fact)
            continue
        traces = [
            each if each.reason else replace(each, proved=reason is None, reason=reason)
            for each in rows[fact.name].traces
        ] if fact.name in rows else []  # fmt: skip
        dropped = {column.name for column in fact.columns if was_dropped(column)}
        if fact.name_after is not None and dropped:
            columns = tables[fact.name].columns
            traces += searches[fact.name].columns([column for column in columns if column.sql_name in dropped])
        facts.append(with_traces(fact, traces))
    return replace(result, tables=tuple(facts))


def _search_of(
    table: Table,
    result: PoolResult,
    places: tuple[Place, ...],
    links: Links,
    both: BothSides,
    types: TypePair,
) -> "_Search | None":
    """None for a table without a key: which row is which cannot be told."""
    numbers = table.keys[0] if table.keys else ()
    key = tuple(column for number in numbers if (column := table.find_column(number)) is not None)
    if not key:
        return None
    assert result.pool is not None
    assert result.layout is not None
    return _Search(
        table=table,
        key=key,
        pool=result.pool,
        layout=result.layout,
        places=places,
        links=links,
        both=both,
        types=types,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _FoundRows:
    """Where rows of one table went, not yet judged."""

    traces: tuple[Trace, ...]
    counted: Found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """One table's search; what fails to be read is not found."""

    table: Table
    key: tuple[Column, ...]
    pool: Pool
    layout: Layout
    places: tuple[Place, ...]
    links: Links
    both: BothSides
    types: TypePair

    @property
    def relation(self) -> Expression:
        return sql.SQL("ONLY {}").format(self.table.identifier)

    # --- rows

    def rows(self, rows_lost: int, lost_keys: Sequence[int]) -> _FoundRows | None:
        """Where lost rows went, each whole: under its key, with every other value."""
        values = [column for column in self.table.columns if column not in self.key]
        if not values and len(self.key) < 2:
            return None  # a lone key is found in any table with numbers
        kept: list[tuple[Link, Pairs, Pairs, Pairs | None]] = []
        for place in self.places:
            if not place.rows_gained or self._is_own(place):
                continue
            for link in self._links(place, rows=True):
                try:
                    proposed = self._propose_rows(link, values, lost_keys)
                except psycopg.OperationalError:
                    raise
                except psycopg.Error:  # this role may not read the place
                    continue
                if proposed is not None and (not kept or proposed[0] == kept[0][1]):
                    kept.append((link, *proposed))
                    break
        if not kept:
            return None
        source = kept[0][1]
        places = [pairs for _, _, pairs, _ in kept]
        earlier = [pairs for _, _, _, pairs in kept]
        if len(lost_keys) == rows_lost:
            sought = replace(source, relation=self._lost_rows(lost_keys))
            found = self._count(sought, places, [], earlier, few=True)
        else:
            own = self._own(source)
            if len(own) != len(self.pool.after):
                return None  # which rows are lost cannot be told
            found = self._count(source, places, own, earlier)
        if found is None or not (found.found or found.shared):
            return None
        links = [link for link, _, _, _ in kept]
        traces = [
            self._rows_trace(link, rows_lost, count) for link, count in zip(links, found.by_place, strict=True) if count
        ]
        for number, link in enumerate(links):
            if count := sum(rows for marks, rows in found.shared.items() if number in marks):
                others = {links[mark].place.table.name for marks in found.shared if number in marks for mark in marks}
                reason = f"equal rows were also inserted in {', '.join(sorted(others - {link.place.table.name}))}"
                traces.append(replace(self._rows_trace(link, rows_lost, count), reason=reason))
        return _FoundRows(traces=tuple(traces), counted=found)

    def _rows_trace(self, link: Link, rows_lost: int, count: int) -> Trace:
        return Trace(
            what=Traced.ROWS,
            columns=tuple(column.sql_name for column in self.table.columns),
            into=link.place.table.name,
            into_columns=tuple(column.sql_name for _, column in (*link.key, *link.values)),
            joined_by="",
            by=link.by,
            sought=rows_lost,
            found=min(count, rows_lost),
            proved=False,
        )

    def _propose_rows(
        self, link: Link, values: list[Column], lost_keys: Sequence[int]
    ) -> tuple[Pairs, Pairs, Pairs | None] | None:
        readings = self._key_readings(link)
        if readings is None:
            return None
        mine, theirs = self._my_key(readings), _their_key(link, readings)
        mapped: list[tuple[Column, Expression, Reading]] = []
        into: list[tuple[Column, Reading]] = []
        if values:
            drawn = draw(self.both.before, self._lost_rows(lost_keys[:SEARCHED]), mine, values)
            there = draw_same(self.both.after, link, theirs, drawn) if drawn.rows and link.values else []
            if not there:
                return None
            for number, column in enumerate(values):
                position = self._by_name(column, link) if self._all_null(number, drawn) else None
                position = find_same(number, column, drawn, there, link) if position is None else position
                if position is None:
                    return None
                value, new = link.values[position]
                reading = same_reading(column, new, self.types)
                if reading is None:
                    return None
                mapped.append((column, value, reading))
                into.append((new, reading))
        hashings = [reading.hashing for _, _, reading in mapped]
        my_value = hash_of_all(
            hashings, [reading.before(column.identifier) for column, _, reading in mapped], OTHER_SEED
        )
        their_value = hash_of_all(hashings, [reading.after(value) for _, value, reading in mapped], OTHER_SEED)
        if not mapped:
            my_value, their_value = mine, theirs
        return (
            Pairs(relation=self.relation, key=mine, value=my_value),
            Pairs(relation=link.relation, key=theirs, value=their_value),
            self._earlier(link, readings, into),
        )

    def _earlier(self, link: Link, key: list[Reading], values: list[tuple[Column, Reading]]) -> Pairs | None:
        """The place before the plan; None where it, or one of these columns as it is now, was not there."""
        table, now = self.links.predecessors.get(link.place.table.oid), link.place.table
        if table is None:
            return None

        def hashed(columns: list[tuple[Column, Reading]], seed: Expression) -> Expression | None:
            was = [
                table.find_column(c.number) if table.oid == now.oid else table.find_named(c.name) for c, _ in columns
            ]
            same = [
                reading.after(old.identifier)
                for old, (new, reading) in zip(was, columns, strict=True)
                if old is not None and (old.type_oid, old.typmod) == (new.type_oid, new.typmod)
            ]
            if len(same) < len(columns):
                return None
            return hash_of_all([reading.hashing for _, reading in columns], same, seed)

        by_key = hashed([(column, reading) for (_, column), reading in zip(link.key, key, strict=True)], SEED)
        by_value = hashed(values, OTHER_SEED) if values else by_key
        if by_key is None or by_value is None:
            return None
        relation = sql.SQL("{}" if table.partitioned else "ONLY {}").format(table.identifier)
        return Pairs(relation=relation, key=by_key, value=by_value)

    def _all_null(self, number: int, drawn: Drawn) -> bool:
        return all(texts[number] is None for texts in drawn.rows.values())

    def _by_name(self, column: Column, link: Link) -> int | None:
        return next((place for place, (_, new) in enumerate(link.values) if new.name == column.name), None)

    def _lost_rows(self, lost_keys: Sequence[int]) -> Expression:
        """The lost ones alone, where it is known which these are."""
        if not lost_keys:
            return self.relation
        return sql.SQL("(SELECT * FROM {} WHERE {} = ANY ({}::pg_catalog.int8[])) AS lost").format(
            self.relation, key_sql(self.layout, self.table, Side.BEFORE), sql.Literal(list(lost_keys))
        )

    def _is_own(self, place: Place) -> bool:
        return any(place.table.oid == table.oid for table in (*self.pool.after, self.pool.model_after) if table)

    def _own(self, source: Pairs) -> list[Pairs]:
        """The table's own keys of now, each as the source's key is hashed, of those tables where that can be."""
        found = []
        for table in self.pool.after:
            columns = [
                column.after[table.oid] for key in self.key for column in self.layout.columns
                if column.name == key.name and table.oid in column.after
            ]  # fmt: skip
            if len(columns) < len(self.key):
                continue
            readings = [same_reading(key, column, self.types) for key, column in zip(self.key, columns, strict=True)]
            known = [reading for reading in readings if reading is not None]
            if len(known) < len(self.key) or self._my_key(known) != source.key:
                continue
            values = [reading.after(column.identifier) for reading, column in zip(known, columns, strict=True)]
            key = hash_of_all([reading.hashing for reading in known], values, SEED)
            found.append(Pairs(relation=sql.SQL("ONLY {}").format(table.identifier), key=key, value=key))
        return found

    # --- columns

    def columns(self, dropped: list[Column]) -> list[Trace]:
        """Where the values of dropped columns went: each by itself, split up, or several merged into one."""
        traces = []
        rest = []
        for column in dropped:
            found = _best(self._single(column))
            if found is None:
                rest.append(column)
            else:
                traces.append(found)
        texts = [column for column in rest if self._is_text(column)][:MOST_PARTS]
        if len(texts) > 1 and (merged := _best(self._merged(texts))) is not None:
            traces.append(merged)
        return traces

    def _single(self, column: Column) -> Iterator[Trace]:
        for link, readings in self._value_links():
            keys = self._my_key(readings), _their_key(link, readings)
            drawn, there = self._drawn(link, *keys, [column])
            position = find_same(0, column, drawn, there, link) if there else None
            if position is not None:
                value, new = link.values[position]
                reading = same_reading(column, new, self.types)
                if reading is not None:
                    mine = hash_of(reading.hashing, reading.before(column.identifier), OTHER_SEED)
                    theirs = hash_of(reading.hashing, reading.after(value), OTHER_SEED)
                    yield from self._counted(link, keys, (mine, theirs), (column,), (position,), "")
            split = find_split(0, drawn, there, link, self.types) if there and self._is_text(column) else None
            if split is not None:
                whole = text_hash(sql.SQL("({})::pg_catalog.text").format(column.identifier))
                parts = text_hash(_joined([link.values[place][0] for place in split.positions], split.separator))
                how = _literal(split.separator)
                yield from self._counted(link, keys, (whole, parts), (column,), split.positions, how)

    def _merged(self, columns: list[Column]) -> Iterator[Trace]:
        for link, readings in self._value_links():
            keys = self._my_key(readings), _their_key(link, readings)
            drawn, there = self._drawn(link, *keys, columns)
            found = find_merged(range(len(columns)), drawn, there, link, self.types) if there else None
            if found is None:
                continue
            order, joined = found
            chosen = tuple(columns[place] for place in order)
            parts = text_hash(_joined([column.identifier for column in chosen], joined.separator))
            whole = text_hash(sql.SQL("({})::pg_catalog.text").format(link.values[joined.positions[0]][0]))
            how = _literal(joined.separator)
            yield from self._counted(link, keys, (parts, whole), chosen, joined.positions, how)

    def _counted(
        self,
        link: Link,
        keys: tuple[Expression, Expression],
        values: tuple[Expression, Expression],
        columns: tuple[Column, ...],
        positions: tuple[int, ...],
        joined_by: str,
    ) -> Iterator[Trace]:
        source = Pairs(relation=self.relation, key=keys[0], value=values[0])
        found = self._count(source, [Pairs(relation=link.relation, key=keys[1], value=values[1])], [])
        if found is None or not found.found:
            return
        reason = found.doubt()
        yield Trace(
            what=Traced.VALUES,
            columns=tuple(column.sql_name for column in columns),
            into=link.place.table.name,
            into_columns=tuple(link.values[position][1].sql_name for position in positions),
            joined_by=joined_by,
            by=link.by,
            sought=found.sought,
            found=found.found,
            proved=reason is None,
            reason=reason,
        )

    def _value_links(self) -> Iterator[tuple[Link, list[Reading]]]:
        for place in sorted(self.places, key=lambda place: not self._is_own(place)):
            for link in self._links(place, rows=False):
                readings = self._key_readings(link)
                if readings is not None and link.values:
                    yield link, readings

    def _drawn(
        self, link: Link, mine: Expression, theirs: Expression, columns: list[Column]
    ) -> tuple[Drawn, list[tuple[int, Texts]]]:
        try:
            drawn = draw(self.both.before, self.relation, mine, columns)
            return drawn, draw_same(self.both.after, link, theirs, drawn) if drawn.rows else []
        except psycopg.OperationalError:
            raise
        except psycopg.Error:  # this role may not read the place
            return Drawn(rows={}), []

    # --- both

    def _links(self, place: Place, *, rows: bool) -> Iterator[Link]:
        return self.links.of(self.table, self.key, self.pool, place, rows=rows)

    def _key_readings(self, link: Link) -> list[Reading] | None:
        found = [same_reading(mine, theirs, self.types) for mine, (_, theirs) in zip(self.key, link.key, strict=True)]
        known = [reading for reading in found if reading is not None]
        return known if len(known) == len(found) else None

    def _my_key(self, readings: list[Reading]) -> Expression:
        values = [reading.before(column.identifier) for reading, column in zip(readings, self.key, strict=True)]
        return hash_of_all([reading.hashing for reading in readings], values, SEED)

    def _is_text(self, column: Column) -> bool:
        return self.types.without_domains(column, after=False).category == STRINGS

    def _count(
        self,
        source: Pairs,
        places: list[Pairs],
        own: list[Pairs],
        earlier: Sequence[Pairs | None] = (),
        *,
        few: bool = False,
    ) -> Found | None:
        try:
            return count_found(self.both.before, source, self.both.after, places, own, earlier=earlier, few=few)
        except psycopg.OperationalError:
            raise
        except psycopg.Error:
            return None


def _best(proposals: Iterator[Trace]) -> Trace | None:
    """The first that is complete and proved, else the one that found most; what is neither is not told."""
    best: Trace | None = None
    for found in proposals:
        complete = found.found == found.sought
        if found.proved and complete:
            return found
        better = best is None or (found.proved, found.found) > (best.proved, best.found)
        if better and (found.proved or complete):
            best = found
    return best


def _their_key(link: Link, readings: list[Reading]) -> Expression:
    values = [reading.after(value) for reading, (value, _) in zip(readings, link.key, strict=True)]
    return hash_of_all([reading.hashing for reading in readings], values, SEED)


def _joined(values: Sequence[Expression], separator: str) -> Expression:
    """The text that several make; NULL where all of them are; what is NULL or empty leaves no separator behind."""
    return sql.SQL(
        "CASE WHEN COALESCE({every}) IS NOT NULL THEN pg_catalog.concat_ws({separator}, {parts}) END"
    ).format(
        every=sql.SQL(", ").join(sql.SQL("({})::pg_catalog.text").format(value) for value in values),
        separator=sql.Literal(separator),
        parts=sql.SQL(", ").join(sql.SQL("NULLIF(({})::pg_catalog.text, '')").format(value) for value in values),
    )


def _literal(separator: str) -> str:
    doubled = separator.replace("'", "''")
    return f"'{doubled}'"

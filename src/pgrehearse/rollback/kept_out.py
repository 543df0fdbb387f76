"""Which rows and values of an image a unique or exclusion promise, or a foreign key, would keep out now.

Putting back meets them row by row; here they are asked of the table as it is, before anything runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.rollback.foreign_keys import ForeignKey, read_foreign_keys
from pgrehearse.rollback.image import ADDED, NAMESPACE, Image, Settled
from pgrehearse.rollback.image_columns import Expression, ImageColumn, LiveTable, find_oid, same_key
from pgrehearse.rollback.image_settle import DIGEST, PRESENT, after_text
from pgrehearse.rollback.moved_rows import added_key

QUERIES = named_queries(__file__)
KEY, AT, CHANGED = (sql.Identifier(f"pgrehearse {word}") for word in ("key", "at", "changed"))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Promise:
    """A unique index or an exclusion constraint."""

    index: str
    constraint: str | None
    predicate: str | None
    nulls_alike: bool
    parts: tuple[tuple[str, str | None, str | None], ...]  # expression, operator, collation
    columns: frozenset[int]  # pg_attribute.attnum

    @property
    def name(self) -> str:
        return self.constraint or self.index


class KeptOut:
    """One settled image with a key, and the table that it would be put back into."""

    def __init__(
        self,
        session: Connection,
        image: Image,
        table: LiveTable,
        images: Sequence[Image],
        *,
        key_text: Expression,
        behind: Expression,
    ) -> None:
        assert image.settled is not None
        self._session = session
        self._image = image
        self._settled: Settled = image.settled
        self._table = table
        self._images = images
        self._key_text = key_text
        self._behind = behind  # whether the application has written the row ``t`` since
        self._by_name = {
            after.name: (position, before, after)
            for position, (before, after) in enumerate(zip(image.columns, self._settled.columns_after, strict=True))
            if after is not None
        }

    def find(self, changes: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Expression | None, str]]:
        """Queries that give the keys of rows (``key``), each with its sentence; None: that cannot be asked beforehand.

        ``changes``: of the schema, by the plan; a promise that it added goes with the way back.
        """
        if self._settled.whole:
            return  # only columns went: nothing that is promised now reads them
        added = {str(change["name"]).rpartition(".")[2] for change in changes if change["effect"] == "added"}
        for promise in self._promises():
            if promise.name in added or promise.index in added or not promise.columns <= self._numbers:
                continue
            query = self._conflicts(promise)
            if query is None:
                yield None, f"whether {promise.name} keeps rows out shows only when it is done"
            else:
                yield query, f"cannot come back: {promise.name} lets another row have the same values"
        for key in read_foreign_keys(self._session, [self._table.oid, *self._others()]):
            if key.child != self._table.oid or key.name in added:
                continue
            if set(key.child_columns) <= set(self._by_name):
                gone = f"cannot come back: the row that {key.name} points at is gone"
                # Not asked further than one generation.
                within = self._table.oid in key.parents
                yield self._orphans(key), f"{gone}; nor can those that point at these" if within else gone

    def _others(self) -> Iterator[int]:
        """The tables of the other images, whose rows may be the parents and come too."""
        for image in self._images:
            after = image.settled.relation_after if image.settled is not None else None
            oid = find_oid(self._session, after) if after is not None else None
            if oid is not None and oid != self._table.oid:
                yield oid

    @property
    def _numbers(self) -> set[int]:
        return {after.number for _, _, after in self._by_name.values()}

    def _promises(self) -> Iterator[_Promise]:
        key = {after.number for column in self._image.key for after in [self._by_name[self._after(column).name][2]]}
        for index, constraint, predicate, nulls_alike, parts, columns in self._session.execute(
            QUERIES["promises"], {"oid": self._table.oid}
        ).fetchall():
            if set(columns) == key and predicate is None:
                continue  # told as a key that is taken
            yield _Promise(
                index=index, constraint=constraint, predicate=predicate, nulls_alike=nulls_alike,
                parts=tuple((expression, operator, collation) for expression, operator, collation in parts),
                columns=frozenset(columns),
            )  # fmt: skip

    def _after(self, column: ImageColumn) -> ImageColumn:
        after = self._settled.columns_after[self._image.columns.index(column)]
        assert after is not None  # settling needs every column of the key
        return after

    # --- what stands in the table once it is put back

    def _conflicts(self, promise: _Promise) -> Expression | None:
        read = [found for found in self._by_name.values() if found[2].number in promise.columns]
        if not read or any(before.type != after.type or after.generated for _, before, after in read):
            return None
        operators = [operator for _, operator, _ in promise.parts if operator is not None]
        if len(operators) != len(promise.parts):
            return None
        output = [
            sql.SQL("({}) COLLATE {}").format(sql.SQL(expression), sql.SQL(collation))
            if collation is not None
            else sql.SQL("({})").format(sql.SQL(expression))
            for expression, _, collation in promise.parts
        ]
        outputs = sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(each, _part(number)) for number, each in enumerate(output)
        )
        kept = sql.SQL("({})").format(sql.SQL(promise.predicate or "true"))
        live, absent = (
            sql.SQL("SELECT {}, {}, {}, {} FROM ({}) x WHERE {}").format(KEY, AT, CHANGED, outputs, rows, kept)
            for rows in (self._live(read), self._absent(read))
        )
        same = sql.SQL(" AND ").join(
            [
                self._alike(number, operator, nulls_alike=promise.nulls_alike)
                for number, operator in enumerate(operators)
            ]
        )
        return sql.SQL(
            "WITH live AS MATERIALIZED ({0}), coming AS ({1} UNION ALL SELECT * FROM live WHERE {2}) "
            "SELECT DISTINCT c.{3} AS key FROM coming c JOIN live l ON {4} WHERE l.{5} IS DISTINCT FROM c.{5}"
        ).format(live, absent, CHANGED, KEY, same, AT)

    @staticmethod
    def _alike(number: int, operator: str, *, nulls_alike: bool) -> Expression:
        alike = sql.SQL("l.{0} {1} c.{0}").format(_part(number), sql.SQL(operator))
        if not nulls_alike:
            return alike
        return sql.SQL("({0} OR l.{1} IS NULL AND c.{1} IS NULL)").format(alike, _part(number))

    def _live(self, read: Sequence[tuple[int, ImageColumn, ImageColumn]]) -> Expression:
        """The rows that are there now, but those that the migration added, with the values that come back."""
        values: list[Expression] = []
        conditions: list[Expression] = [sql.SQL("false")]
        for position, before, after in read:
            comes = sql.SQL("({0} IS DISTINCT FROM {1} AND {2} IS NOT DISTINCT FROM {1})").format(
                before.kept_text("i"), after_text(position), after.live_text("t")
            )
            conditions.append(comes)
            values.append(
                sql.SQL("CASE WHEN {} THEN {} ELSE t.{} END AS {}").format(
                    comes, _restored(before, after), after.identifier, after.identifier
                )
            )
        return sql.SQL(
            "SELECT {} AS {}, t.ctid AS {}, i.ctid IS NOT NULL AND ({}) AS {}, {} "
            "FROM ONLY {} t LEFT JOIN {} i ON i.{} AND {} WHERE NOT {}"
        ).format(
            self._key_text, KEY, AT, sql.SQL(" OR ").join(conditions), CHANGED, sql.SQL(", ").join(values),
            self._table.identifier, self._image.identifier, PRESENT, self._same_key("i"), self.goes,
        )  # fmt: skip

    def _absent(self, read: Sequence[tuple[int, ImageColumn, ImageColumn]]) -> Expression:
        """The rows that the migration deleted and whose key is free."""
        values = [sql.SQL("{} AS {}").format(_restored(before, after), after.identifier) for _, before, after in read]
        return sql.SQL("SELECT {} AS {}, NULL::pg_catalog.tid AS {}, true AS {}, {} FROM {} i WHERE {}").format(
            self._key_text, KEY, AT, CHANGED, sql.SQL(", ").join(values), self._image.identifier, self._is_to_come()
        )

    def _is_to_come(self) -> Expression:
        return sql.SQL("NOT i.{} AND NOT EXISTS (SELECT FROM ONLY {} t WHERE {})").format(
            PRESENT, self._table.identifier, self._same_key("i")
        )

    def _same_key(self, alias: str) -> Expression:
        return sql.SQL(" AND ").join(same_key(column, self._after(column), alias, "t") for column in self._image.key)

    def find_staying(self) -> Iterator[Expression]:
        """A query that gives the keys (``key``) of rows that the migration added and that were written since."""
        if self._settled.added_table is not None:
            parts = [
                sql.SQL("{} || {}").format(sql.Literal(f"{column.name}="), self._after(column).live_text("t"))
                for column in self._image.key
            ]
            yield sql.SQL("SELECT pg_catalog.concat_ws(', ', {}) AS key FROM ONLY {} t WHERE {} AND NOT {}").format(
                sql.SQL(", ").join(parts), self._table.identifier, self._added([]), self.goes
            )

    @property
    def goes(self) -> Expression:
        """SQL: whether the migration added the row ``t`` and it stands as it was made."""
        if self._settled.added_table is None:
            return sql.SQL("false")
        names = {before.name: after for _, before, after in self._by_name.values()}
        same = [
            sql.SQL("a.{}[{}] IS NOT DISTINCT FROM {}").format(DIGEST, sql.Literal(number + 1), after.live_text("t"))
            for number, (name, _) in enumerate(self._settled.digested)
            if (after := names.get(name) or self._table.find_column(name)) is not None
        ]
        return sql.SQL("({} AND NOT {})").format(self._added(same), self._behind)

    def _added(self, conditions: Sequence[Expression]) -> Expression:
        kept = zip(added_key(self._image), self._image.key, strict=True)
        keys = [same_key(added, self._after(column), "a", "t") for added, column in kept]
        return sql.SQL("EXISTS (SELECT FROM {} a WHERE {})").format(
            sql.Identifier(NAMESPACE, self._image.companion(ADDED)), sql.SQL(" AND ").join([*keys, *conditions])
        )

    # --- parents

    def _orphans(self, key: ForeignKey) -> Expression:
        """Rows to come whose parent is neither there nor to come."""
        pairs = [
            (_restored(*self._by_name[child][1:]), parent)
            for child, parent in zip(key.child_columns, key.parent_columns, strict=True)
        ]
        there = [
            sql.SQL("SELECT FROM {} p WHERE {}").format(
                sql.Identifier(*key.parent_name),
                sql.SQL(" AND ").join(
                    sql.SQL("p.{} = {}").format(sql.Identifier(name), value) for value, name in pairs
                ),
            )
        ]
        for image in self._images:
            columns = _columns_of(self._session, image, key)
            if columns is None:
                continue
            same = sql.SQL(" AND ").join(
                sql.SQL("{} = pg_catalog.concat({})").format(columns[name].kept_text("p"), value)
                for value, name in pairs
            )
            there.append(sql.SQL("SELECT FROM {} p WHERE NOT p.{} AND {}").format(image.identifier, PRESENT, same))
        return sql.SQL("SELECT {} AS key FROM {} i WHERE {} AND {} AND NOT {}").format(
            self._key_text, self._image.identifier, self._is_to_come(),
            sql.SQL(" AND ").join(sql.SQL("{} IS NOT NULL").format(value) for value, _ in pairs),
            sql.SQL(" AND NOT ").join(sql.SQL("EXISTS ({})").format(each) for each in there),
        )  # fmt: skip


def _columns_of(session: Connection, image: Image, key: ForeignKey) -> dict[str, ImageColumn] | None:
    """The parent's columns that the key points at, as that image holds them; None: it is not the parent's."""
    settled = image.settled
    if settled is None or settled.whole or settled.relation_after is None or image.plan.is_sequence:
        return None
    if find_oid(session, settled.relation_after) not in key.parents:
        return None
    columns = {
        after.name: before
        for before, after in zip(image.columns, settled.columns_after, strict=True)
        if after is not None
    }
    return columns if set(key.parent_columns) <= set(columns) else None


def _restored(before: ImageColumn, after: ImageColumn) -> Expression:
    return sql.SQL("CAST({} AS {})").format(before.kept("i"), sql.SQL(after.type))


def _part(number: int) -> sql.Identifier:
    return sql.Identifier(f"pgrehearse part {number}")

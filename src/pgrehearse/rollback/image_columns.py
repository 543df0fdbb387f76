"""The columns of a table as an image holds them: natively where PostgreSQL owns the type, else as their text.

A type of the application's own never stands in an image: `DROP TYPE … CASCADE` would take the column away, a plain
`DROP TYPE` or `ALTER DOMAIN … ADD CHECK` would meet the image and fail in production though it ran in rehearsal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
Expression = sql.Composable

# bool, bytea, char, name, int8, int2, int4, text, oid, varchar, date, time, timestamp, timestamptz, uuid: for these
# `=` under COLLATE "C" says just what their text says.  (numeric: 1.0 = 1.00; interval: '1 mon' = '30 days'.)
EXACT = frozenset({16, 17, 18, 19, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageColumn:
    """One column of a table, and how its values are kept.  Types are as `format_type` spells them without a path."""

    name: str
    number: int  # pg_attribute.attnum
    type: str
    base_oid: int  # of the type below all domains
    stored_type: str  # that the image holds it in
    native: bool  # False: as text
    collatable: bool
    generated: bool

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.name)

    @property
    def exact(self) -> bool:
        return self.native and self.base_oid in EXACT

    def live(self, alias: str) -> Expression:
        """Its value in the table, as the image holds it."""
        value = sql.SQL("{}.{}").format(sql.SQL(alias), self.identifier)
        if not self.native:
            return text_of(value)
        cast = sql.SQL("({})::{}").format(value, sql.SQL(self.stored_type))
        return sql.SQL('({}) COLLATE pg_catalog."C"').format(cast) if self.collatable else cast

    def live_text(self, alias: str) -> Expression:
        """The text of its value in the table."""
        return text_of(sql.SQL("{}.{}").format(sql.SQL(alias), self.identifier))

    def kept(self, alias: str) -> Expression:
        """Its value in the image."""
        return sql.SQL("{}.{}").format(sql.SQL(alias), self.identifier)

    def kept_text(self, alias: str) -> Expression:
        return text_of(self.kept(alias))

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "ImageColumn":
        return cls(**found)


def text_of(value: Expression) -> Expression:
    """The output function's text, NULL for NULL: a cast to text may be a function of its own (char(n), inet)."""
    return sql.SQL('CASE WHEN {v} IS DISTINCT FROM NULL THEN pg_catalog.concat({v}) COLLATE pg_catalog."C" END').format(
        v=value
    )


def row_text(values: Sequence[Expression]) -> Expression:
    """One text for several texts; different lists give different texts."""
    return sql.SQL('(ROW({})::pg_catalog.text) COLLATE pg_catalog."C"').format(sql.SQL(", ").join(values))


def same_key(kept: ImageColumn, live: ImageColumn, kept_alias: str, live_alias: str) -> Expression:
    """Whether a row of the image and one of the table have one value of a key column, which is never NULL."""
    if kept.native and live.native and kept.base_oid == live.base_oid:
        left, right = kept.kept(kept_alias), live.live(live_alias)
        if kept.collatable:
            left = sql.SQL('({}) COLLATE pg_catalog."C"').format(left)
        return sql.SQL("{} = {}").format(left, right)
    return sql.SQL("{} = {}").format(kept.kept_text(kept_alias), live.live_text(live_alias))


def differs(kept: ImageColumn, live: ImageColumn, kept_alias: str, live_alias: str) -> Expression:
    """Whether the image and the table hold different values of a column, told by their text."""
    if kept.exact and live.exact and kept.base_oid == live.base_oid:
        return sql.SQL("{} IS DISTINCT FROM {}").format(kept.kept(kept_alias), live.live(live_alias))
    return sql.SQL("{} IS DISTINCT FROM {}").format(kept.kept_text(kept_alias), live.live_text(live_alias))


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveTable:
    """A table as it is now."""

    oid: int
    namespace: str
    name: str
    written: str  # namespace.relation as SQL writes it
    is_heap: bool  # whose rows carry the transaction that wrote them
    row_security_forced: bool
    columns: tuple[ImageColumn, ...]

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.namespace, self.name)

    def find_column(self, name: str) -> ImageColumn | None:
        return next((column for column in self.columns if column.name == name), None)

    def find_number(self, number: int) -> ImageColumn | None:
        return next((column for column in self.columns if column.number == number), None)


def find_oid(session: Connection, written: str) -> int | None:
    """The oid of ``namespace.relation`` as SQL writes it."""
    row = session.execute("SELECT pg_catalog.to_regclass(%s)::oid::int8", (written,)).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def find_table(session: Connection, oid: int) -> LiveTable | None:
    """The table of that oid with its columns in their order, as this transaction sees it; two catalog queries."""
    row = session.execute(QUERIES["table"], {"oid": oid}).fetchone()
    if row is None:
        return None
    namespace, name, written, is_heap, forced = row
    return LiveTable(
        oid=oid,
        namespace=namespace,
        name=name,
        written=written,
        is_heap=is_heap,
        row_security_forced=forced,
        columns=tuple(
            ImageColumn(
                name=column,
                number=number,
                type=type_name,
                base_oid=base_oid,
                stored_type=stored_type,
                native=native,
                collatable=collatable,
                generated=generated,
            )
            for column, number, type_name, base_oid, stored_type, native, collatable, generated in session.execute(
                QUERIES["columns"], {"oid": oid}
            )
        ),
    )

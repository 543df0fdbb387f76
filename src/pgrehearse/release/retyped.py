"""Whether a type change kept every value of production, where it kept every one of the rehearsal's.

The gate asks the same before the lock (`preconditions.conversions`); a value may come after that.  Here it is asked
inside the migration's transaction of what stood before (the settled image) and of what the migration left.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.counted import counted
from pgrehearse.data.columns import Hashing, Reading, TypePair, Unreadable
from pgrehearse.data.tables import Column, Type, read_types
from pgrehearse.errors import NotAsRehearsed
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.rollback.image import Image
from pgrehearse.rollback.image_columns import Expression, ImageColumn, find_oid
from pgrehearse.rollback.image_session import pinned
from pgrehearse.rollback.image_settle import PRESENT, after_text
from pgrehearse.rollback.names import split_name

REMEDY = "Mend these values in production, or rehearse again: production holds values that the clone did not hold."
COLUMNS = """
SELECT a.attname, a.attnum::int4, pg_catalog.quote_ident(a.attname), a.atttypid::int8, a.atttypmod, a.attnotnull
FROM pg_catalog.pg_attribute a WHERE a.attrelid = %s::int8::oid AND a.attnum > 0 AND NOT a.attisdropped
"""
TYPE_OID = "SELECT pg_catalog.to_regtype(%s)::oid::int8"
FORMAT_TYPE = "SELECT pg_catalog.format_type(%s::int8::oid, %s)"
BY_KEY = "SELECT pg_catalog.count(*) FROM {image} i WHERE i.{present} AND ({before}) IS DISTINCT FROM ({after})"
# Without a key nothing tells which value became which: of each as many must be there as before.
BY_CONTENT = """
SELECT pg_catalog.count(*) FROM (
    SELECT {before} FROM {image} i WHERE i.{present} EXCEPT ALL SELECT {after} FROM {image} i WHERE i.{present}
) lost
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypesBefore:
    """The types of the tables that have an image, before the transaction's first statement."""

    types: Mapping[int, Type]
    columns: Mapping[int, Mapping[str, Column]]  # by the table's oid and the column's name


def read_types_before(session: Connection, images: Iterable[Image]) -> TypesBefore:
    """Catalog queries only: they lock no table, so nobody's lock is waited for."""
    with pinned(session):
        return TypesBefore(
            types=read_types(session),
            columns={image.relation_oid: _read_columns(session, image.relation_oid) for image in images},
        )


def require_kept(session: Connection, image: Image, columns: Iterable[str], before: TypesBefore) -> None:
    """Raise `NotAsRehearsed` where one of these columns, whose type changes, loses a value of production.

    In the migration's transaction, ``image`` settled by it.  ``columns`` are written as SQL writes them.  Cost: the
    catalog's types, and one scan of the rows whose text changed.
    """
    settled = image.settled
    if settled is None or settled.relation_after is None or settled.whole:
        return  # no row was written
    wanted = {split_name(name)[0] for name in columns}
    with pinned(session, role=image.owner):
        types = TypePair(
            before=dict(before.types),
            after=read_types(session, wanted_types=before.types),
            spell=lambda oid, typmod: _spell(session, oid, typmod),
            castable=lambda source, target: _castable(session, source, target),
        )
        found = _read_columns(session, find_oid(session, settled.relation_after) or 0)
        for position, column in enumerate(image.columns):
            left = settled.columns_after[position]
            if column.name not in wanted or left is None:
                continue
            held = before.columns[image.relation_oid][column.name]
            reading = types.reading(held, found[left.name])
            what = f"{image.relation}.{column.name}: its type changes from {column.type} to {left.type}"
            if isinstance(reading, Unreadable):
                raise NotAsRehearsed(f"{what}, and {reading.reason}", remedy=REMEDY)
            if lost := _count_lost(session, image, position, reading, held.type_oid, left.type):
                raise NotAsRehearsed(
                    f"{what}; the rehearsal lost no value by that, this would change those of {lost}", remedy=REMEDY
                )


def _count_lost(
    session: Connection, image: Image, position: int, reading: Reading, type_before: int, type_after: str
) -> str | None:
    """How many rows hold other values now, for a sentence; None: none."""
    left = sql.SQL("CAST({} AS {})").format(after_text(position), sql.SQL(type_after))
    query = sql.SQL(BY_KEY if image.key else BY_CONTENT).format(
        image=image.identifier,
        present=PRESENT,
        before=_comparable(reading.before(_value_before(session, image.columns[position], type_before)), reading),
        after=_comparable(reading.after(left), reading),
    )
    try:
        with session.transaction():
            row = session.execute(query).fetchone()
    except psycopg.DataError:  # the old type has no room for it
        return "some rows"
    assert row is not None  # a count
    return counted(row[0], "row") if row[0] else None


def _comparable(value: Expression, reading: Reading) -> Expression:
    return sql.SQL('({}) COLLATE pg_catalog."C"').format(value) if reading.hashing is Hashing.TEXT else value


def _value_before(session: Connection, column: ImageColumn, type_before: int) -> Expression:
    """An image keeps the application's own types as text; the type may be gone by now, or another have its name."""
    kept = column.kept("i")
    if column.native or not _castable(session, "pg_catalog.text", column.type):
        return kept
    if fetch_value(session, TYPE_OID, (column.type,)) != type_before:
        return kept
    return sql.SQL("CAST({} AS {})").format(kept, sql.SQL(column.type))


def _read_columns(session: Connection, oid: int) -> dict[str, Column]:
    return {
        name: Column(number=number, name=name, sql_name=written, type_oid=type_oid, typmod=typmod, not_null=not_null)
        for name, number, written, type_oid, typmod, not_null in session.execute(COLUMNS, (oid,))
    }


def _spell(session: Connection, oid: int, typmod: int) -> str:
    row = session.execute(FORMAT_TYPE, (oid, typmod)).fetchone()
    assert row is not None  # of an unknown type it is ???
    return str(row[0])


def _castable(session: Connection, source: str, target: str) -> bool:
    try:
        with session.transaction():
            session.execute(sql.SQL("SELECT (NULL::{})::{}").format(sql.SQL(source), sql.SQL(target)))
    except psycopg.OperationalError:
        raise
    except psycopg.Error:  # there is no such cast or no such type, or this role may not use it
        return False
    return True

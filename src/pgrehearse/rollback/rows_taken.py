"""Which rows a migration took or wrote over, told by their keys: the rehearsal's can be held against production's.

Counts alone say as many, not the same: `DELETE … WHERE id NOT IN (SELECT …)` takes as many other rows where the
subquery's table changed.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.rollback.image import Image
from pgrehearse.rollback.image_columns import Expression, row_text
from pgrehearse.rollback.image_session import pinned
from pgrehearse.rollback.image_settle import PRESENT, after_text
from pgrehearse.rollback.names import split_name

# Sums of two independent 64-bit hashes: equal rows count each, and the order plays no part.
DIGEST = """
SELECT pg_catalog.count(*), pg_catalog.sum(pg_catalog.hashtextextended(t.key, 0)::pg_catalog.numeric)::pg_catalog.text,
       pg_catalog.sum(pg_catalog.hashtextextended(t.key, 1)::pg_catalog.numeric)::pg_catalog.text
FROM (SELECT {key} AS key FROM {image} i WHERE {which}) t
"""
SOME = "SELECT {texts} FROM {image} i WHERE {which} ORDER BY {keys} LIMIT {most}"
NUMBERS = frozenset({20, 21, 23, 2950})  # int8, int2, int4, uuid
# Their text names an object that the plan may drop or rename; without it, it is the number in this database.
OBJECT_NAMES = frozenset({24, 2202, 2203, 2204, 2205, 2206, 3734, 3769, 4089, 4096, 4191})  # regproc … regcollation


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSet:
    """Some rows of one table; two of them are equal where they hold the same keys."""

    rows: int
    digest: str  # two sums of their keys' hashes; not made to withstand somebody who looks for two equal ones

    @classmethod
    def from_row(cls, row: Sequence[Any]) -> "RowSet":
        return cls(rows=row[0], digest=f"{row[1] or 0}:{row[2] or 0}")


NONE = RowSet(rows=0, digest="0:0")


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsTaken:
    """What a settled image says of one table that is still there."""

    by: tuple[str, ...]  # what tells its rows apart, as SQL writes it: a key, or every column
    is_key: bool
    gone: RowSet
    changed: RowSet | None  # None: nothing tells which (no key), or every row is (a column went)

    def as_json(self) -> dict[str, Any]:
        sets = {"gone": self.gone, "changed": self.changed}
        return {
            "by": list(self.by),
            "is_key": self.is_key,
            **{name: each and {"rows": each.rows, "digest": each.digest} for name, each in sets.items()},
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "RowsTaken":
        changed = found["changed"]
        return cls(
            by=tuple(found["by"]),
            is_key=found["is_key"],
            gone=RowSet(**found["gone"]),
            changed=changed and RowSet(**changed),
        )


def read_rows_taken(session: Connection, image: Image) -> RowsTaken | None:
    """Of a settled image; None where it does not tell.

    The table is gone; it has no key and values changed too, so that rows are paired by what they hold; its rows are
    told apart by names of objects.

    Cost: one scan of what the image kept.
    """
    settled = image.settled
    if settled is None or settled.relation_after is None or image.plan.is_sequence:
        return None
    is_key = bool(image.key)
    if not is_key and settled.rows_changed:
        return None
    columns_went = None in settled.columns_after
    names = image.plan.key or _all_columns(image)
    if any(image.column(name).base_oid in OBJECT_NAMES for name in names):
        return None
    if settled.whole:
        return RowsTaken(by=names, is_key=is_key, gone=NONE, changed=None)
    with session.transaction(), pinned(session, role=image.owner):
        gone = _read(session, image, names, sql.SQL("NOT i.{}").format(PRESENT))
        changed = _read(session, image, names, sql.SQL("i.{}").format(PRESENT)) if is_key and not columns_went else None
    return RowsTaken(by=names, is_key=is_key, gone=gone, changed=changed)


def read_keys_gone(session: Connection, image: Image, *, most: int) -> tuple[Mapping[str, str], ...]:
    """Key columns and their text, of some rows that went.

    None where the table has no key, or one that may hold more than a number: a name or an address is for nobody's eyes.
    """
    if not image.key or any(column.base_oid not in NUMBERS for column in image.key):
        return ()
    texts = [each.kept_text("i") for each in image.key]
    query = sql.SQL(SOME).format(
        texts=sql.SQL(", ").join(texts),
        image=image.identifier,
        which=sql.SQL("NOT i.{}").format(PRESENT),
        keys=sql.SQL(", ").join(each.kept("i") for each in image.key),
        most=most,
    )
    with session.transaction(), pinned(session, role=image.owner):
        return tuple(dict(zip(image.plan.key, row, strict=True)) for row in session.execute(query))


def count_written_over(session: Connection, image: Image, columns: Collection[str]) -> Mapping[str, int]:
    """Rows of a settled image in which the migration wrote another value, by column, where there are any.

    ``columns`` as SQL writes them; those that are generated, went or got another type are left out, and so is a table
    without a key, whose rows are paired by what they hold.  Cost: one scan of what the image kept.
    """
    settled = image.settled
    if settled is None or settled.whole or not image.key or not settled.rows_changed:
        return {}
    counts: dict[str, Expression] = {}
    for position, (column, after) in enumerate(zip(image.columns, settled.columns_after, strict=True)):
        written = next((name for name in columns if split_name(name)[0] == column.name), None)
        if written is None or after is None or column.generated or column.type != after.type or column in image.key:
            continue
        counts[written] = sql.SQL("pg_catalog.count(*) FILTER (WHERE {} IS DISTINCT FROM {})").format(
            column.kept_text("i"), after_text(position)
        )
    if not counts:
        return {}
    with session.transaction(), pinned(session, role=image.owner):
        row = session.execute(
            sql.SQL("SELECT {} FROM {} i WHERE i.{}").format(
                sql.SQL(", ").join(counts.values()), image.identifier, PRESENT
            )
        ).fetchone()
    assert row is not None  # counts
    return {name: rows for name, rows in zip(counts, row, strict=True) if rows}


def _read(session: Connection, image: Image, names: Sequence[str], which: Expression) -> RowSet:
    query = sql.SQL(DIGEST).format(key=_key_text(image, names), image=image.identifier, which=which)
    row = session.execute(query).fetchone()
    assert row is not None  # a count
    return RowSet.from_row(row)


def _key_text(image: Image, names: Sequence[str]) -> Expression:
    return row_text([image.column(name).kept_text("i") for name in names])


def _all_columns(image: Image) -> tuple[str, ...]:
    held = {column.name for column in image.columns}
    return tuple(name for name in image.plan.names_after if split_name(name)[0] in held)

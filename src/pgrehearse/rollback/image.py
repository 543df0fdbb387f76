"""One image as the quarantine namespace holds it: a table, its comment saying of what and as of when."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.rollback.image_columns import ImageColumn
from pgrehearse.rollback.image_plan import ImagePlan
from pgrehearse.rollback.names import split_name

NAMESPACE = "pgrehearse_quarantine"
ADDED, LEFT = "added", "left"  # companions of an image: rows that the migration added; rows that were not put back

FIND = """
SELECT c.relname, pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'pgrehearse_quarantine' AND c.relkind = 'r'
  AND pg_catalog.obj_description(c.oid, 'pg_class') LIKE '{"pgrehearse": "image of%'
"""
RECIPE = 1  # of the comment


class ImageState(Enum):
    """``taken``: a copy of the table.  ``settled``: what the migration destroyed, with what it left in its place."""

    TAKEN = "taken"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceAt:
    """Where a sequence stood."""

    name: str  # namespace.sequence as SQL writes it
    last_value: int
    is_called: bool

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "last_value": self.last_value, "is_called": self.is_called}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the migration did to the table."""

    relation_after: str | None  # None: the table is gone
    columns_after: tuple[ImageColumn | None, ...]  # parallel to the image's columns; None: the column is gone
    whole: bool  # the image is the untouched copy: it has no marks of its own, and every row of it was destroyed
    rows_absent: int | None  # None where it was not counted (only columns went)
    rows_changed: int | None
    rows_added: int
    added_table: str | None  # keys and digests of the rows that the migration added
    digested: tuple[tuple[str, str], ...]  # what their digests are made of: a column's name before, its type after
    behind: int | None = (
        None  # the first transaction's number behind the migration's own; None: rows do not tell theirs
    )
    file_node: int | None = None  # of the table then

    def as_json(self) -> dict[str, Any]:
        return {
            "relation_after": self.relation_after,
            "columns_after": [column and column.as_json() for column in self.columns_after],
            "whole": self.whole,
            "rows_absent": self.rows_absent,
            "rows_changed": self.rows_changed,
            "rows_added": self.rows_added,
            "added_table": self.added_table,
            "digested": [list(each) for each in self.digested],
            "behind": self.behind,
            "file_node": self.file_node,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Settled":
        columns = (column and ImageColumn.from_json(column) for column in found["columns_after"])
        digested = tuple((name, type_after) for name, type_after in found["digested"])
        return cls(**{**found, "columns_after": tuple(columns), "digested": digested})


@dataclass(frozen=True, slots=True, kw_only=True)
class Reshaped:
    """How an earlier transaction of the plan left the table, which destroyed nothing that the image holds."""

    relation: str  # namespace.relation as SQL writes it
    columns: tuple[ImageColumn, ...]  # all of them

    def as_json(self) -> dict[str, Any]:
        return {"relation": self.relation, "columns": [column.as_json() for column in self.columns]}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Reshaped":
        return cls(
            relation=found["relation"], columns=tuple(ImageColumn.from_json(column) for column in found["columns"])
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One image.  It can be had again from the database by `find_images`, and from JSON."""

    id: str  # of the promotion that it was taken for
    table: str  # its own name in the quarantine namespace
    plan: ImagePlan
    relation_oid: int
    owner: str  # the role that took it
    columns: tuple[ImageColumn, ...]
    rows: int
    snapshot_xmin: int  # every row that the image misses was written by this transaction or a later one
    state: ImageState = ImageState.TAKEN
    refreshed_in: int | None = None  # the migration's transaction
    sequences: tuple[SequenceAt, ...] = ()
    reshaped: Reshaped | None = None  # None: the table still has the shape that it was taken of
    settled: Settled | None = field(default=None)

    @property
    def relation(self) -> str:
        return self.plan.relation

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(NAMESPACE, self.table)

    @property
    def key(self) -> tuple[ImageColumn, ...]:
        return tuple(self.column(name) for name in self.plan.key)

    @property
    def partial(self) -> bool:
        """Whether it holds only some columns, so that no row can be made of it again."""
        return self.plan.columns is not None

    @property
    def number(self) -> int:
        """Which image of its promotion it is, from 1."""
        return int(self.table.removeprefix(f"{self.id}_").split("_")[0])

    def companion(self, word: str) -> str:
        """The name of a table beside it; no image of a table can carry it."""
        return f"{self.id}_{self.number}{word}"

    def column(self, written: str) -> ImageColumn:
        """The column that SQL writes so."""
        name = split_name(written)[0]
        return next(column for column in self.columns if column.name == name)

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": RECIPE,
            "id": self.id,
            "table": self.table,
            "plan": self.plan.as_json(),
            "relation_oid": self.relation_oid,
            "owner": self.owner,
            "columns": [column.as_json() for column in self.columns],
            "rows": self.rows,
            "snapshot_xmin": self.snapshot_xmin,
            "state": self.state.value,
            "refreshed_in": self.refreshed_in,
            "sequences": [sequence.as_json() for sequence in self.sequences],
            "reshaped": self.reshaped and self.reshaped.as_json(),
            "settled": self.settled and self.settled.as_json(),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Image":
        return cls(
            id=found["id"],
            table=found["table"],
            plan=ImagePlan.from_json(found["plan"]),
            relation_oid=found["relation_oid"],
            owner=found["owner"],
            columns=tuple(ImageColumn.from_json(column) for column in found["columns"]),
            rows=found["rows"],
            snapshot_xmin=found["snapshot_xmin"],
            state=ImageState(found["state"]),
            refreshed_in=found["refreshed_in"],
            sequences=tuple(SequenceAt(**sequence) for sequence in found["sequences"]),
            reshaped=(reshaped := found.get("reshaped")) and Reshaped.from_json(reshaped),
            settled=found["settled"] and Settled.from_json(found["settled"]),
        )


def find_images(session: Connection, *, id: str) -> tuple[Image, ...]:  # noqa: A002 the promotion's own word
    """The images of one promotion as the database holds them now, in the order in which they were taken."""
    found = []
    for _, comment in session.execute(FIND):
        told = json.loads(comment)
        if told.get("recipe") == RECIPE and told["id"] == id and "plan" in told:
            found.append((told["number"], Image.from_json(told)))
    return tuple(image for _, image in sorted(found, key=lambda pair: pair[0]))


def read_again(session: Connection, images: Iterable[Image]) -> tuple[Image, ...]:
    """The same images, as the database says now; one that is not there any more is left out."""
    images = tuple(images)
    current = {
        (image.id, image.table): image for promotion in dict.fromkeys(image.id for image in images)
        for image in find_images(session, id=promotion)
    }  # fmt: skip
    return tuple(current[image.id, image.table] for image in images if (image.id, image.table) in current)


def write_comment(session: Connection, image: Image, **changes: Any) -> Image:
    """Say on the table itself what it is; hands back the image as it now is."""
    image = replace(image, **changes)
    told = {"pgrehearse": f"image of {image.relation}", "number": image.number, **image.as_json()}
    session.execute(
        sql.SQL("COMMENT ON TABLE {} IS {}").format(image.identifier, sql.Literal(json.dumps(told, ensure_ascii=False)))
    )
    return image

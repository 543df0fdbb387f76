"""What a plan writes over without having changed it in the rehearsal: production's values may fare otherwise.

An UPDATE that normalises values changes none where all are in order already, and a type change loses nothing where
every value fits.  Production goes on after the clone was taken, so these are copied too; what an UPDATE was not
seen to change must not change, and what a type change was not seen to lose must not be lost.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pgrehearse.errors import NotAsRehearsed
from pgrehearse.migrations.observer import NoObserver
from pgrehearse.migrations.segments import Segment
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.retyped import TypesBefore, read_types_before, require_kept
from pgrehearse.release.watch import Rehearsed
from pgrehearse.rollback.image import Image, ImageState, read_again
from pgrehearse.rollback.image_plan import surviving_key
from pgrehearse.schema.schema_object import ObjectKind, Schema

KEEPS = frozenset({"unchanged", "renamed", "values-gained", "type-changed", "recreated"})
UNTOUCHED = frozenset({"unchanged", "renamed", "new"})
TYPE_CHANGED = "type-changed"


def written_tables(rehearsed: Rehearsed) -> list[dict[str, Any]]:
    """The receipt's tables, with every column that the plan wrote over told as changed, whatever the rehearsal saw.

    But for a key that the rehearsal saw unchanged: images tell rows apart by it, as those did that were proved.  Where
    an UPDATE changes it all the same, settling finds the old row gone and refuses.
    """
    document, before = rehearsed.document, rehearsed.before
    updated = _leaves(before, {
        relation
        for statement in rehearsed.rows.values()
        for relation, rows in statement.written.items()
        if rows.updated
    })  # fmt: skip
    retyped = _retyped(document)
    tables = []
    for table in document["tables"]:
        name = table["name"]
        if name is None or table["name_after"] is None or (name not in updated and name not in retyped):
            tables.append(dict(table))
            continue
        known = {column["name"]: column for column in table["columns"]}
        over = retyped.get(name, frozenset())
        if name in updated:
            every = frozenset(before.columns(name))
            over |= (every - frozenset(surviving_key(table, before))) or every
        columns = [_as_written(known.get(column), column, over=over) for column in before.columns(name)]
        new = [column for column in table["columns"] if column["verdict"] == "new"]
        tables.append({**table, "verdict": "values-changed", "columns": [*columns, *new]})
    return tables


def seen_unchanged(rehearsed: Rehearsed) -> frozenset[str]:
    """Tables that the rehearsal left with every row and value that they had."""
    return frozenset(
        table["name"]
        for table in rehearsed.document["tables"]
        if table["name"] is not None
        and table["name_after"] is not None
        and not table["rows_lost"]
        and all(column["verdict"] in UNTOUCHED for column in table["columns"])
    )


def seen_retyped(rehearsed: Rehearsed) -> dict[str, frozenset[str]]:
    """Columns whose type the plan changed in the rehearsal without losing or changing a value, by table."""
    return _retyped(rehearsed.document)


class RefuseUnseenChanges(NoObserver):
    """After the images are settled, before COMMIT: what was not seen to change must not have changed."""

    def __init__(
        self, images: Sequence[Image], *, unchanged: frozenset[str], retyped: Mapping[str, frozenset[str]]
    ) -> None:
        self._images = tuple(image for image in images if image.relation in unchanged or image.relation in retyped)
        self._unchanged = unchanged
        self._retyped = retyped
        self._before: TypesBefore | None = None
        self._settled: frozenset[str] = frozenset()  # by an earlier transaction, and refused or let pass there

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        current = read_again(session, self._images) if self._images else ()
        self._settled = frozenset(image.relation for image in current if image.state is ImageState.SETTLED)
        retyped = [image for image in self._images if image.relation in self._retyped]
        self._before = read_types_before(session, retyped) if retyped else None

    def before_commit(self, session: Connection) -> None:
        for image in read_again(session, self._images) if self._images else ():
            if image.settled is None or image.relation in self._settled:
                continue
            if image.relation in self._unchanged:
                _require_unchanged(image)
            if (columns := self._retyped.get(image.relation)) and self._before is not None:
                require_kept(session, image, columns, self._before)


def _require_unchanged(image: Image) -> None:
    assert image.settled is not None
    changed = (image.settled.rows_changed or 0) + (image.settled.rows_absent or 0)
    if changed:
        raise NotAsRehearsed(
            f"{image.relation}: the rehearsal changed no value that was there, this would change or remove "
            f"those of {changed:,} rows",
            remedy="Rehearse again: production holds values by now that the clone did not hold.",
        )


def _as_written(known: Mapping[str, Any] | None, name: str, *, over: frozenset[str]) -> dict[str, Any]:
    column = dict(known) if known is not None else {
        "name": name, "name_after": name, "verdict": "unchanged", "values_changed": 0, "values_lost": 0,
    }  # fmt: skip
    if column["verdict"] in KEEPS and name in over:
        column["verdict"] = "values-changed"
    return column


def _retyped(document: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    """Columns whose type changes, by table."""
    return {
        table["name"]: columns
        for table in document["tables"]
        if table["name"] is not None
        and (columns := frozenset(each["name"] for each in table["columns"] if each["verdict"] == TYPE_CHANGED))
    }


def _leaves(schema: Schema, relations: set[str]) -> set[str]:
    """These and their partitions, however deep: rows stand in the leaves."""
    found = set(relations)
    while True:
        below = {
            each.name for each in schema.of_kind(ObjectKind.TABLE) if each.attributes.get("inherits") in found
        } - found
        if not below:
            return found
        found |= below

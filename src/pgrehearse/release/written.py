"""What a plan writes over without having changed it in the rehearsal: production's values may fare otherwise.

An UPDATE that normalises values changes none where all are in order already, and a type change loses nothing where
every value fits.  Production goes on after the clone was taken, so these are copied too, and what an UPDATE was not
seen to change must not change.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pgrehearse.errors import NotAsRehearsed
from pgrehearse.migrations.observer import NoObserver
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.watch import Rehearsed
from pgrehearse.rollback.image import Image, read_again
from pgrehearse.schema.schema_object import ObjectKind, Schema

KEEPS = frozenset({"unchanged", "renamed", "values-gained", "type-changed", "recreated"})
UNTOUCHED = frozenset({"unchanged", "renamed", "new"})
TYPE_CHANGED = "type-changed"


def written_tables(rehearsed: Rehearsed) -> list[dict[str, Any]]:
    """The receipt's tables, with every column that the plan wrote over told as changed, whatever the rehearsal saw."""
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
        columns = [
            _as_written(known.get(column), column, everything=name in updated, retyped=retyped.get(name, frozenset()))
            for column in before.columns(name)
        ]
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


class RefuseUnseenChanges(NoObserver):
    """After the images are settled, before COMMIT: what was not seen to change must not have changed."""

    def __init__(self, images: Sequence[Image], unchanged: frozenset[str]) -> None:
        self._images = tuple(image for image in images if image.relation in unchanged)

    def before_commit(self, session: Connection) -> None:
        for image in read_again(session, self._images) if self._images else ():
            settled = image.settled
            if settled is None:
                continue
            changed = (settled.rows_changed or 0) + (settled.rows_absent or 0)
            if changed:
                raise NotAsRehearsed(
                    f"{image.relation}: the rehearsal changed no value that was there, this would change or remove "
                    f"those of {changed:,} rows",
                    remedy="Rehearse again: production holds values by now that the clone did not hold.",
                )


def _as_written(
    known: Mapping[str, Any] | None, name: str, *, everything: bool, retyped: frozenset[str]
) -> dict[str, Any]:
    column = dict(known) if known is not None else {
        "name": name, "name_after": name, "verdict": "unchanged", "values_changed": 0, "values_lost": 0,
    }  # fmt: skip
    if column["verdict"] in KEEPS and (everything or name in retyped):
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

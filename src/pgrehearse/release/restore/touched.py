"""What the migration itself did to each table, so that the application's own writes can be told apart from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

# A column of which a receipt says this holds the same values after as before.
_UNTOUCHED = frozenset({"unchanged", "renamed", "new"})
_KEEPS_VALUES = frozenset({"recreated", "type-changed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TouchedTable:
    """One table as it was before the migration, and what the rehearsal saw the migration do to it."""

    name: str  # namespace.relation, quoted only where SQL needs it; before the migration
    name_after: str | None  # None: the migration dropped it
    renamed_columns: Mapping[str, str]  # before -> after
    written_columns: frozenset[str]  # names before: their values were changed, lost or filled in
    adds_rows: bool
    deletes_rows: bool


def touched_tables(tables: Sequence[Mapping[str, Any]]) -> tuple[TouchedTable, ...]:
    """Read a receipt's ``document["tables"]``.  A table that is new after the migration has no place here.

    Of a table that could not be measured everything is taken as written: nothing in it is then called the
    application's alone.
    """
    found = []
    for table in tables:
        if table["name"] is None:
            continue
        unmeasured = table["verdict"] == "unmeasured"
        columns = [column for column in table["columns"] if column["name"] is not None]
        lost, before, after = table["rows_lost"] or 0, table["rows_before"] or 0, table["rows_after"] or 0
        found.append(
            TouchedTable(
                name=table["name"],
                name_after=table["name_after"],
                renamed_columns={
                    column["name"]: column["name_after"]
                    for column in columns
                    if column["name_after"] not in (None, column["name"])
                },
                written_columns=frozenset(column["name"] for column in columns if unmeasured or _is_written(column)),
                adds_rows=unmeasured or after > before - lost,
                deletes_rows=unmeasured or lost > 0 or table["verdict"] == "rows-moved",
            )
        )
    return tuple(found)


def touched_one_after_another(first: Sequence[TouchedTable], then: Sequence[TouchedTable]) -> tuple[TouchedTable, ...]:
    """What two migrations did, the second on what the first left; names before are those before the first."""
    by_name = {table.name: table for table in then}
    found = [
        table if table.name_after is None or table.name_after not in by_name
        else _one_after_another(table, by_name.pop(table.name_after))
        for table in first
    ]  # fmt: skip
    return (*found, *by_name.values())  # of these the first knew nothing


def _one_after_another(first: TouchedTable, then: TouchedTable) -> TouchedTable:
    was = {after: before for before, after in first.renamed_columns.items()}
    renamed = {**first.renamed_columns, **{was.get(now, now): after for now, after in then.renamed_columns.items()}}
    return replace(
        first,
        name_after=then.name_after,
        renamed_columns={before: after for before, after in renamed.items() if before != after},
        written_columns=first.written_columns | {was.get(name, name) for name in then.written_columns},
        adds_rows=first.adds_rows or then.adds_rows,
        deletes_rows=first.deletes_rows or then.deletes_rows,
    )


def _is_written(column: Mapping[str, Any]) -> bool:
    if column["verdict"] in _UNTOUCHED:
        return False
    if column["verdict"] in _KEEPS_VALUES:
        return bool(column["values_changed"] or column["values_lost"])
    return True


def sequences_moved_back(findings: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Names of sequences of which a receipt's ``document["findings"]`` say that the migration moves them back."""
    return frozenset(
        finding["relation"]
        for finding in findings
        if finding["hazard"] == "sequence-restart" and finding["relation"] is not None
    )

"""What declarations let production do to rows although the rehearsal did none of it: that is copied first, too.

`-- pgrehearse: expect deletes t between 0 and 10 rows` lets production delete ten rows where the clone had none to
delete.  A share of nothing is nothing, so a tolerance in percent of what the rehearsal did adds no table to these.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgrehearse.migrations.expectation import REMOVES_ROWS, ROW_VERBS, Bound, Expectation, Verb
from pgrehearse.migrations.expectations import read_bound
from pgrehearse.rollback.image_plan import OVERWRITTEN, surviving_key
from pgrehearse.schema.schema_object import ObjectKind, Schema

Tables = Sequence[Mapping[str, Any]]  # of a receipt
# Nothing else writes rows of a table that is there already and stays.
WRITES_ROWS = frozenset({
    "SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "CopyStmt", "TruncateStmt", "DoStmt",
    "CallStmt", "ExecuteStmt", "CreateTableAsStmt", "ExplainStmt", "FetchStmt",
})  # fmt: skip
_KEEPS = frozenset({"unchanged", "renamed", "values-gained", "type-changed", "recreated"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerated:
    """Tables as they are called before the plan, the leaves of trees among them."""

    loses: frozenset[str] = frozenset()  # rows
    changes: frozenset[str] = frozenset()  # values
    gains: frozenset[str] = frozenset()  # rows


def find_tolerated(declarations: Iterable[Mapping[str, Any]], before: Schema) -> Tolerated:
    """By a receipt's ``document["declarations"]``, where names stand as the rehearsal looked them up.  Pure."""
    found: dict[Verb, set[str]] = {verb: set() for verb in Verb}
    for each in declarations:
        verb, bound = Verb(each["verb"]), read_bound(each["bound"] or "")
        if _is_tolerance(verb, bound):
            found[verb].add(each["relation"])
    return Tolerated(
        loses=frozenset(leaves_of(before, set().union(*(found[verb] for verb in REMOVES_ROWS)))),
        changes=frozenset(leaves_of(before, found[Verb.UPDATES])),
        gains=frozenset(leaves_of(before, found[Verb.INSERTS])),
    )


def _is_tolerance(verb: Verb, bound: Bound | None) -> bool:
    """Whether it lets production write rows where the rehearsal wrote none."""
    return verb in ROW_VERBS and bound is not None and not (bound.percent and (bound.within or bound.is_share))


def relations_of(expectation: Expectation, declarations: Sequence[Mapping[str, Any]]) -> set[str]:
    """The tables that a declaration speaks of, as they are called before the plan."""
    return {
        each["relation"]
        for each in declarations
        if (each["line"], each["text"]) == (expectation.line, expectation.text)
    }


def leaves_of(schema: Schema, relations: Collection[str]) -> set[str]:
    """These and their partitions, however deep: rows stand in the leaves."""
    found = set(relations)
    while True:
        below = {
            each.name for each in schema.of_kind(ObjectKind.TABLE) if each.attributes.get("inherits") in found
        } - found
        if not below:
            return found
        found |= below


def as_written(
    table: Mapping[str, Any], before: Schema, *, over: Collection[str] = (), loses: bool = False, gains: bool = False
) -> dict[str, Any]:
    """A receipt's table as if the rehearsal had seen these columns changed, and rows lost or come: for its image."""
    if table["verdict"] in ("recreated", "rows-moved"):  # copied whole anyhow
        pass
    elif loses:
        table = {**table, "verdict": "rows-lost"}
    elif over:
        table = {**table, "verdict": "values-changed"}
    elif gains and table["verdict"] in ("unchanged", "renamed"):
        table = {**table, "verdict": "rows-added"}
    if not over:
        return dict(table)
    known = {column["name"]: column for column in table["columns"]}
    columns = [_as_written(known.get(name), name, over=over) for name in before.columns(table["name"])]
    new = [column for column in table["columns"] if column["verdict"] == "new"]
    return {**table, "columns": [*columns, *new]}


def every_value(table: Mapping[str, Any], before: Schema) -> frozenset[str]:
    """Its columns but for a key that the rehearsal saw unchanged: images tell rows apart by it.

    Where an UPDATE changes it all the same, settling finds the old row gone and refuses.
    """
    every = frozenset(before.columns(table["name"]))
    return (every - frozenset(surviving_key(table, before))) or every


def as_tolerated(tables: Tables, tolerated: Tolerated, before: Schema) -> list[dict[str, Any]]:
    """A receipt's tables as if the rehearsal had seen what is tolerated, where it saw nothing of the kind."""
    return [dict(table) if table["name"] is None else _as_tolerated(table, tolerated, before) for table in tables]


def _as_tolerated(table: Mapping[str, Any], tolerated: Tolerated, before: Schema) -> dict[str, Any]:
    name = table["name"]
    if table["name_after"] is None:
        return dict(table)
    unseen = not any(column["verdict"] in OVERWRITTEN for column in table["columns"])
    return as_written(
        table,
        before,
        over=every_value(table, before) if name in tolerated.changes and unseen else (),
        loses=name in tolerated.loses,
        gains=name in tolerated.gains,
    )


def _as_written(known: Mapping[str, Any] | None, name: str, *, over: Collection[str]) -> dict[str, Any]:
    column = dict(known) if known is not None else {
        "name": name, "name_after": name, "verdict": "unchanged", "values_changed": 0, "values_lost": 0,
    }  # fmt: skip
    if column["verdict"] in _KEEPS and name in over:
        column["verdict"] = "values-changed"
    return column


def speaks_below(
    expectations: Iterable[Expectation], kinds: Mapping[tuple[str, int], str], keys: Iterable[tuple[str, int]]
) -> Iterator[Expectation]:
    """The tolerances that one of these statements may make use of; ``kinds`` are their parse nodes."""
    writing = [key for key in keys if kinds.get(key, "") in WRITES_ROWS]
    for each in expectations:
        if _is_tolerance(each.verb, each.bound) and any(each.covers(*key) for key in writing):
            yield each

"""Which rows, columns and sequences a plan destroys or overwrites, read from its receipt: what must be copied first."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pglast
from pglast.enums import ConstrType

from pgrehearse.rollback.names import split_name
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

TABLE_DROPPED = "table-dropped"
COLUMNS_DROPPED = "columns-dropped"
ROWS_DELETED = "rows-deleted"
VALUES_CHANGED = "values-changed"
ROWS_ADDED = "rows-added"
SEQUENCE_DROPPED = "sequence-dropped"

# Verdicts of a column whose values are not all there any more, or may not be.
OVERWRITTEN = frozenset({"values-lost", "values-changed", "values-gained", "unmeasured"})
NEW = "new"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePlan:
    """One copy to take: of a table, of some of its columns, or of a sequence's state.

    Names are as SQL writes them (quoted only where needed).  ``names_after`` says what each column of the table is
    called after the plan, None where it is gone.
    """

    relation: str  # namespace.relation before
    name_after: str | None
    key: tuple[str, ...]  # what tells rows apart before and after; () where nothing does
    columns: tuple[str, ...] | None  # key and destroyed columns; None: all
    why: str
    changed: tuple[str, ...] = ()  # columns whose values the rehearsal saw changed
    names_after: Mapping[str, str | None]
    sequences: tuple[str, ...] = ()  # namespace.sequence, owned by the table

    @property
    def is_sequence(self) -> bool:
        return self.why == SEQUENCE_DROPPED

    def as_json(self) -> dict[str, Any]:
        return {
            "relation": self.relation,
            "name_after": self.name_after,
            "key": list(self.key),
            "columns": None if self.columns is None else list(self.columns),
            "why": self.why,
            "changed": list(self.changed),
            "names_after": dict(self.names_after),
            "sequences": list(self.sequences),
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "ImagePlan":
        return cls(
            relation=found["relation"],
            name_after=found["name_after"],
            key=tuple(found["key"]),
            columns=None if found["columns"] is None else tuple(found["columns"]),
            why=found["why"],
            changed=tuple(found["changed"]),
            names_after=dict(found["names_after"]),
            sequences=tuple(found["sequences"]),
        )


def plan_images(
    tables: Sequence[Mapping[str, Any]], changes: Sequence[Mapping[str, Any]], before: Schema
) -> tuple[ImagePlan, ...]:
    """What to copy before the plan of this receipt runs: ``tables`` and ``changes`` are the document's own.

    A dropped or recreated table is copied whole, and so is one that loses rows, or whose key does not survive; of
    others the key and the columns that are dropped or overwritten.  Rows that the plan adds are found by the keys
    that were there before it, so these are copied too (`rows-added`).  Pure; the order is that of ``tables``.
    """
    shape = _Shape(before)
    plans = [plan for table in tables if (plan := _plan_table(table, shape)) is not None]
    owned = {name for plan in plans for name in plan.sequences}
    plans += [
        ImagePlan(
            relation=change["name"], name_after=None, key=(), columns=None, why=SEQUENCE_DROPPED, names_after={}
        )
        for change in changes
        if (change["kind"], change["effect"]) == (ObjectKind.SEQUENCE.value, "removed") and change["name"] not in owned
    ]  # fmt: skip
    return tuple(plans)


def surviving_key(table: Mapping[str, Any], before: Schema) -> tuple[str, ...]:
    """The columns by which an image of this table tells rows apart, as the rehearsal left them; () where none do."""
    columns = [column for column in table["columns"] if column["verdict"] != NEW]
    destroyed = {
        column["name"] for column in columns if column["verdict"] in OVERWRITTEN or column["name_after"] is None
    }
    return _Shape(before).find_key(table["name"], destroyed, whole=table["name_after"] is None)


def _plan_table(table: Mapping[str, Any], shape: "_Shape") -> ImagePlan | None:
    columns = [column for column in table["columns"] if column["verdict"] != NEW]
    why = _why(table, columns)
    if why is None:
        return None
    names_after = {column["name"]: column["name_after"] for column in columns}
    changed = tuple(column["name"] for column in columns if column["verdict"] in OVERWRITTEN)
    destroyed = {*changed, *(name for name, after in names_after.items() if after is None)}
    key = shape.find_key(table["name"], destroyed, whole=table["name_after"] is None)
    if not key and table["verdict"] == "rows-moved":
        # Rows that went to another partition: what decides where they stand changed there, and here their key is gone.
        key = shape.find_key(table["name"], {name for name in destroyed if names_after[name] is None}, whole=False)
    whole = why in (TABLE_DROPPED, ROWS_DELETED) or not key
    return ImagePlan(
        relation=table["name"],
        name_after=table["name_after"],
        key=key,
        columns=None if whole else tuple(name for name in names_after if name in key or name in destroyed),
        why=why,
        changed=changed,
        names_after=names_after,
        sequences=shape.sequences_of(table["name"]),
    )


def _why(table: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> str | None:
    verdict = table["verdict"]
    if verdict == NEW:
        return None
    if table["name_after"] is None:  # also where all its rows were moved elsewhere
        return TABLE_DROPPED
    if verdict in ("recreated", "rows-lost", "rows-moved") or table["rows_lost"]:
        return ROWS_DELETED
    if any(column["name_after"] is None for column in columns):
        return COLUMNS_DROPPED
    if any(column["verdict"] in OVERWRITTEN for column in columns):
        return VALUES_CHANGED
    if verdict == "rows-added" or table["rows_after"] > table["rows_before"]:
        return ROWS_ADDED
    return None


class _Shape:
    """What the schema says of keys and sequences."""

    def __init__(self, schema: Schema) -> None:
        self._tables = {found.name: found for found in schema.of_kind(ObjectKind.TABLE)}
        self._columns = {
            (found.relation, found.name): found for found in schema.of_kind(ObjectKind.COLUMN)
        }  # fmt: skip
        self._constraints: dict[str, list[SchemaObject]] = {}
        for found in schema.of_kind(ObjectKind.CONSTRAINT):
            self._constraints.setdefault(found.relation or "", []).append(found)
        self._indexes: dict[str, list[SchemaObject]] = {}
        for found in schema.of_kind(ObjectKind.INDEX):
            self._indexes.setdefault(found.relation or "", []).append(found)
        self._owned: dict[str, list[str]] = {}
        for found in schema.of_kind(ObjectKind.SEQUENCE):
            if owner := found.attributes.get("owned by"):
                parts = split_name(owner.removesuffix(" (identity)"), quoted=True)
                self._owned.setdefault(".".join(parts[:2]), []).append(found.name)

    def sequences_of(self, relation: str) -> tuple[str, ...]:
        found = [name for each in self._line(relation) for name in self._owned.get(each, ())]
        return tuple(dict.fromkeys(found))

    def find_key(self, relation: str, destroyed: set[str], *, whole: bool) -> tuple[str, ...]:
        """A key whose columns survive, the primary one first; of a table that goes ``whole``, any."""
        keys = list(dict.fromkeys(self._keys(relation)))
        surviving = [key for key in keys if whole or destroyed.isdisjoint(key)]
        return surviving[0] if surviving else ()

    def _keys(self, relation: str) -> Iterator[tuple[str, ...]]:
        found = [key for each in self._line(relation) for key in self._own_keys(each)]
        for primary in (True, False):
            for is_primary, key in found:
                if is_primary is primary and (primary or all(self._never_null(relation, name) for name in key)):
                    yield key

    def _own_keys(self, relation: str) -> Iterator[tuple[bool, tuple[str, ...]]]:
        for constraint in self._constraints.get(relation, ()):
            definition = constraint.attributes.get("definition", "")
            if definition.startswith(("PRIMARY KEY", "UNIQUE")):
                yield from self._written(relation, _constraint_keys(definition))
        for index in self._indexes.get(relation, ()):
            definition = index.attributes.get("definition", "")
            if definition.startswith("CREATE UNIQUE INDEX") and "invalid" not in index.attributes:
                yield from self._written(relation, _index_keys(definition))

    def _written(
        self, relation: str, keys: Iterator[tuple[bool, tuple[str, ...]]]
    ) -> Iterator[tuple[bool, tuple[str, ...]]]:
        """As the server writes them: it quotes more words than a parser's own printer does (``"time"``)."""
        names = {split_name(name)[0]: name for each, name in self._columns if each == relation}
        for is_primary, key in keys:
            yield is_primary, tuple(names[name] for name in key)

    def _line(self, relation: str) -> Iterator[str]:
        """The table and, of a partition, the trees it hangs on: their keys and sequences are its own."""
        found = self._tables.get(relation)
        yield relation
        while found is not None and "partition bound" in found.attributes:
            parent = found.attributes["inherits"]
            yield parent
            found = self._tables.get(parent)

    def _never_null(self, relation: str, column: str) -> bool:
        found = self._columns.get((relation, column))
        return found is not None and found.attributes.get("not null", "").startswith("yes") and (
            "not valid" not in found.attributes["not null"]
        )  # fmt: skip


def _constraint_keys(definition: str) -> Iterator[tuple[bool, tuple[str, ...]]]:
    statement = pglast.parse_sql(f"ALTER TABLE t ADD {definition}")[0].stmt
    constraint = statement.cmds[0].def_
    if constraint.keys:
        yield constraint.contype == ConstrType.CONSTR_PRIMARY, tuple(each.sval for each in constraint.keys)


def _index_keys(definition: str) -> Iterator[tuple[bool, tuple[str, ...]]]:
    statement = pglast.parse_sql(definition)[0].stmt
    if statement.whereClause is None and all(each.name for each in statement.indexParams):
        yield False, tuple(each.name for each in statement.indexParams)

"""From a catalog row to a schema object: its attributes come in piece by piece, then their normal forms are made."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from pgrehearse.schema.normalise import normal_form
from pgrehearse.schema.schema_object import ObjectKind, SchemaObject, make_object

LEADING = 7  # kind, class, oid, number, relation's oid, relation, name: what every row begins with
PRIVATE = frozenset(
    {"_domain", "_inherited", "_parsed", "_parent", "_constraint", "_own_name", "_type"}
)  # for the reader
NAMED_BY_RELATION = frozenset(
    kind.value for kind in (ObjectKind.COLUMN, ObjectKind.CONSTRAINT, ObjectKind.INDEX)
)  # their rows say only its oid
KINDS = {kind.value: kind for kind in ObjectKind}

# What an attribute's text is; text not named here is compared as it stands.
FRAMES: Mapping[str, Mapping[str, str]] = {
    "table": {"partition key": "partition key"},
    "table column": {"default": "expression", "generation expression": "expression"},
    "table constraint": {"definition": "constraint"},
    "domain": {"default": "expression"},
    "domain constraint": {"definition": "constraint"},
    "index": {"definition": "statement"},
    "policy": {"using": "expression", "with check": "expression"},
    "trigger": {"definition": "statement"},
    "rule": {"definition": "statement"},
    "view": {"definition": "statement"},
    "materialized view": {"definition": "statement"},
    "statistics object": {"definition": "statement"},
    "publication relation": {"where": "expression"},
}
PARSED_BODY = {"definition": "statement"}  # BEGIN ATOMIC; any other function's body is compared as it stands
NULL_OF_A_TYPE = re.compile(r'NULL::[\w ."\[\](),]+')


@dataclass(slots=True)
class Draft:
    """An object whose attributes still come in.  There is one for every object, so what is done to each is counted."""

    kind: str  # the value of an `ObjectKind`, whose own lookup costs more than all else here
    name: str
    relation: str | None
    relation_oid: int | None
    oid: int
    number: int
    attributes: dict[str, str]
    private: dict[str, Any]
    position: int | None = None
    made: SchemaObject | None = None  # by `finish`

    @classmethod
    def from_rows(
        cls, names: Sequence[str], rows: Iterable[Sequence[Any]], relations: Mapping[int, str]
    ) -> Iterator[tuple[int, "Draft"]]:
        """Each with its class.  ``names``: of the columns after the leading ones; ``relations``: the names by oid.

        Raises `InternalError_` of psycopg where a relation is not among them: it came between two statements.
        """
        private_names = [name for name in names if name in PRIVATE]
        for row in rows:
            kind, class_oid, oid, number, relation_oid, relation, name = row[:LEADING]
            if kind in NAMED_BY_RELATION:
                relation = relations.get(relation_oid)
                if relation is None:
                    raise psycopg.errors.InternalError_(f"the relation of {kind} {name} came meanwhile")
            attributes = {key: value for key, value in zip(names, row[LEADING:], strict=True) if value is not None}
            private = {key: attributes.pop(key) for key in private_names if key in attributes}
            yield class_oid, cls(kind, name, relation, relation_oid, oid, number, attributes, private)

    @property
    def key(self) -> tuple[str, str, str]:
        """As `SchemaObject.key`."""
        return (self.kind, self.relation or "", self.name)

    def finish(self) -> None:
        """Make the object now: nothing more comes in."""
        self.made = self.finished()

    def finished(self) -> SchemaObject:
        """The frozen object."""
        if self.made is not None:
            return self.made
        attributes = self.attributes
        if "default" in attributes:
            self._forget_null_default()
        frames = PARSED_BODY if self.private.get("_parsed") else FRAMES.get(self.kind)
        normal_forms: dict[str, str] = {}
        for attribute, frame in frames.items() if frames else ():
            text = attributes.get(attribute)
            if text is None:
                continue
            unnamed = self._unnamed(text) if self.kind in ("index", "trigger") else text
            form = normal_form(unnamed, frame)
            if form is not None or unnamed != text:
                normal_forms[attribute] = form or unnamed
        return make_object(
            KINDS[self.kind], self.name, self.relation, attributes, normal_forms, self.position, self.oid, self.number
        )

    def _forget_null_default(self) -> None:
        """pg_dump writes DEFAULT NULL on a partition whose parent has a default; only for a domain it says anything."""
        default = self.attributes.get("default")
        if default is not None and "_domain" not in self.private and NULL_OF_A_TYPE.fullmatch(default):
            del self.attributes["default"]

    def _unnamed(self, definition: str) -> str:
        """An index's or trigger's definition without its own and its relation's name, which are compared apart."""
        name = self.private.get("_own_name", self.name)
        definition = definition.replace(f" {name} ", " x ", 1)
        for on in ("ON ONLY", "ON"):
            definition = definition.replace(f" {on} {self.relation} ", " ON t ", 1)
        return definition

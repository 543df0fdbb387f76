"""From a catalog row to a schema object: its attributes come in piece by piece, then their normal forms are made."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgrehearse.schema.normalise import normal_form
from pgrehearse.schema.schema_object import ObjectKind, SchemaObject

LEADING = 7  # kind, class, oid, number, relation's oid, relation, name: what every row begins with
PRIVATE = frozenset({"_domain", "_inherited", "_parsed", "_parent", "_constraint", "_own_name"})  # for the reader only
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
NO_FRAMES: Mapping[str, str] = {}


@dataclass(slots=True)
class Draft:
    """An object whose attributes still come in."""

    kind: ObjectKind
    name: str
    relation: str | None
    oid: int
    number: int
    attributes: dict[str, str]
    private: dict[str, Any]
    position: int | None = None
    normal_forms: dict[str, str] = field(default_factory=dict)

    @classmethod
    def from_row(cls, names: Sequence[str], row: Sequence[Any]) -> "Draft":
        """``names``: of the columns after the leading ones."""
        kind, _, oid, number, _, relation, name = row[:LEADING]
        attributes = {key: value for key, value in zip(names, row[LEADING:], strict=True) if value is not None}
        private = {key: attributes.pop(key) for key in PRIVATE & attributes.keys()}
        return cls(KINDS[kind], name, relation, oid, number, attributes, private)

    def finished(self) -> SchemaObject:
        """The frozen object."""
        self._forget_null_default()
        frames = PARSED_BODY if self.private.get("_parsed") else FRAMES.get(self.kind.value, NO_FRAMES)
        for attribute in frames.keys() & self.attributes.keys():
            text = self.attributes[attribute]
            unnamed = self._unnamed(text) if self.kind in (ObjectKind.INDEX, ObjectKind.TRIGGER) else text
            form = normal_form(unnamed, frames[attribute])
            if form is not None or unnamed != text:
                self.normal_forms[attribute] = form or unnamed
        return SchemaObject(
            kind=self.kind, name=self.name, relation=self.relation, attributes=self.attributes,
            normal_forms=self.normal_forms, position=self.position, oid=self.oid, number=self.number,
        )  # fmt: skip

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

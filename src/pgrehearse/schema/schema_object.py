"""What a schema is made of: objects with a kind, a name, and attributes as the server would print them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class ObjectKind(Enum):
    """PostgreSQL's own words (`pg_identify_object`), shortened where SQL says it shorter."""

    SCHEMA = "schema"
    EXTENSION = "extension"
    TABLE = "table"  # partitioned or not
    FOREIGN_TABLE = "foreign table"
    VIEW = "view"
    MATERIALIZED_VIEW = "materialized view"
    COLUMN = "table column"  # of any relation
    CONSTRAINT = "table constraint"
    INDEX = "index"
    SEQUENCE = "sequence"
    TRIGGER = "trigger"
    POLICY = "policy"
    RULE = "rule"
    FUNCTION = "function"
    PROCEDURE = "procedure"
    AGGREGATE = "aggregate"
    TYPE = "type"
    DOMAIN = "domain"
    DOMAIN_CONSTRAINT = "domain constraint"
    STATISTICS = "statistics object"
    DEFAULT_PRIVILEGES = "default privileges"
    SYSTEM_OBJECT = "system object"  # of pg_catalog, with rights changed after initdb
    EVENT_TRIGGER = "event trigger"
    PUBLICATION = "publication"
    PUBLICATION_RELATION = "publication relation"
    FOREIGN_DATA_WRAPPER = "foreign-data wrapper"
    SERVER = "server"
    CAST = "cast"
    OPERATOR = "operator"
    OPERATOR_FAMILY = "operator family"
    OPERATOR_CLASS = "operator class"
    COLLATION = "collation"
    CONVERSION = "conversion"
    TEXT_SEARCH_CONFIGURATION = "text search configuration"
    TEXT_SEARCH_DICTIONARY = "text search dictionary"
    TEXT_SEARCH_PARSER = "text search parser"
    TEXT_SEARCH_TEMPLATE = "text search template"
    LANGUAGE = "language"
    TRANSFORM = "transform"
    ACCESS_METHOD = "access method"


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaObject:
    """One object.  What takes part in comparison: kind, name, relation, position, attributes (in their normal form).

    ``attributes`` holds what differs from the default, as the server prints it.  ``normal_forms`` holds, for the
    attributes whose text a dump and restore may change, the form that is compared instead.
    """

    kind: ObjectKind
    name: str  # as SQL would write it, quoted only where needed; of a column or constraint its own name
    relation: str | None = None  # namespace.relation (or domain) that it belongs to
    attributes: Mapping[str, str] = field(default_factory=dict)
    normal_forms: Mapping[str, str] = field(default_factory=dict)
    position: int | None = None  # of a column among the living ones, from 1
    oid: int | None = field(default=None, compare=False)
    number: int = field(default=0, compare=False)  # a column's attnum, else 0

    @property
    def identity(self) -> str:
        """The name for people: ``public.t``, ``public.t.c``, ``t_pkey on public.t``."""
        if self.relation is None:
            return self.name
        if self.kind is ObjectKind.COLUMN:
            return f"{self.relation}.{self.name}"
        if self.kind is ObjectKind.INDEX and not self.name.startswith("partition of "):
            return self.name
        return self.name if self.kind is ObjectKind.STATISTICS else f"{self.name} on {self.relation}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is found by in another schema."""
        return (self.kind.value, self.relation or "", self.name)

    def compared(self, attribute: str) -> str | None:
        """What takes part in comparison, None where it has its default: the text, or a digest of its normal form.

        Never for people or for parsing; what the server printed stands in ``attributes``.
        """
        return self.normal_forms.get(attribute, self.attributes.get(attribute))


# A frozen class's own way to set eight fields takes 1.8 µs, theirs 0.5, and there are ten objects for each table.
_SLOTS = (
    "kind", "name", "relation", "attributes", "normal_forms", "position", "oid", "number",
)  # fmt: skip
(
    _set_kind, _set_name, _set_relation, _set_attributes, _set_normal_forms, _set_position, _set_oid, _set_number,
) = (SchemaObject.__dict__[slot].__set__ for slot in _SLOTS)  # fmt: skip


def make_object(
    kind: ObjectKind,
    name: str,
    relation: str | None,
    attributes: Mapping[str, str],
    normal_forms: Mapping[str, str],
    position: int | None,
    oid: int | None,
    number: int,
) -> SchemaObject:
    """The same as the class makes, for who makes very many."""
    made = SchemaObject.__new__(SchemaObject)
    _set_kind(made, kind)
    _set_name(made, name)
    _set_relation(made, relation)
    _set_attributes(made, attributes)
    _set_normal_forms(made, normal_forms)
    _set_position(made, position)
    _set_oid(made, oid)
    _set_number(made, number)
    return made


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Something that is there and takes no part, with the reason."""

    what: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The shape of a whole database, as one snapshot saw it."""

    server_major: int
    objects: tuple[SchemaObject, ...]  # sorted by key
    left_out: tuple[LeftOut, ...] = ()

    def of_kind(self, *kinds: ObjectKind) -> Iterable[SchemaObject]:
        """The objects of these kinds, in the order of their keys."""
        return (found for found in self.objects if found.kind in kinds)

    def find(self, kind: ObjectKind, identity: str) -> SchemaObject | None:
        """The object of that kind shown under that name.  Cost: a scan of all objects."""
        return next((found for found in self.objects if found.kind is kind and found.identity == identity), None)

    def columns(self, relation: str) -> tuple[str, ...]:
        """The columns' names of ``namespace.relation`` in their order.  Cost: a scan of all objects."""
        found = [each for each in self.of_kind(ObjectKind.COLUMN) if each.relation == relation]
        return tuple(each.name for each in sorted(found, key=lambda each: each.position or 0))


def find_unproved(schema: Schema) -> tuple[SchemaObject, ...]:
    """Invalid indexes and constraints that are not validated: what promises more than it holds."""
    return tuple(each for each in schema.objects if "invalid" in each.attributes or "not valid" in each.attributes
                 or each.attributes.get("not null", "").startswith("yes, not valid"))  # fmt: skip


def find_newly_unproved(before: Schema, after: Schema) -> tuple[SchemaObject, ...]:
    """Those of ``after`` that ``before`` did not have, or had in order."""
    known = {each.key for each in find_unproved(before)}
    return tuple(each for each in find_unproved(after) if each.key not in known)

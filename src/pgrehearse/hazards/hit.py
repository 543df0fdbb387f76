"""A hit: one rule's answer to one statement, before the catalogue's texts make a finding of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgrehearse.hazards.finding import HazardClass, Level, Measured
from pgrehearse.hazards.sql_names import RelationName


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One hazard of one statement.

    `names` fill the catalogue's texts, each as SQL writes it (quoted where it must be).  The standard names:
    table, column, type, new, object, constraint, definition, statement, index_columns, check, referenced, copy,
    aside, aside_qualified, new_qualified, oid, command, kind, schema, sequence, label, size; and of the first
    lint: deferrable, column_first.  A name that a record's text asks for and the Hit lacks is a mistake of the rule.
    """

    hazard: str
    relation: RelationName | None  # whom it harms; None: no relation, or none that the text names
    names: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, Measured] = field(default_factory=dict)  # from a catalog: size_bytes, rows …
    certain: bool = True  # False: only a catalog could tell, and none was read; never an error then
    unsure: str | None = None  # what only a catalog could tell: "whether the column holds values"
    classes: tuple[HazardClass, ...] | None = None  # None: the record's; else a narrower choice
    level: Level | None = None  # None: the record's
    even_new: bool = False  # concerns a table that the same file makes, too
    by_rows: bool = False  # it fails by rows that are there: an empty table has none
    place: int | None = None  # character in the statement's text where the finding points; None: its first token

"""Production's schema as the plan's earlier statements have left it: who is who on production, and what was written.

Everything that a later statement says is read in these names, and traced back to production's own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import ConstrType
from pglast.parser import ParseError
from pglast.stream import RawStream

from pgrehearse.hazards.sql_names import quoted
from pgrehearse.release.preconditions.column_type import (
    SERIALS,
    ColumnType,
    DomainConstraint,
    TypeNow,
    parse_type_name,
    type_modifiers,
    written_type,
)
from pgrehearse.release.preconditions.identifiers import split_identifiers, split_list, unquoted
from pgrehearse.release.preconditions.precondition import Layer, Rows
from pgrehearse.schema.schema_object import ObjectKind, Schema, SchemaObject

TEMPORARY = "pg_temp"
Name = tuple[str, str]  # (namespace, name)


@dataclass(slots=True, eq=False)
class ColumnNow:
    """A column as the plan has left it so far."""

    production: str | None  # None: the plan adds it
    type: ColumnType
    not_null: bool = False
    is_generated: bool = False
    written: str | None = None  # why its values are not production's any more
    added: str = ""  # where, of one that the plan adds
    is_converted: bool = False  # the plan has changed its type


@dataclass(slots=True, eq=False)
class ConstraintNow:
    """A constraint of a table; production's is parsed when it is asked for."""

    text: str  # as pg_get_constraintdef prints it, "" of one that the plan adds
    is_valid: bool
    node: Any = None
    references: "TableNow | None" = None  # of a foreign key that the plan adds

    def parsed(self) -> Any:
        """The parse tree of the constraint, None where the parser does not read it."""
        if self.node is None and self.text:
            # What 18 prints for one that is not enforced is no part of its rule.
            text = self.text.replace(" NOT ENFORCED", "")
            try:
                self.node = parse_sql("ALTER TABLE t ADD " + text)[0].stmt.cmds[0].def_
            except ParseError:
                return None
        return self.node


@dataclass(slots=True, eq=False)
class TableNow:
    """A table, partitioned table, foreign table, view or materialized view."""

    namespace: str
    name: str
    production: Name | None
    kind: ObjectKind = ObjectKind.TABLE
    shown: str = ""  # as production's catalogs quote it
    partition_key: str | None = None
    is_default_partition: bool = False
    columns: dict[str, ColumnNow] = field(default_factory=dict)
    constraints: dict[str, ConstraintNow] = field(default_factory=dict)
    parents: list["TableNow"] = field(default_factory=list)
    children: list["TableNow"] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    triggers: list[str] = field(default_factory=list)  # definitions of those that fire
    rules: list[str] = field(default_factory=list)
    view_text: str = ""
    rows_removed: str | None = None  # why rows of production may be gone
    rows_added: str | None = None  # why rows may be there that production does not have
    has_renamed_columns: bool = False
    made_at: str = ""  # where the plan makes it

    @property
    def is_partitioned(self) -> bool:
        return self.partition_key is not None

    def attach_to(self, parent: "TableNow") -> None:
        """It becomes a partition or a child by inheritance."""
        if parent not in self.parents:
            self.parents.append(parent)
            parent.children.append(self)

    def detach_from(self, parent: "TableNow") -> None:
        if parent in self.parents:
            self.parents.remove(parent)
            parent.children.remove(self)

    def overwrite(self, reason: str) -> None:
        """Any row and any value may have been written."""
        self.rows_removed = self.rows_removed or reason
        self.rows_added = self.rows_added or reason
        self.write_columns(self.columns, reason)

    def write_columns(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            column = self.columns.get(name)
            if column is not None:
                column.written = column.written or reason
        for column in self.columns.values():
            if column.is_generated:
                column.written = column.written or reason

    def forget_layers(self, reason: str) -> None:
        """Their expressions name columns that are renamed or gone: what they made is lost sight of."""
        for layer in self.layers:
            self.write_columns([name for name, _ in layer.values], reason)
        self.layers.clear()

    def rows(self, *, descends: bool = True) -> Rows:
        """Its rows on production, under today's names."""
        assert self.production is not None
        return Rows(
            namespace=self.production[0],
            relation=self.production[1],
            alias=self.name,
            descends=descends,
            columns=tuple(
                (column.production, name) for name, column in self.columns.items() if column.production is not None
            ),
            layers=tuple(self.layers),
        )


@dataclass(slots=True)
class Routine:
    """A function or procedure, by what its text shows."""

    text: str
    is_volatile: bool
    made_at: str | None = None  # where the plan makes or replaces it


@dataclass(slots=True)
class Shape:
    """The whole of it.  Built once from a schema, then changed statement by statement."""

    default_path: tuple[str, ...]
    search_path: tuple[str, ...]
    path_was_set: bool = False
    tables: dict[Name, TableNow] = field(default_factory=dict)
    types: dict[Name, TypeNow] = field(default_factory=dict)
    indexes: dict[Name, tuple[TableNow | None, str | Any]] = field(default_factory=dict)  # definition or parse tree
    routines: dict[str, list[Routine]] = field(default_factory=dict)  # by bare name
    production: dict[Name, TableNow] = field(default_factory=dict)  # production's tables by their names there
    hidden: str | None = None  # why nothing is certain from here on

    def hide(self, reason: str) -> None:
        """From here on nothing is certain."""
        self.hidden = self.hidden or reason

    # --- finding ------------------------------------------------------------------------------------

    def find_table(self, range_var: Any) -> TableNow | None:
        """The relation that a statement names."""
        if range_var.schemaname is not None:
            return self.tables.get((range_var.schemaname, range_var.relname))
        return self.find_named(range_var.relname)

    def find_named(self, name: str, namespace: str | None = None) -> TableNow | None:
        path = (TEMPORARY, *self.search_path) if namespace is None else (namespace,)
        return next((self.tables[each, name] for each in path if (each, name) in self.tables), None)

    def find_on_production(self, range_var: Any) -> TableNow | None:
        """The relation that bears this name on production, whatever it is called now."""
        return self.production.get((range_var.schemaname or "", range_var.relname))

    def referenced_by(self, constraint: ConstraintNow) -> TableNow | None:
        """The parent of a foreign key, None of any other constraint."""
        node = constraint.parsed() if not constraint.text or constraint.text.startswith("FOREIGN KEY") else None
        if node is None or node.contype != ConstrType.CONSTR_FOREIGN:
            return None
        return constraint.references or self.find_on_production(node.pktable)

    def name_for_new(self, range_var: Any) -> Name:
        """Where a relation of that name is made."""
        if range_var.relpersistence == "t":
            return TEMPORARY, range_var.relname
        return range_var.schemaname or (self.search_path[0] if self.search_path else "public"), range_var.relname

    def find_type(self, names: tuple[str, ...]) -> TypeNow | None:
        if len(names) > 1:
            return self.types.get((names[-2], names[-1]))
        return next((self.types[each, names[0]] for each in self.search_path if (each, names[0]) in self.types), None)

    def family(self, table: TableNow) -> tuple[TableNow, ...]:
        """The table and whatever inherits from it, partitions included."""
        found = [table]
        for each in found:
            found.extend(child for child in each.children if child not in found)
        return tuple(found)

    def column_type(self, node: ast.TypeName | None) -> ColumnType:
        """What a type's name means now."""
        if node is None or node.pct_type or not node.names:
            return ColumnType(name="?")
        names = tuple(part.sval for part in node.names)
        own = None if names[0] == "pg_catalog" else self.find_type(names)
        array = bool(node.arrayBounds)
        modifiers = type_modifiers(node)
        if own is not None:
            written = "" if own.production is None else ".".join(quoted(part) for part in own.production)
            if written and array:
                written += "[]"
            return ColumnType(name=".".join(names), own=own, modifiers=modifiers, is_array=array, written=written)
        name = SERIALS.get(names[-1], names[-1]) if names[0] == "pg_catalog" or len(names) == 1 else ".".join(names)
        return ColumnType(name=name, modifiers=modifiers, is_array=array, written=written_type(node))

    def parse_index(self, definition: "str | Any") -> Any:
        """The parse tree of what `pg_get_indexdef` printed, or the plan's own."""
        if not isinstance(definition, str):
            return definition
        try:
            return parse_sql(definition)[0].stmt
        except ParseError:
            return None

    def index_rule(self, definition: "str | Any") -> str | None:
        """What makes a unique index the same as another's: all but its name and table; None of any other."""
        node = self.parse_index(definition) if definition else None
        if node is None or not node.unique:
            return None
        parts = [*node.indexParams, node.whereClause]
        return ", ".join(RawStream()(part) for part in parts if part is not None)

    def domains_over(self, domain: TypeNow) -> tuple[TypeNow, ...]:
        """It and the domains made of it."""
        found = [domain]
        for each in found:
            for other in self.types.values():
                if other.base is not None and other not in found:
                    base = self.column_type(parse_type_name(other.base))
                    if base.own is each:
                        found.append(other)
        return tuple(found)

    # --- building -----------------------------------------------------------------------------------

    @classmethod
    def of(cls, schema: Schema, search_path: tuple[str, ...]) -> "Shape":
        """Production as it is before the plan."""
        shape = cls(default_path=search_path, search_path=search_path)
        shape._add_types(schema)
        shape._add_tables(schema)
        for found in schema.of_kind(ObjectKind.FUNCTION, ObjectKind.PROCEDURE):
            text = found.attributes.get("definition", "")
            name = split_identifiers(found.name)[-1]
            shape.routines.setdefault(name, []).append(Routine(text=text, is_volatile=is_volatile(text)))
        for found in schema.of_kind(ObjectKind.TRIGGER, ObjectKind.RULE):
            table = shape.tables.get(_pair(found.relation))
            if table is not None and found.attributes.get("enabled") != "disabled":
                fires = table.triggers if found.kind is ObjectKind.TRIGGER else table.rules
                fires.append(found.attributes.get("definition", ""))
        return shape

    def _add_types(self, schema: Schema) -> None:
        for found in schema.of_kind(ObjectKind.TYPE, ObjectKind.DOMAIN):
            name = _pair(found.name)
            labels = found.attributes.get("labels")
            self.types[name] = TypeNow(
                production=name,
                labels=None if labels is None else tuple(_literals(labels)),
                base=found.attributes.get("base type"),
                not_null="not null" in found.attributes,
                has_default="default" in found.attributes,
            )
        for found in schema.of_kind(ObjectKind.DOMAIN_CONSTRAINT):
            domain = self.types.get(_pair(found.relation))
            if domain is not None:
                domain.constraints[unquoted(found.name)] = DomainConstraint(
                    expression=_parse_check(found.attributes.get("definition", "")),
                    is_valid="not valid" not in found.attributes,
                )

    def _add_tables(self, schema: Schema) -> None:
        kinds = (ObjectKind.TABLE, ObjectKind.FOREIGN_TABLE, ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW)
        inherits: list[tuple[TableNow, str]] = []
        for found in schema.of_kind(*kinds):
            namespace, name = _pair(found.name)
            table = TableNow(namespace=namespace, name=name, production=(namespace, name), kind=found.kind)
            table.shown = found.name
            table.partition_key = found.attributes.get("partition key")
            table.is_default_partition = found.attributes.get("partition bound") == "DEFAULT"
            self.tables[namespace, name] = self.production[namespace, name] = table
            if "inherits" in found.attributes:
                inherits.append((table, found.attributes["inherits"]))
            if found.kind is ObjectKind.VIEW:
                table.view_text = found.attributes.get("definition", "")
        for table, parents in inherits:
            for pair in map(_as_pair, split_list(parents)):
                if pair in self.tables:
                    table.attach_to(self.tables[pair])
        columns = sorted(schema.of_kind(ObjectKind.COLUMN), key=lambda found: found.position or 0)
        types: dict[str, ColumnType] = {}
        for found in columns:
            owner = self.tables.get(_pair(found.relation))
            if owner is not None:
                written = found.attributes.get("type", "?")
                if written not in types:  # what the server prints is qualified: no search path decides it
                    types[written] = self.column_type(parse_type_name(written))
                name = unquoted(found.name)
                owner.columns[name] = _column(found, name, types[written])
        for found in schema.of_kind(ObjectKind.CONSTRAINT):
            owner = self.tables.get(_pair(found.relation))
            if owner is not None:
                name, text = unquoted(found.name), found.attributes.get("definition", "")
                owner.constraints[name] = ConstraintNow(text=text, is_valid="not valid" not in found.attributes)
                if text.startswith(("PRIMARY KEY", "UNIQUE", "EXCLUDE")):
                    self.indexes[owner.namespace, name] = (owner, "")
        for found in schema.of_kind(ObjectKind.INDEX):
            if not found.name.startswith("partition of "):
                definition = found.attributes.get("definition", "")
                self.indexes[_pair(found.name)] = (self.tables.get(_pair(found.relation)), definition)


def _column(found: SchemaObject, name: str, column_type: ColumnType) -> ColumnNow:
    not_null = found.attributes.get("not null", "")
    return ColumnNow(
        production=name,
        type=column_type,
        not_null=not_null.startswith("yes") and "not valid" not in not_null,
        is_generated="generated" in found.attributes,
    )


def is_volatile(text: str) -> bool:
    """Of a function's definition: whether it may write.  The words stand before its body."""
    head = text.split("AS $", 1)[0].upper()
    return " IMMUTABLE" not in head and " STABLE" not in head and "\nIMMUTABLE" not in head and "\nSTABLE" not in head


def _parse_check(definition: str) -> Any:
    try:
        return parse_sql("ALTER TABLE t ADD " + definition)[0].stmt.cmds[0].def_.raw_expr
    except (ParseError, AttributeError):
        return None


def _literals(text: str) -> Iterator[str]:
    """The strings of ``'a', 'it''s'``, read by the parser that will read them again."""
    if text:
        for target in parse_sql("SELECT " + text)[0].stmt.targetList:
            yield target.val.val.sval


@lru_cache(maxsize=65536)
def _pair(name: str | None) -> Name:
    return _as_pair(split_identifiers(name or ""))


def _as_pair(parts: tuple[str, ...]) -> Name:
    return (parts[-2], parts[-1]) if len(parts) > 1 else ("", parts[-1] if parts else "")

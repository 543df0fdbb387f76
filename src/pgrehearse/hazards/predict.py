"""Which hazards a statement holds, read from its parse tree alone."""

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType, ConstrType, DropBehavior, ObjectType
from pglast.stream import RawStream

from pgrehearse.hazards.earlier import Earlier
from pgrehearse.hazards.sql_names import RelationName, derived, quoted

_INDEX = re.compile(r"\bINDEX\b", re.IGNORECASE)
_SERIALS = frozenset({"serial", "bigserial", "smallserial", "serial2", "serial4", "serial8"})
_FILLED = frozenset({ConstrType.CONSTR_DEFAULT, ConstrType.CONSTR_IDENTITY, ConstrType.CONSTR_GENERATED})
_CASCADING_TYPES = {ObjectType.OBJECT_TYPE: "TYPE", ObjectType.OBJECT_DOMAIN: "DOMAIN"}
_CATALOG_TYPES = {
    ObjectType.OBJECT_TYPE: "regtype",
    ObjectType.OBJECT_DOMAIN: "regtype",
    ObjectType.OBJECT_SCHEMA: "regnamespace",
    ObjectType.OBJECT_FUNCTION: "regproc",
    ObjectType.OBJECT_PROCEDURE: "regproc",
}
_HAVE_A_RELATION = frozenset(
    {
        ObjectType.OBJECT_TABLE,
        ObjectType.OBJECT_VIEW,
        ObjectType.OBJECT_MATVIEW,
        ObjectType.OBJECT_SEQUENCE,
        ObjectType.OBJECT_INDEX,
        ObjectType.OBJECT_FOREIGN_TABLE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One hazard of one statement."""

    hazard: str
    relation: RelationName | None
    names: Mapping[str, str] = field(default_factory=dict)  # what the catalogue's texts fill in, as SQL writes it


def predict(node: Any, text: str, earlier: Earlier) -> Iterator[Hit]:
    """The hazards of one statement; `text` is the statement as the user wrote it."""
    match node:
        case ast.DropStmt():
            yield from _drop(node)
        case ast.TruncateStmt():
            yield from _truncate(node)
        case ast.RenameStmt():
            yield from _rename(node, earlier)
        case ast.IndexStmt() if not node.concurrent and node.relation.inh:  # ON ONLY: nothing is built yet
            table = RelationName.of_range(node.relation)
            statement = _INDEX.sub("INDEX CONCURRENTLY", text, count=1)
            yield Hit(hazard="create-index", relation=table, names={"table": table.written, "statement": statement})
        case ast.AlterTableStmt() if node.objtype == ObjectType.OBJECT_TABLE:
            table = RelationName.of_range(node.relation)
            for command in node.cmds:
                for hit in _alter_table(table, command, earlier):
                    yield Hit(hazard=hit.hazard, relation=table, names={"table": table.written, **hit.names})


# --- drop, truncate, rename -------------------------------------------------------------------------


def _drop(node: ast.DropStmt) -> Iterator[Hit]:
    cascade = node.behavior == DropBehavior.DROP_CASCADE
    for given in node.objects:
        name = _object_name(given)
        relation = name if node.removeType in _HAVE_A_RELATION else None
        catalog_type = _CATALOG_TYPES.get(node.removeType, "regclass" if relation else None)
        names = {
            "object": name.written,
            "oid": name.oid_of(catalog_type) if catalog_type else f"<the oid of {name.written}>",
        }
        if node.removeType == ObjectType.OBJECT_TABLE:
            aside = derived(name.name, "unused")
            names |= {
                "table": name.written,
                "aside": quoted(aside),
                "aside_qualified": name.beside(aside),
            }
            yield Hit(hazard="drop-table", relation=relation, names=names)
        elif node.removeType == ObjectType.OBJECT_SCHEMA:
            names["aside"] = quoted(derived(name.name, "unused"))
            yield Hit(hazard="drop-schema", relation=None, names=names)
        elif node.removeType == ObjectType.OBJECT_INDEX and not node.concurrent:
            guard = "IF EXISTS " if node.missing_ok else ""
            names["statement"] = f"DROP INDEX CONCURRENTLY {guard}{name.written}"
            yield Hit(hazard="drop-index", relation=relation, names=names)
        if cascade and node.removeType in _CASCADING_TYPES:
            names["kind"] = _CASCADING_TYPES[node.removeType]
            yield Hit(hazard="drop-type-cascade-takes-columns", relation=None, names=names)
        elif cascade:
            yield Hit(hazard="drop-cascade", relation=relation, names=names)


def _object_name(given: Any) -> RelationName:
    """DropStmt's objects: names, one name (schemas), a type, a function, or types and names (casts)."""
    if isinstance(given, ast.String):
        return RelationName(None, given.sval)
    if isinstance(given, ast.TypeName):
        return RelationName.of_strings(given.names)
    if isinstance(given, ast.ObjectWithArgs):
        return RelationName.of_strings(given.objname)
    if all(isinstance(part, ast.String) for part in given):
        return RelationName.of_strings(given)
    return RelationName(
        None, " ".join(part.sval if isinstance(part, ast.String) else _deparsed(part) for part in given)
    )


def _truncate(node: ast.TruncateStmt) -> Iterator[Hit]:
    for range_var in node.relations:
        table = RelationName.of_range(range_var)
        names = {
            "table": table.written,
            "copy": table.beside(derived(table.name, "kept")),
            "oid": table.oid_of("regclass"),
        }
        yield Hit(hazard="truncate", relation=table, names=names)
        if node.behavior == DropBehavior.DROP_CASCADE:
            yield Hit(hazard="truncate-cascade", relation=table, names=names)


def _rename(node: ast.RenameStmt, earlier: Earlier) -> Iterator[Hit]:
    if node.renameType == ObjectType.OBJECT_TABLE:
        table = RelationName.of_range(node.relation)
        names = {
            "table": table.written,
            "new": quoted(node.newname),
            "new_qualified": table.beside(node.newname),
        }
        yield Hit(hazard="rename-table", relation=table, names=names)
    elif node.renameType == ObjectType.OBJECT_COLUMN and node.relationType == ObjectType.OBJECT_TABLE:
        table = RelationName.of_range(node.relation)
        if (earlier.qualified(table), node.subname) in earlier.columns_made:
            return
        names = {"table": table.written, "column": quoted(node.subname), "new": quoted(node.newname)}
        yield Hit(hazard="rename-column", relation=table, names=names)


# --- alter table ----------------------------------------------------------------------------------------


def _alter_table(table: RelationName, command: ast.AlterTableCmd, earlier: Earlier) -> Iterator[Hit]:
    relation = earlier.qualified(table)
    match command.subtype:
        case AlterTableType.AT_DropColumn:
            if (relation, command.name) in earlier.columns_made:
                return
            column = {
                "column": quoted(command.name),
                "copy": table.beside(derived(table.name, command.name, "kept")),
                "object": f"{table.written}.{quoted(command.name)}",
                "oid": table.oid_of("regclass"),
            }
            yield Hit(hazard="drop-column", relation=table, names=column)
            if command.behavior == DropBehavior.DROP_CASCADE:
                yield Hit(hazard="drop-cascade", relation=table, names=column)
        case AlterTableType.AT_DropConstraint if command.behavior == DropBehavior.DROP_CASCADE:
            constraint = {"object": quoted(command.name), "oid": f"<the oid of {quoted(command.name)}>"}
            yield Hit(hazard="drop-cascade", relation=table, names=constraint)
        case AlterTableType.AT_AlterColumnType:
            changed = {
                "column": quoted(command.name),
                "new": quoted(derived(command.name, "new")),
                "type": _deparsed(command.def_.typeName),
            }
            yield Hit(hazard="change-column-type", relation=table, names=changed)
        case AlterTableType.AT_SetNotNull:
            yield from _set_not_null(table, command.name, earlier)
        case AlterTableType.AT_AddColumn:
            yield from _add_column(table, command.def_)
        case AlterTableType.AT_AddConstraint:
            constraint_node = command.def_
            if constraint_node.contype == ConstrType.CONSTR_NOTNULL:  # since 18
                if not constraint_node.skip_validation:
                    yield from _set_not_null(table, constraint_node.keys[0].sval, earlier)
            else:
                yield from _add_constraint(table, constraint_node)


def _set_not_null(table: RelationName, column: str, earlier: Earlier) -> Iterator[Hit]:
    if not earlier.is_proved_not_null(earlier.qualified(table), column):
        names = {"column": quoted(column), "check": quoted(derived(table.name, column, "not_null"))}
        yield Hit(hazard="set-not-null", relation=table, names=names)


def _add_column(table: RelationName, column: ast.ColumnDef) -> Iterator[Hit]:
    constraints = {constraint.contype: constraint for constraint in column.constraints or ()}
    written_type = _deparsed(column.typeName)
    default = constraints.get(ConstrType.CONSTR_DEFAULT)
    null_default = default is not None and isinstance(default.raw_expr, ast.A_Const) and bool(default.raw_expr.isnull)
    filled = column.typeName.names[-1].sval in _SERIALS or (bool(_FILLED & constraints.keys()) and not null_default)
    if not filled and {ConstrType.CONSTR_NOTNULL, ConstrType.CONSTR_PRIMARY} & constraints.keys():
        names = {
            "column": quoted(column.colname),
            "type": written_type,
            "check": quoted(derived(table.name, column.colname, "not_null")),
        }
        yield Hit(hazard="add-not-null-no-default", relation=table, names=names)
    column_first = f"ALTER TABLE {table.written} ADD COLUMN {quoted(column.colname)} {written_type};\n"
    for constraint in column.constraints or ():
        # A new column that is NULL everywhere references nothing, and PostgreSQL knows it; a CHECK is proved even so.
        if constraint.contype == ConstrType.CONSTR_FOREIGN and not filled:
            continue
        yield from _add_constraint(table, constraint, column=column.colname, column_first=column_first)


def _add_constraint(
    table: RelationName, constraint: ast.Constraint, *, column: str | None = None, column_first: str = ""
) -> Iterator[Hit]:
    """`column`: the one that an inline constraint of ADD COLUMN stands at; `column_first`: how to add it without."""
    match constraint.contype:
        case ConstrType.CONSTR_CHECK if not constraint.skip_validation and constraint.is_enforced:
            name = constraint.conname or derived(table.name, *([column] if column else []), "check")
            yield Hit(hazard="add-check", relation=table, names=_not_valid(constraint, name, column, column_first))
        case ConstrType.CONSTR_FOREIGN if not constraint.skip_validation and constraint.is_enforced:
            columns = [column] if column else _strings(constraint.fk_attrs)
            name = constraint.conname or derived(table.name, *columns, "fkey")
            names = _not_valid(constraint, name, column, column_first)
            referenced = RelationName.of_range(constraint.pktable).written
            yield Hit(hazard="add-foreign-key", relation=table, names=names | {"referenced": referenced})
        case ConstrType.CONSTR_UNIQUE if not constraint.indexname:
            yield Hit(
                hazard="add-unique", relation=table, names=_by_index(table, constraint, "key", column, column_first)
            )
        case ConstrType.CONSTR_PRIMARY if not constraint.indexname:
            names = _by_index(table, constraint, "pkey", column, column_first)
            yield Hit(hazard="add-primary-key", relation=table, names=names)
        case ConstrType.CONSTR_EXCLUSION:
            yield Hit(hazard="add-exclusion", relation=table, names={"definition": _deparsed(constraint)})


def _not_valid(constraint: ast.Constraint, name: str, column: str | None, column_first: str) -> dict[str, str]:
    """The same constraint, named and NOT VALID."""
    constraint = copy.deepcopy(constraint)
    constraint.conname = name
    constraint.skip_validation, constraint.initially_valid = True, False
    if column is not None and constraint.contype == ConstrType.CONSTR_FOREIGN:
        constraint.fk_attrs = (ast.String(sval=column),)
    return {"constraint": quoted(name), "definition": _deparsed(constraint), "column_first": column_first}


def _by_index(
    table: RelationName, constraint: ast.Constraint, suffix: str, column: str | None, column_first: str
) -> dict[str, str]:
    """A unique index that becomes the constraint; PostgreSQL's own pattern for the name where none is given."""
    columns = [column] if column else _strings(constraint.keys)
    of_key = [] if constraint.contype == ConstrType.CONSTR_PRIMARY else columns
    name = constraint.conname or derived(table.name, *of_key, suffix)
    index_columns = f"({', '.join(map(quoted, columns))})"
    if constraint.including:
        index_columns += f" INCLUDE ({', '.join(map(quoted, _strings(constraint.including)))})"
    if constraint.nulls_not_distinct:
        index_columns += " NULLS NOT DISTINCT"
    deferrable = " DEFERRABLE" if constraint.deferrable else ""
    deferrable += " INITIALLY DEFERRED" if constraint.initdeferred else ""
    return {
        "constraint": quoted(name),
        "index_columns": index_columns,
        "deferrable": deferrable,
        "column_first": column_first,
    }


def _strings(strings: Iterable[Any] | None) -> list[str]:
    return [string.sval for string in strings or ()]


def _deparsed(node: Any) -> str:
    text: str = RawStream()(node)
    return text

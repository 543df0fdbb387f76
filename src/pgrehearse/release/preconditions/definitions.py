"""What the plan makes, renames and drops, so that a later statement's names lead to production's."""

from typing import Any

from pglast import ast
from pglast.enums import ConstrType, ObjectType
from pglast.stream import RawStream

from pgrehearse.release.preconditions.alter_table import add_column, record_constraint
from pgrehearse.release.preconditions.asking import Asking
from pgrehearse.release.preconditions.bounds import require_default_without
from pgrehearse.release.preconditions.column_type import DomainConstraint, TypeNow, written_type
from pgrehearse.release.preconditions.precondition import PreconditionKind
from pgrehearse.release.preconditions.requirements import require_domain, require_unique_index, strings
from pgrehearse.release.preconditions.shape import ColumnNow, Name, Routine, Shape, TableNow
from pgrehearse.schema.schema_object import ObjectKind

RELATIONS = (
    ObjectType.OBJECT_TABLE,
    ObjectType.OBJECT_VIEW,
    ObjectType.OBJECT_MATVIEW,
    ObjectType.OBJECT_FOREIGN_TABLE,
)


def create_table(asking: Asking, node: Any) -> None:
    """CREATE TABLE: new, so nothing is asked of its own rows."""
    name = asking.shape.name_for_new(node.relation)
    if name in asking.shape.tables:
        return  # IF NOT EXISTS
    table = _made(asking, name)
    if node.partspec is not None:
        table.partition_key = _partition_key(node.partspec)
    for range_var in node.inhRelations or ():
        parent = asking.shape.find_table(range_var)
        if parent is None:
            continue
        for column, held in parent.columns.items():
            table.columns[column] = ColumnNow(
                production=None, type=held.type, not_null=held.not_null, added=asking.place
            )
        if node.partbound is not None:
            require_default_without(asking, parent, table.name, node.partbound)
            table.is_default_partition = bool(node.partbound.is_default)
        table.attach_to(parent)
    for element in node.tableElts or ():
        if isinstance(element, ast.ColumnDef):
            add_column(asking, table, element, tolerant=False)
        elif isinstance(element, ast.Constraint):
            record_constraint(asking, table, element, element.conname or f"{table.name}_pkey")
        elif isinstance(element, ast.TableLikeClause):
            like = asking.shape.find_table(element.relation)
            for column, held in like.columns.items() if like is not None else ():
                table.columns[column] = ColumnNow(production=None, type=held.type, added=asking.place)


def create_filled(asking: Asking, range_var: Any, *, is_view: bool) -> None:
    """CREATE TABLE AS, SELECT INTO, CREATE MATERIALIZED VIEW."""
    name = asking.shape.name_for_new(range_var)
    if name not in asking.shape.tables:
        table = _made(asking, name, kind=ObjectKind.MATERIALIZED_VIEW if is_view else ObjectKind.TABLE)
        table.rows_added = f"{asking.place} fills it"


def create_view(asking: Asking, node: Any, text: str) -> None:
    name = asking.shape.name_for_new(node.view)
    table = asking.shape.tables.get(name) or _made(asking, name, kind=ObjectKind.VIEW)
    table.view_text = text


def create_index(asking: Asking, node: ast.IndexStmt) -> None:
    """Only a unique index asks anything."""
    table = asking.shape.find_table(node.relation)
    name = (table.namespace if table is not None else node.relation.schemaname or "", node.idxname or "")
    if node.idxname and name in asking.shape.indexes:
        return  # IF NOT EXISTS
    if table is None:
        if node.unique:
            relation = node.relation.relname
            asking.leave(PreconditionKind.DUPLICATES, relation, "no two rows have the same key", "it is not known")
        return
    if node.unique:
        require_unique_index(asking, table, node)
    asking.shape.indexes[name] = (table, node)


def create_type(asking: Asking, node: Any) -> None:
    shape = asking.shape
    made = TypeNow(production=None)
    match node:
        case ast.CreateEnumStmt():
            names, made.labels = strings(node.typeName), tuple(strings(node.vals))
        case ast.CreateDomainStmt():
            names, made.base = strings(node.domainname), written_type(node.typeName)
            kinds = {constraint.contype for constraint in node.constraints or ()}
            made.not_null = ConstrType.CONSTR_NOTNULL in kinds
            made.has_default = ConstrType.CONSTR_DEFAULT in kinds
        case ast.CompositeTypeStmt():
            names = [part for part in (node.typevar.schemaname, node.typevar.relname) if part]
        case _:
            names = strings(node.typeName)
    namespace = names[-2] if len(names) > 1 else (shape.search_path[0] if shape.search_path else "public")
    shape.types[namespace, names[-1]] = made


def alter_enum(asking: Asking, node: ast.AlterEnumStmt) -> None:
    found = asking.shape.find_type(tuple(strings(node.typeName)))
    if found is None or found.labels is None or (node.newVal in found.labels and node.oldVal is None):
        return
    if node.oldVal is not None:
        found.labels = tuple(node.newVal if label == node.oldVal else label for label in found.labels)
        for table in asking.shape.tables.values():
            names = [name for name, held in table.columns.items() if held.type.own is found]
            table.write_columns(names, f"{asking.place} renames a label of its type")
    else:
        found.labels = (*found.labels, node.newVal)
    found.altered = asking.place


def alter_composite(asking: Asking, node: ast.AlterTableStmt) -> None:
    """ALTER TYPE … ADD, DROP or ALTER ATTRIBUTE."""
    names = (node.relation.schemaname, node.relation.relname) if node.relation.schemaname else (node.relation.relname,)
    found = asking.shape.find_type(names)
    if found is not None:
        found.altered = asking.place


def alter_domain(asking: Asking, node: ast.AlterDomainStmt) -> None:
    """ADD CONSTRAINT, SET NOT NULL and VALIDATE look at every column of the domain."""
    names = tuple(strings(node.typeName))
    domain = asking.shape.find_type(names)
    if domain is None:
        asking.leave(PreconditionKind.CHECK, ".".join(names), "every value of the domain satisfies it", "it is unknown")
        return
    match node.subtype:
        case "O":
            if not domain.not_null:
                require_domain(asking, domain, "NOT NULL", None)
            domain.not_null = True
        case "N":
            domain.not_null = False
        case "C" if node.def_.contype == ConstrType.CONSTR_NOTNULL:
            if not domain.not_null:
                require_domain(asking, domain, "NOT NULL", None)
            domain.not_null = True
        case "C":
            name = node.def_.conname or f"{names[-1]}_check"
            held = DomainConstraint(expression=node.def_.raw_expr, is_valid=not node.def_.skip_validation)
            if held.is_valid:
                require_domain(asking, domain, name, held)
            domain.constraints[name] = held
        case "V":
            known = domain.constraints.get(node.name)
            if known is not None and not known.is_valid:
                require_domain(asking, domain, node.name, known)
        case "X":
            domain.constraints.pop(node.name, None)
    if node.subtype not in "V":
        domain.altered = asking.place


def create_routine(asking: Asking, node: ast.CreateFunctionStmt) -> None:
    text = RawStream()(node)
    options = {option.defname: option.arg for option in node.options or ()}
    volatility = getattr(options.get("volatility"), "sval", "volatile")
    routine = Routine(text=text, is_volatile=volatility == "volatile", made_at=asking.place)
    asking.shape.routines.setdefault(node.funcname[-1].sval, []).append(routine)


def create_trigger(asking: Asking, node: ast.CreateTrigStmt, text: str) -> None:
    table = asking.shape.find_table(node.relation)
    if table is not None:
        table.triggers.append(" ".join(text.split()).replace("execute ", "EXECUTE "))


def rename(asking: Asking, node: ast.RenameStmt) -> None:
    shape, kind = asking.shape, node.renameType
    if kind in (ObjectType.OBJECT_COLUMN, ObjectType.OBJECT_TABCONSTRAINT):
        table = shape.find_table(node.relation)
        if table is not None and kind == ObjectType.OBJECT_TABCONSTRAINT:
            if node.subname in table.constraints:
                table.constraints[node.newname] = table.constraints.pop(node.subname)
        elif table is not None:
            for member in shape.family(table):
                _rename_column(member, node.subname, node.newname)
    elif kind in RELATIONS:
        table = shape.find_table(node.relation)
        if table is not None:
            _move(shape, table, (table.namespace, node.newname))
    elif kind == ObjectType.OBJECT_INDEX:
        for name in [name for name in shape.indexes if name[1] == node.relation.relname]:
            if node.relation.schemaname in (None, name[0]):
                shape.indexes[name[0], node.newname] = shape.indexes.pop(name)
    elif kind in (ObjectType.OBJECT_TYPE, ObjectType.OBJECT_DOMAIN):
        _rename_type(shape, tuple(strings(node.object)), node.newname)
    elif kind == ObjectType.OBJECT_DOMCONSTRAINT:
        domain = shape.find_type(tuple(strings(node.object)))
        if domain is not None and node.subname in domain.constraints:
            domain.constraints[node.newname] = domain.constraints.pop(node.subname)
    elif kind == ObjectType.OBJECT_SCHEMA:
        _rename_namespace(shape, node.subname, node.newname)
    elif kind in (ObjectType.OBJECT_FUNCTION, ObjectType.OBJECT_PROCEDURE, ObjectType.OBJECT_ROUTINE):
        old = shape.routines.get(node.object.objname[-1].sval, [])
        shape.routines.setdefault(node.newname, []).extend(
            Routine(text=each.text, is_volatile=each.is_volatile, made_at=asking.place) for each in old
        )


def set_namespace(asking: Asking, node: ast.AlterObjectSchemaStmt) -> None:
    shape = asking.shape
    if node.objectType in RELATIONS and node.relation is not None:
        table = shape.find_table(node.relation)
        if table is not None:
            _move(shape, table, (node.newschema, table.name))
    elif node.objectType in (ObjectType.OBJECT_TYPE, ObjectType.OBJECT_DOMAIN):
        found = shape.find_type(tuple(strings(node.object)))
        for name in [name for name, each in shape.types.items() if each is found]:
            shape.types[node.newschema, name[1]] = shape.types.pop(name)


def drop(asking: Asking, node: ast.DropStmt) -> None:
    shape = asking.shape
    for item in node.objects:
        if node.removeType == ObjectType.OBJECT_SCHEMA:
            for tables in (shape.tables, shape.types, shape.indexes):
                for name in [name for name in tables if name[0] == item.sval]:
                    del tables[name]
            continue
        names = tuple(strings(item.names if isinstance(item, ast.TypeName) else item)) if not _is_routine(item) else ()
        if not names:
            continue
        if node.removeType in RELATIONS:
            table = shape.find_named(names[-1], names[-2] if len(names) > 1 else None)
            if table is not None:
                _drop_table(asking, table)
        elif node.removeType == ObjectType.OBJECT_INDEX:
            for name in [name for name in shape.indexes if name[1] == names[-1]]:
                if len(names) == 1 or name[0] == names[-2]:
                    del shape.indexes[name]
        elif node.removeType in (ObjectType.OBJECT_TYPE, ObjectType.OBJECT_DOMAIN):
            found = shape.find_type(names)
            for name in [name for name, each in shape.types.items() if each is found]:
                del shape.types[name]


def _is_routine(item: Any) -> bool:
    return isinstance(item, ast.ObjectWithArgs)


def _made(asking: Asking, name: Name, *, kind: ObjectKind = ObjectKind.TABLE) -> TableNow:
    table = TableNow(namespace=name[0], name=name[1], production=None, kind=kind, made_at=asking.place)
    asking.shape.tables[name] = table
    return table


def _partition_key(node: ast.PartitionSpec) -> str:
    text: str = RawStream()(node)
    return text.removeprefix("PARTITION BY ").strip()


def _move(shape: Shape, table: TableNow, name: Name) -> None:
    old = (table.namespace, table.name)
    shape.tables.pop(old, None)
    shape.tables[name] = table
    if old[0] != name[0]:
        for index in [index for index, (owner, _) in shape.indexes.items() if owner is table]:
            shape.indexes[name[0], index[1]] = shape.indexes.pop(index)
    table.namespace, table.name = name


def _rename_column(table: TableNow, old: str, new: str) -> None:
    if old in table.columns:
        table.forget_layers("the plan changes its type and renames columns of the table")
        table.columns = {new if name == old else name: held for name, held in table.columns.items()}
        table.has_renamed_columns = True


def _rename_type(shape: Shape, names: tuple[str, ...], new: str) -> None:
    found = shape.find_type(names)
    for name in [name for name, each in shape.types.items() if each is found and found is not None]:
        shape.types[name[0], new] = shape.types.pop(name)


def _rename_namespace(shape: Shape, old: str, new: str) -> None:
    for table in [table for table in shape.tables.values() if table.namespace == old]:
        _move(shape, table, (new, table.name))
    for things in (shape.types, shape.indexes):
        for name in [name for name in things if name[0] == old]:
            things[new, name[1]] = things.pop(name)  # type: ignore[assignment]  # each keeps its own kind


def _drop_table(asking: Asking, table: TableNow) -> None:
    shape = asking.shape
    for member in shape.family(table):
        shape.tables.pop((member.namespace, member.name), None)
        for index in [index for index, (owner, _) in shape.indexes.items() if owner is member]:
            del shape.indexes[index]
    for parent in tuple(table.parents):
        table.detach_from(parent)
        parent.rows_removed = parent.rows_removed or f"{asking.place} drops {table.name}"

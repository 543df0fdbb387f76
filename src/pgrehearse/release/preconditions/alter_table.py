"""ALTER TABLE: what each of its commands asks of the rows, and what it makes of the table."""

from collections.abc import Sequence
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType, ConstrType
from psycopg import sql

from pgrehearse.hazards.sql_names import quoted
from pgrehearse.release.preconditions.asking import Asking
from pgrehearse.release.preconditions.bounds import require_bound, require_default_without
from pgrehearse.release.preconditions.column_type import SERIALS
from pgrehearse.release.preconditions.conversions import cannot_convert, change_types, value_as
from pgrehearse.release.preconditions.expressions import Asked, NotAsked, read_expression
from pgrehearse.release.preconditions.precondition import PreconditionKind, RowTest
from pgrehearse.release.preconditions.requirements import (
    require_constraint,
    require_no_rows,
    require_not_null,
    require_unique_index,
    strings,
)
from pgrehearse.release.preconditions.shape import ColumnNow, ConstraintNow, TableNow

Kind = AlterTableType
RENAMED = NotAsked(because="the plan renames columns of the tables")
INTO_INDEX = (ConstrType.CONSTR_PRIMARY, ConstrType.CONSTR_UNIQUE, ConstrType.CONSTR_EXCLUSION)


def alter_table(asking: Asking, node: ast.AlterTableStmt) -> None:
    """The statement's commands in the order in which the server works them off (`AlterTablePass` in tablecmds.c)."""
    table = asking.shape.find_table(node.relation)
    if table is None:
        if not node.missing_ok:
            _leave_unknown(asking, node)
        return
    commands = sorted(node.cmds, key=lambda command: _PASSES.get(command.subtype, 3))
    conversions = [command for command in commands if command.subtype == Kind.AT_AlterColumnType]
    for command in commands:
        if conversions and command.subtype == Kind.AT_AlterColumnType:
            change_types(asking, table, conversions)
            conversions = []
        elif command.subtype != Kind.AT_AlterColumnType:
            _work_off(asking, table, command, only=not node.relation.inh)


_PASSES = {
    Kind.AT_DropColumn: 0,
    Kind.AT_DropConstraint: 0,
    Kind.AT_DropNotNull: 0,
    Kind.AT_AlterColumnType: 1,
    Kind.AT_AddColumn: 2,
    Kind.AT_AddConstraint: 4,
}


def _work_off(asking: Asking, table: TableNow, command: Any, *, only: bool) -> None:
    match command.subtype:
        case Kind.AT_AddColumn:
            add_column(asking, table, command.def_, tolerant=bool(command.missing_ok))
        case Kind.AT_DropColumn:
            for member in asking.shape.family(table):
                member.forget_layers("the plan changes its type and drops columns of the table")
                member.columns.pop(command.name, None)
        case Kind.AT_AddConstraint:
            _add_constraint(asking, table, command.def_)
        case Kind.AT_DropConstraint:
            table.constraints.pop(command.name, None)
        case Kind.AT_ValidateConstraint:
            _validate(asking, table, command.name)
        case Kind.AT_AlterConstraint:
            _enforce(asking, table, command.def_)
        case Kind.AT_SetNotNull:
            require_not_null(asking, table, command.name, descends=not only)
            _set_not_null(asking, table, [command.name], not_null=True)
        case Kind.AT_DropNotNull:
            _set_not_null(asking, table, [command.name], not_null=False)
        case Kind.AT_SetExpression:
            table.write_columns([command.name], f"{asking.place} computes it anew")
        case Kind.AT_AttachPartition:
            _attach(asking, table, command.def_)
        case Kind.AT_DetachPartition:
            _part(asking, table, asking.shape.find_table(command.def_.name))
        case Kind.AT_DropInherit:
            _part(asking, asking.shape.find_table(command.def_), table)
        case Kind.AT_AddInherit:
            _join(asking, asking.shape.find_table(command.def_), table)


def add_column(asking: Asking, table: TableNow, node: ast.ColumnDef, *, tolerant: bool) -> None:
    """ADD COLUMN; on a table that the plan makes it is how its columns become known."""
    if node.colname in table.columns:
        return  # IF NOT EXISTS, or it fails in the rehearsal too
    constraints = list(node.constraints or ())
    kinds = {constraint.contype for constraint in constraints}
    new = asking.shape.column_type(node.typeName)
    type_names = strings(node.typeName.names) if node.typeName is not None else ["?"]
    default = next((each.raw_expr for each in constraints if each.contype == ConstrType.CONSTR_DEFAULT), None)
    generated = next((each for each in constraints if each.contype == ConstrType.CONSTR_GENERATED), None)
    has_value = (
        (default is not None and not (isinstance(default, ast.A_Const) and default.isnull))
        or bool(kinds & {ConstrType.CONSTR_IDENTITY, ConstrType.CONSTR_GENERATED})
        or (len(type_names) == 1 and type_names[0] in SERIALS)
        or (new.own is not None and new.own.has_default and default is None)
    )
    never_null = bool(kinds & {ConstrType.CONSTR_NOTNULL, ConstrType.CONSTR_PRIMARY}) or (
        new.own is not None and new.own.not_null
    )
    if generated is not None and (never_null or generated.generated_kind != "v"):
        _require_computable(asking, table, node.colname, generated, new, never_null=never_null)
    elif never_null and not has_value:
        require_no_rows(asking, table, node.colname)
    for member in asking.shape.family(table):
        member.columns[node.colname] = ColumnNow(
            production=None, type=new, not_null=never_null, is_generated=generated is not None, added=asking.place
        )
    checked = {ConstrType.CONSTR_CHECK, ConstrType.CONSTR_FOREIGN, ConstrType.CONSTR_UNIQUE, ConstrType.CONSTR_PRIMARY}
    for constraint in constraints:
        if constraint.contype in checked:
            name = constraint.conname or _default_name(table, node.colname, constraint)
            if table.production is not None and (has_value or constraint.contype == ConstrType.CONSTR_CHECK):
                what = f"every row satisfies {quoted(name)} on the new {quoted(node.colname)}"
                asking.ask(PreconditionKind.CHECK, table, what, _never, columns=[node.colname])
            record_constraint(asking, table, constraint, name)


def record_constraint(asking: Asking, table: TableNow, node: Any, name: str) -> None:
    """From now on the table has it."""
    parent = None
    if node.contype == ConstrType.CONSTR_FOREIGN:
        parent = asking.shape.find_table(node.pktable)
    known = ConstraintNow(text="", is_valid=not node.skip_validation, node=node, references=parent)
    table.constraints[name] = known
    if node.contype in INTO_INDEX:
        asking.shape.indexes[table.namespace, name] = (table, "")


def _add_constraint(asking: Asking, table: TableNow, node: Any) -> None:
    if node.conname and node.conname in table.constraints:
        return  # it is there already: nothing is checked again
    require_constraint(asking, table, node)
    if node.contype == ConstrType.CONSTR_PRIMARY and not node.indexname:
        _set_not_null(asking, table, strings(node.keys), not_null=True)
    if node.contype == ConstrType.CONSTR_NOTNULL and not node.skip_validation:
        _set_not_null(asking, table, strings(node.keys), not_null=True)
    elif node.contype != ConstrType.CONSTR_NOTNULL:
        first = strings(node.keys or node.fk_attrs)
        record_constraint(asking, table, node, node.conname or _default_name(table, "_".join(first), node))


def _validate(asking: Asking, table: TableNow, name: str) -> None:
    constraint = table.constraints.get(name)
    if constraint is None:
        # A NOT NULL constraint (18), which production's schema knows by its column alone, or an unnamed one.
        asking.leave(PreconditionKind.CHECK, table.shown, f"every row satisfies {quoted(name)}", "it is not known")
        return
    if constraint.is_valid:
        return
    _require_known(asking, table, name, constraint)
    constraint.is_valid = True


def _enforce(asking: Asking, table: TableNow, node: Any) -> None:
    """ALTER CONSTRAINT … ENFORCED (18) checks the rows."""
    constraint = table.constraints.get(node.conname)
    if getattr(node, "alterEnforceability", False) and node.is_enforced and constraint is not None:
        _require_known(asking, table, node.conname, constraint)


def _require_known(asking: Asking, table: TableNow, name: str, constraint: ConstraintNow) -> None:
    node = constraint.parsed()
    if node is None or table.has_renamed_columns:
        because = "its definition cannot be read" if node is None else "the plan renames columns of the table"
        asking.leave(PreconditionKind.CHECK, table.shown, f"every row satisfies {quoted(name)}", because)
        return
    parent = asking.shape.referenced_by(constraint)
    require_constraint(asking, table, _checked_now(node, name), parent=parent)


def _checked_now(node: Any, name: str) -> Any:
    """The same constraint as it would be added to be checked at once."""
    fields = {attribute: getattr(node, attribute) for attribute in node}
    fields |= {"skip_validation": False, "is_enforced": True, "conname": name}
    return ast.Constraint(**fields)


def _require_computable(
    asking: Asking, table: TableNow, name: str, generated: Any, new: Any, *, never_null: bool
) -> None:
    """A generated column is computed for every row that is there."""
    expression = read_expression(generated.raw_expr, table, asking.shape)

    def test() -> RowTest:
        assert isinstance(expression, Asked)
        if never_null:
            value = value_as(expression.composed, new)
            return RowTest(rows=table.rows(), violates=sql.SQL("({}) IS NULL").format(value))
        return RowTest(rows=table.rows(), violates=cannot_convert(expression.composed, new))

    what = f"{quoted(name)} can be computed for every row" + (" and is not NULL" if never_null else "")
    asking.ask(PreconditionKind.CONVERSION, table, what, test, expressions=[expression])


def _attach(asking: Asking, parent: TableNow, node: ast.PartitionCmd) -> None:
    if parent.partition_key is None:
        return  # ALTER INDEX … ATTACH PARTITION
    child = asking.shape.find_table(node.name)
    if child is None:
        asking.leave(PreconditionKind.BOUND, node.name.relname, "its rows lie within the bound", "it is not known")
        return
    require_bound(asking, parent, child, node.bound)
    require_default_without(asking, parent, child.name, node.bound)
    _require_rules_of(asking, parent, child)
    _join(asking, parent, child)
    child.is_default_partition = bool(node.bound.is_default)


def _require_rules_of(asking: Asking, parent: TableNow, child: TableNow) -> None:
    """Unique keys and foreign keys of the parent that the child does not have yet are made for it."""
    own = {_rule(constraint.parsed()) for constraint in child.constraints.values()}
    rules = [(name, each) for name, each in parent.constraints.items() if _rule(each.parsed()) not in {None, *own}]
    for name, constraint in rules:
        if parent.has_renamed_columns or child.has_renamed_columns:
            what = f"every row satisfies {quoted(name)} of {parent.shown or parent.name}"
            asking.ask(PreconditionKind.CHECK, child, what, _never, columns=[], expressions=[RENAMED])
            continue
        node = _checked_now(constraint.parsed(), name)
        require_constraint(asking, child, node, parent=asking.shape.referenced_by(constraint))
    known = {
        asking.shape.index_rule(definition) for owner, definition in asking.shape.indexes.values() if owner is child
    }
    for owner, definition in tuple(asking.shape.indexes.values()):
        rule = asking.shape.index_rule(definition) if owner is parent else None
        if rule is not None and rule not in known and not parent.has_renamed_columns:
            node = asking.shape.parse_index(definition)
            require_unique_index(asking, child, node, built=True)


def _rule(node: Any) -> tuple[Any, ...] | None:
    """What makes a unique or foreign key the same as another; None of any other constraint."""
    if node is None:
        return None
    if node.contype in (ConstrType.CONSTR_PRIMARY, ConstrType.CONSTR_UNIQUE):
        return "unique", tuple(strings(node.keys))
    if node.contype == ConstrType.CONSTR_FOREIGN:
        return "foreign", tuple(strings(node.fk_attrs)), node.pktable.relname, tuple(strings(node.pk_attrs))
    return None


def _part(asking: Asking, parent: TableNow | None, child: TableNow | None) -> None:
    """What violated a rule of the parent may have been the child's."""
    if parent is not None and child is not None:
        child.detach_from(parent)
        parent.rows_removed = parent.rows_removed or f"{asking.place} takes {child.name} out of it"


def _join(asking: Asking, parent: TableNow | None, child: TableNow) -> None:
    """Constraints that the parent gets later are checked on the child's rows too, which are not among its own yet."""
    if parent is None:
        return
    child.attach_to(parent)
    if child.production is not None or child.rows_added is not None:
        parent.rows_removed = parent.rows_removed or f"{asking.place} adds the rows of {child.name} to it"


def _set_not_null(asking: Asking, table: TableNow, names: Sequence[str], *, not_null: bool) -> None:
    for member in asking.shape.family(table):
        for name in names:
            if name in member.columns:
                member.columns[name].not_null = not_null


def _default_name(table: TableNow, columns: str, node: Any) -> str:
    """The name that the server gives, where it is short enough to be sure of it."""
    suffix = {ConstrType.CONSTR_FOREIGN: "fkey", ConstrType.CONSTR_UNIQUE: "key", ConstrType.CONSTR_CHECK: "check"}
    if node.contype == ConstrType.CONSTR_PRIMARY:
        return f"{table.name}_pkey"
    return f"{table.name}_{columns}_{suffix.get(node.contype, 'excl')}"


def _leave_unknown(asking: Asking, node: ast.AlterTableStmt) -> None:
    """A table that production's schema does not show, such as an extension's."""
    asks = (Kind.AT_AddConstraint, Kind.AT_SetNotNull, Kind.AT_ValidateConstraint, Kind.AT_AlterColumnType)
    for command in node.cmds:
        if command.subtype in asks:
            name = node.relation.relname
            asking.leave(PreconditionKind.CHECK, name, f"its rows allow it in {quoted(name)}", "it is not known")


def _never() -> RowTest:
    raise AssertionError("a new column has no rows on production")

"""Derive from a plan's statements what production's rows must satisfy before it runs.

Only what production's rows can answer is asked of them.  Where an earlier statement of the plan writes those rows,
makes that column or replaces that type, a violator of today may be gone by then, and asking would refuse what
works: that is left to the rehearsal, with the reason.
"""

import contextlib
from collections.abc import Sequence
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import ObjectType, TransactionStmtKind, VariableSetKind
from pglast.parser import ParseError

from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.statements import Statement
from pgrehearse.release.preconditions import definitions
from pgrehearse.release.preconditions.alter_table import alter_table
from pgrehearse.release.preconditions.asking import Asking
from pgrehearse.release.preconditions.do_blocks import block_text, read_block
from pgrehearse.release.preconditions.expressions import walk
from pgrehearse.release.preconditions.precondition import Precondition
from pgrehearse.release.preconditions.shape import Shape
from pgrehearse.release.preconditions.writes import note_writes, overwrite_mentioned
from pgrehearse.schema.schema_object import Schema

_ROLLS_BACK = (TransactionStmtKind.TRANS_STMT_ROLLBACK, TransactionStmtKind.TRANS_STMT_ROLLBACK_TO)
_ALTERABLE = (ObjectType.OBJECT_TABLE, ObjectType.OBJECT_MATVIEW, ObjectType.OBJECT_FOREIGN_TABLE)


def derive_preconditions(
    files: Sequence[tuple[Migration, Sequence[Statement]]],
    schema: Schema,
    *,
    search_path: Sequence[str] = ("public",),
) -> tuple[Precondition, ...]:
    """What each statement of the plan, in its order, needs of the rows that ``schema``'s database holds today.

    ``schema`` is production's before the plan; ``search_path`` the namespaces in which the promoting role finds names
    without one, and where it makes new objects (its `current_schemas(false)`).  Pure; cost: parsing, about 1 ms per
    100 statements, and as much per 100 tables.  Raises nothing for what it does not know: that is left to the
    rehearsal too.
    """
    asking = Asking(shape=Shape.of(schema, tuple(search_path)))
    for migration, statements in files:
        asking.shape.search_path, asking.shape.path_was_set = asking.shape.default_path, False
        for statement in statements:
            asking.file, asking.line = migration.path, statement.line
            _take_in_text(asking, statement.text)
    return tuple(asking.found)


def _take_in_text(asking: Asking, text: str) -> None:
    try:
        parsed = parse_sql(text)
    except ParseError:
        asking.shape.hide(f"{asking.place} cannot be read")
        return
    for raw in parsed:
        _take_in(asking, raw.stmt, text)


def _take_in(asking: Asking, node: Any, text: str) -> None:
    """Ask what the statement requires, then note what it makes of the database."""
    match node:
        case ast.AlterTableStmt() if node.objtype in _ALTERABLE:
            alter_table(asking, node)
        case ast.AlterTableStmt() if node.objtype == ObjectType.OBJECT_TYPE:
            definitions.alter_composite(asking, node)
        case ast.CreateStmt():
            definitions.create_table(asking, node)
        case ast.IndexStmt():
            definitions.create_index(asking, node)
        case ast.CreateEnumStmt() | ast.CreateDomainStmt() | ast.CompositeTypeStmt() | ast.CreateRangeStmt():
            definitions.create_type(asking, node)
        case ast.AlterEnumStmt():
            definitions.alter_enum(asking, node)
        case ast.AlterDomainStmt():
            definitions.alter_domain(asking, node)
        case ast.CreateFunctionStmt():
            definitions.create_routine(asking, node)
        case ast.CreateTrigStmt():
            definitions.create_trigger(asking, node, text)
        case ast.RuleStmt():
            table = asking.shape.find_table(node.relation)
            if table is not None:
                table.rules.append(text)
        case ast.ViewStmt():
            definitions.create_view(asking, node, text)
        case ast.RenameStmt():
            definitions.rename(asking, node)
        case ast.AlterObjectSchemaStmt():
            definitions.set_namespace(asking, node)
        case ast.DropStmt():
            definitions.drop(asking, node)
        case ast.CreateSchemaStmt():
            _create_namespace(asking, node, text)
        case ast.DropOwnedStmt():
            asking.shape.hide(f"{asking.place} drops what its text does not show")
        case ast.TransactionStmt() if node.kind in _ROLLS_BACK:
            asking.shape.hide(f"{asking.place} rolls back what came before it")
        case ast.VariableSetStmt():
            _set(asking.shape, node)
        case ast.DoStmt():
            _do(asking, node, text)
        case _:
            note_writes(node, asking.shape, asking.place)
            _take_in_query(asking, node)


def _take_in_query(asking: Asking, node: Any) -> None:
    """What a query makes, and the search path that pg_dump's `set_config` sets."""
    if isinstance(node, ast.CreateTableAsStmt):
        is_view = node.objtype == ObjectType.OBJECT_MATVIEW
        definitions.create_filled(asking, node.into.rel, is_view=is_view)
    elif isinstance(node, ast.SelectStmt) and node.intoClause is not None:
        definitions.create_filled(asking, node.intoClause.rel, is_view=False)
    for part in walk(node) if isinstance(node, ast.SelectStmt) else ():
        if isinstance(part, ast.FuncCall) and part.funcname[-1].sval == "set_config":
            arguments = [_string(argument) for argument in part.args]
            if arguments[0] == "search_path":
                if arguments[1] is None:
                    asking.shape.hide(f"{asking.place} sets a search_path that its text does not show")
                else:
                    names = (name.strip().strip('"') for name in arguments[1].split(","))
                    _set_path(asking.shape, tuple(name for name in names if name))


def _string(node: Any) -> str | None:
    value = node.val if isinstance(node, ast.A_Const) else None
    return value.sval if isinstance(value, ast.String) else None


def _set(shape: Shape, node: ast.VariableSetStmt) -> None:
    if node.kind == VariableSetKind.VAR_RESET_ALL or node.name == "search_path":
        if node.kind == VariableSetKind.VAR_SET_VALUE:
            named = [_string(argument) for argument in node.args]
            _set_path(shape, tuple(name for name in named if name))
        else:
            shape.search_path, shape.path_was_set = shape.default_path, False


def _set_path(shape: Shape, path: tuple[str, ...]) -> None:
    shape.search_path = tuple(name for name in path if name not in ("$user", "pg_catalog"))
    shape.path_was_set = True


def _create_namespace(asking: Asking, node: ast.CreateSchemaStmt, text: str) -> None:
    """What stands in CREATE SCHEMA lands in it."""
    path = asking.shape.search_path
    if node.schemaElts and node.schemaname:
        asking.shape.search_path = (node.schemaname, *path)
    for element in node.schemaElts or ():
        _take_in(asking, element, text)
    asking.shape.search_path = path


def _do(asking: Asking, node: ast.DoStmt, text: str) -> None:
    inner = read_block(node, text)
    if inner is None:
        overwrite_mentioned(block_text(node), asking.shape, f"{asking.place} writes it in a DO block")
        if not any(option.defname == "as" for option in node.args):
            asking.shape.hide(f"{asking.place} runs a DO block")
        return
    for each in inner:
        if each.only_perhaps is None:
            _take_in_text(asking, each.text)
        else:
            _take_in_perhaps(asking, each.text, each.only_perhaps)


def _take_in_perhaps(asking: Asking, text: str, because: str) -> None:
    """It may run or not: what it would ask is left to the rehearsal, and what it names is no longer certain."""
    asking.only_perhaps = because
    with contextlib.suppress(ParseError):  # an assignment is no statement of SQL; what it calls is mentioned
        for raw in parse_sql(text):
            _take_in(asking, raw.stmt, text)
    asking.only_perhaps = None
    overwrite_mentioned(text, asking.shape, f"{asking.place} may write it in a DO block")

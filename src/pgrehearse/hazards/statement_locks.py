"""Which lock a statement takes on relations that it names, where its text alone makes that certain.

Source: the manual, 13.3.1 and ALTER TABLE; `AlterTableGetLockLevel` in src/backend/commands/tablecmds.c.
"""

from collections.abc import Iterator
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType, ConstrType, ObjectType

from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.postgres.locks import LockMode, strongest

_ALTER_TABLE = {
    **dict.fromkeys(
        (
            AlterTableType.AT_AddColumn,
            AlterTableType.AT_DropColumn,
            AlterTableType.AT_AlterColumnType,
            AlterTableType.AT_SetNotNull,
            AlterTableType.AT_DropNotNull,
            AlterTableType.AT_ColumnDefault,
            AlterTableType.AT_DropConstraint,
            AlterTableType.AT_AddIdentity,
            AlterTableType.AT_SetIdentity,
            AlterTableType.AT_DropIdentity,
            AlterTableType.AT_DropExpression,
            AlterTableType.AT_ChangeOwner,
            AlterTableType.AT_EnableRowSecurity,
            AlterTableType.AT_DisableRowSecurity,
            AlterTableType.AT_ForceRowSecurity,
            AlterTableType.AT_NoForceRowSecurity,
        ),
        LockMode.ACCESS_EXCLUSIVE,
    ),
    AlterTableType.AT_ValidateConstraint: LockMode.SHARE_UPDATE_EXCLUSIVE,
    AlterTableType.AT_SetStatistics: LockMode.SHARE_UPDATE_EXCLUSIVE,
}
_LOCK_STATEMENT = dict(enumerate(LockMode, start=1))  # LockStmt.mode counts from AccessShareLock = 1


def find_locks(node: Any) -> dict[RelationName, LockMode]:
    """The strongest lock per relation; relations that the text does not decide are left out."""
    found: dict[RelationName, LockMode] = {}
    for name, mode in _locks(node):
        found[name] = strongest(found.get(name), mode)
    return found


def _locks(node: Any) -> Iterator[tuple[RelationName, LockMode]]:
    match node:
        case ast.AlterTableStmt() if node.objtype == ObjectType.OBJECT_TABLE:
            yield from _alter_table_locks(node)
        case ast.DropStmt() if node.removeType == ObjectType.OBJECT_TABLE:
            for strings in node.objects:
                yield RelationName.of_strings(strings), LockMode.ACCESS_EXCLUSIVE
        case ast.TruncateStmt():
            for relation in node.relations:
                yield RelationName.of_range(relation), LockMode.ACCESS_EXCLUSIVE
        case ast.RenameStmt() if node.relation is not None and node.relationType == ObjectType.OBJECT_TABLE:
            yield RelationName.of_range(node.relation), LockMode.ACCESS_EXCLUSIVE
        case ast.RenameStmt() if node.renameType == ObjectType.OBJECT_TABLE:
            yield RelationName.of_range(node.relation), LockMode.ACCESS_EXCLUSIVE
        case ast.IndexStmt():
            mode = LockMode.SHARE_UPDATE_EXCLUSIVE if node.concurrent else LockMode.SHARE
            yield RelationName.of_range(node.relation), mode
        case ast.CreateTrigStmt():
            yield RelationName.of_range(node.relation), LockMode.SHARE_ROW_EXCLUSIVE
        case ast.LockStmt():
            for relation in node.relations:
                yield RelationName.of_range(relation), _LOCK_STATEMENT[node.mode]
        case ast.RefreshMatViewStmt():
            mode = LockMode.EXCLUSIVE if node.concurrent else LockMode.ACCESS_EXCLUSIVE
            yield RelationName.of_range(node.relation), mode
        case ast.CreateStmt():
            if node.partbound is not None:
                for parent in node.inhRelations or ():
                    yield RelationName.of_range(parent), LockMode.ACCESS_EXCLUSIVE
            for element in node.tableElts or ():
                constraints = [element] if isinstance(element, ast.Constraint) else _constraints(element)
                yield from _referenced(constraints)


def _alter_table_locks(node: ast.AlterTableStmt) -> Iterator[tuple[RelationName, LockMode]]:
    table = RelationName.of_range(node.relation)
    modes = [_command_lock(command) for command in node.cmds]
    known = [mode for mode in modes if mode is not None]
    # One command that we cannot judge may need more than the others; nothing needs more than ACCESS EXCLUSIVE.
    if known and (len(known) == len(modes) or LockMode.ACCESS_EXCLUSIVE in known):
        yield table, max(known, key=lambda mode: mode.strength)
    for command in node.cmds:
        if command.subtype == AlterTableType.AT_AddConstraint:
            yield from _referenced([command.def_])
        elif command.subtype == AlterTableType.AT_AddColumn:
            yield from _referenced(_constraints(command.def_))


def _command_lock(command: ast.AlterTableCmd) -> LockMode | None:
    if command.subtype == AlterTableType.AT_AddConstraint:
        foreign = command.def_.contype == ConstrType.CONSTR_FOREIGN
        return LockMode.SHARE_ROW_EXCLUSIVE if foreign else LockMode.ACCESS_EXCLUSIVE
    return _ALTER_TABLE.get(command.subtype)


def _constraints(element: Any) -> list[ast.Constraint]:
    return list(element.constraints or ()) if isinstance(element, ast.ColumnDef) else []


def _referenced(constraints: list[ast.Constraint]) -> Iterator[tuple[RelationName, LockMode]]:
    for constraint in constraints:
        if constraint.contype == ConstrType.CONSTR_FOREIGN:
            yield RelationName.of_range(constraint.pktable), LockMode.SHARE_ROW_EXCLUSIVE

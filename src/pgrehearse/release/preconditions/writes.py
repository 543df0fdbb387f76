"""What a statement writes, as far as its text and production's triggers and functions show it.

After that, production's rows do not say what the plan's next statement will meet: a backfill or a deletion
of duplicates is what makes a constraint possible.  What cannot be seen hides everything that follows.
"""

import re
from collections.abc import Iterator
from typing import Any

from pglast import ast
from pglast.enums import CmdType, DropBehavior, OnConflictAction

from pgrehearse.release.preconditions.expressions import walk
from pgrehearse.release.preconditions.shape import Shape, TableNow
from pgrehearse.schema.schema_object import ObjectKind

_WORD = re.compile(r'"(?:[^"]|"")*"|\w+')
_WRITING = frozenset({"insert", "update", "delete", "truncate", "merge", "alter", "drop", "copy", "refresh", "create"})
_DYNAMIC = re.compile(r"\bEXECUTE\b(?!\s+(?:FUNCTION|PROCEDURE)\b)", re.IGNORECASE)
_TRIGGER_FUNCTION = re.compile(r'EXECUTE (?:FUNCTION|PROCEDURE) (?:(?:"(?:[^"]|"")*"|\w+)\.)?("(?:[^"]|"")*"|\w+)\(')
_RUNS_NOW = (ast.SelectStmt, ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.CreateTableAsStmt,
             ast.CopyStmt, ast.ExplainStmt)  # fmt: skip
_CASCADES = frozenset("cnd")  # CASCADE, SET NULL, SET DEFAULT, as pg_constraint.confdeltype has them


def note_writes(node: Any, shape: Shape, place: str) -> None:
    """Take in what a statement that is no DDL writes; ``place`` is its file and line."""
    match node:
        case ast.TruncateStmt():
            for range_var in node.relations:
                table = shape.find_table(range_var)
                if table is not None:
                    _delete(table, shape, f"{place} truncates it", cascade=node.behavior == DropBehavior.DROP_CASCADE)
        case ast.RefreshMatViewStmt():
            table = shape.find_table(node.relation)
            if table is not None:
                table.overwrite(f"{place} refreshes it")
        case ast.CallStmt() | ast.ExecuteStmt():
            shape.hide(f"{place} runs what its text does not show")
        case ast.ExplainStmt() if "analyze" not in {option.defname for option in node.options or ()}:
            return  # only looked at
        case _ if isinstance(node, _RUNS_NOW):
            if isinstance(node, ast.CopyStmt) and node.is_from and node.relation is not None:
                _insert(shape.find_table(node.relation), shape, f"{place} copies rows into it")
            for part in walk(node):
                _note_part(part, shape, place)


def overwrite_mentioned(text: str, shape: Shape, reason: str, *, seen: frozenset[str] = frozenset()) -> None:
    """Whatever a routine's text may write: every relation that it names, and what the routines it names may write.

    A text that builds its statements hides everything.
    """
    if _DYNAMIC.search(text):
        shape.hide(f"{reason}, by statements that its text does not show")
        return
    words = {_as_name(word) for word in _WORD.findall(text)}
    if words & _WRITING:
        for table in tuple(shape.tables.values()):
            if table.name in words:
                _overwrite(table, shape, reason)
    for name in words & shape.routines.keys() - seen:
        for routine in shape.routines[name]:
            if routine.is_volatile:
                overwrite_mentioned(routine.text, shape, reason, seen=seen | {name})


def _note_part(part: Any, shape: Shape, place: str) -> None:
    match part:
        case ast.InsertStmt():
            table = shape.find_table(part.relation)
            _insert(table, shape, f"{place} inserts into it")
            conflict = part.onConflictClause
            if table is not None and conflict is not None and conflict.action == OnConflictAction.ONCONFLICT_UPDATE:
                _update(table, _targets(conflict.targetList), shape, f"{place} updates it")
        case ast.UpdateStmt():
            table = shape.find_table(part.relation)
            if table is not None:
                _update(table, _targets(part.targetList), shape, f"{place} updates it")
        case ast.DeleteStmt():
            table = shape.find_table(part.relation)
            if table is not None:
                _delete(table, shape, f"{place} deletes from it", cascade=False)
        case ast.MergeStmt():
            _merge(part, shape, place)
        case ast.FuncCall():
            for routine in shape.routines.get(part.funcname[-1].sval, ()):
                if routine.is_volatile:
                    name = part.funcname[-1].sval
                    reason = f"{place} calls {name}(), which may write it"
                    overwrite_mentioned(routine.text, shape, reason, seen=frozenset({name}))


def _merge(node: ast.MergeStmt, shape: Shape, place: str) -> None:
    table = shape.find_table(node.relation)
    if table is None:
        return
    for clause in node.mergeWhenClauses:
        if clause.commandType == CmdType.CMD_INSERT:
            _insert(table, shape, f"{place} merges into it")
        elif clause.commandType == CmdType.CMD_UPDATE:
            _update(table, _targets(clause.targetList), shape, f"{place} merges into it")
        elif clause.commandType == CmdType.CMD_DELETE:
            _delete(table, shape, f"{place} merges into it", cascade=False)


def _targets(targets: Any) -> list[str]:
    return [target.name for target in targets or ()]


def _insert(table: TableNow | None, shape: Shape, reason: str) -> None:
    if table is None or _through_view(table, shape, reason):
        return
    for member in shape.family(table):
        member.rows_added = member.rows_added or reason
    _fire(table, "INSERT", shape, reason)


def _update(table: TableNow, columns: list[str], shape: Shape, reason: str) -> None:
    if _through_view(table, shape, reason):
        return
    moves = any(column in (table.partition_key or "") for column in columns)
    for member in shape.family(table):
        member.write_columns(columns, reason)
        member.rows_added = member.rows_added or (reason if moves else None)
        if moves and member is not table:
            member.rows_removed = member.rows_removed or reason  # into another partition
    _fire(table, "UPDATE", shape, reason)
    for child, node in _references(shape).get(id(table), ()):
        if node.fk_upd_action in _CASCADES and child is not table:
            _overwrite(child, shape, f"{reason}, and its foreign key follows")


def _delete(table: TableNow, shape: Shape, reason: str, *, cascade: bool) -> None:
    """Rows go, and with them, or emptied, those that refer to them by a foreign key that cascades, and so on."""
    if _through_view(table, shape, reason):
        return
    follows = f"{reason}, and its foreign key follows"
    references: dict[int, list[tuple[TableNow, Any]]] | None = None
    waiting, seen = [table], {id(table)}
    while waiting:
        found = waiting.pop()
        for member in shape.family(found):
            member.rows_removed = member.rows_removed or (reason if found is table else follows)
        if found is not table:
            found.write_columns(found.columns, follows)
        _fire(found, "DELETE", shape, reason)
        references = _references(shape) if references is None else references
        for child, node in references.get(id(found), ()):
            if id(child) not in seen and (cascade or node.fk_del_action in _CASCADES):
                seen.add(id(child))
                waiting.append(child)


def _overwrite(table: TableNow, shape: Shape, reason: str) -> None:
    for member in shape.family(table):
        member.overwrite(reason)


def _through_view(table: TableNow, shape: Shape, reason: str) -> bool:
    """Writing to a view writes to what its text, its rules or its triggers name."""
    for rule in table.rules:
        overwrite_mentioned(rule, shape, reason)
    if table.kind is not ObjectKind.VIEW:
        return False
    overwrite_mentioned("update " + table.view_text, shape, reason)
    for definition in table.triggers:
        _run_trigger(definition, shape, reason)
    return True


def _fire(table: TableNow, event: str, shape: Shape, reason: str) -> None:
    """Triggers of the table and of those it belongs to: they may change the row, and other tables."""
    for owner in _with_ancestors(table):
        for definition in owner.triggers:
            head = definition.partition(" ON ")[0]
            if event not in head:
                continue
            if " BEFORE " in head and event == "UPDATE":
                for member in shape.family(table):
                    member.write_columns(member.columns, f"{reason}, and a trigger may change the row")
            _run_trigger(definition, shape, f"{reason}, and a trigger follows" if owner is table else reason)


def _run_trigger(definition: str, shape: Shape, reason: str) -> None:
    match = _TRIGGER_FUNCTION.search(definition)
    name = _as_name(match.group(1)) if match else ""
    for routine in shape.routines.get(name, ()):
        overwrite_mentioned(routine.text, shape, reason, seen=frozenset({name}))


def _with_ancestors(table: TableNow) -> Iterator[TableNow]:
    yield table
    for parent in table.parents:
        yield from _with_ancestors(parent)


def _references(shape: Shape) -> dict[int, list[tuple[TableNow, Any]]]:
    """Children by foreign key, with the parse tree of the constraint; by the identity of their parent."""
    found: dict[int, list[tuple[TableNow, Any]]] = {}
    for child in shape.tables.values():
        for constraint in child.constraints.values():
            parent = shape.referenced_by(constraint)
            if parent is not None:
                found.setdefault(id(parent), []).append((child, constraint.parsed()))
    return found


def _as_name(word: str) -> str:
    return word[1:-1].replace('""', '"') if word.startswith('"') else word.lower()

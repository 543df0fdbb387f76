"""What the server's own parse analysis refuses: operators, overloads and casts that are not there, literals that are no
value of their type, names that are ambiguous.

`PREPARE` analyses and rewrites a query, and neither plans nor runs it.  It is asked only as long as the database is
what the statement will meet: one whose text names what an earlier statement makes or changes is left out, and behind a
statement that may give other things another meaning nothing is asked any more.
Source: parse_analyze_varparams in analyze.c; cookDefault in heap.c.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from pglast import ast
from pglast.enums import AlterTableType, ConstrType, ObjectType
from pglast.stream import RawStream

from pgrehearse.hazards.data_questions import DataQuestions
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Model
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted

_UNCUT = 20  # characters of a table's name that its sequences' names have for certain
_QUERIES = {
    ast.SelectStmt: "this query", ast.InsertStmt: "this INSERT", ast.UpdateStmt: "this UPDATE",
    ast.DeleteStmt: "this DELETE", ast.MergeStmt: "this MERGE",
}  # fmt: skip
# Neither makes nor changes what a query could name.
_MEANING_KEPT = (
    *_QUERIES, ast.TruncateStmt, ast.CommentStmt, ast.GrantStmt, ast.AlterDefaultPrivilegesStmt, ast.LockStmt,
    ast.TransactionStmt, ast.VacuumStmt, ast.ReindexStmt, ast.RefreshMatViewStmt, ast.ClusterStmt, ast.CreateTrigStmt,
    ast.CreatePolicyStmt, ast.AlterPolicyStmt, ast.CreateStatsStmt, ast.VariableShowStmt, ast.ExplainStmt,
    ast.ConstraintsSetStmt, ast.CheckPointStmt, ast.CreatePublicationStmt, ast.AlterPublicationStmt, ast.CopyStmt,
)  # fmt: skip
_SETTINGS_WITHOUT_MEANING = frozenset(
    {"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "client_min_messages", "search_path",
     "maintenance_work_mem", "work_mem", "application_name", "role", "session_authorization"}
)  # fmt: skip
_DROPPED_ALONE = (ObjectType.OBJECT_TABLE, ObjectType.OBJECT_VIEW, ObjectType.OBJECT_MATVIEW, ObjectType.OBJECT_INDEX,
                  ObjectType.OBJECT_SEQUENCE, ObjectType.OBJECT_FUNCTION, ObjectType.OBJECT_PROCEDURE,
                  ObjectType.OBJECT_TRIGGER, ObjectType.OBJECT_POLICY, ObjectType.OBJECT_RULE,
                  ObjectType.OBJECT_STATISTIC_EXT, ObjectType.OBJECT_PUBLICATION)  # fmt: skip
_RENAMED_ALONE = (ObjectType.OBJECT_TABLE, ObjectType.OBJECT_COLUMN, ObjectType.OBJECT_VIEW, ObjectType.OBJECT_MATVIEW,
                  ObjectType.OBJECT_INDEX, ObjectType.OBJECT_SEQUENCE, ObjectType.OBJECT_TABCONSTRAINT,
                  ObjectType.OBJECT_TRIGGER, ObjectType.OBJECT_POLICY)  # fmt: skip


def refused_by_analysis(node: Any, text: str, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """Of queries, of the query of a view or a table, and of column defaults; at most one."""
    model = situation.model
    if situation.blind or not model.means_as_read or _names_any(text.lower(), model.remade):
        return
    if isinstance(node, ast.DropStmt) and node.removeType is ObjectType.OBJECT_FUNCTION and not node.missing_ok:
        for each in node.objects:
            if not each.args_unspecified and data.lacks_function(shown := _signature(each)):
                names = {"kind": "FUNCTION", "object": shown}
                yield Hit(hazard="missing-object", relation=None, names=names, even_new=True)
                return
    for query, what in _analysed(node, text, situation):
        why = data.refuses_to_analyse(query)
        if why is not None:
            yield Hit(hazard="statement-refused", relation=None, names={"command": what, "object": why}, even_new=True)
            return


def _names_any(text: str, names: Iterable[str]) -> bool:
    """Also as the beginning of an owned sequence's name, for which a long name is cut."""
    return any(
        re.search(rf"(?<![\w$]){re.escape(name[:_UNCUT])}{'' if len(name) > _UNCUT else '(?![a-z0-9$])'}", text)
        for name in names
    )


def note_meaning(node: Any, model: Model) -> None:
    """After a statement: which names lead elsewhere now, or whether anything may."""
    names = _remade(node)
    if names is None:
        model.means_as_read = False
        return
    model.remade |= {name.lower() for name in names}
    if isinstance(node, ast.AlterTableStmt | ast.RenameStmt) and node.relation is not None:
        stack = [found.name for found in model.relations.values() if found.name.name == node.relation.relname]
        while stack:  # a column comes to all below
            below = model.relations.get(stack.pop())
            for name in below.partitions if below is not None else ():
                if name.name.lower() not in model.remade:
                    model.remade.add(name.name.lower())
                    stack.append(name)


def _remade(node: Any) -> list[str] | None:
    """The bare names; None: anything may mean something else."""
    match node:
        case ast.AlterTableStmt() if node.objtype is not ObjectType.OBJECT_TYPE:
            return [node.relation.relname]
        case ast.RenameStmt() if node.renameType in _RENAMED_ALONE and node.relation is not None:
            return [node.relation.relname, node.newname]
        case ast.IndexStmt() | ast.CreateStmt() | ast.RuleStmt():
            return [node.relation.relname]
        case ast.ViewStmt():
            return [node.view.relname]
        case ast.CreateTableAsStmt():
            return [node.into.rel.relname]
        case ast.CreateSeqStmt() | ast.AlterSeqStmt():
            return [node.sequence.relname]
        case ast.CreateFunctionStmt():
            return [node.funcname[-1].sval]
        case ast.CreateEnumStmt() | ast.CreateRangeStmt():
            return [node.typeName[-1].sval]
        case ast.CompositeTypeStmt():
            return [node.typevar.relname]
        case ast.CreateDomainStmt():
            return [node.domainname[-1].sval]
        case ast.CreateSchemaStmt() if not node.schemaElts and node.schemaname:
            return [node.schemaname]
        case ast.DropStmt() if node.removeType in _DROPPED_ALONE:
            return [name for each in node.objects if (name := _last_name(each)) is not None]
        case ast.VariableSetStmt() if node.name in _SETTINGS_WITHOUT_MEANING:
            return []
        case ast.SelectStmt() if node.intoClause is not None:
            return [node.intoClause.rel.relname]
        case ast.SelectStmt() if "set_config" in _text(node):
            return None
    return [] if isinstance(node, _MEANING_KEPT) else None


def _last_name(named: Any) -> str | None:
    parts = named.objname if isinstance(named, ast.ObjectWithArgs) else named
    return parts[-1].sval if isinstance(parts, tuple | list) and isinstance(parts[-1], ast.String) else None


def _analysed(node: Any, text: str, situation: Situation) -> Iterator[tuple[str, str]]:
    """Queries that the server analyses as it would analyse the statement, and what to call them."""
    match node:
        case ast.SelectStmt() if node.intoClause is not None:
            return
        case ast.SelectStmt() | ast.InsertStmt() | ast.UpdateStmt() | ast.DeleteStmt() | ast.MergeStmt():
            yield text, _QUERIES[type(node)]
        case ast.ViewStmt():
            yield _text(node.query), "the view's query"
        case ast.CreateTableAsStmt() if isinstance(node.query, ast.SelectStmt):
            yield _text(node.query), "the query"
        case ast.CreateStmt() if not node.if_not_exists and not node.ofTypename:
            for element in node.tableElts or ():
                if isinstance(element, ast.ColumnDef):
                    yield from _default_of(element)
        case ast.AlterTableStmt() if node.objtype is ObjectType.OBJECT_TABLE:
            relation = situation.model.relations.get(situation.resolve(RelationName.of_range(node.relation)))
            for command in node.cmds if relation is not None else ():
                if command.subtype is AlterTableType.AT_AddColumn and not command.missing_ok:
                    yield from _default_of(command.def_)
                elif command.subtype is AlterTableType.AT_ColumnDefault and command.def_ is not None:
                    column = relation.columns.get(command.name) if relation is not None else None
                    if column is not None and column.type is not None and column.type.written:
                        yield _default(command.def_, column.type.written), "the default"


def _signature(function: Any) -> str:
    name = ".".join(quoted(part.sval) for part in function.objname)
    return f"{name}({', '.join(_text(each) for each in function.objargs or ())})"


def _default_of(column: Any) -> Iterator[tuple[str, str]]:
    for constraint in column.constraints or ():
        if constraint.contype is ConstrType.CONSTR_DEFAULT and not _is_serial(column.typeName):
            yield _default(constraint.raw_expr, _text(column.typeName)), "the default"


def _default(expression: Any, type_name: str) -> str:
    """What no explicit cast accepts, no assignment does."""
    return f"SELECT ({_text(expression)})::{type_name}"


def _is_serial(type_name: Any) -> bool:
    return bool(type_name.names) and "serial" in type_name.names[-1].sval


def _text(node: Any) -> str:
    text: str = RawStream()(node)
    return text

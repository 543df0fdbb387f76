"""Where a database can be asked: what its rows say to the hits of one statement.

A NULL, a duplicate or an orphan in the way is a failure, known beforehand; a DELETE that would find nothing loses
nothing.  What is not known stays as the text has it.  Rows and tables that earlier statements of the files change are
not asked about: the database shows them as they are, not as they will be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pglast import ast, parse_sql
from pglast.enums import AlterTableType, ConstrType, ObjectType
from pglast.stream import RawStream

from pgrehearse.hazards.analysed_by_server import refused_by_analysis
from pgrehearse.hazards.catalogue import CATALOGUE
from pgrehearse.hazards.constraint import Constraint, ConstraintKind
from pgrehearse.hazards.data_questions import Conversion, DataQuestions
from pgrehearse.hazards.expressions import check_expression
from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.inserted_rows import mended_later, refused_rows
from pgrehearse.hazards.model import Relation, RelationKind
from pgrehearse.hazards.predict.constraints import partition_columns
from pgrehearse.hazards.refused_by_server import refused_by_server
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted

# Of a statement that fails nothing else happens.
_UNDONE = frozenset(
    {HazardClass.DATA_LOSS, HazardClass.REWRITES_TABLE, HazardClass.SCANS_UNDER_LOCK, HazardClass.BREAKS_RUNNING_APP}
)
_ROWS_CHANGED = (ast.InsertStmt, ast.UpdateStmt, ast.DeleteStmt, ast.MergeStmt, ast.CopyStmt, ast.TruncateStmt)
# What follows may meet other rows, or other rows under the same name.
_SHAPE_KEPT = frozenset(
    {
        AlterTableType.AT_AddColumn, AlterTableType.AT_AddConstraint, AlterTableType.AT_ValidateConstraint,
        AlterTableType.AT_DropConstraint, AlterTableType.AT_SetNotNull, AlterTableType.AT_DropNotNull,
        AlterTableType.AT_ColumnDefault, AlterTableType.AT_SetStatistics, AlterTableType.AT_SetRelOptions,
        AlterTableType.AT_AlterConstraint, AlterTableType.AT_AddIndexConstraint, AlterTableType.AT_AddIdentity,
    }
)  # fmt: skip
_TABLES = (RelationKind.TABLE, RelationKind.PARTITIONED)
_LONGEST_CASCADE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """From a table to one that references it."""

    child: RelationName
    key: Constraint


def settle(hits: Sequence[Hit], text: str, situation: Situation, *, inside: bool = False) -> list[Hit]:
    """The hits of the statement `text`, after its tables' rows were asked.  Cost: some queries of at most a second.

    `inside`: it stands in a body, whose variables the server would take for columns.
    """
    data = situation.model.data
    if data is None:
        return list(hits)
    node: Any = parse_sql(text)[0].stmt
    data.search_path = situation.search_path
    failing = [*_failing(node, situation, data), *refused_by_server(node, situation, data)]
    if failing:
        return [*_only_failures(hits), *failing]
    if any(hit.certain and _classes(hit) == (HazardClass.FAILS,) and _is_error(hit) for hit in hits):
        return _only_failures(hits)
    if not inside and (refused := list(refused_by_analysis(node, text, situation, data))):
        return [*_only_failures(hits), *refused]
    return [kept for hit in hits if (kept := _asked(hit, node, text, situation, data)) is not None]


def note_touched(text: str, situation: Situation, *, may_do_anything: bool) -> None:
    """After a statement: of which tables the database no longer shows what later statements will meet."""
    model = situation.model
    if model.data is None:
        return
    node: Any = parse_sql(text)[0].stmt
    if may_do_anything or _changes_rows_in_with(node):
        model.data = None
    elif isinstance(node, _ROWS_CHANGED):
        if isinstance(node, ast.UpdateStmt):
            _note_unchanged_keys(node, text, situation, model.data)
        targets = node.relations if isinstance(node, ast.TruncateStmt) else [node.relation]
        for target in targets:
            _touch(situation, target)
        if isinstance(node, ast.DeleteStmt | ast.UpdateStmt | ast.TruncateStmt):  # rows of others may go with them
            reached = set(model.touched)
            while reached:
                reached = {child.name for name in reached for child, _ in model.referencing(name)} - model.touched
                model.touched |= reached
    elif isinstance(node, ast.CreateFunctionStmt):
        model.data.made_functions.add(node.funcname[-1].sval)
    elif isinstance(node, ast.AlterFunctionStmt):
        model.data.made_functions.add(node.func.objname[-1].sval)
    elif isinstance(node, ast.CreateOpClassStmt | ast.CreateOpFamilyStmt | ast.AlterOpFamilyStmt | ast.CreateCastStmt):
        model.data.operators_came = True
    elif isinstance(node, ast.AlterTableStmt):
        if any(command.subtype not in _SHAPE_KEPT for command in node.cmds):
            _touch(situation, node.relation)
    elif isinstance(node, ast.RenameStmt) and node.relation is not None:
        _touch(situation, node.relation)
        if node.renameType is ObjectType.OBJECT_TABLE:
            model.touched.add(
                RelationName(situation.resolve(RelationName.of_range(node.relation)).namespace, node.newname)
            )


def _note_unchanged_keys(node: Any, text: str, situation: Situation, data: DataQuestions) -> None:
    """A key that an UPDATE sets to the value that it has is not checked, so nothing waits for the COMMIT.

    Source: RI_FKey_pk_upd_check_required, RI_FKey_fk_upd_check_required in ri_triggers.c.
    """
    relation = _asked_about(node.relation, situation)
    updated = situation.updated.get(relation.name) if relation is not None else None
    if relation is None or not updated:
        return
    keys = [*relation.constraints.values(), *(key for _, key in situation.model.referencing(relation.name))]
    if any(key.initially_deferred for key in keys) and data.update_changes(text, relation.name, updated) is False:
        updated.clear()


def _changes_rows_in_with(node: Any) -> bool:
    """WITH … AS (DELETE …)."""
    clause = getattr(node, "withClause", None)
    return clause is not None and any(isinstance(cte.ctequery, _ROWS_CHANGED) for cte in clause.ctes)


def _touch(situation: Situation, target: Any) -> None:
    if target is not None:
        name = situation.resolve(RelationName.of_range(target))
        situation.model.touched.add(name)
        relation = situation.model.relations.get(name)
        for below in situation.with_partitions(relation) if relation is not None else ():
            situation.model.touched.add(below.name)
        waiting = [relation]
        while waiting:  # a view that is written through
            view = waiting.pop()
            if view is not None and view.kind is RelationKind.VIEW:
                behind = {used for used, _ in view.uses} - situation.model.touched
                situation.model.touched |= behind
                waiting += [situation.model.relations.get(each) for each in behind]
        if relation is not None and relation.partition_of is not None:
            situation.model.touched.add(relation.partition_of)


def _asked_about(target: Any, situation: Situation) -> Relation | None:
    """The table, where the database shows it as the statement will meet it."""
    relation = situation.model.relations.get(situation.resolve(RelationName.of_range(target)))
    if relation is None or relation.made_in is not None or relation.kind not in _TABLES or not relation.knows:
        return None
    return None if relation.name in situation.model.touched else relation


# --- failures that the rows cause ------------------------------------------------------------------------


def _failing(node: Any, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    match node:
        case ast.IndexStmt() if node.unique and not node.if_not_exists:
            relation = _asked_about(node.relation, situation)
            keys = [element.name for element in node.indexParams]
            if relation is not None and all(keys) and not node.nulls_not_distinct:
                yield from _duplicates(relation, keys, data, _text(node.whereClause), node)
        case ast.DeleteStmt():
            relation = _asked_about(node.relation, situation)
            if relation is not None:
                yield from _still_referenced(relation, _text(node) or "", situation, data)
        case ast.InsertStmt() if node.onConflictClause is None:
            relation = _asked_about(node.relation, situation)
            if relation is not None:
                yield from refused_rows(node, relation, situation, data)
        case ast.AlterSeqStmt():
            yield from _out_of_bounds(node, situation, data)
        case ast.AlterDomainStmt():
            yield from _failing_domain(node, situation, data)
        case ast.AlterTableStmt() if node.objtype is ObjectType.OBJECT_TABLE:
            relation = _asked_about(node.relation, situation)
            if relation is not None:
                for command in node.cmds:
                    yield from _failing_command(command, relation, situation, data)


def _still_referenced(relation: Relation, text: str, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """Rows that others still reference cannot go, where a foreign key says NO ACTION or RESTRICT.

    It may be reached by cascades.  A table whose rows go by another key is left out.
    """
    if situation.as_replica:  # the triggers of foreign keys do not fire then
        return
    steps = list(_steps(relation, situation, ()))
    going = {relation.name, *(path[-1].child for path in steps if path[-1].key.on_delete == "c")}
    for path in steps:
        key, name = path[-1].key, path[-1].child
        child = situation.model.relations[name]
        if key.on_delete not in "ar" or name in going or mended_later(key, situation):
            continue
        if data.delete_reaches(text, relation.name, [(each.child, each.key) for each in path]):
            names = {"constraint": quoted(key.name), "referenced": relation.name.written}
            names["definition"] = f"CONSTRAINT {names['constraint']} {key.definition} NOT VALID"
            yield _hit("fk-violated", child, names)


def _steps(parent: Relation, situation: Situation, before: tuple[_Step, ...]) -> Iterator[tuple[_Step, ...]]:
    """Every way over foreign keys on which rows go with a row of the first table, or hold it back."""
    for child, key in situation.model.referencing(parent.name):
        met = {each.child for each in before}
        if key.inherited or not key.enforced or child.name in (situation.model.touched | met):
            continue
        if child.name == parent.name or len(before) >= _LONGEST_CASCADE or not key.referenced_columns:
            continue
        path = (*before, _Step(child=child.name, key=key))
        yield path
        if key.on_delete == "c":
            yield from _steps(child, situation, path)


def _out_of_bounds(node: Any, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """MAXVALUE below, or MINVALUE above, where the sequence stands; source: init_params in sequence.c."""
    name = situation.resolve(RelationName.of_range(node.sequence))
    known = situation.model.relations.get(name)
    given = {each.defname: each.arg for each in node.options or ()}
    if known is None or known.made_in is not None or "restart" in given or name in situation.model.touched:
        return
    bounds = {key: arg.ival for key in ("minvalue", "maxvalue") if isinstance(arg := given.get(key), ast.Integer)}
    for key, bound in bounds.items():
        if data.sequence_is_beyond(name, bound, above=key == "maxvalue"):
            names = {"command": f"{key.upper()} {bound}", "object": f"{name.written} stands beyond it"}
            yield Hit(hazard="statement-refused", relation=None, names=names)


def _failing_domain(node: Any, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """Every column of the domain must fit; one of a domain over it is not asked."""
    name = situation.resolve_type(RelationName.of_strings(node.typeName))
    for relation, column in situation.model.typed(name):
        if relation.made_in is not None or relation.kind not in _TABLES or relation.name in situation.model.touched:
            continue
        if node.subtype == "O":
            yield from _nulls(relation, column.name, data)
            continue
        added = node.def_ if node.subtype == "C" else None
        if added is None or added.contype is not ConstrType.CONSTR_CHECK or added.skip_validation:
            continue
        if data.violates_domain(relation.name, column.name, _text(added.raw_expr) or "true"):
            constraint = quoted(added.conname or derived(name.name, "check"))
            yield _hit("check-violated", relation, {"constraint": constraint, "definition": _definition(added)})


def _failing_command(command: Any, relation: Relation, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    match command.subtype:
        case AlterTableType.AT_SetNotNull:
            yield from _nulls(relation, command.name, data)
        case AlterTableType.AT_AddConstraint if not command.def_.skip_validation:
            yield from _failing_constraint(command.def_, relation, situation, data)
        case AlterTableType.AT_ValidateConstraint:
            constraint = relation.constraints.get(command.name)
            if constraint is not None and not constraint.validated and constraint.made_in is None:
                yield from _failing_validation(constraint, relation, data)
        case AlterTableType.AT_AlterColumnType:
            yield from _failing_conversion(command, relation, situation, data)
        case AlterTableType.AT_AttachPartition:
            yield from _outside_of_its_bound(command.def_, relation, situation, data)


def _outside_of_its_bound(node: Any, parent: Relation, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    """Rows that another partition would have to hold, where the parent is partitioned by one plain column."""
    child = _asked_about(node.name, situation)
    columns = partition_columns(parent)
    if child is None or len(columns) != 1 or "," in (parent.partition_key or "") or node.bound is None:
        return
    [column] = columns
    bound, name = node.bound, quoted(column)
    checks = []
    if bound.listdatums:
        checks.append(f"{name} IN ({', '.join(_text(each) or 'NULL' for each in bound.listdatums)})")
    for ends, operator in ((bound.lowerdatums, ">="), (bound.upperdatums, "<")):
        if ends and isinstance(ends[0], ast.A_Const):
            checks.append(f"{name} {operator} {_text(ends[0])}")
    if checks and data.violates(child.name, " AND ".join(checks)):
        names = {"constraint": "its partition bound", "definition": f"CHECK ({' AND '.join(checks)}) NOT VALID"}
        yield _hit("check-violated", child, names)


def _failing_constraint(node: Any, relation: Relation, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    name = node.conname or derived(relation.name.name, "check")
    names = {"constraint": quoted(name), "definition": f"CONSTRAINT {quoted(name)} {_definition(node)} NOT VALID"}
    match node.contype:
        case ConstrType.CONSTR_CHECK:
            if data.violates(relation.name, _text(node.raw_expr) or "true"):
                yield _hit("check-violated", relation, names)
        case ConstrType.CONSTR_NOTNULL:
            for key in node.keys or ():
                yield from _nulls(relation, key.sval, data)
        case ConstrType.CONSTR_PRIMARY | ConstrType.CONSTR_UNIQUE if node.keys:
            keys = [key.sval for key in node.keys]
            if node.contype is ConstrType.CONSTR_PRIMARY:
                for key in keys:
                    yield from _nulls(relation, key, data)
            if not node.nulls_not_distinct:
                yield from _duplicates(relation, keys, data, None, node)
        case ConstrType.CONSTR_FOREIGN:
            parent = _asked_about(node.pktable, situation)
            ours = [key.sval for key in node.fk_attrs or ()]
            if parent is not None and ours:
                theirs = [key.sval for key in node.pk_attrs or ()] or _primary_key(parent)
                if len(ours) == len(theirs) and data.has_orphans(relation.name, ours, parent.name, theirs):
                    yield _hit("fk-violated", relation, {**names, "referenced": parent.name.written})


def _failing_validation(constraint: Constraint, relation: Relation, data: DataQuestions) -> Iterator[Hit]:
    names = {"constraint": quoted(constraint.name)}
    names["definition"] = f"CONSTRAINT {names['constraint']} {constraint.definition}"
    if constraint.kind is ConstraintKind.CHECK and constraint.definition is not None:
        if data.violates(relation.name, check_expression(constraint.definition)):
            yield _hit("check-violated", relation, names)
    elif constraint.kind is ConstraintKind.NOT_NULL:
        for column in constraint.columns:
            yield from _nulls(relation, column, data)
    elif constraint.kind is ConstraintKind.FOREIGN and constraint.referenced is not None:
        parent = constraint.referenced
        if data.has_orphans(relation.name, constraint.columns, parent, constraint.referenced_columns):
            yield _hit("fk-violated", relation, {**names, "referenced": parent.written})


def _nulls(relation: Relation, column: str, data: DataQuestions) -> Iterator[Hit]:
    known = relation.columns.get(column)
    if known is not None and not known.not_null and data.has_null(relation.name, column):
        yield _hit("not-null-on-nulls", relation, {"column": quoted(column)})


def _duplicates(
    relation: Relation, columns: Sequence[str], data: DataQuestions, condition: str | None, node: Any
) -> Iterator[Hit]:
    if relation.kind is RelationKind.TABLE and relation.partitions:
        return  # the index knows nothing of children by INHERITS, and the question would count them
    if data.has_duplicates(relation.name, columns, condition):
        listed = ", ".join(quoted(column) for column in columns)
        yield _hit("unique-on-duplicates", relation, {"column": listed, "statement": _text(node) or ""})


def _failing_conversion(command: Any, relation: Relation, situation: Situation, data: DataQuestions) -> Iterator[Hit]:
    if _conversion(command, relation, situation, data) is Conversion.FAILS:
        new_type = _text(command.def_.typeName) or ""
        new = quoted(derived(command.name, "new"))
        yield _hit("cast-fails", relation, {"column": quoted(command.name), "type": new_type, "new": new})


def _conversion(command: Any, relation: Relation, situation: Situation, data: DataQuestions) -> Conversion | None:
    column = relation.columns.get(command.name)
    if column is None or column.type is None or column.made_in is not None:
        return None
    name = RelationName.of_strings(command.def_.typeName.names)
    new_type = situation.model.types.get(situation.resolve_type(name))
    if new_type is not None and new_type.made_in is not None:
        return None  # the database does not have it yet, or has another of that name
    new = _text(command.def_.typeName) or ""
    using = _text(command.def_.raw_default)
    timezone = situation.timezone or situation.model.timezone
    return data.conversion(relation.name, command.name, column.type.written, new, using=using, time_zone=timezone)


# --- losses that the rows make none of ---------------------------------------------------------------------


def _asked(hit: Hit, node: Any, text: str, situation: Situation, data: DataQuestions) -> Hit | None:
    """The hit, narrowed or dropped where the rows say that nothing is lost."""
    match hit.hazard, node:
        case (("delete-all" | "delete-rows" | "cascade-delete-elsewhere"), ast.DeleteStmt()):
            relation = _asked_about(node.relation, situation)
            if relation is not None and data.delete_finds(text, relation.name) is False:
                return None
        case (("update-all" | "update-rows"), ast.UpdateStmt()):
            relation = _asked_about(node.relation, situation)
            loses = data.update_loses(text, relation.name) if relation is not None else None
            if loses is not None:
                return replace(hit, certain=True) if loses else None
        case "large-objects-lost", _:
            return None if not hit.certain and data.has_large_objects() is False else hit
        case "drop-column", ast.AlterTableStmt():
            relation = _asked_about(node.relation, situation)
            column = _dropped_column(hit, node)
            has_value = data.has_value(relation.name, column) if relation is not None and column is not None else None
            if has_value is False:
                return replace(hit, classes=(HazardClass.BREAKS_RUNNING_APP,), level=Level.WARNING)
        case (("lossy-type-change" | "enum-value-removal"), ast.AlterTableStmt()):
            return _asked_of_types(hit, node, situation, data)
    return hit


def _renamed_labels(command: Any, relation: Relation, situation: Situation, data: DataQuestions) -> Conversion | None:
    """To an enum that the files make, and the database therefore cannot cast to: do two labels become one?"""
    using = command.def_.raw_default
    made = situation.model.types.get(situation.resolve_type(RelationName.of_strings(command.def_.typeName.names)))
    if made is None or made.kind != "e" or made.made_in is None or using is None:
        return None
    while isinstance(using, ast.TypeCast):
        using = using.arg
    merges = data.merges_values(relation.name, command.name, _text(using) or "")
    return None if merges is None else Conversion.CHANGES if merges else Conversion.KEEPS


def _dropped_column(hit: Hit, node: Any) -> str | None:
    for command in node.cmds:
        if command.subtype is AlterTableType.AT_DropColumn and quoted(command.name) == hit.names.get("column"):
            name: str = command.name
            return name
    return None


def _asked_of_types(hit: Hit, node: Any, situation: Situation, data: DataQuestions) -> Hit | None:
    relation = _asked_about(node.relation, situation)
    for command in node.cmds:
        if command.subtype is AlterTableType.AT_AlterColumnType and quoted(command.name) == hit.names.get("column"):
            outcome = _conversion(command, relation, situation, data) if relation is not None else None
            if relation is not None and outcome is None:
                outcome = _renamed_labels(command, relation, situation, data)
            if outcome is Conversion.KEEPS:
                return None
            if outcome is Conversion.CHANGES:
                return replace(hit, certain=True)
    return hit


# --- parts -----------------------------------------------------------------------------------------------


def _only_failures(hits: Sequence[Hit]) -> list[Hit]:
    """Without what the statement would do if it did not fail."""
    return [hit for hit in hits if not _UNDONE & set(_classes(hit))]


def _classes(hit: Hit) -> tuple[HazardClass, ...]:
    return hit.classes if hit.classes is not None else CATALOGUE[hit.hazard].classes


def _is_error(hit: Hit) -> bool:
    return (hit.level or CATALOGUE[hit.hazard].level) is Level.ERROR


def _hit(hazard: str, relation: Relation, names: dict[str, str]) -> Hit:
    return Hit(hazard=hazard, relation=relation.name, names={"table": relation.name.written, **names})


def _primary_key(relation: Relation) -> list[str]:
    for constraint in relation.constraints.values():
        if constraint.kind is ConstraintKind.PRIMARY:
            return list(constraint.columns)
    return []


def _text(node: Any) -> str | None:
    if node is None:
        return None
    text: str = RawStream()(node)
    return text


def _definition(node: Any) -> str:
    text = _text(node) or ""
    return text.partition(f"CONSTRAINT {quoted(node.conname)} ")[2] if node.conname else text

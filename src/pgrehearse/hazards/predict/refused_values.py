"""Values that no row may be given: of generated columns, of identity columns, NULL where none may be.

Told only of a table that the model is sure to have as the server will: nothing that lint cannot see, or that may not
run, came before, and no part of it is another table's.  Source: rewriteTargetListIU in rewriteHandler.c;
ExecConstraints in execMain.c.
"""

from collections.abc import Iterator
from dataclasses import replace

from pgrehearse.hazards.constraint import ConstraintKind
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Column, Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, functions_in, is_null, relation_of, walk
from pgrehearse.hazards.written import Written

_KEYS = (ConstraintKind.PRIMARY, ConstraintKind.UNIQUE)
# Any other may return a set, and VALUES then no row at all.
_ONE_VALUE = frozenset({
    "now", "clock_timestamp", "to_timestamp", "to_date", "nextval", "currval", "lastval", "random", "gen_random_uuid",
    "uuid_generate_v4", "uuidv7", "lower", "upper", "md5", "concat", "jsonb_build_object", "jsonb_build_array",
})  # fmt: skip


def refused_values(written: Written, situation: Situation) -> Iterator[Hit]:
    """Of every UPDATE and INSERT in the statement, where the table's columns are known."""
    if written.kind not in ("InsertStmt", "UpdateStmt", "SelectStmt", "DeleteStmt"):
        return
    sure = not (written.inside or written.conditional or written.caught)
    for hit in _refused(written, situation):
        unsure = "whether it is reached, and its error is not caught"
        yield hit if sure else replace(hit, certain=False, unsure=unsure)


def _refused(written: Written, situation: Situation) -> Iterator[Hit]:
    for kind, body in [(written.kind, written.tree), *walk(written.tree)]:
        if kind not in ("InsertStmt", "UpdateStmt"):
            continue
        table = relation_of(body["relation"])
        relation = situation.model.relations.get(situation.resolve(table))
        if relation is None or not relation.knows or relation.rules or relation.kind is not RelationKind.TABLE:
            continue
        if kind == "InsertStmt" and _is_expanded(body):
            continue
        as_modelled = not (situation.blind or relation.borrows or relation.name in situation.doubted)
        if kind == "InsertStmt" and (why := _wrong_number(body, relation, as_modelled=as_modelled)) is not None:
            yield _hit(table, "…", why)
            continue
        if not as_modelled:
            continue
        if kind == "InsertStmt" and (left_out := _left_out(body, relation, situation)) is not None:
            yield _hit(table, quoted(left_out), "none is given, there is no default, and it may not be NULL")
            continue
        if kind == "InsertStmt" and situation.model.complete and (why := _finds_no_index(body, relation)) is not None:
            yield _hit(table, "…", why, command="ON CONFLICT")
            continue
        given = _updated(body) if kind == "UpdateStmt" else _inserted(body, relation)
        if kind == "InsertStmt":
            given += _updated(body.get("onConflictClause", {}))
        for name, value, inserted in given:
            column = relation.columns.get(name)
            why = _refusal(column, value, body, relation, inserted=inserted) if column is not None else None
            if why is not None:
                yield _hit(table, quoted(name), why)
                break


def _refusal(column: Column, value: Node | None, body: Node, relation: Relation, *, inserted: bool) -> str | None:
    """Why the column does not take it; the value is None where a query gives it."""
    if value is not None and "SetToDefault" in value:
        return None
    if column.generated:
        return "it is a generated column"
    override = body.get("override", "OVERRIDING_NOT_SET") if inserted else "OVERRIDING_NOT_SET"
    if column.identity == "a" and override == "OVERRIDING_NOT_SET":
        return "it is an identity column that is always generated"
    if column.identity and override == "OVERRIDING_USER_VALUE":
        return None  # the value is not looked at
    # A trigger may put a value there, also one that is switched on meanwhile; rows to update, there may be none.
    triggers = any({"insert", "update"} & each.events for each in relation.triggers.values())
    if inserted and column.not_null and value is not None and is_null(value) and not triggers and _has_rows(body):
        return "it may not be NULL"
    return None


def _left_out(body: Node, relation: Relation, situation: Situation) -> str | None:
    """A column that no row of VALUES gets a value for, and none may be without; source: ExecConstraints."""
    rows = _rows(body)
    if not situation.model.complete or not rows or not _has_rows(body):
        return None
    if any("insert" in each.events for each in relation.triggers.values()):
        return None
    named = [each["ResTarget"]["name"] for each in body.get("cols", ())] or list(relation.columns)[: len(rows[0])]
    types = {each.name for each in situation.model.types}  # a domain may have a default
    for column in relation.columns.values():
        if column.name in named or column.type is None or column.type.namespace or column.type.name in types:
            continue
        if column.not_null and column.has_default is False:
            return column.name
    return None


def _finds_no_index(body: Node, relation: Relation) -> str | None:
    """ON CONFLICT (columns) that no unique index is over; source: infer_arbiter_indexes in plancat.c.

    Planning refuses it, whatever rows there are; a deferrable index is refused by the first row.
    """
    infer = body.get("onConflictClause", {}).get("infer", {})
    elements = [each["IndexElem"] for each in infer.get("indexElems", ())]
    if (
        not elements
        or relation.partition_of is not None
        or "whereClause" in infer
        or any(each.keys() & {"expr", "collation", "opclass"} for each in elements)
    ):
        return None
    columns = {each["name"] for each in elements}
    if not columns <= relation.columns.keys():
        return None
    over = f"over just {', '.join(map(quoted, sorted(columns)))}"
    found = []
    for each in relation.indexes.values():
        if each.infers(columns):
            found.append(each)
        elif each.unique and set(each.key_columns) == columns and (each.expression_columns or each.expressions):
            continue  # of more than these columns, or partial
        elif each.unique and set(each.key_columns) == columns:
            return None  # not valid, but a REINDEX may have made it so; a predicate that is always true
    if not found:
        keys = [each for each in relation.constraints.values() if each.kind in _KEYS]
        unknown = any(set(each.columns) in (set(), columns) and each.index not in relation.indexes for each in keys)
        return None if unknown else f"no unique index is {over}"
    triggers = any("insert" in each.events for each in relation.triggers.values())
    if all(map(relation.is_deferrable, found)) and not triggers and _rows(body) and _has_rows(body):
        return f"the unique constraint {over} is deferrable"
    return None


def _updated(body: Node) -> list[tuple[str, Node | None, bool]]:
    targets = [each["ResTarget"] for each in body.get("targetList", ())]
    return [(each.get("name", ""), _assigned(each.get("val")), False) for each in targets if "indirection" not in each]


def _assigned(value: Node | None) -> Node | None:
    """Of ``(a, b) = (1, DEFAULT)`` the column's own part."""
    several = (value or {}).get("MultiAssignRef")
    parts: list[Node] = several.get("source", {}).get("RowExpr", {}).get("args", []) if several is not None else []
    return parts[several["colno"] - 1] if several is not None and len(parts) >= several["colno"] else value


def _inserted(body: Node, relation: Relation) -> list[tuple[str, Node | None, bool]]:
    query = body.get("selectStmt", {}).get("SelectStmt")
    if query is None:  # DEFAULT VALUES
        return []
    named = [each["ResTarget"]["name"] for each in body.get("cols", ())] or list(relation.columns)
    if "valuesLists" in query:
        return [(name, value, True) for row in _rows(body) for name, value in zip(named, row, strict=False)]
    if "cols" not in body:  # how many columns the query gives is not looked at
        return []
    return [(name, None, True) for name in named]


def _wrong_number(body: Node, relation: Relation, *, as_modelled: bool) -> str | None:
    """Source: transformInsertRow in analyze.c."""
    lengths = {len(row) for row in _rows(body)}
    named = len(body.get("cols", ()))
    if lengths and named and lengths != {named}:
        return "there are more columns than values, or more values"
    too_many = as_modelled and lengths and max(lengths) > len(relation.columns)
    return "there are more values than columns" if too_many else None


def _rows(body: Node) -> list[list[Node]]:
    """Of VALUES; none of another query."""
    query = body.get("selectStmt", {}).get("SelectStmt", {})
    return [each["List"].get("items", []) for each in query.get("valuesLists", ())]


def _is_expanded(body: Node) -> bool:
    """A value stands for several columns: ``new.*``, ``(r).*``."""
    for value in (value for row in _rows(body) for value in row):
        path = value.get("ColumnRef", {}).get("fields") or value.get("A_Indirection", {}).get("indirection")
        if path and "A_Star" in path[-1]:
            return True
    return False


def _has_rows(body: Node) -> bool:
    """Each row of VALUES is one row: it calls nothing that may return none."""
    return all(each.name in _ONE_VALUE for each in functions_in(_rows(body)))


def _hit(table: RelationName, column: str, why: str, *, command: str | None = None) -> Hit:
    names = {"command": command or f"a value for {table.written}.{column}", "object": why}
    return Hit(hazard="statement-refused", relation=table, names=names, even_new=True)

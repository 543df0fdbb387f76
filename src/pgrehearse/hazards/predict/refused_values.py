"""Values that no row may be given: of generated columns, of identity columns, NULL where none may be.

Source: rewriteTargetListIU in rewriteHandler.c; ExecConstraints in execMain.c.
"""

from collections.abc import Iterator

from pgrehearse.hazards.constraint import ConstraintKind
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Column, Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, is_null, relation_of, walk
from pgrehearse.hazards.written import Written


def refused_values(written: Written, situation: Situation) -> Iterator[Hit]:
    """Of every UPDATE and INSERT in the statement, where the table's columns are known."""
    if written.kind not in ("InsertStmt", "UpdateStmt", "SelectStmt", "DeleteStmt"):
        return
    for kind, body in [(written.kind, written.tree), *walk(written.tree)]:
        if kind not in ("InsertStmt", "UpdateStmt"):
            continue
        table = relation_of(body["relation"])
        relation = situation.model.relations.get(situation.resolve(table))
        if relation is None or not relation.knows or relation.rules or relation.kind is not RelationKind.TABLE:
            continue
        if kind == "InsertStmt" and (why := _wrong_number(body, relation)) is not None:
            yield _hit(table, "…", why)
            continue
        if kind == "InsertStmt" and (left_out := _left_out(body, relation, situation)) is not None:
            yield _hit(table, quoted(left_out), "none is given, there is no default, and it may not be NULL")
            continue
        if kind == "InsertStmt" and (why := _finds_no_index(body, relation)) is not None:
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
    if column.identity == "a" and (not inserted or body.get("override", "OVERRIDING_NOT_SET") == "OVERRIDING_NOT_SET"):
        return "it is an identity column that is always generated"
    triggers = any({"insert", "update"} & each.events and each.enabled for each in relation.triggers.values())
    # A trigger may put a value there; rows to update, there may be none.
    if inserted and column.not_null and value is not None and is_null(value) and not triggers:
        return "it may not be NULL"
    return None


def _left_out(body: Node, relation: Relation, situation: Situation) -> str | None:
    """A column that no row of VALUES gets a value for, and none may be without; source: ExecConstraints."""
    query = body.get("selectStmt", {}).get("SelectStmt", {})
    rows = [each["List"].get("items", []) for each in query.get("valuesLists", ())]
    if not situation.model.complete or not rows or any("insert" in each.events for each in relation.triggers.values()):
        return None
    named = [each["ResTarget"]["name"] for each in body.get("cols", ())] or list(relation.columns)[: len(rows[0])]
    types = {each.name for each in situation.model.types}  # a domain may have a default
    for column in relation.columns.values():
        if column.name in named or column.type is None or column.type.name in types:
            continue
        if column.not_null and column.has_default is False:
            return column.name
    return None


def _finds_no_index(body: Node, relation: Relation) -> str | None:
    """ON CONFLICT (columns) that no unique index is over; source: infer_arbiter_indexes in plancat.c."""
    infer = body.get("onConflictClause", {}).get("infer", {})
    elements = [each["IndexElem"] for each in infer.get("indexElems", ())]
    if (
        not elements
        or "whereClause" in infer
        or any(each.keys() & {"expr", "collation", "opclass"} for each in elements)
    ):
        return None
    columns = {each["name"] for each in elements}
    keys = (ConstraintKind.PRIMARY, ConstraintKind.UNIQUE)
    if any(each.kind in keys and set(each.columns) == columns for each in relation.constraints.values()):
        return None
    if any(each.unique and set(each.key_columns) == columns and not each.partial for each in relation.indexes.values()):
        return None
    return f"no unique index is over just {', '.join(map(quoted, sorted(columns)))}"


def _updated(body: Node) -> list[tuple[str, Node | None, bool]]:
    targets = [each["ResTarget"] for each in body.get("targetList", ())]
    return [(each.get("name", ""), each.get("val"), False) for each in targets if "indirection" not in each]


def _inserted(body: Node, relation: Relation) -> list[tuple[str, Node | None, bool]]:
    query = body.get("selectStmt", {}).get("SelectStmt")
    if query is None:  # DEFAULT VALUES
        return []
    named = [each["ResTarget"]["name"] for each in body.get("cols", ())] or list(relation.columns)
    if "valuesLists" in query:
        rows = [each["List"].get("items", []) for each in query["valuesLists"]]
        return [(name, value, True) for row in rows for name, value in zip(named, row, strict=False)]
    if "cols" not in body:  # how many columns the query gives is not looked at
        return []
    return [(name, None, True) for name in named]


def _wrong_number(body: Node, relation: Relation) -> str | None:
    """Source: transformInsertRow in analyze.c."""
    query = body.get("selectStmt", {}).get("SelectStmt", {})
    lengths = {len(each["List"].get("items", ())) for each in query.get("valuesLists", ())}
    named = len(body.get("cols", ()))
    if lengths and named and lengths != {named}:
        return "there are more columns than values, or more values"
    return "there are more values than columns" if lengths and max(lengths) > len(relation.columns) else None


def _hit(table: RelationName, column: str, why: str, *, command: str | None = None) -> Hit:
    names = {"command": command or f"a value for {table.written}.{column}", "object": why}
    return Hit(hazard="statement-refused", relation=table, names=names, even_new=True)

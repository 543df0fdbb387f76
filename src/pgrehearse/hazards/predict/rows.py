"""INSERT, UPDATE, DELETE, MERGE: which values are lost, here and where foreign keys reach."""

from collections.abc import Iterator

from pgrehearse.hazards.finding import HazardClass
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted
from pgrehearse.hazards.tree import (
    Node,
    constant_of,
    functions_in,
    is_null,
    kind_of,
    name_of,
    relation_of,
    strings,
    walk,
)
from pgrehearse.hazards.written import Written

_LOSS = (HazardClass.DATA_LOSS, HazardClass.HARD_TO_UNDO)
_LARGE_OBJECTS_GO = frozenset({"lo_unlink", "lo_truncate", "lo_truncate64"})
_CHANGES = frozenset({"InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"})


def change_rows(written: Written, situation: Situation) -> Iterator[Hit]:
    """Every change of rows in one statement, also in its WITH."""
    for kind, body in [(written.kind, written.tree), *walk(written.tree)]:
        if kind not in _CHANGES:
            continue
        table = relation_of(body["relation"])
        relation = situation.relation(table)
        if situation.exists(table) is False:
            if not written.conditional:
                names = {"kind": "TABLE", "object": table.written}
                yield Hit(hazard="missing-object", relation=None, names=names, even_new=True)
            continue
        names = {
            "table": table.written,
            "copy": table.beside(derived(table.name, "kept")),
            "command": kind.removesuffix("Stmt").upper(),
            "statement": written.on_one_line,
        }
        if kind == "DeleteStmt":
            yield from _delete(situation, table, relation, body, names)
        elif kind == "UpdateStmt":
            yield from _update(situation, table, relation, body, names)
        elif kind == "MergeStmt":
            yield from _merge(table, body, names)
        else:
            yield from _insert(situation, table, relation, body, names)
        command = names["command"].lower()
        situation.written.setdefault(relation.name, command)
        if kind == "UpdateStmt":
            targets = {each["ResTarget"].get("name", "") for each in body.get("targetList", ())}
            situation.updated.setdefault(relation.name, set()).update(targets)
    yield from _sequences(written, situation)
    yield from _large_objects(written)


def _always_true(where: Node | None) -> bool:
    if where is None:
        return True
    kind, body = kind_of(where)
    if kind == "A_Const":
        return constant_of(where) is True
    if kind == "A_Expr" and "lexpr" in body and strings(body.get("name")) == ["="]:
        left, right = constant_of(body["lexpr"]), constant_of(body["rexpr"])
        return left is not None and left == right
    if kind == "BoolExpr" and body.get("boolop") == "OR_EXPR":
        return any(_always_true(each) for each in body["args"])
    return False


def _delete(
    situation: Situation, table: RelationName, relation: Relation, body: Node, names: dict[str, str]
) -> Iterator[Hit]:  # fmt: skip
    everything = _always_true(body.get("whereClause")) and "usingClause" not in body
    finds = everything
    yield Hit(
        hazard="delete-all" if everything else "delete-rows",
        relation=table,
        names=names,
        certain=finds,
        unsure=None if finds else "whether it finds a row",
    )
    yield from _cascades(situation, relation, names, {relation.name})


def _cascades(situation: Situation, parent: Relation, names: dict[str, str], seen: set[RelationName]) -> Iterator[Hit]:
    for child, constraint in list(situation.model.referencing(parent.name)):
        if constraint.on_delete not in ("c", "n", "d") or child.name in seen:
            continue
        seen.add(child.name)
        if situation.has_no_rows(child):
            continue
        more = {
            "table": parent.name.written, "object": quoted(constraint.name), "referenced": child.name.written,
            "copy": child.name.beside(derived(child.name.name, "kept")),
        }  # fmt: skip
        yield Hit(
            hazard="cascade-delete-elsewhere",
            relation=child.name,
            names=names | more,
            certain=False,
            unsure="whether rows there refer to those that go",
        )
        if constraint.on_delete == "c":
            yield from _cascades(situation, child, names, seen)


def _insert(
    situation: Situation, table: RelationName, relation: Relation, body: Node, names: dict[str, str]
) -> Iterator[Hit]:  # fmt: skip
    """ON CONFLICT DO UPDATE overwrites the row that is there."""
    conflict = body.get("onConflictClause", {})
    targets = [each["ResTarget"] for each in conflict.get("targetList", ())]
    own = {**conflict, "relation": body["relation"]}
    changed = [each["name"] for each in targets if not _keeps_value(situation, relation, each, own)]
    if not changed:
        yield Hit(hazard="dml-in-migration", relation=table, names=names)
        return
    yield Hit(
        hazard="update-rows",
        relation=table,
        names=names | {"column": ", ".join(map(quoted, changed)), "command": "ON CONFLICT DO UPDATE"},
        certain=False,
        unsure="whether it meets a row with other values",
        classes=_LOSS,
    )


def _update(
    situation: Situation, table: RelationName, relation: Relation, body: Node, names: dict[str, str]
) -> Iterator[Hit]:  # fmt: skip
    targets = [each["ResTarget"] for each in body.get("targetList", ())]
    changed = [each["name"] for each in targets if not _keeps_value(situation, relation, each, body)]
    doubled = {each["name"] for each in targets if [one["name"] for one in targets].count(each["name"]) > 1}
    if doubled and not any("indirection" in each for each in targets):
        more = {"column": quoted(sorted(doubled)[0])}
        yield Hit(hazard="duplicate-assignments", relation=table, names=names | more, even_new=True)
        return
    if not changed:
        yield Hit(hazard="dml-in-migration", relation=table, names=names)
        return
    everything = _always_true(body.get("whereClause")) and "fromClause" not in body
    more = {"column": ", ".join(map(quoted, changed))}
    certain = everything  # every row gets it, whatever it held
    yield Hit(
        hazard="update-all" if everything else "update-rows",
        relation=table,
        names=names | more,
        certain=certain,
        unsure=None if certain else "whether values that are there become others",
        classes=_LOSS,
    )


def _keeps_value(situation: Situation, relation: Relation, target: Node, body: Node) -> bool:
    """Fills only NULLs, sets what is there already, or a column that the same file added."""
    name = target.get("name", "")
    column = relation.columns.get(name)
    if column is not None and situation.is_recent(column.made_in):
        return True
    value = target.get("val", {})
    own = _own_name(relation, body)
    if _is_column(value, own, name):
        return True
    if "CoalesceExpr" in value and value["CoalesceExpr"].get("args") and _is_column(
        value["CoalesceExpr"]["args"][0], own, name
    ):  # fmt: skip
        return True
    return _only_null(body.get("whereClause"), own, name)


def _own_name(relation: Relation, body: Node) -> str:
    """How the statement calls the table whose rows it changes."""
    alias: str = body.get("relation", {}).get("alias", {}).get("aliasname", relation.name.name)
    return alias


def _is_column(node: Node, table: str, name: str) -> bool:
    """The column of that very table: in UPDATE … FROM, and as EXCLUDED, others have columns of the same name."""
    fields = [each.get("String", {}).get("sval") for each in node.get("ColumnRef", {}).get("fields", [])]
    return bool(fields) and fields[-1] == name and (len(fields) == 1 or fields[-2] == table)


def _only_null(where: Node | None, table: str, name: str) -> bool:
    """WHERE … AND name IS NULL."""
    if where is None:
        return False
    kind, body = kind_of(where)
    if kind == "NullTest":
        return body.get("nulltesttype") == "IS_NULL" and _is_column(body["arg"], table, name)
    if kind == "BoolExpr" and body.get("boolop") == "AND_EXPR":
        return any(_only_null(each, table, name) for each in body["args"])
    return False


def _merge(table: RelationName, body: Node, names: dict[str, str]) -> Iterator[Hit]:
    commands = {each["MergeWhenClause"].get("commandType") for each in body.get("mergeWhenClauses", ())}
    hazard = "delete-rows" if "CMD_DELETE" in commands else "update-rows" if "CMD_UPDATE" in commands else None
    if hazard is None:
        yield Hit(hazard="dml-in-migration", relation=table, names=names)
    else:
        yield Hit(
            hazard=hazard,
            relation=table,
            names=names | {"column": "its columns"},
            certain=False,
            classes=_LOSS,
            unsure="whether it finds a row",
        )


def _sequences(written: Written, situation: Situation) -> Iterator[Hit]:
    """setval() to a constant: perhaps below what is there."""
    for kind, body in walk(written.tree):
        if kind != "FuncCall" or name_of(body["funcname"]).name != "setval" or len(body.get("args", ())) < 2:
            continue
        name, value = constant_of(body["args"][0]), constant_of(body["args"][1])
        if isinstance(name, str) and isinstance(value, int) and not is_null(body["args"][1]):
            *before, last = name.split(".")
            sequence = RelationName(before[-1] if before else None, last.strip('"'))
            names = {"sequence": sequence.written, "oid": sequence.oid_of("regclass")}
            yield Hit(
                hazard="sequence-restart",
                relation=sequence,
                names=names,
                certain=False,
                unsure="whether its next value is above those that are there",
            )


def _large_objects(written: Written) -> Iterator[Hit]:
    """Functions that remove a large object, or cut it."""
    if any(name.name in _LARGE_OBJECTS_GO for name in functions_in(written.tree)):
        once = written.kind == "SelectStmt" and not {"fromClause", "whereClause"} & written.tree.keys()
        yield Hit(
            hazard="large-objects-lost",
            relation=None,
            names={"oid": "<the oid of each>"},
            certain=once,
            unsure=None if once else "whether there is such a large object",
        )

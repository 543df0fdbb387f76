"""The locks of queries and of changes of rows: on what they name, and on what foreign keys make them touch."""

from collections.abc import Iterator

from pgrehearse.hazards.constraint import ConstraintKind
from pgrehearse.hazards.model import Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, kind_of, relation_of, walk
from pgrehearse.postgres.locks import LockMode

Lock = tuple[RelationName, LockMode]
ROW_EXCLUSIVE = LockMode.ROW_EXCLUSIVE
_CHANGES = {"InsertStmt": "insert", "UpdateStmt": "update", "DeleteStmt": "delete", "MergeStmt": "merge"}
_PASSIVE = frozenset({"a", "r"})  # NO ACTION, RESTRICT: the child is only looked at


def query_locks(kind: str, tree: Node, situation: Situation) -> Iterator[Lock]:
    """Every lock; a stronger one of the same relation may follow."""
    if kind == "ExplainStmt":
        yield from query_locks(*kind_of(tree["query"]), situation)
        return
    if kind == "CopyStmt":
        yield from _copy(tree, situation)
        return
    hidden = {body["ctename"] for name, body in walk(tree) if name == "CommonTableExpr"}
    for name, body in [(kind, tree), *walk(tree)]:
        if name == "RangeVar":
            relation = relation_of(body)
            if relation.namespace is not None or relation.name not in hidden:
                yield from read_locks(situation, relation, LockMode.ACCESS_SHARE)
        elif name in _CHANGES:
            yield from change_locks(situation, relation_of(body["relation"]), _CHANGES[name], body)
        if name == "SelectStmt" and "lockingClause" in body:
            yield from _row_locks(body, situation, hidden)


def analysis_locks(kind: str, tree: Node, situation: Situation) -> Iterator[Lock]:
    """Of a statement that is read and kept, and not run: only what it names itself (transformStmt, setTargetTable)."""
    hidden = {body["ctename"] for name, body in walk(tree) if name == "CommonTableExpr"}
    for name, body in [(kind, tree), *walk(tree)]:
        if name == "RangeVar" and (body.get("schemaname") or body["relname"] not in hidden):
            yield situation.resolve(relation_of(body)), LockMode.ACCESS_SHARE
        elif name in _CHANGES:
            yield situation.resolve(relation_of(body["relation"])), ROW_EXCLUSIVE


def read_locks(situation: Situation, name: RelationName, mode: LockMode) -> Iterator[Lock]:
    """A relation that is read, its partitions, and what stands below a view."""
    for relation in situation.with_partitions(situation.relation(name)):
        yield relation.name, mode
        if relation.kind is RelationKind.VIEW:
            for used in {each for each, _ in relation.uses if each != relation.name}:
                yield from read_locks(situation, used, mode)


def change_locks(situation: Situation, name: RelationName, command: str, body: Node | None = None) -> Iterator[Lock]:
    """ROW EXCLUSIVE where rows change, and what foreign keys look at or change elsewhere."""
    for relation in situation.with_partitions(situation.relation(name)):
        yield relation.name, ROW_EXCLUSIVE
        if relation.kind is RelationKind.VIEW:
            for used in {each for each, _ in relation.uses if each != relation.name}:
                yield from change_locks(situation, used, command)
            continue
        if command in ("insert", "update", "merge"):
            # A row that this very transaction wrote is looked at again (RI_FKey_fk_upd_check_required).
            again = relation.name in situation.written
            yield from _parents(relation, _assigned(body) if command == "update" and not again else None)
        if command == "update" and relation.partition_of is not None:  # its foreign keys are its parent's
            yield relation.partition_of, LockMode.ACCESS_SHARE
        if command in ("update", "delete", "merge"):
            assigned = _assigned(body) if command == "update" else None
            yield from _children(situation, relation, assigned, {relation.name})


def _assigned(body: Node | None) -> set[str] | None:
    if body is None:
        return None
    return {each["ResTarget"].get("name", "") for each in body.get("targetList", ())}


def _parents(relation: Relation, assigned: set[str] | None) -> Iterator[Lock]:
    for constraint in relation.constraints.values():
        if constraint.kind is not ConstraintKind.FOREIGN or constraint.referenced is None:
            continue
        if assigned is None or assigned & set(constraint.columns):
            yield constraint.referenced, LockMode.ROW_SHARE


def _children(
    situation: Situation, parent: Relation, assigned: set[str] | None, seen: set[RelationName]
) -> Iterator[Lock]:
    for child, constraint in situation.model.referencing(parent.name):
        if assigned is not None and constraint.referenced_columns and not assigned & set(constraint.referenced_columns):
            continue
        action = constraint.on_delete if assigned is None else constraint.on_update
        yield child.name, LockMode.ROW_SHARE if action in _PASSIVE else ROW_EXCLUSIVE
        if action == "c" and assigned is None and child.name not in seen:
            yield from _children(situation, child, None, seen | {child.name})


def _row_locks(body: Node, situation: Situation, hidden: set[str]) -> Iterator[Lock]:
    """SELECT … FOR UPDATE and its like: of all tables of the FROM, or those that OF names."""
    named = {
        each["RangeVar"]["relname"]
        for clause in body["lockingClause"]
        for each in clause["LockingClause"].get("lockedRels", ())
    }
    for kind, below in walk(body.get("fromClause", ())):
        if kind == "RangeVar" and below["relname"] not in hidden:
            alias = below.get("alias", {}).get("aliasname", below["relname"])
            if not named or alias in named:
                yield from read_locks(situation, relation_of(below), LockMode.ROW_SHARE)


def _copy(tree: Node, situation: Situation) -> Iterator[Lock]:
    if "relation" not in tree:
        if "query" in tree:
            yield from query_locks(*kind_of(tree["query"]), situation)
    elif tree.get("is_from"):
        yield from change_locks(situation, relation_of(tree["relation"]), "insert")
    else:
        yield from read_locks(situation, relation_of(tree["relation"]), LockMode.ACCESS_SHARE)

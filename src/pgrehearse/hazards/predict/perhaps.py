"""What a statement may fail on, where only the rows or the catalog can tell and neither was read.

Notes, never more: with a catalog the rules themselves and `rows_in_the_way` give the answer.
"""

from collections.abc import Iterator, Sequence

from pgrehearse.hazards.finding import HazardClass
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, name_of, relation_of
from pgrehearse.hazards.written import Written

# What was found -> what the same statement may fail on.
_BY_ROWS = {
    "add-check": "rows of {table} violate it",
    "add-foreign-key": "rows of {table} have no parent in {referenced}",
    "add-unique": "rows of {table} are equal in {index_columns}",
    "add-primary-key": "rows of {table} are equal or NULL in {index_columns}",
    "set-not-null": "{table}.{column} holds NULL",
    "change-column-type": "the type or a value of {table}.{column} does not go with {type}, or a view uses it",
}
_DROPPED = frozenset({
    "OBJECT_TABLE", "OBJECT_VIEW", "OBJECT_MATVIEW", "OBJECT_SEQUENCE", "OBJECT_TYPE", "OBJECT_DOMAIN",
})  # fmt: skip
_OF_RELATIONS = _DROPPED - {"OBJECT_TYPE", "OBJECT_DOMAIN"}


def perhaps_fails(written: Written, hits: Sequence[Hit], situation: Situation) -> Iterator[Hit]:
    """Beside these hits of the same statement; nothing where a catalog was read."""
    if situation.model.complete:
        return
    for hit in hits:
        if hit.hazard in _BY_ROWS:
            yield _note(hit.relation, _BY_ROWS[hit.hazard].format_map(hit.names))
    if written.kind == "IndexStmt" and written.tree.get("unique"):
        table = relation_of(written.tree["relation"])
        columns = [each["IndexElem"].get("name", "…") for each in written.tree.get("indexParams", ())]
        yield _note(table, f"rows of {table.written} are equal in ({', '.join(columns)})")
    elif written.kind == "DropStmt" and written.tree.get("behavior") != "DROP_CASCADE":
        if not any(HazardClass.FAILS in (hit.classes or ()) or hit.hazard == "dependants-remain" for hit in hits):
            yield from _dependants(written.tree, situation)
    elif written.kind == "AlterTableStmt":
        yield from _keys(written.tree)


def _note(relation: RelationName | None, where: str) -> Hit:
    return Hit(hazard="may-fail", relation=relation, names={"object": where}, by_rows=True)


def _dependants(tree: Node, situation: Situation) -> Iterator[Hit]:
    removed = tree["removeType"]
    for node in tree["objects"] if removed in _DROPPED else ():
        name = name_of(node["TypeName"]["names"] if "TypeName" in node else node["List"]["items"])
        relation = situation.resolve(name) if removed in _OF_RELATIONS else None
        yield _note(relation, f"anything that stays needs {name.written}")


def _keys(tree: Node) -> Iterator[Hit]:
    table = relation_of(tree["relation"])
    for command in (each["AlterTableCmd"] for each in tree.get("cmds", ())):
        if command.get("subtype") == "AT_DropConstraint" and command.get("behavior") != "DROP_CASCADE":
            yield _note(table, f"{command['name']} is a key that another table references")

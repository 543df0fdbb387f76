"""CREATE TABLE: new, so nobody waits for it; but whom it references does, and it may be there already."""

from collections.abc import Iterator

from pgrehearse.hazards.columns import type_of
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.predict.partitions import partition_of
from pgrehearse.hazards.predict.style import column_names, column_style
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, constant_of, kind_of, relation_of
from pgrehearse.hazards.written import Written


def create_table(written: Written, situation: Situation) -> Iterator[Hit]:
    """CREATE TABLE, also as a partition or a child."""
    tree = written.tree
    table = relation_of(tree["relation"])
    names = {"table": table.written, "object": table.written, "kind": "TABLE", "command": "CREATE TABLE"}
    exists = situation.exists(table)
    if tree.get("if_not_exists"):
        if exists is not False:
            yield Hit(hazard="if-not-exists-hides-drift", relation=table, names=names)
        if exists:
            return
    elif exists:
        yield Hit(hazard="object-exists", relation=None, names=names, even_new=True)
        return
    if situation.resolve(table) in situation.dropped:
        more = {"new_qualified": table.beside(f"{table.name}_new")}
        yield Hit(hazard="create-table-force", relation=table, names=names | more, even_new=True)
    if table.namespace is None:
        more = {"new_qualified": situation.resolve(table).written}
        yield Hit(hazard="unqualified-name", relation=table, names=names | more, even_new=True)
    for parent in tree.get("inhRelations", ()):
        if "partbound" in tree:
            yield from partition_of(written, situation, table, relation_of(parent["RangeVar"]))
    yield from _columns(written, situation, table, names)
    if tree["relation"].get("relpersistence") == "u":
        yield Hit(hazard="unlogged-table", relation=table, names=names, even_new=True)


def _columns(written: Written, situation: Situation, table: RelationName, names: dict[str, str]) -> Iterator[Hit]:
    has_key = "partbound" in written.tree or "inhRelations" in written.tree
    for element in written.tree.get("tableElts", ()):
        kind, body = kind_of(element)
        if kind == "TableLikeClause":
            has_key = True
            if situation.exists(relation_of(body["relation"])) is False:
                missing = {"kind": "TABLE", "object": relation_of(body["relation"]).written}
                yield Hit(hazard="missing-object", relation=None, names=names | missing, even_new=True)
        constraints = [each["Constraint"] for each in body.get("constraints", ())] if kind == "ColumnDef" else []
        if kind == "Constraint":
            constraints = [body]
        if kind == "ColumnDef" and "typeName" in body:  # of a partition or OF a type the type is told elsewhere
            yield from column_style(table, body, column_names(table, body))
            yield from _label_in_same_transaction(situation, body)
        for constraint in constraints:
            has_key = has_key or constraint["contype"] == "CONSTR_PRIMARY"
            if constraint["contype"] == "CONSTR_FOREIGN":
                referenced = relation_of(constraint["pktable"])
                if referenced != table and situation.exists(referenced) is False:
                    missing = {"kind": "TABLE", "object": referenced.written}
                    yield Hit(hazard="missing-object", relation=None, names=names | missing, even_new=True)
    if not has_key and written.tree["relation"].get("relpersistence") != "t":
        yield Hit(hazard="table-without-primary-key", relation=table, names=names, even_new=True)


def _label_in_same_transaction(situation: Situation, column: Node) -> Iterator[Hit]:
    """A default of an enum's label that this very transaction added."""
    if not situation.new_labels or "typeName" not in column:
        return
    written = type_of(column["typeName"])
    name = situation.resolve_type(RelationName(written.namespace, written.name))
    for each in column.get("constraints", ()):
        value = constant_of(each["Constraint"].get("raw_expr"))
        if (name, value) in situation.new_labels:
            yield from used_label(situation, name, str(value))


def used_label(situation: Situation, type_name: RelationName, label: str) -> Iterator[Hit]:
    """A label cannot be used before it is committed, unless its type is as new: accepted since 17."""
    known = situation.model.types.get(type_name)
    major = situation.model.server_major
    as_new = known is not None and known.made_in_transaction == situation.transaction
    if as_new and (major is None or major >= 17):
        return
    names = {"type": type_name.written, "label": "'" + label.replace("'", "''") + "'"}
    yield Hit(hazard="enum-add-value-used-same-tx", relation=None, names=names)


def create_table_as(written: Written, situation: Situation) -> Iterator[Hit]:
    """CREATE TABLE AS and CREATE MATERIALIZED VIEW."""
    tree = written.tree
    name = relation_of(tree["into"]["rel"])
    if situation.exists(name) and not tree.get("if_not_exists"):
        kind = "MATERIALIZED VIEW" if tree.get("objtype") == "OBJECT_MATVIEW" else "TABLE"
        yield Hit(hazard="object-exists", relation=None, names={"kind": kind, "object": name.written}, even_new=True)

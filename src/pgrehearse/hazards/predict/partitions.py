"""Partitions: attached, detached, made in place."""

from collections.abc import Iterator

from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import ConstraintKind, Relation
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted
from pgrehearse.hazards.tree import Node, relation_of
from pgrehearse.hazards.written import Written


def attach(
    written: Written, situation: Situation, table: RelationName, relation: Relation, body: Node
) -> Iterator[Hit]:
    """ATTACH PARTITION reads the new partition, and the default one, unless a CHECK proves what it asks for."""
    name = relation_of(body["name"])
    child = situation.relation(name)
    names = {
        "table": name.written,
        "check": quoted(derived(name.name, "bound")),
        "statement": written.on_one_line,
        "kind": "TABLE",
        "object": name.written,
    }
    if situation.exists(name) is False:
        yield Hit(hazard="missing-object", relation=table, names=names)
        return
    if not situation.is_new(child) and not situation.has_no_rows(child):
        proving = [
            each
            for each in child.constraints.values()
            if each.kind is ConstraintKind.CHECK and each.validated and _names_key(relation, each.columns)
        ]
        if not proving:
            certain = child.knows
            yield Hit(
                hazard="attach-partition",
                relation=name,
                names=names,
                certain=certain,
                unsure=None if certain else "whether a CHECK of the partition proves its bound",
            )
    yield from _default_is_read(situation, relation, names)


def _names_key(parent: Relation, columns: tuple[str, ...]) -> bool:
    """Whether a CHECK's columns are those that the table is partitioned by."""
    key = parent.partition_key
    return key is None or any(column in key for column in columns)


def _default_is_read(situation: Situation, parent: Relation, names: dict[str, str]) -> Iterator[Hit]:
    for each in parent.partitions:
        known = situation.model.relations.get(each)
        if known is not None and known.partition_bound == "DEFAULT" and not situation.has_no_rows(known):
            more = {"table": each.written, "object": each.written, "check": quoted(derived(each.name, "bound"))}
            yield Hit(hazard="attach-partition", relation=each, names=names | more)


def detach(
    written: Written, situation: Situation, table: RelationName, relation: Relation, body: Node
) -> Iterator[Hit]:
    """DETACH PARTITION blocks readers of the whole table; CONCURRENTLY does not."""
    child = relation_of(body["name"])
    names = {
        "table": table.written,
        "object": child.written,
        "command": "DETACH PARTITION CONCURRENTLY",
        "statement": f"ALTER TABLE {table.written} DETACH PARTITION {child.written} CONCURRENTLY",
    }
    if not body.get("concurrent"):
        yield Hit(hazard="detach-partition", relation=table, names=names)
    elif relation.has_default_partition:
        yield Hit(hazard="statement-refused", relation=table, names=names | {"object": table.written})


def partition_of(
    written: Written, situation: Situation, child: RelationName, parent_name: RelationName
) -> Iterator[Hit]:
    """CREATE TABLE … PARTITION OF blocks readers of the parent; ATTACH of a new table does not."""
    text = written.on_one_line
    at = text.lower().find(" for values ")
    names = {
        "table": parent_name.written,
        "new_qualified": child.written,
        "definition": text[at + 1 :] if at >= 0 else "DEFAULT",
        "object": child.written,
        "statement": text,
        "kind": "TABLE",
    }
    if situation.exists(parent_name) is False:
        yield Hit(hazard="missing-object", relation=None, names=names | {"object": parent_name.written}, even_new=True)
        return
    yield Hit(hazard="create-partition-of", relation=parent_name, names=names)
    yield from _default_is_read(situation, situation.relation(parent_name), names)

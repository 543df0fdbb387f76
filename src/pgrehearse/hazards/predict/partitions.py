"""Partitions: attached, detached, made in place."""

import re
from collections.abc import Iterator

from pgrehearse.errors import UnreadableSql
from pgrehearse.hazards.constraint import ConstraintKind
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation
from pgrehearse.hazards.parsed import parse_text
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted
from pgrehearse.hazards.tree import Node, constant_of, relation_of
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
    why = refused_bound(relation, body.get("bound", {})) or _other_columns(relation, child)
    if why is not None:
        refused = {"command": f"the partition {name.written}", "object": why}
        yield Hit(hazard="statement-refused", relation=None, names=refused, even_new=True)
        return
    other = overlapped(situation, relation, body.get("bound", {}), name)
    if other is not None:
        yield _refuse_overlap(name, other)
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


def _other_columns(parent: Relation, child: Relation) -> str | None:
    """A partition has the parent's columns, no more and no less, of the very types."""
    if not (parent.knows and child.knows and parent.columns and child.columns):
        return None
    for name in parent.columns.keys() ^ child.columns.keys():
        return f"only one of the two has the column {quoted(name)}"
    for name, column in parent.columns.items():
        ours, theirs = column.type, child.columns[name].type
        if ours is not None and theirs is not None and (ours.name, ours.dimensions) != (theirs.name, theirs.dimensions):
            return f"the column {quoted(name)} has another type"
    return None


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


def _refuse_overlap(name: RelationName, other: RelationName) -> Hit:
    names = {"command": f"the partition {name.written}", "object": f"it overlaps {other.written}"}
    return Hit(hazard="statement-refused", relation=None, names=names, even_new=True)


def overlapped(situation: Situation, parent: Relation, bound: Node, name: RelationName) -> RelationName | None:
    """A partition that has values of this bound already, where both are lists, or ranges of one number or date."""
    ours = _values_of(bound)
    if ours is None:
        return None
    for each in sorted(parent.partitions):
        known = situation.model.relations.get(each)
        if known is None or each == situation.resolve(name) or not known.partition_bound:
            continue
        theirs = _values_of(_parsed_bound(known.partition_bound))
        if theirs is not None and len(ours) == len(theirs) and _share(ours, theirs):
            return each
    return None


Bounds = tuple[frozenset[str]] | tuple[str, str]  # of a list; or from and to


def refused_bound(parent: Relation, bound: Node) -> str | None:
    """Why a partition cannot have it: of another kind than the table is partitioned by, or empty."""
    strategy = {"r": "RANGE", "l": "LIST", "h": "HASH"}.get(bound.get("strategy", ""))
    asked = (parent.partition_key or "").partition(" ")[0]
    if (
        strategy is not None
        and asked in ("RANGE", "LIST", "HASH")
        and asked != strategy
        and not bound.get("is_default")
    ):
        return f"{parent.name.written} is partitioned by {asked}"
    ends = _values_of(bound)
    if ends is not None and len(ends) == 2:
        low, high = (_comparable(each) for each in ends)
        if low is not None and high is not None and type(low) is type(high) and low >= high:  # type: ignore[operator]
            return "its range is empty"
    return None


def _share(ours: Bounds, theirs: Bounds) -> bool:
    if len(ours) == 1 and len(theirs) == 1:
        return bool(ours[0] & theirs[0])
    if len(ours) == 2 and len(theirs) == 2:
        keys = [_comparable(each) for each in (*ours, *theirs)]
        if None in keys or len({type(each) for each in keys}) > 1:
            return False
        low, high, other_low, other_high = keys
        return bool(low < other_high and other_low < high)  # type: ignore[operator]
    return False


def _comparable(text: str) -> int | str | None:
    """A whole number, or a date as ISO writes it; others order by their type's own rules."""
    if re.fullmatch(r"-?\d+", text):
        return int(text)
    return text if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None


def _values_of(bound: Node) -> Bounds | None:
    match bound.get("strategy"):
        case "l" if not bound.get("is_default"):
            values = [constant_of(each) for each in bound.get("listdatums", ())]
            return (frozenset(str(each) for each in values if each is not None),)
        case "r" if not bound.get("is_default"):
            ends = [constant_of(each) for key in ("lowerdatums", "upperdatums") for each in bound.get(key, ())]
            if len(ends) == 2 and None not in ends:
                return str(ends[0]), str(ends[1])
    return None


def _parsed_bound(text: str) -> Node:
    """Of pg_get_expr(relpartbound)."""
    try:
        [(_, tree)] = parse_text(f"CREATE TABLE c PARTITION OF p {text}")
    except (UnreadableSql, ValueError):
        return {}
    bound: Node = tree.get("partbound", {})
    return bound


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
    parent = situation.relation(parent_name)
    if parent.has_default_partition and written.tree.get("partbound", {}).get("is_default"):
        refused = {"command": "a second DEFAULT partition", "object": parent_name.written}
        yield Hit(hazard="statement-refused", relation=None, names=refused, even_new=True)
        return
    why = refused_bound(parent, written.tree.get("partbound", {}))
    if why is not None:
        refused = {"command": f"the partition {child.written}", "object": why}
        yield Hit(hazard="statement-refused", relation=None, names=refused, even_new=True)
        return
    other = overlapped(situation, parent, written.tree.get("partbound", {}), child)
    if other is not None:
        yield _refuse_overlap(child, other)
        return
    yield Hit(hazard="create-partition-of", relation=parent_name, names=names)
    yield from _default_is_read(situation, situation.relation(parent_name), names)

"""What the planner chose, in a form that two copies of a database share.  Pure: from EXPLAIN's JSON."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgrehearse.queries.labels import Labels

Node = Mapping[str, Any]

SPREAD = frozenset({"Append", "Merge Append"})  # over partitions, mostly
ABOVE_SUBPLANS = frozenset({"InitPlan", "SubPlan"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One statement's plan."""

    cost: float  # total, in the planner's units
    rows: float  # estimated, of the top node
    shape: tuple[str, ...]  # one line per node, indented by two blanks per level; no costs, no aliases, no partitions
    indexes: tuple[str, ...]  # that it uses, by label
    scanned_rows: Mapping[str, float]  # estimated, by the label of the table

    def as_json(self) -> dict[str, Any]:
        return {
            "cost": round(self.cost, 2),
            "rows": self.rows,
            "indexes": list(self.indexes),
            "shape": list(self.shape),
        }


def parse_plan(explained: Sequence[Mapping[str, Any]], labels: Labels) -> Plan:
    """Of ``EXPLAIN (FORMAT JSON, VERBOSE)``; VERBOSE alone tells the namespace of a relation."""
    top = explained[0]["Plan"]
    indexes: dict[str, None] = {}
    scanned: Counter[str] = Counter()
    for node, relation in _walk(top, None):
        if "Index Name" in node and relation is not None:
            # EXPLAIN does not tell an index's namespace: it is always its table's.
            indexes[labels.of(relation[0], node["Index Name"])] = None
        if "Relation Name" in node and node["Node Type"] != "ModifyTable":
            scanned[labels.of(node.get("Schema", ""), node["Relation Name"])] += node["Plan Rows"]
    return Plan(
        cost=top["Total Cost"],
        rows=top["Plan Rows"] or _rows_written(top),
        shape=_shape(top, labels, None),
        indexes=tuple(sorted(indexes)),
        scanned_rows=dict(scanned),
    )


def _rows_written(top: Node) -> float:
    """An UPDATE without RETURNING returns no rows; its plan finds them."""
    return float(sum(child["Plan Rows"] for child in top.get("Plans", []) if not _is_aside(child)))


def _walk(node: Node, relation: tuple[str, str] | None) -> Iterator[tuple[Node, tuple[str, str] | None]]:
    """Every node with the relation that it, or the bitmap scan above it, reads."""
    if "Relation Name" in node:
        relation = (node.get("Schema", ""), node["Relation Name"])
    yield node, relation
    for child in node.get("Plans", []):
        yield from _walk(child, relation)


def _shape(node: Node, labels: Labels, relation: tuple[str, str] | None) -> tuple[str, ...]:
    """The lines of a node and of all below it."""
    if "Relation Name" in node:
        relation = (node.get("Schema", ""), node["Relation Name"])
    below = node.get("Plans", [])
    spread = node["Node Type"] in SPREAD and not any(_is_aside(child) for child in below)
    if spread:
        # How an empty partition is read tells nothing: the planner takes it for ten pages of unknown rows.
        below = [child for child in below if not _reads_nothing(child, labels)] or below[:1]
    children = [_shape(child, labels, relation) for child in below]
    if spread:
        # One way of reading however many partitions.  One partition alone is read without a node above it.
        children = sorted(set(children))
        if len(children) == 1:
            return children[0]
    return (_line(node, labels, relation), *(f"  {text}" for child in children for text in child))


def _reads_nothing(node: Node, labels: Labels) -> bool:
    read = {(each.get("Schema", ""), each["Relation Name"]) for each, _ in _walk(node, None) if "Relation Name" in each}
    return bool(read) and read <= labels.empty_partitions


def _is_aside(node: Node) -> bool:
    return node.get("Parent Relationship") in ABOVE_SUBPLANS


def _line(node: Node, labels: Labels, relation: tuple[str, str] | None) -> str:
    words = [node["Node Type"]]
    if node["Node Type"] == "ModifyTable":
        words = [node.get("Operation", "Modify")]
    if _is_aside(node):
        words.insert(0, f"{node['Parent Relationship']}:")
    words += [str(node[key]) for key in ("Join Type", "Strategy", "Partial Mode", "Command") if _tells(node, key)]
    if "Relation Name" in node:
        words.append(f"on {labels.of(node.get('Schema', ''), node['Relation Name'])}")
    elif "Function Name" in node:
        words.append(f"on {node['Function Name']}()")
    if "Index Name" in node:
        index = node["Index Name"] if relation is None else labels.of(relation[0], node["Index Name"])
        # Without a condition the whole index is read.
        words.append(f"using {index}" + ("" if "Index Cond" in node or "Order By" in node else ", all of it"))
    return " ".join(words)


def _tells(node: Node, key: str) -> bool:
    return key in node and node[key] not in ("Inner", "Simple", "Plain")

"""One label for what is the same table or index before and after, whatever it is called in which copy.

The clone was made by TEMPLATE, so that an oid which persists is the same object renamed.  An index that was made anew
with the same definition stands in for the one that went; a partition, and its index, for its whole tree: how many
partitions there are is no change of a plan.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pglast.stream import maybe_double_quote_name

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table or an index of one copy."""

    oid: int
    namespace: str
    name: str
    table: int | None  # of an index
    root: int | None  # of a partition or its index: the top of the tree
    is_empty_partition: bool

    @property
    def written(self) -> str:
        return f"{maybe_double_quote_name(self.namespace)}.{maybe_double_quote_name(self.name)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """The labels of one copy's relations."""

    by_oid: Mapping[int, str] = field(default_factory=dict)
    by_name: Mapping[tuple[str, str], int] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)  # an index's label -> its table's
    empty_partitions: frozenset[tuple[str, str]] = frozenset()
    every: frozenset[str] = frozenset()

    def of(self, namespace: str, name: str) -> str:
        """What a plan names; what is no relation of the catalog keeps its name."""
        oid = self.by_name.get((namespace, name))
        return name if oid is None else self.by_oid[oid]


def read_labels(before: Connection, after: Connection) -> tuple[Labels, Labels]:
    """The labels of both copies.  One catalog query each, two where indexes came or went; some 5 µs per relation."""
    there, here = _read_relations(before), _read_relations(after)
    defined = _read_definitions(before, (each for each in there.values() if each.table is not None))
    new = [each for each in here.values() if each.table is not None and each.oid not in there]
    defined_after = _read_definitions(after, new)
    old_labels = {oid: _label(each, there, {}, defined) for oid, each in there.items()}
    gone = {
        (old_labels[each.table], defined[oid]): old_labels[oid]
        for oid, each in there.items()
        if each.table is not None and each.table in old_labels and oid in defined
    }
    new_labels: dict[int, str] = {}
    for oid, each in sorted(here.items(), key=lambda pair: pair[1].table is not None):  # tables first
        if oid in old_labels:
            new_labels[oid] = old_labels[oid]
            continue
        label = _label(each, here, old_labels, defined_after)
        if each.table is not None and (table := new_labels.get(each.table)) is not None:
            label = gone.get((table, defined_after.get(oid, "")), label)
        new_labels[oid] = label
    return _labels(there, old_labels), _labels(here, new_labels)


def _read_relations(session: Connection) -> dict[int, Relation]:
    return {
        row[0]: Relation(
            oid=row[0], namespace=row[1], name=row[2], table=row[3], root=row[4], is_empty_partition=row[5]
        )
        for row in session.execute(QUERIES["relations"])
    }


def _read_definitions(session: Connection, indexes: Iterable[Relation]) -> dict[int, str]:
    oids = [each.oid for each in indexes if each.namespace not in ("pg_catalog", "information_schema")]
    if not oids:
        return {}
    return {row[0]: row[1] for row in session.execute(QUERIES["definitions"], (oids,))}


def _label(
    each: Relation, relations: Mapping[int, Relation], known: Mapping[int, str], definitions: Mapping[int, str]
) -> str:
    """Its own name, or that of the top of its tree; an index of a partition alone is known by what it is."""
    if each.root is not None and each.root in relations:
        return known.get(each.root) or relations[each.root].written
    table = relations.get(each.table) if each.table is not None else None
    if table is not None and table.root is not None and table.root in relations:
        root = known.get(table.root) or relations[table.root].written
        return f"{root} ({definitions.get(each.oid, each.name)})"
    return each.written


def _labels(relations: Mapping[int, Relation], labels: Mapping[int, str]) -> Labels:
    return Labels(
        by_oid=labels,
        by_name={(each.namespace, each.name): oid for oid, each in relations.items()},
        tables={
            labels[oid]: labels[each.table]
            for oid, each in relations.items()
            if each.table is not None and each.table in labels
        },
        empty_partitions=frozenset(
            (each.namespace, each.name) for each in relations.values() if each.is_empty_partition
        ),
        every=frozenset(labels.values()),
    )

"""Each promise of a catalog as a question to the rows, and whether there is a reason to ask it."""

import enum
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from pgrehearse.data.integrity import violators
from pgrehearse.data.integrity.bypass import Changes
from pgrehearse.data.integrity.catalog import Catalog, Constraint, Domain, Index, PromisingColumn, Relation
from pgrehearse.data.integrity.dependencies import PG_ATTRDEF, PG_CLASS, PG_CONSTRAINT, Node
from pgrehearse.data.integrity.violators import RowTest, Test

PAST_ITS_DOMAIN = "a query can hand NULL past a domain"
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")

Key = tuple[str | int, ...]


class PromiseKind(enum.Enum):
    """In the order in which they are told."""

    FOREIGN_KEY = "foreign keys"
    CHECK = "checks"
    NOT_NULL = "not null"
    UNIQUE = "unique keys"
    EXCLUSION = "exclusion constraints"
    DOMAIN = "domains"
    GENERATED = "generated columns"
    BOUND = "partition bounds"
    LABEL = "enum values"


ABOUT_TREES = (PromiseKind.FOREIGN_KEY, PromiseKind.BOUND)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a foreign key leads from and to; of a partitioned table also its leaves, which hold the rows."""

    children: frozenset[int]
    parents: frozenset[int]
    parent_leaves: frozenset[int]
    columns: tuple[str, ...]  # of the parents, as SQL writes them


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """One promise of one side."""

    kind: PromiseKind
    key: Key  # the same on both sides, since the clone was copied by TEMPLATE
    name: str  # "foreign key orders_user_id_fk"
    relation: Relation
    relations: tuple[int, ...]  # whose rows it is about
    nodes: tuple[Node, ...]  # what it calls starts here
    definition: tuple[object, ...]  # what it says, whatever it is named and whether it is enforced
    weak: str | None  # "NOT VALID" …: the catalog does not say that all rows keep it
    hole: str | None  # how anybody's statement could get past it
    make_test: Callable[[], Test]  # most are never asked
    reference: Reference | None = None  # of a foreign key

    @property
    def test(self) -> Test:
        return self.make_test()


def read_promises(catalog: Catalog, lost_labels: Collection[int] = ()) -> dict[Key, Promise]:
    """Pure.  Of enums only those that lost a label are asked about: nothing else can leave a value without one."""
    found: list[Promise] = []
    weak_not_nulls: dict[tuple[int, str], str] = {}
    for constraint in catalog.constraints.values():
        if constraint.kind == "f":
            found.append(_foreign_key(constraint, catalog))
        elif constraint.kind == "c" and catalog.relations[constraint.relation].kind == "r":
            found.append(_check(constraint, catalog))
        elif constraint.kind == "n" and (weak := _weak(constraint)) is not None:
            weak_not_nulls[constraint.relation, constraint.columns[0]] = weak
    found += _keys(catalog)
    for column in catalog.columns.values():
        found += _of_column(column, catalog, weak_not_nulls, lost_labels)
    asked = {(column.relation, column.name) for column in catalog.columns.values() if column.not_null}
    for (oid, name), weak in weak_not_nulls.items():
        if (oid, name) not in asked and catalog.relations[oid].kind == "r":
            found.append(_not_null(catalog.relations[oid], name, weak))
    for oid, bound in catalog.bounds.items():
        found.append(_bound(catalog, oid, bound))
    return {promise.key: promise for promise in found}


def find_predecessors(after: Mapping[Key, Promise], before: Mapping[Key, Promise]) -> dict[Key, Promise]:
    """By the key of each promise of ``after``: the same object, else one of the same words on the same table."""
    by_words = {(each.kind, each.relations, each.definition): each for each in before.values()}
    found = {
        key: before.get(key) or by_words.get((promise.kind, promise.relations, promise.definition))
        for key, promise in after.items()
    }
    return {key: promise for key, promise in found.items() if promise is not None}


def why_ask(promise: Promise, before: Promise | None, changes: Changes) -> str | None:
    """The reason to read the rows; None where the server's own enforcement is the evidence."""
    if promise.weak is not None:
        return f"it is {promise.weak}"
    if promise.kind is PromiseKind.LABEL:
        return "its enum lost a label"
    is_new = before is None or before.definition != promise.definition
    reached = changes.reached(*promise.nodes)
    if (is_new and reached.routines) or changes.affects(reached, promise.relations):
        return "it calls functions, whose answers may be others now"
    moved = promise.kind in ABOUT_TREES and promise.relation.oid in changes.moved
    if not (is_new or moved or changes.is_touched(*promise.relations)):
        return None
    if promise.reference is not None and not (is_new or moved) and _finds_the_same(promise.reference, changes):
        return None
    if changes.power is not None:
        return changes.power
    if promise.hole is not None:
        return promise.hole
    return "the plan attached or detached it" if moved else None


def _finds_the_same(reference: Reference, changes: Changes) -> bool:
    """Its children are as before, and so are the parents that they found, whatever came to those."""
    return (
        not changes.is_touched(*reference.children)
        and changes.keeps(reference.parent_leaves, reference.columns)
        and changes.moved.isdisjoint(reference.parents)
    )


def column_name(name: str) -> str:
    """As SQL would write it."""
    return name if _PLAIN.fullmatch(name) else '"' + name.replace('"', '""') + '"'


# --- each kind ---------------------------------------------------------------------------------------------------


def _weak(constraint: Constraint) -> str | None:
    if not constraint.enforced:
        return "NOT ENFORCED"
    return None if constraint.validated else "NOT VALID"


def _foreign_key(constraint: Constraint, catalog: Catalog) -> Promise:
    child, parent = catalog.relations[constraint.relation], catalog.relations[constraint.referenced]
    pairs = tuple(
        zip(constraint.columns, constraint.referenced_columns, constraint.operators, strict=True)
    )  # fmt: skip
    leaves = catalog.trees.get(child.oid, frozenset({child.oid}))
    parents = catalog.trees.get(parent.oid, frozenset({parent.oid}))
    stops = constraint.cascades and not catalog.may_stop_cascades.isdisjoint(leaves)
    return Promise(
        kind=PromiseKind.FOREIGN_KEY,
        key=("constraint", constraint.oid),
        name=f"foreign key {constraint.name}",
        relation=child,
        relations=tuple(sorted({*leaves, *parents})),
        nodes=(Node(PG_CONSTRAINT, constraint.oid),),
        definition=(constraint.numbers, constraint.operators, constraint.match_full, constraint.period),
        weak=_weak(constraint),
        hole="a BEFORE trigger of its own can keep a cascade from happening" if stops else None,
        make_test=lambda: violators.orphans(
            child, parent, pairs, match_full=constraint.match_full, period=constraint.period
        ),
        reference=Reference(
            children=leaves,
            parents=parents,
            parent_leaves=frozenset(oid for oid in parents if catalog.relations[oid].kind == "r"),
            columns=tuple(column_name(name) for name in constraint.referenced_columns),
        ),
    )  # fmt: skip


def _check(constraint: Constraint, catalog: Catalog) -> Promise:
    relation = catalog.relations[constraint.relation]
    assert constraint.expression is not None
    expression = constraint.expression
    return Promise(
        kind=PromiseKind.CHECK,
        key=("constraint", constraint.oid),
        name=f"check {constraint.name}",
        relation=relation,
        relations=(relation.oid,),
        nodes=(Node(PG_CONSTRAINT, constraint.oid),),
        definition=(expression,),
        weak=_weak(constraint),
        hole=None,
        make_test=lambda: RowTest(relation=relation, violates=violators.is_false(expression)),
    )


def _keys(catalog: Catalog) -> Iterator[Promise]:
    by_index = {each.index: each for each in catalog.constraints.values() if each.kind in ("p", "u", "x")}
    for index in catalog.indexes.values():
        constraint = by_index.get(index.oid)
        if constraint is not None and constraint.operators:
            yield _exclusion(index, constraint, catalog)
        elif index.unique and index.method == "btree":
            yield _unique(index, constraint, catalog)


def _unique(index: Index, constraint: Constraint | None, catalog: Catalog) -> Promise:
    relation = catalog.relations[index.relation]
    keys = tuple(zip(index.keys, index.collations, strict=True))
    return Promise(
        kind=PromiseKind.UNIQUE,
        key=("index", index.oid),
        name=f"unique index {column_name(index.relname)}"
        if constraint is None
        else f"{'primary key' if constraint.kind == 'p' else 'unique constraint'} {constraint.name}",
        relation=relation,
        relations=(relation.oid,),
        nodes=(Node(PG_CLASS, index.oid),),
        definition=(keys, index.predicate, index.nulls_equal),
        weak=None if index.valid and index.maintained else "INVALID",
        hole=None,
        make_test=lambda: violators.duplicates(
            relation, keys, predicate=index.predicate, nulls_equal=index.nulls_equal
        ),
    )


def _exclusion(index: Index, constraint: Constraint, catalog: Catalog) -> Promise:
    relation = catalog.relations[index.relation]
    elements = tuple(zip(index.keys, index.collations, constraint.operators, strict=True))
    return Promise(
        kind=PromiseKind.EXCLUSION,
        key=("constraint", constraint.oid),
        name=f"exclusion constraint {constraint.name}",
        relation=relation,
        relations=(relation.oid,),
        nodes=(Node(PG_CLASS, index.oid), Node(PG_CONSTRAINT, constraint.oid)),
        definition=(elements, index.predicate),
        weak=None if index.valid and index.maintained else "INVALID",
        hole=None,
        make_test=lambda: violators.conflicts(relation, elements, predicate=index.predicate),
    )


def _of_column(
    column: PromisingColumn,
    catalog: Catalog,
    weak_not_nulls: Mapping[tuple[int, str], str],
    lost_labels: Collection[int],
) -> Iterator[Promise]:
    relation = catalog.relations[column.relation]
    if column.not_null:
        yield _not_null(relation, column.name, weak_not_nulls.get((relation.oid, column.name)))
    generated_as = column.generated_as
    if generated_as is not None and column.generation is not None:
        yield Promise(
            kind=PromiseKind.GENERATED,
            key=("generated", relation.oid, column.number),
            name=f"generated column {column_name(column.name)}",
            relation=relation,
            relations=(relation.oid,),
            nodes=(Node(PG_ATTRDEF, column.generation),),
            definition=(generated_as,),
            weak=None,
            hole=None,
            make_test=lambda: RowTest(
                relation=relation, violates=violators.is_stale(relation, column.name, generated_as)
            ),
        )  # fmt: skip
    domain = catalog.domains.get(column.domain) if column.domain is not None else None
    base = domain.base if domain is not None else ""
    while domain is not None:
        yield from _of_domain(column, relation, domain, base)
        domain = catalog.domains.get(domain.over)
    if column.enum is not None and column.enum in lost_labels and column.enum in catalog.labels:
        name, _ = catalog.labels[column.enum]
        yield Promise(
            kind=PromiseKind.LABEL,
            key=("label", relation.oid, column.number),
            name=f"enum {name} of column {column_name(column.name)}",
            relation=relation,
            relations=(relation.oid,),
            nodes=(),
            definition=(name,),
            weak=None,
            hole=None,
            make_test=lambda: RowTest(relation=relation, violates=violators.has_no_label(relation, column.name, name)),
        )


def _not_null(relation: Relation, name: str, weak: str | None) -> Promise:
    return Promise(
        kind=PromiseKind.NOT_NULL,
        key=("not null", relation.oid, name),
        name=f"NOT NULL of {column_name(name)}",
        relation=relation,
        relations=(relation.oid,),
        nodes=(),
        definition=(name,),
        weak=weak,
        hole=None,
        make_test=lambda: RowTest(relation=relation, violates=violators.is_null(relation, [name])),
    )


def _of_domain(column: PromisingColumn, relation: Relation, domain: Domain, base: str) -> Iterator[Promise]:
    of = f"domain {domain.name} in {column_name(column.name)}"
    if domain.not_null:
        null = violators.is_null(relation, [column.name])
        yield Promise(
            kind=PromiseKind.DOMAIN,
            key=("domain", relation.oid, column.number, domain.oid),
            name=f"NOT NULL of {of}",
            relation=relation,
            relations=(relation.oid,),
            nodes=(),
            definition=(column.name, domain.oid),
            weak=None,
            hole=PAST_ITS_DOMAIN,
            make_test=lambda: RowTest(
                relation=relation,
                violates=violators.has_null_element(relation, column.name, base) if column.in_array else null,
            ),
        )
    for check in domain.checks:
        yield Promise(
            kind=PromiseKind.DOMAIN,
            key=("domain", relation.oid, column.number, domain.oid, check.oid),
            name=f"{column_name(check.name)} of {of}",
            relation=relation,
            relations=(relation.oid,),
            nodes=(Node(PG_CONSTRAINT, check.oid),),
            definition=(column.name, check.expression),
            weak=None if check.validated else "NOT VALID",
            hole=None,
            make_test=_check_of_domain(column, relation, base, check.expression),
        )


def _check_of_domain(
    column: PromisingColumn, relation: Relation, base: str, expression: str
) -> Callable[[], RowTest]:  # fmt: skip
    return lambda: RowTest(
        relation=relation,
        violates=violators.breaks_domain(relation, column.name, base, expression, in_array=column.in_array),
    )


def _bound(catalog: Catalog, oid: int, bound: str) -> Promise:
    relation = catalog.relations[oid]
    above = catalog.ancestors(oid)
    return Promise(
        kind=PromiseKind.BOUND,
        key=("bound", oid),
        name="bound of the partition",
        relation=relation,
        relations=(oid,),
        nodes=tuple(Node(PG_CLASS, each) for each in sorted(above)),
        definition=(bound,),
        weak=None,
        hole=None,
        make_test=lambda: RowTest(relation=relation, violates=violators.is_false(bound)),
    )

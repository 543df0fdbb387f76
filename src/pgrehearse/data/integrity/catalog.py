"""What the catalogs of one side promise of rows: constraints, keys, domains, generated columns, bounds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)
NO = sql.SQL("false")
YES = sql.SQL("true")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """A table or partitioned table."""

    oid: int
    namespace: str
    relname: str
    kind: str  # pg_class.relkind
    name: str  # namespace.relation, quoted only where SQL needs it
    parent: int | None  # of a partition
    key: tuple[str, ...]  # the primary key's columns
    key_may_be_told: bool

    @property
    def rows(self) -> sql.Composable:
        """Its own rows; of a partitioned table, those of its leaves."""
        only = sql.SQL("" if self.kind == "p" else "ONLY ")
        return sql.SQL("{}{}").format(only, sql.Identifier(self.namespace, self.relname))


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    oid: int
    kind: str  # pg_constraint.contype
    name: str
    relation: int
    referenced: int
    validated: bool
    enforced: bool
    period: bool
    match_full: bool
    cascades: bool
    columns: tuple[str, ...]
    referenced_columns: tuple[str, ...]
    operators: tuple[str, ...]
    numbers: tuple[tuple[int, ...], tuple[int, ...]]  # of the columns and the referenced ones: what renames keep
    index: int
    expression: str | None  # of a check


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    oid: int
    relname: str
    name: str
    relation: int
    unique: bool
    nulls_equal: bool
    valid: bool
    maintained: bool
    keys: tuple[str, ...]
    collations: tuple[str | None, ...]
    predicate: str | None
    evaluates: bool  # it has an expression or a predicate
    filenode: int
    method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromisingColumn:
    relation: int
    number: int
    name: str
    not_null: bool
    generation: int | None  # pg_attrdef.oid
    generated_as: str | None
    domain: int | None  # its own, or its elements'
    in_array: bool
    enum: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCheck:
    oid: int
    name: str
    validated: bool
    expression: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    oid: int
    name: str
    over: int  # the type that it was made over, perhaps a domain again
    not_null: bool
    base: str  # the type below all domains, as SQL writes it
    checks: tuple[DomainCheck, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """One side."""

    relations: Mapping[int, Relation]
    constraints: Mapping[int, Constraint]
    indexes: Mapping[int, Index]
    columns: Mapping[tuple[int, int], PromisingColumn]  # by relation and number
    domains: Mapping[int, Domain]
    labels: Mapping[int, tuple[str, frozenset[int]]]  # of an enum: its name and its pg_enum oids
    bounds: Mapping[int, str]  # of a leaf that was asked for
    may_stop_cascades: frozenset[int]  # relations with a row trigger BEFORE UPDATE or DELETE
    trees: Mapping[int, frozenset[int]]  # of a partitioned table: itself and all below it

    def ancestors(self, oid: int) -> frozenset[int]:
        """With itself."""
        return ancestors_of(self.relations, oid)


def read_relations(session: Connection, ignored: Collection[str] = ()) -> dict[int, Relation]:
    """Without the ``ignored`` ones, which are written ``namespace.relation``."""
    found = {}
    for oid, namespace, relname, kind, name, parent, key, may_tell in session.execute(QUERIES["relations"]):
        if name not in ignored and f"{namespace}.{relname}" not in ignored:
            found[oid] = Relation(
                oid=oid, namespace=namespace, relname=relname, kind=kind, name=name, parent=parent, key=tuple(key),
                key_may_be_told=may_tell,
            )  # fmt: skip
    return found


def ancestors_of(relations: Mapping[int, Relation], oid: int) -> frozenset[int]:
    """What a partition belongs to, with itself."""
    found = {oid}
    relation = relations.get(oid)
    while relation is not None and relation.parent is not None:
        found.add(relation.parent)
        relation = relations.get(relation.parent)
    return frozenset(found)


def read_catalog(session: Connection, relations: Mapping[int, Relation], touched: Collection[int]) -> Catalog:
    """Eight catalog queries, whatever the number of tables; no table is read.

    ``touched`` are the oids of relations of which NOT NULLs, partition bounds and plain indexes are wanted, too.
    ``session`` has been through `prepare_session`: names are then printed with their namespace.
    """
    version = session.info.server_version
    asked = {"touched": list(touched)}
    constraints = sql.SQL(QUERIES["constraints"]).format(
        enforced=sql.SQL("con.conenforced") if version >= 180000 else YES,
        period=sql.SQL("con.conperiod") if version >= 180000 else NO,
    )
    indexes = sql.SQL(QUERIES["indexes"]).format(
        nulls_equal=sql.SQL("i.indnullsnotdistinct") if version >= 150000 else NO
    )
    leaves = [oid for oid in touched if oid in relations and relations[oid].parent and relations[oid].kind == "r"]
    return Catalog(
        relations=relations,
        constraints={row[0]: found for row in session.execute(constraints) if (found := _constraint(row, relations))},
        indexes={row[0]: _index(row) for row in session.execute(indexes, asked) if row[3] in relations},
        columns={
            (relation, number): PromisingColumn(
                relation=relation, number=number, name=name, not_null=not_null, generation=generation,
                generated_as=generated_as, domain=domain, in_array=in_array, enum=enum,
            )
            for relation, number, name, not_null, generation, generated_as, domain, in_array, enum in session.execute(
                QUERIES["columns"], asked
            )
            if relation in relations
        },
        domains=_domains(session),
        labels={oid: (name, frozenset(labels)) for oid, name, labels in session.execute(QUERIES["labels"])},
        bounds={oid: bound for oid, bound in session.execute(QUERIES["bounds"], {"leaves": leaves}) if bound},
        may_stop_cascades=frozenset(oid for (oid,) in session.execute(QUERIES["row_triggers"])),
        trees=_trees(relations),
    )  # fmt: skip


def _trees(relations: Mapping[int, Relation]) -> dict[int, frozenset[int]]:
    trees: dict[int, set[int]] = {}
    for oid in relations:
        for above in ancestors_of(relations, oid):
            if relations.get(above, relations[oid]).kind == "p":
                trees.setdefault(above, set()).add(oid)
    return {oid: frozenset(members) for oid, members in trees.items()}


def _constraint(row: tuple[Any, ...], relations: Mapping[int, Relation]) -> Constraint | None:
    oid, kind, name, relation, referenced, validated, enforced, period, match_full, cascades, *lists = row
    columns, referenced_columns, operators, numbers, referenced_numbers, index, expression = lists
    if relation not in relations or (kind == "f" and referenced not in relations):
        return None
    return Constraint(
        oid=oid, kind=kind, name=name, relation=relation, referenced=referenced, validated=validated,
        enforced=enforced, period=period, match_full=match_full, cascades=cascades, columns=tuple(columns),
        referenced_columns=tuple(referenced_columns), operators=tuple(operators),
        numbers=(tuple(numbers), tuple(referenced_numbers)), index=index, expression=expression,
    )  # fmt: skip


def _index(row: tuple[Any, ...]) -> Index:
    oid, relname, name, relation, unique, nulls_equal, valid, maintained, keys, collations, *rest = row
    predicate, evaluates, filenode, method = rest
    return Index(
        oid=oid, relname=relname, name=name, relation=relation, unique=unique, nulls_equal=nulls_equal, valid=valid,
        maintained=maintained, keys=tuple(keys), collations=tuple(collations), predicate=predicate,
        evaluates=evaluates, filenode=filenode, method=method,
    )  # fmt: skip


def _domains(session: Connection) -> dict[int, Domain]:
    rows: dict[int, tuple[str, int, bool, str]] = {}
    checks: dict[int, list[DomainCheck]] = {}
    for oid, name, over, not_null, base, con, con_name, validated, expression in session.execute(QUERIES["domains"]):
        rows[oid] = (name, over, not_null, base)
        if con is not None:
            check = DomainCheck(oid=con, name=con_name, validated=validated, expression=expression)
            checks.setdefault(oid, []).append(check)
    return {
        oid: Domain(oid=oid, name=name, over=over, not_null=not_null, base=base, checks=tuple(checks.get(oid, ())))
        for oid, (name, over, not_null, base) in rows.items()
    }

"""ALTER COLUMN … TYPE: whether the table is rewritten, read again, refused, and whether values come out different."""

from collections.abc import Generator, Iterator
from dataclasses import replace

from pgrehearse.hazards.columns import Change, change_of, may_lose_values, type_of
from pgrehearse.hazards.constraint import ConstraintKind
from pgrehearse.hazards.finding import HazardClass
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Column, ColumnType, Relation
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted
from pgrehearse.hazards.tree import Node, strings

REWRITE = (HazardClass.REWRITES_TABLE, HazardClass.SCANS_UNDER_LOCK)
_UNSURE = "whether PostgreSQL gets this change of type for free"
_TEXTS = frozenset({"text", "varchar", "bpchar", "name"})
# Casts to these round, cut or refuse what comes from a wider type.
_MAY_CUT = frozenset({"int2", "int4", "date", "time", "float4", "jsonb", "cidr", "timestamp"})
_CUT_BY_LENGTH = frozenset({"numeric", "interval", "time", "timetz", "timestamptz"})
_ZONED = frozenset({"timestamp", "timestamptz"})
_FAMILIES = (
    frozenset({"int2", "int4", "int8", "numeric", "float4", "float8"}),
    frozenset({"text", "varchar", "bpchar", "name"}),
    frozenset({"timestamp", "timestamptz", "date"}),
    frozenset({"time", "timetz"}),
    frozenset({"inet", "cidr"}),
    frozenset({"bit", "varbit"}),
    frozenset({"json", "jsonb"}),
)


def change_type(situation: Situation, table: RelationName, relation: Relation, command: Node) -> Iterator[Hit]:
    """One ALTER COLUMN … TYPE."""
    body = command["def"]["ColumnDef"]
    name = command["name"]
    new = type_of(body["typeName"])
    column = relation.columns.get(name)
    old = column.type if column is not None else None
    using = body.get("raw_default")
    if using is not None and _is_bare(using, name, new):
        using = None
    names = {
        "table": table.written,
        "column": quoted(name),
        "type": new.written,
        "new": quoted(derived(name, "new")),
        "kind": "COLUMN",
        "object": f"{table.written}.{quoted(name)}",
    }
    if column is None and relation.knows and situation.model.complete:
        yield Hit(hazard="missing-object", relation=table, names=names)
        return
    blocked = list(_blocked(situation, relation, name, names, table))
    if blocked:
        yield from blocked
        return
    change = _change(situation, old, new, using=using is not None)
    bare = using is None and "raw_default" in body
    if bare and change in (Change.REFUSED, Change.REWRITE):
        using = body["raw_default"]
        change = Change.REWRITE
    if change is Change.REFUSED:
        yield Hit(hazard="cast-fails", relation=table, names=names)
        return
    if change is Change.BY_TIMEZONE or (old is None and new.name in _ZONED and situation.is_utc() is False):
        change = yield from _by_timezone(situation, table, names, old)
    yield from _rewriting(situation, table, names, change, old, new, body.get("raw_default"))
    yield from _values(situation, table, old, new, using, names)
    if change is Change.FREE:
        yield from _checked_again(situation, table, relation, column, body, names)
    yield Hit(hazard="select-star-prepared-plan", relation=table, names=names)


def _is_bare(using: Node, name: str, new: ColumnType) -> bool:
    """USING the column itself, or its cast to the very type: as if it were not there."""
    node = using
    if "TypeCast" in node and type_of(node["TypeCast"]["typeName"]) == new:
        node = node["TypeCast"]["arg"]
    return "ColumnRef" in node and strings(node["ColumnRef"]["fields"][-1:]) == [name] if _named(node) else False


def _named(node: Node) -> bool:
    return "ColumnRef" in node and "String" in node["ColumnRef"]["fields"][-1]


def _change(situation: Situation, old: ColumnType | None, new: ColumnType, *, using: bool) -> Change:
    if using:
        return Change.REWRITE
    if old is None:
        return Change.UNKNOWN
    kind, base = _domain(situation, new)
    if kind == "constrained":
        return Change.FREE if old.name == new.name else Change.REWRITE
    old_kind, old_base = _domain(situation, old)
    if old_kind is not None and kind is None and old_base is not None:
        # The column's own length is not known of a domain's values: a limit is applied to each (exprTypmod is -1).
        return change_of(replace(old_base, modifiers=()), new)
    if kind is not None or old_kind is not None:
        return Change.FREE if old.name == new.name else change_of(old_base or old, base or new)
    if situation.model.types.keys() & {_resolved(situation, old), _resolved(situation, new)}:
        return Change.FREE if (old.name, old.dimensions) == (new.name, new.dimensions) else Change.REWRITE
    return change_of(old, new)


def _resolved(situation: Situation, written: ColumnType) -> RelationName:
    return situation.resolve_type(RelationName(written.namespace, written.name))


def _domain(situation: Situation, written: ColumnType) -> tuple[str | None, ColumnType | None]:
    """Whether it is a domain, with constraints or not, and what is below it."""
    known = situation.model.types.get(_resolved(situation, written))
    if known is None or known.kind != "d":
        return None, None
    if known.base is None:
        return "constrained" if known.constrained else "plain", None
    _, below = _domain(situation, known.base)
    return "constrained" if known.constrained else "plain", below or known.base


def _rewriting(
    situation: Situation,
    table: RelationName,
    names: dict[str, str],
    change: Change,
    old: ColumnType | None,
    new: ColumnType,
    using: Node | None,
) -> Iterator[Hit]:
    why = _breaks_sql(situation, old, new) if old is not None else _converted(situation, new, using)
    if why is not None:
        yield Hit(
            hazard="type-change-breaks-sql",
            relation=table,
            names=names,
            certain=why == "",
            unsure=why or None,
        )
    if change is Change.FREE:
        return
    certain = change is Change.REWRITE
    yield Hit(
        hazard="change-column-type",
        relation=table,
        names=names,
        classes=REWRITE,
        certain=certain,
        unsure=None if certain else _UNSURE,
    )


def _converted(situation: Situation, new: ColumnType, using: Node | None) -> str | None:
    """What the old type was is not known; that it had to be converted, USING says, since a cast that PostgreSQL makes
    by itself needs none."""
    if using is None or situation.model.types.get(_resolved(situation, new)) is not None or _named(using):
        return None
    if new.name in _TEXTS:
        return "whether it writes longer values" if new.modifiers and not _is_cast(using) else None
    return "what type it has, and whether statements compare it with values of that"


def _breaks_sql(situation: Situation, old: ColumnType, new: ColumnType) -> str | None:
    """Whether statements of the application fail; "" where that is certain, else what it hangs on; None: they do not.

    A constant in quotes has no type of its own and is read as the column's; numbers have one.
    """
    first, second = (_domain(situation, each)[1] or each for each in (old, new))
    types = situation.model.types
    if {_resolved(situation, first), _resolved(situation, second)} & types.keys():
        return None  # an enum's labels are written like texts
    if first.dimensions != second.dimensions:
        return ""
    if first.name in _TEXTS and second.name in _TEXTS:
        narrower = bool(second.modifiers) and (not first.modifiers or second.modifiers[0] < first.modifiers[0])
        return "whether it writes longer values" if narrower else None
    if first.name == second.name or any(first.name in family and second.name in family for family in _FAMILIES):
        return None
    if first.name in _TEXTS:
        return "whether it compares it with texts that are no such values"
    return ""


def _by_timezone(
    situation: Situation, table: RelationName, names: dict[str, str], old: ColumnType | None
) -> Generator[Hit, None, Change]:
    """Free where the session's TimeZone is UTC; elsewhere a rewrite, and the values are read as local times."""
    utc = situation.is_utc()
    if utc:
        return Change.FREE
    classes = (HazardClass.DATA_LOSS, *REWRITE)
    yield Hit(
        hazard="tz-dependent-type-change",
        relation=table,
        names=names,
        classes=classes,
        certain=utc is False and old is not None,
        unsure="the session's TimeZone: in UTC it is free",
    )
    return Change.FREE


def _values(
    situation: Situation,
    table: RelationName,
    old: ColumnType | None,
    new: ColumnType,
    using: Node | None,
    names: dict[str, str],
) -> Iterator[Hit]:
    """Whether a value may be cut, rounded or shifted: what the rows say of it is `rows_in_the_way`'s to ask."""
    new_type = situation.model.types.get(_resolved(situation, new))
    if new_type is not None and new_type.kind == "e" and using is not None and _is_cast(using):
        return  # a label is the very text, or the cast fails
    before = (_domain(situation, old)[1] or old) if old is not None else None
    old_type = situation.model.types.get(_resolved(situation, old)) if old is not None else None
    if old_type is not None and new_type is not None and old_type.kind == new_type.kind == "e":
        gone = [label for label in old_type.labels if label not in new_type.labels]
        if gone and new_type.labels:
            more = {"label": "'" + gone[0].replace("'", "''") + "'", "check": quoted(derived(names["column"], "label"))}
            yield Hit(
                hazard="enum-value-removal",
                relation=table,
                names=names | more,
                certain=False,
                unsure="whether a row has the label",
                classes=(HazardClass.DATA_LOSS, *REWRITE),
            )
            return
    loses = may_lose_values(before, _domain(situation, new)[1] or new, using=using is not None)
    if loses is None:
        loses = using is not None or new.name in _MAY_CUT or (new.name in _CUT_BY_LENGTH and bool(new.modifiers))
    if loses:
        yield Hit(
            hazard="lossy-type-change",
            relation=table,
            names=names,
            classes=(HazardClass.DATA_LOSS,),
            certain=False,
            unsure="whether its values survive",
        )


def _is_cast(node: Node) -> bool:
    """A column under casts alone."""
    while "TypeCast" in node:
        node = node["TypeCast"]["arg"]
    return "ColumnRef" in node


def _blocked(
    situation: Situation, relation: Relation, name: str, names: dict[str, str], table: RelationName
) -> Iterator[Hit]:
    """A view, a rule or a generated column that uses it refuses every change of type, also one to the same type."""
    for view in situation.model.using(relation.name, name):
        used = {column for used, column in view.uses if used == relation.name}
        if name not in used and None not in used:
            continue
        more = {
            "object": view.name.written,
            "kind": "MATERIALIZED VIEW" if view.kind and view.kind.value == "m" else "VIEW",
            "oid": view.name.oid_of("regclass"),
        }
        yield Hit(hazard="view-blocks-type-change", relation=table, names=names | more)
        return


def _checked_again(
    situation: Situation,
    table: RelationName,
    relation: Relation,
    column: Column | None,
    body: Node,
    names: dict[str, str],
) -> Iterator[Hit]:
    """A change that is free for the table may still verify its CHECKs or build indexes again."""
    name = column.name if column is not None else ""
    collation = strings(body["collClause"]["collname"])[-1] if "collClause" in body else None
    recollated = collation is not None and (column is None or collation != column.collation)
    recollated = recollated or (collation is None and column is not None and column.collation not in (None, "default"))
    for target in situation.with_partitions(relation):
        for constraint in target.constraints.values():
            if constraint.kind is ConstraintKind.CHECK and name in constraint.columns and constraint.validated:
                more = {"constraint": quoted(constraint.name), "definition": constraint.definition or "CHECK (…)"}
                yield Hit(hazard="type-change-rechecks-constraints", relation=table, names=names | more)
                break
        for index in target.indexes.values():
            if name in index.expression_columns or (recollated and name in index.key_columns):
                more = {"object": quoted(index.name), "new": quoted(derived(index.name, "new"))}
                yield Hit(hazard="type-change-rebuilds-index", relation=table, names=names | more)
                break

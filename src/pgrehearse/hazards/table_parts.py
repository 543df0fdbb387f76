"""Columns and constraints of a definition, as the model keeps them."""

from pgrehearse.hazards.columns import SERIALS, type_of
from pgrehearse.hazards.constraint import Constraint, ConstraintKind
from pgrehearse.hazards.expressions import not_null_columns
from pgrehearse.hazards.model import Column, ColumnType, Index, Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived
from pgrehearse.hazards.tree import Node, columns_in, constant_of, functions_in, relation_of, strings, walk

KINDS = {
    "CONSTR_CHECK": ConstraintKind.CHECK,
    "CONSTR_FOREIGN": ConstraintKind.FOREIGN,
    "CONSTR_PRIMARY": ConstraintKind.PRIMARY,
    "CONSTR_UNIQUE": ConstraintKind.UNIQUE,
    "CONSTR_EXCLUSION": ConstraintKind.EXCLUSION,
    "CONSTR_NOTNULL": ConstraintKind.NOT_NULL,
}
_ATTRIBUTES = {
    "CONSTR_ATTR_DEFERRABLE": ("deferrable", True),
    "CONSTR_ATTR_DEFERRED": ("initially_deferred", True),
    "CONSTR_ATTR_NOT_ENFORCED": ("enforced", False),
}
_SUFFIX = {
    ConstraintKind.CHECK: "check",
    ConstraintKind.FOREIGN: "fkey",
    ConstraintKind.PRIMARY: "pkey",
    ConstraintKind.UNIQUE: "key",
    ConstraintKind.EXCLUSION: "excl",
    ConstraintKind.NOT_NULL: "not_null",
}


def add_column(situation: Situation, relation: Relation, body: Node) -> Column:
    """A ColumnDef's column and what its constraints make."""
    column = column_of(body, situation)
    relation.columns[column.name] = column
    if body.get("typeName") and strings(body["typeName"]["names"])[-1] in SERIALS:
        _own_sequence(situation, relation, column)
    made: Constraint | None = None
    for each in body.get("constraints", ()):
        constraint = each["Constraint"]
        if constraint["contype"] in _ATTRIBUTES and made is not None:  # of the constraint before it
            setattr(made, *_ATTRIBUTES[constraint["contype"]])
        elif constraint["contype"] in KINDS and constraint["contype"] != "CONSTR_NOTNULL":
            made = constraint_of(constraint, relation, situation, column=column.name)
            add_constraint(situation, relation, made)
        elif constraint["contype"] == "CONSTR_IDENTITY":
            _own_sequence(situation, relation, column)
    return column


def _own_sequence(situation: Situation, relation: Relation, column: Column) -> None:
    name = RelationName(relation.name.namespace, derived(relation.name.name, column.name, "seq"))
    situation.model.relations[name] = Relation(
        name=name,
        kind=RelationKind.SEQUENCE,
        knows=True,
        made_in=situation.file,
        owned_by=(relation.name, column.name),
    )


def column_of(body: Node, situation: Situation) -> Column:
    """A ColumnDef's column."""
    written = type_of(body["typeName"]) if "typeName" in body else None
    column = Column(name=body["colname"], type=written, not_null=False, has_default=False, made_in=situation.file)
    if written is not None and written.name in SERIALS:
        column.type = ColumnType(name=SERIALS[written.name], written=written.written)
        column.not_null = column.has_default = True
    for each in body.get("constraints", ()):
        constraint = each["Constraint"]
        match constraint["contype"]:
            case "CONSTR_NOTNULL" | "CONSTR_PRIMARY":
                column.not_null = True
            case "CONSTR_DEFAULT":
                column.has_default = True
                column.default_calls = calls_of(constraint.get("raw_expr", {}), situation)
            case "CONSTR_IDENTITY":
                column.identity, column.not_null = constraint.get("generated_when", "a"), True
                column.has_default = True
            case "CONSTR_GENERATED":
                column.generated = constraint.get("generated_kind", "s")
                column.has_default = True
                column.default_calls = calls_of(constraint.get("raw_expr", {}), situation)
    if "collClause" in body:
        column.collation = strings(body["collClause"]["collname"])[-1]
    return column


def calls_of(expression: Node, situation: Situation) -> frozenset[RelationName]:
    """The functions of a default, and the sequence of its nextval."""
    found = {situation.resolve_function(each) for each in functions_in(expression)}
    for kind, body in walk(expression):
        if kind == "FuncCall" and strings(body["funcname"])[-1] == "nextval" and body.get("args"):
            name = constant_of(body["args"][0])
            if isinstance(name, str):
                found.add(situation.resolve(_named(name)))
    return frozenset(found)


def _named(text: str) -> RelationName:
    *before, name = (part.strip('"') if part.startswith('"') else part.lower() for part in text.split("."))
    return RelationName(before[-1] if before else None, name)


def constraint_of(body: Node, relation: Relation, situation: Situation, *, column: str | None = None) -> Constraint:
    """A Constraint node; `column`: the one at which it stands inline."""
    kind = KINDS[body["contype"]]
    columns: tuple[str, ...] = (column,) if column is not None else ()
    match kind:
        case ConstraintKind.CHECK:
            columns = tuple(sorted(columns_in(body.get("raw_expr", {}))))
        case ConstraintKind.FOREIGN if "fk_attrs" in body:
            columns = tuple(strings(body["fk_attrs"]))
        case ConstraintKind.PRIMARY | ConstraintKind.UNIQUE | ConstraintKind.NOT_NULL if "keys" in body:
            columns = tuple(strings(body["keys"]))
        case ConstraintKind.EXCLUSION:
            columns = tuple(sorted(columns_in(body.get("exclusions", ())) | _plain(body.get("exclusions", ()))))
    if "indexname" in body and body["indexname"] in relation.indexes:
        columns = relation.indexes[body["indexname"]].key_columns
    of_name = () if kind in (ConstraintKind.PRIMARY,) else columns
    if kind is ConstraintKind.CHECK:
        of_name = columns if len(columns) == 1 else ()
    name = body.get("conname") or derived(relation.name.name, *of_name, _SUFFIX[kind])
    enforced = kind not in (ConstraintKind.CHECK, ConstraintKind.FOREIGN) or bool(body.get("is_enforced", False))
    referenced = situation.resolve(relation_of(body["pktable"])) if "pktable" in body else None
    return Constraint(
        name=name,
        kind=kind,
        columns=columns,
        validated=not body.get("skip_validation", False) and enforced,
        enforced=enforced,
        proves_not_null=frozenset(not_null_columns(body.get("raw_expr", {})))
        if kind is ConstraintKind.CHECK
        else frozenset(),
        referenced=referenced,
        referenced_columns=tuple(strings(body.get("pk_attrs"))),
        on_delete=body.get("fk_del_action", "a"),
        on_update=body.get("fk_upd_action", "a"),
        deferrable=bool(body.get("deferrable")),
        initially_deferred=bool(body.get("initdeferred")),
        index=name if kind in (ConstraintKind.PRIMARY, ConstraintKind.UNIQUE, ConstraintKind.EXCLUSION) else None,
        made_in=situation.file,
    )


def _plain(exclusions: list[Node]) -> set[str]:
    found = set()
    for each in exclusions:
        for kind, body in walk(each):
            if kind == "IndexElem" and "name" in body:
                found.add(body["name"])
    return found


def add_constraint(situation: Situation, relation: Relation, constraint: Constraint) -> None:
    """The constraint with its index, and what it makes of its columns."""
    if constraint.kind is ConstraintKind.NOT_NULL:
        for name in constraint.columns:
            if name in relation.columns and constraint.validated:
                relation.columns[name].not_null = True
    relation.constraints[constraint.name] = constraint
    if constraint.referenced is not None:
        situation.model.note_links(relation)
    if constraint.index is not None:
        key = RelationName(relation.name.namespace, constraint.name)
        situation.model.index_tables[key] = relation.name
        relation.indexes[constraint.name] = Index(
            name=constraint.name,
            columns=constraint.columns,
            key_columns=constraint.columns,
            unique=constraint.kind is not ConstraintKind.EXCLUSION,
            primary=constraint.kind is ConstraintKind.PRIMARY,
            constraint=constraint.name,
            made_in=situation.file,
        )
    if constraint.kind is ConstraintKind.PRIMARY:
        for name in constraint.columns:
            if name in relation.columns:
                relation.columns[name].not_null = True

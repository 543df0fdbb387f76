"""ADD COLUMN: what is written into old rows, what old INSERTs lack, and what is proved at once."""

from collections.abc import Iterator

from pgrehearse.hazards.columns import COMMON_TYPES, SERIALS, type_of
from pgrehearse.hazards.finding import HazardClass
from pgrehearse.hazards.functions import is_volatile
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import ColumnType, Relation
from pgrehearse.hazards.predict.constraints import add_constraint
from pgrehearse.hazards.predict.style import column_style
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted
from pgrehearse.hazards.tree import Node, constant_of, is_null, kind_of, name_of, walk
from pgrehearse.hazards.written import Written

REWRITE = (HazardClass.REWRITES_TABLE, HazardClass.SCANS_UNDER_LOCK)


def add_column(
    written: Written, situation: Situation, table: RelationName, relation: Relation, command: Node
) -> Iterator[Hit]:
    """One ADD COLUMN."""
    column = command["def"]["ColumnDef"]
    name = column["colname"]
    constraints = {each["Constraint"]["contype"]: each["Constraint"] for each in column.get("constraints", ())}
    written_type = type_of(column["typeName"])
    names = {
        "table": table.written,
        "column": quoted(name),
        "type": written_type.written,
        "kind": "COLUMN",
        "object": f"{table.written}.{quoted(name)}",
        "check": quoted(derived(table.name, name, "not_null")),
        "new": quoted(derived(name, "new")),
    }
    if situation.model.complete and relation.knows and name in relation.columns:
        if not command.get("missing_ok"):
            yield Hit(hazard="object-exists", relation=table, names=names)
        return
    default = constraints.get("CONSTR_DEFAULT")
    serial = written_type.name in SERIALS
    null_default = default is not None and is_null(default.get("raw_expr"))
    generated = constraints.get("CONSTR_GENERATED")
    virtual = generated is not None and generated.get("generated_kind") == "v"
    identity = "CONSTR_IDENTITY" in constraints
    filled = serial or identity or generated is not None or (default is not None and not null_default)
    domain = situation.model.types.get(situation.resolve_type(RelationName(written_type.namespace, written_type.name)))
    yield from _filling(
        written,
        situation,
        table,
        names,
        default,
        serial=serial,
        identity=identity,
        stored=generated is not None and not virtual,
    )
    if domain is not None and domain.kind == "d" and domain.constrained:
        base = domain.base.written if domain.base is not None else "text"
        yield Hit(hazard="add-column-constrained-domain", relation=table, names=names | {"new": base}, classes=REWRITE)
    elif domain is None and not situation.model.complete and not _is_known_type(written_type):
        yield Hit(
            hazard="add-column-constrained-domain",
            relation=table,
            names=names | {"new": "text"},
            classes=REWRITE,
            certain=False,
            unsure="whether the type is a domain with a constraint",
        )
    if virtual and (situation.model.server_major or 18) < 18:
        yield Hit(hazard="statement-refused", relation=table, names=names | {"command": "GENERATED … VIRTUAL"})
    if not filled and {"CONSTR_NOTNULL", "CONSTR_PRIMARY"} & constraints.keys():
        yield Hit(hazard="add-not-null-no-default", relation=table, names=names, by_rows=True)
    yield Hit(hazard="select-star-prepared-plan", relation=table, names=names)
    yield from column_style(table, column, names)
    column_first = f"ALTER TABLE {table.written} ADD COLUMN {quoted(name)} {written_type.written};\n"
    for each in column.get("constraints", ()):
        constraint = each["Constraint"]
        # A new column that is NULL everywhere references nothing, and PostgreSQL knows it; a CHECK is proved even so.
        if constraint["contype"] == "CONSTR_FOREIGN" and not filled:
            continue
        yield from add_constraint(
            written, situation, table, relation, constraint, column=name, column_first=column_first, filled=filled
        )


def _is_known_type(written: ColumnType) -> bool:
    """PostgreSQL's own, or of an extension that many have: no domain."""
    return written.namespace is None and (
        written.name in SERIALS or written.name in COMMON_TYPES or bool(written.dimensions)
    )


def _filling(
    written: Written, situation: Situation, table: RelationName, names: dict[str, str], default: Node | None, *,
    serial: bool, identity: bool, stored: bool,
) -> Iterator[Hit]:  # fmt: skip
    sequence = derived(table.name, names["column"].strip('"'), "seq")
    if serial:
        yield Hit(hazard="add-serial", relation=table, names=names, classes=REWRITE)
        yield from no_grant(situation, table, names, table.beside(sequence))
    elif identity:
        yield Hit(hazard="add-identity-column", relation=table, names=names, classes=REWRITE)
    elif stored:
        yield Hit(hazard="add-generated-stored", relation=table, names=names, classes=REWRITE)
    elif default is not None and "raw_expr" in default:
        expression = default["raw_expr"]
        volatile = is_volatile(expression, situation)
        if volatile is not False:
            text = written.item_at(default["location"]) if written.text else "…"
            definition = text.split(None, 1)[-1] if text.lower().startswith("default") else text
            yield Hit(
                hazard="add-column-volatile-default",
                relation=table,
                names=names | {"definition": _until_next_keyword(definition)},
                classes=REWRITE,
                certain=volatile is True,
                unsure="whether its function is volatile" if volatile is None else None,
            )
        for each in sequences_of(expression):
            yield from no_grant(situation, table, names, each)


def _until_next_keyword(text: str) -> str:
    """A default's own words: constraints may follow it at the same depth."""
    depth = 0
    pieces = []
    for word in text.split(" "):
        if depth == 0 and word.lower() in ("not", "null", "check", "unique", "primary", "references", "constraint"):
            break
        depth += word.count("(") - word.count(")")
        pieces.append(word)
    return " ".join(pieces) or text


def sequences_of(expression: Node) -> Iterator[str]:
    """The sequences of a default's nextval()."""
    for kind, body in [kind_of(expression), *walk(expression)]:
        if kind == "FuncCall" and name_of(body["funcname"]).name == "nextval" and body.get("args"):
            name = constant_of(body["args"][0])
            if isinstance(name, str):
                yield name


def no_grant(situation: Situation, table: RelationName, names: dict[str, str], sequence: str) -> Iterator[Hit]:
    """INSERTs of a role that may not use the new sequence fail; an identity column needs no grant."""
    if situation.model.sequences_granted_by_default:
        return
    *before, last = sequence.split(".")
    resolved = situation.resolve(RelationName(before[-1] if before else table.namespace, last.strip('"')))
    known = situation.model.relations.get(resolved)
    if known is not None and not situation.is_recent(known.made_in):
        return
    if resolved in situation.granted:
        return
    yield Hit(
        hazard="new-sequence-no-grant",
        relation=table,
        names=names | {"sequence": sequence},
        certain=situation.model.complete,
        unsure="whether the application's role may use new sequences",
    )

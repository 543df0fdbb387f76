"""Types, functions, views, triggers, rules, sequences, rights: what is no table."""

import re
from collections.abc import Iterator

from pgrehearse.errors import UnreadableSql
from pgrehearse.hazards.columns import argument_type, type_of
from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Function, Relation, RelationKind
from pgrehearse.hazards.parsed import parse_text
from pgrehearse.hazards.predict.dropping import kind_text
from pgrehearse.hazards.situation import Situation, situation_name
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, name_of, options, relation_of
from pgrehearse.hazards.view_changes import output_columns
from pgrehearse.hazards.written import Written

_RAISES_AT_ONCE = re.compile(r"\s*begin\s+raise\s+(?:exception\b|')", re.IGNORECASE)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def alter_enum(written: Written, situation: Situation) -> Iterator[Hit]:
    """ALTER TYPE … ADD VALUE, RENAME VALUE."""
    tree = written.tree
    name = name_of(tree["typeName"])
    known = situation.model.types.get(situation.resolve_type(name))
    new_type = known is not None and situation.is_recent(known.made_in)
    if "oldVal" in tree:
        if not new_type:
            names = {"type": name.written, "label": _literal(tree["oldVal"]), "new": _literal(tree["newVal"])}
            yield Hit(hazard="rename-enum-value", relation=None, names=names)
    elif "newValNeighbor" not in tree and not new_type:
        yield Hit(hazard="enum-value-position", relation=None,
                  names={"type": name.written, "label": _literal(tree["newVal"])})  # fmt: skip
    if (
        "oldVal" not in tree
        and known is not None
        and tree["newVal"] in known.labels
        and (not tree.get("skipIfNewValExists") and (situation.model.complete or new_type))
    ):
        names = {"kind": "enum value", "object": _literal(tree["newVal"])}
        yield Hit(hazard="object-exists", relation=None, names=names)


def alter_domain(written: Written, situation: Situation) -> Iterator[Hit]:
    """ALTER DOMAIN reads every table with a column of the domain to prove a constraint."""
    tree = written.tree
    name = name_of(tree["typeName"])
    resolved = situation.resolve_type(name)
    body = tree.get("def", {}).get("Constraint", {})
    subtype = tree.get("subtype")
    if subtype in ("X", "N"):
        yield from _less_of_a_domain(written, situation, name)
        return
    known = situation.model.types.get(resolved)
    of_name = known.constraints.get(tree.get("name", "")) if known is not None else None
    proves = subtype == "V" and not (of_name is not None and of_name.validated)
    if not (proves or subtype == "O" or (subtype == "C" and not body.get("skip_validation"))):
        return
    if known is not None and situation.is_recent(known.made_in):
        return
    names = {
        "object": name.written,
        "constraint": quoted(tree.get("name") or body.get("conname", "not_null")),
        "statement": written.on_one_line if proves else f"{written.on_one_line} NOT VALID",
    }
    users = [relation for relation, _ in situation.model.typed(resolved)]
    users = [each for each in users if not situation.is_new(each) and not situation.has_no_rows(each)]
    if situation.model.complete and not users:
        return
    yield Hit(
        hazard="domain-add-constraint",
        relation=users[0].name if users else None,
        names=names,
        certain=bool(users),
        unsure="which tables use the domain",
    )


def _less_of_a_domain(written: Written, situation: Situation, name: RelationName) -> Iterator[Hit]:
    known = situation.model.types.get(situation.resolve_type(name))
    if known is not None and situation.is_recent(known.made_in):
        return
    dropped = written.tree.get("name")
    names = {
        "table": name.written,
        "constraint": quoted(dropped) if dropped else "NOT NULL",
        "statement": written.on_one_line,
    }
    yield Hit(hazard="drop-constraint", relation=None, names=names)


def alter_object_schema(written: Written, situation: Situation) -> Iterator[Hit]:
    """SET SCHEMA."""
    tree = written.tree
    kind = kind_text(tree["objectType"])
    if "relation" in tree:
        name = relation_of(tree["relation"])
    elif "ObjectWithArgs" in tree.get("object", {}):
        name = name_of(tree["object"]["ObjectWithArgs"]["objname"])
    elif "List" in tree.get("object", {}):
        name = name_of(tree["object"]["List"]["items"])
    else:
        name = RelationName(None, tree.get("object", {}).get("String", {}).get("sval", ""))
    schema = quoted(tree["newschema"])
    moved = RelationName(tree["newschema"], name.name).written
    view = " ".join(("CREATE VIEW", name.written, "AS SELECT * FROM", moved))
    names = {"kind": kind, "object": name.written, "schema": schema, "new_qualified": moved, "statement": view}
    yield Hit(hazard="set-schema", relation=name if "relation" in tree else None, names=names)


def alter_policy(written: Written, situation: Situation) -> Iterator[Hit]:
    """ALTER POLICY."""
    table = relation_of(written.tree["table"])
    names = {"table": table.written, "object": quoted(written.tree["policy_name"]), "statement": written.on_one_line}
    yield Hit(hazard="alter-policy", relation=table, names=names)


def alter_sequence(written: Written, situation: Situation) -> Iterator[Hit]:
    """ALTER SEQUENCE … RESTART."""
    if options(written.tree.get("options")).get("increment") == 0:
        names = {"command": "INCREMENT 0", "object": "a sequence has to go somewhere"}
        yield Hit(hazard="statement-refused", relation=None, names=names, even_new=True)
        return
    if "restart" in options(written.tree.get("options")):
        name = relation_of(written.tree["sequence"])
        names = {"sequence": name.written, "oid": name.oid_of("regclass")}
        yield Hit(
            hazard="sequence-restart",
            relation=name,
            names=names,
            certain=False,
            unsure="whether its next value is above those that are there",
        )


def alter_system(written: Written, situation: Situation) -> Iterator[Hit]:
    """ALTER SYSTEM is refused in a transaction; that is `transactions`' to tell."""
    yield from ()


def create_function(written: Written, situation: Situation) -> Iterator[Hit]:
    """A function under the name of one that this file dropped: calls with the old arguments fail."""
    name = name_of(written.tree["funcname"])
    resolved = situation.resolve_function(name)
    inputs = _inputs(written.tree)
    same = inputs is not None and (resolved, tuple(each for _, each in inputs)) in situation.dropped_signatures
    if resolved in situation.dropped_functions and not same:
        names = {"object": name.written, "statement": written.on_one_line}
        yield Hit(hazard="function-signature-change", relation=None, names=names)
    if not written.tree.get("replace") and situation.model.complete and not situation.blind:
        own = situation_name(name, situation)
        if any(_same_signature(known, written.tree) is not None for known in situation.model.functions.get(own, [])):
            names = {"kind": "FUNCTION", "object": f"{own.written}({', '.join(each for _, each in inputs or ())})"}
            yield Hit(hazard="object-exists", relation=None, names=names, even_new=True)
    elif written.tree.get("replace"):
        for known in situation.model.functions.get(situation.resolve_function(name), []):
            why = _not_to_be_replaced(known, written.tree)
            if why is not None:
                names = {"command": f"CREATE OR REPLACE of {name.written}", "object": why}
                yield Hit(hazard="statement-refused", relation=None, names=names, even_new=True)


def _not_to_be_replaced(known: Function, tree: Node) -> str | None:
    """Of a function with these very arguments, neither the result's type nor an argument's name may change.

    Source: ProcedureCreate in pg_proc.c.
    """
    old = _same_signature(known, tree)
    if old is None or bool(old.get("is_procedure")) != bool(tree.get("is_procedure")):
        return None
    before, now = _inputs(old) or [], _inputs(tree) or []
    if any(was and was != name for (was, _), (name, _) in zip(before, now, strict=True)):
        return "an argument has another name"
    if (
        "returnType" in old
        and "returnType" in tree
        and argument_type(old["returnType"]) != argument_type(tree["returnType"])
    ):
        return "it returns another type"
    return None


def _same_signature(known: Function, tree: Node) -> Node | None:
    """The statement that makes the known one, where it has these very argument types; None: another overload."""
    try:
        [(kind, old)] = parse_text(known.definition or "")
    except (UnreadableSql, ValueError):
        return None
    before, now = _inputs(old) if kind == "CreateFunctionStmt" else None, _inputs(tree)
    if before is None or now is None or [each for _, each in before] != [each for _, each in now]:
        return None
    return old


def _inputs(tree: Node) -> list[tuple[str, str]] | None:
    """Names and types; None where there are others than input parameters."""
    parameters = [each["FunctionParameter"] for each in tree.get("parameters", ())]
    if any(
        each.get("mode", "FUNC_PARAM_DEFAULT") not in ("FUNC_PARAM_DEFAULT", "FUNC_PARAM_IN") for each in parameters
    ):
        return None
    return [(each.get("name", ""), argument_type(each["argType"])) for each in parameters]


def create_enum(written: Written, situation: Situation) -> Iterator[Hit]:
    """CREATE TYPE … AS ENUM."""
    yield Hit(hazard="enum-type", relation=None, names={"type": name_of(written.tree["typeName"]).written})


def create_domain(written: Written, situation: Situation) -> Iterator[Hit]:
    """CREATE DOMAIN with a constraint."""
    if written.tree.get("constraints"):
        yield Hit(hazard="domain-with-constraint", relation=None,
                  names={"object": name_of(written.tree["domainname"]).written})  # fmt: skip


def create_trigger(written: Written, situation: Situation) -> Iterator[Hit]:
    """CREATE TRIGGER: others' writes wait for it, and then run it."""
    tree = written.tree
    table = relation_of(tree["relation"])
    names = {
        "table": table.written,
        "object": quoted(tree["trigname"]),
        "statement": written.on_one_line,
        "kind": "TABLE",
    }
    if situation.exists(table) is False:
        yield Hit(hazard="missing-object", relation=None, names=names | {"object": table.written}, even_new=True)
        return
    yield Hit(hazard="create-trigger-lock", relation=table, names=names)
    function = situation.resolve_function(name_of(tree["funcname"]))
    bodies = [each.body or "" for each in situation.model.functions.get(function, [])]
    raises = any(_RAISES_AT_ONCE.match(body) for body in bodies)
    # What the function does to the application's writes shows only when they run; one that raises at once refuses them.
    classes = None if raises or not bodies else (HazardClass.BLOCKS_WRITES,)
    yield Hit(
        hazard="trigger-added-on-hot-table",
        relation=table,
        names=names,
        classes=classes,
        level=Level.ERROR if raises else None,
        certain=raises,
        unsure="what its function does to the application's writes",
    )


def create_rule(written: Written, situation: Situation) -> Iterator[Hit]:
    """A rule that does something instead: silently, for who asked for the other thing."""
    tree = written.tree
    table = relation_of(tree["relation"])
    if not tree.get("instead"):
        return
    names = {
        "table": table.written,
        "object": quoted(tree["rulename"]),
        "command": tree.get("event", "").removeprefix("CMD_"),
    }
    # The statements go on, without an error and without their effect.
    yield Hit(hazard="rule-instead", relation=table, names=names, classes=(HazardClass.GUARANTEE_LOST,))


def create_view(written: Written, situation: Situation) -> Iterator[Hit]:
    """CREATE [OR REPLACE] VIEW over another one: a column may not go, nor change its type."""
    tree = written.tree
    name = relation_of(tree["view"])
    if not situation.exists(name):
        return
    names = {"object": name.written, "kind": "VIEW", "new_qualified": name.beside(f"{name.name}_new")}
    if not tree.get("replace"):
        if situation.exists(name):
            yield Hit(hazard="object-exists", relation=None, names=names, even_new=True)
        return
    known = situation.relation(name)
    before, now = list(known.columns), output_columns(tree)
    if not before or now is None or known.kind is not RelationKind.VIEW:
        return
    if now[: len(before)] != before or _retyped(known, before, tree):
        yield Hit(hazard="replace-view-loses-column", relation=name, names=names)


def _retyped(known: Relation, before: list[str], tree: Node) -> bool:
    """Whether a cast in the new text gives a column of the view another type."""
    targets = tree["query"].get("SelectStmt", {}).get("targetList", [])
    for name, target in zip(before, targets, strict=False):
        cast = target["ResTarget"].get("val", {}).get("TypeCast")
        old = known.columns[name].type
        if cast is not None and old is not None:
            new = type_of(cast["typeName"])
            if (old.name, old.modifiers, old.dimensions) != (new.name, new.modifiers, new.dimensions):
                return True
    return False


def grant(written: Written, situation: Situation) -> Iterator[Hit]:
    """REVOKE; granting harms nobody."""
    tree = written.tree
    if tree.get("is_grant"):
        return
    targets = [relation_of(each["RangeVar"]) for each in tree.get("objects", ()) if "RangeVar" in each]
    text = written.on_one_line
    grantees = {each["RoleSpec"]["roletype"] for each in tree.get("grantees", ())}
    if grantees == {"ROLESPEC_PUBLIC"} and tree.get("behavior") != "DROP_CASCADE":
        names = {"command": "REVOKE", "object": text.split(None, 1)[-1], "statement": text}
        unsure = "who has the right by PUBLIC alone"
        yield Hit(hazard="revoke", relation=None, names=names, certain=False, unsure=unsure)
        return
    if tree.get("behavior") == "DROP_CASCADE" or written.kind == "GrantRoleStmt" or not targets:
        names = {"command": "REVOKE", "object": text.split(None, 1)[-1], "statement": text}
        yield Hit(hazard="revoke", relation=None, names=names)
        return
    for table in targets:
        names = {"command": "REVOKE", "object": table.written, "statement": text}
        yield Hit(hazard="revoke", relation=table, names=names)

"""What statements about enums, domains and composite types do to the model."""

from pgrehearse.hazards.columns import type_of
from pgrehearse.hazards.constraint import Constraint, ConstraintKind
from pgrehearse.hazards.model import UserType
from pgrehearse.hazards.situation import Situation, situation_name
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, name_of, relation_of, strings


def create_enum(tree: Node, situation: Situation) -> None:
    """CREATE TYPE … AS ENUM."""
    name = situation_name(name_of(tree["typeName"]), situation)
    situation.model.types[name] = UserType(
        name=name,
        kind="e",
        labels=strings(tree.get("vals")),
        made_in=situation.file,
        made_in_transaction=situation.transaction,
    )


def alter_enum(tree: Node, situation: Situation) -> None:
    """ALTER TYPE … ADD VALUE, RENAME VALUE."""
    name = situation.resolve_type(name_of(tree["typeName"]))
    user_type = situation.model.types.get(name)
    if user_type is None:
        user_type = situation.model.types[name] = UserType(name=name, kind="e")
    if "oldVal" in tree:
        user_type.labels = [tree["newVal"] if each == tree["oldVal"] else each for each in user_type.labels]
    elif tree["newVal"] not in user_type.labels:
        user_type.labels.append(tree["newVal"])
        situation.new_labels.add((name, tree["newVal"]))


def create_domain(tree: Node, situation: Situation) -> None:
    """CREATE DOMAIN."""
    name = situation_name(name_of(tree["domainname"]), situation)
    base = type_of(tree["typeName"])
    below = situation.model.types.get(situation.resolve_type(RelationName(base.namespace, base.name)))
    constraints = {
        each["Constraint"].get("conname", f"{name.name}_check{number or ''}"): Constraint(
            name=each["Constraint"].get("conname", f"{name.name}_check{number or ''}"),
            kind=ConstraintKind.CHECK if each["Constraint"]["contype"] == "CONSTR_CHECK" else ConstraintKind.NOT_NULL,
        )
        for number, each in enumerate(tree.get("constraints", ()))
        if each["Constraint"]["contype"] in ("CONSTR_CHECK", "CONSTR_NOTNULL")
    }
    situation.model.types[name] = UserType(
        name=name,
        kind="d",
        base=base,
        constrained=bool(constraints) or bool(below is not None and below.constrained),
        constraints=constraints,
        made_in=situation.file,
        made_in_transaction=situation.transaction,
    )


def alter_domain(tree: Node, situation: Situation) -> None:
    """ALTER DOMAIN."""
    name = situation.resolve_type(name_of(tree["typeName"]))
    user_type = situation.model.types.get(name)
    if user_type is None:
        user_type = situation.model.types[name] = UserType(name=name, kind="d")
    match tree.get("subtype"):
        case "C" | "O":
            user_type.constrained = True
            body = tree.get("def", {}).get("Constraint", {})
            label = body.get("conname", "not_null")
            user_type.constraints[label] = Constraint(
                name=label, kind=ConstraintKind.CHECK, validated=not body.get("skip_validation", False)
            )
        case "V" if tree["name"] in user_type.constraints:
            user_type.constraints[tree["name"]].validated = True
        case "X":
            user_type.constraints.pop(tree["name"], None)
            user_type.constrained = bool(user_type.constraints) or None


def create_composite(tree: Node, situation: Situation) -> None:
    """CREATE TYPE … AS."""
    name = situation_name(relation_of(tree["typevar"]), situation)
    situation.model.types[name] = UserType(name=name, kind="c", made_in=situation.file)

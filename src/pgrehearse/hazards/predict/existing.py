"""CREATE of what is there, and labels of enums that are not: by a catalog."""

from collections.abc import Iterator

from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.situation import Situation, situation_name
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node, name_of, relation_of
from pgrehearse.hazards.written import Written


def existing_names(written: Written, situation: Situation) -> Iterator[Hit]:
    """What stands in the way of a CREATE, and which label is not there."""
    if not situation.model.complete or situation.blind or written.conditional:
        return
    tree, model = written.tree, situation.model
    match written.kind:
        case "CreateSchemaStmt" if not tree.get("if_not_exists") and tree.get("schemaname") in model.namespaces:
            yield _exists("SCHEMA", quoted(tree["schemaname"]))
        case "CreateSeqStmt" if not tree.get("if_not_exists"):
            name = situation_name(relation_of(tree["sequence"]), situation)
            if name in model.relations:
                yield _exists("SEQUENCE", name.written)
        case "CreateEnumStmt" | "CompositeTypeStmt" | "CreateDomainStmt":
            name = situation_name(_type_name(written.kind, tree), situation)
            if name in model.types or name in model.relations:
                yield _exists("TYPE", name.written)
        case "CreateTrigStmt" if not tree.get("replace"):
            relation = model.relations.get(situation.resolve(relation_of(tree["relation"])))
            if relation is not None and tree["trigname"] in relation.triggers:
                yield _exists("TRIGGER", quoted(tree["trigname"]))
        case "AlterEnumStmt":
            known = model.types.get(situation.resolve_type(name_of(tree["typeName"])))
            for key in ("newValNeighbor", "oldVal"):
                if known is not None and known.labels and key in tree and tree[key] not in known.labels:
                    yield _missing("enum value", f"'{tree[key]}'")


def _type_name(kind: str, tree: Node) -> RelationName:
    if kind == "CompositeTypeStmt":
        return relation_of(tree["typevar"])
    return name_of(tree["domainname"] if kind == "CreateDomainStmt" else tree["typeName"])


def _exists(kind: str, shown: str) -> Hit:
    return Hit(hazard="object-exists", relation=None, names={"kind": kind, "object": shown}, even_new=True)


def _missing(kind: str, shown: str) -> Hit:
    return Hit(hazard="missing-object", relation=None, names={"kind": kind, "object": shown}, even_new=True)

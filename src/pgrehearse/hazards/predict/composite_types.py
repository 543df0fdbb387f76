"""ALTER TYPE of a composite type: its attributes are in the values of every column of the type."""

from collections.abc import Iterator

from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Column, Relation
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import relation_of
from pgrehearse.hazards.written import Written


def alter_composite(written: Written, situation: Situation) -> Iterator[Hit]:
    """ADD, DROP and ALTER ATTRIBUTE."""
    name = relation_of(written.tree["relation"])
    known = situation.model.types.get(situation.resolve_type(name))
    if known is not None and situation.is_recent(known.made_in):
        return
    users = _users(situation, name)
    holders = [relation.name for relation, _ in users] or _tables_of(situation, name)
    for each in written.tree["cmds"]:
        command = each["AlterTableCmd"]
        attribute = f"{name.written}.{quoted(command.get('name', ''))}"
        names = {"object": name.written, "statement": written.on_one_line}
        match command["subtype"]:
            case "AT_AddColumn" if command.get("behavior") == "DROP_CASCADE":
                yield Hit(hazard="add-composite-attribute", relation=None, names=names)
            case "AT_AlterColumnType" if users:
                more = {"command": "ALTER TYPE … ALTER ATTRIBUTE … TYPE"}
                yield Hit(hazard="statement-refused", relation=None, names=names | more)
            case "AT_AlterColumnType" if not situation.model.complete:
                where = f"a column of {name.written} is in a table"
                yield Hit(hazard="may-fail", relation=None, names=names | {"object": where})
            case "AT_DropColumn" if holders or not situation.model.complete:
                yield Hit(
                    hazard="drop-attribute",
                    relation=holders[0] if holders else None,
                    names=names | {"object": attribute, "oid": name.oid_of("regtype")},
                    certain=bool(holders),
                    unsure="which tables have columns of the type",
                )


def _users(situation: Situation, name: RelationName) -> list[tuple[Relation, Column]]:
    return list(situation.model.typed(situation.resolve_type(name)))


def _tables_of(situation: Situation, name: RelationName) -> list[RelationName]:
    """CREATE TABLE … OF the type."""
    resolved = situation.resolve_type(name)
    return [relation.name for relation in situation.model.relations.values() if relation.of_type == resolved]

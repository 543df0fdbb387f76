"""UPDATE and DELETE on a published table without a replica identity: refused, whatever rows they would find.

Source: CheckCmdReplicaIdentity in execReplication.c.
"""

from collections.abc import Iterator

from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.tree import relation_of, walk
from pgrehearse.hazards.written import Written

_COMMANDS = {"UpdateStmt": "update", "DeleteStmt": "delete"}


def without_replica_identity(written: Written, situation: Situation) -> Iterator[Hit]:
    """For the tables that a catalog says are published; partitions take what their parents have."""
    published = situation.model.published
    if not published or written.kind not in (*_COMMANDS, "SelectStmt", "InsertStmt"):
        return
    for kind, body in [(written.kind, written.tree), *walk(written.tree)]:
        if kind not in _COMMANDS:
            continue
        table = relation_of(body["relation"])
        relation = situation.model.relations.get(situation.resolve(table))
        if relation is None or _COMMANDS[kind] not in published.get(relation.name, ()) or _has_identity(relation):
            continue
        if relation.rules or relation.kind is not RelationKind.TABLE or relation.unlogged or relation.temporary:
            continue
        command = _COMMANDS[kind].upper()
        why = "a publication sends it, and it has neither a primary key nor another replica identity"
        names = {"command": f"{command} of {table.written}", "object": why}
        yield Hit(hazard="statement-refused", relation=table, names=names, even_new=True)


def _has_identity(relation: Relation) -> bool:
    if relation.replica_identity == "d":
        return any(each.primary for each in relation.indexes.values())
    return relation.replica_identity != "n"  # not known: no reason to say so

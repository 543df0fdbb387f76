"""The locks of ALTER TABLE: on the table and its children by each command, and on the other side of foreign keys."""

from collections.abc import Iterator

from pgrehearse.hazards.constraint import Constraint, ConstraintKind
from pgrehearse.hazards.model import Relation, RelationKind
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName
from pgrehearse.hazards.tree import Node, options, relation_of
from pgrehearse.postgres.locks import LockMode

Lock = tuple[RelationName, LockMode]
SUE = LockMode.SHARE_UPDATE_EXCLUSIVE
SRE = LockMode.SHARE_ROW_EXCLUSIVE
AEL = LockMode.ACCESS_EXCLUSIVE
_WEAKER = {  # AlterTableGetLockLevel; every other command takes ACCESS EXCLUSIVE
    "AT_SetStatistics": SUE,
    "AT_ClusterOn": SUE,
    "AT_DropCluster": SUE,
    "AT_SetOptions": SUE,
    "AT_ResetOptions": SUE,
    "AT_ValidateConstraint": SUE,
    "AT_AttachPartition": SUE,
    "AT_DetachPartitionFinalize": SUE,
    "AT_EnableTrig": SRE,
    "AT_EnableAlwaysTrig": SRE,
    "AT_EnableReplicaTrig": SRE,
    "AT_EnableTrigAll": SRE,
    "AT_EnableTrigUser": SRE,
    "AT_DisableTrig": SRE,
    "AT_DisableTrigAll": SRE,
    "AT_DisableTrigUser": SRE,
}
_TRIGGERS = ("Trig", "TrigAll", "TrigUser")
_LOOK_BELOW = frozenset({"AT_DropConstraint", "AT_DropColumn"})
_STRONG_OPTIONS = frozenset({"user_catalog_table"})
_NOT_RECURSING = frozenset({
    "AT_SetRelOptions", "AT_ResetRelOptions", "AT_ChangeOwner", "AT_SetTableSpace", "AT_SetAccessMethod",
    "AT_SetLogged", "AT_SetUnLogged", "AT_ReplicaIdentity", "AT_ClusterOn", "AT_DropCluster", "AT_EnableRowSecurity",
    "AT_DisableRowSecurity", "AT_ForceRowSecurity", "AT_NoForceRowSecurity", "AT_AddInherit", "AT_DropInherit",
    "AT_AttachPartition", "AT_DetachPartition", "AT_DetachPartitionFinalize", "AT_SetOptions", "AT_ResetOptions",
    "AT_SetCompression",
})  # fmt: skip


def alter_table_locks(tree: Node, situation: Situation) -> Iterator[Lock]:
    """Every lock of one ALTER TABLE; a stronger one of the same relation may follow."""
    table = situation.resolve(relation_of(tree["relation"]))
    commands = [each["AlterTableCmd"] for each in tree["cmds"]]
    mode = max((command_lock(command) for command in commands), key=lambda each: each.strength)
    yield table, mode
    recursing = any(command["subtype"] not in _NOT_RECURSING for command in commands)
    relation = situation.relation(table)
    if all(command["subtype"].endswith(_TRIGGERS) for command in commands):
        recursing = relation.kind is RelationKind.PARTITIONED  # its triggers are its partitions' too
    if not tree["relation"].get("inh"):  # ONLY; the children's parts are looked for all the same
        recursing = any(command["subtype"] in _LOOK_BELOW for command in commands)
    if recursing:
        yield from ((each.name, mode) for each in below(situation, table))
    for command in commands:
        yield from _elsewhere(situation, relation, command)


def below(situation: Situation, name: RelationName) -> list[Relation]:
    """The relation with all its partitions and children."""
    return list(situation.with_partitions(situation.relation(name)))


def references(relation: Relation, *, inherited: bool = True) -> Iterator[RelationName]:
    """The tables that its foreign keys lead to; without those that are parts of its parent's."""
    for constraint in relation.constraints.values():
        if constraint.inherited and not inherited:
            continue
        if (
            constraint.kind is ConstraintKind.FOREIGN
            and constraint.referenced is not None
            and constraint.referenced != relation.name
        ):
            yield constraint.referenced


def referencing(situation: Situation, name: RelationName) -> list[RelationName]:
    """The tables whose foreign keys lead to it."""
    return [relation.name for relation, _ in situation.model.referencing(name) if relation.name != name]


def command_lock(command: Node) -> LockMode:
    """The lock that ALTER TABLE takes on its table for one of its commands alone."""
    match command["subtype"]:
        case "AT_AddConstraint":
            foreign = command["def"]["Constraint"]["contype"] == "CONSTR_FOREIGN"
            return SRE if foreign else AEL
        case "AT_SetRelOptions" | "AT_ResetRelOptions":
            names = options(command.get("def", {}).get("List", {}).get("items", ()))
            return AEL if _STRONG_OPTIONS & names.keys() else SUE
        case "AT_DetachPartition":
            return SUE if command["def"]["PartitionCmd"].get("concurrent") else AEL
        case subtype:
            return _WEAKER.get(subtype, AEL)


def _elsewhere(situation: Situation, relation: Relation, command: Node) -> Iterator[Lock]:
    match command["subtype"]:
        case "AT_AddConstraint":
            yield from _referenced(situation, [command["def"]])
        case "AT_AddColumn":
            yield from _referenced(situation, command["def"]["ColumnDef"].get("constraints", ()))
        case "AT_DropConstraint":
            constraint = relation.constraints.get(command["name"])
            if constraint is not None:
                yield from _without_constraint(situation, relation, constraint)
        case "AT_DropColumn":
            for constraint in relation.constraints.values():
                if command["name"] in constraint.columns:
                    yield from _without_constraint(situation, relation, constraint)
        case "AT_AlterColumnType":
            for constraint in relation.constraints.values():
                if (
                    constraint.kind is ConstraintKind.FOREIGN
                    and command["name"] in constraint.columns
                    and constraint.referenced is not None
                ):
                    yield constraint.referenced, AEL
            for child, constraint in situation.model.referencing(relation.name):
                if command["name"] in referenced_columns(relation, constraint):
                    yield child.name, AEL
        case "AT_ValidateConstraint":
            constraint = relation.constraints.get(command["name"])
            if constraint is not None and constraint.referenced is not None and not constraint.validated:
                yield constraint.referenced, LockMode.ROW_SHARE
        case "AT_AttachPartition":
            yield from _attach(situation, relation, command["def"]["PartitionCmd"])
        case "AT_DetachPartition":
            yield from _detach(situation, relation, command["def"]["PartitionCmd"])
        case "AT_AddInherit":
            yield relation_of(command["def"]["RangeVar"]), SUE
        case "AT_DropInherit":
            yield relation_of(command["def"]["RangeVar"]), LockMode.ACCESS_SHARE


def _referenced(situation: Situation, constraints: list[Node]) -> Iterator[Lock]:
    for constraint in constraints:
        body = constraint["Constraint"]
        if body["contype"] == "CONSTR_FOREIGN":
            for relation in below(situation, situation.resolve(relation_of(body["pktable"]))):
                yield relation.name, SRE


def _without_constraint(situation: Situation, relation: Relation, constraint: Constraint) -> Iterator[Lock]:
    """A foreign key's triggers stand on both tables; a key takes those with it that lead to it."""
    if constraint.referenced is not None:
        yield constraint.referenced, AEL
    if constraint.kind in (ConstraintKind.PRIMARY, ConstraintKind.UNIQUE):
        for child, foreign in situation.model.referencing(relation.name):
            if referenced_columns(relation, foreign) == constraint.columns:
                yield child.name, AEL


def referenced_columns(parent: Relation, foreign: Constraint) -> tuple[str, ...]:
    """The columns that a foreign key leads to: its own list, or the parent's primary key."""
    if foreign.referenced_columns:
        return foreign.referenced_columns
    primary = [each for each in parent.constraints.values() if each.kind is ConstraintKind.PRIMARY]
    return primary[0].columns if primary else ()


def _default_partition(situation: Situation, parent: Relation) -> Iterator[Lock]:
    for name in parent.partitions:
        known = situation.model.relations.get(name)
        if known is not None and known.partition_bound == "DEFAULT":
            yield from ((each.name, AEL) for each in below(situation, name))


def _attach(situation: Situation, parent: Relation, body: Node) -> Iterator[Lock]:
    yield from ((each.name, AEL) for each in below(situation, situation.resolve(relation_of(body["name"]))))
    yield from _default_partition(situation, parent)
    yield from ((name, SRE) for name in references(parent))
    yield from ((name, SRE) for name in referencing(situation, parent.name))


def _detach(situation: Situation, parent: Relation, body: Node) -> Iterator[Lock]:
    yield from ((each.name, AEL) for each in below(situation, situation.resolve(relation_of(body["name"]))))
    if not body.get("concurrent"):
        yield from _default_partition(situation, parent)
    yield from ((name, SRE) for name in references(parent))
    yield from ((name, LockMode.SHARE) for name in referencing(situation, parent.name))


def is_partitioned(relation: Relation) -> bool:
    """A partitioned table."""
    return relation.kind is RelationKind.PARTITIONED

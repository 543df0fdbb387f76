"""ALTER TABLE: one rule for each of its commands."""

from collections.abc import Iterator

from pgrehearse.hazards.alter_table_locks import command_lock
from pgrehearse.hazards.constraint import Constraint, ConstraintKind
from pgrehearse.hazards.finding import HazardClass, Level
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.model import Relation
from pgrehearse.hazards.predict.adding_columns import add_column, no_grant, sequences_of
from pgrehearse.hazards.predict.column_types import change_type
from pgrehearse.hazards.predict.composite_types import alter_composite
from pgrehearse.hazards.predict.constraints import add_constraint, drop_constraint, set_not_null, validate
from pgrehearse.hazards.predict.partitions import attach, detach
from pgrehearse.hazards.predict.passes import as_met
from pgrehearse.hazards.predict.shape import refused_by_shape
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.sql_names import RelationName, derived, quoted
from pgrehearse.hazards.tree import Node, is_on, options, relation_of
from pgrehearse.hazards.written import Written
from pgrehearse.postgres.locks import LockMode

_TABLES = frozenset({"OBJECT_TABLE", "OBJECT_FOREIGN_TABLE", "OBJECT_MATVIEW"})
REWRITE = (HazardClass.REWRITES_TABLE, HazardClass.SCANS_UNDER_LOCK, HazardClass.BLOCKS_READS)
_STORAGE = frozenset({"AT_SetStorage", "AT_SetCompression"})
_SET_EXPRESSION_SINCE = 17


def alter_table(written: Written, situation: Situation) -> Iterator[Hit]:
    """Every command of one ALTER TABLE."""
    tree = written.tree
    if tree.get("objtype") == "OBJECT_TYPE":
        yield from alter_composite(written, situation)
        return
    if tree.get("objtype") not in _TABLES:
        return
    table = relation_of(tree["relation"])
    exists = situation.exists(table)
    if exists is False:
        if not tree.get("missing_ok"):
            names = {"kind": "TABLE", "object": table.written}
            yield Hit(hazard="missing-object", relation=None, names=names, even_new=True)
        return
    relation = situation.relation(table)
    yield from _pending_events(situation, table, relation)
    commands = [each["AlterTableCmd"] for each in tree["cmds"]]
    own_lock = max((command_lock(command) for command in commands), key=lambda mode: mode.strength)
    for command in commands:
        met = as_met(relation, command, commands, situation)
        yield from _command(written, situation, table, met, command, own_lock)
    yield from _renamed_by_drop_and_add(table, relation, tree["cmds"])


def _command(
    written: Written, situation: Situation, table: RelationName, relation: Relation, command: Node, own_lock: LockMode
) -> Iterator[Hit]:
    """`own_lock`: the one of the whole statement, under which each of its commands works."""
    name = command.get("name", "")
    names = {
        "table": table.written,
        "column": quoted(name),
        "object": table.written,
        "statement": written.on_one_line,
        "new_qualified": table.beside(derived(table.name, "new")),
        "new": quoted(derived(table.name, "policy")),
        "kind": "TABLE",
    }
    subtype = command["subtype"]
    if subtype in _OF_COLUMNS:
        known = relation.columns.get(name)
        if known is None and relation.knows and situation.model.complete:
            missing = {"kind": "COLUMN", "object": f"{table.written}.{quoted(name)}"}
            if not command.get("missing_ok"):
                yield Hit(hazard="missing-object", relation=table, names=names | missing)
            return
        # A column that the same file added is nobody's yet.
        if known is not None and situation.is_recent(known.made_in) and subtype not in _OF_NEW_COLUMNS:
            return
    only = not written.tree["relation"].get("inh")
    refused = refused_by_shape(situation, table, relation, command, only=only)
    if refused is not None:
        yield refused
        return
    match subtype:
        case "AT_AddColumn":
            yield from add_column(written, situation, table, relation, command)
        case "AT_DropColumn":
            yield from _drop_column(situation, table, relation, command)
        case "AT_AlterColumnType":
            yield from change_type(situation, table, relation, command)
        case "AT_SetNotNull":
            yield from set_not_null(situation, table, relation, name)
            added, before = relation.columns.get(name), situation.relation(table)
            if added is not None and added.has_default is False and name not in before.columns and before.knows:
                yield Hit(hazard="not-null-on-nulls", relation=table, names=names, by_rows=True)  # the rows have none
        case "AT_DropNotNull":
            column = relation.columns.get(name)
            if column is None or column.not_null is not False:
                yield Hit(hazard="drop-not-null", relation=table, names=names)
        case "AT_ColumnDefault":
            yield from _default(situation, table, relation, command, names)
        case "AT_AddIdentity":
            yield from _add_identity(situation, table, relation, command, names)
        case "AT_SetIdentity":
            for option in command["def"]["List"]["items"]:
                if option["DefElem"]["defname"] == "generated" and option["DefElem"].get("arg", {}).get(
                    "Integer", {}
                ).get("ival") == ord("a"):
                    yield Hit(hazard="set-generated-always", relation=table, names=names)
                elif option["DefElem"]["defname"] == "restart":
                    yield from _restart(table, names, f"{table.name}_{name}_seq")
        case "AT_DropIdentity":
            column = relation.columns.get(name)
            if column is None or column.identity or not relation.knows:
                yield Hit(hazard="drop-identity", relation=table, names=names)
            elif not command.get("missing_ok"):
                yield Hit(hazard="statement-refused", relation=table, names=names | {"command": "DROP IDENTITY"})
        case "AT_DropExpression":
            # What it generated stays; old INSERTs leave the column NULL from now on.
            yield Hit(
                hazard="drop-expression",
                relation=table,
                names=names,
                classes=(HazardClass.GUARANTEE_LOST,),
                level=Level.WARNING,
            )
        case "AT_AddConstraint":
            yield from add_constraint(written, situation, table, relation, command["def"]["Constraint"])
        case "AT_DropConstraint":
            together = situation.in_block or len(written.tree["cmds"]) > 1
            yield from drop_constraint(situation, table, relation, command, together=together)
        case "AT_ValidateConstraint":
            yield from validate(situation, table, relation, name, own_lock)
        case "AT_AttachPartition":
            yield from attach(written, situation, table, relation, command["def"]["PartitionCmd"])
        case "AT_DetachPartition":
            yield from detach(written, situation, table, relation, command["def"]["PartitionCmd"])
        case _:
            yield from _of_table(situation, table, relation, command, names)


_OF_COLUMNS = frozenset({
    "AT_DropColumn", "AT_AlterColumnType", "AT_SetNotNull", "AT_DropNotNull", "AT_ColumnDefault", "AT_AddIdentity",
    "AT_SetIdentity", "AT_DropIdentity", "AT_DropExpression", "AT_SetStatistics", "AT_SetStorage", "AT_SetCompression",
})  # fmt: skip
_OF_NEW_COLUMNS = frozenset({"AT_AlterColumnType", "AT_SetNotNull", "AT_ColumnDefault", "AT_AddIdentity"})


def _drop_column(situation: Situation, table: RelationName, relation: Relation, command: Node) -> Iterator[Hit]:
    name = command["name"]
    known = relation.columns.get(name)
    cascade = command.get("behavior") == "DROP_CASCADE"
    copy = table.beside(derived(table.name, name, "kept"))
    column_written = f"{table.written}.{quoted(name)}"
    names = {
        "table": table.written,
        "column": quoted(name),
        "copy": copy,
        "object": column_written,
        "oid": table.oid_of("regclass"),
    }
    views = [
        view
        for view in situation.model.using(relation.name, name)
        if name in {column for used, column in view.uses if used == relation.name}
    ]
    foreign = [
        child
        for child, each in situation.model.referencing(relation.name)
        if name in (each.referenced_columns or _primary(relation)) and child.name != relation.name
    ]
    if (views or foreign) and not cascade:
        more = {"referenced": (views or foreign)[0].name.written}
        yield Hit(hazard="dependants-remain", relation=table, names=names | more)
        return
    certain = not (command.get("missing_ok") and known is None)
    yield Hit(
        hazard="drop-column",
        relation=table,
        names=names,
        certain=certain,
        unsure=None if certain else "whether it exists",
    )
    for index in relation.indexes.values():
        if name in (*index.columns, *index.expression_columns) and len(index.columns) > 1:
            left = [quoted(each) for each in index.columns if each != name]
            more = {
                "object": quoted(index.name),
                "index_columns": f"({', '.join(left)})",
                "new": quoted(derived(table.name, *[each for each in index.columns if each != name], "idx")),
            }
            yield Hit(hazard="drop-column-takes-index-or-constraint", relation=table, names=names | more)
    if cascade and (views or foreign or not situation.model.complete):
        yield Hit(
            hazard="drop-cascade",
            relation=table,
            names=names,
            classes=(HazardClass.BREAKS_RUNNING_APP,) if situation.model.complete else None,
        )


def _primary(relation: Relation) -> tuple[str, ...]:
    for each in relation.constraints.values():
        if each.kind is ConstraintKind.PRIMARY:
            return each.columns
    return ()


def _default(
    situation: Situation, table: RelationName, relation: Relation, command: Node, names: dict[str, str]
) -> Iterator[Hit]:
    column = relation.columns.get(command["name"])
    if "def" in command:
        if column is None or not situation.is_recent(column.made_in):
            yield Hit(hazard="change-default", relation=table, names=names)
        for sequence in sequences_of(command["def"]):
            yield from no_grant(situation, table, names, sequence)
        return
    if column is not None and situation.is_recent(column.made_in):
        if column.not_null:
            yield Hit(hazard="default-dropped-after-add", relation=table, names=names)
        return
    if column is None or column.has_default is not False:
        # A column that may be NULL takes NULL instead: INSERTs go on, with another value.
        nullable = column.not_null is False if column is not None else None
        yield Hit(
            hazard="drop-default",
            relation=table,
            names=names,
            classes=(HazardClass.GUARANTEE_LOST,) if nullable else None,
            level=Level.WARNING if nullable else None,
            certain=column is not None and column.not_null is not None,
            unsure="whether the column may be NULL",
        )


def _add_identity(
    situation: Situation, table: RelationName, relation: Relation, command: Node, names: dict[str, str]
) -> Iterator[Hit]:
    column = relation.columns.get(command["name"])
    if column is not None and column.not_null is False and relation.knows:
        yield Hit(
            hazard="statement-refused",
            relation=table,
            names=names | {"command": "ADD GENERATED … AS IDENTITY on a column that may be NULL"},
        )
        return
    started = options(command.get("def", {}).get("Constraint", {}).get("options")).get("start")
    if started is None:
        # It counts from 1, under the ids that are there: what goes wrong is the first INSERT that relies on it.
        sequence = f"{table.name}_{command['name']}_seq"
        yield from _restart(table, names, sequence, classes=(HazardClass.HARD_TO_UNDO,))


def _restart(
    table: RelationName, names: dict[str, str], sequence: str, classes: tuple[HazardClass, ...] | None = None
) -> Iterator[Hit]:
    name = RelationName(table.namespace, sequence)
    more = {"sequence": name.written, "oid": name.oid_of("regclass")}
    yield Hit(
        hazard="sequence-restart",
        relation=table,
        names=names | more,
        classes=classes,
        certain=False,
        unsure="whether its next value is above those that are there",
    )


def _of_table(
    situation: Situation, table: RelationName, relation: Relation, command: Node, names: dict[str, str]
) -> Iterator[Hit]:
    subtype = command["subtype"]
    match subtype:
        case "AT_SetLogged" | "AT_SetUnLogged":
            word = "SET LOGGED" if subtype == "AT_SetLogged" else "SET UNLOGGED"
            if relation.unlogged is not (subtype == "AT_SetUnLogged"):
                yield Hit(
                    hazard="set-logged-unlogged",
                    relation=table,
                    names=names | {"command": word},
                    classes=REWRITE,
                    certain=subtype == "AT_SetUnLogged" or relation.unlogged is not None,  # most are logged
                    unsure="whether it is so already",
                )
        case "AT_SetTableSpace":
            if not (relation.knows and situation.model.complete and _same_tablespace(relation, command["name"])):
                more = {"command": "ALTER TABLE … SET TABLESPACE", "object": table.written}
                yield Hit(hazard="set-tablespace", relation=table, names=names | more, classes=REWRITE)
        case "AT_SetAccessMethod":
            wanted = command.get("name") or "heap"
            now = relation.access_method or ("heap" if situation.model.complete else None)
            if now != wanted and not (now is None and wanted == "heap"):
                yield Hit(hazard="set-access-method", relation=table, names=names, classes=REWRITE)
        case "AT_ChangeOwner":
            yield Hit(hazard="change-owner", relation=table, names=names, level=Level.INFO)
        case "AT_EnableRowSecurity":
            if not relation.policies and not relation.row_security:
                yield Hit(hazard="enable-row-security", relation=table, names=names)
        case "AT_DisableRowSecurity":
            if relation.row_security is not False:
                yield Hit(
                    hazard="disable-row-security",
                    relation=table,
                    names=names,
                    certain=bool(relation.row_security),
                    unsure="whether it has any",
                )
        case "AT_NoForceRowSecurity":
            yield Hit(hazard="no-force-row-security", relation=table, names=names)
        case "AT_ForceRowSecurity" if situation.model.complete or not relation.policies:  # made for it, by the file
            yield Hit(hazard="force-row-security", relation=table, names=names)
        case "AT_DropInherit":
            parent = relation_of(command["def"]["RangeVar"]).written
            yield Hit(hazard="no-inherit", relation=table, names=names | {"referenced": parent})
        case "AT_SetExpression":
            yield from _new_expression(situation, table, relation, command["name"], names)
        case "AT_DisableTrig" | "AT_DisableTrigAll" | "AT_DisableTrigUser":
            yield Hit(
                hazard="disable-trigger", relation=table, names=names | {"command": "ALTER TABLE … DISABLE TRIGGER"}
            )
        case "AT_DisableRule":
            more = {"command": "ALTER TABLE … DISABLE RULE", "object": quoted(command["name"])}
            yield Hit(hazard="disable-rule", relation=table, names=names | more)
        case "AT_AlterConstraint" if _ends_enforcing(relation, body := command["def"].get("ATAlterConstraint", {})):
            more = {"constraint": quoted(body["conname"]), "new": quoted(derived(body["conname"], "2"))}
            yield Hit(hazard="constraint-not-enforced", relation=table, names=names | more)
        case "AT_ReplicaIdentity":
            yield Hit(
                hazard="replica-identity", relation=table, names=names | {"command": "ALTER TABLE … REPLICA IDENTITY"}
            )
        case "AT_SetRelOptions":
            given = options(command.get("def", {}).get("List", {}).get("items"))
            if "autovacuum_enabled" in given and not is_on(given["autovacuum_enabled"]):
                yield Hit(hazard="autovacuum-off", relation=table, names=names)
        case _ if subtype in _STORAGE:
            yield Hit(hazard="storage", relation=table, names=names | {"command": "ALTER TABLE … SET STORAGE"})


def _ends_enforcing(relation: Relation, body: Node) -> bool:
    """ALTER CONSTRAINT … NOT ENFORCED of one that was."""
    known = relation.constraints.get(body.get("conname", ""))
    ends = body.get("alterEnforceability", False) and not body.get("is_enforced", False)
    return ends and (known is None or known.enforced)


def _new_expression(
    situation: Situation, table: RelationName, relation: Relation, name: str, names: dict[str, str]
) -> Iterator[Hit]:
    """SET EXPRESSION computes a stored column anew in every row; a virtual one is computed when it is read."""
    if (situation.model.server_major or 18) < _SET_EXPRESSION_SINCE:
        yield Hit(hazard="statement-refused", relation=table, names=names | {"command": "SET EXPRESSION"})
        return
    column = relation.columns.get(name)
    if column is None or column.generated != "v":
        yield Hit(
            hazard="set-expression",
            relation=table,
            names=names | {"new": quoted(derived(name, "new"))},
            certain=column is not None and bool(column.generated),
            unsure="whether it is a stored one",
        )


def _same_tablespace(relation: Relation, wanted: str) -> bool:
    return relation.tablespace == wanted or (relation.tablespace is None and wanted == "pg_default")


def _pending_events(situation: Situation, table: RelationName, relation: Relation) -> Iterator[Hit]:
    """Rows that the same transaction changed wait for deferred checks: ALTER TABLE is refused until they are made."""
    command = situation.written.get(relation.name)
    if command is None or not situation.in_block or situation.constraints_immediate:
        return
    deferred = any(each.initially_deferred for each in relation.triggers.values()) or any(
        each.initially_deferred and _waits(each, command, situation.updated.get(relation.name, set()), relation)
        for each in [
            *relation.constraints.values(),
            *(each for _, each in situation.model.referencing(relation.name) if command != "insert"),
        ]
    )
    unknown = not deferred and not relation.knows and not situation.model.complete
    if deferred or unknown:
        names = {"table": table.written, "command": command, "statement": "SET CONSTRAINTS ALL IMMEDIATE"}
        yield Hit(
            hazard="pending-trigger-events",
            relation=table,
            names=names,
            certain=deferred,
            unsure="whether there is such a constraint or trigger",
            level=Level.INFO if unknown else None,
        )


def _waits(constraint: Constraint, command: str, updated: set[str], relation: Relation) -> bool:
    """Whether its check of such a change waits for the COMMIT: of an UPDATE, only where it sets one of its columns.

    Source: RI_FKey_pk_upd_check_required, RI_FKey_fk_upd_check_required in ri_triggers.c.
    """
    if command != "update" or constraint.kind not in (ConstraintKind.FOREIGN, ConstraintKind.UNIQUE):
        return True
    columns = constraint.columns
    if constraint.referenced == relation.name and relation.constraints.get(constraint.name) is not constraint:
        columns = constraint.referenced_columns or _primary(relation)
    return bool(updated & set(columns))


def _renamed_by_drop_and_add(table: RelationName, relation: Relation, commands: list[Node]) -> Iterator[Hit]:
    """One column dropped and one of the very type added: a rename, as a tool that compares schemas writes it."""
    from pgrehearse.hazards.columns import type_of

    dropped = [
        each["AlterTableCmd"]["name"] for each in commands if each["AlterTableCmd"]["subtype"] == "AT_DropColumn"
    ]
    added = [
        each["AlterTableCmd"]["def"]["ColumnDef"]
        for each in commands
        if each["AlterTableCmd"]["subtype"] == "AT_AddColumn"
    ]
    if len(dropped) != 1 or len(added) != 1:
        return
    known = relation.columns.get(dropped[0])
    new = type_of(added[0]["typeName"])
    if (
        known is not None
        and known.type is not None
        and (known.type.name, known.type.modifiers) != (new.name, new.modifiers)
    ):
        return
    names = {
        "table": table.written,
        "column": quoted(dropped[0]),
        "new": quoted(added[0]["colname"]),
        "type": new.written,
    }
    yield Hit(
        hazard="rename-as-drop-add",
        relation=table,
        names=names,
        certain=False,
        unsure="whether it is meant as a rename",
    )

"""Whether the plan touched what a clone holds otherwise than production: then it was not measured what it does.

A statement that locks such a relation may have read it, by whatever way; the locks are seen after each statement.
Where they may not all be seen (what was rolled back inside a block, what ran outside a transaction), the names in the
plan decide.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pglast.parser

from pgrehearse.data.derived import NotCarried
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.hazards.tree import functions_in, strings
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.locks import LockMode
from pgrehearse.rehearsal.guarantees import TRIGGERS_OFF
from pgrehearse.rehearsal.judge import Unmeasured
from pgrehearse.rehearsal.named_paths import MOVE_ROWS, follow, read_named
from pgrehearse.rollback.names import split_name
from pgrehearse.schema.schema_object import ObjectKind, Schema

NOT_REHEARSED = "what this plan does with it was not rehearsed"
FOREIGN_KEYS_OFF = (
    "triggers that enforce foreign keys ({names}) are disabled in production, and a clone has them enabled"
)
NOT_TOUCHED = "nothing in this plan depends on that"
# They lock a relation and read none of its rows, or no statement's effect depends on what they read.
_READ_NOTHING = frozenset(
    {
        "CommentStmt", "GrantStmt", "RenameStmt", "AlterOwnerStmt", "AlterObjectSchemaStmt", "CreateTrigStmt",
        "CreatePolicyStmt", "AlterPolicyStmt", "SecLabelStmt", "CreateStatsStmt", "LockStmt", "VacuumStmt",
        "ReindexStmt", "ClusterStmt",
    }
)  # fmt: skip
_READ_LATER = frozenset({"ViewStmt", "RuleStmt", "CreateFunctionStmt"})  # what they hold may be run by what follows
_CALM_COMMANDS = frozenset(
    {
        "AT_ColumnDefault", "AT_SetStatistics", "AT_SetOptions", "AT_ResetOptions", "AT_SetStorage", "AT_DropNotNull",
        "AT_SetRelOptions", "AT_ResetRelOptions", "AT_ChangeOwner", "AT_ClusterOn", "AT_DropCluster",
        "AT_ReplicaIdentity", "AT_EnableRowSecurity", "AT_DisableRowSecurity", "AT_ForceRowSecurity",
        "AT_NoForceRowSecurity", "AT_EnableTrig", "AT_DisableTrig", "AT_EnableAlwaysTrig", "AT_EnableReplicaTrig",
        "AT_EnableTrigUser", "AT_DisableTrigUser", "AT_DropConstraint",
    }
)  # fmt: skip
_CALM_CONSTRAINTS = frozenset({"CONSTR_DEFAULT", "CONSTR_NULL", "CONSTR_NOTNULL"})
_CALM_FUNCTIONS = frozenset({"now", "clock_timestamp", "gen_random_uuid", "nextval", "random"})  # others may read rows
_RELATIONS = frozenset({"OBJECT_TABLE", "OBJECT_MATVIEW", "OBJECT_VIEW"})


def find_touched(
    pristine: Connection,
    not_carried: Sequence[NotCarried],
    statements: Sequence[Statement],
    traces: Sequence[StatementTrace],
) -> frozenset[str]:
    """The names of those of which a statement may have read something.

    Two queries over the pristine copy's catalogs where locks alone do not tell; none else.
    """
    touched, unseen = set(), []
    calls = _called(not_carried, statements)
    for each in not_carried:
        reading = _reading(_before_anew(each, traces))
        if any(each.relation in trace.locks for trace in reading):
            touched.add(each.relation)
        else:
            unseen.append((each, reading))
    if unseen:
        named, relnames = read_named(pristine), frozenset().union(*calls.values())
        everything = follow(statements, named, relations=relnames, functions=())
        hides = everything.catches or any(trace.sampled for trace in traces)
        for each, reading in unseen:
            # Who holds a lock already shows none: after ADD COLUMN an UPDATE of the same transaction does not.
            if hides or any(each.relation in trace.locks for trace in traces):
                path = follow([trace.statement for trace in reading], named, relations=relnames, functions=())
                if path.builds or path.relations & calls[each.relation]:
                    touched.add(each.relation)
    return frozenset(touched)


def find_foreign_keys_off(source: Schema, copy: Schema) -> tuple[NotCarried, ...]:
    """Tables whose foreign key triggers are disabled in production, which no dump says: a clone enforces them."""
    kept = {each.name: each.attributes.get(TRIGGERS_OFF) for each in copy.of_kind(ObjectKind.TABLE)}
    return tuple(
        NotCarried(relation=table.name, relname=split_name(table.name)[-1], reason=FOREIGN_KEYS_OFF.format(names=off))
        for table in source.of_kind(ObjectKind.TABLE)
        if (off := table.attributes.get(TRIGGERS_OFF)) is not None and kept.get(table.name, off) != off
    )


def find_written(
    pristine: Connection, not_carried: Sequence[NotCarried], traces: Sequence[StatementTrace]
) -> frozenset[str]:
    """The names of those into which a statement may have written, and so fired their triggers.

    Two queries over the pristine copy's catalogs.
    """
    if not not_carried:
        return frozenset()
    written: set[str] = set()
    held: dict[int | None, set[str]] = {}  # by transaction: what a write takes without being seen to
    moving = []
    for trace in traces:
        locked = held.setdefault(trace.transaction, set())
        locked |= {name for name, mode in trace.locks.items() if mode.strength >= LockMode.ROW_EXCLUSIVE.strength}
        if trace.statement.kind in MOVE_ROWS - {"TruncateStmt"}:
            written |= locked
            moving.append(trace)
    calls = _called(not_carried, [trace.statement for trace in traces])
    named, relnames = read_named(pristine), frozenset().union(*calls.values())
    path = follow([trace.statement for trace in moving], named, relations=relnames, functions=())
    if not path.catches:
        unseen = [trace.statement for trace in moving if trace.sampled or trace.error is not None]
        path = follow(unseen, named, relations=relnames, functions=())
    written |= {each.relation for each in not_carried if path.builds or path.relations & calls[each.relation]}
    return frozenset(each.relation for each in not_carried if each.relation in written)


def tell_not_carried(not_carried: Sequence[NotCarried], touched: frozenset[str]) -> list[Unmeasured]:
    """Each of them; decisive where the plan touched it."""
    return [
        Unmeasured(
            what=each.relation,
            reason=f"{each.reason}: {NOT_REHEARSED}" if each.relation in touched else f"{each.reason}; {NOT_TOUCHED}",
            decisive=each.relation in touched,
        )
        for each in not_carried
    ]


def _called(not_carried: Sequence[NotCarried], statements: Sequence[Statement]) -> dict[str, frozenset[str]]:
    """The last names of each in the course of the plan; in whichever namespace, so that more is found than is so."""
    calls = {each.relation: {each.relname} for each in not_carried}
    for statement in statements:
        if statement.kind != "RenameStmt":
            continue
        rename = _tree(statement)
        if rename.get("renameType") in _RELATIONS:
            for names in calls.values():
                if rename["relation"]["relname"] in names:
                    names.add(rename["newname"])
    return {relation: frozenset(names) for relation, names in calls.items()}


def _before_anew(relation: NotCarried, traces: Sequence[StatementTrace]) -> Sequence[StatementTrace]:
    """Up to where a materialized view is computed anew, or gone: from there on production holds what a clone does."""
    for number, trace in enumerate(traces):
        if relation.relation in trace.locks and trace.error is None and _makes_anew(trace.statement, relation.relname):
            return traces[:number]
    return traces


def _makes_anew(statement: Statement, relname: str) -> bool:
    if statement.kind == "RefreshMatViewStmt":
        refresh = _tree(statement)
        return bool(refresh["relation"]["relname"] == relname)
    if statement.kind == "DropStmt":
        drop = _tree(statement)
        return drop["removeType"] == "OBJECT_MATVIEW" and any(
            strings(each["List"]["items"])[-1:] == [relname] for each in drop["objects"]
        )
    return False


def _reading(traces: Sequence[StatementTrace]) -> list[StatementTrace]:
    reading: list[StatementTrace] = []
    for trace in reversed(traces):
        if reading if trace.statement.kind in _READ_LATER else not _reads_nothing(trace.statement):
            reading.append(trace)
    return reading[::-1]


def _reads_nothing(statement: Statement) -> bool:
    if statement.kind in _READ_NOTHING:
        return True
    if statement.kind == "AlterTableStmt":
        return all(_is_calm(command["AlterTableCmd"]) for command in _tree(statement)["cmds"])
    return False


def _is_calm(command: Mapping[str, Any]) -> bool:
    """It copies stored values as they are, even where it rewrites the table, or looks at none."""
    if command["subtype"] == "AT_AddColumn":
        column = command["def"]["ColumnDef"]
        kinds = (each["Constraint"]["contype"] for each in column.get("constraints", ()))
        return _CALM_CONSTRAINTS.issuperset(kinds) and all(f.name in _CALM_FUNCTIONS for f in functions_in(column))
    if command["subtype"] == "AT_AddConstraint":
        return bool(command["def"]["Constraint"].get("skip_validation"))
    return command["subtype"] in _CALM_COMMANDS


def _tree(statement: Statement) -> Mapping[str, Any]:
    (raw,) = json.loads(pglast.parser.parse_sql_json(statement.text))["stmts"]
    ((_, tree),) = raw["stmt"].items()
    return dict(tree)

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
NOT_TOUCHED = "no statement of this plan touches it"
# They lock a relation and read none of its rows.
_READ_NOTHING = frozenset(
    {
        "CommentStmt", "GrantStmt", "RenameStmt", "AlterOwnerStmt", "AlterObjectSchemaStmt", "CreateTrigStmt",
        "CreatePolicyStmt", "AlterPolicyStmt", "SecLabelStmt", "CreateStatsStmt", "LockStmt", "VacuumStmt",
    }
)  # fmt: skip
_CALM_CONSTRAINTS = frozenset({"CONSTR_DEFAULT", "CONSTR_NULL", "CONSTR_NOTNULL"})


def find_touched(
    pristine: Connection,
    not_carried: Sequence[NotCarried],
    statements: Sequence[Statement],
    traces: Sequence[StatementTrace],
) -> frozenset[str]:
    """The names of those of which a statement may have read something.

    Two queries over the pristine copy's catalogs where locks alone do not tell; none else.
    """
    names = {each.relation for each in not_carried}
    reading = [trace for trace in traces if not _reads_nothing(trace.statement)]
    touched = {name for trace in reading for name in names.intersection(trace.locks)}
    if touched != names:
        named, relnames = read_named(pristine), {each.relname for each in not_carried}
        path = follow(statements, named, relations=relnames, functions=())
        unseen = set(names if path.catches or any(trace.sampled for trace in traces) else ())
        unseen |= {name for trace in traces for name in names.intersection(trace.locks)}
        # Who holds a lock already shows none: after ADD COLUMN an UPDATE of the same transaction does not.
        path = follow([trace.statement for trace in reading], named, relations=relnames, functions=())
        touched |= {
            each.relation
            for each in not_carried
            if each.relation in unseen and (each.relname in path.relations or path.builds)
        }
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
    named, relnames = read_named(pristine), {each.relname for each in not_carried}
    path = follow([trace.statement for trace in moving], named, relations=relnames, functions=())
    if not path.catches:
        unseen = [trace.statement for trace in moving if trace.sampled or trace.error is not None]
        path = follow(unseen, named, relations=relnames, functions=())
    written |= {each.relation for each in not_carried if path.builds or each.relname in path.relations}
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


def _reads_nothing(statement: Statement) -> bool:
    if statement.kind in _READ_NOTHING:
        return True
    return statement.kind == "AlterTableStmt" and _only_adds_columns(statement.text)


def _only_adds_columns(text: str) -> bool:
    """Such an ALTER TABLE copies stored values as they are, even where it rewrites the table."""
    (raw,) = json.loads(pglast.parser.parse_sql_json(text))["stmts"]
    commands = [command["AlterTableCmd"] for command in raw["stmt"]["AlterTableStmt"]["cmds"]]
    return all(command["subtype"] == "AT_AddColumn" and _is_calm(command["def"]["ColumnDef"]) for command in commands)


def _is_calm(column: Mapping[str, Any]) -> bool:
    return _CALM_CONSTRAINTS.issuperset(each["Constraint"]["contype"] for each in column.get("constraints", ()))

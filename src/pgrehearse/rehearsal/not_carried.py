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
from pgrehearse.rehearsal.judge import Unmeasured
from pgrehearse.rehearsal.named_paths import follow, read_named

NOT_REHEARSED = "what this plan does with it was not rehearsed"
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
        path = follow(statements, read_named(pristine), relations={each.relname for each in not_carried}, functions=())
        if path.catches or any(trace.sampled for trace in traces):
            touched |= {each.relation for each in not_carried if each.relname in path.relations}
    return frozenset(touched)


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

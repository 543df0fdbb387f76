"""The rules: what each kind of statement does, told as hits of the catalogue's hazards.

A rule looks at the statement's tree and at the model; it never reads a table's wording.  One module for each thing
that a DBA would ask about.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.predict.alter_table import alter_table
from pgrehearse.hazards.predict.creating import create_table, create_table_as
from pgrehearse.hazards.predict.disk import headroom
from pgrehearse.hazards.predict.dropping import drop, drop_database, drop_owned, truncate
from pgrehearse.hazards.predict.existing import existing_names
from pgrehearse.hazards.predict.expressions_refused import refused_expressions
from pgrehearse.hazards.predict.indexes import create_index, reindex
from pgrehearse.hazards.predict.maintenance import cluster, lock_table, refresh, vacuum
from pgrehearse.hazards.predict.names import missing_names
from pgrehearse.hazards.predict.objects import (
    alter_domain,
    alter_enum,
    alter_object_schema,
    alter_policy,
    alter_sequence,
    alter_system,
    create_domain,
    create_enum,
    create_function,
    create_rule,
    create_trigger,
    create_view,
    grant,
)
from pgrehearse.hazards.predict.perhaps import perhaps_fails
from pgrehearse.hazards.predict.publications import alter_publication
from pgrehearse.hazards.predict.references import missing_references
from pgrehearse.hazards.predict.refused_values import refused_values
from pgrehearse.hazards.predict.renaming import rename
from pgrehearse.hazards.predict.replication import without_replica_identity
from pgrehearse.hazards.predict.rows import change_rows
from pgrehearse.hazards.predict.shape import refused_as_inherited, refused_by_kind
from pgrehearse.hazards.predict.transactions import behind_locks, for_any_statement, for_file, refused
from pgrehearse.hazards.situation import Situation
from pgrehearse.hazards.written import Written
from pgrehearse.migrations.migration import Migration

__all__ = ["behind_locks", "has_rule", "predict", "predict_file", "refused"]


def has_rule(kind: str) -> bool:
    """Whether statements of that kind are judged."""
    return kind in _RULES


def predict(written: Written, situation: Situation) -> Iterator[Hit]:
    """The hazards of one statement, before it changes the model."""
    rule = _RULES.get(written.kind)
    hits = list(rule(written, situation)) if rule is not None else []
    yield from hits
    if not any(hit.hazard == "missing-object" for hit in hits):
        yield from missing_names(written, situation)
    yield from refused_expressions(written)
    yield from existing_names(written, situation)
    yield from missing_references(written, situation)
    yield from refused_by_kind(written, situation)
    yield from refused_as_inherited(situation, written)
    yield from refused_values(written, situation)
    yield from without_replica_identity(written, situation)
    yield from for_any_statement(written, situation)
    yield from headroom(hits, situation)
    yield from perhaps_fails(written, hits, situation)


def predict_file(
    statements: Sequence[Written], situation: Situation, migration: Migration
) -> Iterator[tuple[Hit, int]]:
    """The hazards of a file as a whole, each with the statement where it stands; after the last of them."""
    yield from for_file(statements, situation, migration)


_RULES: dict[str, Callable[[Written, Situation], Iterable[Hit]]] = {
    "AlterTableStmt": alter_table,
    "CreateStmt": create_table,
    "CreateTableAsStmt": create_table_as,
    "DropStmt": drop,
    "DropdbStmt": drop_database,
    "DropOwnedStmt": drop_owned,
    "TruncateStmt": truncate,
    "IndexStmt": create_index,
    "ReindexStmt": reindex,
    "RenameStmt": rename,
    "AlterObjectSchemaStmt": alter_object_schema,
    "AlterEnumStmt": alter_enum,
    "AlterDomainStmt": alter_domain,
    "AlterPolicyStmt": alter_policy,
    "AlterPublicationStmt": alter_publication,
    "AlterSeqStmt": alter_sequence,
    "AlterSystemStmt": alter_system,
    "CreateFunctionStmt": create_function,
    "CreateEnumStmt": create_enum,
    "CreateDomainStmt": create_domain,
    "CreateTrigStmt": create_trigger,
    "RuleStmt": create_rule,
    "ViewStmt": create_view,
    "GrantStmt": grant,
    "GrantRoleStmt": grant,
    "VacuumStmt": vacuum,
    "ClusterStmt": cluster,
    "RefreshMatViewStmt": refresh,
    "LockStmt": lock_table,
    "SelectStmt": change_rows,
    "InsertStmt": change_rows,
    "UpdateStmt": change_rows,
    "DeleteStmt": change_rows,
    "MergeStmt": change_rows,
}

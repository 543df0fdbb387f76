"""A prediction of lint, held against what the rehearsal saw: confirmed, disproved, or still only a prediction."""

import re
from collections.abc import Sequence
from dataclasses import replace

from pgrehearse.counted import counted
from pgrehearse.data.verdicts import ColumnVerdict, DataComparison, SequenceVerdict, TableLoss, TableVerdict
from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.migrations.observer import StatementError
from pgrehearse.rehearsal.unpredicted import HARMLESS_MS, loss_message, remedy_of_moved

# How the server says that what was foreseen is why it refuses.
REFUSALS = {
    "add-not-null-no-default": ("23502",),
    "cast-fails": ("22P02", "22001", "22003", "22007", "22008", "42804", "42846"),
    "check-violated": ("23514",),
    "concurrently-in-transaction": ("25001",),
    "dependants-remain": ("2BP01",),
    "duplicate-assignments": ("42601", "42701"),
    "enum-add-value-used-same-tx": ("55P04",),
    "fk-no-unique-target": ("42830",),
    "fk-on-partitioned-not-valid": ("42809",),
    "fk-type-mismatch": ("42804",),
    "fk-violated": ("23503",),
    "missing-object": ("42P01", "42703", "42704", "42883", "3F000"),
    "not-null-on-nulls": ("23502",),
    "object-exists": ("42P07", "42701", "42710", "42723", "42P06"),
    "pending-trigger-events": ("55006",),
    "replace-view-loses-column": ("42P16",),
    "unique-on-duplicates": ("23505",),
    "view-blocks-type-change": ("0A000",),
}
NAMES_A_TABLE = frozenset(
    {"RenameStmt", "CreateStmt", "CreateTableAsStmt", "SelectStmt", "AlterObjectSchemaStmt", "DoStmt"}
)


def is_whole(data: DataComparison) -> bool:
    """Whether everything was compared, and is there."""
    columns = (column for table in data.tables for column in table.columns)
    return not (
        data.lost
        or any(fact.blocking for fact in data.not_measured)
        or any(column.verdict is ColumnVerdict.UNMEASURED for column in columns)
        or any(each.hazardous or each.verdict is SequenceVerdict.DROPPED for each in data.sequences)
    )


def _stays_inside(trace: StatementTrace) -> bool:
    """Whether all that a DROP can take away is in what was compared: an extension's tables are not."""
    return trace.statement.beyond is None and re.search(r"\b(extension|server)\b", trace.statement.text, re.I) is None


def hold_against(
    finding: Finding, traces: Sequence[StatementTrace], losses: dict[str, TableLoss] | None, *, nothing_lost: bool
) -> Finding:
    """The prediction with what its statement's trace and the data say; ``losses`` by name, None: nothing compared."""
    trace = trace_of(finding, traces)
    if trace is None:
        return finding
    if trace.error is not None:
        return _against_failure(finding, trace.error)
    if finding.hazard == "drop-table" and losses is not None and finding.relation in losses:
        again = losses[finding.relation]
        if _is_there_again(again) and _named_again_in(trace, traces):
            message = (
                f"{finding.message}; measured: it is there again, with all its {counted(again.rows_before, 'row')}"
            )
            return replace(finding, message=message, evidence=Evidence.DISPROVED, level=Level.INFO)
    if HazardClass.DATA_LOSS in finding.classes and losses is not None and finding.relation in losses:
        return _against_data(finding, losses[finding.relation])
    if finding.hazard == "drop-cascade" and finding.relation is None and nothing_lost and _stays_inside(trace):
        return _not_lost(finding)
    if finding.hazard == "drop-table" and losses is not None and _locked_nothing(trace, traces):
        return replace(finding, evidence=Evidence.DISPROVED, level=Level.INFO)  # IF EXISTS, and it does not
    if HazardClass.REWRITES_TABLE in finding.classes or HazardClass.SCANS_UNDER_LOCK in finding.classes:
        return _against_waits(finding, trace)
    if HazardClass.FAILS in finding.classes and finding.hazard != "nested-transaction":
        rest = _without(finding, HazardClass.FAILS)
        if not rest:
            return replace(finding, evidence=Evidence.DISPROVED, level=Level.INFO)
        # It did not fail: the table has no rows yet.  That the running application breaks was not measured.
        return replace(finding, level=Level.WARNING, classes=rest)
    return finding


def _against_failure(finding: Finding, error: StatementError) -> Finding:
    """Confirmed where the server refused for the reason that was foreseen; what else was foreseen did not happen."""
    if error.sqlstate not in REFUSALS.get(finding.hazard, ()):
        return finding
    measured = {**finding.measured, "sqlstate": error.sqlstate}
    return replace(finding, evidence=Evidence.CONFIRMED, level=Level.ERROR, measured=measured)


def _is_there_again(table: TableLoss) -> bool:
    """Whether another table has its name, its columns and all that was in it: a copy took its place."""
    return (
        table.verdict is TableVerdict.RECREATED
        and table.name_after == table.name
        and not table.lost
        and all(
            column.verdict in (ColumnVerdict.UNCHANGED, ColumnVerdict.RECREATED) and column.name_after == column.name
            for column in table.columns
        )
    )


def _named_again_in(trace: StatementTrace, traces: Sequence[StatementTrace]) -> bool:
    """Whether its transaction goes on with something that may name a table: nobody sees that it was away."""
    return trace.transaction is not None and any(
        each.transaction == trace.transaction and each.statement.kind in NAMES_A_TABLE
        for each in traces[traces.index(trace) + 1 :]
    )


def _against_data(finding: Finding, table: TableLoss) -> Finding:
    measured = {**finding.measured, "rows_before": table.rows_before, "rows_lost": table.rows_lost}
    if table.lost:
        message = f"{finding.message}; measured: {loss_message(table)}"
        remedy = remedy_of_moved(table) or finding.remedy
        return replace(
            finding, message=message, remedy=remedy, evidence=Evidence.CONFIRMED, level=Level.ERROR, measured=measured
        )
    if any(column.verdict is ColumnVerdict.UNMEASURED for column in table.columns):
        return replace(finding, measured=measured)  # nobody looked at its values, so it stays a prediction
    return _not_lost(replace(finding, measured=measured))


def _not_lost(finding: Finding) -> Finding:
    rest = _without(finding, HazardClass.DATA_LOSS)
    if HazardClass.BREAKS_RUNNING_APP in rest:
        # Nothing was lost, but statements that name it fail: that was not looked at, so it stays a prediction.
        return replace(finding, level=Level.WARNING, classes=rest)
    return replace(finding, evidence=Evidence.DISPROVED, level=Level.INFO)


def as_declared(finding: Finding, table: TableLoss) -> Finding:
    """It did happen, and the file says that it is meant; statements that name what is gone fail all the same."""
    rest = _without(finding, HazardClass.DATA_LOSS)
    return replace(
        finding,
        evidence=Evidence.CONFIRMED,
        level=Level.WARNING if HazardClass.BREAKS_RUNNING_APP in rest else Level.INFO,
        classes=rest or (HazardClass.HARD_TO_UNDO,),
        message=f"{finding.message} (declared in the file)",
        measured={**finding.measured, "rows_before": table.rows_before},
    )


def _against_waits(finding: Finding, trace: StatementTrace) -> Finding:
    measured = {**finding.measured, "duration_ms": round(trace.duration_ms, 3)}
    if trace.sampled:
        return finding
    if not trace.rewrites and not trace.scans_under_lock:
        return replace(finding, evidence=Evidence.DISPROVED, level=Level.INFO, measured=measured)
    if trace.duration_ms >= HARMLESS_MS:
        return replace(finding, evidence=Evidence.CONFIRMED, level=Level.ERROR, measured=measured)
    return replace(finding, evidence=Evidence.CONFIRMED, level=Level.WARNING, measured=measured)


def trace_of(finding: Finding, traces: Sequence[StatementTrace]) -> StatementTrace | None:
    """The last statement of the file that begins at or before the finding's place; a line may hold several."""
    if finding.line is None:
        return None
    place = (finding.line, finding.column or 1)
    before = [
        trace
        for trace in traces
        if trace.migration.path == finding.file and (trace.statement.line, trace.statement.column) <= place
    ]
    return before[-1] if before else None


def _locked_nothing(trace: StatementTrace, traces: Sequence[StatementTrace]) -> bool:
    """Whether no statement of that line locked a table that was there before."""
    line = [each for each in traces if (each.migration, each.statement.line) == (trace.migration, trace.statement.line)]
    return not any(each.locks or each.sampled for each in line)


def _without(finding: Finding, dropped: HazardClass) -> tuple[HazardClass, ...]:
    return tuple(kind for kind in finding.classes if kind is not dropped)

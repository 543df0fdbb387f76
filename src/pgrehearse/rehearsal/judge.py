"""From what was seen to findings and one verdict.

A prediction of the lint is held against what happened: confirmed where it was seen, disproved where the
clone shows that it did no harm.  What was seen without having been predicted is a finding of its own.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from pgrehearse.data.tree_loss import losses_by_name
from pgrehearse.data.verdicts import (
    ColumnVerdict,
    DataComparison,
    SequenceState,
    SequenceVerdict,
    TableLoss,
    TableVerdict,
)
from pgrehearse.errors import MigrationFailed
from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level, Measured
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.rehearsal.checks import CheckResult, CheckVerdict
from pgrehearse.rehearsal.held_locks import find_held_locks
from pgrehearse.rehearsal.loss_text import declaring_lines, loss_sentence

# A lock that was held shorter than this on the full clone is told, and no reason to refuse.
HARMLESS_MS = 1000.0
RENAMES = ("rename-table", "rename-column")  # lint tells those that the files spell out
KEEP_FIRST = "If this is meant, copy what goes away first: CREATE TABLE {aside} AS SELECT * FROM {table};"
DECLARE_THE_MOVE = (
    "All of it is found again elsewhere.  Where it is meant to go from here, declare it in the file, on a line of its "
    "own above the statement:"
)
SPLIT_IT = "Split it into steps that lock briefly; `pgrehearse lint` shows the safe way where it knows one."


class Verdict(Enum):
    """The answer; where several hold, the first of this order."""

    FAILED = "failed"
    LOSS = "loss"
    HAZARD = "hazard"
    UNMEASURED = "unmeasured"
    CLEAN = "clean"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmeasured:
    """Something that was not looked at, and why; ``decisive`` when a clean verdict would then be a guess."""

    what: str
    reason: str
    decisive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LostGuarantee:
    """Something that the schema promised or protected before and does not any more, or that is not valid now."""

    relation: str | None
    what: str  # "foreign key orders_user_id_fk of public.orders"
    hazard: str  # the catalogue's id
    level: Level
    remedy: str
    classes: tuple[HazardClass, ...] = (HazardClass.GUARANTEE_LOST,)
    measured: Mapping[str, Measured] = field(default_factory=dict)


def decide(
    *,
    failed: bool,
    data: DataComparison | None,
    findings: Sequence[Finding],
    level: Level,
    checks: Sequence[CheckResult],
    not_measured: Sequence[Unmeasured],
) -> Verdict:
    """The first that holds of: failed, loss, hazard, unmeasured, clean."""
    if failed:
        return Verdict.FAILED
    if data is not None and data.lost:
        return Verdict.LOSS
    seen = [finding for finding in findings if finding.evidence is not Evidence.DISPROVED]
    if any(finding.level.reaches(level) for finding in seen) or any(c.verdict is CheckVerdict.FAILED for c in checks):
        return Verdict.HAZARD
    if any(entry.decisive for entry in not_measured) or any(c.verdict is CheckVerdict.UNMEASURED for c in checks):
        return Verdict.UNMEASURED
    return Verdict.CLEAN


def find_all(
    predicted: Sequence[Finding],
    traces: Sequence[StatementTrace],
    data: DataComparison | None,
    guarantees: Sequence[LostGuarantee],
    failure: MigrationFailed | None = None,
    of_queries: Sequence[Finding] = (),
    *,
    declared: Sequence[Finding] = (),
    excused: frozenset[str] = frozenset(),
) -> tuple[Finding, ...]:
    """Every finding, worst level first, in the order of the files within a level.

    ``data`` is what no declaration explains, ``declared`` what declarations themselves gave rise to, and ``excused``
    are the tables all of whose losses are declared.
    """
    tables = [table for table in data.tables if table.verdict is not TableVerdict.NEW] if data is not None else []
    losses = losses_by_name(data) if data is not None else {}
    nothing_lost = data is not None and _is_whole(data)
    excused |= _excused_trees(data, losses, excused)
    held = [
        _as_declared(finding, losses[str(finding.relation)])
        if _name_before(finding, losses) in excused and HazardClass.DATA_LOSS in finding.classes
        else _held_against(finding, traces, losses if data is not None else None, nothing_lost=nothing_lost)
        for finding in predicted
    ]
    told = {(finding.relation, kind) for finding in (*held, *declared) for kind in finding.classes}
    told |= _told_under_other_names((*held, *declared), losses, data)
    found = [
        *_failure_untold(failure, traces),
        *held,
        *declared,
        *_losses_untold(tables, traces, told),
        *_waits_untold(traces, told),
        *find_held_locks(traces, harmless_ms=HARMLESS_MS),
        *(
            _guarantee_lost(guarantee, data)
            for guarantee in guarantees
            if not (guarantee.hazard in RENAMES and (guarantee.relation, HazardClass.BREAKS_RUNNING_APP) in told)
        ),
        *of_queries,
        *_large_objects_lost(data),
        *(
            _sequence_behind(sequence)
            for sequence in (data.sequences if data is not None else ())
            if sequence.hazardous
        ),
    ]
    levels = list(Level)
    return tuple(
        sorted(found, key=lambda finding: (levels.index(finding.level), finding.evidence is Evidence.DISPROVED))
    )


def _excused_trees(
    data: DataComparison | None, losses: Mapping[str, TableLoss], excused: frozenset[str]
) -> frozenset[str]:
    """Partitioned tables whose leaves lost something, all of it declared, wherever it was declared."""
    if data is None:
        return frozenset()
    compared = {table.name for table in data.tables}
    return frozenset(
        tree.name
        for tree in data.trees
        if not excused.isdisjoint(tree.leaves) and compared.issuperset(tree.leaves) and not losses[tree.name].lost
    )


def _name_before(finding: Finding, losses: Mapping[str, TableLoss]) -> str | None:
    """What the relation that it names was called before the plan."""
    loss = losses.get(finding.relation) if finding.relation is not None else None
    return loss.name if loss is not None else finding.relation


def _told_under_other_names(
    findings: Sequence[Finding], losses: Mapping[str, TableLoss], data: DataComparison | None
) -> set[tuple[str | None, HazardClass]]:
    """What was seen of a renamed or a partitioned table is told of it as it was called before, and of its leaves.

    What is only predicted of it is not.
    """
    leaves = {tree.name: tree.leaves for tree in data.trees} if data is not None else {}
    seen = [finding for finding in findings if finding.evidence in (Evidence.CONFIRMED, Evidence.OBSERVED)]
    return {
        (told, kind)
        for finding in seen
        if (name := _name_before(finding, losses)) is not None
        for told in (name, *leaves.get(name, ()))
        for kind in finding.classes
    }


# --- a prediction held against what happened ----------------------------------------------------------------------


def _is_whole(data: DataComparison) -> bool:
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


NAMES_A_TABLE = frozenset(
    {"RenameStmt", "CreateStmt", "CreateTableAsStmt", "SelectStmt", "AlterObjectSchemaStmt", "DoStmt"}
)


def _held_against(
    finding: Finding, traces: Sequence[StatementTrace], losses: dict[str, TableLoss] | None, *, nothing_lost: bool
) -> Finding:
    trace = _trace_of(finding, traces)
    if trace is None or trace.error is not None:
        return finding
    if finding.hazard == "drop-table" and losses is not None and finding.relation in losses:
        again = losses[finding.relation]
        if _is_there_again(again) and _named_again_in(trace, traces):
            message = f"{finding.message}; measured: it is there again, with all its {again.rows_before:,} rows"
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
        remedy = _remedy_of_moved(table) or finding.remedy
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


def _as_declared(finding: Finding, table: TableLoss) -> Finding:
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


def _trace_of(finding: Finding, traces: Sequence[StatementTrace]) -> StatementTrace | None:
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


# --- seen, and not predicted ---------------------------------------------------------------------------------------


def _failure_untold(failure: MigrationFailed | None, traces: Sequence[StatementTrace]) -> Iterator[Finding]:
    """A plan that failed at no statement of its files: at a COMMIT, by a deferred constraint, or at our own record."""
    if failure is None or any(trace.error is not None for trace in traces):
        return
    said = str(failure).partition("\n")[0]  # the server's detail, which follows, quotes values
    place = f"{failure.path}:{failure.line}:{failure.column}: "
    came = "every statement ran, and what followed was refused" if traces else "no statement ran"
    code = f" (SQLSTATE {failure.sqlstate})" if failure.sqlstate is not None and failure.sqlstate not in said else ""
    yield Finding(
        hazard="migration-failed",
        classes=(HazardClass.FAILS,),
        level=Level.ERROR,
        file=failure.path,
        line=failure.line,
        column=failure.column,
        message=f"{came}: {said.removeprefix(place)}{code}",
        remedy=failure.remedy,
        evidence=Evidence.OBSERVED,
    )


def _losses_untold(
    tables: Iterable[TableLoss], traces: Sequence[StatementTrace], told: set[tuple[str | None, HazardClass]]
) -> Iterator[Finding]:
    kinds = {trace.statement.kind for trace in traces}
    for table in tables:
        if not table.lost or (table.name, HazardClass.DATA_LOSS) in told:
            continue
        yield Finding(
            hazard=_loss_hazard(table, kinds),
            classes=(HazardClass.DATA_LOSS,),
            level=Level.ERROR,
            message=loss_message(table),
            remedy=_remedy_of_moved(table) or KEEP_FIRST.format(aside=_aside(table.name), table=table.name),
            evidence=Evidence.OBSERVED,
            relation=table.name,
            measured={"rows_before": table.rows_before, "rows_after": table.rows_after, "rows_lost": table.rows_lost},
        )


def _loss_hazard(table: TableLoss, kinds: set[str]) -> str:
    if table.verdict in (TableVerdict.DROPPED, TableVerdict.RECREATED):
        return "drop-table"
    if any(column.verdict is ColumnVerdict.DROPPED and column.lost for column in table.columns):
        return "drop-column"
    if table.rows_lost:
        everything = table.rows_lost == table.rows_before
        if everything and "TruncateStmt" in kinds:
            return "truncate"
        if everything:
            return "delete-all"
        return "delete-rows" if "DeleteStmt" in kinds else "cascade-delete-elsewhere"
    if any(column.lost and column.verdict is ColumnVerdict.TYPE_CHANGED for column in table.columns):
        return "lossy-type-change"
    return "lossy-type-change" if "AlterTableStmt" in kinds and "UpdateStmt" not in kinds else "dml-in-migration"


def loss_message(table: TableLoss) -> str:
    """What a table lost, with the numbers."""
    return loss_sentence(table.as_json())


def _remedy_of_moved(table: TableLoss) -> str | None:
    """Of what is gone from its place and was found again elsewhere, all of it."""
    lines = declaring_lines(table.as_json())
    return "\n".join((DECLARE_THE_MOVE, *lines)) if lines else None


def _aside(name: str) -> str:
    return f'{name.removesuffix(chr(34))}_kept"' if name.endswith('"') else f"{name}_kept"


def _waits_untold(traces: Sequence[StatementTrace], told: set[tuple[str | None, HazardClass]]) -> Iterator[Finding]:
    for trace in traces:
        for names, kind, does in (
            (trace.rewrites, HazardClass.REWRITES_TABLE, "rewrites"),
            (trace.scans_under_lock, HazardClass.SCANS_UNDER_LOCK, "reads all of"),
        ):
            for name in names:
                if (name, kind) in told or (kind is HazardClass.SCANS_UNDER_LOCK and name in trace.rewrites):
                    continue
                long = trace.duration_ms >= HARMLESS_MS
                mode = trace.locks.get(name)
                yield Finding(
                    hazard="rewrites-table" if kind is HazardClass.REWRITES_TABLE else "scans-under-lock",
                    classes=(kind,),
                    level=Level.ERROR if long else Level.WARNING,
                    file=trace.migration.path,
                    line=trace.statement.line,
                    column=trace.statement.column,
                    message=f"{does} {name} under a lock that stops its writers"
                    f"{' and readers' if mode is not None and mode.blocks_reads else ''}: "
                    f"{trace.duration_ms:,.0f} ms on the clone",
                    remedy=SPLIT_IT,
                    evidence=Evidence.OBSERVED,
                    relation=name,
                    measured={"duration_ms": round(trace.duration_ms, 3)},
                )


def _guarantee_lost(guarantee: LostGuarantee, data: DataComparison | None) -> Finding:
    empty = {table.name_after for table in data.tables if not table.rows_after} if data is not None else set()
    # A partition without rows takes none away from its parent.
    harmless = guarantee.hazard == "detach-partition" and guarantee.relation in empty
    return Finding(
        hazard=guarantee.hazard,
        classes=guarantee.classes,
        level=Level.INFO if harmless else guarantee.level,
        message=guarantee.what,
        remedy=guarantee.remedy,
        evidence=Evidence.OBSERVED,
        relation=guarantee.relation,
        measured=guarantee.measured,
    )


def _large_objects_lost(data: DataComparison | None) -> Iterator[Finding]:
    objects = data.large_objects if data is not None else None
    if objects is None or not objects.lost:
        return
    yield Finding(
        hazard="large-objects-lost",
        classes=(HazardClass.DATA_LOSS,),
        level=Level.ERROR,
        message=f"of {objects.count_before:,} large objects {objects.objects_lost:,} are gone "
        f"and {objects.objects_changed:,} hold something else",
        remedy="If this is meant, export them first: lo_export, or pg_dump --large-objects.",
        evidence=Evidence.OBSERVED,
        relation=None,
        measured={"objects_lost": objects.objects_lost, "objects_changed": objects.objects_changed},
    )


def _sequence_behind(sequence: SequenceState) -> Finding:
    name = sequence.name_after or sequence.name
    if sequence.verdict is SequenceVerdict.EXHAUSTED:
        return Finding(
            hazard="sequence-exhausted",
            classes=(HazardClass.BREAKS_RUNNING_APP,),
            level=Level.ERROR,
            message=f"sequence {name} has no number left: before the migration it would have handed out "
            f"{sequence.next_before}, and the next insert fails",
            remedy=f"SELECT setval('{name}', …); to the furthest number in use, or ALTER SEQUENCE {name} MAXVALUE ….",
            evidence=Evidence.OBSERVED,
            relation=name,
            measured={"next_before": sequence.next_before, "next_after": sequence.next_after},
        )
    held = f", and {sequence.column} already holds {sequence.furthest_value}" if sequence.furthest_value else ""
    return Finding(
        hazard="sequence-restart",
        classes=(HazardClass.DATA_LOSS, HazardClass.BREAKS_RUNNING_APP),
        level=Level.ERROR,
        message=f"sequence {name} will hand out {sequence.next_after} next, before the migration "
        f"{sequence.next_before}{held}: inserts meet numbers that were given before",
        remedy=f"SELECT setval('{name}', {sequence.furthest_value or sequence.next_before});",
        evidence=Evidence.OBSERVED,
        relation=name,
        measured={"next_before": sequence.next_before, "next_after": sequence.next_after},
    )

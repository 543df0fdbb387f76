"""What a rehearsal saw and nobody predicted, as findings of their own."""

from collections.abc import Iterable, Iterator, Sequence

from pgrehearse.data.verdicts import (
    ColumnVerdict,
    DataComparison,
    SequenceState,
    SequenceVerdict,
    TableLoss,
    TableVerdict,
)
from pgrehearse.errors import MigrationFailed
from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.rehearsal.loss_text import declaring_lines, loss_sentence

# A lock that was held shorter than this on the full clone is told, and no reason to refuse.
HARMLESS_MS = 1000.0
KEEP_FIRST = "If this is meant, copy what goes away first: CREATE TABLE {aside} AS SELECT * FROM {table};"
DECLARE_THE_MOVE = (
    "All of it is found again elsewhere.  Where it is meant to go from here, declare it in the file, on a line of its "
    "own above the statement:"
)
SPLIT_IT = "Split it into steps that lock briefly; `pgrehearse lint` shows the safe way where it knows one."


def find_failure_untold(failure: MigrationFailed | None, traces: Sequence[StatementTrace]) -> Iterator[Finding]:
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


def find_losses_untold(
    tables: Iterable[TableLoss], traces: Sequence[StatementTrace], told: set[tuple[str | None, HazardClass]]
) -> Iterator[Finding]:
    """Tables that lost something, of which no finding of that class speaks."""
    kinds = {trace.statement.kind for trace in traces}
    for table in tables:
        if not table.lost or (table.name, HazardClass.DATA_LOSS) in told:
            continue
        yield Finding(
            hazard=_loss_hazard(table, kinds),
            classes=(HazardClass.DATA_LOSS,),
            level=Level.ERROR,
            message=loss_message(table),
            remedy=remedy_of_moved(table) or KEEP_FIRST.format(aside=_aside(table.name), table=table.name),
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


def remedy_of_moved(table: TableLoss) -> str | None:
    """Of what is gone from its place and was found again elsewhere, all of it."""
    lines = declaring_lines(table.as_json())
    return "\n".join((DECLARE_THE_MOVE, *lines)) if lines else None


def _aside(name: str) -> str:
    return f'{name.removesuffix(chr(34))}_kept"' if name.endswith('"') else f"{name}_kept"


def find_waits_untold(traces: Sequence[StatementTrace], told: set[tuple[str | None, HazardClass]]) -> Iterator[Finding]:
    """Rewrites and scans under a blocking lock, of which no finding of that class speaks."""
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


def find_large_objects_lost(data: DataComparison | None) -> Iterator[Finding]:
    """Large objects that are gone or changed."""
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


def sequence_behind(sequence: SequenceState) -> Finding:
    """A sequence that will hand out what was given before, or nothing any more."""
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
    before = f", before the migration {sequence.next_before}" if sequence.next_before is not None else ""
    held = f", and {sequence.column} already holds {sequence.furthest_value}" if sequence.furthest_value else ""
    return Finding(
        hazard="sequence-restart",
        classes=(HazardClass.DATA_LOSS, HazardClass.BREAKS_RUNNING_APP),
        level=Level.ERROR,
        message=f"sequence {name} will hand out {sequence.next_after} next{before}{held}: "
        "inserts meet numbers that were given before",
        remedy=f"SELECT setval('{name}', {sequence.furthest_value or sequence.next_before});",
        evidence=Evidence.OBSERVED,
        relation=name,
        measured={"next_before": sequence.next_before, "next_after": sequence.next_after},
    )

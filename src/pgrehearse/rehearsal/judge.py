"""From what was seen to findings and one verdict.

A prediction of the lint is held against what happened: confirmed where it was seen, disproved where the
clone shows that it did no harm.  What was seen without having been predicted is a finding of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from pgrehearse.data.tree_loss import losses_by_name
from pgrehearse.data.verdicts import (
    DataComparison,
    TableLoss,
    TableVerdict,
)
from pgrehearse.errors import MigrationFailed
from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level, Measured
from pgrehearse.hazards.trace import StatementTrace
from pgrehearse.rehearsal.checks import CheckResult, CheckVerdict
from pgrehearse.rehearsal.held_locks import find_held_locks
from pgrehearse.rehearsal.held_predictions import as_declared, hold_against, is_whole
from pgrehearse.rehearsal.unpredicted import (
    HARMLESS_MS,
    find_failure_untold,
    find_large_objects_lost,
    find_losses_untold,
    find_waits_untold,
    sequence_behind,
)

RENAMES = ("rename-table", "rename-column")  # lint tells those that the files spell out


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
    nothing_lost = data is not None and is_whole(data)
    excused |= _excused_trees(data, losses, excused)
    held = [
        as_declared(finding, losses[str(finding.relation)])
        if _name_before(finding, losses) in excused and HazardClass.DATA_LOSS in finding.classes
        else hold_against(finding, traces, losses if data is not None else None, nothing_lost=nothing_lost)
        for finding in predicted
    ]
    told = {(finding.relation, kind) for finding in (*held, *declared) for kind in finding.classes}
    told |= _told_under_other_names((*held, *declared), losses, data)
    found = [
        *find_failure_untold(failure, traces),
        *held,
        *declared,
        *find_losses_untold(tables, traces, told),
        *find_waits_untold(traces, told),
        *find_held_locks(traces, harmless_ms=HARMLESS_MS),
        *(
            _guarantee_lost(guarantee, data)
            for guarantee in guarantees
            if not (guarantee.hazard in RENAMES and (guarantee.relation, HazardClass.BREAKS_RUNNING_APP) in told)
        ),
        *of_queries,
        *find_large_objects_lost(data),
        *(sequence_behind(sequence) for sequence in (data.sequences if data is not None else ()) if sequence.hazardous),
    ]
    levels = list(Level)
    return tuple(
        sorted(found, key=lambda finding: (levels.index(finding.level), finding.evidence is Evidence.DISPROVED))
    )


def without_disproof(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Where the plan was not measured, that something did not happen on the clone disproves nothing."""
    return tuple(
        replace(finding, evidence=Evidence.PREDICTED) if finding.evidence is Evidence.DISPROVED else finding
        for finding in findings
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

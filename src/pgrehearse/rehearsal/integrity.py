"""The integrity of what the plan left, brought into the rehearsal: its checks, its findings, what is not measured."""

from collections.abc import Collection, Iterator
from dataclasses import replace

from pgrehearse.clones.pair import ClonePair
from pgrehearse.data.integrity.examine import examine_integrity
from pgrehearse.data.integrity.verdicts import BrokenPromise, CheckVerdict, Integrity, IntegrityCheck, Weight
from pgrehearse.data.verdicts import ColumnVerdict, DataComparison, TableVerdict
from pgrehearse.hazards.finding import HazardClass, Level, Measured
from pgrehearse.progress import Progress
from pgrehearse.rehearsal.judge import LostGuarantee, Unmeasured

LEVELS = {Weight.ERROR: Level.ERROR, Weight.WARNING: Level.WARNING}
SAME_ROWS = (TableVerdict.UNCHANGED, TableVerdict.RENAMED)
# Followed by its own oid, and every row of before found again in it.
KEPT_ROWS = (*SAME_ROWS, TableVerdict.ROWS_ADDED, TableVerdict.VALUES_CHANGED)
SAME_VALUES = (ColumnVerdict.UNCHANGED, ColumnVerdict.RENAMED)


def rehearse_integrity(
    pair: ClonePair, data: DataComparison, *, ignore_relations: frozenset[str], progress: Progress
) -> Integrity:
    """Ask the rows of the clone whether they keep what its schema promises; see `examine_integrity`."""
    found = examine_integrity(
        lambda: pair.session("pristine", "observe"),
        lambda: pair.session("clone", "observe"),
        (lambda: pair.session_as_role("observe")) if pair.role_access is not None else None,
        role=pair.role,
        unchanged=find_unchanged(data),
        widened=find_widened(data),
        kept=find_kept(data),
        ignore_relations=ignore_relations,
        progress=progress.advance,
    )
    return replace(found, checks=(*found.checks, *_sequences(data)))


def _sequences(data: DataComparison) -> Iterator[IntegrityCheck]:
    """They were compared with the data."""
    there = [sequence for sequence in data.sequences if sequence.name_after is not None]
    if there:
        wrong = [f"{sequence.name_after} is {sequence.verdict.value}" for sequence in there if sequence.hazardous]
        detail = ", ".join(wrong) if wrong else "none fell behind what it numbers"
        yield IntegrityCheck(
            name="integrity: sequences",
            verdict=CheckVerdict.FAILED if wrong else CheckVerdict.PASSED,
            detail=f"{len(there):,} compared; {detail}",
        )


def find_unchanged(data: DataComparison) -> frozenset[str]:
    """Tables of the clone that hold the rows and columns that they held before, and no other."""
    return _those_with(data, SAME_VALUES)


def find_widened(data: DataComparison) -> frozenset[str]:
    """Tables of the clone that hold the rows that they held before and no other, and new columns beside their own."""
    return _those_with(data, (*SAME_VALUES, ColumnVerdict.NEW)) - find_unchanged(data)


def _those_with(data: DataComparison, columns: Collection[ColumnVerdict]) -> frozenset[str]:
    return frozenset(
        table.name_after
        for table in data.tables
        if table.name_after is not None and table.verdict in SAME_ROWS
        if all(column.verdict in columns for column in table.columns)
    )


def find_kept(data: DataComparison) -> dict[str, frozenset[str]]:
    """Tables of the clone that lost no row, with the columns in which every row of before has its value of before."""
    return {
        table.name_after: frozenset(
            column.name_after
            for column in table.columns
            if column.name_after is not None and column.verdict in SAME_VALUES
        )
        for table in data.tables
        if table.name_after is not None and table.rows_lost == 0 and table.verdict in KEPT_ROWS
    }  # fmt: skip


def find_broken_promises(integrity: Integrity) -> Iterator[LostGuarantee]:
    for broken in integrity.broken:
        yield LostGuarantee(
            relation=broken.relation,
            what=broken.what,
            hazard=broken.hazard,
            level=LEVELS[broken.weight],
            remedy=broken.remedy,
            classes=(HazardClass.BREAKS_RUNNING_APP,) if broken.readers_fail else (HazardClass.GUARANTEE_LOST,),
            measured=_measured(broken),
        )


def _measured(broken: BrokenPromise) -> dict[str, Measured]:
    counted = {"rows": broken.rows, "rows_before": broken.rows_before}
    return {
        "promise": broken.promise,
        **{name: value for name, value in counted.items() if value is not None},
        **({"keys": list(broken.keys)} if broken.keys else {}),
    }


def find_unasked(integrity: Integrity) -> Iterator[Unmeasured]:
    for each in integrity.not_measured:
        yield Unmeasured(what=each.what, reason=each.reason, decisive=each.decisive)

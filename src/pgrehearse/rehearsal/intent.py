"""Declared intent held against what happened: what is as declared, what goes beyond it, and what did not happen.

A loss that declarations explain wholly is told, and is no loss finding any more.  In doubt it stays one: where the
rows that a condition speaks of cannot be told, where another file's statement took some of them, or where there are
more than the declaration allows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pgrehearse.data.verdicts import ColumnLoss, DataComparison, TableLoss, TableVerdict
from pgrehearse.hazards.finding import Evidence, Finding, HazardClass, Level
from pgrehearse.migrations.expectation import Expectation
from pgrehearse.rehearsal.declared_tables import Target
from pgrehearse.rehearsal.happened import Happened
from pgrehearse.rehearsal.judge import Unmeasured
from pgrehearse.rehearsal.judged_table import Ask, Declaration, JudgedTable, Outcome
from pgrehearse.rehearsal.unpredicted import loss_message

NOT_MET = "declaration-not-met"
BEYOND = "beyond-declaration"
NOT_MET_REMEDY = (
    "Mend the statement, or take the line out; it speaks of the statements below it in its own file.  "
    "Where it is fine that nothing happens, write `between 0 and N rows`."
)
BEYOND_REMEDY = (
    "Mend the statement; or, where all of it is meant, declare it: each table, column and condition on a line of its "
    "own in the file of the statement."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """All declarations of a plan, and what they leave unexplained."""

    declarations: tuple[Declaration, ...] = ()
    left: DataComparison | None = None  # without what is declared
    excused: frozenset[str] = frozenset()  # tables that lost something, all of it declared
    findings: tuple[Finding, ...] = ()
    not_measured: tuple[Unmeasured, ...] = ()


def judge_intent(
    expectations: Sequence[Expectation], targets: Sequence[Target], happened: Happened, ask: Ask
) -> Intent:
    """Hold every declaration against what happened.

    ``ask`` is called once for each table that a declaration with a condition speaks of, with the columns whose
    values matter.
    """
    tables: dict[int | str, list[int]] = {}
    for at, target in enumerate(targets):
        tables.setdefault(target.before.oid if target.before is not None else target.name, []).append(at)
    found: dict[int, Declaration] = {}
    left: dict[str, TableLoss] = {}
    for places in tables.values():
        tree = [expectations[at] for at, other in enumerate(targets) if _same_tree(other, targets[places[0]])]
        table = JudgedTable(expectations, targets, places, tree, happened, ask)
        found.update(table.declarations())
        for loss in table.left():
            left[loss.name] = _in_both(left.get(loss.name), loss)
    declarations = tuple(found[at] for at in sorted(found))
    return Intent(
        declarations=declarations,
        left=replace(
            happened.data,
            tables=tuple(
                loss if loss.verdict is TableVerdict.NEW else left.get(loss.name, loss) for loss in happened.data.tables
            ),
        ),
        excused=frozenset(name for name, loss in left.items() if happened.tables[name].lost and not loss.lost),
        findings=tuple(_findings(declarations, dict(zip(expectations, targets, strict=True)), left)),
        not_measured=tuple(
            Unmeasured(what=f"{each.expectation.place}: expect {each.expectation}", reason=each.detail, decisive=True)
            for each in declarations
            if each.outcome is Outcome.NOT_MEASURED
        ),
    )


def plan_failed(expectations: Iterable[Expectation]) -> Intent:
    """Where the plan did not run through nothing can be said of what it declares."""
    return Intent(
        declarations=tuple(
            Declaration(
                expectation=each,
                relation=".".join(each.relation),
                outcome=Outcome.NOT_MEASURED,
                detail="the plan did not run through",
            )
            for each in expectations
        )
    )


def _same_tree(one: Target, other: Target) -> bool:
    return one.name == other.name or not one.counted_as.isdisjoint(other.counted_as)


def _in_both(one: TableLoss | None, other: TableLoss) -> TableLoss:
    """What neither the declarations of a tree nor those of its leaf explain."""
    if one is None:
        return other
    fewer = min(one, other, key=lambda loss: loss.rows_lost)
    return replace(
        one,
        rows_lost=fewer.rows_lost,
        rows_moved=fewer.rows_moved,
        rows_merged=fewer.rows_merged,
        columns=tuple(min(pair, key=_values_hurt) for pair in zip(one.columns, other.columns, strict=True)),
    )


def _values_hurt(column: ColumnLoss) -> int:
    return (column.values_changed or 0) + (column.values_lost or 0)


def _findings(
    declarations: Iterable[Declaration], targets: Mapping[Expectation, Target], left: Mapping[str, TableLoss]
) -> Iterator[Finding]:
    for each in declarations:
        if each.outcome in (Outcome.AS_DECLARED, Outcome.NOT_MEASURED):
            continue
        leaves = targets[each.expectation].leaves
        losses = [left[name] for name in leaves if name in left and left[name].lost]
        beyond = each.outcome is Outcome.BEYOND
        lossy = beyond and bool(losses)
        told = "; ".join(map(loss_message, losses)) if lossy else ""
        yield Finding(
            hazard=BEYOND if beyond else NOT_MET,
            classes=(HazardClass.DATA_LOSS,) if lossy else (HazardClass.GUARANTEE_LOST,),
            level=Level.WARNING if each.harmless else Level.ERROR,
            file=each.expectation.file,
            line=each.expectation.line,
            column=1,
            message=f"`expect {each.expectation}`: {each.detail}" + (f"; undeclared: {told}" if told else ""),
            remedy=BEYOND_REMEDY if beyond else NOT_MET_REMEDY,
            evidence=Evidence.OBSERVED,
            relation=each.relation,
            measured={"count": each.count, "rows_declared": each.rows_declared, "beyond": each.beyond},
        )

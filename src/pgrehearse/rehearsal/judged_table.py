"""One table's declarations held against what became of its rows and values."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Protocol

from pgrehearse.counted import agree, counted
from pgrehearse.data.verdicts import ColumnLoss, ColumnVerdict, TableLoss, TableVerdict
from pgrehearse.migrations.expectation import PAST, REMOVES_ROWS, Expectation, Verb
from pgrehearse.rehearsal.commits import RowsWritten
from pgrehearse.rehearsal.declared_rows import NotEvaluated
from pgrehearse.rehearsal.declared_tables import Target
from pgrehearse.rehearsal.happened import Happened, Writing

WRITES_VALUES = frozenset({Verb.UPDATES, Verb.CHANGES})
SHOWN_PLACES = 3


class Outcome(Enum):
    """What became of a declaration."""

    AS_DECLARED = "as-declared"
    BEYOND = "beyond"  # more happened than it says
    LESS = "less"  # it happened to fewer rows than it says
    DID_NOT_HAPPEN = "did-not-happen"
    NOT_MEASURED = "not-measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """One declaration and what became of it."""

    expectation: Expectation
    relation: str
    outcome: Outcome
    count: int | None = None  # rows (of `changes` and `drops column`: values); None where it was not measured
    rows_before: int | None = None  # of the table; None: there was none
    rows_declared: int | None = None  # pristine rows that satisfy the condition; None: it has none
    beyond: int = 0  # what it does not speak of, or does not allow
    harmless: bool = False  # beyond, and nothing is lost by that
    detail: str

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.expectation.file,
            "line": self.expectation.line,
            "text": self.expectation.text,
            "verb": self.expectation.verb.value,
            "relation": self.relation,
            "column": self.expectation.column,
            "condition": self.expectation.condition,
            "bound": self.expectation.bound.text if self.expectation.bound is not None else None,
            "outcome": self.outcome.value,
            "count": self.count,
            "rows_before": self.rows_before,
            "rows_declared": self.rows_declared,
            "beyond": self.beyond,
            "detail": self.detail,
        }


class ConditionRows(Protocol):
    """The rows that conditions on one table speak of, each known by its declaration's place in the plan.

    Everything may raise `NotEvaluated`.
    """

    def load(self, at: int) -> int:
        """How many pristine rows satisfy it."""
        ...

    def lost(self, places: Collection[int]) -> int:
        """How many rows of any of these are gone."""
        ...

    def changed(self, column: str, places: Collection[int]) -> tuple[int, int]:
        """Of a column in those rows: other values, and gone ones."""
        ...


Ask = Callable[[Target, Collection[str]], ConditionRows]


class JudgedTable:
    """All declarations of one table (or partition), and what of its losses they leave unexplained.

    ``places`` are its declarations' places in the plan; ``tree`` those of its whole partition tree.
    """

    def __init__(
        self,
        expectations: Sequence[Expectation],
        targets: Sequence[Target],
        places: Sequence[int],
        tree: Sequence[Expectation],
        happened: Happened,
        ask: Ask,
    ) -> None:
        self._all = expectations
        self._places = places
        self._tree = tree
        self._happened = happened
        self._target = targets[places[0]]
        self._problems = {at: targets[at].problem for at in places}
        self._losses = happened.losses(self._target)
        self._rows_before = happened.rows_before(self._target)
        self._rows_lost = sum(loss.rows_lost for loss in self._losses)
        self._hurt = [
            name for name in self._target.columns if any(each.lost for each in happened.columns(self._target, name))
        ]
        self._why: dict[int, str] = {}  # declarations that could not be held against anything
        self._declared: dict[int, int] = {}  # rows that satisfy a condition
        self._counts = {at: self._count(at) for at in self._usable()}
        self._rows = self._ask(ask)
        none_of_them = self._count_by_condition()
        self._rows_strange: int | None = None  # lost ones that no declaration speaks of; None: all that is left
        self._rows_left = self._undeclared_rows()
        if not self._rows_left:  # what was deleted others speak of
            self._counts.update(dict.fromkeys(none_of_them, 0))
        self._values_left = {name: self._undeclared_values(name) for name in self._hurt}

    def _usable(self, *verbs: Verb) -> list[int]:
        return [at for at in self._places if self._problems[at] is None and (not verbs or self._all[at].verb in verbs)]

    def _ask(self, ask: Ask) -> ConditionRows | None:
        conditional = [at for at in self._usable() if self._all[at].condition is not None]
        if not conditional:
            return None
        try:
            rows = ask(self._target, [name for name in self._hurt if name not in self._target.dropped])
        except NotEvaluated as error:
            self._why.update(dict.fromkeys(conditional, str(error)))
            return None
        for at in conditional:
            try:
                self._declared[at] = rows.load(at)
            except NotEvaluated as error:
                self._why[at] = f"its condition cannot be asked of the data before the plan: {error}"
        return rows

    def _count_by_condition(self) -> list[int]:
        """Of a condition's own rows, where they can be told; returns the `deletes` none of whose rows is lost."""
        none_of_them = []
        for at, declared in list(self._declared.items()):
            expectation = self._all[at]
            if not declared:
                self._counts[at] = 0
            if self._rows is None or not self._counts[at]:
                continue
            try:
                if expectation.verb is Verb.DELETES and self._rows_lost:
                    if own := self._rows.lost([at]):
                        self._counts[at] = own
                    else:
                        none_of_them.append(at)
                elif expectation.column is not None and expectation.column in self._hurt:
                    self._counts[at] = sum(self._rows.changed(expectation.column, [at]))
            except NotEvaluated as error:
                self._why[at] = str(error)
        return none_of_them

    # --- how much happened ------------------------------------------------------------------------------

    def _count(self, at: int) -> int:
        """Rows that the statements below wrote so, whoever wrote them; values, of a column."""
        expectation, target = self._all[at], self._target
        written = self._happened.written_below(expectation, target)
        if target.is_partition and written is not None and written != RowsWritten():
            written = None  # counted at the root: here by its own rows
        match expectation.verb:
            case Verb.INSERTS:
                return written.inserted if written is not None else max(self._happened.rows_added(target), 0)
            case Verb.DELETES | Verb.TRUNCATES:
                if written is None or (not written.deleted and target.was_dropped and self._is_here(at)):
                    return self._rows_lost
                return written.deleted
            case Verb.UPDATES:
                values = max((self._values_hurt(name) for name in self._hurt if self._is_written(name)), default=0)
                if written is None or (not written.updated and written.inserted):  # deleted and inserted again
                    return values
                return written.updated
            case Verb.CHANGES | Verb.DROPS_COLUMN:
                here = self._is_here(at) or written is None or written.updated > 0 or self._relabels(at)
                return self._values_hurt(str(expectation.column)) if here else 0
            case Verb.DROPS:
                return self._rows_lost

    def _values_hurt(self, name: str) -> int:
        return sum(
            (column.values_changed or 0) + (column.values_lost or 0)
            for column in self._happened.columns(self._target, name)
        )

    def _is_written(self, name: str) -> bool:
        """Whether a statement that writes rows can be why its values are others."""
        return name not in self._target.dropped and name not in self._target.retyped

    def _is_here(self, at: int) -> bool:
        return self._happened.is_named_below(self._all[at], self._target)

    def _relabels(self, at: int) -> bool:
        column = self._target.columns.get(str(self._all[at].column))
        if self._all[at].verb is not Verb.CHANGES or column is None:
            return False
        return self._happened.relabels_below(self._all[at], column.type)

    def _excess(self, at: int) -> int:
        bound = self._all[at].bound
        return bound.exceeded_by(self._counts[at], rows_before=self._rows_before) if bound is not None else 0

    # --- what nothing speaks of ------------------------------------------------------------------------

    def left(self) -> Iterator[TableLoss]:
        """Each leaf with what no declaration explains; of a tree, not told apart by leaf."""
        rows, values = self._rows_left, dict(self._values_left)
        names = {column.sql_name: name for name, column in self._target.columns.items()}
        for loss in self._losses:
            columns = []
            for column in loss.columns:
                name = names.get(column.name)
                if name in values and column.verdict is not ColumnVerdict.NEW and column.lost:
                    changed = min(column.values_changed or 0, values[name][0])
                    gone = min(column.values_lost or 0, values[name][1])
                    values[name] = values[name][0] - changed, values[name][1] - gone
                    column = _with_values(column, changed, gone)
                columns.append(column)
            left = replace(loss, columns=tuple(columns))
            if loss.rows_lost:
                kept = min(loss.rows_lost, rows)
                rows -= kept
                if kept < loss.rows_lost:  # which of them were found again elsewhere is not told apart
                    left = replace(left, rows_lost=kept, rows_moved=0, rows_merged=0)
            yield left

    def _dropped_as_declared(self) -> bool:
        return self._target.was_dropped and any(self._is_here(at) for at in self._usable(Verb.DROPS))

    def _undeclared_rows(self) -> int:
        lost = self._rows_lost
        if not lost or self._dropped_as_declared():
            return 0
        takes = self._usable(*REMOVES_ROWS)
        updated = not self._target.was_dropped and self._happened.only_updated(self._target)
        if updated:  # a new key, or no key: another row as far as can be told
            takes = self._usable(Verb.UPDATES)
        if not takes or any(loss.verdict is TableVerdict.DROPPED and loss.rows_lost for loss in self._losses):
            return lost
        strange = (
            sum(writing.rows.updated for writing in self._strange_updates())
            if updated
            else sum(writing.rows.deleted for writing in self._strange_deletes())
        )
        counted = self._happened.uncounted_beside(self._target, [self._all[at] for at in takes])
        if counted is not None and not updated and not self._target.was_dropped:
            strange = max(strange, lost - counted.deleted)  # what only an uncounted statement can have taken
        if all(self._all[at].condition is not None for at in takes):
            strange = max(strange, lost - self._lost_as_declared(takes))
        self._rows_strange = min(lost, strange)
        return min(lost, max([strange, *map(self._excess, takes)]))

    def _strange_deletes(self) -> list[Writing]:
        """Rows that statements took which no declaration stands above."""
        known = [each for each in self._tree if each.verb in REMOVES_ROWS]
        return [writing for writing in self._happened.strangers(self._target, known) if writing.rows.deleted]

    def _strange_updates(self) -> list[Writing]:
        known = [each for each in self._tree if each.verb in WRITES_VALUES]
        return [writing for writing in self._happened.strangers(self._target, known) if writing.rows.updated]

    def _lost_as_declared(self, takes: Sequence[int]) -> int:
        measured = [at for at in takes if at in self._declared]
        if self._rows is None or not measured:
            return 0
        try:
            found = self._rows.lost(measured)
        except NotEvaluated as error:
            self._why.update(dict.fromkeys(measured, str(error)))
            return 0
        if found > self._rows_lost:
            missed = f"{found:,} of its rows {agree(found, 'is not found by its', 'are not found by their')} key"
            reason = f"{missed}, and {self._rows_lost:,} {agree(self._rows_lost, 'is', 'are')} really lost"
            self._why.update(dict.fromkeys(measured, reason))
            return 0
        return found

    def _undeclared_values(self, name: str) -> tuple[int, int]:
        """Of a column: how many values are others, and how many are gone."""
        columns = self._happened.columns(self._target, name)
        changed = sum(column.values_changed or 0 for column in columns)
        gone = sum(column.values_lost or 0 for column in columns)
        if self._dropped_as_declared():
            return 0, 0
        if name in self._target.dropped:
            meant = any(self._all[at].column == name and self._is_here(at) for at in self._usable(Verb.DROPS_COLUMN))
            return (0, 0) if meant else (changed, gone)
        written = self._is_written(name)
        speaks = [
            at
            for at in self._usable(*WRITES_VALUES)
            if self._all[at].column == name or (self._all[at].verb is Verb.UPDATES and written)
        ]
        speaks = [at for at in speaks if written or self._is_here(at)]
        if not speaks or (written and self._strange_updates()) or any(map(self._excess, speaks)):
            return changed, gone
        counted = self._happened.uncounted_beside(self._target, [self._all[at] for at in speaks])
        if counted is not None and written and changed + gone > counted.updated + counted.inserted:
            return changed, gone  # an uncounted statement of another file did some of it
        if any(self._all[at].condition is None for at in speaks):
            return 0, 0
        measured = [at for at in speaks if at in self._declared]
        if self._rows is None or not measured:
            return changed, gone
        try:
            there = self._rows.changed(name, measured)
        except NotEvaluated as error:
            self._why.update(dict.fromkeys(measured, str(error)))
            return changed, gone
        if there[0] > changed or there[1] > gone:
            reason = f"more values of {name} differ in its rows than in the whole table, as the two were compared"
            self._why.update(dict.fromkeys(measured, reason))
            return changed, gone
        return changed - there[0], gone - there[1]

    # --- what became of each ----------------------------------------------------------------------------

    def declarations(self) -> dict[int, Declaration]:
        """By their places in the plan."""
        return {at: self._declaration(at) for at in self._places}

    def _declaration(self, at: int) -> Declaration:
        if (problem := self._problems[at]) is not None:
            return self._as(at, Outcome.DID_NOT_HAPPEN, problem)
        if at in self._why:
            return self._as(at, Outcome.NOT_MEASURED, self._why[at])
        match self._all[at].verb:
            case Verb.DROPS:
                return self._dropped(at)
            case Verb.DROPS_COLUMN:
                return self._dropped_column(at)
            case Verb.CHANGES:
                return self._changed(at)
            case Verb.INSERTS:
                return self._bounded(at, hurts=False, beyond=0, beyond_text="")
            case Verb.UPDATES:
                return self._updated(at)
            case Verb.DELETES | Verb.TRUNCATES:
                return self._deleted(at)

    def _as(self, at: int, outcome: Outcome, detail: str, *, beyond: int = 0, harmless: bool = False) -> Declaration:
        return Declaration(
            expectation=self._all[at],
            relation=self._target.name,
            outcome=outcome,
            count=self._counts.get(at) if outcome is not Outcome.NOT_MEASURED else None,
            rows_before=self._rows_before if self._target.before is not None else None,
            rows_declared=self._declared.get(at),
            beyond=beyond,
            harmless=harmless,
            detail=detail,
        )

    def _dropped(self, at: int) -> Declaration:
        name = self._target.name
        if not self._target.was_dropped:
            return self._as(at, Outcome.DID_NOT_HAPPEN, f"{name} is still there")
        if not self._is_here(at):
            return self._as(at, Outcome.DID_NOT_HAPPEN, f"{name} was dropped, and not by a statement below this line")
        return self._as(at, Outcome.AS_DECLARED, f"{name} dropped with {_rows(self._rows_before)}, as expected")

    def _dropped_column(self, at: int) -> Declaration:
        name = f"{self._target.name}.{self._target.columns[str(self._all[at].column)].sql_name}"
        if self._target.was_dropped and self._target.after is None:
            return self._as(at, Outcome.DID_NOT_HAPPEN, f"all of {self._target.name} was dropped: declare `drops`")
        if self._all[at].column not in self._target.dropped:
            return self._as(at, Outcome.DID_NOT_HAPPEN, f"{name} is still there")
        if not self._is_here(at):
            return self._as(at, Outcome.DID_NOT_HAPPEN, f"{name} was dropped, and not by a statement below this line")
        return self._as(
            at, Outcome.AS_DECLARED, f"{name} dropped with {counted(self._counts[at], 'value')}, as expected"
        )

    def _changed(self, at: int) -> Declaration:
        column = str(self._all[at].column)
        name = f"{self._target.name}.{self._target.columns[column].sql_name}"
        verdicts = {each.verdict for each in self._happened.columns(self._target, column)}
        if column in self._target.dropped:
            return self._as(at, Outcome.DID_NOT_HAPPEN, f"{name} was dropped: declare `drops column`")
        if ColumnVerdict.UNMEASURED in verdicts:
            return self._as(at, Outcome.NOT_MEASURED, f"the values of {name} could not be compared")
        if not self._counts[at]:
            if column in self._target.retyped and self._is_here(at):
                return self._as(at, Outcome.AS_DECLARED, f"{name} has another type, and every value is the same")
            if ColumnVerdict.VALUES_GAINED in verdicts:
                return self._as(at, Outcome.AS_DECLARED, f"NULLs of {name} were filled, as expected")
        left = sum(self._values_left.get(column, (0, 0)))
        return self._bounded(at, hurts=True, beyond=left, beyond_text=f"{left:,} of them are beyond it")

    def _updated(self, at: int) -> Declaration:
        left = {name: sum(self._values_left[name]) for name in self._hurt if self._is_written(name)}
        most = max(left, key=lambda name: left[name], default="")
        beyond = left.get(most, 0)
        what = f"{counted(beyond, 'value')} of {most} that changed"
        if not beyond and self._rows_left and self._happened.only_updated(self._target):
            beyond = self._rows_left
            what = f"{beyond:,} of the rows that are others now"
        text = f"{what} {agree(beyond, 'is', 'are')} beyond it{self._told(self._strange_updates())}"
        found = self._bounded(at, hurts=bool(left) or self._rows_lost > 0, beyond=beyond, beyond_text=text)
        speaking = self._usable(*WRITES_VALUES)
        declared = sum(self._declared.get(each, self._rows_before) for each in speaking)
        if found.outcome is Outcome.AS_DECLARED and at in self._declared and self._counts[at] > declared:
            more = self._counts[at] - declared
            detail = f"{found.detail.removesuffix(', as expected')}, and only {declared:,} satisfied a condition"
            return self._as(at, Outcome.BEYOND, f"{detail}; nothing is lost by that", beyond=more, harmless=True)
        return found

    def _deleted(self, at: int) -> Declaration:
        truncates = self._all[at].verb is Verb.TRUNCATES and self._happened.truncated_below(self._all[at])
        if truncates and not self._counts[at]:
            return self._as(at, Outcome.AS_DECLARED, f"{self._target.name} was truncated, and it was empty")
        # Too many of what another one speaks of are told there.
        left = self._rows_left if self._rows_strange is None else self._rows_strange
        if any(loss.verdict is TableVerdict.DROPPED for loss in self._losses) and self._target.after is None:
            text = f"{self._target.name} was dropped: declare `drops`"
            return self._as(at, Outcome.BEYOND, text, beyond=left)
        text = f"{left:,} of the rows that are lost {agree(left, 'is', 'are')} beyond it"
        text += self._told(self._strange_deletes())
        found = self._bounded(at, hurts=self._rows_lost > 0, beyond=left, beyond_text=text)
        if found.outcome is not Outcome.AS_DECLARED or not self._counts[at]:
            return found
        if not self._rows_lost:
            return replace(found, detail=f"{found.detail}; none of them is missing afterwards")
        return found

    def _told(self, writings: Sequence[Writing]) -> str:
        places = list(dict.fromkeys(writing.place for writing in writings))
        if not places:
            return ""
        more = f" and {len(places) - SHOWN_PLACES} more" if len(places) > SHOWN_PLACES else ""
        return f": {', '.join(places[:SHOWN_PLACES])}{more} did it without a declaration above"

    def _bounded(self, at: int, *, hurts: bool, beyond: int, beyond_text: str) -> Declaration:
        """Of a number of rows or values; ``hurts``: some are lost, so that a share of the table bounds them."""
        expectation, count = self._all[at], self._counts[at]
        bound = expectation.bound
        noun = f"values of {expectation.column} of" if expectation.verb is Verb.CHANGES else "rows of"
        done = f"{count:,} {noun} {self._target.name} {PAST[expectation.verb]}"
        if not count:
            if bound is not None and bound.allows_none:
                return self._as(at, Outcome.AS_DECLARED, f"{done}, which is as declared")
            return self._as(at, Outcome.DID_NOT_HAPPEN, f"{done} by the statements below it{self._elsewhere(at)}")
        excess = self._excess(at) if bound is not None and (hurts or not bound.is_share) else 0
        if bound is not None and excess:
            share = f" of {self._rows_before:,}" if bound.percent else ""
            return self._as(at, Outcome.BEYOND, f"{done}{share}: {excess:,} too many", beyond=max(excess, beyond))
        if beyond:
            return self._as(at, Outcome.BEYOND, f"{done}; {beyond_text}", beyond=beyond)
        if bound is not None and not bound.is_share and not bound.holds_of(count, rows_before=self._rows_before):
            return self._as(at, Outcome.LESS, f"{done}, which is less than declared")
        return self._as(at, Outcome.AS_DECLARED, f"{done}, as expected")

    def _elsewhere(self, at: int) -> str:
        """Who did it instead."""
        writings = [
            writing
            for writing in self._happened.strangers(self._target, [self._all[at]])
            if (writing.rows.deleted if self._all[at].verb in REMOVES_ROWS else writing.rows.updated)
        ]
        places = ", ".join(dict.fromkeys(writing.place for writing in writings[:SHOWN_PLACES]))
        return f"; {places} did, which it does not speak of" if places else ""


def _with_values(column: ColumnLoss, changed: int, gone: int) -> ColumnLoss:
    """With only so many values changed and gone; how, and which were found again, is then not told apart."""
    if (changed, gone) == (column.values_changed or 0, column.values_lost or 0):
        return column
    return replace(
        column,
        values_changed=None if column.values_changed is None else changed,
        values_lost=None if column.values_lost is None else gone,
        values_moved=0,
        changes=(),
    )


def _rows(count: int) -> str:
    return f"{count:,} row{'' if count == 1 else 's'}"

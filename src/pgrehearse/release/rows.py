"""A statement's rows in production held against the rehearsal's: the same numbers, or within what its file declares."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pgrehearse.counted import counted
from pgrehearse.migrations.expectation import REMOVES_ROWS, Expectation, Verb
from pgrehearse.rehearsal.commits import RowsWritten, StatementRows

Key = tuple[str, int]  # a migration's version and a statement's index in it

ROWS_DIFFER = "rows-differ"  # a step's note: a statement wrote another number of rows than in the rehearsal, as allowed
_BY_TAG = {
    "DeleteStmt": Verb.DELETES,
    "UpdateStmt": Verb.UPDATES,
    "InsertStmt": Verb.INSERTS,
    "MergeStmt": Verb.UPDATES,
}
# What these insert is a trigger's doing, and follows from the rows that are compared anyway.
_INSERTS_BESIDE = frozenset({"DeleteStmt", "UpdateStmt", "TruncateStmt"})
_WORDS = {Verb.INSERTS: "inserted", Verb.UPDATES: "updated", Verb.DELETES: "deleted"}
_STEPS = (1, 2, 5)
ROOM = 1.5  # a suggested tolerance leaves this many times the difference that was met


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsDiffer:
    """One count that is not the rehearsal's."""

    relation: str | None  # None: the server's own answer, where no table's counters tell
    verb: Verb
    rehearsed: int
    here: int
    allowed: Expectation | None  # within this; None: it is refused
    declared: Expectation | None = None  # refused, though this stands above the statement

    def __str__(self) -> str:
        where = f"{self.relation}: " if self.relation is not None else ""
        verb = _WORDS[self.verb]
        text = f"{where}{counted(self.rehearsed, 'row')} {verb} in the rehearsal, {self.here} here"
        if self.allowed is not None:
            return f"{text}, as declared ({self.allowed})"
        return text if self.declared is None else f"{text}, beyond what is declared ({self.declared})"

    def as_json(self) -> dict[str, Any]:
        return {
            "relation": self.relation, "verb": self.verb.value, "rehearsed": self.rehearsed, "here": self.here,
            "text": str(self),
        }  # fmt: skip

    @property
    def suggestion(self) -> str:
        """The line that would have let it pass, with some room."""
        difference = abs(self.here - self.rehearsed) * ROOM
        rows = f"{_round_up(difference):g} rows"
        if not self.rehearsed:  # a declaration of which nothing happens in the rehearsal must say that this is fine
            bound = f"between 0 and {rows}"
        elif (percent := _round_up(100 * difference / self.rehearsed)) <= 100:
            bound = f"within {percent:g}%"
        else:
            bound = f"within {rows}"
        return f"-- pgrehearse: expect {self.verb.value} {self.relation or 'TABLE'} {bound}"


class Declared:
    """What the files declare of a plan's rows, and by how much production has differed under each so far."""

    def __init__(
        self,
        expectations: Sequence[Expectation],
        *,
        document: Mapping[str, Any],
        rehearsed: Mapping[Key, StatementRows],
        kinds: Mapping[Key, str],
    ) -> None:
        self._all = [each for each in expectations if each.verb in _WORDS or each.verb in REMOVES_ROWS]
        told = {(each["line"], each["text"]): each for each in document.get("declarations", ())}
        renamed = {table["name"]: table["name_after"] for table in document["tables"] if table["name"] is not None}
        self._names: dict[Expectation, frozenset[str]] = {}
        self._rows_before: dict[Expectation, int] = {}
        for each in self._all:
            found = told.get((each.line, each.text))
            if found is not None:  # a name without its schema was looked up in the rehearsal
                after = renamed.get(found["relation"])
                self._names[each] = frozenset({found["relation"], *([after] if after is not None else [])})
                self._rows_before[each] = found["rows_before"] or 0
        self._kinds = kinds  # parse nodes
        self._rehearsed = {each: self._count_rehearsed(each, rehearsed.values()) for each in self._all}
        self._drift: dict[Expectation, dict[tuple[Key, str | None], int]] = defaultdict(dict)

    def find(
        self, keys: Sequence[Key], verb: Verb, relation: str | None, *, predicted: int, actual: int
    ) -> tuple[Expectation | None, Expectation | None]:
        """The one that allows this difference; or else one that speaks of these rows and does not."""
        speaking = [
            each
            for each in self._all
            if _counts_as(each.verb) is verb
            and any(each.covers(*key) for key in keys)
            and (relation is None or self._speaks_of(each, relation))
        ]
        allowed = None
        for each in speaking:
            mine = self._drift[each]
            place = (keys[-1], relation)  # a transaction that is tried again is counted once
            drift = sum(difference for at, difference in mine.items() if at != place)
            mine[place] = actual - predicted
            if (
                allowed is None
                and each.bound is not None
                and each.bound.tolerates(
                    predicted,
                    actual,
                    drift=drift,
                    rehearsed=self._rehearsed[each],
                    rows_before=self._rows_before.get(each, 0),
                )
            ):
                allowed = each
        return allowed, speaking[0] if speaking and allowed is None else None

    def _speaks_of(self, expectation: Expectation, relation: str) -> bool:
        names = self._names.get(expectation)
        return relation in names if names is not None else expectation.speaks_of(relation)

    def _count_rehearsed(self, expectation: Expectation, statements: Iterable[StatementRows]) -> int:
        return sum(
            _of(written.without_moves(self._kinds.get(statement.key, "")), _counts_as(expectation.verb))
            for statement in statements
            if expectation.covers(*statement.key)
            for relation, written in statement.written.items()
            if self._speaks_of(expectation, relation)
        )


def compare_rows(
    rehearsed: StatementRows, here: StatementRows, *, kind: str, keys: Sequence[Key], declared: Declared
) -> tuple[tuple[RowsDiffer, ...], tuple[RowsDiffer, ...]]:
    """What is refused, and what is only told.  ``kind`` is the statement's parse node, ``keys`` whose rows they are.

    By table, whoever wrote: a cascade or a trigger that destroys other rows than it did in the rehearsal is refused
    too.  Where no counter saw anything (a foreign or temporary table), by the number that the server answered.
    """
    refused: list[RowsDiffer] = []
    told: list[RowsDiffer] = []

    def hold(relation: str | None, verb: Verb, then: int, actual: int, *, beside: bool = False) -> None:
        allowed, exceeded = declared.find(keys, verb, relation, predicted=then, actual=actual)
        found = RowsDiffer(
            relation=relation, verb=verb, rehearsed=then, here=actual, allowed=allowed, declared=exceeded
        )
        (told if allowed is not None or beside else refused).append(found)

    for relation in sorted(rehearsed.written.keys() | here.written.keys()):
        was = rehearsed.written.get(relation, RowsWritten()).without_moves(kind)
        now = here.written.get(relation, RowsWritten()).without_moves(kind)
        for verb in _WORDS:
            if _of(was, verb) != _of(now, verb):
                beside = verb is Verb.INSERTS and kind in _INSERTS_BESIDE
                hold(relation, verb, _of(was, verb), _of(now, verb), beside=beside)
    counted = rehearsed.written or here.written
    if kind in _BY_TAG and not counted and rehearsed.rows != here.rows:
        hold(None, _BY_TAG[kind], rehearsed.rows or 0, here.rows or 0)
    return tuple(refused), tuple(told)


def remedy_for(refused: Collection[RowsDiffer]) -> str:
    """What to write so that such a difference may be; it changes the plan, so it is rehearsed and approved with it."""
    lines = "\n".join(dict.fromkeys(each.suggestion for each in refused))
    where = "above the statement" if all(each.declared is None for each in refused) else "instead of what stands there"
    return (
        "That transaction was rolled back.  Rehearse again; or, where the application goes on writing such rows, "
        f"declare in the file, on a line of its own {where}, how far production may differ, and rehearse that:\n{lines}"
    )


def _counts_as(verb: Verb) -> Verb:
    return Verb.DELETES if verb in REMOVES_ROWS else verb


def _of(written: RowsWritten, verb: Verb) -> int:
    match verb:
        case Verb.INSERTS:
            return written.inserted
        case Verb.UPDATES:
            return written.updated
        case _:
            return written.deleted


def _round_up(number: float) -> float:
    """To 1, 2 or 5 times a power of ten."""
    if number <= 1:
        return 1
    power: float = 10 ** math.floor(math.log10(number))
    return next((step * power for step in _STEPS if step * power >= number), 10 * power)

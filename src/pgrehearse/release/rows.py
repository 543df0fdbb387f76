"""A statement's rows in production held against the rehearsal's: the same numbers, or within the declared tolerance."""

from collections.abc import Sequence
from dataclasses import dataclass

from pgrehearse.migrations.expectations import Expectation, Verb
from pgrehearse.rehearsal.commits import RowsWritten, StatementRows

_BY_TAG = {
    "DeleteStmt": Verb.DELETES,
    "UpdateStmt": Verb.UPDATES,
    "InsertStmt": Verb.INSERTS,
    "MergeStmt": Verb.UPDATES,
}
# What these insert is a trigger's doing, and follows from the rows that are compared anyway.
_INSERTS_BESIDE = frozenset({"DeleteStmt", "UpdateStmt", "TruncateStmt"})
_WORDS = {Verb.INSERTS: "inserted", Verb.UPDATES: "updated", Verb.DELETES: "deleted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsDiffer:
    """One count that is not the rehearsal's."""

    relation: str | None  # None: the server's own answer, where no table's counters tell
    verb: Verb
    rehearsed: int
    here: int
    allowed: Expectation | None  # within this; None: it is refused

    def __str__(self) -> str:
        where = f"{self.relation}: " if self.relation is not None else ""
        verb = _WORDS[self.verb]
        text = f"{where}{self.rehearsed} rows {verb} in the rehearsal, {self.here} here"
        return text if self.allowed is None else f"{text}, as declared ({self.allowed})"


def compare_rows(
    rehearsed: StatementRows, here: StatementRows, *, kind: str, expectations: Sequence[Expectation]
) -> tuple[tuple[RowsDiffer, ...], tuple[RowsDiffer, ...]]:
    """What is refused, and what is only told.  Pure.  ``kind`` is the statement's parse node.

    By table, whoever wrote: a cascade or a trigger that destroys other rows than it did in the rehearsal is refused
    too.  Where no counter saw anything (a foreign or temporary table), by the number that the server answered.
    """
    refused: list[RowsDiffer] = []
    told: list[RowsDiffer] = []
    for relation in sorted(rehearsed.written.keys() | here.written.keys()):
        was, now = rehearsed.written.get(relation, RowsWritten()), here.written.get(relation, RowsWritten())
        for verb, then, actual in (
            (Verb.INSERTS, was.inserted, now.inserted),
            (Verb.UPDATES, was.updated, now.updated),
            (Verb.DELETES, was.deleted, now.deleted),
        ):
            if then == actual:
                continue
            allowed = next(
                (
                    each
                    for each in expectations
                    if each.verb is verb and each.speaks_of(relation) and each.allows(then, actual)
                ),
                None,
            )
            found = RowsDiffer(relation=relation, verb=verb, rehearsed=then, here=actual, allowed=allowed)
            beside = verb is Verb.INSERTS and kind in _INSERTS_BESIDE
            (told if allowed is not None or beside else refused).append(found)
    counted = rehearsed.written or here.written
    if kind in _BY_TAG and not counted and rehearsed.rows != here.rows:
        verb, then, actual = _BY_TAG[kind], rehearsed.rows or 0, here.rows or 0
        allowed = next((each for each in expectations if each.verb is verb and each.allows(then, actual)), None)
        found = RowsDiffer(relation=None, verb=verb, rehearsed=then, here=actual, allowed=allowed)
        (told if allowed is not None else refused).append(found)
    return tuple(refused), tuple(told)

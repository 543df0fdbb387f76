"""Whether the rows that go in production are those that went in the rehearsal: told by their keys, before COMMIT."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pgrehearse.counted import agree, counted
from pgrehearse.errors import NotAsRehearsed
from pgrehearse.migrations.expectation import REMOVES_ROWS, Verb
from pgrehearse.migrations.observer import NoObserver
from pgrehearse.migrations.segments import Segment
from pgrehearse.postgres.connect import Connection
from pgrehearse.rehearsal.tolerated import leaves_of
from pgrehearse.release.watch import Rehearsed
from pgrehearse.rollback.image import Image, ImageState, read_again
from pgrehearse.rollback.rows_taken import (
    RowSet,
    RowsTaken,
    count_written_over,
    read_keys_gone,
    read_rows_taken,
)
from pgrehearse.schema.schema_object import ObjectKind

KEYS_SHOWN = 5
UNTOUCHED = frozenset({"unchanged", "renamed"})  # verdicts of a column
REMEDY = (
    "That transaction was rolled back.  Rehearse again; or, where the application goes on writing such rows, declare "
    "in the file, on a line of its own above the statement, that other rows may go, and rehearse that:"
)


class RefuseOtherRows(NoObserver):
    """After the images are settled: as many rows, but other ones, are not what was rehearsed.

    Rows that hold other values are only told: a plan that normalises values changes those that need it.
    """

    def __init__(self, images: Sequence[Image], rehearsed: Rehearsed, *, tell: Callable[[str], None]) -> None:
        self._images = tuple(images)
        self._then = _rows_taken(rehearsed.document)
        self._may_differ = _may_differ(rehearsed)
        self._emptied = _emptied(rehearsed.document)
        self._went = _rows_that_went(rehearsed.document)
        self._unchanged = _columns_unchanged(rehearsed)
        self._trees = _trees_of_moved(rehearsed)
        self._tell = tell
        # By an earlier transaction, perhaps of an earlier run, and held against the rehearsal there.
        settled = [image for image in images if image.state is ImageState.SETTLED]
        self._settled = frozenset(image.relation for image in settled)
        self._compared = {
            image.relation for image in settled if _may_be_compared(image, self._then.get(image.relation))
        }
        self._gone: dict[str, int] = {}  # rows that went here, of tables that could not be compared
        self._changed: dict[str, int] = {}  # rows of those that were written over

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        current = read_again(session, self._images) if self._images else ()
        self._settled = frozenset(image.relation for image in current if image.state is ImageState.SETTLED)

    def before_commit(self, session: Connection) -> None:
        refused = []
        for image in read_again(session, self._images) if self._images else ():
            if image.state is not ImageState.SETTLED or image.relation in self._settled:
                continue
            if (differs := self._compare(session, image)) is not None:
                refused.append((image.relation, differs))
                continue
            for column, rows in count_written_over(session, image, self._unchanged.get(image.relation, ())).items():
                self._tell(
                    f"{image.relation}.{column}: the rehearsal wrote over none of its values, here "
                    f"{counted(rows, 'row')} {agree(rows, 'has', 'have')} another one; the image holds those before"
                )
        if refused:
            lines = dict.fromkeys(f"-- pgrehearse: expect {self._verb_for(each)} within 1%" for each, _ in refused)
            raise NotAsRehearsed("\n".join(differs for _, differs in refused), remedy="\n".join([REMEDY, *lines]))

    def not_compared(self) -> Iterator[str]:
        """When all is applied: of which tables only the number of rows that went was held against the rehearsal's."""
        for what, rows in (("gone", {**self._gone, **self._went}), ("written over", self._changed)):
            for relation in sorted(rows.keys() - self._compared - self._emptied):
                are = f"{counted(rows[relation], 'row')} {agree(rows[relation], 'is', 'are')} {what}"
                yield f"{relation}: {are}; whether the same ones as in the rehearsal was not measured, only how many"

    def _compare(self, session: Connection, image: Image) -> str | None:
        """What is refused of one table; what is only told is told."""
        here, then = read_rows_taken(session, image), self._then.get(image.relation)
        if here is None or then is None or then.by != here.by:
            self._note_not_compared(image)
            return None
        self._compared.add(image.relation)
        if then.gone != here.gone:
            found = _sentence(image.relation, then.gone, here.gone, verb="gone")
            found += "" if here.is_key else "; it has no key, so a row is all that it holds"
            if image.relation not in self._may_differ | self._emptied:
                return f"{found}{_keys_here(session, image)}"
            why = "as its file lets be" if image.relation in self._may_differ else "whatever the table held"
            self._tell(f"{found}, {why}")
        elif then.changed is not None and here.changed is not None and then.changed != here.changed:
            self._tell(_sentence(image.relation, then.changed, here.changed, verb="written over"))
        return None

    def _verb_for(self, relation: str) -> str:
        """What a declaration says that lets other rows go, or move to another partition of their tree."""
        root = self._trees.get(relation)
        return f"deletes {relation}" if root is None else f"updates {root}"

    def _note_not_compared(self, image: Image) -> None:
        settled = image.settled
        if settled is None or settled.relation_after is None:
            return
        if settled.rows_absent:
            self._gone[image.relation] = settled.rows_absent
        if settled.rows_changed and settled.rows_changed < image.rows and None not in settled.columns_after:
            self._changed[image.relation] = settled.rows_changed


def _may_be_compared(image: Image, then: RowsTaken | None) -> bool:
    """Of one that is settled: as `read_rows_taken` tells, without reading it."""
    if then is None or image.settled is None:
        return False
    return then.by == image.plan.key if then.is_key else not image.key and not image.settled.rows_changed


def _sentence(relation: str, then: RowSet, here: RowSet, *, verb: str) -> str:
    if then.rows != here.rows:
        return f"{relation}: {counted(then.rows, 'row')} {verb} in the rehearsal, {here.rows} here"
    if then.rows == 1:
        return f"{relation}: another row {verb} here than in the rehearsal"
    return f"{relation}: {counted(then.rows, 'row')} {verb} in the rehearsal and here, but not the same ones"


def _keys_here(session: Connection, image: Image) -> str:
    found = read_keys_gone(session, image, most=KEYS_SHOWN + 1)
    if not found:
        return ""
    written = (", ".join(f"{column}={value}" for column, value in key.items()) for key in found[:KEYS_SHOWN])
    return f" (here {'; '.join(written)}{' …' if len(found) > KEYS_SHOWN else ''})"


def _rows_taken(document: Mapping[str, Any]) -> dict[str, RowsTaken]:
    """By relation; an earlier version's receipt has none."""
    return {
        image["relation"]: RowsTaken.from_json(found)
        for image in document["rollback"].get("before_images", ())
        if (found := image.get("rows_taken")) is not None
    }


def _rows_that_went(document: Mapping[str, Any]) -> dict[str, int]:
    """How many, by table; one that was dropped goes with whatever it holds."""
    found = {}
    for table in document["tables"]:
        if table["name"] is None or table["name_after"] is None:
            continue
        rows = table["rows_before"] - table["rows_after"] if table["verdict"] == "rows-moved" else table["rows_lost"]
        if rows or table["verdict"] == "rows-moved":
            found[table["name"]] = rows
    return found


def _columns_unchanged(rehearsed: Rehearsed) -> dict[str, tuple[str, ...]]:
    """Columns whose values the rehearsal left as they were, by table; not where rows may have come under a lost key."""
    found = {}
    for table in rehearsed.document["tables"]:
        if table["name"] is not None and table["name_after"] is not None and not table["rows_lost"]:
            changed = {each["name"] for each in table["columns"] if each["verdict"] not in UNTOUCHED}
            found[table["name"]] = tuple(set(rehearsed.before.columns(table["name"])) - changed)
    return found


def _trees_of_moved(rehearsed: Rehearsed) -> dict[str, str]:
    """The root of the tree, by partition whose rows moved to another."""
    parents = {
        each.name: each.attributes["inherits"]
        for each in rehearsed.before.of_kind(ObjectKind.TABLE)
        if "partition bound" in each.attributes
    }
    found = {}
    for table in rehearsed.document["tables"]:
        if table["verdict"] == "rows-moved" and table["name"] in parents:
            root = table["name"]
            while root in parents:
                root = parents[root]
            found[table["name"]] = root
    return found


def _emptied(document: Mapping[str, Any]) -> frozenset[str]:
    """Tables that the plan dropped and made anew without one of their rows: like a dropped one, whatever they hold."""
    return frozenset(
        table["name"]
        for table in document["tables"]
        if table["verdict"] == "recreated" and table["rows_lost"] == table["rows_before"]
    )


def _may_differ(rehearsed: Rehearsed) -> frozenset[str]:
    """Tables whose file declares how far the rows that go may differ; of a partition, too, those that move away."""
    bounded: dict[Verb, set[str]] = {verb: set() for verb in Verb}
    for each in rehearsed.document.get("declarations", ()):
        if each["bound"] is not None:
            bounded[Verb(each["verb"])].add(each["relation"])
    before = rehearsed.before
    partitions = {each.name for each in before.of_kind(ObjectKind.TABLE) if "partition bound" in each.attributes}
    removed = leaves_of(before, set().union(*(bounded[verb] for verb in REMOVES_ROWS)))
    return frozenset(removed | (leaves_of(before, bounded[Verb.UPDATES]) & partitions))

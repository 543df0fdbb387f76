"""The way back, rehearsed: generated, performed on the clone, held against the pristine copy, and the plan run again.

The functions that run here are those that later run on production.  What was not proved is not promised.
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg

from pgrehearse.clones.pair import ClonePair
from pgrehearse.counted import agree, counted
from pgrehearse.data.integrity.matviews import find_emptied_matviews
from pgrehearse.data.loss import compare_data
from pgrehearse.data.verdicts import ColumnVerdict, DataComparison, SequenceVerdict, TableLoss, TableVerdict
from pgrehearse.errors import (
    CommitOutcomeUnknown,
    ConnectionLost,
    Interrupted,
    MigrationFailed,
    PgRehearseError,
    ServerUnreachable,
)
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.observer import NoObserver, Observer, Observers
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.progress import Progress
from pgrehearse.rehearsal.document import Seen
from pgrehearse.rehearsal.rehearsed_way_back import RehearsedWayBack, WayBackType, image_json
from pgrehearse.rehearsal.tolerated import as_tolerated, find_tolerated, speaks_below
from pgrehearse.rollback.aside import find_added, find_rewritten
from pgrehearse.rollback.definitions import read_definitions
from pgrehearse.rollback.image_plan import ROWS_DELETED
from pgrehearse.rollback.images import Image, ImagePlan, drop_images, find_images, plan_images, take_images
from pgrehearse.rollback.inverse import Inverse
from pgrehearse.rollback.perform import Ddl, WentBack, perform
from pgrehearse.rollback.quarantine import RefreshImages, SettleImages
from pgrehearse.rollback.rows_taken import read_rows_taken
from pgrehearse.rollback.way_back import find_inverse
from pgrehearse.schema.diff import ORDER, diff
from pgrehearse.schema.known import read_schema_again
from pgrehearse.schema.schema_object import ObjectKind, Schema

QUERIES = named_queries(__file__)
IMAGES_OF = "rehearsal"  # the id under which images are taken on a clone
LIMITS = Limits(lock_timeout_ms=60_000, attempts=2, max_block_s=None, wait_s=60.0)
SHOWN = 5
# What they change is in no schema that is compared (secrets, another server), so nothing would show that it stays.
UNSEEN = {
    "CreateUserMappingStmt": "user mappings",
    "AlterUserMappingStmt": "user mappings",
    "DropUserMappingStmt": "user mappings",
    "AlterForeignServerStmt": "options of servers",
    "AlterFdwStmt": "options of foreign-data wrappers",
    "CreateSubscriptionStmt": "subscriptions",
    "AlterSubscriptionStmt": "subscriptions",
    "DropSubscriptionStmt": "subscriptions",
}
_TABLESPACE = re.compile(r"\bSET\s+TABLESPACE\b", re.IGNORECASE)
EQUAL = frozenset({TableVerdict.UNCHANGED, TableVerdict.RENAMED, TableVerdict.RECREATED})
CALM = frozenset({TableVerdict.UNCHANGED, TableVerdict.RENAMED})
# Its values are all there, or it is not compared with anything: a column that came back is a new one to the catalog.
# Of another type means a type made anew: that it is the same one in all but its oid the schemas have shown before.
SAME = frozenset({ColumnVerdict.UNCHANGED, ColumnVerdict.RECREATED, ColumnVerdict.TYPE_CHANGED, ColumnVerdict.RENAMED})


def rehearse_way_back(
    pair: ClonePair, seen: Seen, progress: Progress, *, prepare_ledger: Callable[[], None]
) -> RehearsedWayBack:
    """Type the way back by what can be proved on the clone, which is as the plan left it.

    Where the plan destroys nothing, the inverse runs on this very clone: some catalog work and one `pg_dump
    --schema-only`.  Else the clone is made anew and the plan run again behind images.  Only tables whose file or
    rows the way back touched are compared again.  Afterwards the clone is migrated once more, where that worked.
    Never raises for what goes wrong: it is told as a reason, and the type is no better than what was proved.
    """
    reason = _why_not(pair, seen)
    if reason is not None:
        return RehearsedWayBack(type=WayBackType.NOT_MEASURED, reasons=(reason,))
    started = time.monotonic()
    try:
        rehearsing = _Rehearsing(pair, seen, progress, prepare_ledger)
        found = rehearsing.rehearse()
        rehearsing.leave_migrated()
    except Interrupted:
        raise  # who presses Ctrl-C wants the whole of it to end
    except (PgRehearseError, psycopg.Error, OSError) as error:
        reason = f"it could not be rehearsed: {_told(error)}"
    except Exception as error:  # a fault of ours must not cost the receipt of all that was measured before
        reason = f"it could not be rehearsed: {type(error).__name__}, an error of pgrehearse itself"
    else:
        return found
    finally:
        seen.timings["way_back_ms"] = (time.monotonic() - started) * 1000
    return RehearsedWayBack(type=WayBackType.NOT_MEASURED, reasons=(reason,))


def _why_not(pair: ClonePair, seen: Seen) -> str | None:
    if pair.role_problem is not None or seen.data is None or seen.clone_schema is None:
        return "the plan was not run"
    if seen.failure is not None:
        return "the plan failed: there is nothing to take back"
    if seen.not_run:
        return "a part of the plan was not run"
    if any(entry.decisive for entry in seen.unmeasured):
        return "the plan was not measured, and is not run a second time"
    return None


class _NotProvedError(Exception):
    """The proof failed; the reasons why."""

    def __init__(self, *reasons: str) -> None:
        super().__init__(*reasons)
        self.reasons = reasons


def _require_alive(error: Exception) -> None:
    """A server that went away says nothing of the way back: it is not measured then, and not disproved."""
    if isinstance(error, (ConnectionLost, CommitOutcomeUnknown, ServerUnreachable)):
        raise error


@dataclass(slots=True)
class _Rehearsing:
    pair: ClonePair
    seen: Seen
    progress: Progress
    prepare_ledger: Callable[[], None]
    notes: list[str] = field(default_factory=list)
    written: frozenset[int] | None = None  # tables into which the way back wrote; None: not known
    taken: tuple[Image, ...] = ()
    migrated: bool = True  # whether the clone is as the plan leaves it

    def rehearse(self) -> RehearsedWayBack:
        self.progress.step("rehearsing the way back")
        inverse = self._find_inverse()
        ddl = Ddl(statements=inverse.statements, after_rows=inverse.after_rows)
        plans = self._plan_images()
        lossless = not plans and not self._data.lost
        why_not = self._why_hopeless(inverse)
        images = tuple(image_json(plan) for plan in plans)
        if why_not:
            if any(plan.why == ROWS_DELETED for plan in plans):
                images = self._try_for_rows_taken(plans)
        elif not lossless:
            why_not = self._migrate_behind_images(plans)
            images = self._images_json(plans)
        result = RehearsedWayBack(
            type=WayBackType.LOSES_WRITES, ddl=ddl, images=images, left_behind=tuple(self._left_behind())
        )
        if why_not:
            return self._not_proved(result, why_not)
        try:
            went_back = self._go_back(ddl)
            self._require_pristine()
            result = replace(result, down_ms=went_back.duration_ms, proved=True)
            result = replace(result, up_again_ms=self._up_again())
        except _NotProvedError as failed:
            return self._not_proved(replace(result, proved=False), failed.reasons)
        proved = WayBackType.LOSSLESS if lossless else WayBackType.RESTORABLE
        return replace(result, type=proved, reasons=tuple(dict.fromkeys(self.notes)))

    def _why_hopeless(self, inverse: Inverse) -> tuple[str, ...]:
        """What no proof would mend; nothing is run for it."""
        if inverse.not_invertible:
            return inverse.not_invertible
        unseen = (*self._unseen(), *self._tolerated_outside())
        if unseen:
            return unseen
        if self._large_objects_lost:
            return ("large objects that the plan deletes or overwrites are in no image",)
        if self._large_objects_altered():
            return ("what the plan does to owner, rights or comment of large objects stays",)
        return ()

    # --- what there is to do ---------------------------------------------------------------------------------------

    @property
    def _before(self) -> Schema:
        assert self.seen.pristine_schema is not None
        return self.seen.pristine_schema

    @property
    def _after(self) -> Schema:
        assert self.seen.clone_schema is not None
        return self.seen.clone_schema

    @property
    def _data(self) -> DataComparison:
        assert self.seen.data is not None
        return self.seen.data

    @property
    def _changes(self) -> list[dict[str, str | None]]:
        return [change.as_json() for change in diff(self._before, self._after, same_oids=True)]

    @property
    def _large_objects_lost(self) -> bool:
        return self._data.large_objects is not None and self._data.large_objects.lost

    def _large_objects_altered(self) -> bool:
        """Of those that are still there; streamed, for there may be millions."""
        with self.pair.session("pristine", "way back") as before, self.pair.session("clone", "way back") as after:
            theirs = iter(after.cursor().stream(QUERIES["large_objects"]))
            other = next(theirs, None)
            altered = False
            for oid, facts in before.cursor().stream(QUERIES["large_objects"]):
                while other is not None and other[0] < oid:
                    other = next(theirs, None)
                altered |= other is not None and other[0] == oid and other[1] != facts
            for _ in theirs:  # to its end: a stream left half-read would break the session
                pass
        return altered

    def _find_inverse(self) -> Inverse:
        with self.pair.session("pristine", "way back") as session:
            definitions = read_definitions(self.pair.pristine, session)
        with self.pair.session("clone", "way back") as session:
            ledger = frozenset({self.seen.request.ledger.table})
            return find_inverse(self._before, self._after, definitions, session, ignore_relations=ledger)

    def _plan_images(self) -> tuple[ImagePlan, ...]:
        ledger = self.seen.request.ledger.table
        tables = [table.as_json() for table in self._data.tables]
        seen = {plan.relation for plan in plan_images(tables, self._changes, self._before)}
        declarations = [each.as_json() for each in self.seen.intent.declarations]
        tolerated = find_tolerated(declarations, self._before)
        plans = plan_images(as_tolerated(tables, tolerated, self._before), self._changes, self._before)
        for relation in (plan.relation for plan in plans if plan.relation not in seen):
            self.notes.append(f"{relation} is copied too: its file lets production write where the rehearsal did not")
        return tuple(plan for plan in plans if ledger not in (plan.relation, plan.name_after))

    def _tolerated_outside(self) -> Iterator[str]:
        """What a statement outside transactions destroys is in no image."""
        for trace in self.seen.traces:
            key = (trace.migration.version, trace.statement.index)
            if trace.sampled and any(speaks_below(self.seen.expectations, {key: trace.statement.kind}, [key])):
                yield (
                    f"{trace.migration.path}:{trace.statement.line} runs outside transactions, and its file lets "
                    "production write rows there that no image would hold"
                )

    def _partitions_taking_rows(self) -> list[str]:
        """Partitions that the plan adds, where rows of other tables may have gone to them."""
        taken = [table for table in self._data.tables if table.name_after is None]
        if not taken and not any(table.verdict is TableVerdict.ROWS_MOVED for table in self._data.tables):
            return []
        added = {str(each) for each in find_added(self._changes)}
        tables = self._after.of_kind(ObjectKind.TABLE)
        return [each.name for each in tables if each.name in added and "partition bound" in each.attributes]

    def _left_behind(self) -> Iterator[str]:
        if added := _listed(find_added(self._changes)):
            yield (
                f"what is written to {added}, which the plan adds, goes out of use; "
                "it is copied to pgrehearse_quarantine first"
            )
        if partitions := _listed(self._partitions_taking_rows()):
            yield (
                f"a row that is deleted from {partitions} is there again where it stood in another table before, whose "
                "image has it"
            )
        if rewritten := _listed(find_rewritten(self._changes)):
            yield (
                f"what is written to {rewritten} and is another value in the type, or by the expression, that it gets "
                "back is copied to pgrehearse_quarantine first"
            )
        views = {
            each["name"] for each in self._changes
            if (each["kind"], each["effect"]) == (ObjectKind.MATERIALIZED_VIEW.value, "removed")
        }  # fmt: skip
        for name in sorted(str(each) for each in views):
            yield f"the rows of materialized view {name}: it comes back with what its query gives then"
        for place, statement in self._statements():
            if statement.kind == "RefreshMatViewStmt":
                yield f"{place} is not taken back: the rows that the materialized view held before are in no image"
            if statement.beyond is not None:
                yield f"{place} is not taken back: {statement.beyond}"
            if _TABLESPACE.search(statement.text):
                yield f"{place} is not taken back: where files lie is not part of a schema"

    def _unseen(self) -> Iterator[str]:
        for place, statement in self._statements():
            if statement.kind in UNSEEN:
                yield f"{place} changes {UNSEEN[statement.kind]}, which are not compared"

    def _statements(self) -> Iterator[tuple[str, Statement]]:
        for migration in self.seen.request.plan.migrations:
            for statement in self.seen.statements[migration.version]:
                yield f"{migration.path}:{statement.line}", statement

    @property
    def _reaches_beyond(self) -> bool:
        return any(statement.beyond is not None for _, statement in self._statements())

    # --- down, and up again ----------------------------------------------------------------------------------------

    def _migrate_behind_images(self, plans: Sequence[ImagePlan]) -> tuple[str, ...]:
        """As a promotion does it: images, the plan with each of them current and then settled; or why that fails."""
        self.migrated = False
        self.progress.step("migrating once more, behind before-images")
        self.pair.renew_clone()
        self.prepare_ledger()
        try:
            with self.pair.session_as_role("way back") as session:
                self.taken = take_images(session, plans, id=IMAGES_OF)
        except PgRehearseError as error:
            _require_alive(error)
            return (f"before-images cannot be taken: {_told(error)}",)
        inside = [trace for trace in self.seen.traces if not trace.sampled]
        last = (inside[-1].migration.version, inside[-1].statement.index) if inside else None
        try:
            self._apply(Observers(RefreshImages(self.taken), SettleImages(self.taken, last=last)))
        except (PgRehearseError, psycopg.Error) as error:
            _require_alive(error)
            return (f"behind before-images the plan does not run: {_told(error)}",)
        return ()

    def _try_for_rows_taken(self, plans: Sequence[ImagePlan]) -> tuple[dict[str, Any], ...]:
        """A promotion asks which rows went, whether or not there is a way back for them."""
        try:
            self._migrate_behind_images(plans)
            return self._images_json(plans)
        except Interrupted:
            raise
        except (PgRehearseError, psycopg.Error, OSError):
            return tuple(image_json(plan) for plan in plans)

    def _images_json(self, plans: Sequence[ImagePlan]) -> tuple[dict[str, Any], ...]:
        """With the rows that the plan took, where images tell as many of them as the comparison did."""
        if not self.taken:
            return tuple(image_json(plan) for plan in plans)
        lost = {
            table.name: table.rows_lost for table in self._data.tables if table.verdict is not TableVerdict.ROWS_MOVED
        }
        taken = {}
        with self.pair.session("clone", "way back") as session:
            for image in find_images(session, id=IMAGES_OF):
                found = read_rows_taken(session, image)
                if found is not None and found.gone.rows == lost.get(image.relation, found.gone.rows):
                    taken[image.relation] = found
        return tuple(image_json(each.plan, rows=each.rows, taken=taken.get(each.relation)) for each in self.taken)

    def _go_back(self, ddl: Ddl) -> WentBack:
        with self.pair.session("clone", "way back") as session:
            images = find_images(session, id=IMAGES_OF)
        self.progress.step("going back on the clone")
        self.migrated = False
        try:
            went_back = perform(
                self.pair.session_as_role,
                ddl,
                images,
                ledger=self.seen.request.ledger,
                plan=self.seen.request.plan.migrations,
                id=IMAGES_OF,
                limits=LIMITS,
                before_commit=self._note_written,
            )
        except PgRehearseError as error:
            _require_alive(error)
            raise _NotProvedError(f"the generated way back does not run: {_told(error)}") from error
        if went_back.weakened:
            raise _NotProvedError(*went_back.weakened)
        if went_back.put_back is not None and not went_back.put_back.complete:
            raise _NotProvedError("not everything that the plan destroys came back from the images")
        return went_back

    def _note_written(self, session: Connection) -> None:
        counted = fetch_value(session, "SELECT pg_catalog.current_setting('track_counts') = 'on'")
        self.written = frozenset(oid for (oid,) in session.execute(QUERIES["written"])) if counted else None

    def _require_pristine(self) -> None:
        self.progress.step("comparing what came back")
        with self.pair.session("clone", "way back") as session:
            self._require_schema(self._before, self._read_schema_again(session), "after the way back")
        data = self._compare(self._untouched())
        problems = [*self._differing_rows(data), *self._differing_sequences(data)]
        unmeasured = [
            f"{fact.what} could not be compared: {fact.reason}" for fact in data.not_measured if fact.blocking
        ]
        if data.large_objects is not None and data.large_objects.lost:
            problems.append("large objects differ after the way back")
        elif data.large_objects is not None and data.large_objects.count_after > data.large_objects.count_before:
            made = data.large_objects.count_after - data.large_objects.count_before
            self.notes.append(f"large objects that the plan made stay: {made}")
        with self.pair.session("pristine", "observe") as before, self.pair.session("clone", "observe") as after:
            problems += [found.what for found in find_emptied_matviews(before, after)]
        if problems or unmeasured:
            raise _NotProvedError(*problems[:SHOWN], *unmeasured[:SHOWN])

    def _read_schema_again(self, session: Connection) -> Schema:
        assert self.seen.clone_known is not None
        return read_schema_again(session, self.seen.clone_known).schema

    def _require_schema(self, wanted: Schema, found: Schema, when: str) -> None:
        changes = diff(wanted, found)
        differing = [change for change in changes if change.attribute != ORDER]
        if differing:
            rest = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
            raise _NotProvedError(f"{when} the schema differs: {'; '.join(map(str, differing[:SHOWN]))}{rest}")
        for change in changes:
            self.notes.append(
                f"the columns of {change.name} come back in another order ({change.after}): whoever names none "
                "(SELECT *, INSERT without names) meets it"
            )

    def _untouched(self) -> frozenset[str]:
        """Tables whose rows are certainly those of the pristine copy."""
        if self.written is None:
            return frozenset()
        calm = {table.name for table in self._data.tables if table.verdict in CALM} - self._imaged
        with self.pair.session("pristine", "observe") as session:
            before = {row[0]: row[1:] for row in session.execute(QUERIES["tables"])}
        with self.pair.session("clone", "observe") as session:
            now = {row[0]: row[1:] for row in session.execute(QUERIES["tables"])}
        return frozenset(
            facts[0] for oid, facts in before.items()
            if now.get(oid) == facts and oid not in self.written and facts[0] in calm
        )  # fmt: skip

    @property
    def _imaged(self) -> set[str]:
        return {image.relation for image in self.taken}

    def _compare(self, ignored: Iterable[str]) -> DataComparison:
        return compare_data(
            lambda: self.pair.session("pristine", "observe"),
            lambda: self.pair.session("clone", "observe"),
            ignore_relations=frozenset(ignored) | {self.seen.request.ledger.table},
            jobs=self.seen.request.copying["jobs"],
        )

    def _differing_rows(self, data: DataComparison) -> Iterator[str]:
        for table in data.tables:
            columns = [column for column in table.columns if column.verdict not in SAME]
            if table.verdict in EQUAL and not table.lost and table.rows_before == table.rows_after and not columns:
                continue
            what = (
                f"{counted(table.rows_lost, 'row')} {agree(table.rows_lost, 'is', 'are')} not back"
                if table.rows_lost
                else table.verdict.value
            )
            named = f" ({', '.join(column.name for column in columns)})" if columns else ""
            yield f"{table.name} is not as it was: {what}{named}"

    def _differing_sequences(self, data: DataComparison) -> Iterator[str]:
        for sequence in data.sequences:
            if sequence.hazardous or sequence.verdict is SequenceVerdict.DROPPED:
                yield f"sequence {sequence.name} is {sequence.verdict.value} after the way back"

    def _up_again(self) -> float | None:
        """The plan once more: who went back may go forth again, and nothing is left that hinders it."""
        self.progress.step("applying the plan again")
        if self.taken:
            with self.pair.session_as_role("way back") as session:
                drop_images(session, self.taken)
        started = time.monotonic()
        try:
            self._apply(NoObserver())
        except MigrationFailed as error:
            _require_alive(error)
            told = f"after the way back the plan does not run again: {_told(error)}"
            if self._reaches_beyond:  # what it did beyond its database is still there
                self.notes.append(told)
                return None
            raise _NotProvedError(told) from error
        took_ms = (time.monotonic() - started) * 1000
        with self.pair.session("clone", "way back") as session:
            changes = diff(self._after, self._read_schema_again(session))
        if changes:
            raise _NotProvedError(
                f"applied again, the plan gives another schema: {'; '.join(map(str, changes[:SHOWN]))}"
            )
        self.migrated = True
        self.notes += self._differing_again()
        return took_ms

    def leave_migrated(self) -> None:
        """Who keeps the clone wants the migrated one, also where a proof stopped on the way."""
        if not self.migrated and self.seen.request.copying["keep"]:
            self.progress.step("migrating the clone again")
            self.pair.renew_clone()
            self.prepare_ledger()
            self._apply(NoObserver())

    def _differing_again(self) -> Iterator[str]:
        """Told, not held against it: a plan may write the time, or what is random."""
        of_interest = {
            table.name: table for table in self._data.tables
            if table.verdict not in (TableVerdict.UNCHANGED, TableVerdict.RENAMED)
        }  # fmt: skip
        if not of_interest:
            return
        names = {name for table in self._data.tables if table.name not in of_interest
                 for name in (table.name, table.name_after) if name is not None}  # fmt: skip
        names -= {name for table in of_interest.values() for name in (table.name, table.name_after) if name is not None}
        for table in self._compare(names).tables:
            first = of_interest.get(table.name)
            if first is not None and _counts(first) != _counts(table):
                both = f"{_counts(first)}, then {_counts(table)}"
                yield f"applied again, the plan does something else to {table.name}: {both}"

    def _apply(self, observer: Observer) -> None:
        request = self.seen.request
        apply(
            self.pair.session_as_role,
            request.plan,
            ledger=request.ledger,
            mode=request.mode,
            limits=request.within_timeouts(LIMITS),
            observer=observer,
            beyond_allowed=self.pair.is_private,
            keeps_inside=True,
        )

    def _not_proved(self, result: RehearsedWayBack, reasons: Sequence[str]) -> RehearsedWayBack:
        kind = WayBackType.IMPOSSIBLE if self._reaches_beyond else WayBackType.LOSES_WRITES
        return replace(result, type=kind, reasons=tuple(dict.fromkeys((*reasons, *self.notes))), proved=False)


def _counts(table: TableLoss) -> str:
    changed = sum(column.values_changed or 0 for column in table.columns)
    return f"{counted(table.rows_after, 'row')}, {table.rows_lost:,} lost, {counted(changed, 'value')} changed"


def _told(error: BaseException) -> str:
    """One line, without the DETAIL that quotes rows."""
    if isinstance(error, psycopg.Error):
        return error.diag.message_primary or type(error).__name__
    return " ".join(str(error).split())


def _listed(named: Sequence[object]) -> str:
    rest = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    return f"{', '.join(str(each) for each in named[:SHOWN])}{rest}" if named else ""

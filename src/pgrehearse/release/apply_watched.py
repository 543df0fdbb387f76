"""The migration itself, on production: watched, compared before each COMMIT, and each commit recorded."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import psycopg

from pgrehearse.errors import (
    CommitOutcomeUnknown,
    GateClosed,
    ImagesNotKept,
    LeaseLost,
    NotAsRehearsed,
    PgRehearseError,
)
from pgrehearse.hazards.trace import Tracer
from pgrehearse.migrations.applied import Applied
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.observer import NoObserver, Observer, Observers
from pgrehearse.migrations.segments import Segment
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.release.outlives_rollback import ROLLED_BACK, TellsWhatStays
from pgrehearse.release.promotion import (
    read_position,
)
from pgrehearse.release.promotion_run import APPLY, Run
from pgrehearse.release.rows import ROWS_DIFFER, RowsDiffer
from pgrehearse.release.same_rows import RefuseOtherRows
from pgrehearse.release.standing import Standing, read_standing
from pgrehearse.release.still_open import StillOpen
from pgrehearse.release.watch import StatementCompared, Watch, compare_statements
from pgrehearse.release.written import RefuseUnseenChanges, seen_retyped, seen_tables, seen_unchanged, tolerated_by
from pgrehearse.rollback.image import Image, find_images
from pgrehearse.rollback.images import drop_images
from pgrehearse.rollback.quarantine import RefreshImages, SettleImages


class _Commits(NoObserver):
    """Records each commit as it happens: after a failover that lost one, a resumed run can say so."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._completes: tuple[str, ...] = ()

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        self._completes = tuple(part.migration.version for part in segment.parts if part.completes)

    def transaction_ended(self, *, committed: bool) -> None:
        versions, self._completes = self._completes, ()
        if not committed or not versions:
            return
        try:
            position = read_position(self._run.session).as_json()
        except psycopg.Error:
            position = {}
        problem = self._run.steps.note(APPLY, "committed", {"versions": list(versions), **position})
        if problem is not None:
            self._run.tell(problem)


def apply_watched(
    run: Run, images: Sequence[Image], standing: Standing, *, ours_too: bool
) -> tuple[Applied, tuple[StatementCompared, ...]]:
    """``standing``: what was applied when the gate was asked; ``ours_too``: an earlier run had begun to apply."""
    request = run.request

    def look(verb: str = "watch") -> Connection:
        return connect(request.production, verb=verb)

    def note(differs: RowsDiffer) -> None:
        """Before its COMMIT, so that no kill comes between: the way back asks for it."""
        problem = run.steps.note(APPLY, ROWS_DIFFER, differs.as_json())
        if problem is not None:
            run.tell(problem)

    with ExitStack() as stack:
        observers: list[Observer] = []
        tracer: Tracer | None = None
        others: RefuseOtherRows | None = None
        if run.rehearsed is not None:
            tracer = Tracer(look, ignored=run.ignored, may_hold_up=False)
            stack.callback(tracer.close)
            watch = Watch(run.rehearsed, look, ignored=run.ignored, tell=run.tell, differs=note)
            stack.callback(watch.close)
            inside = [key for key, commit in run.rehearsed.commits.items() if not commit.outside]
            last = inside[-1] if inside else None
            unseen = RefuseUnseenChanges(
                images,
                unchanged=seen_unchanged(run.rehearsed),
                retyped=seen_retyped(run.rehearsed),
                tolerated=tolerated_by(run.rehearsed),
                seen=seen_tables(run.rehearsed),
            )
            others = RefuseOtherRows(images, run.rehearsed, tell=run.tell)
            observers = [RefreshImages(images), watch, tracer, SettleImages(images, last=last), unseen, others]
        still_open = StillOpen(run, standing, may_be_ours=ours_too)
        observers = [still_open, *observers, _Commits(run)]
        may_use = run.rehearsed.may_draw_from if run.rehearsed is not None else (lambda _name, _owner: True)
        stays = TellsWhatStays(Observers(*observers), look, may_use=may_use, tell=run.tell)
        stack.callback(stays.close)
        done: list[Applied] = []

        def work() -> Mapping[str, Any]:
            try:
                done.append(
                    apply(
                        look,
                        Plan.of(request.migrations),
                        ledger=request.ledger,
                        mode=request.mode,
                        limits=request.limits,
                        observer=stays,
                        end_orphan=request.end_orphan,
                        resolve=request.resolve,
                        tell=run.tell,
                    )
                )
            except PgRehearseError as error:
                error.args = ("\n".join([str(error), *stays.told]), *error.args[1:])
                raise
            finally:
                if stays.told:
                    run.steps.note(APPLY, ROLLED_BACK, stays.as_json())
            for line in others.not_compared() if others is not None else ():
                run.tell(line)
            for line in stays.told:
                run.tell(f"an attempt was rolled back before: {line}")
            return {"applied": list(done[0].applied), **read_position(run.session).as_json()}

        try:
            run.steps.run(APPLY, "applying", work)
        except PgRehearseError as error:
            _after_failure(run, error, none_is_ours=still_open.met_another)
            raise
        statements = (
            compare_statements(run.rehearsed, tracer.statements)
            if run.rehearsed is not None and tracer is not None
            else ()
        )
    return done[0], statements


def _after_failure(run: Run, error: PgRehearseError, *, none_is_ours: bool) -> None:
    """A refusal before anything was committed ends the promotion; whatever else can be gone on with."""
    if isinstance(error, CommitOutcomeUnknown) or not isinstance(error, (GateClosed, NotAsRehearsed, ImagesNotKept)):
        return
    try:
        standing = read_standing(run.session, run.request, run.tell)
        if none_is_ours or not standing.begun:
            run.steps.require_lease()  # another run that has gone on with it needs its images
            drop_images(run.session, find_images(run.session, id=run.steps.id))
            run.steps.end("refused", {"error": type(error).__name__, "message": str(error)})
            return
        run.tell(
            f"applied and kept: {', '.join(standing.applied) or 'nothing whole'}"
            + (f"; half-way: {', '.join(standing.half)}" if standing.half else "")
        )
    except LeaseLost as lost:
        run.say(f"the copies and the end of this promotion are left to the run that has the lease: {lost}")
    except (psycopg.Error, PgRehearseError) as problem:
        run.say(f"what is applied could not be looked up: {problem}")

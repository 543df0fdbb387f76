"""Before anything is touched: proofs of how it is taken back, and copies of what will be destroyed."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pgrehearse.counted import agree, counted
from pgrehearse.errors import (
    ImagesNotTaken,
)
from pgrehearse.release.backup.writes import Counters, read_counters
from pgrehearse.release.destroyed_once import find_destroyed_twice
from pgrehearse.release.promotion import read_position
from pgrehearse.release.promotion_run import IMAGES, RECOVERABILITY, SHOWN_IMAGES, Run, image_json
from pgrehearse.release.recoverability import DUMP, EXTERNAL, Proof
from pgrehearse.release.written import written_tables
from pgrehearse.rollback.image import Image, find_images
from pgrehearse.rollback.image_plan import plan_images
from pgrehearse.rollback.images import take_images

TWICE_REMEDY = "Put them into one transaction and rehearse again, or let a dump be taken too: backup.policy."
PROOFS_LAST = timedelta(hours=1)  # of a promotion that stopped before anything was applied


def secure_first(run: Run, *, going_on: bool) -> tuple[tuple[Proof, ...], Counters | None]:
    """Proofs made now, or by this promotion's earlier run where that is not long ago or something is applied."""
    recorded = run.unfinished.steps.get(RECOVERABILITY) if run.unfinished is not None else None
    if recorded is not None and (going_on or _still_counts(run, recorded)):
        proofs = _proofs_of(recorded)
        if not going_on:  # of what is half-way only the rest can be done; a damaged backup is no reason to leave it so
            run.around.require(proofs)
        return proofs, Counters.from_json(recorded["counters"])
    counters = read_counters(run.session)
    began_at, timeline = run.now().isoformat(), read_position(run.session).timeline
    made: list[Proof] = []

    def work() -> Mapping[str, Any]:
        made.extend(run.around.secure())
        return {
            "began_at": began_at,
            "timeline": timeline,
            "proofs": [proof.as_json() for proof in made],
            "counters": counters.as_json(),
        }

    run.steps.run(RECOVERABILITY, "making it recoverable", work)
    for proof in made:
        run.tell(f"recoverable: {proof.summary}")
    run.around.require(made)
    return tuple(made), counters


def _proofs_of(recorded: Mapping[str, Any]) -> tuple[Proof, ...]:
    return tuple(Proof.from_json(proof) for proof in recorded["proofs"])


def _still_counts(run: Run, recorded: Mapping[str, Any]) -> bool:
    """Made not long ago, and within reach: the run may have been another machine's, with another clock and disk.

    Nor of another timeline: what a failover lost is in such a backup, and its counters are another server's.
    """
    if abs(run.now() - datetime.fromisoformat(recorded["began_at"])) >= PROOFS_LAST:
        return False
    assert run.unfinished is not None
    then, now = recorded.get("timeline", run.unfinished.position.timeline), read_position(run.session).timeline
    if then != now:
        run.tell(f"what was secured on timeline {then} is not what timeline {now} holds: it is secured again")
        return False
    away = [
        proof for proof in _proofs_of(recorded) if proof.way == DUMP and not Path(proof.facts["directory"]).is_dir()
    ]
    for proof in away:
        run.tell(f"the backup {proof.facts['backup']} is not in {proof.facts['directory']} here: another is made")
    return not away


def keep_images(run: Run, proofs: Sequence[Proof], *, going_on: bool) -> tuple[Image, ...]:
    """Copies of what the plan destroys, committed before it runs; where a backup is proved, of what they can hold."""
    if run.rehearsed is None or not run.request.take_images:
        if not going_on:
            run.steps.run(IMAGES, "taking no images", lambda: {"images": []})
        return ()
    if going_on:
        return find_images(run.session, id=run.steps.id)
    rehearsed, document = run.rehearsed, run.rehearsed.document
    certain = plan_images(document["tables"], document["schema"]["changes"], rehearsed.before)
    plans = plan_images(written_tables(rehearsed), document["schema"]["changes"], rehearsed.before)
    twice = find_destroyed_twice(rehearsed, plans, certain={plan.relation for plan in certain})
    backed_up = any(proof.way in (DUMP, EXTERNAL) for proof in proofs)
    if twice and not backed_up:
        refusal = ImagesNotTaken("\n".join(twice.values()), remedy=TWICE_REMEDY)
        run.steps.end("refused", {"error": type(refusal).__name__, "message": str(refusal)})
        raise refusal
    plans = tuple(plan for plan in plans if plan.relation not in twice)
    for sentence in twice.values():
        run.tell(f"not copied, only the backup has it: {sentence}")
    taken: list[Image] = []

    def work() -> Mapping[str, Any]:
        taken.extend(take_images(run.session, plans, id=run.steps.id) if plans else ())
        return {"images": [image_json(image) for image in taken]}

    if plans:
        run.progress.step("copying what will be destroyed")
    run.steps.run(IMAGES, "copying what will be destroyed", work)
    for image in taken[:SHOWN_IMAGES]:
        are = agree(image.rows, "is", "are")
        run.tell(f"recoverable: {counted(image.rows, 'row')} of {image.relation} {are} copied")
    if rest := taken[SHOWN_IMAGES:]:
        rows = sum(image.rows for image in rest)
        tables = counted(len(rest), "more table")
        run.tell(f"recoverable: {counted(rows, 'row')} of {tables} {agree(rows, 'is', 'are')} copied")
    return tuple(taken)

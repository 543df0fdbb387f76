"""Promote exactly what was rehearsed: lease, gate, recoverability, images, apply, verify.

Each step is recorded before and after.  Killed anywhere and run again, from whatever machine, it goes on: what is
applied the migration ledger in the database says, what is imaged the images say, the rest the release ledger.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

import psycopg

from pgrehearse.errors import (
    GateClosed,
    PromotionDiffers,
    ServerUnreachable,
)
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect, scrub
from pgrehearse.postgres.identity import read_identity
from pgrehearse.postgres.pooler import require_session
from pgrehearse.progress import Progress
from pgrehearse.release.anchor import write_anchor
from pgrehearse.release.apply_watched import apply_watched
from pgrehearse.release.gate import Gate
from pgrehearse.release.history import Unfinished, find_unfinished
from pgrehearse.release.lease import Lease, hold_lease
from pgrehearse.release.lineage import database_key
from pgrehearse.release.outlives_rollback import read_rolled_back
from pgrehearse.release.promotion import (
    BEGUN,
    ENDED,
    Position,
    Promotion,
    PromotionRequest,
    read_position,
)
from pgrehearse.release.promotion_run import APPLY, GATE, IMAGES, VERIFY, Around, Run, image_json
from pgrehearse.release.recoverability import require_within_reach
from pgrehearse.release.safeguards import keep_images, secure_first
from pgrehearse.release.standing import Standing, is_begun, is_half_way, read_standing
from pgrehearse.release.steps import Steps
from pgrehearse.release.still_open import KEPT, REST_REMEDY
from pgrehearse.release.under_way import unfinished_reason
from pgrehearse.release.verify import Verified, verify
from pgrehearse.release.watch import Rehearsed
from pgrehearse.release.write_fence import find_standing, past_fence, write_fence
from pgrehearse.release.written_meanwhile import read_writes
from pgrehearse.rollback.image import find_images
from pgrehearse.rollback.images import drop_images

AGAIN_REMEDY = "When the server answers again, promote again: it goes on with what is left."
PRIMARY_REMEDY = "Nothing was written.  Give the address of the primary, after a failover of the new one."


def promote(
    request: PromotionRequest,
    *,
    releases: ReleaseLedger,
    now: Callable[[], datetime],
    nonce: Callable[[], str],
    around: Around,
    progress: Progress,
    tell: Callable[[str], None] = lambda _: None,
) -> Promotion:
    """Bring production to what the receipt says, or go on with a promotion of it that was left unfinished.

    ``nonce()`` gives some random hexadecimal digits.  Raises `LeaseHeld` (who, since when, doing what), `GateClosed`
    with every reason, `NotAsRehearsed` where production answers otherwise than the clone did (that transaction is
    rolled back), `PromotionDiffers` when it is applied and the schema is another than the receipt's, and what `apply`,
    `take_images` and the callbacks raise.  After an error `promote` again goes on where it is safe to.
    """
    try:
        return _promote_or_go_on(request, releases, now, nonce, around, progress, tell)
    except psycopg.Error as error:  # in a session of our own, between two steps
        raise ServerUnreachable(
            f"{request.production.address}: {scrub(str(error), request.production)}", remedy=AGAIN_REMEDY
        ) from error
    except ServerUnreachable as error:  # that session could not be opened
        if error.remedy != ServerUnreachable.default_remedy:
            raise
        raise ServerUnreachable(str(error), remedy=f"{error.remedy}  {AGAIN_REMEDY}") from error


def _promote_or_go_on(
    request: PromotionRequest,
    releases: ReleaseLedger,
    now: Callable[[], datetime],
    nonce: Callable[[], str],
    around: Around,
    progress: Progress,
    tell: Callable[[str], None],
) -> Promotion:
    require_session(request.production)
    with connect(request.production, verb="promote") as session:
        if read_identity(session).in_recovery:
            message = f"{request.production.address} is a standby: nothing can be promoted to it"
            raise GateClosed(message, remedy=PRIMARY_REMEDY)
        key = database_key(session)
    fenced = find_standing(releases, key)
    if request.fence or fenced is not None:
        request = replace(request, production=past_fence(request.production))
    with ExitStack() as stack:
        session = stack.enter_context(connect(request.production, verb="promote"))
        lease = stack.enter_context(
            hold_lease(releases, f"promote {key}", request.holder, token=nonce(), ttl_s=request.lease_ttl_s)
        )
        rehearsed = Rehearsed(request.receipt.document, request.migrations) if request.receipt is not None else None
        standing = read_standing(session, request, tell)
        unfinished, supersedes = _find_own(session, request, releases, key, now)
        position = read_position(session)
        promotion_id = unfinished.id if unfinished is not None else f"{now():%Y%m%d-%H%M%S}-{nonce()[:6]}"
        run = Run(
            request=request,
            releases=releases,
            now=now,
            progress=progress,
            around=around,
            session=session,
            steps=Steps(releases, promotion_id, lease=lease, now=now),
            rehearsed=rehearsed,
            unfinished=unfinished,
            supersedes=supersedes,
            say=tell,
        )
        if unfinished is None:
            lease.renew("starting")  # what another has finished since must not begin once more
            releases.append(BEGUN, promotion_id, _begun(request, key, position), now())
        else:
            _tell_resumed(run, unfinished, standing, position)
        if fenced is not None:  # put up by a run that was killed; whatever comes of this one, it is lifted
            stack.enter_context(write_fence(session, run.steps, standing=fenced, tell=run.tell))
        return _promote(run, lease, standing, raise_fence=request.fence and fenced is None)


def _promote(run: Run, lease: Lease, standing: Standing, *, raise_fence: bool) -> Promotion:
    """The story, from the gate on."""
    request, steps, unfinished = run.request, run.steps, run.unfinished
    going_on = standing.begun and unfinished is not None and unfinished.is_done(IMAGES)
    if not going_on:
        run.progress.step("asking the gate")
        steps.run(GATE, "asking the gate", lambda: _pass_gate(run))
    elif any(each.version not in (*standing.applied, *standing.half) for each in request.migrations):
        run.progress.step("asking the gate for what is left")
        steps.run(GATE, "asking the gate for what is left", lambda: _pass_gate_for_the_rest(run))
    else:  # nothing new is begun: what is half-way is finished, and told where the gate would not have it
        _pass_gate_for_the_rest(run)
    if run.supersedes is not None:
        run.releases.append(ENDED, run.supersedes, {"outcome": "superseded"}, run.now())
        run.tell(f"this supersedes promotion {run.supersedes}, whose applied files stay")
    with ExitStack() as stack:
        if raise_fence:
            stack.enter_context(write_fence(run.session, steps, standing=None, tell=run.tell))
        proofs, counters = secure_first(run, going_on=going_on)
        images = keep_images(run, proofs, going_on=going_on)
        if not going_on:
            require_within_reach(proofs)
        ours_too = steps.was_begun(APPLY)
        writes, sentences = read_writes(run.session, counters, ours_too=ours_too)
        for sentence in sentences:
            run.tell(sentence)
        write_anchor(run.session, run.releases, run.steps.id)  # where it cannot, that is told at the end
        run.progress.step("applying")
        applied, statements = apply_watched(run, images, standing, ours_too=ours_too)
    position = read_position(run.session)
    verified = Verified(differences=(), counts=())
    if run.rehearsed is not None:
        run.progress.step("verifying")
        found = verify(run.session, run.rehearsed, ignored=run.ignored)
        verified = found
        steps.run(VERIFY, "verifying", found.as_json)
    promotion = Promotion(
        id=steps.id,
        receipt=request.receipt.digest if request.receipt is not None else None,
        database=request.production.address,
        applied=applied.applied,
        already_applied=applied.already_applied,
        statements=statements,
        proofs=tuple(proof.as_json() for proof in proofs),
        images=tuple(image_json(image) for image in find_images(run.session, id=steps.id)),
        writes=writes,
        counts=verified.counts,
        position=position,
        sequences_moved=tuple(
            moved for step in read_rolled_back(run.releases, steps.id) for moved in step["sequences_moved"]
        ),
        told=tuple(run.told),
    )
    if verified.differences:
        steps.end("differs", {**promotion.as_json(), "differences": list(verified.differences)})
        _anchor(run)
        raise PromotionDiffers(
            "\n".join(
                ["the plan is applied, and production's schema is not what the rehearsal left:"]
                + [f"  {line}" for line in verified.differences]
            )
        )
    lease.renew("writing it down")
    steps.end("promoted", promotion.as_json())
    _anchor(run)
    return promotion


def _anchor(run: Run) -> None:
    if (problem := write_anchor(run.session, run.releases, run.steps.id)) is not None:
        run.say(problem)


# --- before anything is written ----------------------------------------------------------------------------


def _find_own(
    session: Connection,
    request: PromotionRequest,
    releases: ReleaseLedger,
    key: str,
    now: Callable[[], datetime],
) -> tuple[Unfinished | None, str | None]:
    """The unfinished promotion of this very receipt, else the id of another's, which this one may supersede.

    Of that one whole files are applied, and stay; what is pending was rehearsed anew.  One of which nothing is
    applied is ended.  Raises `GateClosed` where a file of another is half-way.
    """
    digest = request.receipt.digest if request.receipt is not None else None
    plan = tuple((each.version, each.sha256) for each in request.migrations)
    while (found := find_unfinished(releases, key)) is not None:
        if found.receipt == digest and found.plan == plan:
            return found, None
        if is_half_way(session, request, found):
            raise GateClosed(Gate.of([unfinished_reason(found)]).why_not)
        if is_begun(session, request, found):
            return None, found.id
        releases.append(ENDED, found.id, {"outcome": "abandoned"}, now())
        drop_images(session, find_images(session, id=found.id))
    return None, None


def _begun(request: PromotionRequest, key: str, position: Position) -> dict[str, Any]:
    return {
        "key": key,
        "database": request.production.address,
        "environment": request.environment,
        "receipt": request.receipt.digest if request.receipt is not None else None,
        "unrehearsed": request.unrehearsed,
        "plan": [{"version": each.version, "sha256": each.sha256} for each in request.migrations],
        "by": dict(request.by),
        **position.as_json(),
    }


def _tell_resumed(run: Run, unfinished: Unfinished, standing: Standing, position: Position) -> None:
    run.tell(f"going on with promotion {unfinished.id}, begun at {unfinished.began_at:%Y-%m-%d %H:%M:%S} UTC")
    if position.timeline != unfinished.position.timeline:
        run.tell(
            f"production is on timeline {position.timeline} now, and was on {unfinished.position.timeline}: "
            "what is really there was looked at again"
        )
    lost = [version for version in unfinished.committed if version not in standing.applied]
    if lost:
        run.tell(f"{', '.join(lost)} had been committed, and is not there any more: a failover lost it")


def _pass_gate(run: Run) -> Mapping[str, Any]:
    gate = run.around.gate()
    for line in gate.told:
        run.tell(line)
    if not gate.is_open:
        run.steps.note(GATE, "closed", gate.as_json())
        # An earlier run's COMMIT may have come since this one looked: then it is not refused, but to be gone on with.
        if not (run.steps.was_begun(APPLY) and read_standing(run.session, run.request, run.tell).begun):
            run.steps.end("refused", gate.as_json())
        raise GateClosed(gate.why_not)
    return gate.as_json()


def _pass_gate_for_the_rest(run: Run) -> Mapping[str, Any]:
    """A closed one leaves the promotion unfinished: what is applied stays, and nothing more is begun."""
    gate = run.around.rest()
    for line in gate.told:
        run.tell(line)
    if not gate.is_open:
        run.steps.note(GATE, "closed", gate.as_json())
        raise GateClosed(KEPT + gate.why_not, remedy=REST_REMEDY)
    return gate.as_json()

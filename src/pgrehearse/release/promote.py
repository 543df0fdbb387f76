"""Promote exactly what was rehearsed: lease, gate, recoverability, images, apply, verify.

Each step is recorded before and after.  Killed anywhere and run again, from whatever machine, it goes on: what is
applied the migration ledger in the database says, what is imaged the images say, the rest the release ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import psycopg

from pgrehearse.errors import (
    CommitOutcomeUnknown,
    GateClosed,
    ImagesNotKept,
    ImagesNotTaken,
    NotAsRehearsed,
    PgRehearseError,
    PromotionDiffers,
    ServerUnreachable,
)
from pgrehearse.hazards.trace import Tracer
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.applied import Applied
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.observer import NoObserver, Observer, Observers
from pgrehearse.migrations.segments import Segment
from pgrehearse.postgres.connect import Connection, connect, scrub
from pgrehearse.postgres.pooler import require_session
from pgrehearse.progress import Progress
from pgrehearse.release.backup.writes import Counters, read_counters
from pgrehearse.release.destroyed_once import find_destroyed_twice
from pgrehearse.release.gate import Gate, Reason, ReasonKind
from pgrehearse.release.history import Unfinished, find_unfinished
from pgrehearse.release.lease import Lease, hold_lease
from pgrehearse.release.lineage import database_key
from pgrehearse.release.outlives_rollback import ROLLED_BACK, TellsWhatStays, read_rolled_back
from pgrehearse.release.promotion import (
    BEGUN,
    ENDED,
    Position,
    Promotion,
    PromotionRequest,
    read_position,
)
from pgrehearse.release.recoverability import DUMP, EXTERNAL, Proof
from pgrehearse.release.standing import Standing, is_begun, is_half_way, read_standing
from pgrehearse.release.steps import Steps
from pgrehearse.release.verify import Verified, verify
from pgrehearse.release.watch import Rehearsed, StatementCompared, Watch, compare_statements
from pgrehearse.release.write_fence import find_standing, past_fence, write_fence
from pgrehearse.release.written import RefuseUnseenChanges, seen_retyped, seen_unchanged, written_tables
from pgrehearse.release.written_meanwhile import read_writes
from pgrehearse.rollback.image import Image, find_images
from pgrehearse.rollback.image_plan import plan_images
from pgrehearse.rollback.images import drop_images, take_images
from pgrehearse.rollback.quarantine import RefreshImages, SettleImages

GATE, RECOVERABILITY, IMAGES, APPLY, VERIFY = "gate", "recoverability", "images", "apply", "verify"
TWICE_REMEDY = "Put them into one transaction and rehearse again, or let a dump be taken too: backup.policy."
PROOFS_LAST = timedelta(hours=1)  # of a promotion that stopped before anything was applied


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the switchboard knows and a promotion must ask."""

    gate: Callable[[], Gate]
    secure: Callable[[], Sequence[Proof]]  # make and prove what takes it back
    require: Callable[[Sequence[Proof]], None]  # that what was proved is still there, byte for byte


@dataclass(slots=True)
class _Run:
    """One run of a promotion."""

    request: PromotionRequest
    releases: ReleaseLedger
    now: Callable[[], datetime]
    progress: Progress
    around: Around
    session: Connection  # idle; for looking and for images
    steps: Steps
    rehearsed: Rehearsed | None
    unfinished: Unfinished | None
    supersedes: str | None  # another promotion, ended once the gate is open for this one
    told: list[str] = field(default_factory=list)
    say: Callable[[str], None] = lambda _: None

    def tell(self, line: str) -> None:
        self.told.append(line)
        self.say(line)

    @property
    def ignored(self) -> frozenset[str]:
        return frozenset({self.request.ledger.table})


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
            f"{request.production.address}: {scrub(str(error), request.production)}",
            remedy="When the server answers again, promote again: it goes on with what is left.",
        ) from error


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
        run = _Run(
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


def _promote(run: _Run, lease: Lease, standing: Standing, *, raise_fence: bool) -> Promotion:
    """The story, from the gate on."""
    request, steps, unfinished = run.request, run.steps, run.unfinished
    going_on = standing.begun and unfinished is not None and unfinished.is_done(IMAGES)
    if not going_on:
        run.progress.step("asking the gate")
        steps.run(GATE, "asking the gate", lambda: _pass_gate(run))
    if run.supersedes is not None:
        run.releases.append(ENDED, run.supersedes, {"outcome": "superseded"}, run.now())
        run.tell(f"this supersedes promotion {run.supersedes}, whose applied files stay")
    with ExitStack() as stack:
        if raise_fence:
            stack.enter_context(write_fence(run.session, steps, standing=None, tell=run.tell))
        proofs, counters = _secured(run, going_on=going_on)
        images = _images(run, proofs, going_on=going_on)
        ours_too = steps.was_begun(APPLY)
        writes, sentences = read_writes(run.session, counters, ours_too=ours_too)
        for sentence in sentences:
            run.tell(sentence)
        run.progress.step("applying")
        applied, statements = _apply(run, images)
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
        images=tuple(_image_json(image) for image in find_images(run.session, id=steps.id)),
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
        raise PromotionDiffers(
            "\n".join(
                ["the plan is applied, and production's schema is not what the rehearsal left:"]
                + [f"  {line}" for line in verified.differences]
            )
        )
    lease.renew("writing it down")
    steps.end("promoted", promotion.as_json())
    return promotion


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
            raise GateClosed(
                _as_text(
                    Gate.of(
                        [
                            Reason(
                                kind=ReasonKind.UNFINISHED,
                                message=f"promotion {found.id} of {found.began_at} is not finished",
                                remedy="Finish it: `pgrehearse resume`; or take it back: `pgrehearse rollback`.",
                            )
                        ]
                    )
                )
            )
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


def _tell_resumed(run: _Run, unfinished: Unfinished, standing: Standing, position: Position) -> None:
    run.tell(f"going on with promotion {unfinished.id}, begun at {unfinished.began_at}")
    if position.timeline != unfinished.position.timeline:
        run.tell(
            f"production is on timeline {position.timeline} now, and was on {unfinished.position.timeline}: "
            "what is really there was looked at again"
        )
    lost = [version for version in unfinished.committed if version not in standing.applied]
    if lost:
        run.tell(f"{', '.join(lost)} had been committed, and is not there any more: a failover lost it")


def _pass_gate(run: _Run) -> Mapping[str, Any]:
    gate = run.around.gate()
    for line in gate.told:
        run.tell(line)
    if not gate.is_open:
        run.steps.note(GATE, "closed", gate.as_json())
        run.steps.end("refused", gate.as_json())
        raise GateClosed(_as_text(gate))
    return gate.as_json()


def _as_text(gate: Gate) -> str:
    lines = [f"the gate is closed, for {len(gate.reasons)} reason{'s' if len(gate.reasons) > 1 else ''}:"]
    for reason in gate.reasons:
        lines.append(f"  {reason.kind.value}: {reason.message}")
        lines += [f"    {detail}" for detail in reason.details]
        lines.append(f"    {reason.remedy}")
    return "\n".join(lines)


# --- recoverability ------------------------------------------------------------------------------------------


def _secured(run: _Run, *, going_on: bool) -> tuple[tuple[Proof, ...], Counters | None]:
    """Proofs made now, or by this promotion's earlier run where that is not long ago or something is applied."""
    recorded = run.unfinished.steps.get(RECOVERABILITY) if run.unfinished is not None else None
    if recorded is not None and (going_on or run.now() - datetime.fromisoformat(recorded["began_at"]) < PROOFS_LAST):
        proofs = tuple(Proof.from_json(proof) for proof in recorded["proofs"])
        if not going_on:  # of what is half-way only the rest can be done; a damaged backup is no reason to leave it so
            run.around.require(proofs)
        return proofs, Counters.from_json(recorded["counters"])
    counters = read_counters(run.session)
    began_at = run.now().isoformat()
    made: list[Proof] = []

    def work() -> Mapping[str, Any]:
        made.extend(run.around.secure())
        return {
            "began_at": began_at,
            "proofs": [proof.as_json() for proof in made],
            "counters": counters.as_json(),
        }

    run.steps.run(RECOVERABILITY, "making it recoverable", work)
    for proof in made:
        run.tell(f"recoverable: {proof.summary}")
    run.around.require(made)
    return tuple(made), counters


def _images(run: _Run, proofs: Sequence[Proof], *, going_on: bool) -> tuple[Image, ...]:
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
        return {"images": [_image_json(image) for image in taken]}

    if plans:
        run.progress.step("copying what will be destroyed")
    run.steps.run(IMAGES, "copying what will be destroyed", work)
    for image in taken:
        run.tell(f"recoverable: {image.rows} rows of {image.relation} are copied")
    return tuple(taken)


def _image_json(image: Image) -> dict[str, Any]:
    return {"relation": image.relation, "why": image.plan.why, "rows": image.rows, "state": image.state.value}


# --- the migration itself --------------------------------------------------------------------------------


class _Commits(NoObserver):
    """Records each commit as it happens: after a failover that lost one, a resumed run can say so."""

    def __init__(self, run: _Run) -> None:
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


def _apply(run: _Run, images: Sequence[Image]) -> tuple[Applied, tuple[StatementCompared, ...]]:
    request = run.request

    def look(verb: str = "watch") -> Connection:
        return connect(request.production, verb=verb)

    with ExitStack() as stack:
        observers: list[Observer] = []
        tracer: Tracer | None = None
        if run.rehearsed is not None:
            tracer = Tracer(look, ignored=run.ignored, may_hold_up=False)
            stack.callback(tracer.close)
            watch = Watch(run.rehearsed, look, ignored=run.ignored, tell=run.tell)
            stack.callback(watch.close)
            inside = [key for key, commit in run.rehearsed.commits.items() if not commit.outside]
            last = inside[-1] if inside else None
            unseen = RefuseUnseenChanges(
                images, unchanged=seen_unchanged(run.rehearsed), retyped=seen_retyped(run.rehearsed)
            )
            observers = [RefreshImages(images), watch, tracer, SettleImages(images, last=last), unseen]
        observers.append(_Commits(run))
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
            for line in stays.told:
                run.tell(f"an attempt was rolled back before: {line}")
            return {"applied": list(done[0].applied), **read_position(run.session).as_json()}

        try:
            run.steps.run(APPLY, "applying", work)
        except PgRehearseError as error:
            _after_failure(run, error)
            raise
        statements = (
            compare_statements(run.rehearsed, tracer.statements)
            if run.rehearsed is not None and tracer is not None
            else ()
        )
    return done[0], statements


def _after_failure(run: _Run, error: PgRehearseError) -> None:
    """A refusal before anything was committed ends the promotion; whatever else can be gone on with."""
    if isinstance(error, CommitOutcomeUnknown) or not isinstance(error, (NotAsRehearsed, ImagesNotKept)):
        return
    try:
        standing = read_standing(run.session, run.request, run.tell)
        if not standing.begun:
            drop_images(run.session, find_images(run.session, id=run.steps.id))
            run.steps.end("refused", {"error": type(error).__name__, "message": str(error)})
            return
        run.tell(
            f"applied and kept: {', '.join(standing.applied) or 'nothing whole'}"
            + (f"; half-way: {', '.join(standing.half)}" if standing.half else "")
        )
    except (psycopg.Error, PgRehearseError) as problem:
        run.say(f"what is applied could not be looked up: {problem}")

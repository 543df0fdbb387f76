"""Take a promotion back by the best way that is left: its inverse, which the rehearsal proved, else a restore."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from pgrehearse.counted import counted
from pgrehearse.errors import NoWayBack, ServerUnreachable
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect, scrub
from pgrehearse.postgres.identity import read_identity
from pgrehearse.postgres.pooler import require_session
from pgrehearse.progress import Progress
from pgrehearse.release.anchor import write_anchor
from pgrehearse.release.backup.dump_backup import DumpBackup, open_backup
from pgrehearse.release.history import PromotionRecord, read_promotions
from pgrehearse.release.interrupted_rollback import BY_INVERSE, find_committed
from pgrehearse.release.lease import Lease, describe, hold_lease
from pgrehearse.release.lineage import find_taken_back
from pgrehearse.release.promoted_since import find_promoted_since
from pgrehearse.release.promotion import ROLLBACK_BEGUN, ROLLBACK_ENDED
from pgrehearse.release.recoverability import DUMP
from pgrehearse.release.restore.beside import find_restores
from pgrehearse.release.restore.from_backup import restore_backup_beside
from pgrehearse.release.restore.migration_transactions import DRIZZLE, OWN
from pgrehearse.release.restore.swap import Swapped, swap
from pgrehearse.release.restore.written_files import By
from pgrehearse.release.standing import find_lost, is_nothing_applied
from pgrehearse.release.touched import differences_where_touched
from pgrehearse.release.ways_back import Looking, TakeBackRequest, Way
from pgrehearse.release.write_fence import StandingFence, find_standing, lift_left, past_fence
from pgrehearse.rollback.aside import find_going
from pgrehearse.rollback.perform import Ddl, WentBack, perform

FORMAT = 1
IMPOSSIBLE = "impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """The plan of a rollback and, unless it was a dry run, what came of it."""

    promotion: str
    database: str
    dry_run: bool
    type: str  # of the way that is, or would be, gone; impossible: none is open
    ways: tuple[Way, ...]
    inverse: WentBack | None = None
    restore: Swapped | None = None
    held_by: str | None = None  # of a dry run: who is at this database now, so that a rollback would be refused
    told: tuple[str, ...] = ()

    @property
    def would_be_refused(self) -> bool:
        """A dry run: no way is open, or somebody else is at it."""
        return self.dry_run and (self.type == IMPOSSIBLE or self.held_by is not None)

    def as_json(self) -> dict[str, Any]:
        """The ``rollback`` answer (``answers/rollback.schema.json``)."""
        return {
            "format": FORMAT,
            "promotion": self.promotion,
            "database": self.database,
            "dry_run": self.dry_run,
            "type": self.type,
            "ways": [way.as_json() for way in self.ways],
            "inverse": None if self.inverse is None else self.inverse.as_json(),
            "restore": None if self.restore is None else self.restore.as_json(),
            "held_by": self.held_by,
            "told": list(self.told),
        }


def take_back(
    request: TakeBackRequest,
    *,
    releases: ReleaseLedger,
    now: Callable[[], datetime],
    nonce: Callable[[], str],
    progress: Progress,
    dry_run: bool,
    agree: Callable[[Way], bool],
    tell: Callable[[str], None] = lambda _: None,
) -> TakenBack:
    """Look which ways are open, and go the best one unless ``dry_run``.

    ``agree(way)`` is asked before a way that loses writes is gone; False stops there with nothing done.  What an
    earlier run took back, and was killed before it could say so, is only written down.
    Raises `NoWayBack` with every reason, also in a dry run for an unfinished promotion of which nothing is applied;
    `LeaseHeld`, `ServerUnreachable`, and what `perform`, `restore_backup_beside` and `swap` raise.
    """
    try:
        return _take_back(request, releases, now, nonce, progress, agree, tell, dry_run=dry_run)
    except psycopg.Error as error:  # in a session of our own, before or after the way itself
        raise ServerUnreachable(
            f"{request.production.address}: {scrub(str(error), request.production)}",
            remedy="When the server answers again, run `pgrehearse rollback` again: it looks first what is there.",
        ) from error


def _take_back(
    request: TakeBackRequest,
    releases: ReleaseLedger,
    now: Callable[[], datetime],
    nonce: Callable[[], str],
    progress: Progress,
    agree: Callable[[Way], bool],
    tell: Callable[[str], None],
    *,
    dry_run: bool,
) -> TakenBack:
    require_session(request.production)
    fenced = find_standing(releases, request.promotion.key)
    if fenced is not None:  # our own sessions may write while it stands
        request = replace(request, production=past_fence(request.production), migrate=past_fence(request.migrate))
        tell(f"{fenced.told}; taking the promotion back lifts it")
    with ExitStack() as stack:
        session = stack.enter_context(connect(request.production, verb="rollback"))
        if not dry_run and read_identity(session).in_recovery:
            message = f"{request.production.address} is a standby: nothing can be taken back there"
            raise NoWayBack(message, remedy="Nothing was done.  Give the primary's address.")
        name = f"promote {request.promotion.key}"
        lease: Lease | None = None
        held_by: str | None = None
        if not dry_run:
            lease = stack.enter_context(
                hold_lease(releases, name, request.holder, token=nonce(), ttl_s=request.lease_ttl_s)
            )
        elif (other := releases.read_lease(name)) is not None and not other.has_ended:
            held_by = describe(other)
        committed = find_committed(releases, session, request.promotion.id, request.ledger)
        if committed is not None:
            done = TakenBack(
                promotion=request.promotion.id,
                database=request.production.address,
                dry_run=dry_run,
                type=committed.type,
                ways=(),
                held_by=held_by,
                told=committed.told,
            )
            if not dry_run:
                done = replace(done, told=(*done.told, *_lift(fenced, request, releases, now)))
                releases.append(
                    ROLLBACK_ENDED, request.promotion.id, {**done.as_json(), "outcome": "taken-back"}, now()
                )
            return done
        _require_anything_applied(session, releases, request)
        looking = Looking(request, releases, session)
        ways = looking.ways(count_rows=dry_run)
        best = next((way for way in ways if way.is_open), None)
        answer = TakenBack(
            promotion=request.promotion.id,
            database=request.production.address,
            dry_run=dry_run,
            type=best.type if best is not None else IMPOSSIBLE,
            ways=ways,
            held_by=held_by,
            told=() if fenced is None else (f"{fenced.told}; taking the promotion back lifts it",),
        )
        if lease is None:
            return answer
        if best is None:
            raise NoWayBack(_why_none(ways))
        if best.type in BY_INVERSE:
            releases.append(ROLLBACK_BEGUN, request.promotion.id, {"type": best.type, "by": dict(request.by)}, now())
            return _go_inverse(request, looking, answer, releases, now, tell, fenced)
        if not agree(best):
            raise NoWayBack("nothing was done: the only way left loses what was written since", remedy=RESTORE_REMEDY)
        session.close()  # whoever shuts production ends its sessions
        return _go_restore(request, answer, releases, now, progress, lease, fenced)


def _require_anything_applied(session: Connection, releases: ReleaseLedger, request: TakeBackRequest) -> None:
    """A restore of what a promotion has not changed would only lose what was written since."""
    if not request.migrations:  # their files are gone, and with them where their progress would be told
        return
    kind = request.migrations[0].kind
    if is_nothing_applied(session, releases, request.promotion, request.ledger, kind):
        raise NoWayBack(
            f"promotion {request.promotion.id} was left unfinished and nothing of it is applied: "
            "there is nothing to take back",
            remedy="`pgrehearse resume` goes on with it, or promote again.",
        )
    lost = find_lost(session, releases, request.promotion, request.ledger, kind)
    if lost is not None and request.only != "restore":
        raise NoWayBack(
            f"{lost}, and there is nothing to take back",
            remedy="Promote it again: `pgrehearse status` says what is pending.  Its backup was taken of what was "
            "lost: who wants that in production's place all the same says --restore."
            + _tell_earlier(releases, request.promotion),
        )


def _tell_earlier(releases: ReleaseLedger, promotion: PromotionRecord) -> str:
    """The promotion before, which `rollback` without an id does not come to."""
    back = find_taken_back(releases)
    earlier = [
        each.id for each in read_promotions(releases, promotion.key) if each.seq < promotion.seq and each.id not in back
    ]
    return f"  `pgrehearse rollback {earlier[-1]}` takes the one before it back." if earlier else ""


RESTORE_REMEDY = (
    "Say --yes to restore the backup beside production and swap the names; every row that differs is exported."
)


def _why_none(ways: Sequence[Way]) -> str:
    lines = ["no way back is open:"]
    for way in ways:
        lines += [f"  {way.type}: {reason}" for reason in way.why_not]
    return "\n".join(lines)


def _lift(
    fenced: StandingFence | None, request: TakeBackRequest, releases: ReleaseLedger, now: Callable[[], datetime]
) -> tuple[str, ...]:
    """What was taken back needs no fence any more; its owner is who put it up, the role that migrates."""
    if fenced is None:
        return ()
    return (lift_left(fenced, lambda: connect(request.migrate, verb="rollback"), releases, now=now()),)


def _go_inverse(
    request: TakeBackRequest,
    looking: Looking,
    answer: TakenBack,
    releases: ReleaseLedger,
    now: Callable[[], datetime],
    tell: Callable[[str], None],
    fenced: StandingFence | None,
) -> TakenBack:
    document, touched, before = looking.document, looking.touched, looking.before
    assert document is not None
    assert touched is not None
    assert before is not None
    differing: list[str] = []

    def hold_as_left(session: Connection) -> None:
        if why_not := [*looking.why_not_newest(session), *looking.why_not_as_left(session)]:
            raise NoWayBack("\n".join(["production changed while its lock was waited for:", *why_not]))

    def compare(session: Connection) -> None:
        differing[:] = differences_where_touched(before, looking.read_schema(session), touched)

    went = perform(
        lambda verb: connect(request.migrate, verb=verb),
        Ddl.of_receipt(document["rollback"]),
        looking.images,
        ledger=request.ledger,
        plan=request.migrations,
        id=request.promotion.id,
        going=find_going(document["schema"]["changes"]),
        limits=request.limits,
        tell=tell,
        before_ddl=hold_as_left,
        before_commit=compare,
    )
    told = (
        *(f"kept aside: {counted(kept.rows, 'row')} of {kept.what} in {kept.table}" for kept in went.kept_aside),
        *went.weakened,
        *(f"not as it was before the promotion: {line}" for line in differing),
        *_lift(fenced, request, releases, now),
    )
    done = replace(answer, inverse=went, told=told)
    releases.append(ROLLBACK_ENDED, request.promotion.id, {**done.as_json(), "outcome": "taken-back"}, now())
    return replace(done, told=(*done.told, *_anchored(request, releases)))


def _go_restore(
    request: TakeBackRequest,
    answer: TakenBack,
    releases: ReleaseLedger,
    now: Callable[[], datetime],
    progress: Progress,
    lease: Lease,
    fenced: StandingFence | None,
) -> TakenBack:
    promotion = request.promotion
    backup = _backup_of(promotion)
    lease.renew("restoring the backup beside production")
    if not any(each.id == promotion.id and each.mark.is_filled for each in find_restores(request.production)):
        restore_backup_beside(
            request.production, backup, id=promotion.id, digest=backup.digest, ledger=releases, now=now,
            jobs=request.jobs, progress=progress,
        )  # fmt: skip
    earlier = find_taken_back(releases)
    swapped = swap(
        request.production,
        promotion.id,
        directory=request.directory,
        known=find_promoted_since(
            releases,
            promotion,
            request.receipt,
            ledgers=(OWN, DRIZZLE, (request.ledger.place.namespace, request.ledger.place.name)),
        ),
        ledger=releases,
        now=now,
        reapply=request.reapply,
        progress=progress,
        renew=lease.renew,
    )
    lifted = _lift(fenced, request, releases, now)  # the restored database has it too: it is a setting of production
    back = find_taken_back(releases)
    later = [
        f"taken back with it, for the backup is older: {record.id} ({', '.join(record.plan)})"
        for record in read_promotions(releases, promotion.key)
        if record.id in back and record.id not in earlier and record.id != promotion.id
    ]
    anchored = _anchored(request, releases)
    return replace(answer, restore=swapped, told=(*later, *tell_restored(swapped), *lifted, *anchored))


def _anchored(request: TakeBackRequest, releases: ReleaseLedger) -> tuple[str, ...]:
    """It is done by now: that production does not remember it is told, and no failure."""
    try:
        with connect(request.migrate, verb="rollback") as session:
            problem = write_anchor(session, releases, request.promotion.id)
    except ServerUnreachable as error:
        problem = str(error)
    return () if problem is None else (problem,)


def tell_restored(swapped: Swapped) -> Iterator[str]:
    """Sentences on what a restore kept, wrote back, and left to a person."""
    yield f"the failed database is kept as {swapped.quarantine}"
    rows = swapped.rows
    if rows is not None and rows.large_objects is not None:
        yield rows.large_objects
    if rows is not None and swapped.written_back is not None:
        yield f"written back: {counted(swapped.written_back, 'statement')} of the application's"
        if left := sum(table.not_assigned for table in rows.tables):
            values = f"values of {counted(left, 'row')} in columns that the migration wrote too"
            yield f"not written back: {values}; the SQL files in {rows.directory} have them as comments"
    if rows is not None and rows.unclear is not None:
        unclear = rows.rows_by(By.UNCLEAR)
        yield f"not written back: {unclear:,} changes of which it is unclear who made them; look at {rows.unclear}"


def _backup_of(promotion: PromotionRecord) -> DumpBackup:
    proof = next(proof for proof in reversed(promotion.proofs) if proof.way == DUMP)
    return open_backup(Path(proof.facts["directory"]))

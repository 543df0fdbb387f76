"""Take a promotion back by the best way that is left: its inverse, which the rehearsal proved, else a restore."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from pgrehearse.errors import NoWayBack, PgRehearseError, ServerUnreachable
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.limits import Limits
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.postgres.connect import Connection, connect, scrub
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.pooler import require_session
from pgrehearse.progress import Progress
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.backup.dump_backup import DumpBackup, open_backup
from pgrehearse.release.history import PromotionRecord, read_promotions
from pgrehearse.release.interrupted_rollback import BY_INVERSE, find_committed
from pgrehearse.release.lease import DEFAULT_TTL_S, Lease, hold_lease
from pgrehearse.release.lineage import find_taken_back
from pgrehearse.release.promotion import ROLLBACK_BEGUN, ROLLBACK_ENDED
from pgrehearse.release.recoverability import DUMP, EXTERNAL, Proof
from pgrehearse.release.restore.beside import find_restores
from pgrehearse.release.restore.from_backup import RestorePlan, plan_restore, restore_backup_beside
from pgrehearse.release.restore.migration_transactions import DRIZZLE, OWN
from pgrehearse.release.restore.swap import Swapped, WhatIsKnown, swap
from pgrehearse.release.restore.touched import sequences_moved_back, touched_tables
from pgrehearse.release.restore.written_files import By
from pgrehearse.release.standing import is_nothing_applied
from pgrehearse.release.touched import Touched, differences_where_touched, find_touched
from pgrehearse.rollback.aside import find_added
from pgrehearse.rollback.image import Image, ImageState, find_images
from pgrehearse.rollback.left_behind import find_left_behind
from pgrehearse.rollback.perform import Ddl, WentBack, perform
from pgrehearse.schema.packed import unpack
from pgrehearse.schema.schema_object import Schema
from pgrehearse.schema.snapshot import read_schema

FORMAT = 1
LOSES, IMPOSSIBLE = "loses-writes", "impossible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way back, and whether it can be gone now."""

    type: str  # lossless, restorable, loses-writes
    why_not: tuple[str, ...]  # () when it is open
    told: tuple[str, ...]  # what it would do, and what would be left behind

    @property
    def is_open(self) -> bool:
        return not self.why_not

    def as_json(self) -> dict[str, Any]:
        return {"type": self.type, "open": self.is_open, "why_not": list(self.why_not), "told": list(self.told)}


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBackRequest:
    """What is to be taken back, and what it takes."""

    production: Conninfo  # of a user who may read everything, and for a restore rename databases
    migrate: Conninfo  # logs in as the role that migrates
    promotion: PromotionRecord
    receipt: Receipt | None
    migrations: Sequence[Migration]  # the promotion's plan
    ledger: MigrationLedger
    directory: Path  # where exported rows go
    holder: str
    by: Mapping[str, Any]
    limits: Limits
    jobs: int = 2
    lease_ttl_s: float = DEFAULT_TTL_S
    reapply: bool = False  # of a restore: write back what the application wrote since
    only: str | None = None  # "inverse" or "restore"; None: the best that is open


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
    told: tuple[str, ...] = ()

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
    with ExitStack() as stack:
        session = stack.enter_context(connect(request.production, verb="rollback"))
        lease: Lease | None = None
        if not dry_run:
            lease = stack.enter_context(
                hold_lease(
                    releases, f"promote {request.promotion.key}", request.holder, token=nonce(),
                    ttl_s=request.lease_ttl_s,
                )
            )  # fmt: skip
        committed = find_committed(releases, session, request.promotion.id, request.ledger)
        if committed is not None:
            done = TakenBack(
                promotion=request.promotion.id,
                database=request.production.address,
                dry_run=dry_run,
                type=committed.type,
                ways=(),
                told=committed.told,
            )
            if not dry_run:
                releases.append(
                    ROLLBACK_ENDED, request.promotion.id, {**done.as_json(), "outcome": "taken-back"}, now()
                )
            return done
        _require_anything_applied(session, releases, request)
        looking = _Looking(request, releases, session)
        ways = looking.ways(count_rows=dry_run)
        best = next((way for way in ways if way.is_open), None)
        answer = TakenBack(
            promotion=request.promotion.id,
            database=request.production.address,
            dry_run=dry_run,
            type=best.type if best is not None else IMPOSSIBLE,
            ways=ways,
        )
        if lease is None:
            return answer
        if best is None:
            raise NoWayBack(_why_none(ways))
        if best.type in BY_INVERSE:
            releases.append(ROLLBACK_BEGUN, request.promotion.id, {"type": best.type, "by": dict(request.by)}, now())
            return _go_inverse(request, looking, answer, releases, now, tell)
        if not agree(best):
            raise NoWayBack("nothing was done: the only way left loses what was written since", remedy=RESTORE_REMEDY)
        session.close()  # whoever shuts production ends its sessions
        return _go_restore(request, answer, releases, now, progress, lease)


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


RESTORE_REMEDY = (
    "Say --yes to restore the backup beside production and swap the names; every row that differs is exported."
)


class _Looking:
    """Which ways are open, as production is now."""

    def __init__(self, request: TakeBackRequest, releases: ReleaseLedger, session: Connection) -> None:
        self._request = request
        self._releases = releases
        self._session = session
        self.document = request.receipt.document if request.receipt is not None else None
        self.images: tuple[Image, ...] = find_images(session, id=request.promotion.id)
        self.before: Schema | None = None
        self.after: Schema | None = None
        self.touched: Touched | None = None
        if self.document is not None:
            objects = self.document["receipt"]["schema_objects"]
            self.before, self.after = unpack(objects["before"]), unpack(objects["after"])
            texts = [migration.content.decode("utf-8", "replace") for migration in request.migrations]
            self.touched = find_touched(self.document, self.before, self.after, texts)

    def ways(self, *, count_rows: bool) -> tuple[Way, ...]:
        """``count_rows``: say which rows each would leave behind, which takes reading them."""
        found = []
        if self._request.only in (None, "inverse"):
            found.append(self._inverse(count_rows=count_rows))
        if self._request.only in (None, "restore"):
            found.append(self._restore())
        return tuple(found)

    # --- the inverse -----------------------------------------------------------------------------------------

    def _inverse(self, *, count_rows: bool) -> Way:
        if self.document is None:
            return Way(type="lossless", why_not=("nobody rehearsed this promotion, so no inverse was proved",), told=())
        rollback = self.document["rollback"]
        kind = rollback.get("type", "not-measured")
        if kind not in BY_INVERSE or not rollback["proved"]:
            reasons = tuple(rollback.get("reasons", ())) or ("the rehearsal did not look at the way back",)
            return Way(type="lossless", why_not=reasons, told=())
        why_not = [*self._why_not_whole(), *self._why_not_newest(), *self.why_not_as_left(self._session)]
        if kind == "restorable":
            why_not += self._why_no_images(rollback)
        told = [f"{len(rollback['statements']) + len(rollback['statements_after_rows'])} statements"]
        if rollback["down_ms"] is not None:
            told.append(f"took {rollback['down_ms']:,.0f} ms in the rehearsal")
        told += [f"put back from its image: {image.relation} ({image.rows:,} rows)" for image in self.images]
        told += [f"left behind: {sentence}" for sentence in rollback["left_behind"]]
        if count_rows and not why_not:
            told += find_left_behind(self._session, self.images, find_added(self.document["schema"]["changes"]))
        return Way(type=kind, why_not=tuple(why_not), told=tuple(told))

    def _why_not_whole(self) -> list[str]:
        """Its files must be there as they were promoted: their bytes name the rows of the migration ledger."""
        rows = self._request.ledger.read(self._session)
        here = {each.version: each for each in self._request.migrations}
        reasons = []
        for version, sha256 in self._request.promotion.digests.items():
            if version not in here:
                reasons.append(f"its file {version} is not in the folder any more: put it back, as it was promoted")
            elif here[version].sha256 != sha256:
                reasons.append(f"its file {version} was edited since: put it back as it was promoted")
            elif not self._request.ledger.is_applied(here[version], rows):
                reasons.append(f"not applied whole: {version}")
        return reasons

    def _why_not_newest(self) -> list[str]:
        back = find_taken_back(self._releases)
        later = [
            record.id
            for record in read_promotions(self._releases, self._request.promotion.key)
            if record.at > self._request.promotion.at and record.id not in back
        ]
        return [f"promoted since, and to be taken back first: {', '.join(later)}"] if later else []

    def why_not_as_left(self, session: Connection) -> list[str]:
        """What differs where the plan touches it from what the promotion left; asked again under the lock."""
        assert self.after is not None
        assert self.touched is not None
        now = self.read_schema(session)
        differences = differences_where_touched(self.after, now, self.touched, in_any_order=True)
        return [f"changed since the promotion: {line}" for line in differences]

    def _why_no_images(self, rollback: Mapping[str, Any]) -> list[str]:
        settled = {image.relation for image in self.images if image.state is ImageState.SETTLED}
        missing = sorted({image["relation"] for image in rollback["before_images"]} - settled)
        return [f"there is no settled before-image of {', '.join(missing)}"] if missing else []

    def read_schema(self, session: Connection) -> Schema:
        return read_schema(session, ignore_relations=frozenset({self._request.ledger.table}))

    # --- the restore -----------------------------------------------------------------------------------------

    def _restore(self) -> Way:
        promotion = self._request.promotion
        backup = self.backup()
        if backup is None:
            external = [proof.summary for proof in promotion.proofs if proof.way == EXTERNAL]
            told = tuple(f"your own system's: {summary}" for summary in external)
            return Way(type=LOSES, why_not=("no dump was taken before this promotion",), told=told)
        try:
            opened = open_backup(Path(backup.facts["directory"]))
            opened.require_whole(digest=backup.facts["digest"])
            plan = plan_restore(self._request.production, opened, id=promotion.id)
        except PgRehearseError as error:
            return Way(type=LOSES, why_not=(str(error),), told=())
        return Way(type=LOSES, why_not=plan.in_the_way, told=_restore_told(plan))

    def backup(self) -> Proof | None:
        """The newest dump of the promotion."""
        return next((proof for proof in reversed(self._request.promotion.proofs) if proof.way == DUMP), None)


def _restore_told(plan: RestorePlan) -> tuple[str, ...]:
    return (f"writes since {plan.taken_at.isoformat(timespec='seconds')} are exported, not kept", *plan.told)


def _why_none(ways: Sequence[Way]) -> str:
    lines = ["no way back is open:"]
    for way in ways:
        lines += [f"  {way.type}: {reason}" for reason in way.why_not]
    return "\n".join(lines)


def _go_inverse(
    request: TakeBackRequest,
    looking: _Looking,
    answer: TakenBack,
    releases: ReleaseLedger,
    now: Callable[[], datetime],
    tell: Callable[[str], None],
) -> TakenBack:
    document, touched, before = looking.document, looking.touched, looking.before
    assert document is not None
    assert touched is not None
    assert before is not None
    differing: list[str] = []

    def hold_as_left(session: Connection) -> None:
        if why_not := looking.why_not_as_left(session):
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
        added=find_added(document["schema"]["changes"]),
        limits=request.limits,
        tell=tell,
        before_ddl=hold_as_left,
        before_commit=compare,
    )
    told = (
        *(f"kept aside: {kept.rows:,} rows of {kept.what} in {kept.table}" for kept in went.kept_aside),
        *went.weakened,
        *(f"not as it was before the promotion: {line}" for line in differing),
    )
    done = replace(answer, inverse=went, told=told)
    releases.append(ROLLBACK_ENDED, request.promotion.id, {**done.as_json(), "outcome": "taken-back"}, now())
    return done


def _go_restore(
    request: TakeBackRequest,
    answer: TakenBack,
    releases: ReleaseLedger,
    now: Callable[[], datetime],
    progress: Progress,
    lease: Lease,
) -> TakenBack:
    promotion = request.promotion
    backup = _backup_of(promotion)
    lease.renew("restoring the backup beside production")
    if not any(each.id == promotion.id and each.mark.is_filled for each in find_restores(request.production)):
        restore_backup_beside(
            request.production, backup, id=promotion.id, digest=backup.digest, ledger=releases, now=now,
            jobs=request.jobs, progress=progress,
        )  # fmt: skip
    document = request.receipt.document if request.receipt is not None else {"tables": [], "findings": []}
    swapped = swap(
        request.production,
        promotion.id,
        directory=request.directory,
        known=WhatIsKnown(
            touched=touched_tables(document["tables"]),
            moved_back=sequences_moved_back(document["findings"]),
            ledgers=(OWN, DRIZZLE, (request.ledger.place.namespace, request.ledger.place.name)),
        ),
        ledger=releases,
        now=now,
        reapply=request.reapply,
        progress=progress,
        renew=lease.renew,
    )
    return replace(answer, restore=swapped, told=tuple(_restored_told(swapped)))


def _restored_told(swapped: Swapped) -> Iterator[str]:
    yield f"the failed database is kept as {swapped.quarantine}"
    rows = swapped.rows
    if rows is not None and swapped.written_back is not None:
        yield f"written back: {swapped.written_back:,} statements of the application's"
    if rows is not None and rows.unclear is not None:
        unclear = rows.rows_by(By.UNCLEAR)
        yield f"not written back: {unclear:,} changes of which it is unclear who made them; look at {rows.unclear}"


def _backup_of(promotion: PromotionRecord) -> DumpBackup:
    proof = next(proof for proof in reversed(promotion.proofs) if proof.way == DUMP)
    return open_backup(Path(proof.facts["directory"]))

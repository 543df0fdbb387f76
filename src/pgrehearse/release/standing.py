"""What of a plan is in the database: its migration ledger has the last word, whatever the release ledger says."""

import time
from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass

from pgrehearse.errors import LedgerUnreadable
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.migration_ledger import LedgerRow, MigrationLedger
from pgrehearse.migrations.progress import ProgressTable
from pgrehearse.migrations.runner_lock import take_turn
from pgrehearse.migrations.segments import PendingFile
from pgrehearse.migrations.statements import split_file
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.identity import read_identity
from pgrehearse.release.history import PromotionRecord, Unfinished
from pgrehearse.release.promotion import BEGUN, ENDED, STEP, PromotionRequest, read_position

POLL_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the migration ledger in the database says of a plan."""

    applied: tuple[str, ...]
    half: tuple[str, ...]  # versions of which a part is committed

    @property
    def begun(self) -> bool:
        return bool(self.applied or self.half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a promotion that stopped has yet to do."""

    half: tuple[PendingFile, ...]  # files of which a part is committed
    whole: tuple[PendingFile, ...]  # files that were not begun


def read_left(session: Connection, ledger: MigrationLedger, migrations: Sequence[Migration]) -> Left:
    """Of this plan, as the migration ledger in the database says.  Raises `LedgerUnreadable` while a run holds it."""
    rows = ledger.read(session)
    left = [each for each in migrations if not ledger.is_applied(each, rows)]
    if not left:
        return Left(half=(), whole=())
    progress = ProgressTable(ledger=f"{left[0].kind.value}:{ledger.table}").read(session)
    half: list[PendingFile] = []
    whole: list[PendingFile] = []
    for each in left:
        found = progress.get(each.version)
        is_begun = found is not None and not found.is_nothing
        file = PendingFile(
            migration=each,
            statements=split_file(each.content, path=each.path, kind=each.kind),
            statements_done=found.statements_done if found is not None else 0,
        )
        (half if is_begun else whole).append(file)
    return Left(half=tuple(half), whole=tuple(whole))


def read_standing(session: Connection, request: PromotionRequest, tell: Callable[[str], None]) -> Standing:
    """Waits for a runner that holds the migration ledger's table; what a killed one left is ended if so asked."""
    rows = _read_rows(session, request, tell)
    applied = tuple(each.version for each in request.migrations if request.ledger.is_applied(each, rows))
    kind = request.migrations[0].kind if request.migrations else None
    if kind is None:
        return Standing(applied=applied, half=())
    progress = ProgressTable(ledger=f"{kind.value}:{request.ledger.table}").read(session)
    half = tuple(
        each.version
        for each in request.migrations
        if (found := progress.get(each.version)) is not None and not found.is_nothing
    )
    return Standing(applied=applied, half=half)


def _read_rows(session: Connection, request: PromotionRequest, tell: Callable[[str], None]) -> tuple[LedgerRow, ...]:
    deadline = time.monotonic() + request.limits.wait_s
    told = False
    while True:
        try:
            return request.ledger.read(session)
        except LedgerUnreadable as error:
            if not request.ledger.holders(session) or time.monotonic() >= deadline:
                raise
            if request.end_orphan:
                with take_turn(session, wait_s=max(deadline - time.monotonic(), 0), end_orphan=True, tell=tell):
                    pass
            elif not told:
                tell(f"waiting: {error}")
                told = True
        time.sleep(POLL_S)


def is_begun(session: Connection, request: PromotionRequest, found: Unfinished) -> bool:
    """Whether anything of that promotion's plan is in the database."""
    digests = {sha256 for _version, sha256 in found.plan}
    return any(row.sha256 in digests for row in request.ledger.read(session)) or is_half_way(session, request, found)


def is_half_way(session: Connection, request: PromotionRequest, found: Unfinished) -> bool:
    """Whether a part of one of its files is committed: then only that plan can be gone on with."""
    if not request.migrations:
        return False
    digests = {sha256 for _version, sha256 in found.plan}
    return _any_half_way(session, request.ledger, request.migrations[0].kind, digests)


def _any_half_way(session: Connection, ledger: MigrationLedger, kind: SourceKind, digests: Set[str]) -> bool:
    progress = ProgressTable(ledger=f"{kind.value}:{ledger.table}").read(session)
    return any(each.sha256 in digests and not each.is_nothing for each in progress.values())


def is_nothing_applied(
    session: Connection, releases: ReleaseLedger, promotion: PromotionRecord, ledger: MigrationLedger, kind: SourceKind
) -> bool:
    """Whether an unfinished promotion has left nothing in the database, as both ledgers say.

    False where they contradict each other: a commit that was recorded, and rows that are gone from the database.
    """
    steps = releases.entries(kind=STEP, subject=promotion.id)
    if promotion.outcome is not None or any(step.body["state"] == "committed" for step in steps):
        return False
    digests = set(promotion.digests.values())
    if any(row.sha256 in digests for row in ledger.read(session)):
        return False
    return not _any_half_way(session, ledger, kind, digests)


def find_lost(
    session: Connection, releases: ReleaseLedger, promotion: PromotionRecord, ledger: MigrationLedger, kind: SourceKind
) -> str | None:
    """Why nothing of a promotion that had committed is in this database: a failover has lost it.  Else None.

    On the timeline that it was committed on, rows that are gone are a contradiction, and no answer.
    """
    if read_identity(session).in_recovery:  # of a standby it is not known what it will replay
        return None
    entries = [
        entry
        for entry in (*releases.entries(kind=BEGUN), *releases.entries(kind=ENDED))
        if entry.subject == promotion.id and "timeline" in entry.body
    ]
    now = read_position(session).timeline
    if not entries or entries[-1].body["timeline"] == now:
        return None
    digests = set(promotion.digests.values())
    if any(row.sha256 in digests for row in ledger.read(session)) or _any_half_way(session, ledger, kind, digests):
        return None
    return (
        f"promotion {promotion.id} was on timeline {entries[-1].body['timeline']}, and nothing of it is in this "
        f"database, which is on timeline {now}: a failover has lost it"
    )

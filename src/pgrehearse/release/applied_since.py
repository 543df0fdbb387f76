"""What the migration ledgers in a database record behind a promotion: any release ledger, or tool, may have done it."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pgrehearse.errors import PgRehearseError
from pgrehearse.migrations.drizzle_ledger import DrizzleLedger
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.migration_ledger import LedgerRow, MigrationLedger
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.migrations.statements import DRIZZLE_KINDS
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.history import PromotionRecord

DRIZZLE = DrizzleLedger(kind=SourceKind.DRIZZLE_FOLDER)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppliedSince:
    """Rows of migration ledgers that are younger than a promotion's first."""

    found: tuple[str, ...] = ()  # "pgrehearse.migrations records 0002_b (2026-01-02T03:04:05.678901Z)"
    unread: tuple[str, ...] = ()  # why a ledger could not be asked

    @property
    def why_not_newest(self) -> tuple[str, ...]:
        """Reasons against taking back the promotion alone."""
        unknown = "applied since, and by no later promotion in this release ledger"
        return (
            *(f"{unknown}: {each}; take that back first" for each in self.found),
            *(f"what was applied since cannot be told: {reason}" for reason in self.unread),
        )


def find_applied_since(
    session: Connection,
    others: Connection,
    promotion: PromotionRecord,
    plan: Sequence[Migration],
    ledger: MigrationLedger,
    *,
    known: Set[str],
) -> AppliedSince:
    """What is recorded behind the first row of ``plan``; ``known``: SHA-256 of what is told of anyway.

    In ``ledger`` itself the order of the rows tells.  In the other ledgers (ours, and drizzle's where drizzle puts it
    by itself) the time does: against that of the plan's first row or, where the ledger keeps none, against the begin
    of the promotion by this machine's clock.  drizzle 0.31's rows have no such time, so that of them only those are
    found whose file was *made* later.  Nothing where no row of the plan is there.  ``session`` reads ``ledger``'s
    table, and may hold its lock; ``others`` reads the other tables.
    """
    try:
        rows = ledger.read(session)
    except PgRehearseError as error:
        return AppliedSince(unread=(str(error),))
    is_own = [any(ledger.is_applied(migration, [row]) for migration in plan) for row in rows]
    if True not in is_own:
        return AppliedSince()
    first = is_own.index(True)
    later = [
        _told(ledger, row)
        for row, own in list(zip(rows, is_own, strict=True))[first:]
        if not own and row.sha256 not in known
    ]
    since = rows[first].applied_at or _iso(promotion.at)
    unread: list[str] = []
    for other in _others(plan[0].kind):
        try:
            found = other.read(session if other.table == ledger.table else others)
        except PgRehearseError as error:
            unread.append(str(error))
            continue
        later += [_told(other, row) for row in found if (_time(row) or "") > since and row.sha256 not in known]
    return AppliedSince(found=tuple(later), unread=tuple(unread))


def _others(kind: SourceKind) -> Iterator[MigrationLedger]:
    """Those that do not record migrations of this kind."""
    for own in (SourceKind.SQL_FOLDER, SourceKind.AD_HOC):
        if own is not kind:
            yield OwnLedger(kind=own)
    if kind not in DRIZZLE_KINDS:
        yield DRIZZLE


def _told(ledger: MigrationLedger, row: LedgerRow) -> str:
    at = f" ({row.applied_at})" if row.applied_at is not None else ""
    return f"{ledger.table} records {row.name or row.sha256[:12]}{at}"


def _time(row: LedgerRow) -> str | None:
    if row.applied_at is not None or row.created_at_ms is None:
        return row.applied_at
    return _iso(datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=row.created_at_ms))


def _iso(moment: datetime) -> str:
    """As the ledgers' own times are read, so that texts compare."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

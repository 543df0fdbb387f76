"""A way back that was committed by a run that was killed before it could say so: it must not be gone again."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.release.promotion import BEGUN, ROLLBACK_BEGUN, ROLLBACK_ENDED
from pgrehearse.release.restore.swap import record_swapped
from pgrehearse.rollback.image import NAMESPACE

BY_INVERSE = ("lossless", "restorable")
KEPT = """
SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relkind = 'r'
  AND pg_catalog.strpos(pg_catalog.obj_description(c.oid, 'pg_class'), %s) > 0 ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedWayBack:
    """What an earlier run did."""

    type: str
    told: tuple[str, ...]


def find_committed(
    releases: ReleaseLedger, session: Connection, promotion: str, ledger: MigrationLedger
) -> CommittedWayBack | None:
    """The inverse of this promotion, begun by a run that never ended it, of which nothing is applied any more.

    It begins only while the whole plan is applied, and takes its rows out of the migration ledger in its one
    transaction: so there it is all, or nothing of it.  What the plan was says the promotion's own record, for its files
    may be gone or edited by now; a row that has the bytes of one of them, whatever its name, counts as applied.
    """
    entries = [each for each in releases.entries(subject=promotion) if each.kind in (ROLLBACK_BEGUN, ROLLBACK_ENDED)]
    if not entries or entries[-1].kind != ROLLBACK_BEGUN or entries[-1].body.get("type") not in BY_INVERSE:
        return None
    begun = releases.entries(kind=BEGUN, subject=promotion)
    digests = {each["sha256"] for entry in begun for each in entry.body["plan"]}
    if not digests or any(row.sha256 in digests for row in ledger.read(session)):
        return None
    at = entries[-1].at.isoformat(timespec="seconds")
    kept = [name for (name,) in session.execute(KEPT, (NAMESPACE, promotion))]
    return CommittedWayBack(
        type=entries[-1].body["type"],
        told=(
            f"it was taken back already, by a run of {at} that was killed before it could say so",
            *(f"kept: {NAMESPACE}.{name}" for name in kept),
        ),
    )


def record_swaps(
    releases: ReleaseLedger, production: Conninfo, *, now: Callable[[], datetime], tell: Callable[[str], None]
) -> None:
    """A restore that was killed between the swap of the names and its last entry is over: write that down."""
    ended = {entry.subject for entry in releases.entries(kind=ROLLBACK_ENDED)}
    for entry in releases.entries(kind=ROLLBACK_BEGUN):
        of_this = entry.body.get("address") == production.address
        if entry.subject in ended or entry.body["type"] != "restore" or not of_this:
            continue
        if record_swapped(production, entry.subject, ledger=releases, now=now):
            tell(f"restore {entry.subject} had swapped the names before it was killed; that is recorded now")

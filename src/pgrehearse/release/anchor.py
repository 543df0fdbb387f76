"""What production itself remembers of the release ledger that promoted to it.

Whoever may write a release ledger can compute its whole chain anew, cut off its end, or put an older copy in its place,
and the chain holds.  So each promotion, before it applies anything and at its end, and each rollback leaves the number
and the digest of the ledger's newest entry in production, in ``pgrehearse.promotions``: what was recorded up to then
cannot be rewritten unnoticed by somebody who may not write there too.
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.errors import PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.migrations.ledger_table import OWN_NAMESPACE, LedgerTable
from pgrehearse.postgres.connect import Connection
from pgrehearse.release.gate import Gate, Reason, ReasonKind
from pgrehearse.release.promotion import BEGUN

TABLE = LedgerTable(namespace=OWN_NAMESPACE, name="promotions")
COLUMNS = ("promotion", "ledger", "entry", "digest", "at")
_CREATE = """
CREATE TABLE IF NOT EXISTS {} (
    promotion text PRIMARY KEY,
    ledger text NOT NULL,
    entry bigint NOT NULL,
    digest text NOT NULL,
    at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp())
"""
_WRITE = """
INSERT INTO {} AS p (promotion, ledger, entry, digest) VALUES (%s, %s, %s, %s)
ON CONFLICT (promotion) DO UPDATE
SET ledger = excluded.ledger, entry = excluded.entry, digest = excluded.digest, at = excluded.at
"""
_READ = """
SELECT promotion, ledger, entry, digest, pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
FROM {} ORDER BY at, promotion
"""
REMEDY = (
    "Put the newest copy of the release ledger in its place.  Where that is lost: look at what was promoted since, "
    "then let the owner of pgrehearse.promotions delete the rows that speak of it, and rehearse and approve anew."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """One row: where the ledger's chain stood when a promotion, or its rollback, last wrote it down."""

    promotion: str
    ledger: str  # the digest of its first entry
    entry: int
    digest: str
    at: str  # by production's clock, in UTC

    @property
    def told(self) -> str:
        return f"promotion {self.promotion} ({self.at} UTC)"


def write_anchor(session: Connection, releases: ReleaseLedger, promotion: str) -> str | None:
    """Leave the ledger's newest entry in production; why it could not be, else None.

    In autocommit, by the role that migrates, which owns the table.  What was promoted is not undone for it.
    """
    try:
        ends = releases.read_ends()
        if ends is None:
            return None
        first, newest = ends
        TABLE.create(session, sql.SQL(_CREATE).format(TABLE.identifier))
        row = (promotion, first.digest, newest.seq, newest.digest)
        session.execute(sql.SQL(_WRITE).format(TABLE.identifier), row)
    except (psycopg.Error, PgRehearseError) as error:
        reason = error.diag.message_primary if isinstance(error, psycopg.Error) else str(error)
        return f"production does not remember the release ledger's newest entry: {reason or 'the session was lost'}"
    return None


def judge_anchors(session: Connection, releases: ReleaseLedger) -> Gate:
    """Whether the release ledger still is the one that production remembers.  Two small queries; writes nothing.

    Closed where an entry that production knows is another one or gone.  Promotions by a ledger that begins otherwise,
    and that this one knows nothing of, are told: a second copy of the project has one of its own.
    """
    try:
        columns = TABLE.read_columns(session)
        if not columns:
            return Gate()
        TABLE.require_columns(columns, COLUMNS)
        rows = TABLE.read(session, sql.SQL(_READ).format(TABLE.identifier))
    except PgRehearseError as error:
        return Gate.of([], [f"not asked whether production remembers this release ledger: {error}"])
    anchors = [
        Anchor(promotion=str(promotion), ledger=str(ledger), entry=int(str(entry)), digest=str(digest), at=str(at))
        for promotion, ledger, entry, digest, at in rows
    ]
    ends = releases.read_ends()
    own = ends[0].digest if ends is not None else None
    known = {entry.subject for entry in releases.entries(kind=BEGUN)}
    ours = [each for each in anchors if each.ledger == own or each.promotion in known]
    here = releases.digests_of([each.entry for each in ours])
    broken = [_sentence(each, here.get(each.entry)) for each in ours if here.get(each.entry) != each.digest]
    reasons = []
    if broken:
        message = f"the release ledger {releases.place} is not the one that production remembers"
        reasons.append(Reason(kind=ReasonKind.RECEIPT, message=message, remedy=REMEDY, details=tuple(broken)))
    told = []
    if others := [each for each in anchors if each not in ours]:
        told.append(
            f"begun by another release ledger, of which {releases.place} knows nothing: {len(others)}, the last "
            f"{others[-1].told}; whether it was applied, the migration ledger says"
        )
    return Gate.of(reasons, told)


def _sentence(anchor: Anchor, found: str | None) -> str:
    here = (
        "there is none here: it was cut off, or this is an older copy" if found is None else f"here it is {found[:12]}"
    )
    return f"when {anchor.told} was written down, entry {anchor.entry} was {anchor.digest[:12]}; {here}"

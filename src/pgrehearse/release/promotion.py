"""What a promotion is, and how the release ledger names it and its steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migration import Migration
from pgrehearse.migrations.migration_ledger import MigrationLedger
from pgrehearse.migrations.standing import Resolution
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.rehearsal.receipt import Receipt
from pgrehearse.release.lease import DEFAULT_TTL_S
from pgrehearse.release.watch import StatementCompared

FORMAT = 1
BEGUN, STEP, ENDED = "promotion-begun", "promotion-step", "promotion-ended"
ROLLBACK_BEGUN, ROLLBACK_ENDED = "rollback-begun", "rollback-ended"
BY_INVERSE, BY_RESTORE = "taken-back", "swapped"  # how a rollback ended that did what it should


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRequest:
    """One receipt, or without one an unrehearsed plan, for one database."""

    production: Conninfo  # logs in as the role that migrates
    environment: str | None
    receipt: Receipt | None  # None: `unrehearsed` says why
    unrehearsed: str | None = None
    migrations: Sequence[Migration]  # the whole plan with the bytes on disk, applied ones included
    ledger: MigrationLedger
    mode: TransactionMode
    limits: Limits = field(default_factory=Limits)
    by: Mapping[str, Any]  # who promotes, for the record
    holder: str  # the same for people: "ann on host, pid 12"
    take_images: bool = True
    fence: bool = False  # nobody else writes from the proof of recoverability to the last commit
    lease_ttl_s: float = DEFAULT_TTL_S
    end_orphan: bool = False
    resolve: Mapping[str, Resolution] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where production's WAL stood.  After a failover the timeline is another."""

    lsn: str
    timeline: int

    def as_json(self) -> dict[str, Any]:
        return {"lsn": self.lsn, "timeline": self.timeline}


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """A promotion that came to its end."""

    id: str
    receipt: str | None  # digest
    database: str  # host/database
    applied: tuple[str, ...]  # versions that this run applied
    already_applied: tuple[str, ...]  # by an earlier run of the same promotion
    statements: tuple[StatementCompared, ...]  # that this run executed
    proofs: tuple[Mapping[str, Any], ...]
    images: tuple[Mapping[str, Any], ...]
    writes: Mapping[str, Any]  # between the proof of recoverability and the first statement
    counts: tuple[Mapping[str, Any], ...]  # rows of changed tables, predicted and actual: evidence, no verdict
    position: Position  # after the last commit
    sequences_moved: tuple[Mapping[str, Any], ...]  # by transactions of this promotion that were rolled back
    told: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The ``promote`` answer, and the body of the entry that ends it."""
        return {
            "format": FORMAT,
            "promotion": self.id,
            "receipt": self.receipt,
            "database": self.database,
            "outcome": "promoted",
            "applied": list(self.applied),
            "already_applied": list(self.already_applied),
            "statements": [statement.as_json() for statement in self.statements],
            "recoverability": [dict(proof) for proof in self.proofs],
            "images": [dict(image) for image in self.images],
            "writes": dict(self.writes),
            "counts": [dict(count) for count in self.counts],
            "sequences_moved": [dict(moved) for moved in self.sequences_moved],
            **self.position.as_json(),
            "told": list(self.told),
        }


POSITION = """
SELECT pg_catalog.pg_current_wal_lsn()::text, pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn())
"""


def read_position(session: Connection) -> Position:
    """Where the WAL stands now, on a primary.  Any role may ask; the file's name begins with the timeline."""
    row = session.execute(POSITION).fetchone()
    assert row is not None
    return Position(lsn=row[0], timeline=int(row[1][:8], 16))

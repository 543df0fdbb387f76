"""How much was written to each table since a moment: PostgreSQL's own counters, read twice.

They are told, never relied on: a session's counts reach the others after up to ten seconds, and a crash or
`pg_stat_reset` sets them back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pgrehearse.postgres.connect import Connection

COUNTERS = """
SELECT s.relid::pg_catalog.int8,
       pg_catalog.quote_ident(s.schemaname) || '.' || pg_catalog.quote_ident(s.relname),
       s.n_tup_ins, s.n_tup_upd, s.n_tup_del
FROM pg_catalog.pg_stat_user_tables s
WHERE s.schemaname NOT IN ('pgrehearse', 'pgrehearse_quarantine')
ORDER BY 2
"""
STATE = """
SELECT (SELECT d.stats_reset::pg_catalog.text FROM pg_catalog.pg_stat_database d
        WHERE d.datname = pg_catalog.current_database()),
       pg_catalog.pg_postmaster_start_time()::pg_catalog.text, pg_catalog.current_setting('track_counts'),
       pg_catalog.pg_is_in_recovery()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """The counters of every table at one moment, by name: (oid, inserted, updated, deleted)."""

    tables: Mapping[str, tuple[int, int, int, int]]
    reset_at: str | None
    server_started_at: str
    in_recovery: bool  # a replica counts what it reads, never what its primary writes

    def as_json(self) -> dict[str, Any]:
        return {
            "tables": {name: list(counts) for name, counts in self.tables.items()},
            "reset_at": self.reset_at,
            "server_started_at": self.server_started_at,
            "in_recovery": self.in_recovery,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Counters":
        return cls(
            tables={name: (counts[0], counts[1], counts[2], counts[3]) for name, counts in body["tables"].items()},
            reset_at=body["reset_at"],
            server_started_at=body["server_started_at"],
            in_recovery=body["in_recovery"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TableWrites:
    """Rows written to one table; an UPDATE that changed nothing counts too, as PostgreSQL counts it."""

    name: str
    inserted: int
    updated: int
    deleted: int

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "inserted": self.inserted, "updated": self.updated, "deleted": self.deleted}


@dataclass(frozen=True, slots=True, kw_only=True)
class Writes:
    """Tables that were written to, and why the numbers may be too low (empty: as good as PostgreSQL's)."""

    tables: tuple[TableWrites, ...]
    doubts: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return {"tables": [table.as_json() for table in self.tables], "doubts": list(self.doubts)}


def read_counters(session: Connection) -> Counters:
    """Two queries; any role may ask."""
    row = session.execute(STATE).fetchone()
    assert row is not None
    tables = {name: (oid, ins, upd, dele) for oid, name, ins, upd, dele in session.execute(COUNTERS)}
    return Counters(tables=tables, reset_at=row[0], server_started_at=row[1], in_recovery=row[3])


def writes_since(session: Connection, before: Counters) -> Writes:
    """Per table how many rows were inserted, updated and deleted since ``before``; only tables with any.

    A table is followed by its oid through renames.  One that was dropped since is told as a doubt.
    """
    now = read_counters(session)
    row = session.execute(STATE).fetchone()
    assert row is not None
    if before.in_recovery or now.in_recovery:
        return Writes(tables=(), doubts=("the counters of a replica say nothing of what its primary writes",))
    doubts = []
    if row[2] != "on":
        doubts.append("track_counts is off in this session: nothing may have been counted")
    if now.reset_at != before.reset_at:
        doubts.append("the counters were reset since")
    elif now.server_started_at != before.server_started_at:
        doubts.append("the server was restarted since: after a crash the counters begin at 0")
    then = {counts[0]: (name, counts[1:]) for name, counts in before.tables.items()}
    written = []
    for name, (oid, *counts) in now.tables.items():
        was_named, was = then.pop(oid, (name, (0, 0, 0)))
        inserted, updated, deleted = (count - known for count, known in zip(counts, was, strict=True))
        if min(inserted, updated, deleted) < 0:
            doubts.append(f"the counters of {was_named} went back")
            inserted, updated, deleted = counts
        if inserted or updated or deleted:
            written.append(TableWrites(name=name, inserted=inserted, updated=updated, deleted=deleted))
    doubts += [f"{name} is not there any more" for name, _ in then.values()]
    return Writes(tables=tuple(written), doubts=tuple(doubts))

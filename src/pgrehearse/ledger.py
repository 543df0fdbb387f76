"""The release ledger: the append-only record of clones, receipts, approvals and promotions.

A SQLite file by default.  Rows are only ever added: triggers refuse UPDATE and DELETE, and each row
carries the digest of the one before it, so that a row changed behind the triggers is noticed by
`ReleaseLedger.verify`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from pgrehearse.errors import LedgerDamaged, LedgerUnusable

CHAIN_RECIPE = "pgrehearse-ledger-1"
BUSY_TIMEOUT_S = 30

_metadata = sa.MetaData()
_entries = sa.Table(
    "entries",
    _metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False, index=True),
    sa.Column("subject", sa.Text, nullable=False, index=True),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False, unique=True),
    sqlite_autoincrement=True,
)
_APPEND_ONLY = (
    "CREATE TRIGGER IF NOT EXISTS entries_are_not_updated BEFORE UPDATE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'the release ledger is append-only'); END",
    "CREATE TRIGGER IF NOT EXISTS entries_are_not_deleted BEFORE DELETE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'the release ledger is append-only'); END",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fact that was recorded."""

    seq: int
    at: datetime
    kind: str  # "clone-intended", "clone-dropped", "receipt" …
    subject: str  # what it is about: a clone's id, a receipt's digest
    body: Mapping[str, Any]
    digest: str  # over this entry and the digest of the one before


class ReleaseLedger:
    """An open ledger.  Context manager; safe for several processes (each append is one IMMEDIATE transaction)."""

    def __init__(self, engine: sa.Engine, path: Path) -> None:
        self._engine = engine
        self.path = path

    @classmethod
    def open(cls, path: Path) -> "ReleaseLedger":
        """Open or make the file, readable by its owner only.  Raises `LedgerUnusable`."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        except OSError as error:
            raise LedgerUnusable(f"cannot write the release ledger {path}: {error.strerror}") from error
        engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S})
        # pysqlite would begin a deferred transaction by itself; two appenders would then read the same last digest.
        sa.event.listen(engine, "connect", lambda raw, _record: setattr(raw, "isolation_level", None))
        sa.event.listen(engine, "begin", lambda session: session.exec_driver_sql("BEGIN IMMEDIATE"))
        try:
            with engine.begin() as session:
                _metadata.create_all(session)
                for statement in _APPEND_ONLY:
                    session.exec_driver_sql(statement)
        except sa.exc.SQLAlchemyError as error:
            engine.dispose()
            reason = str(getattr(error, "orig", error))
            raise LedgerUnusable(f"{path} cannot be used as a release ledger: {reason}") from error
        return cls(engine, path)

    def __enter__(self) -> "ReleaseLedger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._engine.dispose()

    def append(self, kind: str, subject: str, body: Mapping[str, Any], now: datetime) -> Entry:
        """Record one fact; ``body`` must be JSON.  Durable when this returns.  Raises `LedgerUnusable`."""
        at, text = now.isoformat(), _canonical(body)
        try:
            with self._engine.begin() as session:
                previous = session.scalar(sa.select(_entries.c.digest).order_by(_entries.c.seq.desc()).limit(1))
                digest = _chain(previous or "", at, kind, subject, text)
                row = {"at": at, "kind": kind, "subject": subject, "body": text, "digest": digest}
                done = session.execute(_entries.insert().values(row))
        except sa.exc.SQLAlchemyError as error:
            reason = str(getattr(error, "orig", error))
            raise LedgerUnusable(f"cannot write to the release ledger {self.path}: {reason}") from error
        seq = int(done.inserted_primary_key[0]) if done.inserted_primary_key else 0
        return Entry(seq=seq, at=now, kind=kind, subject=subject, body=dict(body), digest=digest)

    def entries(self, *, kind: str | None = None, subject: str | None = None) -> tuple[Entry, ...]:
        """Entries in the order they were recorded, of one kind and/or about one subject."""
        query = sa.select(_entries).order_by(_entries.c.seq)
        if kind is not None:
            query = query.where(_entries.c.kind == kind)
        if subject is not None:
            query = query.where(_entries.c.subject == subject)
        with self._engine.begin() as session:
            return tuple(_from_row(row) for row in session.execute(query))

    def verify(self) -> None:
        """Walk the whole chain; raises `LedgerDamaged` at the first entry that is not what was recorded."""
        previous = ""
        with self._engine.begin() as session:
            for row in session.execute(sa.select(_entries).order_by(_entries.c.seq)):
                if _chain(previous, row.at, row.kind, row.subject, row.body) != row.digest:
                    raise LedgerDamaged(f"{self.path}: entry {row.seq} ({row.kind}) is not what was recorded")
                previous = row.digest


def _from_row(row: sa.Row[Any]) -> Entry:
    return Entry(
        seq=row.seq,
        at=datetime.fromisoformat(row.at),
        kind=row.kind,
        subject=row.subject,
        body=json.loads(row.body),
        digest=row.digest,
    )


def _canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _chain(previous: str, at: str, kind: str, subject: str, body: str) -> str:
    text = json.dumps([CHAIN_RECIPE, previous, at, kind, subject, body], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

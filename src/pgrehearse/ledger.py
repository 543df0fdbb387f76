"""The release ledger: the append-only record of clones, receipts, approvals and promotions.

A SQLite file by default, or two tables in any PostgreSQL database for a team.  Rows are only ever added:
triggers refuse UPDATE and DELETE, and each row carries the digest of the one before it, so that a row changed
behind the triggers is noticed by `ReleaseLedger.verify`.  Beside the entries stand the leases, which come and go.
"""

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from pgrehearse.errors import LedgerDamaged, LedgerUnusable
from pgrehearse.postgres.connect import connect, scrub
from pgrehearse.postgres.conninfo import Conninfo

CHAIN_RECIPE = "pgrehearse-ledger-1"
BUSY_TIMEOUT_S = 30
NAMESPACE = "pgrehearse"  # which never counts as schema, should the database also be one that is migrated
APPEND_LOCK = 0x7067_7265_6C65_6467  # 'pgreledg': appenders and makers of the tables one after another

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
_leases = sa.Table(
    "leases",
    _metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("token", sa.Text, nullable=False),
    sa.Column("doing", sa.Text, nullable=False),
    # seconds since 1970 by the ledger's own clock
    sa.Column("since", sa.Double, nullable=False),
    sa.Column("until", sa.Double, nullable=False),
)
_NOW = {
    "sqlite": sa.text("(julianday('now') - 2440587.5) * 86400.0"),
    "postgresql": sa.text("extract(epoch FROM pg_catalog.clock_timestamp())::float8"),
}
_APPEND_ONLY = (
    "CREATE TRIGGER IF NOT EXISTS entries_are_not_updated BEFORE UPDATE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'the release ledger is append-only'); END",
    "CREATE TRIGGER IF NOT EXISTS entries_are_not_deleted BEFORE DELETE ON entries "
    "BEGIN SELECT RAISE(ABORT, 'the release ledger is append-only'); END",
)
# The owner could grant himself the rights back: this keeps mistakes away, the chain tells the rest.
_APPEND_ONLY_POSTGRESQL = (
    """
    CREATE FUNCTION pgrehearse.refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the release ledger is append-only'; END $$
    """,
    """
    CREATE TRIGGER entries_are_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON pgrehearse.entries
    FOR EACH STATEMENT EXECUTE FUNCTION pgrehearse.refuse_change()
    """,
    "REVOKE ALL ON pgrehearse.entries, pgrehearse.leases FROM PUBLIC",
    "REVOKE UPDATE, DELETE, TRUNCATE ON pgrehearse.entries FROM CURRENT_USER",
)
# What reading a body ends in that is not as it was written: never an error of its own, so damage is looked for.
_MISREAD = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One fact that was recorded."""

    seq: int
    at: datetime
    kind: str  # "clone-intended", "clone-dropped", "receipt" …
    subject: str  # what it is about: a clone's id, a receipt's digest
    body: Mapping[str, Any]
    digest: str  # over this entry and the digest of the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """An entry's place in the chain."""

    seq: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """Who holds a lease; times are the ledger's own."""

    name: str
    holder: str
    token: str
    doing: str
    since: datetime
    until: datetime
    has_ended: bool


class ReleaseLedger:
    """An open ledger.  Safe for several processes: appends come one after another.

    A context manager: where the work in it trips over what an entry holds, and the chain is broken, it raises
    `LedgerDamaged` in place of that.
    """

    def __init__(self, engine: sa.Engine, path: Path | Conninfo) -> None:
        self._engine = engine
        self._address = path if isinstance(path, Conninfo) else None
        self.path = path  # prints without secrets
        self._now = _NOW[engine.dialect.name]

    @classmethod
    def open(cls, place: Path | Conninfo | str, *, reading: bool = False) -> "ReleaseLedger":
        """Open or make the ledger: a file, readable by its owner only, or the tables of a PostgreSQL database.

        With ``reading`` a file that may not be written is opened as it is, and one that is not there is an empty
        ledger and is not made.  A string is a PostgreSQL URL where it looks like one.  Raises `LedgerUnusable`,
        `ServerUnreachable`.
        """
        if isinstance(place, str):
            place = Conninfo.parse(place) if place.startswith(("postgresql://", "postgres://")) else Path(place)
        if isinstance(place, Conninfo):
            return cls._open_database(place)
        if reading and not _may_write(place):
            return cls._read_file(place)
        return cls._open_file(place)

    @classmethod
    def _read_file(cls, path: Path) -> "ReleaseLedger":
        try:
            is_empty = path.stat().st_size == 0
        except FileNotFoundError:
            is_empty = True
        except OSError as error:
            raise LedgerUnusable(f"cannot read the release ledger {path}: {error.strerror}") from error
        if is_empty:  # not made yet, or by one that was killed before it recorded anything
            empty = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
            _metadata.create_all(empty)
            return cls(empty, path)
        # Not `immutable`: who may write it may be at it now, and what they left half-written is to be refused.
        address = f"file:{quote(str(path.absolute()))}?mode=ro"
        engine = sa.create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(address, uri=True, timeout=BUSY_TIMEOUT_S),
            poolclass=sa.pool.NullPool,
        )
        return cls(engine, path)

    @classmethod
    def _open_file(cls, path: Path) -> "ReleaseLedger":
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        except OSError as error:
            raise LedgerUnusable(f"cannot write the release ledger {path}: {error.strerror}") from error
        engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_TIMEOUT_S})
        # pysqlite would begin a deferred transaction by itself; two appenders would then read the same last digest.
        sa.event.listen(engine, "connect", lambda raw, _record: setattr(raw, "isolation_level", None))
        sa.event.listen(engine, "begin", lambda session: session.exec_driver_sql("BEGIN IMMEDIATE"))
        ledger = cls(engine, path)
        with ledger._session("cannot be used as a release ledger") as session:
            _metadata.create_all(session)
            for statement in _APPEND_ONLY:
                session.exec_driver_sql(statement)
        return ledger

    @classmethod
    def _open_database(cls, conninfo: Conninfo) -> "ReleaseLedger":
        # No pool: a connection that was lost meanwhile would be found out by the append that must not fail.
        engine = sa.create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect(conninfo, verb="ledger", autocommit=False),
            poolclass=sa.pool.NullPool,
        ).execution_options(schema_translate_map={None: NAMESPACE})
        ledger = cls(engine, conninfo)
        with ledger._session("cannot be used as a release ledger") as session:
            if not sa.inspect(session).has_table("entries", schema=NAMESPACE):
                session.execute(sa.select(sa.func.pg_advisory_xact_lock(APPEND_LOCK)))
                if not sa.inspect(session).has_table("entries", schema=NAMESPACE):
                    if not sa.inspect(session).has_schema(NAMESPACE):
                        session.execute(sa.schema.CreateSchema(NAMESPACE))
                    _metadata.create_all(session)
                    for statement in _APPEND_ONLY_POSTGRESQL:
                        session.exec_driver_sql(statement)
        return ledger

    @contextmanager
    def _session(self, what_fails: str) -> Iterator[sa.Connection]:
        """One transaction; a failure tells the reason without a secret."""
        try:
            with self._engine.begin() as session:
                yield session
        except sa.exc.SQLAlchemyError as error:
            reason = str(getattr(error, "orig", error)).strip()
            if self._address is not None:
                reason = scrub(reason, self._address)
            raise LedgerUnusable(f"the release ledger {self.path} {what_fails}: {reason}") from error

    @property
    def place(self) -> str:
        """Where it is, for people: the file's path, or host/database."""
        return str(self.path)

    def __enter__(self) -> "ReleaseLedger":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, _MISREAD) and (damaged := self._find_damage()) is not None:
                raise damaged from error
        finally:
            self.close()

    def _find_damage(self) -> LedgerDamaged | None:
        try:
            self.verify()
        except LedgerDamaged as damaged:
            return damaged
        except LedgerUnusable:
            pass
        return None

    def close(self) -> None:
        self._engine.dispose()

    def append(self, kind: str, subject: str, body: Mapping[str, Any], now: datetime) -> Entry:
        """Record one fact; ``body`` must be JSON.  Durable when this returns.  Raises `LedgerUnusable`."""
        entry = self._append(kind, subject, body, now, lease=None)
        assert entry is not None
        return entry

    def append_under(
        self, lease: str, token: str, kind: str, subject: str, body: Mapping[str, Any], now: datetime
    ) -> Entry | None:
        """The same, if the lease is this token's at that very moment; None: it is another's by now, or nobody's."""
        return self._append(kind, subject, body, now, lease=(lease, token))

    def _append(
        self, kind: str, subject: str, body: Mapping[str, Any], now: datetime, *, lease: tuple[str, str] | None
    ) -> Entry | None:
        at, text = now.isoformat(), _canonical(body)
        with self._session("cannot be written") as session:
            if self._address is not None:
                session.execute(sa.select(sa.func.pg_advisory_xact_lock(APPEND_LOCK)))
            if lease is not None and not self._is_held(session, *lease):
                return None
            previous = session.scalar(sa.select(_entries.c.digest).order_by(_entries.c.seq.desc()).limit(1))
            digest = _chain(previous or "", at, kind, subject, text)
            row = {"at": at, "kind": kind, "subject": subject, "body": text, "digest": digest}
            done = session.execute(_entries.insert().values(row))
        seq = int(done.inserted_primary_key[0]) if done.inserted_primary_key else 0
        return Entry(seq=seq, at=now, kind=kind, subject=subject, body=dict(body), digest=digest)

    def entries(self, *, kind: str | None = None, subject: str | None = None) -> tuple[Entry, ...]:
        """Entries in the order they were recorded, of one kind and/or about one subject."""
        query = sa.select(_entries).order_by(_entries.c.seq)
        if kind is not None:
            query = query.where(_entries.c.kind == kind)
        if subject is not None:
            query = query.where(_entries.c.subject == subject)
        with self._session("cannot be read") as session:
            return tuple(self._from_row(row) for row in session.execute(query))

    def _from_row(self, row: sa.Row[Any]) -> Entry:
        try:
            at, body = datetime.fromisoformat(row.at), json.loads(row.body)
        except (TypeError, ValueError, RecursionError) as error:  # TypeError: bytes, where our text was
            raise LedgerDamaged(f"{self.path}: entry {row.seq} ({row.kind}) cannot be read: {error}") from error
        if not isinstance(body, dict):
            raise LedgerDamaged(f"{self.path}: entry {row.seq} ({row.kind}) is no JSON object")
        return Entry(seq=row.seq, at=at, kind=row.kind, subject=row.subject, body=body, digest=row.digest)

    def read_ends(self) -> tuple["Link", "Link"] | None:
        """The chain's first and newest link; None where nothing is recorded yet."""
        links = sa.select(_entries.c.seq, _entries.c.digest)
        with self._session("cannot be read") as session:
            first = session.execute(links.order_by(_entries.c.seq).limit(1)).one_or_none()
            newest = session.execute(links.order_by(_entries.c.seq.desc()).limit(1)).one_or_none()
        if first is None or newest is None:
            return None
        return Link(seq=first.seq, digest=first.digest), Link(seq=newest.seq, digest=newest.digest)

    def digests_of(self, numbers: Sequence[int]) -> dict[int, str]:
        """The digests of the entries with these numbers, of those that there are."""
        links = sa.select(_entries.c.seq, _entries.c.digest).where(_entries.c.seq.in_(numbers))
        with self._session("cannot be read") as session:
            return {row.seq: row.digest for row in session.execute(links)}

    def verify(self) -> None:
        """Walk the whole chain; raises `LedgerDamaged` at the first entry that is not what was recorded.

        Reads everything: 0.3 s for 10,000 entries of 28 MB in a file.

        Entries taken away from the end leave a chain that holds.  A file's numbers have no gaps, so there they are
        missed; a database's have, since a number that was drawn for a failed append is not given back.  What production
        remembers tells of it (`pgrehearse.release.anchor`).
        """
        previous, number = "", 0
        with self._session("cannot be read") as session:
            every = sa.select(_entries).order_by(_entries.c.seq).execution_options(yield_per=100)
            with session.execute(every) as rows:  # closes a server's cursor where a row is not as it was
                for row in rows:
                    if _chain(previous, row.at, row.kind, row.subject, row.body) != row.digest:
                        raise LedgerDamaged(f"{self.path}: entry {row.seq} ({row.kind}) is not what was recorded")
                    if self._address is None and row.seq != number + 1:
                        raise LedgerDamaged(
                            f"{self.path}: what was recorded before entry {row.seq} ({row.kind}) is gone"
                        )
                    previous, number = row.digest, row.seq
            if self._address is None:
                drawn = session.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").scalar()
                if (drawn or 0) != number:
                    raise LedgerDamaged(f"{self.path}: what was recorded after entry {number} is gone")

    # --- leases ------------------------------------------------------------------------------------------

    def try_lease(self, name: str, *, holder: str, token: str, ttl_s: float, doing: str) -> LeaseRow:
        """Take the lease, or renew the one of this token; hands back what is there then: another token means no."""
        with self._session("cannot be written") as session:
            now = float(session.scalar(sa.select(self._now)) or 0)
            if self._address is not None:
                session.execute(sa.select(sa.func.pg_advisory_xact_lock(APPEND_LOCK)))
            found = session.execute(sa.select(_leases).where(_leases.c.name == name)).one_or_none()
            if found is not None and found.token != token and found.until > now:
                return _lease_from(found, now)
            since = found.since if found is not None and found.token == token else now
            row = {"holder": holder, "token": token, "doing": doing, "since": since, "until": now + ttl_s}
            if found is None:
                session.execute(_leases.insert().values(name=name, **row))
            else:
                session.execute(_leases.update().where(_leases.c.name == name).values(**row))
            return _lease_from(session.execute(sa.select(_leases).where(_leases.c.name == name)).one(), now)

    def renew_lease(self, name: str, *, token: str, ttl_s: float, doing: str) -> bool:
        """False: it is another's by now, or nobody's."""
        with self._session("cannot be written") as session:
            now = float(session.scalar(sa.select(self._now)) or 0)
            done = session.execute(
                _leases.update()
                .where(_leases.c.name == name, _leases.c.token == token, _leases.c.until > now)
                .values(doing=doing, until=now + ttl_s)
            )
            return done.rowcount == 1

    def _is_held(self, session: sa.Connection, name: str, token: str) -> bool:
        """In a transaction in which nobody else can take it: by the clock behind the wait for that."""
        now = float(session.scalar(sa.select(self._now)) or 0)
        held = sa.select(_leases.c.name).where(_leases.c.name == name, _leases.c.token == token, _leases.c.until > now)
        return session.execute(held).one_or_none() is not None

    def release_lease(self, name: str, *, token: str) -> None:
        """Give it back; one that is another's by now is left alone."""
        with self._session("cannot be written") as session:
            session.execute(_leases.delete().where(_leases.c.name == name, _leases.c.token == token))

    def read_lease(self, name: str) -> LeaseRow | None:
        """Who holds it, or held it last; None where nobody does."""
        with self._session("cannot be read") as session:
            now = float(session.scalar(sa.select(self._now)) or 0)
            found = session.execute(sa.select(_leases).where(_leases.c.name == name)).one_or_none()
            return None if found is None else _lease_from(found, now)


def _may_write(path: Path) -> bool:
    """Whether SQLite could: it makes a journal beside the file."""
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)


def _lease_from(row: sa.Row[Any], now: float) -> LeaseRow:
    return LeaseRow(
        name=row.name,
        holder=row.holder,
        token=row.token,
        doing=row.doing,
        since=datetime.fromtimestamp(row.since, UTC),
        until=datetime.fromtimestamp(row.until, UTC),
        has_ended=row.until <= now,
    )


def _canonical(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=True, sort_keys=True, separators=(",", ":"))


def _chain(previous: str, at: str, kind: str, subject: str, body: str) -> str:
    parts = [CHAIN_RECIPE, previous, at, kind, subject, body]
    # What SQLite keeps in place of our text, bytes perhaps, is put in too, and so found to be another text.
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"), default=repr)
    return hashlib.sha256(text.encode()).hexdigest()

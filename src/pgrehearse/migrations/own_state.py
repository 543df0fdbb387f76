"""What the running transaction holds, has read and has written so far, asked by the session that runs it.

Several observers want to know; one who shares this with the others asks for all of them.
"""

from dataclasses import dataclass, field

from pgrehearse.migrations.observer import Running
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.postgres.prepared import PreparedQueries

CAN_FLUSH = 150000
FIRST_OWN_OID = 16384  # FirstNormalObjectId: what is below came with initdb

Written = tuple[int, int, int]  # rows inserted, updated, deleted


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One relation of a user that the transaction holds a lock on.  Dropped, it has neither file nor size."""

    oid: int
    modes: tuple[str, ...]
    written_as: str | None  # the namespace.relation whose rows these are, a partition's its root's; only of a table
    rows_read: int
    rows_written: Written
    file: int | None
    size_bytes: int | None
    index_files: tuple[int, ...]
    has_deferrable_trigger: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """Which relations the transaction holds locks on, of whatever kind, there or dropped by itself."""

    oids: tuple[int, ...]
    gone: tuple[int, ...]  # those among them that it dropped
    by_hand: bool  # a catalog is locked as by somebody who writes its rows with DML
    composite: bool  # the relation of a composite type is among them


@dataclass(frozen=True, slots=True, kw_only=True)
class AtBegin:
    """Where the counters stood before the transaction's first statement, and what it held already."""

    rows_read: dict[int, int] = field(default_factory=dict)
    rows_written: dict[int, Written] = field(default_factory=dict)
    locks: tuple[tuple[int, str], ...] = ()  # relation, mode


class OwnState:
    """Asks once for each moment, however many observers share this.  Cost: a round trip for each statement.

    ``exclusive``: only these observers look on, so that nothing else is read or written beside the statements.  Then
    the session hands its counters over as each transaction ends, and need not be asked where the next one begins.
    """

    def __init__(self, *, exclusive: bool = False) -> None:
        self._exclusive = exclusive
        self._queries = PreparedQueries(named_queries(__file__))
        self._begun: AtBegin | None = None
        self._asked_after: Running | None = None
        self._held: tuple[Held, ...] = ()
        self.locks: Locks | None = None  # as of the last question in this transaction
        self._flushes: Connection | None = None  # the session that hands its counters over when its transaction ends
        self._flushed: Connection | None = None  # the session that has, and has run nothing since

    def at_begin(self, session: Connection) -> AtBegin:
        """Before the transaction's first statement; asks nothing where the last transaction left no counters."""
        if self._begun is None:
            if self._flushed is session:
                self._begun = AtBegin()
            else:
                counted, locks = self._queries.read(session, ("counted", ()), ("locks", ()))
                self._begun = AtBegin(
                    rows_read={oid: read for oid, read, *_ in counted},
                    rows_written={oid: (new, changed, gone) for oid, _, new, changed, gone in counted},
                    locks=tuple((oid, mode) for oid, mode in locks),
                )
            self._flushes = self._flushed = None
        return self._begun

    def after(self, running: Running) -> tuple[Held, ...]:
        """Right after this statement, inside its transaction."""
        if self._asked_after is not running:
            self._held = self.now(running.session)
            self._asked_after = running
        return self._held

    def now(self, session: Connection) -> tuple[Held, ...]:
        """At this moment, whatever was asked before."""
        flushes = self._exclusive and session.info.server_version >= CAN_FLUSH
        rows = self._queries.read(session, ("held", ()), *([("flush", ())] if flushes else []))[0]
        self._flushes = session if flushes else None
        self.locks = Locks(
            oids=tuple(row[0] for row in rows if row[0] >= FIRST_OWN_OID),
            gone=tuple(row[0] for row in rows if row[8] is None),  # it has no size
            by_hand=any(row[0] < FIRST_OWN_OID for row in rows),
            composite=any(composite for *_, composite in rows),
        )
        return tuple(
            Held(
                oid=oid, modes=tuple(modes), written_as=written_as, rows_read=read, rows_written=(new, changed, gone),
                file=file, size_bytes=size, index_files=tuple(index_files or ()),
                has_deferrable_trigger=deferrable,
            )
            for oid, modes, written_as, read, new, changed, gone, file, size, index_files, deferrable, traced, _ in rows
            if traced
        )  # fmt: skip

    def ended(self, *, committed: bool) -> None:
        """The transaction is over; each observer may say so."""
        self._begun = self._asked_after = self.locks = None
        self._flushed = self._flushes if committed else None

    def ran_outside(self) -> None:
        """A statement ran by itself: what it counted is not handed over yet."""
        self._flushes = self._flushed = self.locks = None

"""What each commit of a plan did, written down before it: every statement's rows, and the catalog afterwards.

The same recorder watches on the clone, for the receipt, and in production, where the promotion holds what it
reads against the receipt.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pglast
from psycopg import sql

from pgrehearse.migrations.observer import NoObserver, Running, StatementError
from pgrehearse.migrations.own_state import Held, OwnState, Written
from pgrehearse.migrations.segments import CONTROL, Segment
from pgrehearse.migrations.statements import Statement
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.schema.catalog_evidence import (
    CatalogEvidence,
    OwnEvidence,
    evidence_between,
    read_all_evidence,
)

_QUERIES = named_queries(__file__)
_COUNT = "SELECT pg_catalog.count(*) FROM {only}{relation}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RowsWritten:
    """Rows that one statement wrote in one table, by whatever way: itself, a cascade, a trigger, a function."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0  # by TRUNCATE too, as counted just before it

    def __add__(self, other: "RowsWritten") -> "RowsWritten":
        return RowsWritten(
            inserted=self.inserted + other.inserted,
            updated=self.updated + other.updated,
            deleted=self.deleted + other.deleted,
        )

    def without_moves(self, kind: str) -> "RowsWritten":
        """An UPDATE that moves rows to another partition counts them as deleted and inserted: they are updated."""
        if kind != "UpdateStmt" or self.inserted != self.deleted:
            return self
        return RowsWritten(updated=self.updated + self.deleted)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRows:
    """One statement and the rows that it wrote."""

    version: str  # of its migration
    index: int  # 0-based in its file
    line: int
    rows: int | None  # what the server answered: "DELETE 12"
    written: Mapping[str, RowsWritten]  # by namespace.relation, a partition's under its root; only where any were

    @property
    def key(self) -> tuple[str, int]:
        return (self.version, self.index)

    def as_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "index": self.index,
            "line": self.line,
            "rows": self.rows,
            "written": _written_json(self.written),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "StatementRows":
        return cls(
            version=body["version"],
            index=body["index"],
            line=body["line"],
            rows=body["rows"],
            written=_written_from(body["written"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitEvidence:
    """What was known just before a COMMIT; of a statement outside transactions, just after it."""

    outside: bool
    statements: tuple[StatementRows, ...]
    catalog: CatalogEvidence
    at_commit: Mapping[str, RowsWritten] = field(default_factory=dict)  # by deferred triggers

    @property
    def last(self) -> tuple[str, int]:
        """Version and index of its last statement, by which it is found again."""
        return self.statements[-1].key

    def as_json(self) -> dict[str, Any]:
        return {
            "outside": self.outside,
            "statements": [statement.as_json() for statement in self.statements],
            "catalog": self.catalog.as_json(),
            "at_commit": _written_json(self.at_commit),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "CommitEvidence":
        return cls(
            outside=body["outside"],
            statements=tuple(StatementRows.from_json(each) for each in body["statements"]),
            catalog=CatalogEvidence.from_json(body["catalog"]),
            at_commit=_written_from(body["at_commit"]),
        )


def _written_json(written: Mapping[str, RowsWritten]) -> dict[str, list[int]]:
    return {name: [found.inserted, found.updated, found.deleted] for name, found in sorted(written.items())}


def _written_from(body: Mapping[str, Any]) -> dict[str, RowsWritten]:
    return {
        name: RowsWritten(inserted=inserted, updated=updated, deleted=deleted)
        for name, (inserted, updated, deleted) in body.items()
    }


@dataclass(slots=True)
class _Open:
    """The running transaction so far."""

    so_far: dict[int, Written]  # by oid
    statements: list[StatementRows] = field(default_factory=list)
    has_deferrable_triggers: bool = False  # on a relation that it holds
    emptied: Counter[str] = field(default_factory=Counter)  # by the TRUNCATE that comes next


class CommitRecorder(NoObserver):
    """An observer that writes down each commit.  Opens one session of its own; `close` ends it.

    ``ignored`` relations do not count (the migration ledger).  ``alone``: nobody else changes the database's catalogs
    meanwhile, so what was committed before is known from the last look.  ``state`` may be shared with other observers.
    Cost: a round trip per statement and one per commit (three where not alone), about 1 ms each, a count of the
    table for each TRUNCATE, and around a statement outside transactions two looks at the whole catalog.
    """

    def __init__(
        self,
        look: Callable[[], Connection],
        *,
        ignored: frozenset[str] = frozenset(),
        state: OwnState | None = None,
        alone: bool = False,
    ) -> None:
        self._state = state or OwnState()
        self._own_evidence = OwnEvidence(ignored=ignored, alone=alone)
        self.commits: list[CommitEvidence] = []
        self._look = look()
        self._ignored = ignored
        self._open: _Open | None = None
        self._ready: CommitEvidence | None = None
        self._before_outside: CatalogEvidence | None = None

    def close(self) -> None:
        self._look.close()

    # --- the observer's part ---------------------------------------------------------------------------

    def transaction_begun(self, session: Connection, segment: Segment) -> None:
        self._open = _Open(so_far=dict(self._state.at_begin(session).rows_written))

    def before(self, running: Running) -> None:
        if running.outside and running.statement.need not in CONTROL:
            self._state.ran_outside()
            self._own_evidence.forget()
            self._look_before_outside(running)
        elif running.in_transaction and self._open is not None and running.statement.kind == "TruncateStmt":
            self._open.emptied = count_truncated(running.session, running.statement)

    def after(
        self, running: Running, *, duration_ms: float, rows_affected: int | None, error: StatementError | None
    ) -> None:
        if error is not None or running.statement.need in CONTROL:
            return
        written: dict[str, RowsWritten] = {}
        if running.in_transaction and self._open is not None:
            written = self._read_written(self._state.after(running), self._open)
        statement = StatementRows(
            version=running.migration.version,
            index=running.statement.index,
            line=running.statement.line,
            rows=rows_affected,
            written=written,
        )
        if running.outside:
            found = CommitEvidence(outside=True, statements=(statement,), catalog=self._look_after_outside(statement))
            self._finish(running.session, found)
            self.commits.append(found)
        elif self._open is not None:
            self._open.statements.append(statement)
            self._saw_statement(running, statement)

    def before_commit(self, session: Connection) -> None:
        if self._open is None or not self._open.statements:
            return
        at_commit: dict[str, RowsWritten] = {}
        if self._open.has_deferrable_triggers:
            session.execute("SET CONSTRAINTS ALL IMMEDIATE")  # what they would do at COMMIT counts too
            at_commit = self._read_written(self._state.now(session), self._open)
        catalog = self._own_evidence.read(session, self._look, names=self._names_to_read(), locks=self._state.locks)
        self._ready = CommitEvidence(
            outside=False, statements=tuple(self._open.statements), catalog=catalog, at_commit=at_commit
        )
        self._finish(session, self._ready)

    def transaction_ended(self, *, committed: bool) -> None:
        self._state.ended(committed=committed)
        self._own_evidence.ended(committed=committed)
        ready, self._ready, self._open = self._ready, None, None
        if committed and ready is not None:
            self.commits.append(ready)

    # --- what a promotion does otherwise -----------------------------------------------------------------

    def _names_to_read(self) -> Sequence[str]:
        """Relations to read beside those that the transaction holds locks on."""
        return ()

    def _saw_statement(self, running: Running, statement: StatementRows) -> None:
        """After a statement inside a transaction; raising rolls it back."""

    def _finish(self, session: Connection, found: CommitEvidence) -> None:
        """Just before the COMMIT; raising rolls back."""

    def _look_before_outside(self, running: Running) -> None:
        self._before_outside = read_all_evidence(self._look, ignored=self._ignored)

    def _look_after_outside(self, statement: StatementRows) -> CatalogEvidence:
        assert self._before_outside is not None
        return evidence_between(self._before_outside, read_all_evidence(self._look, ignored=self._ignored))

    # --- details ---------------------------------------------------------------------------------------

    @staticmethod
    def _read_written(now: Iterable[Held], transaction: _Open) -> dict[str, RowsWritten]:
        found: dict[str, RowsWritten] = {}
        for held in now:
            transaction.has_deferrable_triggers |= held.has_deferrable_trigger
            if held.written_as is None:
                continue
            before = transaction.so_far.get(held.oid, (0, 0, 0))
            transaction.so_far[held.oid] = held.rows_written
            # TRUNCATE puts the counters of its transaction back to nothing.
            new = [max(count - then, 0) for count, then in zip(held.rows_written, before, strict=True)]
            if any(new):
                rows = RowsWritten(inserted=new[0], updated=new[1], deleted=new[2])
                found[held.written_as] = found.get(held.written_as, RowsWritten()) + rows
        for name, count in transaction.emptied.items():
            found[name] = found.get(name, RowsWritten()) + RowsWritten(deleted=count)
        transaction.emptied = Counter()
        return found


def count_truncated(session: Connection, statement: Statement) -> Counter[str]:
    """The rows that a TRUNCATE is about to remove, by table; nothing where a table is not there.  Reads them all."""
    tree = pglast.parse_sql(statement.text)[0].stmt
    only = {not named.inh for named in tree.relations} == {True}
    names = [
        sql.Identifier(*(part for part in (named.schemaname, named.relname) if part)).as_string(session)
        for named in tree.relations
    ]
    cascade = tree.behavior == pglast.enums.DropBehavior.DROP_CASCADE
    found: Counter[str] = Counter()
    for namespace, name, root in session.execute(
        _QUERIES["truncated"], {"names": names, "cascade": cascade}
    ).fetchall():
        query = sql.SQL(_COUNT).format(only=sql.SQL("ONLY " if only else ""), relation=sql.Identifier(namespace, name))
        row = session.execute(query).fetchone()
        found[root] += row[0] if row is not None else 0
    return Counter({name: count for name, count in found.items() if count})

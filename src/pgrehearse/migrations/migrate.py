"""Bring one database that is not protected up to its folder: guards first, then `apply`."""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pgrehearse.errors import LedgerUnreadable, NotReadyToMigrate, ProtectedEnvironment, ServerUnreachable
from pgrehearse.migrations.applied import Applied
from pgrehearse.migrations.apply import apply
from pgrehearse.migrations.limits import Limits, TransactionMode
from pgrehearse.migrations.migration import Plan
from pgrehearse.migrations.runner_lock import take_turn
from pgrehearse.migrations.secrets import redact
from pgrehearse.migrations.segments import PendingFile, Segment, compile_segments
from pgrehearse.migrations.sources.source import Problem, ProblemKind, Severity, Source
from pgrehearse.migrations.standing import Resolution
from pgrehearse.migrations.statements import split_file
from pgrehearse.migrations.status import Status, read_status
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import same_database
from pgrehearse.postgres.pooler import require_session

FORMAT = 1
POLL_S = 0.1
NOT_COMPARED = "whether it is the database that is migrated here, nobody can tell"
# Running what is pending on top of these would fail half-way or bury the disagreement.
_STOPS = frozenset(
    {
        ProblemKind.EDITED, ProblemKind.PRESENT, ProblemKind.HALF_PRESENT, ProblemKind.ENTRY_WITHOUT_FILE,
        ProblemKind.UNFINISHED_WITHOUT_FILE,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    """What `migrate` did, or with ``dry_run`` would do."""

    database: str  # host/database
    plan: Plan
    segments: tuple[Segment, ...]  # as compiled before anything ran
    problems: tuple[Problem, ...]  # of the folder and its ledger; none that stops us
    applied: Applied | None  # None: a dry run

    def as_json(self) -> dict[str, Any]:
        """The ``migrate`` answer (``answers/migrate.schema.json``)."""
        applied = self.applied
        return {
            "format": FORMAT,
            "database": self.database,
            "dry_run": applied is None,
            "plan": {
                "digest": self.plan.digest,
                "migrations": [
                    {"version": each.version, "path": each.path, "sha256": each.sha256} for each in self.plan.migrations
                ],
            },
            "segments": [_segment_json(segment) for segment in self.segments],
            "applied": list(applied.applied) if applied else [],
            "already_applied": list(applied.already_applied) if applied else [],
            "resumed": list(applied.resumed) if applied else [],
            "left_out": [
                {"version": each.version, "line": each.line, "reason": each.reason}
                for each in (applied.left_out if applied else ())
            ],
            "retries": applied.retries if applied else 0,
            "waited_ms": round(applied.waited_ms, 1) if applied else 0.0,
            "problems": [problem.as_json() for problem in self.problems],
        }


def migrate(
    database: Conninfo,
    source: Source,
    *,
    protected: Iterable[Conninfo] = (),
    mode: TransactionMode = TransactionMode.AUTO,
    limits: Limits | None = None,
    dry_run: bool = False,
    end_orphan: bool = False,
    resolve: Mapping[str, Resolution] | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Migrated:
    """Apply what is pending of ``source``; with ``dry_run`` only read.

    ``protected`` are addresses that must not be written to: each is asked by handshake whether it is
    this very database.  One that cannot be reached cannot be compared: that is told, and the caller
    refuses by name and address first.  Raises `ProtectedEnvironment`, `NotReadyToMigrate`, `PoolerRefused`, and what
    `apply` raises.
    """
    require_session(database)
    source.require_whole()
    with connect(database, verb="migrate") as session:
        if not dry_run:
            _refuse_protected(session, database, protected, tell)
        status = _read_status_after_others(
            session, source, wait_s=(limits or Limits()).wait_s, end_orphan=end_orphan and not dry_run, tell=tell
        )
    stopping = [problem for problem in status.problems if problem.kind in _STOPS and problem.severity is Severity.ERROR]
    if stopping:
        raise NotReadyToMigrate("\n".join(problem.message for problem in stopping), remedy=stopping[0].remedy)
    plan = status.pending
    files = [
        PendingFile(migration=each, statements=split_file(each.content, path=each.path, kind=each.kind))
        for each in plan.migrations
    ]
    segments = compile_segments(files, mode)
    applied = None
    if not dry_run:
        applied = apply(
            lambda verb: connect(database, verb=verb),
            plan,
            ledger=source.ledger,
            mode=mode,
            limits=limits,
            end_orphan=end_orphan,
            resolve=resolve,
            tell=tell,
        )
    return Migrated(database=database.address, plan=plan, segments=segments, problems=status.problems, applied=applied)


def _read_status_after_others(
    session: Connection, source: Source, *, wait_s: float, end_orphan: bool, tell: Callable[[str], None]
) -> Status:
    """The status, once no other run holds the ledger's table; `LedgerUnreadable` when that takes too long.

    An orphan of a killed run holds drizzle's table too, so it is ended here, not only when we apply.
    """
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        try:
            return read_status(session, source)
        except LedgerUnreadable as error:
            if not source.ledger.holders(session) or time.monotonic() >= deadline:
                raise
            if end_orphan:
                with take_turn(session, wait_s=max(deadline - time.monotonic(), 0), end_orphan=True, tell=tell):
                    pass  # what was ours and held it is ended now; anybody else is waited for
            elif not told:
                tell(f"waiting: {error}")
                told = True
        time.sleep(POLL_S)


def _refuse_protected(
    session: Connection, database: Conninfo, protected: Iterable[Conninfo], tell: Callable[[str], None]
) -> None:
    for address in protected:
        try:
            with connect(address, verb="handshake") as other:
                same = same_database(session, other, secrets.randbits(64))
        except ServerUnreachable as error:
            tell(f"note: {address.address} is protected, and could not be asked: {NOT_COMPARED} ({error})")
            continue
        if same:
            raise ProtectedEnvironment(
                f"{database.address} is the protected database {address.address} by another name"
            )


def _segment_json(segment: Segment) -> dict[str, Any]:
    return {
        "kind": segment.kind.value,
        "statements": [
            {
                "file": part.migration.path,
                "line": statement.line,
                "sql": redact(statement.text, statement.kind),
            }
            for part in segment.parts
            for statement in part.statements
        ],
    }

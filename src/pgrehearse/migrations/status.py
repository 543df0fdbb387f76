"""What is applied, pending, edited, skipped or missing: a migrations folder compared with one database.  Read-only."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

import psycopg

from pgrehearse.errors import LedgerUnreadable
from pgrehearse.migrations.creations import Creations, DatabaseObject, find_creations
from pgrehearse.migrations.drizzle_ledger import DEFAULT_TABLE
from pgrehearse.migrations.migration import Migration, Plan, SourceKind
from pgrehearse.migrations.migration_ledger import LedgerRow, MigrationLedger
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.migrations.presence import Presence, read_creation_namespace, read_presence
from pgrehearse.migrations.progress import Progress, ProgressTable
from pgrehearse.migrations.runner_lock import TURN, WORK, read_holders
from pgrehearse.migrations.sources import Problem, ProblemKind, Severity, Source
from pgrehearse.migrations.status_problems import (
    edited,
    folder_renamed_or_moved,
    half_present,
    ledger_elsewhere,
    out_of_order,
    present,
    recorded_twice,
    row_without_file,
    row_without_name,
    skipped,
    unfinished,
    unfinished_ad_hoc,
    unfinished_without_file,
)
from pgrehearse.postgres.connect import Connection

FORMAT = 1
LOCK_TIMEOUT = "1s"  # a reader that waits stands in the way of the run it waits for
_LEDGERS_ELSEWHERE = """
SELECT n.nspname::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %s AND c.relkind IN ('r', 'p') ORDER BY 1
"""


class State(Enum):
    """Where one migration of the folder stands in this database."""

    APPLIED = "applied"
    PENDING = "pending"
    EDITED = "edited"  # applied, and its bytes (or its place) changed since
    SKIPPED = "skipped"  # pending, and drizzle 0.31 will never run it: below its watermark
    PRESENT = "present"  # not recorded, and everything that it creates exists
    HALF_PRESENT = "half-present"
    UNFINISHED = "unfinished"  # a run of ours ended in the middle of it


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """One migration of the folder."""

    migration: Migration
    state: State
    applied_at: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "version": self.migration.version,
            "name": self.migration.name,
            "path": self.migration.path,
            "sha256": self.migration.sha256,
            "state": self.state.value,
            "applied_at": self.applied_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The whole comparison."""

    kind: SourceKind
    path: str
    ledger_table: str
    ledger_exists: bool
    migrations: tuple[MigrationStatus, ...]  # in the order in which the source's own tool runs them
    ad_hoc: tuple[LedgerRow, ...]  # single files recorded in our own ledger, oldest first
    problems: tuple[Problem, ...]

    @property
    def pending(self) -> Plan:
        """What is not applied, in order: also what drizzle would skip, and what is there without a record.

        Edited migrations are applied and not in it.
        """
        return Plan.of(each.migration for each in self.migrations if each.state not in (State.APPLIED, State.EDITED))

    @property
    def is_well(self) -> bool:
        """No problem that makes the answer no; there may be pending migrations."""
        return not any(problem.severity is Severity.ERROR for problem in self.problems)

    def exit_code(self, *, check: bool = False) -> int:
        """0 well or merely pending, 1 otherwise; with ``check`` also 1 when anything is pending."""
        return 1 if not self.is_well or (check and self.pending.migrations) else 0

    @property
    def counts(self) -> dict[str, int]:
        """Migrations by state; every state is named."""
        return {state.value: sum(each.state is state for each in self.migrations) for state in State}

    def as_json(
        self,
        *,
        environment: str | None,
        database: str,
        gate: Mapping[str, Any] | None = None,
        under_way: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """The ``status`` answer (``answers/status.schema.json``); ``gate`` where a receipt was held against it."""
        plan = self.pending
        return {
            "format": FORMAT,
            "environment": environment,
            "database": database,
            "source": {"kind": self.kind.value, "path": self.path},
            "ledger": {"table": self.ledger_table, "exists": self.ledger_exists},
            "well": self.is_well,
            "counts": self.counts,
            "migrations": [each.as_json() for each in self.migrations],
            "plan": {"digest": plan.digest, "versions": [each.version for each in plan.migrations]}
            if plan.migrations
            else None,
            "ad_hoc": [
                {"file": row.name or "", "sha256": row.sha256, "applied_at": row.applied_at} for row in self.ad_hoc
            ],
            "problems": [problem.as_json() for problem in self.problems],
            "under_way": under_way,
            "gate": gate,
        }


def read_status(connection: Connection, source: Source) -> Status:
    """Compare the source with this database, in one read-only transaction of a session in autocommit.

    Takes ACCESS SHARE on the ledgers for a moment, and writes nothing: a role with SELECT on the ledger
    is enough, and a standby will do.  Raises `LedgerUnreadable` (exit 3) without that right or while
    migrations are being applied, `MalformedLedger` (exit 2) where the table is none of the tool's.
    """
    with _read_only(connection):
        _refuse_while_applying(connection, source.ledger)
        rows = source.ledger.read(connection)
        exists = source.ledger.exists(connection)
        status = compare_status(
            source,
            rows,
            ledger_exists=exists,
            ad_hoc=OwnLedger(kind=SourceKind.AD_HOC).read(connection),
            progress=_read_progress(connection, source.kind, source.ledger),
            at_work=_read_run_at_work(connection),
        )
        problems = list(status.problems)
        if source.kind is not SourceKind.AD_HOC and _read_run_at_work(connection) is None:
            single = _read_progress(connection, SourceKind.AD_HOC, OwnLedger(kind=SourceKind.AD_HOC))
            problems += map(unfinished_ad_hoc, single.values())
        if not exists and source.kind in (SourceKind.DRIZZLE_JOURNAL, SourceKind.DRIZZLE_FOLDER):
            elsewhere = [namespace for (namespace,) in connection.execute(_LEDGERS_ELSEWHERE, (DEFAULT_TABLE,))]
            problems += [ledger_elsewhere(source.ledger.table, namespace, DEFAULT_TABLE) for namespace in elsewhere]
        creations = find_creations(
            [each.migration for each in status.migrations if each.state in (State.APPLIED, State.EDITED)],
            [each.migration for each in status.migrations if each.state in (State.PENDING, State.SKIPPED)],
            creation_namespace=read_creation_namespace(connection),
        )
        found = read_presence(connection, [thing for each in creations.values() for thing in each.objects])
    return add_presence(replace(status, problems=tuple(problems)), creations, found, ledger=source.ledger)


def compare_status(
    source: Source,
    rows: Sequence[LedgerRow],
    *,
    ledger_exists: bool = True,
    ad_hoc: tuple[LedgerRow, ...] = (),
    progress: Mapping[str, Progress] | None = None,
    at_work: str | None = None,
) -> Status:
    """The comparison of the folder with the ledger's rows.  Pure.

    A row speaks of a migration by its place (drizzle 0.31: ``created_at``; 1.0: name; ours: number), and says
    that it is applied when the hash agrees too.  A row that speaks of none, with the hash of a migration
    that no row speaks of, is that migration under another place.  ``at_work`` names the session of a run of
    ours that is going on: what looks unfinished is then only not finished yet.
    """
    ledger = source.ledger
    of_migration = {
        migration.version: [row for row in rows if ledger.names(row, migration)] for migration in source.migrations
    }
    spoken_for = [row for found in of_migration.values() for row in found]
    strangers = [row for row in rows if row not in spoken_for]
    watermark = _read_watermark(source.kind, rows)
    statuses: list[MigrationStatus] = []
    problems: list[Problem] = []
    for migration in source.migrations:
        found = of_migration[migration.version]
        same_bytes = [row for row in found if row.sha256 == migration.sha256]
        moved = next((row for row in strangers if row.sha256 == migration.sha256), None) if not found else None
        unfinished_here = (progress or {}).get(migration.version)
        applied_at = None
        if same_bytes:
            state, applied_at = State.APPLIED, same_bytes[0].applied_at
            if len(found) > 1:
                problems.append(recorded_twice(migration, found, ledger))
            problems += _nameless(source.kind, migration, found, rows, ledger)
        elif found:
            state, applied_at = State.EDITED, found[0].applied_at
            problems.append(edited(migration, found[0]))
        elif moved is not None:
            strangers.remove(moved)
            state, applied_at = State.EDITED, moved.applied_at
            problems.append(folder_renamed_or_moved(migration, moved, ledger, watermark))
        elif unfinished_here is not None:
            state = State.UNFINISHED
            problems.append(unfinished(migration, unfinished_here, at_work))
        elif watermark is not None and migration.created_at_ms is not None and migration.created_at_ms <= watermark:
            state = State.SKIPPED
            problems.append(skipped(migration, watermark, source.migrations))
        else:
            state = State.PENDING
        statuses.append(MigrationStatus(migration=migration, state=state, applied_at=applied_at))
    problems += (row_without_file(row, source.kind, ledger) for row in strangers)
    if source.kind is not SourceKind.AD_HOC:  # a single file says nothing of the others
        problems += _unfinished_without_file(source, progress or {}, at_work)
    problems += _late(source.kind, statuses)
    return Status(
        kind=source.kind,
        path=source.display,
        ledger_table=ledger.table,
        ledger_exists=ledger_exists,
        migrations=tuple(statuses),
        ad_hoc=ad_hoc,
        problems=(*_on_disk(source.problems, statuses), *problems),
    )


def add_presence(
    status: Status,
    creations: Mapping[str, Creations],
    found: Mapping[DatabaseObject, Presence],
    *,
    ledger: MigrationLedger,
) -> Status:
    """The same status, with the unrecorded migrations whose objects exist, all or some, told apart.  Pure."""
    statuses: list[MigrationStatus] = []
    problems: list[Problem] = []
    for each in status.migrations:
        made = creations.get(each.migration.version)
        if made is not None and any(found[thing] is not Presence.ABSENT for thing in made.objects):
            absent = [thing for thing in made.objects if found[thing] is not Presence.PRESENT]
            there = [thing for thing in made.objects if found[thing] is Presence.PRESENT]
            if absent:
                problems.append(half_present(each.migration, there, absent, found))
            else:
                problems.append(present(each.migration, there, made.untraceable, ledger))
            each = replace(each, state=State.HALF_PRESENT if absent else State.PRESENT)
        statuses.append(each)
    return replace(status, migrations=tuple(statuses), problems=(*status.problems, *problems))


def _on_disk(problems: Iterable[Problem], statuses: Sequence[MigrationStatus]) -> Iterator[Problem]:
    """The source's problems; a `when` out of order harms nobody here once the migration is applied here."""
    applied = {each.migration.version for each in statuses if each.state is State.APPLIED}
    for problem in problems:
        harmless = problem.kind is ProblemKind.WHEN_NOT_INCREASING and problem.subject in applied
        yield replace(problem, severity=Severity.NOTE) if harmless else problem


def _nameless(
    kind: SourceKind,
    migration: Migration,
    found: Sequence[LedgerRow],
    rows: Sequence[LedgerRow],
    ledger: MigrationLedger,
) -> Iterator[Problem]:
    """Rows that 0.31 wrote into a table which 1.0 has upgraded: 1.0 goes by the name and would run them again."""
    if kind not in (SourceKind.DRIZZLE_JOURNAL, SourceKind.DRIZZLE_FOLDER):
        return
    upgraded = any(row.name is not None or row.applied_at is not None for row in rows)
    if upgraded and all(row.name is None for row in found):
        yield row_without_name(migration, ledger, harmful=kind is SourceKind.DRIZZLE_FOLDER)


def _unfinished_without_file(
    source: Source, progress: Mapping[str, Progress], at_work: str | None
) -> Iterator[Problem]:
    """Files that were left half-way and are gone; one that is being applied now may be of a newer checkout."""
    known = {migration.version for migration in source.migrations}
    for found in progress.values() if at_work is None else ():
        if found.version not in known and not found.is_nothing:
            same_bytes = next((each for each in source.migrations if each.sha256 == found.sha256), None)
            yield unfinished_without_file(found, same_bytes)


def _late(kind: SourceKind, statuses: Sequence[MigrationStatus]) -> Iterator[Problem]:
    """Pending ones that stand before an applied one: they run here in another order than on a new database."""
    if kind not in (SourceKind.DRIZZLE_FOLDER, SourceKind.SQL_FOLDER):
        return
    later: str | None = None
    for each in reversed(statuses):
        if each.state in (State.APPLIED, State.EDITED):
            later = later or each.migration.version
        elif later is not None:
            yield out_of_order(each.migration, later)


def _read_watermark(kind: SourceKind, rows: Sequence[LedgerRow]) -> int | None:
    """The greatest `created_at`: drizzle 0.31 runs only what is above it.  The other sources have none."""
    if kind is not SourceKind.DRIZZLE_JOURNAL:
        return None
    return max((row.created_at_ms for row in rows if row.created_at_ms is not None), default=None)


def _refuse_while_applying(connection: Connection, ledger: MigrationLedger) -> None:
    holders = ledger.holders(connection)
    if holders:
        told = ", ".join(f"backend {pid} ({name})" for pid, name in holders)
        raise LedgerUnreadable(
            f"{ledger.table} is locked by {told}: migrations are being applied right now",
            remedy="Ask again when that run is done.",
        )


def _read_progress(connection: Connection, kind: SourceKind, ledger: MigrationLedger) -> dict[str, Progress]:
    """Where runs of ours stopped inside a file, under the name that `apply` keeps them by."""
    try:
        return ProgressTable(ledger=f"{kind.value}:{ledger.table}").read(connection)
    except psycopg.errors.InsufficientPrivilege as error:
        raise LedgerUnreadable(
            f"the role {connection.info.user} may not read pgrehearse.progress",
            remedy="GRANT USAGE ON SCHEMA pgrehearse, and SELECT ON ALL TABLES IN SCHEMA pgrehearse, to that role.",
        ) from error


def _read_run_at_work(connection: Connection) -> str | None:
    """The session of a run of ours, or of a killed one that the server still works for."""
    holders = read_holders(connection, TURN) or read_holders(connection, WORK)
    return f"pid {holders[0].pid} ({holders[0].application}, {holders[0].user})" if holders else None


@contextmanager
def _read_only(connection: Connection) -> Iterator[None]:
    """One read-only snapshot, on a standby too; ended by ROLLBACK so that nothing can have been written."""
    with connection.transaction(force_rollback=True):
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute("SELECT pg_catalog.set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
        yield

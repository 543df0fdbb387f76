"""Every row that differs by key between the failed database and the restored one: kept in files, told apart.

What a row's last writer was is read from its ``xmin``: the migration's own transactions are known from its
ledger rows.  What cannot be told apart so (a row that is gone has no xmin) is decided by what the rehearsal saw
the migration do to that table, and is called unclear where that does not decide it.  Memory is flat: both sides
stream in one order.
"""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.data.large_objects import compare_large_objects
from pgrehearse.data.session import prepare_session
from pgrehearse.data.tables import Table, read_tables
from pgrehearse.postgres.connect import Connection
from pgrehearse.progress import Progress, Silent
from pgrehearse.release.restore.counterparts import Counterpart, Counterparts, NotCompared, find_counterparts
from pgrehearse.release.restore.row_stream import Line, RowStreams
from pgrehearse.release.restore.touched import TouchedTable
from pgrehearse.release.restore.written_files import By, Change, WrittenFiles

FORMAT = 1
HEADING = """What was written to the failed database since the backup, to be written back onto the restored one.
It takes one transaction; triggers of the tables it writes are off meanwhile, since what they wrote is here too, and
foreign keys are checked at its end.  Each line says how many rows it must write.  Needs the tables' owner."""
EXTENSIONS = """
SELECT DISTINCT n.nspname::text FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE n.nspname <> 'pg_catalog' ORDER BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferingTable:
    """One table; the counts are of rows, exact."""

    name: str
    name_failed: str
    key: tuple[str, ...]  # () where rows have none: an update is then a delete and an insert
    counts: dict[tuple[By, Change], int]
    not_assigned: int  # updates with a value left out of the SQL, since the migration writes that column too
    new_columns: tuple[str, ...]  # of the failed database alone
    rows_in_new_columns: int  # exported with their keys
    dropped_columns: tuple[str, ...]  # of the restored database alone
    cannot_insert: tuple[str, ...]  # of those: NOT NULL without a default, so that no INSERT can be written back

    def count(self, by: By, change: Change) -> int:
        return self.counts.get((by, change), 0)

    @property
    def rows(self) -> int:
        return sum(self.counts.values()) + self.rows_in_new_columns

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "name_failed": self.name_failed,
            "key": list(self.key),
            **{by.value: {change.value: self.count(by, change) for change in Change} for by in By},
            "not_assigned": self.not_assigned,
            "new_columns": list(self.new_columns),
            "rows_in_new_columns": self.rows_in_new_columns,
            "dropped_columns": list(self.dropped_columns),
            "cannot_insert": list(self.cannot_insert),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OneSided:
    """A table that only one of the databases has, with its rows."""

    name: str
    rows: int

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "rows": self.rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferingRows:
    """What the failed database holds and the restored one does not, and the other way round."""

    directory: Path
    tables: tuple[DifferingTable, ...]  # only those that differ
    only_in_failed: tuple[OneSided, ...]  # their rows are exported as CSV
    only_in_restored: tuple[OneSided, ...]  # made again by the restore
    not_compared: tuple[NotCompared, ...]
    large_objects: str | None  # a sentence where they differ: they stay in the failed database
    reapply: Path | None  # SQL of what the application wrote
    unclear: Path | None  # SQL of what it may have written

    def rows_by(self, by: By) -> int:
        return sum(table.count(by, change) for table in self.tables for change in Change)

    @property
    def rows(self) -> int:
        """Rows that are exported."""
        return sum(table.rows for table in self.tables) + sum(table.rows for table in self.only_in_failed)

    def as_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "directory": str(self.directory),
            "tables": [table.as_json() for table in self.tables],
            "only_in_failed": [table.as_json() for table in self.only_in_failed],
            "only_in_restored": [table.as_json() for table in self.only_in_restored],
            "not_compared": [{"name": each.name, "reason": each.reason} for each in self.not_compared],
            "large_objects": self.large_objects,
            "reapply": None if self.reapply is None else self.reapply.name,
            "unclear": None if self.unclear is None else self.unclear.name,
        }


def find_differing_rows(
    failed: Connection,
    restored: Connection,
    *,
    directory: Path,
    touched: Sequence[TouchedTable] = (),
    transactions: frozenset[int] = frozenset(),
    unrehearsed: bool = False,
    ignore_relations: frozenset[str] = frozenset(),
    progress: Progress | None = None,
) -> DifferingRows:
    """Compare both databases row by row and write what differs into ``directory`` (new or empty).

    ``touched`` is what the rehearsal saw the migration do (`touched_tables`), ``transactions`` the xids in
    which it ran (`find_migration_transactions`); without them all differences are taken for the application's.
    ``unrehearsed``: what a migration did is not known, so nothing tells the application's part; all is unclear.
    ``ignore_relations`` are migration ledgers.  Both sessions are the caller's, in autocommit; each is put into one
    READ ONLY snapshot for as long as this takes.  Cost: one scan of each table on each side and a sort of what
    differs.  Raises OSError when the files cannot be written, psycopg errors when a session breaks.
    """
    progress = progress or Silent()
    for session in (failed, restored):
        prepare_session(session)
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        found = find_counterparts(
            failed,
            restored,
            read_tables(failed, ignore_relations=ignore_relations),
            read_tables(restored, ignore_relations=ignore_relations),
            touched=touched,
        )
        return _compare(failed, restored, found, directory, transactions, progress, unrehearsed=unrehearsed)
    finally:
        for session in (failed, restored):
            with suppress(psycopg.Error):  # a session that broke has said so already
                session.execute("ROLLBACK")


def _compare(
    failed: Connection,
    restored: Connection,
    found: Counterparts,
    directory: Path,
    transactions: frozenset[int],
    progress: Progress,
    *,
    unrehearsed: bool,
) -> DifferingRows:
    search_path = [row[0] for row in restored.execute(EXTENSIONS)]
    tables: list[DifferingTable] = []
    not_compared = list(found.not_compared)
    with WrittenFiles(
        directory, heading=HEADING, foreign_keys=found.foreign_keys, triggers=found.triggers, search_path=search_path
    ) as files:
        for number, counterpart in enumerate(found.pairs, start=1):
            progress.advance(counterpart.name, number, len(found.pairs))
            if not counterpart.columns and (counterpart.failed.columns or counterpart.restored.columns):
                reason = "the two databases have no column of it in common"
                not_compared.append(NotCompared(name=counterpart.name, reason=reason))
                continue
            table = _compare_table(failed, restored, counterpart, files, transactions, unrehearsed=unrehearsed)
            if table.rows:
                tables.append(table)
        only_in_failed = tuple(_keep_whole(failed, table, files) for table in found.only_in_failed)
        paths = files.close()
    facts = DifferingRows(
        directory=directory,
        tables=tuple(tables),
        only_in_failed=only_in_failed,
        only_in_restored=tuple(
            OneSided(name=table.name, rows=_count(restored, table) if table.readable else 0)
            for table in found.only_in_restored
        ),
        not_compared=tuple(not_compared),
        large_objects=_large_objects(restored, failed),
        reapply=paths.get(By.APPLICATION),
        unclear=paths.get(By.UNCLEAR),
    )
    summary = directory / "differing-rows.json"
    summary.touch(mode=0o600)
    summary.write_text(json.dumps(facts.as_json(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return facts


def _compare_table(
    failed: Connection,
    restored: Connection,
    counterpart: Counterpart,
    files: WrittenFiles,
    transactions: frozenset[int],
    *,
    unrehearsed: bool,
) -> DifferingTable:
    files.begin(counterpart)
    streams = RowStreams(failed, restored, counterpart, transactions=transactions)
    if any(column.retyped for column in counterpart.columns) and not streams.casts():
        streams = RowStreams(failed, restored, counterpart, transactions=transactions, plain=True)
    judge = _Judge(counterpart, files, knows_transactions=bool(transactions), unrehearsed=unrehearsed)
    if counterpart.columns:
        with closing(streams.groups()) as groups:  # an error on the way must leave no half-read stream
            for ours, theirs in groups:
                judge.group(ours, theirs)
    counts, not_assigned = dict(files.counts), files.not_assigned
    return DifferingTable(
        name=counterpart.name,
        name_failed=counterpart.failed.name,
        key=counterpart.key_names,
        counts=counts,
        not_assigned=not_assigned,
        new_columns=tuple(column.name for column in counterpart.new_columns),
        rows_in_new_columns=_keep_new_columns(failed, counterpart, files, transactions),
        dropped_columns=counterpart.gone_columns,
        cannot_insert=counterpart.needed_columns,
    )


class _Judge:
    """Whose each difference is."""

    def __init__(
        self, counterpart: Counterpart, files: WrittenFiles, *, knows_transactions: bool, unrehearsed: bool
    ) -> None:
        self._counterpart = counterpart
        self._files = files
        self._knows = knows_transactions
        self._unrehearsed = unrehearsed
        touched = counterpart.touched
        self._written = frozenset(
            position for position, column in enumerate(counterpart.columns) if column.written_by_migration
        )
        self._adds = touched is not None and touched.adds_rows
        self._deletes = touched is not None and touched.deletes_rows
        self._rewrites = bool(self._written)

    def group(self, ours: list[Line], theirs: list[Line]) -> None:
        """All rows of one key hash, of both sides."""
        if self._counterpart.key:
            self._keyed(ours, theirs)
        else:
            self._keyless(ours, theirs)

    def _keyed(self, ours: list[Line], theirs: list[Line]) -> None:
        now = {self._key(values): (line, values) for line in ours for values in [line.values()]}
        before = {self._key(values): values for line in theirs for values in [line.values()]}
        for key, (line, values) in now.items():
            if key not in before:
                self._files.insert(self._inserted(line), values)
            elif values != before[key]:
                self._updated(line, values, before[key])
        for key, values in before.items():
            if key not in now:
                self._files.delete(By.UNCLEAR if self._deletes or self._unrehearsed else By.APPLICATION, values)

    def _key(self, values: Sequence[str | None]) -> tuple[str | None, ...]:
        return tuple(values[position] for position in self._counterpart.key)

    def _inserted(self, line: Line) -> By:
        if self._unrehearsed:  # it may have run in parts, or have had savepoints: their rows do not carry its xid
            return By.UNCLEAR
        if line.by_migration:
            if self._adds:  # a row that was there already would carry its xid too, where it rewrites rows
                return By.UNCLEAR if self._rewrites else By.MIGRATION
            return By.APPLICATION if self._counterpart.touched is not None else By.UNCLEAR
        return By.UNCLEAR if self._adds and not self._knows else By.APPLICATION

    def _updated(self, line: Line, now: Sequence[str | None], before: Sequence[str | None]) -> None:
        differing = [position for position, value in enumerate(now) if value != before[position]]
        assigned = [position for position in differing if position not in self._written]
        left = [position for position in differing if position in self._written]
        if self._unrehearsed:
            self._files.update(By.UNCLEAR, now, before, assigned=differing, left=[])
            return
        if assigned or not left:
            # Of a table of which nothing is known, the migration may have written what carries its xid.
            doubtful = line.by_migration and self._counterpart.touched is None
            by = By.UNCLEAR if doubtful else By.APPLICATION
            self._files.update(by, now, before, assigned=assigned, left=left)
        elif line.by_migration:
            self._files.update(By.MIGRATION, now, before, assigned=left, left=[])
        elif self._knows:
            self._files.update(By.APPLICATION, now, before, assigned=[], left=left)
        else:
            self._files.update(By.UNCLEAR, now, before, assigned=left, left=[])

    def _keyless(self, ours: list[Line], theirs: list[Line]) -> None:
        """Rows are alike or not; of those that are too many the application's are taken first."""
        mine, own = Counter[bytes](), Counter[bytes]()
        for line in ours:
            (mine if line.by_migration else own)[line.tail] += line.copies
        before = Counter({line.tail: line.copies for line in theirs})
        values = {line.tail: line.values() for line in (*ours, *theirs)}
        for tail, copies in values.items():
            more = mine[tail] + own[tail] - before[tail]
            if more > 0:
                by_others = min(more, own[tail])
                self._keyless_inserts(copies, by_others, more - by_others)
            elif more < 0:
                unclear = self._deletes or self._rewrites or self._unrehearsed
                by = By.UNCLEAR if unclear else By.APPLICATION
                self._files.delete(by, copies, copies=-more)

    def _keyless_inserts(self, values: Sequence[str | None], by_others: int, by_migration: int) -> None:
        if by_others:
            doubtful = self._unrehearsed or (not self._knows and (self._adds or self._rewrites))
            self._files.insert(By.UNCLEAR if doubtful else By.APPLICATION, values, copies=by_others)
        if by_migration:
            certain = self._adds and not self._rewrites
            self._files.insert(By.MIGRATION if certain else By.UNCLEAR, values, copies=by_migration)


def _keep_new_columns(
    failed: Connection, counterpart: Counterpart, files: WrittenFiles, transactions: frozenset[int]
) -> int:
    """What stands in columns that the restored table does not have, of rows written after the migration."""
    if not counterpart.new_columns:
        return 0
    new = [sql.Identifier(column.name) for column in counterpart.new_columns]
    keys = [sql.Identifier(counterpart.columns[position].failed) for position in counterpart.key]
    chosen = keys or [sql.Identifier(column.failed) for column in counterpart.columns]
    filled = sql.SQL(" OR ").join(sql.SQL("{} IS DISTINCT FROM NULL").format(name) for name in new)
    since: sql.Composable = sql.SQL("")
    if transactions:
        xids = sql.SQL(", ").join(map(sql.Literal, (str(xid) for xid in sorted(transactions))))
        since = sql.SQL(
            " AND NOT (xmin::pg_catalog.text) = ANY (ARRAY[{xids}]) AND pg_catalog.age(xmin) <"
            " (SELECT pg_catalog.max(pg_catalog.age(x::pg_catalog.text::pg_catalog.xid))"
            " FROM pg_catalog.unnest(ARRAY[{xids}]) AS x)"
        ).format(xids=xids)
    query = sql.SQL("SELECT {} FROM {}{} WHERE ({}){}").format(
        sql.SQL(", ").join([*chosen, *new]),
        sql.SQL("" if counterpart.failed.partitioned else "ONLY "),
        counterpart.failed.identifier,
        filled,
        since,
    )
    return _copy_csv(failed, query, files.path_of(counterpart.name, "new-columns", folder=By.APPLICATION.value))


def _keep_whole(failed: Connection, table: Table, files: WrittenFiles) -> OneSided:
    files.next_number()
    query = sql.SQL("SELECT * FROM {}{}").format(sql.SQL("" if table.partitioned else "ONLY "), table.identifier)
    path = files.path_of(table.name, "rows", folder="only-in-failed")
    return OneSided(name=table.name, rows=_copy_csv(failed, query, path))


def _copy_csv(session: Connection, query: sql.Composable, path: Path) -> int:
    """The server writes it; rows, or no file at all where there are none."""
    path.touch(mode=0o600)
    copying = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv, HEADER true)").format(query)
    with path.open("wb") as file, session.cursor() as cursor:
        with cursor.copy(copying) as copy:
            for block in copy:
                file.write(block)
        rows = cursor.rowcount
    if not rows:
        path.unlink()
    return rows


def _count(session: Connection, table: Table) -> int:
    only = sql.SQL("" if table.partitioned else "ONLY ")
    row = session.execute(sql.SQL("SELECT pg_catalog.count(*) FROM {}{}").format(only, table.identifier)).fetchone()
    assert row is not None
    return int(row[0])


def _large_objects(restored: Connection, failed: Connection) -> str | None:
    facts, unmeasured = compare_large_objects(restored, failed)
    if unmeasured:
        return f"large objects were not compared: {unmeasured[0].reason}"
    if facts is None or not (
        facts.objects_lost or facts.objects_changed or facts.count_after != facts.count_before - facts.objects_lost
    ):
        return None
    new = facts.count_after - (facts.count_before - facts.objects_lost)
    return (
        f"of large objects {new} are new, {facts.objects_changed} changed and {facts.objects_lost} gone in the failed "
        "database; they are not exported and stay there"
    )

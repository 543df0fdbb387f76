"""What `status` says of each thing that is wrong between a folder, a ledger and a schema, and the way out."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from pgrehearse.counted import agree
from pgrehearse.migrations.creations import DatabaseObject, ObjectKind
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.migration_ledger import LedgerRow, MigrationLedger
from pgrehearse.migrations.presence import Presence
from pgrehearse.migrations.progress import Progress
from pgrehearse.migrations.sources import Problem, ProblemKind, Severity

_LISTED = 6  # names told before "and N more"


def edited(migration: Migration, row: LedgerRow) -> Problem:
    """The file's bytes are not those that were applied."""
    line_endings = _only_line_endings(migration, row)
    what = (
        "differs from what was applied only in its line endings (CRLF and LF)"
        if line_endings
        else f"was edited after it was applied (then {_short(row.sha256)}, now {_short(migration.sha256)})"
    )
    return Problem(
        kind=ProblemKind.EDITED,
        severity=Severity.ERROR,
        subject=migration.version,
        message=f"{migration.path} {what}: no tool will ever run the change here",
        remedy=(
            "Keep migrations byte for byte in every checkout: `*.sql -text` in .gitattributes, "
            "then check the file out again."
            if line_endings
            else "Take the edit back (`git log -p` on the file shows it), and put the change into a new migration."
        ),
    )


def folder_renamed_or_moved(
    migration: Migration, row: LedgerRow, ledger: MigrationLedger, watermark: int | None
) -> Problem:
    """These very bytes are recorded as applied, under another place."""
    if migration.kind is SourceKind.DRIZZLE_JOURNAL:
        again = watermark is not None and migration.created_at_ms is not None and migration.created_at_ms > watermark
        found = f"with the `when` {row.created_at_ms}, and the journal now says {migration.created_at_ms}"
        remedy = f"Set its `when` in the journal back to {row.created_at_ms}."
    else:
        again = migration.kind is SourceKind.DRIZZLE_FOLDER
        found = f"as {row.name or _moment(row.created_at_ms)}, and is now called {migration.version}"
        remedy = f"Give it its old name back: {row.name}." if row.name else "Give it its old time back."
    return Problem(
        kind=ProblemKind.EDITED,
        severity=Severity.ERROR,
        subject=migration.version,
        message=f"{migration.path} was applied {found}" + (": drizzle would run it again" if again else ""),
        remedy=remedy + f" (Row in {ledger.table}: hash {_short(row.sha256)}.)",
    )


def skipped(migration: Migration, watermark: int, migrations: Sequence[Migration]) -> Problem:
    """Not applied, and below the greatest `created_at`."""
    others = (each for each in migrations if each.version != migration.version)
    newest = next((each.version for each in others if each.created_at_ms == watermark), "a row without a file")
    return Problem(
        kind=ProblemKind.SKIPPED,
        severity=Severity.ERROR,
        subject=migration.version,
        message=(
            f"{migration.path} is not applied, and drizzle will never run it: its `when` {migration.created_at_ms} "
            f"is not above drizzle's watermark {watermark} ({newest})"
        ),
        remedy="Apply it with `pgrehearse migrate` (a protected environment: rehearse it with `pgrehearse run`, then "
        "`pgrehearse promote`), which records it under its own time, so that drizzle agrees; or, if it is applied "
        "nowhere yet, drop it and generate it again.",
    )


def row_without_file(row: LedgerRow, kind: SourceKind, ledger: MigrationLedger) -> Problem:
    """The ledger records a migration of which the folder knows nothing."""
    told = row.name or _moment(row.created_at_ms) or "without a time"
    consequence = (
        ": drizzle 1.0 refuses to upgrade its ledger"
        if kind is SourceKind.DRIZZLE_FOLDER and row.name is None
        else ": what it did here can be neither rehearsed nor repeated"
    )
    return Problem(
        kind=ProblemKind.ROW_WITHOUT_FILE,
        severity=Severity.ERROR,
        subject=told,
        message=f"{ledger.table} records {told} (hash {_short(row.sha256)}), and no file has it{consequence}",
        remedy="Bring the file back from version control (another branch may have it).",
    )


def row_without_name(migration: Migration, ledger: MigrationLedger, *, harmful: bool) -> Problem:
    """0.31 wrote the row into a ledger that 1.0 has upgraded."""
    return Problem(
        kind=ProblemKind.ROW_WITHOUT_NAME,
        severity=Severity.ERROR if harmful else Severity.NOTE,
        subject=migration.version,
        message=f"the row of {migration.version} in {ledger.table} has no name: drizzle 1.0 would run it again",
        remedy="Two versions of drizzle have written here; name the row: " + ledger.naming(migration),
    )


def recorded_twice(migration: Migration, rows: Sequence[LedgerRow], ledger: MigrationLedger) -> Problem:
    """Two runners applied it at the same time."""
    return Problem(
        kind=ProblemKind.RECORDED_TWICE,
        severity=Severity.ERROR,
        subject=migration.version,
        message=f"{ledger.table} records {migration.version} {len(rows)} times: two runners may both have applied it",
        remedy="Look for rows that its INSERT and UPDATE statements made twice, mend them, "
        "then delete the surplus row from the ledger.",
    )


def out_of_order(migration: Migration, later: str) -> Problem:
    return Problem(
        kind=ProblemKind.OUT_OF_ORDER,
        severity=Severity.NOTE,
        subject=migration.version,
        message=f"{migration.version} is pending, and {later} after it is applied: a new database runs them in order",
        remedy="Harmless if the two do not touch the same things; a rehearsal shows whether it works in this order.",
    )


def ledger_elsewhere(table: str, namespace: str, name: str) -> Problem:
    return Problem(
        kind=ProblemKind.LEDGER_ELSEWHERE,
        severity=Severity.NOTE,
        subject=table,
        message=f"there is no {table}, but a table {name} in the schema {namespace}",
        remedy="If that is this project's ledger, its drizzle config sets `migrations.schema`; "
        "pgrehearse must be told the same.",
    )


def unfinished(migration: Migration, progress: Progress, at_work: str | None) -> Problem:
    """A run of ours ended in the middle of the file, or is there now."""
    is_edited = progress.sha256 != migration.sha256
    done = f"{_done(progress)}{'; the file was edited since' if is_edited else ''}"
    if at_work is not None:
        return Problem(
            kind=ProblemKind.UNFINISHED,
            severity=Severity.NOTE,
            subject=migration.version,
            message=f"{migration.path} is being applied right now by {at_work}: {done}",
            remedy="Ask again when that run is done.",
        )
    return Problem(
        kind=ProblemKind.UNFINISHED,
        severity=Severity.ERROR,
        subject=migration.version,
        message=f"a run ended in the middle of {migration.path}: {done}",
        remedy="Restore the file's old bytes and run `pgrehearse migrate` again to finish it; or, where only what is "
        f"behind that was mended, with `--resolve {migration.version}:edited`."
        if is_edited
        else "Run `pgrehearse migrate` again: it goes on where that run stopped.",
    )


def unfinished_without_file(progress: Progress, same_bytes: Migration | None) -> Problem:
    """A run of ours ended in the middle of a file that is gone, or has another name now."""
    now = (
        f"now called {same_bytes.path}: it would be run from its beginning"
        if same_bytes is not None
        else "which the folder no longer has"
    )
    return Problem(
        kind=ProblemKind.UNFINISHED_WITHOUT_FILE,
        severity=Severity.ERROR,
        subject=progress.version,
        message=f"a run ended in the middle of {progress.version}, {now}; {_done(progress)}",
        remedy=f"Give the file its old name and bytes back ({progress.version}, SHA-256 {_short(progress.sha256)}), "
        "then run `pgrehearse migrate` again: it goes on where that run stopped.",
    )


def unfinished_ad_hoc(progress: Progress) -> Problem:
    """A run of ours ended in the middle of a single file."""
    return Problem(
        kind=ProblemKind.UNFINISHED,
        severity=Severity.ERROR,
        subject=progress.version,
        message=f"a run ended in the middle of the single file {progress.version}: {_done(progress)}",
        remedy="Run `pgrehearse migrate` with that --file again: it goes on where that run stopped.",
    )


def _done(progress: Progress) -> str:
    started = "" if progress.started is None else ", and one more was begun"
    done = f"{progress.statements_done} of its statements {agree(progress.statements_done, 'is', 'are')} done"
    return f"{done}{started} ({progress.at})"


def present(
    migration: Migration, there: Sequence[DatabaseObject], untraceable: Sequence[str], ledger: MigrationLedger
) -> Problem:
    """Not recorded, and all that it creates exists."""
    rest = (
        f"  Whether its other statements ran cannot be seen ({', '.join(untraceable[:_LISTED])})."
        if untraceable
        else ""
    )
    return Problem(
        kind=ProblemKind.PRESENT,
        severity=Severity.ERROR,
        subject=migration.version,
        message=f"{migration.path} is not recorded, and all that it creates exists: {_names(there)}.  Either a runner "
        f"died before it recorded it (drizzle's neon-http migrator does so), or somebody ran it by hand.{rest}",
        remedy="It will fail where it meets them.  If they are what the file makes, record it: "
        + ledger.recording(migration),
    )


def half_present(
    migration: Migration,
    there: Sequence[DatabaseObject],
    absent: Sequence[DatabaseObject],
    found: Mapping[DatabaseObject, Presence],
) -> Problem:
    """Not recorded, and some of what it creates exists."""
    invalid = [thing for thing in absent if found[thing] is Presence.INVALID]
    missing = [thing for thing in absent if found[thing] is Presence.ABSENT]
    parts = [f"there: {_names(there)}"] if there else []
    parts += [f"invalid: {_names(invalid)}"] if invalid else []
    parts += [f"missing: {_names(missing)}"] if missing else []
    return Problem(
        kind=ProblemKind.HALF_PRESENT,
        severity=Severity.ERROR,
        subject=migration.version,
        message=f"{migration.path} is not recorded, and a part of what it creates exists ({'; '.join(parts)})",
        remedy="It will fail where it meets what is there.  Drop what an unfinished run left over, "
        "or rename what belongs to somebody else; then apply it.",
    )


def _names(things: Sequence[DatabaseObject]) -> str:
    """The objects; columns of a table that is listed itself go without saying."""
    tables = {thing.relation for thing in things if thing.kind is ObjectKind.TABLE}
    told = [str(thing) for thing in things if thing.kind is not ObjectKind.COLUMN or thing.relation not in tables]
    more = f" and {len(told) - _LISTED} more" if len(told) > _LISTED else ""
    return ", ".join(told[:_LISTED]) + more


def _only_line_endings(migration: Migration, row: LedgerRow) -> bool:
    unix = migration.content.replace(b"\r\n", b"\n")
    return any(hashlib.sha256(content).hexdigest() == row.sha256 for content in (unix, unix.replace(b"\n", b"\r\n")))


def _short(sha256: str) -> str:
    return f"{sha256[:12]}…"


def _moment(created_at_ms: int | None) -> str | None:
    if created_at_ms is None:
        return None
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=created_at_ms)
    except OverflowError:
        return f"created_at {created_at_ms}"
    return f"created_at {created_at_ms} ({moment:%Y-%m-%d %H:%M:%S} UTC)"

"""drizzle-kit 0.31's layout: ``NNNN_name.sql`` files and ``meta/_journal.json``, which alone says what runs."""

import json
from dataclasses import dataclass
from pathlib import Path

from pgrehearse.errors import MalformedSource
from pgrehearse.migrations.drizzle_ledger import DrizzleLedger
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.sources.layout import JOURNAL
from pgrehearse.migrations.sources.migration_file import byte_order_mark_note, is_there, read_migration_file, told
from pgrehearse.migrations.sources.source import Problem, ProblemKind, Severity, Source

OLDEST_JOURNAL = 5  # drizzle-kit 0.20's; the entries have had the same keys since
_BIGINT_MAX = 2**63 - 1
_RESTORE = "Bring it back from version control, or run `drizzle-kit generate` for a new journal."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One line of the journal."""

    tag: str
    when_ms: int


def read_drizzle_journal(path: Path, display: str, *, namespace: str, table: str) -> Source:
    """Read the journal's files in the journal's order, as drizzle-orm 0.45's ``readMigrationFiles`` does.

    A journal that cannot be read raises `MalformedSource`; so does a file that exists and cannot be read.
    A listed file that is missing is a problem of the source (`Source.require_whole` raises it), because
    `status` must still tell the rest.
    """
    shown = display.rstrip("/")
    entries = _read_entries(path / JOURNAL, f"{shown}/{JOURNAL}")
    migrations: list[Migration] = []
    problems: list[Problem] = []
    newest: _Entry | None = None
    for entry in entries:
        file = path / f"{entry.tag}.sql"
        migration_display = f"{shown}/{entry.tag}.sql"
        if newest is not None and entry.when_ms <= newest.when_ms:
            problems.append(_not_increasing(entry, newest))
        newest = entry if newest is None or entry.when_ms > newest.when_ms else newest
        if not is_there(file, migration_display):
            problems.append(_without_file(entry, migration_display))
            continue
        content = read_migration_file(file, migration_display)
        problems += byte_order_mark_note(content, entry.tag, migration_display)
        migrations.append(
            Migration(
                version=entry.tag,
                name=entry.tag.partition("_")[2] or entry.tag,
                path=migration_display,
                kind=SourceKind.DRIZZLE_JOURNAL,
                content=content,
                created_at_ms=entry.when_ms,
            )
        )
    problems += _files_outside(path, shown, {entry.tag for entry in entries})
    return Source(
        kind=SourceKind.DRIZZLE_JOURNAL,
        display=display,
        migrations=tuple(migrations),
        ledger=DrizzleLedger(
            kind=SourceKind.DRIZZLE_JOURNAL, namespace=namespace, name=table, migrations=tuple(migrations)
        ),
        problems=tuple(problems),
    )


def _read_entries(file: Path, display: str) -> list[_Entry]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
        journal = json.loads(text)
    except OSError as error:
        raise MalformedSource(f"cannot read {display}: {told(error)}") from error
    except UnicodeDecodeError as error:
        raise MalformedSource(f"{display} is not UTF-8", remedy=_RESTORE) from error
    except json.JSONDecodeError as error:
        conflict = "<<<<<<<" in text
        raise MalformedSource(
            f"{display}, line {error.lineno}: not JSON"
            + (" (an unresolved merge conflict)" if conflict else f" ({error.msg})"),
            remedy="Resolve the merge conflict: keep both sides' entries." if conflict else _RESTORE,
        ) from None
    except RecursionError:
        raise MalformedSource(f"{display} is not a drizzle journal", remedy=_RESTORE) from None
    if not isinstance(journal, dict) or not isinstance(journal.get("entries"), list):
        raise MalformedSource(f"{display} is not a drizzle journal: it has no list of entries", remedy=_RESTORE)
    dialect = journal.get("dialect", "postgresql")
    if dialect not in ("postgresql", "pg"):
        raise MalformedSource(f"{display} is for {dialect!r}", remedy="pgrehearse works with PostgreSQL migrations.")
    entries = [_parse_entry(entry, number, display) for number, entry in enumerate(journal["entries"])]
    seen: set[str] = set()
    for entry in entries:
        if entry.tag in seen:
            raise MalformedSource(f"{display} lists {entry.tag} twice", remedy="Keep one of the two entries.")
        seen.add(entry.tag)
    return entries


def _parse_entry(entry: object, number: int, display: str) -> _Entry:
    if not isinstance(entry, dict):
        raise MalformedSource(f"{display}: entry {number} is not an object", remedy=_RESTORE)
    tag, when = entry.get("tag"), entry.get("when")
    if not isinstance(tag, str) or not tag or "\0" in tag:
        raise MalformedSource(f"{display}: entry {number} has no tag", remedy=_RESTORE)
    if Path(tag).name != tag:
        raise MalformedSource(
            f"{display}: entry {number} leads out of the folder: {tag!r}",
            remedy="A tag is a file name without .sql, in the journal's own folder.",
        )
    if isinstance(when, float) and when.is_integer():
        when = int(when)  # JSON has one kind of number: 1.7e12 is what JavaScript reads as an integer too
    if not isinstance(when, int) or isinstance(when, bool) or not 0 <= when <= _BIGINT_MAX:
        raise MalformedSource(
            f"{display}: entry {number} ({tag}) has no usable `when`: {when!r}",
            remedy="`when` is the time in milliseconds since 1970, by which drizzle decides what is pending.",
        )
    return _Entry(tag=tag, when_ms=when)


def _files_outside(path: Path, shown: str, tags: set[str]) -> list[Problem]:
    try:
        names = sorted(entry.name for entry in path.iterdir() if entry.name.lower().endswith(".sql"))
    except OSError as error:
        raise MalformedSource(f"cannot read the folder {shown}: {told(error)}") from error
    return [
        Problem(
            kind=ProblemKind.NOT_IN_JOURNAL,
            severity=Severity.ERROR,
            subject=f"{shown}/{name}",
            message=f"{shown}/{name} is not in the journal: drizzle never runs it",
            remedy=(
                "Make it with `drizzle-kit generate --custom` and put its statements there; "
                f"or rehearse it as it is with `pgrehearse run --file {shown}/{name}`."
            ),
        )
        for name in names
        if not (name.endswith(".sql") and name[: -len(".sql")] in tags) and not name.startswith(".")
    ]


def _without_file(entry: _Entry, display: str) -> Problem:
    return Problem(
        kind=ProblemKind.ENTRY_WITHOUT_FILE,
        severity=Severity.ERROR,
        subject=entry.tag,
        message=f"the journal lists {entry.tag}, and {display} is missing: drizzle fails, and applies nothing at all",
        remedy="Bring the file back from version control, or take its entry and snapshot out of meta/ "
        "if it was never applied anywhere.",
    )


def _not_increasing(entry: _Entry, newest: _Entry) -> Problem:
    return Problem(
        kind=ProblemKind.WHEN_NOT_INCREASING,
        severity=Severity.ERROR,
        subject=entry.tag,
        message=(
            f"the journal's `when` of {entry.tag} ({entry.when_ms}) is not above that of {newest.tag} "
            f"({newest.when_ms}) before it: where {newest.tag} is applied, drizzle never runs {entry.tag}"
        ),
        remedy=f"If {entry.tag} is not applied anywhere yet, set its `when` to {newest.when_ms + 1} or more.",
    )

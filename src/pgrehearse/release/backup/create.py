"""Take a backup: dump one snapshot, restore it elsewhere, compare, and only then give it its name."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pgrehearse.clones.dump_restore import start_dump
from pgrehearse.clones.snapshot import Snapshot, exported_snapshot
from pgrehearse.clones.source_rights import read_unreadable
from pgrehearse.errors import BackupDiffers, PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import connect, pinned
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity
from pgrehearse.postgres.local_server import MARKER
from pgrehearse.postgres.owner import Owner
from pgrehearse.postgres.pooler import require_direct_name, require_session
from pgrehearse.progress import Progress, Silent
from pgrehearse.release.backup import record
from pgrehearse.release.backup.compare import (
    find_content_differences,
    find_sequences_outside,
    read_copy,
    read_shape,
    require_equal,
)
from pgrehearse.release.backup.contents import Contents, SequenceContent
from pgrehearse.release.backup.disk import require_room
from pgrehearse.release.backup.dump_backup import DUMP, FAILED, SCHEMA, UNPROVED, DumpBackup
from pgrehearse.release.backup.failure import told_as_failure
from pgrehearse.release.backup.files import record_files, sync_directory
from pgrehearse.release.backup.manifest import Manifest, write_manifest
from pgrehearse.release.backup.reading import Reader, read_contents, read_sequences
from pgrehearse.release.backup.restore import restore_dump
from pgrehearse.release.backup.scratch import ScratchOptions, open_scratch, require_elsewhere
from pgrehearse.release.backup.shape import Shape, find_differences, shape_of, start_schema_dump
from pgrehearse.release.backup.surroundings import JSON_FILE, SQL_FILE, Surroundings, read_surroundings
from pgrehearse.release.backup.writes import Counters, read_counters

EXTENSIONS = "SELECT e.extname::text, e.extversion FROM pg_catalog.pg_extension e"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What was asked for, and where it is written."""

    id: str
    source: Conninfo
    home: Path  # the directory of all backups
    scratch: ScratchOptions
    jobs: int
    ledger: ReleaseLedger
    now: Callable[[], datetime]
    progress: Progress
    on_restored: Callable[[Conninfo], None] | None

    @property
    def work(self) -> Path:
        """Where it is made."""
        return self.home / f"{self.id}{UNPROVED}"


@dataclass(slots=True, kw_only=True)
class _Taken:
    """What was read of the source, and the dump's files."""

    surroundings: Surroundings
    counters: Counters
    contents: Contents
    shape: Shape
    schema_text: str
    snapshot: Snapshot
    client_major: int
    sequences_before: tuple[SequenceContent, ...]
    sequences_after: tuple[SequenceContent, ...]
    proved_sequences: tuple[SequenceContent, ...] = ()  # as the dump has them
    noted: tuple[str, ...] = ()  # what the scratch's server has otherwise, and a dump does not say


def create_dump(
    source: Conninfo,
    *,
    directory: Path,
    ledger: ReleaseLedger,
    now: Callable[[], datetime],
    scratch: ScratchOptions | None = None,
    label: str | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
    on_restored: Callable[[Conninfo], None] | None = None,
) -> DumpBackup:
    """Back up ``source`` below ``directory`` and prove it: restored elsewhere, compared with the snapshot it is of.

    In one exported snapshot: ``pg_dump -Fd`` (gzip), rows and fingerprints of every table, large objects, the schema's
    text.  Then a restore into the scratch, where all of it, and the sequences, must be the same.  Written to
    ``NAME.unproved``, renamed when proved.  ``label`` is the environment's name; ``on_restored`` gets the restored
    scratch before it is compared.

    Reads the source twice (dump and fingerprints; ACCESS SHARE on every table, one long snapshot).  Cost: about five
    dumps, half of it the restore.  A failure removes what was written, unless the copy differed: that is kept as
    ``NAME.failed``.
    Raises `SameServer`, `SameDatabase`, `BackupDiffers` (1), `PoolerRefused` (2), `BackupFailed`, `SourceUnreadable`,
    `CloneImpossible`, `MissingBinaries` (3), `ServerUnreachable` (4).
    """
    scratch = scratch or ScratchOptions()
    require_direct_name(source)
    not_asked = require_elsewhere(scratch, source)
    require_session(source)
    with connect(source, verb="backup") as session:
        identity = read_identity(session)
        read_unreadable(session).require_none(source.address)  # pg_dump would name the first, after an hour perhaps
    request = _Request(
        id=record.new_id(identity.database, now()), source=source, home=directory, scratch=scratch, jobs=jobs,
        ledger=ledger, now=now, progress=progress or Silent(), on_restored=on_restored,
    )  # fmt: skip
    body = record.begun_body(
        policy="dump", label=label, source=identity, owner=Owner.of(os.getpid()), directory=str(directory),
        scratch=scratch.server.address if scratch.server else None, not_asked=list(not_asked),
    )  # fmt: skip
    ledger.append(record.BEGUN, request.id, body, now())
    with _undone_unless_proved(request):
        backup = _make(request)
    ledger.append(record.PROVED, backup.id, record.proved_body(backup), now())
    return backup


def _make(request: _Request) -> DumpBackup:
    """The story: dump, hash, restore elsewhere, compare, write the manifest, rename."""
    _make_directory(request.work)
    taken = _dump(request)
    (request.work / JSON_FILE).write_text(taken.surroundings.as_text(), encoding="ascii")
    (request.work / SQL_FILE).write_text(taken.surroundings.as_sql(), encoding="utf-8")
    request.progress.step("writing it to disk")
    files = record_files(request.work, without=(MARKER,))
    _prove(request, taken)
    manifest = Manifest(
        id=request.id,
        source=taken.surroundings.needs.identity,
        user=taken.surroundings.roles.role,
        lsn=taken.snapshot.lsn,
        taken_at=taken.snapshot.taken_at,
        client_major=taken.client_major,
        size_bytes=taken.surroundings.needs.size_bytes,
        files=files,
        contents=replace(taken.contents, sequences=taken.proved_sequences),
        shape=taken.shape,
        writes=taken.counters,
        left_out=_left_out(taken),
    )
    write_manifest(request.work, manifest)
    (request.work / MARKER).unlink()
    sync_directory(request.work)
    proved = request.home / request.id
    request.work.rename(proved)
    sync_directory(request.home)
    return DumpBackup(directory=proved, manifest=manifest)


def _dump(request: _Request) -> _Taken:
    """pg_dump and our own reading of the same snapshot, at the same time."""
    work, progress = request.work, request.progress
    with connect(request.source, verb="backup") as session:
        source = pinned(request.source, session)
        # Before the snapshot: what is written between the two is told as written since, never forgotten.
        counters, before = read_counters(session), read_sequences(session)
    with exported_snapshot(source, verb="backup") as snapshot:
        progress.step(f"reading {request.source.address} in one snapshot")
        session = snapshot.connection
        identity = read_identity(session)
        surroundings = read_surroundings(session, identity)
        require_room(request.home, surroundings.needs.size_bytes, request.scratch)
        binaries = require_client(identity.major)
        with (
            tempfile.TemporaryDirectory(prefix="pgrehearse-backup-") as logs,
            start_dump(
                binaries, source, snapshot=snapshot.exported, directory=work / DUMP, jobs=request.jobs, compress=True,
                log=Path(logs) / "pg_dump.log", subscriptions=True,
            ) as dump,
            start_schema_dump(
                binaries, source, file=work / SCHEMA, log=Path(logs) / "schema.log", snapshot=snapshot.exported
            ) as schema_dump,
        ):  # fmt: skip
            reader = Reader(open=lambda: connect(source, verb="backup"), snapshot=snapshot.exported)
            contents = read_contents(reader, progress=progress, jobs=request.jobs)
            schema_dump.wait()
            text = (work / SCHEMA).read_text(encoding="utf-8", errors="surrogateescape")
            shape = shape_of(text, session)
            progress.step(f"dumping {request.source.address}")
            dump.wait()
    with connect(source, verb="backup") as session:
        after = read_sequences(session)
    return _Taken(
        surroundings=surroundings, counters=counters, contents=contents, shape=shape, schema_text=text,
        snapshot=snapshot, client_major=binaries.major, sequences_before=before, sequences_after=after,
    )  # fmt: skip


def _prove(request: _Request, taken: _Taken) -> None:
    """Restore the dump into the scratch and hold it against the snapshot.  Raises `BackupDiffers`."""
    progress, surroundings = request.progress, taken.surroundings
    with open_scratch(
        request.scratch, surroundings, ledger=request.ledger, now=request.now, progress=progress
    ) as scratch:
        left_empty = restore_dump(
            request.work / DUMP, surroundings, scratch, client_major=taken.client_major, jobs=request.jobs,
            progress=progress, inert=True,
        )  # fmt: skip
        if request.on_restored is not None:
            request.on_restored(scratch)
        progress.step("comparing what was restored with the snapshot")
        found = read_copy(scratch, taken.contents, jobs=request.jobs, progress=progress)
        text, shape = read_shape(scratch)
        require_equal(
            (
                *find_content_differences(taken.contents, found),
                *find_sequences_outside(taken.sequences_before, taken.sequences_after, found.sequences),
                *find_differences(taken.schema_text, taken.shape, text, shape),
            ),
            f"what was restored from the dump of {request.source.address}",
        )
        taken.noted = (*_extensions_otherwise(surroundings, scratch), *left_empty)
    taken.proved_sequences = found.sequences


def _extensions_otherwise(surroundings: Surroundings, scratch: Conninfo) -> tuple[str, ...]:
    """A dump names extensions without their version: each server installs the one it has."""
    with connect(scratch, verb="backup") as session:
        here: dict[str, str] = dict(session.execute(EXTENSIONS).fetchall())
    return tuple(
        f"extension {name}: version {version}; the copy that was compared had {here[name]}"
        for name, version in surroundings.needs.extensions.items()
        if here.get(name, version) != version
    )


@contextmanager
def _undone_unless_proved(request: _Request) -> Iterator[None]:
    """A failure removes what was made, is recorded, and becomes one clear error."""
    scratch = request.scratch.server
    try:
        with told_as_failure(f"backing up {request.source.address}", request.source, *((scratch,) if scratch else ())):
            yield
    except BaseException as error:
        kept = _put_aside(request, keep=isinstance(error, BackupDiffers))
        reason = str(error) if isinstance(error, PgRehearseError) else type(error).__name__
        if isinstance(error, PgRehearseError):
            where = f"the dump is kept in {kept}" if kept else "what had been written was removed"
            error.args = (f"{error}\n{where}",)
        with suppress(PgRehearseError):  # the disk that is full may be the ledger's too
            body = {"reason": reason, "kept": str(kept) if kept else None}
            request.ledger.append(record.FAILED, request.id, body, request.now())
        raise


def _put_aside(request: _Request, *, keep: bool) -> Path | None:
    if keep:
        failed = request.home / f"{request.id}{FAILED}"
        with suppress(OSError):
            request.work.rename(failed)
            return failed
    shutil.rmtree(request.work, ignore_errors=True)
    return None


def _make_directory(work: Path) -> None:
    """Readable by us only: a dump holds every row, and the passwords of user mappings."""
    work.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    work.mkdir(mode=0o700)
    (work / MARKER).write_text(Owner.of(os.getpid()).as_text())
    sync_directory(work.parent)


def _left_out(taken: _Taken) -> tuple[str, ...]:
    told = [*taken.contents.not_held, *taken.noted]
    outward = taken.surroundings.outward
    told += [f"subscription {name}: restored only when asked for, disabled" for name in outward.subscriptions]
    told += [
        f"materialized view {namespace}.{name}: filled from a foreign server when it is restored"
        for namespace, name in outward.foreign_matviews
    ]
    return (*told, "materialized views are refreshed by a restore", "passwords of roles")

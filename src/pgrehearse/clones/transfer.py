"""From the source's snapshot into the pristine database: dump, definitions, inert, data, statistics."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pgrehearse.clones import inert, inert_functions, preflight
from pgrehearse.clones.dump_restore import Restoring, read_contents, start_dump
from pgrehearse.clones.place import Place
from pgrehearse.clones.planner_statistics import analyze_copy
from pgrehearse.clones.snapshot import Snapshot
from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import Connection, fetch_value, pinned
from pgrehearse.postgres.conninfo import Conninfo

DUMP = "dump"  # below the work directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """One copy under way."""

    source: Conninfo
    place: Place
    pristine: str  # the database's name
    needs: preflight.SourceNeeds
    work: Path
    jobs: int
    progress: Callable[[str], None]

    @property
    def client_major(self) -> int:
        """A newer server is restored to by its own pg_restore, which must read the dump."""
        return max(self.needs.identity.major, self.place.major)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """The pristine database, filled."""

    switched_off: tuple[inert.SwitchedOff, ...]
    not_measured: tuple[str, ...]
    lowered: tuple[str, ...]
    size_bytes: int
    restore_ms: float
    analyze_ms: float


def dump(transfer: Transfer, snapshot: Snapshot, on_snapshot: Callable[[Connection], None] | None) -> float:
    """pg_dump in the snapshot, while the caller reads in the same one; milliseconds."""
    transfer.progress(f"dumping {transfer.source.address}")
    started = time.monotonic()
    program = start_dump(
        require_client(transfer.client_major),
        pinned(transfer.source, snapshot.connection),
        snapshot=snapshot.exported,
        directory=transfer.work / DUMP,
        jobs=transfer.jobs,
        compress=preflight.should_compress(transfer.work, transfer.needs, private=transfer.place.is_private),
        log=transfer.work / "pg_dump.log",
    )
    with program:
        if on_snapshot is not None:
            on_snapshot(snapshot.connection)
        program.wait()
    return ms_since(started)


def restore(transfer: Transfer, outward: inert.Outward) -> Restored:
    """pg_restore into pristine, made inert on the way, then ANALYZE, whose statistics the clone inherits.

    Definitions first, so that foreign servers point nowhere, and functions raise, before a materialized view is filled.
    """
    place = transfer.place
    started = time.monotonic()
    transfer.progress("restoring definitions")
    restoring = _restoring(transfer)
    restoring.definitions(outward.restores)
    with place.open_admin(transfer.pristine) as session:
        switched_off = inert.switch_off_servers(session)
        functions = inert_functions.switch_off_functions(session)
    switched_off += functions.switched_off()
    transfer.progress("restoring data, indexes and constraints")
    # pg_restore ends with the first view that cannot be filled, so where one may call such a function we fill them.
    restoring.rows_and_indexes(outward.restores_definitions if functions.found else outward.restores)
    empty: dict[tuple[str, str], str] = {}
    with place.open_admin(transfer.pristine) as session:
        switched_off += inert.switch_off_jobs(session)
        if functions.found:
            empty, told = inert_functions.refresh_matviews(session, outward.populated_matviews, functions)
            switched_off += told
            session.execute("RESET search_path")
        restore_ms = ms_since(started)
        transfer.progress("analyzing")
        started = time.monotonic()
        not_analyzed = analyze_copy(session)
        return Restored(
            switched_off=switched_off,
            not_measured=(
                *functions.not_measured(),
                *(
                    f"materialized view {'.'.join(name)} is not populated on the clone: {why}"
                    for name, why in empty.items()
                ),
                *not_analyzed,
            ),
            lowered=preflight.compare_locales(transfer.needs.locale, preflight.read_locale(session)),
            size_bytes=fetch_value(session, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"),
            restore_ms=restore_ms,
            analyze_ms=ms_since(started),
        )


def _restoring(transfer: Transfer) -> Restoring:
    binaries = require_client(transfer.client_major)
    return Restoring(
        binaries=binaries,
        target=transfer.place.restoring_address(transfer.pristine),
        dump=transfer.work / DUMP,
        contents=read_contents(binaries, transfer.work / DUMP),
        jobs=transfer.jobs,
        logs=transfer.work,
    )


def ms_since(started: float) -> float:
    """Milliseconds since a `time.monotonic`."""
    return (time.monotonic() - started) * 1000

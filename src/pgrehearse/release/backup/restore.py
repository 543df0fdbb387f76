"""Restore a backup into an empty database: the definitions, the rows, then indexes and constraints, in parallel."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from pgrehearse.clones import inert_functions
from pgrehearse.clones.dump_restore import ContentsEntry, Restoring, read_contents
from pgrehearse.clones.planner_statistics import analyze_copy
from pgrehearse.errors import BackupRefused
from pgrehearse.postgres.binaries import require_client
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.progress import Progress, Silent
from pgrehearse.release.backup.dump_backup import DumpBackup
from pgrehearse.release.backup.surroundings import Surroundings

SUBSCRIPTIONS = frozenset({"SUBSCRIPTION", "SUBSCRIPTION TABLE"})
IS_EMPTY = """
SELECT NOT EXISTS (
    SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
   AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_namespace n
    WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'public'))
"""


def restore_into(
    backup: DumpBackup,
    target: Conninfo,
    *,
    jobs: int = 2,
    progress: Progress | None = None,
    work_directory: Path | None = None,
    digest: str | None = None,
    subscriptions: bool = False,
    inert: bool = False,
) -> None:
    """Restore all of a proved backup into ``target``, an existing, empty database (made from template0).

    Every file is checked against the manifest first (``digest``: the release ledger's), so a damaged backup is
    refused before the target is written to.  Owners and grants come with it: their roles must exist.  Settings and
    grants of the database itself are not restored: `DumpBackup.surroundings` has them.  Subscriptions only with
    ``subscriptions``; they come disabled and connect nowhere.  ``inert`` (for a scratch copy): no user mappings, no
    subscriptions, and what would be filled from another server stays empty: its functions raise.

    The first error ends it and leaves the target half filled.  Raises `BackupDamaged`, `BackupNotProved`,
    `BackupRefused` (1), `CloneFailed`, `MissingBinaries` (3), `ServerUnreachable` (4).
    """
    backup.require_whole(digest=digest)
    restore_dump(
        backup.dump, backup.surroundings(), target, client_major=backup.manifest.client_major, jobs=jobs,
        progress=progress or Silent(), work_directory=work_directory, subscriptions=subscriptions, inert=inert,
    )  # fmt: skip


def restore_dump(
    dump: Path,
    surroundings: Surroundings,
    target: Conninfo,
    *,
    client_major: int,
    jobs: int,
    progress: Progress,
    work_directory: Path | None = None,
    subscriptions: bool = False,
    inert: bool = False,
) -> tuple[str, ...]:
    """The same without asking whether the files are what they were: for the proof itself.

    Returns what was left out for being ``inert``: materialized views that can be filled only from another server.
    """
    target = _writing(target, surroundings)
    with connect(target, verb="restore") as session:
        _require_fitting(session, surroundings, target)
        if not surroundings.has_public:
            session.execute("DROP SCHEMA IF EXISTS public")
        major = session.info.server_version // 10000
    binaries = require_client(max(major, client_major))
    outward = surroundings.outward
    keep = outward.restores if inert else _all_but_subscriptions(subscriptions=subscriptions)
    functions = inert_functions.MadeInert()
    with tempfile.TemporaryDirectory(prefix="pgrehearse-restore-", dir=work_directory) as work:
        progress.step(f"restoring into {target.address}")
        restoring = Restoring(
            binaries=binaries, target=target, dump=dump, contents=read_contents(binaries, dump), jobs=jobs,
            logs=Path(work), tablespaces=not inert,
        )  # fmt: skip
        restoring.definitions(keep)
        if inert:  # before anything is filled
            with connect(target, verb="restore") as session:
                functions = inert_functions.switch_off_functions(session)
            keep = outward.restores_definitions if functions.found else keep
        restoring.rows_and_indexes(keep)
    empty: dict[tuple[str, str], str] = {}
    with connect(target, verb="restore") as session:
        session.execute("SET statement_timeout = 0")
        if functions.found:
            empty, _ = inert_functions.refresh_matviews(session, outward.populated_matviews, functions)
            session.execute("RESET search_path")
        progress.step("analyzing")
        if inert:
            analyze_copy(session)
        else:
            session.execute("ANALYZE")
    return tuple(
        f"materialized view {namespace}.{name}: not compared, since the copy could not fill it: {why}"
        for (namespace, name), why in empty.items()
    )


def _require_fitting(session: Connection, surroundings: Surroundings, target: Conninfo) -> None:
    major, wanted = session.info.server_version // 10000, surroundings.needs.identity.major
    if major < wanted:
        raise BackupRefused(
            f"{target.address} runs PostgreSQL {major}, the backup is of PostgreSQL {wanted}",
            remedy=f"Restore it on a server of PostgreSQL {wanted}.",
        )
    if not fetch_value(session, IS_EMPTY):
        raise BackupRefused(
            f"{target.address} is not empty: a backup is restored into a new database only",
            remedy="Make a new database from template0 and restore into that one.",
        )


def _all_but_subscriptions(*, subscriptions: bool) -> Callable[[ContentsEntry], bool]:
    return lambda entry: subscriptions or entry.kind not in SUBSCRIPTIONS


def _writing(target: Conninfo, surroundings: Surroundings) -> Conninfo:
    """A role's or the server's read-only default must not refuse us, and money is read as it was written."""
    options = f"{target.parameters.get('options', '')} -c default_transaction_read_only=off"
    if surroundings.lc_monetary is not None:
        escaped = surroundings.lc_monetary.replace("\\", "\\\\").replace(" ", "\\ ")
        options += f" -c lc_monetary={escaped}"
    return target.replaced(options=options.strip())

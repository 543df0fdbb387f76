"""Where a backup is proved: an empty database on a private server, or on one that is not the source's."""

import contextlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from pgrehearse.clones import template
from pgrehearse.clones.guards import require_apart
from pgrehearse.clones.making import Making
from pgrehearse.clones.place import Place, private_place, target_place
from pgrehearse.clones.template import CloneNames
from pgrehearse.errors import BackupRefused, SameDatabase, SameServer
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.pooler import require_direct_name, require_session
from pgrehearse.progress import Progress
from pgrehearse.release.backup.surroundings import Surroundings

ANOTHER = "Name another server with backup.scratch, or leave it away for a private local server."


@dataclass(frozen=True, slots=True, kw_only=True)
class ScratchOptions:
    """Where scratch databases are made.  ``server`` None: a private local one, below ``work_directory``."""

    server: Conninfo | None = None
    protected: Sequence[Conninfo] = ()  # whose servers are refused
    work_directory: Path | None = None
    create_roles: bool = False  # on a shared server: make the roles that are missing there


def require_elsewhere(options: ScratchOptions, source: Conninfo) -> tuple[str, ...]:
    """Refuse a scratch on the source's server, or on a protected one's; asked before anything is written.

    Returns which protected servers could not be asked.

    A backup that was only ever restored beside its source says nothing about the day when that server is gone.
    Raises `SameDatabase` (2), `SameServer` (1), `PoolerRefused` (2), `ServerUnreachable` (4).
    """
    if options.server is None:
        return ()
    require_direct_name(options.server)
    with connect(source, verb="guard") as ours, connect(options.server, verb="guard") as theirs:
        try:
            unasked = require_apart(
                ours, theirs, options.protected, source_name=source.address,
                target_name=f"the scratch {options.server.address}", same_server_allowed=False,
            )  # fmt: skip
        except (SameDatabase, SameServer) as error:
            raise type(error)(str(error), remedy=ANOTHER) from error
    require_session(options.server)
    return unasked


@contextlib.contextmanager
def open_scratch(
    options: ScratchOptions,
    surroundings: Surroundings,
    *,
    ledger: ReleaseLedger,
    now: Callable[[], datetime],
    progress: Progress,
) -> Iterator[Conninfo]:
    """An empty database of the source's locale, on a server that has its roles; dropped when the context ends.

    It is recorded as a clone before it is made, so `clones prune` finds what a killed process leaves.  A private
    server takes about 1.5 s.  Raises `CloneImpossible`, `MissingBinaries` (3).
    """
    with Making(ledger=ledger, now=now, names=CloneNames(id=secrets.token_hex(6)), keep=False) as making:
        work = making.make_directory(options.work_directory)
        place = _find_place(options, surroundings, making, work, progress)
        making.place = place
        try:
            with place.open_admin() as admin:
                place.create_roles(admin, comment=making.names.comment)
                owner = surroundings.roles.catalog.database_owner
                template.create_pristine(admin, making.names, surroundings.needs.locale, owner=owner)
        except psycopg.Error as error:
            raise template.clone_failure(error, "making the scratch database") from error
        yield place.admin.replaced(dbname=making.names.pristine)


def _find_place(
    options: ScratchOptions, surroundings: Surroundings, making: Making, work: Path, progress: Progress
) -> Place:
    needs, roles = surroundings.needs, surroundings.roles
    if options.server is None:
        binaries = require_server(needs.identity.major)
        making.intend(source=needs.identity)
        progress.step(f"starting a private PostgreSQL {binaries.major} server")
        making.server = LocalServer.create(binaries, parent=work, superuser=roles.catalog.bootstrap)
        return private_place(making.server, roles, needs)
    place = target_place(options.server, roles, needs, may_create_roles=options.create_roles)
    if place.major != needs.identity.major:
        raise BackupRefused(
            f"the scratch {options.server.address} runs PostgreSQL {place.major}, the source {needs.identity.major}: "
            "restored there, the backup would not be compared like with like",
            remedy=f"Name a server of PostgreSQL {needs.identity.major} with backup.scratch, or leave it away.",
        )
    with place.open_admin() as admin:
        there = read_identity(admin)
    making.intend(source=needs.identity, target=options.server, server=there, roles=place.missing_roles)
    return place

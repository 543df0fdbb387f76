"""Pristine and clone: two copies of one instant of the source, on a server that is not the source's.

`make_pair` is the story; each step is a function below it or a module beside it.
"""

import contextlib
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypedDict

import psycopg

from pgrehearse.clones import inert, preflight, template
from pgrehearse.clones.as_role import RoleAccess, become, open_as_role
from pgrehearse.clones.guards import require_apart
from pgrehearse.clones.invalid_indexes import read_invalid_indexes, restore_invalid_indexes
from pgrehearse.clones.making import Making
from pgrehearse.clones.place import Place, SourceRoles, private_place, target_place
from pgrehearse.clones.roles import read_roles
from pgrehearse.clones.server_settings import read_custom_parameters, read_server_settings
from pgrehearse.clones.snapshot import NO_TIMEOUTS, exported_snapshot
from pgrehearse.clones.source_rights import read_unreadable
from pgrehearse.clones.template import CloneNames
from pgrehearse.clones.transfer import DUMP, Transfer, dump, ms_since, restore
from pgrehearse.errors import CloneFailed, ConfigurationError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.binaries import require_server
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity, read_identity, read_started_at
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.postgres.pooler import SessionPath, require_direct_name, require_session

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where and when a pair was copied from."""

    identity: DatabaseIdentity
    lsn: str | None
    taken_at: datetime  # the source's clock
    path: SessionPath  # whether a proxy lies between
    started_at: datetime  # when its server was

    @property
    def is_replica(self) -> bool:
        return self.identity.in_recovery

    def as_json(self) -> dict[str, object]:
        return {
            **self.identity.as_json(),
            "lsn": self.lsn,
            "taken_at": self.taken_at.astimezone(UTC).isoformat(),
            "is_replica": self.is_replica,
            "proxied": self.path.proxied,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneTimings:
    """How long each step took, and how large the copy is."""

    dump_ms: float
    restore_ms: float
    analyze_ms: float
    template_ms: float
    source_size_bytes: int | None
    pristine_size_bytes: int

    def as_json(self) -> dict[str, float | int | None]:
        return {
            "dump_ms": round(self.dump_ms, 1),
            "restore_ms": round(self.restore_ms, 1),
            "analyze_ms": round(self.analyze_ms, 1),
            "template_ms": round(self.template_ms, 1),
            "source_size_bytes": self.source_size_bytes,
            "pristine_size_bytes": self.pristine_size_bytes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonePair:
    """A finished pair.  Valid inside the context of `make_pair`; sessions are the caller's to close."""

    id: str
    pristine: Conninfo
    clone: Conninfo
    origin: Origin
    role: str  # who runs migrations in production
    role_is_superuser: bool
    role_is_powerful: bool  # a superuser, or may run programs or write files on the server's machine
    role_access: RoleAccess | None
    role_problem: str | None  # why no session can be had as that role: a rehearsal is then not measured
    is_private: bool  # a server of our own: what reaches beyond the database harms nobody
    template_way: str
    lowered: tuple[str, ...]  # why the grade is less than full; empty: full
    switched_off: tuple[inert.SwitchedOff, ...]
    not_measured: tuple[str, ...]
    timings: CloneTimings
    make_clone: Callable[[], object]  # from pristine, to which nobody may be connected
    place: Place  # the server, and what is known of its roles

    def renew_clone(self) -> None:
        """Drop the clone and copy the pristine database again, under the same name and with the same settings.

        Ends every session in the clone; nobody may be connected to pristine.  Raises `CloneFailed` (exit 3).
        """
        try:
            self.make_clone()
        except psycopg.Error as error:
            raise template.clone_failure(error, "copying the pristine database again") from error

    def session(self, which: str, verb: str) -> Connection:
        """An autocommit administrator's session in ``"pristine"`` or ``"clone"``, without any timeout."""
        session = connect({"pristine": self.pristine, "clone": self.clone}[which], verb=verb)
        session.execute(NO_TIMEOUTS)
        return session

    def session_as_role(self, verb: str) -> Connection:
        """An autocommit session in the clone as the role that runs migrations in production.

        Raises `CloneFailed` (exit 3) where `role_problem` says that there is none.
        """
        if self.role_access is None:
            raise CloneFailed(self.role_problem or f"no session as {self.role} can be had")
        return open_as_role(self.role_access, verb=verb)

    def session_of(self, which: str, role: str, verb: str) -> Connection:
        """A session in ``"pristine"`` or ``"clone"`` of any role of production's, with the settings it starts with.

        Without any timeout.  For statements that were looked at: what runs in it can become the administrator again.
        Raises `CloneFailed` (exit 3) where the role is not here as it is in production.
        """
        if (problem := self.place.find_problem_of(role)) is not None:
            raise CloneFailed(problem)
        session = self.session(which, verb)
        try:
            become(session, role, self.place.settings_of(role))
            session.execute(NO_TIMEOUTS)  # the role's own: who waits for a plan is idle for long
        except BaseException:
            session.close()
            raise
        return session


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What the caller asked for."""

    source: Conninfo
    target: Conninfo | None
    work_directory: Path | None
    jobs: int
    create_roles: bool
    role: str | None
    keep: bool
    progress: Progress
    on_snapshot: Callable[[Connection], None] | None
    names: Collection[str]


class CopyOptions(TypedDict):
    """How a copy is to be made: the options of `make_pair` that a configuration decides."""

    work_directory: Path | None
    jobs: int
    same_server_allowed: bool
    source_protected: bool
    protected: Sequence[Conninfo]
    create_roles: bool
    role: str | None
    keep: bool


@contextlib.contextmanager
def make_pair(
    source: Conninfo,
    target: Conninfo | None,
    *,
    ledger: ReleaseLedger,
    now: Callable[[], datetime],
    work_directory: Path | None = None,
    jobs: int = 2,
    same_server_allowed: bool = False,
    source_protected: bool = True,
    protected: Sequence[Conninfo] = (),
    create_roles: bool = False,
    role: str | None = None,
    keep: bool = False,
    progress: Progress = lambda _: None,
    on_snapshot: Callable[[Connection], None] | None = None,
    names: Collection[str] = (),
) -> Iterator[ClonePair]:
    """Copy ``source`` once and yield the pair; both databases are dropped on leaving unless ``keep``.

    ``target`` is any database of a UAT server; None makes a private local server of the source's major.
    A ``source_protected`` source's server is refused as target unless ``same_server_allowed``; the server
    of each of ``protected`` always is.
    ``on_snapshot`` gets the source's session inside the exported snapshot (READ ONLY, REPEATABLE READ)
    while pg_dump runs.  ``role`` runs the migrations in production; None: the source URL's user.  ``names``: what
    the plan mentions that may be a custom parameter of the server's.

    Reads the source once (ACCESS SHARE on every table, one long snapshot).  Raises `SameDatabase`,
    `PoolerRefused` (2), `SameServer` (1), `CloneImpossible`, `CloneFailed`, `SourceUnreadable`,
    `MissingBinaries` (3), `ServerUnreachable` (4).  Whatever ends it, nothing half-made is left; after
    SIGKILL the ledger's entry, written beforehand, lets `prune` find the rest.
    """
    request = _Request(
        source=source, target=target, work_directory=work_directory, jobs=jobs, create_roles=create_roles, role=role,
        keep=keep, progress=progress, on_snapshot=on_snapshot, names=names,
    )  # fmt: skip
    path, target_path, not_asked = _check_addresses(
        source, target, protected, same_server_allowed=same_server_allowed, source_protected=source_protected
    )
    with Making(ledger=ledger, now=now, names=CloneNames(id=secrets.token_hex(6)), keep=keep) as making:
        with _told_as_failure(source):
            pair = _make(request, making, path, target_path, not_asked)
        making.finished(pair.clone)
        yield pair


def _check_addresses(
    source: Conninfo,
    target: Conninfo | None,
    protected: Sequence[Conninfo],
    *,
    same_server_allowed: bool,
    source_protected: bool,
) -> tuple[SessionPath, SessionPath | None, tuple[str, ...]]:
    """Guards before anything is written: not the same database, not production's server, no pooler of transactions."""
    for conninfo in (source, *((target,) if target else ())):
        require_direct_name(conninfo)
    not_asked: tuple[str, ...] = ()
    if target is not None:
        with connect(source, verb="guard") as source_session, connect(target, verb="guard") as target_session:
            not_asked = require_apart(
                source_session, target_session, protected, source_name=source.address, target_name=target.address,
                same_server_allowed=same_server_allowed, source_protected=source_protected,
            )  # fmt: skip
    target_path = None if target is None else require_session(target)
    return require_session(source), target_path, not_asked


def _make(
    request: _Request,
    making: Making,
    path: SessionPath,
    target_path: SessionPath | None,
    not_asked: tuple[str, ...],
) -> ClonePair:
    """The story: snapshot, place, dump, restore, template.  ``making`` undoes what was made."""
    names, progress = making.names, request.progress
    work = making.make_directory(request.work_directory)
    with exported_snapshot(request.source) as snapshot:
        progress(f"reading {request.source.address} in one snapshot")
        identity, started_at = read_identity(snapshot.connection), read_started_at(snapshot.connection)
        read_unreadable(snapshot.connection).require_none(request.source.address)
        needs = preflight.read_needs(snapshot.connection, identity)
        outward = inert.read_outward(snapshot.connection)
        invalid = read_invalid_indexes(snapshot.connection)
        roles = _read_source_roles(snapshot.connection, request)
        preflight.check_disk(work, needs, private=request.target is None).require(str(work))
        place = _prepare_place(request, making, roles, needs, work)
        transfer = Transfer(
            source=request.source, place=place, pristine=names.pristine, needs=needs, work=work, jobs=request.jobs,
            progress=progress,
        )  # fmt: skip
        dump_ms = dump(transfer, snapshot, request.on_snapshot)
    restored = restore(transfer, outward)
    if invalid:
        with place.open_admin(names.pristine) as admin:
            place.lowered += restore_invalid_indexes(admin, invalid)

    def make_clone() -> tuple[str, float]:
        with place.open_admin() as admin:
            progress("copying the pristine database")
            started = time.monotonic()
            template.drop_database(admin, names.clone, names)
            if target_path is not None and target_path.proxied:
                template.end_pooled_sessions(admin, names)
            size_bytes, owner = restored.size_bytes, roles.catalog.database_owner
            way = template.create_clone(admin, names, size_bytes=size_bytes, owner=owner)
            template_ms = ms_since(started)
            place.apply_settings(admin, names.both)
            place.furnish_login(admin, names)
            return way, template_ms

    way, template_ms = make_clone()
    shutil.rmtree(work / DUMP, ignore_errors=True)
    return ClonePair(
        id=names.id,
        pristine=place.admin.replaced(dbname=names.pristine),
        clone=place.admin.replaced(dbname=names.clone),
        origin=Origin(
            identity=identity, lsn=snapshot.lsn, taken_at=snapshot.taken_at, path=path, started_at=started_at
        ),
        role=roles.role,
        role_is_superuser=roles.catalog.roles[roles.role].superuser,
        role_is_powerful=place.role_is_powerful,
        role_access=place.access_as_role(names.clone),
        role_problem=place.find_role_problem(),
        is_private=place.is_private,
        template_way=way,
        lowered=(*place.lowered, *restored.lowered),
        switched_off=(*outward.switched_off(), *restored.switched_off),
        not_measured=(*not_asked, *outward.not_measured(), *restored.not_measured),
        make_clone=make_clone,
        place=place,
        timings=CloneTimings(
            dump_ms=dump_ms,
            restore_ms=restored.restore_ms,
            analyze_ms=restored.analyze_ms,
            template_ms=template_ms,
            source_size_bytes=needs.size_bytes,
            pristine_size_bytes=restored.size_bytes,
        ),
    )


def _read_source_roles(connection: Connection, request: _Request) -> SourceRoles:
    catalog = read_roles(connection)
    user = fetch_value(connection, "SELECT session_user::pg_catalog.text")
    role = request.role or str(user)
    if role not in catalog.roles:
        raise ConfigurationError(
            f"role {role}, who should run the migrations, does not exist on {request.source.address}",
            remedy="Name an existing role with migrations.role, or leave it away for the URL's own user.",
        )
    server = read_server_settings(connection, catalog.settings)
    custom = read_custom_parameters(connection, catalog.settings, named=request.names)
    own = catalog.settings_for(role)
    return SourceRoles(
        catalog=catalog,
        role=role,
        server_settings={**server.values, **custom.of_server},
        hidden_settings=() if role == user else tuple(sorted(server.hidden - own.keys())),
        options=request.source.parameters.get("options") if request.role in (None, user) else None,
    )


def _prepare_place(
    request: _Request, making: Making, roles: SourceRoles, needs: preflight.SourceNeeds, work: Path
) -> Place:
    """Find or make the server, check it, record the intention, then make roles and the empty pristine database."""
    if request.target is None:
        binaries = require_server(needs.identity.major)
        making.intend(source=needs.identity)
        request.progress(f"starting a private PostgreSQL {binaries.major} server")
        making.server = LocalServer.create(
            binaries, parent=work, superuser=roles.catalog.bootstrap, outlives_us=request.keep
        )
        place = private_place(making.server, roles, needs)
    else:
        place = target_place(request.target, roles, needs, may_create_roles=request.create_roles)
        with place.open_admin() as admin:
            there = read_identity(admin)
        ours = (making.names.login,) if place.needs_login else ()
        making.intend(source=needs.identity, target=request.target, server=there, roles=(*ours, *place.missing_roles))
    making.place = place
    with place.open_admin() as admin:
        place.create_roles(admin, comment=making.names.comment)
        place.create_login(admin, making.names)
        template.create_pristine(admin, making.names, needs.locale, owner=roles.catalog.database_owner)
    return place


@contextlib.contextmanager
def _told_as_failure(source: Conninfo) -> Iterator[None]:
    """A server's refusal on the way becomes one clear error."""
    try:
        yield
    except psycopg.Error as error:
        raise template.clone_failure(error, f"copying {source.address}") from error
    except OSError as error:
        raise CloneFailed(f"copying {source.address} failed: {error.strerror or error}") from error

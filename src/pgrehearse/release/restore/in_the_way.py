"""What would stop a restore beside production half-way, asked before anything is done: rights, names, room."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from pgrehearse.errors import PgRehearseError, RestoreRefused
from pgrehearse.postgres.connect import Connection, fetch_value, scrub
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.release.restore.beside import RestoreNames, open_admin, require_database
from pgrehearse.release.restore.database_properties import find_properties

QUERIES = named_queries(__file__)
SPARE_BYTES = 64 << 20
OWN_SESSIONS = "pgrehearse:"  # how their application_name begins


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Disk space for a second copy of the database, on the server's own disk."""

    needed_bytes: int | None  # None: the platform does not tell the database's size
    free_bytes: int | None  # None: it cannot be known from here

    @property
    def is_enough(self) -> bool | None:
        if self.needed_bytes is None or self.free_bytes is None:
            return None
        return self.free_bytes >= self.needed_bytes

    def as_json(self) -> dict[str, Any]:
        return {"needed_bytes": self.needed_bytes, "free_bytes": self.free_bytes, "is_enough": self.is_enough}


@dataclass(frozen=True, slots=True, kw_only=True)
class InTheWay:
    """Why the swap could not be made by this user, as sentences."""

    lasting: tuple[str, ...] = ()  # rights that are missing
    passing: tuple[str, ...] = ()  # sessions, prepared transactions, names: they may be gone when it is needed

    @property
    def reasons(self) -> tuple[str, ...]:
        return (*self.lasting, *self.passing)


def ask_in_the_way(production: Conninfo) -> InTheWay:
    """Before there is anything to restore: what would be in the way of it now.  Opens a session; raises nothing.

    A server on which it cannot be asked is in the way too.  Sessions of pgrehearse itself do not count.
    """
    try:
        with open_admin(production) as admin:
            return _read_in_the_way(admin, require_database(production), but_own_sessions=True)
    except PgRehearseError as error:
        return InTheWay(lasting=(str(error),))
    except psycopg.Error as error:
        return InTheWay(passing=(f"it could not be asked: {scrub(str(error), production)}",))


def find_in_the_way(admin: Connection, names: RestoreNames) -> tuple[str, ...]:
    """Every reason why the swap cannot be made by this user, as a sentence; () where there is none.

    ``admin`` is in a maintenance database.  Seven small queries.
    """
    told = list(_read_in_the_way(admin, names.database).reasons)
    if find_properties(admin, names.quarantine) is not None:
        told.append(f"there is a database {names.quarantine} already")
    return tuple(told)


def _read_in_the_way(admin: Connection, database: str, *, but_own_sessions: bool = False) -> InTheWay:
    query = "rights_16" if admin.info.server_version >= 160000 else "rights_14"
    row = admin.execute(QUERIES[query], (database,)).fetchone()
    if row is None:
        return InTheWay(lasting=(f"there is no database {database} on that server",))
    superuser, createdb, owns, becomes, user, owner, _, createrole = row
    lasting, passing = [], []
    if not superuser:
        if not owns:
            lasting.append(f"{user} may not rename {database}: it belongs to {owner}")
        if not createdb:
            lasting.append(f"{user} may not rename databases or make one: it lacks CREATEDB")
        if owns and not becomes:
            lasting.append(f"{user} may not give the restored database to {owner}: it cannot SET ROLE to it")
        roles = [row[0] for row in admin.execute(QUERIES["foreign_settings"], (database,))]
        if roles and not (createrole and admin.info.server_version < 160000):
            lasting.append(f"{user} may not carry over the settings in {database} of {', '.join(roles)}")
        grantors = [row[0] for row in admin.execute(QUERIES["foreign_grantors"], (database,))]
        if grantors:
            lasting.append(f"{user} may not repeat the grants on {database} that {', '.join(grantors)} gave")
        sessions = [
            (pid, role, application)
            for pid, role, application in admin.execute(QUERIES["foreign_sessions"], (database,))
            if not (but_own_sessions and (application or "").startswith(OWN_SESSIONS))
        ]
        if sessions:
            listed = ", ".join(f"{pid} ({role}, {application})" for pid, role, application in sessions[:5])
            passing.append(f"{user} may not end {len(sessions)} of the sessions in {database}: {listed}")
    prepared = [row[0] for row in admin.execute(QUERIES["prepared"], (database,))]
    if prepared:
        passing.append(f"prepared transactions keep {database} from being renamed: {', '.join(prepared)}")
    return InTheWay(lasting=tuple(lasting), passing=tuple(passing))


def require_free_way(admin: Connection, names: RestoreNames) -> None:
    """Raise `RestoreRefused` with every reason."""
    reasons = find_in_the_way(admin, names)
    if reasons:
        listed = "\n".join(f"  - {reason}" for reason in reasons)
        raise RestoreRefused(
            f"{names.database} cannot be replaced:\n{listed}",
            remedy="Use a superuser, or the database's owner with CREATEDB and pg_signal_backend (its URL: --to "
            "env:ADMIN_URL); COMMIT PREPARED or ROLLBACK PREPARED what is prepared.",
        )


def read_room(admin: Connection, names: RestoreNames) -> Room:
    """How much a second copy needs, and what is free; the latter only where the server runs on this machine.

    The size is the failed database's and a tenth more: the restored one is not bloated, but is being built.
    """
    try:
        with admin.transaction():
            row = admin.execute(QUERIES["place"], (names.database,)).fetchone()
    except psycopg.Error:  # a platform that hides it
        return Room(needed_bytes=None, free_bytes=None)
    assert row is not None
    size, location, by_socket = row
    needed = size + size // 10 + SPARE_BYTES
    if not by_socket:
        return Room(needed_bytes=needed, free_bytes=None)
    try:
        with admin.transaction():
            directory = Path(location or fetch_value(admin, "SHOW data_directory"))
        free = shutil.disk_usage(directory).free
    except (psycopg.Error, OSError):  # no right to know the directory, or it is another machine's
        return Room(needed_bytes=needed, free_bytes=None)
    return Room(needed_bytes=needed, free_bytes=free)


def require_room(room: Room, names: RestoreNames) -> None:
    """Raise `RestoreRefused` where it is known to be too little; what is not known is the caller's to tell."""
    if room.is_enough is False:
        assert room.free_bytes is not None
        assert room.needed_bytes is not None
        raise RestoreRefused(
            f"{room.free_bytes >> 20} MB are free on the server's disk; a copy of {names.database} needs about "
            f"{room.needed_bytes >> 20} MB",
            remedy="Free disk space on the server: the failed database is kept beside the restored one.",
        )

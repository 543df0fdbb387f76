"""What would stop a restore beside production half-way, asked before anything is done: rights, names, room."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from pgrehearse.errors import RestoreRefused
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.release.restore.beside import RestoreNames
from pgrehearse.release.restore.database_properties import find_properties

QUERIES = named_queries(__file__)
SPARE_BYTES = 64 << 20


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


def find_in_the_way(admin: Connection, names: RestoreNames) -> tuple[str, ...]:
    """Every reason why the swap cannot be made by this user, as a sentence; () where there is none.

    ``admin`` is in a maintenance database.  Seven small queries.
    """
    query = "rights_16" if admin.info.server_version >= 160000 else "rights_14"
    row = admin.execute(QUERIES[query], (names.database,)).fetchone()
    if row is None:
        return (f"there is no database {names.database} on that server",)
    superuser, createdb, owns, becomes, user, owner, _, createrole = row
    told = []
    if not superuser:
        if not owns:
            told.append(f"{user} may not rename {names.database}: it belongs to {owner}")
        if not createdb:
            told.append(f"{user} may not rename databases or make one: it lacks CREATEDB")
        if owns and not becomes:
            told.append(f"{user} may not give the restored database to {owner}: it cannot SET ROLE to it")
        roles = [row[0] for row in admin.execute(QUERIES["foreign_settings"], (names.database,))]
        if roles and not (createrole and admin.info.server_version < 160000):
            told.append(f"{user} may not carry over the settings in {names.database} of {', '.join(roles)}")
        grantors = [row[0] for row in admin.execute(QUERIES["foreign_grantors"], (names.database,))]
        if grantors:
            told.append(f"{user} may not repeat the grants on {names.database} that {', '.join(grantors)} gave")
        sessions = admin.execute(QUERIES["foreign_sessions"], (names.database,)).fetchall()
        if sessions:
            listed = ", ".join(f"{pid} ({role}, {application})" for pid, role, application in sessions[:5])
            told.append(f"{user} may not end {len(sessions)} of the sessions in {names.database}: {listed}")
    prepared = [row[0] for row in admin.execute(QUERIES["prepared"], (names.database,))]
    if prepared:
        told.append(f"prepared transactions keep {names.database} from being renamed: {', '.join(prepared)}")
    if find_properties(admin, names.quarantine) is not None:
        told.append(f"there is a database {names.quarantine} already")
    return tuple(told)


def require_free_way(admin: Connection, names: RestoreNames) -> None:
    """Raise `RestoreRefused` with every reason."""
    reasons = find_in_the_way(admin, names)
    if reasons:
        listed = "\n".join(f"  - {reason}" for reason in reasons)
        raise RestoreRefused(
            f"{names.database} cannot be replaced:\n{listed}",
            remedy="Use a superuser, or the database's owner with CREATEDB and pg_signal_backend; COMMIT PREPARED or "
            "ROLLBACK PREPARED what is prepared.",
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

"""A session into the clone that is what production's migrations run as: the role, and the settings it starts with."""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.errors import CloneFailed
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo

# What the URL itself sets (options=-c …) or libpq's environment does (PGTZ) stands above role and database.
CURRENT_SETTING = """
SELECT pg_catalog.current_setting(%s, true),
       (SELECT s.source FROM pg_catalog.pg_settings s WHERE pg_catalog.lower(s.name) = pg_catalog.lower(%s))
"""
SET_CONFIG = "SELECT pg_catalog.set_config(%s, %s, false)"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAccess:
    """How a session as the role is had: by logging in as it, or as a superuser who then becomes it."""

    role: str
    conninfo: Conninfo
    becomes: bool  # SET SESSION AUTHORIZATION after logging in as a superuser
    settings: Mapping[str, str]  # what production's session would start with, from role and database


def open_as_role(access: RoleAccess, *, verb: str) -> Connection:
    """Open the session; the caller closes it.

    Logging in applies the settings of role and database by itself; what still differs (the clone's server
    gives the role other settings) is set explicitly.  Raises `CloneFailed` (exit 3) rather than hand out a
    session that is not the role's.
    """
    session = connect(access.conninfo, verb=verb)
    try:
        for name, value in access.settings.items():
            row = session.execute(CURRENT_SETTING, (name, name)).fetchone()
            if row is None or (row[0] != value and row[1] != "client"):
                session.execute(SET_CONFIG, (name, value))
        if access.becomes:
            session.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(access.role)))
        # the session's user: ALTER ROLE … SET role = … makes the current one another, in production too
        user = fetch_value(session, "SELECT session_user::pg_catalog.text")
    except psycopg.Error as error:
        session.close()
        told = error.diag.message_primary or str(error).strip()
        raise CloneFailed(f"no session as {access.role} into the clone: {told}") from error
    except BaseException:
        session.close()
        raise
    if user != access.role:
        session.close()
        raise CloneFailed(f"a session into the clone is {user}'s, not {access.role}'s")
    return session

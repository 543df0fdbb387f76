"""A session into a copy that is another role's: whose migrations run as in production, or whose application does.

`open_as_role` gives the role that runs the migrations and lets no plan lead back out of it; `become` makes an
administrator's session another role's, for statements that were looked at before.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.errors import CloneFailed
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo

# What the URL itself sets (options=-c …) or libpq's environment does (PGTZ) stands above role and database.
CURRENT_SETTINGS = """
SELECT n.name, pg_catalog.current_setting(n.name, true), s.source
FROM pg_catalog.unnest(%s::pg_catalog.text[]) n (name)
LEFT JOIN pg_catalog.pg_settings s ON pg_catalog.lower(s.name) = pg_catalog.lower(n.name)
"""
SET_CONFIG = "SELECT pg_catalog.set_config(%s, %s, false)"
WHO = "SELECT session_user::pg_catalog.text, current_user::pg_catalog.text"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleAccess:
    """How a session as the role is had: by logging in as it, or as a login role of our own that starts as it."""

    role: str
    conninfo: Conninfo
    login: str | None  # our login role (see `login_role`); None: the role logs in itself
    current_user: str | None  # who our login's sessions start as: the role, or what its own setting `role` says
    settings: Mapping[str, str]  # what production's session would start with, from role and database


def open_as_role(access: RoleAccess, *, verb: str) -> Connection:
    """Open the session; the caller closes it.

    Logging in applies the settings of role and database by itself; what still differs (the clone's server
    gives the role other settings) is set explicitly.  Raises `CloneFailed` (exit 3) rather than hand out a
    session that is not the role's.
    """
    session = connect(access.conninfo, verb=verb)
    try:
        for name, found, source in session.execute(CURRENT_SETTINGS, (list(access.settings),)).fetchall():
            if found != access.settings[name] and source != "client":
                # Not the role's to set: the administrator tried to, and what he may not either was told.
                with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                    session.execute(SET_CONFIG, (name, access.settings[name]))
        who = session.execute(WHO).fetchone()
    except psycopg.Error as error:
        session.close()
        told = error.diag.message_primary or str(error).strip()
        raise CloneFailed(f"no session as {access.role} into the clone: {told}") from error
    except BaseException:
        session.close()
        raise
    assert who is not None
    # Who logs in himself counts as session user: ALTER ROLE … SET role = … makes the current one another, in
    # production too.
    found, wanted = (who[0], access.role) if access.login is None else (who[1], access.current_user)
    if found != wanted:
        session.close()
        raise CloneFailed(f"a session into the clone is {found}'s, not {wanted}'s")
    return session


def become(session: Connection, role: str, settings: Mapping[str, str]) -> None:
    """Make an administrator's session the role's, as if it had logged in.

    A superuser becomes the session's user as well; another administrator, who must be a member of the role, only
    the current one.  Raises `CloneFailed` (exit 3) where he may not.
    """
    wanted = dict(settings)
    current = wanted.pop("role", "none")
    for name, value in wanted.items():
        # What the server refuses was told when the copies were made: `ClonePair.lowered`.
        with contextlib.suppress(psycopg.Error):
            session.execute(SET_CONFIG, (name, value))
    try:
        row = session.execute("SELECT pg_catalog.current_setting('is_superuser') = 'on'").fetchone()
        whose = "SET SESSION AUTHORIZATION {}" if row is not None and row[0] else "SET ROLE {}"
        session.execute(sql.SQL(whose).format(sql.Identifier(role)))
        if current != "none":
            session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(current)))
    except psycopg.Error as error:
        raise CloneFailed(f"no session as {role} can be had: {error.diag.message_primary}") from error

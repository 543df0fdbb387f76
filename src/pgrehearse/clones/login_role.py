"""A login role of our own: how a session becomes production's role where nobody can log in as it.

It has no right but to SET ROLE to production's role.  So whatever leads back out of that role inside a plan
(SET SESSION AUTHORIZATION, RESET, DISCARD ALL, in a function or in a string built at run time) leads to a role
that may do nothing, and never to the administrator who logged in to make the copy.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.clones.as_role import RoleAccess, open_as_role
from pgrehearse.clones.roles import Setting, apply_settings
from pgrehearse.clones.template import CloneNames
from pgrehearse.errors import CloneFailed, ServerUnreachable
from pgrehearse.postgres.connect import Connection, fetch_value

VALID_DAYS = 3  # longer than any rehearsal: what SIGKILL leaves behind is then a name that nobody can use
HAS_CONNECT = "SELECT pg_catalog.has_database_privilege(%s, %s, 'CONNECT')"
UNTIL = "SELECT (pg_catalog.clock_timestamp() + pg_catalog.make_interval(days => %s))::pg_catalog.text"
REMEDY = (
    "give --target a login as that role itself, or leave --target out: a private local server lets our own login in"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginRole:
    """A login role that was made, and who its sessions start as."""

    name: str
    password: str
    becomes: str  # the current user of its sessions from their first statement on


def create_login(admin: Connection, names: CloneNames, role: str) -> str:
    """Make the login and let it SET ROLE to ``role``; returns its password.

    ``admin`` is a superuser, or may make roles and grant this one.  The password reaches the server as a SCRAM
    verifier only.  Raises `psycopg.Error`, and nothing is made then.
    """
    password = secrets.token_urlsafe(24)
    name = sql.Identifier(names.login)
    verifier = admin.pgconn.encrypt_password(password.encode(), names.login.encode(), b"scram-sha-256").decode()
    until = fetch_value(admin, UNTIL, (VALID_DAYS,))
    grant = sql.SQL("GRANT {} TO {}").format(sql.Identifier(role), name)
    if admin.info.server_version >= 160000:
        grant += sql.SQL(" WITH ADMIN FALSE, INHERIT FALSE, SET TRUE")
    with admin.transaction():
        admin.execute(
            sql.SQL(
                "CREATE ROLE {} LOGIN NOSUPERUSER NOINHERIT NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS "
                "VALID UNTIL {} PASSWORD {}"
            ).format(name, sql.Literal(until), sql.Literal(verifier))
        )
        admin.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(name, sql.Literal(names.comment)))
        admin.execute(grant)
    return password


def furnish_login(admin: Connection, names: CloneNames, becomes: str, settings: Mapping[str, str]) -> list[str]:
    """Let its sessions in the clone start as production's role, with these settings; returns what could not be set.

    As settings of the login they are what RESET, RESET ALL and RESET ROLE lead back to, as in production.
    """
    wanted = {**settings, "role": becomes}
    failed = apply_settings(
        admin,
        [Setting(role=names.login, in_database=True, name=name, value=value) for name, value in wanted.items()],
        names.clone,
    )
    if not fetch_value(admin, HAS_CONNECT, (names.login, names.clone)):
        target = sql.Identifier(names.clone), sql.Identifier(names.login)
        admin.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*target))
    return failed


def find_refusal(access: RoleAccess) -> str | None:
    """Why this login does not get in as the role (pg_hba.conf has the last word); None where it does."""
    try:
        open_as_role(access, verb="clone").close()
    except (ServerUnreachable, CloneFailed) as error:
        return f"{error}; {REMEDY}"
    return None


def drop_login(admin: Connection, names: CloneNames) -> None:
    """Drop it, if it is there and ours.  Raises `psycopg.Error` where a database that still exists names it."""
    row = admin.execute(
        "SELECT pg_catalog.shobj_description(r.oid, 'pg_authid') FROM pg_catalog.pg_roles r WHERE r.rolname = %s",
        (names.login,),
    ).fetchone()
    if row is not None and row[0] == names.comment:
        admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(names.login)))


def retire_login(admin: Connection, names: CloneNames) -> None:
    """The clone is kept, its login is not needed any more: gone, or unable to log in until its clone is dropped."""
    name = sql.Identifier(names.login)
    if admin.execute("SELECT 1 FROM pg_catalog.pg_roles WHERE rolname = %s", (names.login,)).fetchone() is None:
        return
    admin.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM {}").format(sql.Identifier(names.clone), name))
    try:
        drop_login(admin, names)
    except psycopg.errors.DependentObjectsStillExist:
        admin.execute(sql.SQL("ALTER ROLE {} NOLOGIN").format(name))

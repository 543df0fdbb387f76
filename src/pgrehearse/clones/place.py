"""The server on which a pair is made: a private one of our own, or a UAT server that is shared."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from pgrehearse.clones import preflight
from pgrehearse.clones.as_role import RoleAccess
from pgrehearse.clones.login_role import REMEDY, LoginRole, create_login, find_refusal, furnish_login
from pgrehearse.clones.preflight import Missing, SourceNeeds
from pgrehearse.clones.roles import (
    Role,
    RoleCatalog,
    apply_database_privileges,
    apply_settings,
    create_roles,
    folded_settings,
    grant_memberships,
    read_roles,
)
from pgrehearse.clones.server_settings import apply_to_server, as_database_settings, unlike_server
from pgrehearse.clones.snapshot import NO_TIMEOUTS
from pgrehearse.clones.template import CloneNames
from pgrehearse.errors import CloneImpossible
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer

REACH_THE_MACHINE = frozenset({"pg_execute_server_program", "pg_read_server_files", "pg_write_server_files"})
HIDDEN = (
    "behind what the user who reads it has set, and is not carried over: GRANT SELECT ON pg_file_settings and EXECUTE "
    "ON FUNCTION pg_show_all_file_settings() to that user"
)
# What a session starts with, whatever it set since.
READ_ONLY_DEFAULT = """
SELECT s.reset_val FROM pg_catalog.pg_settings s WHERE s.name OPERATOR(pg_catalog.=) 'default_transaction_read_only'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRoles:
    """The source's roles, the one that runs migrations, and what its server's configuration says."""

    catalog: RoleCatalog
    role: str
    server_settings: Mapping[str, str]  # custom parameters, too, but in a backup
    hidden_settings: tuple[str, ...] = ()  # the server's own that its sessions have and nobody saw
    options: str | None  # of the source's URL: `-c search_path=…` is part of how production is reached

    @property
    def required(self) -> frozenset[str]:
        """Roles without which the copy cannot be restored, or not be used as production's."""
        return (self.catalog.needed | {self.role}) & frozenset(self.catalog.roles)


@dataclass(slots=True, kw_only=True)
class Place:
    """A server and what was found out about it on the way.  ``admin`` reaches any database of it."""

    admin: Conninfo
    server: LocalServer | None
    roles: SourceRoles
    missing_roles: tuple[str, ...] = ()  # to be made here
    passwords: dict[str, str] = field(default_factory=dict)  # of the roles that we made
    lowered: list[str] = field(default_factory=list)
    here: RoleCatalog | None = None  # a UAT server's own roles
    user: str = ""
    is_superuser: bool = True
    major: int = 0
    login: LoginRole | None = None  # of our own, where nobody can log in as the role
    login_problem: str | None = None  # why such a login could not be had

    @property
    def is_private(self) -> bool:
        return self.server is not None

    def open_admin(self, database: str | None = None, *, verb: str = "clone") -> Connection:
        """An administrator's session that no setting of role or database hinders."""
        session = connect(self.admin if database is None else self.admin.replaced(dbname=database), verb=verb)
        session.execute(NO_TIMEOUTS)
        session.execute("SET default_transaction_read_only = off")
        return session

    def restoring_address(self, database: str) -> Conninfo:
        """For pg_restore, which lifts timeouts by itself, and not what makes its user's sessions read-only."""
        address = self.admin.replaced(dbname=database)
        with self.open_admin(database) as session:
            if fetch_value(session, READ_ONLY_DEFAULT) == "off":  # most poolers refuse options
                return address
        given = address.parameters.get("options") or os.environ.get("PGOPTIONS", "")
        return address.replaced(options=f"{given} -c default_transaction_read_only=off".strip())

    def create_roles(self, admin: Connection, *, comment: str) -> None:
        """Make the roles that are missing, with their memberships; on a private server all of production's."""
        try:
            self.passwords = create_roles(
                admin,
                self.roles.catalog,
                self.missing_roles,
                password_of=lambda _: secrets.token_urlsafe(24),
                comment=None if self.is_private else comment,
            )
        except psycopg.Error as error:
            raise CloneImpossible(
                f"cannot create {', '.join(self.missing_roles)} on the target: {error.diag.message_primary}",
                remedy=_create_statements(self.roles.catalog, self.missing_roles),
            ) from error
        members = frozenset(self.roles.catalog.roles if self.is_private else self.missing_roles)
        self.lowered += grant_memberships(admin, self.roles.catalog, members)

    def apply_settings(self, admin: Connection, databases: tuple[str, ...]) -> None:
        """Settings and privileges of production's database and roles, on the finished copies."""
        catalog = self.roles.catalog
        failed: list[str] = []
        of_server = unlike_server(admin, self.roles.server_settings)
        if self.is_private:
            failed += apply_to_server(admin, of_server)
            failed += apply_settings(admin, [s for s in catalog.settings if not s.in_database], "")
            within = tuple(setting for setting in catalog.settings if setting.in_database)
        else:
            within = folded_settings(catalog, self.roles.required)
            within += as_database_settings(of_server, within)
        for database in databases:
            failed += apply_settings(admin, within, database)
            apply_database_privileges(admin, catalog, database)
        failed += [f"{name} of the source's server is hidden {HIDDEN}" for name in self.roles.hidden_settings]
        self.lowered += dict.fromkeys(failed)

    @property
    def needs_login(self) -> bool:
        """Whether nobody can log in here as production's role, so that a login of our own must become it."""
        role, catalog = self.roles.role, self.roles.catalog
        made_here = role in self.missing_roles and catalog.roles[role].login
        return role != self.user and not made_here and self._rank_problem() is None

    def create_login(self, admin: Connection, names: CloneNames) -> None:
        """Make our login role, where one is needed; `find_role_problem` tells why it could not be made."""
        if not self.needs_login:
            return
        role = self.roles.role
        becomes = self.roles.catalog.settings_for(role).get("role", "none")
        try:
            password = create_login(admin, names, role)
        except psycopg.Error as error:
            told = error.diag.message_primary or str(error).strip()
            self.login_problem = (
                f"the target's user {self.user} is not {role}, who runs migrations in production, and may not make a "
                f"login that could become {role}: {told}; {REMEDY}"
            )
            return
        self.login = LoginRole(name=names.login, password=password, becomes=role if becomes == "none" else becomes)

    def furnish_login(self, admin: Connection, names: CloneNames) -> None:
        """On the finished clone: its settings, and whether the server lets it in."""
        if self.login is None:
            return
        settings = self.roles.catalog.settings_for(self.roles.role)
        self.lowered += furnish_login(admin, names, self.login.becomes, settings)
        access = self.access_as_role(names.clone)
        assert access is not None
        self.login_problem = find_refusal(access)

    @property
    def role_is_powerful(self) -> bool:
        """Whether the role may reach the server's machine: a superuser, or a member of one or of what may."""
        role, catalogs = self.roles.role, [self.roles.catalog, *([self.here] if self.here is not None else [])]
        return any(
            each in REACH_THE_MACHINE or (each in catalog.roles and catalog.roles[each].superuser)
            for catalog in catalogs
            for each in catalog.groups_of([role])
        )

    def find_role_problem(self) -> str | None:
        """Why a session as production's role cannot be had here; None where it can."""
        return self._rank_problem() or self.login_problem

    def _rank_problem(self) -> str | None:
        role = self.roles.role
        existing = self.here.roles.get(role) if self.here is not None else None  # None: we make it as production's is
        if existing is not None and "SUPERUSER" in existing.differences(self.roles.catalog.roles[role]):
            here = "a superuser" if existing.superuser else "no superuser"
            return f"role {role} is {here} on the target, unlike in production"
        return None

    def find_problem_of(self, role: str) -> str | None:
        """Why a session as ``role`` would not have the rights here that it has in production; None where it would."""
        there = self.roles.catalog.roles.get(role)
        if there is None:
            return f"role {role} does not exist in production"
        if self.here is None or role in self.missing_roles:
            return None
        if (found := self.here.roles.get(role)) is None:
            return f"role {role} does not exist on the target's server; {_create_statement(there)}"
        if differences := found.differences(there):
            return f"role {role} differs in {', '.join(differences)} on the target's server"
        groups, wanted = self.here.groups_of([role]), self.roles.catalog.groups_of([role])
        if groups != wanted:
            return f"role {role} is not a member of the same roles on the target's server: {_listed(groups ^ wanted)}"
        return None

    def settings_of(self, role: str) -> dict[str, str]:
        """What a session of this role starts with in production."""
        settings = dict(self.roles.catalog.settings_for(role))
        return settings if self.is_private else dict(self.roles.server_settings) | settings

    def access_as_role(self, database: str) -> RoleAccess | None:
        """How to be production's role in this database; None where `find_role_problem` says why not."""
        if self.find_role_problem() is not None:
            return None
        role, login = self.roles.role, self.login
        base = self.admin.replaced(dbname=database)
        if self.roles.options is not None:
            base = base.replaced(options=self.roles.options)
        user, password = (login.name, login.password) if login is not None else (role, self.passwords.get(role))
        if password is not None:
            base = base.replaced(user=user, password=password, passfile=None)
        settings = self.settings_of(role)
        if login is not None:
            settings.pop("role", None)  # the login's own setting
        return RoleAccess(
            role=role,
            conninfo=base,
            login=login.name if login is not None else None,
            current_user=login.becomes if login is not None else None,
            settings=settings,
        )


def private_place(server: LocalServer, roles: SourceRoles, needs: SourceNeeds) -> Place:
    """A private server: production's roles are all made there, so that a migration may name any of them."""
    place = Place(admin=server.conninfo(), server=server, roles=roles, user=server.superuser, major=server.major)
    with place.open_admin() as admin:
        found = preflight.check_server(admin, needs)
        found.require("a private local server")
        existing = read_roles(admin).roles
    place.lowered += found.lowered
    place.lowered += preflight.platform_rights(roles.catalog, roles.role)
    place.missing_roles = tuple(sorted(set(roles.catalog.roles) - set(existing)))
    return place


def target_place(target: Conninfo, roles: SourceRoles, needs: SourceNeeds, *, may_create_roles: bool) -> Place:
    """A UAT server: nothing is changed about its roles; those that the copy needs must exist, or be allowed.

    Reads only.  Raises `CloneImpossible` with everything that is missing.
    """
    place = Place(admin=target, server=None, roles=roles)
    with place.open_admin() as admin:
        found = preflight.check_server(admin, needs)
        row = admin.execute(preflight.QUERIES["me"]).fetchone()
        assert row is not None
        place.user, place.is_superuser = row[0], row[1]
        place.here = here = read_roles(admin)
        place.major = admin.info.server_version // 10000
    place.missing_roles = tuple(sorted(roles.required - set(here.roles)))
    missing = list(found.missing)
    if place.missing_roles and not may_create_roles:
        remedy = f"{_create_statements(roles.catalog, place.missing_roles)}  Or set clone.create_roles = true."
        missing += [
            Missing(what=f"role {name} does not exist on the target's server", remedy=remedy)
            for name in place.missing_roles
        ]
    preflight.Preflight(missing=tuple(missing), lowered=()).require(target.address)
    place.lowered += found.lowered
    place.lowered += _role_differences(roles, here)
    return place


def _role_differences(roles: SourceRoles, here: RoleCatalog) -> list[str]:
    told = []
    for name in sorted(roles.required & set(here.roles)):
        differences = here.roles[name].differences(roles.catalog.roles[name])
        if differences:
            told.append(f"role {name} differs in {', '.join(differences)}")
    if roles.role in here.roles:
        there, mine = roles.catalog.groups_of([roles.role]), here.groups_of([roles.role])
        told += [
            f"role {roles.role} is not a member of {group} on the clone's server" for group in sorted(there - mine)
        ]
        told += [
            f"role {roles.role} is a member of {group} only on the clone's server" for group in sorted(mine - there)
        ]
        expected = roles.catalog.settings_for(roles.role)
        extra = sorted({s.name for s in here.settings if s.role == roles.role and not s.in_database} - set(expected))
        told += [f"role {roles.role} has {name} set only on the clone's server" for name in extra]
    return told


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names))


def _create_statements(catalog: RoleCatalog, names: tuple[str, ...]) -> str:
    return "Run on the target: " + " ".join(_create_statement(catalog.roles[name]) for name in names)


def _create_statement(role: Role) -> str:
    words = [
        word
        for word, on in (
            ("LOGIN", role.login), ("SUPERUSER", role.superuser), ("CREATEDB", role.createdb),
            ("CREATEROLE", role.createrole), ("BYPASSRLS", role.bypassrls),
        )
        if on
    ]  # fmt: skip
    return " ".join(["CREATE ROLE", sql.Identifier(role.name).as_string(None), *words]).rstrip() + ";"

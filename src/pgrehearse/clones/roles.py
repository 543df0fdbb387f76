"""Production's roles, and making on a clone's server those that its database needs.

A clone that runs everything as a superuser proves nothing about a migration that production runs as an
ordinary role.  Passwords never travel: a role that we make gets a random one.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.hidden import MASK
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)

# As pg_dump's variable_is_guc_list_quote (dumputils.c, 18): stored as a list of quoted identifiers, and
# written back element by element; every other setting is one string.
LIST_SETTINGS = frozenset(
    {
        "local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
        "temp_tablespaces", "unix_socket_directories",
    }
)  # fmt: skip
# A library that is missing on the clone's server would refuse every session.
NOT_CARRIED = frozenset({"session_preload_libraries", "local_preload_libraries"})
PLATFORM_ROLES = frozenset(
    {"rds_superuser", "neon_superuser", "cloudsqlsuperuser", "azure_pg_admin", "alloydbsuperuser", "supabase_admin"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A role's attributes.  Connection limit and expiry are left out: they do not change what a statement may do."""

    name: str
    superuser: bool
    inherit: bool
    createrole: bool
    createdb: bool
    login: bool
    replication: bool
    bypassrls: bool
    bootstrap: bool  # the superuser that initdb made

    def differences(self, other: "Role") -> tuple[str, ...]:
        """Attributes that ``other`` has otherwise, as CREATE ROLE names them."""
        names = ("superuser", "inherit", "createrole", "createdb", "bypassrls")
        return tuple(name.upper() for name in names if getattr(self, name) != getattr(other, name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """``member`` belongs to ``role``."""

    role: str
    member: str
    admin: bool
    inherit: bool
    set_role: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One entry of pg_db_role_setting, as it reaches one database."""

    role: str | None  # None: every role
    in_database: bool
    name: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseGrant:
    """One privilege on the database itself; ``grantee`` None is PUBLIC."""

    grantee: str | None
    privilege: str
    grantable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCatalog:
    """Every role of a server and what this database has to do with them."""

    roles: Mapping[str, Role]
    memberships: tuple[Membership, ...]
    settings: tuple[Setting, ...]
    needed: frozenset[str]  # named by objects of the database
    database_owner: str
    database_grants: tuple[DatabaseGrant, ...] | None  # None: PostgreSQL's defaults

    @property
    def bootstrap(self) -> str:
        return next(role.name for role in self.roles.values() if role.bootstrap)

    def groups_of(self, names: Iterable[str]) -> frozenset[str]:
        """These roles and every role they belong to, however far up."""
        found = set(names)
        while True:
            above = {m.role for m in self.memberships if m.member in found} - found
            if not above:
                return frozenset(found)
            found |= above

    def settings_for(self, role: str) -> dict[str, str]:
        """What a new session of this role in this database starts with, by PostgreSQL's precedence."""
        return settings_for(role, self.settings)


def settings_for(role: str, settings: Iterable[Setting]) -> dict[str, str]:
    """Of these settings, what a new session of this role starts with, by PostgreSQL's precedence."""
    ranked = sorted(
        (setting for setting in settings if setting.role in (None, role)),
        key=lambda setting: (setting.role is not None, setting.in_database),
    )
    return {setting.name: setting.value for setting in ranked if setting.name not in NOT_CARRIED}


def read_setting_entries(connection: Connection) -> tuple[Setting, ...]:
    """What ALTER DATABASE and ALTER ROLE set, of any role, as far as it reaches this database."""
    return tuple(
        Setting(role=row[0], in_database=row[1], name=row[2], value=row[3])
        for row in connection.execute(QUERIES["settings"])
    )


def read_roles(connection: Connection) -> RoleCatalog:
    """Read the source's roles.  Six queries over small catalogs; needs no special right."""
    memberships = "memberships_16" if connection.info.server_version >= 160000 else "memberships_14"
    owner, has_acl = connection.execute(QUERIES["database"]).fetchone() or ("", False)
    grants = [
        DatabaseGrant(grantee=row[0], privilege=row[1], grantable=row[2])
        for row in connection.execute(QUERIES["database_privileges"])
    ]
    return RoleCatalog(
        roles={row[0]: _role(row) for row in connection.execute(QUERIES["roles"])},
        memberships=tuple(
            Membership(role=row[0], member=row[1], admin=row[2], inherit=row[3], set_role=row[4])
            for row in connection.execute(QUERIES[memberships])
        ),
        settings=read_setting_entries(connection),
        needed=frozenset(row[0] for row in connection.execute(QUERIES["needed"])),
        database_owner=owner,
        database_grants=tuple(grants) if has_acl else None,
    )


def _role(row: tuple[object, ...]) -> Role:
    name, superuser, inherit, createrole, createdb, login, replication, bypassrls, bootstrap = row
    return Role(
        name=str(name),
        superuser=bool(superuser),
        inherit=bool(inherit),
        createrole=bool(createrole),
        createdb=bool(createdb),
        login=bool(login),
        replication=bool(replication),
        bypassrls=bool(bypassrls),
        bootstrap=bool(bootstrap),
    )


def create_roles(
    admin: Connection,
    source: RoleCatalog,
    names: Iterable[str],
    *,
    password_of: Callable[[str], str],
    comment: str | None = None,
) -> dict[str, str]:
    """Make these roles with production's attributes; returns the password of each that may log in.

    ``admin`` is a superuser, or has CREATEROLE and every attribute that it hands on.  Nothing is changed
    about roles that exist already.  Passwords reach the server as SCRAM verifiers only, so that no
    statement log holds one.
    """
    passwords: dict[str, str] = {}
    with admin.transaction():
        for name in sorted(names):
            role = source.roles[name]
            words = [
                _switch("SUPERUSER", role.superuser), _switch("INHERIT", role.inherit),
                _switch("CREATEROLE", role.createrole), _switch("CREATEDB", role.createdb),
                _switch("LOGIN", role.login), _switch("REPLICATION", role.replication),
                _switch("BYPASSRLS", role.bypassrls),
            ]  # fmt: skip
            statement = sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(name), sql.SQL(" ").join(words))
            if role.login:
                passwords[name] = password_of(name)
                verifier = admin.pgconn.encrypt_password(passwords[name].encode(), name.encode(), b"scram-sha-256")
                statement += sql.SQL(" PASSWORD {}").format(sql.Literal(verifier.decode()))
            admin.execute(statement)
            if comment:
                admin.execute(sql.SQL("COMMENT ON ROLE {} IS {}").format(sql.Identifier(name), sql.Literal(comment)))
    return passwords


def grant_memberships(admin: Connection, source: RoleCatalog, members: frozenset[str]) -> list[str]:
    """Give these roles production's memberships; returns those that could not be given, with the reason."""
    failed = []
    has_options = admin.info.server_version >= 160000
    for membership in source.memberships:
        if membership.member not in members:
            continue
        statement = sql.SQL("GRANT {} TO {}").format(sql.Identifier(membership.role), sql.Identifier(membership.member))
        if has_options:
            statement += sql.SQL(" WITH ADMIN {}, INHERIT {}, SET {}").format(
                *(
                    sql.SQL("TRUE" if on else "FALSE")
                    for on in (membership.admin, membership.inherit, membership.set_role)
                )
            )
        elif membership.admin:
            statement += sql.SQL(" WITH ADMIN OPTION")
        reason = _attempt(admin, statement)
        if reason:
            failed.append(f"{membership.member} is not a member of {membership.role} here: {reason}")
    return failed


def apply_settings(admin: Connection, settings: Sequence[Setting], database: str) -> list[str]:
    """ALTER ROLE / DATABASE … SET for one database; returns what could not be set, with the reason."""
    failed = []
    for setting in settings:
        whose = "every role" if setting.role is None else f"role {setting.role}"
        if setting.name in NOT_CARRIED:
            failed.append(f"{setting.name} of {whose} is not carried over: its libraries may be missing here")
            continue
        place = sql.SQL(" IN DATABASE {}").format(sql.Identifier(database)) if setting.in_database else sql.SQL("")
        if setting.role is None and setting.in_database:
            head = sql.SQL("ALTER DATABASE {}").format(sql.Identifier(database))
        elif setting.role is None:
            head = sql.SQL("ALTER ROLE ALL").format()
        else:
            head = sql.SQL("ALTER ROLE {}").format(sql.Identifier(setting.role)) + place
        statement = sql.SQL("{} SET {} TO {}").format(head, setting_name(setting.name), setting_value(setting))
        reason = _attempt(admin, statement, of=setting)
        if reason:
            failed.append(f"{setting.name} of {whose} could not be set: {reason}")
    return failed


def folded_settings(source: RoleCatalog, roles: Iterable[str]) -> tuple[Setting, ...]:
    """The same effect for one database alone, so that a shared server's roles stay as they are."""
    everybody: dict[str, str] = {}
    for in_database in (False, True):
        everybody |= {s.name: s.value for s in source.settings if s.role is None and s.in_database is in_database}
    folded = [Setting(role=None, in_database=True, name=name, value=value) for name, value in everybody.items()]
    for role in sorted(roles):
        own: dict[str, str] = {}
        for in_database in (False, True):
            own |= {s.name: s.value for s in source.settings if s.role == role and s.in_database is in_database}
        folded += [Setting(role=role, in_database=True, name=name, value=value) for name, value in own.items()]
    return tuple(folded)


def apply_database_privileges(admin: Connection, source: RoleCatalog, database: str) -> None:
    """Give a database of ours production's privileges on the database itself (CONNECT, CREATE, TEMPORARY)."""
    if source.database_grants is None:
        return
    target = sql.Identifier(database)
    with admin.transaction():
        owner = sql.Identifier(source.database_owner)
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC, {}").format(target, owner))
        for grant in source.database_grants:
            grantee = sql.SQL("PUBLIC") if grant.grantee is None else sql.Identifier(grant.grantee)
            option = sql.SQL(" WITH GRANT OPTION" if grant.grantable and grant.grantee is not None else "")
            admin.execute(
                sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                    sql.SQL(_keyword(grant.privilege)), target, grantee, option
                )
            )


def setting_name(name: str) -> sql.Composable:
    """As it stands after ``SET``: each part of a custom parameter's name by itself."""
    return sql.SQL(".").join(map(sql.Identifier, name.split(".")))


def told_refusal(error: psycopg.Error, setting: Setting) -> str:
    """The server's words, without the value of a custom parameter: that may be a secret."""
    told = error.diag.message_primary or str(error).strip()
    return told.replace(setting.value, MASK) if "." in setting.name and setting.value else told


def setting_value(setting: Setting) -> sql.Composable:
    """What follows ``SET name TO``: list settings are written back element by element, as pg_dump does."""
    if setting.name not in LIST_SETTINGS:
        return sql.Literal(setting.value)
    elements = [
        quoted.replace('""', '"') if quoted or not plain else plain.strip().lower()
        for quoted, plain in re.findall(r'\s*(?:"((?:[^"]|"")*)"|([^,"]+))\s*(?:,|$)', setting.value)
    ]
    return sql.SQL(", ").join(map(sql.Literal, elements)) if elements else sql.Literal("")


def _switch(word: str, on: bool) -> sql.Composable:
    return sql.SQL(_keyword(word if on else f"NO{word}"))


def _keyword(word: str) -> LiteralString:
    if not re.fullmatch(r"[A-Z]+", word):  # from our own lists or aclexplode; never anything else
        raise ValueError(word)
    return word


def _attempt(admin: Connection, statement: sql.Composed, *, of: Setting | None = None) -> str | None:
    """Run it by itself; the server's words when it refuses.  ``of``: the setting that it sets."""
    try:
        with admin.transaction():
            if of is not None and "." in of.name:
                admin.execute(QUERIES["not_logged"])
            admin.execute(statement)
    except psycopg.Error as error:
        return told_refusal(error, of) if of is not None else error.diag.message_primary or str(error).strip()
    return None

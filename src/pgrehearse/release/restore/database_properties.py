"""What belongs to a database and to none of its objects: owner, grants, settings, limit, comment, labels.

Whoever restores a dump into a new database loses all of it; here it is carried over and compared.
"""

import re
from dataclasses import dataclass, replace

from psycopg import sql

from pgrehearse.clones.roles import Setting, setting_value
from pgrehearse.errors import RestoreFailed
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One privilege on the database; ``grantee`` None is PUBLIC."""

    grantee: str | None
    grantor: str
    privilege: str
    grantable: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseProperties:
    """All that pg_database and the shared catalogs say of one database, but its name."""

    oid: int
    owner: str
    allows_connections: bool
    connection_limit: int  # -1: none
    is_template: bool
    tablespace: str
    comment: str | None
    grants: frozenset[Grant]
    settings: tuple[tuple[str | None, str, str], ...]  # role (None: all), name, value
    labels: tuple[tuple[str, str], ...]  # provider, security label

    def carried(self) -> "DatabaseProperties":
        """What must be equal after the swap."""
        return replace(self, oid=0)


def find_properties(admin: Connection, database: str) -> DatabaseProperties | None:
    """Four small queries from any database of the server; None where it does not exist."""
    row = admin.execute(QUERIES["database"], (database,)).fetchone()
    if row is None:
        return None
    oid, owner, allows, limit, template, tablespace, comment, _ = row
    return DatabaseProperties(
        oid=oid,
        owner=owner,
        allows_connections=allows,
        connection_limit=limit,
        is_template=template,
        tablespace=tablespace,
        comment=comment,
        grants=frozenset(
            Grant(grantee=grantee, grantor=grantor, privilege=privilege, grantable=grantable)
            for grantee, grantor, privilege, grantable in admin.execute(QUERIES["grants"], (database,))
        ),
        settings=tuple((role, name, value) for role, name, value in admin.execute(QUERIES["settings"], (database,))),
        labels=tuple((provider, label) for provider, label in admin.execute(QUERIES["labels"], (database,))),
    )


def require_properties(admin: Connection, database: str) -> DatabaseProperties:
    """The same of a database that must exist; raises `RestoreFailed`."""
    found = find_properties(admin, database)
    if found is None:
        raise RestoreFailed(f"there is no database {database} any more")
    return found


def apply_properties(admin: Connection, database: str, wanted: DatabaseProperties) -> None:
    """Make the database's owner, settings, grants and labels what is wanted; in the caller's transaction.

    Whether it admits connections, its limit and its comment are the swap's own last steps.
    """
    name = sql.Identifier(database)
    there = require_properties(admin, database)
    if there.owner != wanted.owner:
        admin.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(wanted.owner)))
        there = require_properties(admin, database)
    _apply_settings(admin, name, wanted, there)
    apply_grants(admin, database, wanted)
    for provider, label in wanted.labels:
        admin.execute(
            sql.SQL("SECURITY LABEL FOR {} ON DATABASE {} IS {}").format(
                sql.Identifier(provider), name, sql.Literal(label)
            )
        )
    if there.is_template != wanted.is_template:
        on = sql.SQL("true" if wanted.is_template else "false")
        admin.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE {}").format(name, on))


def _apply_settings(
    admin: Connection, name: sql.Identifier, wanted: DatabaseProperties, there: DatabaseProperties
) -> None:
    def head(role: str | None) -> sql.Composed:
        if role is None:
            return sql.SQL("ALTER DATABASE {}").format(name)
        return sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(role), name)

    for role in {role for role, _, _ in there.settings}:
        admin.execute(sql.SQL("{} RESET ALL").format(head(role)))
    for role, parameter, value in wanted.settings:
        spelled = sql.SQL(".").join(map(sql.Identifier, parameter.split(".")))
        setting = Setting(role=role, in_database=True, name=parameter, value=value)
        admin.execute(sql.SQL("{} SET {} TO {}").format(head(role), spelled, setting_value(setting)))


def apply_grants(admin: Connection, database: str, wanted: DatabaseProperties) -> None:
    """Privileges on the database itself, in an order that grants allow; its owner is the wanted one."""
    there, name = require_properties(admin, database), sql.Identifier(database)
    if there.grants == wanted.grants:  # leaves PostgreSQL's defaults unwritten
        return
    for grantee in {grant.grantee for grant in there.grants} | {wanted.owner}:
        admin.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM {} CASCADE").format(name, _who(grantee)))
    waiting = sorted(wanted.grants, key=lambda each: (each.grantor != wanted.owner, each.grantee or "", each.privilege))
    held = {(wanted.owner, grant.privilege) for grant in wanted.grants}
    while waiting:
        ready = [grant for grant in waiting if (grant.grantor, grant.privilege) in held] or waiting
        for grant in ready:
            waiting.remove(grant)
            statement = sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                sql.SQL(_keyword(grant.privilege)), name, _who(grant.grantee),
                sql.SQL(" WITH GRANT OPTION" if grant.grantable and grant.grantee is not None else ""),
            )  # fmt: skip
            if grant.grantor == wanted.owner:
                admin.execute(statement)
            else:
                admin.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(grant.grantor)))
                admin.execute(statement)
                admin.execute("RESET ROLE")
            if grant.grantable and grant.grantee is not None:
                held.add((grant.grantee, grant.privilege))


def _who(grantee: str | None) -> sql.Composable:
    return sql.SQL("PUBLIC") if grantee is None else sql.Identifier(grantee)


def _keyword(word: str) -> str:
    if not re.fullmatch(r"[A-Z]+", word):  # from aclexplode
        raise ValueError(word)
    return word

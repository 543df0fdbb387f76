"""What a restore needs and pg_dump does not have: roles, the database's settings, grants, locale, and what reaches out.

``surroundings.json`` is for programs, ``globals.sql`` the same for people (without passwords, which nobody may read).
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from psycopg import sql

from pgrehearse.clones import inert, preflight
from pgrehearse.clones.place import SourceRoles
from pgrehearse.clones.roles import (
    DatabaseGrant,
    Membership,
    Role,
    RoleCatalog,
    Setting,
    read_roles,
    setting_value,
)
from pgrehearse.clones.server_settings import read_server_settings
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.identity import DatabaseIdentity

JSON_FILE = "surroundings.json"
SQL_FILE = "globals.sql"

DATABASE = """
SELECT pg_catalog.shobj_description(d.oid, 'pg_database'), d.datconnlimit,
       EXISTS (SELECT FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public'),
       CASE WHEN EXISTS (
           SELECT FROM pg_catalog.pg_attribute a WHERE a.atttypid = 'pg_catalog.money'::pg_catalog.regtype
             AND a.attrelid >= 16384 AND NOT a.attisdropped)
           THEN pg_catalog.current_setting('lc_monetary') END
FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Read in the backup's own snapshot."""

    needs: preflight.SourceNeeds
    roles: SourceRoles
    outward: inert.Outward
    comment: str | None  # on the database
    connection_limit: int  # -1: none
    has_public: bool  # whether the namespace public is there: a new database always has it
    lc_monetary: str | None  # how money was written into the dump; None: there is none

    def as_text(self) -> str:
        needs, roles, catalog = self.needs, self.roles, self.roles.catalog
        body = {
            "identity": needs.identity.as_json(),
            "locale": asdict(needs.locale),
            "extensions": dict(needs.extensions),
            "collations": [[name, provider, version] for (name, provider), version in needs.collations.items()],
            "tablespaces": list(needs.tablespaces),
            "size_bytes": needs.size_bytes,
            "user": roles.role,
            "server_settings": dict(roles.server_settings),
            "roles": [asdict(role) for role in catalog.roles.values()],
            "memberships": [asdict(each) for each in catalog.memberships],
            "settings": [asdict(each) for each in catalog.settings],
            "needed_roles": sorted(catalog.needed),
            "owner": catalog.database_owner,
            "grants": None if catalog.database_grants is None else [asdict(each) for each in catalog.database_grants],
            "outward": asdict(self.outward),
            "comment": self.comment,
            "connection_limit": self.connection_limit,
            "has_public": self.has_public,
            "lc_monetary": self.lc_monetary,
        }
        return json.dumps(body, ensure_ascii=True, sort_keys=True, indent=2) + "\n"

    @classmethod
    def from_text(cls, text: str, identity: DatabaseIdentity) -> "Surroundings":
        body: dict[str, Any] = json.loads(text)
        grants = body["grants"]
        return cls(
            needs=preflight.SourceNeeds(
                identity=identity,
                locale=preflight.DatabaseLocale(**body["locale"]),
                extensions=body["extensions"],
                collations={(name, provider): version for name, provider, version in body["collations"]},
                tablespaces=tuple(body["tablespaces"]),
                size_bytes=body["size_bytes"],
            ),
            roles=SourceRoles(
                catalog=RoleCatalog(
                    roles={each["name"]: Role(**each) for each in body["roles"]},
                    memberships=tuple(Membership(**each) for each in body["memberships"]),
                    settings=tuple(Setting(**each) for each in body["settings"]),
                    needed=frozenset(body["needed_roles"]),
                    database_owner=body["owner"],
                    database_grants=None if grants is None else tuple(DatabaseGrant(**each) for each in grants),
                ),
                role=body["user"],
                server_settings=body["server_settings"],
                options=None,
            ),
            outward=_outward(body["outward"]),
            comment=body["comment"],
            connection_limit=body["connection_limit"],
            has_public=body["has_public"],
            lc_monetary=body["lc_monetary"],
        )

    def as_sql(self) -> str:
        """Statements that make the roles and furnish the database, for a server that has none of it."""
        catalog, database = self.roles.catalog, sql.Identifier(self.needs.identity.database)
        wanted = catalog.groups_of(catalog.needed & frozenset(catalog.roles)) & frozenset(catalog.roles)
        lines: list[sql.Composable] = [_create_role(catalog.roles[name]) for name in sorted(wanted)]
        lines += [
            sql.SQL("GRANT {} TO {}").format(sql.Identifier(each.role), sql.Identifier(each.member))
            for each in catalog.memberships
            if each.member in wanted
        ]
        lines.append(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, sql.Identifier(catalog.database_owner)))
        lines += [_setting(each, database) for each in catalog.settings if each.in_database]
        if catalog.database_grants is not None:
            lines.append(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        lines += [_grant(each, database) for each in catalog.database_grants or ()]
        if self.connection_limit != -1:
            lines.append(
                sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(database, sql.Literal(self.connection_limit))
            )
        if self.comment is not None:
            lines.append(sql.SQL("COMMENT ON DATABASE {} IS {}").format(database, sql.Literal(self.comment)))
        head = "-- What a dump of the database does not hold.  Passwords are nobody's to read: set them yourself.\n"
        return head + "".join(f"{line.as_string(None)};\n" for line in lines)


def read_surroundings(session: Connection, identity: DatabaseIdentity) -> Surroundings:
    """Read in the snapshot; needs no special right."""
    row = session.execute(DATABASE).fetchone()
    assert row is not None
    user = str(fetch_value(session, "SELECT session_user::pg_catalog.text"))
    catalog = read_roles(session)
    server = read_server_settings(session, catalog.settings)
    roles = SourceRoles(catalog=catalog, role=user, server_settings=server.values, options=None)
    return Surroundings(
        needs=preflight.read_needs(session, identity),
        roles=roles,
        outward=inert.read_outward(session),
        comment=row[0],
        connection_limit=row[1],
        has_public=row[2],
        lc_monetary=row[3],
    )


def _outward(body: Mapping[str, Any]) -> inert.Outward:
    return inert.Outward(
        subscriptions=tuple(body["subscriptions"]),
        user_mappings=tuple((server, user) for server, user in body["user_mappings"]),
        foreign_matviews=tuple((namespace, name) for namespace, name in body["foreign_matviews"]),
        extensions=tuple(body["extensions"]),
        # A backup of an older version does not say; it then leaves none to fill one by one.
        populated_matviews=tuple((namespace, name) for namespace, name in body.get("populated_matviews", ())),
    )


def _create_role(role: Role) -> sql.Composable:
    words = [
        sql.SQL(word if on else f"NO{word}")
        for word, on in (
            ("SUPERUSER", role.superuser), ("INHERIT", role.inherit), ("CREATEROLE", role.createrole),
            ("CREATEDB", role.createdb), ("LOGIN", role.login), ("REPLICATION", role.replication),
            ("BYPASSRLS", role.bypassrls),
        )
    ]  # fmt: skip
    return sql.SQL("CREATE ROLE {} {}").format(sql.Identifier(role.name), sql.SQL(" ").join(words))


def _setting(setting: Setting, database: sql.Identifier) -> sql.Composable:
    whose = sql.SQL("ALTER DATABASE {}").format(database)
    if setting.role is not None:
        whose = sql.SQL("ALTER ROLE {} IN DATABASE {}").format(sql.Identifier(setting.role), database)
    name = sql.SQL(".").join(map(sql.Identifier, setting.name.split(".")))
    return sql.SQL("{} SET {} TO {}").format(whose, name, setting_value(setting))


def _grant(grant: DatabaseGrant, database: sql.Identifier) -> sql.Composable:
    grantee = sql.SQL("PUBLIC") if grant.grantee is None else sql.Identifier(grant.grantee)
    option = sql.SQL(" WITH GRANT OPTION" if grant.grantable and grant.grantee is not None else "")
    return sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
        sql.SQL({"CONNECT": "CONNECT", "CREATE": "CREATE", "TEMPORARY": "TEMPORARY"}[grant.privilege]),
        database, grantee, option,
    )  # fmt: skip

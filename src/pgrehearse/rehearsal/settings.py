"""The settings that change what a migration does, as its role's sessions start with them: then, and now."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from pgrehearse.clones.roles import read_setting_entries, settings_for
from pgrehearse.clones.server_settings import (
    MEANINGFUL,
    custom_of,
    find_dotted_names,
    read_custom_parameters,
    read_server_settings,
    read_starting_values,
)
from pgrehearse.migrations.migration import Migration
from pgrehearse.postgres.connect import Connection, fetch_value

OF_THE_SERVER = ("server_version", "server_encoding", "wal_level", "max_locks_per_transaction")
DIGEST_CHARACTERS = 4  # tells another value but for one in 65,536, and is of little use to who guesses a secret
BOOLEANS = {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}
KINDS = "SELECT s.name, s.vartype FROM pg_catalog.pg_settings s WHERE s.name = ANY(%s)"
SHOWN = "SELECT s.setting FROM pg_catalog.pg_settings s WHERE s.name = %s"
SET_LOCAL = "SELECT pg_catalog.set_config(%s, %s, true)"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartingSettings:
    """What a session of one role in this database starts with.  Holds no custom parameter's value, only its digest."""

    role: str
    settings: Mapping[str, str]  # as pg_settings shows them
    parameters: Mapping[str, str]  # digests of the custom parameters' values, by name
    lists_parameters: bool  # whether those of the server's configuration are all here, whoever mentions them
    mentioned: frozenset[str] = frozenset()  # by the plan or the database's code, or set by database or role

    def parameters_as_json(self) -> dict[str, Any]:
        return {"listed": self.lists_parameters, "digests": dict(self.parameters)}


NOTHING_READ = StartingSettings(role="", settings={}, parameters={}, lists_parameters=False)


def read_settings(connection: Connection, role: str | None = None, *, named: Iterable[str] = ()) -> StartingSettings:
    """As a new session of ``role`` in this database has them; None: of who logged in here.

    ``named``: names that the plan mentions (`find_plan_names`).  Another role's are put together from what database
    and role set and from the server's configuration; what this session cannot see of that is left out.
    """
    user = str(fetch_value(connection, "SELECT session_user::pg_catalog.text"))
    role = role or user
    entries = read_setting_entries(connection)
    own = settings_for(role, entries)
    settings = read_starting_values(connection, (*OF_THE_SERVER, *MEANINGFUL))
    if role != user:
        server = read_server_settings(connection, entries).values
        settings = {name: value for name, value in settings.items() if name in OF_THE_SERVER}
        settings |= {**server, **_canonical(connection, own)}
    settings["role"] = own.get("role", "none")  # whose rights it then has; pg_settings does not show it
    custom = read_custom_parameters(connection, entries, named=named)
    parameters = custom.of_session if role == user else {**custom.of_server, **custom_of(connection, own)}
    return StartingSettings(
        role=role,
        settings=settings,
        parameters={name: _digest(name, value) for name, value in sorted(parameters.items())},
        lists_parameters=custom.listed,
        mentioned=custom.mentioned,
    )


def find_plan_names(migrations: Iterable[Migration]) -> frozenset[str]:
    """Whatever in these files may be a custom parameter's name."""
    return frozenset().union(*(find_dotted_names(each.content.decode("utf-8", "replace")) for each in migrations))


def _canonical(connection: Connection, settings: Mapping[str, str]) -> dict[str, str]:
    """Of `MEANINGFUL`, as a session shows them that has been given them: ALTER ROLE stores what was written."""
    found: dict[str, str] = {}
    given = {name.lower(): value for name, value in settings.items()}
    for name, kind in connection.execute(KINDS, (list(MEANINGFUL),)).fetchall():
        if (value := given.get(name.lower())) is None:
            continue
        try:
            with connection.transaction(force_rollback=True):
                connection.execute(SET_LOCAL, (name, value))
                found[name] = str(fetch_value(connection, SHOWN, (name,)))
        except psycopg.Error:  # a superuser's to set: by the few ways of writing it
            words = BOOLEANS if kind == "bool" else {}
            found[name] = words.get(value.lower(), value.lower()) if kind in ("bool", "enum") else value
    return found


def _digest(name: str, value: str) -> str:
    """Enough of it to tell another value, of a name's own."""
    return hashlib.sha256(f"{name}={value}".encode()).hexdigest()[:DIGEST_CHARACTERS]

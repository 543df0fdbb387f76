"""Settings in the source server's own configuration which change what a statement means.

`timezone` in postgresql.conf decides what a timestamp becomes as timestamptz; a clone's server has its own.  So does
a parameter of the application's own (`app.tenant`): PostgreSQL lists those nowhere but in `pg_file_settings`, which is
a superuser's, and tells the value of one whose name is known to anybody.  So names are looked for in the plan's files
and in the database's own code, too.  A value may be a secret: it goes to the clone, and into nothing that is shown.
"""

import re
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

from pgrehearse.clones.roles import Setting, read_setting_entries, setting_name, setting_value, told_refusal
from pgrehearse.postgres.connect import Connection, fetch_value
from pgrehearse.postgres.named_queries import named_queries

QUERIES = named_queries(__file__)

RELOAD_WAIT_S = 5.0

# Settings about meaning and permission, not about speed, memory or logging: the clone gets them, and a promotion
# compares them, as spelled in pg_settings.
MEANINGFUL = (
    "TimeZone", "DateStyle", "IntervalStyle", "allow_system_table_mods", "array_nulls", "backslash_quote",
    "bytea_output", "check_function_bodies", "createrole_self_grant", "default_table_access_method",
    "default_text_search_config", "default_toast_compression", "default_transaction_deferrable",
    "default_transaction_isolation", "default_transaction_read_only", "escape_string_warning", "event_triggers",
    "extra_float_digits", "gin_fuzzy_search_limit", "icu_validation_level", "lc_monetary", "lc_numeric", "lc_time",
    "lo_compat_privileges", "lock_timeout", "password_encryption", "plpgsql.check_asserts", "plpgsql.extra_errors",
    "plpgsql.variable_conflict", "quote_all_identifiers", "restrict_nonsystem_relation_kind", "row_security",
    "search_path", "session_replication_role", "standard_conforming_strings", "statement_timeout",
    "timezone_abbreviations", "transaction_timeout", "transform_null_equals", "xmlbinary", "xmloption",
)  # fmt: skip
WRITTEN_BY_INITDB = frozenset({
    "DateStyle", "TimeZone", "default_text_search_config", "lc_monetary", "lc_numeric", "lc_time",
})  # fmt: skip
# Parameters with a dot that watch, log or schedule, or are our own: they change no statement's effect.
WATCHING = frozenset({
    "auto_explain", "cron", "pg_prewarm", "pg_qualstats", "pg_stat_kcache", "pg_stat_monitor", "pg_stat_statements",
    "pg_wait_sampling", "pgaudit", "pgrehearse",
})  # fmt: skip
DOTTED = re.compile(r"[^\W\d][\w$]*(?:\.[^\W\d][\w$]*)+")
CLIENT_OPTION = re.compile(r"(?:-c\s*|--)([\w.-]+)\s*=")
LOADED_AT = "SELECT pg_catalog.pg_conf_load_time()::pg_catalog.text"  # in whatever DateStyle: only compared
LOAD_PLPGSQL = "DO LANGUAGE plpgsql 'BEGIN END'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What the server gives every session, below what ALTER DATABASE, ALTER ROLE and the client set."""

    values: Mapping[str, str]  # of `MEANINGFUL`
    hidden: frozenset[str]  # of these the session that read sees only what its own role or client sets


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomParameters:
    """The application's own parameters, by name in lower case."""

    of_server: Mapping[str, str]  # below what database, role and client set
    of_session: Mapping[str, str]  # as the session that reads has them
    listed: bool  # whether those of the configuration files are all here, whoever mentions them
    mentioned: frozenset[
        str
    ]  # in the plan or in the database's code, or set by database or role; with or without value


@dataclass(frozen=True, slots=True, kw_only=True)
class _Above:
    """Names, in lower case, that something above the server's configuration sets for the session that reads."""

    by_database: frozenset[str]
    by_user: frozenset[str]  # its role, or its client

    @classmethod
    def of(cls, connection: Connection, entries: Iterable[Setting]) -> "_Above":
        user = str(fetch_value(connection, "SELECT session_user::pg_catalog.text"))
        entries = tuple(entries)
        client = {name.lower().replace("-", "_") for name in CLIENT_OPTION.findall(connection.info.options)}
        client |= {name.lower() for (name,) in connection.execute(QUERIES["client"])}
        return cls(
            by_database=frozenset(each.name.lower() for each in entries if each.role is None),
            by_user=frozenset(each.name.lower() for each in entries if each.role == user) | client,
        )


def read_server_settings(connection: Connection, entries: Iterable[Setting] | None = None) -> ServerSettings:
    """`MEANINGFUL` as the server's configuration or its defaults have them.  Needs no right.

    ``entries``: what ALTER DATABASE and ALTER ROLE set there, if it has been read.  What a database sets is left out:
    it stands above for everybody.  What the reading role or its client hides is taken from the configuration files
    where it may read them; else PostgreSQL's default is assumed (a promotion compares what its own session has), but
    for what initdb writes into every configuration: that is hidden.
    """
    above = _Above.of(connection, read_setting_entries(connection) if entries is None else entries)
    in_files = _read_files(connection) or {}
    values, hidden = {}, set()
    defaults: dict[str, str] = dict(connection.execute(QUERIES["defaults"], (list(MEANINGFUL),)).fetchall())
    for name, value in read_starting_values(connection, MEANINGFUL).items():
        if name.lower() in above.by_user:
            if name.lower() in in_files:
                values[name] = in_files[name.lower()]
            elif name in WRITTEN_BY_INITDB:
                hidden.add(name)
            else:
                values[name] = defaults.get(name, value)
        elif name.lower() not in above.by_database:
            values[name] = value
    if "default_transaction_read_only" in values and fetch_value(connection, "SELECT pg_catalog.pg_is_in_recovery()"):
        del values["default_transaction_read_only"]  # a replica that nobody shall write to: not its primary's
    return ServerSettings(values=values, hidden=frozenset(hidden))


def read_starting_values(connection: Connection, names: Collection[str]) -> dict[str, str]:
    """What this session started with, whatever was SET since."""
    try:
        with connection.transaction():
            connection.execute(LOAD_PLPGSQL)  # its settings have values, as PostgreSQL writes them, only then
    except psycopg.Error:  # no such language, or no right to it
        pass
    return dict(connection.execute(QUERIES["starting_values"], (list(names),)).fetchall())


def read_custom_parameters(
    connection: Connection, entries: Iterable[Setting], *, named: Iterable[str] = ()
) -> CustomParameters:
    """The parameters with a dot that have a value here, by ``entries`` or below them.

    ``named``: names that somebody mentions, whether parameters or not.  Reads the definitions of what the database
    computes with, for more.  Those of a loaded library count where an ordinary session may set them.
    """
    entries = tuple(entries)
    above = _Above.of(connection, entries)
    in_files = _read_files(connection)
    mentioned = {name.lower() for name in named} | {row[0] for row in connection.execute(QUERIES["mentioned"])}
    mentioned |= {entry.name.lower() for entry in entries}
    found = _current_values(connection, sorted(_custom(connection, mentioned | (in_files or {}).keys())))
    of_server = {}
    for name, value in found.items():
        if name in above.by_user:
            if name in (in_files or {}):
                of_server[name] = (in_files or {})[name]
        elif name not in above.by_database:
            of_server[name] = value
    return CustomParameters(
        of_server=of_server, of_session=found, listed=in_files is not None, mentioned=frozenset(mentioned)
    )


def custom_of(connection: Connection, settings: Mapping[str, str]) -> dict[str, str]:
    """Of what database and role set the custom parameters, as `read_custom_parameters` counts them."""
    lower = {name.lower(): value for name, value in settings.items()}
    return {name: lower[name] for name in _custom(connection, lower)}


def _custom(connection: Connection, names: Iterable[str]) -> set[str]:
    others = {name for (name,) in connection.execute(QUERIES["of_libraries"])} | {name.lower() for name in MEANINGFUL}
    return {name for name in names if "." in name and name.split(".")[0] not in WATCHING and name not in others}


def find_dotted_names(text: str) -> frozenset[str]:
    """Whatever in a file's text may be a parameter's name: columns of tables, too."""
    return frozenset(name.lower() for name in DOTTED.findall(text))


def apply_to_server(admin: Connection, settings: Mapping[str, str]) -> list[str]:
    """ALTER SYSTEM on a private server and reload; returns what could not be set, with the reason."""
    failed = []
    for name, value in settings.items():
        entry = Setting(role=None, in_database=False, name=name, value=value)
        try:
            if "." in name:  # until 16 it must exist, as a session makes it
                admin.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))
            # by itself: ALTER SYSTEM refuses a transaction
            admin.execute(sql.SQL("ALTER SYSTEM SET {} TO {}").format(setting_name(name), setting_value(entry)))
        except psycopg.Error as error:
            failed.append(f"{name} of the source's server could not be set: {told_refusal(error, entry)}")
    before = fetch_value(admin, LOADED_AT)
    admin.execute("SELECT pg_catalog.pg_reload_conf()")
    deadline = time.monotonic() + RELOAD_WAIT_S
    # postmaster reads its files before it tells its children, so what we see new sessions start with
    while fetch_value(admin, LOADED_AT) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    return failed


def unlike_server(admin: Connection, settings: Mapping[str, str]) -> dict[str, str]:
    """Those of ``settings`` that this server does not give its sessions by itself."""
    here = read_server_settings(admin).values
    return {name: value for name, value in settings.items() if here.get(name) != value}


def as_database_settings(server: Mapping[str, str], settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """The same for one database of a shared server, below what ALTER DATABASE or ALTER ROLE ALL set there."""
    above = {setting.name.lower() for setting in settings if setting.role is None}
    return tuple(
        Setting(role=None, in_database=True, name=name, value=value)
        for name, value in server.items()
        if name.lower() not in above
    )


def _read_files(connection: Connection) -> dict[str, str] | None:
    """What stands last in the configuration files, by name in lower case; None where the user may not see them."""
    try:
        with connection.transaction():
            return dict(connection.execute(QUERIES["in_files"]).fetchall())
    except psycopg.errors.InsufficientPrivilege:
        return None


def _current_values(connection: Connection, names: list[str]) -> dict[str, str]:
    try:
        with connection.transaction():
            return dict(connection.execute(QUERIES["current_values"], (names,)).fetchall())
    except psycopg.errors.InsufficientPrivilege:  # one of them is for pg_read_all_settings only
        half = len(names) // 2
        return (
            {} if half == 0 else _current_values(connection, names[:half]) | _current_values(connection, names[half:])
        )

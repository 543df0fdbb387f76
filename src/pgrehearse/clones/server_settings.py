"""Settings in the source server's own configuration which change what a statement means.

`timezone` in postgresql.conf decides what a timestamp becomes as timestamptz; a clone's server has its own.
"""

import time
from collections.abc import Mapping

import psycopg
from psycopg import sql

from pgrehearse.clones.roles import Setting
from pgrehearse.postgres.connect import Connection, fetch_value

RELOAD_WAIT_S = 5.0

# Settings about meaning and permission, not about speed, memory or logging.
MEANINGFUL = (
    "TimeZone", "DateStyle", "IntervalStyle", "array_nulls", "backslash_quote", "bytea_output",
    "check_function_bodies", "createrole_self_grant", "default_table_access_method", "default_text_search_config",
    "default_toast_compression", "default_transaction_deferrable", "default_transaction_isolation",
    "default_transaction_read_only", "escape_string_warning", "extra_float_digits", "icu_validation_level",
    "lc_monetary", "lc_numeric", "lc_time", "lock_timeout", "lo_compat_privileges", "plpgsql.check_asserts",
    "plpgsql.variable_conflict", "quote_all_identifiers", "row_security", "search_path",
    "standard_conforming_strings", "statement_timeout", "timezone_abbreviations", "transaction_timeout",
    "transform_null_equals", "xmlbinary", "xmloption",
)  # fmt: skip

CONFIGURED = """
SELECT s.name, s.reset_val FROM pg_catalog.pg_settings s
WHERE s.name = ANY(%s) AND s.reset_val IS NOT NULL
  AND s.source IN ('configuration file', 'command line', 'environment variable')
ORDER BY s.name
"""
LOADED_AT = "SELECT pg_catalog.pg_conf_load_time()::pg_catalog.text"  # in whatever DateStyle: only compared


def read_server_settings(connection: Connection) -> dict[str, str]:
    """What the source's configuration files and command line set, of `MEANINGFUL`.  Needs no right."""
    return dict(connection.execute(CONFIGURED, (list(MEANINGFUL),)).fetchall())


def apply_to_server(admin: Connection, settings: Mapping[str, str]) -> list[str]:
    """ALTER SYSTEM on a private server and reload; returns what could not be set, with the reason."""
    failed = []
    for name, value in settings.items():
        setting = sql.SQL(".").join(map(sql.Identifier, name.split(".")))
        try:  # by itself: ALTER SYSTEM refuses a transaction
            admin.execute(sql.SQL("ALTER SYSTEM SET {} TO {}").format(setting, sql.Literal(value)))
        except psycopg.Error as error:
            failed.append(f"{name} of the source's server could not be set: {error.diag.message_primary}")
    before = fetch_value(admin, LOADED_AT)
    admin.execute("SELECT pg_catalog.pg_reload_conf()")
    deadline = time.monotonic() + RELOAD_WAIT_S
    # postmaster reads its files before it tells its children, so what we see new sessions start with
    while fetch_value(admin, LOADED_AT) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    return failed


def as_database_settings(server: Mapping[str, str], settings: tuple[Setting, ...]) -> tuple[Setting, ...]:
    """The same for one database of a shared server, below what ALTER DATABASE or ALTER ROLE ALL set there."""
    above = {setting.name for setting in settings if setting.role is None}
    return tuple(
        Setting(role=None, in_database=True, name=name, value=value)
        for name, value in server.items()
        if name not in above
    )

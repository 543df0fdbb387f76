"""The server's settings that change what a migration does."""

from pgrehearse.postgres.connect import Connection

SETTINGS_QUERY = """
SELECT name, setting FROM pg_catalog.pg_settings
 WHERE name IN ('server_version', 'server_encoding', 'TimeZone', 'search_path', 'DateStyle', 'wal_level',
                'default_transaction_isolation', 'default_table_access_method', 'default_toast_compression',
                'session_replication_role', 'row_security', 'lock_timeout', 'statement_timeout',
                'max_locks_per_transaction', 'check_function_bodies', 'standard_conforming_strings')
"""


def read_settings(connection: Connection) -> dict[str, str]:
    """By name, as `pg_settings` shows them to this session."""
    return dict(connection.execute(SETTINGS_QUERY).fetchall())

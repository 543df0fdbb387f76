"""The workload as production counts it: pg_stat_statements, read only."""

from collections import defaultdict
from collections.abc import Mapping

import psycopg
from psycopg import sql

from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.named_queries import named_queries
from pgrehearse.queries.workload import Gathering, Workload

QUERIES = named_queries(__file__)
ORIGIN = "pg_stat_statements"
HIDDEN = "<insufficient privilege>"
HIDDEN_WHY = "its text is hidden from this user; GRANT pg_read_all_stats TO it"
LOST = "the server has lost its text"


class NoStatistics(Exception):
    """Why pg_stat_statements cannot be read; a sentence."""


def read_statistics(session: Connection) -> Workload:
    """The statements of this database, in the caller's transaction; a failure leaves that usable.

    Two queries, ACCESS SHARE on catalogs; reads the extension's text file.  Raises `NoStatistics`.
    """
    settings = read_role_settings(session)
    try:
        with session.transaction():
            place = session.execute(QUERIES["extension"]).fetchone()
            if place is None:
                raise NoStatistics("production has no extension pg_stat_statements in this database")
            view = sql.Identifier(place[0], "pg_stat_statements")
            rows = session.execute(sql.SQL(QUERIES["statements"]).format(view=view)).fetchall()
    except psycopg.Error as error:
        raise NoStatistics(f"pg_stat_statements cannot be read: {error.diag.message_primary or error}") from error
    gathering = Gathering()
    for role, text, calls, count, total_ms in rows:
        if text is None:
            gathering.leave_out(LOST)
        elif text == HIDDEN:
            gathering.leave_out(HIDDEN_WHY)
        else:
            gathering.add(text, role=role, calls=calls, rows=count, total_ms=total_ms)
    return gathering.finished(ORIGIN, settings)


def read_role_settings(session: Connection) -> Mapping[str, Mapping[str, str]]:
    """By role, what its sessions here start with beyond the database's own settings.  One query; anybody may ask."""
    settings: dict[str, dict[str, str]] = defaultdict(dict)
    for role, setting in session.execute(QUERIES["role_settings"]):
        name, _, value = setting.partition("=")
        settings[role][name] = value
    return settings

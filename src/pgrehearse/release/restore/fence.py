"""Nobody gets into a database but we: connections are refused, others' sessions are ended.

ALLOW_CONNECTIONS false refuses superusers too, as which many applications connect; so our own session is opened
before it is set.  After a killed run the fence stands and our session is gone: then it is opened for the moment of
one connection, to superusers alone where we are one.  Whatever another writes in that moment is committed before
the fence closes again, and so is part of what is exported afterwards.
"""

import time
from collections.abc import Sequence
from dataclasses import replace

import psycopg
from psycopg import sql

from pgrehearse.clones.snapshot import NO_TIMEOUTS
from pgrehearse.errors import FenceNotClosed, ServerUnreachable
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.release.restore.beside import Mark, write_mark
from pgrehearse.release.restore.database_properties import require_properties

END_TIMEOUT_S = 30.0
ATTEMPTS = 50
# Without pg_read_all_stats the kind of another role's session is hidden; autovacuum's have no role at all.
OTHERS = """
SELECT a.pid, COALESCE(a.usename::text, a.backend_type, 'hidden'), a.application_name,
       COALESCE(a.backend_type, 'hidden')
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = %s AND a.pid <> ALL (%s::int4[]) AND COALESCE(a.leader_pid, 0) <> ALL (%s::int4[])
  AND CASE WHEN a.backend_type IS NULL THEN a.usesysid IS NOT NULL ELSE a.backend_type <> 'autovacuum worker' END
ORDER BY a.pid
"""
IS_SUPERUSER = "SELECT pg_catalog.current_setting('is_superuser') = 'on'"


def close_fence(admin: Connection, production: Conninfo, mark: Mark) -> tuple[Mark, Connection]:
    """Shut production; the mark that says so, and the one session inside, which the caller closes.

    Idempotent: a fence that stands already is closed again around a new session.  Raises `FenceNotClosed` when
    a session of others does not end; the caller then lifts the fence.
    """
    inside = _enter(admin, production, mark) if mark.is_fenced else connect(production, verb="restore")
    try:
        inside.execute(NO_TIMEOUTS)
        mark = _shut(admin, mark)
        end_others(admin, mark.database, [fetch_value(inside, "SELECT pg_catalog.pg_backend_pid()")])
    except BaseException:
        inside.close()
        raise
    return mark, inside


def lift_fence(admin: Connection, mark: Mark) -> Mark:
    """Open production again, with the limit that it had; nothing where no fence of ours stands."""
    if mark.fenced_limit is None:
        return mark
    opened = replace(mark, fenced_limit=None)
    with admin.transaction():
        admin.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT {}").format(
                sql.Identifier(mark.database), sql.Literal(mark.fenced_limit)
            )
        )
        write_mark(admin, opened)
    return opened


def end_others(admin: Connection, database: str, ours: Sequence[int], *, timeout_s: float = END_TIMEOUT_S) -> int:
    """End every session of the database but ours, again and again until none is seen twice; how many were ended.

    A session that was just being opened when the fence closed shows only later.
    """
    deadline = time.monotonic() + timeout_s
    ended: set[int] = set()
    quiet = 0
    while quiet < 2:
        others = admin.execute(OTHERS, (database, list(ours), list(ours))).fetchall()
        quiet = 0 if others else quiet + 1
        for pid, *_ in others:
            try:
                admin.execute("SELECT pg_catalog.pg_terminate_backend(%s)", (pid,))
                ended.add(pid)
            except psycopg.errors.InsufficientPrivilege:
                continue
        if others and time.monotonic() > deadline:
            told = ", ".join(f"{pid} ({user}, {application or kind})" for pid, user, application, kind in others)
            raise FenceNotClosed(f"sessions of {database} do not end: {told}")
        time.sleep(0.05)
    return len(ended)


def _shut(admin: Connection, mark: Mark) -> Mark:
    """In one transaction with the mark that says how it was: a fence that nobody knows of must not exist."""
    with admin.transaction():
        if mark.fenced_limit is None:
            mark = replace(mark, fenced_limit=require_properties(admin, mark.database).connection_limit)
        write_mark(admin, mark)
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(mark.database)))
    return mark


def _enter(admin: Connection, production: Conninfo, mark: Mark) -> Connection:
    """Open the fence for one connection of ours."""
    limit = 0 if fetch_value(admin, IS_SUPERUSER) else 1  # a superuser's connection is not counted
    name = sql.Identifier(mark.database)
    refused: ServerUnreachable | None = None
    for _ in range(ATTEMPTS):
        admin.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true CONNECTION LIMIT {}").format(name, sql.Literal(limit))
        )
        try:
            return connect(production, verb="restore")
        except ServerUnreachable as error:  # somebody else was first
            refused = error
        finally:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
        end_others(admin, mark.database, [])
    raise FenceNotClosed(f"{mark.database} cannot be entered past its fence: {refused}")

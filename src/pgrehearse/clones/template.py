"""Create, copy and drop the databases of a clone: all of them are ours, named and commented as such."""

import time
from dataclasses import dataclass

import psycopg
from psycopg import errors as sqlstates
from psycopg import sql

from pgrehearse.clones.preflight import DatabaseLocale
from pgrehearse.errors import CloneFailed, CloneImpossible, NotOurs
from pgrehearse.postgres.connect import Connection

END_TIMEOUT_S = 30
# Sessions of other users show no query; but what our user made is seen, and ended, by our user.
END_MAKERS = """
SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
WHERE a.pid <> pg_catalog.pg_backend_pid() AND a.application_name LIKE 'pgrehearse:%%' AND a.state = 'active'
  AND pg_catalog.strpos(a.query, 'DATABASE "pgrehearse_' || %s || '_') > 0
"""
# What we have ended stays open between a pooler and its server.  The last number: how long to wait for each.
END_POOLED = """
SELECT pg_catalog.pg_terminate_backend(a.pid, 5000) FROM pg_catalog.pg_stat_activity a
WHERE a.datname = %s AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type = 'client backend'
"""
NAME_PREFIX = "pgrehearse_"
COMMENT_PREFIX = "made by pgrehearse, clone "
# Below this size writing the pages to the WAL is quicker than the two checkpoints of a file copy.
FILE_COPY_FROM_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneNames:
    """The names of one clone's databases, and of its login role."""

    id: str

    @property
    def pristine(self) -> str:
        return f"{NAME_PREFIX}{self.id}_pristine"

    @property
    def clone(self) -> str:
        return f"{NAME_PREFIX}{self.id}_clone"

    @property
    def login(self) -> str:
        """The login role of our own through which a session becomes production's role."""
        return f"{NAME_PREFIX}{self.id}_login"

    @property
    def both(self) -> tuple[str, str]:
        return (self.clone, self.pristine)

    @property
    def comment(self) -> str:
        return f"{COMMENT_PREFIX}{self.id}"


def create_pristine(admin: Connection, names: CloneNames, locale: DatabaseLocale, *, owner: str | None) -> None:
    """CREATE DATABASE from template0 with the source's encoding and locale; commented before anything is in it.

    Raises `CloneImpossible` where this server does not know the locale.
    """
    options = locale_options(locale, admin.info.server_version)
    if owner is not None:
        options.append(sql.SQL("OWNER {}").format(sql.Identifier(owner)))
    statement = sql.SQL("CREATE DATABASE {} ").format(sql.Identifier(names.pristine))
    try:
        admin.execute(statement + sql.SQL(" ").join(options))
    except (sqlstates.WrongObjectType, sqlstates.InvalidParameterValue, sqlstates.FeatureNotSupported) as error:
        what = f"{locale.provider} {locale.locale or locale.collate}"
        raise CloneImpossible(
            f"this server cannot make a database of locale {what}: {error.diag.message_primary}",
            remedy=f"Install that locale on the target's machine (Debian: add {locale.collate} to /etc/locale.gen and "
            "run locale-gen; ICU needs a server built with it), or name a server that has it with --target.",
        ) from error
    _comment(admin, names.pristine, names)


def locale_options(locale: DatabaseLocale, server_version: int) -> list[sql.Composable]:
    """What CREATE DATABASE needs to make an empty database of this encoding and locale."""
    options: list[sql.Composable] = [sql.SQL("TEMPLATE template0")]
    options.append(sql.SQL("ENCODING {}").format(sql.Literal(locale.encoding)))
    options.append(sql.SQL("LC_COLLATE {}").format(sql.Literal(locale.collate)))
    options.append(sql.SQL("LC_CTYPE {}").format(sql.Literal(locale.ctype)))
    if server_version >= 150000:
        options.append(sql.SQL("LOCALE_PROVIDER {}").format(sql.Identifier(locale.provider)))
    if locale.provider == "icu" and locale.locale is not None:
        options.append(sql.SQL("ICU_LOCALE {}").format(sql.Literal(locale.locale)))
    if locale.provider == "builtin" and locale.locale is not None:
        options.append(sql.SQL("BUILTIN_LOCALE {}").format(sql.Literal(locale.locale)))
    if locale.icu_rules:
        options.append(sql.SQL("ICU_RULES {}").format(sql.Literal(locale.icu_rules)))
    return options


def create_clone(admin: Connection, names: CloneNames, *, size_bytes: int, owner: str | None) -> str:
    """CREATE DATABASE … TEMPLATE pristine; returns the way it was copied.

    Nobody may be connected to pristine.  From 64 MB on by file copy (15 and newer; two checkpoints), from
    18 on by the file system's own clone where it has one (0.2 s for 2 GB on a reflink file system).
    """
    base = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(names.clone), sql.Identifier(names.pristine))
    if owner is not None:
        base += sql.SQL(" OWNER {}").format(sql.Identifier(owner))
    version = admin.info.server_version
    if version < 150000 or size_bytes < FILE_COPY_FROM_BYTES:
        admin.execute(base)
        way = "file_copy" if version < 150000 else "wal_log"
    else:
        way = _copy_files(admin, base)
    _comment(admin, names.clone, names)
    return way


def _copy_files(admin: Connection, base: sql.Composable) -> str:
    statement = base + sql.SQL(" STRATEGY file_copy")
    if admin.info.server_version >= 180000:
        try:
            admin.execute("SET file_copy_method = clone")
            admin.execute(statement)
        except sqlstates.InvalidParameterValue:
            pass  # a server built without it
        except psycopg.OperationalError as error:
            # "could not clone file": the file system cannot.  A full disk cannot copy either.
            if isinstance(error, sqlstates.DiskFull) or "could not clone file" not in str(error):
                raise
        else:
            return "file_copy, cloned by the file system"
        finally:
            admin.execute("RESET file_copy_method")
    admin.execute(statement)
    return "file_copy"


def end_makers_sessions(admin: Connection, names: CloneNames) -> None:
    """End sessions that still create this clone: a backend goes on with CREATE DATABASE when its client is killed.

    Raises `CloneFailed` when one does not end.
    """
    deadline = time.monotonic() + END_TIMEOUT_S
    while admin.execute(END_MAKERS, (names.id,)).fetchall():
        if time.monotonic() > deadline:
            raise CloneFailed(f"a session that still creates clone {names.id} does not end")
        time.sleep(0.02)


def end_pooled_sessions(admin: Connection, names: CloneNames) -> None:
    """End sessions in our pristine database that a pooler keeps for the next client: a template admits none."""
    admin.execute(END_POOLED, (names.pristine,))


def drop_database(admin: Connection, name: str, names: CloneNames) -> bool:
    """Drop one of our databases, ending its sessions; False where it does not exist.

    Raises `NotOurs` for a database whose name or comment is not this clone's: a name alone proves nothing.
    An interrupted CREATE DATABASE leaves none; one interrupted before its comment has our name, which
    holds random bits recorded in the ledger beforehand, and no comment.
    """
    row = admin.execute(
        "SELECT pg_catalog.shobj_description(d.oid, 'pg_database') FROM pg_catalog.pg_database d WHERE d.datname = %s",
        (name,),
    ).fetchone()
    if row is None:
        return False
    if name not in names.both or row[0] not in (None, names.comment):
        raise NotOurs(f"database {name} is not what clone {names.id} made: its comment is {row[0]!r}")
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
    return True


def clone_failure(error: psycopg.Error, doing: str) -> CloneFailed:
    """The server's refusal as ours, its SQLSTATE kept."""
    told = error.diag.message_primary or str(error).strip()
    remedy = None
    if isinstance(error, sqlstates.DiskFull) or "No space left" in told:
        remedy = "Free disk space on the clone's server and run again; what had been made was dropped."
    if error.sqlstate is None and isinstance(error, psycopg.OperationalError):
        remedy = (
            "The clone's server, or the source's, ended the connection (a restart, a crash?): see its log, run again."
        )
    return CloneFailed(f"{doing} failed: {told} ({error.sqlstate or 'no SQLSTATE'})", remedy=remedy)


def _comment(admin: Connection, database: str, names: CloneNames) -> None:
    admin.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(database), sql.Literal(names.comment)))

"""A backup restored into a new database beside production, on production's own server, and compared.

Production serves on meanwhile.  The new database carries a mark (its comment) that says whose it is, so that a
killed restore is found without the release ledger too.
"""

import contextlib
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from pgrehearse.clones.preflight import read_locale
from pgrehearse.clones.snapshot import NO_TIMEOUTS
from pgrehearse.clones.template import locale_options
from pgrehearse.errors import (
    DatabaseFenced,
    PgRehearseError,
    RestoreFailed,
    RestoreRefused,
    ServerUnreachable,
    UnknownRestore,
)
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect, fetch_value, scrub
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import same_server
from pgrehearse.postgres.pooler import require_direct_name
from pgrehearse.progress import Progress, Silent
from pgrehearse.release.restore.database_properties import apply_grants, find_properties, require_properties

MARK = "made by pgrehearse, restore "
LONGEST_NAME = 63  # bytes; PostgreSQL cuts off the rest without a word
MAINTENANCE = ("postgres", "template1")
DEFAULT_TABLESPACE = "pg_default"
BEGUN, STEP, ENDED = "rollback-begun", "rollback-step", "rollback-ended"
MARKED = """
SELECT d.datname::text, pg_catalog.shobj_description(d.oid, 'pg_database') FROM pg_catalog.pg_database d
WHERE pg_catalog.starts_with(pg_catalog.shobj_description(d.oid, 'pg_database'), %s) ORDER BY 1
"""

Fill = Callable[[Conninfo], None]
Compare = Callable[[Conninfo], tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreNames:
    """The databases of one restore.  ``id`` is plain: letters, digits and hyphens or underscores."""

    id: str
    database: str  # production

    @property
    def restored(self) -> str:
        return self._named("restored")

    @property
    def quarantine(self) -> str:
        return self._named("quarantine")

    def _named(self, what: str) -> str:
        end = f"_{what}_{self.id}"
        room = LONGEST_NAME - len(end.encode())
        return self.database.encode()[:room].decode(errors="ignore") + end


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What the comment on the new database says: whose it is, how far, and how to take a fence away again."""

    id: str
    database: str
    backup: str
    is_filled: bool = False
    fenced_limit: int | None = None  # production's connection limit before the fence; None: no fence

    @property
    def names(self) -> RestoreNames:
        return RestoreNames(id=self.id, database=self.database)

    @property
    def is_fenced(self) -> bool:
        return self.fenced_limit is not None

    def as_comment(self) -> str:
        body = {
            "id": self.id,
            "database": self.database,
            "backup": self.backup,
            "filled": self.is_filled,
            "fenced_limit": self.fenced_limit,
        }
        return MARK + json.dumps(body, ensure_ascii=True)

    @classmethod
    def find(cls, comment: str | None) -> "Mark | None":
        if comment is None or not comment.startswith(MARK):
            return None
        try:
            body = json.loads(comment.removeprefix(MARK))
            return cls(
                id=body["id"],
                database=body["database"],
                backup=body["backup"],
                is_filled=body["filled"],
                fenced_limit=body["fenced_limit"],
            )
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreUnderWay:
    """A restored database that has not taken production's place yet."""

    mark: Mark
    database_admits: bool | None  # whether production accepts connections; None: it is not there

    @property
    def id(self) -> str:
        return self.mark.id

    @property
    def state(self) -> str:
        """``filling`` (or killed while it was), ``restored``, or ``fenced``: production is shut until somebody acts."""
        if self.mark.is_fenced:
            return "fenced"
        return "restored" if self.mark.is_filled else "filling"

    @property
    def told(self) -> str:
        names = self.mark.names
        if self.state == "fenced":
            return (
                f"{names.database} admits nobody since restore {self.id} was interrupted: go on with it, or undo it, "
                "which opens the database again"
            )
        return f"restore {self.id} of {names.database} stands beside it as {names.restored} ({self.state})"

    def as_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "database": self.mark.database,
            "restored": self.mark.names.restored,
            "backup": self.mark.backup,
            "state": self.state,
            "database_admits": self.database_admits,
            "told": self.told,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorder:
    """Writes the steps of one restore into the release ledger, if there is one."""

    id: str
    ledger: ReleaseLedger | None
    now: Callable[[], datetime]

    def begun(self, body: dict[str, Any]) -> None:
        self._append(BEGUN, body)

    def ended(self, outcome: str, **body: Any) -> None:
        self._append(ENDED, {"outcome": outcome, **body})

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Recorded before and after; what the caller puts into the yielded body is recorded with the end."""
        body: dict[str, Any] = {}
        self._append(STEP, {"step": name, "state": "begun"})
        try:
            yield body
        except BaseException as error:
            # an interrupt, too; and the ledger must not hide what went wrong
            with contextlib.suppress(PgRehearseError):
                self._append(STEP, {"step": name, "state": "failed", "error": type(error).__name__})
            raise
        self._append(STEP, {"step": name, "state": "done", **body})

    def _append(self, kind: str, body: dict[str, Any]) -> None:
        if self.ledger is not None:
            self.ledger.append(kind, self.id, body, self.now())


def restore_beside(
    production: Conninfo,
    *,
    id: str,  # noqa: A002
    backup: str,
    fill: Fill,
    compare: Compare,
    ledger: ReleaseLedger | None,
    now: Callable[[], datetime],
    progress: Progress | None = None,
) -> RestoreNames:
    """Make ``DATABASE_restored_ID`` with production's locale, owner and tablespace, fill it and compare it.

    ``fill`` restores the backup named ``backup`` into the empty database and analyzes it, ``compare`` says what
    differs from the backup's manifest.  What is half done is dropped again, whoever stops it; what a SIGKILL leaves
    is found by `find_restores`, and made anew by the next call with the same id.  Production is only read.  Raises
    `RestoreRefused`, `RestoreFailed`, and what ``fill`` raises.
    """
    told = progress or Silent()
    names = names_of(production, id)
    recorder = Recorder(id=id, ledger=ledger, now=now)
    body = {"type": "restore", "address": production.address, "restored": names.restored, "backup": backup}
    taken_up = ledger is not None and bool(ledger.entries(kind=BEGUN, subject=id))
    recorder.begun(body | {"quarantine": names.quarantine})
    mark = Mark(id=id, database=names.database, backup=backup)
    target = production.replaced(dbname=names.restored)
    with open_admin(production) as admin, recorder.step("restore"):
        require_ledger_elsewhere(admin, names, ledger)
        _clear_the_place(admin, names, is_ours=taken_up)
        try:
            told.step(f"making {names.restored}")
            _create(admin, production, mark)
            fill(target)
            _require_equal(compare(target), mark)
            write_mark(admin, replace(mark, is_filled=True))
        except BaseException:
            with contextlib.suppress(psycopg.Error):
                _drop(admin, mark)
            recorder.ended("failed")
            raise
    return names


def find_restores(production: Conninfo) -> tuple[RestoreUnderWay, ...]:
    """Restores of this database that stand on its server, whether or not production admits connections.

    One query from a maintenance database; needs no special right.
    """
    database = require_database(production)
    with open_admin(production) as admin:
        marks = [Mark.find(comment) for _, comment in admin.execute(MARKED, (MARK,))]
        properties = find_properties(admin, database)
    admits = None if properties is None else properties.allows_connections
    return tuple(
        RestoreUnderWay(mark=mark, database_admits=admits)
        for mark in marks
        if mark is not None and mark.database == database
    )


def drop_restored(
    production: Conninfo,
    id: str,  # noqa: A002
    *,
    ledger: ReleaseLedger | None,
    now: Callable[[], datetime],
) -> None:
    """Drop the database that a restore made, if it has not taken production's place and no fence is up."""
    with open_admin(production) as admin:
        mark = require_mark(admin, names_of(production, id))
        if mark.is_fenced:
            raise RestoreRefused(
                f"restore {id} has shut {mark.database}: dropping what it restored would leave that so",
                remedy="Undo the restore first, which opens the database again.",
            )
        _drop(admin, mark)
    Recorder(id=id, ledger=ledger, now=now).ended("dropped")


@contextlib.contextmanager
def open_admin(production: Conninfo) -> Iterator[Connection]:
    """A session on production's server in a maintenance database, since nobody may rename the one they are in."""
    require_direct_name(production)
    database = require_database(production)
    names = [name for name in MAINTENANCE if name != database]
    session: Connection | None = None
    refused: ServerUnreachable | None = None
    for name in names:
        try:
            session = connect(production.replaced(dbname=name), verb="restore")
            break
        except ServerUnreachable as error:
            refused = error
    if session is None:
        raise RestoreRefused(
            f"no database of that server but {database} can be reached: {refused}",
            remedy=f"Let this user connect to {' or '.join(names)}: a database is renamed from another one.",
        )
    with session:
        session.execute(NO_TIMEOUTS)
        session.execute("SET default_transaction_read_only = off")
        yield session


def require_database(production: Conninfo) -> str:
    """The name of production's database; libpq's own default is the user."""
    if production.database is None:
        raise RestoreRefused("the URL names no database", remedy="Name the database in the URL.")
    return production.database


def names_of(production: Conninfo, id: str) -> RestoreNames:  # noqa: A002
    return RestoreNames(id=id, database=require_database(production))


def require_mark(admin: Connection, names: RestoreNames) -> Mark:
    """The mark on the restored database; raises `UnknownRestore` where it is not there or not ours."""
    properties = find_properties(admin, names.restored)
    mark = None if properties is None else Mark.find(properties.comment)
    if mark is None or (mark.id, mark.database) != (names.id, names.database):
        raise UnknownRestore(f"there is no restore {names.id} of {names.database} on that server")
    return mark


def write_mark(admin: Connection, mark: Mark) -> None:
    admin.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(
            sql.Identifier(mark.names.restored), sql.Literal(mark.as_comment())
        )
    )


def require_ledger_elsewhere(admin: Connection, names: RestoreNames, ledger: ReleaseLedger | None) -> None:
    """Refuse a release ledger in the very database that is going to be shut.  Raises `RestoreRefused`."""
    if ledger is None or not isinstance(ledger.path, Conninfo) or ledger.path.database != names.database:
        return
    with contextlib.suppress(DatabaseFenced), connect(ledger.path, verb="restore") as there:
        if same_server(admin, there, secrets.randbits(64)):
            raise RestoreRefused(
                f"the release ledger is kept in {names.database} itself, which is shut while the names are swapped",
                remedy="Keep the release ledger in another database, or in a file: ledger.path.",
            )


def _clear_the_place(admin: Connection, names: RestoreNames, *, is_ours: bool) -> None:
    """Drop what a killed run of the same restore had half made; refuse anything else of those names."""
    if find_properties(admin, names.quarantine) is not None:
        raise RestoreRefused(f"there is a database {names.quarantine} already", remedy="Use another id.")
    found = find_properties(admin, names.restored)
    if found is None:
        return
    mark = Mark.find(found.comment)
    half_made = (found.comment is None and is_ours) or (mark is not None and mark.id == names.id and not mark.is_filled)
    busy = fetch_value(
        admin, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity a WHERE a.datname = %s", (names.restored,)
    )
    if not half_made or busy:
        raise RestoreRefused(
            f"there is a database {names.restored} already" + (", and somebody is in it" if busy else ""),
            remedy="Wait for the run that fills it, or drop it with `pgrehearse rollback --undo --drop`.",
        )
    admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(names.restored)))


def _create(admin: Connection, production: Conninfo, mark: Mark) -> None:
    names = mark.names
    wanted = require_properties(admin, names.database)
    try:
        with connect(production, verb="restore") as session:
            locale = read_locale(session)
    except DatabaseFenced as error:
        raise RestoreRefused(f"{names.database} admits nobody: its locale cannot be read") from error
    options = locale_options(locale, admin.info.server_version)
    options.append(sql.SQL("OWNER {}").format(sql.Identifier(wanted.owner)))
    if wanted.tablespace != DEFAULT_TABLESPACE:  # naming it needs a right on it; template0 stands there anyway
        options.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(wanted.tablespace)))
    statement = sql.SQL("CREATE DATABASE {} {}").format(sql.Identifier(names.restored), sql.SQL(" ").join(options))
    try:
        admin.execute(statement)
        write_mark(admin, mark)
        with admin.transaction():  # whoever may not connect to production must not read it here
            apply_grants(admin, names.restored, wanted)
    except psycopg.Error as error:
        told = scrub(error.diag.message_primary or str(error), production)
        raise RestoreFailed(f"{names.restored} cannot be made: {told}") from error


def _require_equal(differences: tuple[str, ...], mark: Mark) -> None:
    if differences:
        listed = "\n".join(f"  - {sentence}" for sentence in differences[:20])
        raise RestoreFailed(f"{mark.names.restored} is not what backup {mark.backup} holds:\n{listed}")


def _drop(admin: Connection, mark: Mark) -> None:
    """Only what carries our mark, or has our name and no comment yet."""
    properties = find_properties(admin, mark.names.restored)
    if properties is None:
        return
    if properties.comment is not None:
        require_mark(admin, mark.names)
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(mark.names.restored)))

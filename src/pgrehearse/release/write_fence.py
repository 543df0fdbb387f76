"""A fence against writes, from the backup to the last commit: production answers reads, and its sessions begin anew.

``default_transaction_read_only`` is set for the whole database and every other session is ended, so that it comes
back read-only.  It keeps honest applications out, not somebody who sets it back: what is written nevertheless is
counted and told as without a fence.  The fence is a setting of the database, so it outlives a killed run, and a restore
carries it over; its step in the release ledger says what stood there before, and whoever goes on with the promotion or
takes it back lifts it in the end.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from pgrehearse.errors import FenceRefused, PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.release.lineage import find_lineage
from pgrehearse.release.promotion import BEGUN, STEP
from pgrehearse.release.steps import Steps

FENCE, STANDING, LIFTED = "fence", "standing", "lifted"
SETTING = "default_transaction_read_only"
BEFORE = """
SELECT (SELECT pg_catalog.split_part(c, '=', 2) FROM pg_catalog.unnest(s.setconfig) AS c
        WHERE pg_catalog.split_part(c, '=', 1) = 'default_transaction_read_only')
FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
WHERE d.datname = pg_catalog.current_database() AND s.setrole = 0
"""
# PostgreSQL's own order: what a role has in this database, what it has everywhere, what the database has for all.
NOT_STOPPED = """
SELECT DISTINCT ON (r.rolname) r.rolname, pg_catalog.split_part(c, '=', 2)::bool AS read_only
FROM pg_catalog.pg_db_role_setting s
JOIN pg_catalog.pg_roles r ON r.oid = s.setrole AND r.rolcanlogin
CROSS JOIN pg_catalog.unnest(s.setconfig) AS c
WHERE pg_catalog.split_part(c, '=', 1) = 'default_transaction_read_only'
  AND s.setdatabase IN (0, (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
ORDER BY r.rolname, s.setdatabase DESC
"""
OTHERS = """
SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
WHERE a.datname = pg_catalog.current_database() AND a.pid <> pg_catalog.pg_backend_pid()
  AND a.backend_type = 'client backend' AND a.application_name NOT LIKE 'pgrehearse:%%'
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingFence:
    """A fence that a killed run left around a database."""

    promotion: str  # whose run put it up
    before: str | None  # the setting that stood there before; None: none
    since: datetime

    @property
    def told(self) -> str:
        return (
            f"the fence that promotion {self.promotion} put up at {self.since:%Y-%m-%d %H:%M:%S} UTC still stands: "
            "production is read-only for everybody else"
        )


def past_fence(production: Conninfo) -> Conninfo:
    """The address of our own sessions, which may write while the fence stands."""
    given = production.parameters.get("options", "")
    return production.replaced(options=f"{given} -c {SETTING}=off".strip())


@contextlib.contextmanager
def write_fence(
    session: Connection, steps: Steps, *, standing: StandingFence | None, tell: Callable[[str], None]
) -> Iterator[None]:
    """Put up the fence, or keep the one that a killed run left (``standing``), and lift it after.

    Needs the database's owner, and pg_signal_backend or the sessions' own roles.  Raises `FenceRefused` before
    anything was done.
    """
    before = standing.before if standing is not None else _read_before(session)
    if standing is None:
        _put_up(session, steps, before)
    free = [role for role, read_only in session.execute(NOT_STOPPED) if not read_only]
    tell("fenced: production is read-only for everybody else until the promotion ends")
    if free:
        tell(
            f"the fence does not stop {', '.join(free)}: ALTER ROLE … SET {SETTING} = off goes before it; "
            "what is written nevertheless is counted"
        )
    try:
        yield
    finally:
        lift(session, before)
        problem = steps.note(FENCE, LIFTED, {"before": before})
        tell(problem or "the fence is lifted")


def find_standing(releases: ReleaseLedger, key: str) -> StandingFence | None:
    """What a killed run recorded of the fence that it left around this database; None where none stands."""
    line = find_lineage(releases, key)
    own = {entry.subject for entry in releases.entries(kind=BEGUN) if entry.body["key"] in line}
    standing: StandingFence | None = None
    for step in releases.entries(kind=STEP):
        if step.subject not in own or step.body["step"] != FENCE:
            continue
        standing = (
            StandingFence(promotion=step.subject, before=step.body["before"], since=step.at)
            if step.body["state"] == STANDING
            else None
        )
    return standing


def lift_left(
    standing: StandingFence, open_session: Callable[[], Connection], releases: ReleaseLedger, *, now: datetime
) -> str:
    """Lift what a killed run left, in a session of the database's owner; a sentence of what came of it.

    The caller holds the lease.  What was done beside it is not undone because this failed: the fence then stands, and
    whoever looks is told so.
    """
    try:
        with open_session() as session:
            lift(session, standing.before)
        releases.append(STEP, standing.promotion, {"before": standing.before, "step": FENCE, "state": LIFTED}, now)
    except (psycopg.Error, PgRehearseError) as error:
        return f"{standing.told}, and could not be lifted: {error}; `pgrehearse rollback --undo` lifts it"
    return f"the fence that promotion {standing.promotion} left is lifted"


def lift(session: Connection, before: str | None) -> None:
    """Set back what stood there before, and end the sessions that began under the fence: they would stay read-only."""
    database = sql.Identifier(session.info.dbname)
    if before is None:
        session.execute(sql.SQL("ALTER DATABASE {} RESET default_transaction_read_only").format(database))
    else:
        session.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = {}").format(database, sql.Literal(before))
        )
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        session.execute(OTHERS)


def _read_before(session: Connection) -> str | None:
    row = session.execute(BEFORE).fetchone()
    return None if row is None else row[0]


def _put_up(session: Connection, steps: Steps, before: str | None) -> None:
    problem = steps.note(FENCE, STANDING, {"before": before})  # before it stands: nobody may find it unexplained
    if problem is not None:
        raise FenceRefused(problem)
    database = sql.Identifier(session.info.dbname)
    try:
        session.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
        session.execute(OTHERS)
    except psycopg.errors.InsufficientPrivilege as error:
        with contextlib.suppress(psycopg.Error):
            lift(session, before)
        steps.note(FENCE, LIFTED, {"before": before})
        raise FenceRefused(f"the fence cannot be put up: {error.diag.message_primary}") from error

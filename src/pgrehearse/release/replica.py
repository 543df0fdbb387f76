"""Whether a clone that was taken of a replica speaks of this primary.

A twin's replica has all the identifiers of production's own, and an address may lead elsewhere tomorrow: the server
that was cloned is known by when it was started, and whether it follows is asked through the WAL.  That writes, if
nothing that stays: only a promotion may, and asks it last, of an otherwise open gate.
"""

import contextlib
from collections.abc import Generator, Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg

from pgrehearse.errors import ServerUnreachable
from pgrehearse.postgres.connect import Connection, connect, scrub
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity, is_replica_of, read_identity, read_started_at
from pgrehearse.release.gate import Gate, Reason, ReasonKind

ANOTHER = "not the server that was cloned, or it was restarted since"


def may_be_of_replica_of(document: Mapping[str, Any], primary: DatabaseIdentity) -> bool:
    """Whether the clone was taken of a replica whose identifiers are this primary's.  Pure."""
    source = document["source"]
    named = (str(primary.system_identifier), primary.database_oid)
    return bool(source["is_replica"]) and named == (source["system_identifier"], source["database_oid"])


def source_started_at(document: Mapping[str, Any]) -> datetime | None:
    """When the server that was cloned was started; None of a receipt that does not say.  Pure."""
    said = document["receipt"].get("source_started_at")
    return None if said is None else datetime.fromisoformat(said)


def find_started(standbys: Sequence[Conninfo]) -> frozenset[datetime]:
    """When those of them that answer were started."""
    return frozenset(found for _, found in _open_each(standbys, not_asked=[]))


def judge_replica(
    document: Mapping[str, Any], production: Conninfo, standbys: Sequence[Conninfo], *, asks_wal: bool
) -> Gate:
    """Open where the clone is of no replica, or of one among ``standbys`` that replays what ``production`` writes.

    With ``asks_wal`` a temporary table of our own is locked on ``production`` until the standby shows it, some seconds
    at most; without, it is told that `promote` will.
    """
    if not document["source"]["is_replica"]:
        return Gate()
    replica = document["source"]["address"]
    if source_started_at(document) is None:
        message = f"the clone was taken of the replica {replica}, and the receipt does not say which server that was"
        return Gate.of([Reason(kind=ReasonKind.IDENTITY, message=message, remedy="Rehearse again.")])
    with connect(production, verb="gate") as primary:
        if read_started_at(primary) == source_started_at(document):
            return Gate()  # it has become the primary since
        here = read_identity(primary).address
        not_asked: list[str] = []
        with contextlib.closing(_open_each(standbys, not_asked)) as opened:
            for standby, started in opened:
                if started != source_started_at(document):
                    not_asked.append(f"{read_identity(standby).address}: {ANOTHER}")
                elif not asks_wal:
                    return Gate.of(
                        [], [f"asked by promote alone, last and through the WAL: whether {replica} follows {here}"]
                    )
                elif (why_not := _ask(standby, primary)) is None:
                    return Gate.of([], [f"seen in the WAL: {replica}, of which the clone was taken, follows {here}"])
                else:
                    not_asked.append(f"{read_identity(standby).address}: {why_not}")
    return Gate.of([
        Reason(
            kind=ReasonKind.IDENTITY,
            message=f"the clone was taken of the replica {replica}, and it is not known whether that follows {here}",
            remedy="Rehearse again, with this database as the source; or name the replica in the environment's "
            "standby_url_envs: then promote asks the WAL.",
            details=tuple(not_asked),
        )
    ])  # fmt: skip


def _ask(standby: Connection, primary: Connection) -> str | None:
    """Why it is not seen to follow; None where it is."""
    try:
        if not read_identity(standby).in_recovery:
            return "it is no standby any more"
        primary.execute("SET default_transaction_read_only = off")  # a fence may stand
        primary.execute("SET synchronous_commit = local")  # a standby that does not answer must not hold us up
        follows = is_replica_of(standby, primary)
    except psycopg.Error as error:
        return f"the WAL cannot be asked: {error.diag.message_primary or error}"
    if follows is None:
        return "the WAL does not tell: it has not replayed what was written for that, within some seconds"
    return None if follows else "it replays the WAL of another database"


def _open_each(
    standbys: Sequence[Conninfo], not_asked: list[str]
) -> Generator[tuple[Connection, datetime], None, None]:
    """A session on each in turn, and when its server was started; why not goes to ``not_asked``."""
    for conninfo in standbys:
        try:
            with connect(conninfo, verb="gate") as session:
                yield session, read_started_at(session)
        except (ServerUnreachable, psycopg.Error) as error:
            not_asked.append(scrub(str(error), conninfo))

"""Whether a clone that was taken of a replica speaks of this primary.

A twin's replica has all the identifiers of production's own, so the WAL is asked.  That writes, if nothing that stays:
only a promotion may, and asks it last, of an otherwise open gate.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pgrehearse.errors import ServerUnreachable
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity, is_replica_of, read_identity
from pgrehearse.release.gate import Gate, Reason, ReasonKind
from pgrehearse.release.write_fence import past_fence


def may_be_of_replica_of(document: Mapping[str, Any], primary: DatabaseIdentity) -> bool:
    """Whether the clone was taken of a replica whose identifiers are this primary's.  Pure."""
    source = document["source"]
    named = (str(primary.system_identifier), primary.database_oid)
    return bool(source["is_replica"]) and named == (source["system_identifier"], source["database_oid"])


def judge_replica(document: Mapping[str, Any], primary: DatabaseIdentity, standbys: Sequence[Conninfo]) -> Gate:
    """What can be said without writing; ``standbys`` are those that the configuration names.

    Opens a session on each of them until the one that was cloned is found.
    """
    if not _is_of_another(document, primary.address):
        return Gate()
    replica, told = document["source"]["address"], []
    with _open_cloned(document, standbys) as (standby, not_asked):
        if standby is not None and read_identity(standby).in_recovery:
            told = [f"asked by promote alone, last and through the WAL: whether {replica} follows {primary.address}"]
            return Gate.of([], told)
        why_not = ["it is no standby any more"] if standby is not None else not_asked
    return Gate.of([
        Reason(
            kind=ReasonKind.IDENTITY,
            message=f"the clone was taken of the replica {replica}, and it is not known whether that follows "
            f"{primary.address}",
            remedy="Name the replica among the environment's standby_url_envs: then promote asks the WAL; or rehearse "
            "with this database as the source.",
            details=tuple(why_not),
        )
    ])  # fmt: skip


def ask_replica(document: Mapping[str, Any], production: Conninfo, standbys: Sequence[Conninfo]) -> Gate:
    """Whether the replica that was cloned replays what ``production`` writes; open where the clone is of no replica.

    Locks a temporary table of its own on ``production`` for as long as the standby lags, some seconds at most.
    """
    with connect(past_fence(production), verb="gate") as primary:
        here, replica = read_identity(primary).address, document["source"]["address"]
        if not _is_of_another(document, here):
            return Gate()
        with _open_cloned(document, standbys) as (standby, not_asked):
            follows = None if standby is None else is_replica_of(standby, primary)
    if follows:
        return Gate.of([], [f"seen in the WAL: {replica}, of which the clone was taken, follows {here}"])
    if follows is None:
        message = f"the clone was taken of the replica {replica}, and the WAL does not tell whether that follows {here}"
        remedy = "Try again when the standby replays; its URL's role must be able to log in, and production's to "
        remedy += "make temporary tables.  Or rehearse with this database as the source."
    else:
        message = f"the clone was taken of {replica}, which replays the WAL of another database than {here}"
        remedy = "Rehearse with this database, or one of its own standbys, as the source."
    return Gate.of([Reason(kind=ReasonKind.IDENTITY, message=message, remedy=remedy, details=tuple(not_asked))])


def _is_of_another(document: Mapping[str, Any], address: str) -> bool:
    """A replica at this very address has become the primary since."""
    source = document["source"]
    return bool(source["is_replica"]) and source["address"] != address


@contextlib.contextmanager
def _open_cloned(
    document: Mapping[str, Any], standbys: Sequence[Conninfo]
) -> Iterator[tuple[Connection | None, list[str]]]:
    """A session on the standby that was cloned, and why others could not be asked."""
    not_asked = []
    with contextlib.ExitStack() as stack:
        for conninfo in standbys:
            try:
                session = stack.enter_context(connect(conninfo, verb="gate"))
            except ServerUnreachable as error:
                not_asked.append(str(error))
                continue
            if read_identity(session).address == document["source"]["address"]:
                yield session, not_asked
                return
        yield None, not_asked

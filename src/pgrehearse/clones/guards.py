"""Where a copy may not land, asked before anything is written."""

import secrets
from collections.abc import Sequence
from contextlib import ExitStack

from pgrehearse.clones.snapshot import read_lsn
from pgrehearse.errors import SameDatabase, SameServer, ServerUnreachable
from pgrehearse.postgres.connect import Connection, connect, fetch_value
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import Nearness, find_nearness, read_identity

OF_A_COPY = (
    f"{SameServer.default_remedy}  Where the target is a copy of production's files, on another server: rehearse with "
    "the primary as the source, then a handshake tells."
)
IS_BEHIND = "SELECT %s::pg_catalog.pg_lsn < %s::pg_catalog.pg_lsn"
NOT_ASKED = "whether the target is on the server of the protected"


def require_apart(
    source: Connection,
    target: Connection,
    protected: Sequence[Conninfo],
    *,
    source_name: str,
    target_name: str,
    same_server_allowed: bool,
    source_protected: bool = True,
) -> tuple[str, ...]:
    """Refuse a target that is the source, or a protected database (exit 2), or on the server of one (exit 1).

    The second only unless ``same_server_allowed``, or where it is the source's and that is not ``source_protected``.
    Returns which of ``protected`` could not be asked.  Decided by a handshake that writes nothing.  A replica counts as
    its primary's server.  To know that one would have to write where production may be: a target whose identifiers are
    the replica's is refused, but for one that has written less than the replica has replayed.
    """
    not_asked = []
    with ExitStack() as stack:
        apart_from = [(source, source_name, same_server_allowed or not source_protected)]
        for conninfo in protected:
            try:
                session = stack.enter_context(connect(conninfo, verb="guard"))
            except ServerUnreachable as error:
                not_asked.append(f"{NOT_ASKED} {conninfo.address}: {error}")
                continue
            apart_from.append((session, f"the protected {conninfo.address}", same_server_allowed))
        for other, name, allowed in apart_from:
            nearness = find_nearness(target, other, secrets.randbits(64))
            if nearness is Nearness.SAME_DATABASE:
                raise SameDatabase(f"source {name} and target {target_name} are one and the same database")
            if nearness is Nearness.SAME_SERVER and not allowed:
                raise SameServer(f"target {target_name} is on the server that holds {name}")
        for other, name, allowed in apart_from:
            if not allowed and _may_be_primary_of(target, other):
                raise SameServer(
                    f"target {target_name} is, or may be, the primary of the replica {name}", remedy=OF_A_COPY
                )
    return tuple(not_asked)


def _may_be_primary_of(target: Connection, replica: Connection) -> bool:
    follower, leader = read_identity(replica), read_identity(target)
    if not follower.in_recovery or leader.in_recovery:
        return False
    unknown = None in (follower.system_identifier, leader.system_identifier)
    if not unknown and follower.system_identifier != leader.system_identifier:
        return False
    replayed = read_lsn(replica)  # first: what follows a primary is never ahead of it
    written = read_lsn(target)
    return replayed is None or written is None or not fetch_value(target, IS_BEHIND, (written, replayed))

"""Where a copy may not land, asked before anything is written."""

import secrets
from collections.abc import Sequence
from contextlib import ExitStack

from pgrehearse.errors import SameDatabase, SameServer, ServerUnreachable
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import Nearness, find_nearness, is_replica_of, read_identity

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
    its primary's server: where the identifiers are equal and only one side is in recovery, the WAL is asked, which
    locks a temporary table on the target for a moment; only when the target was seen to be on no protected server.
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
            if not allowed and _may_be_primary_of(target, other) and is_replica_of(other, target) is not False:
                raise SameServer(f"target {target_name} is, or may be, the primary of the replica {name}")
    return tuple(not_asked)


def _may_be_primary_of(target: Connection, source: Connection) -> bool:
    from_replica, to = read_identity(source), read_identity(target)
    if not from_replica.in_recovery or to.in_recovery:
        return False
    unknown = None in (from_replica.system_identifier, to.system_identifier)
    return unknown or from_replica.system_identifier == to.system_identifier

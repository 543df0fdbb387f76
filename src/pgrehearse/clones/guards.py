"""Where a copy may not land, asked before anything is written."""

import contextlib
import secrets
from collections.abc import Sequence

from pgrehearse.errors import PoolerRefused, SameDatabase, SameServer, ServerUnreachable
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import Nearness, find_nearness, is_replica_of, read_identity
from pgrehearse.postgres.pooler import require_session

NOT_ASKED = "whether the target is on the server of the protected"


def require_apart(
    source: Connection, target: Connection, *, source_name: str, target_name: str, same_server_allowed: bool
) -> None:
    """Refuse a target that is the source's own database (exit 2) or on its server (exit 1, unless allowed).

    Decided by handshake; nothing is written.  A replica as source counts as its primary's server: where
    the identifiers are equal and only one side is in recovery, the WAL is asked.
    """
    nearness = find_nearness(target, source, secrets.randbits(64))
    if nearness is Nearness.SAME_DATABASE:
        raise SameDatabase(f"source {source_name} and target {target_name} are one and the same database")
    if same_server_allowed:
        return
    if nearness is Nearness.SAME_SERVER:
        raise SameServer(f"target {target_name} is on the server that holds {source_name}")
    if _may_be_primary_of(target, source):
        if is_replica_of(source, target) is False:
            return
        raise SameServer(f"target {target_name} is, or may be, the primary of the replica {source_name}")


def require_unprotected(
    target: Connection, protected: Sequence[Conninfo], *, target_name: str, same_server_allowed: bool
) -> tuple[str, ...]:
    """Refuse a target on the server of a protected database; returns those that could not be asked.

    Raises `SameDatabase` even where the same server is allowed, `SameServer` otherwise.
    """
    not_asked = []
    for conninfo in protected:
        try:
            other = connect(conninfo, verb="guard")
        except ServerUnreachable as error:
            not_asked.append(f"{NOT_ASKED} {conninfo.address}: {error}")
            continue
        with other:
            require_apart(
                other,
                target,
                source_name=f"the protected {conninfo.address}",
                target_name=target_name,
                same_server_allowed=same_server_allowed,
            )
    return tuple(not_asked)


def find_followed(source: Connection, primaries: Sequence[Conninfo]) -> tuple[str, ...]:
    """The addresses of those whose WAL the source replays: for certain, so that one that cannot be asked is left out.

    No primary is asked unless the source is in recovery and its identifiers are that primary's; then see
    `is_replica_of`.
    """
    standby = read_identity(source)
    followed = []
    for conninfo in primaries if standby.in_recovery else ():
        with contextlib.suppress(ServerUnreachable, PoolerRefused), contextlib.ExitStack() as stack:
            require_session(conninfo)  # what is made there is dropped by the same session
            primary = stack.enter_context(connect(conninfo, verb="guard"))
            identity = read_identity(primary)
            named = (identity.system_identifier, identity.database_oid)
            if named != (standby.system_identifier, standby.database_oid) or identity.in_recovery:
                continue
            if is_replica_of(source, primary):
                followed.append(identity.address)
    return tuple(followed)


def _may_be_primary_of(target: Connection, source: Connection) -> bool:
    from_replica, to = read_identity(source), read_identity(target)
    if not from_replica.in_recovery or to.in_recovery:
        return False
    unknown = None in (from_replica.system_identifier, to.system_identifier)
    return unknown or from_replica.system_identifier == to.system_identifier

"""Dropping clones after the fact: one by its id, or whatever a killed process left behind.

What counts as ours: its ledger entry was written before it was made, the random bits of the entry's id are
in its name, and its comment repeats them.  Nothing else is touched.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from pgrehearse.clones.making import drop_pair
from pgrehearse.clones.record import CloneRecord, RecordedClone, recorded_clones
from pgrehearse.clones.template import clone_failure
from pgrehearse.errors import CloneLeftBehind, GuardRefused, PgRehearseError, ServerUnreachable, UnknownClone
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import Connection, connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.identity import read_identity
from pgrehearse.postgres.local_server import MARKER
from pgrehearse.postgres.owner import Owner

STOP_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What a prune did."""

    dropped: tuple[str, ...]  # clones' ids
    directories: tuple[Path, ...]  # of dead private servers that no ledger here knows
    failed: tuple[tuple[str, PgRehearseError], ...]  # id, why it is still there


def prune_clones(
    ledger: ReleaseLedger,
    *,
    now: Callable[[], datetime],
    targets: Sequence[Conninfo] = (),
    temporary: Path | None = None,
) -> Pruned:
    """Drop every clone whose maker died, and wipe directories of private servers whose owner is dead.

    ``targets`` are addresses with passwords; the ledger keeps none.  A clone whose server cannot be reached
    stays recorded and is reported.
    """
    dropped, failed = [], []
    for recorded in recorded_clones(ledger):
        if not recorded.is_leftover:
            continue
        try:
            _drop(recorded, targets)
        except PgRehearseError as error:
            failed.append((recorded.id, error))
            continue
        CloneRecord(ledger=ledger, now=now, names=recorded.names).dropped(by="prune")
        dropped.append(recorded.id)
    directories = _wipe_ownerless(temporary or Path(tempfile.gettempdir()))
    return Pruned(dropped=tuple(dropped), directories=directories, failed=tuple(failed))


def drop_clone(
    ledger: ReleaseLedger, clone_id: str, *, now: Callable[[], datetime], targets: Sequence[Conninfo] = ()
) -> RecordedClone:
    """Drop one clone, kept or left behind.

    Raises `UnknownClone`, `GuardRefused` while the process that makes or uses it runs, `NotOurs`,
    `ServerUnreachable`, `CloneLeftBehind`.
    """
    recorded = next((clone for clone in recorded_clones(ledger) if clone.id == clone_id), None)
    if recorded is None:
        raise UnknownClone(f"no clone {clone_id} is recorded in {ledger.path}")
    if recorded.kept_at is None and recorded.owner.is_alive():
        raise GuardRefused(
            f"clone {clone_id} is in use by process {recorded.owner.pid} on {recorded.owner.host}",
            remedy="End that process (Ctrl-C): it drops its clone by itself.",
        )
    _drop(recorded, targets)
    CloneRecord(ledger=ledger, now=now, names=recorded.names).dropped(by="drop")
    return recorded


def _drop(recorded: RecordedClone, targets: Iterable[Conninfo]) -> None:
    if recorded.target is not None:
        with _reach(recorded, targets) as admin:
            try:
                admin.execute("SET default_transaction_read_only = off")
                drop_pair(admin, recorded.names, recorded.roles)
            except psycopg.Error as error:
                raise clone_failure(error, f"dropping clone {recorded.id}") from error
    if not recorded.owner.is_here():
        if recorded.target is None:
            raise CloneLeftBehind(
                f"clone {recorded.id} is a private server on {recorded.owner.host}",
                remedy=f"Run the command on {recorded.owner.host}.",
            )
        return
    if recorded.server_owner is not None:
        _end_process(recorded.server_owner)
    if Owner.find(recorded.directory / MARKER) == recorded.owner:
        _end_servers_below(recorded.directory)
        shutil.rmtree(recorded.directory, ignore_errors=True)


def _reach(recorded: RecordedClone, targets: Iterable[Conninfo]) -> Connection:
    """A session on the server that holds the clone: by the recorded address, else by one that was given.

    A given address must reach a server that calls itself the same; whether the databases on it are ours is
    decided by name and comment afterwards.
    """
    assert recorded.target is not None
    refusals: list[ServerUnreachable] = []
    for conninfo in (*_with_passwords(recorded.target, targets), recorded.target, *targets):
        try:
            session = connect(conninfo, verb="drop")
        except ServerUnreachable as error:
            refusals.append(error)
            continue
        wanted = recorded.server["system_identifier"] if recorded.server else None
        if wanted is None or read_identity(session).as_json()["system_identifier"] in (wanted, None):
            return session
        session.close()
    told = refusals[0] if refusals else "no address reaches its server"
    raise ServerUnreachable(
        f"clone {recorded.id} on {recorded.target.address}: {told}",
        remedy="Give the server's URL with its password: `pgrehearse clones prune --server URL` "
        "(or `clones drop ID --server URL`).",
    )


def _with_passwords(target: Conninfo, given: Iterable[Conninfo]) -> list[Conninfo]:
    """The recorded address completed by the password of a given one that has its host, port and user."""
    keys = ("host", "hostaddr", "port", "user", "service")
    wanted = [target.parameters.get(key) for key in keys]
    return [
        target.replaced(password=other.parameters["password"])
        for other in given
        if [other.parameters.get(key) for key in keys] == wanted and "password" in other.parameters
    ]


def _wipe_ownerless(parent: Path) -> tuple[Path, ...]:
    """Remove directories that carry our marker and whose process is gone."""
    wiped = []
    for marker in sorted(parent.glob(f"pgrehearse-*/{MARKER}")):
        owner = Owner.find(marker)
        ours = os.geteuid() == 0 or marker.stat().st_uid == os.geteuid()
        if owner is None or not ours or owner.is_alive() or _servers_below(marker.parent):
            continue
        shutil.rmtree(marker.parent, ignore_errors=True)
        if not marker.parent.exists():
            wiped.append(marker.parent)
    return tuple(wiped)


def _servers_below(directory: Path) -> list[Owner]:
    """Living servers in it: a kept private server outlives its maker."""
    owners = [Owner.find(marker) for marker in directory.glob(f"*/{MARKER}")]
    return [owner for owner in owners if owner is not None and owner.is_here() and owner.is_alive()]


def _end_servers_below(directory: Path) -> None:
    for owner in _servers_below(directory):
        _end_process(owner)


def _end_process(owner: Owner) -> None:
    """End a private server; told apart from a later process of the same pid by its start time."""
    if not owner.is_here() or not owner.is_alive() or owner.pid == os.getpid():
        return
    os.kill(owner.pid, signal.SIGQUIT)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while owner.is_alive():
        if time.monotonic() > deadline:
            raise CloneLeftBehind(f"the private server {owner.pid} does not end")
        time.sleep(0.02)

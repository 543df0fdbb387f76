"""What the release ledger says of clones: intended before anything is made, then kept, then dropped."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pgrehearse.clones.template import CloneNames
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.conninfo import SECRET_PARAMETERS, Conninfo
from pgrehearse.postgres.identity import DatabaseIdentity
from pgrehearse.postgres.owner import Owner

INTENDED = "clone-intended"
KEPT = "clone-kept"
DROPPED = "clone-dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneRecord:
    """Writes one clone's entries."""

    ledger: ReleaseLedger
    now: Callable[[], datetime]
    names: CloneNames

    def intend(
        self,
        *,
        source: DatabaseIdentity,
        target: Conninfo | None,
        server: DatabaseIdentity | None,
        roles: tuple[str, ...],
        directory: Path,
    ) -> None:
        """Durable before the first thing is made.  The target's address is kept without its secrets."""
        body = {
            "source": source.as_json(),
            "target": None if target is None else without_secrets(target),
            "server": None if server is None else server.as_json(),
            "databases": list(self.names.both),
            "roles": list(roles),
            "directory": str(directory),
            "owner": Owner.of(os.getpid()).as_json(),
        }
        self.ledger.append(INTENDED, self.names.id, body, self.now())

    def kept(self, *, address: str, server: Owner | None) -> None:
        """The copy stays until `clones drop`; a private server lives on as a process of its own."""
        body = {"address": address, "server_owner": None if server is None else server.as_json()}
        self.ledger.append(KEPT, self.names.id, body, self.now())

    def dropped(self, *, by: str) -> None:
        self.ledger.append(DROPPED, self.names.id, {"by": by}, self.now())


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedClone:
    """One clone as the ledger knows it and nobody has dropped yet."""

    names: CloneNames
    source: str  # address without secrets
    target: Conninfo | None  # without secrets; None: a private server
    server: Mapping[str, Any] | None  # DatabaseIdentity.as_json() of the target
    roles: tuple[str, ...]
    directory: Path
    owner: Owner
    made_at: datetime
    kept_at: datetime | None
    address: Conninfo | None  # how to reach a kept clone, without secrets
    server_owner: Owner | None  # the process of a kept private server

    @property
    def id(self) -> str:
        return self.names.id

    @property
    def state(self) -> str:
        """``in use``, ``kept`` or ``left over``."""
        if self.is_leftover:
            return "left over"
        return "in use" if self.kept_at is None else "kept"

    @property
    def is_leftover(self) -> bool:
        """Nobody will drop it any more: its maker ended without keeping it, or the kept server is gone."""
        if self.kept_at is None:
            return not self.owner.is_alive()
        return self.server_owner is not None and not self.server_owner.is_alive()


def recorded_clones(ledger: ReleaseLedger) -> tuple[RecordedClone, ...]:
    """Every clone that was intended and not dropped, oldest first."""
    dropped = {entry.subject for entry in ledger.entries(kind=DROPPED)}
    kept = {entry.subject: entry for entry in ledger.entries(kind=KEPT)}
    found = []
    for entry in ledger.entries(kind=INTENDED):
        if entry.subject in dropped:
            continue
        body, keeping = entry.body, kept.get(entry.subject)
        server_owner = keeping.body["server_owner"] if keeping else None
        found.append(
            RecordedClone(
                names=CloneNames(id=entry.subject),
                source=str(body["source"]["address"]),
                target=None if body["target"] is None else Conninfo.parse(body["target"]),
                server=body["server"],
                roles=tuple(body["roles"]),
                directory=Path(body["directory"]),
                owner=Owner.from_json(body["owner"]),
                made_at=entry.at,
                kept_at=keeping.at if keeping else None,
                address=Conninfo.parse(keeping.body["address"]) if keeping else None,
                server_owner=None if server_owner is None else Owner.from_json(server_owner),
            )
        )
    return tuple(found)


def without_secrets(conninfo: Conninfo) -> str:
    """The address as a libpq string that may be written down; libpq finds the password elsewhere."""
    return conninfo.replaced(**dict.fromkeys(SECRET_PARAMETERS)).text

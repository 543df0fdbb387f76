"""The steps of a promotion, each recorded in the release ledger before and after, so that a killed one can go on."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pgrehearse.errors import PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.release.lease import Lease
from pgrehearse.release.promotion import ENDED, STEP

Body = Mapping[str, Any]


class Steps:
    """Records one promotion.  Each step first renews the lease, so a run that stood still too long stops there."""

    def __init__(self, releases: ReleaseLedger, id: str, *, lease: Lease, now: Callable[[], datetime]) -> None:  # noqa: A002
        self.id = id
        self._releases = releases
        self._lease = lease
        self._now = now

    def run(self, step: str, doing: str, work: Callable[[], Body]) -> Body:
        """Do it, and record what it gives back.  Whatever it raises is recorded and passed on."""
        self._lease.renew(doing)
        self._record(step, "begun", {})
        try:
            body = work()
        except PgRehearseError as error:
            self.note(step, "failed", {"error": type(error).__name__, "message": str(error)})
            raise  # this is what is told, though the release ledger may fail too
        self._record(step, "done", body)
        return body

    def require_lease(self) -> None:
        """Raises `LeaseLost`: what another run of this promotion has done since is not to be touched."""
        self._lease.renew()

    def was_begun(self, step: str) -> bool:
        """By whatever run of this promotion."""
        entries = self._releases.entries(kind=STEP, subject=self.id)
        return any((entry.body["step"], entry.body["state"]) == (step, "begun") for entry in entries)

    def note(self, step: str, state: str, body: Body) -> str | None:
        """Record something that happened within a step; why it could not be recorded, else None.

        What is in the database is not undone because the release ledger cannot be reached for a moment.
        """
        try:
            self._record(step, state, body)
        except PgRehearseError as error:
            return f"not recorded in the release ledger: {error}"
        return None

    def end(self, outcome: str, body: Body) -> None:
        """Raises `LeaseLost`: one that stood still must not end what another has gone on with, or ended, since."""
        self._lease.append(ENDED, self.id, {**body, "outcome": outcome}, self._now())

    def _record(self, step: str, state: str, body: Body) -> None:
        self._releases.append(STEP, self.id, {**body, "step": step, "state": state}, self._now())

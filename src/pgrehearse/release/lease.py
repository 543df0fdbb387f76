"""Who is doing something to a database right now: a lease in the release ledger, kept alive by a heartbeat.

The lease keeps two people from starting the same promotion; it decides nothing about the database.  A process that
stood still for longer than its lease may wake up in the middle of a statement, so what keeps two runs apart there is
the advisory lock in the target, and what says what is applied is its migration ledger.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

from pgrehearse.errors import LeaseHeld, LeaseLost, PgRehearseError
from pgrehearse.ledger import LeaseRow, ReleaseLedger

DEFAULT_TTL_S = 30.0
BEATS_PER_TTL = 3


@dataclass(slots=True)
class Lease:
    """A lease that this process holds."""

    ledger: ReleaseLedger
    name: str
    holder: str
    token: str
    ttl_s: float
    doing: str
    lost: bool = False

    def renew(self, doing: str | None = None) -> None:
        """Say what is being done now; raises `LeaseLost` when the lease ended meanwhile."""
        self.doing = doing or self.doing
        if not self.lost and self.ledger.renew_lease(self.name, token=self.token, ttl_s=self.ttl_s, doing=self.doing):
            return
        self._give_up()

    def _give_up(self) -> NoReturn:
        self.lost = True
        now = self.ledger.read_lease(self.name)
        by = f"; now {describe(now)}" if now is not None and now.token != self.token else ""
        raise LeaseLost(f"this run stood still for longer than its lease of {self.ttl_s:g} s{by}")

    def append(self, kind: str, subject: str, body: Mapping[str, Any], now: datetime) -> None:
        """Record what only the holder may say; raises `LeaseLost` when it is another's by then."""
        self.renew()
        if self.ledger.append_under(self.name, self.token, kind, subject, body, now) is None:
            self._give_up()

    def release(self) -> None:
        """Give it back; one that is another's by now is left alone."""
        self.ledger.release_lease(self.name, token=self.token)


def take_lease(
    ledger: ReleaseLedger, name: str, holder: str, *, token: str, ttl_s: float = DEFAULT_TTL_S, doing: str = "starting"
) -> Lease:
    """Take it; ``token`` is this run's own nonce.  Raises `LeaseHeld`: who, since when, doing what."""
    found = ledger.try_lease(name, holder=holder, token=token, ttl_s=ttl_s, doing=doing)
    if found.token != token:
        raise LeaseHeld(f"{describe(found)}; its lease ends at {found.until:%H:%M:%S} UTC unless it is renewed")
    return Lease(ledger=ledger, name=name, holder=holder, token=token, ttl_s=ttl_s, doing=doing)


@contextmanager
def hold_lease(
    ledger: ReleaseLedger, name: str, holder: str, *, token: str, ttl_s: float = DEFAULT_TTL_S
) -> Iterator[Lease]:
    """Take it, renew it from a thread while the caller works, and give it back in the end."""
    lease = take_lease(ledger, name, holder, token=token, ttl_s=ttl_s)
    stopped = threading.Event()

    def beat() -> None:
        while not stopped.wait(ttl_s / BEATS_PER_TTL):
            try:
                lease.renew()
            except LeaseLost:
                return  # told by the next step's own renewal
            except PgRehearseError:
                continue  # the ledger is out of reach for a moment; the lease may still live

    thread = threading.Thread(target=beat, name="pgrehearse-lease", daemon=True)
    thread.start()
    try:
        yield lease
    finally:
        stopped.set()
        thread.join(10)
        with suppress(PgRehearseError):
            lease.release()


def describe(found: LeaseRow) -> str:
    """Who, since when, doing what."""
    return f"{found.holder} is at it since {found.since:%Y-%m-%d %H:%M:%S} UTC: {found.doing}"

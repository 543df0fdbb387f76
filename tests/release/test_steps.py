"""Steps of a promotion that stood still for longer than its lease."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgrehearse.errors import LeaseLost
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.release.lease import take_lease
from pgrehearse.release.steps import Steps


def test_a_promotion_is_ended_once_though_another_ended_it_meanwhile(tmp_path: Path) -> None:
    """The other found it unfinished, and its gate closed; then the first wakes up with the same answer."""
    now = datetime(2026, 11, 22, tzinfo=UTC)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        slept = take_lease(releases, "promote x", "ann", token="a", ttl_s=-1)
        other = take_lease(releases, "promote x", "bob", token="b")
        Steps(releases, "p1", lease=other, now=lambda: now).end("refused", {})
        with pytest.raises(LeaseLost, match="bob is at it"):
            Steps(releases, "p1", lease=slept, now=lambda: now).end("refused", {})
        assert [entry.subject for entry in releases.entries(kind="promotion-ended")] == ["p1"]


def test_who_stands_still_between_renewing_and_writing_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        slept = take_lease(releases, "promote x", "ann", token="a")
        renew = releases.renew_lease

        def renew_and_stand_still(name: str, *, token: str, ttl_s: float, doing: str) -> bool:
            if token != slept.token:
                return renew(name, token=token, ttl_s=ttl_s, doing=doing)
            assert renew(name, token=token, ttl_s=-1, doing=doing)
            other = take_lease(releases, "promote x", "bob", token="b")
            Steps(releases, "p1", lease=other, now=lambda: now).end("promoted", {})
            return True

        monkeypatch.setattr(releases, "renew_lease", renew_and_stand_still)
        with pytest.raises(LeaseLost, match="bob is at it"):
            Steps(releases, "p1", lease=slept, now=lambda: now).end("promoted", {})
        assert [entry.subject for entry in releases.entries(kind="promotion-ended")] == ["p1"]

"""A restore puts another database in a production's place: what is recorded of it stays its own."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgrehearse.errors import UnknownPromotion
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.release.history import find_promotion, find_unfinished, read_promotions
from pgrehearse.release.lineage import find_lineage, find_replacement, find_taken_back
from pgrehearse.release.write_fence import find_standing

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Story:
    """Writes entries, a minute apart."""

    def __init__(self, releases: ReleaseLedger) -> None:
        self.releases = releases
        self.now = NOON

    def tell(self, kind: str, subject: str, **body: Any) -> datetime:
        self.now += timedelta(minutes=1)
        self.releases.append(kind, subject, body, self.now)
        return self.now

    def begin(self, promotion: str, key: str) -> None:
        self.tell(
            "promotion-begun", promotion, key=key, receipt=None, unrehearsed=None, lsn="0/0", timeline=1,
            by={"login": "ann", "host": "here", "git": None},
            plan=[{"version": promotion, "sha256": promotion}],
        )  # fmt: skip

    def promote(self, promotion: str, key: str) -> None:
        self.begin(promotion, key)
        self.tell("promotion-ended", promotion, outcome="promoted")

    def swap(self, promotion: str, key: str) -> datetime:
        return self.tell("rollback-ended", promotion, outcome="swapped", key=key)


def taken_back(releases: ReleaseLedger) -> dict[str, datetime]:
    return {promotion: entry.at for promotion, entry in find_taken_back(releases).items()}


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    with ReleaseLedger.open(tmp_path / "ledger.db") as releases:
        yield Story(releases)


def test_a_line_of_databases_keeps_the_promotions_of_all_of_them(story: Story) -> None:
    releases = story.releases
    story.promote("p1", "old")
    story.promote("p2", "old")
    story.promote("other", "elsewhere")
    first = story.swap("p2", "restored")
    story.promote("p3", "restored")
    story.begin("p4", "restored")
    second = story.swap("p3", "newest")
    assert find_lineage(releases, "newest") == {"newest", "restored", "old"}
    assert find_lineage(releases, "old") == {"old"}
    assert [each.id for each in read_promotions(releases, "newest")] == ["p1", "p2", "p3", "p4"]
    assert {each.key for each in read_promotions(releases, "newest")} == {"newest"}
    # The backup of p3 was taken before p4 began: what p4 did is not in it.
    assert taken_back(releases) == {"p2": first, "p3": second, "p4": second}
    assert find_promotion(releases, "newest", None).id == "p1"
    assert find_unfinished(releases, "newest") is None
    with pytest.raises(UnknownPromotion, match="p4 is taken back already"):
        find_promotion(releases, "newest", "p4")
    assert find_promotion(releases, "elsewhere", None).id == "other"


def test_what_is_promoted_after_a_restore_is_not_taken_back_by_it(story: Story) -> None:
    story.promote("p1", "old")
    swapped = story.swap("p1", "restored")
    story.begin("p2", "restored")
    story.swap("p1", "restored")  # a run that was killed may say it again
    assert taken_back(story.releases) == {"p1": swapped}
    unfinished = find_unfinished(story.releases, "restored")
    assert unfinished is not None
    assert unfinished.id == "p2"


def test_what_was_promoted_while_a_restore_was_under_way_goes_with_it(story: Story) -> None:
    story.promote("p1", "old")
    story.tell("rollback-begun", "p1", type="restore")
    story.begin("p2", "old")
    swapped = story.swap("p1", "restored")
    assert taken_back(story.releases) == {"p1": swapped, "p2": swapped}
    assert find_unfinished(story.releases, "restored") is None


def test_a_fence_is_carried_over_with_the_settings_and_stays_known(story: Story) -> None:
    story.begin("p1", "old")
    story.tell("promotion-step", "p1", step="fence", state="standing", before="off")
    story.swap("p1", "restored")
    standing = find_standing(story.releases, "restored")
    assert standing is not None
    assert standing.before == "off"


def test_what_a_restore_replaced_is_told_of_its_own_line_alone(story: Story) -> None:
    story.promote("p1", "first")
    story.swap("p1", "second")
    story.promote("p2", "second")
    at = story.swap("p2", "third")
    story.promote("p3", "another")
    swapped = find_replacement(story.releases, "third", "second")
    assert swapped is not None
    assert (swapped.subject, swapped.at) == ("p2", at)
    first = find_replacement(story.releases, "third", "first")
    assert first is not None
    assert first.subject == "p1"
    assert find_replacement(story.releases, "third", "third") is None
    assert find_replacement(story.releases, "another", "first") is None
    assert find_replacement(story.releases, "second", "third") is None

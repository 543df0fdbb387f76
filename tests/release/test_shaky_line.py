"""Over a line that is slow and breaks, a promotion that is run again ends as an undisturbed one does.

The whole of it goes over the line: gate, dump, images, migration, verification.  The oracle is pg_dump and
`tests.support.release_world`.
"""

import contextlib
import os
import random
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.applying import wait_until
from tests.support.release_world import Outcome, attempt
from tests.support.same_end import SameEnd, same_end
from tests.support.shaky_line import Cut, ShakyLine, When, slow

from pgrehearse.postgres.local_server import LocalServer

# PGREHEARSE_SOAK=1 (make soak): more moments, and every chunk is late.
SOAK = bool(os.environ.get("PGREHEARSE_SOAK"))
CHUNKS, COMMITS, SHARE = (60, 12, 0.3) if SOAK else (2, 2, 0.02)
TO_BE_SEEN = {"making it recoverable", "applying"}
TOLD = (
    r"\S+ on \S+, pid \d+ is at it since [0-9-]{10} [0-9:]{8} UTC: (.*); its lease ends at [0-9:]{8} UTC unless it is "
    "renewed"
)

pytestmark = pytest.mark.pg("== 18")


class Line(NamedTuple):
    """How much an undisturbed promotion sends."""

    story: SameEnd
    chunks: int
    commits: int


@pytest.fixture(scope="module")
def line(server: LocalServer, uat: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    with same_end(server, uat, tmp_path_factory.mktemp("line"), f"line_{os.getpid()}") as story:
        with ShakyLine(story.world.production).opened() as steady:
            done = story.promote(steady.conninfo)
        assert done.error is None, done
        story.undisturbed = story.left()
        yield Line(story, steady.chunks, steady.commits)


def cuts(line: Line) -> Iterator[Cut]:
    """All over the promotion; and between COMMIT and its answer, mostly of the migration's own transactions."""
    chance = random.Random(20261123)
    for part in range(CHUNKS):
        yield Cut.drawn(chance, round((part + chance.random()) / CHUNKS * line.chunks))
    for number in chance.sample(range(line.commits - 2 * COMMITS, line.commits + 1), COMMITS):
        yield replace(Cut.drawn(chance, number, commits=True), when=chance.choice([When.SENT, When.ANSWERED]))


def test_a_line_that_breaks_anywhere(line: Line) -> None:
    story = line.story
    for cut in cuts(line):
        story.begin()
        with ShakyLine(story.world.production, cut=cut).opened() as shaky:
            outcome = story.promote(shaky.conninfo)
        assert shaky.broken or line.chunks - cut.number < 100, cut  # not every run sends as many
        if outcome.error is not None:
            assert outcome.error.exit_code in (3, 4), f"{cut}: {outcome}"
            assert re.search("connection|server closed|cannot be reached", str(outcome.error)), f"{cut}: {outcome}"
            assert re.search("again", outcome.error.remedy), f"{cut}: {outcome.error.remedy}"
            went_on = story.go_on()
            assert went_on.error is None, f"{cut}: {outcome}; {went_on}"
        story.require_same_end(cut)


def test_a_second_promoter_beside_one_on_a_slow_line_is_told_who_since_when_doing_what(line: Line) -> None:
    story, world = line.story, line.story.world
    story.begin()
    first: list[Outcome] = []
    doing: set[str] = set()
    slowness = slow(1, share=SHARE)

    def slow_until_seen() -> float:
        """Nothing comes through while the first is at something at which the second has not seen it yet."""
        with contextlib.suppress(AssertionError):  # of waiting too long: it is told below
            wait_until(lambda: over.is_set() or is_at_it(world.ledger) not in TO_BE_SEEN - doing)
        return slowness()

    over = threading.Event()
    with ShakyLine(world.production, delayed=slow_until_seen).opened() as late:
        thread = threading.Thread(target=lambda: first.append(story.promote(late.conninfo)))
        thread.start()
        wait_until(lambda: late.chunks)
        world.reach(world.production)
        wait_until(lambda: is_at_it(world.ledger))
        while thread.is_alive() and is_at_it(world.ledger) != "writing it down":
            second = attempt(lambda: world.promote(story.digest))
            if second.name == "LeaseHeld":
                found = re.fullmatch(TOLD, str(second.error))
                assert found, second
                doing.add(found[1])
            else:  # in the moment after the first one's end
                assert second.name == "GateClosed", second
            time.sleep(0.2)
        over.set()
        thread.join()
    assert first[0].error is None, first
    assert doing >= TO_BE_SEEN
    story.require_same_end("a slow line")


def is_at_it(ledger: Path) -> str | None:
    """What whoever holds a lease is doing, as the release ledger's file says."""
    with contextlib.closing(sqlite3.connect(ledger, timeout=60)) as file:
        return next((row[0] for row in file.execute("SELECT doing FROM leases")), None)

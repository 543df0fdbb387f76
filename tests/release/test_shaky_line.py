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

import pytest
from tests.support.applying import wait_until
from tests.support.dumps import dump_text
from tests.support.ledger_story import read_story, require_approved_and_recoverable
from tests.support.release_world import MIGRATIONS, REHEARSER, Outcome, World, attempt
from tests.support.shaky_line import Cut, ShakyLine, When, slow

from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.local_server import LocalServer

# PGREHEARSE_SOAK=1 (make soak): more moments, and every chunk is late.
SOAK = bool(os.environ.get("PGREHEARSE_SOAK"))
CHUNKS, COMMITS, SHARE = (60, 12, 0.3) if SOAK else (2, 2, 0.02)
TOLD = (
    r"\S+ on \S+, pid \d+ is at it since [0-9-]{10} [0-9:]{8} UTC: (.*); its lease ends at [0-9:]{8} UTC unless it is "
    "renewed"
)

pytestmark = pytest.mark.pg("== 18")


class Line:
    """One production, and what an undisturbed promotion leaves there."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.digest = ""
        self.undisturbed: tuple[object, ...] = ()
        self.chunks = self.commits = 0

    def begin(self) -> None:
        """A fresh production and project; the receipt of the first time is approved again."""
        self.world.begin()
        for version in MIGRATIONS:
            self.world.write_migration(version)
        receipt = self.world.rehearse(as_at_first=True).value
        self.digest = receipt["digest"]
        self.receipt = receipt
        names = [f"{each['hazard']}:{each['relation']}" for each in receipt["findings"] if each["level"] == "error"]
        assert self.world.approve("ann", self.digest, names).error is None

    def promote(self, line: ShakyLine | None = None) -> Outcome:
        self.world.reach(line.conninfo if line is not None else self.world.production)
        return attempt(lambda: self.world.promote(self.digest))

    def go_on(self) -> Outcome:
        self.world.reach(self.world.production)
        return self.world.patiently(lambda: self.world.promote(self.digest))

    def left(self) -> tuple[object, ...]:
        """pg_dump's text of the schema, what stands in the tables, and how promotions ended that began to apply."""
        schema = dump_text(
            self.world.production, "--schema-only", "--exclude-schema=pgrehearse",
            "--exclude-schema=pgrehearse_quarantine",
        )  # fmt: skip
        story = read_story(self.world.entries())
        require_approved_and_recoverable(self.world.entries(), {self.digest: self.receipt}, REHEARSER)
        ended = [told.outcome for told in story.promotions.values()]
        return schema, self.world.look(), [outcome for outcome in ended if outcome != "refused"]


@pytest.fixture(scope="module")
def line(server: LocalServer, uat: LocalServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """After an undisturbed promotion, which the others are held against."""
    name = f"line_{os.getpid()}"
    with connect(server.conninfo(), verb="test") as admin:
        admin.execute(f"CREATE DATABASE {name}")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        patched.setenv("GIT_CONFIG_NOSYSTEM", "1")
        world = World(server.conninfo(name), uat.conninfo(), tmp_path_factory.mktemp("line"))
        line = Line(world)
        line.begin()
        with ShakyLine(world.production).opened() as steady:
            done = line.promote(steady)
        assert done.error is None, done
        line.undisturbed, line.chunks, line.commits = line.left(), steady.chunks, steady.commits
        yield line
        world.end()


def cuts(line: Line) -> Iterator[Cut]:
    """All over the promotion; and between COMMIT and its answer, mostly of the migration's own transactions."""
    chance = random.Random(20261123)
    for part in range(CHUNKS):
        yield Cut.drawn(chance, round((part + chance.random()) / CHUNKS * line.chunks))
    for number in chance.sample(range(line.commits - 2 * COMMITS, line.commits + 1), COMMITS):
        yield replace(Cut.drawn(chance, number, commits=True), when=chance.choice([When.SENT, When.ANSWERED]))


def test_a_line_that_breaks_anywhere(line: Line) -> None:
    for cut in cuts(line):
        line.begin()
        with ShakyLine(line.world.production, cut=cut).opened() as shaky:
            outcome = line.promote(shaky)
        assert shaky.broken or line.chunks - cut.number < 100, cut  # not every run sends as many
        if outcome.error is not None:
            assert outcome.error.exit_code in (1, 3, 4), f"{cut}: {outcome}"
            assert re.search("connection|server closed|cannot be reached", str(outcome.error)), f"{cut}: {outcome}"
            assert re.search("again", outcome.error.remedy), f"{cut}: {outcome.error.remedy}"
            went_on = line.go_on()
            assert went_on.error is None, f"{cut}: {outcome}; {went_on}"
        assert line.left() == line.undisturbed, cut


def test_a_second_promoter_beside_one_on_a_slow_line_is_told_who_since_when_doing_what(line: Line) -> None:
    world = line.world
    line.begin()
    first: list[Outcome] = []
    doing = set()
    with ShakyLine(world.production, delayed=slow(1, share=SHARE)).opened() as late:
        thread = threading.Thread(target=lambda: first.append(line.promote(late)))
        thread.start()
        wait_until(lambda: late.chunks)
        world.reach(world.production)
        wait_until(lambda: is_at_it(world.ledger))
        while thread.is_alive() and is_at_it(world.ledger) != "writing it down":
            second = attempt(lambda: world.promote(line.digest))
            if second.name == "LeaseHeld":
                found = re.fullmatch(TOLD, str(second.error))
                assert found, second
                doing.add(found[1])
            else:  # in the moment after the first one's end
                assert second.name == "GateClosed", second
            time.sleep(0.2)
        thread.join()
    assert first[0].error is None, first
    assert {"making it recoverable", "applying"} <= doing
    assert line.left() == line.undisturbed


def is_at_it(ledger: Path) -> str | None:
    """What whoever holds a lease is doing, as the release ledger's file says."""
    with contextlib.closing(sqlite3.connect(ledger)) as file:
        return next((row[0] for row in file.execute("SELECT doing FROM leases")), None)

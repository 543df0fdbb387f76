"""Promotions and ways back that were killed when all was done, and nothing said yet."""

import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.applying import KillAt
from tests.support.ledger_story import read_story
from tests.support.release_world import World, at_entry

import pgrehearse.release.take_back as take_back_module
from pgrehearse.errors import GateClosed, NoWayBack, UnknownPromotion, WayBackFailed
from pgrehearse.migrations.observer import Observers
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.progress import Silent
from pgrehearse.release import apply_watched as apply_module
from pgrehearse.release.gate import names_to_accept
from pgrehearse.rolling_back import RollbackOptions

pytestmark = pytest.mark.pg("== 18")


@pytest.fixture
def document(world: World) -> Mapping[str, Any]:
    """An approved receipt of a migration that deletes rows."""
    world.write_migration("0002_orphans")
    found: Mapping[str, Any] = world.rehearse(as_at_first=True).value
    approve(world, found)
    return found


@pytest.fixture
def digest(document: Mapping[str, Any]) -> str:
    return str(document["digest"])


@pytest.fixture
def world(database: Conninfo, uat: LocalServer, tmp_path: Path) -> World:
    made = World(database, uat.conninfo(), tmp_path)
    made.begin()
    return made


def approve(world: World, document: Mapping[str, Any]) -> None:
    assert world.approve("ann", document["digest"], names_to_accept(document)).error is None


def kill_before(world: World, kind: str, work: Callable[[], object]) -> None:
    """In a child, just before its entry of this kind."""
    prepare = at_entry(1, signal.SIGKILL, after=False, kind=kind)
    assert world.reap(world.fork(lambda: world.patient(work), prepare)) == -signal.SIGKILL


def test_a_promotion_that_was_taken_back_before_it_ended_is_begun_anew(
    world: World, document: Mapping[str, Any], digest: str
) -> None:
    kill_before(world, "promotion-ended", lambda: world.promote(digest))
    assert world.look().recorded == ("0002_orphans",)
    first = world.patient(lambda: world.rollback(agree=False))
    with pytest.raises(
        GateClosed, match=rf"approved by 0 of 1.*\n    the approval by .* promotion {first.promotion} of this "
    ):  # it asks for a new consent
        world.promote(digest)
    approve(world, document)
    again = world.promote(digest)
    assert again.id != first.promotion
    backups = [subject for kind, subject, _ in world.entries() if kind == "backup-proved"]
    assert [proof["facts"]["backup"] for proof in again.proofs] == [backups[-1]]
    assert len(backups) == 2  # the first one is older than the way back
    assert world.rollback(agree=False).promotion == again.id
    assert world.look().recorded == ()


@pytest.mark.parametrize("dry_run", [True, False], ids=["dry-run", "agreed"])
def test_of_a_promotion_that_was_killed_before_its_first_commit_nothing_is_taken_back(
    world: World, digest: str, dry_run: bool
) -> None:
    """A backup is proved by then, so that a restore could be offered."""

    def prepare() -> None:
        vars(apply_module)["Observers"] = lambda *observers: Observers(*observers, KillAt(2))

    assert world.reap(world.fork(lambda: world.promote(digest), prepare)) == -signal.SIGKILL
    before, entries = world.look(), world.entries()
    assert before.recorded == ()
    assert any(kind == "backup-proved" for kind, _, _ in entries)
    options = RollbackOptions(dry_run=dry_run)
    with pytest.raises(NoWayBack, match="nothing of it is applied: there is nothing to take back") as refused:
        world.patient(
            lambda: world.rolling_back.rollback(options, progress=Silent(), tell=lambda _: None, agree=lambda _: True)
        )
    assert refused.value.exit_code == 1
    assert "pgrehearse resume" in refused.value.remedy
    assert (world.look(), world.entries()) == (before, entries)
    assert world.patient(world.resume).applied == ("0002_orphans",)
    assert world.rollback(agree=False).inverse is not None


def test_a_way_back_that_was_killed_after_its_commit_is_not_gone_twice(world: World, digest: str) -> None:
    world.promoted(digest)
    labels = {text for text in world.look().texts if text[0] == "sessions"}
    kill_before(world, "rollback-ended", lambda: world.rollback(agree=False))
    back = world.look()
    assert back.recorded == ()
    assert {text for text in back.texts if text[0] == "sessions"} > labels
    assert read_story(world.entries()).going_back
    found = world.patient(lambda: world.rollback(agree=True))  # a restore would lose what was written since
    assert found.restore is None
    assert "taken back already" in found.told[0]
    assert world.look() == back
    assert not read_story(world.entries()).going_back
    with pytest.raises(UnknownPromotion):
        world.rollback(agree=True)


@pytest.mark.parametrize("change", ["gone", "edited"])
def test_a_way_back_that_failed_is_not_taken_for_gone_because_its_files_are(
    world: World, digest: str, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    world.promoted(digest)
    before = world.look()

    def fail(*_: object, **__: object) -> None:
        raise WayBackFailed("somebody held the table")

    with monkeypatch.context() as patched:
        patched.setattr(take_back_module, "perform", fail)
        with pytest.raises(WayBackFailed):
            world.rollback(agree=False)
    file = world.home / "db/0002_orphans.sql"
    content = file.read_text()
    if change == "gone":
        world.write_migration("0003_stars")  # no folder is empty
        file.unlink()
    else:
        file.write_text(content + "-- edited")
    says = "0002_orphans is not in the folder any more" if change == "gone" else "0002_orphans was edited since"
    with pytest.raises(NoWayBack, match=says):
        world.rollback(agree=False, only="inverse")
    assert world.look() == before
    file.write_text(content)
    assert world.rollback(agree=False).inverse is not None
    assert world.look().recorded == ()

"""What is listed in which state, and that pruning takes neither what is needed nor what is not ours."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgrehearse.errors import BackupNotProved, UnknownBackup
from pgrehearse.postgres.local_server import MARKER
from pgrehearse.release.backup.dump_backup import DumpBackup, open_backup
from pgrehearse.release.backup.inventory import State, find_backup, list_backups, prune_backups
from pgrehearse.release.backup.manifest import MANIFEST, write_manifest
from pgrehearse.release.backup.record import BEGUN, PROVED, PRUNED, proved_body, require_recorded

from .conftest import Home, ProvedBank, utc_now

pytestmark = pytest.mark.pg("== 18")  # no server is asked; the backup that is copied is one of 18
Older = Callable[..., DumpBackup]


@pytest.fixture
def older(bank: ProvedBank, home: Home) -> Older:
    """A function that makes a proved backup of some days ago."""

    def older(days: float, *, database: str = "shop", label: str | None = "prd", recorded: bool = True) -> DumpBackup:
        taken_at = utc_now() - timedelta(days=days)
        name = f"{database}-{days:06.2f}"
        directory = home.directory / name
        shutil.copytree(bank.backup.directory, directory)
        (directory / MANIFEST).unlink()
        source = replace(bank.backup.manifest.source, database=database)
        write_manifest(directory, replace(bank.backup.manifest, id=name, source=source, taken_at=taken_at))
        backup = open_backup(directory)
        backup.require_whole()
        if recorded:
            body = {**bank.begun, "label": label, "source": source.as_json()}
            home.ledger.append(BEGUN, name, body, taken_at)
            home.ledger.append(PROVED, name, proved_body(backup), taken_at)
        return backup

    return older


def names(home: Home) -> list[str]:
    return sorted(path.name for path in home.directory.iterdir())


def pruned(home: Home, keep: int = 2, **more: object) -> list[str]:
    return list(prune_backups(home.directory, ledger=home.ledger, now=utc_now, keep=keep, **more).removed)  # type: ignore[arg-type]


def test_they_are_listed_oldest_first_with_what_is_known_of_them(older: Older, home: Home) -> None:
    for days in (3, 9, 1):
        older(days)
    other = older(2, database="other", label="uat")
    listed = list_backups(home.directory, home.ledger)
    assert [each.id for each in listed] == ["shop-009.00", "shop-003.00", "other-002.00", "shop-001.00"]
    assert {each.state for each in listed} == {State.PROVED}
    assert [each.id for each in list_backups(home.directory, home.ledger, only=lambda each: each.label == "uat")] == [
        other.id
    ]
    body = listed[2].as_json()
    assert body["rows"] == other.manifest.contents.rows
    assert body["size_bytes"] > other.manifest.dump_bytes
    assert body["digest"] == other.digest


def test_one_is_found_by_the_beginning_of_its_id_or_is_the_newest_proved(older: Older, home: Home) -> None:
    with pytest.raises(UnknownBackup, match="there is no proved backup"):
        find_backup(home.directory, None, home.ledger)
    for days in (3, 9):
        older(days)
    older(1, recorded=False)
    assert find_backup(home.directory, None, home.ledger).id == "shop-003.00"
    assert find_backup(home.directory, "shop-009", home.ledger).id == "shop-009.00"
    with pytest.raises(UnknownBackup, match="3 backups begin with shop"):
        find_backup(home.directory, "shop", home.ledger)
    unknown = find_backup(home.directory, "shop-001", home.ledger).backup
    assert unknown is not None
    with pytest.raises(BackupNotProved, match="does not know"):
        require_recorded(home.ledger, unknown)
    (home.directory / "shop-009.00" / MANIFEST).write_text("{}")
    assert find_backup(home.directory, "shop-009", home.ledger).state is State.DAMAGED


def test_the_newest_of_each_database_and_the_young_ones_stay(older: Older, home: Home) -> None:
    for days in (1, 2, 3, 4):
        older(days)
    for days in (20, 30):
        older(days, database="other")
    assert pruned(home, younger_than=timedelta(days=3, hours=12)) == ["shop-004.00"]
    assert pruned(home) == ["shop-003.00"]
    assert names(home) == ["other-020.00", "other-030.00", "shop-001.00", "shop-002.00"]
    assert [entry.subject for entry in home.ledger.entries(kind=PRUNED)] == ["shop-004.00", "shop-003.00"]
    assert pruned(home) == []


def promoted(home: Home, promotion: str, backup: str, outcome: str | None = "promoted", key: str = "shop") -> None:
    """What the release ledger says of a promotion that relied on a backup."""
    at = utc_now()
    home.ledger.append("promotion-begun", promotion, {"key": key, "receipt": "r"}, at)
    proofs = [{"way": "dump", "summary": "…", "facts": {"backup": backup}}]
    home.ledger.append("promotion-step", promotion, {"step": "recoverability", "proofs": proofs}, at)
    if outcome is not None:
        home.ledger.append("promotion-ended", promotion, {"outcome": outcome}, at)


def test_what_a_way_back_may_need_stays(older: Older, home: Home) -> None:
    for days in (1, 2, 3, 4, 5, 6):
        older(days)
    promoted(home, "p1", "shop-006.00")
    promoted(home, "p2", "shop-005.00")
    promoted(home, "p3", "shop-004.00", "refused")
    promoted(home, "p4", "shop-003.00", key="another")
    done = prune_backups(home.directory, ledger=home.ledger, now=utc_now, keep=1)
    assert done.removed == ("shop-006.00", "shop-004.00", "shop-002.00")
    assert dict(done.kept) == {
        "shop-003.00": "promotion p4 can be taken back with it",
        "shop-005.00": "promotion p2 can be taken back with it",
    }
    at = utc_now()
    home.ledger.append("rollback-begun", "p2", {"type": "restorable"}, at)
    home.ledger.append("rollback-ended", "p2", {"outcome": "failed"}, at)
    assert pruned(home, keep=1) == []
    home.ledger.append("rollback-begun", "p2", {"type": "restorable"}, at)
    home.ledger.append("rollback-ended", "p2", {"outcome": "taken-back"}, at)
    home.ledger.append("rollback-begun", "p4", {"type": "loses-writes"}, at)
    assert pruned(home, keep=1) == ["shop-005.00"]
    assert list_backups(home.directory, home.ledger)[0].needed_because == "rollback p4 has not ended"
    home.ledger.append("rollback-ended", "p4", {"outcome": "swapped"}, at)
    assert pruned(home, keep=1) == ["shop-003.00"]


def test_an_unfinished_promotions_backup_goes_only_by_force(older: Older, home: Home) -> None:
    for days in (1, 2):
        older(days)
    promoted(home, "p1", "shop-002.00", None)
    assert pruned(home, keep=1) == []
    assert list_backups(home.directory, home.ledger)[0].needed_because == "promotion p1 has not ended"
    assert pruned(home, keep=1, forced=True) == ["shop-002.00"]


def test_damaged_and_unrecorded_ones_are_told_and_stay(older: Older, home: Home) -> None:
    older(1)
    older(5, recorded=False)
    (older(6).directory / MANIFEST).write_text("no manifest")
    states = {each.id: each.state for each in list_backups(home.directory, home.ledger)}
    assert states == {
        "shop-001.00": State.PROVED, "shop-005.00": State.NOT_RECORDED, "shop-006.00": State.DAMAGED,
    }  # fmt: skip
    done = prune_backups(home.directory, ledger=home.ledger, now=utc_now, keep=1)
    assert done.removed == ()
    assert {name for name, _ in done.kept} == {"shop-005.00", "shop-006.00"}
    assert pruned(home, keep=1, forced=True) == ["shop-006.00", "shop-005.00"]


def test_what_is_not_ours_is_never_touched(older: Older, home: Home, tmp_path: Path) -> None:
    older(1)
    (home.directory / "notes").mkdir()
    (home.directory / "notes" / "important.txt").write_text("keep")
    (home.directory / "file.failed").write_text("no directory")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / MARKER).write_text("")
    (home.directory / "link.unproved").symlink_to(elsewhere)
    assert pruned(home, keep=1, forced=True) == []
    assert names(home) == ["file.failed", "link.unproved", "notes", "shop-001.00"]
    assert elsewhere.exists()


def test_what_a_prune_left_half_removed_is_removed(older: Older, home: Home) -> None:
    backup = older(1)
    backup.directory.rename(backup.directory.with_name(f"{backup.id}.removing"))
    [listed] = list_backups(home.directory, home.ledger)
    assert listed.state is State.UNPROVED
    assert pruned(home) == [backup.id]
    assert names(home) == []

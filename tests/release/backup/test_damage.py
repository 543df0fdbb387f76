"""Every flipped byte and every cut of any file of a backup is found, before anything is restored from it."""

import gzip
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.dumps import dump_text

from pgrehearse.errors import BackupDamaged, BackupDiffers, BackupNotProved, PgRehearseError
from pgrehearse.ledger import ReleaseLedger
from pgrehearse.postgres.connect import connect
from pgrehearse.postgres.conninfo import Conninfo
from pgrehearse.postgres.local_server import LocalServer
from pgrehearse.release.backup.dump_backup import DumpBackup, open_backup
from pgrehearse.release.backup.files import files_below, record_files
from pgrehearse.release.backup.manifest import MANIFEST, Manifest, write_manifest
from pgrehearse.release.backup.record import PROVED, proved_body
from pgrehearse.release.backup.restore import restore_into
from pgrehearse.release.backup.scratch import ScratchOptions
from pgrehearse.release.backup.verify import verify_backup
from pgrehearse.release.recoverability import DUMP, Proof, require_proofs

from .conftest import Home, ProvedBank, utc_now

pytestmark = pytest.mark.pg("== 18")  # files are files; what depends on the server is asked in the other modules
FLIPS, CUTS = (20_000, 5_000) if "PGREHEARSE_SOAK" in os.environ else (200, 50)
EmptyOn = Callable[[LocalServer], Conninfo]


@pytest.fixture
def backup(bank: ProvedBank, home: Home) -> DumpBackup:
    return bank.copied_to(home)


def files_of(backup: DumpBackup) -> list[Path]:
    """Every file, the manifest too, that has a byte."""
    return [path for _, path in sorted(files_below(backup.directory).items()) if path.stat().st_size]


def is_whole(backup: DumpBackup, home: Home) -> bool:
    """As `backup verify` says, and as a promotion asks right before it touches production."""
    facts = {"backup": backup.id, "directory": str(backup.directory), "digest": backup.digest}
    found = []
    for ask in (
        lambda: verify_backup(backup.directory, ledger=home.ledger, now=utc_now),
        lambda: require_proofs([Proof(way=DUMP, summary="", facts=facts)]),
    ):
        try:
            ask()
            found.append(True)
        except BackupDamaged:
            found.append(False)
    assert found[0] == found[1], "what is verified and what a promotion asks differ"
    return found[0]


def test_every_flipped_byte_is_found(backup: DumpBackup, home: Home) -> None:
    chance = random.Random(20261122)
    files = files_of(backup)
    hit = set()
    for _ in range(FLIPS):
        path = chance.choice(files)
        place, bit = chance.randrange(path.stat().st_size), 1 << chance.randrange(8)
        hit.add(path)
        _flip(path, place, bit)
        assert not is_whole(backup, home), f"{path.name}: bit {bit} of byte {place}"
        _flip(path, place, bit)
    assert hit == set(files)
    assert is_whole(backup, home)


def test_every_bit_of_the_manifest_counts(backup: DumpBackup, home: Home) -> None:
    """Its digest covers its content; its own digest, its blanks and its line breaks must stand as they are written."""
    path = backup.directory / MANIFEST
    text = path.read_bytes()
    places = range(len(text)) if "PGREHEARSE_SOAK" in os.environ else range(0, len(text), 37)
    for place in (*places, text.index(b"digest") + 12, len(text) - 1):
        for bit in (1, 32):
            _flip(path, place, bit)
            with pytest.raises(BackupDamaged):
                open_backup(backup.directory)
            _flip(path, place, bit)
    assert path.read_bytes() == text


def test_every_cut_is_found(backup: DumpBackup, home: Home) -> None:
    chance = random.Random(4711)
    for _ in range(CUTS):
        path = chance.choice(files_of(backup))
        content = path.read_bytes()
        path.write_bytes(content[: chance.choice([0, len(content) - 1, chance.randrange(len(content))])])
        assert not is_whole(backup, home), path.name
        path.write_bytes(content)
    assert is_whole(backup, home)


def test_a_directory_that_is_not_there_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(BackupDamaged, match=r"the backup's directory .*/gone is not there"):
        open_backup(tmp_path / "gone")


def test_a_file_more_or_less_or_a_link_is_found(backup: DumpBackup, home: Home, tmp_path: Path) -> None:
    (backup.directory / "dump" / "9999.dat.gz").write_bytes(b"")
    with pytest.raises(BackupDamaged, match=r"dump/9999\.dat\.gz does not belong to it"):
        verify_backup(backup.directory, ledger=home.ledger, now=utc_now)
    (backup.directory / "dump" / "9999.dat.gz").unlink()
    toc = backup.directory / "dump" / "toc.dat"
    shutil.move(toc, tmp_path / "toc.dat")
    with pytest.raises(BackupDamaged, match=r"dump/toc\.dat is missing"):
        verify_backup(backup.directory, ledger=home.ledger, now=utc_now)
    toc.symlink_to(tmp_path / "toc.dat")
    assert not is_whole(backup, home)
    toc.unlink()
    shutil.move(tmp_path / "toc.dat", toc)
    assert is_whole(backup, home)


def test_a_damaged_backup_never_reaches_a_database(
    backup: DumpBackup, server: LocalServer, uat: LocalServer, empty_on: EmptyOn
) -> None:
    target = empty_on(uat)
    before = dump_text(target)
    data = max(backup.dump.glob("*.dat.gz"), key=lambda path: path.stat().st_size)
    for path in (data, backup.dump / "toc.dat", backup.directory / "surroundings.json"):
        _flip(path, path.stat().st_size // 2, 4)
        with pytest.raises(BackupDamaged, match=path.name):
            restore_into(backup, target)
        _flip(path, path.stat().st_size // 2, 4)
    with pytest.raises(BackupDamaged, match="not the one that was proved"):
        restore_into(backup, target, digest="0" * 64)
    unproved = backup.directory.rename(backup.directory.with_name(f"{backup.id}.unproved"))
    with pytest.raises(BackupNotProved, match="never proved"):
        restore_into(open_backup(unproved), target)
    assert dump_text(target) == before


def test_a_dump_that_was_replaced_together_with_its_manifest_is_refused(
    backup: DumpBackup, home: Home, scratch: ScratchOptions
) -> None:
    """Somebody changes a row inside the dump and makes every checksum fit again."""
    forged = _forge(backup)
    with pytest.raises(BackupDamaged, match="the release ledger has"):
        verify_backup(forged.directory, ledger=home.ledger, now=utc_now)
    with ReleaseLedger.open(home.directory.parent / "another.db") as ignorant:
        shallow = verify_backup(forged.directory, ledger=ignorant, now=utc_now)
        assert not shallow.recorded
        with pytest.raises(BackupDiffers, match=r'"Odd ""One"""\."tä ble": values of va"l differ'):
            verify_backup(forged.directory, ledger=ignorant, now=utc_now, deep=True, scratch=scratch)
        assert ignorant.entries(kind=PROVED) == ()


def test_deep_verification_restores_and_compares_once_more(
    backup: DumpBackup, home: Home, scratch: ScratchOptions, bank: ProvedBank
) -> None:
    assert verify_backup(
        backup.directory, ledger=home.ledger, now=utc_now, deep=True, scratch=scratch, source=bank.database
    ).recorded

    def tamper(restored: Conninfo) -> None:
        with connect(restored, verb="test") as session:
            session.execute("DELETE FROM bank.empty; DELETE FROM bank.keyless WHERE ctid = '(0,1)'")

    with pytest.raises(BackupDiffers, match=r"bank\.keyless: 100 rows in the snapshot, 99 in the copy"):
        verify_backup(
            backup.directory, ledger=home.ledger, now=utc_now, deep=True, scratch=scratch, on_restored=tamper
        )  # fmt: skip
    with pytest.raises(PgRehearseError, match="is on the server that holds"):
        verify_backup(
            backup.directory, ledger=home.ledger, now=utc_now, deep=True, source=bank.database,
            scratch=ScratchOptions(server=bank.database.replaced(dbname="postgres")),
        )  # fmt: skip


def test_a_backup_that_the_ledger_does_not_know_is_proved_again_by_a_deep_look(
    bank: ProvedBank, home: Home, scratch: ScratchOptions
) -> None:
    shutil.copytree(bank.backup.directory, home.directory / bank.backup.id)
    directory = home.directory / bank.backup.id
    assert not verify_backup(directory, ledger=home.ledger, now=utc_now).recorded
    assert verify_backup(directory, ledger=home.ledger, now=utc_now, deep=True, scratch=scratch).recorded
    assert [entry.body["digest"] for entry in home.ledger.entries(kind=PROVED)] == [bank.backup.digest]
    assert verify_backup(directory, ledger=home.ledger, now=utc_now).recorded


def _flip(path: Path, place: int, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ bit]))


def _forge(backup: DumpBackup) -> DumpBackup:
    for path in backup.dump.glob("*.dat.gz"):
        content = gzip.decompress(path.read_bytes())
        if b"k17\t" in content:
            path.write_bytes(gzip.compress(content.replace(b"x\\\\t17", b"x\\\\t71")))
            break
    else:
        raise AssertionError("no such row in the dump")
    assert b"t71" in gzip.decompress(path.read_bytes())
    files = record_files(backup.directory, without=(MANIFEST,))
    forged: Manifest = replace(backup.manifest, files=files)
    (backup.directory / MANIFEST).unlink()
    write_manifest(backup.directory, forged)
    found = open_backup(backup.directory)
    found.require_whole()
    assert proved_body(found)["digest"] != backup.digest
    return found

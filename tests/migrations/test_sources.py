import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pgrehearse.errors import MalformedSource, PgRehearseError, SourceNotFound
from pgrehearse.hazards.scripts import read_scripts
from pgrehearse.migrations.migration import SourceKind
from pgrehearse.migrations.sources import ProblemKind, Severity, Source
from pgrehearse.migrations.sources.find import ad_hoc_source, open_source


def write_journal(folder: Path, *entries: tuple[int, str], files: bool = True) -> Path:
    (folder / "meta").mkdir(parents=True, exist_ok=True)
    listed = [
        {"idx": number, "version": "7", "when": when, "tag": tag, "breakpoints": True}
        for number, (when, tag) in enumerate(entries)
    ]
    (folder / "meta/_journal.json").write_text(
        json.dumps({"version": "7", "dialect": "postgresql", "entries": listed}, indent=2)
    )
    for _, tag in entries if files else ():
        (folder / f"{tag}.sql").write_text(f"-- {tag}\nSELECT 1;")
    return folder


def write_folders(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "migration.sql").write_text(f"-- {name}\nSELECT 1;")
    return folder


def kinds(source: Source) -> list[ProblemKind]:
    return [problem.kind for problem in source.problems]


def test_a_journal_gives_its_own_order_its_times_and_the_bytes_of_its_files(tmp_path: Path) -> None:
    write_journal(tmp_path, (2000, "0001_b"), (3000, "0000_a"))
    source = open_source(tmp_path, display="drizzle")
    assert source.kind is SourceKind.DRIZZLE_JOURNAL
    assert [(m.version, m.name, m.path, m.created_at_ms) for m in source.migrations] == [
        ("0001_b", "b", "drizzle/0001_b.sql", 2000),
        ("0000_a", "a", "drizzle/0000_a.sql", 3000),
    ]
    assert source.ledger.table == "drizzle.__drizzle_migrations"
    assert not source.problems


def test_folders_of_1_0_are_ordered_by_name_and_carry_their_utc_second(tmp_path: Path) -> None:
    write_folders(tmp_path, "20261122172311_seed", "20240229235959_init")
    source = open_source(tmp_path)
    assert source.kind is SourceKind.DRIZZLE_FOLDER
    assert [(m.version, m.name, m.created_at_ms) for m in source.migrations] == [
        ("20240229235959_init", "init", 1709251199000),
        ("20261122172311_seed", "seed", 1795368191000),
    ]


def test_folders_of_one_second_follow_javascripts_locale_order(tmp_path: Path) -> None:
    """Measured with Node 20: names.sort((a, b) => a.localeCompare(b))."""
    second = "20261122172311"
    names = [f"{second}_{name}" for name in ("a_b", "a1", "ab", "aB", "Add", "seed", "Seed2")]
    write_folders(tmp_path, *reversed(names))
    assert [m.version for m in open_source(tmp_path).migrations] == names


def test_numbered_files_are_ordered_by_number_not_by_text(tmp_path: Path) -> None:
    for name in ("10_ten.sql", "9_nine.sql", "0001-one.SQL", "20240102030405_later.sql"):
        (tmp_path / name).write_text("SELECT 1;")
    source = open_source(tmp_path, display="db/")
    assert source.kind is SourceKind.SQL_FOLDER
    assert [(m.version, m.name, m.path) for m in source.migrations] == [
        ("0001-one", "one", "db/0001-one.SQL"),
        ("9_nine", "nine", "db/9_nine.sql"),
        ("10_ten", "ten", "db/10_ten.sql"),
        ("20240102030405_later", "later", "db/20240102030405_later.sql"),
    ]
    assert source.ledger.table == "pgrehearse.migrations"


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfSELECT 1;\r\n", b"SELECT 1;\r\n", b"", b"SELECT '\xc3\xbc';"])
def test_the_digest_is_of_the_raw_bytes(tmp_path: Path, content: bytes) -> None:
    write_journal(tmp_path, (1, "0000_a"), files=False)
    (tmp_path / "0000_a.sql").write_bytes(content)
    (migration,) = open_source(tmp_path).migrations
    assert migration.content == content
    assert migration.sha256 == hashlib.sha256(content).hexdigest()


def test_a_byte_order_mark_is_only_noted_because_drizzle_alone_fails_on_it(tmp_path: Path) -> None:
    write_journal(tmp_path, (1, "0000_a"))
    (tmp_path / "0000_a.sql").write_bytes(b"\xef\xbb\xbfSELECT 1")
    (problem,) = open_source(tmp_path).problems
    assert (problem.kind, problem.severity) == (ProblemKind.BYTE_ORDER_MARK, Severity.NOTE)


def test_a_file_not_in_the_journal_is_a_problem_and_not_a_migration(tmp_path: Path) -> None:
    write_journal(tmp_path, (1, "0000_a"))
    (tmp_path / "0001_by_hand.sql").write_text("DROP TABLE users;")
    source = open_source(tmp_path, display="drizzle")
    assert [m.version for m in source.migrations] == ["0000_a"]
    (problem,) = source.problems
    assert (problem.kind, problem.subject) == (ProblemKind.NOT_IN_JOURNAL, "drizzle/0001_by_hand.sql")
    assert problem.severity is Severity.ERROR


def test_a_journal_entry_without_its_file_is_told_and_forbids_a_plan(tmp_path: Path) -> None:
    write_journal(tmp_path, (1, "0000_a"), (2, "0001_b"))
    (tmp_path / "0000_a.sql").unlink()
    source = open_source(tmp_path)
    assert kinds(source) == [ProblemKind.ENTRY_WITHOUT_FILE]
    assert [m.version for m in source.migrations] == ["0001_b"]
    with pytest.raises(MalformedSource, match="0000_a"):
        source.require_whole()


@pytest.mark.parametrize("when", [1000, 999])
def test_a_when_that_does_not_increase_is_told(tmp_path: Path, when: int) -> None:
    write_journal(tmp_path, (1000, "0000_a"), (when, "0001_b"), (1001, "0002_c"))
    (problem,) = open_source(tmp_path).problems
    assert (problem.kind, problem.subject) == (ProblemKind.WHEN_NOT_INCREASING, "0001_b")
    assert "1001" in problem.remedy


def test_a_drizzle_1_0_folder_that_lost_its_file_is_told(tmp_path: Path) -> None:
    write_folders(tmp_path, "20240101000000_a")
    (tmp_path / "20240102000000_b").mkdir()
    (tmp_path / "notes").mkdir()
    (problem,) = open_source(tmp_path).problems
    assert (problem.kind, problem.subject) == (ProblemKind.FOLDER_WITHOUT_MIGRATION, "20240102000000_b")


def test_a_file_without_a_number_among_numbered_ones_is_told(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "add_users.sql").write_text("SELECT 1;")
    (tmp_path / ".0002_swap.sql").write_text("an editor's")
    source = open_source(tmp_path)
    assert [(p.kind, p.subject) for p in source.problems] == [(ProblemKind.NO_NUMBER, "add_users.sql")]
    assert len(source.migrations) == 1


JOURNALS = {
    "a merge conflict": ('{"entries": [\n<<<<<<< HEAD\n', r"line 2.*merge conflict"),
    "no JSON": ("{", r"line 1: not JSON"),
    "an empty file": ("", r"not JSON"),
    "no entries": ("{}", r"no list of entries"),
    "a list": ("[]", r"no list of entries"),
    "another dialect": ('{"dialect": "mysql", "entries": []}', r"'mysql'"),
    "no when": ('{"entries": [{"tag": "a"}]}', r"entry 0 \(a\) has no usable `when`"),
    "a text as when": ('{"entries": [{"tag": "a", "when": "1"}]}', r"no usable `when`"),
    "a boolean as when": ('{"entries": [{"tag": "a", "when": true}]}', r"no usable `when`"),
    "too great a when": ('{"entries": [{"tag": "a", "when": 9223372036854775808}]}', r"no usable `when`"),
    "no tag": ('{"entries": [{"when": 1}]}', r"entry 0 has no tag"),
    "a tag that climbs": ('{"entries": [{"tag": "../a", "when": 1}]}', r"leads out of the folder"),
    "one tag twice": ('{"entries": [{"tag": "a", "when": 1}, {"tag": "a", "when": 2}]}', r"lists a twice"),
    "an entry that is a number": ('{"entries": [1]}', r"entry 0 is not an object"),
    "deep nesting": ("[" * 200_000, r"not a drizzle journal"),
}


@pytest.mark.parametrize("case", JOURNALS)
def test_a_journal_that_cannot_be_read_is_exit_2_with_file_and_place(tmp_path: Path, case: str) -> None:
    text, expected = JOURNALS[case]
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/_journal.json").write_text(text)
    with pytest.raises(MalformedSource, match=expected) as caught:
        open_source(tmp_path, display="drizzle")
    assert str(caught.value).startswith("drizzle/meta/_journal.json")
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_a_journal_with_a_byte_order_mark_and_a_float_is_read(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/_journal.json").write_bytes(b'\xef\xbb\xbf{"entries": [{"tag": "a", "when": 1.5e3}]}')
    (tmp_path / "a.sql").write_text("")
    assert [m.created_at_ms for m in open_source(tmp_path).migrations] == [1500]


def missing(folder: Path) -> Path:
    return folder / "nowhere"


def empty(folder: Path) -> Path:
    return folder


def a_file(folder: Path) -> Path:
    (folder / "a.sql").write_text("SELECT 1;")
    return folder / "a.sql"


def only_other_files(folder: Path) -> Path:
    (folder / "README.md").write_text("nothing")
    return folder


def journal_and_folders(folder: Path) -> Path:
    write_journal(folder, (1, "0000_a"))
    return write_folders(folder, "20240101000000_a")


def folders_and_files(folder: Path) -> Path:
    (folder / "0001_a.sql").write_text("SELECT 1;")
    return write_folders(folder, "20240101000000_a")


def one_number_twice(folder: Path) -> Path:
    (folder / "0001_a.sql").write_text("SELECT 1;")
    (folder / "1_b.sql").write_text("SELECT 1;")
    return folder


def up_and_down(folder: Path) -> Path:
    (folder / "0001_a.up.sql").write_text("SELECT 1;")
    (folder / "0001_a.down.sql").write_text("SELECT 1;")
    return folder


def flyway(folder: Path) -> Path:
    (folder / "V1__a.sql").write_text("SELECT 1;")
    return folder


def name_not_utf8(folder: Path) -> Path:
    Path(os.fsdecode(os.fsencode(folder) + b"/0001_\xff.sql")).write_text("SELECT 1;")
    return folder


def not_utf8(folder: Path) -> Path:
    (folder / "0001_a.sql").write_bytes(b"SELECT 1;\nSELECT '\xfc';")
    return folder


def utf16(folder: Path) -> Path:
    (folder / "0001_a.sql").write_bytes("SELECT 1;".encode("utf-16-be"))
    return folder


def symlink_loop(folder: Path) -> Path:
    (folder / "0001_a.sql").symlink_to("0001_a.sql")
    return folder


def symlinked_folder_loop(folder: Path) -> Path:
    (folder / "loop").symlink_to("loop")
    return folder / "loop"


def link_to_nowhere(folder: Path) -> Path:
    (folder / "0001_a.sql").symlink_to("gone.sql")
    return folder


def a_name_that_is_too_long(folder: Path) -> Path:
    """As a folder on the way that may not be entered, which stops no superuser: the name cannot even be looked up."""
    return folder / ("x" * 300)


def a_folder_named_as_a_file(folder: Path) -> Path:
    (folder / "0001_a.sql").mkdir()
    return folder


def a_folder_without_time(folder: Path) -> Path:
    return write_folders(folder, "init")


def a_folder_of_the_13th_month(folder: Path) -> Path:
    return write_folders(folder, "20241301000000_a")


BAD_FOLDERS = [
    (missing, SourceNotFound, "there is no folder"),
    (empty, SourceNotFound, "holds no migrations"),
    (only_other_files, SourceNotFound, "holds no migrations"),
    (a_file, SourceNotFound, "is a file"),
    (symlinked_folder_loop, SourceNotFound, "leads nowhere"),
    (journal_and_folders, MalformedSource, "mixes two drizzle layouts"),
    (folders_and_files, MalformedSource, "mixes two layouts"),
    (one_number_twice, MalformedSource, r"two files of one number: 0001_a\.sql and 1_b\.sql"),
    (up_and_down, MalformedSource, "two files of one number"),
    (flyway, SourceNotFound, "begins with a number"),
    (name_not_utf8, MalformedSource, r"0001_\\udcff\.sql is not UTF-8"),
    (not_utf8, MalformedSource, r"0001_a\.sql, line 2.*0xfc.*not UTF-8"),
    (utf16, MalformedSource, "NUL byte"),
    (symlink_loop, MalformedSource, "leads back to itself"),
    (link_to_nowhere, MalformedSource, r"0001_a\.sql: a symbolic link that leads nowhere"),
    (a_name_that_is_too_long, MalformedSource, "cannot read .*: File name too long"),
    (a_folder_named_as_a_file, MalformedSource, "is a directory"),
    (a_folder_without_time, MalformedSource, "YYYYMMDDHHMMSS"),
    (a_folder_of_the_13th_month, MalformedSource, "YYYYMMDDHHMMSS"),
]


@pytest.mark.parametrize(("make", "error", "expected"), BAD_FOLDERS, ids=[make.__name__ for make, _, _ in BAD_FOLDERS])
def test_a_folder_that_is_no_source_is_exit_2_with_a_remedy(
    tmp_path: Path, make: "object", error: type[PgRehearseError], expected: str
) -> None:
    assert callable(make)
    with pytest.raises(error, match=expected) as caught:
        open_source(make(tmp_path))
    assert caught.value.exit_code == 2
    assert caught.value.remedy.endswith((".", "`"))


@pytest.mark.parametrize("read", [ad_hoc_source, lambda path: read_scripts([path])], ids=["one file", "lint"])
def test_a_path_that_cannot_be_looked_up_is_no_mistake_of_ours(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(MalformedSource, match=r"cannot read .*: File name too long"):
        read(a_name_that_is_too_long(tmp_path))


def test_an_ad_hoc_file_is_a_source_of_one_under_its_file_name(tmp_path: Path) -> None:
    (tmp_path / "fix prod.sql").write_text("UPDATE users SET a = 1;")
    source = ad_hoc_source(tmp_path / "fix prod.sql", display="fix prod.sql")
    (migration,) = source.migrations
    assert (migration.version, migration.name, migration.kind) == ("fix prod.sql", "fix prod", SourceKind.AD_HOC)
    assert source.ledger.table == "pgrehearse.migrations"


@pytest.mark.parametrize("name", ["nowhere.sql", "folder"])
def test_an_ad_hoc_file_that_is_missing_or_a_folder_is_exit_2(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SourceNotFound) as caught:
        ad_hoc_source(tmp_path / name)
    assert caught.value.exit_code == 2


def test_drizzles_ledger_may_be_placed_elsewhere_by_its_config(tmp_path: Path) -> None:
    write_journal(tmp_path, (1, "0000_a"))
    assert open_source(tmp_path, drizzle_namespace="My App", drizzle_table="log").ledger.table == '"My App".log'

"""The comparison itself, without a server: one folder, some rows, what it says."""

from dataclasses import replace
from itertools import pairwise

import pytest

from pgrehearse.migrations.drizzle_ledger import DrizzleLedger
from pgrehearse.migrations.migration import Migration, SourceKind
from pgrehearse.migrations.migration_ledger import LedgerRow
from pgrehearse.migrations.own_ledger import OwnLedger
from pgrehearse.migrations.progress import Progress
from pgrehearse.migrations.sources import Problem, ProblemKind, Severity, Source
from pgrehearse.migrations.status import State, Status, compare_status


def entry(number: int, when: int | None = None, content: bytes | None = None) -> Migration:
    return Migration(
        version=f"{number:04}_m{number}",
        name=f"m{number}",
        path=f"drizzle/{number:04}_m{number}.sql",
        kind=SourceKind.DRIZZLE_JOURNAL,
        content=f"SELECT {number};\n".encode() if content is None else content,
        created_at_ms=1000 * (number + 1) if when is None else when,
    )


def journal(*migrations: Migration, problems: tuple[Problem, ...] = ()) -> Source:
    return Source(
        kind=SourceKind.DRIZZLE_JOURNAL,
        display="drizzle",
        migrations=migrations,
        ledger=DrizzleLedger(kind=SourceKind.DRIZZLE_JOURNAL, migrations=migrations),
        problems=problems,
    )


def folders(*migrations: Migration) -> Source:
    made = tuple(
        replace(each, kind=SourceKind.DRIZZLE_FOLDER, version=f"1970010100000{index + 1}_{each.name}")
        for index, each in enumerate(migrations)
    )
    ledger = DrizzleLedger(kind=SourceKind.DRIZZLE_FOLDER, migrations=made)
    return Source(kind=SourceKind.DRIZZLE_FOLDER, display="drizzle", migrations=made, ledger=ledger)


def numbered(*versions: str) -> Source:
    made = tuple(
        Migration(version=each, name=each, path=f"db/{each}.sql", kind=SourceKind.SQL_FOLDER, content=each.encode())
        for each in versions
    )
    return Source(
        kind=SourceKind.SQL_FOLDER, display="db", migrations=made, ledger=OwnLedger(kind=SourceKind.SQL_FOLDER)
    )


def row(migration: Migration, **changes: object) -> LedgerRow:
    """What drizzle 0.31 writes for it."""
    found = LedgerRow(sha256=migration.sha256, created_at_ms=migration.created_at_ms)
    return replace(found, **changes)  # type: ignore[arg-type]


def named_row(migration: Migration, **changes: object) -> LedgerRow:
    """What drizzle 1.0 writes for it."""
    return row(migration, **{"name": migration.version, "applied_at": "2026-01-31T12:00:00.000000Z"} | changes)


def states(status: Status) -> list[State]:
    return [each.state for each in status.migrations]


def kinds(status: Status) -> list[ProblemKind]:
    return [problem.kind for problem in status.problems]


A, B, C = entry(0), entry(1), entry(2)


def test_all_applied_is_well_and_has_no_plan() -> None:
    status = compare_status(journal(A, B), [row(A), row(B)])
    assert states(status) == [State.APPLIED, State.APPLIED]
    assert not status.problems
    assert not status.pending.migrations
    assert (status.exit_code(), status.exit_code(check=True)) == (0, 0)


def test_merely_pending_is_well_unless_checked() -> None:
    status = compare_status(journal(A, B, C), [row(A)])
    assert states(status) == [State.APPLIED, State.PENDING, State.PENDING]
    assert [each.version for each in status.pending.migrations] == [B.version, C.version]
    assert (status.exit_code(), status.exit_code(check=True)) == (0, 1)


def test_an_edited_file_is_told_and_not_run_again() -> None:
    status = compare_status(journal(A, entry(1, content=b"DROP TABLE x")), [row(A), row(B)])
    assert states(status) == [State.APPLIED, State.EDITED]
    assert kinds(status) == [ProblemKind.EDITED]
    assert "edited after it was applied" in status.problems[0].message
    assert not status.pending.migrations
    assert status.exit_code() == 1


@pytest.mark.parametrize(("then", "now"), [(b"a;\nb;\n", b"a;\r\nb;\r\n"), (b"a;\r\nb;\r\n", b"a;\nb;\n")])
def test_an_edit_of_line_endings_alone_is_called_so(then: bytes, now: bytes) -> None:
    status = compare_status(journal(entry(0, content=now)), [row(entry(0, content=then))])
    assert states(status) == [State.EDITED]
    assert "only in its line endings" in status.problems[0].message
    assert ".gitattributes" in status.problems[0].remedy


@pytest.mark.parametrize("when", [2999, 3000])
def test_a_pending_entry_at_or_below_the_watermark_is_skipped_by_drizzle_and_in_our_plan(when: int) -> None:
    late = entry(7, when=when)
    last = entry(2)
    source = journal(A, late, last)
    status = compare_status(source, [row(A), row(last)])
    assert states(status) == [State.APPLIED, State.SKIPPED, State.APPLIED]
    assert kinds(status) == [ProblemKind.SKIPPED]
    assert f"watermark {last.created_at_ms} ({last.version})" in status.problems[0].message
    assert [each.version for each in status.pending.migrations] == [late.version]
    assert status.exit_code() == 1


def test_a_row_without_a_file_is_told_with_its_time() -> None:
    status = compare_status(journal(A), [row(A), LedgerRow(sha256="ab" * 32, created_at_ms=1795368190206)])
    (problem,) = status.problems
    assert problem.kind is ProblemKind.ROW_WITHOUT_FILE
    assert problem.subject == "created_at 1795368190206 (2026-11-22 17:23:10 UTC)"
    assert status.exit_code() == 1


def test_a_when_changed_after_the_fact_is_an_edit_and_never_a_second_run() -> None:
    """drizzle 0.31 would run it again, because the new time is above the watermark."""
    status = compare_status(journal(A, entry(1, when=9000)), [row(A), row(B)])
    assert states(status) == [State.APPLIED, State.EDITED]
    assert "drizzle would run it again" in status.problems[0].message
    assert "back to 2000" in status.problems[0].remedy
    assert not status.pending.migrations


def test_the_same_time_twice_is_two_runners_at_once() -> None:
    status = compare_status(journal(A), [row(A), row(A)])
    assert states(status) == [State.APPLIED]
    assert kinds(status) == [ProblemKind.RECORDED_TWICE]
    assert status.exit_code() == 1


def test_two_entries_with_one_time_are_told_apart_by_their_bytes() -> None:
    twin = entry(3, when=A.created_at_ms)
    applied = compare_status(journal(A, twin), [row(A), row(twin)])
    assert (states(applied), applied.problems) == ([State.APPLIED, State.APPLIED], ())
    one = compare_status(journal(A, twin), [row(A)])
    assert (states(one), kinds(one)) == ([State.APPLIED, State.SKIPPED], [ProblemKind.SKIPPED])


def test_a_row_of_another_tool_with_any_hash_counts_as_edited_not_as_applied() -> None:
    status = compare_status(journal(A), [LedgerRow(sha256="manual", created_at_ms=A.created_at_ms)])
    assert states(status) == [State.EDITED]


def test_rows_with_no_time_and_absurd_times_are_told_not_crashed_on() -> None:
    rows = [LedgerRow(sha256="x", created_at_ms=None), LedgerRow(sha256="y", created_at_ms=2**63 - 1)]
    status = compare_status(journal(A), rows)
    assert kinds(status) == [ProblemKind.SKIPPED, ProblemKind.ROW_WITHOUT_FILE, ProblemKind.ROW_WITHOUT_FILE]


def not_increasing(migration: Migration) -> Problem:
    return Problem(
        kind=ProblemKind.WHEN_NOT_INCREASING,
        severity=Severity.ERROR,
        subject=migration.version,
        message="m",
        remedy="r",
    )


def test_a_when_out_of_order_is_only_a_note_where_its_migration_is_applied() -> None:
    late = entry(7, when=500)
    source = journal(A, late, problems=(not_increasing(late),))
    assert compare_status(source, [row(A), row(late)]).exit_code() == 0
    assert compare_status(source, [row(A)]).exit_code() == 1


def test_drizzle_1_0_runs_an_older_folder_so_it_is_pending_and_only_noted() -> None:
    source = folders(A, B)
    old, new = source.migrations
    status = compare_status(source, [named_row(new)])
    assert states(status) == [State.PENDING, State.APPLIED]
    assert [(p.kind, p.severity, p.subject) for p in status.problems] == [
        (ProblemKind.OUT_OF_ORDER, Severity.NOTE, old.version)
    ]
    assert status.exit_code() == 0


def test_drizzle_1_0_goes_by_the_name_so_another_hash_is_an_edit() -> None:
    source = folders(A)
    status = compare_status(source, [named_row(source.migrations[0], sha256="ab" * 32)])
    assert states(status) == [State.EDITED]


def test_a_renamed_folder_would_be_run_again_by_drizzle_1_0() -> None:
    source = folders(A, B)
    first, second = source.migrations
    status = compare_status(source, [named_row(first), named_row(second, name="19700101000002_old")])
    assert states(status) == [State.APPLIED, State.EDITED]
    assert "drizzle would run it again" in status.problems[0].message
    assert "19700101000002_old" in status.problems[0].remedy


@pytest.mark.parametrize("others", [True, False])
def test_a_row_without_a_name_in_a_1_0_ledger_would_be_run_again(others: bool) -> None:
    source = folders(A, B)
    first, second = source.migrations
    nameless = row(second, created_at_ms=2345, applied_at="2026-01-31T12:00:00.000000Z")
    status = compare_status(source, [*([named_row(first)] if others else []), nameless])
    assert states(status)[1] is State.APPLIED
    (problem,) = [each for each in status.problems if each.kind is ProblemKind.ROW_WITHOUT_NAME]
    assert problem.severity is Severity.ERROR
    assert problem.remedy.endswith(
        f"""UPDATE "drizzle"."__drizzle_migrations" SET name = '{second.version}' """
        f"WHERE name IS NULL AND hash = '{second.sha256}';"
    )


def test_a_0_31_ledger_under_1_0_folders_is_well_because_drizzle_upgrades_it() -> None:
    source = folders(A, B)
    rows = [row(each, created_at_ms=(each.created_at_ms or 0) + 345) for each in source.migrations]
    status = compare_status(source, rows)
    assert states(status) == [State.APPLIED, State.APPLIED]
    assert status.exit_code() == 0


def test_in_a_numbered_folder_a_late_number_is_noted_and_a_renamed_file_is_still_applied() -> None:
    source = numbered("0001_a", "0002_b", "0003_renamed")
    first, _, third = source.migrations
    rows = [LedgerRow(sha256=first.sha256, name="0001_a"), LedgerRow(sha256=third.sha256, name="0003_c")]
    status = compare_status(source, rows)
    assert states(status) == [State.APPLIED, State.PENDING, State.APPLIED]
    assert kinds(status) == [ProblemKind.OUT_OF_ORDER]
    assert status.exit_code() == 0


def test_a_numbered_file_that_was_renumbered_is_not_run_twice() -> None:
    source = numbered("0001_a", "0005_b")
    first, second = source.migrations
    rows = [LedgerRow(sha256=first.sha256, name="0001_a"), LedgerRow(sha256=second.sha256, name="0002_b")]
    status = compare_status(source, rows)
    assert states(status) == [State.APPLIED, State.EDITED]
    assert "0002_b" in status.problems[0].message


def test_a_run_that_ended_in_the_middle_of_a_file_is_told_with_the_way_on() -> None:
    progress = Progress(
        version=B.version, sha256=B.sha256, statements_done=2, started=2, facts={}, at="2026-01-31 12:00:00+00"
    )
    status = compare_status(journal(A, B), [row(A)], progress={B.version: progress})
    assert states(status) == [State.APPLIED, State.UNFINISHED]
    assert "2 of its statements are done, and one more was begun" in status.problems[0].message
    assert "goes on where that run stopped" in status.problems[0].remedy
    edited = compare_status(journal(A, B), [row(A)], progress={B.version: replace(progress, sha256="f" * 64)})
    assert "the file was edited since" in edited.problems[0].message
    assert f"--resolve {B.version}:edited" in edited.problems[0].remedy
    assert [each.version for each in status.pending.migrations] == [B.version]
    assert status.exit_code() == 1


def test_a_file_that_was_renamed_half_way_is_told_under_its_old_name() -> None:
    progress = Progress(version="0001_old", sha256=B.sha256, statements_done=2, started=None, facts={}, at="now")
    status = compare_status(journal(A, B), [row(A)], progress={"0001_old": progress})
    assert kinds(status) == [ProblemKind.UNFINISHED_WITHOUT_FILE]
    assert f"0001_old, now called {B.path}: it would be run from its beginning" in status.problems[0].message
    assert status.exit_code() == 1
    at_work = compare_status(journal(A, B), [row(A)], progress={"0001_old": progress}, at_work="pid 1")
    assert at_work.problems == ()


def test_the_plan_digest_moves_with_every_byte_and_with_the_order() -> None:
    plans = [
        compare_status(journal(*migrations), []).pending.digest
        for migrations in ([A, B], [B, A], [A], [A, entry(1, content=b"x")], [A, replace(B, name="other")])
    ]
    assert len(set(plans)) == len(plans)
    assert all(len(one) == len(other) == 64 for one, other in pairwise(plans))

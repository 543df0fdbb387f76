"""What is accepted: by a comment with its reason, by configuration, by a baseline."""

import json
from pathlib import Path

import pytest

from pgrehearse.errors import ConfigurationError, MalformedAllow
from pgrehearse.hazards.baseline import read_baseline, write_baseline
from pgrehearse.hazards.finding import Level
from pgrehearse.hazards.lint import lint_files
from pgrehearse.hazards.suppress import Accepted, Judged, Weights, without_accepted
from pgrehearse.migrations.migration import Migration, SourceKind

DROP = "ALTER TABLE users DROP COLUMN nick;"
ALLOW = "-- pgrehearse: allow drop-column because nothing reads it"


def migration(text: str, *, path: str = "x.sql", kind: SourceKind = SourceKind.AD_HOC) -> Migration:
    return Migration(version="x", name="x", path=path, kind=kind, content=text.encode())


def judged(text: str, *, kind: SourceKind = SourceKind.AD_HOC, weights: Weights | None = None) -> Judged:
    migrations = [migration(text, kind=kind)]
    return without_accepted(lint_files(migrations), migrations, Accepted(weights=weights or Weights()))


def drops(of: Judged) -> int:
    return sum(finding.hazard == "drop-column" for finding in of.result.findings)


@pytest.mark.parametrize(
    "text",
    [
        f"{ALLOW}\n{DROP}",
        f"{DROP} {ALLOW}",
        f"{DROP}\n\n{ALLOW}\n\n-- and a word more\nALTER TABLE users DROP COLUMN age;".replace(DROP, "SELECT 1;"),
        f"ALTER TABLE users\n  {ALLOW}\n  DROP COLUMN nick;",
        f"ALTER TABLE users\n  DROP COLUMN nick  {ALLOW}\n;",
        f"ALTER TABLE users DROP COLUMN nick\n; {ALLOW}",
        f"{ALLOW}\r\n{DROP}",
        f"\ufeff{ALLOW}\n{DROP}",
        f"-- PgRehearse: Allow drop-column Because x\n{DROP}",
        f"-- pgrehearse: allow truncate, drop-column because both are known\n{DROP}",
        f"{ALLOW}\n-- pgrehearse: allow rename-column because it is last year's\n{DROP}",
        f"{ALLOW}\n{DROP} ALTER TABLE users DROP COLUMN age;",
    ],
)
def test_a_comment_allows_the_statement_that_it_stands_at(text: str) -> None:
    found = judged(text)
    assert drops(found) == 0
    accepted = [each for each in found.suppressed if each.finding.hazard == "drop-column"]
    assert accepted
    assert {each.by.value for each in accepted} == {"comment"}
    assert all(each.reason for each in accepted)
    assert "drop-column" not in {allow.hazard for allow in found.unused_allows}


@pytest.mark.parametrize(
    "text",
    [
        f"{DROP}\n{ALLOW}\nSELECT 1;",
        f"{ALLOW}\nSELECT 1;\n{DROP}",
        f"SELECT '{ALLOW}\n';\n{DROP}",
        f"SELECT $${ALLOW}\n$$;\n{DROP}",
        f"{ALLOW.replace('drop-column', 'drop-table')}\n{DROP}",
        f"SELECT 1; {ALLOW}\n{DROP}",
    ],
)
def test_it_allows_no_other_statement_and_no_other_hazard(text: str) -> None:
    assert drops(judged(text)) == 1


def test_one_that_allows_what_is_not_there_is_told() -> None:
    found = judged(f"SELECT 1;\n{ALLOW}\nSELECT 2;")
    [allow] = found.unused_allows
    assert (allow.file, allow.line, allow.hazard, allow.reason) == ("x.sql", 2, "drop-column", "nothing reads it")


def test_one_behind_the_last_statement_is_told_too() -> None:
    assert [allow.line for allow in judged(f"SELECT 1;\n{ALLOW}\n").unused_allows] == [2]


def test_in_a_drizzle_file_it_speaks_of_the_next_part() -> None:
    text = f"SELECT 1;--> statement-breakpoint\n{ALLOW}\n{DROP}--> statement-breakpoint\nSELECT 2;"
    assert drops(judged(text, kind=SourceKind.DRIZZLE_JOURNAL)) == 0


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("-- pgrehearse: allow drop-column", "without a reason"),
        ("-- pgrehearse: allow drop-column because", "without a reason"),
        ("-- pgrehearse: allow drop-column, it is fine", "cannot read|without a reason"),
        ("-- pgrehearse: allow drop-colum because x", "there is no hazard drop-colum"),
        ("-- pgrehearse: allow because x", "without a reason"),
        ("-- pgrehearse allow drop-column because x", "cannot read"),
        ("/* pgrehearse: allow drop-column because x */", "cannot read"),
    ],
)
def test_one_that_cannot_be_read_is_an_error_with_its_place(comment: str, said: str) -> None:
    with pytest.raises(MalformedAllow, match=rf"^x\.sql:2:1: .*({said})") as caught:
        judged(f"SELECT 1;\n{comment}\n{DROP}")
    assert caught.value.exit_code == 2
    assert caught.value.remedy


def test_a_mistyped_hazard_is_answered_with_the_nearest() -> None:
    with pytest.raises(MalformedAllow) as caught:
        judged("-- pgrehearse: allow drop-colum because x\nSELECT 1;")
    assert "Did you mean drop-column" in caught.value.remedy


def test_configuration_ignores_a_hazard_or_gives_it_another_level() -> None:
    weights = Weights(ignore=frozenset({"drop-column"}), levels={"create-index": Level.ERROR})
    found = judged(f"{DROP}\nCREATE INDEX ON orders (age);", weights=weights)
    assert {each.hazard: each.level for each in found.result.findings}["create-index"] is Level.ERROR
    assert drops(found) == 0
    assert ("drop-column", "configuration", None) in [
        (each.finding.hazard, each.by.value, each.reason) for each in found.suppressed
    ]


def test_a_baseline_knows_findings_again_when_lines_move(tmp_path: Path) -> None:
    folder, file = tmp_path / "drizzle", tmp_path / "lint.json"
    folder.mkdir()
    old = [migration(DROP, path=str(folder / "1.sql"))]
    written = write_baseline(file, lint_files(old))
    assert written == len(json.loads(file.read_text())["findings"]) > 0
    moved = [migration(f"-- moved\n\n{DROP.replace(' DROP', '  DROP')}", path=str(folder / "1.sql"))]
    assert without_accepted(lint_files(moved), moved, Accepted(baseline=read_baseline(file))).result.findings == ()
    for other in (
        migration(DROP.replace("nick", "age"), path=str(folder / "1.sql")),
        migration(DROP, path=str(folder / "2.sql")),
    ):
        assert drops(without_accepted(lint_files([other]), [other], Accepted(baseline=read_baseline(file)))) == 1
    twice = [migration(f"{DROP}\nSELECT 1;\n{DROP}", path=str(folder / "1.sql"))]
    assert drops(without_accepted(lint_files(twice), twice, Accepted(baseline=read_baseline(file)))) <= 1


@pytest.mark.parametrize("content", [None, "no json", "[]", '{"format": 2, "findings": []}', '{"format": 1}'])
def test_a_baseline_that_is_none_is_an_error(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "lint.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        read_baseline(file)
    assert "--write-baseline" in caught.value.remedy

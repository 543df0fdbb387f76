"""`pgrehearse lint` as a user runs it."""

import contextlib
import io
import json
import re
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pgrehearse.cli.main import run_command

SCHEMAS = {
    name: json.loads((files("pgrehearse.answers") / f"{name}.schema.json").read_text(encoding="utf-8"))
    for name in ("lint", "error")
}
DROP = "ALTER TABLE users DROP COLUMN nick;\n"
INDEX = "CREATE INDEX ON users (email);\n"


def lint(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As the program would, in this process: starting Python takes longer than a lint."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(["lint", *arguments])
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def errors_of(answer: dict[str, Any]) -> list[str]:
    return sorted(finding["hazard"] for finding in answer["findings"] if finding["level"] == "error")


@pytest.fixture
def drizzle(tmp_path: Path) -> Path:
    """A drizzle 0.31 folder: one harmless file in the journal, one hand-written file beside it."""
    folder = tmp_path / "drizzle"
    (folder / "meta").mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    entry = {"idx": 0, "version": "7", "when": 1700000000000, "tag": "0000_init", "breakpoints": True}
    journal = {"version": "7", "dialect": "postgresql", "entries": [entry]}
    (folder / "meta" / "_journal.json").write_text(json.dumps(journal))
    (folder / "0000_init.sql").write_text("CREATE TABLE users (id int);--> statement-breakpoint\nDROP TABLE users;")
    (folder / "0001_by_hand.sql").write_text(f"BEGIN;\n{DROP}COMMIT;\n")
    return folder


def test_findings_decide_the_exit_code_at_the_level_asked_for(tmp_path: Path) -> None:
    (tmp_path / "index.sql").write_text(INDEX)
    (tmp_path / "drop.sql").write_text(DROP)
    assert lint(tmp_path, "index.sql").returncode == 0
    assert lint(tmp_path, "index.sql", "--level", "warning").returncode == 1
    ended = lint(tmp_path, "index.sql", "drop.sql")
    assert ended.returncode == 1
    assert "drop.sql:1:1: error drop-column\n" in ended.stdout
    assert "CREATE TABLE users_nick_kept AS SELECT * FROM users;" in ended.stdout
    assert re.search(r"^1 error, 1 warning(, \d+ info)? in 2 files, 2 statements", ended.stdout, re.MULTILINE)
    assert ended.stderr == ""


def test_a_folder_gives_its_files_in_the_journal_or_not(drizzle: Path) -> None:
    ended = lint(drizzle.parent, "drizzle", "--json")
    assert ended.returncode == 1
    answer = json.loads(ended.stdout)
    Draft202012Validator(SCHEMAS["lint"]).validate(answer)
    assert errors_of(answer) == ["drop-column", "nested-transaction"]
    assert {statement["file"] for statement in answer["statements"]} == {
        "drizzle/0000_init.sql",
        "drizzle/0001_by_hand.sql",
    }


def test_a_file_named_alone_is_judged_as_its_folders_tool_would_run_it(drizzle: Path) -> None:
    answer = json.loads(lint(drizzle, "0001_by_hand.sql", "--json").stdout)
    assert errors_of(answer) == ["drop-column", "nested-transaction"]


def test_a_file_named_twice_is_read_once(drizzle: Path) -> None:
    answer = json.loads(lint(drizzle.parent, "drizzle/0000_init.sql", "drizzle", "--json").stdout)
    files_read = [statement["file"] for statement in answer["statements"]]
    assert files_read.count("drizzle/0000_init.sql") == 2  # two statements, once each


def test_drizzle_1_folders_and_plain_folders_are_read(tmp_path: Path) -> None:
    one = tmp_path / "one" / "20240101000000_init"
    one.mkdir(parents=True)
    (one / "migration.sql").write_text(f"BEGIN;{DROP}COMMIT;")
    numbered = tmp_path / "numbered"
    numbered.mkdir()
    (numbered / "0001_drop.sql").write_text(f"BEGIN;{DROP}COMMIT;")
    for path, hazards in {
        "one": ["drop-column", "nested-transaction"],
        "one/20240101000000_init/migration.sql": ["drop-column", "nested-transaction"],
        "numbered": ["drop-column"],
        "numbered/0001_drop.sql": ["drop-column"],
    }.items():
        answer = json.loads(lint(tmp_path, path, "--json").stdout)
        assert errors_of(answer) == hazards, path


def test_without_a_path_the_configured_folder_is_read(drizzle: Path) -> None:
    (drizzle.parent / "pgrehearse.toml").write_text('[migrations]\npath = "drizzle"\n')
    (drizzle.parent / "app").mkdir()
    ended = lint(drizzle.parent, "--json")
    errors = [finding for finding in json.loads(ended.stdout)["findings"] if finding["level"] == "error"]
    assert {finding["file"] for finding in errors} == {"drizzle/0001_by_hand.sql"}
    assert lint(drizzle.parent / "app").returncode == 1


def test_what_the_text_cannot_show_is_listed(tmp_path: Path) -> None:
    (tmp_path / "do.sql").write_text("DO $$ DECLARE t text; BEGIN EXECUTE 'DROP TABLE ' || t; END $$;")
    ended = lint(tmp_path, "do.sql")
    assert ended.returncode == 0
    assert "do.sql:1: " in ended.stdout
    assert "pgrehearse run" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is no pgrehearse.toml"),
        (["absent.sql"], "there is no file or folder absent.sql"),
        (["empty"], "holds no migrations"),
        (["broken.sql"], "broken.sql:1:1: syntax error"),
        (["latin.sql"], "not UTF-8"),
    ],
)
def test_bad_input_is_one_error_with_a_remedy(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.sql").write_text("ALTR TABLE users;")
    (tmp_path / "latin.sql").write_bytes(b"SELECT '\xe9';")
    ended = lint(tmp_path, *arguments, "--json")
    assert ended.returncode == 2
    answer = json.loads(ended.stdout)
    Draft202012Validator(SCHEMAS["error"]).validate(answer)
    assert said in answer["error"]["message"]
    assert answer["error"]["remedy"]
    assert "Traceback" not in ended.stderr

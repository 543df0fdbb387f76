"""What `pgrehearse lint` and `explain` answer: shapes, what is accepted, configuration; in one process, for speed."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from pgrehearse.cli.main import run_command
from pgrehearse.hazards.catalogue import CATALOGUE, SECTIONS
from pgrehearse.postgres.connect import Connection
from pgrehearse.postgres.conninfo import Conninfo

DROP = "ALTER TABLE users DROP COLUMN nick;\n"
INDEX = "CREATE INDEX users_age ON users (age);\n"
Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "drop.sql").write_text(DROP)
    (tmp_path / "index.sql").write_text(INDEX)
    (tmp_path / "add.sql").write_text("ALTER TABLE users ADD COLUMN city text;\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(out: Out, name: str) -> Any:
    document = json.loads(out.readouterr().out)
    schema = json.loads((files("pgrehearse.answers") / f"{name}.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(document)
    return document


def levels(out: Out) -> dict[str, str]:
    return {finding["hazard"]: finding["level"] for finding in answer(out, "lint")["findings"]}


# --- shapes ------------------------------------------------------------------------------------------------


def test_json_has_two_spellings_and_no_third(capsys: Out) -> None:
    assert run_command(["lint", "drop.sql", "--json"]) == 1
    once = answer(capsys, "lint")
    assert run_command(["lint", "drop.sql", "--format", "json"]) == 1
    assert answer(capsys, "lint") == once
    assert run_command(["lint", "drop.sql", "--json", "--format", "sarif"]) == 2


def test_an_error_is_json_where_json_was_asked_for(capsys: Out) -> None:
    for asked in (["--json"], ["--format", "json"], ["--format=json"]):
        assert run_command(["lint", "absent.sql", *asked]) == 2
        assert answer(capsys, "error")["error"]["code"] == "source-not-found"


def test_sarif_and_github_have_the_same_exit_code(capsys: Out) -> None:
    assert run_command(["lint", "drop.sql", "--format", "sarif"]) == 1
    assert json.loads(capsys.readouterr().out)["version"] == "2.1.0"
    assert run_command(["lint", "index.sql", "--format", "sarif"]) == 0
    capsys.readouterr()
    assert run_command(["lint", "drop.sql", "--format", "github"]) == 1
    assert capsys.readouterr().out.startswith("::error file=drop.sql,line=1")


def test_notes_are_shown_as_text_only_if_asked(capsys: Out) -> None:
    assert run_command(["lint", "add.sql"]) == 0
    text = capsys.readouterr().out
    assert "add.sql:1:1" not in text
    assert "--level info shows" in text
    assert run_command(["lint", "add.sql", "--level", "info"]) == 1
    assert "add.sql:1:1: info select-star-prepared-plan" in capsys.readouterr().out


def test_how_files_share_transactions_can_be_said(here: Path, capsys: Out) -> None:
    (here / "index.sql").write_text(INDEX.replace("INDEX", "INDEX CONCURRENTLY"))
    assert run_command(["lint", "index.sql"]) == 0
    capsys.readouterr()
    assert run_command(["lint", "index.sql", "--transaction", "file", "--json"]) == 1
    assert levels(capsys)["concurrently-in-transaction"] == "error"
    (here / "migrations").mkdir()
    (here / "index.sql").rename(here / "migrations" / "0001_index.sql")
    (here / "pgrehearse.toml").write_text('[migrations]\npath = "migrations"\ntransaction = "plan"\n')
    assert run_command(["lint"]) == 1


# --- what is accepted ------------------------------------------------------------------------------------


def test_a_comment_with_a_reason_accepts_a_finding(here: Path, capsys: Out) -> None:
    (here / "drop.sql").write_text(f"-- pgrehearse: allow drop-column because nothing reads it\n{DROP}")
    assert run_command(["lint", "drop.sql", "--json"]) == 0
    [accepted] = [each for each in answer(capsys, "lint")["suppressed"] if each["finding"]["hazard"] == "drop-column"]
    assert (accepted["by"], accepted["reason"]) == ("comment", "nothing reads it")
    assert run_command(["lint", "drop.sql"]) == 0
    assert "1 accepted in 1 file" in capsys.readouterr().out


def test_one_without_a_reason_is_a_mistake(here: Path, capsys: Out) -> None:
    (here / "drop.sql").write_text(f"-- pgrehearse: allow drop-column\n{DROP}")
    assert run_command(["lint", "drop.sql", "--json"]) == 2
    assert answer(capsys, "error")["error"]["code"] == "malformed-allow"


def test_one_that_allows_nothing_is_told_and_no_error(here: Path, capsys: Out) -> None:
    (here / "add.sql").write_text("-- pgrehearse: allow truncate because x\nSELECT 1;\n")
    assert run_command(["lint", "add.sql", "--json"]) == 0
    assert answer(capsys, "lint")["unused_allows"] == [
        {"file": "add.sql", "line": 1, "hazard": "truncate", "reason": "x"}
    ]
    assert run_command(["lint", "add.sql"]) == 0
    assert "add.sql:1: note: allows truncate" in capsys.readouterr().out


def test_configuration_weighs_hazards(here: Path, capsys: Out) -> None:
    (here / "pgrehearse.toml").write_text('[lint]\nignore = "drop-column"\nlevels = { create-index = "error" }\n')
    assert run_command(["lint", "drop.sql", "--json"]) == 0
    assert "drop-column" not in levels(capsys)
    assert run_command(["lint", "index.sql", "--json"]) == 1
    assert levels(capsys)["create-index"] == "error"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ('ignore = ["drop-colum"]', "lint: there is no hazard drop-colum"),
        ('levels = { drop-column = "fatal" }', "lint.levels.drop-column"),
        ('levels = { nothing-at-all = "error" }', "no hazard nothing-at-all"),
        ("shout = true", "unknown key lint.shout"),
    ],
)
def test_a_mistake_in_the_configuration_is_told(here: Path, capsys: Out, section: str, said: str) -> None:
    (here / "pgrehearse.toml").write_text(f"[lint]\n{section}\n")
    assert run_command(["lint", "drop.sql", "--json"]) == 2
    error = answer(capsys, "error")["error"]
    assert said in error["message"]
    assert error["remedy"]


def test_a_baseline_accepts_what_is_there_today(here: Path, capsys: Out) -> None:
    assert run_command(["lint", "drop.sql", "index.sql", "--baseline", "old.json", "--write-baseline"]) == 0
    assert "written to the baseline" in capsys.readouterr().err
    assert run_command(["lint", "drop.sql", "--baseline", "old.json", "--level", "info"]) == 0
    (here / "pgrehearse.toml").write_text('[lint]\nbaseline = "old.json"\n')
    assert run_command(["lint", "drop.sql"]) == 0
    (here / "drop.sql").write_text(f"{DROP}ALTER TABLE users DROP COLUMN age;\n")
    capsys.readouterr()
    assert run_command(["lint", "drop.sql", "--json"]) == 1
    assert [finding["line"] for finding in answer(capsys, "lint")["findings"] if finding["level"] == "error"] == [2]


def test_a_baseline_that_is_not_there_is_a_mistake(capsys: Out) -> None:
    assert run_command(["lint", "drop.sql", "--baseline", "absent.json"]) == 2
    assert "--write-baseline" in capsys.readouterr().err
    assert run_command(["lint", "drop.sql", "--write-baseline"]) == 2
    assert "--baseline FILE" in capsys.readouterr().err


# --- against a database ----------------------------------------------------------------------------------


@pytest.mark.pg("== 18")
def test_against_a_database_findings_carry_sizes_and_what_is_pending_is_judged(
    here: Path, connection: Connection, database: Conninfo, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    connection.execute("CREATE TABLE users (id int, nick text, age int)")
    connection.execute("INSERT INTO users SELECT g, 'n', g FROM generate_series(1, 5000) g")
    connection.execute("ANALYZE users")
    monkeypatch.setenv("SHOP_URL", database.text)
    assert run_command(["lint", "drop.sql", "--against", "env:SHOP_URL", "--json"]) == 1
    [drop] = [each for each in answer(capsys, "lint")["findings"] if each["hazard"] == "drop-column"]
    assert drop["measured"]["size_bytes"] > 0
    folder = here / "migrations"
    folder.mkdir()
    (folder / "0001_users.sql").write_text("CREATE TABLE visits (id bigint PRIMARY KEY);\n")
    (here / "pgrehearse.toml").write_text(
        '[environments.dev]\nurl_env = "SHOP_URL"\n[migrations]\npath = "migrations"\n'
    )
    assert run_command(["migrate", "dev"]) == 0
    (folder / "0002_drop.sql").write_text(DROP)
    capsys.readouterr()
    assert run_command(["lint", "--against", "dev", "--json"]) == 1
    assert {each["file"] for each in answer(capsys, "lint")["statements"]} == {"migrations/0002_drop.sql"}


def test_a_database_that_cannot_be_reached_is_told(capsys: Out) -> None:
    assert run_command(["lint", "drop.sql", "--against", "postgresql://nobody@127.0.0.1:1/none", "--json"]) == 4
    assert answer(capsys, "error")["error"]["code"] == "server-unreachable"


# --- explain ------------------------------------------------------------------------------------------------


def test_explain_prints_the_page(capsys: Out) -> None:
    page = Path(__file__).parents[2] / "docs" / "hazards" / "drop-column.md"
    assert run_command(["explain", "drop-column"]) == 0
    assert capsys.readouterr().out == page.read_text(encoding="utf-8")


def test_explain_lists_them_all(capsys: Out) -> None:
    assert run_command(["explain", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == list(CATALOGUE)
    assert [line for line in lines if line and not line.startswith(" ")] == list(SECTIONS)


def test_explain_answers_as_json(capsys: Out) -> None:
    assert run_command(["explain", "create-index", "--json"]) == 0
    [told] = answer(capsys, "explain")["hazards"]
    assert (told["id"], told["level"]) == ("create-index", "warning")
    assert run_command(["explain", "--list", "--json"]) == 0
    assert [each["id"] for each in answer(capsys, "explain")["hazards"]] == list(CATALOGUE)


@pytest.mark.parametrize(
    ("asked", "near"), [("drop-colum", "drop-column"), ("add-fk", "drop-fk"), ("index", "drop-index")]
)
def test_explain_names_the_nearest_of_what_there_is_not(capsys: Out, asked: str, near: str) -> None:
    assert run_command(["explain", asked, "--json"]) == 2
    error = answer(capsys, "error")["error"]
    assert error["code"] == "unknown-hazard"
    assert near in error["remedy"]


def test_explain_needs_one_hazard_or_the_list() -> None:
    assert run_command(["explain"]) == 2
    assert run_command(["explain", "drop-column", "--list"]) == 2

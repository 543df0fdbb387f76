"""A mistake in the configuration, as a user meets it: one line with file, key and remedy, exit code 2, no secret."""

import json
import os
from pathlib import Path

import pytest
from tests.support.program import run_program

CANARY = "canary-5ecret"
ENVIRONMENT = '[environments.prd]\nurl_env = "SHOP_URL"\n'


@pytest.mark.parametrize(
    ("toml", "url", "line"),
    [
        (
            ENVIRONMENT + "protectd = true\n",
            "",
            "error: pgrehearse.toml: unknown key environments.prd.protectd -> Did you mean protected?",
        ),
        (
            ENVIRONMENT,
            None,
            "error: pgrehearse.toml: environments.prd.url_env: SHOP_URL is not set in the environment"
            " -> Set SHOP_URL to the database's URL.",
        ),
        (
            ENVIRONMENT,
            f"postgresql://u:{CANARY}%zz@h/d",
            "error: pgrehearse.toml: environments.prd.url_env: SHOP_URL in the environment is not a PostgreSQL URL: ",
        ),
        (
            f'[environments.prd]\nurl = "postgresql://u:{CANARY}@h/d"\n',
            None,
            "error: pgrehearse.toml: environments.prd: url holds a password, ",
        ),
    ],
)
def test_it_is_one_line(tmp_path: Path, toml: str, url: str | None, line: str) -> None:
    (tmp_path / "pgrehearse.toml").write_text(toml)
    (tmp_path / "migrations").mkdir()
    (tmp_path / "migrations" / "0001_x.sql").write_text("SELECT 1;")
    environment = {key: value for key, value in os.environ.items() if key != "SHOP_URL"}
    if url is not None:
        environment["SHOP_URL"] = url
    ended = run_program("status", "prd", "migrations", "--json", cwd=tmp_path, env=environment)
    assert ended.returncode == 2
    [told] = ended.stderr.splitlines()
    assert told.startswith(line)
    assert " -> " in told
    answer = json.loads(ended.stdout)
    assert answer["error"]["exit_code"] == 2
    assert CANARY not in ended.stdout + ended.stderr


@pytest.mark.parametrize("arguments", [["lint"], ["status", "--no-gate"], ["run"]])
def test_a_migrations_folder_that_is_not_there_is_told_with_its_key(tmp_path: Path, arguments: list[str]) -> None:
    prd = ENVIRONMENT + "protected = true\n"
    (tmp_path / "pgrehearse.toml").write_text(prd + '[migrations]\npath = "no/such"\n')
    environment = {**os.environ, "SHOP_URL": "host=/nonexistent dbname=shop"}
    ended = run_program(*arguments, cwd=tmp_path, env=environment)
    assert ended.returncode == 2
    [told] = ended.stderr.splitlines()
    assert told.startswith("error: pgrehearse.toml: migrations.path: there is no folder no/such ")
    assert " -> Set migrations.path to " in told

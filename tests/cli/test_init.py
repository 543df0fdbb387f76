"""`pgrehearse init` as a user runs it."""

import json
import subprocess
from importlib.resources import files
from pathlib import Path

from jsonschema import Draft202012Validator
from tests.support.program import run_program

CANARY = "canary-5ecret"


def init(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    ended = run_program("init", *arguments, cwd=directory)
    assert CANARY not in ended.stdout + ended.stderr
    return ended


def project(directory: Path) -> Path:
    (directory / ".env.production").write_text(f"DATABASE_URL=postgres://u:{CANARY}@db.example/shop\n")
    (directory / "drizzle.config.ts").write_text("export default { dialect: 'postgresql' }")
    (directory / "drizzle" / "meta").mkdir(parents=True)
    (directory / "drizzle" / "meta" / "_journal.json").write_text('{"version":"7","dialect":"postgresql","entries":[]}')
    return directory / "pgrehearse.toml"


def test_it_says_what_it_found_what_it_wrote_and_what_comes_next(tmp_path: Path) -> None:
    file = project(tmp_path)
    ended = init(tmp_path)
    assert ended.returncode == 0
    assert ended.stdout.splitlines() == [
        "found  drizzle.config.ts",
        "found  drizzle: drizzle migrations (journal)",
        "found  .env.production: DATABASE_URL",
        "wrote  pgrehearse.toml",
        "",
        "Next: pgrehearse status prd",
    ]
    assert CANARY not in file.read_text()
    assert [entry.name for entry in tmp_path.iterdir() if "pgrehearse" in entry.name] == ["pgrehearse.toml"]


def test_an_existing_file_is_only_overwritten_when_forced(tmp_path: Path) -> None:
    file = project(tmp_path)
    file.write_text("# mine\n")
    ended = init(tmp_path)
    assert ended.returncode == 2
    assert "is there already" in ended.stderr
    assert "--force" in ended.stderr
    assert file.read_text() == "# mine\n"
    assert init(tmp_path, "--force").returncode == 0
    assert "[environments.prd]" in file.read_text()


def test_the_answer_has_its_published_shape(tmp_path: Path) -> None:
    project(tmp_path)
    answer = json.loads(init(tmp_path.parent, tmp_path.name, "--json").stdout)
    schema = json.loads((files("pgrehearse.answers") / "init.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(answer)
    assert answer["file"] == f"{tmp_path.name}/pgrehearse.toml"
    assert answer["next"] == f"cd {tmp_path.name} && pgrehearse status prd"


def test_an_empty_folder_gets_a_template_and_the_next_step(tmp_path: Path) -> None:
    ended = init(tmp_path)
    assert ended.returncode == 0
    assert "nothing to go by" in ended.stdout
    assert "Next: write the folder of your migrations" in ended.stdout


def test_another_dialect_or_no_folder_is_one_error_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "drizzle.config.ts").write_text("export default { dialect: 'sqlite' }")
    for arguments in ([], ["absent"]):
        ended = init(tmp_path, *arguments)
        assert ended.returncode == 2
        assert ended.stderr.startswith("error: ")
        assert "Traceback" not in ended.stderr
    assert not (tmp_path / "pgrehearse.toml").exists()

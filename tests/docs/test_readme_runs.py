"""What the README tells a reader to type is typed here."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pgrehearse.demo import story
from pgrehearse.postgres.conninfo import Conninfo

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language: str, containing: str) -> str:
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if containing in text]
    assert len(found) == 1
    return str(found[0])


@pytest.fixture
def shop(tmp_path: Path, database: Conninfo, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A drizzle folder with one migration pending, and DATABASE_URL."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database.as_url())
    story.install(story.APPLIED)
    story.fill(database)
    story.install((*story.APPLIED, story.SAFE))
    return tmp_path


@pytest.mark.pg("== 18")
def test_the_commands_for_ones_own_database_work(shop: Path) -> None:
    lines = [line.split("  #")[0].strip() for line in block("sh", "pgrehearse status").splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("pgrehearse ")]
    assert [arguments[0] for arguments in commands] == ["status", "lint", "run"]
    for arguments in commands:
        done = subprocess.run(
            [sys.executable, "-m", "pgrehearse", *arguments], cwd=shop, capture_output=True, text=True, check=False
        )
        # lint warns of nothing over its level in the shop's own history but what 0002 does to tables of 0000
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)


@pytest.mark.pg("== 18")
def test_the_python_example_works(shop: Path) -> None:
    code = block("python", "import rehearse")
    assert len(code.strip().splitlines()) <= 10
    code = re.sub(r'source="[^"]*"', 'source="env:DATABASE_URL"', code)
    done = subprocess.run([sys.executable, "-c", code], cwd=shop, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "clean"


def test_the_readme_opens_with_what_it_does_and_the_two_commands() -> None:
    opening = README.split("##")[0]
    assert "Never apply an untested migration" in opening
    assert [line.split("#")[0].strip() for line in block("sh", "make demo").splitlines()] == ["make demo", "make test"]
    assert shutil.which("make")

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from pgrehearse import __version__
from pgrehearse.cli.main import COMMANDS, cli

PROGRAM = [sys.executable, "-m", "pgrehearse"]
ROOT = Path(__file__).parents[2]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def test_version_is_the_packages() -> None:
    assert run("--version").stdout.strip() == f"pgrehearse {__version__}"


def test_help_needs_neither_a_database_driver_nor_the_ledgers_library() -> None:
    script = (
        "import sys; sys.argv = ['pgrehearse', '--help']\n"
        "from pgrehearse.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print({'psycopg', 'sqlalchemy', 'pydantic', 'pglast', 'rich'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"


def test_an_interrupt_while_the_program_is_loaded_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([*PROGRAM, "--version"], capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_what_it_does(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage:" in result.output
    assert len(result.output.splitlines()) > 5


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in ("demo",)])
def test_every_command_that_answers_can_answer_in_json_and_shows_examples(name: str) -> None:
    output = CliRunner().invoke(cli, [name, "--help"]).output
    if name != "clones":  # a group: its commands have them
        assert "--json" in output
    assert "Examples" in output or name == "clones"


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"`{name}`" not in readme and f"pgrehearse {name}" not in readme
            and f"make {name}" not in readme] == []  # fmt: skip


def test_a_misspelt_command_is_refused_with_the_nearest_one() -> None:
    done = run("staus")
    assert done.returncode == 2
    assert "Did you mean `status`?" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_option_is_wrong_usage() -> None:
    done = run("run", "--sauce", "x")
    assert done.returncode == 2
    assert "--sauce" in done.stderr


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://u:canary@h/x",
        "postgres//u:canary@h/x",
        "u:ca@canary@h",
        "host=h password=canary",
        "password='x canary'",
    ],
)
def test_an_address_in_the_wrong_place_is_told_without_its_password(address: str) -> None:
    for arguments in (["clones", "list", address], [address], ["migrate", "a", "b", address, "--json"]):
        done = run(*arguments)
        assert done.returncode == 2
        assert "canary" not in done.stdout + done.stderr
        assert "***" in done.stderr


def test_a_server_that_is_not_there_is_exit_code_4_in_text_and_in_json(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "0001_a.sql").write_text("SELECT 1;")
    url = "postgresql://u:c4nary_s3cret@127.0.0.1:1/d"
    done = run("run", "--source", url, "--migrations", "m", "--json", cwd=tmp_path)
    assert done.returncode == 4
    answer = json.loads(done.stdout)
    schema = json.loads((ROOT / "src/pgrehearse/answers/error.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(answer)
    assert answer["error"]["code"] == "server-unreachable"
    assert "127.0.0.1" in done.stderr
    assert "c4nary" not in done.stdout + done.stderr


def test_what_nobody_foresaw_is_one_line_and_never_a_yes(tmp_path: Path) -> None:
    script = (
        "import sys, pgrehearse.cli.main as m, pgrehearse.project\n"
        "def broken(*_a, **_k): raise RuntimeError('odd: postgresql://u:c4nary@h/d')\n"
        "pgrehearse.project.Project.open = broken\n"
        "sys.exit(m.run_command(['report']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 3
    assert "RuntimeError: odd" in done.stderr
    assert not re.search("Traceback|c4nary", done.stderr)


@pytest.mark.parametrize(("variable", "value", "coloured"), [("NO_COLOR", "1", False), ("TERM", "dumb", False),
                                                            ("TERM", "xterm", True)])  # fmt: skip
def test_a_terminal_without_colours_gets_none(tmp_path: Path, variable: str, value: str, coloured: bool) -> None:
    (tmp_path / "a.sql").write_text("DROP TABLE t CASCADE;")
    environment = {key: held for key, held in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            [*PROGRAM, "lint", "a.sql"], cwd=tmp_path, env=environment | {"TERM": "xterm", variable: value},
            stdout=theirs, check=False,
        )  # fmt: skip
    finally:
        os.close(theirs)
    shown = b""
    with suppress(OSError):  # EIO: all was read, and nobody holds the other end
        while more := os.read(ours, 4096):
            shown += more
    os.close(ours)
    assert done.returncode == 1
    assert b"drop-table" in shown
    assert (b"\x1b" in shown) is coloured


def test_report_without_any_receipt_says_how_to_make_one(tmp_path: Path) -> None:
    done = run("report", cwd=tmp_path)
    assert done.returncode == 2
    assert "pgrehearse run" in done.stderr

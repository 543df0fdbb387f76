import io
from collections.abc import Sequence

import pytest
from rich.console import Console

from pgrehearse.cli.main import run_command
from pgrehearse.demo.story import play


def played(command: object) -> tuple[bool, str]:
    out = io.StringIO()
    well = play(command, Console(file=out, width=160))  # type: ignore[arg-type]
    return well, out.getvalue()


def test_the_story_gives_every_verdict_that_it_should(capfd: pytest.CaptureFixture[str]) -> None:
    well, told = played(run_command)
    answers = capfd.readouterr().out
    assert well, told
    assert told.rstrip().splitlines()[-3:] == [
        "  pgrehearse status env:DATABASE_URL drizzle",
        "  pgrehearse lint drizzle",
        "  pgrehearse run --source env:DATABASE_URL --migrations drizzle",
    ]
    for said in ("is not in the journal", "LOSS:", "60,000", "loses foreign key", "CLEAN:", "### pgrehearse"):
        assert said in answers, said


def test_a_step_with_another_verdict_makes_the_demo_fail() -> None:
    def always_yes(arguments: Sequence[str]) -> int:
        code = run_command(arguments)
        return 0 if arguments[0] == "run" else code

    well, told = played(always_yes)
    assert not well
    assert "NOT SO" in told
    assert "Now on your own database" not in told

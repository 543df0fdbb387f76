"""``pgrehearse lint``: what migration files would do, told without a database."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:  # the parser is imported when lint runs, not when --help is printed
    from pgrehearse.hazards.finding import Finding
    from pgrehearse.hazards.lint import LintResult

_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}


@click.command(
    "lint",
    epilog="""\b
Examples:
  pgrehearse lint                               the folder that pgrehearse.toml names
  pgrehearse lint drizzle/0007_drop_nick.sql
  pgrehearse lint drizzle --level warning --json""",
)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--level",
    type=click.Choice(["error", "warning", "info"]),
    default="error",
    show_default=True,
    help="Findings at or over this level make the exit code 1; all are shown.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (lint.schema.json).")
@click.pass_obj
def command(config_file: str | None, *, paths: tuple[Path, ...], level: str, as_json: bool) -> int:
    """Tell what migration files would do: files, or folders of them.

    Reads the text alone.  A table that the same file creates is nobody's yet, so nothing is said about it.
    What the text cannot show (DO blocks, functions) is listed: `pgrehearse run` sees it.

    Exit code 0: no finding at or over --level.  1: there is one.  2: a file, or a line
    `-- pgrehearse: expect …` in it, cannot be read.
    """
    from pgrehearse.hazards.finding import Level
    from pgrehearse.hazards.lint import lint_files
    from pgrehearse.hazards.scripts import read_scripts

    result = lint_files(read_scripts(paths or [_configured_folder(config_file)]))
    if as_json:
        print(json.dumps(result.as_json(), ensure_ascii=False, indent=2))
    else:
        _show(result)
    return 1 if result.reaches(Level(level)) else 0


def _configured_folder(config_file: str | None) -> Path:
    from pgrehearse.config import require_migrations_folder

    return require_migrations_folder(config_file)


def _show(result: "LintResult") -> None:
    for finding in result.findings:
        _show_finding(finding)
    if result.not_visible:
        click.secho("Not visible in the text:", bold=True)
        for each in result.not_visible:
            click.echo(f"  {each.file}:{each.line}: {each.reason}")
        click.echo("  -> `pgrehearse run` rehearses the files on a clone and sees what they do.\n")
    levels = [finding.level.value for finding in result.findings]
    counted = ", ".join(_count(levels.count(level), level) for level in _COLOURS if level in levels)
    read = f"{_count(len(result.files), 'file')}, {_count(len(result.statements), 'statement')}"
    click.echo(f"{counted or 'nothing found'} in {read}")


def _show_finding(finding: "Finding") -> None:
    level = click.style(finding.level.value, fg=_COLOURS[finding.level.value], bold=True)
    click.echo(f"{finding.file}:{finding.line}:{finding.column}: {level} {click.style(finding.hazard, bold=True)}")
    click.echo(f"  {finding.message}")
    for line in finding.remedy.splitlines():
        click.echo(f"      {line}")
    click.echo()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"

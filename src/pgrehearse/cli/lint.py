"""``pgrehearse lint``: what migration files would do, told without running them."""

import gc
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # the parser is imported when lint runs, not when --help is printed
    from pgrehearse.hazards.finding import Finding, Level
    from pgrehearse.hazards.suppress import Judged

_COLOURS = {"error": "red", "warning": "yellow", "info": "blue"}


@click.command(
    "lint",
    epilog="""\b
Examples:
  pgrehearse lint                               the folder that pgrehearse.toml names
  pgrehearse lint drizzle/0007_drop_nick.sql
  pgrehearse lint --against prd                 what is pending there, judged by its tables and sizes
  pgrehearse lint drizzle --level warning --format sarif > lint.sarif
  pgrehearse lint --baseline lint.json --write-baseline   accept what is there today""",
)
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--level",
    type=click.Choice(["error", "warning", "info"]),
    default="error",
    show_default=True,
    help="Findings at or over this level make the exit code 1.  As text, those of level info are shown only if asked.",
)
@click.option(
    "--against",
    metavar="ENV|URL",
    help="Judge by this database's tables, sizes and dependants; read-only.  Without PATH: what is pending there.",
)
@click.option(
    "--transaction",
    type=click.Choice(["auto", "plan", "file", "statement"]),
    help="How files share transactions; default: auto, or for the configured folder as pgrehearse.toml says.",
)
@click.option("--baseline", metavar="FILE", type=click.Path(path_type=Path), help="Pass over the findings in FILE.")
@click.option("--write-baseline", is_flag=True, help="Write today's findings to the baseline's file first.")
@click.option(
    "--format",
    "shape",
    type=click.Choice(["text", "json", "sarif", "github"]),
    help="text (default), json (lint.schema.json), sarif (2.1.0), or github (annotations of a workflow).",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.pass_obj
def command(
    config_file: str | None,
    *,
    paths: tuple[Path, ...],
    level: str,
    against: str | None,
    transaction: str | None,
    baseline: Path | None,
    write_baseline: bool,
    shape: str | None,
    as_json: bool,
) -> int:
    """Tell what migration files would do: files, or folders of them.

    Reads the text alone, or holds it against a database.  A table that the same file creates is nobody's yet, so
    nothing is said about it.  What the text cannot show is listed: `pgrehearse run` sees it.

    `-- pgrehearse: allow HAZARD because REASON` above a statement, or behind it, accepts a finding.
    `pgrehearse explain HAZARD` says more about one.

    Exit code 0: no finding at or over --level.  1: there is one.  2: a file, or a comment
    `-- pgrehearse: …` in it, cannot be read.  3: a fault in lint kept it from judging all.  4: the database of
    --against cannot be reached.
    """
    if as_json and shape not in (None, "json"):
        raise click.UsageError(f"--json and --format {shape} exclude each other")
    with _no_collection():
        from pgrehearse.hazards.node_classes import postpone_node_classes

        postpone_node_classes()
        from pgrehearse.hazards.finding import Level
        from pgrehearse.linting import LintOptions, lint

        options = LintOptions(
            paths=paths, against=against, baseline=baseline, write_baseline=write_baseline, transaction=transaction
        )
        judged, written = lint(config_file, options)
        _print(judged, "json" if as_json else shape or "text", Level(level))
        if written is not None:
            click.echo(f"note: {_count(written, 'finding')} written to the baseline", err=True)
        if judged.result.reaches(Level(level)):
            return 1
        return 3 if judged.result.faults else 0


@contextmanager
def _no_collection() -> Iterator[None]:
    """Trees of statements hold no circles, and to look for some takes a sixth of linting a file."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def _print(judged: "Judged", shape: str, level: "Level") -> None:
    if shape == "json":
        for line in _json_lines(judged.as_json()):
            print(line)
    elif shape == "sarif":
        from pgrehearse.hazards.sarif import as_sarif

        print(json.dumps(as_sarif(judged), ensure_ascii=False, indent=2))
    elif shape == "github":
        from pgrehearse.hazards.sarif import as_github

        for line in as_github(judged):
            print(line)
    else:
        _show(judged, level)


def _json_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """One JSON document, each finding and each statement on a line: with `indent` all is written by Python code."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    yield "{"
    for at, (key, value) in enumerate(document.items(), start=1):
        end = "," if at < len(document) else ""
        if isinstance(value, list) and value:
            yield f"  {encode(key)}: ["
            yield ",\n".join(f"    {encode(each)}" for each in value)
            yield f"  ]{end}"
        else:
            yield f"  {encode(key)}: {encode(value)}{end}"
    yield "}"


def _show(judged: "Judged", level: "Level") -> None:
    result = judged.result
    for finding in result.findings:
        if finding.level.value != "info" or level.value == "info":
            _show_finding(finding)
    if result.not_visible:
        click.secho("Not visible in the text:", bold=True)
        for each in result.not_visible:
            click.echo(f"  {each.file}:{each.line}: {each.reason}")
        click.echo("  -> `pgrehearse run` rehearses the files on a clone and sees what they do.\n")
    for allow in judged.unused_allows:
        click.echo(f"{allow.file}:{allow.line}: note: allows {allow.hazard}, which is not found there")
    levels = [finding.level.value for finding in result.findings]
    counted = ", ".join(_count(levels.count(each), each) for each in _COLOURS if each in levels)
    accepted = f", {len(judged.suppressed)} accepted" if judged.suppressed else ""
    read = f"{_count(len(result.files), 'file')}, {_count(len(result.statements), 'statement')}"
    hidden = "; --level info shows those of level info" if "info" in levels and level.value != "info" else ""
    click.echo(f"{counted or 'nothing found'}{accepted} in {read}{hidden}")


def _show_finding(finding: "Finding") -> None:
    level = click.style(finding.level.value, fg=_COLOURS[finding.level.value], bold=True)
    click.echo(f"{finding.file}:{finding.line}:{finding.column}: {level} {click.style(finding.hazard, bold=True)}")
    click.echo(f"  {finding.message}")
    for line in finding.remedy.splitlines():
        click.echo(f"      {line}")
    click.echo()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 or what == 'info' else 's'}"

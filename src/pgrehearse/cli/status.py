"""``pgrehearse status``: what is applied, pending, edited, skipped or missing."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgrehearse.cli.words import Words

if TYPE_CHECKING:
    from pgrehearse.config import ResolvedDatabase
    from pgrehearse.migrations.status import Status
    from pgrehearse.release.under_way import UnderWay
    from pgrehearse.releasing import ReleaseStatus

STYLES = {
    "applied": "green",
    "pending": "cyan",
    "edited": "bold red",
    "skipped": "bold red",
    "present": "bold red",
    "half-present": "bold red",
    "unfinished": "bold red",
}
LISTED_APPLIED = 5  # newest applied ones that are shown; the rest are counted


@click.command(
    "status",
    epilog="""\b
Examples:
  pgrehearse status                          the protected environment of pgrehearse.toml
  pgrehearse status uat drizzle --check      exit code 1 also when anything is pending
  pgrehearse status postgresql://me@host/shop migrations --json""",
)
@click.argument("database", metavar="[ENV|URL]", required=False)
@click.argument("folder", metavar="[FOLDER]", required=False, type=click.Path(path_type=Path))
@click.option("--check", is_flag=True, help="Exit code 1 also when anything is pending.")
@click.option("--all", "show_all", is_flag=True, help="List every applied migration, not only the newest.")
@click.option(
    "--gate/--no-gate",
    "with_gate",
    default=None,
    help="Also say what is under way, and whether the newest receipt could be promoted, with every reason why not; "
    "default: where the environment is protected and something is pending or under way.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (status.schema.json).")
@click.pass_obj
def command(
    config_file: str | None,
    *,
    database: str | None,
    folder: Path | None,
    check: bool,
    show_all: bool,
    with_gate: bool | None,
    as_json: bool,
) -> int:
    """Compare the migrations folder with what the database says is applied.

    Reads the folder and, in one read-only transaction, the migration ledger and the catalogs.  Never writes.

    Exit code 0: all is well, or merely pending.  1: something is edited, skipped, missing, not in the
    journal, there without a record, or half done; a promotion was left in the middle, and `resume` goes on
    with it.  3: the ledger may not be read, or a run holds it: who that is, is told.
    A closed gate changes nothing about that: `promote` is what it stops.
    """
    from pgrehearse.project import Project
    from pgrehearse.releasing import Releasing

    project = Project.open(config_file)
    resolved = project.database(database)
    found = Releasing(project=project).status(resolved, folder, gate=with_gate)
    if as_json:
        answer = found.as_json(environment=resolved.environment, database=resolved.conninfo.address)
        print(json.dumps(answer, ensure_ascii=False, indent=2))
        return found.exit_code(check=check)
    _show(found.status, resolved, show_all=show_all)
    if found.status.is_well and found.under_way is None:
        _show_next(found, Words(config_file, database, resolved, folder))
    if found.under_way is not None:
        _show_under_way(found.under_way)
    if found.examined is not None:
        from pgrehearse.cli.gate import show_gate
        from pgrehearse.cli.output import stdout_console

        print()
        show_gate(found.examined, stdout_console())
        if found.examined.gate.is_open and found.under_way is None:
            words = Words(config_file, database, resolved, folder)
            print(f"Promote it: `{words.promote(found.examined.receipt.digest)}`")
    return found.exit_code(check=check)


def _show_under_way(under_way: "UnderWay") -> None:
    from rich.text import Text

    from pgrehearse.cli.output import stdout_console

    console = stdout_console()
    console.print()
    style = "bold red" if under_way.is_stuck else "yellow"
    for line in under_way.told:
        console.print(Text("under way: ", style=style), Text(line), sep="", soft_wrap=True)
    console.print(Text(f"  -> {under_way.remedy}"), soft_wrap=True)


def _show(status: "Status", database: "ResolvedDatabase", *, show_all: bool) -> None:
    from rich.text import Text

    from pgrehearse.cli.output import stdout_console

    console = stdout_console()
    ledger = status.ledger_table if status.ledger_exists else f"{status.ledger_table} (not there yet)"
    console.print(Text(f"{database.label}: {status.path} against {ledger}"))
    counts = [f"{count} {state}" for state, count in status.counts.items() if count]
    console.print(Text("  " + (", ".join(counts) or "no migrations")))
    console.print()
    hidden = 0 if show_all else max(status.counts["applied"] - LISTED_APPLIED, 0)
    if hidden:
        console.print(Text(f"  … {hidden} older applied ones (--all)", style="dim"))
    for each in status.migrations:
        if each.state.value == "applied" and hidden > 0:
            hidden -= 1
            continue
        line = Text(f"  {each.state.value:<12} ", style=STYLES[each.state.value])
        line.append(each.migration.version, style="default")
        if each.applied_at:
            line.append(f"  {each.applied_at[:19].replace('T', ' ')} UTC", style="dim")
        console.print(line)
    for row in status.ad_hoc:
        told = f"  {'ad-hoc':<12} {row.name}  {(row.applied_at or '')[:19].replace('T', ' ')} UTC"
        console.print(Text(told, style="dim"))
    for problem in status.problems:
        is_error = problem.severity.value == "error"
        console.print()
        console.print(Text("error: " if is_error else "note: ", style="bold red" if is_error else "yellow"), end="")
        console.print(Text(problem.message), soft_wrap=True)
        console.print(Text(f"  -> {problem.remedy}"), soft_wrap=True)  # it may hold SQL to be copied


def _show_next(found: "ReleaseStatus", words: Words) -> None:
    """What to type now; of a receipt that speaks of what is pending the gate does, below."""
    from rich.text import Text

    from pgrehearse.cli.output import stdout_console

    pending = len(found.status.pending.migrations)
    if not pending:
        well = "All is well, nothing is pending."
    elif found.examined is not None:
        well = f"All is well; {pending} pending."
    else:
        well = f"All is well; {pending} to rehearse: `{words.run()}`{words.or_migrate()}."
    console = stdout_console()
    console.print()
    console.print(Text(well, style="green"), soft_wrap=True)

"""``pgrehearse migrate``: apply what is pending to a database that is not protected."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgrehearse.counted import counted

if TYPE_CHECKING:
    from pgrehearse.migrations.migrate import Migrated


@click.command(
    "migrate",
    epilog="""\b
Examples:
  pgrehearse migrate uat                         what is pending in pgrehearse.toml's folder
  pgrehearse migrate uat --dry-run               the transactions it would use, statement by statement
  pgrehearse migrate env:DATABASE_URL drizzle    another database, another folder
  pgrehearse migrate uat --file hotfix.sql       one file, recorded too""",
)
@click.argument("database", metavar="ENV|URL")
@click.argument("folder", metavar="[FOLDER]", required=False, type=click.Path(path_type=Path))
@click.option("--file", metavar="FILE", type=click.Path(path_type=Path), help="Apply this one file instead.")
@click.option("--dry-run", is_flag=True, help="Show what would run; connects, and only reads.")
@click.option(
    "--transaction",
    type=click.Choice(["auto", "plan", "file", "statement"]),
    help="How files share transactions; auto: as the source's own tool does.",
)
@click.option(
    "--lock-timeout", metavar="S", type=click.FloatRange(min=0), help="Seconds to wait for a lock; default: 3."
)
@click.option(
    "--max-block",
    metavar="S",
    type=click.FloatRange(min=0.1),
    help="Cancel when others wait behind us longer than this; default: 5.",
)
@click.option(
    "--wait", metavar="S", type=click.FloatRange(min=0), help="Seconds to wait for another run; default: 600."
)
@click.option("--end-orphan", is_flag=True, help="End the session that a killed run of pgrehearse left behind.")
@click.option(
    "--resolve",
    "resolutions",
    metavar="VERSION:applied|again|edited",
    multiple=True,
    help="Your answer where only a person can tell: a killed run's statement had its effect (applied) or not (again); "
    "a half-committed file was mended behind what is committed (edited).",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (migrate.schema.json).")
@click.pass_obj
def command(
    config_file: str | None,
    *,
    database: str,
    folder: Path | None,
    file: Path | None,
    dry_run: bool,
    transaction: str | None,
    lock_timeout: float | None,
    max_block: float | None,
    wait: float | None,
    end_orphan: bool,
    resolutions: tuple[str, ...],
    as_json: bool,
) -> int:
    """Apply pending migrations, each exactly once; a protected environment is refused.

    A run that was killed is gone on with: what it committed is not run again, what it left half-done is
    cleaned up first.  Two runs at once wait for each other, and a drizzle-kit that starts meanwhile waits too.

    Exit code 0: everything is applied.  1: a migration failed or a guard refused.  3: a killed run left a
    statement behind whose state only a person can tell (--resolve).
    """
    from pgrehearse.project import MigrateOptions, Project

    options = MigrateOptions(
        database=database,
        folder=folder,
        file=file,
        dry_run=dry_run,
        transaction=transaction,
        lock_timeout_s=lock_timeout,
        max_block_s=max_block,
        wait_s=wait,
        end_orphan=end_orphan,
        resolutions=resolutions,
    )
    migrated = Project.open(config_file).migrate(options, tell=_tell)
    if as_json:
        print(json.dumps(migrated.as_json(), ensure_ascii=False, indent=2))
    else:
        _show(migrated)
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _show(migrated: "Migrated") -> None:
    from rich.text import Text

    from pgrehearse.cli.output import stdout_console

    console = stdout_console()
    for problem in migrated.problems:
        console.print(Text(f"note: {problem.message}", style="yellow"), soft_wrap=True)
    applied = migrated.applied
    if applied is None:
        answer = migrated.as_json()
        console.print(Text(f"{migrated.database}: {counted(len(answer['segments']), 'step')} would run"))
        for number, segment in enumerate(answer["segments"], start=1):
            console.print(Text(f"  {number}. {HEADINGS[segment['kind']]}", style="bold"))
            for statement in segment["statements"]:
                first = " ".join(statement["sql"].split())[:100]
                console.print(Text(f"     {statement['file']}:{statement['line']}  {first}"), soft_wrap=True)
        return
    for version in applied.already_applied:
        console.print(Text(f"  already applied  {version}", style="dim"))
    for version in applied.applied:
        how = "resumed" if version in applied.resumed else "applied"
        console.print(Text(f"  {how:<15}  {version}", style="green"))
    retries = f", {applied.retries} retries" if applied.retries else ""
    if applied.applied:
        count = len(applied.applied)
        console.print(Text(f"{migrated.database}: {count} migration{'s' if count > 1 else ''} applied{retries}."))
    else:
        console.print(Text(f"{migrated.database}: nothing was pending."))


HEADINGS = {
    "transaction": "one transaction",
    "as-written": "the file's own transaction",
    "outside": "outside any transaction",
}

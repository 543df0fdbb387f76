"""``pgrehearse run``: the rehearsal."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgrehearse.cli.progress import progress_on_stderr
from pgrehearse.cli.words import Words

if TYPE_CHECKING:  # psycopg takes 0.2 s to import; `run --help` needs none of it
    from pgrehearse.project import Project

EXIT_CODES = {"clean": 0, "loss": 1, "hazard": 1, "failed": 1, "unmeasured": 3}


@click.command(
    "run",
    epilog="""\b
Examples:
  pgrehearse run                                   production of pgrehearse.toml, a private local server
  pgrehearse run --source prd --target uat         clone onto the UAT server
  pgrehearse run --source prd --file hotfix.sql    a file that no migration tool knows of
  pgrehearse run --source env:DATABASE_URL --migrations drizzle --json > receipt.json""",
)
@click.option("--source", metavar="ENV|URL", help="What to clone; default: the protected environment.")
@click.option("--target", metavar="ENV|URL", help="The UAT server to clone onto; default: a private local server.")
@click.option("--migrations", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Migrations folder.")
@click.option(
    "--file",
    "files",
    metavar="FILE",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Rehearse this file instead of the pending migrations; may be given several times.",
)
@click.option(
    "--transaction",
    type=click.Choice(["auto", "plan", "file", "statement"]),
    help="How files share transactions; auto: as the source's own tool does.",
)
@click.option("--role", metavar="ROLE", help="The role that runs migrations in production; default: the source URL's.")
@click.option(
    "--level",
    type=click.Choice(["error", "warning", "info"]),
    default="error",
    show_default=True,
    help="Findings at or over this level make the verdict a hazard.",
)
@click.option("--keep", is_flag=True, help="Keep the clone afterwards (see `pgrehearse clones list`).")
@click.option(
    "--samples",
    metavar="N",
    type=click.IntRange(0, 100),
    default=0,
    help="Keep up to N changed rows per table in the receipt; none by default.",
)
@click.option(
    "--proof",
    type=click.Choice(["touched", "full", "counts"]),
    help="What is compared: tables not proved untouched (touched, the default), every value, or only how many rows.",
)
@click.option("--jobs", metavar="N", type=click.IntRange(1, 64), help="Parallel dump, restore and comparison.")
@click.option(
    "--statement-timeout",
    "statement_timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0.1),
    default=3600.0,
    show_default=True,
    help="End a statement that runs longer on the clone; the verdict is then failed.",
)
@click.option(
    "--no-way-back", "way_back", flag_value=False, default=True, help="Do not rehearse how the plan is taken back."
)
@click.option(
    "--workload",
    metavar="FILE|pg_stat_statements|none",
    help="The application's statements, to be planned before and after: a file of them or a PostgreSQL log; "
    "default: pg_stat_statements where production has it.",
)
@click.option(
    "--application",
    metavar="FILE.sql",
    type=click.Path(path_type=Path),
    help="The running application's statements, tried before and after, each rolled back.",
)
@click.option("--application-role", metavar="ROLE", help="The role that the application runs as.")
@click.option(
    "--contention",
    type=click.Choice(["off", "light", "heavy"]),
    help="Run the plan once more beside others who use what it locks, and measure what they feel; default: light.",
)
@click.option(
    "--contention-script",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A pgbench script that runs beside the plan then, too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (run.schema.json).")
@click.pass_obj
def command(
    config_file: str | None,
    *,
    source: str | None,
    target: str | None,
    folder: Path | None,
    files: tuple[Path, ...],
    transaction: str | None,
    role: str | None,
    level: str,
    keep: bool,
    samples: int,
    proof: str | None,
    jobs: int | None,
    statement_timeout_s: float,
    way_back: bool,
    workload: str | None,
    application: Path | None,
    application_role: str | None,
    contention: str | None,
    contention_script: Path | None,
    as_json: bool,
) -> int:
    """Rehearse the pending migrations on a clone and say what they did.

    Production is copied once, the pending migrations run on a second copy as production's own role while
    every lock, rewrite and row is watched, and the two copies are compared.  The answer is kept as a
    receipt.  Production itself is only read.

    What a migration is meant to delete, change or drop it declares in its file, above the statement:
    `-- pgrehearse: expect deletes sessions where expired_at < now()`.  The rest is a loss.

    Exit code 0: clean.  1: failed, loss or hazard.  3: something that matters was not measured.
    """
    from pgrehearse.project import Project, RehearsalOptions

    project = Project.open(config_file)
    options = RehearsalOptions(
        source=source,
        target=target,
        folder=folder,
        files=files,
        transaction=transaction,
        role=role,
        level=level,
        keep=keep,
        samples=samples,
        jobs=jobs,
        statement_timeout_s=statement_timeout_s,
        way_back=way_back,
        workload=workload,
        proof=proof,
        application=application,
        application_role=application_role,
        contention=contention,
        contention_script=contention_script,
    )
    with progress_on_stderr() as progress:
        receipt = project.rehearse(options, progress=progress)
    if as_json:
        print(json.dumps(receipt.run_document, ensure_ascii=False, indent=2))
    else:
        from pgrehearse.cli.output import stdout_console
        from pgrehearse.rehearsal.render import render_text

        render_text(receipt.document, stdout_console())
        if receipt.verdict == "clean" and receipt.document["grade"]["full"]:
            print(f"\n{_next(project, Words(config_file, source, project.database(source), folder), receipt.digest)}")
    return EXIT_CODES[receipt.verdict]


def _next(project: "Project", words: Words, digest: str) -> str:
    """How production comes to it: the gate asks for as many people as the configuration says."""
    from pgrehearse.policies import Policies

    rules = Policies(project=project).promotion
    promote = f"`{words.promote(digest)}`"
    if not rules.approvals:
        return f"Promote it: {promote}"
    people = f" ({rules.approvals} people)" if rules.approvals > 1 else ""
    another = ", somebody else than you" if rules.approved_by_another else ""
    return f"Approve it{people}{another}: `{words.approve(digest)}`; then promote it: {promote}"

"""``pgrehearse promote`` and ``pgrehearse resume``: what was rehearsed, and nothing else, to production."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgrehearse.cli.progress import progress_on_stderr
from pgrehearse.counted import counted

if TYPE_CHECKING:
    from pgrehearse.promoting import PromoteOptions
    from pgrehearse.release.promotion import Promotion

SQL_WIDTH = 70
SHOWN_STATEMENTS = 40  # the JSON answer has all
SHOWN_IMAGES = 10
Command = Callable[..., Any]


def waiting_options(command: Command) -> Command:
    """What both commands take: how long to wait, and what a killed run left."""
    for option in reversed(
        (
            click.option("--to", metavar="ENV|URL", help="Where to; default: the environment that was rehearsed."),
            click.option(
                "--migrations",
                "folder",
                metavar="DIR",
                type=click.Path(path_type=Path),
                help="Migrations folder; default: the configuration's.",
            ),
            click.option(
                "--lock-timeout", "lock_timeout_s", metavar="SECONDS", type=click.FloatRange(min=0.001),
                help="Wait no longer than this for a lock, then try again a few times.",
            ),
            click.option(
                "--max-block", "max_block_s", metavar="SECONDS", type=click.FloatRange(min=0.001),
                help="Cancel ourselves when others have waited behind us for longer.",
            ),
            click.option(
                "--wait", "wait_s", metavar="SECONDS", type=click.FloatRange(min=0),
                help="Wait so long for another run that is at work.",
            ),
            click.option("--end-orphan", is_flag=True, help="End the session that a killed run left behind."),
            click.option(
                "--resolve", "resolutions", metavar="VERSION:ANSWER", multiple=True,
                help="For a statement whose state only a person can tell: applied, again, or edited.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (promote.schema.json)."),
        )
    ):  # fmt: skip
        command = option(command)
    return command


@click.command(
    "promote",
    epilog="""\b
Examples:
  pgrehearse promote                     the newest receipt, to the environment that it is of
  pgrehearse promote 3fa8c1 --to prd
  pgrehearse promote --to prd --allow-unrehearsed "site is down, fix verified by hand" --file fix.sql""",
)
@click.argument("receipt", required=False)
@click.option(
    "--allow-unrehearsed",
    "unrehearsed",
    metavar="REASON",
    help="Promote what nobody rehearsed; recorded with the reason.  Recoverability and identity are still asked for.",
)
@click.option(
    "--file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="With --allow-unrehearsed: this file instead of the pending migrations.",
)
@click.option(
    "--fence",
    is_flag=True,
    help="Let nobody else write from the backup to the last commit: other sessions are ended and come back read-only.",
)
@waiting_options
@click.pass_obj
def command(
    config_file: str | None,
    /,
    *,
    receipt: str | None,
    unrehearsed: str | None,
    file: Path | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Promote a receipt: the gate, recoverability proved, the rehearsed files, checked before each COMMIT.

    The gate says yes, or every reason why not.  Then what may be destroyed is made recoverable and that is
    proved, and the migrations run as they ran on the clone: what answers otherwise is rolled back before its
    COMMIT.  Killed anywhere, `promote` again (or `resume`) goes on at the right step.

    Exit code 0: production is as rehearsed.  1: refused, nothing or only whole steps applied (it says which).
    """
    from pgrehearse.promoting import PromoteOptions

    asked = PromoteOptions(receipt=receipt, unrehearsed=unrehearsed, file=file, **options)
    return _promote(config_file, asked, resume=False, as_json=as_json)


@click.command(
    "resume",
    epilog="""\b
Examples:
  pgrehearse resume            the unfinished promotion of the protected environment
  pgrehearse resume --to prd""",
)
@waiting_options
@click.pass_obj
def resume_command(config_file: str | None, /, *, as_json: bool, **options: Any) -> int:
    """Go on with a promotion that was killed, at the right step, from whatever machine shares the ledger."""
    from pgrehearse.promoting import PromoteOptions

    return _promote(config_file, PromoteOptions(**options), resume=True, as_json=as_json)


def _promote(config_file: str | None, options: "PromoteOptions", *, resume: bool, as_json: bool) -> int:
    from pgrehearse.project import Project
    from pgrehearse.promoting import Promoting

    promoting = Promoting(project=Project.open(config_file))
    with progress_on_stderr() as progress:
        run = promoting.resume if resume else promoting.promote
        promotion = run(options, progress=progress, tell=_tell)
    if as_json:
        print(json.dumps(promotion.as_json(), ensure_ascii=False, indent=2))
    else:
        show_promotion(promotion, take_back=_take_back(config_file, options, promotion))
    return 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _take_back(config_file: str | None, options: "PromoteOptions", promotion: "Promotion") -> str:
    """The command that takes it back, for the same configuration and database; a URL may hold a password."""
    words = ["pgrehearse", *(["--config", config_file] if config_file is not None else []), "rollback", promotion.id]
    if options.to is not None:
        words += ["--to", "URL" if "=" in options.to or "://" in options.to else options.to]
    if options.folder is not None:
        words += ["--migrations", str(options.folder)]
    return shlex.join(words)


def show_promotion(promotion: "Promotion", *, take_back: str) -> None:
    """Predicted and actual side by side, and where production stands now."""
    from rich.table import Table
    from rich.text import Text

    from pgrehearse.cli.output import stdout_console

    console = stdout_console()
    if promotion.statements:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("statement", "rows", "ms rehearsed", "ms now", "strongest lock"):
            table.add_column(heading, justify="right" if "ms" in heading or heading == "rows" else "left")
        for each in promotion.statements[:SHOWN_STATEMENTS]:
            table.add_row(
                Text(f"{each.file}:{each.line}  {' '.join(each.sql.split())[:SQL_WIDTH]}"),
                "" if each.rows[1] is None else f"{each.rows[1]:,}",
                "–" if each.duration_ms[0] is None else f"{each.duration_ms[0]:,.1f}",
                f"{each.duration_ms[1]:,.1f}",
                ", ".join(sorted(set(each.locks[1].values()))) or "–",
            )
        console.print(table)
        if len(promotion.statements) > SHOWN_STATEMENTS:
            left_out = len(promotion.statements) - SHOWN_STATEMENTS
            more = counted(left_out, "more statement")
            console.print(Text(f"… and {more}; all of them are in the JSON", style="dim"))
        console.print()
    for proof in promotion.proofs:
        console.print(Text(f"recoverable: {proof['summary']}"), soft_wrap=True)
    for image in promotion.images[:SHOWN_IMAGES]:
        console.print(Text(f"recoverable: before-image of {image['relation']} ({counted(image['rows'], 'row')})"))
    if len(promotion.images) > SHOWN_IMAGES:
        rest = counted(len(promotion.images) - SHOWN_IMAGES, "more table")
        console.print(Text(f"recoverable: before-images of {rest}"))
    for version in promotion.already_applied:
        console.print(Text(f"  already applied  {version}", style="dim"))
    for version in promotion.applied:
        console.print(Text(f"  promoted         {version}", style="green"))
    how = "is as rehearsed" if promotion.receipt is not None else "is as the files left it, WHICH NOBODY REHEARSED"
    console.print(
        Text(
            f"{promotion.database} {how}: promotion {promotion.id}, at {promotion.position.lsn} on timeline "
            f"{promotion.position.timeline}.",
            style="bold green" if promotion.receipt is not None else "bold yellow",
        )
    )
    console.print(Text(f"To take it back: {take_back}", style="dim"), soft_wrap=True)

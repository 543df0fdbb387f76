"""``pgrehearse rollback``: take a promotion back."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pgrehearse.cli.progress import progress_on_stderr
from pgrehearse.counted import agree, counted

if TYPE_CHECKING:
    from pgrehearse.release.history import PromotionRecord
    from pgrehearse.release.restore.differing_rows import DifferingRows
    from pgrehearse.release.take_back import TakenBack
    from pgrehearse.release.ways_back import Way
    from pgrehearse.rollback.table_put_back import TableBack

WORDS = {
    "lossless": "nothing was destroyed; the inverse that was proved in the rehearsal runs",
    "restorable": "the inverse runs, and what was destroyed is put back from its images; later writes stay",
    "loses-writes": "the backup is restored beside production and takes its place; what was written since is exported",
    "impossible": "no way back is open",
}


@click.command(
    "rollback",
    epilog="""\b
Examples:
  pgrehearse rollback --dry-run            what it would do, how long that took in the rehearsal, what stays behind
  pgrehearse rollback                      the newest promotion of the protected environment
  pgrehearse rollback 20261122-1904 --to prd
  pgrehearse rollback --restore --yes      from the backup, although the inverse would do
  pgrehearse rollback --undo               open a database that a killed run has shut or fenced""",
)
@click.argument("promotion", required=False)
@click.option("--to", metavar="ENV|URL", help="The database; default: the protected environment.")
@click.option(
    "--migrations", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Migrations folder of the promotion."
)
@click.option("--dry-run", is_flag=True, help="Say which ways are open and what they would do; do nothing.")
@click.option("--inverse", "only", flag_value="inverse", help="By the inverse or not at all.")
@click.option("--restore", "only", flag_value="restore", help="From the backup, although another way is open.")
@click.option("--reapply", is_flag=True, help="Of a restore: write back what the application wrote since.")
@click.option("--yes", is_flag=True, help="Agree to a restore without being asked.")
@click.option("--list", "listing", is_flag=True, help="List the promotions of this database.")
@click.option("--undo", is_flag=True, help="Open a database that a killed run has shut or fenced; drops nothing.")
@click.option("--drop", is_flag=True, help="With --undo: drop what the restore has made beside it.")
@click.option("--lock-timeout", "lock_timeout_s", metavar="SECONDS", type=click.FloatRange(min=0.001),
              help="Wait no longer than this for a lock, then try again a few times.")  # fmt: skip
@click.option("--max-block", "max_block_s", metavar="SECONDS", type=click.FloatRange(min=0.001),
              help="Give the inverse up when others have waited behind it for longer.")  # fmt: skip
@click.option("--wait", "wait_s", metavar="SECONDS", type=click.FloatRange(min=0),
              help="Wait so long for another run that is at work.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True,
              help="Print the answer as JSON (rollback.schema.json; with --list promotions.schema.json, "
              "with --undo undone.schema.json).")  # fmt: skip
@click.pass_obj
def command(
    config_file: str | None,
    /,
    *,
    yes: bool,
    listing: bool,
    undo: bool,
    drop: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Take back the promotion whose id starts with PROMOTION, or the newest one.

    By the best way that is left: lossless, restorable, or a restore of the backup beside production, after
    which the names are swapped.  The failed database is kept, never dropped.  Never automatic.

    Exit code 0: it is taken back (with --dry-run: a way is open, and nobody is at it).  1: no way is open, or
    somebody else is promoting or rolling back; every reason is told.
    """
    from pgrehearse.project import Project
    from pgrehearse.rolling_back import RollbackOptions, RollingBack

    rolling_back = RollingBack(project=Project.open(config_file))
    if drop and not undo:
        raise click.UsageError("--drop belongs to --undo")
    if undo:
        _show_undone(rolling_back.undo_restore(options["to"], drop=drop), as_json=as_json)
        return 0
    if listing:
        _show_promotions(rolling_back.promotions(options["to"]), as_json=as_json)
        return 0
    with progress_on_stderr() as progress:
        taken = rolling_back.rollback(
            RollbackOptions(**options),
            progress=progress,
            tell=_tell,
            agree=lambda way: yes or _agrees(way),
        )
    if as_json:
        print(json.dumps(taken.as_json(), ensure_ascii=False, indent=2))
    else:
        _show(taken)
    return 1 if taken.would_be_refused else 0


def _show_undone(told: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"format": 1, "undone": list(told)}, ensure_ascii=False, indent=2))
    else:
        print("\n".join(told) or "no restore stands beside this database")


def _show_promotions(promotions: Sequence[tuple["PromotionRecord", bool]], *, as_json: bool) -> None:
    listed = [
        {
            "id": record.id,
            "at": record.at.isoformat(timespec="seconds"),
            "outcome": "taken back" if is_back else record.outcome or "unfinished",
            "plan": list(record.plan),
        }
        for record, is_back in promotions
    ]
    if as_json:
        print(json.dumps({"format": 1, "promotions": listed}, ensure_ascii=False, indent=2))
        return
    for each in listed:
        print(f"{each['id']}  {each['at']}  {each['outcome']:<10}  {', '.join(each['plan'])}")
    if not listed:
        print("no promotions of this database")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _agrees(way: "Way") -> bool:
    """Asked on a terminal; elsewhere --yes must say it."""
    if not sys.stdin.isatty():
        return False
    for line in way.told:
        _tell(f"  {line}")
    return click.confirm("Production is shut meanwhile and replaced by its backup.  Go on?", err=True)


def _show(taken: "TakenBack") -> None:
    from rich.text import Text

    from pgrehearse.cli.output import stdout_console

    console = stdout_console()
    for way in taken.ways if taken.dry_run else ():
        state = "open" if way.is_open else "not open"
        console.print(Text(f"{way.type}: {state}", style="green" if way.is_open else "red"))
        for line in (*way.why_not, *way.told):
            console.print(Text(f"  {line}"), soft_wrap=True)
    if taken.dry_run:
        for line in taken.told:
            console.print(Text(f"  {line}"), soft_wrap=True)
        console.print(Text(f"rollback of {taken.promotion} would be {taken.type}: {WORDS[taken.type]}", style="bold"))
        if taken.held_by is not None:
            refused = f"it would be refused now: {taken.held_by}"
            console.print(Text(refused, style="bold red"), soft_wrap=True)
        return
    if taken.inverse is not None and taken.inverse.put_back is not None:
        for table in taken.inverse.put_back.tables:
            console.print(Text(f"  {table.relation}: {_put_back_told(table)}"), soft_wrap=True)
    if taken.restore is not None and taken.restore.rows is not None:
        console.print(Text(f"  {_exported_told(taken.restore.rows)}"), soft_wrap=True)
    for line in taken.told:
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(Text(f"promotion {taken.promotion} of {taken.database} is taken back ({taken.type})", style="green"))


def _exported_told(rows: "DifferingRows") -> str:
    """How many rows differ, by who made the difference, and where they are now."""
    from pgrehearse.release.restore.written_files import By

    told = [f"{rows.rows_by(By.APPLICATION):,} by the application", f"{rows.rows_by(By.MIGRATION):,} by the migration"]
    if unclear := rows.rows_by(By.UNCLEAR):
        told.append(f"{unclear:,} by either of them")
    if added := rows.rows - sum(map(rows.rows_by, By)):
        told.append(f"{added:,} in tables and columns that the backup does not have")
    differ = agree(rows.rows, "differs is", "differ are")
    return f"{counted(rows.rows, 'row')} that {differ} exported to {rows.directory}: {', '.join(told)}"


def _put_back_told(table: "TableBack") -> str:
    """What came back, and what was left as the application wrote it."""
    parts = [_count(table.rows_back)] if table.rows_back or not table.values_back else []
    parts += [f"values of {_count(table.values_back)}"] if table.values_back else []
    told = [f"{' and '.join(parts)} put back"]
    if written := table.values_back_written:
        told.append(
            f"{written:,} of these {agree(written, 'was', 'were')} written since: "
            "a row that was deleted and written anew under its key has the old one's value"
        )
    if table.added_removed:
        told.append(f"{_count(table.added_removed)} that the migration added taken away")
    if table.added_left:
        told.append(f"{table.added_left:,} of those left, which the application uses by now")
    if gone := table.rows_deleted_since:
        told.append(
            f"{counted(gone, 'row')} {agree(gone, 'is gone under its', 'are gone under their')} key since, "
            f"and {agree(gone, 'stays', 'stay')} so: the image has {agree(gone, 'it', 'them')}"
        )
    if table.rows_left:
        told.append(f"{table.rows_left:,} could not come back or are newer; they stand in {table.left_table}")
    return "; ".join(told)


def _count(rows: int) -> str:
    return f"{rows:,} row{'' if rows == 1 else 's'}"

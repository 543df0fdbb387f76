"""``pgrehearse backup``: take one that is proved, look at them, check them byte for byte, remove old ones."""

import json
from typing import TYPE_CHECKING, Any

import click

from pgrehearse.cli.progress import progress_on_stderr
from pgrehearse.counted import counted

if TYPE_CHECKING:  # psycopg takes 0.2 s to import; `backup --help` needs none of it
    from pgrehearse.backing_up import BackingUp
    from pgrehearse.release.backup.inventory import ListedBackup

JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (backup.schema.json).")
JOBS = click.option("--jobs", metavar="N", type=click.IntRange(1, 64), help="Tables read and restored at once.")
DATABASE = click.argument("database", metavar="[ENV|URL]", required=False)


@click.group(
    "backup",
    epilog="""\b
Examples:
  pgrehearse backup create prd             as the policy says, proved by a restore elsewhere
  pgrehearse backup list --json            every command here answers in JSON (backup.schema.json)
  pgrehearse backup verify prd --deep      every byte, and one more restore
  pgrehearse backup prune --keep 5""",
)
def command() -> None:
    """Take, verify, list and prune backups.

    A dump counts as one only after it was restored elsewhere and every row of the copy was compared.
    """


@command.command("create")
@DATABASE
@click.option("--way", type=click.Choice(["dump", "external"]), help="Take this, whatever the policy asks for.")
@JOBS
@JSON
@click.pass_obj
def create(config_file: str | None, *, database: str | None, way: str | None, jobs: int | None, as_json: bool) -> int:
    """Back up ENV as its policy says (backup.policy), and prove the dump by a restore elsewhere.

    Without ENV: the only protected environment.
    """
    with progress_on_stderr() as progress:
        created = _open(config_file).create(database, way=way, jobs=jobs, progress=progress)
    if as_json:
        _print(created.as_json())
        return 0
    if created.dump is not None:
        manifest = created.dump.manifest
        print(f"{created.dump.id}: proved, {_size(manifest.dump_bytes)} in {created.dump.directory}")
        tables, rows = counted(len(manifest.contents.tables), "table"), counted(manifest.contents.rows, "row")
        print(f"  {tables}, {rows}, restored elsewhere and equal")
        for sentence in manifest.left_out:
            print(f"  not in it: {sentence}")
    if created.external is not None:
        print(f"{created.external[0]}: {created.external[1].summary}")
    return 0


@command.command("verify")
@DATABASE
@click.option("--id", "backup_id", metavar="ID", help="The beginning of a backup's id; default: the newest proved one.")
@click.option("--deep", is_flag=True, help="Restore it elsewhere once more, and compare every row.")
@JOBS
@JSON
@click.pass_obj
def verify(
    config_file: str | None, *, database: str | None, backup_id: str | None, deep: bool, jobs: int | None, as_json: bool
) -> int:
    """Read every byte of a backup of ENV and hold it against its manifest and the release ledger.

    Exit code 1 when anything differs, or when the ledger does not know that it was proved.
    """
    with progress_on_stderr() as progress:
        verified = _open(config_file).verify(database, backup_id, deep=deep, jobs=jobs, progress=progress)
    body = verified.as_json()
    if as_json:
        _print({"verified": body})
    else:
        how = "restored elsewhere and equal" if verified.deep else "every byte is what was written"
        print(f"{body['id']}: {counted(body['files'], 'file')}, {_size(body['size_bytes'])}, {how}")
        if not verified.recorded:
            print("this release ledger does not know that it was proved; --deep proves it again")
    return 0 if verified.recorded else 1


@command.command("list")
@DATABASE
@JSON
@click.pass_obj
def list_them(config_file: str | None, *, database: str | None, as_json: bool) -> int:
    """Every backup, or those of ENV, with its state, the oldest first.  Asks no server."""
    found = _open(config_file).listed(database)
    if as_json:
        _print({"backups": [each.as_json() for each in found]})
        return 0
    for each in found:
        print(_line(each))
    if not found:
        print("no backups")
    return 0


@command.command("prune")
@DATABASE
@click.option("--keep", metavar="N", type=click.IntRange(min=1), help="Newest of each database; default: backup.keep.")
@click.option(
    "--younger-than", "younger_than_days", metavar="DAYS", type=click.FloatRange(min=0), help="Keep these as well."
)
@click.option("--force", "forced", is_flag=True, help="Also what a way back may need, and what is damaged or unknown.")
@JSON
@click.pass_obj
def prune(
    config_file: str | None,
    *,
    database: str | None,
    keep: int | None,
    younger_than_days: float | None,
    forced: bool,
    as_json: bool,
) -> int:
    """Remove what killed and failed runs left, and proved backups beyond the newest.

    One that an unfinished promotion names, or with which the newest one can be taken back, stays.
    """
    done = _open(config_file).prune(database, keep=keep, younger_than_days=younger_than_days, forced=forced)
    if as_json:
        _print({"removed": list(done.removed), "kept": [{"id": name, "reason": why} for name, why in done.kept]})
        return 0
    for name in done.removed:
        print(f"removed {name}")
    for name, why in done.kept:
        print(f"kept {name}: {why}")
    if not (done.removed or done.kept):
        print("nothing to remove")
    return 0


def _open(config_file: str | None) -> "BackingUp":
    from pgrehearse.backing_up import BackingUp
    from pgrehearse.policies import Policies
    from pgrehearse.project import Project

    return BackingUp(policies=Policies(project=Project.open(config_file)))


def _line(each: "ListedBackup") -> str:
    when = f"{each.at:%Y-%m-%d %H:%M}" if each.at else "?"
    size = _size(each.size_bytes) if each.directory else each.policy
    needed = f"  ({each.needed_because})" if each.needed_because else ""
    return f"{each.id}  {when}  {each.state.value:<12}  {size:>9}  {each.label or each.source}{needed}"


def _size(count: int) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 10_000:
            return f"{count} {unit}"
        count //= 1024
    return f"{count} GB"


def _print(document: dict[str, Any]) -> None:
    print(json.dumps({"format": 1, **document}, ensure_ascii=False, indent=2))

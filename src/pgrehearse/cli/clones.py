"""``pgrehearse clones``: what copies there are, and dropping them."""

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # psycopg takes 0.2 s to import; `clones --help` needs none of it
    from pgrehearse.postgres.conninfo import Conninfo
    from pgrehearse.project import Project


@click.group("clones")
def command() -> None:
    """List, drop or prune the copies that pgrehearse made.

    Only what this ledger recorded before it was made, and whose name and comment agree, is ever dropped.
    """


SERVER = click.option(
    "--server",
    "servers",
    metavar="ENV|URL",
    multiple=True,
    help="Where clones may be, with its password (the ledger keeps none); may be given several times.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (clones.schema.json).")


@command.command("list")
@JSON
@click.pass_obj
def list_clones(config_file: str | None, *, as_json: bool) -> int:
    """Every copy that was made and not dropped yet.  Asks no server."""
    from pgrehearse.clones.record import recorded_clones
    from pgrehearse.project import Project

    with Project.open(config_file).releases(reading=True) as ledger:
        found = [
            {
                "id": clone.id,
                "state": clone.state,
                "source": clone.source,
                "server": "private local server" if clone.target is None else clone.target.address,
                "url": clone.address.printable_url if clone.address else None,
                "made_at": clone.made_at.isoformat(),
            }
            for clone in recorded_clones(ledger)
        ]
    if as_json:
        _print({"clones": found})
    elif not found:
        print("no clones")
    for each in () if as_json else found:
        print(f"{each['id']}  {str(each['made_at'])[:19]}  {each['state']:<9}  {each['source']} on {each['server']}")
        if each["url"]:
            print(f"              {each['url']}")
    return 0


@command.command("drop")
@click.argument("clone_id", metavar="ID")
@SERVER
@JSON
@click.pass_obj
def drop(config_file: str | None, *, clone_id: str, servers: tuple[str, ...], as_json: bool) -> int:
    """Drop the copy ID, whether it was kept or left behind; a private server is ended and wiped."""
    from pgrehearse.clones.prune import drop_clone
    from pgrehearse.project import Project, utc_now

    project = Project.open(config_file)
    with project.releases() as ledger:
        dropped = drop_clone(ledger, clone_id, now=utc_now, targets=_addresses(project, servers))
    if as_json:
        _print({"dropped": [dropped.id]})
    else:
        print(f"dropped clone {dropped.id} of {dropped.source}")
    return 0


@command.command("prune")
@SERVER
@JSON
@click.pass_obj
def prune(config_file: str | None, *, servers: tuple[str, ...], as_json: bool) -> int:
    """Drop what killed processes left behind: databases, private servers' directories.  Kept copies stay.

    Exit code 4 where a server with a leftover could not be reached, else 1 where one could not be dropped.
    """
    from pgrehearse.clones.prune import prune_clones
    from pgrehearse.project import Project, utc_now

    project = Project.open(config_file)
    with project.releases() as ledger:
        done = prune_clones(ledger, now=utc_now, targets=_addresses(project, servers))
    if as_json:
        _print(
            {
                "dropped": list(done.dropped),
                "directories": [str(directory) for directory in done.directories],
                "failed": [{"id": name, "message": str(error), "remedy": error.remedy} for name, error in done.failed],
            }
        )
    else:
        for name in done.dropped:
            print(f"dropped clone {name}")
        for directory in done.directories:
            print(f"wiped {directory}")
        for name, error in done.failed:
            print(f"clone {name} is still there: {error}\n  -> {error.remedy}")
        if not (done.dropped or done.directories or done.failed):
            print("nothing was left behind")
    return max((error.exit_code for _, error in done.failed), default=0)


def _addresses(project: "Project", servers: tuple[str, ...]) -> list["Conninfo"]:
    """The servers that were named, then every environment that is not protected and whose variable is set."""
    from pgrehearse.errors import ConfigurationError

    found = [project.database(server).conninfo for server in servers]
    environments = project.config.environments if project.config else {}
    for name, environment in environments.items():
        if not environment.protected:
            try:
                found.append(project.database(name).conninfo)
            except ConfigurationError:  # its variable is not set here
                continue
    return found


def _print(document: dict[str, Any]) -> None:
    print(json.dumps({"format": 1, **document}, ensure_ascii=False, indent=2))

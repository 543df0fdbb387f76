"""``pgrehearse clone``: a copy that is kept."""

import json
from typing import Any

import click

from pgrehearse.cli.progress import progress_on_stderr


@click.command(
    "clone",
    epilog="""\b
Examples:
  pgrehearse clone prd                             on a private local server, which stays until it is dropped
  pgrehearse clone prd uat                         two databases on the UAT server
  pgrehearse clone postgresql://prod/shop --json""",
)
@click.argument("source", required=False, metavar="[SOURCE]")
@click.argument("target", required=False, metavar="[TARGET]")
@click.option("--role", metavar="ROLE", help="The role that runs migrations in production; default: the source URL's.")
@click.option("--jobs", metavar="N", type=click.IntRange(1, 64), help="Parallel dump and restore.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (clone.schema.json).")
@click.pass_obj
def command(
    config_file: str | None,
    *,
    source: str | None,
    target: str | None,
    role: str | None,
    jobs: int | None,
    as_json: bool,
) -> int:
    """Copy SOURCE as it is at one instant, onto TARGET's server or a private local one, and keep the copy.

    SOURCE and TARGET are environments, env:VARIABLE or URLs; SOURCE is only read, and defaults to the
    protected environment.  Two databases are made: the pristine copy, and a second one to work on.  What
    could reach outward (subscriptions, foreign servers, jobs) is switched off.  Drop them with
    `pgrehearse clones drop ID`.
    """
    from pgrehearse.project import Project

    project = Project.open(config_file)
    with progress_on_stderr() as progress:
        document = project.clone(source, target, role=role, jobs=jobs, progress=progress).as_json()
    if as_json:
        print(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        _show(document)
    return 0


def _show(document: dict[str, Any]) -> None:
    print(f"clone {document['id']} of {document['source']['address']}, as of {document['source']['taken_at']}")
    print(f"  clone     {document['clone']}")
    print(f"  pristine  {document['pristine']}")
    for each in document["switched_off"]:
        print(f"  switched off: {each['kind']} {each['name']} ({each['how']})")
    for why in document["lowered"]:
        print(f"  differs from the source: {why}")
    for what in [*document["not_measured"], *([document["role_problem"]] if document["role_problem"] else [])]:
        print(f"  mind: {what}")
    print(f"  drop it with: pgrehearse clones drop {document['id']}")

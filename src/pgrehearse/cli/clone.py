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
    from pgrehearse.clones.pair import make_pair
    from pgrehearse.clones.record import recorded_clones
    from pgrehearse.project import Project, utc_now

    project = Project.open(config_file)
    copied = project.database(source)
    landing = project.database(target) if target is not None else None
    options = project.config.clone if project.config else None
    with progress_on_stderr() as progress, project.releases() as ledger:
        with make_pair(
            copied.conninfo,
            landing.conninfo if landing else None,
            ledger=ledger,
            now=utc_now,
            work_directory=project.config.located(options.directory)
            if project.config and options and options.directory
            else None,
            jobs=jobs or (options.jobs if options else None) or 2,
            same_server_allowed=bool(options and options.same_server),
            source_protected=copied.protected_as_source,
            protected=project.protected(),
            create_roles=bool(options and options.create_roles),
            role=role or (project.config.migrations.role if project.config else None),
            keep=True,
            progress=progress.step,
        ) as pair:
            pass
        kept = next(clone for clone in recorded_clones(ledger) if clone.id == pair.id)
    assert kept.address is not None
    document: dict[str, Any] = {
        "format": 1,
        "id": pair.id,
        "clone": kept.address.printable_url,
        "pristine": kept.address.replaced(dbname=kept.names.pristine).printable_url,
        "private": pair.is_private,
        "source": pair.origin.as_json(),
        "role": pair.role,
        "role_problem": pair.role_problem,
        "lowered": list(pair.lowered),
        "switched_off": [each.as_json() for each in pair.switched_off],
        "not_measured": list(pair.not_measured),
        "timings": pair.timings.as_json(),
    }
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

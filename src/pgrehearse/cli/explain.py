"""``pgrehearse explain``: what a hazard does, an example of it, and the safe way."""

import json

import click


@click.command(
    "explain",
    epilog="""\b
Examples:
  pgrehearse explain drop-column
  pgrehearse explain --list""",
)
@click.argument("hazard", metavar="[HAZARD]", required=False)
@click.option("--list", "listed", is_flag=True, help="List every hazard with its level and classes.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (explain.schema.json).")
def command(*, hazard: str | None, listed: bool, as_json: bool) -> int:
    """Print the page of one hazard, or list them all.

    Exit code 2: there is no such hazard; the nearest ones are named.
    """
    if (hazard is None) == (not listed):
        raise click.UsageError("name a hazard, or give --list")
    from pgrehearse.hazards.catalogue import CATALOGUE, SECTIONS, require_hazard

    asked = tuple(CATALOGUE.values()) if hazard is None else (require_hazard(hazard),)
    if as_json:
        from pgrehearse.hazards.pages import as_json as document

        print(json.dumps(document(asked), ensure_ascii=False, indent=2))
    elif hazard is not None:
        from pgrehearse.hazards.pages import page_of

        click.echo(page_of(asked[0]), nl=False)
    else:
        width = max(map(len, CATALOGUE))
        for section, hazards in SECTIONS.items():
            click.secho(section, bold=True)
            for each in hazards:
                classes = ", ".join(known.value for known in each.classes)
                click.echo(f"  {each.id:<{width}}  {each.level.value:<7}  {classes}")
            click.echo()
    return 0

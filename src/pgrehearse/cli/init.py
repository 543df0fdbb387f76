"""``pgrehearse init``: write pgrehearse.toml from what the folder holds."""

import json
from pathlib import Path

import click


@click.command(
    "init",
    epilog="""\b
Examples:
  pgrehearse init
  pgrehearse init packages/shop --force""",
)
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite an existing pgrehearse.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON (init.schema.json).")
def command(*, directory: Path, force: bool, as_json: bool) -> int:
    """Write a commented pgrehearse.toml from what DIR holds: a drizzle config, migrations, .env files.

    Files are read as text; nothing is run, no database is asked, and no value of a variable is shown.
    """
    from pgrehearse.discover.initialise import initialise

    done = initialise(directory, force=force)
    if as_json:
        print(json.dumps(done.as_json(), ensure_ascii=False, indent=2))
        return 0
    for line in done.found_lines():
        click.echo(f"found  {line}")
    for note in done.discovered.notes:
        click.echo(f"note   {note}")
    click.echo(f"wrote  {done.file}")
    click.echo(f"\nNext: {done.next_step}")
    return 0

"""``pgrehearse report``: a receipt again, for a terminal, a pull request or a program."""

import json

import click


@click.command(
    "report",
    epilog="""\b
Examples:
  pgrehearse report                                  the newest receipt
  pgrehearse report 3fa8c1 --format markdown         for a pull request's comment
  pgrehearse report --list""",
)
@click.argument("receipt", required=False)
@click.option(
    "--format",
    "output",
    type=click.Choice(["text", "markdown", "json"]),
    default="text",
    show_default=True,
    help="json: the whole receipt (receipt.schema.json).",
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--list", "listing", is_flag=True, help="List the receipts in the release ledger, newest last.")
@click.pass_obj
def command(config_file: str | None, *, receipt: str | None, output: str, as_json: bool, listing: bool) -> int:
    """Show a receipt, the newest one or the one whose digest starts with RECEIPT."""
    from pgrehearse.project import Project

    project = Project.open(config_file)
    if listing:
        summaries = project.receipt_summaries()
        if as_json:
            print(json.dumps({"format": 1, "receipts": summaries}, ensure_ascii=False, indent=2))
        for summary in () if as_json else summaries:
            print(
                f"{summary['digest'][:12]}  {summary['created_at'][:19]}  {summary['verdict']:<10}  {summary['plan']}"
            )
        return 0
    found = project.receipt(receipt)
    if as_json or output == "json":
        print(json.dumps(found.document, ensure_ascii=False, indent=2))
    elif output == "markdown":
        from pgrehearse.rehearsal.render import render_markdown

        print(render_markdown(found.document), end="")
    else:
        from pgrehearse.cli.output import stdout_console
        from pgrehearse.rehearsal.render import render_text

        render_text(found.document, stdout_console())
    return 0

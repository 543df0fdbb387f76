"""``pgrehearse demo``: the whole story, nothing to set up."""

import click


@click.command("demo")
def command() -> int:
    """Play the whole story on two embedded PostgreSQL servers; nothing to set up.

    Starts a "production" with a small shop and a "UAT", rehearses a bad hand-written migration, which is
    refused with what would be lost, then the safe version, which is clean.  Takes under a minute and leaves
    nothing behind.  Exit code 0 only if each step gave the verdict that it should.
    """
    from pgrehearse.cli.main import run_command
    from pgrehearse.cli.output import stdout_console
    from pgrehearse.demo.story import play

    return 0 if play(run_command, stdout_console()) else 1

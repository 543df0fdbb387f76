"""``pgrehearse resume``: see `pgrehearse.cli.promote`."""

from pgrehearse.cli.promote import resume_command as command

__all__ = ["command"]

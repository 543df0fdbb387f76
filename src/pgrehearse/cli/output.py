"""Where answers go: stdout, coloured on a terminal, as wide as lines are when piped."""

import sys

from rich.console import Console

PIPED_WIDTH = 160  # rich would fold at 80 where it sees no terminal


def stdout_console() -> Console:
    """A console on stdout; NO_COLOR and FORCE_COLOR are heeded."""
    return Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH)

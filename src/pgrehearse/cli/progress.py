"""Progress on stderr while a terminal is there to see it; nothing otherwise."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pgrehearse.progress import Progress, Silent


@contextmanager
def progress_on_stderr() -> Iterator[Progress]:
    """A spinner with the current step, the finished ones above it with their times; silent when piped."""
    if not sys.stderr.isatty():
        yield Silent()
        return
    from rich.console import Console

    console = Console(stderr=True)
    with console.status("starting") as status:
        shown = _OnTerminal(console.print, status.update)
        yield shown
        shown.finish()


class _OnTerminal:
    """Prints each finished step with its duration and keeps the running one in the spinner."""

    def __init__(self, print_line: Callable[..., None], update: Callable[..., None]) -> None:
        self._print = print_line
        self._update = update
        self._running: str | None = None
        self._started = 0.0

    def step(self, what: str) -> None:
        self.finish()
        self._running, self._started = what, time.monotonic()
        self._update(_escaped(what))

    def advance(self, what: str, done: int, total: int) -> None:
        share = f" {done}/{total}" if total else ""
        self._update(_escaped(f"{self._running or ''}{share} {what}"))

    def finish(self) -> None:
        if self._running is not None:
            self._print(f"[dim]  {time.monotonic() - self._started:6.2f} s  {_escaped(self._running)}[/dim]")
            self._running = None


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)

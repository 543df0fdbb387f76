"""How long work tells where it is: a step's name, and how much of it is done."""

from typing import Protocol


class Progress(Protocol):
    """Told from the working thread; must return at once."""

    def step(self, what: str) -> None:
        """A new step begins; the one before is done."""
        ...

    def advance(self, what: str, done: int, total: int) -> None:
        """Within the step: ``done`` of ``total`` (tables, statements), and what is being worked on."""
        ...


class Silent:
    """Tells nobody."""

    def step(self, what: str) -> None: ...

    def advance(self, what: str, done: int, total: int) -> None: ...

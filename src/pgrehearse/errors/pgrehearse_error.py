"""What all errors have in common."""

from typing import ClassVar


class PgRehearseError(Exception):
    """Base of all errors that a user may meet.

    ``str(error)`` is the message in one or few lines; ``remedy`` is a full sentence to act on.
    """

    exit_code: ClassVar[int] = 1
    default_remedy: ClassVar[str] = ""

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.remedy = self.default_remedy if remedy is None else remedy

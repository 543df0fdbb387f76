"""How many of what, as people read it."""


def counted(number: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``; the noun as it is of one, and regular."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def agree(number: int, of_one: str, of_many: str) -> str:
    """The form of a verb that goes with so many: ``is`` or ``are``."""
    return of_one if number == 1 else of_many

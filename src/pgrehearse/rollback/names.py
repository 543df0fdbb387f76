"""Names as SQL writes them, taken apart and put together again."""

import re

from psycopg import sql

_PART = re.compile(r'"((?:[^"]|"")*)"|([^".]+)')


def split_name(name: str, *, quoted: bool = False) -> tuple[str, ...]:
    """The parts of ``namespace."Odd name"``; ``quoted`` leaves each as it is written."""
    if quoted:
        return tuple(found.group() for found in _PART.finditer(name))
    return tuple(
        found.group(1).replace('""', '"') if found.group(1) is not None else found.group(2)
        for found in _PART.finditer(name)
    )


def identifier(name: str) -> sql.Identifier:
    """The same name for a query."""
    return sql.Identifier(*split_name(name))

"""Names as the server prints them, read back: ``public."Order"`` is namespace ``public``, relation ``Order``."""

import re

_PART = r'(?:"(?:[^"]|"")*"|[^".\s,()]+)'
_ONE = re.compile(_PART)
_DOTTED = re.compile(rf"{_PART}(?:\.{_PART})*")


def split_identifiers(text: str) -> tuple[str, ...]:
    """The parts of the dotted name that ``text`` begins with, without their quotes."""
    match = _DOTTED.match(text)
    return tuple(_bare(part) for part in _ONE.findall(match.group())) if match else ()


def split_list(text: str) -> tuple[tuple[str, ...], ...]:
    """Each name of ``a.b, "c d".e``."""
    return tuple(split_identifiers(name) for name in _DOTTED.findall(text))


def unquoted(name: str) -> str:
    """One name without its quotes."""
    return split_identifiers(name)[-1] if name.startswith('"') else name


def _bare(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part

"""Longer SQL lives in a ``.sql`` file beside its module, each statement under a ``-- name:`` line."""

import re
from functools import cache
from pathlib import Path
from typing import LiteralString, cast


@cache
def named_queries(module_file: str) -> dict[str, LiteralString]:
    """The statements of the ``.sql`` file with the stem of this module (pass ``__file__``), by name."""
    text = Path(module_file).with_suffix(".sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: *(\w+) *$", text, flags=re.MULTILINE)
    # A file of the package is as literal as a constant in it.
    return {name: cast("LiteralString", sql.strip()) for name, sql in zip(parts[1::2], parts[2::2], strict=True)}

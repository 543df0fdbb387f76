"""Rehearse PostgreSQL migrations on a clone of production and say truthfully what they did.

The public API: `rehearse`, `Receipt`, `PgRehearseError`.  Importing this package is cheap; the API's
modules are loaded when a name is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgrehearse.errors import PgRehearseError
    from pgrehearse.project import rehearse
    from pgrehearse.rehearsal.receipt import Receipt

__version__ = "0.1.0"
__all__ = ["PgRehearseError", "Receipt", "__version__", "rehearse"]

_HOMES = {
    "PgRehearseError": "pgrehearse.errors",
    "Receipt": "pgrehearse.rehearsal.receipt",
    "rehearse": "pgrehearse.project",
}


def __getattr__(name: str) -> Any:
    """Load a name of the API on first use (PEP 562): psycopg and SQLAlchemy cost half a second."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pgrehearse' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)

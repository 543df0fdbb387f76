"""pglast's node classes and enums, postponed: lint reads JSON and never asks for them.

They are 600 classes and cost 25 ms, a fifth of linting one file.  Whoever does ask gets them: a module's own
``__getattr__`` (PEP 562) runs it then.  `importlib.util.LazyLoader` does not help, since ``import`` itself asks a
module for its ``__spec__``.
"""

import importlib.machinery
import importlib.util
import sys
import threading
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_POSTPONED = ("enums", "ast")  # what pglast and its C module import by themselves


def postpone_node_classes() -> None:
    """Before pglast is first imported; after that it does nothing."""
    package = importlib.util.find_spec("pglast") if "pglast" not in sys.modules else None
    if package is None or not package.submodule_search_locations:
        return
    for name in _POSTPONED:
        spec = importlib.machinery.PathFinder.find_spec(f"pglast.{name}", package.submodule_search_locations)
        if spec is not None and spec.loader is not None:
            sys.modules[spec.name] = _postponed(spec)


def _postponed(spec: ModuleSpec) -> ModuleType:
    """The module, which runs when it is first asked for a name that it has not yet."""
    module = importlib.util.module_from_spec(spec)
    running = threading.RLock()  # another thread waits; this one may meet itself in a circle of imports
    begun = False

    def find(name: str) -> Any:
        nonlocal begun
        with running:
            if not begun and spec.loader is not None:
                begun = True
                whole = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(whole)
                vars(module).update(vars(whole))  # at once: no other thread sees a half of it
        if name in vars(module):
            return vars(module)[name]
        raise AttributeError(f"module {spec.name!r} has no attribute {name!r}")

    vars(module)["__getattr__"] = find
    return module

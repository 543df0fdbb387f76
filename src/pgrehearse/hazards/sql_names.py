"""Names in a parse tree, and how SQL writes them."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from pglast.keywords import RESERVED_KEYWORDS, TYPE_FUNC_NAME_KEYWORDS

DEFAULT_NAMESPACE = "public"
MAX_NAME_BYTES = 63
_SIMPLE = re.compile(r"[a-z_][a-z0-9_]*\Z").match
_KEYWORDS = frozenset(RESERVED_KEYWORDS) | frozenset(TYPE_FUNC_NAME_KEYWORDS)


def quoted(name: str) -> str:
    """The name as SQL needs it: quoted only where it must be."""
    if _SIMPLE(name) and name not in _KEYWORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def derived(*parts: str) -> str:
    """A name for something made beside `parts`, cut to what PostgreSQL keeps; not yet quoted."""
    return "_".join(parts).encode()[:MAX_NAME_BYTES].decode(errors="ignore")


class RelationName(NamedTuple):
    """A relation, type or other object as a statement names it; a tuple, since it is looked up more than all else."""

    namespace: str | None
    name: str

    @classmethod
    def of_range(cls, range_var: Any) -> "RelationName":
        return cls(range_var.schemaname, range_var.relname)

    @classmethod
    def of_strings(cls, strings: Iterable[Any]) -> "RelationName":
        *before, name = (string.sval for string in strings)
        return cls(before[-1] if before else None, name)

    @property
    def written(self) -> str:
        """As the user would write it."""
        return self.beside(self.name)

    def beside(self, name: str) -> str:
        """Another name in the same namespace."""
        return quoted(name) if self.namespace is None else f"{quoted(self.namespace)}.{quoted(name)}"

    def qualified(self, default_namespace: str) -> str:
        """``namespace.relation``, the form that findings carry."""
        return RelationName(self.namespace or default_namespace, self.name).written

    def oid_of(self, catalog_type: str) -> str:
        """An expression that gives its oid: ``'shop.users'::pg_catalog.regclass``."""
        literal = self.written.replace("'", "''")
        return f"'{literal}'::pg_catalog.{catalog_type}"

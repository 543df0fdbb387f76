"""Types as a plan and production's schema spell them, in one form, and changes of type that nothing can break."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pglast import ast, parse_sql
from pglast.parser import ParseError
from pglast.stream import RawStream

SERIALS = {
    "serial": "int4", "serial4": "int4", "bigserial": "int8", "serial8": "int8", "smallserial": "int2",
    "serial2": "int2",
}  # fmt: skip


@dataclass(slots=True, eq=False)
class TypeNow:
    """A type of the database's own, as the plan has left it so far."""

    production: tuple[str, str] | None  # None: the plan makes it
    labels: tuple[str, ...] | None = None  # of an enum
    base: str | None = None  # of a domain, as the server prints it
    not_null: bool = False
    has_default: bool = False
    constraints: dict[str, "DomainConstraint"] = field(default_factory=dict)
    altered: str | None = None  # where the plan changed it, so that production's is another


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainConstraint:
    expression: Any  # the parse tree, with VALUE for the value
    is_valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnType:
    """A type with its modifiers.  Two are the same where all fields are."""

    name: str  # PostgreSQL's own: pg_type.typname; another: as `own` says
    own: TypeNow | None = None  # a type of this database
    modifiers: tuple[int, ...] = ()
    is_array: bool = False
    written: str = ""  # as SQL reads it on production; "" where production has none of that name

    @property
    def is_expressible(self) -> bool:
        """Whether production has this very type."""
        return bool(self.written) and (self.own is None or (self.own.production is not None and not self.own.altered))


@lru_cache(maxsize=4096)
def parse_type_name(text: str) -> ast.TypeName | None:
    """The parse tree of what `format_type` printed; None for what the parser does not read."""
    try:
        return parse_sql("SELECT NULL::" + text)[0].stmt.targetList[0].val.typeName
    except (ParseError, AttributeError):
        return None


def written_type(node: ast.TypeName) -> str:
    text: str = RawStream()(node)
    return text


def type_modifiers(node: ast.TypeName) -> tuple[int, ...]:
    """Lengths, precisions and scales; of an interval its fields too."""
    found = []
    for modifier in node.typmods or ():
        value = modifier.val if isinstance(modifier, ast.A_Const) else None
        if not isinstance(value, ast.Integer):
            return (-1,)  # a negative scale, a keyword: equal to itself alone
        found.append(value.ival)
    return tuple(found)


# (old, new) that keep every value and cannot fail, whatever the modifiers of the old are.
_WIDENS = {
    ("int2", "int4"), ("int2", "int8"), ("int4", "int8"), ("float4", "float8"), ("int2", "float8"), ("int4", "float8"),
    ("int2", "float4"), ("date", "timestamp"), ("date", "timestamptz"), ("cidr", "inet"), ("int2", "numeric"),
    ("int4", "numeric"), ("int8", "numeric"), ("oid", "int8"), ("regclass", "oid"),
}  # fmt: skip
_TEXTS = frozenset({"text", "varchar", "bpchar", "citext", "name"})
_SAME_WHEN_LONGER = frozenset({"varchar", "varbit", "time", "timetz", "timestamp", "timestamptz"})


def keeps_every_value(old: ColumnType, new: ColumnType) -> bool:
    """Whether no value can fail or change, so that reading the table would be for nothing."""
    if old.is_array != new.is_array:
        return not old.is_array and False
    if old.own is not None or new.own is not None:
        return _own_types_agree(old, new)
    if (old.name, old.modifiers) == (new.name, new.modifiers):
        return True
    if new.modifiers:
        return old.name == new.name and _is_wider(old, new)
    if old.is_array:
        return old.name == new.name or (old.name in _TEXTS and new.name in ("text", "varchar"))
    if new.name in ("text", "varchar"):
        return True  # any type prints; strings stay what they are
    return old.name == new.name or (old.name, new.name) in _WIDENS


def _own_types_agree(old: ColumnType, new: ColumnType) -> bool:
    if old.own is new.own:
        return old.modifiers == new.modifiers
    if new.own is None:
        return new.name in ("text", "varchar") and not new.modifiers and not new.is_array
    if old.own is not None and old.own.labels is not None and new.own.labels is not None:
        return set(old.own.labels) <= set(new.own.labels)
    return False


def _is_wider(old: ColumnType, new: ColumnType) -> bool:
    if not old.modifiers:
        return False
    if old.name == "numeric":
        old_scale, new_scale = (each.modifiers[1] if len(each.modifiers) > 1 else 0 for each in (old, new))
        return new_scale >= old_scale and new.modifiers[0] - new_scale >= old.modifiers[0] - old_scale
    return old.name in _SAME_WHEN_LONGER and len(new.modifiers) == 1 and new.modifiers[0] >= old.modifiers[0]

"""Column types as a tree or `format_type` writes them, and which of their changes PostgreSQL gets for free."""

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache

from pgrehearse.hazards.model import ColumnType
from pgrehearse.hazards.parsed import Node, parse_text
from pgrehearse.hazards.sql_names import quoted
from pgrehearse.hazards.tree import constant_of, strings

SERIALS = {
    "serial": "int4", "serial4": "int4", "bigserial": "int8", "serial8": "int8", "smallserial": "int2",
    "serial2": "int2",
}  # fmt: skip
_WRITTEN = {
    "int2": "smallint", "int4": "integer", "int8": "bigint", "float4": "real", "float8": "double precision",
    "bool": "boolean", "bpchar": "char", "varbit": "bit varying", "timetz": "time with time zone",
}  # fmt: skip
_ALIASES = {"decimal": "numeric"}


def type_of(type_name: Node) -> ColumnType:
    """A TypeName node's type."""
    *before, name = strings(type_name.get("names"))
    namespace = before[-1] if before else None
    modifiers = tuple(value for node in type_name.get("typmods", ()) if isinstance(value := constant_of(node), int))
    if name == "interval" and len(modifiers) == 1:
        modifiers = ()  # a set of fields without precision
    dimensions = 1 if type_name.get("arrayBounds") else 0
    if namespace == "pg_catalog":
        namespace = None
    shown = _WRITTEN.get(name, name)
    written = shown if shown != name else quoted(name)
    if namespace is not None:
        written = f"{quoted(namespace)}.{quoted(name)}"
    if modifiers and not (name == "bpchar" and modifiers == (1,)):
        written += f"({', '.join(map(str, modifiers))})"
    return ColumnType(
        name=_ALIASES.get(name, name),
        namespace=namespace,
        modifiers=modifiers,
        dimensions=dimensions,
        written=written + "[]" * dimensions,
    )


def argument_type(type_name: Node) -> str:
    """Of a type what tells functions apart: neither its schema nor its length."""
    written = type_of(type_name)
    return f"{'setof ' if type_name.get('setof') else ''}{written.name}{'[]' if written.dimensions else ''}"


@lru_cache(maxsize=4096)
def parse_type(text: str) -> ColumnType:
    """The type that `pg_catalog.format_type` writes so.  Raises `UnreadableSql`."""
    [(_, select)] = parse_text(f"SELECT NULL::{text}")
    return type_of(select["targetList"][0]["ResTarget"]["val"]["TypeCast"]["typeName"])


class Change(Enum):
    """What ALTER COLUMN … TYPE does to the stored values."""

    FREE = "free"
    REWRITE = "rewrite"
    BY_TIMEZONE = "by-timezone"  # free where the session's TimeZone is UTC
    REFUSED = "refused"  # there is no assignment cast; only USING helps
    UNKNOWN = "unknown"


_TEXTS = frozenset({"text", "varchar"})
_INTEGERS = ("int2", "int4", "int8")
_NUMBERS = frozenset({*_INTEGERS, "numeric", "float4", "float8"})
# No assignment cast from the group to any of these: pg_cast has none, or an explicit one.
_STRICT = frozenset({
    *_NUMBERS, "uuid", "bool", "date", "timestamp", "timestamptz", "time", "timetz", "interval", "json", "jsonb",
    "inet", "bytea", "cidr", "xml", "varbit", "bit",
})  # fmt: skip
_BUILT_IN = _STRICT | _TEXTS | {"bpchar", "varbit", "bit", "money", "char", "name", "oid"}
COMMON_TYPES = _BUILT_IN | {
    "timestamptz", "tsvector", "tsquery", "point", "line", "box", "path", "polygon", "circle", "lseg", "macaddr",
    "macaddr8", "regclass", "regtype", "regproc", "pg_lsn", "xid", "xid8", "tid", "cid", "int4range", "int8range",
    "jsonpath", "numrange", "tsrange", "tstzrange", "daterange", "int4multirange", "int8multirange",
    "nummultirange", "tsmultirange", "tstzmultirange", "datemultirange", "citext", "hstore", "ltree", "vector",
    "halfvec", "geometry", "geography",
}  # fmt: skip
# Assignment or implicit casts beside those among the numbers and those to text types (pg_cast, PostgreSQL 15 to 18).
_CASTS = frozenset({
    ("date", "timestamp"), ("date", "timestamptz"), ("timestamp", "date"), ("timestamp", "timestamptz"),
    ("timestamp", "time"), ("timestamptz", "date"), ("timestamptz", "timestamp"), ("timestamptz", "time"),
    ("timestamptz", "timetz"), ("time", "timetz"), ("timetz", "time"), ("time", "interval"), ("interval", "time"),
    ("json", "jsonb"), ("jsonb", "json"), ("inet", "cidr"), ("cidr", "inet"), ("int4", "money"), ("int8", "money"),
    ("numeric", "money"), ("money", "numeric"), ("bit", "varbit"), ("varbit", "bit"),
})  # fmt: skip


def change_of(old: ColumnType, new: ColumnType) -> Change:
    """What the change costs where both are built-in types; domains are the caller's.

    Source: ATColumnChangeRequiresRewrite (tablecmds.c), pg_cast, and the support functions that drop a length
    coercion (varchar_support, numeric_support, interval_support, temporal_simplify, varbit_support).
    """
    if old.dimensions or new.dimensions:
        if old.dimensions != new.dimensions:
            as_text = not new.dimensions and new.name in {*_TEXTS, "bpchar"}
            return Change.REWRITE if as_text else Change.REFUSED
        if (old.name, old.modifiers) == (new.name, new.modifiers):
            return Change.FREE
        if old.name == new.name and not new.modifiers:
            return Change.FREE
        # Elements are coerced one by one unless they are binary compatible and the length goes away.
        return Change.REWRITE
    if old.name == new.name and old.namespace == new.namespace:
        return Change.FREE if _keeps_values(old, new) else Change.REWRITE
    pair = (old.name, new.name)
    if old.name in _TEXTS and new.name in _TEXTS:
        return Change.FREE if not new.modifiers or _is_longer(old, new) else Change.REWRITE
    if pair in {("timestamp", "timestamptz"), ("timestamptz", "timestamp")}:
        return Change.BY_TIMEZONE if _is_longer(old, new, default=6) else Change.REWRITE
    if pair == ("cidr", "inet"):
        return Change.FREE
    if pair in {("xml", "text"), ("xml", "varchar")}:
        return Change.FREE if not new.modifiers else Change.REWRITE
    if not {old.name, new.name} <= _BUILT_IN:
        return Change.UNKNOWN
    if new.name in _STRICT and not ({old.name, new.name} <= _NUMBERS or pair in _CASTS):
        return Change.REFUSED
    return Change.REWRITE


def may_lose_values(old: ColumnType | None, new: ColumnType, *, using: bool) -> bool | None:
    """Whether values may come out different (cut, rounded, shifted); None: their old type is not known.

    A cast that *refuses* what does not fit (int8 to int4, varchar(9) to varchar(5)) loses nothing.
    """
    if old is None:
        return None
    if old.dimensions or new.dimensions:
        return using
    if {old.name, new.name} <= {*_TEXTS}:
        return using
    pair = (old.name, new.name)
    match pair:
        case ("numeric", "numeric"):
            return _scale(new) is not None and (_scale(old) is None or _scale(new) < _scale(old))  # type: ignore[operator]
        case ("timestamp" | "timestamptz" | "time" | "timetz" | "interval", _) if old.name == new.name:
            return _precision(new, 6) < _precision(old, 6)
        case ("timestamp", "timestamptz") | ("timestamptz", "timestamp") | ("cidr", "inet"):
            return using  # else the caller looks at the time zone
        case ("timestamp" | "timestamptz", "date" | "time" | "timetz") | ("inet", "cidr") | ("json", "jsonb"):
            return True
        case ("bpchar", _) | (_, "bpchar"):
            return old.name != new.name
        case (_, "numeric") if old.name in _INTEGERS:
            return False
        case ("float4", "float8") | ("int2" | "int4", "float8") | ("int2", "float4"):
            return False
        case (_, _) if old.name in _INTEGERS and new.name in _INTEGERS:
            return False
        case (_, _) if old.name in _NUMBERS and new.name in _NUMBERS:
            return True
        case (_, _) if new.name in _TEXTS and not new.modifiers:
            return False
    return using or new.name not in _TEXTS


def _scale(column: ColumnType) -> int | None:
    if not column.modifiers:
        return None
    return column.modifiers[1] if len(column.modifiers) > 1 else 0


def _precision(column: ColumnType, default: int) -> int:
    return column.modifiers[-1] if column.modifiers else default


def _is_longer(old: ColumnType, new: ColumnType, default: int | None = None) -> bool:
    if not new.modifiers:
        return True
    if not old.modifiers:
        return default is not None and new.modifiers[-1] >= default
    return new.modifiers[-1] >= old.modifiers[-1]


def _keeps_values(old: ColumnType, new: ColumnType) -> bool:
    if old.modifiers == new.modifiers or not new.modifiers:
        return not (old.name == "bpchar" and old.modifiers != new.modifiers)
    match old.name:
        case "varchar" | "varbit":
            return _is_longer(old, new)
        case "numeric":
            return bool(old.modifiers) and _scale(old) == _scale(new) and new.modifiers[0] >= old.modifiers[0]
        case "timestamp" | "timestamptz" | "time" | "timetz" | "interval":
            return _is_longer(old, new, default=6)
    return False


def names_of(columns: Iterable[str]) -> str:
    """Columns as SQL lists them."""
    return ", ".join(map(quoted, columns))

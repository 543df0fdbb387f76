"""Matters of taste and policy about a column; never more than a note."""

from collections.abc import Iterator

from pgrehearse.hazards.columns import SERIALS, type_of
from pgrehearse.hazards.hit import Hit
from pgrehearse.hazards.sql_names import RelationName, quoted
from pgrehearse.hazards.tree import Node

_BY_TYPE = {
    "varchar": "prefer-text",
    "bpchar": "prefer-text",
    "timestamp": "prefer-timestamptz",
    "json": "prefer-jsonb",
    "money": "money-column",
    **dict.fromkeys(SERIALS, "prefer-identity"),
}
_MONEY = ("price", "amount", "balance", "total", "cost", "fee", "salary")


def column_style(table: RelationName, column: Node, names: dict[str, str]) -> Iterator[Hit]:
    """What a column's type says of taste; new tables too, for there it is cheap to change."""
    written = type_of(column["typeName"])
    hazard = _BY_TYPE.get(written.name)
    if hazard is not None:
        yield Hit(hazard=hazard, relation=table, names=names, even_new=True)
    if written.name == "json":
        yield Hit(hazard="json-column", relation=table, names=names, even_new=True)
    if written.name in ("float4", "float8") and any(word in column["colname"].lower() for word in _MONEY):
        yield Hit(hazard="float-for-money", relation=table, names=names, even_new=True)
    kinds = {each["Constraint"]["contype"] for each in column.get("constraints", ())}
    if "CONSTR_PRIMARY" in kinds and written.name in ("int2", "int4", "serial", "serial4", "smallserial", "serial2"):
        yield Hit(hazard="prefer-bigint", relation=table, names=names, even_new=True)
    if column["colname"] == "type":
        more = {"new": quoted(f"{table.name}_type")}
        yield Hit(hazard="sti-column", relation=table, names=names | more)


def column_names(table: RelationName, column: Node) -> dict[str, str]:
    """The standard names of a column in a new table."""
    return {
        "table": table.written,
        "column": quoted(column["colname"]),
        "type": type_of(column["typeName"]).written,
        "object": quoted(column["colname"]),
    }
